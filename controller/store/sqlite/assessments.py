"""Assessments in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Final, TypeVar

from common.errors import NotFound
from controller.compliance.model import Assessment, Kept
from controller.store import rules
from controller.store.api_assessments import Deciding
from controller.store.codec import canonical, from_json, micros, moment, moment_or_none, to_json
from controller.store.sqlite.database import Database, Row, Work
from controller.store.sqlite.items import Items
from controller.store.sqlite.queries import queries

T = TypeVar("T")
_Since = Mapping[int, AbstractSet[int]]
"""Since when (microseconds) which items (their numbers) are non-compliant."""

_SQL: Final = queries("assessments")


class SqliteAssessments:
    """AssessmentStore over a Database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._items = Items(database)

    async def put_assessment(
        self, assessment: Assessment, items: Collection[str], at: datetime, *, deciding: bool, mark: bytes = b""
    ) -> Mapping[str, datetime]:
        """Keep an answer and return since when its items are non-compliant; see the Protocol."""
        answer = Deciding(assessment, tuple(items), at, mark)

        def work(db: sqlite3.Connection) -> Mapping[str, datetime]:
            numbers, since = self._keep(db, answer, deciding=deciding)
            keys = dict(zip(numbers, answer.items, strict=True))
            return {keys[n]: moment(begun) for begun, found in since.items() for n in found if n in keys}

        return await self._write(work)

    async def put_deciding(self, answers: Sequence[Deciding]) -> tuple[datetime | None, ...]:
        """Keep deciding answers, all or none of them; see the Protocol."""

        def work(db: sqlite3.Connection) -> tuple[datetime | None, ...]:
            kept = (self._keep(db, answer, deciding=True) for answer in answers)
            return tuple(moment_or_none(_earliest(*one)) for one in kept)

        return await self._write(work)

    async def _write(self, work: Work[T]) -> T:
        def careful(db: sqlite3.Connection) -> T:
            try:
                return work(db)
            except BaseException:
                self._items.forget()
                raise

        return await self._database.write(careful)

    def _keep(self, db: sqlite3.Connection, answer: Deciding, *, deciding: bool) -> tuple[list[int], _Since]:
        """Keep an answer; return the numbers of its items, and since when which ones are non-compliant."""
        assessment = answer.assessment
        key = {"instance_id": assessment.instance_id, "baseline_id": assessment.inputs.baseline_id}
        if db.execute(_SQL["has_instance"], key).fetchone() is None:
            raise NotFound("instance", assessment.instance_id)
        document = to_json(assessment)
        numbers = self._items.numbers(db, answer.items)
        known = _read_since(db.execute(_SQL["since"], key).fetchone())
        since = rules.remembered(known, assessment, frozenset(numbers), micros(answer.at))
        db.execute(_SQL["put"], {**key, "document": document, "since": _since(since)})
        if deciding:
            kept = {"document": document, "mark": answer.mark, "earliest": _earliest(numbers, since)}
            db.execute(_SQL["put_deciding"], {**key, **kept})
        return numbers, since

    async def since(self, instance_id: str, baseline_id: str) -> Mapping[str, datetime]:
        """Return since when items are non-compliant, by key."""
        key = {"instance_id": instance_id, "baseline_id": baseline_id}
        found = dict[str, datetime]()
        for at, items in await self._database.rows(_SQL["since_by_key"], key):
            found |= dict.fromkeys(json.loads(items), moment(at))
        return found

    async def deciding(self, instance_id: str) -> Assessment | None:
        """Return the instance's deciding answer, None before the first."""
        return _assessment(await self._database.row(_SQL["deciding"], {"instance_id": instance_id}))

    async def all_deciding(self) -> tuple[Kept, ...]:
        """Return the deciding answers of all instances that are not deleted, ordered by instance id."""
        return await self._database.read(
            lambda db: tuple(
                Kept(from_json(Assessment, document), mark, moment_or_none(earliest))
                for document, mark, earliest in db.execute(_SQL["all_deciding"])
            )
        )

    async def assessment(self, instance_id: str, baseline_id: str) -> Assessment | None:
        """Return the latest answer for an instance and a baseline, None before the first."""
        return _assessment(
            await self._database.row(_SQL["get"], {"instance_id": instance_id, "baseline_id": baseline_id})
        )


def _assessment(row: Row | None) -> Assessment | None:
    return None if row is None else from_json(Assessment, row[0])


def _earliest(numbers: Sequence[int], since: _Since) -> int | None:
    return min(since) if numbers else None


def _since(times: _Since) -> str:
    return canonical({str(begun): sorted(numbers) for begun, numbers in times.items()})


def _read_since(row: Row | None) -> _Since:
    """Return what `_since` wrote."""
    return {} if row is None else {int(begun): frozenset(numbers) for begun, numbers in json.loads(row[0]).items()}
