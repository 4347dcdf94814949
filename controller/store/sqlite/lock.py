"""One controller for one database: a lock next to the file, held as long as the process lives."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path
from typing import Final

from common.errors import Rejected

_TAKEN: Final = (errno.EACCES, errno.EAGAIN)

_held = set[Path]()
_guard = threading.Lock()


class Lock:
    """Held until `release` or the end of the process, however it ends. Children do not inherit it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        """Use `take`."""
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def take(cls, database: Path) -> Lock:
        """Take the lock of a database; raise Rejected when somebody has it, OSError when its file cannot be made."""
        resolved = database.resolve()
        path = resolved.with_name(resolved.name + ".lock")
        with _guard:  # the system's lock binds processes, the set binds two stores inside one
            if path in _held:
                raise Rejected(f"{database} is already open in this process")
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            except OSError as error:
                owner = os.read(descriptor, 32).decode("ascii", "replace").strip()
                os.close(descriptor)
                if error.errno not in _TAKEN:
                    raise
                raise Rejected(
                    f"another controller (process {owner or 'unknown'}) uses {database}: stop it first, or give this one "
                    "another folder"
                ) from None
            _held.add(path)
        return cls(path, descriptor)

    def release(self) -> None:
        """Let others have it. The file stays: removing it would race with whoever takes it now."""
        with _guard:
            os.close(self._descriptor)
            _held.discard(self._path)
