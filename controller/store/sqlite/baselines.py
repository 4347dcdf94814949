"""Baselines in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

from common.errors import Conflict, NotFound
from controller.compliance.model import Baseline
from controller.fleet.model import ResourceType
from controller.store.codec import from_json, to_json
from controller.store.sqlite.database import Database, Row
from controller.store.sqlite.queries import queries

_SQL: Final = queries("baselines")


class SqliteBaselines:
    """BaselineStore over a Database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put_baseline(self, baseline: Baseline) -> None:
        """Write one version of a baseline; raise Conflict as the Protocol says."""
        head = {
            "id": baseline.id,
            "name": baseline.name,
            "version": baseline.version,
            "public": int(baseline.public),
        }
        version = {"id": baseline.id, "version": baseline.version, "document": to_json(baseline)}

        def work(db: sqlite3.Connection) -> None:
            if db.execute(_SQL["is_deleted"], {"id": baseline.id}).fetchone() == (1,):
                raise Conflict("baseline", baseline.name)
            try:
                db.execute(_SQL["put_head"], head)
                db.execute(_SQL["put_version"], version)
            except sqlite3.IntegrityError as error:
                raise Conflict("baseline", baseline.name) from error

        await self._database.write(work)

    async def get_baseline(self, baseline_id: str, version: int = 0) -> Baseline:
        """Return one version, 0 for the newest (deleted baselines answer too, by id); raise NotFound."""
        query = _SQL["get_version"] if version else _SQL["get_newest"]
        row = await self._database.row(query, {"id": baseline_id, "version": version})
        return _baseline(row, f"{baseline_id} v{version}" if version else baseline_id)

    async def find_baseline(self, reference: str) -> Baseline:
        """Return the newest version of the baseline with this id or name, not deleted; raise NotFound."""
        return _baseline(await self._database.row(_SQL["find"], {"reference": reference}), reference)

    async def baselines(self) -> tuple[Baseline, ...]:
        """Return the newest versions, public ones first, then by name; deleted ones are absent."""
        return tuple(from_json(Baseline, document) for (document,) in await self._database.rows(_SQL["list"], {}))

    async def delete_baseline(self, baseline_id: str) -> None:
        """Take a baseline out of lists and defaults; its versions stay readable. Raise NotFound."""

        def work(db: sqlite3.Connection) -> None:
            if not db.execute(_SQL["delete"], {"id": baseline_id}).rowcount:
                raise NotFound("baseline", baseline_id)
            db.execute(_SQL["delete_default"], {"id": baseline_id})

        await self._database.write(work)

    async def set_default(self, baseline_id: str) -> None:
        """Make it the default of its (scenario, operating system), instead of the one before; raise NotFound."""

        def work(db: sqlite3.Connection) -> None:
            if db.execute(_SQL["is_deleted"], {"id": baseline_id}).fetchone() != (0,):
                raise NotFound("baseline", baseline_id)
            baseline = _baseline(db.execute(_SQL["get_newest"], {"id": baseline_id}).fetchone(), baseline_id)
            db.execute(
                _SQL["set_default"],
                {
                    "scenario": baseline.scenario.value,
                    "operating_system": baseline.operating_system,
                    "id": baseline_id,
                },
            )

        await self._database.write(work)

    async def defaults(self) -> Mapping[tuple[ResourceType, str], str]:
        """Return the default's baseline id by (scenario, operating system)."""
        rows = await self._database.rows(_SQL["defaults"], {})
        return {(ResourceType(scenario), system): baseline_id for scenario, system, baseline_id in rows}


def _baseline(row: Row | None, name: str) -> Baseline:
    if row is None:
        raise NotFound("baseline", name)
    return from_json(Baseline, row[0])
