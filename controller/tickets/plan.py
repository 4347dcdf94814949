"""What should happen next to a ticket. Pure: the engine makes it happen, saves it, and asks again until the answer is None."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, Protocol, TypeVar

from common.clock import format_duration
from controller.fleet.model import InstanceId
from controller.tickets.changes import over, unfinished
from controller.tickets.gate import Verdict, verdict
from controller.tickets.model import (
    WAITS_FOR_AGENT,
    BatchEnded,
    BatchState,
    Completed,
    Dispatched,
    Event,
    Held,
    Lost,
    LostRun,
    Outcome,
    PassedOver,
    Run,
    RunState,
    Started,
    Suspended,
    Ticket,
    TicketId,
    TicketState,
    TimedOut,
)
from controller.tickets.suspension import counted, tripped
from controller.tickets.waiting import may_send, opens_at

T_co = TypeVar("T_co", covariant=True)


class Known(Protocol[T_co]):
    """What is known of some instances: a dict, or anything that can be asked as one."""

    def get(self, instance: InstanceId, /) -> T_co | None:
        """Return what is known of an instance, None when it is not among them."""
        ...


_NONE: Final[Mapping[InstanceId, TicketId]] = {}


def plan(
    ticket: Ticket,
    absent: Known[datetime],
    now: datetime,
    *,
    busy: Known[TicketId] = _NONE,
    barred: Known[str] = _NONE,
    due: Iterable[InstanceId] | None = None,
    again: Iterable[InstanceId] | None = None,
) -> Event | None:
    """Say what should happen next, None when nothing should until an agent or an operator speaks, or `next_deadline` comes.

    `absent` says since when the agent of an instance has been away; connected agents are not in it. `busy` says which other
    ticket has a run out on an instance: a run of this one waits until that has ended. `barred` says why nothing may be sent to an instance
    at all: its run is skipped when its turn comes. Runs that are out are watched in every
    state. A run is sent whether its agent is connected or not, unless the ticket's offline policy says otherwise: the
    promise is stored, and delivered when the agent is there. Outside the ticket's maintenance windows nothing is sent.
    Every event returned is a legal move of this ticket.

    The work does not depend on the size of the ticket when the caller says whom to look at: `due` are the instances whose
    `given_up_at` has come, `again` those passed over that may not have to wait any more. None means all of them.
    """
    if ticket.state is TicketState.READY:
        return Started(now)
    if lost := _lost(ticket, absent, now, due):
        return Lost(now, lost)
    if ticket.state not in (TicketState.PROCESSING, TicketState.PAUSED):
        return None
    if ticket.expires_at is not None and ticket.expires_at <= now and unfinished(ticket):
        return TimedOut(now)
    if ticket.state is TicketState.PAUSED:
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
    match verdict(ticket):
        case Verdict.FAILED:
            return Suspended(now, counted(ticket))
        case Verdict.HOLD:
            return Held(now)
        case Verdict.NOT_YET:
            return None
        case Verdict.GO:
            pass
    if (ticket.soak_until is not None and now < ticket.soak_until) or not may_send(ticket, now):
        return None
    room = min(ticket.spec.max_in_flight - len(ticket.out), batch.counts.ready)
    return _next_to_send(ticket, _Turn(ticket, absent, busy, barred, now), room, again) if room > 0 else None


def next_deadline(ticket: Ticket, absent: Known[datetime], now: datetime | None = None) -> datetime | None:
    """Return when `plan` could say something new although nothing happened; None when never. May be in the past.

    `now` is what `plan` was told last: without it no maintenance window is looked at.
    """
    waiting = ticket.waiting if ticket.state is TicketState.PROCESSING else ()
    times = [given_up_at(ticket, instance, absent) for instance in (*ticket.out, *waiting)]
    own = (next_turn(ticket), opens_at(ticket, now) if now is not None else None)
    return min((at for at in (*times, *own) if at is not None), default=None)


def next_turn(ticket: Ticket, after: datetime | None = None) -> datetime | None:
    """Return when the ticket itself has waited or lasted long enough, whatever its runs do; None when never.

    Times that are not later than `after` have been seen by `plan` already; without it no maintenance window is looked at.
    """
    times = list[datetime]()
    if ticket.soak_until is not None and ticket.state is TicketState.PROCESSING:
        times.append(ticket.soak_until)
    if ticket.expires_at is not None and ticket.state in (TicketState.PROCESSING, TicketState.PAUSED):
        times.append(ticket.expires_at)
    if after is not None and (opens := opens_at(ticket, after)) is not None:
        times.append(opens)
    return min((at for at in times if after is None or at > after), default=None)


def given_up_at(ticket: Ticket, instance: InstanceId, absent: Known[datetime]) -> datetime | None:
    """Return when an instance's run is to be looked at again if nothing is heard; None when it waits for no time."""
    run = ticket.runs[instance]
    if run.state is RunState.PROCESSING:
        return _given_up(ticket, run, absent)[0]
    return offline_until(ticket) if run.waits_for == WAITS_FOR_AGENT else None


def offline_until(ticket: Ticket) -> datetime | None:
    """Return until when runs wait for agents that are away; None when they do not wait at all."""
    policy = ticket.spec.offline
    if policy.until is not None:
        return policy.until
    return ticket.created_at + policy.wait if policy.wait > timedelta(0) else None


def _lost(
    ticket: Ticket, absent: Known[datetime], now: datetime, due: Iterable[InstanceId] | None
) -> tuple[LostRun, ...]:
    """Return the runs that nobody need wait for any more."""
    lost = list[LostRun]()
    for instance in ticket.out if due is None else due:
        if instance not in ticket.out:
            continue
        run = ticket.runs[instance]
        at, outcome = _given_up(ticket, run, absent)
        if at <= now:
            lost.append(LostRun(instance, run.attempt, outcome, _why(ticket, outcome, absent.get(instance))))
    return tuple(lost)


def _given_up(ticket: Ticket, run: Run, absent: Known[datetime]) -> tuple[datetime, Outcome]:
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


class _Turn:
    """Sorts READY runs whose turn it is: to be sent, passed over, or given up."""

    def __init__(
        self, ticket: Ticket, absent: Known[datetime], busy: Known[TicketId], barred: Known[str], now: datetime
    ) -> None:
        self._ticket = ticket
        self._absent = absent
        self._busy = busy
        self._barred = barred
        self.now = now
        self._patience = offline_until(ticket)
        self.send: list[InstanceId] = []
        self.passed: list[tuple[InstanceId, str]] = []
        self.lost: list[LostRun] = []

    def take(self, instance: InstanceId) -> None:
        """Sort one."""
        run = self._ticket.runs[instance]
        if (why := self._barred.get(instance)) is not None:
            self.lost.append(LostRun(instance, run.attempt, Outcome.SKIPPED, why))
            return
        waits_for = self._busy.get(instance) or ""
        if not waits_for and self._patience is not None and (away := self._absent.get(instance)) is not None:
            if self.now < self._patience:
                waits_for = WAITS_FOR_AGENT
            elif not run.attempt:  # what an operator retries after that is sent: he knows that nobody waits any more
                why = f"agent away since {away:%Y-%m-%d %H:%M:%S} UTC, was to be waited for until {self._patience:%Y-%m-%d %H:%M:%S} UTC"
                self.lost.append(LostRun(instance, run.attempt, Outcome.UNREACHABLE, why))
                return
        if not waits_for:
            self.send.append(instance)
        elif run.waits_for != waits_for:
            self.passed.append((instance, waits_for))


def _next_to_send(ticket: Ticket, turn: _Turn, room: int, again: Iterable[InstanceId] | None) -> Event | None:
    """Look at those passed over, then at the next members of the batch; each search begins where the last one ended."""
    for instance in ticket.waiting if again is None else again:
        if len(turn.send) == room:
            break
        if instance in ticket.waiting and ticket.runs[instance].batch == ticket.current:
            turn.take(instance)
    batch = ticket.batches[ticket.current]
    for place in range(batch.cursor, len(batch.members)):
        if len(turn.send) == room:
            break
        run = ticket.runs[batch.members[place]]
        if run.state is RunState.READY and not run.waits_for:
            turn.take(run.instance_id)
    if turn.lost:
        return Lost(turn.now, tuple(turn.lost))
    if turn.passed:
        return PassedOver(turn.now, tuple(turn.passed))
    return Dispatched(turn.now, tuple(turn.send)) if turn.send else None
