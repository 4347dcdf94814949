"""patchctl cmdb: what the CMDB knows of the fleet, imported from a file after its diff was shown."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from controller.cli.command import REFUSED, Misuse, Session, command
from controller.cli.printer import Format
from controller.cli.table import Column, Table
from controller.cli.words import plural, word

if TYPE_CHECKING:
    from common.pb.v1 import fleet_pb2

_SHOWN: Final = 40
_MOST_BYTES: Final = 32 << 20


class FileFormat(StrEnum):
    """How a CMDB file is written."""

    CSV = "CSV"
    JSON = "JSON"


def add_to(app: typer.Typer) -> None:
    """Add the group to the root."""
    group = typer.Typer(help="The CMDB: what it knows of the fleet, imported from a file.", no_args_is_help=True)
    command(group, "import")(import_file)
    app.add_typer(group, name="cmdb")


def import_file(
    session: Session,
    file: Annotated[Path, typer.Argument(help="The CMDB file; - is standard input.")],
    form: Annotated[
        FileFormat | None,
        typer.Option("--format", case_sensitive=False, help="How it is written; by its name if not said."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="The file lists only a part: what it does not list is not gone.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="The CMDB's word counts more than what an operator set.")
    ] = False,
    delete_gone: Annotated[
        bool,
        typer.Option("--delete-gone", help="Delete what the CMDB lists no more and what never enrolled; others stay."),
    ] = False,
) -> None:
    """Import a CMDB file, CSV or JSON. Shows first what it changes; the same file again changes nothing.

    Columns: id, machine_id, name, ip (it needs one of these), region, zone, enterprise_project, resource_type, application_group, cluster,
    tags (key=value;key=value), power (RUNNING, STOPPED), os, agent (NONE, INSTALLING, FAILED, UNINSTALLED). An empty cell is not said.
    JSON is a list of objects with the same fields.

    A machine is recognised by its id, else its machine_id, else its name, else its ip. One that nobody knows becomes an instance without
    agent. What an operator set stays as it is. An instance that enrolled is never deleted: it is marked as not listed any more.
    """
    from common.pb.v1 import fleet_pb2

    content = _read(file)
    kind = form or _by_name(file)
    sent = _packed(content, kind, partial=partial, overwrite=overwrite, delete_gone=delete_gone)
    client, summary = session.client(), fleet_pb2.CmdbImportSummary()
    changes, problems = list[fleet_pb2.CmdbChange](), list[fleet_pb2.CmdbProblem]()
    for part in client.preview_cmdb_import(sent):
        if part.HasField("summary"):
            summary = part.summary
        changes += part.changes
        problems += part.problems
    _show(session, summary, changes, problems)
    if problems:
        session.printer.remark(
            f"error: nothing is imported while the file has problems: {plural(len(problems), 'problem')}"
        )
        raise typer.Exit(REFUSED)
    session.printer.remark(_in_numbers(summary))
    if not (summary.created or summary.changed or summary.gone or summary.deleted):
        session.printer.remark("Nothing to import.")
    elif dry_run:
        session.printer.remark("Nothing was changed (--dry-run).")
    else:
        session.confirm("Import this?", agreed=yes)
        client.import_cmdb(sent, summary.digest)
        session.printer.remark("Imported.")


def _read(file: Path) -> bytes:
    try:
        content = sys.stdin.buffer.read(_MOST_BYTES + 1) if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise Misuse(f"{file} cannot be read: {error.strerror}") from None
    if len(content) > _MOST_BYTES:
        raise Misuse(f"{file} is larger than {_MOST_BYTES >> 20} MiB; split it and import the parts with --partial")
    return content


def _by_name(file: Path) -> FileFormat:
    try:
        return FileFormat(file.suffix.lstrip(".").upper())
    except ValueError:
        raise Misuse(f"{file}: say how it is written with --format csv or --format json") from None


def _packed(
    content: bytes, kind: FileFormat, *, partial: bool, overwrite: bool, delete_gone: bool
) -> fleet_pb2.CmdbFile:
    import zstandard

    from common.pb.v1 import agent_pb2, fleet_pb2

    return fleet_pb2.CmdbFile(
        content=zstandard.compress(content),
        encoding=agent_pb2.BLOB_ENCODING_ZSTD,
        format=fleet_pb2.CmdbFormat.Value(f"CMDB_FORMAT_{kind}"),
        partial=partial,
        overwrite=overwrite,
        delete_gone=delete_gone,
    )


def _show(
    session: Session,
    summary: fleet_pb2.CmdbImportSummary,
    changes: Sequence[fleet_pb2.CmdbChange],
    problems: Sequence[fleet_pb2.CmdbProblem],
) -> None:
    from common.pb.v1 import fleet_pb2
    from controller.cli.plain import plain

    printer = session.printer
    if printer.format in (Format.JSON, Format.YAML):
        document: dict[str, Any] = {
            "summary": plain(summary),
            "changes": [plain(c) for c in changes],
            "problems": [plain(p) for p in problems],
        }
        printer.data(document)
    elif printer.format is Format.CSV:
        names = ("row", "kind", "instance_id", "name", "field", "before", "after", "kept", "sentence")
        rows = list[dict[str, str]]()
        for c in changes:
            common = {
                "row": str(c.row),
                "kind": word(fleet_pb2.CmdbChangeKind, c.kind),
                "instance_id": c.instance_id,
                "name": c.name,
                "sentence": c.sentence,
            }
            rows += [
                common | {"field": f.field, "before": f.before, "after": f.after, "kept": str(f.kept).lower()}
                for f in c.fields
            ] or [common]
        rows += [{"row": str(p.row), "kind": "PROBLEM", "field": p.column, "sentence": p.sentence} for p in problems]
        printer.csv(names, rows)
    else:
        printer.lines([_problem_table(problems)] if problems else [_table(changes[:_SHOWN])])
        if not problems and len(changes) > _SHOWN:
            printer.remark(f"... and {len(changes) - _SHOWN} more; all of them: --output csv")


def _table(changes: Sequence[fleet_pb2.CmdbChange]) -> Table:
    from common.pb.v1 import fleet_pb2

    titles = (
        Column("row", rank=1, right=True),
        Column("what", least=9),
        Column("instance", least=12),
        Column("how", least=20),
    )
    rows = [
        (
            str(c.row or ""),
            word(fleet_pb2.CmdbChangeKind, c.kind),
            c.name,
            "; ".join(filter(None, (*map(_field, c.fields), c.sentence))),
        )
        for c in changes
    ]
    return Table(titles, rows)


def _problem_table(problems: Sequence[fleet_pb2.CmdbProblem]) -> Table:
    titles = (Column("row", right=True), Column("column", least=8), Column("problem", least=20))
    return Table(titles, [(str(p.row or ""), p.column, p.sentence) for p in problems[:_SHOWN]])


def _field(f: fleet_pb2.CmdbFieldChange) -> str:
    if f.kept:
        return f"{f.field} {f.before} stays, set by an operator (CMDB: {f.after})"
    return f"{f.field} {f.before or '-'} -> {f.after or '-'}"


def _in_numbers(s: fleet_pb2.CmdbImportSummary) -> str:
    numbers = (
        (s.created, "new"),
        (s.changed, "changed"),
        (s.kept, "kept as an operator set it"),
        (s.ambiguous, "ambiguous, left alone"),
        (s.gone, "not listed any more"),
        (s.deleted, "deleted"),
        (s.unchanged, "unchanged"),
    )
    return f"{plural(s.rows, 'row')}: {', '.join(f'{n} {what}' for n, what in numbers if n) or 'nothing'}"
