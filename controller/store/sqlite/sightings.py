"""Sightings in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Final

from controller.fleet.clones import Sighting
from controller.fleet.model import InstanceId
from controller.store.codec import micros, moment
from controller.store.sqlite.database import Database
from controller.store.sqlite.queries import queries

_SQL: Final = queries("sightings")


class SqliteSightings:
    """SightingStore over a Database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put_sightings(self, sightings: Mapping[InstanceId, Iterable[Sighting]]) -> None:
        """Replace what is remembered of each of these instances."""
        rows = [
            {
                "instance_id": instance_id,
                "machine_id": s.machine_id,
                "boot_id": s.boot_id,
                "address": s.address,
                "first_at": micros(s.first_at),
                "last_at": micros(s.last_at),
            }
            for instance_id, seen in sightings.items()
            for s in seen
        ]

        def work(db: sqlite3.Connection) -> None:
            db.executemany(_SQL["forget"], [{"instance_id": instance_id} for instance_id in sightings])
            db.executemany(_SQL["put"], rows)

        await self._database.write(work)

    async def sightings(self) -> tuple[Sighting, ...]:
        """Return all sightings, ordered by instance, then by when they were last heard, then by boot."""
        rows = await self._database.rows(_SQL["sightings"], {})
        return tuple(
            Sighting(InstanceId(instance_id), machine_id, boot_id, address, moment(first_at), moment(last_at))
            for instance_id, machine_id, boot_id, address, first_at, last_at in rows
        )
