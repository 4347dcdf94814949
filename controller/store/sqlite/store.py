"""All stores over one SQLite file."""

from __future__ import annotations

from pathlib import Path

from controller.store.api import (
    AccountStore,
    AssessmentStore,
    AuditStore,
    BaselineStore,
    ContactStore,
    FleetStore,
    InventoryStore,
    OutboxStore,
    RepeatStore,
    ScheduleStore,
    SightingStore,
    TicketStore,
)
from controller.store.sqlite.accounts import SqliteAccounts
from controller.store.sqlite.assessments import SqliteAssessments
from controller.store.sqlite.audit import SqliteAudit
from controller.store.sqlite.baselines import SqliteBaselines
from controller.store.sqlite.contacts import SqliteContacts
from controller.store.sqlite.database import Database, Synchronous
from controller.store.sqlite.fleet import SqliteFleet
from controller.store.sqlite.inventory import SqliteInventory
from controller.store.sqlite.outbox import SqliteOutbox
from controller.store.sqlite.repeats import SqliteRepeats
from controller.store.sqlite.schedules import SqliteSchedules
from controller.store.sqlite.sightings import SqliteSightings
from controller.store.sqlite.tickets import SqliteTickets


class SqliteStore:
    """Store over one file and, for large content, the folder `<file>.blobs`. Only one process at a time may have it."""

    def __init__(self, database: Database) -> None:
        """Use `open`."""
        self._database = database
        self.fleet: FleetStore = SqliteFleet(database)
        self.inventory: InventoryStore = SqliteInventory(database)
        self.repeats: RepeatStore = SqliteRepeats(database)
        self.baselines: BaselineStore = SqliteBaselines(database)
        self.tickets: TicketStore = SqliteTickets(database)
        self.assessments: AssessmentStore = SqliteAssessments(database)
        self.outbox: OutboxStore = SqliteOutbox(database)
        self.contacts: ContactStore = SqliteContacts(database)
        self.sightings: SightingStore = SqliteSightings(database)
        self.schedules: ScheduleStore = SqliteSchedules(database)
        self.audit: AuditStore = SqliteAudit(database)
        self.accounts: AccountStore = SqliteAccounts(database)

    @classmethod
    def open(cls, path: Path, *, synchronous: Synchronous = "FULL") -> SqliteStore:
        """Open a database, made if absent, and bring its schema up to date.

        With NORMAL, a power loss (not a crash) may take what was acknowledged last. Raise Rejected when another process has it or
        a newer version wrote it, Unavailable when it cannot be opened. Blocks while a migration runs.
        """
        database = Database.open(path, synchronous)
        try:
            return cls(database)
        except BaseException:
            database.shut()
            raise

    async def close(self) -> None:
        """Finish what is under way and let go of the database."""
        await self._database.close()
