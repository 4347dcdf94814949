"""What operators' events, and the end of a ticket's own time, make of a ticket. machine.py calls it; the table of moves has been asked."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import datetime, timedelta

from common.clock import format_duration
from common.errors import NotFound
from controller.tickets.changes import (
    advanced,
    closed,
    ended_run,
    opened,
    over,
    pardoned,
    run_of,
    settled,
    unended,
    with_batch,
    with_runs,
)
from controller.tickets.gate import CANARY
from controller.tickets.model import (
    AbnormalCause,
    Batch,
    BatchCanceled,
    BatchRetried,
    BatchState,
    Continued,
    Ended,
    Gate,
    Outcome,
    Run,
    RunCanceled,
    RunsRetried,
    RunState,
    Ticket,
    TicketState,
    TimedOut,
)
from controller.tickets.moves import refused


def continued(ticket: Ticket, event: Continued) -> Ticket:
    """Release a ticket that is held or suspended."""
    if ticket.state is TicketState.PAUSED:
        ticket = replace(ticket, expires_at=ticket.expires_at or expiry(ticket, event.at))
        return replace(ticket, gate=Gate.OPEN) if ticket.gate is Gate.WAITING else ticket
    if ticket.abnormal_cause is not AbnormalCause.SUSPENDED:
        raise refused(ticket, event)
    ticket = pardoned(ticket)
    gate = Gate.OPEN if over(ticket.batches[CANARY]) else ticket.gate
    ticket = replace(ticket, gate=gate, abnormal_cause=None, ended_at=None, expires_at=expiry(ticket, event.at))
    return opened(ticket) if ticket.batches[ticket.current].counts.ready else ticket


def expiry(ticket: Ticket, at: datetime) -> datetime | None:
    """Return when the ticket's own time is over if it begins now."""
    return at + ticket.spec.ticket_timeout if ticket.spec.ticket_timeout > timedelta(0) else None


def ended(ticket: Ticket, event: Ended) -> Ticket:
    """Cancel what has not ended."""
    changed, cut = list[Run](), list[int]()
    for batch in ticket.batches.values():
        if not over(batch):
            cut.append(batch.number)
            changed += unended(ticket, batch, (RunState.READY, RunState.PROCESSING), event.at)
    ticket = with_runs(ticket, changed)
    for number in cut:
        batch = ticket.batches[number]
        ticket = with_batch(ticket, replace(batch, state=BatchState.CANCELED, ended_at=event.at))
    ticket = settled(replace(ticket, state=TicketState.CANCELED), ticket.current, event.at)
    return replace(ticket, abnormal_cause=None, note=event.reason, ended_at=event.at, soak_until=None)


def timed_out(ticket: Ticket, event: TimedOut) -> tuple[Ticket, TicketState]:
    """Give up what is out (TIMEOUT) and cancel what was not sent; with an abnormal batch the ticket is ABNORMAL, else CANCELED."""
    if ticket.expires_at is None or event.at < ticket.expires_at:
        raise refused(ticket, event, instead="let it go on: it has time left")
    length = format_duration(ticket.spec.ticket_timeout)
    unsent, out = ticket.counts.ready, ticket.counts.processing
    changed, cut = list[Run](), list[int]()
    for batch in ticket.batches.values():
        if not over(batch):
            cut.append(batch.number)
            for run in (ticket.runs[member] for member in batch.members):
                if run.state is RunState.PROCESSING:
                    why = f"no answer when the ticket's {length} were over"
                    changed.append(ended_run(ticket, run, Outcome.TIMEOUT, event.at, why))
                elif run.state is RunState.READY:
                    why = f"not sent before the ticket's {length} were over"
                    changed.append(ended_run(ticket, run, Outcome.CANCELED, event.at, why))
    ticket = with_runs(ticket, changed)
    for number in cut:
        batch = ticket.batches[number]
        if batch.counts.canceled and not batch.counts.ended_badly:
            batch = replace(batch, state=BatchState.CANCELED, ended_at=event.at)
        ticket = with_batch(ticket, closed(batch, event.at) if batch.state is not BatchState.CANCELED else batch)
    batch = ticket.batches[ticket.current]
    if batch.state in (BatchState.READY, BatchState.PROCESSING):
        ticket = with_batch(ticket, closed(batch, event.at))
    abnormal = any(batch.state is BatchState.ABNORMAL for batch in ticket.batches.values())
    ticket = replace(
        ticket,
        abnormal_cause=AbnormalCause.TIMED_OUT if abnormal else None,
        note=f"its {length} were over: {unsent} not sent, {out} without an answer",
        ended_at=event.at,
        timed_out_at=event.at,
        soak_until=None,
    )
    return ticket, TicketState.ABNORMAL if abnormal else TicketState.CANCELED


def batches_retried(ticket: Ticket, event: BatchRetried) -> Ticket:
    """Run again what did not succeed in abnormal batches."""
    runs = [
        run
        for batch in _abnormal(ticket, event, event.batch)
        for run in (ticket.runs[member] for member in batch.members)
        if run.state is RunState.ABNORMAL
    ]
    return _retried(ticket, runs, event.at)


def runs_retried(ticket: Ticket, event: RunsRetried) -> Ticket:
    """Run these again, or all that failed."""
    runs = list[Run]()
    if not event.instances:
        for number in sorted(ticket.batches):
            batch = ticket.batches[number]
            if batch.counts.ended_badly and batch.state is not BatchState.CANCELED:
                runs += [r for r in (ticket.runs[m] for m in batch.members) if r.state is RunState.ABNORMAL]
        if not runs:
            raise refused(ticket, event, f"{ticket.state.value} without a failed instance")
    for instance in dict.fromkeys(event.instances):
        run = run_of(ticket, instance)
        subject = f"instance {run.instance_name}"
        if run.state is not RunState.ABNORMAL:
            raise refused(ticket, event, run.state.value, subject, "only a run that failed can be retried")
        if ticket.batches[run.batch].state is BatchState.CANCELED:
            given_up = f"batch {run.batch} was given up"
            raise refused(ticket, event, "in a batch that is CANCELED", subject, f"{given_up}: create a new ticket")
        runs.append(run)
    return _retried(ticket, runs, event.at)


def _retried(ticket: Ticket, runs: list[Run], at: datetime) -> Ticket:
    """Make failed runs READY again, and let the first of their batches take its turn; after ABNORMAL the rest is forgiven."""
    per_batch = defaultdict[int, set[str]](set)
    for run in runs:
        per_batch[run.batch].add(run.instance_id)
    ticket = with_runs(
        ticket,
        [
            replace(run, state=RunState.READY, outcome=None, error="", ended_at=None).with_step(
                "queued", at, run.attempt + 1
            )
            for run in runs
        ],
    )
    for number, members in per_batch.items():
        batch = ticket.batches[number]
        place = next(place for place, member in enumerate(batch.members) if member in members)
        state = BatchState.READY if batch.state is BatchState.ABNORMAL else batch.state
        batch = replace(batch, state=state, cursor=min(batch.cursor, place), ended_at=None)
        ticket = with_batch(ticket, batch)
    if CANARY in per_batch and ticket.gate is Gate.WAITING:
        ticket = replace(ticket, gate=Gate.CLOSED)
    if ticket.state is TicketState.ABNORMAL:
        ticket = replace(pardoned(ticket), expires_at=expiry(ticket, at), timed_out_at=None)
    ran = ticket.current
    ticket = replace(ticket, current=min(per_batch), abnormal_cause=None, ended_at=None, soak_until=None)
    return settled(ticket, ran, at)


def batches_canceled(ticket: Ticket, event: BatchCanceled) -> Ticket:
    """Give abnormal batches up."""
    for batch in _abnormal(ticket, event, event.batch):
        ticket = with_runs(ticket, unended(ticket, batch, (RunState.READY,), event.at))
        given_up = ticket.batches[batch.number]
        ticket = with_batch(
            ticket, replace(given_up, state=BatchState.CANCELED, ended_at=given_up.ended_at or event.at)
        )
    return advanced(ticket) if ticket.batches[ticket.current].state is BatchState.CANCELED else ticket


def run_canceled(ticket: Ticket, event: RunCanceled) -> Ticket:
    """Give one run up that has not ended."""
    run = run_of(ticket, event.instance)
    if run.state not in (RunState.READY, RunState.PROCESSING):
        raise refused(
            ticket,
            event,
            run.state.value,
            f"instance {run.instance_name}",
            "only a run that has not ended can be canceled",
        )
    ticket = with_runs(ticket, [ended_run(ticket, run, Outcome.CANCELED, event.at)])
    return settled(ticket, run.batch, event.at)


def _abnormal(ticket: Ticket, event: BatchRetried | BatchCanceled, number: int) -> list[Batch]:
    """Return the abnormal batches that an operator means, by number."""
    if number == 0:
        found = [batch for batch in ticket.batches.values() if batch.state is BatchState.ABNORMAL]
        if not found:
            raise refused(ticket, event, f"{ticket.state.value} without an abnormal batch")
        return sorted(found, key=lambda batch: batch.number)
    if (one := ticket.batches.get(number)) is None:
        raise NotFound("batch", str(number), f"ticket {ticket.id} has batches 1 to {len(ticket.batches)}")
    if one.state is not BatchState.ABNORMAL:
        raise refused(
            ticket,
            event,
            one.state.value,
            f"batch {number}",
            "only a batch that is ABNORMAL can be retried or canceled",
        )
    return [one]
