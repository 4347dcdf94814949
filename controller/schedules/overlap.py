"""Whether a task's earlier tickets let it fire again: no overlap of a task with itself unless it is asked for. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from controller.tickets.model import AbnormalCause, Ticket, TicketState

_OPEN = frozenset({TicketState.READY, TicketState.PROCESSING, TicketState.PAUSED})


def still_open(tickets: Iterable[Ticket]) -> str | None:
    """Say which ticket is still open and what to do about it; None when none is.

    A ticket is open while it can still send runs, and while some are out. So a suspended one is open: it stopped because too many
    failed, and to begin the same anew beside it would be what the suspension is to prevent. One that ended with failures within
    its rate is not.
    """
    for ticket in tickets:
        if ticket.state in _OPEN:
            return f"ticket {ticket.id} of the run before is still {ticket.state}; with allow_overlap runs may overlap"
        if ticket.abnormal_cause is AbnormalCause.SUSPENDED:
            return (
                f"ticket {ticket.id} of a run before is suspended; continue, retry, cancel or end it: "
                f"patchctl ticket show {ticket.id}"
            )
        if ticket.counts.processing:
            return f"ticket {ticket.id} of a run before is {ticket.state} and still has {ticket.counts.processing} runs out"
    return None
