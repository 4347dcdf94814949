"""Interned packages, snapshots, reports and advisories in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from pyroaring import BitMap, FrozenBitMap

from common.errors import NotFound
from common.manifest import PackageLine
from common.nevra import Nevra
from controller.fleet.model import InstanceId
from controller.inventory.model import Package, Report, Snapshot
from controller.store import rules
from controller.store.codec import canonical, micros, moment
from controller.store.sqlite.blobs import Blobs
from controller.store.sqlite.database import Database, Parameters, Row
from controller.store.sqlite.queries import queries

_SQL: Final = queries("inventory")


class SqliteInventory:
    """InventoryStore over a Database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._blobs = Blobs(database)
        self._ids: dict[tuple[Nevra, str], int] | None = None
        """Every interned package; used in the writer's thread only, None until it is read."""
        database.on_lost(self._forget_ids)

    async def missing(self, digests: Collection[bytes]) -> frozenset[bytes]:
        """Return those digests for which there is neither a blob nor a snapshot."""
        return await self._database.read(
            lambda db: frozenset(d for d in digests if db.execute(_SQL["is_known"], {"digest": d}).fetchone() == (0,))
        )

    async def put_blob(self, digest: bytes, content: bytes) -> None:
        """Keep content; the same digest again changes nothing."""
        await self._blobs.put(digest, content)

    async def get_blob(self, digest: bytes) -> bytes:
        """Return content; raise NotFound."""
        return await self._blobs.get(digest)

    async def put_snapshot(self, digest: bytes, packages: Sequence[PackageLine]) -> Snapshot:
        """Intern the packages and keep the set under its digest; the same digest again changes nothing."""

        def work(db: sqlite3.Connection) -> Snapshot:
            row = db.execute(_SQL["get_snapshot"], {"digest": digest}).fetchone()
            if row is not None:
                return _snapshot(digest, row)
            try:
                ids = BitMap(self._intern(db, packages))
                ids.run_optimize()
                db.execute(_SQL["put_snapshot"], {"digest": digest, "bitmap": ids.serialize()})
            except BaseException:
                self._forget_ids()  # the packages interned just now are undone with the rest
                raise
            return Snapshot(digest, FrozenBitMap(ids))

        return await self._database.write(work)

    async def get_snapshot(self, digest: bytes) -> Snapshot:
        """Return a snapshot; raise NotFound."""
        return _snapshot(digest, await self._database.row(_SQL["get_snapshot"], {"digest": digest}))

    async def packages(self, ids: Iterable[int]) -> tuple[Package, ...]:
        """Return interned packages in ascending order of id; unknown ids raise NotFound."""
        wanted = set(ids)
        query = {"ids": canonical(sorted(wanted))}
        found = await self._database.read(lambda db: tuple(map(_package, db.execute(_SQL["packages"], query))))
        if len(found) < len(wanted):
            raise NotFound("package", str(min(wanted.difference(package.id for package in found))))
        return found

    async def packages_after(self, package_id: int) -> tuple[Package, ...]:
        """Return all interned packages with a greater id, ascending. Ids start at 1 and only grow."""
        return await self._database.read(
            lambda db: tuple(map(_package, db.execute(_SQL["packages_after"], {"id": package_id})))
        )

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
        self, instance_id: InstanceId, repositories: Collection[str]
    ) -> frozenset[str]:
        """Add to the repositories in which this instance ever had advisories; return them all."""
        key = {"instance_id": instance_id}
        known = frozenset(r for (r,) in await self._database.rows(_SQL["advisory_repositories"], key))
        new = frozenset(repositories) - known
        if new:
            rows = [{**key, "repository": repository} for repository in sorted(new)]

            def work(db: sqlite3.Connection) -> None:
                if db.execute(_SQL["has_instance"], key).fetchone() is None:
                    raise NotFound("instance", instance_id)
                db.executemany(_SQL["add_advisory_repository"], rows)

            await self._database.write(work)
        return known | new

    async def see_advisories(self, ids: Collection[str], at: datetime) -> None:
        """Remember when each advisory was first seen; one already known keeps its earlier time."""
        rows = [{"id": advisory, "at": micros(at)} for advisory in ids]
        await self._database.write(lambda db: db.executemany(_SQL["see_advisory"], rows).rowcount)

    async def first_seen(self, ids: Collection[str]) -> Mapping[str, datetime]:
        """Return when advisories were first seen; unknown ones are absent."""
        rows = await self._database.rows(_SQL["first_seen"], {"ids": canonical(list(ids))})
        return {advisory: moment(at) for advisory, at in rows}

    def _intern(self, db: sqlite3.Connection, lines: Sequence[PackageLine]) -> list[int]:
        if self._ids is None:
            self._ids = {
                (Nevra(name, epoch, version, release, arch), module): package_id
                for package_id, name, epoch, version, release, arch, module in db.execute(_SQL["package_lines"])
            }
        known, ids = self._ids, list[int]()
        for line in lines:
            key = (line.nevra, line.module)
            package_id = known.get(key)
            if package_id is None:
                package_id = known[key] = _add_package(db, line)
            ids.append(package_id)
        return ids

    def _forget_ids(self) -> None:
        self._ids = None


def _add_package(db: sqlite3.Connection, line: PackageLine) -> int:
    n = line.nevra
    added = db.execute(
        _SQL["put_package"],
        {
            "name": n.name,
            "epoch": n.epoch,
            "version": n.version,
            "release": n.release,
            "arch": n.arch,
            "module": line.module,
            "evr_key": n.key,
        },
    )
    assert added.lastrowid is not None
    return added.lastrowid


def _package(row: Row) -> Package:
    package_id, name, epoch, version, release, arch, module, evr_key = row
    return Package(package_id, Nevra(name, epoch, version, release, arch), module, evr_key)


def _snapshot(digest: bytes, row: Row | None) -> Snapshot:
    if row is None:
        raise NotFound("inventory", digest.hex())
    return Snapshot(digest, FrozenBitMap.deserialize(row[0]))


def _put_report(db: sqlite3.Connection, report: Report) -> Report:
    key = _report_parameters(report)
    if db.execute(_SQL["has_instance"], key).fetchone() is None:
        raise NotFound("instance", report.instance_id)
    if db.execute(_SQL["has_manifest"], key).fetchone() is None:
        raise NotFound("manifest", report.manifest_digest.hex())
    if report.inventory_digest is not None and db.execute(_SQL["has_snapshot"], key).fetchone() is None:
        raise NotFound("inventory", report.inventory_digest.hex())
    where = {"instance_id": report.instance_id, "at": micros(report.collected_at)}
    before = db.execute(_SQL["begun_by"], where).fetchone()
    after = db.execute(_SQL["begun_after"], where).fetchone()
    placed = rules.place(before and _report(before[:-1]), after and _report(after[:-1]), report)
    if placed.before is not None:
        db.execute(_SQL["change_report"], {**_report_parameters(placed.before), "id": before[-1]})
    if placed.after is not None:
        db.execute(_SQL["change_report"], {**_report_parameters(placed.after), "id": after[-1]})
    for added in placed.added:
        db.execute(_SQL["add_report"], _report_parameters(added))
    return _report(db.execute(_SQL["latest"], {"instance_id": report.instance_id}).fetchone())


def _report_parameters(report: Report) -> Parameters:
    return {
        "instance_id": report.instance_id,
        "manifest_digest": report.manifest_digest,
        "inventory_digest": report.inventory_digest,
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
