"""What a ticket waits for, said as a value; people's words are made where it is printed."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from controller.tickets.model import WAITS_FOR_AGENT, Gate, Ticket, TicketState
from controller.tickets.plan import offline_until


class WaitsFor(StrEnum):
    """Why nothing of a ticket is out although runs are left."""

    CONTINUE = "CONTINUE"
    SOAK = "SOAK"
    AGENTS = "AGENTS"
    OTHER_TICKETS = "OTHER_TICKETS"


def waits_for(ticket: Ticket) -> tuple[WaitsFor, datetime | None] | None:
    """Return what a ticket waits for and until when at most; None when it does not wait, or for its own runs only.

    What its runs wait for is known of a ticket with its runs, not of a head.
    """
    if ticket.gate is Gate.WAITING and ticket.state in (TicketState.PAUSED, TicketState.ABNORMAL):
        return WaitsFor.CONTINUE, None
    if ticket.state is not TicketState.PROCESSING or ticket.counts.processing:
        return None
    if ticket.soak_until is not None and not ticket.waiting:
        return WaitsFor.SOAK, ticket.soak_until
    if WAITS_FOR_AGENT in ticket.waiting.values():
        return WaitsFor.AGENTS, offline_until(ticket)
    return (WaitsFor.OTHER_TICKETS, None) if ticket.waiting else None
