"""Reports as CSV: a row a package, in columns that never move. Pure.

The five inputs and the seal are columns like the others, on every row: a comment line or a line of another form would break programs that
read plain RFC 4180, and a file beside this one gets lost. A report's seal is over its rows and over the seal before it; the last one says
that it is the last.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from controller.report.seal import rows_sum, with_last
from controller.report.text import Document, disarmed

ABOUT_INSTANCE: Final = (
    "instance_id",
    "instance_name",
    "enterprise_project",
    "region",
    "application_group",
    "operating_system.product",
    "status",
    "level",
    "baseline_name",
    "inputs.baseline_version",
    "collected_at",
    "ticket_id",
    "reasons",
)
ABOUT_ITEM: Final = (
    *("status", "level", "name", "arch", "installed", "required", "reason", "category", "severity"),
    *("advisories", "cves", "rule", "clause", "date_basis", "date", "approved_on", "repository", "metadata_at", "hold"),
    *("first_non_compliant_at", "last_attempt_at", "last_error_class", "why", "available_security"),
)
INPUTS: Final = (
    *("inputs.inventory_digest", "inputs.metadata_digest", "inputs.manifest_digest"),
    *("inputs.baseline_id", "inputs.exceptions_version", "inputs.as_of"),
)
"""The inputs that do not stand among what is said about the instance."""
NUMBER: Final = "report.number"
LAST: Final = "report.last"
SUM: Final = "report.sha256"
COLUMNS: Final = (*ABOUT_INSTANCE, *(f"item.{name}" for name in ABOUT_ITEM))
SEALED_COLUMNS: Final = (*COLUMNS, *INPUTS, NUMBER, LAST, SUM)


def rows(report: Document) -> Iterator[dict[str, str]]:
    """Yield a row for each package by column name; one without a package for an instance that has none. Without the seal."""
    about = {name: cell(_at(report, name)) for name in (*ABOUT_INSTANCE, *INPUTS)}
    about["reasons"] = " ".join(str(reason["reason"]) for reason in report["reasons"])
    nothing = dict.fromkeys((f"item.{name}" for name in ABOUT_ITEM), "")
    if not report["items"]:
        yield about | nothing
    for item in report["items"]:
        yield about | {f"item.{name}": cell(item.get(name)) for name in ABOUT_ITEM}


def sheet(reports: Iterable[Document]) -> Iterator[bytes]:
    """Yield the file: the titles, then each report's rows. Holds one report besides the one in hand."""
    yield _lines([SEALED_COLUMNS])
    before = ""
    for number, (report, last) in enumerate(with_last(reports), start=1):
        place = {NUMBER: str(number), LAST: cell(last)}
        found = [[disarmed((row | place)[name]) for name in SEALED_COLUMNS[:-1]] for row in rows(report)]
        before = rows_sum(before, found)
        yield _lines([*row, before] for row in found)


def cell(value: Any) -> str:
    """Return a plain value as the text of a cell. Lists are joined by spaces."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list():
            return " ".join(cell(inner) for inner in value)
        case _:
            return str(value)


def _at(report: Document, path: str) -> Any:
    found: Any = report
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _lines(found: Iterable[Sequence[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(found)
    return out.getvalue().encode()
