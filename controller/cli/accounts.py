"""patchctl accounts: the tenants of an organization."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.command import Session, command
from controller.cli.roles import handed_over
from controller.cli.table import Column, Table
from controller.cli.words import ago, plural

if TYPE_CHECKING:
    from common.pb.v1 import account_pb2


def add_to(app: typer.Typer) -> None:
    """Add the group to the root."""
    group = typer.Typer(
        help="Accounts: tenants that see nothing of each other without an agency.", no_args_is_help=True
    )
    command(group, "create")(create)
    command(group, "list")(list_accounts)
    app.add_typer(group, name="accounts")


def create(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Unique in the organization, e.g. acme.")],
    admin: Annotated[
        str,
        typer.Option(
            metavar="USER", help="Name of its first admin, unique in the organization; admin@NAME if not said."
        ),
    ] = "",
    note: Annotated[str, typer.Option(help="For people: whose it is.")] = "",
) -> None:
    """Make an account and its first admin, whose token is shown once. For admins of the account default.

    Only its own admins have power in it from then on.

    Example: patchctl accounts create acme --admin lin --note "customer 4711"
    """
    client = session.client()
    made = client.create_account(name, admin or f"admin@{name}", note=note)
    session.printer.one(made, lambda: [made.secret])
    session.printer.remark(f"Account {made.account.name} is made, {made.admin.name} is its admin.")
    session.printer.remark(handed_over(client.address, made.token))


def list_accounts(session: Session) -> None:
    """List your account and those with an agency between them and yours; for admins of the account default all."""
    from common.pb.v1 import account_pb2

    found = list(session.client().list_accounts(page_size=1000))
    session.printer.many(account_pb2.Account.DESCRIPTOR, found, lambda: [_table(found)])
    session.printer.remark(plural(len(found), "account"))


def _table(found: Sequence[account_pb2.Account]) -> Table:
    now = datetime.now(UTC)
    titles = (Column("name", least=12), Column("note", rank=1), Column("made", rank=2), Column("by", rank=3))
    rows = [
        (
            a.name,
            a.note or ("manages the organization" if a.management else ""),
            ago(a.created_at, now) if a.HasField("created_at") else "",
            a.created_by,
        )
        for a in found
    ]
    return Table(titles, rows)
