"""Exports as they are read back: what a reader of each format promises, and what all of them share. Pure but for the file it is given."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Protocol

from controller.report import compare, text
from controller.report.seal import KEY, is_intact
from controller.report.summary import Tally
from controller.report.summary import differences as summary_differences

MAX_REPORT_BYTES: Final = 32 * 2**20
"""Of one report in a file, and of what stands beside the reports: more is no report that anybody exported."""

Finding = tuple[str, str]
"""Where something is wrong, and what."""


class NotAnExport(ValueError):
    """The file is nothing that `report export` wrote; `str()` says why, after the file's name."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One instance's answer as a file tells it."""

    instance_id: str
    instance_name: str
    as_of: str | None
    """The instant for which it holds."""
    all_items: bool
    """Whether it lists compliant packages too."""
    differences: Callable[[text.Document], tuple[str, ...]]
    """Compares it with the same answer computed again: what differs."""
    besides: Callable[[text.Document], tuple[str, ...]]
    """What is told beside the answer, and is otherwise now: names, places, tickets."""


class Kept(Protocol):
    """An export that is being read. It is gone through several times, and never held whole unless its size is bounded."""

    format: str
    """As --format says it."""
    is_old: bool
    """Whether an earlier version wrote it, which sealed less."""

    def damage(self) -> Iterator[Finding]:
        """Yield what shows that this is not the file that was written; nobody is asked. Raises NotAnExport."""
        ...

    def answers(self) -> Iterator[Answer]:
        """Yield the answers of the file, in their order. Call it for a file without damage."""
        ...


class Limited:
    """Lines of a file, each of bounded length."""

    def __init__(self, file: BinaryIO, limit: int = MAX_REPORT_BYTES) -> None:
        """Begin at the file's beginning."""
        self._file, self._limit = file, limit

    def __iter__(self) -> Iterator[bytes]:
        """Yield the lines with their ends, whoever reads elsewhere in the file meanwhile. Raises NotAnExport for one that is too long."""
        number = at = 0
        while True:
            if self._file.tell() != at:
                self._file.seek(at)
            line = self._file.readline(self._limit + 1)
            if not line:
                return
            at += len(line)
            number += 1
            if len(line) > self._limit:
                raise NotAnExport(f"has a line {number} of more than {self._limit // 2**20} MiB: that is no report")
            yield line


def whole(file: BinaryIO, limit: int, what: str) -> bytes:
    """Return all of a file whose format must be held whole. Raises NotAnExport, before it reads, for one that is too large."""
    size = file.seek(0, 2)
    if size > limit:
        raise NotAnExport(f"is {what} of more than {limit // 2**20} MiB: no export is so large")
    file.seek(0)
    return file.read(size)


def read_json(content: bytes | str) -> Any:
    """Read strict JSON: no name twice in an object, no NaN. Raises ValueError."""
    try:
        return json.loads(content, object_pairs_hook=once, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("too deep") from None


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its members. Raises ValueError if a name is there twice: a reader sees one, a program the other."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


_NEEDED: Final = {
    "instance_id": str,
    "instance_name": str,
    "enterprise_project": str,
    "region": str,
    "application_group": str,
    "inputs": dict,
    "items": list,
    "reasons": list,
    "counts": dict,
    "status": object,
    "level": object,
    "baseline_name": str,
    "baseline_source": str,
}
_NEEDED_OF_ITEM: Final = {"name": str, "arch": str, "status": object, "level": object, "first_non_compliant_at": object}


def checked(report: object) -> dict[str, Any]:
    """Return a report whose parts are what the comparison takes them for. Raises NotAnExport."""
    if (
        isinstance(report, dict)
        and _has(report, _NEEDED)
        and isinstance(report.get("operating_system", ...), dict | None)
        and all(_is_flat(part) for part in (report["inputs"], report["counts"], report["operating_system"] or {}))
        and all(isinstance(part, dict) and _is_flat(part) for part in (*report["items"], *report["reasons"]))
        and all(_has(item, _NEEDED_OF_ITEM) for item in report["items"])
        and all(_is_instant(item["first_non_compliant_at"]) for item in report["items"])
        and all("reason" in reason for reason in report["reasons"])
        and {"baseline_id", "baseline_version"} <= report["inputs"].keys()
        and _is_instant(report["inputs"].get("as_of"))
    ):
        return report
    raise NotAnExport("holds something that is no report")


def is_question(value: object) -> bool:
    """Tell whether a value can be what an export was asked for."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("all_items"), bool)
        and isinstance(value.get("selector"), dict | None)
        and _is_instant(value.get("as_of", 0))
    )


def broken(report: text.Document, number: int) -> Iterator[Finding]:
    """Yield what is wrong with the seal of the so many-th report."""
    if not is_intact(report):
        what = "was changed after it was written" if KEY in report else "has no seal"
        yield report["instance_name"], f"report {number} {what}"


def wrong_head(as_of: object, summary: object, tally: Tally) -> Iterator[Finding]:
    """Yield where the head of a file, sealed or not, is not what its reports make."""
    if as_of != tally.as_of:
        yield "", f"as_of is {as_of}, its reports make {tally.as_of}"
    for said in summary_differences(summary, tally.summary()):
        yield "", said


def answer(report: text.Document, *, all_items: bool | None = None) -> Answer:
    """Return the answer of a report. `all_items` is what was asked, None when the file does not say."""
    return Answer(
        report["instance_id"],
        report["instance_name"],
        report["inputs"].get("as_of"),
        compare.is_whole(report) if all_items is None else all_items,
        lambda again: compare.differences(report, again),
        lambda again: compare.besides(report, again),
    )


def excerpt(found: bytes, meant: bytes) -> tuple[str, str]:
    """Return the parts of two texts around where they begin to differ."""
    at = first_difference(found, meant)
    start = max(0, at - 20)
    return _shown(found, start), _shown(meant, start)


def first_difference(one: bytes, other: bytes) -> int:
    """Return where two texts begin to differ: the length of what they have in common."""
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))


def _shown(content: bytes, start: int) -> str:
    part = content[start : start + 60].strip(b"\n")
    said = text.visible(part.decode("utf-8", "replace"))
    return f"'{'…' if start else ''}{said}{'…' if len(content) > start + 60 else ''}'" if part else "nothing"


def _has(found: dict[str, Any], needed: dict[str, type]) -> bool:
    return all(name in found and isinstance(found[name], kind) for name, kind in needed.items())


def _is_flat(found: dict[str, Any]) -> bool:
    """Tell whether a part of a report holds nothing but words, numbers and lists of words."""
    return all(
        isinstance(value, str | int | float | None)
        or (isinstance(value, list) and all(isinstance(word, str) for word in value))
        for value in found.values()
    )


def _is_instant(value: object) -> bool:
    if value is None:
        return True
    try:
        return isinstance(value, str) and text.instant(value) is not None
    except (ValueError, OverflowError):
        return False
