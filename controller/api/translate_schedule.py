"""Schedules and scheduled tasks: messages to records and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time

from common.pb.v1 import schedule_pb2 as pb
from controller.api import translate_ticket
from controller.api.auth import Operator
from controller.api.checks import Checks
from controller.api.translate import (
    MISSED_RUN_POLICY,
    RISK_LEVEL,
    SCHEDULE_KIND,
    SCHEDULE_RUN_OUTCOME,
    SCHEDULE_SKIP_REASON,
    TICKET_STATE,
    WEEKDAY,
    timestamp,
)
from controller.api.translate_windows import time_of_day, time_text
from controller.schedules.local_time import DEFAULT_ZONE
from controller.schedules.model import (
    DEFAULT_TASK_VERSION,
    Approval,
    MissedRunPolicy,
    RiskLevel,
    Schedule,
    ScheduledTask,
    ScheduleId,
    ScheduleKind,
    ScheduleRun,
)
from controller.schedules.task import waits_for_approval
from controller.schedules.validate import check_task
from controller.tickets.model import TicketSpec, TicketState


def task(sent: pb.ScheduledTask, caller: Operator, now: datetime) -> ScheduledTask:
    """Read what an operator says of a task, every default filled in; what is the controller's is that of a new task of his.

    The task's agency is the one for accounts that are named without one.

    Raises InvalidArgument with everything that is wrong, each field named by its path below the task.
    """
    checks, spec = Checks(), TicketSpec()
    with checks.part("spec"):
        spec = _with_agency(translate_ticket.spec(sent.spec), sent.agency, caller.account)
    read = ScheduledTask(
        id=ScheduleId(""),
        name=sent.name,
        schedule=_schedule(sent.schedule, checks),
        spec=spec,
        created_by=caller.name,
        created_at=now,
        edited_by=caller.name,
        edited_at=now,
        account=caller.account,
        enterprise_projects=caller.enterprise_projects,
        description=sent.description,
        enterprise_project=sent.enterprise_project,
        task_version=sent.task_version or DEFAULT_TASK_VERSION,
        agency=sent.agency,
        risk_level=RISK_LEVEL.read(checks, "risk_level", sent.risk_level, RiskLevel.LOW),
        missed_runs=MISSED_RUN_POLICY.read(checks, "missed_runs", sent.missed_runs, MissedRunPolicy.SKIP),
        allow_overlap=sent.allow_overlap,
    )
    with checks.part(""):
        check_task(read)
    checks.done()
    return read


def _with_agency(spec: TicketSpec, agency: str, own: str) -> TicketSpec:
    named = spec.execution_accounts
    if not agency or not named:
        return spec
    filled = (e if e.agency or e.account == own else replace(e, agency=agency) for e in named)
    return replace(spec, execution_accounts=tuple(filled))


def _schedule(sent: pb.Schedule, checks: Checks) -> Schedule:
    kind = SCHEDULE_KIND.read_optional(checks, "schedule.kind", sent.kind)
    if kind is None:
        checks.refuse("schedule.kind", "is missing, allowed are ONCE, PERIODIC and CRON")
    expires_at: datetime | None = None
    if sent.HasField("expires_at"):
        try:
            expires_at = sent.expires_at.ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError):
            checks.refuse("schedule.expires_at", "is out of range, allowed are the years 1 to 9999")
    return Schedule(
        kind=kind or ScheduleKind.PERIODIC,
        time_zone=sent.time_zone or DEFAULT_ZONE,
        date=_date(checks, sent.date) if sent.date else None,
        time=time_of_day(checks, "schedule.time", sent.time) if sent.time or kind is ScheduleKind.PERIODIC else time(),
        weekdays=WEEKDAY.read_all(checks, "schedule.weekdays", sent.weekdays),
        cron=sent.cron,
        expires_at=expires_at,
    )


def _date(checks: Checks, text: str) -> date | None:
    try:
        if len(text) != len("YYYY-MM-DD"):
            raise ValueError
        found = date.fromisoformat(text)
        if not 1970 <= found.year <= 9000:
            raise ValueError
    except ValueError:
        checks.refuse("schedule.date", f"{text[:40]!r} is not a day, write it like 2026-12-01")
        return date(1970, 1, 1)  # said already: that it is missing need not be said too
    return found


def task_message(read: ScheduledTask, next_runs: Sequence[datetime]) -> pb.ScheduledTask:
    """Return a task as a message; reading it again gives what the operator said of it."""
    return pb.ScheduledTask(
        name=read.name,
        description=read.description,
        enterprise_project=read.enterprise_project,
        task_version=read.task_version,
        agency=read.agency,
        risk_level=RISK_LEVEL.to_wire(read.risk_level),
        schedule=_schedule_message(read.schedule),
        spec=translate_ticket.spec_message(read.spec),
        missed_runs=MISSED_RUN_POLICY.to_wire(read.missed_runs),
        allow_overlap=read.allow_overlap,
        id=read.id,
        enabled=read.enabled,
        approval=None if read.approval is None else _approval_message(read.approval),
        waits_for=waits_for_approval(read) or "",
        next_runs=[at for run in next_runs if (at := timestamp(run)) is not None],
        created_by=read.created_by,
        created_at=timestamp(read.created_at),
        edited_by=read.edited_by,
        edited_at=timestamp(read.edited_at),
        version=read.version,
        account=read.account,
    )


def _schedule_message(read: Schedule) -> pb.Schedule:
    return pb.Schedule(
        kind=SCHEDULE_KIND.to_wire(read.kind),
        time_zone=read.time_zone,
        date=read.date.isoformat() if read.date is not None else "",
        time=time_text(read.time) if read.kind is not ScheduleKind.CRON else "",
        weekdays=[WEEKDAY.to_wire(day) for day in read.weekdays],
        cron=read.cron,
        expires_at=timestamp(read.expires_at),
    )


def _approval_message(read: Approval) -> pb.ScheduleApproval:
    return pb.ScheduleApproval(approved=read.approved, by=read.by, at=timestamp(read.at), comment=read.comment)


def run_message(run: ScheduleRun, ticket_state: TicketState | None) -> pb.ScheduleRun:
    """Return a line of history as a message, with what its ticket is now."""
    return pb.ScheduleRun(
        schedule_id=run.schedule_id,
        fire_at=timestamp(run.fire_at),
        outcome=SCHEDULE_RUN_OUTCOME.to_wire(run.outcome),
        recorded_at=timestamp(run.recorded_at),
        ticket_id=run.ticket_id or "",
        ticket_state=TICKET_STATE.to_wire(ticket_state),
        skip_reason=SCHEDULE_SKIP_REASON.to_wire(run.skip_reason),
        sentence=run.sentence,
        missed=run.missed,
        fired_by=run.fired_by,
    )
