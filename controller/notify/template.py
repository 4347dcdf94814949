"""What a message says: a subject, a text for people, a document for machines. Short and calm: what happened, numbers, the command to
look closer. Names and reasons that others wrote are shown without control characters; nothing secret is known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, assert_never

from controller.notify.model import ExceptionFacts, Message, Notice, NotificationEvent, TicketFacts

SCHEMA: Final = "patchwarden.notification/1"
"""What documents call their form. Fields may be added; none changes its meaning or goes."""
_MAX_SUBJECT: Final = 120


@dataclass(frozen=True, slots=True)
class Rendered:
    """What is sent."""

    subject: str
    text: str
    document: dict[str, Any]


def render(notice: Notice, message: Message) -> Rendered:
    """Say a notice to the person of a message. The same notice and message give the same words, whenever they are sent."""
    subject, lines, commands = _words(notice)
    subject = clean(subject)
    if len(subject) > _MAX_SUBJECT:
        subject = subject[: _MAX_SUBJECT - 1] + "…"
    text = "\n".join(clean(line) for line in lines)
    return Rendered(subject, text, _document(notice, message, subject, text, commands))


def clean(text: str) -> str:
    """Return text in which control characters are shown, not sent: a ticket's name may hold what a terminal obeys."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _words(notice: Notice) -> tuple[str, list[str], list[str]]:
    if notice.ticket is not None:
        return _of_ticket(notice.event, notice.at, notice.ticket)
    if notice.exception is not None:
        return _of_exception(notice.exception)
    whom = notice.asked_by or "somebody"
    return (
        "Patchwarden: a test",
        [f"{whom} asked for this test at {_when(notice.at)}. You are reached; there is nothing to do."],
        [],
    )


def _of_ticket(event: NotificationEvent, at: datetime, facts: TicketFacts) -> tuple[str, list[str], list[str]]:
    named = f"{facts.id} ({facts.name})" if facts.name else facts.id
    look = f"patchctl ticket show {facts.id}"
    of = f"{facts.total} {'instance' if facts.total == 1 else 'instances'}"
    match event:
        case NotificationEvent.START_EXECUTION:
            batches = f"{facts.batches} {'batch' if facts.batches == 1 else 'batches'}"
            stops = (
                f"It stops at the {_ordinal(facts.stops_at)} failed instance."
                if facts.stops_at
                else "It never stops by itself."
            )
            commands = [f"patchctl ticket watch {facts.id}"]
            subject = f"{named} started: {of}"
            said = [f"Ticket {named} of {facts.created_by} started at {_when(at)}: {of} in {batches}. {stops}"]
        case NotificationEvent.EXECUTION_FAILED if facts.abnormal_cause == "SUSPENDED":
            commands = [look, f"patchctl ticket continue {facts.id}"]
            subject = f"{named} stopped itself: {facts.ended_badly} of {of} failed"
            said = [
                f"Ticket {named} stopped itself at {_when(at)}: {facts.ended_badly} of {of} failed. Nothing more is sent."
            ]
            said += ["", f"  {_counts(facts)}"]
        case NotificationEvent.EXECUTION_FAILED:
            commands = [look, f"patchctl ticket retry {facts.id}"]
            subject = f"{named} ended with failures: {facts.ended_badly} of {of}"
            said = [f"Ticket {named} ended at {_when(at)}: {facts.ended_badly} of {of} failed, within its rate."]
            said += ["", f"  {_counts(facts)}"]
        case NotificationEvent.EXECUTION_SUCCEEDED:
            commands = [look, "patchctl report summary"]
            subject = f"{named} finished: {facts.succeeded} of {of} succeeded"
            said = [
                f"Ticket {named} finished at {_when(at)}: {facts.succeeded} of {of} succeeded.",
                "",
                f"  {_counts(facts)}",
            ]
        case NotificationEvent.EXCEPTION_EXPIRING | NotificationEvent.TEST:
            raise ValueError(f"{event} is not of a ticket")
        case _:
            assert_never(event)
    return subject, [*said, "", *_ways(commands)], commands


def _of_exception(facts: ExceptionFacts) -> tuple[str, list[str], list[str]]:
    whom = {"INSTANCE": f"instance {facts.scope_value}", "GROUP": f"group {facts.scope_value}"}.get(
        facts.scope, "all instances"
    )
    what = f"{facts.match.lower() if facts.match != 'CVE' else 'CVE'} {facts.match_value}".replace("CVE CVE-", "CVE-")
    commands = ["patchctl exception list"]
    return (
        f"Exception {facts.id} for {what} ends on {facts.expires_at.astimezone(UTC):%Y-%m-%d}",
        [
            f"Exception {facts.id}, {what} on {whom}, ends at {_when(facts.expires_at)}.",
            "What it excuses counts as non-compliant again from then on.",
            "",
            f"  reason: {facts.reason}",
            "",
            *_ways(commands),
        ],
        commands,
    )


def _ways(commands: list[str]) -> Iterator[str]:
    titles = ("Look closer:", "Then:       ")
    yield from (f"{title} {said}" for title, said in zip(titles, commands, strict=False))


def _counts(facts: TicketFacts) -> str:
    buckets = (
        ("succeeded", facts.succeeded),
        ("failed", facts.failed),
        ("timeout", facts.timeout),
        ("unreachable", facts.unreachable),
        ("skipped", facts.skipped),
        ("canceled", facts.canceled),
        ("out", facts.processing),
        ("not started", facts.ready),
    )
    return "   ".join(f"{name} {count}" for name, count in buckets if count)


def _document(notice: Notice, message: Message, subject: str, text: str, commands: list[str]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "id": message.id,
        "event": notice.event.value,
        "event_id": notice.id,
        "at": _iso(notice.at),
        "account": notice.account,
        "contact": message.contact,
        "subject": subject,
        "text": text,
        "commands": commands,
    }
    if notice.ticket is not None:
        document["ticket"] = asdict(notice.ticket)
    if notice.exception is not None:
        document["exception"] = {**asdict(notice.exception), "expires_at": _iso(notice.exception.expires_at)}
    return document


def _iso(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _when(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
