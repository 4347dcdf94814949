"""Exporting reports as they stream in: nothing is held but the one report in hand."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from common.pb.v1 import report_pb2
from controller.cli.plain import cells, columns, plain
from controller.cli.printer import write_csv
from controller.cli.words import plural

if TYPE_CHECKING:
    from common.pb.v1 import fleet_pb2
    from controller.cli.command import Session
    from controller.cli.report_files import ExportFormat
    from controller.client import Client

_ABOUT_INSTANCE: Final = (
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


def export_to(
    session: Session, selector: fleet_pb2.Selector, chosen: ExportFormat, file: Path | None, *, all_items: bool
) -> None:
    """Write the reports to the file, or to stdout without one."""
    client = session.client()
    with _opened(file) as out:
        match chosen.value:
            case "csv":
                written = _csv(client, selector, out, all_items=all_items)
            case "ndjson":
                written = _ndjson(client, selector, out, all_items=all_items)
            case _:
                written = _json(client, selector, out, all_items=all_items)
    session.printer.remark(f"{plural(written, 'report')} written" + (f" to {file}" if file else ""))


def csv_columns() -> Iterator[str]:
    """Yield the columns of a report in CSV: about the instance, then item.* about one package."""
    yield from _ABOUT_INSTANCE
    yield from (f"item.{name}" for name in columns(report_pb2.ReportItem.DESCRIPTOR))


def csv_rows(report: report_pb2.InstanceReport) -> Iterator[dict[str, str]]:
    """Yield a row for each package; one without a package for an instance that has none."""
    every = cells(report)
    about = {name: every.get(name, "") for name in _ABOUT_INSTANCE}
    about["reasons"] = " ".join(str(reason["reason"]) for reason in plain(report)["reasons"])
    if not report.items:
        yield about
    for item in report.items:
        yield about | {f"item.{name}": text for name, text in cells(item).items()}


def _csv(client: Client, selector: fleet_pb2.Selector, out: TextIO, *, all_items: bool) -> int:
    written = 0

    def rows() -> Iterator[dict[str, str]]:
        nonlocal written
        for report in client.export_reports(selector, all_items=all_items):
            written += 1
            yield from csv_rows(report)

    write_csv(out, csv_columns(), rows())
    return written


def _ndjson(client: Client, selector: fleet_pb2.Selector, out: TextIO, *, all_items: bool) -> int:
    written = 0
    for report in client.export_reports(selector, all_items=all_items):
        written += 1
        out.write(json.dumps(plain(report), sort_keys=True, ensure_ascii=False, separators=(",", ":")) + "\n")
    return written


def _json(client: Client, selector: fleet_pb2.Selector, out: TextIO, *, all_items: bool) -> int:
    """Write {"as_of", "reports", "summary"} as `json_text` would, without holding all of it."""
    summary = plain(client.get_summary(selector))
    out.write(f'{{\n  "as_of": {json.dumps(summary["as_of"])},\n  "reports": [')
    written = 0
    for report in client.export_reports(selector, all_items=all_items):
        written += 1
        out.write(("," if written > 1 else "") + "\n    " + _indented(plain(report), 4))
    out.write(("\n  ]" if written else "]") + f',\n  "summary": {_indented(summary, 2)}\n}}\n')
    return written


def _indented(value: object, by: int) -> str:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    return text.replace("\n", "\n" + " " * by)  # a line break inside a JSON string is written \n, never as itself


@contextlib.contextmanager
def _opened(file: Path | None) -> Iterator[TextIO]:
    if file is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    handle, name = tempfile.mkstemp(dir=file.absolute().parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as out:
            yield out
        Path(name).chmod(0o644)
        Path(name).replace(file)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
