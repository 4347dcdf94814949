"""Files that are whole or absent, whatever happens: the ground under identity, outbox and journal."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from pathlib import Path
from typing import Any, Final

log: Final = logging.getLogger(__name__)
_SUFFIX: Final = ".json"


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file so that after any crash it holds either its old content or all of the new. Raises OSError."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(
            OSError
        ):  # what could not be written is worth nothing; the first error is the one to tell
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner may enter, and those above it; return it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


class Drawer:
    """A folder of small JSON documents, numbered in the order they were put in."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, which is made if absent."""
        self._folder = private_folder(folder)
        numbers = [int(p.stem) for p in self._folder.iterdir() if p.suffix == _SUFFIX and p.stem.isdigit()]
        self._last = max(numbers, default=0)

    def read_all(self) -> list[tuple[int, dict[str, Any]]]:
        """Return all documents in order. One that cannot be read is set aside under another name and logged."""
        found = list[tuple[int, dict[str, Any]]]()
        for path in sorted(p for p in self._folder.iterdir() if p.suffix == _SUFFIX and p.stem.isdigit()):
            try:
                document = json.loads(path.read_bytes())
                if not isinstance(document, dict):
                    raise ValueError("is not a table")
            except (OSError, ValueError) as error:
                self.set_aside(int(path.stem), str(error))
            else:
                found.append((int(path.stem), document))
        return found

    def number(self) -> int:
        """Return a number that comes after all before."""
        self._last += 1
        return self._last

    def put(self, number: int, document: dict[str, Any]) -> None:
        """Store a document under its number. Raises OSError when the disk does not take it."""
        write(self._path(number), json.dumps(document, ensure_ascii=False).encode())

    def remove(self, number: int) -> None:
        """Forget a document; one that is not there is no matter."""
        self._path(number).unlink(missing_ok=True)

    def set_aside(self, number: int, why: str) -> None:
        """Keep a document that cannot be used for people to look at, out of the way."""
        path = self._path(number)
        log.error("set aside a state file that cannot be read", extra={"file": str(path), "cause": why})
        with contextlib.suppress(OSError):  # it is ignored either way, and said so
            path.rename(path.with_suffix(".unreadable"))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}{_SUFFIX}"
