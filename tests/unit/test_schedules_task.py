"""What may be done to a scheduled task: validation, editing, enabling, approval (SEMANTICS §1, Scheduled task)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import pytest

from common.errors import InvalidArgument, PermissionDenied, Rejected
from controller.schedules.local_time import Weekday
from controller.schedules.model import (
    RiskLevel,
    Schedule,
    ScheduledTask,
    ScheduleId,
    ScheduleKind,
    created_by,
    request_id,
)
from controller.schedules.task import decided, disabled, edited, enabled, waits_for_approval
from controller.schedules.validate import check_comment, check_task
from controller.tickets.model import TicketSpec
from tests.builders import NOW

DAILY = Schedule(ScheduleKind.PERIODIC, "UTC", time=time(2, 0))
TASK = ScheduledTask(ScheduleId("S-1"), "nightly-scan", DAILY, TicketSpec(), "ann", NOW, "ann", NOW)
RISKY = replace(TASK, risk_level=RiskLevel.HIGH)


@pytest.mark.parametrize("name", ["abc", "A_b-9", "x" * 100])
def test_a_name_has_3_to_100_letters_digits_underscores_and_hyphens(name: str) -> None:
    check_task(replace(TASK, name=name))


@pytest.mark.parametrize("name", ["", "ab", "x" * 101, "with space", "dot.dot", "ünder", "new\nline", "abc\n"])
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="allowed are 3 to 100 letters, digits, _ and -"):
        check_task(replace(TASK, name=name))


def test_everything_that_is_wrong_is_named_at_once() -> None:
    wrong = replace(
        TASK,
        name="",
        description="\x1b[31m",
        task_version="1 0",
        agency="\n",
        enterprise_project="x" * 300,
        schedule=Schedule(
            ScheduleKind.CRON, "Nowhere", date=date(2026, 1, 1), weekdays=(Weekday.MONDAY,), cron="0 0 25 ? * *"
        ),
    )
    with pytest.raises(InvalidArgument) as refused:
        check_task(wrong)
    assert [v.field for v in refused.value.violations] == [
        "name",
        "description",
        "enterprise_project",
        "agency",
        "task_version",
        "schedule.time_zone",
        "schedule.date",
        "schedule.weekdays",
        "schedule.cron",
    ]


def test_once_needs_a_day_and_takes_no_expiry() -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_task(replace(TASK, schedule=Schedule(ScheduleKind.ONCE, expires_at=NOW)))
    assert [v.field for v in refused.value.violations] == ["schedule.expires_at", "schedule.date"]


def test_enabling_begins_now_and_what_went_by_before_is_not_missed() -> None:
    old = replace(TASK, settled_until=NOW - timedelta(days=30))
    assert enabled(old, NOW).settled_until == NOW
    assert enabled(enabled(old, NOW), NOW + timedelta(days=1)).settled_until == NOW
    assert not disabled(enabled(old, NOW)).enabled


def test_what_would_never_run_cannot_be_enabled() -> None:
    over = replace(TASK, schedule=Schedule(ScheduleKind.ONCE, date=date(2020, 1, 1)))
    with pytest.raises(Rejected, match="would never run again: its time is over; edit its schedule"):
        enabled(over, NOW)


def test_a_task_is_edited_only_while_disabled() -> None:
    with pytest.raises(Rejected, match="can be edited only while disabled; patchctl schedule disable nightly-scan"):
        edited(enabled(TASK, NOW), TASK, "bob", NOW)


def test_an_edit_keeps_who_made_it_and_voids_the_approval() -> None:
    approved = replace(decided(RISKY, approved=True, by="bob", now=NOW, comment=""), version=7)
    later = datetime(2027, 1, 1, tzinfo=UTC)
    fresh = replace(RISKY, id=ScheduleId("other"), created_by="eve", description="new", version=99)
    after = edited(approved, fresh, "cid", later)
    assert (after.id, after.created_by, after.version, after.description) == ("S-1", "ann", 7, "new")
    assert (after.edited_by, after.edited_at, after.approval) == ("cid", later, None)
    with pytest.raises(Rejected, match="another person than ann and cid"):
        enabled(after, NOW)


def test_high_risk_needs_another_person() -> None:
    with pytest.raises(Rejected, match="another person than ann has to approve it before it can be enabled"):
        enabled(RISKY, NOW)
    with pytest.raises(PermissionDenied, match="ann made or last edited schedule nightly-scan"):
        decided(RISKY, approved=True, by="ann", now=NOW, comment="")
    with pytest.raises(PermissionDenied, match="bob made or last edited"):
        decided(replace(RISKY, edited_by="bob"), approved=True, by="bob", now=NOW, comment="")
    approved = decided(RISKY, approved=True, by="bob", now=NOW, comment="looked at it")
    assert waits_for_approval(approved) is None
    assert enabled(approved, NOW).enabled


def test_a_rejection_says_who_and_why_and_the_author_may_withdraw_too() -> None:
    rejected = decided(RISKY, approved=False, by="bob", now=NOW, comment="not on Mondays")
    with pytest.raises(Rejected, match="bob rejected it: not on Mondays"):
        enabled(rejected, NOW)
    assert decided(RISKY, approved=False, by="ann", now=NOW, comment="").approval is not None


def test_an_enabled_task_is_disabled_before_its_approval_is_taken_back() -> None:
    running = enabled(decided(RISKY, approved=True, by="bob", now=NOW, comment=""), NOW)
    with pytest.raises(Rejected, match="is enabled: disable it first"):
        decided(running, approved=False, by="bob", now=NOW, comment="")


@pytest.mark.parametrize("risk", [RiskLevel.LOW, RiskLevel.MEDIUM])
def test_lower_risks_need_no_approval(risk: RiskLevel) -> None:
    task = replace(TASK, risk_level=risk)
    assert enabled(task, NOW).enabled
    with pytest.raises(Rejected, match="only HIGH needs an approval"):
        decided(task, approved=True, by="bob", now=NOW, comment="")


def test_a_comment_is_short_and_printable() -> None:
    check_comment("fine")
    with pytest.raises(InvalidArgument, match="comment"):
        check_comment("x" * 201)
    with pytest.raises(InvalidArgument, match="cannot be printed"):
        check_comment("\x07")


def test_a_run_has_one_key_however_often_it_is_tried() -> None:
    assert request_id(TASK.id, datetime(2026, 11, 27, 2, tzinfo=UTC)) == "S-1/20261127T020000Z"
    assert created_by(TASK) == "schedule:nightly-scan"
