"""Interned packages and the sets of them, in SQLite.

A known build costs a look-up in a dictionary. Hosts made from one image differ in few packages, so a set is kept as its difference
from a similar earlier one when that is small.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from pyroaring import BitMap, FrozenBitMap

from common.errors import NotFound
from common.manifest import PackageLine
from common.nevra import Nevra
from controller.inventory.model import Package, Snapshot
from controller.store.codec import canonical
from controller.store.sqlite.database import Database, Row
from controller.store.sqlite.queries import queries

_BASES: Final = 64
_SIMILAR: Final = 4
"""A base is similar when the difference has at most this part of the packages: a fourth."""

_SQL: Final = queries("snapshots")


class Snapshots:
    """Keeps packages and snapshots."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids: dict[tuple[Nevra, str], int] | None = None
        """Every interned package; used in the writer's thread only, None until it is read. So are the bases, newest first."""
        self._bases: deque[tuple[int, BitMap]] | None = None
        database.on_lost(self._forget)

    async def put(self, digest: bytes, packages: Sequence[PackageLine]) -> Snapshot:
        """Intern the packages and keep the set under its digest; the same digest again changes nothing."""

        def work(db: sqlite3.Connection) -> Snapshot:
            row = db.execute(_SQL["get"], {"digest": digest}).fetchone()
            if row is not None:
                return _snapshot(digest, row)
            try:
                ids = BitMap(self._intern(db, packages))
                self._add(db, digest, ids)
            except BaseException:
                self._forget()  # the packages interned just now are undone with the rest
                raise
            return Snapshot(digest, FrozenBitMap(ids))

        return await self._database.write(work)

    async def get(self, digest: bytes) -> Snapshot:
        """Return a snapshot; raise NotFound."""
        return _snapshot(digest, await self._database.row(_SQL["get"], {"digest": digest}))

    async def packages(self, ids: Iterable[int]) -> tuple[Package, ...]:
        """Return interned packages in ascending order of id; unknown ids raise NotFound."""
        wanted = set(ids)
        query = {"ids": canonical(sorted(wanted))}
        found = await self._database.read(lambda db: tuple(map(_package, db.execute(_SQL["packages"], query))))
        if len(found) < len(wanted):
            raise NotFound("package", str(min(wanted.difference(package.id for package in found))))
        return found

    async def packages_after(self, package_id: int) -> tuple[Package, ...]:
        """Return all interned packages with a greater id, ascending."""
        return await self._database.read(
            lambda db: tuple(map(_package, db.execute(_SQL["packages_after"], {"id": package_id})))
        )

    def _add(self, db: sqlite3.Connection, digest: bytes, ids: BitMap) -> None:
        if self._bases is None:
            rows = db.execute(_SQL["bases"], {"count": _BASES})
            self._bases = deque(((number, BitMap.deserialize(bitmap)) for number, bitmap in rows), maxlen=_BASES)
        differences = ((ids.symmetric_difference_cardinality(base), number, base) for number, base in self._bases)
        least, number, base = min(differences, default=(len(ids), 0, ids), key=lambda d: d[0])
        similar = least * _SIMILAR < len(ids)
        kept = ids ^ base if similar else ids.copy()
        kept.run_optimize()
        parameters = {"digest": digest, "base": number if similar else None, "bitmap": kept.serialize()}
        added = db.execute(_SQL["put"], parameters).lastrowid
        if not similar:
            assert added is not None
            self._bases.appendleft((added, ids))

    def _intern(self, db: sqlite3.Connection, lines: Sequence[PackageLine]) -> list[int]:
        if self._ids is None:
            self._ids = {
                (Nevra(name, epoch, version, release, arch), module): package_id
                for package_id, name, epoch, version, release, arch, module in db.execute(_SQL["package_lines"])
            }
        known = self._ids
        keys = [(line.nevra, line.module) for line in lines]
        found = list(map(known.get, keys))  # each key is hashed once: nearly all are known
        ids = [package_id for package_id in found if package_id is not None]
        if len(ids) < len(found):
            for key, line, package_id in zip(keys, lines, found, strict=True):
                if package_id is None:
                    ids.append(known.get(key) or known.setdefault(key, _add_package(db, line)))
        return ids

    def _forget(self) -> None:
        self._ids = self._bases = None


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
    match row:
        case None:
            raise NotFound("inventory", digest.hex())
        case (bitmap, None):
            return Snapshot(digest, FrozenBitMap.deserialize(bitmap))
        case (bitmap, base):
            return Snapshot(digest, FrozenBitMap.deserialize(bitmap) ^ FrozenBitMap.deserialize(base))
    raise AssertionError(row)
