"""A store that forgets: for tests and simulations. Held to the same contract as the one that remembers.

Nothing is awaited inside a method, so each happens at once as far as its callers can tell.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from immutables import Map
from pyroaring import FrozenBitMap

from common.errors import Conflict, NotFound
from common.manifest import PackageLine, decode_packages
from common.nevra import Nevra
from controller.compliance.model import (
    Assignment,
    AssignmentScope,
    Baseline,
    Exceptions,
    PatchException,
)
from controller.fleet.model import DEFAULT_ACCOUNT, EnrolmentToken, Instance, InstanceId, ResourceType
from controller.inventory.model import Package, Report, Snapshot
from controller.store import rules
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
from controller.store.memory_accounts import MemoryAccounts
from controller.store.memory_assessments import MemoryAssessments
from controller.store.memory_audit import MemoryAudit
from controller.store.memory_outbox import MemoryContacts, MemoryOutbox
from controller.store.memory_repeats import MemoryRepeats
from controller.store.memory_schedules import MemorySchedules
from controller.store.memory_sightings import MemorySightings
from controller.tickets.model import Run, RunState, Ticket, TicketId, TicketState

_UNFINISHED = frozenset({TicketState.READY, TicketState.PROCESSING, TicketState.PAUSED})


class MemoryStore:
    """Store in memory."""

    def __init__(self) -> None:
        fleet = MemoryFleet()
        self.fleet: FleetStore = fleet
        self.inventory: InventoryStore = MemoryInventory(fleet)
        self.repeats: RepeatStore = MemoryRepeats(self.inventory)
        self.baselines: BaselineStore = MemoryBaselines()
        outbox = MemoryOutbox()
        self.outbox: OutboxStore = outbox
        self.contacts: ContactStore = MemoryContacts()
        self.tickets: TicketStore = MemoryTickets(outbox)
        self.assessments: AssessmentStore = MemoryAssessments(fleet)
        self.sightings: SightingStore = MemorySightings()
        self.schedules: ScheduleStore = MemorySchedules()
        self.audit: AuditStore = MemoryAudit()
        self.accounts: AccountStore = MemoryAccounts()

    async def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


class MemoryFleet:
    """FleetStore in memory."""

    def __init__(self) -> None:
        self._instances = dict[InstanceId, Instance]()
        self._enrolment_tokens = dict[str, EnrolmentToken]()

    def is_known(self, instance_id: str) -> bool:
        """Say whether an instance was ever written."""
        return instance_id in self._instances

    def is_listed(self, instance_id: str) -> bool:
        """Say whether an instance is there and not deleted."""
        instance = self._instances.get(InstanceId(instance_id))
        return instance is not None and instance.deleted_at is None

    async def put_instance(self, instance: Instance) -> None:
        """Write an instance, new or changed."""
        self._instances[instance.id] = instance

    async def change_instance(self, instance_id: InstanceId, change: Callable[[Instance], Instance]) -> Instance:
        """Write what a pure function makes of an instance, and return it; raise NotFound."""
        changed = self._instances[instance_id] = change(await self.get_instance(instance_id))
        return changed

    async def get_instance(self, instance_id: InstanceId) -> Instance:
        """Return an instance, deleted ones too; raise NotFound."""
        try:
            return self._instances[instance_id]
        except KeyError:
            raise NotFound("instance", instance_id) from None

    async def called(self, reference: str) -> tuple[Instance, ...]:
        """Return those with this id or this name that are neither deleted nor retired, ordered by name, then id."""
        return tuple(i for i in await self.instances() if reference in (i.id, i.name))

    async def instances(self) -> tuple[Instance, ...]:
        """Return all that are neither deleted nor retired, ordered by name, then id."""
        return tuple(i for i in self._there() if i.retired_at is None)

    async def retired_instances(self) -> tuple[Instance, ...]:
        """Return those that are retired and not deleted, ordered by name, then id."""
        return tuple(i for i in self._there() if i.retired_at is not None)

    def _there(self) -> tuple[Instance, ...]:
        listed = (i for i in self._instances.values() if i.deleted_at is None)
        return tuple(sorted(listed, key=lambda i: (i.name, i.id)))

    async def rewrite(self, change: Callable[[tuple[Instance, ...]], Iterable[Instance]]) -> tuple[Instance, ...]:
        """Write what a pure function makes of the whole fleet, and return it; see the Protocol."""
        changed = tuple(change(self._there()))
        self._instances |= {i.id: i for i in changed}
        return changed

    async def mark_seen(self, seen: Mapping[InstanceId, datetime]) -> None:
        """Set last_seen_at of these instances; unknown ones are passed over."""
        for instance_id, at in seen.items():
            if instance_id in self._instances:
                self._instances[instance_id] = replace(self._instances[instance_id], last_seen_at=at)

    async def put_enrolment_token(self, token: EnrolmentToken) -> None:
        """Write an enrolment token, new or changed; raise Conflict when another has its secret."""
        if any(t.secret_hash == token.secret_hash and t.id != token.id for t in self._enrolment_tokens.values()):
            raise Conflict("enrolment token", token.id)
        self._enrolment_tokens[token.id] = token

    async def get_enrolment_token(self, token_id: str) -> EnrolmentToken:
        """Return an enrolment token; raise NotFound."""
        try:
            return self._enrolment_tokens[token_id]
        except KeyError:
            raise NotFound("enrolment token", token_id) from None

    async def enrol(self, secret_hash: bytes, instance: Instance, adopts: InstanceId | None = None) -> EnrolmentToken:
        """Use an enrolment token and write the instance, both or neither; see the Protocol."""
        token = rules.used(await self.find_enrolment_token(secret_hash), instance)
        self._enrolment_tokens[token.id] = token
        self._instances[instance.id] = instance
        if adopts is not None and (adopted := self._instances.get(adopts)) is not None and not adopted.enrolled:
            self._instances[adopts] = replace(adopted, deleted_at=instance.enrolled_at)
        return token

    async def find_enrolment_token(self, secret_hash: bytes) -> EnrolmentToken:
        """Return the token with this hash; raise NotFound."""
        for token in self._enrolment_tokens.values():
            if token.secret_hash == secret_hash:
                return token
        raise NotFound("enrolment token", "with this secret")

    async def enrolment_tokens(self, limit: int, before: tuple[datetime, str] | None) -> tuple[EnrolmentToken, ...]:
        """Return tokens ordered by (created_at, id), newest first, only those below `before`."""
        tokens = sorted(self._enrolment_tokens.values(), key=lambda t: (t.created_at, t.id), reverse=True)
        return tuple(t for t in tokens if before is None or (t.created_at, t.id) < before)[:limit]


class MemoryInventory:
    """InventoryStore in memory."""

    def __init__(self, fleet: MemoryFleet) -> None:
        """Ask `fleet` which instances there are."""
        self._fleet = fleet
        self._blobs = dict[bytes, bytes]()
        self._packages = list[Package]()
        self._ids = dict[tuple[Nevra, str], int]()
        self._snapshots = dict[bytes, Snapshot]()
        self._history = dict[InstanceId, list[Report]]()
        self._advisory_repositories = dict[InstanceId, frozenset[str]]()
        self._first_seen = dict[str, datetime]()

    async def missing(self, digests: Collection[bytes]) -> frozenset[bytes]:
        """Return those digests for which there is neither a blob nor a snapshot."""
        return frozenset(d for d in digests if d not in self._blobs and d not in self._snapshots)

    async def put_blob(self, digest: bytes, content: bytes) -> None:
        """Keep content; the same digest again changes nothing."""
        self._blobs.setdefault(digest, content)

    async def get_blob(self, digest: bytes) -> bytes:
        """Return content; raise NotFound."""
        try:
            return self._blobs[digest]
        except KeyError:
            raise NotFound("content", digest.hex()) from None

    async def get_blobs(self, digests: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return several contents by digest; raise NotFound if one is absent."""
        return {digest: await self.get_blob(digest) for digest in digests}

    async def put_snapshot(self, digest: bytes, content: bytes) -> Snapshot:
        """Intern the packages of a packages blob and keep the set under its digest; see the Protocol."""
        if digest not in self._snapshots:
            lines = decode_packages(content)
            self._snapshots[digest] = Snapshot(digest, FrozenBitMap([self._intern(line) for line in lines]))
        return self._snapshots[digest]

    def _intern(self, line: PackageLine) -> int:
        package_id = self._ids.setdefault((line.nevra, line.module), len(self._packages) + 1)
        if package_id > len(self._packages):
            self._packages.append(Package(package_id, line.nevra, line.module, line.nevra.key))
        return package_id

    async def get_snapshot(self, digest: bytes) -> Snapshot:
        """Return a snapshot; raise NotFound."""
        try:
            return self._snapshots[digest]
        except KeyError:
            raise NotFound("inventory", digest.hex()) from None

    async def get_snapshots(self, digests: Collection[bytes]) -> Mapping[bytes, Snapshot]:
        """Return several snapshots by digest; raise NotFound if one is absent."""
        return {digest: await self.get_snapshot(digest) for digest in digests}

    async def packages(self, ids: Iterable[int]) -> tuple[Package, ...]:
        """Return interned packages in ascending order of id; unknown ids raise NotFound."""
        wanted = sorted(set(ids))
        for package_id in wanted:
            if not 1 <= package_id <= len(self._packages):
                raise NotFound("package", str(package_id))
        return tuple(self._packages[package_id - 1] for package_id in wanted)

    async def packages_after(self, package_id: int) -> tuple[Package, ...]:
        """Return all interned packages with a greater id, ascending. Ids start at 1 and only grow."""
        return tuple(self._packages[package_id:])

    async def put_report(self, report: Report) -> Report:
        """Add to an instance's history and return its latest report; see the Protocol."""
        if not self._fleet.is_known(report.instance_id):
            raise NotFound("instance", report.instance_id)
        if report.manifest_digest not in self._blobs:
            raise NotFound("manifest", report.manifest_digest.hex())
        if report.inventory_digest is not None and report.inventory_digest not in self._snapshots:
            raise NotFound("inventory", report.inventory_digest.hex())
        history = self._history.setdefault(report.instance_id, [])
        place = self._begun_by(report.instance_id, report.collected_at)
        before = history[place - 1] if place > 0 else None
        after = history[place] if place < len(history) else None
        placed = rules.place(before, after, report)
        if placed.before is not None:
            history[place - 1] = placed.before
        if placed.after is not None:
            history[place] = placed.after
        for added in placed.added:
            bisect.insort_right(history, added, key=lambda r: r.first_collected_at)
        return history[-1]

    async def latest_reports(self) -> tuple[Report, ...]:
        """Return the latest report of every instance that is not deleted, ordered by instance id."""
        return tuple(self._history[i][-1] for i in sorted(self._history) if self._fleet.is_listed(i))

    async def latest_report(self, instance_id: InstanceId) -> Report | None:
        """Return the latest report of an instance, None before the first."""
        history = self._history.get(instance_id)
        return history[-1] if history else None

    async def report_as_of(self, instance_id: InstanceId, at: datetime) -> Report | None:
        """Return the report that was the latest at an instant, None before the first."""
        place = self._begun_by(instance_id, at)
        return self._history[instance_id][place - 1] if place else None

    def _begun_by(self, instance_id: InstanceId, at: datetime) -> int:
        return bisect.bisect_right(self._history.get(instance_id, []), at, key=lambda r: r.first_collected_at)

    async def remember_advisory_repositories(
        self, repositories: Mapping[InstanceId, Collection[str]]
    ) -> Mapping[InstanceId, frozenset[str]]:
        """Add to the repositories in which instances ever had advisories; return them all, of these instances."""
        for instance_id, said in repositories.items():
            if said and not self._fleet.is_known(instance_id):
                raise NotFound("instance", instance_id)
        for instance_id, said in repositories.items():
            known = self._advisory_repositories.get(instance_id, frozenset())
            self._advisory_repositories[instance_id] = known | frozenset(said)
        return {instance_id: self._advisory_repositories[instance_id] for instance_id in repositories}

    async def see_advisories(self, ids: Collection[str], at: datetime) -> None:
        """Remember when each advisory was first seen; the earliest time stays."""
        for advisory in ids:
            self._first_seen[advisory] = min(at, self._first_seen.get(advisory, at))

    async def first_seen(self, ids: Collection[str]) -> Mapping[str, datetime]:
        """Return when advisories were first seen; unknown ones are absent."""
        return {advisory: self._first_seen[advisory] for advisory in ids if advisory in self._first_seen}


class MemoryBaselines:
    """BaselineStore in memory."""

    def __init__(self) -> None:
        self._versions = dict[str, dict[int, Baseline]]()
        self._deleted = set[str]()
        self._assignments = dict[tuple[str, ...], list[Assignment]]()
        self._exceptions = dict[str, PatchException]()
        self._exceptions_version = 0

    async def put_baseline(self, baseline: Baseline) -> None:
        """Write one version of a baseline; raise Conflict as the Protocol says."""
        versions = self._versions.get(baseline.id, {})
        taken = any(
            other.name == baseline.name
            and other.id != baseline.id
            and (baseline.public or other.public or other.account == baseline.account)
            for other in await self.baselines()
        )
        if taken or baseline.version in versions or baseline.id in self._deleted:
            raise Conflict("baseline", baseline.name)
        self._versions[baseline.id] = {**versions, baseline.version: baseline}

    async def get_baseline(self, baseline_id: str, version: int = 0) -> Baseline:
        """Return one version, 0 for the newest (deleted baselines answer too, by id); raise NotFound."""
        versions = self._versions.get(baseline_id, {})
        if version and version not in versions:
            raise NotFound("baseline", f"{baseline_id} v{version}")
        if not versions:
            raise NotFound("baseline", baseline_id)
        return versions[version or max(versions)]

    async def find_baseline(self, reference: str, account: str = DEFAULT_ACCOUNT) -> Baseline:
        """Return the newest version of the baseline with this id or name, public or the account's; raise NotFound."""
        listed = [b for b in await self.baselines() if b.is_for(account)]
        for baseline in (*(b for b in listed if b.id == reference), *(b for b in listed if b.name == reference)):
            return baseline
        raise NotFound("baseline", reference)

    async def baselines(self) -> tuple[Baseline, ...]:
        """Return the newest versions, public ones first, then by name, then by id; deleted ones are absent."""
        newest = (versions[max(versions)] for i, versions in self._versions.items() if i not in self._deleted)
        return tuple(sorted(newest, key=lambda b: (not b.public, b.name, b.id)))

    async def delete_baseline(self, baseline_id: str, at: datetime | None = None, by: str = "") -> None:
        """Take a baseline out of lists and take its assignments back; its versions stay readable. Raise NotFound."""
        if baseline_id not in self._versions or baseline_id in self._deleted:
            raise NotFound("baseline", baseline_id)
        self._deleted.add(baseline_id)
        for assignment in await self.assignments():
            if assignment.baseline_id == baseline_id:
                self._assignments[_assignment_key(assignment)].append(rules.taken_back(assignment, at, by))

    async def baseline_as_of(self, baseline_id: str, at: datetime) -> Baseline:
        """Return the version that was the newest at an instant; raise NotFound."""
        known = [b for b in self._versions.get(baseline_id, {}).values() if b.created_at is None or b.created_at <= at]
        if not known:
            raise NotFound("baseline", baseline_id)
        return max(known, key=lambda b: b.version)

    async def set_default(
        self, baseline_id: str, at: datetime | None = None, by: str = "", account: str = DEFAULT_ACCOUNT
    ) -> None:
        """Make it an account's default of its (scenario, operating system), instead of the one before; raise NotFound."""
        if baseline_id in self._deleted:
            raise NotFound("baseline", baseline_id)
        wanted = rules.default_of(await self.get_baseline(baseline_id), at, by, account)
        history = self._assignments.setdefault(_assignment_key(wanted), [])
        history.append(rules.not_before(history[-1] if history else None, wanted))

    async def put_assignment(self, assignment: Assignment) -> None:
        """Add to the history of assignments; raise Conflict, NotFound as the Protocol says."""
        if assignment.baseline_id:
            await self.get_baseline(assignment.baseline_id)
        if assignment.baseline_id in self._deleted:
            raise NotFound("baseline", assignment.baseline_id)
        history = self._assignments.get(_assignment_key(assignment), [])
        if history and assignment.since < history[-1].since:
            raise Conflict("assignment", assignment.value or assignment.scope)
        self._assignments[_assignment_key(assignment)] = [*history, assignment]

    async def assignments(self, at: datetime | None = None) -> tuple[Assignment, ...]:
        """Return the assignments that hold now, or held at an instant; those taken back are absent."""
        begun = ([a for a in self._assignments[k] if at is None or a.since <= at] for k in sorted(self._assignments))
        return tuple(history[-1] for history in begun if history and history[-1].baseline_id)

    async def put_exception(self, exception: PatchException) -> Exceptions:
        """Write an exception, new or changed, and raise the version of all; return all."""
        self._exceptions[exception.id] = exception
        self._exceptions_version += 1
        return await self.exceptions()

    async def exceptions(self) -> Exceptions:
        """Return all exceptions, ordered by (created_at, id), and their version."""
        found = sorted(self._exceptions.values(), key=lambda e: (e.created_at, e.id))
        return Exceptions(self._exceptions_version, tuple(found))

    async def defaults(self, account: str = DEFAULT_ACCOUNT) -> Mapping[tuple[ResourceType, str], str]:
        """Return the account's default's baseline id by (scenario, operating system)."""
        return {
            (a.scenario, a.operating_system): a.baseline_id
            for a in await self.assignments()
            if a.scope is AssignmentScope.DEFAULT and a.account == account
        }


def _assignment_key(a: Assignment) -> tuple[str, ...]:
    return a.account, a.scope.value, a.value, a.scenario.value, a.operating_system


class MemoryTickets:
    """TicketStore in memory."""

    def __init__(self, outbox: MemoryOutbox) -> None:
        """Put what tickets have to tell into `outbox`."""
        self._tickets = dict[TicketId, Ticket]()
        self._outbox = outbox

    async def create(self, ticket: Ticket) -> Ticket:
        """Write a new ticket; return it as saved. Raise Conflict as the Protocol says."""
        if ticket.id in self._tickets or await self.find_request(ticket.created_by, ticket.request_id) is not None:
            raise Conflict("ticket", ticket.id)
        self._tickets[ticket.id] = replace(ticket, version=0).saved()
        self._outbox.add_notices(ticket.unsaved_notices)
        return self._tickets[ticket.id]

    async def save(self, ticket: Ticket) -> Ticket:
        """Write what changed if nobody else has written meanwhile; return the ticket as saved. Raise Conflict, NotFound."""
        stored = await self.load(ticket.id)
        if stored.version != ticket.version:
            raise Conflict("ticket", ticket.id)
        # Only what is marked as unsaved, as a database does: a machine that forgets a mark must fail here too.
        batches = stored.batches.update({n: ticket.batches[n] for n in ticket.unsaved_batches})
        runs = stored.runs.update({i: ticket.runs[i] for i in ticket.unsaved_runs})
        self._tickets[ticket.id] = replace(ticket, batches=batches, runs=runs).saved()
        self._outbox.add_notices(ticket.unsaved_notices)
        return ticket.saved()

    async def load(self, ticket_id: TicketId) -> Ticket:
        """Return a ticket with all batches and runs; raise NotFound."""
        try:
            return self._tickets[ticket_id]
        except KeyError:
            raise NotFound("ticket", ticket_id) from None

    async def head(self, ticket_id: TicketId) -> Ticket:
        """Return a ticket with its batches (without members) but without runs; raise NotFound."""
        return _head(await self.load(ticket_id))

    async def find_request(self, created_by: str, request_id: str) -> TicketId | None:
        """Return the ticket that this request made, if any."""
        for ticket in self._tickets.values():
            if request_id and (ticket.created_by, ticket.request_id) == (created_by, request_id):
                return ticket.id
        return None

    async def heads(
        self,
        states: Collection[TicketState],
        limit: int,
        before: tuple[datetime, TicketId] | None,
        account: str = DEFAULT_ACCOUNT,
    ) -> tuple[Ticket, ...]:
        """Return an account's tickets as `head` does, ordered by (created_at, id), newest first, only those below `before`."""
        mine = (t for t in self._tickets.values() if t.account == account)
        found = (t for t in mine if not states or t.state in states)
        newest = sorted(found, key=lambda t: (t.created_at, t.id), reverse=True)
        return tuple(_head(t) for t in newest if before is None or (t.created_at, t.id) < before)[:limit]

    async def runs(
        self, ticket_id: TicketId, batch: int, states: Collection[RunState], limit: int, after: tuple[int, int] | None
    ) -> tuple[tuple[tuple[int, int], Run], ...]:
        """Return (position, run) of a ticket in dispatch order, only those above `after`; raise NotFound."""
        ticket, found = await self.load(ticket_id), list[tuple[tuple[int, int], Run]]()
        for number in sorted(ticket.batches) if batch == 0 else (n for n in ticket.batches if n == batch):
            for place, member in enumerate(ticket.batches[number].members):
                position, run = (number, place), ticket.runs[member]
                if (after is None or position > after) and (not states or run.state in states):
                    found.append((position, run))
        return tuple(found[:limit])

    async def unfinished(self) -> tuple[TicketId, ...]:
        """Return the tickets that are READY, PROCESSING or PAUSED, or have a run out, oldest first."""
        found = (t for t in self._tickets.values() if t.state in _UNFINISHED or t.counts.processing)
        return tuple(t.id for t in sorted(found, key=lambda t: (t.created_at, t.id)))


def _head(ticket: Ticket) -> Ticket:
    batches = {number: replace(batch, members=()) for number, batch in ticket.batches.items()}
    return replace(ticket, batches=Map(batches), runs=Map(), out=Map(), waiting=Map())
