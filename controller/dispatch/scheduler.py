"""Fires scheduled tasks: asks the pure code what is due, makes tickets, writes history. Decides nothing.

A ticket is made under a key from the task and the instant (schedules/model.request_id), and only then is the run written into
the history. Killed between the two, the next process makes the same ticket again, which is the one that is there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from common import failpoints
from common.clock import Clock
from common.errors import NotFound, PatchError, Rejected, Unavailable
from controller.schedules.model import (
    RunOutcome,
    ScheduledTask,
    ScheduleRun,
    SkipReason,
    created_by,
    request_id,
    request_id_now,
)
from controller.schedules.next_fire import Due, due, next_fire
from controller.schedules.overlap import still_open
from controller.schedules.task import waits_for_approval
from controller.store.api import ScheduleStore, TicketStore
from controller.tickets.model import Ticket, TicketId

log = logging.getLogger(__name__)

_LONGEST_SLEEP: Final = timedelta(seconds=30)
"""A clock may jump, and a machine may sleep."""
_RETRY: Final = timedelta(seconds=2)
_LOOKED_AT: Final = 20
"""So many of a task's latest tickets are asked whether they are still open."""


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a spec: a ticket, or a sentence that says why nothing can be selected."""

    ticket_id: TicketId | None
    sentence: str = ""


Make = Callable[[ScheduledTask, str, str], Awaitable[Made]]
"""Makes the ticket of (task, created_by, request_id), or finds the one that was made before. Raises what CreateTicket raises."""


class Scheduler:
    """The schedules of this controller."""

    def __init__(
        self,
        store: ScheduleStore,
        tickets: TicketStore,
        make: Make,
        clock: Clock,
        settled: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Join the parts; `start` begins, after `settled`: agents have to come back before anybody can be selected."""
        self._settled = settled
        self._store = store
        self._tickets = tickets
        self._make = make
        self._clock = clock
        self._changed = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()  # a person and a schedule that fire together are two runs that overlap
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to fire what is due, what was missed first."""
        self._task = asyncio.create_task(self._run(), name="scheduler")

    async def stop(self) -> None:
        """Stop firing. What was made is written down, or found again by the next process."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def wake(self) -> None:
        """Look again: a task was enabled or changed."""
        self._changed.set()

    async def run_now(self, task: ScheduledTask, by: str, wanted: str) -> ScheduleRun:
        """Make a task's ticket because a person wants it now; return the line in its history.

        The same person's second request under the same key returns the first one's run. Raises Rejected with what is in the way: an
        approval that is missing, an open ticket, nobody to select; and what CreateTicket raises.
        """
        key = request_id_now(task.id, wanted)
        async with self._one_at_a_time:
            made = await self._tickets.find_request(by, key) if key else None
            if made is None:
                made = await self._make_now(task, by, key)
            ticket = await self._tickets.head(made)
            run = ScheduleRun(task.id, ticket.created_at, RunOutcome.FIRED, self._clock.now(), made, fired_by=by)
            await self._store.settle(task.id, None, [run])
        log.info("schedule run by hand", extra={"schedule": task.id, "by": by, "ticket": made})
        return run

    async def _make_now(self, task: ScheduledTask, by: str, key: str) -> TicketId:
        if (missing := waits_for_approval(task)) is not None:
            raise Rejected(missing)
        if not task.allow_overlap and (said := still_open(await self._latest(task))) is not None:
            raise Rejected(said)
        made = await self._make(task, by, key)
        if made.ticket_id is None:
            raise Rejected(made.sentence)
        return made.ticket_id

    async def _run(self) -> None:
        if self._settled is not None:
            await self._settled()
        while True:
            self._changed.clear()
            try:
                sleep = await self.turn()
            except Exception:  # a fault of ours in one task must not end all schedules
                log.exception("schedules could not be looked at")
                sleep = _RETRY
            await self._sleep(sleep)

    async def _sleep(self, length: timedelta) -> None:
        woken = asyncio.create_task(self._changed.wait())
        timer = asyncio.create_task(self._clock.sleep(max(0.0, length.total_seconds())))
        try:
            await asyncio.wait((woken, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            timer.cancel()

    async def turn(self) -> timedelta:
        """Fire everything that is due, and return how long to wait before looking again."""
        wait = _LONGEST_SLEEP
        for task in await self._store.enabled():
            try:
                wait = min(wait, await self._take_turn(task))
            except Unavailable as error:
                log.warning("schedule has to wait", extra={"schedule": task.id, "error": str(error)})
                wait = min(wait, _RETRY)
            except Exception:
                log.exception("schedule could not be run", extra={"schedule": task.id})
                wait = min(wait, _RETRY)
        return wait

    async def _take_turn(self, task: ScheduledTask) -> timedelta:
        settled, now = task.settled_until or task.edited_at, self._clock.now()
        found = due(task.schedule, task.missed_runs, settled, now)
        if found is not None:
            try:
                async with self._one_at_a_time:
                    await self._settle(task, found, now)
            except NotFound:
                return _LONGEST_SLEEP  # deleted meanwhile
            settled = found.until
        ahead = next_fire(task.schedule, settled)
        return _LONGEST_SLEEP if ahead is None else max(ahead - self._clock.now(), timedelta(0))

    async def _settle(self, task: ScheduledTask, found: Due, now: datetime) -> None:
        runs, missed = list[ScheduleRun](), found.missed
        made_up_for = missed is not None and missed.last == found.fire_at
        if missed is not None and not made_up_for:
            sentence = f"{missed}: the controller was not running, or busy"
            runs.append(_skipped(task, missed.last, now, SkipReason.MISSED, sentence, missed.count))
        if found.fire_at is not None:
            run = await self._fire(task, found.fire_at, now)
            if missed is not None and made_up_for:
                said = f"{run.sentence}; " if run.sentence else ""
                run = replace(run, sentence=f"{said}{missed}; this run makes up for that", missed=missed.count)
            runs.append(run)
        failpoints.reached("scheduler.before_history")
        await self._store.settle(task.id, found.until, runs)
        failpoints.reached("scheduler.history_stored")
        for run in runs:
            log.info(
                "schedule ran",
                extra={"schedule": task.id, "outcome": run.outcome.value, "ticket": run.ticket_id, "why": run.sentence},
            )

    async def _fire(self, task: ScheduledTask, fire_at: datetime, now: datetime) -> ScheduleRun:
        by, key = created_by(task), request_id(task.id, fire_at)
        before = await self._tickets.find_request(by, key)
        if before is not None:  # made by a process that died before it could write it down
            return ScheduleRun(task.id, fire_at, RunOutcome.FIRED, now, before)
        if not task.allow_overlap and (said := still_open(await self._latest(task))) is not None:
            return _skipped(task, fire_at, now, SkipReason.OVERLAP, said)
        failpoints.reached("scheduler.before_ticket")
        try:
            made = await self._make(task, by, key)
        except Unavailable:
            raise
        except PatchError as error:
            return ScheduleRun(task.id, fire_at, RunOutcome.FAILED, now, sentence=str(error))
        failpoints.reached("scheduler.ticket_made")
        if made.ticket_id is None:
            return _skipped(task, fire_at, now, SkipReason.NOTHING_SELECTABLE, made.sentence)
        return ScheduleRun(task.id, fire_at, RunOutcome.FIRED, now, made.ticket_id)

    async def _latest(self, task: ScheduledTask) -> list[Ticket]:
        found = list[Ticket]()
        for ticket_id in await self._store.latest_tickets(task.id, _LOOKED_AT):
            try:
                found.append(await self._tickets.head(ticket_id))
            except NotFound:
                continue
        return found


def _skipped(
    task: ScheduledTask, fire_at: datetime, now: datetime, reason: SkipReason, sentence: str, missed: int = 0
) -> ScheduleRun:
    return ScheduleRun(task.id, fire_at, RunOutcome.SKIPPED, now, None, reason, sentence, missed)
