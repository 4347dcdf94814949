"""patchctl audit: who changed what, and whether the log of it is whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.command import Misuse, Session, command
from controller.cli.printer import Format
from controller.cli.table import Column, Table
from controller.cli.words import plural, utc, word

if TYPE_CHECKING:
    from common.pb.v1 import audit_pb2
    from controller.audit.model import AuditEntry, Head


def add_to(app: typer.Typer) -> None:
    """Add the group to the root."""
    group = typer.Typer(
        help="The audit log: who changed what, tried to, or was refused.",
        no_args_is_help=True,
    )
    command(group, "list")(list_entries)
    command(group, "verify")(verify)
    app.add_typer(group, name="audit")


def list_entries(
    session: Session,
    operator: Annotated[str, typer.Option(metavar="NAME", help="Only what this operator did.")] = "",
    method: Annotated[
        str, typer.Option(metavar="TEXT", help="Only calls with this in their name, e.g. ticket or CreateBaseline.")
    ] = "",
    subject: Annotated[str, typer.Option(metavar="ID", help="Only about this id or name, e.g. T-7Q4M.")] = "",
    days: Annotated[int | None, typer.Option(metavar="N", min=1, max=36500, help="Only of the last N days.")] = None,
    most: Annotated[int, typer.Option("--most", metavar="N", min=1, help="At most so many entries.")] = 200,
) -> None:
    """List entries, newest first. Each change has two: what was ATTEMPTED, with the request, and how it ended."""
    from common.pb.v1 import audit_pb2

    since = None if days is None else datetime.now(UTC) - timedelta(days=days)
    found = session.client().list_audit_entries(
        operator=operator, method=method, subject=subject, since=since, page_size=min(most, 1000)
    )
    entries = list(islice(found, most))
    session.printer.many(audit_pb2.AuditEntry.DESCRIPTOR, entries, lambda: [_table(entries)])
    more = f"; more with --most {most * 10}" if len(entries) == most else ""
    session.printer.remark(f"{_entries(len(entries))}{more}")


def verify(
    session: Session,
    kept: Annotated[
        list[str] | None,
        typer.Option("--head", metavar="NUMBER:HASH", help="A head that an earlier verify printed; repeat it."),
    ] = None,
    heads: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file with kept heads, one a line; the new one is added to it."),
    ] = None,
) -> None:
    """Compute the chain of hashes again, from the first entry to the last, and print its head.

    Keep the head where the controller cannot write: a later verify with it proves that nothing up to it was changed or cut off. Exit code 1
    when the chain does not hold.
    """
    from common.errors import Rejected
    from controller.audit.chain import Broken, write_head
    from controller.audit.chain import verify as verify_chain

    known = _heads(kept or (), heads)
    counted = _Counting(session.client().audit_chain())
    found = verify_chain(counted, known)
    answer = {
        "intact": not isinstance(found, Broken),
        "entries": counted.number,
        "head": "" if isinstance(found, Broken) else write_head(found),
        "broken_at": found.number if isinstance(found, Broken) else 0,
        "matter": found.matter if isinstance(found, Broken) else "",
        "kept_heads": len(known),
    }
    match session.printer.format:
        case Format.TABLE:
            session.printer.lines(_told(found, counted.number, len(known)))
        case Format.CSV:
            session.printer.csv(answer, [{name: str(value) for name, value in answer.items()}])
        case _:
            session.printer.data(answer)
    if isinstance(found, Broken):
        raise Rejected(f"the audit log does not hold, {found}")
    if heads is not None and found not in known and found.number:
        with heads.open("a", encoding="utf-8") as file:
            file.write(f"{write_head(found)}\n")
        session.printer.remark(f"Head added to {heads}")


class _Counting:
    """Passes entries on and counts them."""

    def __init__(self, entries: Iterable[AuditEntry]) -> None:
        self._entries = entries
        self.number = 0

    def __iter__(self) -> Iterator[AuditEntry]:
        for entry in self._entries:
            self.number += 1
            yield entry


def _heads(given: Sequence[str], file: Path | None) -> list[Head]:
    from controller.audit.chain import read_head

    lines = [("--head", text) for text in given]
    if file is not None and file.exists():
        lines += [("--heads", line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    found: list[Head] = []
    for option, text in lines:
        try:
            found.append(read_head(text))
        except ValueError as error:
            raise Misuse(f"{option}: {error}") from None
    return found


def _told(found: object, entries: int, kept: int) -> Iterator[str]:
    from controller.audit.chain import write_head
    from controller.audit.model import Head

    count = _entries(entries)
    if isinstance(found, Head):
        met = f", {plural(kept, 'kept head')} met" if kept else ""
        yield f"The audit log is whole: {count}{met}"
        yield f"  head  {write_head(found)}"
    else:
        yield f"The audit log does not hold, looked at {count}"
        yield f"  {found}"


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"


def _table(found: Sequence[audit_pb2.AuditEntry]) -> Table:
    from common.pb.v1 import audit_pb2

    titles = (
        Column("no", right=True),
        Column("at", least=16),
        Column("operator", least=8),
        Column("what", least=10),
        Column("call", least=16),
        Column("about", least=10),
        Column("detail", rank=1, least=20),
        Column("from", rank=2),
    )
    rows = [
        (
            str(e.number),
            utc(e.at),
            e.operator or "-",
            word(audit_pb2.AuditKind, e.kind),
            e.method,
            e.subject,
            e.detail or (f"ends {e.attempt}" if e.attempt else ""),
            e.peer,
        )
        for e in found
    ]
    return Table(titles, rows)
