"""Instances and how hosts are let in: frozen records, no rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NewType

from controller.compliance.status import InstanceStatus

InstanceId = NewType("InstanceId", str)

DEFAULT_ACCOUNT: Final = "default"
"""The single account of a new controller; everything older than accounts belongs to it."""


class ResourceType(StrEnum):
    """What kind of machine an instance is; also the scenario type of a baseline."""

    ECS = "ECS"
    BMS = "BMS"
    CCE = "CCE"


class AgentState(StrEnum):
    """Where an instance's agent is in its life. NONE: not installed."""

    NONE = "NONE"
    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"
    INSTALLING = "INSTALLING"
    FAILED = "FAILED"
    UNINSTALLED = "UNINSTALLED"


class NotSelectableReason(StrEnum):
    """Which of the three conditions of selection does not hold; or the instance is in quarantine."""

    AGENT = "AGENT"
    OS = "OS"
    STOPPED = "STOPPED"
    QUARANTINED = "QUARANTINED"


class Lifecycle(StrEnum):
    """Where an instance is in its life; `lifecycle.of` decides. One that was deleted is no instance any more."""

    ACTIVE = "ACTIVE"
    NOT_ENROLLED = "NOT_ENROLLED"
    """Known from the CMDB only: no agent ever enrolled for it."""
    STALE = "STALE"
    """Neither a stream nor a report for long."""
    REPLACED = "REPLACED"
    """Its host enrolled again as another instance and it has been silent since."""
    QUARANTINED = "QUARANTINED"
    """Two hosts speak as one (SEMANTICS §3)."""
    RETIRED = "RETIRED"
    """Taken out of the fleet by an operator: its agent is refused, it counts nowhere, its history stays. Can be restored."""


class View(StrEnum):
    """From which side the fleet is looked at."""

    CMDB_RESOURCES = "CMDB_RESOURCES"
    """What the CMDB lists."""
    APPLICATION_GROUPS = "APPLICATION_GROUPS"
    """What stands in an application group."""


class QuarantineCause(StrEnum):
    """What two hosts have in common that only one may have."""

    MACHINE_ID = "MACHINE_ID"
    AGENT_KEY = "AGENT_KEY"


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Two hosts were taken for one. While it lasts nothing that they say counts; it ends when an operator releases the instance."""

    cause: QuarantineCause
    since: datetime
    others: tuple[InstanceId, ...] = ()
    """The other instances with this machine id; none when one key is used by several hosts."""
    addresses: tuple[str, ...] = ()
    """From where they spoke."""
    released_at: datetime | None = None
    released_by: str = ""

    def holds(self, at: datetime) -> bool:
        """Say whether it was in force at an instant."""
        return self.since <= at and (self.released_at is None or at < self.released_at)


@dataclass(frozen=True, slots=True)
class CmdbEntry:
    """What the CMDB has to do with an instance."""

    id: str
    """The CMDB's own id of the machine; empty when it has none."""
    imported_at: datetime
    """Since when it is known from there."""
    fields: frozenset[str] = frozenset()
    """Fields that the CMDB set: the agent's own words no longer change them, an operator's do."""
    missing_since: datetime | None = None
    """Since the import that no longer listed it; None while it is listed."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an instance stands in the fleet. An empty field is not said."""

    name: str = ""
    region: str = ""
    zone: str = ""
    enterprise_project: str = ""
    resource_type: str = ""
    application_group: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class OperatingSystem:
    """What an instance runs."""

    id: str = ""
    version: str = ""
    product: str = ""
    """As baselines spell it, e.g. "CentOS 7.9"; empty when not supported."""
    pretty_name: str = ""
    arch: str = ""


@dataclass(frozen=True, slots=True)
class Instance:
    """One host of the fleet. Its id is the hash of its agent's public key."""

    id: InstanceId
    name: str
    enterprise_project: str
    region: str
    zone: str
    resource_type: ResourceType
    application_group: str
    enrolled_at: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    operating_system: OperatingSystem = OperatingSystem()
    ip_address: str = ""
    agent_version: str = ""
    machine_id: str = ""
    last_seen_at: datetime | None = None
    """When its agent last connected, spoke its last heartbeat before going away, or was lost."""
    stopped: bool = False
    deleted_at: datetime | None = None
    """Forgotten by an operator: not listed any more, its agent is refused."""
    edited: frozenset[str] = frozenset()
    """Fields of its placement that an operator or the enrolment token set: the agent's own words no longer change them."""
    cluster: str = ""
    """The CCE cluster of which it is a node."""
    enrolled: bool = True
    """Whether an agent ever enrolled for it; if not it is known from the CMDB only, and `enrolled_at` is since when."""
    agent_said: AgentState = AgentState.NONE
    """INSTALLING or FAILED as the CMDB says, UNINSTALLED as the agent said when it went; NONE once it connects."""
    retired_at: datetime | None = None
    """Taken out of the fleet by an operator: its agent is refused, it counts nowhere, its history stays."""
    retired_by: str = ""
    replaced_by: InstanceId | None = None
    """The instance as which its host enrolled again."""
    quarantine: Quarantine | None = None
    """The last one, also when it is over."""
    cmdb: CmdbEntry | None = None
    account: str = DEFAULT_ACCOUNT
    """Whose it is: the account of the enrolment token with which its host was let in. Nobody edits it."""

    @property
    def quarantined(self) -> bool:
        """Whether it is in quarantine now."""
        return self.quarantine is not None and self.quarantine.released_at is None


@dataclass(frozen=True, slots=True)
class Presence:
    """Where an instance's agent is now."""

    state: AgentState
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Selector:
    """Which instances are meant: fields joined by AND, values inside a field by OR; an empty field means any.

    `instances` are ids or names; `names` and `operating_systems` are globs, case-insensitive; `tags` are "key=value" or
    "key", and all of them must hold. `application_groups` mean everything below them too; `addresses` are IP addresses or CIDR
    networks. Without `instances`, `all` must be true: an empty selector selects nothing.
    """

    instances: tuple[str, ...] = ()
    all: bool = False
    enterprise_projects: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    resource_types: tuple[ResourceType, ...] = ()
    application_groups: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    operating_systems: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    agent_states: tuple[AgentState, ...] = ()
    statuses: tuple[InstanceStatus, ...] = ()
    report_older_than: timedelta | None = None
    """The last report is older than this, or there is none."""
    report_newer_than: timedelta | None = None
    """The last report is at most so old."""
    lifecycles: tuple[Lifecycle, ...] = ()
    view: View | None = None
    accounts: tuple[str, ...] = ()
    """Narrows to these accounts; it never widens what the caller may see."""


@dataclass(frozen=True, slots=True)
class EnrolmentToken:
    """A one-time token with which one host may enrol. Only the hash of its secret is known."""

    id: str
    secret_hash: bytes
    note: str
    placement: Placement
    created_by: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None
    used_by: InstanceId | None = None
    revoked_at: datetime | None = None
    account: str = DEFAULT_ACCOUNT
    """The account to which the host that uses it will belong."""


class Role(StrEnum):
    """What an operator may do; each role may also do what those before it may."""

    VIEWER = "VIEWER"
    OPERATOR = "OPERATOR"
    ADMIN = "ADMIN"
