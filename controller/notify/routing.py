"""From what happened to messages: who is meant, over which channel, at which address. Who cannot be reached is a message too."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from controller.notify.model import Channel, Contact, Message, MessageState, Notice, Shift
from controller.notify.shift import on_duty

NOBODY: Final = ""


def route(notice: Notice, contacts: Mapping[str, Contact], shift: Shift | None, now: datetime) -> tuple[Message, ...]:
    """Return a message for each person that a notice is meant for, each to be tried now.

    `contacts` by name; `shift` is the one that the notice names, None when there is no such shift. Whoever was on duty at the instant
    of the event is meant, not whoever is now. A person who cannot be reached, or a shift with nobody on duty, becomes a message that
    is GIVEN_UP and says what to do.
    """
    return tuple(_message(notice, person, contacts, now) for person in dict.fromkeys(notice.recipients.people)) + tuple(
        _of_shift(notice, contacts, shift, now, notice.recipients.people)
    )


def _of_shift(
    notice: Notice, contacts: Mapping[str, Contact], shift: Shift | None, now: datetime, told: Collection[str]
) -> Iterator[Message]:
    key = notice.recipients.shift
    if key is None:
        return
    if shift is None:
        matter = f"there is no shift {key}; make it with: patchctl shift create {key}"
        yield _unreachable(notice, NOBODY, matter, f"shift:{key}")
        return
    duty = on_duty(shift, notice.at)
    if not duty.people:
        when = f"{notice.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        matter = f"nobody was on duty in shift {key} at {when}; add a rotation or an override: patchctl shift override add {key}"
        yield _unreachable(notice, NOBODY, matter, f"shift:{key}")
    for person in duty.people:
        if person not in told:
            yield _message(notice, person, contacts, now)


def _message(notice: Notice, person: str, contacts: Mapping[str, Contact], now: datetime) -> Message:
    contact = contacts.get(person)
    if contact is None:
        matter = f"there is no contact {person}; make it with: patchctl contact create {person} --email ADDRESS"
        return _unreachable(notice, person, matter, person)
    channel = notice.recipients.channel
    if channel is Channel.DEFAULT:
        channel = contact.default_channel
    address = contact.address(channel)
    if not address:
        option = channel.lower()
        matter = (
            f"{person} has no address for {channel}; give one with: patchctl contact edit {person} --{option} ADDRESS"
        )
        return _unreachable(notice, person, matter, person, channel)
    return Message(
        id=f"{notice.id}/{person}/{channel}",
        notice_id=notice.id,
        event=notice.event,
        at=notice.at,
        account=notice.account,
        contact=person,
        channel=channel,
        address=address,
        next_attempt_at=now,
    )


def _unreachable(notice: Notice, person: str, matter: str, whom: str, channel: Channel | None = None) -> Message:
    channel = channel or notice.recipients.channel
    return Message(
        id=f"{notice.id}/{whom}/{channel}",
        notice_id=notice.id,
        event=notice.event,
        at=notice.at,
        account=notice.account,
        contact=person,
        channel=channel,
        address="",
        state=MessageState.GIVEN_UP,
        error=matter,
    )
