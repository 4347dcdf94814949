"""Exports in JSON and NDJSON, read back. They may be laid out anew: their seals are over what they say, not how."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

from controller.report.json_stream import Readable, Truncated, members
from controller.report.kept import (
    Answer,
    Finding,
    Limited,
    NotAnExport,
    answer,
    broken,
    checked,
    is_question,
    read_json,
    wrong_head,
)
from controller.report.seal import KEY, PLACE, FileSeal, FirstFileSeal
from controller.report.summary import Tally

REPORTS: Final = "reports"


class WholeJson:
    """One JSON object. `reopen` gives its bytes from the beginning, each time it is called."""

    format: str = "json"

    def __init__(self, reopen: Callable[[], Readable]) -> None:
        """Read the head. Raises NotAnExport."""
        self._reopen = reopen
        self._head = dict[str, Any]()
        self.cut = ""
        """How the file ends too early; empty when it does not."""
        try:
            self._head = {name: value for name, value in members(reopen(), REPORTS) if name != REPORTS}
        except Truncated as error:
            self.cut = str(error)
        self.is_old = "asked" not in self._head
        if self.cut:
            return
        if not isinstance(self._head.get("summary"), dict):
            raise NotAnExport("is no export: it has no summary")
        if not self.is_old and not is_question(self._head["asked"]):
            raise NotAnExport("does not say what was asked")

    @property
    def question(self) -> dict[str, Any]:
        """What was asked."""
        found: dict[str, Any] = self._head["asked"]
        return found

    def reports(self) -> Iterator[dict[str, Any]]:
        """Yield the reports."""
        return (checked(report) for name, report in members(self._reopen(), REPORTS) if name == REPORTS)

    def damage(self) -> Iterator[Finding]:
        """Yield what shows that this is not the file that was written."""
        if self.cut:
            yield "", f"the file {self.cut}: it ends too early"
            return
        as_of, summary, asked = self._head.get("as_of"), self._head["summary"], self._head.get("asked") or {}
        first, seal, tally = FirstFileSeal(as_of, summary), FileSeal(asked), Tally(asked)
        torn = False
        for number, report in enumerate(self.reports(), start=1):
            for finding in broken(report, number):
                torn = True
                yield finding
            first.add(report)
            seal.add(report)
            tally.add(report)
        if self._head.get(KEY) != (first.hexdigest() if self.is_old else seal.close(as_of, summary)):
            parts = "as_of, the summary, or which reports there are" if self.is_old else _SEALED
            yield "", f"{parts} was changed after it was written"
        elif not torn and not self.is_old:
            yield from wrong_head(as_of, summary, tally)

    def answers(self) -> Iterator[Answer]:
        """Yield the answers."""
        all_items = None if self.is_old else self.question["all_items"]
        return (answer(report, all_items=all_items) for report in self.reports())


_SEALED: Final = "as_of, what was asked, the summary, or which reports there are"


class Lines:
    """NDJSON: a report a line."""

    format: str = "ndjson"

    def __init__(self, file: BinaryIO) -> None:
        """Look at the first line. Raises NotAnExport."""
        self._file = file
        first = next(self.reports(), None)
        self.is_old = first is not None and PLACE not in first
        self._all_items: bool | None = None
        if first is not None and not self.is_old:
            question = first[PLACE].get("asked")
            if not is_question(question):
                raise NotAnExport("does not say in its first line what was asked: that line is missing")
            self._all_items = question["all_items"]

    def reports(self) -> Iterator[dict[str, Any]]:
        """Yield the reports."""
        for number, line in enumerate(Limited(self._file), start=1):
            if not line.strip():
                continue
            try:
                report = checked(read_json(line.decode("utf-8-sig" if number == 1 else "utf-8")))
            except ValueError as error:
                if isinstance(error, NotAnExport):
                    raise
                raise NotAnExport(f"has a line {number} that is no JSON: it is cut off, or was changed") from None
            if not isinstance(report.get(PLACE, {}), dict):
                raise NotAnExport("holds something that is no report")
            yield report

    def damage(self) -> Iterator[Finding]:
        """Yield what shows that this is not the file that was written."""
        number, before, last = 0, "", False
        for number, report in enumerate(self.reports(), start=1):
            yield from broken(report, number)
            place = report.get(PLACE)
            if self.is_old and place is None:
                continue
            found = place or {}
            if last or found.get("number") != number or found.get("after") != before:
                yield (
                    report["instance_name"],
                    f"report {number} does not belong here: one before it was taken out, put in or moved",
                )
            before, last = str(report.get(KEY, "")), found.get("last") is True
        if number and not self.is_old and not last:
            yield "", f"the file ends after report {number}, which is not the last that was written"

    def answers(self) -> Iterator[Answer]:
        """Yield the answers."""
        return (answer(report, all_items=self._all_items) for report in self.reports())
