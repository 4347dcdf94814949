"""Instances and how hosts are let in: frozen records, no rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

InstanceId = NewType("InstanceId", str)


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
    """Which of the three conditions of selection does not hold."""

    AGENT = "AGENT"
    OS = "OS"
    STOPPED = "STOPPED"


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


@dataclass(frozen=True, slots=True)
class Presence:
    """Where an instance's agent is now."""

    state: AgentState
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Selector:
    """Which instances are meant: fields joined by AND, values inside a field by OR; an empty field means any.

    `instances` are ids or names; `names` and `operating_systems` are globs, case-insensitive; `tags` are "key=value" or
    "key", and all of them must hold. Without `instances`, `all` must be true: an empty selector selects nothing.
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


class Role(StrEnum):
    """What an operator may do; each role may also do what those before it may."""

    VIEWER = "VIEWER"
    OPERATOR = "OPERATOR"
    ADMIN = "ADMIN"


@dataclass(frozen=True, slots=True)
class OperatorToken:
    """A token with which an operator speaks. Only the hash of its secret is known."""

    id: str
    secret_hash: bytes
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None = None
