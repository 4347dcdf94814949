"""Drives tickets: loads, asks the machine what should happen, stores it, then tells the agents. Decides nothing.

Each live ticket has one driver, a task that owns the ticket: changes come to it through an inbox, so nothing is locked. All that
waits in the inbox is applied together and saved once; only then do callers get their answer and agents their orders
(promise before deed). What a crash leaves between the two is mended when the agent connects: its open runs are sent again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from common import failpoints
from common.clock import Clock
from common.errors import Conflict, NotFound, PatchError, Unavailable
from controller.fleet.model import InstanceId
from controller.fleet.orders import Assign, Cancel
from controller.fleet.sessions import Sessions
from controller.hub.api import Hub
from controller.store.api import TicketStore
from controller.tickets.machine import evolve
from controller.tickets.model import (
    Event,
    Outcome,
    Reported,
    Run,
    RunId,
    RunState,
    Ticket,
    TicketId,
    TicketState,
    parse_run_id,
)
from controller.tickets.plan import next_deadline, plan

log = logging.getLogger(__name__)

_STORE_RETRY: Final = timedelta(seconds=2)
_LIVE: Final = frozenset({TicketState.READY, TicketState.PROCESSING})

MakeEvent = Callable[[Ticket, datetime], Event]


@dataclass(slots=True)
class _Request:
    make: MakeEvent
    answer: asyncio.Future[Ticket]


class Engine:
    """All live tickets of this controller. Use it from one event loop."""

    def __init__(self, store: TicketStore, sessions: Sessions, hub: Hub, clock: Clock) -> None:
        """Begin with no ticket; `start` takes up the unfinished ones."""
        self._store = store
        self._sessions = sessions
        self._hub = hub
        self._clock = clock
        self._drivers: dict[TicketId, _Driver] = {}
        self._out: defaultdict[InstanceId, set[TicketId]] = defaultdict(set)
        self._steps: dict[RunId, str] = {}

    async def start(self) -> None:
        """Take up every ticket that an earlier process left unfinished."""
        for ticket_id in await self._store.unfinished():
            self._drive(await self._store.load(ticket_id))
            log.info("ticket taken up", extra={"ticket": ticket_id})

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

    def steps(self, ticket: Ticket) -> Mapping[InstanceId, str]:
        """Return what agents say they are doing, for the runs of a ticket that are out."""
        return {instance: self._steps.get(run, "sent") for instance, run in ticket.out.items()}

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
        for ticket_id in self._out.get(instance_id, ()):
            if self._drivers[ticket_id].ticket.out.get(instance_id) == run_id:
                self._steps[RunId(run_id)] = step
                self._hub.publish(f"ticket/{ticket_id}")

    def connected(self, instance_id: InstanceId) -> None:
        """An agent is here: say again what it was promised."""
        for ticket_id in self._out.get(instance_id, ()):
            driver = self._drivers[ticket_id]
            self._assign(driver.ticket, instance_id, driver.ticket.out[instance_id])
            driver.wake.set()

    def lost(self, instance_id: InstanceId) -> None:
        """An agent is away: its runs have a new deadline."""
        for ticket_id in self._out.get(instance_id, ()):
            self._drivers[ticket_id].wake.set()

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
        for instance_id, run_id in ticket.out.items():
            self._out[instance_id].add(ticket.id)
            self._assign(ticket, instance_id, run_id)
        driver.wake.set()
        driver.task = asyncio.create_task(self._run(driver), name=f"ticket {ticket.id}")

    async def _run(self, driver: _Driver) -> None:
        try:
            while True:
                driver.wake.clear()
                driver.taken, driver.inbox = driver.inbox, []
                try:
                    delay = await self._turn(driver)
                except Exception:  # a fault of ours must not leave the ticket without a driver
                    log.exception("ticket could not be driven", extra={"ticket": driver.ticket.id})
                    for request in driver.taken:
                        _fail(request, Unavailable("the controller failed to apply this; its log says why"))
                    delay = _STORE_RETRY
                if delay is None and not driver.wake.is_set():
                    self._drivers.pop(driver.ticket.id)  # no await since the last look: nothing can have come in
                    return
                await self._sleep(driver, delay)
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
        before, now = driver.ticket, self._clock.now()
        ticket, answered = before, list[_Request]()
        for request in driver.taken:
            try:
                ticket = evolve(ticket, request.make(ticket, now))
                answered.append(request)
            except PatchError as refused:
                _fail(request, refused)
        while (event := plan(ticket, self._sessions.absent(ticket.out), now)) is not None:
            ticket = evolve(ticket, event)
        try:
            saved = await self._save(ticket) if ticket is not before else before
        except Conflict as conflict:
            driver.ticket = await self._store.load(before.id)  # another replica drives it: theirs is the truth
            log.warning("ticket was changed elsewhere", extra={"ticket": before.id, "conflict": str(conflict)})
            driver.inbox[:0] = [r for r in answered if not r.answer.done()]
            return timedelta(0)
        except Unavailable as unavailable:
            log.error("ticket could not be stored", extra={"ticket": before.id, "error": str(unavailable)})  # noqa: TRY400
            for request in answered:
                _fail(request, unavailable)
            return _STORE_RETRY
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
        deadline = next_deadline(saved, self._sessions.absent(saved.out))
        if deadline is not None:
            return deadline - self._clock.now()
        return timedelta(days=1) if saved.state in _LIVE or saved.out else None

    async def _save(self, ticket: Ticket) -> Ticket:
        failpoints.reached("engine.before_save")
        saved = await self._store.save(ticket)
        failpoints.reached("engine.saved")
        return saved

    def _tell(self, before: Ticket, after: Ticket) -> None:
        """Give agents the orders that follow from what was stored."""
        for instance_id in after.unsaved_runs:
            now_out, was_out = after.out.get(instance_id), before.out.get(instance_id)
            if was_out is not None and was_out != now_out:
                self._steps.pop(was_out, None)
                self._out[instance_id].discard(after.id)
                if not self._out[instance_id]:
                    del self._out[instance_id]
                if _was_given_up(after.runs[instance_id]) and (session := self._sessions.get(instance_id)) is not None:
                    session.send(Cancel(was_out))
            if now_out is not None and now_out != was_out:
                self._out[instance_id].add(after.id)
                self._assign(after, instance_id, now_out)

    def _assign(self, ticket: Ticket, instance_id: InstanceId, run_id: RunId) -> None:
        deadline = ticket.runs[instance_id].deadline
        session = self._sessions.get(instance_id)
        if session is None or deadline is None:
            return
        left = deadline - self._clock.now()
        if left > timedelta(0):
            failpoints.reached("engine.before_order")
            session.send(Assign(run_id, ticket.id, left))


class _Driver:
    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.inbox: list[_Request] = []
        """What came in since the last turn."""
        self.taken: list[_Request] = []
        """What the present turn is about."""
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None]


def _was_given_up(run: Run) -> bool:
    return run.state is RunState.CANCELED


def _fail(request: _Request, error: PatchError) -> None:
    if not request.answer.done():
        request.answer.set_exception(error)
