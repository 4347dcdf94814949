"""Rows of custom baselines (SEMANTICS §1): checked one by one, and read from the CSV files that operators keep."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from common.errors import Violation
from common.manifest import MAX_EPOCH
from controller.compliance.model import CustomPackage, Level

MAX_CUSTOM_PACKAGES: Final = 1000
_COLUMNS: Final = ("name", "version", "release", "level")
_COMMAS: Final = "; commas separate them"
_ALIASES: Final = {"compliance_level": "level", "package": "name"}
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,254}")
_VERSION: Final = re.compile(r"(?:([0-9]{1,10}):)?([A-Za-z0-9._+~^]{1,128})")
_RELEASE: Final = re.compile(r"[A-Za-z0-9._+~^]{1,128}")
_LETTER_OR_DIGIT: Final = re.compile(r"[A-Za-z0-9]")


def row_violations(row: CustomPackage) -> Iterator[Violation]:
    """Return what is wrong with one row, by its fields "name", "version" and "release"."""
    if not _NAME.fullmatch(row.name):
        yield Violation("name", f"{row.name[:80]!r} is not the name of a package")
    match = _VERSION.fullmatch(row.version)
    if not (match and _LETTER_OR_DIGIT.search(match[2]) and int(match[1] or 0) <= MAX_EPOCH):
        yield Violation(
            "version", f"{row.version[:80]!r} is not a version, write it like 1.0.2k, or 1:1.0.2k with an epoch"
        )
    if not (_RELEASE.fullmatch(row.release) and _LETTER_OR_DIGIT.search(row.release)):
        yield Violation("release", f"{row.release[:80]!r} is not a release, write it like 26.el7_9")


def custom_violations(rows: Sequence[CustomPackage]) -> Iterator[Violation]:
    """Return what is wrong with all rows, fields as in "custom_packages[0].version"."""
    if len(rows) > MAX_CUSTOM_PACKAGES:
        yield Violation("custom_packages", f"has {len(rows)} rows, allowed are {MAX_CUSTOM_PACKAGES}")
    first = dict[str, int]()
    for number, row in enumerate(rows[:MAX_CUSTOM_PACKAGES]):
        for wrong in row_violations(row):
            yield Violation(f"custom_packages[{number}].{wrong.field}", wrong.description)
        before = first.setdefault(row.name, number)
        if before != number:
            yield Violation(
                f"custom_packages[{number}].name", f"{row.name[:80]!r} is in custom_packages[{before}] already"
            )


def custom_from_csv(text: str) -> tuple[tuple[CustomPackage, ...], tuple[Violation, ...]]:
    """Read rows of name, version, release and, if there is one, level; return the good ones, and what is wrong with the others.

    A first row that names the columns may put them into another order. Rows are numbered as a spreadsheet does, from 1 with the header
    and blank rows counted: the field of a violation is like "row 7". A file with any violation should not be taken.
    """
    found = dict[str, tuple[int, CustomPackage]]()
    wrong = list[Violation]()
    columns: Sequence[str] | None = None
    for number, cells in _records(text, wrong):
        if columns is None:
            columns, is_header = _columns(cells)
            if is_header:
                wrong += [
                    Violation(f"row {number}", f"column {c[:80]!r} is unknown") for c in columns if c not in _COLUMNS
                ]
                wrong += [Violation(f"row {number}", f"has no column {c}") for c in _COLUMNS[:3] if c not in columns]
                wrong += [Violation(f"row {number}", f"has column {c} twice") for c in _COLUMNS if columns.count(c) > 1]
                if wrong:
                    break
                continue
        if len(found) >= MAX_CUSTOM_PACKAGES:
            wrong.append(Violation(f"row {number}", f"is one too many: allowed are {MAX_CUSTOM_PACKAGES} packages"))
            break
        row, problems = _row(columns, cells)
        if row is not None and row.name in found:
            problems = [f"{row.name} is in row {found[row.name][0]} already"]
        wrong += [Violation(f"row {number}", problem) for problem in problems]
        if row is not None and not problems:
            found[row.name] = (number, row)
    if not found and not wrong:
        wrong.append(
            Violation("row 1", "the file has no rows; they are name,version,release or name,version,release,level")
        )
    return tuple(row for _, row in found.values()), tuple(wrong)


def level_of(text: str) -> Level | None:
    """Read a level's name in any case; empty is UNSPECIFIED, None means that it is no level."""
    return {member.name: member for member in Level}.get(text.strip().upper() or Level.UNSPECIFIED.name)


def _records(text: str, wrong: list[Violation]) -> Iterable[tuple[int, list[str]]]:
    """Return the rows that are not blank, cells without spaces around them, with their numbers."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    number = 0
    while True:
        number += 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            # Where this row ends nobody knows, so neither where the next begins.
            wrong.append(Violation(f"row {number}", f"cannot be read, nor what follows it: {error}"))
            return
        if any(cells):
            yield number, cells


def _columns(cells: Sequence[str]) -> tuple[Sequence[str], bool]:
    words = [_ALIASES.get(cell.lower(), cell.lower()) for cell in cells]
    is_header = "name" in words and ("version" in words or "release" in words)
    return (words, True) if is_header else (_COLUMNS, False)


def _row(columns: Sequence[str], cells: Sequence[str]) -> tuple[CustomPackage | None, list[str]]:
    while len(cells) > len(columns) and not cells[-1]:
        cells = cells[:-1]
    if not 3 <= len(cells) <= len(columns):
        other = len(cells) == 1 and any(mark in cells[0] for mark in ";\t|")
        needed = " or ".join(str(n) for n in range(3, len(columns) + 1))
        return None, [f"has {len(cells)} {'cell' if len(cells) == 1 else 'cells'}, not {needed}" + _COMMAS * other]
    named = dict(zip(columns, cells, strict=False))
    level = level_of(named.get("level", ""))
    row = CustomPackage(
        named.get("name", ""), named.get("version", ""), named.get("release", ""), level or Level.UNSPECIFIED
    )
    problems = [f"{wrong.field}: {wrong.description}" for wrong in row_violations(row)]
    if level is None:
        problems.append(f"level: {named['level'][:80]!r} is unknown; known are {', '.join(m.name for m in Level)}")
    return row, problems
