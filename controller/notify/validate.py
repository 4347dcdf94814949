"""What contacts, shifts and notification policies may say. Everything that is wrong is named at once, by its field in the API."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import Final
from zoneinfo import ZoneInfo

from common.errors import InvalidArgument, Violation
from controller.notify.model import (
    TICKET_EVENTS,
    Address,
    Channel,
    Contact,
    NotificationPolicy,
    Override,
    Rotation,
    Shift,
    ShiftKey,
)

MAX_NAME: Final = 64
MAX_ADDRESS: Final = 256
MAX_NOTE: Final = 200
MAX_PEOPLE: Final = 50
MAX_ROTATIONS: Final = 10
MAX_OVERRIDES: Final = 200
MAX_HAND_OVERS: Final = 24
MAX_DAYS: Final = 366
LONGEST_OVERRIDE: Final = timedelta(days=366)
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_PHONE: Final = re.compile(r"\+?[0-9]{3,15}")
_EMAIL: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,190}[A-Za-z0-9])?")
_PLACE: Final = re.compile(r"[A-Za-z0-9+][A-Za-z0-9_.-]{0,63}")


def check_contact(contact: Contact) -> None:
    """Raise InvalidArgument with everything that is wrong."""
    wrong = [*_person("name", contact.name), *_note(contact.note)]
    for number, address in enumerate(contact.addresses):
        wrong += _address(f"addresses[{number}]", address)
    channels = [address.channel for address in contact.addresses]
    if len(set(channels)) != len(channels):
        wrong.append(Violation("addresses", "have two of one channel; give one for each"))
    if not contact.addresses:
        wrong.append(Violation("addresses", "are none; give at least one, such as an e-mail address"))
    elif contact.default_channel not in channels:
        has = ", ".join(channels)
        wrong.append(Violation("default_channel", f"{contact.default_channel} has no address; choose one of {has}"))
    _done(wrong)


def check_shift(shift: Shift, contacts: Collection[str]) -> None:
    """Raise InvalidArgument with everything that is wrong; `contacts` are the names there are."""
    wrong = [*_key("", shift.key), *_zone(shift.time_zone), *_note(shift.note)]
    if len(shift.rotations) > MAX_ROTATIONS:
        wrong.append(Violation("rotations", f"are {len(shift.rotations)}, allowed are {MAX_ROTATIONS}"))
    for number, rotation in enumerate(shift.rotations[:MAX_ROTATIONS]):
        wrong += _rotation(f"rotations[{number}]", rotation, contacts)
    if len(shift.overrides) > MAX_OVERRIDES:
        wrong.append(
            Violation("overrides", f"are {len(shift.overrides)}, allowed are {MAX_OVERRIDES}; remove old ones")
        )
    _done(wrong)


def check_override(override: Override, contacts: Collection[str]) -> None:
    """Raise InvalidArgument with everything that is wrong; `contacts` are the names there are."""
    wrong = [*_people("people", override.people, contacts), *_note(override.reason, "reason")]
    if override.ends_at <= override.begins_at:
        wrong.append(Violation("ends_at", "is not after begins_at"))
    elif override.ends_at - override.begins_at > LONGEST_OVERRIDE:
        wrong.append(
            Violation(
                "ends_at", f"is more than {LONGEST_OVERRIDE.days} days after begins_at; change the rotation instead"
            )
        )
    _done(wrong)


def check_policy(policy: NotificationPolicy, field: str = "notification") -> Iterator[Violation]:
    """Yield what is wrong with a policy in itself. Whether its people and its shift are there is for the caller to ask."""
    to = policy.recipients
    if strange := [event for event in policy.events if event not in TICKET_EVENTS]:
        yield Violation(
            f"{field}.events", f"{strange[0]} is not an event of a ticket; choose of {', '.join(TICKET_EVENTS)}"
        )
    if policy.events and not to.people and to.shift is None:
        yield Violation(f"{field}.people", "nobody is named; name people or a shift")
    if not policy.events and (to.people or to.shift is not None):
        yield Violation(f"{field}.events", f"are none; choose of {', '.join(TICKET_EVENTS)}")
    if len(to.people) > MAX_PEOPLE:
        yield Violation(f"{field}.people", f"are {len(to.people)}, allowed are {MAX_PEOPLE}")
    else:
        for number, person in enumerate(to.people):
            yield from _person(f"{field}.people[{number}]", person)
    if to.shift is not None:
        yield from _key(f"{field}.shift.", to.shift)


def check_recipients(
    policy: NotificationPolicy, contacts: dict[str, Contact], shifts: Collection[ShiftKey], field: str = "notification"
) -> Iterator[Violation]:
    """Yield who of a policy is not there, or has no address for its channel."""
    to = policy.recipients
    for number, person in enumerate(to.people):
        contact = contacts.get(person)
        if contact is None:
            yield Violation(
                f"{field}.people[{number}]",
                f"there is no contact {person!r}; make it with patchctl contact create, or see patchctl contact list",
            )
        elif to.channel is not Channel.DEFAULT and not contact.address(to.channel):
            yield Violation(
                f"{field}.people[{number}]",
                f"{person} has no address for {to.channel}; give one with patchctl contact edit, or choose DEFAULT",
            )
    if to.shift is not None and to.shift not in shifts:
        yield Violation(f"{field}.shift", f"there is no shift {to.shift}; see patchctl shift list")


def _rotation(field: str, rotation: Rotation, contacts: Collection[str]) -> Iterator[Violation]:
    yield from _people(f"{field}.people", rotation.people, contacts)
    if not 1 <= rotation.days <= MAX_DAYS:
        yield Violation(f"{field}.days", f"{rotation.days} is out of range, allowed 1 to {MAX_DAYS}")
    times = rotation.hand_over
    if not 1 <= len(times) <= MAX_HAND_OVERS:
        yield Violation(f"{field}.hand_over", f"has {len(times)} times, allowed are 1 to {MAX_HAND_OVERS}")
    elif list(times) != sorted(set(times)):
        yield Violation(f"{field}.hand_over", "is not in order, or has a time twice")
    elif len(times) > 1 and rotation.days != 1:
        yield Violation(f"{field}.hand_over", "has several times a day, which needs turns of 1 day")
    if rotation.first_day.year < 1971 or rotation.first_day.year > 9000:
        yield Violation(f"{field}.first_day", f"{rotation.first_day} is out of range")
    if rotation.last_day is not None and rotation.last_day < rotation.first_day:
        yield Violation(f"{field}.last_day", "is before first_day")


def _people(field: str, people: tuple[str, ...], contacts: Collection[str]) -> Iterator[Violation]:
    if not 1 <= len(people) <= MAX_PEOPLE:
        yield Violation(field, f"has {len(people)} names, allowed are 1 to {MAX_PEOPLE}")
        return
    for number, person in enumerate(people):
        if person not in contacts:
            yield Violation(
                f"{field}[{number}]", f"there is no contact {person[:MAX_NAME]!a}; see patchctl contact list"
            )


def _address(field: str, address: Address) -> Iterator[Violation]:
    value, known = address.value, address.value[:80]
    match address.channel:
        case Channel.DEFAULT:
            yield Violation(f"{field}.channel", "DEFAULT has no address; name the channel")
        case Channel.EMAIL:
            if not _EMAIL.fullmatch(value):
                yield Violation(f"{field}.value", f"{known!a} is not an e-mail address, write it like lin@example.com")
        case Channel.SMS:
            if not _PHONE.fullmatch(value):
                yield Violation(f"{field}.value", f"{known!a} is not a telephone number, write it like +8613800000000")
        case _:
            if not _PLACE.fullmatch(value):
                yield Violation(
                    f"{field}.value",
                    f"{known!a} is neither a place in the controller's settings nor a number; see patchctl notifications channels",
                )


def _zone(name: str) -> Iterator[Violation]:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        yield Violation("time_zone", f"{name[:MAX_NAME]!a} is not a time zone, write it like Asia/Shanghai or UTC")


def _key(prefix: str, key: ShiftKey) -> Iterator[Violation]:
    for field, value in (("scenario", key.scenario), ("role", key.role)):
        if not _WORD.fullmatch(value):
            yield Violation(
                f"{prefix}{field}",
                f"{value[:80]!a} must have 1 to 64 letters, digits, _ . or -, a letter or digit first",
            )


def _person(field: str, name: str) -> Iterator[Violation]:
    if not 0 < len(name) <= MAX_NAME or not name.isprintable() or any(c in name for c in "/,:") or name.strip() != name:
        yield Violation(field, f"{name[:80]!a} must have 1 to {MAX_NAME} printable characters without / , and :")


def _note(text: str, field: str = "note") -> Iterator[Violation]:
    if len(text) > MAX_NOTE or not text.isprintable():
        yield Violation(field, f"must have at most {MAX_NOTE} printable characters")


def _done(wrong: list[Violation]) -> None:
    if wrong:
        raise InvalidArgument(tuple(wrong[:20]))
