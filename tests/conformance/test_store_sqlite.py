"""The store in SQLite keeps the contract, also when it is closed and opened again before every call: what returned is durable."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from controller.store.api import Store
from controller.store.sqlite import SqliteStore
from tests.conformance.contracts.accounts import AccountStoreContract
from tests.conformance.contracts.assessments import AssessmentStoreContract
from tests.conformance.contracts.assignments import AssignmentStoreContract
from tests.conformance.contracts.audit import AuditStoreContract
from tests.conformance.contracts.baselines import BaselineStoreContract
from tests.conformance.contracts.fleet import FleetStoreContract
from tests.conformance.contracts.inventory import InventoryStoreContract
from tests.conformance.contracts.outbox import ContactStoreContract, OutboxStoreContract
from tests.conformance.contracts.repeats import RepeatStoreContract
from tests.conformance.contracts.schedules import ScheduleStoreContract
from tests.conformance.contracts.sightings import SightingStoreContract
from tests.conformance.contracts.tickets import TicketStoreContract


class Reopened:
    """A Store whose every call opens the file, asks, and closes it. Calls that overlap share one opening."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._store: SqliteStore | None = None
        self._users = 0

    def __getattr__(self, part: str) -> Any:
        return ReopenedPart(self, part)

    async def call(self, part: str, method: str, *arguments: Any, **named: Any) -> Any:
        self._store = self._store or SqliteStore.open(self._path)
        self._users += 1
        try:
            return await getattr(getattr(self._store, part), method)(*arguments, **named)
        finally:
            self._users -= 1
            if not self._users:
                store, self._store = self._store, None
                store._database.shut()  # at once: another call may open it before an awaited close has ended

    async def close(self) -> None:
        assert self._store is None


class ReopenedPart:
    def __init__(self, store: Reopened, part: str) -> None:
        self._store = store
        self._part = part

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        return lambda *arguments, **named: self._store.call(self._part, method, *arguments, **named)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with nothing in it, to be copied: making one is a dozen of migrations, each of which waits for the disk."""
    path = tmp_path_factory.mktemp("empty") / "patchwarden.db"
    SqliteStore.open(path)._database.shut()
    assert not path.with_name(f"{path.name}-wal").exists(), "the file alone is the whole database"
    return path


@pytest.fixture(params=["open", "reopened"])
async def store(request: pytest.FixtureRequest, empty: Path, tmp_path: Path) -> AsyncIterator[Store]:
    path = tmp_path / "patchwarden.db"
    shutil.copy(empty, path)
    opened = SqliteStore.open(path) if request.param == "open" else cast(Store, Reopened(path))
    yield opened
    await opened.close()


class TestSqliteFleet(FleetStoreContract):
    pass


class TestSqliteInventory(InventoryStoreContract):
    pass


class TestSqliteRepeats(RepeatStoreContract):
    pass


class TestSqliteBaselines(BaselineStoreContract):
    pass


class TestSqliteAssignments(AssignmentStoreContract):
    pass


class TestSqliteSightings(SightingStoreContract):
    pass


class TestSqliteTickets(TicketStoreContract):
    pass


class TestSqliteAssessments(AssessmentStoreContract):
    pass


class TestSqliteOutbox(OutboxStoreContract):
    pass


class TestSqliteContacts(ContactStoreContract):
    pass


class TestSqliteSchedules(ScheduleStoreContract):
    pass


class TestSqliteAudit(AuditStoreContract):
    pass


class TestSqliteAccounts(AccountStoreContract):
    pass
