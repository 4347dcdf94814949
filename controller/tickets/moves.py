"""The legal moves of a ticket as a table, and the words with which any other is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from common.errors import IllegalMove
from controller.tickets.model import (
    AbnormalCause,
    BatchCanceled,
    BatchEnded,
    BatchRetried,
    Completed,
    Continued,
    Dispatched,
    Ended,
    Event,
    Held,
    Lost,
    PassedOver,
    Paused,
    Progressed,
    Reported,
    RunCanceled,
    RunsRetried,
    Started,
    Suspended,
    Ticket,
    TicketState,
    TimedOut,
)

_READY, _PROCESSING, _PAUSED = TicketState.READY, TicketState.PROCESSING, TicketState.PAUSED
_ABNORMAL, _CANCELED, _FINISHED = TicketState.ABNORMAL, TicketState.CANCELED, TicketState.FINISHED

MOVES: Final[Mapping[tuple[TicketState, type[Event]], TicketState]] = {
    (_READY, Started): _PROCESSING,
    (_READY, Paused): _PAUSED,
    (_READY, Ended): _CANCELED,
    (_READY, RunCanceled): _READY,
    (_PROCESSING, Dispatched): _PROCESSING,
    (_PROCESSING, PassedOver): _PROCESSING,
    (_PROCESSING, BatchEnded): _PROCESSING,
    (_PROCESSING, Suspended): _ABNORMAL,
    (_PROCESSING, Held): _PAUSED,
    (_PROCESSING, TimedOut): _CANCELED,  # or ABNORMAL, when a batch is
    (_PROCESSING, Completed): _FINISHED,  # or ABNORMAL, when a batch is
    (_PROCESSING, Paused): _PAUSED,
    (_PROCESSING, Ended): _CANCELED,
    (_PROCESSING, BatchRetried): _PROCESSING,
    (_PROCESSING, RunsRetried): _PROCESSING,
    (_PROCESSING, BatchCanceled): _PROCESSING,
    (_PROCESSING, RunCanceled): _PROCESSING,
    (_PAUSED, Continued): _PROCESSING,
    (_PAUSED, Ended): _CANCELED,
    (_PAUSED, TimedOut): _CANCELED,  # or ABNORMAL, when a batch is
    (_PAUSED, BatchRetried): _PAUSED,  # it is retried when the ticket continues
    (_PAUSED, RunsRetried): _PAUSED,
    (_PAUSED, BatchCanceled): _PAUSED,
    (_PAUSED, RunCanceled): _PAUSED,
    (_ABNORMAL, Continued): _PROCESSING,  # only after a suspension
    (_ABNORMAL, Ended): _CANCELED,
    (_ABNORMAL, BatchRetried): _PROCESSING,
    (_ABNORMAL, RunsRetried): _PROCESSING,
    (_ABNORMAL, BatchCanceled): _ABNORMAL,  # or FINISHED, when nothing abnormal and nothing unsent is left
    (_ABNORMAL, RunCanceled): _ABNORMAL,  # likewise
} | {
    (state, event): state  # a late success can turn ABNORMAL into FINISHED
    for state in TicketState
    for event in (Progressed, Lost, Reported)
}

_CALLED: Final[Mapping[type[Event], str]] = {
    Started: "start",
    Dispatched: "sending a run",
    PassedOver: "passing over",
    Progressed: "progress",
    Lost: "giving up a run",
    Reported: "a result",
    BatchEnded: "the end of a batch",
    Suspended: "suspension",
    Held: "holding",
    TimedOut: "the end of its time",
    Completed: "completion",
    Paused: "pause",
    Continued: "continue",
    Ended: "end",
    BatchRetried: "retry",
    RunsRetried: "retry",
    BatchCanceled: "cancel",
    RunCanceled: "cancel",
}
_INSTEAD: Final[Mapping[TicketState, str]] = {
    _READY: "pause or end it",
    _PROCESSING: "pause it, end it, cancel an instance, or retry or cancel an abnormal batch",
    _PAUSED: "continue it, end it, or retry or cancel an abnormal batch",
    _ABNORMAL: "retry or cancel its abnormal batches, or end it",
    _CANCELED: "it is over: create a new ticket",
    _FINISHED: "it is over: create a new ticket",
}


def refused(ticket: Ticket, event: Event, state: str = "", subject: str = "", instead: str = "") -> IllegalMove:
    """Return the refusal of an event: what is in which state, and what can be done instead."""
    if not instead:
        instead = _INSTEAD[ticket.state]
        if ticket.state is _ABNORMAL and ticket.abnormal_cause is AbnormalCause.SUSPENDED:
            instead = f"continue it, {instead}"
    return IllegalMove(
        subject=f"ticket {ticket.id}" + (f" {subject}" if subject else ""),
        state=state or ticket.state.value,
        event=_CALLED[type(event)],
        allowed=instead,
    )
