"""patchctl notifications: what was sent, what waits, what was given up and why."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from controller.cli.command import REFUSED, Misuse, Session, command
from controller.cli.table import Column, Table
from controller.cli.telling import By, channel
from controller.cli.words import ago, plural, utc, word

if TYPE_CHECKING:
    from common.pb.v1 import notification_pb2 as pb
    from controller.client import Client

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The notification, as patchctl notifications list says.")]
_LOOK_SECONDS: Final = 0.3


class State(StrEnum):
    """Where a notification stands."""

    WAITING = "WAITING"
    SENT = "SENT"
    GIVEN_UP = "GIVEN_UP"


def add_to(app: typer.Typer) -> None:
    """Add the group to the root."""
    group = typer.Typer(
        help="Notifications: what was sent, what waits, what was given up and why.", no_args_is_help=True
    )
    command(group, "list")(list_notifications)
    command(group, "show")(show)
    command(group, "test")(send_test)
    command(group, "retry")(retry)
    command(group, "channels")(channels)
    app.add_typer(group, name="notifications")


def list_notifications(
    session: Session,
    state: Annotated[
        list[State] | None, typer.Option(case_sensitive=False, help="Only in this state; repeat it.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many at most.")] = 100,
) -> None:
    """List notifications, the newest event first."""
    from itertools import islice

    from common.pb.v1 import notification_pb2 as pb

    states = [pb.NotificationState.Value(f"NOTIFICATION_STATE_{s}") for s in state or ()]
    everything = session.client().list_notifications(states=states, page_size=min(limit, 1000))
    found = list(islice(everything, limit))
    session.printer.many(pb.Notification.DESCRIPTOR, found, lambda: [_table(found)])
    given_up = sum(n.state == pb.NOTIFICATION_STATE_GIVEN_UP for n in found)
    retry_with = f", {given_up} given up: patchctl notifications retry ID" if given_up else ""
    session.printer.remark(plural(len(found), "notification") + retry_with)


def show(session: Session, notification: IdArgument) -> None:
    """Show one notification as it is sent, and how sending it went."""
    found = session.client().get_notification(notification)
    session.printer.one(found, lambda: _whole(found))


def send_test(
    session: Session,
    contact: Annotated[str, typer.Argument(metavar="CONTACT", help="Whom to reach.")],
    by: Annotated[
        By, typer.Option(case_sensitive=False, help="How; DEFAULT is the contact's own choice.")
    ] = By.DEFAULT,
    wait: Annotated[
        int, typer.Option(min=0, max=600, metavar="SECONDS", help="How long to wait for its first attempt.")
    ] = 60,
) -> None:
    """Send a test to a contact, as any other notification. Exit code 0: a server accepted it, 1: not (yet)."""
    from common.pb.v1 import notification_pb2 as pb

    client = session.client()
    found = _after_first_attempt(client, client.test_notification(contact, channel(by)), wait)
    if found is None:
        raise Misuse("the controller has not sent it yet; see patchctl notifications list")
    session.printer.one(found, lambda: [_table([found])])
    if found.state != pb.NOTIFICATION_STATE_SENT:
        session.printer.remark(f"error: {found.error or 'it still waits; see patchctl notifications list'}")
        raise typer.Exit(REFUSED)


def retry(
    session: Session,
    notification: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="The notifications that were given up.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every one that was given up.")] = False,
) -> None:
    """Try again what was given up, at once and for another day; look up again whoever could not be reached."""
    from common.pb.v1 import notification_pb2 as pb

    if bool(notification) == every:
        raise Misuse("say which: ID..., or --all")
    client = session.client()
    given_up = [pb.NOTIFICATION_STATE_GIVEN_UP]
    ids = notification or [n.id for n in client.list_notifications(states=given_up, page_size=1000)]
    for one in ids:
        client.retry_notification(one)
    session.printer.remark(f"{plural(len(ids), 'notification')} will be tried; see patchctl notifications list")


def channels(session: Session) -> None:
    """List the channels that the controller's settings have, and their places."""
    from common.pb.v1 import notification_pb2 as pb

    answer = session.client().list_channels()
    found = list(answer.channels)
    titles = (Column("channel", least=8), Column("a contact's address", least=20))
    rows = [(word(pb.Channel, c.channel), _address_form(c)) for c in found]
    session.printer.many(pb.ChannelSetup.DESCRIPTOR, found, lambda: [Table(titles, rows)])
    if answer.problem:
        session.printer.remark(
            f"the file of channels was changed and is wrong, so these are those of before: {answer.problem}"
        )
    if not found:
        session.printer.remark("no channel is set up: name a file with notify in the controller's settings")


def _address_form(setup: pb.ChannelSetup) -> str:
    forms = ["their own"] if setup.takes_addresses else []
    return "; ".join([*forms, *([f"one of {', '.join(setup.places)}"] if setup.places else [])])


def _after_first_attempt(client: Client, notification_id: str, seconds: int) -> pb.Notification | None:
    """Return the message once its first attempt is over, or as it is when the time is; None before it was routed."""
    from common.errors import NotFound
    from common.pb.v1 import notification_pb2 as pb

    until, found = time.monotonic() + seconds, None
    while True:
        with contextlib.suppress(NotFound):  # not routed yet
            found = client.get_notification(notification_id)
        if found is not None and (found.attempts or found.state != pb.NOTIFICATION_STATE_WAITING):
            return found
        if time.monotonic() >= until:
            return found
        time.sleep(_LOOK_SECONDS)


def _table(found: Sequence[pb.Notification]) -> Table:
    from common.pb.v1 import notification_pb2 as pb

    now = datetime.now(UTC)
    titles = (
        Column("id", least=20),
        Column("when", rank=1),
        Column("state"),
        Column("tries", right=True, rank=2),
        Column("matter", least=20),
    )
    rows = [
        (n.id, ago(n.at, now), word(pb.NotificationState, n.state), str(n.attempts), n.error or n.subject)
        for n in found
    ]
    return Table(titles, rows)


def _whole(found: pb.Notification) -> Iterator[str | Table]:
    from common.pb.v1 import notification_pb2 as pb

    to = f"{word(pb.Channel, found.channel)} {found.address}".strip()
    yield f"{found.id}  {word(pb.NotificationState, found.state)}"
    yield f"  to       {found.contact or 'nobody'}  {to}"
    yield f"  event    {utc(found.at)}"
    if found.HasField("sent_at"):
        yield f"  sent     {utc(found.sent_at)}, attempt {found.attempts}"
    if found.HasField("next_attempt_at"):
        yield f"  next     {utc(found.next_attempt_at)}, after {plural(found.attempts, 'attempt')}"
    if found.error:
        yield f"  matter   {found.error}"
    yield ""
    yield found.subject
    yield from found.text.split("\n")
