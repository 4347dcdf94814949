"""patchctl tokens: with which users speak. What it was before, hosts' enrolment tokens, is patchctl enrolment; old words go on to work."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from controller.cli import enrolment
from controller.cli.command import Misuse, Session, command
from controller.cli.instances import Placement
from controller.cli.options import length
from controller.cli.roles import Role, handed_over, may, role_number
from controller.cli.table import Column, Table
from controller.cli.words import ago, plural

if TYPE_CHECKING:
    from common.pb.v1 import account_pb2

    OldPlacement = Placement
else:

    def _hidden(kind: Any) -> Any:
        """Return a dataclass of options as one whose options work and stand in no help."""
        hints, fields = get_type_hints(kind, include_extras=True), list[Any]()
        for field in dataclasses.fields(kind):
            option = copy.copy(hints[field.name].__metadata__[0])
            option.hidden = True
            fields.append((field.name, Annotated[hints[field.name].__origin__, option], field.default))
        return dataclasses.make_dataclass(f"Old{kind.__name__}", fields, frozen=True)

    OldPlacement = _hidden(Placement)


def add_to(app: typer.Typer) -> None:
    """Add the group to the root."""
    group = typer.Typer(
        help="Operators' tokens: with which users, and programs, speak. Hosts' tokens: patchctl enrolment.",
        no_args_is_help=True,
    )
    command(group, "create")(create)
    command(group, "list")(list_tokens)
    command(group, "revoke")(revoke)
    app.add_typer(group, name="tokens")


def create(
    session: Session,
    old: OldPlacement,
    own: Annotated[bool, typer.Option("--own", help="A token of your own.")] = False,
    user: Annotated[str, typer.Option(metavar="NAME", help="A token of this user; for admins.")] = "",
    role: Annotated[
        Role | None,
        typer.Option(case_sensitive=False, help="What it may do at most; as much as the user, if not said."),
    ] = None,
    lifetime: Annotated[str | None, typer.Option(help="How long it is valid, 1h to 366d; 90d if not said.")] = None,
    note: Annotated[str, typer.Option(help="For people: what the token is for.")] = "",
    tag: Annotated[list[str] | None, typer.Option(hidden=True, help="See patchctl enrolment create.")] = None,
) -> None:
    """Make an operator's token. It is shown once. Say whose: --own or --user.

    A token may do no more than its user, and no more than its role. One for each program is best: each can be revoked alone.

    Example: patchctl tokens create --own --role VIEWER --lifetime 30d --note "dashboard"

    Without --own, --user and --role this makes a token with which a host enrols, as it always did: patchctl enrolment create.
    """
    is_for_host = not (own or user or role)
    for_host = sorted(
        [f"--{f.name.replace('_', '-')}" for f in dataclasses.fields(old) if getattr(old, f.name) is not None]
        + (["--tag"] if tag else [])
    )
    if is_for_host:
        placement = Placement(**{f.name: getattr(old, f.name) for f in dataclasses.fields(old)})
        enrolment.create(session, placement, note=note, lifetime=lifetime or "24h", tag=tag)
        session.printer.remark("\nThis lets a host in. Better say so: patchctl enrolment create. For yourself: --own")
        return
    if for_host:
        raise Misuse(f"{for_host[0]}: is for hosts; make their tokens with patchctl enrolment create")
    if own and user:
        raise Misuse("--own and --user: give one of the two")
    client = session.client()
    made = client.create_operator_token(
        user=user,
        role=role_number(role),
        lifetime=None if lifetime is None else length("--lifetime", lifetime),
        note=note,
    )
    session.printer.one(made, lambda: [made.secret])
    session.printer.remark(handed_over(client.address, made.token))


def list_tokens(
    session: Session,
    user: Annotated[str, typer.Option(metavar="NAME", help="Only those of this user; for admins.")] = "",
    ended: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
) -> None:
    """List operators' tokens, newest first, without their secrets: yours, or for admins those of the whole account.

    Hosts' tokens are listed by patchctl enrolment list.
    """
    from common.pb.v1 import account_pb2

    now = datetime.now(UTC)
    everything = list(session.client().list_operator_tokens(user=user, page_size=1000))
    found = [t for t in everything if ended or not _has_ended(t, now)]
    session.printer.many(account_pb2.OperatorToken.DESCRIPTOR, found, lambda: [_table(found, now)])
    left_out = len(everything) - len(found)
    soon = sum(_ends_before(t, now + timedelta(days=14)) and not _has_ended(t, now) for t in found)
    session.printer.remark(
        plural(len(found), "token")
        + (f", {soon} {'ends' if soon == 1 else 'end'} within 14 days" if soon else "")
        + (f"; {left_out} that have ended are left out (--all)" if left_out else "")
    )


def revoke(
    session: Session, token_id: Annotated[str, typer.Argument(metavar="ID", help="The token's id, as listed.")]
) -> None:
    """Make a token worthless at once: calls with it are refused, and what it watches or exports ends."""
    if token_id.lower().startswith("e-"):
        enrolment.revoke(session, token_id)
        return
    revoked = session.client().revoke_operator_token(token_id)
    session.printer.one(revoked, lambda: [_table([revoked], datetime.now(UTC))])
    session.printer.remark(f"{revoked.id} of {revoked.user} is revoked")


def _has_ended(token: account_pb2.OperatorToken, now: datetime) -> bool:
    return token.HasField("revoked_at") or _ends_before(token, now)


def _ends_before(token: account_pb2.OperatorToken, at: datetime) -> bool:
    return token.HasField("expires_at") and token.expires_at.ToDatetime(tzinfo=UTC) <= at


def _table(found: Sequence[account_pb2.OperatorToken], now: datetime) -> Table:
    titles = (
        Column("id", least=10),
        Column("user", least=8),
        Column("may", least=8),
        Column("state", least=12),
        Column("last used", least=9),
        Column("note", rank=1),
        Column("made", rank=2),
        Column("by", rank=3),
    )
    rows = [
        (
            t.id,
            t.user,
            may(t),
            _state(t, now),
            ago(t.last_used_at, now) if t.HasField("last_used_at") else "never",
            t.note,
            ago(t.created_at, now),
            t.created_by or "the controller",
        )
        for t in found
    ]
    return Table(titles, rows)


def _state(token: account_pb2.OperatorToken, now: datetime) -> str:
    if token.HasField("revoked_at"):
        return f"revoked {ago(token.revoked_at, now)}" + (f" by {token.revoked_by}" if token.revoked_by else "")
    if not token.HasField("expires_at"):
        return "does not end"
    return f"{'ended' if _ends_before(token, now) else 'ends'} {ago(token.expires_at, now)}"
