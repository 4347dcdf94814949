"""Scheduled tasks in SQLite: a document a task, with what changes by itself in columns of its own, and a row a run."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final

from common.errors import Conflict, NotFound
from controller.schedules.model import ScheduledTask, ScheduleId, ScheduleRun
from controller.store.codec import END_OF_TIME, from_json, micros, micros_or_none, moment_or_none, to_json
from controller.store.rules import MAX_SCHEDULE_RUNS
from controller.store.sqlite.database import Database, Parameters, Row
from controller.store.sqlite.queries import queries
from controller.tickets.model import TicketId

_SQL: Final = queries("schedules")


class SqliteSchedules:
    """ScheduleStore over a Database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, task: ScheduledTask) -> ScheduledTask:
        """Write a new task; return it as saved. Raise Conflict when its id or name is taken."""
        made = replace(task, version=1)

        def work(db: sqlite3.Connection) -> None:
            try:
                db.execute(_SQL["add"], _parameters(made))
            except sqlite3.IntegrityError as error:
                raise Conflict("schedule", task.name) from error

        await self._database.write(work)
        return made

    async def save(self, task: ScheduledTask) -> ScheduledTask:
        """Write an operator's change if nobody has written another meanwhile; raise Conflict, NotFound."""

        def work(db: sqlite3.Connection) -> ScheduledTask:
            there = _task(db, task.id)
            if there.version != task.version:
                raise Conflict("schedule", task.name)
            begins = task.enabled and not there.enabled
            saved = replace(
                task, version=task.version + 1, settled_until=task.settled_until if begins else there.settled_until
            )
            try:
                db.execute(_SQL["change"], _parameters(saved))
            except sqlite3.IntegrityError as error:
                raise Conflict("schedule", task.name) from error
            return saved

        return await self._database.write(work)

    async def get(self, schedule_id: ScheduleId) -> ScheduledTask:
        """Return a task; raise NotFound."""
        return await self._database.read(lambda db: _task(db, schedule_id))

    async def find(self, account: str, reference: str) -> ScheduledTask:
        """Return the task of an account with this id, else with this name; raise NotFound."""
        row = await self._database.row(_SQL["find"], {"account": account, "reference": reference})
        if row is None:
            raise NotFound("schedule", reference)
        return _read(row)

    async def tasks(self, account: str, limit: int, after: str) -> tuple[ScheduledTask, ...]:
        """Return tasks of an account by name, only those above `after`."""
        rows = await self._database.rows(_SQL["tasks"], {"account": account, "limit": limit, "after": after})
        return tuple(map(_read, rows))

    async def enabled(self) -> tuple[ScheduledTask, ...]:
        """Return the tasks of all accounts that are enabled, ordered by id."""
        return tuple(map(_read, await self._database.rows(_SQL["enabled"], {})))

    async def delete(self, schedule_id: ScheduleId) -> None:
        """Remove a task and its history; raise NotFound."""

        def work(db: sqlite3.Connection) -> None:
            _task(db, schedule_id)
            db.execute(_SQL["delete_runs"], {"id": schedule_id})
            db.execute(_SQL["delete"], {"id": schedule_id})

        await self._database.write(work)

    async def settle(self, schedule_id: ScheduleId, until: datetime | None, runs: Iterable[ScheduleRun]) -> None:
        """Write what became of runs and up to when they are dealt with, both or neither; raise NotFound."""
        rows = [
            {
                "schedule_id": schedule_id,
                "fire_at": micros(run.fire_at),
                "ticket_id": run.ticket_id,
                "document": to_json(run),
            }
            for run in runs
        ]

        def work(db: sqlite3.Connection) -> None:
            _task(db, schedule_id)
            if until is not None:
                db.execute(_SQL["settle"], {"id": schedule_id, "until": micros(until)})
            db.executemany(_SQL["add_run"], rows)
            db.execute(_SQL["trim_runs"], {"id": schedule_id, "keep": MAX_SCHEDULE_RUNS})

        await self._database.write(work)

    async def runs(self, schedule_id: ScheduleId, limit: int, before: datetime | None) -> tuple[ScheduleRun, ...]:
        """Return a task's history, newest first, only what is before `before`; raise NotFound."""
        page: Parameters = {
            "id": schedule_id,
            "limit": limit,
            "before": END_OF_TIME if before is None else micros(before),
        }

        def work(db: sqlite3.Connection) -> tuple[ScheduleRun, ...]:
            _task(db, schedule_id)
            return tuple(from_json(ScheduleRun, document) for (document,) in db.execute(_SQL["runs"], page))

        return await self._database.read(work)

    async def latest_tickets(self, schedule_id: ScheduleId, limit: int) -> tuple[TicketId, ...]:
        """Return the tickets of a task's latest runs that made one, the newest first."""
        rows = await self._database.rows(_SQL["latest_tickets"], {"id": schedule_id, "limit": limit})
        return tuple(TicketId(ticket_id) for (ticket_id,) in rows)


def _task(db: sqlite3.Connection, schedule_id: ScheduleId) -> ScheduledTask:
    row: Row | None = db.execute(_SQL["get"], {"id": schedule_id}).fetchone()
    if row is None:
        raise NotFound("schedule", schedule_id)
    return _read(row)


def _read(row: Row) -> ScheduledTask:
    enabled, settled_until, version, document = row
    task = from_json(ScheduledTask, document)
    return replace(task, enabled=bool(enabled), settled_until=moment_or_none(settled_until), version=version)


def _parameters(task: ScheduledTask) -> Parameters:
    return {
        "id": task.id,
        "account": task.account,
        "name": task.name,
        "enabled": int(task.enabled),
        "settled_until": micros_or_none(task.settled_until),
        "version": task.version,
        "document": to_json(task),
    }
