"""The store in SQLite keeps the contract, also when it is closed and opened again before every call: what returned is durable."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from controller.store.api import Store
from controller.store.codec import micros
from controller.store.sqlite import SqliteStore
from tests.builders import MINUTE, NOW, an_assessment, an_instance, instance_id
from tests.conformance.contracts.accounts import AccountStoreContract
from tests.conformance.contracts.assessments import AssessmentStoreContract
from tests.conformance.contracts.assignments import AssignmentStoreContract
from tests.conformance.contracts.audit import AuditStoreContract
from tests.conformance.contracts.baselines import BaselineStoreContract
from tests.conformance.contracts.fleet import FleetStoreContract
from tests.conformance.contracts.inventory import InventoryStoreContract
from tests.conformance.contracts.outbox import ContactStoreContract, OutboxStoreContract
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


@pytest.fixture(params=["open", "reopened"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    path = tmp_path / "patchwarden.db"
    opened = SqliteStore.open(path) if request.param == "open" else cast(Store, Reopened(path))
    yield opened
    await opened.close()


class TestSqliteFleet(FleetStoreContract):
    pass


class TestSqliteInventory(InventoryStoreContract):
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


async def test_since_when_items_are_non_compliant_is_read_as_earlier_versions_wrote_it(tmp_path: Path) -> None:
    path, baseline = tmp_path / "patchwarden.db", "b-one"
    store = SqliteStore.open(path)
    await store.fleet.put_instance(an_instance(1))
    found = an_assessment(1)
    found = replace(found, inputs=replace(found.inputs, baseline_id=baseline))
    await store.assessments.put_assessment(found, ["bash.x86_64"], NOW, deciding=True)
    await store.close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE assessment SET since = ?", (f'{{"bash.x86_64":{micros(NOW)},"zsh.x86_64":{micros(NOW)}}}',))
    store = SqliteStore.open(path)
    assert await store.assessments.since(instance_id(1), baseline) == {"bash.x86_64": NOW, "zsh.x86_64": NOW}
    items = ["bash.x86_64", "vim.x86_64"]
    later = await store.assessments.put_assessment(found, items, NOW + MINUTE, deciding=True)
    assert later == await store.assessments.since(instance_id(1), baseline)
    assert later == {"bash.x86_64": NOW, "vim.x86_64": NOW + MINUTE}
    await store.close()
