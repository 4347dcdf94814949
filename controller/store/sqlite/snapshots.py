"""Interned packages and the sets of them, in SQLite.

A line that some host had before costs one look-up in a dictionary, and is not read again. Hosts made from one image differ in few
packages, so a set is kept as its difference from a similar earlier one, its base, when that is small. To find out what is in a set, its
text is compared with one that was read whole lately, base or not: when they are much alike only the lines in which they differ are looked
up. So a host that drifts away from its image is read whole now and then, not each time.
"""

from __future__ import annotations

import sqlite3
from array import array
from bisect import bisect
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyroaring import BitMap, FrozenBitMap

from common.errors import NotFound, Unavailable
from common.manifest import MAX_PACKAGES, PackageLine, package_fields, package_text, split_packages
from common.nevra import Nevra
from controller.inventory.model import Package, Snapshot
from controller.store.codec import canonical
from controller.store.sqlite.database import Database, Row
from controller.store.sqlite.likeness import Blocks, Difference, Likeness, blocks, cut, difference
from controller.store.sqlite.queries import queries

_BASES: Final = 256
"""So many bases are tried: fleets have more images than one would think."""
_TEXTS: Final = 512
"""So many texts are remembered, some 40 MB: of images, and of what hosts made of them."""
_LIKE: Final = 8
"""When more lines differ than this part of all, it costs less to read the text whole."""
_SIMILAR: Final = 4
"""A base is similar when the difference has less than this part of the packages: a fourth."""
_ALIKE: Final = 16
"""With a difference of less than this part no nearer base is looked for: it would save some bytes."""
_SAMPLE: Final = 16
"""Every so-manieth package is looked at to find the nearest base."""

_AGREED: Final = 3
"""When so many that were compared with a text one after the other agree where they differ from it, it is changed there."""
_WORTH: Final = 8
"""If it is so many lines at least: it costs as much as a comparison of some hundred."""

_SQL: Final = queries("snapshots")


@dataclass(frozen=True, slots=True)
class _Base:
    ids: FrozenBitMap
    sample: BitMap


@dataclass(frozen=True, slots=True)
class _Text:
    """A packages blob that was read whole, or what it became when others were compared with it."""

    ids: FrozenBitMap
    lines: array[int]
    """The ids in the order of the lines."""
    blocks: Blocks
    base: int
    """The number of the base from which its set differs little."""


@dataclass(frozen=True, slots=True)
class _Agreed:
    changed: FrozenBitMap
    """The ids that only one of a text and all that were compared with it has."""
    times: int


class Snapshots:
    """Keeps packages and snapshots. What it remembers is used in the writer's thread only."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids: dict[bytes, int] | None = None
        """The line of every interned package in the order of ids; None until it is read, as the bases are."""
        self._bases: OrderedDict[int, _Base] | None = None
        """By number, the one that served longest ago first."""
        self._texts = OrderedDict[int, _Text]()
        """By their number in the likeness, the one that served longest ago first."""
        self._agreed = dict[int, _Agreed]()
        """By the number of a text, how those differed that were compared with it since it was last looked at."""
        self._is_doubtful = False
        """The last of all these may have been undone."""
        self._sampled, self._sampled_to = BitMap(), 0
        self._likeness = Likeness()
        database.on_lost(self._doubt)

    async def put(self, digest: bytes, content: bytes) -> Snapshot:
        """Intern the packages of a packages blob and keep the set under its digest; see the Protocol."""

        def work(db: sqlite3.Connection) -> Snapshot:
            row = db.execute(_SQL["get"], {"digest": digest}).fetchone()
            if row is not None:
                return _snapshot(digest, row)
            self._settle(db)
            try:
                return Snapshot(digest, self._add(db, digest, content))
            except BaseException:
                self._doubt()
                raise

        return await self._database.write(work)

    async def get(self, digest: bytes) -> Snapshot:
        """Return a snapshot; raise NotFound."""
        return _snapshot(digest, await self._database.row(_SQL["get"], {"digest": digest}))

    async def get_all(self, digests: Collection[bytes]) -> Mapping[bytes, Snapshot]:
        """Return several snapshots by digest; raise NotFound if one is absent."""
        return await self._database.read(
            lambda db: {d: _snapshot(d, db.execute(_SQL["get"], {"digest": d}).fetchone()) for d in digests}
        )

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

    def _add(self, db: sqlite3.Connection, digest: bytes, content: bytes) -> FrozenBitMap:
        """Keep a set and return its ids."""
        bases = self._known_bases(db)
        like = self._like(db, content)
        ids = None if like is None else self._ids_by(db, like, content)
        if like is None or ids is None:
            lines = split_packages(content)
            numbers = self._interned(db, lines)
            ids = FrozenBitMap(numbers)
            base = self._put(db, digest, ids, _nearest(self._sample(ids), bases))
            if len(lines) == len(ids):  # not when it says a line twice
                self._remember(_Text(ids, array("I", numbers), blocks(lines), base))
        else:
            base = self._texts[like].base
            self._put(db, digest, ids, base if base in bases else _nearest(self._sample(ids), bases))
        return ids

    def _like(self, db: sqlite3.Connection, content: bytes) -> int | None:
        number = self._likeness.of(content, self._known_lines(db))
        if number is not None:
            self._texts.move_to_end(number)
        return number

    def _ids_by(self, db: sqlite3.Connection, like: int, content: bytes) -> FrozenBitMap | None:
        """Return the ids of a set by what differs from a text that is like it; None when that is too much."""
        text = self._texts[like]
        found = difference(content, text.blocks, len(text.ids) // _LIKE)
        if found is None or len(text.ids) + len(found.came) > MAX_PACKAGES:
            return None
        came = self._interned(db, found.came)
        changed = FrozenBitMap(came + [text.lines[place] for place in found.gone])
        assert len(changed) == len(found.came) + len(found.gone)  # no line both came and is gone
        self._learn(like, changed, found, came)
        return text.ids ^ changed

    def _learn(self, number: int, changed: FrozenBitMap, found: Difference, came: Sequence[int]) -> None:
        """Change a text where all of the last few agreed that were compared with it.

        The host of an image that is read first has drifted away from it like all others: they differ from it by what it changed and
        by what they did. What they have in common is the image, from which each differs by half as much. The text follows as well
        when the whole fleet is updated.
        """
        before = self._agreed.get(number)
        agreed = _Agreed(changed, 1) if before is None else _Agreed(before.changed & changed, before.times + 1)
        self._agreed[number] = agreed
        if agreed.times < _AGREED:
            return
        del self._agreed[number]
        if len(agreed.changed) >= _WORTH:
            text = self._texts[number]
            after = self._texts[number] = _changed(text, agreed.changed, found, came)
            self._likeness.remove(number, text.ids - after.ids)
            self._likeness.add(number, after.ids - text.ids)

    def _put(self, db: sqlite3.Connection, digest: bytes, ids: FrozenBitMap, near: int | None) -> int:
        """Write a set as what differs from a base, or as a base if that is much; return the number of its base, or its own."""
        assert self._bases is not None
        changed = BitMap(ids) if near is None else BitMap(ids ^ self._bases[near].ids)
        if len(changed) * _SIMILAR >= len(ids):
            changed, near = BitMap(ids), None
        parameters = {"digest": digest, "base": near, "bitmap": _serialized(changed)}
        number = db.execute(_SQL["put"], parameters).lastrowid
        assert number is not None
        if near is not None:
            self._bases.move_to_end(near)
            return near
        self._bases[number] = _Base(ids, self._sample(ids))
        if len(self._bases) > _BASES:
            self._bases.popitem(last=False)
        return number

    def _remember(self, text: _Text) -> None:
        if len(self._texts) == _TEXTS:
            self._forget(next(iter(self._texts)))
        free = next(number for number in range(_TEXTS) if number not in self._texts)
        self._texts[free] = text
        self._likeness.add(free, text.lines)

    def _forget(self, number: int) -> None:
        self._likeness.remove(number, self._texts.pop(number).lines)
        self._agreed.pop(number, None)

    def _interned(self, db: sqlite3.Connection, lines: list[bytes]) -> list[int]:
        """Return the ids of packages in their order; new ones are added. Raise ValueError, and add none, when a line is no package."""
        known = self._known_lines(db)
        found: list[Any] = list(map(known.get, lines))
        if None in found:
            unknown = [place for place, package_id in enumerate(found) if package_id is None]
            new = {lines[place]: package_fields(lines[place]) for place in unknown}
            first = next(reversed(known.values()), 0) + 1  # no gaps: nothing is removed, and nobody else writes
            numbers = range(first, first + len(new))
            db.executemany(
                _SQL["put_package"], ((number, *fields) for number, fields in zip(numbers, new.values(), strict=True))
            )
            known.update(zip(new, numbers, strict=True))
            for place in unknown:
                found[place] = known[lines[place]]
        return found

    def _known_lines(self, db: sqlite3.Connection) -> dict[bytes, int]:
        if self._ids is None:
            rows = db.execute(_SQL["packages_after"], {"id": 0}).fetchall()
            ids = {
                package_text(PackageLine(Nevra(name, epoch, version, release, arch), module)).encode(): package_id
                for package_id, name, epoch, version, release, arch, module in rows
            }
            if len(ids) != len(rows):  # no index sees to it
                raise Unavailable("the database is damaged, a package stands in it twice: restore it from a copy")
            self._ids = ids
        return self._ids

    def _known_bases(self, db: sqlite3.Connection) -> OrderedDict[int, _Base]:
        if self._bases is None:
            rows = db.execute(_SQL["bases"], {"count": _BASES}).fetchall()
            lines = {package_id: line for line, package_id in self._known_lines(db).items()}
            self._bases = OrderedDict()
            for number, bitmap in reversed(rows):
                ids = FrozenBitMap.deserialize(bitmap)
                self._bases[number] = _Base(ids, self._sample(ids))
                ordered = array("I", sorted(ids, key=lines.__getitem__))
                self._remember(_Text(ids, ordered, blocks([lines[package_id] for package_id in ordered]), number))
        return self._bases

    def _sample(self, ids: FrozenBitMap) -> BitMap:
        if ids and ids.max() >= self._sampled_to:
            self._sampled_to = 2 * ids.max()
            self._sampled = BitMap(range(0, self._sampled_to, _SAMPLE))
        return self._sampled & ids

    def _settle(self, db: sqlite3.Connection) -> None:
        """Forget what was undone. Its numbers are given to others next."""
        if not self._is_doubtful:
            return
        last_package, last_snapshot = db.execute(_SQL["last"]).fetchone()
        while self._ids and next(reversed(self._ids.values())) > last_package:
            self._ids.popitem()
        for number in [n for n in self._bases or () if n > last_snapshot]:
            assert self._bases is not None
            del self._bases[number]
        for number, text in list(self._texts.items()):
            if text.base > last_snapshot or (text.ids and text.ids.max() > last_package):
                self._forget(number)
        self._is_doubtful = False

    def _doubt(self) -> None:
        self._is_doubtful = True


def _serialized(ids: BitMap) -> bytes:
    ids.run_optimize()
    return ids.serialize()


def _nearest(sample: BitMap, bases: OrderedDict[int, _Base]) -> int | None:
    """Return the number of the base that looks nearest, or near enough; the latest ones are looked at first."""
    least, nearest = len(sample) + 1, None
    for number in reversed(bases):
        difference = sample.symmetric_difference_cardinality(bases[number].sample)
        if difference < least:
            least, nearest = difference, number
            if difference * _ALIKE < len(sample):
                break
    return nearest


def _changed(text: _Text, changed: FrozenBitMap, found: Difference, came: Sequence[int]) -> _Text:
    """Return a text after some of a difference: `changed` has the ids of that part, `came` of all lines that came."""
    lines, ids = cut(text.blocks), text.lines[:]
    for place in reversed(found.gone):
        if ids[place] in changed:
            del lines[place], ids[place]
    for line, package_id in zip(found.came, came, strict=True):
        if package_id in changed:
            place = bisect(lines, line)
            lines.insert(place, line)
            ids.insert(place, package_id)
    return _Text(text.ids ^ changed, ids, blocks(lines), text.base)


def _package(row: Row) -> Package:
    package_id, name, epoch, version, release, arch, module = row
    build = Nevra(name, epoch, version, release, arch)
    return Package(package_id, build, module, build.key)


def _snapshot(digest: bytes, row: Row | None) -> Snapshot:
    match row:
        case None:
            raise NotFound("inventory", digest.hex())
        case (bitmap, None):
            return Snapshot(digest, FrozenBitMap.deserialize(bitmap))
        case (bitmap, base):
            return Snapshot(digest, FrozenBitMap.deserialize(bitmap) ^ FrozenBitMap.deserialize(base))
    raise AssertionError(row)
