"""What a store promises of scheduled tasks; api.py has the rest, and this under the same roof."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from controller.schedules.model import ScheduledTask, ScheduleId, ScheduleRun
from controller.tickets.model import TicketId


class ScheduleStore(Protocol):
    """Scheduled tasks, and what became of their runs. Names are unique in their account."""

    async def create(self, task: ScheduledTask) -> ScheduledTask:
        """Write a new task; return it as saved (version 1). Raise Conflict when its id, or its name in its account, is taken."""
        ...

    async def save(self, task: ScheduledTask) -> ScheduledTask:
        """Write an operator's change if the stored version is still `task.version`; return it as saved (version + 1).

        `settled_until` is written only when the task becomes enabled: else what `settle` wrote meanwhile stays. Raise Conflict, also
        when the name is taken, and NotFound.
        """
        ...

    async def get(self, schedule_id: ScheduleId) -> ScheduledTask:
        """Return a task; raise NotFound."""
        ...

    async def find(self, account: str, reference: str) -> ScheduledTask:
        """Return the task of an account with this id, else with this name; raise NotFound."""
        ...

    async def tasks(self, account: str, limit: int, after: str) -> tuple[ScheduledTask, ...]:
        """Return tasks of an account by name, only those whose name is above `after`."""
        ...

    async def enabled(self) -> tuple[ScheduledTask, ...]:
        """Return the tasks of all accounts that are enabled, ordered by id."""
        ...

    async def delete(self, schedule_id: ScheduleId) -> None:
        """Remove a task and its history; raise NotFound."""
        ...

    async def settle(self, schedule_id: ScheduleId, until: datetime | None, runs: Iterable[ScheduleRun]) -> None:
        """Write what became of runs and that those up to `until` are dealt with, both or neither; raise NotFound.

        Without `until` the runs are somebody's own, and what the schedule has to fire stays as it is. Of an instant the first line
        stays. `settled_until` never goes back; the task's version does not change. The latest MAX_SCHEDULE_RUNS lines are kept.
        """
        ...

    async def runs(self, schedule_id: ScheduleId, limit: int, before: datetime | None) -> tuple[ScheduleRun, ...]:
        """Return a task's history ordered by fire_at, newest first, only what is before `before`; raise NotFound."""
        ...

    async def latest_tickets(self, schedule_id: ScheduleId, limit: int) -> tuple[TicketId, ...]:
        """Return the tickets of a task's latest runs that made one, the newest first."""
        ...
