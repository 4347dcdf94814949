"""Exports in CSV, read back. Line ends and quotes may be others: the seals are over the cells."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import BinaryIO, Final

from controller.report import text
from controller.report.kept import Answer, Finding, Limited, NotAnExport
from controller.report.seal import rows_sum
from controller.report.sheet import COLUMNS, INPUTS, LAST, NUMBER, SEALED_COLUMNS, SUM, rows

_MAX_CELL: Final = 2**20
_MAX_LINE: Final = 2**22
_MAX_ROWS: Final = 50_000
"""Of one report."""
_SHOWN: Final = 5
_BESIDES: Final = (
    *("instance_name", "enterprise_project", "region", "application_group"),
    *("operating_system.product", "collected_at", "ticket_id"),
)
_REMEMBERED: Final = ("item.first_non_compliant_at", "item.last_attempt_at", "item.last_error_class")
_COMPARED: Final = tuple(name for name in (*COLUMNS, *INPUTS) if name not in _BESIDES)
_COMPLIANT: Final = ("INSTALLED", "INSTALLED_OTHER")

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class _Report:
    """One report's rows, and the number of the first: the titles are row 1, as a spreadsheet counts."""

    first: int
    rows: list[Row]

    @property
    def where(self) -> str:
        last = self.first + len(self.rows) - 1
        return f"row {self.first}" if last == self.first else f"rows {self.first} to {last}"


class Sheet:
    """A table, a row a package."""

    format: str = "csv"
    is_old: bool = False

    def __init__(self, file: BinaryIO) -> None:
        """Look at the titles. Raises NotAnExport."""
        self._file = file
        titles = next(self._cells(), [])
        if titles == list(COLUMNS):
            raise NotAnExport("carries no seal: an earlier version wrote it, export it again")
        if titles != list(SEALED_COLUMNS):
            wrong = [name for name in SEALED_COLUMNS if name not in titles] or [
                name for name in titles if name not in SEALED_COLUMNS
            ]
            said = f": column {wrong[0]!r} is missing or not known" if wrong else ": they stand in another order"
            raise NotAnExport(f"has other columns than an export{said}")

    def damage(self) -> Iterator[Finding]:
        """Yield what shows that this is not the file that was written."""
        count, before, last = 0, "", False
        for count, report in enumerate(self._reports(), start=1):
            name = report.rows[0]["instance_name"]
            cells = [[row[column] for column in SEALED_COLUMNS[:-1]] for row in report.rows]
            stated = report.rows[0][SUM]
            if last or report.rows[0][NUMBER] != str(count):
                yield name, f"{report.where}: does not belong here; a report was taken out, put in or moved"
            elif any(row[SUM] != stated for row in report.rows) or stated != rows_sum(before, cells):
                yield name, f"{report.where}: report {count} was changed after it was written"
            before, last = stated, report.rows[0][LAST] == "true"
        if count and not last:
            yield "", f"the file ends after report {count}, which is not the last that was written"

    def answers(self) -> Iterator[Answer]:
        """Yield the answers."""
        for report in self._reports():
            first, kept = report.rows[0], report
            as_of = first["inputs.as_of"] or None
            try:
                said = text.instant(as_of) if as_of else None
            except ValueError:
                raise NotAnExport(f"has no instant in row {report.first}, inputs.as_of") from None
            yield Answer(
                first["instance_id"],
                first["instance_name"],
                as_of if said is not None else None,
                any(row["item.status"] in _COMPLIANT for row in report.rows),
                lambda again, kept=kept: tuple(_differences(kept, _rows(again))),  # type: ignore[misc]
                lambda again, kept=kept: tuple(_besides(kept, _rows(again))),  # type: ignore[misc]
            )

    def _reports(self) -> Iterator[_Report]:
        table = self._cells()
        next(table, None)
        for _, group in groupby(enumerate(table, start=2), lambda found: found[1][-3]):
            found = list[Row]()
            first = 0
            for number, cells in group:
                first = first or number
                found.append(dict(zip(SEALED_COLUMNS, cells, strict=True)))
                if len(found) > _MAX_ROWS:
                    raise NotAnExport(f"has more than {_MAX_ROWS:,} rows of one report: that is no report")
            yield _Report(first, found)

    def _cells(self) -> Iterator[list[str]]:
        width = 0
        csv.field_size_limit(_MAX_CELL)
        try:
            for number, cells in enumerate(csv.reader(self._lines(), strict=True), start=1):
                width = width or len(cells)
                if len(cells) != width:
                    raise NotAnExport(
                        f"has {len(cells)} cells in row {number}, not {width}: it is cut off, or was changed"
                    )
                yield cells
        except csv.Error as error:
            raise NotAnExport(f"is no CSV: {error}; it is cut off, or was changed") from None

    def _lines(self) -> Iterator[str]:
        try:
            for number, line in enumerate(Limited(self._file, _MAX_LINE)):
                yield line.decode("utf-8" if number else "utf-8-sig")
        except UnicodeDecodeError:
            raise NotAnExport("is no text in UTF-8") from None


def _rows(report: text.Document) -> list[Row]:
    return [{name: text.disarmed(found) for name, found in row.items()} for row in rows(report)]


def _differences(kept: _Report, again: list[Row]) -> Iterator[str]:
    """Say what differs: columns that are the same on all rows once, the packages by their rows."""
    for name in _COMPARED:
        if not name.startswith("item.") and kept.rows[0][name] != again[0][name]:
            yield f"{name} was {_told(kept.rows[0][name])}, is {_told(again[0][name])}"
    others = _keyed(again)
    said, same = list[str](), list[Row]()
    for place, (key, row) in enumerate(_keyed(kept.rows).items()):
        where = f"row {kept.first + place} {key[0]}".rstrip()
        other = others.pop(key, None)
        if other is None:
            said.append(f"{where} is not there any more")
            continue
        same.append(other)
        forgotten = [name for name in _REMEMBERED if row[name] and not other[name]]
        passed = {*forgotten, "item.why"} if forgotten else set[str]()
        said += [
            f"{where}: {name} was {_told(row[name])}, is {_told(other[name])}"
            for name in _COMPARED
            if name.startswith("item.") and name not in passed and row[name] != other[name]
        ]
    said += [f"{key[0]} {row['item.status']} is new" for key, row in others.items()]
    if not said and same != again:
        said.append(f"{kept.where} stand in another order")
    yield from said[:_SHOWN]
    if len(said) > _SHOWN:
        yield f"and {len(said) - _SHOWN} differences more"


def _besides(kept: _Report, again: list[Row]) -> Iterator[str]:
    for name in _BESIDES:
        before, now = kept.rows[0][name], again[0][name]
        if before != now:
            yield f"{name} is {_told(before)} in the file, {_told(now)} now"


def _keyed(found: list[Row]) -> dict[tuple[str, int], Row]:
    """Return the rows by package; of several of one package the first, the second, and so on. What lists no package has no name."""
    seen, keyed = Counter[str](), dict[tuple[str, int], Row]()
    for row in found:
        key = f"{row['item.name']}.{row['item.arch']}" if row["item.arch"] else row["item.name"]
        keyed[key, seen[key]] = row
        seen[key] += 1
    return keyed


def _told(value: str) -> str:
    if not value:
        return "nothing"
    return value if len(value) <= 80 else f"{value[:79]}…"
