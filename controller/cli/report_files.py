"""patchctl report export and verify: reports that people keep, and whether they still hold."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from controller.cli.command import Misuse, Session, command
from controller.cli.instants import AsOfOption, as_of
from controller.cli.printer import Format
from controller.cli.selection import Filters


class ExportFormat(StrEnum):
    """How an export is written."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    HTML = "html"
    PDF = "pdf"
    CYCLONEDX = "cyclonedx"


class DataFormat(StrEnum):
    """The formats of an export that are data for scripts; --output knows these."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


def add_to(group: typer.Typer) -> None:
    """Add the commands to the report group."""
    command(group, "export")(export)
    command(group, "verify")(verify)


def export(
    session: Session,
    filters: Filters,
    all_items: Annotated[bool, typer.Option("--all", help="Also the compliant packages.")] = False,
    file: Annotated[Path | None, typer.Option(help="Write to this file, whole or not at all; - is stdout.")] = None,
    kind: Annotated[
        ExportFormat | None,
        typer.Option(
            "--format",
            help="One JSON object, a JSON line each report, CSV, an HTML page, a PDF (of at most 2,000), or CycloneDX with VEX of one.",
        ),
    ] = None,
    output: Annotated[
        DataFormat | None, typer.Option("--output", "-o", help="The same as --format, for json, ndjson and csv.")
    ] = None,
    when: AsOfOption = None,
) -> None:
    """Write every matching instance's report with its packages. JSON unless asked otherwise.

    Whatever the format, the file holds what report verify needs to tell later whether it is still what was written, and still true.
    """
    from controller.cli.export import export_to

    chosen = _chosen(kind, output, session.options.output)
    if chosen is ExportFormat.CYCLONEDX and len(filters.instance or ()) != 1:
        raise Misuse("--format cyclonedx describes one instance: name it with --instance")
    if chosen is ExportFormat.PDF and file is None and sys.stdout.isatty():
        raise Misuse("--format pdf is nothing for a terminal: name a file with --file")
    export_to(
        session,
        filters.or_all(),
        chosen,
        file,
        all_items=all_items or chosen is ExportFormat.CYCLONEDX,
        as_of=as_of("--as-of", when, datetime.now(UTC)),
    )


def verify(
    session: Session,
    file: Annotated[Path, typer.Argument(help="A file of report export, of any format.", show_default=False)],
) -> None:
    """Compute the reports of a file again from the inputs that they name, and compare. Exit code 1 if one differs.

    What the file shows is compared with the reports in it first: an HTML page or a PDF is written again, a CSV row by row.
    """
    from controller.cli.verify import verify_file

    verify_file(session, file)


def _chosen(kind: ExportFormat | None, output: DataFormat | None, before: Format | None) -> ExportFormat:
    """Decide between --format, --output after the command's name, and --output before it."""
    if kind is not None and output is not None and kind.value != output.value:
        raise Misuse(f"--format {kind} and --output {output}: say one of them")
    if kind is None and output is None and before is Format.YAML:
        raise Misuse("--output: an export is written as json, ndjson or csv")
    said = kind or output or (ExportFormat.CSV if before is Format.CSV else ExportFormat.JSON)
    return ExportFormat(said.value)
