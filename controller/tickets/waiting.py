"""What a ticket waits for although it could go on: its maintenance window (SEMANTICS §1)."""

from __future__ import annotations

from datetime import datetime

from controller.schedules.windows import is_open, next_opening
from controller.tickets.model import Ticket, TicketState


def opens_at(ticket: Ticket, now: datetime) -> datetime | None:
    """Return when the window opens for which a ticket waits, later than now; None when it does not wait for one.

    Runs that are out are not held up: they finish when the window has closed.
    """
    windows = ticket.spec.maintenance_windows
    if not windows or ticket.state not in (TicketState.READY, TicketState.PROCESSING) or not ticket.counts.ready:
        return None
    return None if is_open(windows, now) else next_opening(windows, now)


def may_send(ticket: Ticket, now: datetime) -> bool:
    """Say whether the ticket's windows let a run be sent now."""
    return is_open(ticket.spec.maintenance_windows, now)
