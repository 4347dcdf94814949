"""patchctl schedule against a scripted controller."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from common.pb.v1 import schedule_pb2 as pb
from common.pb.v1 import ticket_pb2, types_pb2
from tests.scripted_controller import ScriptedController, paged
from tests.scripted_patchctl import at, logged_in, patchctl, started  # noqa: F401 - fixtures

RUN = datetime(2026, 11, 27, 1, 30, tzinfo=UTC)


def a_task(**changes: Any) -> pb.ScheduledTask:
    task = pb.ScheduledTask(
        name="nightly",
        id="S-7Q4M",
        risk_level=pb.RISK_LEVEL_LOW,
        task_version="1.0.0",
        schedule=pb.Schedule(
            kind=pb.SCHEDULE_KIND_PERIODIC,
            time_zone="Europe/Berlin",
            time="02:30",
            weekdays=[types_pb2.WEEKDAY_MONDAY, types_pb2.WEEKDAY_FRIDAY],
        ),
        spec=ticket_pb2.TicketSpec(name="n"),
        missed_runs=pb.MISSED_RUN_POLICY_SKIP,
        enabled=True,
        next_runs=[at(RUN)],
        created_by="ann",
        created_at=at(RUN),
        edited_by="bob",
        edited_at=at(RUN),
        version=3,
    )
    task.MergeFrom(pb.ScheduledTask(**changes))
    return task


def test_create_sends_every_option_and_shows_the_next_runs(server: ScriptedController) -> None:
    server.answers["CreateSchedule"] = lambda _: pb.CreateScheduleResponse(task=a_task())
    result = patchctl(
        *("schedule", "create", "nightly", "--every", "Mon-Wed,fri 02:30", "--time-zone", "Europe/Berlin", "--all"),
        *("--expires", "2027-06-30", "--missed", "run-once", "--allow-overlap", "--risk", "medium", "--agency", "a"),
        *("--description", "d", "--enterprise-project", "p", "--task-version", "2.0", "--success-rate", "99.5"),
        *("--window", "Sat,Sun 22:00-24:00 Europe/Berlin", "--region", "r"),
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "S-7Q4M\n"
    assert "Schedule nightly runs Mon,Fri at 02:30 Europe/Berlin" in result.stderr
    assert "  Fri 2026-11-27 02:30:00 CET   in " in result.stderr
    (request,) = server.requests("CreateSchedule")
    task = request.task
    assert request.enable
    assert (task.name, task.description, task.enterprise_project, task.agency) == ("nightly", "d", "p", "a")
    assert (task.risk_level, task.missed_runs) == (pb.RISK_LEVEL_MEDIUM, pb.MISSED_RUN_POLICY_RUN_ONCE)
    assert (task.allow_overlap, task.task_version) == (True, "2.0")
    assert task.schedule.time == "02:30"
    assert [types_pb2.Weekday.Name(d)[8:11] for d in task.schedule.weekdays] == ["MON", "TUE", "WED", "FRI"]
    assert task.schedule.expires_at.ToDatetime() == datetime(2027, 6, 30, 23, 59, 59)
    assert task.spec.suspension_policy.success_rate_tenths == 995
    assert list(task.spec.selector.regions) == ["r"]
    (window,) = task.spec.maintenance_windows
    assert (window.opens, window.closes, window.time_zone) == ("22:00", "00:00", "Europe/Berlin")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--once", "2026-12-01 02:30"], pb.Schedule(kind=pb.SCHEDULE_KIND_ONCE, date="2026-12-01", time="02:30")),
        (
            ["--once", "2026-12-01T02:30:05"],
            pb.Schedule(kind=pb.SCHEDULE_KIND_ONCE, date="2026-12-01", time="02:30:05"),
        ),
        (["--every", "daily 02:30"], pb.Schedule(kind=pb.SCHEDULE_KIND_PERIODIC, time="02:30")),
        (["--every", "02:30"], pb.Schedule(kind=pb.SCHEDULE_KIND_PERIODIC, time="02:30")),
        (["--cron", "0 30 2 ? * MON"], pb.Schedule(kind=pb.SCHEDULE_KIND_CRON, cron="0 30 2 ? * MON")),
    ],
)
def test_each_way_to_say_when(server: ScriptedController, options: list[str], expected: pb.Schedule) -> None:
    server.answers["CreateSchedule"] = lambda _: pb.CreateScheduleResponse(task=a_task())
    assert patchctl("schedule", "create", "nightly", "--all", *options).exit_code == 0
    expected.time_zone = "UTC"
    assert server.requests("CreateSchedule")[0].task.schedule == expected


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "say when: one of --once, --every and --cron"),
        (["--once", "2026-12-01", "--cron", "x"], "say when: one of"),
        (["--every", "someday 02:30"], "--every: 'someday' is not a weekday"),
        (["--every", "02:30", "--expires", "soon"], "--expires: 'soon' is not a date"),
        (["--every", "02:30", "--window", "nights"], "--window: 'nights' has no times, write it like"),
        (["--every", "02:30", "--window", "1:00-2:00 A B"], "has more than a zone after its times"),
    ],
)
def test_what_cannot_be_sent_is_misuse(server: ScriptedController, options: list[str], says: str) -> None:
    result = patchctl("schedule", "create", "nightly", "--all", *options)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not server.calls


def test_high_risk_is_made_disabled_and_says_who_has_to_approve(server: ScriptedController) -> None:
    waits = "schedule nightly has the risk level HIGH: another person than ann has to approve it"
    server.answers["CreateSchedule"] = lambda _: pb.CreateScheduleResponse(task=a_task(waits_for=waits))
    result = patchctl("schedule", "create", "nightly", "--all", "--every", "02:30", "--risk", "HIGH")
    assert not server.requests("CreateSchedule")[0].enable
    assert waits in result.stderr


def test_preview_shows_the_next_runs_and_the_scan(server: ScriptedController) -> None:
    server.answers["PreviewSchedule"] = lambda _: pb.PreviewScheduleResponse(
        task=a_task(), ticket=ticket_pb2.PreviewResponse(targets=0, executed_by="root")
    )
    result = patchctl("schedule", "preview", "nightly", "--all", "--every", "02:30")
    assert result.exit_code == 0, result.stderr
    assert "Fri 2026-11-27 02:30:00 CET" in result.stdout
    assert "Scan of 0 instances" in result.stdout


def test_list_and_show(server: ScriptedController) -> None:
    server.answers["ListSchedules"] = paged(
        [a_task()], lambda page, token: pb.ListSchedulesResponse(tasks=page, next_page_token=token)
    )
    server.answers["GetSchedule"] = lambda _: pb.GetScheduleResponse(
        task=a_task(approval=pb.ScheduleApproval(approved=True, by="cid", at=at(RUN), comment="fine"), description="d")
    )
    listed = patchctl("schedule", "list")
    assert "nightly" in listed.stdout
    assert "enabled" in listed.stdout
    shown = patchctl("schedule", "show", "nightly").stdout
    assert "made 2026-11-27 01:30 UTC by ann, last edited 2026-11-27 01:30 UTC by bob" in shown
    assert "approved 2026-11-27 01:30 UTC by cid: fine" in shown


def test_what_show_writes_edit_reads(server: ScriptedController, tmp_path: Path) -> None:
    server.answers["GetSchedule"] = lambda _: pb.GetScheduleResponse(task=a_task())
    server.answers["UpdateSchedule"] = lambda request: pb.UpdateScheduleResponse(task=request.task)
    (tmp_path / "task.yaml").write_text(patchctl("schedule", "show", "nightly", "-o", "yaml").stdout)
    result = patchctl("schedule", "edit", "nightly", "-f", str(tmp_path / "task.yaml"))
    assert result.exit_code == 0, result.stderr
    (request,) = server.requests("UpdateSchedule")
    assert (request.schedule, request.task) == ("nightly", a_task())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a", "--file: the file must be a table with the keys name,"),
        ("nam: x", "--file: nam is unknown, allowed are name,"),
        ("schedule: {kind: DAILY}", "--file: schedule.kind: 'DAILY' is not one of ONCE, PERIODIC, CRON"),
        ("schedule: {weekdays: MONDAY}", "--file: schedule.weekdays must be a list"),
        ("schedule: {expires_at: soon}", "--file: schedule.expires_at: 'soon' is not an instant"),
        ("spec: {timeout: long}", "--file: spec.timeout: 'long' is not a number of seconds"),
        ("name: [a]", "--file: name must be a single value"),
        ("name: 5", "--file: name: 5 cannot stand here"),
    ],
)
def test_a_file_that_cannot_be_read_names_the_key(
    server: ScriptedController, tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "task.yaml").write_text(text)
    result = patchctl("schedule", "edit", "nightly", "-f", str(tmp_path / "task.yaml"))
    assert result.exit_code == 2
    assert says in result.stderr


def test_changes_are_one_call_each(server: ScriptedController) -> None:
    server.answers["EnableSchedule"] = lambda _: pb.EnableScheduleResponse(task=a_task())
    server.answers["DisableSchedule"] = lambda _: pb.DisableScheduleResponse(task=a_task())
    server.answers["RejectSchedule"] = lambda _: pb.RejectScheduleResponse(task=a_task())
    server.answers["DeleteSchedule"] = lambda _: pb.DeleteScheduleResponse()
    assert patchctl("schedule", "enable", "nightly").exit_code == 0
    assert patchctl("schedule", "disable", "nightly").exit_code == 0
    assert patchctl("schedule", "reject", "nightly", "--comment", "no").exit_code == 0
    assert server.requests("RejectSchedule")[0].comment == "no"
    assert patchctl("schedule", "delete", "nightly").exit_code == 2, "nobody can be asked"
    assert patchctl("schedule", "delete", "nightly", "--yes").exit_code == 0
    assert server.requests("DeleteSchedule") == [pb.DeleteScheduleRequest(schedule="nightly")]


def test_run_makes_a_ticket_now_and_a_second_try_with_the_same_text_none(server: ScriptedController) -> None:
    run = pb.ScheduleRun(schedule_id="S-1", outcome=pb.SCHEDULE_RUN_OUTCOME_FIRED, ticket_id="T-7", fired_by="ann")
    server.answers["RunSchedule"] = lambda _: pb.RunScheduleResponse(run=run)
    result = patchctl("schedule", "run", "nightly", "--request-id", "k")
    assert (result.exit_code, result.stdout) == (0, "T-7\n")
    assert "patchctl ticket watch T-7" in result.stderr
    assert json.loads(patchctl("schedule", "run", "nightly", "-o", "json").stdout)["fired_by"] == "ann"
    first, second = server.requests("RunSchedule")
    assert (first.schedule, first.request_id) == ("nightly", "k")
    assert len(second.request_id) == 16, "each call is a request of its own"


def test_who_approves_approves_the_version_that_was_shown(server: ScriptedController) -> None:
    server.answers["GetSchedule"] = lambda _: pb.GetScheduleResponse(task=a_task())
    server.answers["ApproveSchedule"] = lambda _: pb.ApproveScheduleResponse(task=a_task())
    assert patchctl("schedule", "approve", "nightly", "--comment", "fine").exit_code == 0
    (request,) = server.requests("ApproveSchedule")
    assert (request.schedule, request.comment, request.version) == ("nightly", "fine", 3)


def test_history_says_of_each_run_its_ticket_or_why_there_is_none(server: ScriptedController) -> None:
    runs = [
        pb.ScheduleRun(
            fire_at=at(RUN),
            outcome=pb.SCHEDULE_RUN_OUTCOME_FIRED,
            ticket_id="T-1",
            ticket_state=ticket_pb2.TICKET_STATE_FINISHED,
        ),
        pb.ScheduleRun(
            fire_at=at(RUN),
            outcome=pb.SCHEDULE_RUN_OUTCOME_SKIPPED,
            skip_reason=pb.SCHEDULE_SKIP_REASON_MISSED,
            sentence="2 runs were missed",
            missed=2,
        ),
        pb.ScheduleRun(
            fire_at=at(RUN),
            outcome=pb.SCHEDULE_RUN_OUTCOME_FIRED,
            ticket_id="T-0",
            fired_by="ann",
        ),
    ]
    server.answers["ListScheduleRuns"] = paged(
        runs, lambda page, token: pb.ListScheduleRunsResponse(runs=page, next_page_token=token)
    )
    result = patchctl("schedule", "history", "nightly")
    assert "2026-11-27 01:30 UTC  FIRED           T-1     FINISHED" in result.stdout
    assert "SKIPPED MISSED                    2 runs were missed" in result.stdout
    rows = json.loads(patchctl("schedule", "history", "nightly", "-o", "json").stdout)
    assert [(row["outcome"], row["ticket_id"], row["missed"]) for row in rows] == [
        ("FIRED", "T-1", 0),
        ("SKIPPED", "", 2),
        ("FIRED", "T-0", 0),
    ]
    assert "run by ann" in result.stdout
