"""patchctl enrolment: how hosts are let in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.command import Session, command
from controller.cli.instances import Placement, pairs
from controller.cli.options import length
from controller.cli.table import Column, Table
from controller.cli.words import ago, plural

if TYPE_CHECKING:
    from common.pb.v1 import agent_pb2, fleet_pb2


def add_to(app: typer.Typer) -> None:
    """Add the group to the root."""
    group = typer.Typer(help="One-time enrolment tokens: how hosts are let in.", no_args_is_help=True)
    command(group, "create")(create)
    command(group, "list")(list_tokens)
    command(group, "revoke")(revoke)
    app.add_typer(group, name="enrolment")


def create(
    session: Session,
    placement: Placement,
    note: Annotated[str, typer.Option(help="For people: what the token is for.")] = "",
    lifetime: Annotated[str, typer.Option(help="How long it may be used, e.g. 2h or 7d.")] = "24h",
    tag: Annotated[list[str] | None, typer.Option(help="KEY=VALUE that the instance will have; repeat it.")] = None,
) -> None:
    """Make a token with which one host may enrol. It is shown once.

    What is given of name, region and so on, the token fixes; the rest is left to the agent.

    Example: patchctl enrolment create --region cn-hongkong --zone a --group shop/web --lifetime 2h
    """
    from common.pb.v1 import agent_pb2

    fixed = agent_pb2.Placement(
        name=placement.name or "",
        region=placement.region or "",
        zone=placement.zone or "",
        enterprise_project=placement.project or "",
        resource_type=placement.resource_type.value if placement.resource_type else "",
        application_group=placement.group or "",
        cluster=placement.cluster or "",
        tags=pairs(tag),
    )
    client = session.client()
    made = client.create_enrolment_token(note=note, placement=fixed, lifetime=length("--lifetime", lifetime))
    session.printer.one(made, lambda: [made.secret])
    session.printer.remark(_snippet(client.address, made))


def list_tokens(session: Session) -> None:
    """List enrolment tokens, newest first, without their secrets: each lets one host in."""
    from common.pb.v1 import fleet_pb2

    found = list(session.client().list_enrolment_tokens(page_size=1000))
    session.printer.many(fleet_pb2.EnrolmentToken.DESCRIPTOR, found, lambda: [_table(found)])
    session.printer.remark(plural(len(found), "token"))


def revoke(session: Session, token_id: Annotated[str, typer.Argument(help="The token's id, as listed.")]) -> None:
    """Make an unused token worthless."""
    revoked = session.client().revoke_enrolment_token(token_id)
    session.printer.one(revoked, lambda: [_table([revoked])])
    session.printer.remark(f"{revoked.id} is revoked")


def _snippet(address: str, made: fleet_pb2.CreateEnrolmentTokenResponse) -> str:
    lines = [
        f"Token {made.token.id}, for one host, ends {ago(made.token.expires_at, datetime.now(UTC))}. It is not shown again.",
        "Put join.pem beside the agent's settings, /etc/uniagent/uniagent.toml:",
        "",
        f"  controller = {json.dumps(address)}",
        '  join = "join.pem"',
        f"  token = {json.dumps(made.secret)}",
        "",
        "Then: uniagent run --config /etc/uniagent/uniagent.toml",
    ]
    return "\n".join(lines)


def _table(found: Sequence[fleet_pb2.EnrolmentToken]) -> Table:
    now = datetime.now(UTC)
    titles = (
        Column("id", least=12),
        Column("state", least=12),
        Column("note", rank=1),
        Column("fixes", rank=2),
        Column("made", rank=3),
        Column("by", rank=4),
    )
    rows = [
        (t.id, _state(t, now), t.note, ", ".join(_fixed(t.placement)), ago(t.created_at, now), t.created_by)
        for t in found
    ]
    return Table(titles, rows)


def _state(token: fleet_pb2.EnrolmentToken, now: datetime) -> str:
    if token.HasField("used_at"):
        return f"used {ago(token.used_at, now)} by {token.used_by_instance_id}"
    if token.HasField("revoked_at"):
        return f"revoked {ago(token.revoked_at, now)}"
    ended = token.expires_at.ToDatetime(tzinfo=UTC) <= now
    return f"{'ended' if ended else 'ends'} {ago(token.expires_at, now)}"


def _fixed(placement: agent_pb2.Placement) -> Iterator[str]:
    for field, value in placement.ListFields():
        if field.name == "tags":
            yield from (f"{key}={value[key]}" for key in sorted(value))
        else:
            yield f"{field.name} {value}"
