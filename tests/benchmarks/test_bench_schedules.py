"""How long a schedule takes from its instant until the first agent hears of it: planned, stored, and on the wire."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from common.pb.v1 import fleet_pb2, ticket_pb2
from common.pb.v1 import schedule_pb2 as pb
from controller.app import Controller
from controller.settings import Settings
from tests.benchmarks.measuring import Table
from tests.integration.api_harness import Agent, Harness

TIMES = 5


@dataclass
class Listening(Agent):
    """An agent that notes when it heard of a run, and never answers."""

    heard: list[float] = field(default_factory=list)

    async def _answer(self, run_id: str) -> None:
        self.heard.append(time.time())


async def measured(folder: Path, agents: int) -> list[float]:
    """Return, for some runs, the seconds from the instant to the first assignment that an agent read from its stream."""
    settings = Settings(
        folder, listen="127.0.0.1:0", hosts=("127.0.0.1", "localhost"), heartbeat_interval=timedelta(seconds=15)
    )
    controller = Controller(settings)
    await controller.start()
    harness = Harness(controller, cast(Any, None), folder)
    streams = list[asyncio.Task[None]]()
    try:
        fleet = [Listening(**vars(await harness.enrol(f"ecs-{n:03d}"))) for n in range(agents)]
        streams += [asyncio.create_task(agent.run()) for agent in fleet]
        for agent in fleet:
            await agent.welcomed.wait()
        await asyncio.sleep(30.5)  # until the new controller begins to fire
        admin, found = await harness.admin(), list[float]()
        spec = ticket_pb2.TicketSpec(
            selector=fleet_pb2.Selector(all=True),
            batch_policy=ticket_pb2.BatchPolicy(kind=ticket_pb2.BATCH_POLICY_KIND_NO_BATCH),
            max_in_flight=1000,
        )
        for number in range(TIMES):
            for agent in fleet:
                agent.heard.clear()
            at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
            when = pb.Schedule(kind=pb.SCHEDULE_KIND_ONCE, date=f"{at:%Y-%m-%d}", time=f"{at:%H:%M:%S}")
            task = pb.ScheduledTask(name=f"bench-{number}", schedule=when, spec=spec)
            await admin.schedules.CreateSchedule(pb.CreateScheduleRequest(task=task, enable=True))
            async with asyncio.timeout(30):
                while not any(agent.heard for agent in fleet):
                    await asyncio.sleep(0.005)
            found.append(min(t for agent in fleet for t in agent.heard) - at.timestamp())
            (run,) = (await admin.schedules.ListScheduleRuns(pb.ListScheduleRunsRequest(schedule=task.name))).runs
            await admin.tickets.End(ticket_pb2.EndRequest(ticket_id=run.ticket_id))
        return found
    finally:
        for stream in streams:
            stream.cancel()
            with suppress(asyncio.CancelledError):
                await stream
        await harness.close()
        await controller.stop()


@pytest.mark.bench
@pytest.mark.parametrize("agents", [1, 100])
async def test_bench_from_a_schedules_instant_to_the_first_assignment(
    tmp_path: Path, table: Table, agents: int
) -> None:
    found = await measured(tmp_path / "data", agents)
    assert min(found) > 0
    table.absolute(f"a schedule's instant to the first assignment on the wire, {agents:,} agents", min(found), "s")
    table.remark(
        f"schedules: SQLite, gRPC over TLS, controller and agents in one process; the least of {TIMES} runs, the most "
        f"was {max(found) * 1000:.0f} ms with {agents:,} agents"
    )
