"""Ends a process together with all that it started, whatever sessions those made for themselves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_POLL_SECONDS: Final = 0.05
_LAST_POLLS: Final = 10


@dataclass(frozen=True, slots=True)
class Process:
    """One process; its start keeps it apart from a later one with the same number."""

    pid: int
    parent: int
    start: int


def look(pid: int) -> Process | None:
    """Return a process that runs; None when it has ended, whether or not its parent knows."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else Process(pid, int(fields[1]), int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None


def family(pid: int) -> tuple[Process, ...]:
    """Return a running process and its descendants, itself first."""
    found = [p for p in (look(pid),) if p is not None]
    running = [p for name in os.listdir("/proc") if name.isdigit() and (p := look(int(name))) is not None]  # noqa: PTH208
    for known in found:  # grows while it is read
        found += [p for p in running if p.parent == known.pid and p not in found]
    return tuple(found)


def words(pid: int) -> list[str]:
    """Return a process's command line; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return []


async def end(pid: int, grace_seconds: float) -> None:
    """Ask a process to end, give it that long to end its children in good order, then end all that is left of them.

    Cancelled, it gives no more time: all of them are ended at once.
    """
    members = set(family(pid))
    with contextlib.suppress(ProcessLookupError):  # gone already
        os.kill(pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(grace_seconds):
            while look(pid) is not None:  # noqa: ASYNC110 - it may be nobody's child that we could wait for
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        pass
    finally:
        members |= set(family(pid))
        for member in members:
            if _runs(member):
                with contextlib.suppress(ProcessLookupError):  # gone just now
                    os.kill(member.pid, signal.SIGKILL)
    for _ in range(_LAST_POLLS):  # dying takes a moment, longer in the middle of a read from a slow disk
        if not any(_runs(member) for member in members):
            return
        await asyncio.sleep(_POLL_SECONDS)


def _runs(member: Process) -> bool:
    """Say whether it still runs; its parent may be another by now."""
    now = look(member.pid)
    return now is not None and now.start == member.start
