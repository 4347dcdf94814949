"""Content by digest: small in the database, compressed when that helps; large in files next to it.

A repository's primary metadata can have 50 MB and more. Through the database it would be written twice (log, then file), hold
the single writer up meanwhile, and stay in the log's size. A file is written beside, synced and renamed; the row that
makes it known comes last, so a crash leaves either nothing or all of it.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

import zstandard

from common.errors import NotFound
from controller.store.sqlite.database import Database, Row, disk_errors
from controller.store.sqlite.queries import queries

FILE_BYTES: Final = 256 * 1024
"""Content from this size on goes into a file."""

_PART: Final = ".part"

_SQL: Final = queries("blobs")


class Blobs:
    """Keeps content. Reading and writing of files happens in the database's threads."""

    def __init__(self, database: Database) -> None:
        """Use the folder `<database>.blobs`; remove what a crash left half written there."""
        self._database = database
        self._folder = database.path.with_name(database.path.name + ".blobs")
        with disk_errors(self._folder):
            for part in self._folder.glob(f"*/*{_PART}"):
                part.unlink()

    async def put(self, digest: bytes, content: bytes) -> None:
        """Keep content; the same digest again changes nothing."""
        if await self._database.row(_SQL["has"], {"digest": digest}) is not None:
            return
        packing, kept = "file", None
        if len(content) < FILE_BYTES:
            packed = zstandard.compress(content)
            packing, kept = ("zstd", packed) if len(packed) < len(content) else ("plain", content)
        else:
            await self._database.read(lambda _: self._write(digest, content))
        parameters = {"digest": digest, "size": len(content), "packing": packing, "content": kept}
        await self._database.execute(_SQL["put"], parameters)

    async def get(self, digest: bytes) -> bytes:
        """Return content; raise NotFound."""

        def unpack(row: Row | None) -> bytes:
            match row:
                case None:
                    raise NotFound("content", digest.hex())
                case (_, "plain", bytes(content)):
                    return content
                case (size, "zstd", bytes(packed)):
                    return zstandard.decompress(packed, max_output_size=size)
                case _:
                    path = self._path(digest)
                    with disk_errors(path):
                        return path.read_bytes()

        return await self._database.read(lambda db: unpack(db.execute(_SQL["get"], {"digest": digest}).fetchone()))

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


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
