"""Reports as bytes: canonical JSON, NDJSON, CSV. The same records give the same bytes (SEMANTICS R1)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from enum import Enum, IntEnum
from typing import Any, Final

from controller.compliance.model import Assessment, Item
from controller.fleet.model import Instance

FORMAT: Final = 1
CSV_HEADER: Final = (
    "instance_id",
    "instance_name",
    "enterprise_project",
    "region",
    "application_group",
    "product",
    "instance_status",
    "reasons",
    "baseline",
    "baseline_version",
    "as_of",
    "status",
    "reason",
    "level",
    "package",
    "arch",
    "installed",
    "required",
    "category",
    "severity",
    "advisories",
    "cves",
    "approved_on",
    "repository",
    "first_non_compliant_at",
    "why",
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def document(instance: Instance, assessment: Assessment, items: Iterable[Item]) -> dict[str, Any]:
    """Return one instance's report as plain values: texts, numbers, lists and tables; names as the API spells them."""
    system = instance.operating_system
    inputs = assessment.inputs
    return {
        "instance_id": instance.id,
        "instance_name": instance.name,
        "enterprise_project": instance.enterprise_project,
        "region": instance.region,
        "application_group": instance.application_group,
        "operating_system": _plain(asdict(system)),
        "status": assessment.status.value,
        "reasons": [_plain(asdict(reason)) for reason in assessment.reasons],
        "level": assessment.level.name,
        "baseline_name": assessment.baseline_name,
        "baseline_source": assessment.baseline_source,
        "inputs": _plain(asdict(inputs)),
        "counts": _plain(asdict(assessment.counts)),
        "collected_at": _plain(assessment.collected_at),
        "ticket_id": assessment.ticket_id,
        "items": [item_document(item) for item in items],
    }


def item_document(item: Item) -> dict[str, Any]:
    """Return one item as plain values. Dates that are not there are None."""
    found: dict[str, Any] = {
        name: _plain(getattr(item, name)) for name in item.__dataclass_fields__ if name not in ("installed", "required")
    }
    found["installed"] = str(item.installed)
    found["required"] = str(item.required) if item.required is not None else ""
    return found


def canonical_json(reports: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """Yield one JSON document over all reports, piece by piece: sorted keys, no spaces, UTF-8, one report a line."""
    yield b'{"format":%d,"reports":[' % FORMAT
    separator = b"\n"
    for report in reports:
        yield separator + canonical_line(report)
        separator = b",\n"
    yield b"\n]}\n"


def ndjson(reports: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """Yield one line for each report."""
    return (canonical_line(report) + b"\n" for report in reports)


def csv_rows(instance: Instance, assessment: Assessment, items: Sequence[Item]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each item, as CSV_HEADER names the columns; an instance without items has one row without a package."""
    head = (
        instance.id,
        instance.name,
        instance.enterprise_project,
        instance.region,
        instance.application_group,
        instance.operating_system.product,
        assessment.status.value,
        " ".join(dict.fromkeys(reason.reason.value for reason in assessment.reasons)),
        assessment.baseline_name,
        str(assessment.inputs.baseline_version),
        str(_plain(assessment.inputs.as_of) or ""),
    )
    for item in items:
        yield (
            *head,
            item.status.value,
            item.reason,
            item.level.name,
            item.name,
            item.arch,
            str(item.installed),
            str(item.required) if item.required is not None else "",
            item.category.value,
            item.severity.value,
            " ".join(item.advisories),
            " ".join(item.cves),
            str(_plain(item.approved_on) or ""),
            item.repository,
            str(_plain(item.first_non_compliant_at) or ""),
            item.why,
        )
    if not items:
        yield (*head, *[""] * (len(CSV_HEADER) - len(head)))


def csv_text(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield CSV lines. A cell that a spreadsheet would take for a formula gets an apostrophe in front."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for row in rows:
        writer.writerow([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in row])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def canonical_line(report: Mapping[str, Any]) -> bytes:
    """Return plain values as one line of JSON without its end: sorted keys, no spaces, UTF-8."""
    return json.dumps(report, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "backslashreplace"
    )


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case IntEnum():
            return value.name
        case Enum():
            return value.value
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case tuple() | list():
            return [_plain(inner) for inner in value]
        case _:
            return value
