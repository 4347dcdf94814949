"""Who is told what: frozen records of the outbox, of contacts and of shifts (SEMANTICS §1, Scheduled task).

A *notice* is what happened and for whom it is meant; it is stored in the transaction of what happened. When it is sent it becomes
one *message* for each person and channel. A notice's id is made from what happened, a message's from its notice: the same event
cannot be told twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, time
from enum import StrEnum

from controller.fleet.model import DEFAULT_ACCOUNT


class NotificationEvent(StrEnum):
    """What somebody can be told of. The first three are for a ticket's policy to choose; the others are sent without one."""

    START_EXECUTION = "START_EXECUTION"
    EXECUTION_FAILED = "EXECUTION_FAILED"
    EXECUTION_SUCCEEDED = "EXECUTION_SUCCEEDED"
    EXCEPTION_EXPIRING = "EXCEPTION_EXPIRING"
    TEST = "TEST"


TICKET_EVENTS = (
    NotificationEvent.START_EXECUTION,
    NotificationEvent.EXECUTION_FAILED,
    NotificationEvent.EXECUTION_SUCCEEDED,
)


class Channel(StrEnum):
    """How somebody is told. DEFAULT is what the person chose."""

    DEFAULT = "DEFAULT"
    SMS = "SMS"
    WECOM = "WECOM"
    DINGTALK = "DINGTALK"
    LARK = "LARK"
    EMAIL = "EMAIL"
    WEBHOOK = "WEBHOOK"


@dataclass(frozen=True, slots=True)
class ShiftKey:
    """Names a shift within its account."""

    scenario: str
    role: str

    def __str__(self) -> str:
        return f"{self.scenario}/{self.role}"


@dataclass(frozen=True, slots=True)
class Recipients:
    """For whom a notice is meant: these people, and whoever is on duty in the shift at the instant of the event."""

    people: tuple[str, ...] = ()
    """Names of contacts."""
    shift: ShiftKey | None = None
    channel: Channel = Channel.DEFAULT


@dataclass(frozen=True, slots=True)
class NotificationPolicy:
    """Of which events of a ticket whom to tell. Without an event nobody is told."""

    events: tuple[NotificationEvent, ...] = ()
    """In the order of NotificationEvent, each once."""
    recipients: Recipients = Recipients()


@dataclass(frozen=True, slots=True)
class TicketFacts:
    """A ticket at the instant of an event: what a message says of it."""

    id: str
    name: str
    state: str
    abnormal_cause: str
    created_by: str
    batches: int
    total: int
    ready: int
    processing: int
    succeeded: int
    failed: int
    timeout: int
    unreachable: int
    skipped: int
    canceled: int
    stops_at: int
    """The ticket stops at this failed instance; 0 means never."""

    @property
    def ended_badly(self) -> int:
        """How many runs ended and did not succeed."""
        return self.failed + self.timeout + self.unreachable


@dataclass(frozen=True, slots=True)
class ExceptionFacts:
    """An exception that ends soon: what a message says of it."""

    id: str
    scope: str
    scope_value: str
    match: str
    match_value: str
    reason: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Notice:
    """Something happened that somebody wants to be told of. Exactly one of `ticket` and `exception` is there, neither for TEST."""

    id: str
    """What happened, and which time: "T-7Q4M/EXECUTION_FAILED/2"."""
    event: NotificationEvent
    at: datetime
    recipients: Recipients
    account: str = DEFAULT_ACCOUNT
    ticket: TicketFacts | None = None
    exception: ExceptionFacts | None = None
    asked_by: str = ""
    """TEST: who asked for it."""


class MessageState(StrEnum):
    """State of a message."""

    WAITING = "WAITING"
    SENT = "SENT"
    GIVEN_UP = "GIVEN_UP"


@dataclass(frozen=True, slots=True)
class Message:
    """One notice for one person over one channel."""

    id: str
    """Notice, person and channel: the idempotency key, which receivers see too."""
    notice_id: str
    event: NotificationEvent
    at: datetime
    """When it happened."""
    account: str
    contact: str
    """The person's name; empty when nobody could be found."""
    channel: Channel
    """Never DEFAULT, unless the person could not be found."""
    address: str
    """Where it goes; empty when there is no way to reach the person, then it is GIVEN_UP."""
    state: MessageState = MessageState.WAITING
    attempts: int = 0
    since: datetime | None = None
    """When its attempts began: giving up counts from here. None before the first."""
    next_attempt_at: datetime | None = None
    """When it is tried next; None when it is not WAITING."""
    sent_at: datetime | None = None
    error: str = ""
    """Why the last attempt failed, or why it cannot be sent."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a person is reached over one channel."""

    channel: Channel
    value: str


@dataclass(frozen=True, slots=True)
class Contact:
    """A person, or a system that listens, with the ways to reach them."""

    name: str
    """Unique in its account; an operator's own name, so that owners of exceptions are found."""
    addresses: tuple[Address, ...] = ()
    """In the order of Channel, at most one for each."""
    default_channel: Channel = Channel.EMAIL
    """What DEFAULT means for them."""
    note: str = ""
    account: str = DEFAULT_ACCOUNT

    def address(self, channel: Channel) -> str:
        """Return where they are reached over a channel, empty when they are not."""
        return next((a.value for a in self.addresses if a.channel is channel), "")


@dataclass(frozen=True, slots=True)
class Rotation:
    """People who take turns. A turn begins every `days` days at each hand-over time, counted from the first day."""

    people: tuple[str, ...]
    """Names of contacts, in the order of their turns."""
    first_day: date
    """Local day on which the first person's first turn begins."""
    hand_over: tuple[time, ...]
    """Local times, ascending. More than one only when `days` is 1: day and night turns."""
    days: int = 7
    last_day: date | None = None
    """No turn begins after this local day; the last one ends as any other. None: for ever."""


@dataclass(frozen=True, slots=True)
class Override:
    """Somebody else is on duty from one instant until another, instead of everybody in the rotations."""

    id: str
    people: tuple[str, ...]
    """Names of contacts."""
    begins_at: datetime
    ends_at: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Shift:
    """Who is on duty for one scenario in one role."""

    key: ShiftKey
    time_zone: str
    """IANA name; the hand-over times are local times in it."""
    rotations: tuple[Rotation, ...]
    """All that apply at an instant put somebody on duty."""
    overrides: tuple[Override, ...] = field(default=())
    """In the order they were made; of several at one instant the last wins."""
    note: str = ""
    account: str = DEFAULT_ACCOUNT
