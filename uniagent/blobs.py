"""The content of reports that are not acknowledged yet: files named by their SHA-256."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from io import RawIOBase
from pathlib import Path
from typing import Final

from uniagent import durable
from uniagent.messages import BlobChunk, Encoding

log: Final = logging.getLogger(__name__)
CHUNK_BYTES: Final = 256 * 1024
_DIGEST: Final = re.compile(rb"[0-9a-f]{64}")
_MENTION: Final = re.compile(rb'"([0-9a-f]{64})"')
_LEVEL: Final = 3
_WORTH: Final = 0.9  # compressed to less than this, a blob travels compressed


class Blobs:
    """Keeps content until no message of the outbox needs it."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, made if absent. What was cut off by a power failure is dropped."""
        self._folder = durable.private_folder(folder)
        for path in list(self._folder.iterdir()):
            if not _DIGEST.fullmatch(path.name.encode()) or not _is_whole(path):
                log.warning("dropped a damaged blob", extra={"blob": path.name})
                path.unlink(missing_ok=True)

    def adopt(self, spool: Path) -> None:
        """Take over all the content that a collection left in `spool`, which is on the same disk. Raises OSError."""
        for path in spool.iterdir():
            if _DIGEST.fullmatch(path.name.encode()):
                path.replace(self._folder / path.name)
        durable.sync_folder(self._folder)

    def read(self, digest: str) -> bytes:
        """Return a small blob whole, e.g. a manifest; raise OSError when it is not here."""
        return (self._folder / digest).read_bytes()

    def keep_only(self, manifests: Iterable[str]) -> None:
        """Drop all that none of these manifests needs."""
        needed = set[str]()
        for manifest in manifests:
            needed.add(manifest)
            try:
                needed.update(m.decode() for m in _MENTION.findall(self.read(manifest)))
            except OSError as error:
                log.warning("a report's manifest is gone", extra={"manifest": manifest, "cause": str(error)})
        for path in list(self._folder.iterdir()):
            if path.name not in needed:
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    log.warning("cannot remove a blob", extra={"blob": path.name, "cause": str(error)})

    def chunks(self, digest: str) -> Iterator[BlobChunk]:
        """Read a blob in the pieces that travel, compressed if that makes it smaller. Holds a few pieces in memory, never all.

        Raises OSError, at once or while reading, when the content is not here.
        """
        descriptor = os.open(self._folder / digest, os.O_RDONLY)
        return _chunks(digest, descriptor)


def _chunks(digest: str, descriptor: int) -> Iterator[BlobChunk]:
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        first = file.read(CHUNK_BYTES)
        encoding = Encoding.ZSTD if _shrinks(first) else Encoding.IDENTITY
        pieces = _pieces(first, file)
        offset, held = 0, b""
        for piece in _compressed(pieces, size) if encoding is Encoding.ZSTD else pieces:
            if held:
                yield BlobChunk(digest, offset, held, False, encoding)
                offset += len(held)
            held = piece
        yield BlobChunk(digest, offset, held, True, encoding)


def _pieces(first: bytes, file: RawIOBase) -> Iterator[bytes]:
    piece = first
    while piece:
        yield piece
        piece = file.read(CHUNK_BYTES) or b""


def _shrinks(piece: bytes) -> bool:
    """Say whether compressing is worth while, judged by the first piece: repository files are compressed already."""
    import zstandard  # only agents that are asked for content need it

    return len(zstandard.ZstdCompressor(level=_LEVEL).compress(piece)) < _WORTH * len(piece)


def _compressed(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Make one zstd frame of all the pieces, cut into pieces again."""
    import zstandard

    compressor = zstandard.ZstdCompressor(level=_LEVEL).compressobj(size=size)
    ready = bytearray()
    for piece in pieces:
        ready += compressor.compress(piece)
        while len(ready) >= CHUNK_BYTES:
            yield bytes(ready[:CHUNK_BYTES])
            del ready[:CHUNK_BYTES]
    ready += compressor.flush()
    for start in range(0, len(ready), CHUNK_BYTES):
        yield bytes(ready[start : start + CHUNK_BYTES])


def _is_whole(path: Path) -> bool:
    from common import digest  # only after a crash is there anything to check

    try:
        return digest.of_file(path).hex() == path.name
    except OSError:
        return False
