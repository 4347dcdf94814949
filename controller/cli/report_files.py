"""patchctl report export: reports that people keep."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from controller.cli.command import Misuse, Session, command
from controller.cli.printer import Format
from controller.cli.selection import Filters


class ExportFormat(StrEnum):
    """How an export is written."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


def add_to(group: typer.Typer) -> None:
    """Add the commands to the report group."""
    command(group, "export")(export)


def export(
    session: Session,
    filters: Filters,
    all_items: Annotated[bool, typer.Option("--all", help="Also the compliant packages.")] = False,
    file: Annotated[Path | None, typer.Option(help="Write to this file, whole or not at all.")] = None,
    output: Annotated[
        ExportFormat | None, typer.Option("--output", "-o", help="One JSON object, a JSON line each report, or CSV.")
    ] = None,
) -> None:
    """Write every matching instance's report with its packages. JSON unless asked otherwise."""
    from controller.cli.export import export_to

    asked = session.options.output  # before the command's name
    if output is None and asked is Format.YAML:
        raise Misuse("--output: an export is written as json, ndjson or csv")
    chosen = output or (ExportFormat.CSV if asked is Format.CSV else ExportFormat.JSON)
    export_to(session, filters.or_all(), chosen, file, all_items=all_items)
