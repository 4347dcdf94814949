"""What a store promises: one small Protocol for each kind of record (DESIGN §7).

Implementations: `memory`, `sqlite`. tests/conformance holds every one of them to the same contract. A store never reads the
clock and never makes ids. A method that returned has made its change durable. Reads see every write that has returned.
Errors: NotFound, Conflict (somebody else wrote meanwhile), Unavailable (disk full, database locked or gone: try again).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from controller.audit.model import AuditEntry, AuditFilter, Deed, Head
from controller.compliance.model import Assignment, Baseline, Exceptions, PatchException
from controller.fleet.clones import Sighting
from controller.fleet.model import DEFAULT_ACCOUNT, EnrolmentToken, Instance, InstanceId, ResourceType
from controller.inventory.model import Package, Report, Snapshot
from controller.notify.model import Contact, Message, MessageState, Notice, Shift, ShiftKey
from controller.store.api_accounts import AccountStore as AccountStore
from controller.store.api_assessments import AssessmentStore as AssessmentStore
from controller.store.api_assessments import Deciding as Deciding
from controller.store.api_schedules import ScheduleStore as ScheduleStore
from controller.tickets.model import Run, RunState, Ticket, TicketId, TicketState


class FleetStore(Protocol):
    """Instances and enrolment tokens."""

    async def put_instance(self, instance: Instance) -> None:
        """Write an instance, new or changed."""
        ...

    async def change_instance(self, instance_id: InstanceId, change: Callable[[Instance], Instance]) -> Instance:
        """Write what a pure function makes of an instance, and return it; no other write comes between reading and writing.

        What `change` raises is raised, and nothing is written. Raise NotFound. Deleted instances are changed too.
        """
        ...

    async def get_instance(self, instance_id: InstanceId) -> Instance:
        """Return an instance, deleted ones too; raise NotFound."""
        ...

    async def called(self, reference: str) -> tuple[Instance, ...]:
        """Return the instances with this id or this name that are neither deleted nor retired, ordered by name, then id.

        It costs the same in a large fleet as in a small one.
        """
        ...

    async def instances(self) -> tuple[Instance, ...]:
        """Return all instances that are neither deleted nor retired, ordered by name, then id."""
        ...

    async def retired_instances(self) -> tuple[Instance, ...]:
        """Return the instances that are retired and not deleted, ordered by name, then id."""
        ...

    async def rewrite(self, change: Callable[[tuple[Instance, ...]], Iterable[Instance]]) -> tuple[Instance, ...]:
        """Write what a pure function makes of the whole fleet, all or nothing, and return what it made: new and changed instances.

        It gets all that are not deleted, retired ones too, ordered by name, then id; no other write comes between reading and writing.
        What it raises is raised, and nothing is written.
        """
        ...

    async def mark_seen(self, seen: Mapping[InstanceId, datetime]) -> None:
        """Set last_seen_at of these instances; unknown ones are passed over."""
        ...

    async def put_enrolment_token(self, token: EnrolmentToken) -> None:
        """Write an enrolment token, new or changed; raise Conflict when another one has its secret."""
        ...

    async def get_enrolment_token(self, token_id: str) -> EnrolmentToken:
        """Return an enrolment token; raise NotFound."""
        ...

    async def enrol(self, secret_hash: bytes, instance: Instance, adopts: InstanceId | None = None) -> EnrolmentToken:
        """Use an enrolment token and write the instance, both or neither.

        `adopts` is an instance known from the CMDB only whose place this one takes: it is deleted at the same time, unless it enrolled.

        A token serves one instance: raise NotFound when no token has this hash, and Conflict when it is revoked, or
        used by another instance. The same instance again (its answer was lost) is written again and is no error. Whether the
        token has expired is the caller's question: it has the clock. `used_at` becomes the instance's enrolled_at, the first time only.
        """
        ...

    async def find_enrolment_token(self, secret_hash: bytes) -> EnrolmentToken:
        """Return the token with this hash; raise NotFound."""
        ...

    async def enrolment_tokens(self, limit: int, before: tuple[datetime, str] | None) -> tuple[EnrolmentToken, ...]:
        """Return tokens ordered by (created_at, id), newest first, only those below `before`."""
        ...


class InventoryStore(Protocol):
    """Content by digest, interned packages, snapshots, and who reported what when."""

    async def missing(self, digests: Collection[bytes]) -> frozenset[bytes]:
        """Return those digests for which there is neither a blob nor a snapshot."""
        ...

    async def put_blob(self, digest: bytes, content: bytes) -> None:
        """Keep content, all of it or nothing; the same digest again changes nothing.

        The caller has checked that it hashes to `digest`. A repository's primary may have 50 MB and more.
        """
        ...

    async def get_blob(self, digest: bytes) -> bytes:
        """Return content; raise NotFound."""
        ...

    async def get_blobs(self, digests: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return several contents by digest: for many small ones, as all are in memory at once. Raise NotFound if one is absent."""
        ...

    async def put_snapshot(self, digest: bytes, content: bytes) -> Snapshot:
        """Intern the packages of a packages blob and keep the set under its digest; the same digest again changes nothing.

        The caller has checked that the content hashes to `digest`. Raise ValueError, which says what is wrong, when it is no
        packages blob (common.manifest); then nothing of it is kept.
        """
        ...

    async def get_snapshot(self, digest: bytes) -> Snapshot:
        """Return a snapshot; raise NotFound."""
        ...

    async def get_snapshots(self, digests: Collection[bytes]) -> Mapping[bytes, Snapshot]:
        """Return several snapshots by digest; raise NotFound if one is absent."""
        ...

    async def packages(self, ids: Iterable[int]) -> tuple[Package, ...]:
        """Return interned packages in ascending order of id, each once; unknown ids raise NotFound."""
        ...

    async def packages_after(self, package_id: int) -> tuple[Package, ...]:
        """Return all interned packages with a greater id, ascending. Ids start at 1 and only grow."""
        ...

    async def put_report(self, report: Report) -> Report:
        """Add to an instance's history; raise NotFound when its instance, snapshot or manifest is absent.

        When the latest report of the instance has the same manifest, its interval is stretched (collected_at never goes
        back) instead of adding a row. A report that is older than the latest is kept in its place in history. Returns
        the latest report of the instance afterwards. Only `collected_at` of `report` counts, not its first_collected_at; of two
        reports of one instant the later to arrive is the latest. rules.py says it exactly.
        """
        ...

    async def latest_reports(self) -> tuple[Report, ...]:
        """Return the latest report of every instance that is not deleted, ordered by instance id."""
        ...

    async def latest_report(self, instance_id: InstanceId) -> Report | None:
        """Return the latest report of an instance, None before the first."""
        ...

    async def report_as_of(self, instance_id: InstanceId, at: datetime) -> Report | None:
        """Return the report that was the latest at an instant, None before the first."""
        ...

    async def remember_advisory_repositories(
        self, repositories: Mapping[InstanceId, Collection[str]]
    ) -> Mapping[InstanceId, frozenset[str]]:
        """Add to the repositories in which instances ever had advisories, all or nothing; return them all, of these instances.

        Costs a read when there is nothing to add; raise NotFound when there is and an instance is absent. A repository
        that loses its advisories is not compliance (R11).
        """
        ...

    async def see_advisories(self, ids: Collection[str], at: datetime) -> None:
        """Remember when each advisory was first seen: the earliest time that was ever told."""
        ...

    async def first_seen(self, ids: Collection[str]) -> Mapping[str, datetime]:
        """Return when advisories were first seen; unknown ones are absent."""
        ...


class RepeatStore(Protocol):
    """Reports in which instances say again what they said last: nearly all that there are."""

    async def repeat(self, reports: Sequence[Report]) -> None:
        """Do for each of these what `put_report` does with the same manifest again, at the cost of one look at the report it continues.

        Each has the manifest and the first_collected_at of the latest report of its instance, and ends no earlier than it; several of
        one instance stand in their order. All or none: raise Conflict when one continues no latest report.
        """
        ...


class BaselineStore(Protocol):
    """Baselines, all their versions, and the defaults."""

    async def put_baseline(self, baseline: Baseline) -> None:
        """Write one version of a baseline.

        Raise Conflict if this (id, version) exists, the name has another id in its account or among the public ones, or the baseline is
        deleted. The name of a deleted baseline is free, so is the former name of one that was renamed.
        """
        ...

    async def get_baseline(self, baseline_id: str, version: int = 0) -> Baseline:
        """Return one version, 0 for the newest (deleted baselines answer too, by id); raise NotFound."""
        ...

    async def find_baseline(self, reference: str, account: str = DEFAULT_ACCOUNT) -> Baseline:
        """Return the newest version of the baseline with this id, else with this name, not deleted, public or the account's.

        Raise NotFound.
        """
        ...

    async def baselines(self) -> tuple[Baseline, ...]:
        """Return the newest versions of all accounts, public ones first, then by name, then by id; deleted ones are absent."""
        ...

    async def delete_baseline(self, baseline_id: str, at: datetime | None = None, by: str = "") -> None:
        """Take a baseline out of lists and take its assignments back, defaults too. Raise NotFound, the second time too.

        Its versions stay readable for old reports. Assignments end at `at`, or at once when they began later or `at` is None.
        """
        ...

    async def set_default(
        self, baseline_id: str, at: datetime | None = None, by: str = "", account: str = DEFAULT_ACCOUNT
    ) -> None:
        """Make it an account's default of its (scenario, operating system), instead of the one before; raise NotFound.

        It is an assignment of scope DEFAULT since `at` (None: since the beginning of time), but never since before the one that
        it replaces.
        """
        ...

    async def baseline_as_of(self, baseline_id: str, at: datetime) -> Baseline:
        """Return the version that was the newest at an instant (created_at <= at; a version without a date counts); raise NotFound.

        Deleted baselines answer too: they may have decided then.
        """
        ...

    async def put_assignment(self, assignment: Assignment) -> None:
        """Add to the history of assignments.

        `since` must not be before the newest of the same key: raise Conflict. Of two since the same instant the later to arrive
        holds. Raise NotFound when its baseline is absent or deleted. That the key fits the baseline is the caller's care.
        """
        ...

    async def assignments(self, at: datetime | None = None) -> tuple[Assignment, ...]:
        """Return the assignments that hold now, or held at an instant: the newest of each key; those taken back are absent.

        Ordered by the text of account, scope, value, scenario, operating system. Defaults are among them, as scope DEFAULT.
        """
        ...

    async def put_exception(self, exception: PatchException) -> Exceptions:
        """Write an exception, new or changed, and raise the version of all; return all."""
        ...

    async def exceptions(self) -> Exceptions:
        """Return all exceptions, those that have ended too, ordered by (created_at, id), and their version."""
        ...

    async def defaults(self, account: str = DEFAULT_ACCOUNT) -> Mapping[tuple[ResourceType, str], str]:
        """Return the account's default's baseline id by (scenario, operating system)."""
        ...


class TicketStore(Protocol):
    """Tickets with their batches and runs."""

    async def create(self, ticket: Ticket) -> Ticket:
        """Write a new ticket; return it as saved (version 1, nothing unsaved).

        Its unsaved notices go into the outbox together with it: both or neither, here and in `save`.
        Raise Conflict if the id exists, or another ticket has the same (created_by, request_id), request_id not empty.
        """
        ...

    async def save(self, ticket: Ticket) -> Ticket:
        """Write what changed (header, unsaved batches, unsaved runs) if the stored version is still `ticket.version`.

        Never written again: spec, created_by, created_at, request_id, whose it is, and a batch's members and place; they cannot change.

        Return the ticket as saved (version + 1, nothing unsaved); else raise Conflict, NotFound. The cost depends on what changed,
        not on the size of the ticket.
        """
        ...

    async def load(self, ticket_id: TicketId) -> Ticket:
        """Return a ticket with all batches and runs; raise NotFound."""
        ...

    async def head(self, ticket_id: TicketId) -> Ticket:
        """Return a ticket with its batches (without members) but without runs: `runs` and `out` are empty. Raise NotFound."""
        ...

    async def find_request(self, created_by: str, request_id: str) -> TicketId | None:
        """Return the ticket that this request made, if any."""
        ...

    async def heads(
        self,
        states: Collection[TicketState],
        limit: int,
        before: tuple[datetime, TicketId] | None,
        account: str = DEFAULT_ACCOUNT,
    ) -> tuple[Ticket, ...]:
        """Return an account's tickets as `head` does, ordered by (created_at, id), newest first, only those below `before`.

        Only in these states; without any, in all.
        """
        ...

    async def runs(
        self, ticket_id: TicketId, batch: int, states: Collection[RunState], limit: int, after: tuple[int, int] | None
    ) -> tuple[tuple[tuple[int, int], Run], ...]:
        """Return (position, run) of a ticket in dispatch order; position = (batch, place in it); only those above `after`.

        Places count from 0. Only runs of this batch (0: of all) in these states (none: in all). Raise NotFound.
        """
        ...

    async def unfinished(self) -> tuple[TicketId, ...]:
        """Return the tickets that are READY, PROCESSING or PAUSED, or have a run out, oldest first."""
        ...


class OutboxStore(Protocol):
    """What somebody is to be told: notices, and the messages that they become. `TicketStore` writes notices too."""

    async def put_notice(self, notice: Notice) -> bool:
        """Write a notice unless one with its id is there; say whether it was written."""
        ...

    async def unrouted(self, limit: int) -> tuple[Notice, ...]:
        """Return notices that have no messages yet, ordered by (at, id), oldest first."""
        ...

    async def get_notice(self, notice_id: str) -> Notice:
        """Return a notice; raise NotFound."""
        ...

    async def route(self, notice_id: str, messages: Collection[Message]) -> None:
        """Write a notice's messages and note that it has them, both or neither; raise NotFound.

        A message whose id is there stays as it is: what was sent is not sent again. Those that could not go anywhere (GIVEN_UP,
        without an address) make room for the new ones.
        """
        ...

    async def unroute(self, notice_id: str) -> None:
        """Let a notice be routed again; raise NotFound."""
        ...

    async def get_message(self, message_id: str) -> Message:
        """Return a message; raise NotFound."""
        ...

    async def change_message(self, message_id: str, change: Callable[[Message], Message]) -> Message:
        """Write what a pure function makes of a message, and return it; no other write comes between reading and writing.

        Only address, state, attempts, times and error change. What `change` raises is raised, and nothing is written. Raise NotFound.
        """
        ...

    async def due(self, at: datetime, limit: int) -> tuple[Message, ...]:
        """Return messages that are WAITING and whose next attempt is not after `at`, ordered by (next_attempt_at, id)."""
        ...

    async def next_due(self) -> datetime | None:
        """Return the earliest next attempt of a message that is WAITING, None when none is."""
        ...

    async def messages(
        self, account: str, states: Collection[MessageState], limit: int, before: tuple[datetime, str] | None
    ) -> tuple[Message, ...]:
        """Return messages of an account ordered by (at, id), newest first, only those below `before`.

        Only in these states; without any, in all.
        """
        ...

    async def forget(self, before: datetime) -> int:
        """Drop notices of before an instant, with their messages, where none waits any more; return how many went."""
        ...


class ContactStore(Protocol):
    """Who can be told, and who is on duty when. Names are unique in their account."""

    async def add_contact(self, contact: Contact) -> None:
        """Write a new contact; raise Conflict when its name is taken."""
        ...

    async def change_contact(self, account: str, name: str, change: Callable[[Contact], Contact]) -> Contact:
        """Write what a pure function makes of a contact, and return it; raise NotFound. Account and name stay."""
        ...

    async def get_contact(self, account: str, name: str) -> Contact:
        """Return a contact; raise NotFound."""
        ...

    async def contacts(self, account: str) -> tuple[Contact, ...]:
        """Return the contacts of an account, by name."""
        ...

    async def delete_contact(self, account: str, name: str) -> None:
        """Remove a contact; raise NotFound. Shifts and policies that name it are left as they are."""
        ...

    async def add_shift(self, shift: Shift) -> None:
        """Write a new shift; raise Conflict when its key is taken."""
        ...

    async def change_shift(self, account: str, key: ShiftKey, change: Callable[[Shift], Shift]) -> Shift:
        """Write what a pure function makes of a shift, and return it; no other write comes between. Raise NotFound."""
        ...

    async def get_shift(self, account: str, key: ShiftKey) -> Shift:
        """Return a shift; raise NotFound."""
        ...

    async def shifts(self, account: str) -> tuple[Shift, ...]:
        """Return the shifts of an account, by scenario, then role."""
        ...

    async def delete_shift(self, account: str, key: ShiftKey) -> None:
        """Remove a shift; raise NotFound."""
        ...


class SightingStore(Protocol):
    """From where agents spoke, on which boots of which machines: by it clones are found (SEMANTICS §3)."""

    async def put_sightings(self, sightings: Mapping[InstanceId, Iterable[Sighting]]) -> None:
        """Replace what is remembered of each of these instances; without any sighting an instance is forgotten."""
        ...

    async def sightings(self) -> tuple[Sighting, ...]:
        """Return all sightings, ordered by instance, then by when they were last heard, then by boot."""
        ...


class AuditStore(Protocol):
    """What was done and tried, in a chain of hashes (controller/audit). Nothing in it is ever changed or deleted."""

    async def append(self, deed: Deed) -> AuditEntry:
        """Write a deed at the end of the chain; return the entry that it became. Two at once take two places."""
        ...

    async def head(self) -> Head:
        """Return where the chain ends."""
        ...

    async def entries_after(self, number: int, limit: int) -> tuple[AuditEntry, ...]:
        """Return the entries with greater numbers, ascending, as they are stored, whether the chain holds or not."""
        ...

    async def newest(self, wanted: AuditFilter, limit: int, before: int | None) -> tuple[AuditEntry, ...]:
        """Return wanted entries with numbers below `before` (None: all), newest first."""
        ...


class Store(Protocol):
    """All of them, over one database."""

    fleet: FleetStore
    inventory: InventoryStore
    repeats: RepeatStore
    baselines: BaselineStore
    tickets: TicketStore
    assessments: AssessmentStore
    outbox: OutboxStore
    contacts: ContactStore
    sightings: SightingStore
    schedules: ScheduleStore
    audit: AuditStore
    accounts: AccountStore

    async def close(self) -> None:
        """Finish what is under way and let go of the database."""
        ...
