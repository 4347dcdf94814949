"""Content, packages, reports and advisories in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Final

from common.digest import SIZE
from common.errors import NotFound
from controller.fleet.model import InstanceId
from controller.inventory.model import Package, Report, Snapshot
from controller.store import rules
from controller.store.codec import canonical, micros, moment
from controller.store.sqlite.blobs import Blobs
from controller.store.sqlite.database import Database, Row
from controller.store.sqlite.queries import queries
from controller.store.sqlite.snapshots import Snapshots

_KNOWN_DIGESTS: Final = 500_000
"""So many digests are remembered as known, about 50 MB. As long as they are all that there are, `missing` asks no database."""

_SQL: Final = queries("inventory")


class SqliteInventory:
    """InventoryStore over a Database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._blobs = Blobs(database)
        self._snapshots = Snapshots(database)
        self._known = set[bytes]()
        """Digests that are stored. Nothing is ever removed, so they stay true."""
        self._knows_all: bool | None = None
        """Whether there are no others; None until they are read."""

    async def missing(self, digests: Collection[bytes]) -> frozenset[bytes]:
        """Return those digests for which there is neither a blob nor a snapshot."""
        if self._knows_all is None:
            rows = await self._database.rows(_SQL["all_digests"], {"limit": _KNOWN_DIGESTS + 1})
            if self._knows_all is None:
                self._knows_all = len(rows) <= _KNOWN_DIGESTS
                self._know(found for (found,) in rows)
        unsure = frozenset(digests) - self._known
        if not unsure or self._knows_all:
            return unsure
        query = {"digests": b"".join(unsure), "size": SIZE}
        known = frozenset(found for (found,) in await self._database.rows(_SQL["known"], query))
        self._know(known)
        return unsure - known

    def _know(self, digests: Iterable[bytes]) -> None:
        if len(self._known) > _KNOWN_DIGESTS:
            self._known.clear()
            self._knows_all = False
        self._known.update(digests)

    async def put_blob(self, digest: bytes, content: bytes) -> None:
        """Keep content; the same digest again changes nothing."""
        await self._blobs.put(digest, content)
        self._know((digest,))

    async def get_blob(self, digest: bytes) -> bytes:
        """Return content; raise NotFound."""
        return await self._blobs.get(digest)

    async def get_blobs(self, digests: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return several contents by digest; raise NotFound if one is absent."""
        return await self._blobs.get_all(digests)

    async def put_snapshot(self, digest: bytes, content: bytes) -> Snapshot:
        """Intern the packages of a packages blob and keep the set under its digest; see the Protocol."""
        snapshot = await self._snapshots.put(digest, content)
        self._know((digest,))
        return snapshot

    async def get_snapshot(self, digest: bytes) -> Snapshot:
        """Return a snapshot; raise NotFound."""
        return await self._snapshots.get(digest)

    async def get_snapshots(self, digests: Collection[bytes]) -> Mapping[bytes, Snapshot]:
        """Return several snapshots by digest; raise NotFound if one is absent."""
        return await self._snapshots.get_all(digests)

    async def packages(self, ids: Iterable[int]) -> tuple[Package, ...]:
        """Return interned packages in ascending order of id; unknown ids raise NotFound."""
        return await self._snapshots.packages(ids)

    async def packages_after(self, package_id: int) -> tuple[Package, ...]:
        """Return all interned packages with a greater id, ascending. Ids start at 1 and only grow."""
        return await self._snapshots.packages_after(package_id)

    async def put_report(self, report: Report) -> Report:
        """Add to an instance's history and return its latest report; see the Protocol."""
        return await self._database.write(lambda db: _put_report(db, report))

    async def latest_reports(self) -> tuple[Report, ...]:
        """Return the latest report of every instance that is not deleted, ordered by instance id."""
        return await self._database.read(lambda db: tuple(map(_report, db.execute(_SQL["all_latest"]))))

    async def latest_report(self, instance_id: InstanceId) -> Report | None:
        """Return the latest report of an instance, None before the first."""
        row = await self._database.row(_SQL["latest"], {"instance_id": instance_id})
        return None if row is None else _report(row)

    async def report_as_of(self, instance_id: InstanceId, at: datetime) -> Report | None:
        """Return the report that was the latest at an instant, None before the first."""
        row = await self._database.row(_SQL["begun_by"], {"instance_id": instance_id, "at": micros(at)})
        return None if row is None else _report(row[:-1])

    async def remember_advisory_repositories(
        self, repositories: Mapping[InstanceId, Collection[str]]
    ) -> Mapping[InstanceId, frozenset[str]]:
        """Add to the repositories in which instances ever had advisories; return them all, of these instances."""
        known = await self._database.read(lambda db: {i: _advisory_repositories(db, i) for i in repositories})
        new = {i: added for i, said in repositories.items() if (added := frozenset(said) - known[i])}
        if new:
            await self._database.write(lambda db: _add_advisory_repositories(db, new))
        return {i: known[i] | new.get(i, frozenset()) for i in repositories}

    async def see_advisories(self, ids: Collection[str], at: datetime) -> None:
        """Remember when each advisory was first seen; one already known keeps its earlier time."""
        first_seen_at = micros(at)
        rows = [{"id": advisory, "at": first_seen_at} for advisory in ids]
        await self._database.write(lambda db: db.executemany(_SQL["see_advisory"], rows).rowcount)

    async def first_seen(self, ids: Collection[str]) -> Mapping[str, datetime]:
        """Return when advisories were first seen; unknown ones are absent."""
        rows = await self._database.rows(_SQL["first_seen"], {"ids": canonical(list(ids))})
        return {advisory: moment(at) for advisory, at in rows}


def _advisory_repositories(db: sqlite3.Connection, instance_id: InstanceId) -> frozenset[str]:
    return frozenset(r for (r,) in db.execute(_SQL["advisory_repositories"], {"instance_id": instance_id}))


def _add_advisory_repositories(db: sqlite3.Connection, new: Mapping[InstanceId, Collection[str]]) -> None:
    for instance_id, repositories in new.items():
        key = {"instance_id": instance_id}
        if db.execute(_SQL["has_instance"], key).fetchone() is None:
            raise NotFound("instance", instance_id)
        rows = [{**key, "repository": repository} for repository in sorted(repositories)]
        db.executemany(_SQL["add_advisory_repository"], rows)


def _put_report(db: sqlite3.Connection, report: Report) -> Report:
    at = micros(report.collected_at)
    where = {"instance_id": report.instance_id, "at": at}
    before: Row | None = None
    after: Row | None = None
    for row in db.execute(_SQL["neighbours"], where):
        before, after = (row, after) if row[3] <= at else (before, row)
    placed = rules.place(
        None if before is None else _report(before[:-1]), None if after is None else _report(after[:-1]), report
    )
    named = (report.manifest_digest, report.inventory_digest)
    if not placed.added and all(row is None or row[1:3] != named for row in (before, after)):
        _require(db, report)
    is_first = before is None and after is None
    for added in placed.added:
        _add_report(db, added, 0 if is_first else _arrival(db, added))
    if placed.before is not None and before is not None:
        db.execute(_SQL["stretch_report"], {**_parameters(placed.before), "arrival": before[-1]})
    if placed.after is not None and after is not None:
        was = {"was_first": after[3], "was_arrival": after[-1], "arrival": _arrival(db, placed.after)}
        db.execute(_SQL["begin_earlier"], {**_parameters(placed.after), **was})
    if after is None and (written := placed.added[-1] if placed.added else placed.before) is not None:
        return written  # nothing began later, so it is the latest
    return _report(db.execute(_SQL["latest"], where).fetchone())


def _add_report(db: sqlite3.Connection, report: Report, arrival: int) -> None:
    """Add a row. That what it names is there the references see to, for less than a question before each row costs."""
    row = {**_parameters(report), **_named(report), "arrival": arrival}
    try:
        db.execute(_SQL["add_report"], row)
    except sqlite3.IntegrityError:
        _require(db, report)
        raise


def _require(db: sqlite3.Connection, report: Report) -> None:
    """Raise NotFound for what a report names and is absent."""
    has_instance, has_manifest, has_inventory = db.execute(_SQL["has_contents"], _named(report)).fetchone()
    if not has_instance:
        raise NotFound("instance", report.instance_id)
    if not has_manifest:
        raise NotFound("manifest", report.manifest_digest.hex())
    if not has_inventory and report.inventory_digest is not None:
        raise NotFound("inventory", report.inventory_digest.hex())


def _named(report: Report) -> Mapping[str, object]:
    return {
        "instance_id": report.instance_id,
        "manifest_digest": report.manifest_digest,
        "inventory_digest": report.inventory_digest,
    }


def _arrival(db: sqlite3.Connection, report: Report) -> int:
    return int(db.execute(_SQL["next_arrival"], _parameters(report)).fetchone()[0])


def _parameters(report: Report) -> Mapping[str, object]:
    return {
        "instance_id": report.instance_id,
        "first_collected_at": micros(report.first_collected_at),
        "collected_at": micros(report.collected_at),
        "received_at": micros(report.received_at),
        "ticket_id": report.ticket_id,
    }


def _report(row: Row) -> Report:
    instance_id, manifest_digest, inventory_digest, first_collected_at, collected_at, received_at, ticket_id = row
    return Report(
        instance_id=instance_id,
        manifest_digest=manifest_digest,
        inventory_digest=inventory_digest,
        first_collected_at=moment(first_collected_at),
        collected_at=moment(collected_at),
        received_at=moment(received_at),
        ticket_id=ticket_id,
    )
