"""Watches what is stored, write by write, and says which invariant of DESIGN §11 a write breaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from common.errors import Unavailable
from controller.fleet.model import InstanceId
from controller.notify.model import Notice, NotificationEvent
from controller.schedules.local_time import WEEK
from controller.schedules.windows import MaintenanceWindow
from controller.store.memory import MemoryTickets
from controller.tickets.gate import Verdict, verdict
from controller.tickets.model import Counts, Outcome, Run, RunState, Ticket, TicketId, TicketState
from controller.tickets.suspension import counted, is_failure, tripped

START, FAILED, SUCCEEDED = (
    NotificationEvent.START_EXECUTION,
    NotificationEvent.EXECUTION_FAILED,
    NotificationEvent.EXECUTION_SUCCEEDED,
)
_REAL = frozenset({Outcome.SUCCEEDED, Outcome.FAILED, Outcome.SKIPPED})
_UNSENT = frozenset({Outcome.CANCELED, Outcome.SKIPPED})


class Violation(AssertionError):
    """An invariant does not hold."""


def must(holds: bool, what: str, *facts: object) -> None:
    """Raise Violation unless it holds."""
    if not holds:
        raise Violation(f"{what}: {', '.join(map(str, facts))}")


class Outbox:
    """What tickets have told, in the order in which it was written."""

    def __init__(self) -> None:
        self.of = dict[str, list[Notice]]()
        self.count = 0

    def add_notices(self, notices: Iterable[Notice]) -> None:
        """Take what a ticket's write brings along."""
        for notice in notices:
            self.of.setdefault(notice.id.partition("/")[0], []).append(notice)
            self.count += 1


class Ledger:
    """A ticket store in memory whose every write is checked, and which fails as disks do: before it wrote, or after."""

    def __init__(self, is_barred: Callable[[InstanceId], bool] = lambda _: False) -> None:
        self.outbox = Outbox()
        self._inner = MemoryTickets(self.outbox)  # type: ignore[arg-type]  # it only adds
        self._is_barred = is_barred
        self.fails: Random | None = None
        """Draws which saves fail; None: none."""
        self.stored = dict[TicketId, Ticket]()
        self.holder = dict[InstanceId, TicketId]()
        self.writes = 0
        self.broken: Violation | None = None
        """The first that a write broke: the engine takes what a store raises for a fault that will pass."""

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def create(self, ticket: Ticket) -> Ticket:
        """Write a new ticket."""
        created = await self._inner.create(ticket)
        self.stored[ticket.id] = created
        recount(created)
        return created

    async def save(self, ticket: Ticket) -> Ticket:
        """Write what changed, and check it; or fail."""
        draw = self.fails.random() if self.fails is not None else 1.0
        if draw < 0.01:
            raise Unavailable("the disk is full")
        saved = await self._inner.save(ticket)
        try:
            self._check(self.stored[ticket.id], ticket)
            self._check_notices(self.stored[ticket.id], ticket)
        except Violation as violation:
            self.broken = self.broken or violation
        self.stored[ticket.id] = saved
        self.writes += 1
        if draw < 0.015:
            raise Unavailable("the disk is full, after all was written")
        return saved

    def _check(self, before: Ticket, after: Ticket) -> None:
        """Check one write at the cost of what it changes."""
        spec, changed = after.spec, [(before.runs[i], after.runs[i]) for i in after.unsaved_runs]
        counts, sent = Counter(_as_dict(before.counts)), list[Run]()
        for old, new in changed:
            counts[old.bucket] -= 1
            counts[new.bucket] += 1
            must(
                old.attempt <= new.attempt <= old.attempt + 1,
                "an attempt is made once, and none is forgotten",
                old,
                new,
            )
            if new.attempt > old.attempt:
                sent.append(new)
            elif old.outcome in _REAL and new.state is not RunState.READY:
                unsent = new.outcome in _UNSENT and _was_retried(old, new)
                must(
                    new.outcome is old.outcome or unsent, "invariant 3: what was counted is not counted again", old, new
                )
            must(old.outcome is not Outcome.SUCCEEDED or new.outcome is old.outcome, "a success stays one", old, new)
            if new.outcome is Outcome.SKIPPED and old.state is RunState.READY and new.attempt == old.attempt:
                must(self._is_barred(new.instance_id), "only who may not be spoken to is skipped", new)
            must(not new.waits_for or new.state is RunState.READY, "only what is READY waits", new)
            self._hold(after.id, new)
        must(
            +counts == +Counter(_as_dict(after.counts)),
            "invariant 1: the counts are those of the runs",
            after.counts,
            counts,
        )
        must(after.counts.total == len(after.runs), "invariant 1: the sum is N", after.counts, len(after.runs))
        must(
            len(after.out) == after.counts.processing, "invariant 1: what is out is known", len(after.out), after.counts
        )
        must(len(after.out) <= spec.max_in_flight, "invariant 2: no more than max_in_flight are out", len(after.out))
        if sent:
            windows = spec.maintenance_windows
            must(is_open_by_hand(windows, after.changed_at), "nothing is sent while the window is closed", *windows)
            must(not any(self._is_barred(r.instance_id) for r in sent), "nothing is sent to who is barred", *sent)
            must(
                after.state is TicketState.PROCESSING,
                "invariant 2: a held or suspended ticket sends nothing",
                after.state,
            )
            must(not tripped(after), "invariant 2: a tripped policy sends nothing", counted(after))
            must(verdict(after) is Verdict.GO, "nothing is sent past a canary", after.gate)
            must(all(r.batch == after.current for r in sent), "invariant 2: only the batch is sent", after.current)
            batch = after.batches[after.current]
            must(batch.counts.processing == len(after.out), "invariant 2: batches are barriers", batch.counts)
            soak = before.soak_until
            must(
                soak is None or before.current != after.current or soak <= after.changed_at, "a soak time is kept", soak
            )
        if after.state in (TicketState.FINISHED, TicketState.CANCELED):
            must(not after.out and not after.counts.ready, "what is over has nothing left", after.state, after.counts)

    def _check_notices(self, before: Ticket, after: Ticket) -> None:
        """Check that a write tells what it makes happen, and nothing else, in the same transaction."""
        policy, told = after.spec.notification, after.unsaved_notices
        written = self.outbox.of.get(after.id, [])
        must(tuple(written[len(written) - len(told) :]) == told, "what is told is stored with the ticket", after.id)
        must(all(n.event in policy.events and n.recipients == policy.recipients for n in told), "whoever asked is told")
        numbers = [int(n.id.rpartition("/")[2]) for n in written]
        must(numbers == sorted(set(numbers)), "each event is told once, in its order", after.id, numbers)
        must(not numbers or numbers[-1] <= after.notices, "events are numbered", after.id, numbers, after.notices)
        for state, event in ((TicketState.ABNORMAL, FAILED), (TicketState.FINISHED, SUCCEEDED)):
            if after.state is state and before.state is not state and event in policy.events:
                must(bool(told) and told[-1].event is event, "how a ticket ended is told with it", after.id, told)

    def check_told(self, ticket: Ticket) -> None:
        """Check all that was told of a ticket in its life."""
        events, told = ticket.spec.notification.events, self.outbox.of.get(ticket.id, [])
        counts = Counter(n.event for n in told)
        must(set(counts) <= set(events), "only what was asked for is told", ticket.id, counts)
        must(counts[START] == bool(ticket.notices and START in events), "a start is told once", ticket.id, counts)
        ended = ticket.state is TicketState.FINISHED and SUCCEEDED in events
        must(counts[SUCCEEDED] == ended, "a success is told once", ticket.id, counts)
        if {START, FAILED, SUCCEEDED} <= set(events):
            must(len(told) == ticket.notices, "of all events each is told", ticket.id, len(told), ticket.notices)

    def _hold(self, ticket: TicketId, run: Run) -> None:
        holder = self.holder.get(run.instance_id)
        if run.state is RunState.PROCESSING:
            must(
                holder in (None, ticket),
                "an instance has one run out over all tickets",
                run.instance_id,
                holder,
                ticket,
            )
            self.holder[run.instance_id] = ticket
        elif holder == ticket:
            del self.holder[run.instance_id]


def _was_retried(old: Run, new: Run) -> bool:
    """Say whether a write brings a retry together with what came of it before it was sent."""
    return any(s.name == "queued" and s.attempt == old.attempt + 1 and s not in old.log for s in new.log)


def is_open_by_hand(windows: Iterable[MaintenanceWindow], at: datetime) -> bool:
    """Say whether a window is open: by the clock on the wall of each, today's opening and yesterday's."""
    some = False
    for window in windows:
        some, wall = True, at.astimezone(ZoneInfo(window.time_zone)).replace(tzinfo=None)
        for back in (0, 1):
            day = wall.date() - timedelta(days=back)
            if window.weekdays and WEEK[day.weekday()] not in window.weekdays:
                continue
            closing = day + timedelta(days=window.closes <= window.opens)
            if datetime.combine(day, window.opens) <= wall < datetime.combine(closing, window.closes):
                return True
    return not some


def recount(ticket: Ticket) -> None:
    """Check a whole ticket by counting all of its runs."""
    runs = ticket.runs.values()
    must(
        ticket.counts == Counts(**Counter(r.bucket for r in runs)),
        "invariant 1: a full recount",
        ticket.id,
        ticket.counts,
    )
    out = {r.instance_id: r.id(ticket.id) for r in runs if r.state is RunState.PROCESSING}
    must(dict(ticket.out) == out, "a full recount of what is out", ticket.id)
    waiting = {r.instance_id: r.waits_for for r in runs if r.waits_for}
    must(dict(ticket.waiting) == waiting, "a full recount of what waits", ticket.id)
    policy = ticket.spec.suspension_policy
    forgiven = sum(is_failure(r, policy) and r.pardons < ticket.pardons for r in runs)
    must(ticket.forgiven == forgiven, "a full recount of what was forgiven", ticket.id, ticket.forgiven, forgiven)
    members = [m for n in sorted(ticket.batches) for m in ticket.batches[n].members]
    must(len(members) == len(set(members)) == len(ticket.runs), "every target stands in one batch", ticket.id)
    for batch in ticket.batches.values():
        counts = Counts(**Counter(ticket.runs[m].bucket for m in batch.members))
        must(batch.counts == counts, "invariant 1: a full recount of a batch", ticket.id, batch.number)
    must(replace(ticket, version=0).counts.total == len(ticket.runs), "invariant 1: the sum is N", ticket.id)


def _as_dict(counts: Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in Counts.__slots__}
