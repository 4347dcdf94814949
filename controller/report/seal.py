"""Seals: SHA-256 sums inside a kept report, so that a change is seen without asking anybody. Pure.

A seal is no signature: who may write the file may seal it again. What the controller computes again is the proof.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from controller.report.text import Document

KEY: Final = "sha256"
PLACE: Final = "place"
"""Where a line of NDJSON says which report of its file it is."""


def canonical_line(value: Mapping[str, Any]) -> bytes:
    """Return plain values as one line of JSON without its end: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "backslashreplace"
    )


def sealed(report: Document) -> dict[str, Any]:
    """Return the report with its own sum."""
    return {**report, KEY: hashlib.sha256(canonical_line(unsealed(report))).hexdigest()}


def unsealed(report: Document) -> dict[str, Any]:
    """Return the report without its sum."""
    return {name: value for name, value in report.items() if name != KEY}


def is_intact(report: Document) -> bool:
    """Tell whether a report is as it was sealed; False for one that has no seal."""
    return bool(report.get(KEY) == sealed(report)[KEY])


def asked(selector: Document, as_of: str | None, *, all_items: bool) -> dict[str, Any]:
    """Return what an export was asked for, as it stands in the file."""
    return {"all_items": all_items, "as_of": as_of, "selector": selector}


class FileSeal:
    """The sum over a whole file: what was asked, the reports in their order, and the head (as_of and summary), a canonical line each."""

    def __init__(self, question: Document) -> None:
        """Begin with what was asked."""
        self._sum = hashlib.sha256(canonical_line({"asked": question}) + b"\n")

    def add(self, report: Document) -> None:
        """Take the next report, with its own seal."""
        self._sum.update(canonical_line(report) + b"\n")

    def close(self, as_of: str | None, summary: Document) -> str:
        """Take the head, and return the sum of it all."""
        self._sum.update(canonical_line({"as_of": as_of, "summary": summary}) + b"\n")
        return self._sum.hexdigest()


class FirstFileSeal:
    """The sum as the first exports had it, which did not say what was asked: the head came before the reports."""

    def __init__(self, as_of: str | None, summary: Document) -> None:
        """Begin with the head."""
        self._sum = hashlib.sha256(canonical_line({"as_of": as_of, "summary": summary}) + b"\n")

    def add(self, report: Document) -> None:
        """Take the next report, with its own seal."""
        self._sum.update(canonical_line(report) + b"\n")

    def hexdigest(self) -> str:
        """Return the sum of what was added."""
        return self._sum.hexdigest()


def chained(reports: Iterable[Document], question: Document) -> Iterator[dict[str, Any]]:
    """Yield the reports sealed one after the other: each knows its number, the seal before it, and whether it is the last.

    So a file of lines misses a line, also the last one, and needs no line that is no report. The first says what was asked.
    """
    before = ""
    for number, (report, last) in enumerate(with_last(reports), start=1):
        place = {"number": number, "last": last, "after": before, "asked": question if number == 1 else None}
        found = sealed({**report, PLACE: place})
        before = found[KEY]
        yield found


def with_last(reports: Iterable[Document]) -> Iterator[tuple[Document, bool]]:
    """Yield each report and whether it is the last. Holds one."""
    held: Document | None = None
    for report in reports:
        if held is not None:
            yield held, False
        held = report
    if held is not None:
        yield held, True


def rows_sum(before: str, rows: Sequence[Sequence[str]]) -> str:
    """Return the sum of one report's rows of a table, and of the sum before it."""
    return hashlib.sha256(canonical_line({"after": before, "rows": rows})).hexdigest()
