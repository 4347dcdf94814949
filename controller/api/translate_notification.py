"""Contacts, shifts, notification policies and messages: messages of the wire to records and back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from common.pb.v1 import notification_pb2 as pb
from controller.api.checks import Checks
from controller.api.translate import Words, timestamp
from controller.notify.model import (
    Address,
    Channel,
    Contact,
    Message,
    MessageState,
    NotificationEvent,
    NotificationPolicy,
    Override,
    Recipients,
    Rotation,
    Shift,
    ShiftKey,
)
from controller.notify.template import Rendered

EVENT: Final = Words(NotificationEvent, pb.NotificationEvent, "NOTIFICATION_EVENT")
CHANNEL: Final = Words(Channel, pb.Channel, "CHANNEL")
STATE: Final = Words(MessageState, pb.NotificationState, "NOTIFICATION_STATE")
MAX_VALUES: Final = 1000
_DAYS: Final = 7
_NO_TIME: Final = datetime.min.replace(tzinfo=UTC)


def policy(sent: pb.NotificationPolicy, checks: Checks, field: str = "notification") -> NotificationPolicy:
    """Read whom to tell of what; wrong words are noted."""
    events = EVENT.read_all(checks, f"{field}.events", sent.events)
    return NotificationPolicy(
        events=tuple(event for event in NotificationEvent if event in events),
        recipients=Recipients(
            people=tuple(dict.fromkeys(sent.people)),
            shift=shift_key(sent.shift) if sent.HasField("shift") else None,
            channel=CHANNEL.read(checks, f"{field}.channel", sent.channel, Channel.DEFAULT),
        ),
    )


def policy_message(read: NotificationPolicy) -> pb.NotificationPolicy | None:
    """Return a policy as a message; none when nobody is told."""
    if read == NotificationPolicy():
        return None
    to = read.recipients
    return pb.NotificationPolicy(
        events=[EVENT.to_wire(event) for event in read.events],
        people=to.people,
        shift=shift_key_message(to.shift) if to.shift is not None else None,
        channel=CHANNEL.to_wire(to.channel),
    )


def shift_key(sent: pb.ShiftKey) -> ShiftKey:
    """Read the name of a shift."""
    return ShiftKey(sent.scenario, sent.role)


def shift_key_message(read: ShiftKey) -> pb.ShiftKey:
    """Return the name of a shift as a message."""
    return pb.ShiftKey(scenario=read.scenario, role=read.role)


def contact(sent: pb.Contact, checks: Checks, account: str) -> Contact:
    """Read a contact; wrong words are noted, the rest is for notify/validate."""
    if len(sent.addresses) > len(Channel):
        checks.refuse("contact.addresses", f"are {len(sent.addresses)}, allowed is one for each channel")
        return Contact(sent.name, account=account)
    given = [
        Address(CHANNEL.read(checks, f"contact.addresses[{n}].channel", a.channel, Channel.DEFAULT), a.value)
        for n, a in enumerate(sent.addresses)
    ]
    first = given[0].channel if given else Channel.EMAIL
    order = list(Channel)
    return Contact(
        name=sent.name,
        addresses=tuple(sorted(given, key=lambda a: order.index(a.channel))),
        default_channel=CHANNEL.read(checks, "contact.default_channel", sent.default_channel, first),
        note=sent.note,
        account=account,
    )


def contact_message(read: Contact, *, shows_addresses: bool) -> pb.Contact:
    """Return a contact as a message."""
    return pb.Contact(
        name=read.name,
        addresses=[
            pb.ContactAddress(channel=CHANNEL.to_wire(a.channel), value=a.value if shows_addresses else "")
            for a in read.addresses
        ],
        default_channel=CHANNEL.to_wire(read.default_channel),
        note=read.note,
    )


def shift(sent: pb.Shift, checks: Checks, account: str) -> Shift:
    """Read a shift without its overrides; what cannot be read is noted, the rest is for notify/validate."""
    rotations: Sequence[pb.Rotation] = sent.rotations
    if len(rotations) > MAX_VALUES:
        checks.refuse("shift.rotations", f"are {len(rotations)}, which is too many")
        rotations = ()
    return Shift(
        key=shift_key(sent.key),
        time_zone=sent.time_zone or "UTC",
        rotations=tuple(_rotation(f"shift.rotations[{n}]", rotation, checks) for n, rotation in enumerate(rotations)),
        note=sent.note,
        account=account,
    )


def _rotation(field: str, sent: pb.Rotation, checks: Checks) -> Rotation:
    times = tuple(_time(f"{field}.hand_over[{n}]", text, checks) for n, text in enumerate(sent.hand_over[:MAX_VALUES]))
    return Rotation(
        people=tuple(sent.people[:MAX_VALUES]),
        first_day=_day(f"{field}.first_day", sent.first_day, checks),
        hand_over=times,
        days=sent.days or _DAYS,
        last_day=_day(f"{field}.last_day", sent.last_day, checks) if sent.last_day else None,
    )


def _day(field: str, text: str, checks: Checks) -> date:
    try:
        if len(text) != len("2026-11-30"):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        checks.refuse(field, f"{text[:40]!a} is not a day, write it like 2026-11-30")
        return date(2000, 1, 1)


def _time(field: str, text: str, checks: Checks) -> time:
    try:
        if len(text) not in (len("09:00"), len("09:00:00")):
            raise ValueError
        return time.fromisoformat(text)
    except ValueError:
        checks.refuse(field, f"{text[:40]!a} is not a time of day, write it like 09:00")
        return time(0)


def shift_message(read: Shift) -> pb.Shift:
    """Return a shift as a message."""
    return pb.Shift(
        key=shift_key_message(read.key),
        time_zone=read.time_zone,
        rotations=[
            pb.Rotation(
                people=rotation.people,
                first_day=rotation.first_day.isoformat(),
                hand_over=[_clock(at) for at in rotation.hand_over],
                days=rotation.days,
                last_day=rotation.last_day.isoformat() if rotation.last_day is not None else "",
            )
            for rotation in read.rotations
        ],
        overrides=[override_message(override) for override in read.overrides],
        note=read.note,
    )


def _clock(at: time) -> str:
    return at.isoformat("seconds" if at.second else "minutes")


def override(sent: pb.Override, checks: Checks, override_id: str) -> Override:
    """Read an override; what cannot be read is noted, the rest is for notify/validate."""
    return Override(
        id=override_id,
        people=tuple(sent.people[:MAX_VALUES]),
        begins_at=_instant("override.begins_at", sent.begins_at if sent.HasField("begins_at") else None, checks),
        ends_at=_instant("override.ends_at", sent.ends_at if sent.HasField("ends_at") else None, checks),
        reason=sent.reason,
    )


def override_message(read: Override) -> pb.Override:
    """Return an override as a message."""
    return pb.Override(
        id=read.id,
        people=read.people,
        begins_at=timestamp(read.begins_at),
        ends_at=timestamp(read.ends_at),
        reason=read.reason,
    )


def instant_or(field: str, sent: Timestamp | None, default: datetime, checks: Checks) -> datetime:
    """Read an instant; absent gives the default, a wrong one is noted."""
    return default if sent is None else _instant(field, sent, checks)


def _instant(field: str, sent: Timestamp | None, checks: Checks) -> datetime:
    if sent is None:
        checks.refuse(field, "is missing")
    else:
        try:
            at = sent.ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError):
            at = _NO_TIME
        if 1971 <= at.year <= 9000:
            return at
        checks.refuse(field, "is out of range")
    return datetime(2000, 1, 1, tzinfo=UTC)


def notification_message(
    read: Message, rendered: Rendered, *, shows_addresses: bool, whole: bool = False
) -> pb.Notification:
    """Return a message of the outbox as one of the wire; its text only when it is wanted whole."""
    return pb.Notification(
        id=read.id,
        event_id=read.notice_id,
        event=EVENT.to_wire(read.event),
        at=timestamp(read.at),
        contact=read.contact,
        channel=CHANNEL.to_wire(read.channel),
        address=read.address if shows_addresses else "",
        state=STATE.to_wire(read.state),
        attempts=read.attempts,
        next_attempt_at=timestamp(read.next_attempt_at),
        sent_at=timestamp(read.sent_at),
        error=read.error,
        subject=rendered.subject,
        text=rendered.text if whole else "",
    )
