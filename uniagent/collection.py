"""One collection: a short-lived child process, so that what a scan needs is not in the daemon's memory.

The child writes each blob into its spool folder, and last `result.json`. It says on standard output what it is doing, and on
standard error, when it fails, one sentence.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from common.errors import PatchError
from uniagent import durable, family
from uniagent.messages import Offer
from uniagent.settings import Settings

log: Final = logging.getLogger(__name__)
STEPS: Final = frozenset({"refreshing", "collecting"})
_GRACE_SECONDS: Final = 5.0  # in which the collector ends its commands in good order: rpm and dnf hold locks
_STOP_SECONDS: Final = 0.9  # the same when the daemon stops, which takes under two seconds
_SENTENCE_BYTES: Final = 4096
_SENTENCE: Final = 500


@dataclass(eq=False)
class CollectionFailed(PatchError):
    """The collector made no report. `sentence` says why."""

    sentence: str
    reason = "COLLECTION_FAILED"
    retry = True

    def __str__(self) -> str:
        return self.sentence


@dataclass(eq=False)
class CollectionTimedOut(CollectionFailed):
    """The collector passed its time and was stopped."""

    reason = "COLLECTION_TIMED_OUT"


def command(settings: Settings, spool: Path, allowed: timedelta, clock_matter: str = "") -> list[str]:
    """Return the collector's command line. `clock_matter` is what is wrong with this host's clock."""
    words = [sys.executable, "-P", "-m", "uniagent.collect", "--spool", str(spool)]
    words += ["--timeout", str(max(1, int(allowed.total_seconds())))]
    if settings.root is not None:
        words += ["--root", str(settings.root)]
    if clock_matter:
        words += ["--clock", clock_matter]
    return words


async def fresh_spool(state: Path) -> Path:
    """Return a spool folder without what an interrupted collection left there. Raises OSError.

    Folders in it are the collector's own: there it keeps what it may use again.
    """
    await _end_orphan(state)
    spool = durable.private_folder(state / "spool")
    for path in list(spool.iterdir()):
        if not path.is_dir():
            path.unlink()
    return spool


async def collect(
    words: Sequence[str], spool: Path, allowed: timedelta, nice: int, progress: Callable[[str], None]
) -> Offer:
    """Run a collector and return its report, whose content is in `spool`.

    Raises CollectionTimedOut or CollectionFailed; then, and when cancelled, the child and all it started have ended.
    """
    try:
        child = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise CollectionFailed(f"the collector cannot be started: {error.strerror}") from None
    grace = _GRACE_SECONDS
    try:
        _step_back(child.pid, nice)
        _pid_file(spool.parent).write_text(json.dumps({"pid": child.pid, "spool": str(spool)}))
        async with asyncio.timeout(allowed.total_seconds()):
            _, said = await asyncio.gather(_follow(child, progress), _last_words(child))
            status = await child.wait()
    except TimeoutError:
        raise CollectionTimedOut(
            f"the collection took longer than {allowed.total_seconds():.0f} s and was stopped"
        ) from None
    except OSError as error:
        raise CollectionFailed(f"the collection cannot be followed: {error.strerror}") from None
    except asyncio.CancelledError:
        grace = _STOP_SECONDS
        raise
    finally:
        try:
            if child.returncode is None:
                await family.end(child.pid, grace)
                await child.wait()
        finally:
            _pid_file(spool.parent).unlink(missing_ok=True)
    if status != 0:
        raise CollectionFailed(said or f"the collector ended with {_ending(status)} and said nothing")
    return read_result(spool)


async def _end_orphan(state: Path) -> None:
    """End a collector that outlived a daemon which was killed: two at once would ask the package manager twice."""
    path = _pid_file(state)
    try:
        document = json.loads(path.read_bytes())
        pid, spool = int(document["pid"]), str(document["spool"])
        if spool in family.words(pid):
            log.warning("ending a collector left from before", extra={"pid": pid})
            await family.end(pid, _GRACE_SECONDS)
    except FileNotFoundError as error:
        if error.filename == str(path):
            return
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("cannot tell whether a collector is left from before", extra={"cause": repr(error)})
    path.unlink(missing_ok=True)


def _pid_file(state: Path) -> Path:
    return state / "collector.pid"


def _step_back(pid: int, nice: int) -> None:
    """Lower the child's priority. Linux derives that of its disk access from it."""
    with contextlib.suppress(ProcessLookupError):  # it has ended already
        os.setpriority(os.PRIO_PROCESS, pid, min(19, os.getpriority(os.PRIO_PROCESS, 0) + nice))


async def _follow(child: asyncio.subprocess.Process, progress: Callable[[str], None]) -> None:
    assert child.stdout is not None
    while line := await _line(child.stdout):
        if (word := line.decode("ascii", "replace").strip()) in STEPS:
            progress(word)


async def _line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:  # longer than the reader's limit: no word of ours, and gone from the buffer
        return b"\n"


async def _last_words(child: asyncio.subprocess.Process) -> str:
    assert child.stderr is not None
    tail = b""
    while piece := await child.stderr.read(_SENTENCE_BYTES):
        tail = (tail + piece)[-_SENTENCE_BYTES:]
    lines = [line.strip() for line in tail.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1][:_SENTENCE] if lines else ""


def _ending(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"


def read_result(spool: Path) -> Offer:
    """Return what a collector left in its spool; raise CollectionFailed when that cannot be read."""
    try:
        document = json.loads((spool / "result.json").read_bytes())
        manifest = str(document["manifest"])
        collected_at = datetime.fromisoformat(document["collected_at"])
        if len(bytes.fromhex(manifest)) != 32 or collected_at.tzinfo is None or not (spool / manifest).is_file():
            raise ValueError("names no manifest, or a time without zone")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CollectionFailed(f"the collector ended well, but its result cannot be read: {error!r}") from None
    return Offer(manifest, collected_at)
