"""patchctl agency: what other accounts may do with your account's instances, and yours with theirs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.command import Misuse, Session, command
from controller.cli.table import Column, Table
from controller.cli.words import ago, word

if TYPE_CHECKING:
    from common.pb.v1 import account_pb2


class Permission(StrEnum):
    """What an agency allows; SCAN includes VIEW."""

    VIEW = "VIEW"
    SCAN = "SCAN"


def add_to(app: typer.Typer) -> None:
    """Add the group to the root."""
    group = typer.Typer(
        help="Agencies: your account's word that another may see or scan its instances.", no_args_is_help=True
    )
    command(group, "create")(create)
    command(group, "list")(list_agencies)
    command(group, "revoke")(revoke)
    app.add_typer(group, name="agency")


def create(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Unique in your account; tickets of the other name it.")],
    trust: Annotated[str, typer.Option(metavar="ACCOUNT", help="Which account may act on your instances.")],
    permission: Annotated[
        Permission,
        typer.Option(case_sensitive=False, help="VIEW: see instances and reports. SCAN: also run scan tickets."),
    ],
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="Until this day, all of it included, UTC: 2026-12-31.")
    ] = None,
) -> None:
    """Let another account act on all instances of yours, until you revoke it or it ends. For admins.

    Whether an account of that name exists is not told.

    Example: patchctl agency create nightly-scans --trust operations --permission SCAN --until 2027-06-30
    """
    from common.pb.v1 import account_pb2

    made = session.client().create_agency(
        name,
        trust,
        account_pb2.AgencyPermission.Value(f"AGENCY_PERMISSION_{permission.value}"),
        expires_at=_end(until),
    )
    session.printer.one(made, lambda: [_table([made])])
    session.printer.remark(
        f"{made.trusted_account} may act by it at once. To end it: patchctl agency revoke {made.name}"
    )


def list_agencies(
    session: Session,
    ended: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
) -> None:
    """List the agencies that your account grants, and those that others grant yours."""
    from common.pb.v1 import account_pb2

    found = list(session.client().list_agencies(include_ended=ended, page_size=1000))
    session.printer.many(account_pb2.Agency.DESCRIPTOR, found, lambda: [_table(found)])
    noun = "agency" if len(found) == 1 else "agencies"
    session.printer.remark(f"{len(found)} {noun}")


def revoke(
    session: Session, name: Annotated[str, typer.Argument(metavar="NAME", help="An agency that your account grants.")]
) -> None:
    """End an agency of your account's at once."""
    revoked = session.client().revoke_agency(name)
    session.printer.one(revoked, lambda: [_table([revoked])])
    session.printer.remark(f"{revoked.name} has ended")


def _end(until: str | None) -> datetime | None:
    if until is None:
        return None
    try:
        return datetime.combine(date.fromisoformat(until) + timedelta(days=1), time.min, UTC)
    except (ValueError, OverflowError):
        raise Misuse(f"--until: {until!r} is not a date, write it like 2026-12-31") from None


def _table(found: Sequence[account_pb2.Agency]) -> Table:
    from common.pb.v1 import account_pb2

    now = datetime.now(UTC)
    titles = (
        Column("name", least=10),
        Column("of", least=8),
        Column("trusts", least=8),
        Column("permission", least=6),
        Column("state", least=10),
        Column("made", rank=1),
        Column("by", rank=2),
    )
    rows = [
        (
            a.name,
            a.account,
            a.trusted_account,
            word(account_pb2.AgencyPermission, a.permission),
            _state(a, now),
            ago(a.created_at, now),
            a.created_by,
        )
        for a in found
    ]
    return Table(titles, rows)


def _state(agency: account_pb2.Agency, now: datetime) -> str:
    if agency.HasField("revoked_at"):
        return f"revoked {ago(agency.revoked_at, now)}"
    if not agency.HasField("expires_at"):
        return "does not end"
    ended = agency.expires_at.ToDatetime(tzinfo=UTC) <= now
    return f"{'ended' if ended else 'ends'} {ago(agency.expires_at, now)}"
