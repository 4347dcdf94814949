"""The ticket machine: which moves a ticket can make, and what it is after each (SEMANTICS §1, DESIGN §6).

Frozen records in, new records out; time is in the events. An event costs the same at ten runs and at 100,000: runs and batches
are in persistent maps and the counts are kept. Only an operator's Ended, BatchCanceled and retries, and the end of
the ticket's own time, touch many runs: they are in steering.py, and what all moves share in changes.py.

What holds after every move: the counts are those of the runs; `out` holds exactly the runs that are PROCESSING, never more than
max_in_flight, and runs are sent only from the current batch while no other has any out; a batch that is FINISHED, ABNORMAL or
CANCELED has none out; while any run is READY, the current batch has one, has some out, or awaits BatchEnded; `forgiven` is the
number of failures from before the last pardon; `waiting` holds exactly the READY runs that were passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from immutables import Map

from controller.fleet.model import DEFAULT_ACCOUNT, InstanceId
from controller.tickets import steering
from controller.tickets.changes import (
    advanced,
    closed,
    concluded,
    ended_run,
    over,
    run_of,
    settled,
    unfinished,
    with_batch,
    with_cursor,
    with_runs,
)
from controller.tickets.gate import CANARY, Verdict, verdict
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
    Gate,
    Held,
    Lost,
    Outcome,
    PassedOver,
    Paused,
    PlannedBatch,
    Progressed,
    RefusedAccount,
    Reported,
    Run,
    RunCanceled,
    RunsRetried,
    RunState,
    Started,
    Suspended,
    Ticket,
    TicketId,
    TicketSpec,
    TicketState,
    TimedOut,
)
from controller.tickets.moves import MOVES, refused
from controller.tickets.noting import noted
from controller.tickets.suspension import counted, tripped

_GUESSED: Final = frozenset({Outcome.TIMEOUT, Outcome.UNREACHABLE})
_KNOWN: Final = frozenset({Outcome.SUCCEEDED, Outcome.FAILED})
_HELD: Final = "the canary ended without failure; look at it, then continue"


def create(
    ticket_id: TicketId,
    spec: TicketSpec,
    planned: Sequence[PlannedBatch],
    created_by: str,
    at: datetime,
    request_id: str = "",
    *,
    account: str = DEFAULT_ACCOUNT,
    enterprise_projects: Iterable[str] = (),
    refused_accounts: Iterable[RefusedAccount] = (),
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
        account=account,
        enterprise_projects=tuple(sorted(enterprise_projects)),
        refused_accounts=tuple(refused_accounts),
        gate=Gate.CLOSED if spec.batch_policy.canary is not None and len(batches) > 1 else Gate.OPEN,
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
        case Reported() | Lost() | Progressed() | PassedOver():
            after = _of_runs(ticket, event)
            if after is ticket:
                return ticket
        case Started():
            after = replace(ticket, expires_at=steering.expiry(ticket, event.at))
        case Dispatched():
            after = _dispatched(ticket, event)
        case BatchEnded():
            after = _batch_ended(ticket, event)
        case Suspended():
            after = _suspended(ticket, event)
        case Held():
            after = _held(ticket, event)
        case TimedOut():
            after, state = steering.timed_out(ticket, event)
        case Completed():
            after, state = _completed(ticket, event)
        case Paused(reason=reason):
            after = replace(ticket, note=reason)
        case Continued():
            after = steering.continued(ticket, event)
        case Ended():
            after = steering.ended(ticket, event)
        case BatchRetried():
            after = steering.batches_retried(ticket, event)
        case RunsRetried():
            after = steering.runs_retried(ticket, event)
        case BatchCanceled():
            after = steering.batches_canceled(ticket, event)
        case RunCanceled():
            after = steering.run_canceled(ticket, event)
    return noted(ticket, concluded(replace(after, state=state, changed_at=event.at), event.at))


def _of_runs(ticket: Ticket, event: Reported | Lost | Progressed | PassedOver) -> Ticket:
    match event:
        case Reported():
            return _reported(ticket, event)
        case Lost():
            return _lost(ticket, event)
        case Progressed():
            return _progressed(ticket, event)
        case PassedOver():
            return _passed_over(ticket, event)


def _dispatched(ticket: Ticket, event: Dispatched) -> Ticket:
    batch = ticket.batches[ticket.current]
    if tripped(ticket):
        raise refused(ticket, event, f"past its limit of failures ({counted(ticket)})", instead="it is to be suspended")
    if batch.counts.processing != ticket.counts.processing:
        raise refused(ticket, event, "waiting for the runs of another batch", instead="let them end first")
    if verdict(ticket) is not Verdict.GO:
        raise refused(
            ticket, event, "waiting for its canary", instead="let the canary end without failure, or continue"
        )
    if len(ticket.out) + len(event.instances) > ticket.spec.max_in_flight:
        out = f"{len(ticket.out)} of at most {ticket.spec.max_in_flight} runs out"
        raise refused(ticket, event, f"at its limit ({out})", instead=f"send fewer than {len(event.instances)}")
    if not event.instances or len(set(event.instances)) != len(event.instances):
        raise refused(ticket, event, "asked to send nothing, or one run twice", instead="name each instance once")
    changed = list[Run]()
    for instance in event.instances:
        run = run_of(ticket, instance)
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
                waits_for="",
            ).with_step("promised", event.at)
        )
    ticket = with_cursor(with_runs(ticket, changed), ticket.current)
    batch = ticket.batches[ticket.current]
    if ticket.current != CANARY and ticket.gate is not Gate.OPEN:
        ticket = replace(ticket, gate=Gate.OPEN)
    started_at = batch.started_at or event.at
    batch = replace(batch, state=BatchState.PROCESSING, started_at=started_at, ended_at=None)
    return replace(with_batch(ticket, batch), soak_until=None)


def _passed_over(ticket: Ticket, event: PassedOver) -> Ticket:
    changed = list[Run]()
    for instance, waits_for in event.runs:
        run = run_of(ticket, instance)
        if run.state is not RunState.READY or not waits_for:
            raise refused(ticket, event, run.state.value, f"instance {run.instance_name}", "pass over READY runs")
        if run.waits_for != waits_for:
            changed.append(replace(run, waits_for=waits_for))
    return with_cursor(with_runs(ticket, changed), ticket.current)


def _progressed(ticket: Ticket, event: Progressed) -> Ticket:
    """Add to the logs of runs; a step that an attempt has told already is passed over, so that a log stays short."""
    changed = dict[InstanceId, Run]()
    for instance, step in event.steps:
        run = changed.get(instance) or run_of(ticket, instance)
        if not any((s.attempt, s.name) == (step.attempt, step.name) for s in run.log):
            changed[instance] = run.with_step(step.name, step.at, step.attempt)
    return with_runs(ticket, list(changed.values()))


def _lost(ticket: Ticket, event: Lost) -> Ticket:
    ended = dict[InstanceId, Run]()
    for lost in event.runs:
        run = run_of(ticket, lost.instance)
        # What was sent before and waits to be sent again is not given up: an older result would be taken for its own.
        # What was skipped takes no later result at all.
        unsent = run.state is RunState.READY and (not run.attempt or lost.outcome is Outcome.SKIPPED)
        given_up = run.state is RunState.PROCESSING or unsent
        if given_up and run.attempt == lost.attempt:
            ended[run.instance_id] = ended_run(ticket, run, lost.outcome, event.at, lost.error)
    ticket = with_runs(ticket, list(ended.values()))
    if ticket.batches[ticket.current].counts.ready:
        ticket = with_cursor(ticket, ticket.current)
    for number in {run.batch for run in ended.values()}:
        ticket = settled(ticket, number, event.at)
    return ticket


def _reported(ticket: Ticket, event: Reported) -> Ticket:
    run = run_of(ticket, event.instance)
    # What an agent says of a run is more true than what was guessed from its silence.
    late = ticket.state is not TicketState.CANCELED and run.outcome in _GUESSED and event.outcome in _KNOWN
    if event.attempt != run.attempt or not run.attempt or not (run.state is RunState.PROCESSING or late):
        return ticket
    stored = run.with_step("stored", event.at)
    ticket = with_runs(ticket, [ended_run(ticket, stored, event.outcome, event.at, event.error)])
    return settled(ticket, run.batch, event.at)


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
    return advanced(with_batch(ticket, closed(batch, event.at)))


def _suspended(ticket: Ticket, event: Suspended) -> Ticket:
    canary_failed = verdict(ticket) is Verdict.FAILED
    if not tripped(ticket) and not canary_failed:
        raise refused(ticket, event, f"within its rate with {counted(ticket)} failures", instead="let it go on")
    ticket = replace(ticket, state=TicketState.ABNORMAL, abnormal_cause=AbnormalCause.SUSPENDED, ended_at=event.at)
    ticket = settled(ticket, ticket.current, event.at)
    return replace(ticket, gate=Gate.WAITING) if canary_failed else ticket


def _held(ticket: Ticket, event: Held) -> Ticket:
    if verdict(ticket) is not Verdict.HOLD:
        raise refused(ticket, event, "not waiting for anybody to look at its canary", instead="let it go on")
    return replace(ticket, gate=Gate.WAITING, note=_HELD)


def _completed(ticket: Ticket, event: Completed) -> tuple[Ticket, TicketState]:
    if unfinished(ticket) or ticket.batches[ticket.current].state in (BatchState.READY, BatchState.PROCESSING):
        raise refused(ticket, event, instead="a ticket completes when all its batches have ended")
    if any(batch.state is BatchState.ABNORMAL for batch in ticket.batches.values()):
        cause = AbnormalCause.ENDED_WITH_FAILURES
        return replace(ticket, abnormal_cause=cause, ended_at=event.at), TicketState.ABNORMAL
    return replace(ticket, ended_at=event.at), TicketState.FINISHED
