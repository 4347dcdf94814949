"""What a ticket's notification policy wants to be told, noted on the ticket as values; the store puts them into the outbox.

START_EXECUTION: once, when the ticket becomes PROCESSING for the first time. EXECUTION_FAILED: each time it becomes ABNORMAL.
EXECUTION_SUCCEEDED: when it becomes FINISHED. An operator who ends a ticket is told nothing: he knows.
"""

from __future__ import annotations

from dataclasses import replace

from controller.notify.model import Notice, NotificationEvent, TicketFacts
from controller.tickets.model import Ticket, TicketState
from controller.tickets.suspension import stops_at


def noted(before: Ticket, after: Ticket) -> Ticket:
    """Return `after` with a notice of what happened between the two, if it is something to tell; the number rises in any case."""
    event = _event(before, after)
    if event is None:
        return after
    number, policy = before.notices + 1, after.spec.notification
    after = replace(after, notices=number)
    if event not in policy.events:
        return after
    notice = Notice(
        id=f"{after.id}/{event}/{number}",
        event=event,
        at=after.changed_at,
        recipients=policy.recipients,
        account=after.account,
        ticket=_facts(after),
    )
    return replace(after, unsaved_notices=(*after.unsaved_notices, notice))


def _event(before: Ticket, after: Ticket) -> NotificationEvent | None:
    if before.state is after.state:
        return None
    if after.state is TicketState.PROCESSING:
        return None if before.notices else NotificationEvent.START_EXECUTION
    if after.state is TicketState.ABNORMAL:
        return NotificationEvent.EXECUTION_FAILED
    if after.state is TicketState.FINISHED:
        return NotificationEvent.EXECUTION_SUCCEEDED
    return None


def _facts(ticket: Ticket) -> TicketFacts:
    counts = ticket.counts
    return TicketFacts(
        id=ticket.id,
        name=ticket.spec.name,
        state=ticket.state.value,
        abnormal_cause=ticket.abnormal_cause or "",
        created_by=ticket.created_by,
        batches=len(ticket.batches),
        total=counts.total,
        ready=counts.ready,
        processing=counts.processing,
        succeeded=counts.succeeded,
        failed=counts.failed,
        timeout=counts.timeout,
        unreachable=counts.unreachable,
        skipped=counts.skipped,
        canceled=counts.canceled,
        stops_at=stops_at(counts.total, ticket.spec.suspension_policy) or 0,
    )
