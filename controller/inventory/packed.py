"""Repository files that come compressed: unpacked into a file within bounds, and summed as they are read. Trusts nothing."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final

import zstandard

_CHUNK: Final = 1 << 20
_MAX_WINDOW: Final = 128 << 20
MAX_RATIO: Final = 250
"""Nobody's metadata are packed so well; vendors reach some tens. Below `RATIO_COUNTS_FROM` any ratio is good: small files do no harm."""
RATIO_COUNTS_FROM: Final = 64 << 20
_MAGIC_BYTES: Final = 8
_COMPRESSIONS: Final[tuple[tuple[bytes, str, Callable[[Any], Any]], ...]] = (
    (b"\x1f\x8b", "gzip", lambda file: gzip.GzipFile(fileobj=file)),
    (b"BZh", "bzip2", bz2.BZ2File),
    (b"\xfd7zXZ\0", "xz", lzma.LZMAFile),
    (
        b"\x28\xb5\x2f\xfd",
        "zstd",
        lambda file: zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(
            file, read_across_frames=True
        ),
    ),
)
_UNKNOWN: Final = (b"\0ZCK", b"\x1f\x9d", b"PK\x03\x04", b"7z\xbc\xaf")


class MetadataError(ValueError):
    """A repository file cannot be read whole. `str()` says what is wrong with it."""


class Refused(MetadataError):
    """Its size or its packing is none that metadata have: nothing of it was read."""


class Packed:
    """A file as it is on disk, read once from its beginning to its end. Knows its sums when all of it was read."""

    def __init__(self, file: BinaryIO, max_bytes: int, algorithm: str = "sha256") -> None:
        """Read from here. Refused is raised where it turns out to have more than `max_bytes`."""
        self._file, self._max_bytes = file, max_bytes
        self._sha256, self._sum = hashlib.sha256(), hashlib.new(algorithm, usedforsecurity=False)
        self.bytes_read = 0
        """So many were taken from the file."""
        self._begin = self._take(_MAGIC_BYTES)
        self.magic = self._begin

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it cannot be gone back in."""
        return False

    def read(self, size: int = -1) -> bytes:
        """Return at most so many bytes, of those that were not read yet; at most a bounded number where `size` is negative."""
        if self._begin:
            size = len(self._begin) if size < 0 else size
            found, self._begin = self._begin[:size], self._begin[size:]
            return found
        return self._take(_CHUNK if size < 0 else size)

    def finish(self) -> None:
        """Read what nobody wanted."""
        while self.read(_CHUNK):
            pass

    def sha256(self) -> str:
        """Return the SHA-256 of what was read, hexadecimal."""
        return self._sha256.hexdigest()

    def checksum(self) -> str:
        """Return the sum by the algorithm that was asked for, hexadecimal."""
        return self._sum.hexdigest()

    def _take(self, size: int) -> bytes:
        found = self._file.read(size)
        self.bytes_read += len(found)
        if self.bytes_read > self._max_bytes:
            raise Refused(f"has more than {self._max_bytes:,} bytes, which is the limit")
        self._sha256.update(found)
        self._sum.update(found)
        return found


@contextmanager
def unpacked(content: bytes | Packed, max_bytes: int) -> Iterator[Path]:
    """Raise MetadataError, or give the content, decompressed, as a file: createrepo_c reads files only.

    Takes a MiB at a time, and stops where the content is larger than `max_bytes`, or than anything that size can honestly unpack to.
    """
    if content == b"":
        raise MetadataError("the file is empty")
    packed = content if isinstance(content, Packed) else Packed(BytesIO(content), len(content))
    if not packed.magic:
        raise MetadataError("the file is empty")
    kind, source = _open(packed)
    with tempfile.TemporaryDirectory(prefix="patchwarden-") as folder:
        path, size = Path(folder, "metadata"), 0
        with path.open("wb") as target:
            try:
                while chunk := source.read(_CHUNK):
                    size += len(chunk)
                    _check_size(size, packed.bytes_read, max_bytes)
                    target.write(chunk)
            except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
                raise MetadataError(f"is not whole {kind} data: {error}") from None
        if not size:
            raise MetadataError("the file is empty when unpacked")
        yield path


def _check_size(size: int, packed: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise Refused(f"has more than {max_bytes:,} bytes when unpacked, which is the limit")
    if size > RATIO_COUNTS_FROM and size > packed * MAX_RATIO:
        raise Refused(
            f"unpacks {packed:,} bytes to more than {size >> 20:,} MiB: no metadata are packed so well, and nothing of it was read"
        )


def _open(packed: Packed) -> tuple[str, Any]:
    for magic, kind, opener in _COMPRESSIONS:
        if packed.magic.startswith(magic):
            return kind, opener(packed)
    if packed.magic.startswith(_UNKNOWN):
        raise Refused("is compressed in a way that is not known here; known are gzip, bzip2, xz and zstd")
    return "plain", packed
