"""What agent and controller say to each other, as plain records: protobuf types stop in transport.py.

Digests are hexadecimal here, 32 bytes on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum


class Outcome(StrEnum):
    """How a run ended on the host."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    CANCELED = "CANCELED"


class Operation(StrEnum):
    """What an assignment asks for."""

    SCAN = "scan"
    UNKNOWN = "unknown"
    """A newer controller asks for something this agent cannot do."""


class Encoding(StrEnum):
    """How a blob travels."""

    IDENTITY = "IDENTITY"
    ZSTD = "ZSTD"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the instance stands in the fleet."""

    name: str
    region: str = ""
    zone: str = ""
    enterprise_project: str = ""
    resource_type: str = ""
    application_group: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """What Hello says about the host."""

    boot_id: str = ""
    machine_id: str = ""
    os_id: str = ""
    os_version: str = ""
    os_pretty_name: str = ""
    arch: str = ""
    ip_address: str = ""


@dataclass(frozen=True, slots=True)
class Hello:
    """The agent introduces itself."""

    agent_version: str
    host: Host
    placement: Placement
    open_run_ids: tuple[str, ...]
    now: datetime


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The agent is alive."""


@dataclass(frozen=True, slots=True)
class RunProgress:
    """Where a run stands: "accepted", "refreshing", "collecting" or "sending"."""

    run_id: str
    step: str


@dataclass(frozen=True, slots=True)
class Offer:
    """A report, offered by the digest of its manifest."""

    manifest: str
    collected_at: datetime


@dataclass(frozen=True, slots=True)
class RunResult:
    """How one run ended."""

    id: str
    run_id: str
    outcome: Outcome
    error: str = ""
    report: Offer | None = None


@dataclass(frozen=True, slots=True)
class SelfReport:
    """A report that nobody ordered."""

    id: str
    report: Offer


@dataclass(frozen=True, slots=True)
class BlobChunk:
    """A piece of content."""

    digest: str
    offset: int
    data: bytes
    last: bool
    encoding: Encoding


@dataclass(frozen=True, slots=True)
class BlobGone:
    """Content that is not there any more."""

    digest: str


Kept = RunResult | SelfReport
"""What the outbox keeps until it is acknowledged."""
ToController = Hello | Heartbeat | RunProgress | RunResult | SelfReport | BlobChunk | BlobGone


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast to talk."""

    heartbeat_interval: timedelta = timedelta(0)
    report_interval: timedelta = timedelta(0)
    retry_after: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Welcome:
    """The controller's answer to Hello."""

    instance_id: str
    controller_version: str
    pace: Pace
    certificate_not_after: datetime | None
    now: datetime | None = None
    """The controller's time."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Work for the agent."""

    run_id: str
    ticket_id: str
    timeout: timedelta
    operation: Operation


@dataclass(frozen=True, slots=True)
class CancelRun:
    """Nobody waits for this run any more."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Want:
    """Content the controller has never seen."""

    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ack:
    """A result or report is stored."""

    id: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that only a newer agent understands."""


FromController = Welcome | Assignment | CancelRun | Want | Ack | Pace | Unknown
