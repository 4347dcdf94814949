"""Scheduled tasks in memory, held to the same contract as those that are remembered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from common.errors import Conflict, NotFound
from controller.schedules.model import ScheduledTask, ScheduleId, ScheduleRun
from controller.store.rules import MAX_SCHEDULE_RUNS
from controller.tickets.model import TicketId


class MemorySchedules:
    """ScheduleStore in memory."""

    def __init__(self) -> None:
        self._tasks = dict[ScheduleId, ScheduledTask]()
        self._runs = dict[ScheduleId, dict[datetime, ScheduleRun]]()

    async def create(self, task: ScheduledTask) -> ScheduledTask:
        """Write a new task; return it as saved. Raise Conflict when its id or name is taken."""
        if task.id in self._tasks:
            raise Conflict("schedule", task.name)
        self._check_name(task)
        made = self._tasks[task.id] = replace(task, version=1)
        self._runs[task.id] = {}
        return made

    async def save(self, task: ScheduledTask) -> ScheduledTask:
        """Write an operator's change if nobody has written another meanwhile; raise Conflict, NotFound."""
        there = await self.get(task.id)
        if there.version != task.version:
            raise Conflict("schedule", task.name)
        self._check_name(task)
        begins = task.enabled and not there.enabled
        saved = replace(
            task, version=task.version + 1, settled_until=task.settled_until if begins else there.settled_until
        )
        self._tasks[task.id] = saved
        return saved

    def _check_name(self, task: ScheduledTask) -> None:
        taken = (t for t in self._tasks.values() if (t.account, t.name) == (task.account, task.name))
        if any(t.id != task.id for t in taken):
            raise Conflict("schedule", task.name)

    async def get(self, schedule_id: ScheduleId) -> ScheduledTask:
        """Return a task; raise NotFound."""
        try:
            return self._tasks[schedule_id]
        except KeyError:
            raise NotFound("schedule", schedule_id) from None

    async def find(self, account: str, reference: str) -> ScheduledTask:
        """Return the task of an account with this id, else with this name; raise NotFound."""
        found = [t for t in self._tasks.values() if t.account == account and reference in (t.id, t.name)]
        if not found:
            raise NotFound("schedule", reference)
        return min(found, key=lambda t: t.id != reference)

    async def tasks(self, account: str, limit: int, after: str) -> tuple[ScheduledTask, ...]:
        """Return tasks of an account by name, only those above `after`."""
        found = (t for t in self._tasks.values() if t.account == account and t.name > after)
        return tuple(sorted(found, key=lambda t: t.name)[:limit])

    async def enabled(self) -> tuple[ScheduledTask, ...]:
        """Return the tasks of all accounts that are enabled, ordered by id."""
        return tuple(sorted((t for t in self._tasks.values() if t.enabled), key=lambda t: t.id))

    async def delete(self, schedule_id: ScheduleId) -> None:
        """Remove a task and its history; raise NotFound."""
        await self.get(schedule_id)
        del self._tasks[schedule_id], self._runs[schedule_id]

    async def settle(self, schedule_id: ScheduleId, until: datetime | None, runs: Iterable[ScheduleRun]) -> None:
        """Write what became of runs and up to when they are dealt with; raise NotFound."""
        task = await self.get(schedule_id)
        if until is not None:
            self._tasks[schedule_id] = replace(task, settled_until=max(task.settled_until or until, until))
        history = self._runs[schedule_id]
        for run in runs:
            history.setdefault(run.fire_at, run)
        for fire_at in sorted(history, reverse=True)[MAX_SCHEDULE_RUNS:]:
            del history[fire_at]

    async def runs(self, schedule_id: ScheduleId, limit: int, before: datetime | None) -> tuple[ScheduleRun, ...]:
        """Return a task's history, newest first, only what is before `before`; raise NotFound."""
        await self.get(schedule_id)
        return self._newest(schedule_id, before)[:limit]

    async def latest_tickets(self, schedule_id: ScheduleId, limit: int) -> tuple[TicketId, ...]:
        """Return the tickets of a task's latest runs that made one, the newest first."""
        found = (run.ticket_id for run in self._newest(schedule_id, None))
        return tuple(ticket_id for ticket_id in found if ticket_id is not None)[:limit]

    def _newest(self, schedule_id: ScheduleId, before: datetime | None) -> tuple[ScheduleRun, ...]:
        history = self._runs.get(schedule_id, {})
        return tuple(history[at] for at in sorted(history, reverse=True) if before is None or at < before)
