"""Files that must be whole or not there: written beside, flushed, then put in place."""

from __future__ import annotations

import os
from pathlib import Path

from common.errors import Rejected


def make_folder(path: Path) -> None:
    """Make a folder that only we may enter; one that is there keeps its mode. Raises Rejected."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Rejected(f"{path} cannot be made: {error.strerror}") from None


def write(path: Path, content: bytes, *, mode: int) -> None:
    """Replace a file's content at once. Raises Rejected."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(mode)  # whatever the umask said
        beside.replace(path)
    except OSError as error:
        raise Rejected(f"{path} cannot be written: {error.strerror}") from None


def read(path: Path) -> bytes:
    """Return a file's content. Raises Rejected."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Rejected(f"{path} cannot be read: {error.strerror}") from None
