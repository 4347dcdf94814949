"""Assessments in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from common.errors import NotFound
from controller.compliance.model import Assessment, Kept
from controller.store import rules
from controller.store.codec import canonical, from_json, micros, micros_or_none, moment, moment_or_none, to_json
from controller.store.sqlite.database import Database, Row
from controller.store.sqlite.queries import queries

_SQL: Final = queries("assessments")


class SqliteAssessments:
    """AssessmentStore over a Database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put_assessment(
        self, assessment: Assessment, items: Collection[str], at: datetime, *, deciding: bool, mark: bytes = b""
    ) -> Mapping[str, datetime]:
        """Keep an answer and return since when its items are non-compliant; see the Protocol."""
        document = to_json(assessment)
        key = {"instance_id": assessment.instance_id, "baseline_id": assessment.inputs.baseline_id}

        def work(db: sqlite3.Connection) -> Mapping[str, datetime]:
            if db.execute(_SQL["has_instance"], key).fetchone() is None:
                raise NotFound("instance", assessment.instance_id)
            since = rules.remembered(_times(db.execute(_SQL["since"], key).fetchone()), assessment, items, at)
            db.execute(_SQL["put"], {**key, "document": document, "since": _since(since)})
            if deciding:
                earliest = micros_or_none(min((since[item] for item in items), default=None))
                row = {"instance_id": assessment.instance_id, "document": document, "mark": mark, "earliest": earliest}
                db.execute(_SQL["put_deciding"], row)
            return {item: since[item] for item in items}

        return await self._database.write(work)

    async def since(self, instance_id: str, baseline_id: str) -> Mapping[str, datetime]:
        """Return since when items are non-compliant, by key."""
        return _times(await self._database.row(_SQL["since"], {"instance_id": instance_id, "baseline_id": baseline_id}))

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


def _since(times: Mapping[str, datetime]) -> str:
    """Return since when each item is non-compliant: the items of one instant together, as most are found at once."""
    together = defaultdict[datetime, list[str]](list)
    for item, begun in times.items():
        together[begun].append(item)
    return canonical({str(micros(begun)): sorted(items) for begun, items in together.items()})


def _times(row: Row | None) -> Mapping[str, datetime]:
    if row is None:
        return {}
    found = dict[str, datetime]()
    for key, value in json.loads(row[0]).items():
        if isinstance(value, list):
            found |= dict.fromkeys(value, moment(int(key)))
        else:  # as it was written at first: an item and its instant
            found[key] = moment(value)
    return found
