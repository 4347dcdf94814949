"""The words of compliance (SEMANTICS §1): baselines, advisories, verdicts. Frozen records, no rules."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date, datetime
from enum import IntEnum, StrEnum
from operator import attrgetter
from typing import Final, NamedTuple

from common.evr import Evr
from common.nevra import Nevra
from controller.compliance.status import InstanceStatus as InstanceStatus
from controller.fleet.model import DEFAULT_ACCOUNT, ResourceType


class PatchStatus(StrEnum):
    """Status of one package on one instance."""

    INSTALLED = "INSTALLED"
    INSTALLED_OTHER = "INSTALLED_OTHER"
    MISSING = "MISSING"
    REJECT = "REJECT"
    FAILED = "FAILED"
    PENDING_REBOOT = "PENDING_REBOOT"
    EXCEPTED = "EXCEPTED"


NON_COMPLIANT_STATUSES = frozenset(
    {PatchStatus.MISSING, PatchStatus.REJECT, PatchStatus.FAILED, PatchStatus.PENDING_REBOOT}
)


class ErrorClass(StrEnum):
    """What a transaction that ended badly died of (R12)."""

    DEPSOLVE = "DEPSOLVE"
    CONFLICT = "CONFLICT"
    DOWNLOAD = "DOWNLOAD"
    GPG = "GPG"
    DISK = "DISK"
    SCRIPTLET = "SCRIPTLET"
    LOCK = "LOCK"
    TIMEOUT = "TIMEOUT"


class Reason(StrEnum):
    """Why it cannot be said whether an instance complies (R11)."""

    NO_REPORT = "NO_REPORT"
    STALE = "STALE"
    REPO_ERROR = "REPO_ERROR"
    METADATA_STALE = "METADATA_STALE"
    NO_ADVISORIES = "NO_ADVISORIES"
    RPMDB = "RPMDB"
    NO_REPOS = "NO_REPOS"
    EOL = "EOL"
    NO_BASELINE = "NO_BASELINE"
    BUSY = "BUSY"
    UNREADABLE = "UNREADABLE"
    QUARANTINED = "QUARANTINED"


class Level(IntEnum):
    """Compliance level; a higher number matters more."""

    UNSPECIFIED = 0
    INFORMATIONAL = 1
    LOW = 2
    MEDIUM = 3
    HIGH = 4
    CRITICAL = 5


class Category(StrEnum):
    """What kind of change an advisory announces. UNSPECIFIED: the vendor did not say."""

    UNSPECIFIED = "Unspecified"
    SECURITY = "Security"
    BUGFIX = "Bugfix"
    ENHANCEMENT = "Enhancement"
    RECOMMENDED = "Recommended"
    NEWPACKAGE = "Newpackage"


class Severity(StrEnum):
    """The vendor's severity of an advisory."""

    NONE = "None"
    LOW = "Low"
    MODERATE = "Moderate"
    IMPORTANT = "Important"
    CRITICAL = "Critical"


class DateBasis(StrEnum):
    """Which date a waiting time counts from (R5)."""

    ISSUED = "issued"
    UPDATED = "updated"
    FIRST_SEEN = "first_seen"
    BUILD_TIME = "build_time"
    """Only for updates that no advisory mentions; never in a rule."""


ALL_PRODUCTS = "All"


@dataclass(frozen=True, slots=True)
class Rule:
    """One installation rule: fields joined by AND, values inside a field by OR; an empty tuple means any.

    Exactly one of `approve_after_days` (0..365) and `approve_until` is set. `products` holds "All" or product names.
    """

    products: tuple[str, ...] = (ALL_PRODUCTS,)
    categories: tuple[Category, ...] = ()
    severities: tuple[Severity, ...] = ()
    approve_after_days: int | None = 0
    approve_until: date | None = None
    date_basis: DateBasis = DateBasis.ISSUED
    level: Level = Level.UNSPECIFIED
    include_without_advisory: bool = False


class RejectAction(StrEnum):
    """What a rejection does. ALLOW_AS_DEPENDENCY: not required; BLOCK: must not be installed."""

    ALLOW_AS_DEPENDENCY = "ALLOW_AS_DEPENDENCY"
    BLOCK = "BLOCK"


@dataclass(frozen=True, slots=True)
class ApprovedPatch:
    """A patch approved by hand: package name or glob, n-v, n-v-r, n-v-r.a, e:n-v-r.a, n-e:v-r.a, CVE id, or advisory id."""

    entry: str
    level: Level = Level.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class RejectedPatch:
    """A patch rejected by hand: the package forms of ApprovedPatch only."""

    entry: str
    action: RejectAction = RejectAction.ALLOW_AS_DEPENDENCY


@dataclass(frozen=True, slots=True)
class CustomPackage:
    """A row of a custom baseline: installed at least at this version. `version` may have its epoch in front, "1:1.0.2k".

    The name is one package's, in rpm's own spelling: case matters here, unlike in the lists of a rule baseline.
    """

    name: str
    version: str
    release: str
    level: Level = Level.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class Baseline:
    """A patch baseline, one version of it. With `custom` packages it has neither rules nor lists."""

    id: str
    name: str
    scenario: ResourceType
    operating_system: str
    """Family, e.g. "CentOS"."""
    rules: tuple[Rule, ...]
    version: int = 1
    description: str = ""
    public: bool = False
    created_by: str = ""
    created_at: datetime | None = None
    approved: tuple[ApprovedPatch, ...] = ()
    rejected: tuple[RejectedPatch, ...] = ()
    custom: tuple[CustomPackage, ...] = ()
    account: str = DEFAULT_ACCOUNT
    """Whose it is; public ones are everybody's."""

    def is_for(self, account: str) -> bool:
        """Say whether it can decide for instances of an account."""
        return self.public or self.account == account


class ExceptionScope(StrEnum):
    """For whom an exception holds (R10)."""

    INSTANCE = "INSTANCE"
    GROUP = "GROUP"
    ALL = "ALL"


class ExceptionMatch(StrEnum):
    """What an exception matches: a package glob, or items all of whose advisories (CVEs) are this one."""

    PACKAGE = "PACKAGE"
    ADVISORY = "ADVISORY"
    CVE = "CVE"


@dataclass(frozen=True, slots=True)
class PatchException:
    """What would be non-compliant and is excused for a while (R10). Live from created_at until the earlier of the two ends."""

    id: str
    scope: ExceptionScope
    scope_value: str
    """Instance id or application group; empty for ALL."""
    match: ExceptionMatch
    match_value: str
    reason: str
    approver: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None
    account: str = DEFAULT_ACCOUNT
    """It excuses nothing on instances of another account."""


@dataclass(frozen=True, slots=True)
class Exceptions:
    """The exceptions at one version: which rises by 1 with every change, 0 before the first."""

    version: int = 0
    all: tuple[PatchException, ...] = ()


class AssignmentScope(StrEnum):
    """For whom a baseline is assigned; DEFAULT is everybody of its scenario and operating system."""

    INSTANCE = "INSTANCE"
    GROUP = "GROUP"
    PROJECT = "PROJECT"
    DEFAULT = "DEFAULT"


@dataclass(frozen=True, slots=True)
class Assignment:
    """A baseline and for whom it decides, from `since` on until the next assignment of the same key.

    The key is (account, scope, value, scenario, operating_system). An empty baseline_id takes an assignment back.
    """

    scope: AssignmentScope
    value: str
    """Instance id, application group or enterprise project; empty for DEFAULT."""
    scenario: ResourceType
    operating_system: str
    baseline_id: str
    since: datetime
    assigned_by: str = ""
    account: str = DEFAULT_ACCOUNT
    """Only for instances of this account."""


@dataclass(frozen=True, slots=True)
class AdvisoryPackage:
    """A build that an advisory names."""

    nevra: Nevra
    module: str = ""
    """"name:stream" when the advisory is for a module (R8); empty otherwise."""
    reboot_suggested: bool = False


@dataclass(frozen=True, slots=True)
class Advisory:
    """One advisory of one repository, normalised (R6); the raw severity is kept."""

    id: str
    category: Category
    severity: Severity
    raw_severity: str
    raw_type: str
    title: str
    issued: date | None
    """None when missing or malformed (R5)."""
    updated: date | None
    cves: tuple[str, ...]
    packages: tuple[AdvisoryPackage, ...]


@dataclass(frozen=True, slots=True)
class Available:
    """A build that a repository offers."""

    nevra: Nevra
    build_time: int
    """Seconds since 1970; 0 when unknown."""
    install_only: bool = False
    """It provides installonlypkg(*)."""
    obsoletes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Undetermined:
    """One reason why it cannot be said, what exactly is the matter, and what to do."""

    reason: Reason
    detail: str
    help: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """A repair's transaction, as far as one item is concerned (R12)."""

    key: str
    """The item's: name.arch."""
    build: Nevra
    """What the transaction was to install for it."""
    at: datetime
    error_class: ErrorClass | None = None
    """None: the transaction ended well."""


@dataclass(frozen=True, slots=True)
class Item:
    """One package of one instance with its evidence (R14). Evidence fields are empty where the status needs none."""

    status: PatchStatus
    name: str
    arch: str
    installed: Evr
    level: Level = Level.UNSPECIFIED
    required: Evr | None = None
    reason: str = ""
    category: Category = Category.UNSPECIFIED
    severity: Severity = Severity.NONE
    advisories: tuple[str, ...] = ()
    cves: tuple[str, ...] = ()
    rule: int = 0
    clause: str = ""
    date_basis: DateBasis | None = None
    basis_date: date | None = None
    approved_on: date | None = None
    repository: str = ""
    metadata_at: datetime | None = None
    hold: str = ""
    first_non_compliant_at: datetime | None = None
    last_attempt_at: datetime | None = None
    last_error_class: str = ""
    available_security: Evr | None = None
    """A newer security build that is not approved yet; does not count (R4)."""
    why: str = ""

    @property
    def key(self) -> str:
        """What first_non_compliant_at is remembered by: name.arch."""
        return f"{self.name}.{self.arch}"

    def told(self, why: str) -> Item:
        """Return it with this sentence. A page has hundreds of items, and `replace` takes three times as long."""
        return Item(*(*_ALL_BUT_WHY(self), why))


_ALL_BUT_WHY: Final = attrgetter(*(field.name for field in fields(Item) if field.name != "why"))


class StatusCounts(NamedTuple):
    """How many packages have which status.

    This and what else is made anew for each of a hundred thousand instances is a named tuple: a frozen dataclass takes five times as long.
    """

    installed: int = 0
    installed_other: int = 0
    missing: int = 0
    reject: int = 0
    failed: int = 0
    pending_reboot: int = 0
    excepted: int = 0
    not_applicable: int = 0
    updates_without_advisory: int = 0


class Inputs(NamedTuple):
    """The five inputs of an answer (R1), digests in hexadecimal."""

    inventory_digest: str = ""
    metadata_digest: str = ""
    manifest_digest: str = ""
    baseline_id: str = ""
    baseline_version: int = 0
    exceptions_version: int = 0
    as_of: datetime | None = None


class Assessment(NamedTuple):
    """The answer for one instance and one baseline, without its items: what is kept and counted."""

    instance_id: str
    status: InstanceStatus
    inputs: Inputs
    reasons: tuple[Undetermined, ...] = ()
    level: Level = Level.UNSPECIFIED
    counts: StatusCounts = StatusCounts()
    baseline_name: str = ""
    baseline_source: str = ""
    """"ticket", "instance", "group", "project" or "default"."""
    collected_at: datetime | None = None
    ticket_id: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """A deciding answer as it is stored."""

    assessment: Assessment
    mark: bytes = b""
    """Stands for all that the answer depends on; empty where whoever stored it did not say."""
    earliest: datetime | None = None
    """Since when the longest-standing of its non-compliant items is; None without items."""
