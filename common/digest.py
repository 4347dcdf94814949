"""SHA-256 over content, as 32 bytes on the wire and in stores, as hexadecimal for people."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

SIZE: Final = 32


def of(content: bytes) -> bytes:
    """Return the digest of `content`."""
    return hashlib.sha256(content).digest()


def of_file(path: Path) -> bytes:
    """Return the digest of a file's content, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
