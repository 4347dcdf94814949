"""Content by digest: small in the database, compressed when that helps; large in files next to it.

What hosts of one fleet say differs in a few words, so a small document is compressed with an earlier one as dictionary: some
hundred bytes instead of some thousand.

A repository's primary metadata can have 50 MB and more. Through the database it would be written twice (log, then file), hold
the single writer up meanwhile, and stay in the log's size. A file is written beside, synced and renamed; the row that
makes it known comes last, so a crash leaves either nothing or all of it.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections import deque
from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import zstandard

from common import failpoints
from common.errors import NotFound
from controller.store.sqlite.database import Database, disk_errors
from controller.store.sqlite.queries import queries

FILE_BYTES: Final = 256 * 1024
"""Content from this size on goes into a file."""
_BASE_BYTES: Final = 64 * 1024
"""Only content up to this size has, or is, a dictionary."""
_BASES: Final = 8
_TELLING: Final = 8
"""Content that a dictionary makes so many times shorter need not be tried without one."""
_PROBE_BYTES: Final = 2048
"""What begins in other words than a dictionary is not tried whole."""
_PART: Final = ".part"

_SQL: Final = queries("blobs")


@dataclass(frozen=True, slots=True, eq=False)
class _Base:
    id: int
    begins: bytes
    """Its first byte: documents of one kind begin alike, and of another kind none is tried."""
    compressor: zstandard.ZstdCompressor


class Blobs:
    """Keeps content. Reading and writing of files happens in the database's threads."""

    def __init__(self, database: Database) -> None:
        """Use the folder `<database>.blobs`; remove what a crash left half written there."""
        self._database = database
        self._bases: deque[_Base] | None = None
        """Dictionaries, the one that served last first; used in the writer's thread only, None until they are read."""
        self._doubtful = False
        """Some of the dictionaries may have been undone."""
        self._alone = zstandard.ZstdCompressor()
        """Compresses without a dictionary; used in the writer's thread only. Making one for each content costs more than its work."""
        database.on_lost(self._doubt)
        self._folder = database.path.with_name(database.path.name + ".blobs")
        with disk_errors(self._folder):
            for part in self._folder.glob(f"*/*{_PART}"):
                part.unlink()

    async def put(self, digest: bytes, content: bytes) -> None:
        """Keep content; the same digest again changes nothing."""
        if len(content) < FILE_BYTES:
            await self._database.write(lambda db: self._put_small(db, digest, content))
        elif await self._database.row(_SQL["has"], {"digest": digest}) is None:
            await self._database.read(lambda _: self._write(digest, content))
            failpoints.reached("store.file_written")
            parameters = {"digest": digest, "size": len(content), "packing": "file", "base": None, "content": None}
            await self._database.execute(_SQL["put"], parameters)

    async def get(self, digest: bytes) -> bytes:
        """Return content; raise NotFound."""
        return await self._database.read(lambda db: self._read(db, digest, {}))

    async def get_all(self, digests: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return several contents by digest; raise NotFound if one is absent."""

        def work(db: sqlite3.Connection) -> Mapping[bytes, bytes]:
            unpackers = dict[bytes, zstandard.ZstdDecompressor]()
            return {digest: self._read(db, digest, unpackers) for digest in digests}

        return await self._database.read(work)

    def _read(
        self, db: sqlite3.Connection, digest: bytes, unpackers: MutableMapping[bytes, zstandard.ZstdDecompressor]
    ) -> bytes:
        """Return content; `unpackers` by their dictionaries are for all that is read together, as most of it has the same few."""
        row = db.execute(_SQL["get"], {"digest": digest}).fetchone()
        if row is None:
            raise NotFound("content", digest.hex())
        size, packing, content, _, base_size, base = row
        if packing == "file":
            path = self._path(digest)
            with disk_errors(path):
                return path.read_bytes()
        if packing == "plain":
            return bytes(content)
        if base is None:
            return _unpacked(content, size)
        if (unpacker := unpackers.get(base)) is None:
            dictionary = _dictionary(_unpacked(base, base_size))
            unpacker = unpackers[base] = zstandard.ZstdDecompressor(dict_data=dictionary)
        return unpacker.decompress(content, max_output_size=size)

    def _put_small(self, db: sqlite3.Connection, digest: bytes, content: bytes) -> None:
        packed, base = self._packed(db, content)
        is_packed = len(packed) < len(content)
        added = db.execute(
            _SQL["put"],
            {
                "digest": digest,
                "size": len(content),
                "packing": "zstd" if is_packed else "plain",
                "base": base,
                "content": packed if is_packed else content,
            },
        )
        if not added.rowcount:
            return  # it was there
        if base is None and is_packed and len(content) <= _BASE_BYTES and self._bases is not None:
            assert added.lastrowid is not None
            self._bases.appendleft(_base(added.lastrowid, content))

    def _packed(self, db: sqlite3.Connection, content: bytes) -> tuple[bytes, int | None]:
        """Compress with the first dictionary in whose words nearly all is said, or else that halves it, else without one."""
        halved = list[tuple[bytes, int]]()
        if len(content) <= _BASE_BYTES:
            probe = content[:_PROBE_BYTES]
            least = len(self._alone.compress(probe)) // 2 if len(content) > 2 * _PROBE_BYTES else len(content)
            for base in [b for b in self._known_bases(db) if b.begins == content[:1]]:
                if least < len(content) and len(base.compressor.compress(probe)) > least:
                    continue
                packed = base.compressor.compress(content)
                if len(packed) <= len(content) // _TELLING:
                    self._served(base)
                    return packed, base.id
                halved.append((packed, base.id))
        alone = self._alone.compress(content)
        return next((h for h in halved if len(h[0]) <= len(alone) // 2), (alone, None))

    def _served(self, base: _Base) -> None:
        assert self._bases is not None
        self._bases.remove(base)
        self._bases.appendleft(base)

    def _known_bases(self, db: sqlite3.Connection) -> deque[_Base]:
        if self._bases is None:
            rows = db.execute(_SQL["bases"], {"limit": _BASE_BYTES, "count": _BASES})
            found = [_base(number, _unpacked(content, size)) for number, size, content in rows]
            self._bases = deque(found, maxlen=_BASES)
        elif self._doubtful:
            (last,) = db.execute(_SQL["last"]).fetchone()
            self._bases = deque((base for base in self._bases if base.id <= last), maxlen=_BASES)
        self._doubtful = False
        return self._bases

    def _doubt(self) -> None:
        self._doubtful = True

    def _path(self, digest: bytes) -> Path:
        name = digest.hex()
        return self._folder / name[:2] / name

    def _write(self, digest: bytes, content: bytes) -> None:
        path = self._path(digest)
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, part = tempfile.mkstemp(suffix=_PART, dir=path.parent)
            try:
                with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
                    file.write(content)
                    file.flush()
                    os.fsync(descriptor)
                Path(part).replace(path)
            except BaseException:
                Path(part).unlink(missing_ok=True)
                raise
            for folder in (path.parent, self._folder, self._folder.parent):  # the name is content of its folder
                _sync(folder)


def _base(number: int, content: bytes) -> _Base:
    return _Base(number, content[:1], zstandard.ZstdCompressor(dict_data=_dictionary(content)))


def _dictionary(content: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _unpacked(packed: bytes, size: int) -> bytes:
    return zstandard.ZstdDecompressor().decompress(packed, max_output_size=size)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
