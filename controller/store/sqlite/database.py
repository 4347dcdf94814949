"""One SQLite file in WAL mode: a writer thread with group commit, readers beside it, and its errors in our words.

All writes that wait are run in one transaction and answered when the commit has reached the disk. When one of them fails, all are
undone and run again, now each in a savepoint, so that one's error does not undo its neighbours.

synchronous is FULL: with NORMAL a power loss may take the last commits, which agents were already told to forget. Group commit
makes up for it: the cost of the sync is shared by all who wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from common import failpoints
from common.errors import Unavailable
from controller.store import migrate
from controller.store.sqlite.lock import Lock

T = TypeVar("T")
Synchronous = Literal["FULL", "NORMAL"]
Work = Callable[[sqlite3.Connection], T]
"""What runs on a connection, inside a transaction; a write may be run a second time, after all that it did there was undone."""
Row = tuple[Any, ...]
"""The columns that the query names, in its order."""
Parameters = Mapping[str, object]

log = logging.getLogger(__name__)

_READERS: Final = 3
_GROUP: Final = 1000
"""At most so many writes share a commit: the first of them must not wait for ever."""
_BUSY_SECONDS: Final = 10
_MIGRATIONS: Final = "controller.store.sqlite.migrations"
_STOP: Final = None


@dataclass(slots=True)
class _Job:
    work: Work[Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    is_single: bool = False
    """A read of one statement, which needs no transaction to see one state of the database."""
    result: Any = None
    error: BaseException | None = None

    def resolve(self) -> None:
        if self.future.done():
            return  # its caller was cancelled; the write stands
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Database:
    """Runs reads and writes against one file. Made by `open`."""

    def __init__(self, path: Path, lock: Lock, synchronous: Synchronous) -> None:
        """Use `open`: it waits for no event loop."""
        self._path = path
        self._lock = lock
        self._jobs = queue.SimpleQueue[_Job | None]()
        self._closing = threading.Lock()
        self._closed = False
        self._lost = list[Callable[[], None]]()
        self._writer = _connect(path, synchronous)
        try:
            applied = migrate.apply(self._writer, migrate.numbered(_MIGRATIONS), str(path))
            self._writer.execute("PRAGMA foreign_keys = ON")
            readers = list[sqlite3.Connection]()
            for _ in range(_READERS):
                reader = _connect(path, synchronous)
                reader.execute("PRAGMA query_only = ON")
                readers.append(reader)
        except BaseException:
            self._writer.close()
            raise
        if applied:
            log.info("database migrated", extra={"path": str(path), "migrations": ",".join(applied)})
        # Not a ThreadPoolExecutor: its futures cost several times what a small query does.
        self._questions = queue.SimpleQueue[_Job | None]()
        self._threads = [threading.Thread(target=self._run, name="sqlite-write", daemon=True)]
        for number, reader in enumerate(readers):
            name = f"sqlite-read-{number}"
            self._threads.append(threading.Thread(target=self._serve, args=(reader,), name=name, daemon=True))
        for thread in self._threads:
            thread.start()

    @classmethod
    def open(cls, path: Path, synchronous: Synchronous) -> Database:
        """Open or create the database and bring its schema up to date.

        Raise Rejected when another process has it or a newer version wrote it, Unavailable when it cannot be opened.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = Lock.take(path)
        except OSError as error:
            raise _unavailable(error, path) from error
        try:
            return cls(path, lock, synchronous)
        except sqlite3.Error as error:
            lock.release()
            raise _unavailable(error, path) from error
        except BaseException:
            lock.release()
            raise

    @property
    def path(self) -> Path:
        """The database's file."""
        return self._path

    def on_lost(self, call: Callable[[], None]) -> None:
        """Call this in the writer's thread whenever a transaction is undone in which work had succeeded: its caches are wrong."""
        self._lost.append(call)

    async def write(self, work: Work[T]) -> T:
        """Run `work` in the writer's thread; return its result when it is on disk, raise what it raised when it is undone.

        A caller that is cancelled has written nevertheless. Raise Unavailable when the database cannot take it now.
        """
        return await self._put(self._jobs, work)

    def begin(self, work: Work[T]) -> asyncio.Future[T]:
        """Do as `write`, for a caller that has to know when it is on disk even if nobody waits for it any more: do not cancel it."""
        return self._put(self._jobs, work)

    async def read(self, work: Work[T]) -> T:
        """Run `work` on a reader's connection: it sees one state of the database, with every write that has returned."""
        return await self._put(self._questions, work)

    async def execute(self, statement: str, parameters: Parameters) -> int:
        """Write one statement; return how many rows it changed."""
        return await self.write(lambda db: db.execute(statement, parameters).rowcount)

    async def row(self, query: str, parameters: Parameters) -> Row | None:
        """Return the first row that a query finds, None when there is none."""
        return await self._put(self._questions, lambda db: _first(db, query, parameters), is_single=True)

    async def rows(self, query: str, parameters: Parameters) -> list[Row]:
        """Return the rows that a query finds."""
        return await self._put(self._questions, lambda db: db.execute(query, parameters).fetchall(), is_single=True)

    async def close(self) -> None:
        """Finish the writes that wait, then let go of the file. A second close does nothing."""
        await asyncio.to_thread(self.shut)

    def shut(self) -> None:
        """Do what `close` does, but block."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._jobs.put(_STOP)
            for _ in range(_READERS):
                self._questions.put(_STOP)
        for thread in self._threads:
            thread.join()
        try:
            self._writer.execute("PRAGMA optimize")
        except sqlite3.Error as error:
            log.warning("database statistics not updated", extra={"path": str(self._path), "error": str(error)})
        self._writer.close()
        self._lock.release()

    def _put(
        self, jobs: queue.SimpleQueue[_Job | None], work: Work[T], *, is_single: bool = False
    ) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        with self._closing:  # nothing may come after the word to stop: nobody would answer it
            if self._closed:
                raise Unavailable("the database is closed")
            jobs.put(_Job(work, loop, answer, is_single))
        return answer

    def _serve(self, reader: sqlite3.Connection) -> None:
        with contextlib.closing(reader):
            while (job := self._questions.get()) is not _STOP:
                try:
                    job.result = self._read(reader, job.work, is_single=job.is_single)
                except Exception as error:  # noqa: BLE001 - it is the caller's, who gets it
                    job.error = error
                _answer([job])

    def _read(self, reader: sqlite3.Connection, work: Work[T], *, is_single: bool) -> T:
        try:
            if is_single:
                return work(reader)
            reader.execute("BEGIN")
            try:
                return work(reader)
            finally:
                _roll_back(reader)
        except sqlite3.Error as error:
            raise _translated(error, self._path) from error

    def _run(self) -> None:
        while (group := self._next_group()) is not None:
            try:
                self._commit(group)
            except sqlite3.Error as error:
                failure = _translated(error, self._path)
                log.exception("database write failed", extra={"path": str(self._path), "writes": len(group)})
                self._undo()
                for job in group:
                    job.error = job.error or failure
            _answer(group)

    def _next_group(self) -> list[_Job] | None:
        first = self._jobs.get()
        if first is _STOP:
            return None
        group = [first]
        with contextlib.suppress(queue.Empty):
            while len(group) < _GROUP:
                job = self._jobs.get_nowait()
                if job is _STOP:
                    self._jobs.put(_STOP)  # nothing follows it: writes are refused since
                    break
                group.append(job)
        return group

    def _commit(self, group: list[_Job]) -> None:
        writer = self._writer
        writer.execute("BEGIN IMMEDIATE")
        if not self._run_together(group):
            self._undo()
            writer.execute("BEGIN IMMEDIATE")
            self._run_apart(group)
        failpoints.reached("store.before_commit")
        writer.execute("COMMIT")
        failpoints.reached("store.committed")

    def _run_together(self, group: list[_Job]) -> bool:
        """Run all; return False at the first that fails."""
        try:
            for job in group:
                job.result = job.work(self._writer)
        except Exception as error:  # noqa: BLE001 - it comes again, and then it is known whose it is
            log.debug("a write failed among others", extra={"writes": len(group), "error": str(error)})
            return False
        return True

    def _run_apart(self, group: list[_Job]) -> None:
        writer = self._writer
        for job in group:
            writer.execute("SAVEPOINT job")
            try:
                job.result = job.work(writer)
            except sqlite3.Error as error:
                job.error = _translated(error, self._path)
                if not writer.in_transaction:  # a full disk undoes the whole transaction, the neighbours too
                    raise
                writer.execute("ROLLBACK TO job")
            except Exception as error:  # noqa: BLE001 - it is the caller's, who gets it
                job.error = error
                writer.execute("ROLLBACK TO job")
            writer.execute("RELEASE job")

    def _undo(self) -> None:
        _roll_back(self._writer)
        for call in self._lost:
            call()


def _connect(path: Path, synchronous: Synchronous) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute("PRAGMA cache_size = -16384")
        connection.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection


def _first(db: sqlite3.Connection, query: str, parameters: Parameters) -> Row | None:
    with contextlib.closing(db.execute(query, parameters)) as cursor:
        row: Row | None = cursor.fetchone()
    return row


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _answer(group: list[_Job]) -> None:
    by_loop = dict[asyncio.AbstractEventLoop, list[_Job]]()
    for job in group:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, jobs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, jobs)
        except RuntimeError:
            log.warning("nobody waits for an answer any more", extra={"answers": len(jobs)})


def _resolve(jobs: list[_Job]) -> None:
    for job in jobs:
        job.resolve()


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says of a file into Unavailable."""
    try:
        yield
    except OSError as error:
        raise _unavailable(error, path) from error


_SENTENCES: Final = {
    sqlite3.SQLITE_FULL: "the disk is full: make room, nothing acknowledged is lost",
    sqlite3.SQLITE_IOERR: "the disk cannot be read or written: look at the system's log",
    sqlite3.SQLITE_BUSY: "another program holds the database locked: end it, or wait",
    sqlite3.SQLITE_LOCKED: "another program holds the database locked: end it, or wait",
    sqlite3.SQLITE_READONLY: "the database may not be written: look at the owner and mode of its files",
    sqlite3.SQLITE_PERM: "the database may not be opened: look at the owner and mode of its files",
    sqlite3.SQLITE_CANTOPEN: "the database cannot be opened: look at the owner and mode of its folder",
    sqlite3.SQLITE_CORRUPT: "the database is damaged: restore it from a copy",
    sqlite3.SQLITE_NOTADB: "this is not a patchwarden database",
    sqlite3.SQLITE_NOMEM: "the machine is out of memory",
}


def _translated(error: sqlite3.Error, path: Path) -> Exception:
    """Return Unavailable for what is the world's fault; what is ours (a broken rule, wrong SQL) stays as it is."""
    return _unavailable(error, path) if _primary(error) in _SENTENCES else error


def _unavailable(error: sqlite3.Error | OSError, path: Path) -> Unavailable:
    if isinstance(error, OSError):
        return Unavailable(
            f"{error.filename or path}: {error.strerror}; make it readable and writable, with room on its disk"
        )
    return Unavailable(f"{path}: {_SENTENCES.get(_primary(error), str(error))}")


def _primary(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
