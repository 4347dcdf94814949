"""Parses repository files in a process of its own: never on the event loop, and a crash of a parser takes nobody along."""

from __future__ import annotations

import asyncio
import errno
import faulthandler
import functools
import logging
import multiprocessing
import os
import resource
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import IO, Final, Self

from common.errors import Unavailable
from controller.compliance.model import Advisory, Available
from controller.inventory import advisories, metadata
from controller.inventory.metadata import MetadataError

MAX_MEMORY_BYTES: Final = 4 << 30
MAX_CPU_SECONDS: Final = 180
_STARTS: Final = 2
"""How often a worker is started before it is given up: one that dies then has not seen a file yet."""
_MAX_SAID_BYTES: Final = 4096
log = logging.getLogger(__name__)


class MetadataParser:
    """Parses files one at a time in a worker process that starts with the first file. Use it as `async with`, or `close` it.

    A file on which the worker dies (memory, time, a fault in a parser) is a MetadataError like any other bad file; the next
    file gets a new worker. Unavailable is not the file's fault: there was no room to unpack it, or the worker did not start, twice.
    What libraries print of a file goes to the log, with the file's name, not to the controller's standard error.
    """

    def __init__(self, max_memory_bytes: int = MAX_MEMORY_BYTES, max_cpu_seconds: int = MAX_CPU_SECONDS) -> None:
        """Allow the worker so much address space in all, and so much CPU time for each file."""
        self._max_memory_bytes = max_memory_bytes
        self._max_cpu_seconds = max_cpu_seconds
        self._pool: ProcessPoolExecutor | None = None
        self._said: IO[bytes] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._decoder = advisories.Decoder()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def updateinfo(self, digest: str, content: bytes) -> tuple[Advisory, ...]:
        """Parse an updateinfo file; raise MetadataError that names its digest."""
        packed = await self._parse(digest, "updateinfo", _pack_updateinfo, content)
        return await asyncio.to_thread(self._decoder.advisories, packed)

    async def primary(self, digest: str, content: bytes) -> tuple[Available, ...]:
        """Parse a primary file; raise MetadataError that names its digest."""
        packed = await self._parse(digest, "primary", _pack_primary, content)
        return await asyncio.to_thread(self._decoder.available, packed)

    async def close(self) -> None:
        """Let the worker finish what it has, and end it."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(functools.partial(pool.shutdown, wait=True, cancel_futures=True))
        if self._said is not None:
            self._said.close()
            self._said = None

    async def _parse(self, digest: str, kind: str, parse: Callable[[bytes, int], bytes], content: bytes) -> bytes:
        async with self._one_at_a_time:  # so that when the worker dies, it is known on which file
            pool = self._pool or await self._start()
            try:
                return await asyncio.get_running_loop().run_in_executor(pool, parse, content, self._max_cpu_seconds)
            except MetadataError as error:
                raise MetadataError(f"{kind} {digest[:12]}: {error}") from None
            except (MemoryError, OSError) as error:
                if isinstance(error, OSError) and error.errno != errno.ENOMEM:
                    raise Unavailable(f"{kind} {digest[:12]} could not be unpacked: {error.strerror}") from None
                self._drop_worker()  # it may be short of memory for ever after
                matter = f"needs more than {self._max_memory_bytes:,} bytes of memory"
            except BrokenProcessPool:
                self._drop_worker()
                matter = f"the parser died on it (allowed are {self._max_cpu_seconds} s and {self._max_memory_bytes:,} bytes)"
            finally:
                self._log_what_was_said(f"{kind} {digest[:12]}")
            raise MetadataError(f"{kind} {digest[:12]}: {matter}")

    async def _start(self) -> ProcessPoolExecutor:
        """Start a worker and wait until it is ready, so that its death there is not taken for that of a file."""
        if self._said is None:
            self._said = tempfile.NamedTemporaryFile(prefix="patchwarden-parser-")  # noqa: SIM115 - `close` closes it
        for _ in range(_STARTS):
            try:
                self._pool = ProcessPoolExecutor(
                    1, multiprocessing.get_context("spawn"), _prepare, (self._max_memory_bytes, self._said.name)
                )
                await asyncio.get_running_loop().run_in_executor(self._pool, _be_ready)
            except (BrokenProcessPool, OSError) as error:
                self._drop_worker()
                log.warning("the parser of repository files did not start", extra={"cause": str(error)})
                self._log_what_was_said("no file")
            else:
                return self._pool
        raise Unavailable(f"the process that reads repository files did not start, {_STARTS} times; the log says why")

    def _log_what_was_said(self, file: str) -> None:
        if self._said is None:
            return
        self._said.seek(0)
        if said := self._said.read(_MAX_SAID_BYTES):
            log.warning("the parser printed", extra={"file": file, "said": said.decode("utf-8", "replace")})
            self._said.truncate(0)

    def _drop_worker(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)


def _prepare(max_memory_bytes: int, said: str) -> None:
    """Confine a worker that has just started, and let what it prints go to the file `said`."""
    handle = os.open(said, os.O_WRONLY | os.O_APPEND)  # appending: the controller empties it after each file
    os.dup2(handle, 2)
    os.close(handle)
    faulthandler.enable()
    threading.Thread(target=_end_with_the_controller, daemon=True).start()
    resource.setrlimit(resource.RLIMIT_AS, (max_memory_bytes, max_memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end_with_the_controller() -> None:
    """A controller that was killed cannot end its worker, which would wait for a file for ever."""
    controller = multiprocessing.parent_process()
    if controller is not None:
        controller.join()
        os._exit(1)


def _be_ready() -> None:
    """Show that the worker has started."""


def _limit_time(seconds: int) -> None:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    until = int(spent.ru_utime + spent.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _pack_updateinfo(content: bytes, max_cpu_seconds: int) -> bytes:
    with _as_bad_file(max_cpu_seconds):
        return advisories.encode_advisories(metadata.parse_updateinfo(content))


def _pack_primary(content: bytes, max_cpu_seconds: int) -> bytes:
    with _as_bad_file(max_cpu_seconds):
        return advisories.encode_available(metadata.parse_primary(content))


@contextmanager
def _as_bad_file(max_cpu_seconds: int) -> Iterator[None]:
    """Limit the time, and make of a parser's fault what the file is to everybody: one that cannot be read (R11)."""
    _limit_time(max_cpu_seconds)
    try:
        yield
    except (MetadataError, MemoryError, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the file is what it failed on
        raise MetadataError(f"the parser failed on it ({type(error).__name__}: {error})") from None
