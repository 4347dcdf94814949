"""Exports in HTML, read back: the data in the page is checked, and the page is written again of it and compared, byte by byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Final

from jinja2 import TemplateError

from controller.report import html
from controller.report.edition import edition
from controller.report.kept import (
    Answer,
    Finding,
    Limited,
    NotAnExport,
    answer,
    broken,
    checked,
    excerpt,
    is_question,
    read_json,
    wrong_head,
)
from controller.report.seal import KEY, FileSeal
from controller.report.summary import Tally

OTHER_EDITION: Final = (
    "it was drawn by another edition of patchctl ({}, this is {}): verify it with that one, or export it again"
)


class Page:
    """One page, as large as it may be: a report is held at a time."""

    format: str = "html"
    is_old: bool = False

    def __init__(self, file: BinaryIO) -> None:
        """Read the head. Raises NotAnExport."""
        self._file = file
        head = next(self._data(html.HEAD), None)
        if head is None:
            raise NotAnExport(
                "carries no seal: an earlier version wrote it, it is cut off, or it is no export; export it again"
            )
        if not is_question(head.get("asked")) or not isinstance(head.get("summary"), dict):
            raise NotAnExport("does not say what was asked")
        self._head = head

    def reports(self) -> Iterator[dict[str, Any]]:
        """Yield the reports."""
        return map(checked, self._data(html.REPORT))

    def damage(self) -> Iterator[Finding]:
        """Yield what shows that this is not the file that was written."""
        question, summary = self._head["asked"], self._head["summary"]
        seal, tally, found = FileSeal(question), Tally(question), list[Finding]()
        for number, report in enumerate(self.reports(), start=1):
            found += broken(report, number)
            seal.add(report)
            tally.add(report)
        kept = next(self._data(html.SEAL), None)
        if kept is None:
            found.append(("", "the seal at the end is missing: the file ends too early"))
        elif not found and kept.get(KEY) != seal.close(self._head.get("as_of"), summary):
            found.append(
                ("", "what was asked, the numbers, or which reports there are was changed after it was written")
            )
        if not found:
            found += wrong_head(self._head.get("as_of"), summary, tally)
        yield from found
        if not found:
            yield from self._drawn_again()

    def answers(self) -> Iterator[Answer]:
        """Yield the answers."""
        return (answer(report, all_items=self._head["asked"]["all_items"]) for report in self.reports())

    def _drawn_again(self) -> Iterator[Finding]:
        """Yield the first place where the page is not what its data make."""
        made_by = str(self._head.get("edition"))
        try:
            pieces = html.pages(self._head["asked"], self._head["summary"], self._data(html.REPORT), made_by)
            meant = _lines(piece.encode() for piece in pieces)
            where = ""
            kept = iter(Limited(self._file))
            number = 0
            for number, line in enumerate(meant, start=1):
                found = next(kept, b"")
                if line.startswith(html.REPORT.encode()):
                    where = _name(line)
                if found != line:
                    yield where, f"line {number} {_said(found, line)}"
                    break
            else:
                if (more := next(kept, None)) is None:
                    return
                yield "", f"line {number + 1} {_said(more, b'')}"
        except (KeyError, TypeError, ValueError, AttributeError, TemplateError) as error:
            raise NotAnExport(f"holds something that is no report: {error}") from None
        if made_by != edition():
            yield "", OTHER_EDITION.format(made_by, edition())

    def _data(self, begin: str) -> Iterator[dict[str, Any]]:
        start, end = begin.encode(), html.END.encode()
        for number, line in enumerate(Limited(self._file), start=1):
            if not line.startswith(start):
                continue
            try:
                found = read_json(line.rstrip().removesuffix(end)[len(start) :])
            except ValueError:
                raise NotAnExport(
                    f"has data in line {number} that cannot be read: it is cut off, or was changed"
                ) from None
            if not isinstance(found, dict):
                raise NotAnExport(f"has data in line {number} that is no report")
            yield found


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *full, rest = (rest + piece).split(b"\n")
        for line in full:
            yield line + b"\n"
    if rest:
        yield rest


def _name(line: bytes) -> str:
    found = read_json(line.rstrip().removesuffix(html.END.encode())[len(html.REPORT) :])
    return str(found["instance_name"])


def _said(found: bytes, meant: bytes) -> str:
    shown, right = excerpt(found, meant)
    if not found:
        return f"is missing: {right} belongs there"
    return f"shows {shown}, its data make {right}"
