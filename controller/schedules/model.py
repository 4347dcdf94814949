"""Scheduled tasks: frozen records, and what happened to each of their runs (SEMANTICS §1). The rules are beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date as calendar_date
from datetime import datetime
from datetime import time as time_of_day
from enum import StrEnum
from typing import NewType

from controller.fleet.model import DEFAULT_ACCOUNT
from controller.schedules.local_time import DEFAULT_ZONE, Weekday
from controller.tickets.model import TicketId, TicketSpec

ScheduleId = NewType("ScheduleId", str)

DEFAULT_TASK_VERSION = "1.0.0"


class ScheduleKind(StrEnum):
    """How a schedule says when."""

    ONCE = "ONCE"
    PERIODIC = "PERIODIC"
    CRON = "CRON"


class MissedRunPolicy(StrEnum):
    """What to do about runs whose time went by while the controller was down."""

    SKIP = "SKIP"
    RUN_ONCE = "RUN_ONCE"


class RiskLevel(StrEnum):
    """How much a task can harm. HIGH needs another person's approval."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"


class RunOutcome(StrEnum):
    """What became of a run of a scheduled task."""

    FIRED = "FIRED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"


class SkipReason(StrEnum):
    """Why a run was skipped."""

    MISSED = "MISSED"
    OVERLAP = "OVERLAP"
    NOTHING_SELECTABLE = "NOTHING_SELECTABLE"


@dataclass(frozen=True, slots=True)
class Schedule:
    """When: local times in a zone. What does not belong to the kind is empty."""

    kind: ScheduleKind
    time_zone: str = DEFAULT_ZONE
    date: calendar_date | None = None
    """ONCE: the day."""
    time: time_of_day = time_of_day(0, 0)
    """ONCE and PERIODIC: the time of day, to the second."""
    weekdays: tuple[Weekday, ...] = ()
    """PERIODIC: on which days; none means every day."""
    cron: str = ""
    """CRON: the expression as the operator wrote it."""
    expires_at: datetime | None = None
    """PERIODIC and CRON: nothing fires after this instant."""


@dataclass(frozen=True, slots=True)
class Approval:
    """What another person said about a task as it stands; an edit voids it."""

    approved: bool
    by: str
    at: datetime
    comment: str = ""


@dataclass(frozen=True, slots=True)
class ScheduledTask:
    """A ticket that is made again and again, by itself."""

    id: ScheduleId
    name: str
    """Unique in its account."""
    schedule: Schedule
    spec: TicketSpec
    """The ticket; its selector is evaluated when the task fires."""
    created_by: str
    created_at: datetime
    edited_by: str
    """Who last decided what it does: its creator until it was edited."""
    edited_at: datetime
    account: str = DEFAULT_ACCOUNT
    description: str = ""
    enterprise_project: str = ""
    enterprise_projects: tuple[str, ...] = ()
    """Those to which whoever edited it last is bound: it selects nothing outside; empty means all of the account."""
    task_version: str = DEFAULT_TASK_VERSION
    """The operator's own version of the task."""
    agency: str = ""
    risk_level: RiskLevel = RiskLevel.LOW
    missed_runs: MissedRunPolicy = MissedRunPolicy.SKIP
    allow_overlap: bool = False
    """Fire although a ticket of this task is still open."""
    enabled: bool = False
    approval: Approval | None = None
    settled_until: datetime | None = None
    """Runs up to and with this instant were dealt with; None while it never was enabled."""
    version: int = 0
    """Rises by 1 with every change of an operator; a change over a version that is not the stored one is refused."""


@dataclass(frozen=True, slots=True)
class ScheduleRun:
    """One line of a task's history."""

    schedule_id: ScheduleId
    fire_at: datetime
    """The instant for which it was; for runs that were missed the last of them. One line for each."""
    outcome: RunOutcome
    recorded_at: datetime
    ticket_id: TicketId | None = None
    """FIRED: the ticket."""
    skip_reason: SkipReason | None = None
    sentence: str = ""
    """Why it was skipped or failed; what a run made up for."""
    missed: int = 0
    """How many runs were missed before it, or are what this line is about."""
    fired_by: str = ""
    """The person who had it run; empty when its schedule did."""


def request_id(schedule_id: ScheduleId, fire_at: datetime) -> str:
    """Return the key by which a run makes one ticket, however often it is tried."""
    return f"{schedule_id}/{fire_at:%Y%m%dT%H%M%SZ}"


def request_id_now(schedule_id: ScheduleId, wanted: str) -> str:
    """Return the key by which a person's request for a run makes one ticket; empty when he gave none."""
    return f"{schedule_id}/now/{wanted}" if wanted else ""


def created_by(task: ScheduledTask) -> str:
    """Return whom a ticket names that a task made."""
    return f"schedule:{task.name}"
