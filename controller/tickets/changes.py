"""What every move is made of: runs and batches put in their places, with the counts that belong to them. machine.py uses it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from common.errors import NotFound
from controller.fleet.model import InstanceId
from controller.tickets.model import (
    Batch,
    BatchState,
    Counts,
    Outcome,
    Run,
    RunState,
    Ticket,
    TicketState,
)
from controller.tickets.suspension import failures, is_failure

_ENDED_AS: Final[Mapping[Outcome, RunState]] = {
    Outcome.SUCCEEDED: RunState.FINISHED,
    Outcome.SKIPPED: RunState.FINISHED,
    Outcome.FAILED: RunState.ABNORMAL,
    Outcome.TIMEOUT: RunState.ABNORMAL,
    Outcome.UNREACHABLE: RunState.ABNORMAL,
    Outcome.CANCELED: RunState.CANCELED,
}


def over(batch: Batch) -> bool:
    """Say whether no run of the batch is READY or out."""
    return not (batch.counts.ready or batch.counts.processing)


def unfinished(ticket: Ticket) -> bool:
    """Say whether any run of the ticket is READY or out."""
    return bool(ticket.counts.ready or ticket.counts.processing)


def run_of(ticket: Ticket, instance: InstanceId) -> Run:
    """Return an instance's run; raise NotFound."""
    if (run := ticket.runs.get(instance)) is None:
        raise NotFound("instance", instance, f"ticket {ticket.id} does not have it")
    return run


def ended_run(ticket: Ticket, run: Run, outcome: Outcome, at: datetime, error: str = "") -> Run:
    """Return a run as it is once it has ended. What fails again after it was forgiven stays forgiven until it is retried."""
    policy = ticket.spec.suspension_policy
    ended = replace(run, state=_ENDED_AS[outcome], outcome=outcome, error=error, ended_at=at, waits_for="")
    if not (is_failure(run, policy) and is_failure(ended, policy)):
        ended = replace(ended, pardons=ticket.pardons)
    return ended.with_step("ended", at)


def unended(ticket: Ticket, batch: Batch, states: Iterable[RunState], at: datetime) -> list[Run]:
    """Return the runs of a batch in these states as they are once canceled."""
    runs = (ticket.runs[member] for member in batch.members)
    return [ended_run(ticket, run, Outcome.CANCELED, at) for run in runs if run.state in states]


def with_runs(ticket: Ticket, changed: Sequence[Run]) -> Ticket:
    """Put changed runs in their places: the runs, who is out or waits, all counts, and what is to be saved."""
    if not changed:
        return ticket
    counts, per_batch, forgiven = ticket.counts, dict[int, Counts](), ticket.forgiven
    with ticket.runs.mutate() as runs, ticket.out.mutate() as out, ticket.waiting.mutate() as waiting:
        for run in changed:
            before = runs[run.instance_id]
            if (source := before.bucket) != (to := run.bucket):
                counts = counts.moved(source, to)
                batch_counts = per_batch.get(run.batch) or ticket.batches[run.batch].counts
                per_batch[run.batch] = batch_counts.moved(source, to)
                forgiven += is_forgiven(ticket, run) - is_forgiven(ticket, before)
            runs[run.instance_id] = run
            if run.state is RunState.PROCESSING:
                out[run.instance_id] = run.id(ticket.id)
            else:
                out.pop(run.instance_id, None)
            if run.waits_for:
                waiting[run.instance_id] = run.waits_for
            elif before.waits_for:
                waiting.pop(run.instance_id, None)
        all_runs, all_out, all_waiting = runs.finish(), out.finish(), waiting.finish()
    with ticket.batches.mutate() as batches:
        for number, batch_counts in per_batch.items():
            batches[number] = replace(batches[number], counts=batch_counts)
        all_batches = batches.finish()
    return replace(
        ticket,
        runs=all_runs,
        out=all_out,
        waiting=all_waiting,
        batches=all_batches,
        counts=counts,
        forgiven=forgiven,
        unsaved_runs=ticket.unsaved_runs.union(run.instance_id for run in changed),
        unsaved_batches=ticket.unsaved_batches.union(per_batch) if per_batch else ticket.unsaved_batches,
    )


def is_forgiven(ticket: Ticket, run: Run) -> bool:
    """Say whether a run is a failure that a Continue or Retry forgave."""
    return run.pardons < ticket.pardons and is_failure(run, ticket.spec.suspension_policy)


def pardoned(ticket: Ticket) -> Ticket:
    """Forgive the failures that there are; what fails from now on is counted afresh."""
    return replace(ticket, pardons=ticket.pardons + 1, forgiven=failures(ticket.counts, ticket.spec.suspension_policy))


def with_batch(ticket: Ticket, batch: Batch) -> Ticket:
    """Put a changed batch in its place, and note that it is to be saved."""
    return replace(
        ticket,
        batches=ticket.batches.set(batch.number, batch),
        unsaved_batches=ticket.unsaved_batches | {batch.number},
    )


def with_cursor(ticket: Ticket, number: int) -> Ticket:
    """Move the cursor of a batch past all that has left READY or was passed over."""
    batch = ticket.batches[number]
    cursor = batch.cursor
    while cursor < len(batch.members):
        run = ticket.runs[batch.members[cursor]]
        if run.state is RunState.READY and not run.waits_for:
            break
        cursor += 1
    return ticket if cursor == batch.cursor else with_batch(ticket, replace(batch, cursor=cursor))


def closed(batch: Batch, at: datetime) -> Batch:
    """Return a batch as it is once all its runs have ended."""
    state = BatchState.ABNORMAL if batch.counts.ended_badly else BatchState.FINISHED
    return replace(batch, state=state, ended_at=batch.ended_at or at)


def settled(ticket: Ticket, number: int, at: datetime) -> Ticket:
    """Give a batch that has nothing out the state that fits.

    BatchEnded ends the current batch of a ticket that is PROCESSING. Any other batch ends here: while the ticket is held or
    suspended, after a late result, or when a retried batch took the turn of one that still had runs out.
    """
    batch = ticket.batches[number]
    if batch.counts.processing or batch.state is BatchState.CANCELED:
        return ticket
    runs_now = (
        ticket.state is TicketState.PROCESSING and number == ticket.current and batch.state is not BatchState.ABNORMAL
    )
    if over(batch):
        if runs_now:
            return ticket
        ticket = with_batch(ticket, closed(batch, at))
        return advanced(ticket) if number == ticket.current else ticket
    if ticket.state is TicketState.ABNORMAL or batch.state is BatchState.ABNORMAL:
        state = BatchState.ABNORMAL if batch.counts.ended_badly else BatchState.READY
    else:
        state = batch.state if number == ticket.current else BatchState.READY
    return ticket if state is batch.state else with_batch(ticket, replace(batch, state=state))


def advanced(ticket: Ticket) -> Ticket:
    """Go on to the next batch that has a READY run or some out, in number order, then from 1 again; stay when there is none.

    Looking from the current batch on makes each step short: only a retry can have left something behind it. The soak time
    begins when the batch before ended.
    """
    if not unfinished(ticket):
        return ticket
    last = len(ticket.batches)
    for number in _around(ticket.current, last):
        if not over(ticket.batches[number]):
            soak, ended_at = ticket.spec.batch_policy.soak, ticket.batches[ticket.current].ended_at
            soak_until = ended_at + soak if soak and ended_at is not None else None
            ticket = replace(ticket, current=number, soak_until=soak_until)
            return ticket if ticket.state is TicketState.ABNORMAL else opened(ticket)
    return ticket


def _around(current: int, last: int) -> Iterable[int]:
    yield from range(current + 1, last + 1)
    yield from range(1, current)


def opened(ticket: Ticket) -> Ticket:
    """Let a batch that was cut off by a suspension take its turn again."""
    batch = ticket.batches[ticket.current]
    if batch.state is not BatchState.ABNORMAL:
        return ticket
    return with_batch(ticket, replace(batch, state=BatchState.READY))


def concluded(ticket: Ticket, at: datetime) -> Ticket:
    """Finish an ABNORMAL ticket once nothing abnormal and nothing unsent is left in it."""
    if ticket.state is not TicketState.ABNORMAL or unfinished(ticket):
        return ticket
    if any(batch.state is BatchState.ABNORMAL for batch in ticket.batches.values()):
        return ticket
    return replace(ticket, state=TicketState.FINISHED, abnormal_cause=None, ended_at=at)
