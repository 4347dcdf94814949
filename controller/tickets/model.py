"""What a ticket is: frozen records and the events that change them (SEMANTICS §1). The moves are in machine.py."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NewType

from immutables import Map

from controller.fleet.model import DEFAULT_ACCOUNT, InstanceId, Selector
from controller.notify.model import Notice, NotificationPolicy
from controller.schedules.windows import MaintenanceWindow
from controller.tickets.policies import BatchPolicy, OfflinePolicy, SuspensionPolicy

TicketId = NewType("TicketId", str)
RunId = NewType("RunId", str)


class TicketState(StrEnum):
    """State of a ticket."""

    READY = "READY"
    PROCESSING = "PROCESSING"
    PAUSED = "PAUSED"
    ABNORMAL = "ABNORMAL"
    CANCELED = "CANCELED"
    FINISHED = "FINISHED"


class AbnormalCause(StrEnum):
    """Why a ticket is ABNORMAL."""

    SUSPENDED = "SUSPENDED"
    ENDED_WITH_FAILURES = "ENDED_WITH_FAILURES"
    TIMED_OUT = "TIMED_OUT"


class BatchState(StrEnum):
    """State of a batch."""

    READY = "READY"
    PROCESSING = "PROCESSING"
    ABNORMAL = "ABNORMAL"
    CANCELED = "CANCELED"
    FINISHED = "FINISHED"


class RunState(StrEnum):
    """State of a run. PROCESSING means out: sent to its agent, or promised to it."""

    READY = "READY"
    PROCESSING = "PROCESSING"
    ABNORMAL = "ABNORMAL"
    CANCELED = "CANCELED"
    FINISHED = "FINISHED"


class Outcome(StrEnum):
    """How a run ended."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    UNREACHABLE = "UNREACHABLE"
    SKIPPED = "SKIPPED"
    CANCELED = "CANCELED"


class Gate(StrEnum):
    """Whether the batches after the canary may begin."""

    OPEN = "OPEN"
    CLOSED = "CLOSED"
    """The canary is still to end."""
    WAITING = "WAITING"
    """It has ended, and an operator has to say Continue."""


@dataclass(frozen=True, slots=True)
class ExecutionAccount:
    """An account in whose instances a ticket works, and the agency by which it may."""

    account: str
    agency: str = ""
    """Which that account granted; empty for the ticket's own account."""


@dataclass(frozen=True, slots=True)
class RefusedAccount:
    """An account of which nothing is in a ticket, because no agency let it."""

    account: str
    agency: str
    sentence: str
    """Why, and what to grant."""


@dataclass(frozen=True, slots=True)
class TicketSpec:
    """What to do, with whom, and how carefully; every default filled in."""

    name: str = ""
    selector: Selector = Selector()  # noqa: RUF009 - frozen
    baseline: str = ""
    """Baseline id; empty means the one that decides for each instance."""
    timeout: timedelta = timedelta(minutes=10)
    batch_policy: BatchPolicy = BatchPolicy()  # noqa: RUF009 - frozen
    max_in_flight: int = 100
    suspension_policy: SuspensionPolicy = SuspensionPolicy()  # noqa: RUF009 - frozen
    unreachable_after: timedelta = timedelta(minutes=1)
    maintenance_windows: tuple[MaintenanceWindow, ...] = ()
    """When runs may be sent; none means always."""
    notification: NotificationPolicy = NotificationPolicy()  # noqa: RUF009 - frozen
    ticket_timeout: timedelta = timedelta(0)
    """How long the whole ticket may take; 0 is for ever."""
    offline: OfflinePolicy = OfflinePolicy()  # noqa: RUF009 - frozen
    execution_accounts: tuple[ExecutionAccount, ...] = ()
    """In whose instances it works; empty means its own account alone (single), else only those named (cross account)."""
    go_on_without_agency: bool = False
    """An account whose agency is missing is left out and told; else the ticket is refused."""


@dataclass(frozen=True, slots=True)
class Target:
    """What batching needs to know of an instance."""

    id: InstanceId
    name: str
    region: str = ""
    zone: str = ""
    application_group: str = ""


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """A batch before it exists. Region, zone and group are empty when its targets differ in them."""

    number: int
    targets: tuple[Target, ...]
    region: str = ""
    zone: str = ""
    application_group: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many runs are in which bucket. Every run is in exactly one (R17)."""

    ready: int = 0
    processing: int = 0
    succeeded: int = 0
    failed: int = 0
    timeout: int = 0
    unreachable: int = 0
    skipped: int = 0
    canceled: int = 0

    @property
    def total(self) -> int:
        """The sum of all buckets."""
        return (
            self.ready
            + self.processing
            + self.succeeded
            + self.failed
            + self.timeout
            + self.unreachable
            + self.skipped
            + self.canceled
        )

    @property
    def ended_badly(self) -> int:
        """Runs that ended and neither succeeded nor were passed over: what makes a batch ABNORMAL."""
        return self.failed + self.timeout + self.unreachable

    def moved(self, source: str, to: str, number: int = 1) -> Counts:
        """Return the counts after `number` runs went from one bucket to another (see Run.bucket)."""
        if source == to:
            return self
        return replace(self, **{source: getattr(self, source) - number, to: getattr(self, to) + number})


WAITS_FOR_AGENT: Final = "agent"
"""Run.waits_for: the agent is away. Anything else there is the id of a ticket, which has a hyphen."""
MOST_STEPS: Final = 40
"""So many steps of a run are remembered, the latest ones: about five attempts."""


@dataclass(frozen=True, slots=True)
class Step:
    """When a run reached a step: "queued", "promised", "sent", what its agent said, "stored", "ended"."""

    attempt: int
    name: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Run:
    """One instance's share of a ticket."""

    instance_id: InstanceId
    instance_name: str
    batch: int
    state: RunState = RunState.READY
    outcome: Outcome | None = None
    error: str = ""
    attempt: int = 0
    """How often it was sent, retries included; 0 before the first time."""
    sent_at: datetime | None = None
    deadline: datetime | None = None
    ended_at: datetime | None = None
    waits_for: str = ""
    """Why a READY run was passed over when it was its turn: WAITS_FOR_AGENT, or the ticket whose run is out on the instance."""
    pardons: int = 0
    """Ticket.pardons when it failed: a failure from before the last pardon is forgiven."""
    log: tuple[Step, ...] = ()
    """Its latest steps, at most MOST_STEPS; "queued" of the first attempt is when the ticket was made."""

    def with_step(self, name: str, at: datetime, attempt: int | None = None) -> Run:
        """Return the run with one more step in its log."""
        step = Step(self.attempt if attempt is None else attempt, name, at)
        return replace(self, log=(*self.log, step)[-MOST_STEPS:])

    @property
    def bucket(self) -> str:
        """The one field of Counts that this run is counted in."""
        return (self.outcome or self.state).lower()

    def id(self, ticket: TicketId) -> RunId:
        """The idempotency key of the present attempt: ticket/instance/attempt."""
        return RunId(f"{ticket}/{self.instance_id}/{self.attempt}")


def parse_run_id(run_id: str) -> tuple[TicketId, InstanceId, int]:
    """Return the ticket, instance and attempt that a run id names; raise ValueError if it is not one."""
    match run_id.split("/"):
        case [ticket, instance, attempt] if ticket and instance and attempt.isascii() and attempt.isdigit():
            return TicketId(ticket), InstanceId(instance), int(attempt)
        case _:
            raise ValueError(f"{run_id[:80]!r} is not a run id")


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch. `members` are its instances in dispatch order."""

    number: int
    members: tuple[InstanceId, ...]
    counts: Counts
    state: BatchState = BatchState.READY
    region: str = ""
    zone: str = ""
    application_group: str = ""
    cursor: int = 0
    """Every member before it has left READY or was passed over: where the search for the next one to send begins."""
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Ticket:
    """A service ticket with all its batches and runs, in persistent maps: an event copies only what it changes."""

    id: TicketId
    spec: TicketSpec
    state: TicketState
    batches: Map[int, Batch]
    """By number, from 1."""
    runs: Map[InstanceId, Run]
    out: Map[InstanceId, RunId]
    """The runs that are PROCESSING: at most max_in_flight."""
    counts: Counts
    created_by: str
    created_at: datetime
    changed_at: datetime
    current: int = 1
    """Number of the batch that runs or comes next."""
    abnormal_cause: AbnormalCause | None = None
    forgiven: int = 0
    """How many of the failures that there are now a Continue or Retry forgave; they do not count towards the suspension."""
    pardons: int = 0
    """How often failures were forgiven."""
    waiting: Map[InstanceId, str] = Map()  # noqa: RUF009 - persistent
    """The READY runs that were passed over, and what each waits for (Run.waits_for)."""
    gate: Gate = Gate.OPEN
    soak_until: datetime | None = None
    """Nothing is sent before: the batch before ended too short a while ago."""
    expires_at: datetime | None = None
    """When the ticket's own time is over; None before it started, and when it has all the time in the world."""
    timed_out_at: datetime | None = None
    ended_at: datetime | None = None
    note: str = ""
    request_id: str = ""
    version: int = 0
    """Rises by 1 with every save; the store refuses a save over a version it does not have."""
    unsaved_runs: frozenset[InstanceId] = frozenset()
    """Runs that changed since the last save: what the store has to write."""
    unsaved_batches: frozenset[int] = frozenset()
    """Batches that changed since the last save."""
    notices: int = 0
    """How many events happened that somebody may want to be told of: they number the notices."""
    account: str = DEFAULT_ACCOUNT
    """Whose it is."""
    enterprise_projects: tuple[str, ...] = ()
    """Those of its targets when it was made."""
    refused_accounts: tuple[RefusedAccount, ...] = ()
    """Accounts that were asked for and of which nothing is in it."""
    unsaved_notices: tuple[Notice, ...] = ()
    """What somebody wants to be told and no outbox has yet: a store writes them with the ticket. Empty when loaded."""

    def saved(self) -> Ticket:
        """Return the ticket as it is once a store has written it: one version on, nothing unsaved."""
        return replace(
            self,
            version=self.version + 1,
            unsaved_runs=frozenset(),
            unsaved_batches=frozenset(),
            unsaved_notices=(),
        )


@dataclass(frozen=True, slots=True)
class Started:
    """The first batch may begin."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Dispatched:
    """These runs of the current batch are out from now on: promised first, sent then."""

    at: datetime
    instances: tuple[InstanceId, ...]


@dataclass(frozen=True, slots=True)
class PassedOver:
    """It is these runs' turn, and they cannot be sent: each with what it waits for (Run.waits_for). Others go first."""

    at: datetime
    runs: tuple[tuple[InstanceId, str], ...]


@dataclass(frozen=True, slots=True)
class Progressed:
    """What agents said they were doing, noted when their runs end."""

    at: datetime
    steps: tuple[tuple[InstanceId, Step], ...]


@dataclass(frozen=True, slots=True)
class LostRun:
    """A run for which nobody need wait any more: it is out past its deadline or without an agent, or is not to be sent."""

    instance: InstanceId
    attempt: int
    outcome: Outcome
    error: str


@dataclass(frozen=True, slots=True)
class Lost:
    """These runs are given up, by their deadlines (TIMEOUT), the absence of their agents (UNREACHABLE), or before they were sent: their
    instances left the fleet or were found to be two hosts since the ticket was planned (SKIPPED)."""

    at: datetime
    runs: tuple[LostRun, ...]


@dataclass(frozen=True, slots=True)
class Reported:
    """A run ended: the agent's own result."""

    at: datetime
    instance: InstanceId
    attempt: int
    outcome: Outcome
    error: str = ""


@dataclass(frozen=True, slots=True)
class BatchEnded:
    """The current batch has no run left that is READY or out."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Suspended:
    """The suspension policy is tripped, or the canary ended with failures."""

    at: datetime
    failures: int


@dataclass(frozen=True, slots=True)
class Held:
    """The canary ended without failure, and the rest is to wait for a Continue."""

    at: datetime


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The ticket's own time is over."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Completed:
    """No batch is left."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Paused:
    """An operator holds the ticket."""

    at: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Continued:
    """An operator releases it. After a suspension the failures so far are forgiven once; a pause forgives nothing."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Ended:
    """An operator ends it by force."""

    at: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True)
class BatchRetried:
    """An operator runs an abnormal batch's unsuccessful runs again. 0: every abnormal batch."""

    at: datetime
    batch: int


@dataclass(frozen=True, slots=True)
class RunsRetried:
    """An operator runs these instances' unsuccessful runs again. None named: every failed one outside batches given up."""

    at: datetime
    instances: tuple[InstanceId, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchCanceled:
    """An operator gives an abnormal batch up. 0: every abnormal batch."""

    at: datetime
    batch: int


@dataclass(frozen=True, slots=True)
class RunCanceled:
    """An operator gives one instance's run up."""

    at: datetime
    instance: InstanceId


Event = (
    Started
    | Dispatched
    | PassedOver
    | Progressed
    | Lost
    | Reported
    | BatchEnded
    | Suspended
    | Held
    | TimedOut
    | Completed
    | Paused
    | Continued
    | Ended
    | BatchRetried
    | RunsRetried
    | BatchCanceled
    | RunCanceled
)
