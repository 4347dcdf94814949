"""What should happen next to a ticket. Pure: the engine makes it happen, saves it, and asks again until the answer is None."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from common.clock import format_duration
from controller.fleet.model import InstanceId
from controller.tickets.machine import over
from controller.tickets.model import (
    BatchEnded,
    BatchState,
    Completed,
    Dispatched,
    Event,
    Outcome,
    Reported,
    Run,
    RunState,
    Started,
    Suspended,
    Ticket,
    TicketState,
)
from controller.tickets.suspension import counted, tripped


def plan(ticket: Ticket, absent: Mapping[InstanceId, datetime], now: datetime) -> Event | None:
    """Say what should happen next, None when nothing should until an agent or an operator speaks, or `next_deadline` comes.

    `absent` says since when the agent of an instance has been away; connected agents are not in it. Runs that are out are
    watched in every state. A run is sent whether its agent is connected or not: the promise is stored, and delivered when
    the agent is there. Every event returned is a legal move of this ticket. The work is bounded by max_in_flight.
    """
    if ticket.state is TicketState.READY:
        return Started(now)
    if (lost := _lost(ticket, absent, now)) is not None:
        return lost
    if ticket.state is not TicketState.PROCESSING:
        return None
    if tripped(ticket):
        return Suspended(now, counted(ticket))
    batch = ticket.batches[ticket.current]
    if over(batch):
        if batch.state in (BatchState.READY, BatchState.PROCESSING):
            return BatchEnded(now)
        return None if ticket.out else Completed(now)
    if batch.counts.processing != ticket.counts.processing:
        return None  # a retried batch took the turn of one that still has runs out: batches are barriers
    room = min(ticket.spec.max_in_flight - len(ticket.out), batch.counts.ready)
    return Dispatched(now, _ready_members(ticket, room)) if room > 0 else None


def next_deadline(ticket: Ticket, absent: Mapping[InstanceId, datetime]) -> datetime | None:
    """Return when `plan` could say something new although nothing happened; None when never. May be in the past."""
    return min((_given_up(ticket, ticket.runs[instance], absent)[0] for instance in ticket.out), default=None)


def _lost(ticket: Ticket, absent: Mapping[InstanceId, datetime], now: datetime) -> Reported | None:
    """Return the end of a run that nobody need wait for any more. Which of several comes first does not matter: all do."""
    for instance in ticket.out:
        run = ticket.runs[instance]
        at, outcome = _given_up(ticket, run, absent)
        if at <= now:
            return Reported(now, instance, run.attempt, outcome, _why(ticket, outcome, absent.get(instance)))
    return None


def _given_up(ticket: Ticket, run: Run, absent: Mapping[InstanceId, datetime]) -> tuple[datetime, Outcome]:
    """Return when a run that is out will be given up if its agent stays as it is, and as what: whichever is earlier."""
    if run.sent_at is None or run.deadline is None:
        raise ValueError(f"run {run.id(ticket.id)} is out and was never sent")
    away = absent.get(run.instance_id)
    if away is not None and (at := max(away, run.sent_at) + ticket.spec.unreachable_after) <= run.deadline:
        return at, Outcome.UNREACHABLE
    return run.deadline, Outcome.TIMEOUT


def _why(ticket: Ticket, outcome: Outcome, away: datetime | None) -> str:
    lost = f"agent lost at {away:%Y-%m-%d %H:%M:%S} UTC" if away is not None else ""
    if outcome is Outcome.UNREACHABLE:
        return f"{lost}, away for {format_duration(ticket.spec.unreachable_after)}"
    return f"no answer after {format_duration(ticket.spec.timeout)}" + (f": {lost}" if lost else "")


def _ready_members(ticket: Ticket, room: int) -> tuple[InstanceId, ...]:
    """Return the next READY members of the current batch, at most `room`; each search begins where the last one ended."""
    batch, found = ticket.batches[ticket.current], list[InstanceId]()
    for place in range(batch.cursor, len(batch.members)):
        member = batch.members[place]
        if ticket.runs[member].state is RunState.READY:
            found.append(member)
            if len(found) == room:
                break
    return tuple(found)
