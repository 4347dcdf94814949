"""The scheduler fires what is due, once, and says in the history what became of each run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from common.errors import NotFound, Rejected, Unavailable
from controller.dispatch.comeback import comeback
from controller.dispatch.scheduler import Made, Scheduler
from controller.fleet.sessions import Sessions
from controller.schedules.model import (
    MissedRunPolicy,
    RiskLevel,
    Schedule,
    ScheduledTask,
    ScheduleKind,
    ScheduleRun,
    request_id_now,
)
from controller.store.memory import MemoryStore
from controller.tickets.model import AbnormalCause, Counts, TicketId, TicketSpec, TicketState
from tests.builders import MINUTE, NOW, a_schedule, a_ticket, an_instance, instance_id
from tests.fakes import FakeClock

HOUR = timedelta(hours=1)
HOURLY = Schedule(ScheduleKind.CRON, "UTC", cron="0 0 * * * ?")


class World:
    """A scheduler over a store in memory; tickets are made as the controller makes them, without a fleet."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW - 10 * MINUTE)
        self.store = MemoryStore()
        self.asked: list[tuple[str, str]] = []
        self.refuse: Exception | None = None
        self.nothing = ""
        self.scheduler = self.a_scheduler()

    def a_scheduler(self) -> Scheduler:
        return Scheduler(self.store.schedules, self.store.tickets, self.make, self.clock)

    async def make(self, spec: TicketSpec, by: str, request_id: str) -> Made:
        self.asked.append((by, request_id))
        if self.refuse is not None:
            raise self.refuse
        if self.nothing:
            return Made(None, self.nothing)
        made = a_ticket(1, created_by=by, request_id=request_id, spec=spec, created_at=self.clock.now())
        ticket = await self.store.tickets.create(replace(made, id=TicketId(f"T-{len(self.asked)}")))
        return Made(ticket.id)

    async def add(self, **changes: Any) -> ScheduledTask:
        changes = {"schedule": HOURLY, "enabled": True, "settled_until": self.clock.now()} | changes
        return await self.store.schedules.create(a_schedule(1, **changes))

    async def end(self, number: int, state: TicketState = TicketState.FINISHED, **changes: Any) -> None:
        ticket = await self.store.tickets.load(TicketId(f"T-{number}"))
        await self.store.tickets.save(replace(ticket, state=state, **changes))

    async def history(self, task: ScheduledTask) -> list[tuple[str, str]]:
        runs = await self.store.schedules.runs(task.id, 100, None)
        return [(f"{r.fire_at:%H:%M}", r.ticket_id or f"{r.skip_reason or r.outcome}") for r in reversed(runs)]

    async def run(self, task: ScheduledTask, number: int = 0) -> ScheduleRun:
        return (await self.store.schedules.runs(task.id, 100, None))[number]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.scheduler.stop()


async def test_it_fires_at_the_instant_and_again_at_the_next(world: World) -> None:
    task = await world.add(allow_overlap=True)
    world.scheduler.start()
    await world.clock.advance(30 * 60 - 1)
    assert world.asked == []
    await world.clock.advance(1)
    assert world.asked == [("schedule:nightly-1", "S-1/20261122T130000Z")]
    await world.clock.advance(3600)
    assert await world.history(task) == [("13:00", "T-1"), ("14:00", "T-2")]


async def test_a_disabled_task_does_not_fire_and_one_that_is_enabled_does_without_delay(world: World) -> None:
    task = await world.add(enabled=False)
    world.scheduler.start()
    await world.clock.advance(3600)
    assert world.asked == []
    await world.store.schedules.save(replace(task, enabled=True, settled_until=world.clock.now()))
    world.scheduler.wake()
    await world.clock.advance(1800)
    assert [key for _, key in world.asked] == ["S-1/20261122T140000Z"]


@pytest.mark.parametrize(
    ("policy", "made", "lines"),
    [
        (MissedRunPolicy.SKIP, 0, [("16:00", "MISSED")]),
        (MissedRunPolicy.RUN_ONCE, 1, [("16:00", "T-1")]),
    ],
)
async def test_a_controller_that_was_down_over_several_runs_skips_them_or_runs_once(
    world: World, policy: MissedRunPolicy, made: int, lines: list[tuple[str, str]]
) -> None:
    task = await world.add(missed_runs=policy)
    world.clock.jump(4 * HOUR)  # 16:30
    world.scheduler.start()
    await world.clock.advance(1)
    assert len(world.asked) == made
    assert await world.history(task) == lines
    assert (await world.run(task)).missed == 4
    assert "4 runs from 2026-11-22 13:00:00 to 2026-11-22 16:00:00 UTC were missed" in (await world.run(task)).sentence


async def test_back_within_a_minute_nothing_was_missed(world: World) -> None:
    task = await world.add()
    world.clock.jump(30 * MINUTE + timedelta(seconds=40))
    world.scheduler.start()
    await world.clock.advance(1)
    assert await world.history(task) == [("13:00", "T-1")]
    assert (await world.run(task)).sentence == ""


async def test_a_clock_that_jumps_ahead_while_it_runs_is_noticed_within_half_a_minute(world: World) -> None:
    task = await world.add(missed_runs=MissedRunPolicy.RUN_ONCE)
    world.scheduler.start()
    await world.clock.advance(60)
    world.clock.jump(2 * HOUR)
    await world.clock.advance(30)
    assert await world.history(task) == [("14:00", "T-1")]


async def test_a_clock_that_goes_back_fires_nothing_twice(world: World) -> None:
    await world.add(allow_overlap=True)
    world.scheduler.start()
    await world.clock.advance(31 * 60)
    world.clock.jump(-10 * MINUTE)
    await world.clock.advance(20 * 60)
    assert [key for _, key in world.asked] == ["S-1/20261122T130000Z"]


@pytest.mark.parametrize(
    ("state", "changes", "said"),
    [
        (TicketState.READY, {}, "ticket T-1 of the run before is still READY"),
        (TicketState.PROCESSING, {}, "is still PROCESSING"),
        (TicketState.PAUSED, {}, "is still PAUSED"),
        (
            TicketState.ABNORMAL,
            {"abnormal_cause": AbnormalCause.SUSPENDED},
            "is suspended; continue, retry, cancel or end",
        ),
        (TicketState.CANCELED, {"counts": Counts(processing=1)}, "is CANCELED and still has 1 runs out"),
    ],
)
async def test_a_task_does_not_overlap_itself(
    world: World, state: TicketState, changes: dict[str, Any], said: str
) -> None:
    task = await world.add()
    world.scheduler.start()
    await world.clock.advance(1800)
    await world.end(1, state, **changes)
    await world.clock.advance(3600)
    assert await world.history(task) == [("13:00", "T-1"), ("14:00", "OVERLAP")]
    assert said in (await world.run(task)).sentence


@pytest.mark.parametrize(
    ("state", "changes"),
    [
        (TicketState.FINISHED, {}),
        (TicketState.CANCELED, {}),
        (TicketState.ABNORMAL, {"abnormal_cause": AbnormalCause.ENDED_WITH_FAILURES}),
    ],
)
async def test_a_ticket_that_has_ended_is_no_overlap(world: World, state: TicketState, changes: dict[str, Any]) -> None:
    task = await world.add()
    world.scheduler.start()
    await world.clock.advance(1800)
    await world.end(1, state, **changes)
    await world.clock.advance(3600)
    assert await world.history(task) == [("13:00", "T-1"), ("14:00", "T-2")]


async def test_runs_overlap_when_they_may(world: World) -> None:
    task = await world.add(allow_overlap=True)
    world.scheduler.start()
    await world.clock.advance(1800 + 3600)
    assert await world.history(task) == [("13:00", "T-1"), ("14:00", "T-2")]


async def test_nobody_to_select_is_skipped_and_a_wrong_spec_fails_each_with_its_sentence(world: World) -> None:
    task = await world.add()
    world.scheduler.start()
    world.nothing = "no instance matches; list them: patchctl instances list"
    await world.clock.advance(1800)
    assert (await world.run(task)).sentence == world.nothing
    world.nothing, world.refuse = "", NotFound("baseline", "gone")
    await world.clock.advance(3600)
    assert (await world.run(task)).sentence == "there is no baseline 'gone'"
    world.refuse = Rejected("not now")
    await world.clock.advance(3600)
    world.refuse = None
    await world.clock.advance(3600)
    assert await world.history(task) == [
        ("13:00", "NOTHING_SELECTABLE"),
        ("14:00", "FAILED"),
        ("15:00", "FAILED"),
        ("16:00", "T-4"),
    ]


async def test_what_cannot_be_stored_now_is_tried_again(world: World) -> None:
    task = await world.add()
    world.scheduler.start()
    world.refuse = Unavailable("the disk is full")
    await world.clock.advance(1801)
    assert await world.history(task) == []
    world.refuse = None
    await world.clock.advance(2)
    assert await world.history(task) == [("13:00", "T-2")]
    assert {key for _, key in world.asked} == {"S-1/20261122T130000Z"}


async def test_a_fault_in_one_task_does_not_stop_the_others(world: World, caplog: pytest.LogCaptureFixture) -> None:
    await world.store.schedules.create(
        a_schedule(0, name="broken", schedule=Schedule(ScheduleKind.ONCE, "UTC"), enabled=True, settled_until=NOW)
    )
    task = await world.add()
    world.scheduler.start()
    await world.clock.advance(1800)
    assert await world.history(task) == [("13:00", "T-1")]
    assert "schedule could not be run" in caplog.text


async def test_a_process_that_died_before_it_wrote_the_history_finds_the_ticket_and_makes_no_second(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = await world.add()
    settle = world.store.schedules.settle

    async def die(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(world.store.schedules, "settle", die)
    world.scheduler.start()
    await world.clock.advance(1800)
    assert len(world.asked) == 1
    await world.scheduler.stop()
    monkeypatch.setattr(world.store.schedules, "settle", settle)
    world.scheduler = world.a_scheduler()
    world.scheduler.start()
    await world.clock.advance(5)
    assert len(world.asked) == 1
    assert await world.history(task) == [("13:00", "T-1")]


async def test_a_task_that_is_deleted_while_it_fires_leaves_its_ticket(world: World) -> None:
    task = await world.add()
    make = world.make

    async def delete_first(spec: TicketSpec, by: str, request_id: str) -> Made:
        await world.store.schedules.delete(task.id)
        return await make(spec, by, request_id)

    world.scheduler = Scheduler(world.store.schedules, world.store.tickets, delete_first, world.clock)
    world.scheduler.start()
    await world.clock.advance(1860)
    assert (await world.store.tickets.head(TicketId("T-1"))).created_by == "schedule:nightly-1"
    assert await world.store.schedules.enabled() == ()


async def test_once_fires_once(world: World) -> None:
    at = world.clock.now() + MINUTE
    task = await world.add(schedule=Schedule(ScheduleKind.ONCE, "UTC", date=at.date(), time=at.time()))
    world.scheduler.start()
    await world.clock.advance(86_400)
    assert await world.history(task) == [("12:31", "T-1")]


async def a_restart(world: World, seen: dict[int, timedelta]) -> tuple[ScheduledTask, Sessions]:
    """Begin a controller that was away for half an hour, with a run to make up for; `seen`: when agents spoke before."""
    fleet = [an_instance(number, last_seen_at=world.clock.now() - ago) for number, ago in seen.items()]
    await world.store.fleet.rewrite(lambda _: fleet)
    task = await world.add()
    world.clock.jump(30 * MINUTE)
    sessions = Sessions(world.clock, MINUTE)
    settled = partial(comeback, world.store.fleet, sessions, world.clock)
    world.scheduler = Scheduler(world.store.schedules, world.store.tickets, world.make, world.clock, settled=settled)
    world.scheduler.start()
    return task, sessions


async def test_after_a_restart_it_waits_until_the_agents_that_were_connected_are_back(world: World) -> None:
    task, sessions = await a_restart(world, {1: timedelta(0), 2: MINUTE})
    await world.clock.advance(10)
    sessions.open(instance_id(1))
    await world.clock.advance(10)
    assert world.asked == []
    sessions.open(instance_id(2))
    await world.clock.advance(1)
    assert await world.history(task) == [("13:00", "T-1")]


async def test_it_does_not_wait_for_agents_that_were_away_before(world: World) -> None:
    task, sessions = await a_restart(world, {1: timedelta(0), 2: HOUR})
    sessions.open(instance_id(1))
    await world.clock.advance(1)
    assert await world.history(task) == [("13:00", "T-1")]


async def test_an_agent_that_does_not_come_back_holds_schedules_up_for_45_seconds(world: World) -> None:
    task, _ = await a_restart(world, {1: timedelta(0)})
    await world.clock.advance(44)
    assert world.asked == []
    await world.clock.advance(2)
    assert await world.history(task) == [("13:00", "T-1")]


async def test_a_person_runs_a_task_now_enabled_or_not_and_the_history_says_who(world: World) -> None:
    task = await world.add(enabled=False, settled_until=None)
    run = await world.scheduler.run_now(task, "ann", "k")
    assert (run.ticket_id, run.fired_by, run.fire_at) == ("T-1", "ann", world.clock.now())
    assert world.asked == [("ann", "S-1/now/k")]
    assert await world.run(task) == run
    assert (await world.store.schedules.get(task.id)).settled_until is None, "it was never enabled"


async def test_the_same_request_for_a_run_makes_one_ticket_also_after_a_crash_before_the_history(world: World) -> None:
    task = await world.add()
    lost = await world.make(task.spec, "ann", request_id_now(task.id, "k"))
    await world.end(1)
    await world.clock.advance(5)
    first, again = [await world.scheduler.run_now(task, "ann", "k") for _ in range(2)]
    assert first.ticket_id == again.ticket_id == lost.ticket_id
    assert [r.ticket_id for r in await world.store.schedules.runs(task.id, 10, None)] == [lost.ticket_id]
    assert (await world.scheduler.run_now(task, "bob", "k")).ticket_id == "T-2", "another person's key is another key"


async def test_a_run_by_hand_keeps_to_the_rules_of_overlap_and_holds_the_schedule_back(world: World) -> None:
    task = await world.add()
    await world.scheduler.run_now(task, "ann", "")
    with pytest.raises(Rejected, match="ticket T-1 of the run before is still READY"):
        await world.scheduler.run_now(task, "bob", "")
    world.scheduler.start()
    await world.clock.advance(30 * 60)
    assert [line for _, line in await world.history(task)] == ["T-1", "OVERLAP"]
    overlapping = replace(task, allow_overlap=True)
    assert (await world.scheduler.run_now(overlapping, "bob", "")).ticket_id == "T-2"


async def test_two_who_run_a_task_at_once_make_one_ticket_and_one_refusal(world: World) -> None:
    task = await world.add()
    answers = await asyncio.gather(
        *(world.scheduler.run_now(task, by, "") for by in ("ann", "bob")), return_exceptions=True
    )
    assert [type(a) for a in answers] == [ScheduleRun, Rejected]


async def test_a_run_by_hand_needs_the_approval_and_somebody_to_select(world: World) -> None:
    task = await world.add()
    with pytest.raises(Rejected, match="another person than"):
        await world.scheduler.run_now(replace(task, risk_level=RiskLevel.HIGH), "ann", "")
    world.nothing = "no instance matches"
    with pytest.raises(Rejected, match="no instance matches"):
        await world.scheduler.run_now(task, "ann", "")
    assert await world.history(task) == []
