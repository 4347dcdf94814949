"""Drives tickets: loads, asks the machine what should happen, stores it, then tells the agents. Decides nothing.

Each live ticket has one driver, a task that owns the ticket: changes come to it through an inbox, so nothing is locked. All that
waits in the inbox is applied together and saved once; only then do callers get their answer and agents their orders
(promise before deed). What a crash leaves between the two is mended when the agent connects: its open runs are sent again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from common import failpoints
from common.clock import Clock
from common.errors import Conflict, NotFound, PatchError, Unavailable
from controller.dispatch.claims import Claims
from controller.dispatch.deadlines import Deadlines
from controller.dispatch.trust import Trust
from controller.fleet.model import InstanceId
from controller.fleet.orders import Assign, Cancel
from controller.fleet.sessions import Sessions
from controller.hub.api import Hub
from controller.store.api import TicketStore
from controller.tickets.machine import evolve
from controller.tickets.model import (
    Dispatched,
    Ended,
    Event,
    Lost,
    Outcome,
    PassedOver,
    Progressed,
    Reported,
    Run,
    RunCanceled,
    RunId,
    RunState,
    Step,
    Ticket,
    TicketId,
    TicketState,
    TimedOut,
    parse_run_id,
)
from controller.tickets.plan import Known, given_up_at, next_turn, plan

log = logging.getLogger(__name__)

_STORE_RETRY: Final = timedelta(seconds=2)
_LONGEST_SLEEP: Final = timedelta(minutes=5)
"""A machine that slept, or a clock that was set, must not make a ticket miss the time at which it may go on."""
_LIVE: Final = frozenset({TicketState.READY, TicketState.PROCESSING})
_MOST_AT_ONCE: Final = 1000
"""So many requests are applied in one turn: others want to go on too."""
_MOST_STEPS: Final = 12
"""So many steps of a run that is out are kept: an agent has fewer, a faulty one may say anything."""

MakeEvent = Callable[[Ticket, datetime], Event]


@dataclass(slots=True)
class _Request:
    make: MakeEvent
    answer: asyncio.Future[Ticket]


class Engine:
    """All live tickets of this controller. Use it from one event loop."""

    def __init__(
        self, store: TicketStore, sessions: Sessions, hub: Hub, clock: Clock, trust: Trust | None = None
    ) -> None:
        """Begin with no ticket; `start` takes up the unfinished ones. Without `trust` no ticket works in another account."""
        self._trust = trust
        self._store = store
        self._sessions = sessions
        self._hub = hub
        self._clock = clock
        self._drivers: dict[TicketId, _Driver] = {}
        self._claims = Claims()
        self._away = _Away(sessions)
        self._steps: dict[RunId, dict[str, datetime]] = {}

    async def start(self) -> None:
        """Take up every ticket that an earlier process left unfinished."""
        loaded = [await self._store.load(ticket_id) for ticket_id in await self._store.unfinished()]
        for ticket in loaded:  # all claims before the first plan: who has a run out on an instance keeps it
            for instance_id in ticket.out:
                self._claims.claim(instance_id, ticket.id)
        for ticket in loaded:
            self._drive(ticket)
            log.info("ticket taken up", extra={"ticket": ticket.id})

    async def stop(self) -> None:
        """Stop driving. Everything promised is stored; the next process goes on from there."""
        drivers = list(self._drivers.values())
        for driver in drivers:
            driver.task.cancel()
        await asyncio.gather(*(d.task for d in drivers), return_exceptions=True)

    async def create(self, ticket: Ticket) -> Ticket:
        """Store a new ticket and begin to drive it. Raises Conflict as the store does."""
        failpoints.reached("engine.before_create")
        saved = await self._store.create(ticket)
        failpoints.reached("engine.created")
        self._drive(saved)
        return saved

    async def apply(self, ticket_id: TicketId, make: Callable[[datetime], Event]) -> Ticket:
        """Apply an operator's event; return the ticket as stored. Raises NotFound, IllegalMove, Unavailable."""
        return await self._request(ticket_id, lambda _, now: make(now))

    async def get(self, ticket_id: TicketId) -> Ticket:
        """Return a ticket with its runs; raise NotFound."""
        driver = self._drivers.get(ticket_id)
        return driver.ticket if driver is not None else await self._store.load(ticket_id)

    def driven(self, ticket_id: TicketId) -> Ticket | None:
        """Return a ticket that is driven now, with its runs; None when it is at rest or unknown."""
        driver = self._drivers.get(ticket_id)
        return driver.ticket if driver is not None else None

    def steps(self, ticket: Ticket) -> Mapping[InstanceId, str]:
        """Return what agents say they are doing, for the runs of a ticket that are out."""
        return {i: next(reversed(self._steps.get(run, {"sent": None}))) for i, run in ticket.out.items()}

    def steps_of(self, run_id: RunId) -> Mapping[str, datetime]:
        """Return when a run that is out reached which step. What is over is in the run's own log."""
        return self._steps.get(run_id, {})

    async def report(self, instance_id: InstanceId, run_id: str, outcome: Outcome, error: str) -> bool:
        """Take an agent's result: stored when this returns.

        Returns False, and changes nothing, for a run of which nothing is known or that is another instance's: such a result is of no use,
        now or later. Raises Unavailable when it could not be stored.
        """
        try:
            ticket_id, owner, attempt = parse_run_id(run_id)
        except ValueError:
            return False
        if owner != instance_id:
            log.warning("an agent spoke for another's run", extra={"instance": instance_id, "run": run_id})
            return False

        def reported(ticket: Ticket, now: datetime) -> Event:
            if instance_id not in ticket.runs:
                raise NotFound("run", run_id)
            return Reported(now, instance_id, attempt, outcome, error)

        try:
            await self._request(ticket_id, reported)
        except NotFound:
            log.warning("result for an unknown run", extra={"instance": instance_id, "run": run_id})
            return False
        return True

    def progress(self, instance_id: InstanceId, run_id: str, step: str) -> None:
        """Note what an agent says it is doing."""
        for ticket_id in self._claims.out(instance_id):
            driver = self._drivers.get(ticket_id)
            if driver is not None and driver.ticket.out.get(instance_id) == run_id:
                self._reached(RunId(run_id), step)
                self._hub.publish(f"ticket/{ticket_id}")

    def connected(self, instance_id: InstanceId) -> None:
        """An agent is here: say again what it was promised, and let go on what waited for it."""
        for ticket_id in self._claims.out(instance_id):
            driver = self._drivers.get(ticket_id)
            if driver is not None and (run_id := driver.ticket.out.get(instance_id)) is not None:
                self._assign(driver.ticket, instance_id, run_id)
        self._let_go_on(instance_id)

    def lost(self, instance_id: InstanceId) -> None:
        """An agent is away: its runs have a new deadline."""
        for ticket_id in self._claims.out(instance_id):
            driver = self._drivers.get(ticket_id)
            if driver is not None and instance_id in driver.ticket.out:
                self._watch(driver, (instance_id,), self._clock.now())
                driver.wake.set()

    def _let_go_on(self, instance_id: InstanceId) -> None:
        """Have the tickets whose runs were passed over on this instance look again, the oldest ticket first."""
        for ticket_id in self._claims.waiting(instance_id):
            if (driver := self._drivers.get(ticket_id)) is not None:
                driver.again[instance_id] = None
                driver.wake.set()

    async def _request(self, ticket_id: TicketId, make: MakeEvent) -> Ticket:
        if ticket_id not in self._drivers:
            loaded = await self._store.load(ticket_id)
            if ticket_id not in self._drivers:  # somebody may have been faster
                self._drive(loaded)
        answer: asyncio.Future[Ticket] = asyncio.get_running_loop().create_future()
        driver = self._drivers[ticket_id]
        driver.inbox.append(_Request(make, answer))
        driver.wake.set()
        return await answer

    def _drive(self, ticket: Ticket) -> None:
        driver = _Driver(ticket)
        self._drivers[ticket.id] = driver
        self._take_up(driver)
        driver.wake.set()
        driver.task = asyncio.create_task(self._run(driver), name=f"ticket {ticket.id}")

    def _take_up(self, driver: _Driver) -> None:
        """Begin with what is stored: what is out is promised, what waits is looked at again."""
        ticket = driver.ticket
        for instance_id, run_id in ticket.out.items():
            self._claims.claim(instance_id, ticket.id)
            self._assign(ticket, instance_id, run_id)
        for instance_id in ticket.waiting:
            self._claims.wait(instance_id, ticket.id, ticket.created_at)
        driver.again = dict.fromkeys(ticket.waiting)
        driver.deadlines = Deadlines()
        self._watch(driver, ticket.out, self._clock.now())

    async def _run(self, driver: _Driver) -> None:
        try:
            while True:
                driver.wake.clear()
                driver.taken, driver.inbox = driver.inbox[:_MOST_AT_ONCE], driver.inbox[_MOST_AT_ONCE:]
                try:
                    delay = await self._turn(driver)
                except Unavailable as unavailable:
                    self._not_now(driver, driver.taken, unavailable)
                    delay = _STORE_RETRY
                except Exception:  # a fault of ours must not leave the ticket without a driver
                    log.exception("ticket could not be driven", extra={"ticket": driver.ticket.id})
                    for request in driver.taken:
                        _fail(request, Unavailable("the controller failed to apply this; its log says why"))
                    delay = _STORE_RETRY
                if delay is None and not driver.wake.is_set():
                    self._drivers.pop(driver.ticket.id)  # no await since the last look: nothing can have come in
                    for instance_id in driver.ticket.waiting:
                        self._claims.stop_waiting(instance_id, driver.ticket.id)
                    return
                await self._sleep(driver, timedelta(0) if driver.inbox else delay)
        finally:
            for request in (*driver.taken, *driver.inbox):
                if not request.answer.done():
                    request.answer.set_exception(Unavailable("the controller is stopping; try again"))

    async def _sleep(self, driver: _Driver, delay: timedelta | None) -> None:
        if delay is None:
            return
        woken = asyncio.create_task(driver.wake.wait())
        timer = asyncio.create_task(self._clock.sleep(max(0.0, delay.total_seconds())))
        try:
            await asyncio.wait((woken, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            timer.cancel()

    async def _turn(self, driver: _Driver) -> timedelta | None:
        """Apply what came in and what is due; return how long to wait for more, None when the ticket is at rest."""
        if driver.in_doubt:
            await self._reread(driver)
        before, now = driver.ticket, self._clock.now()
        ticket, answered = before, list[_Request]()
        due = driver.deadlines.due(now)
        driver.again |= dict.fromkeys(i for i in due if i in before.waiting)
        try:
            for request in driver.taken:
                try:
                    ticket = self._evolved(ticket, request.make(ticket, now))
                    answered.append(request)
                except PatchError as refused:
                    _fail(request, refused)
            others = self._claims.others(ticket.id)
            barred = self._barred(ticket)
            while (
                event := plan(ticket, self._away, now, busy=others, barred=barred, due=due, again=driver.again)
            ) is not None:
                ticket = self._evolved(ticket, event)
                self._claim(ticket, event)
            saved = await self._save(ticket) if ticket is not before else before
        except Conflict as conflict:
            self._doubt(
                driver, ticket
            )  # another replica drives it, or an earlier save was written after all: read it again
            log.warning("ticket was changed elsewhere", extra={"ticket": before.id, "conflict": str(conflict)})
            driver.inbox[:0] = [r for r in answered if not r.answer.done()]
            return timedelta(0)
        except Unavailable as unavailable:
            self._doubt(driver, ticket)
            self._watch(driver, due, now)
            self._not_now(driver, answered, unavailable)
            return _STORE_RETRY
        except Exception:
            self._doubt(driver, ticket)
            self._watch(driver, due, now)
            raise
        driver.ticket = saved
        self._tell(before, ticket)
        failpoints.reached("engine.told")
        for request in answered:
            if not request.answer.done():
                request.answer.set_result(saved)
        if saved is not before:
            self._hub.publish(f"ticket/{saved.id}")
        if ticket.unsaved_notices:
            self._hub.publish("outbox")
        failpoints.reached("engine.answered")
        self._watch(driver, {*ticket.unsaved_runs, *due} if due else ticket.unsaved_runs, now)
        self._forget_those_who_cannot_go(driver)
        deadline = min((at for at in (driver.deadlines.next(), next_turn(saved, now)) if at is not None), default=None)
        if deadline is not None:
            return min(deadline - self._clock.now(), _LONGEST_SLEEP)
        return timedelta(days=1) if saved.state in _LIVE or saved.out else None

    def _evolved(self, ticket: Ticket, event: Event) -> Ticket:
        """Apply an event; the runs that it ends keep what their agents said of them."""
        ending: Iterable[InstanceId] = ()
        match event:
            case Reported(instance=instance) | RunCanceled(instance=instance):
                ending = (instance,)
            case Lost(runs=runs):
                ending = [run.instance for run in runs]
            case Ended() | TimedOut():
                ending = ticket.out
            case _:
                pass
        said = [
            (instance, Step(ticket.runs[instance].attempt, name, at))
            for instance in ending
            if (run_id := ticket.out.get(instance)) is not None
            for name, at in self._steps.get(run_id, {}).items()
        ]
        return evolve(evolve(ticket, Progressed(event.at, tuple(said))) if said else ticket, event)

    def _claim(self, ticket: Ticket, event: Event) -> None:
        """Claim at once what is to be sent, and wait at once for what is not: before it is stored others are planned."""
        match event:
            case Dispatched(instances=instances):
                for instance_id in instances:
                    self._claims.claim(instance_id, ticket.id)
            case PassedOver(runs=runs):
                for instance_id, _ in runs:
                    self._claims.wait(instance_id, ticket.id, ticket.created_at)
            case _:
                pass

    def _doubt(self, driver: _Driver, after: Ticket) -> None:
        """Keep the claims of what may or may not be stored until it is read: an error does not say that nothing was written."""
        before, driver.in_doubt = driver.ticket, True
        for instance_id in after.unsaved_runs:
            if instance_id in after.out and instance_id not in before.out:
                driver.doubtful.add(instance_id)
            if instance_id in after.waiting and instance_id not in before.waiting:
                self._claims.stop_waiting(instance_id, after.id)

    async def _reread(self, driver: _Driver) -> None:
        """Go on from what is stored, and give up the claims that it does not have. Raises Unavailable: then the doubt stays."""
        before = driver.ticket
        stored = await self._store.load(before.id)
        claimed, driver.doubtful, driver.in_doubt = driver.doubtful.union(before.out), set(), False
        if stored.version != before.version:
            driver.ticket = stored
            for instance_id in before.waiting:
                self._claims.stop_waiting(instance_id, before.id)
            for instance_id, run_id in before.out.items():
                if stored.out.get(instance_id) != run_id:
                    self._steps.pop(run_id, None)
            self._take_up(driver)
        for instance_id in claimed:
            if instance_id not in stored.out:
                self._claims.release(instance_id, stored.id)
                self._let_go_on(instance_id)

    def _watch(self, driver: _Driver, instances: Iterable[InstanceId], now: datetime) -> None:
        """Note when these runs are to be looked at again."""
        ticket = driver.ticket
        for instance_id in instances:
            at = given_up_at(ticket, instance_id, self._away)
            if at is None:
                driver.deadlines.forget(instance_id)
            elif at <= now and instance_id in ticket.waiting:
                driver.again[instance_id] = None
            else:
                driver.deadlines.note(instance_id, at)

    def _forget_those_who_cannot_go(self, driver: _Driver) -> None:
        """Look no more at those at the head of the line that wait for something: when it comes, they are named again."""
        ticket, others = driver.ticket, self._claims.others(driver.ticket.id)
        while (first := next(iter(driver.again), None)) is not None:
            waits_for = ticket.waiting.get(first)
            if waits_for is not None and others.get(first) is None and self._away.get(first) is None:
                return
            del driver.again[first]

    def _not_now(self, driver: _Driver, requests: Iterable[_Request], why: Unavailable) -> None:
        """The store does not answer: neither do we."""
        log.error("ticket could not be stored", extra={"ticket": driver.ticket.id, "error": str(why)})
        for request in requests:
            _fail(request, why)

    async def _save(self, ticket: Ticket) -> Ticket:
        failpoints.reached("engine.before_save")
        saved = await self._store.save(ticket)
        failpoints.reached("engine.saved")
        return saved

    def _tell(self, before: Ticket, after: Ticket) -> None:
        """Give agents the orders that follow from what was stored."""
        for instance_id in after.unsaved_runs:
            now_out, was_out = after.out.get(instance_id), before.out.get(instance_id)
            if instance_id in before.waiting and instance_id not in after.waiting:
                self._claims.stop_waiting(instance_id, after.id)
            if was_out is not None and was_out != now_out:
                self._steps.pop(was_out, None)
                if _was_given_up(after.runs[instance_id]) and (session := self._sessions.get(instance_id)) is not None:
                    session.send(Cancel(was_out))
                if now_out is None:
                    self._claims.release(instance_id, after.id)
                    self._let_go_on(instance_id)
            if now_out is not None and now_out != was_out:
                self._assign(after, instance_id, now_out)

    def _barred(self, ticket: Ticket) -> Known[str]:
        everywhere = self._sessions.barred
        return everywhere if self._trust is None else self._trust.barred(ticket, everywhere)

    def _assign(self, ticket: Ticket, instance_id: InstanceId, run_id: RunId) -> None:
        deadline = ticket.runs[instance_id].deadline
        session = self._sessions.get(instance_id)
        if session is None or deadline is None or self._barred(ticket).get(instance_id) is not None:
            return
        left = deadline - self._clock.now()
        if left > timedelta(0):
            failpoints.reached("engine.before_order")
            session.send(Assign(run_id, ticket.id, left))
            self._reached(run_id, "sent")

    def _reached(self, run_id: RunId, step: str) -> None:
        """Note the first time that a run reached a step."""
        steps = self._steps.setdefault(run_id, {})
        if len(steps) < _MOST_STEPS:
            steps.setdefault(step, self._clock.now())


class _Driver:
    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.inbox: list[_Request] = []
        """What came in since the last turn."""
        self.taken: list[_Request] = []
        """What the present turn is about."""
        self.wake = asyncio.Event()
        self.deadlines = Deadlines()
        """When which run is to be looked at."""
        self.in_doubt = False
        """A save failed, and what is stored has not been read since."""
        self.doubtful: set[InstanceId] = set()
        """Claims of runs of which it is not known whether they are stored as out."""
        self.again: dict[InstanceId, None] = {}
        """Runs that were passed over and may go now, in the order in which they could; a dict keeps each once."""
        self.task: asyncio.Task[None]


class _Away:
    """Since when an agent has been away, to be asked like a dict: who is connected is not looked up for a whole ticket."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def get(self, instance: InstanceId, /) -> datetime | None:
        """Return it; None when the agent is connected."""
        return self._sessions.absent((instance,)).get(instance)


def _was_given_up(run: Run) -> bool:
    return run.state is RunState.CANCELED


def _fail(request: _Request, error: PatchError) -> None:
    if not request.answer.done():
        request.answer.set_exception(error)
