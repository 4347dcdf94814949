"""What may be done to a scheduled task, and what it is afterwards. Pure; each refusal says what to do instead."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from common.errors import PermissionDenied, Rejected
from controller.schedules.model import Approval, RiskLevel, ScheduledTask
from controller.schedules.next_fire import next_fire


def enabled(task: ScheduledTask, now: datetime) -> ScheduledTask:
    """Return the task as it is once it is enabled: it fires from now on. Raise Rejected when it may not, or never would."""
    if task.enabled:
        return task
    if (missing := waits_for_approval(task)) is not None:
        raise Rejected(missing)
    if next_fire(task.schedule, now) is None:
        raise Rejected(f"schedule {task.name} would never run again: its time is over; edit its schedule")
    return replace(task, enabled=True, settled_until=now)


def disabled(task: ScheduledTask) -> ScheduledTask:
    """Return the task as it is once it is disabled: it fires no more until somebody enables it."""
    return replace(task, enabled=False)


def edited(before: ScheduledTask, after: ScheduledTask, by: str, now: datetime) -> ScheduledTask:
    """Return the task with what an edit says; who made it, its version and its history stay, an approval does not."""
    if before.enabled:
        raise Rejected(
            f"schedule {before.name} is enabled: it can be edited only while disabled; patchctl schedule disable {before.name}"
        )
    return replace(
        after,
        id=before.id,
        account=before.account,
        created_by=before.created_by,
        created_at=before.created_at,
        edited_by=by,
        edited_at=now,
        enabled=False,
        approval=None,
        settled_until=before.settled_until,
        version=before.version,
    )


def decided(task: ScheduledTask, *, approved: bool, by: str, now: datetime, comment: str) -> ScheduledTask:
    """Return the task with an approval or its refusal. Who made or last edited it may not approve it."""
    if task.risk_level is not RiskLevel.HIGH:
        raise Rejected(f"schedule {task.name} has the risk level {task.risk_level}: only HIGH needs an approval")
    if approved and by in (task.created_by, task.edited_by):
        raise PermissionDenied(
            f"{by} made or last edited schedule {task.name}: somebody else has to approve it; ask another operator"
        )
    if task.enabled and not approved:
        raise Rejected(f"schedule {task.name} is enabled: disable it first; patchctl schedule disable {task.name}")
    return replace(task, approval=Approval(approved, by, now, comment))


def waits_for_approval(task: ScheduledTask) -> str | None:
    """Say that a task may not be enabled yet and what is missing; None when nothing is."""
    if task.risk_level is not RiskLevel.HIGH or (task.approval is not None and task.approval.approved):
        return None
    people = " and ".join(dict.fromkeys((task.created_by, task.edited_by)))
    refused = f"; {task.approval.by} rejected it: {task.approval.comment or 'no reason given'}" if task.approval else ""
    return (
        f"schedule {task.name} has the risk level HIGH: another person than {people} has to approve it before it can be "
        f"enabled; patchctl schedule approve {task.name}{refused}"
    )
