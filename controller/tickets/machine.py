"""The ticket machine: which moves a ticket can make, and what it is after each (SEMANTICS §1, DESIGN §6).

Frozen records in, new records out; time is in the events. An event costs the same at ten runs and at 100,000: runs and batches
are in persistent maps and the counts are kept. Only an operator's Ended, BatchCanceled and BatchRetried touch many runs.

What holds after every move: the counts are those of the runs; `out` holds exactly the runs that are PROCESSING, never more than
max_in_flight, and runs are sent only from the current batch while no other has any out; a batch that is FINISHED, ABNORMAL or
CANCELED has none out; while any run is READY, the current batch has one, has some out, or awaits BatchEnded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from immutables import Map

from common.errors import NotFound
from controller.fleet.model import InstanceId
from controller.tickets.model import (
    AbnormalCause,
    Batch,
    BatchCanceled,
    BatchEnded,
    BatchRetried,
    BatchState,
    Completed,
    Continued,
    Counts,
    Dispatched,
    Ended,
    Event,
    Outcome,
    Paused,
    PlannedBatch,
    Reported,
    Run,
    RunCanceled,
    RunState,
    Started,
    Suspended,
    Ticket,
    TicketId,
    TicketSpec,
    TicketState,
)
from controller.tickets.moves import MOVES, refused
from controller.tickets.noting import noted
from controller.tickets.suspension import counted, failures, tripped

_ENDED_AS: Final[Mapping[Outcome, RunState]] = {
    Outcome.SUCCEEDED: RunState.FINISHED,
    Outcome.SKIPPED: RunState.FINISHED,
    Outcome.FAILED: RunState.ABNORMAL,
    Outcome.TIMEOUT: RunState.ABNORMAL,
    Outcome.UNREACHABLE: RunState.ABNORMAL,
    Outcome.CANCELED: RunState.CANCELED,
}
_GUESSED: Final = frozenset({Outcome.TIMEOUT, Outcome.UNREACHABLE})
_KNOWN: Final = frozenset({Outcome.SUCCEEDED, Outcome.FAILED})


def create(
    ticket_id: TicketId,
    spec: TicketSpec,
    planned: Sequence[PlannedBatch],
    created_by: str,
    at: datetime,
    request_id: str = "",
) -> Ticket:
    """Make a READY ticket of these batches; raise ValueError when they are none, empty, or name an instance twice."""
    runs, batches = dict[InstanceId, Run](), dict[int, Batch]()
    for batch in planned:
        members = tuple(target.id for target in batch.targets)
        if not members:
            raise ValueError(f"batch {batch.number} has no targets")
        runs |= {target.id: Run(target.id, target.name, batch.number) for target in batch.targets}
        batches[batch.number] = Batch(
            batch.number,
            members,
            Counts(ready=len(members)),
            region=batch.region,
            zone=batch.zone,
            application_group=batch.application_group,
        )
    total = sum(len(batch.members) for batch in batches.values())
    if not total or total != len(runs) or sorted(batches) != list(range(1, len(planned) + 1)):
        raise ValueError("a ticket needs targets, each in one batch, and batches numbered from 1")
    return Ticket(
        id=ticket_id,
        spec=spec,
        state=TicketState.READY,
        batches=Map(batches),
        runs=Map(runs),
        out=Map(),
        counts=Counts(ready=total),
        created_by=created_by,
        created_at=at,
        changed_at=at,
        request_id=request_id,
        unsaved_runs=frozenset(runs),
        unsaved_batches=frozenset(batches),
    )


def evolve(ticket: Ticket, event: Event) -> Ticket:
    """Return the ticket as it is after `event`; the very same object when the event changes nothing.

    Raise IllegalMove, which says what can be done instead, or NotFound for a batch or an instance that the ticket does not have.
    """
    state = MOVES.get((ticket.state, type(event)))
    if state is None:
        raise refused(ticket, event)
    match event:
        case Reported():
            after = _reported(ticket, event)
            if after is ticket:
                return ticket
        case Started():
            after = ticket
        case Dispatched():
            after = _dispatched(ticket, event)
        case BatchEnded():
            after = _batch_ended(ticket, event)
        case Suspended():
            after = _suspended(ticket, event)
        case Completed():
            after, state = _completed(ticket, event)
        case Paused(reason=reason):
            after = replace(ticket, note=reason)
        case Continued():
            after = _continued(ticket, event)
        case Ended():
            after = _ended(ticket, event)
        case BatchRetried():
            after = _batches_retried(ticket, event)
        case BatchCanceled():
            after = _batches_canceled(ticket, event)
        case RunCanceled():
            after = _run_canceled(ticket, event)
    return noted(ticket, _concluded(replace(after, state=state, changed_at=event.at), event.at))


def _dispatched(ticket: Ticket, event: Dispatched) -> Ticket:
    batch = ticket.batches[ticket.current]
    if tripped(ticket):
        raise refused(ticket, event, f"past its limit of failures ({counted(ticket)})", instead="it is to be suspended")
    if batch.counts.processing != ticket.counts.processing:
        raise refused(ticket, event, "waiting for the runs of another batch", instead="let them end first")
    if len(ticket.out) + len(event.instances) > ticket.spec.max_in_flight:
        out = f"{len(ticket.out)} of at most {ticket.spec.max_in_flight} runs out"
        raise refused(ticket, event, f"at its limit ({out})", instead=f"send fewer than {len(event.instances)}")
    if not event.instances or len(set(event.instances)) != len(event.instances):
        raise refused(ticket, event, "asked to send nothing, or one run twice", instead="name each instance once")
    changed = list[Run]()
    for instance in event.instances:
        run = _run(ticket, instance)
        if run.state is not RunState.READY or run.batch != ticket.current:
            raise refused(
                ticket,
                event,
                f"{run.state.value} in batch {run.batch}",
                f"instance {run.instance_name}",
                f"send READY runs of batch {ticket.current}",
            )
        changed.append(
            replace(
                run,
                state=RunState.PROCESSING,
                outcome=None,
                error="",
                attempt=run.attempt + 1,
                sent_at=event.at,
                deadline=event.at + ticket.spec.timeout,
                ended_at=None,
            )
        )
    ticket = _with_runs(ticket, changed)
    batch = ticket.batches[ticket.current]
    cursor = batch.cursor
    while cursor < len(batch.members) and ticket.runs[batch.members[cursor]].state is not RunState.READY:
        cursor += 1
    return _with_batch(
        ticket,
        replace(
            batch,
            state=BatchState.PROCESSING,
            cursor=cursor,
            started_at=batch.started_at or event.at,
            ended_at=None,
        ),
    )


def _reported(ticket: Ticket, event: Reported) -> Ticket:
    run = _run(ticket, event.instance)
    # What an agent says of a run is more true than what was guessed from its silence.
    late = ticket.state is not TicketState.CANCELED and run.outcome in _GUESSED and event.outcome in _KNOWN
    if event.attempt != run.attempt or not (run.state is RunState.PROCESSING or late):
        return ticket
    before = failures(ticket.counts, ticket.spec.suspension_policy)
    ticket = _with_runs(ticket, [_ended_run(run, event.outcome, event.at, event.error)])
    if late and (gone := before - failures(ticket.counts, ticket.spec.suspension_policy)) > 0:
        # One failure less. It is taken for a forgiven one while there are any: a doubt stops the ticket rather too early.
        ticket = replace(ticket, forgiven=max(0, ticket.forgiven - gone))
    return _settled(ticket, run.batch, event.at)


def _batch_ended(ticket: Ticket, event: BatchEnded) -> Ticket:
    batch = ticket.batches[ticket.current]
    if not over(batch) or batch.state not in (BatchState.READY, BatchState.PROCESSING):
        raise refused(
            ticket,
            event,
            batch.state.value,
            f"batch {batch.number}",
            "a batch ends once, when none of its runs is left",
        )
    return _advanced(_with_batch(ticket, _closed(batch, event.at)))


def _suspended(ticket: Ticket, event: Suspended) -> Ticket:
    if not tripped(ticket):
        raise refused(ticket, event, f"within its rate with {counted(ticket)} failures", instead="let it go on")
    ticket = replace(ticket, state=TicketState.ABNORMAL, abnormal_cause=AbnormalCause.SUSPENDED, ended_at=event.at)
    return _settled(ticket, ticket.current, event.at)


def _completed(ticket: Ticket, event: Completed) -> tuple[Ticket, TicketState]:
    if _unfinished(ticket) or ticket.batches[ticket.current].state in (BatchState.READY, BatchState.PROCESSING):
        raise refused(ticket, event, instead="a ticket completes when all its batches have ended")
    if any(batch.state is BatchState.ABNORMAL for batch in ticket.batches.values()):
        cause = AbnormalCause.ENDED_WITH_FAILURES
        return replace(ticket, abnormal_cause=cause, ended_at=event.at), TicketState.ABNORMAL
    return replace(ticket, ended_at=event.at), TicketState.FINISHED


def _continued(ticket: Ticket, event: Continued) -> Ticket:
    if ticket.state is TicketState.PAUSED:
        return ticket
    if ticket.abnormal_cause is not AbnormalCause.SUSPENDED:
        raise refused(ticket, event)
    forgiven = failures(ticket.counts, ticket.spec.suspension_policy)
    ticket = replace(ticket, forgiven=forgiven, abnormal_cause=None, ended_at=None)
    return _opened(ticket) if ticket.batches[ticket.current].counts.ready else ticket


def _ended(ticket: Ticket, event: Ended) -> Ticket:
    changed, cut = list[Run](), list[int]()
    for batch in ticket.batches.values():
        if not over(batch):
            cut.append(batch.number)
            changed += _unended(ticket, batch, (RunState.READY, RunState.PROCESSING), event.at)
    ticket = _with_runs(ticket, changed)
    for number in cut:
        batch = ticket.batches[number]
        ticket = _with_batch(ticket, replace(batch, state=BatchState.CANCELED, ended_at=event.at))
    ticket = _settled(replace(ticket, state=TicketState.CANCELED), ticket.current, event.at)
    return replace(ticket, abnormal_cause=None, note=event.reason, ended_at=event.at)


def _batches_retried(ticket: Ticket, event: BatchRetried) -> Ticket:
    batches = _abnormal(ticket, event, event.batch)
    for batch in batches:
        places = [
            (place, run)
            for place, run in enumerate(ticket.runs[member] for member in batch.members)
            if run.state is RunState.ABNORMAL
        ]
        ticket = _with_runs(
            ticket,
            [replace(run, state=RunState.READY, outcome=None, error="", ended_at=None) for _, run in places],
        )
        cursor = min([batch.cursor, *(place for place, _ in places[:1])])
        again = replace(ticket.batches[batch.number], state=BatchState.READY, cursor=cursor, ended_at=None)
        ticket = _with_batch(ticket, again)
    ran, forgiven = ticket.current, failures(ticket.counts, ticket.spec.suspension_policy)
    ticket = replace(ticket, current=batches[0].number, forgiven=forgiven, abnormal_cause=None, ended_at=None)
    return _settled(ticket, ran, event.at)


def _batches_canceled(ticket: Ticket, event: BatchCanceled) -> Ticket:
    for batch in _abnormal(ticket, event, event.batch):
        ticket = _with_runs(ticket, _unended(ticket, batch, (RunState.READY,), event.at))
        given_up = ticket.batches[batch.number]
        ticket = _with_batch(
            ticket, replace(given_up, state=BatchState.CANCELED, ended_at=given_up.ended_at or event.at)
        )
    return _advanced(ticket) if ticket.batches[ticket.current].state is BatchState.CANCELED else ticket


def _run_canceled(ticket: Ticket, event: RunCanceled) -> Ticket:
    run = _run(ticket, event.instance)
    if run.state not in (RunState.READY, RunState.PROCESSING):
        raise refused(
            ticket,
            event,
            run.state.value,
            f"instance {run.instance_name}",
            "only a run that has not ended can be canceled",
        )
    ticket = _with_runs(ticket, [_ended_run(run, Outcome.CANCELED, event.at)])
    return _settled(ticket, run.batch, event.at)


def over(batch: Batch) -> bool:
    """Say whether no run of the batch is READY or out."""
    return not (batch.counts.ready or batch.counts.processing)


def _unfinished(ticket: Ticket) -> bool:
    return bool(ticket.counts.ready or ticket.counts.processing)


def _run(ticket: Ticket, instance: InstanceId) -> Run:
    if (run := ticket.runs.get(instance)) is None:
        raise NotFound("instance", instance, f"ticket {ticket.id} does not have it")
    return run


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


def _unended(ticket: Ticket, batch: Batch, states: tuple[RunState, ...], at: datetime) -> list[Run]:
    """Return the runs of a batch in these states as they are once canceled."""
    runs = (ticket.runs[member] for member in batch.members)
    return [_ended_run(run, Outcome.CANCELED, at) for run in runs if run.state in states]


def _ended_run(run: Run, outcome: Outcome, at: datetime, error: str = "") -> Run:
    return replace(run, state=_ENDED_AS[outcome], outcome=outcome, error=error, ended_at=at)


def _with_runs(ticket: Ticket, changed: Sequence[Run]) -> Ticket:
    """Put changed runs in their places: the runs, who is out, all counts, and what is to be saved."""
    if not changed:
        return ticket
    counts, per_batch = ticket.counts, dict[int, Counts]()
    with ticket.runs.mutate() as runs, ticket.out.mutate() as out:
        for run in changed:
            before = runs[run.instance_id].bucket
            counts = counts.moved(before, run.bucket)
            batch_counts = per_batch.get(run.batch) or ticket.batches[run.batch].counts
            per_batch[run.batch] = batch_counts.moved(before, run.bucket)
            runs[run.instance_id] = run
            if run.state is RunState.PROCESSING:
                out[run.instance_id] = run.id(ticket.id)
            else:
                out.pop(run.instance_id, None)
        all_runs, all_out = runs.finish(), out.finish()
    with ticket.batches.mutate() as batches:
        for number, batch_counts in per_batch.items():
            batches[number] = replace(batches[number], counts=batch_counts)
        all_batches = batches.finish()
    return replace(
        ticket,
        runs=all_runs,
        out=all_out,
        batches=all_batches,
        counts=counts,
        unsaved_runs=ticket.unsaved_runs.union(run.instance_id for run in changed),
        unsaved_batches=ticket.unsaved_batches.union(per_batch),
    )


def _with_batch(ticket: Ticket, batch: Batch) -> Ticket:
    return replace(
        ticket,
        batches=ticket.batches.set(batch.number, batch),
        unsaved_batches=ticket.unsaved_batches | {batch.number},
    )


def _closed(batch: Batch, at: datetime) -> Batch:
    state = BatchState.ABNORMAL if batch.counts.ended_badly else BatchState.FINISHED
    return replace(batch, state=state, ended_at=batch.ended_at or at)


def _settled(ticket: Ticket, number: int, at: datetime) -> Ticket:
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
        ticket = _with_batch(ticket, _closed(batch, at))
        return _advanced(ticket) if number == ticket.current else ticket
    if ticket.state is TicketState.ABNORMAL or batch.state is BatchState.ABNORMAL:
        state = BatchState.ABNORMAL if batch.counts.ended_badly else BatchState.READY
    else:
        state = batch.state if number == ticket.current else BatchState.READY
    return ticket if state is batch.state else _with_batch(ticket, replace(batch, state=state))


def _advanced(ticket: Ticket) -> Ticket:
    """Go on to the next batch that has a READY run or some out, in number order, then from 1 again; stay when there is none.

    Looking from the current batch on makes each step short: only a retry can have left something behind it.
    """
    if not _unfinished(ticket):
        return ticket
    last = len(ticket.batches)
    for number in _around(ticket.current, last):
        if not over(ticket.batches[number]):
            ticket = replace(ticket, current=number)
            return ticket if ticket.state is TicketState.ABNORMAL else _opened(ticket)
    return ticket


def _around(current: int, last: int) -> Iterable[int]:
    yield from range(current + 1, last + 1)
    yield from range(1, current)


def _opened(ticket: Ticket) -> Ticket:
    """Let a batch that was cut off by a suspension take its turn again."""
    batch = ticket.batches[ticket.current]
    if batch.state is not BatchState.ABNORMAL:
        return ticket
    return _with_batch(ticket, replace(batch, state=BatchState.READY))


def _concluded(ticket: Ticket, at: datetime) -> Ticket:
    """Finish an ABNORMAL ticket once nothing abnormal and nothing unsent is left in it."""
    if ticket.state is not TicketState.ABNORMAL or _unfinished(ticket):
        return ticket
    if any(batch.state is BatchState.ABNORMAL for batch in ticket.batches.values()):
        return ticket
    return replace(ticket, state=TicketState.FINISHED, abnormal_cause=None, ended_at=at)
