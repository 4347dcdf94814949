"""Schedules with real controllers: made and approved over the API, fired by the clock, and killed in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from common.errors import InvalidArgument
from common.pb.v1 import fleet_pb2, ticket_pb2, types_pb2
from common.pb.v1 import schedule_pb2 as pb
from controller.client import scan_of
from controller.fleet.model import Role
from controller.schedules.model import ScheduleId
from tests.conftest import RealHost
from tests.integration.api_harness import TIMEOUT, Harness, Stubs, refusal, serving
from tests.integration.real_fleet import RealFleet

SOME_TIME = datetime.now(UTC) + timedelta(hours=6)
"""Every day at that time no task is due while these tests are run, whenever that is."""
HONG_KONG = timedelta(hours=8)
EVERY_SECOND = pb.Schedule(kind=pb.SCHEDULE_KIND_CRON, cron="* * * * * ?")
ALL = ticket_pb2.TicketSpec(selector=fleet_pb2.Selector(all=True))


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with serving(tmp_path / "data") as harness:
        yield harness


def a_task(name: str = "nightly", **changes: object) -> pb.ScheduledTask:
    task = pb.ScheduledTask(
        name=name,
        schedule=pb.Schedule(
            kind=pb.SCHEDULE_KIND_PERIODIC, time=f"{SOME_TIME + HONG_KONG:%H:%M}", time_zone="Asia/Hong_Kong"
        ),
        spec=ALL,
    )
    for field in changes:
        task.ClearField(field)  # type: ignore[arg-type]
    task.MergeFrom(pb.ScheduledTask(**changes))  # type: ignore[arg-type]
    return task


async def history(harness: Harness, name: str, count: int = 1) -> list[pb.ScheduleRun]:
    """Wait until a task has so many lines of history; return them, the newest first."""
    viewer = await harness.operator(Role.VIEWER)
    async with asyncio.timeout(TIMEOUT):
        while True:
            found = (await viewer.schedules.ListScheduleRuns(pb.ListScheduleRunsRequest(schedule=name))).runs
            if len(found) >= count:
                return list(found)
            await asyncio.sleep(0.05)


async def line(harness: Harness, **expected: int) -> pb.ScheduleRun:
    """Wait for a line of the history of "nightly" with these values; return the first of them."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            for run in reversed(await history(harness, "nightly")):
                if all(getattr(run, name) == value for name, value in expected.items()):
                    return run
            await asyncio.sleep(0.1)


async def test_a_task_is_made_with_its_defaults_and_the_next_five_runs(harness: Harness) -> None:
    ann = await harness.operator(Role.OPERATOR)
    preview = await ann.schedules.PreviewSchedule(pb.PreviewScheduleRequest(task=a_task()))
    made = (await ann.schedules.CreateSchedule(pb.CreateScheduleRequest(task=a_task(), enable=True))).task
    assert preview.ticket.targets == 0
    assert preview.task.next_runs == made.next_runs
    assert (made.task_version, made.risk_level, made.missed_runs) == (
        "1.0.0",
        pb.RISK_LEVEL_LOW,
        pb.MISSED_RUN_POLICY_SKIP,
    )
    assert (made.enabled, made.created_by, made.edited_by, made.version) == (True, "operator", "operator", 1)
    assert made.spec.suspension_policy.success_rate_tenths == 800, "every default of the ticket is filled in"
    assert len(made.next_runs) == 5
    assert {run.ToDatetime().strftime("%H:%M:%S") for run in made.next_runs} == {f"{SOME_TIME:%H:%M}:00"}
    for called in ("nightly", made.id):
        assert (await ann.schedules.GetSchedule(pb.GetScheduleRequest(schedule=called))).task == made


async def test_what_is_wrong_is_named_by_field_all_at_once(harness: Harness) -> None:
    ann = await harness.operator(Role.OPERATOR)
    bad = pb.ScheduledTask(
        name="x",
        schedule=pb.Schedule(kind=pb.SCHEDULE_KIND_CRON, cron="0 0 25 ? * MON", time_zone="Mars"),
        spec=ticket_pb2.TicketSpec(
            max_in_flight=100_000, maintenance_windows=[ticket_pb2.MaintenanceWindow(opens="25:00", closes="1:00")]
        ),
    )
    told = await refusal(ann.schedules.CreateSchedule(pb.CreateScheduleRequest(task=bad)))
    assert told.code is grpc.StatusCode.INVALID_ARGUMENT
    assert set(told.fields) == {
        "name",
        "schedule.cron",
        "schedule.time_zone",
        "spec.selector",
        "spec.max_in_flight",
        "spec.maintenance_windows[0].opens",
        "spec.maintenance_windows[0].closes",
    }
    assert "hours, field 3 of '0 0 25 ? * MON': 25 is out of range, allowed are 0 to 23" in told.fields["schedule.cron"]
    over = a_task(schedule=pb.Schedule(kind=pb.SCHEDULE_KIND_ONCE, date="2020-01-01"))
    told = await refusal(ann.schedules.CreateSchedule(pb.CreateScheduleRequest(task=over)))
    assert "schedule" in told.fields
    lost = a_task(spec=ticket_pb2.TicketSpec(selector=ALL.selector, baseline="nowhere"))
    told = await refusal(ann.schedules.CreateSchedule(pb.CreateScheduleRequest(task=lost)))
    assert told.code is grpc.StatusCode.NOT_FOUND


async def test_names_are_unique_and_lists_come_in_pages(harness: Harness) -> None:
    ann = await harness.operator(Role.OPERATOR)
    for name in ("bbb", "aaa", "ccc"):
        await ann.schedules.CreateSchedule(pb.CreateScheduleRequest(task=a_task(name)))
    told = await refusal(ann.schedules.CreateSchedule(pb.CreateScheduleRequest(task=a_task("aaa"))))
    assert "aaa is taken by schedule S-" in told.fields["name"]
    first = await ann.schedules.ListSchedules(pb.ListSchedulesRequest(page_size=2))
    second = await ann.schedules.ListSchedules(pb.ListSchedulesRequest(page_size=2, page_token=first.next_page_token))
    assert [t.name for t in (*first.tasks, *second.tasks)] == ["aaa", "bbb", "ccc"]
    assert not second.next_page_token
    await ann.schedules.DeleteSchedule(pb.DeleteScheduleRequest(schedule="bbb"))
    told = await refusal(ann.schedules.GetSchedule(pb.GetScheduleRequest(schedule="bbb")))
    assert told.sentence == "there is no schedule 'bbb'; list them: patchctl schedule list"


async def test_a_task_is_edited_only_while_disabled_and_only_in_the_version_that_was_read(harness: Harness) -> None:
    ann = await harness.operator(Role.OPERATOR)
    made = (await ann.schedules.CreateSchedule(pb.CreateScheduleRequest(task=a_task(), enable=True))).task
    change = pb.ScheduledTask()
    change.CopyFrom(made)
    change.name, change.description = "renamed", "better"
    told = await refusal(ann.schedules.UpdateSchedule(pb.UpdateScheduleRequest(schedule="nightly", task=change)))
    assert "is enabled: it can be edited only while disabled" in told.sentence
    await ann.schedules.DisableSchedule(pb.DisableScheduleRequest(schedule="nightly"))
    told = await refusal(ann.schedules.UpdateSchedule(pb.UpdateScheduleRequest(schedule="nightly", task=change)))
    assert told.code is grpc.StatusCode.ABORTED, "it was disabled meanwhile: that is another version"
    change.version = 2
    edited = (await ann.schedules.UpdateSchedule(pb.UpdateScheduleRequest(schedule="nightly", task=change))).task
    assert (edited.id, edited.name, edited.description, edited.version) == (made.id, "renamed", "better", 3)


async def test_high_risk_runs_only_after_another_persons_approval_and_an_edit_voids_it(harness: Harness) -> None:
    ann, bob = await harness.operator(Role.OPERATOR), await harness.operator(Role.ADMIN)
    risky = a_task(risk_level=pb.RISK_LEVEL_HIGH)
    told = await refusal(ann.schedules.CreateSchedule(pb.CreateScheduleRequest(task=risky, enable=True)))
    assert "another person than operator has to approve it" in told.sentence
    made = (await ann.schedules.CreateSchedule(pb.CreateScheduleRequest(task=risky))).task
    assert made.waits_for
    told = await refusal(ann.schedules.ApproveSchedule(pb.ApproveScheduleRequest(schedule="nightly")))
    assert told.code is grpc.StatusCode.PERMISSION_DENIED
    viewer = await harness.operator(Role.VIEWER)
    told = await refusal(viewer.schedules.ApproveSchedule(pb.ApproveScheduleRequest(schedule="nightly")))
    assert told.code is grpc.StatusCode.PERMISSION_DENIED
    stale = pb.ApproveScheduleRequest(schedule="nightly", version=made.version + 1)
    assert (await refusal(bob.schedules.ApproveSchedule(stale))).code is grpc.StatusCode.ABORTED
    approve = pb.ApproveScheduleRequest(schedule="nightly", version=made.version, comment="fine")
    approved = (await bob.schedules.ApproveSchedule(approve)).task
    assert (approved.approval.by, approved.approval.comment, approved.waits_for) == ("admin", "fine", "")
    assert (await ann.schedules.EnableSchedule(pb.EnableScheduleRequest(schedule="nightly"))).task.enabled
    await ann.schedules.DisableSchedule(pb.DisableScheduleRequest(schedule="nightly"))
    risky.description = "now different"
    edited = (await ann.schedules.UpdateSchedule(pb.UpdateScheduleRequest(schedule="nightly", task=risky))).task
    assert not edited.HasField("approval")
    told = await refusal(ann.schedules.EnableSchedule(pb.EnableScheduleRequest(schedule="nightly")))
    assert "has to approve it" in told.sentence


async def test_select_all_is_evaluated_when_it_fires(harness: Harness) -> None:
    ann = await harness.operator(Role.OPERATOR)
    await ann.schedules.CreateSchedule(pb.CreateScheduleRequest(task=a_task(schedule=EVERY_SECOND), enable=True))
    first = await line(harness, skip_reason=pb.SCHEDULE_SKIP_REASON_NOTHING_SELECTABLE)
    assert first.outcome == pb.SCHEDULE_RUN_OUTCOME_SKIPPED
    assert "no instance matches" in first.sentence
    agent = await harness.connect("ecs-web-01")
    async with asyncio.timeout(TIMEOUT):
        while not agent.assigned:
            await asyncio.sleep(0.02)
    fired = await line(harness, outcome=pb.SCHEDULE_RUN_OUTCOME_FIRED)  # written after its ticket was made
    await ann.schedules.DisableSchedule(pb.DisableScheduleRequest(schedule="nightly"))
    ticket = (await ann.tickets.GetTicket(ticket_pb2.GetTicketRequest(ticket_id=fired.ticket_id))).ticket
    assert ticket.created_by == "schedule:nightly"
    assert ticket.counts.succeeded + ticket.counts.processing == 1
    async with asyncio.timeout(TIMEOUT):  # one more may have been under way when it was disabled
        while not await has_one_ticket_a_run(harness, ann):
            await asyncio.sleep(0.05)


async def test_a_task_is_run_now_by_a_person_once_a_request(harness: Harness) -> None:
    ann, viewer = await harness.operator(Role.OPERATOR), await harness.operator(Role.VIEWER)
    agent = await harness.connect("ecs-web-01")
    await ann.schedules.CreateSchedule(pb.CreateScheduleRequest(task=a_task()))
    request = pb.RunScheduleRequest(schedule="nightly", request_id="once")
    assert (await refusal(viewer.schedules.RunSchedule(request))).code is grpc.StatusCode.PERMISSION_DENIED
    first, again = [(await ann.schedules.RunSchedule(request)).run for _ in range(2)]
    assert first.ticket_id == again.ticket_id
    assert (first.outcome, first.fired_by) == (pb.SCHEDULE_RUN_OUTCOME_FIRED, "operator")
    (line_of_it,) = await history(harness, "nightly")
    assert (line_of_it.ticket_id, line_of_it.fired_by) == (first.ticket_id, "operator")
    ticket = (await ann.tickets.GetTicket(ticket_pb2.GetTicketRequest(ticket_id=first.ticket_id))).ticket
    assert (ticket.created_by, len(agent.assigned) <= 1) == ("operator", True)
    risky = a_task("risky", risk_level=pb.RISK_LEVEL_HIGH)
    await ann.schedules.CreateSchedule(pb.CreateScheduleRequest(task=risky))
    told = await refusal(ann.schedules.RunSchedule(pb.RunScheduleRequest(schedule="risky")))
    assert (told.code, "has to approve it" in told.sentence) == (grpc.StatusCode.FAILED_PRECONDITION, True)
    wrong = pb.RunScheduleRequest(schedule="nightly", request_id="x" * 65)
    assert list((await refusal(ann.schedules.RunSchedule(wrong))).fields) == ["request_id"]


async def has_one_ticket_a_run(harness: Harness, ann: Stubs) -> bool:
    tickets = (await ann.tickets.ListTickets(ticket_pb2.ListTicketsRequest())).tickets
    fired = [r.ticket_id for r in await history(harness, "nightly") if r.ticket_id]
    return sorted(t.id for t in tickets) == sorted(fired)


async def test_a_ticket_that_is_still_open_holds_back_the_next_run(harness: Harness) -> None:
    ann = await harness.operator(Role.OPERATOR)
    await harness.connect("ecs-web-01", ready=False)
    await ann.schedules.CreateSchedule(pb.CreateScheduleRequest(task=a_task(schedule=EVERY_SECOND), enable=True))
    skipped = await line(harness, skip_reason=pb.SCHEDULE_SKIP_REASON_OVERLAP)
    fired = await line(harness, outcome=pb.SCHEDULE_RUN_OUTCOME_FIRED)
    assert fired.ticket_state == ticket_pb2.TICKET_STATE_PROCESSING
    assert f"ticket {fired.ticket_id} of the run before is still PROCESSING" in skipped.sentence
    assert len((await ann.tickets.ListTickets(ticket_pb2.ListTicketsRequest())).tickets) == 1


async def test_a_ticket_waits_for_its_window_and_says_so(harness: Harness) -> None:
    ann = await harness.operator(Role.OPERATOR)
    agent = await harness.connect("ecs-web-01")
    opens = datetime.now(UTC) + timedelta(hours=3)
    window = ticket_pb2.MaintenanceWindow(opens=f"{opens:%H:%M}", closes=f"{opens + timedelta(hours=1):%H:%M}")
    spec = ticket_pb2.TicketSpec(selector=ALL.selector, maintenance_windows=[window])
    made = (await ann.tickets.CreateTicket(ticket_pb2.CreateTicketRequest(spec=spec))).ticket
    found = (await ann.tickets.GetTicket(ticket_pb2.GetTicketRequest(ticket_id=made.id))).ticket
    assert found.window_opens_at.ToDatetime(tzinfo=UTC) == opens.replace(second=0, microsecond=0)
    assert found.counts.ready == 1
    assert not agent.assigned


def create_soon(fleet: RealFleet) -> datetime:
    """Make a task that fires once, in some seconds; return when. On a busy machine that may be past when it is asked for."""
    task = pb.ScheduledTask(
        name="once", spec=scan_of(fleet_pb2.Selector(all=True)), missed_runs=pb.MISSED_RUN_POLICY_RUN_ONCE
    )
    for seconds in (3, 10, 30):
        at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
        schedule = pb.Schedule(kind=pb.SCHEDULE_KIND_ONCE, date=f"{at:%Y-%m-%d}", time=f"{at:%H:%M:%S}")
        task.schedule.CopyFrom(schedule)
        with suppress(InvalidArgument):
            fleet.client.create_schedule(task, enable=True)
            return at
    raise AssertionError("each time it was past already")


@pytest.mark.parametrize(
    "place",
    ["scheduler.before_ticket", "scheduler.ticket_made", "scheduler.before_history", "scheduler.history_stored"],
)
def test_killed_while_it_makes_its_ticket_and_its_history_a_run_makes_one_ticket(
    tmp_path: Path, centos_host: RealHost, place: str
) -> None:
    with RealFleet(tmp_path) as fleet:
        fleet.start_controller(place)
        fleet.wait_for_controller()
        fleet.add_agent("ecs-0", centos_host.root)
        fleet.wait_for_agents(1)
        at = create_soon(fleet)
        fleet.wait_for_death("controller")
        fleet.start_controller()
        fleet.wait_for_controller()
        fleet.wait("the run is in the history", lambda: bool(list(fleet.client.list_schedule_runs("once"))))
        (run,) = fleet.client.list_schedule_runs("once")
        assert run.outcome == pb.SCHEDULE_RUN_OUTCOME_FIRED, run.sentence
        (ticket,) = fleet.client.list_tickets()
        assert run.ticket_id == ticket.id
        assert run.fire_at.ToDatetime(tzinfo=UTC) == at
        fleet.wait(
            "the ticket ends", lambda: fleet.client.get_ticket(ticket.id).state == ticket_pb2.TICKET_STATE_FINISHED
        )


@pytest.mark.parametrize(
    ("policy", "outcome"),
    [
        (pb.MISSED_RUN_POLICY_SKIP, pb.SCHEDULE_RUN_OUTCOME_SKIPPED),
        (pb.MISSED_RUN_POLICY_RUN_ONCE, pb.SCHEDULE_RUN_OUTCOME_FIRED),
    ],
)
async def test_a_controller_that_was_down_over_its_runs_keeps_to_the_tasks_choice(
    harness: Harness, policy: pb.MissedRunPolicy.ValueType, outcome: pb.ScheduleRunOutcome.ValueType
) -> None:
    ann = await harness.operator(Role.OPERATOR)
    await harness.connect("ecs-web-01")
    far = (datetime.now(UTC) + timedelta(minutes=30)).minute  # no run is only a minute late, whenever this is run
    hourly = pb.Schedule(kind=pb.SCHEDULE_KIND_CRON, cron=f"0 {far} * * * ?")
    task = a_task(schedule=hourly, missed_runs=policy)
    made = (await ann.schedules.CreateSchedule(pb.CreateScheduleRequest(task=task))).task
    stored = await harness.store.schedules.get(ScheduleId(made.id))
    # as a process that died five hours ago left it
    down_since = datetime.now(UTC) - timedelta(hours=5)
    await harness.store.schedules.save(replace(stored, enabled=True, settled_until=down_since))
    await ann.schedules.CreateSchedule(pb.CreateScheduleRequest(task=a_task("other")))  # wakes the scheduler
    (run,) = await history(harness, "nightly")
    assert run.outcome == outcome
    assert run.missed == 5
    assert "5 runs from " in run.sentence


def stamp(at: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(at)
    return made


async def test_weekdays_and_expiry_survive_the_wire(harness: Harness) -> None:
    ann = await harness.operator(Role.OPERATOR)
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=8)
    schedule = pb.Schedule(
        kind=pb.SCHEDULE_KIND_PERIODIC,
        time="02:30:05",
        time_zone="Europe/Berlin",
        weekdays=[types_pb2.WEEKDAY_SUNDAY, types_pb2.WEEKDAY_MONDAY],
        expires_at=stamp(until),
    )
    task = pb.ScheduledTask(name="weekend", schedule=schedule, spec=ALL)
    made = (await ann.schedules.CreateSchedule(pb.CreateScheduleRequest(task=task))).task
    assert made.schedule == schedule
    assert 1 <= len(made.next_runs) <= 3
    assert all(run.ToDatetime(tzinfo=UTC) <= until for run in made.next_runs)
