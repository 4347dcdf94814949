"""The store in memory keeps the contract."""

from __future__ import annotations

import pytest

from controller.store.memory import MemoryStore
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


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


class TestMemoryFleet(FleetStoreContract):
    pass


class TestMemoryInventory(InventoryStoreContract):
    pass


class TestMemoryRepeats(RepeatStoreContract):
    pass


class TestMemoryBaselines(BaselineStoreContract):
    pass


class TestMemoryAssignments(AssignmentStoreContract):
    pass


class TestMemorySightings(SightingStoreContract):
    pass


class TestMemoryTickets(TicketStoreContract):
    pass


class TestMemoryAssessments(AssessmentStoreContract):
    pass


class TestMemoryOutbox(OutboxStoreContract):
    pass


class TestMemoryContacts(ContactStoreContract):
    pass


class TestMemorySchedules(ScheduleStoreContract):
    pass


class TestMemoryAudit(AuditStoreContract):
    pass


class TestMemoryAccounts(AccountStoreContract):
    pass
