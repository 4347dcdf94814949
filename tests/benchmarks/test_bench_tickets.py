"""What the engine costs for each run of a ticket, small and large, and how many batches it makes against the least possible.

The machine, the plan, the engine and the sessions are the real ones; agents answer at once, so what is measured is the controller's
share alone. Processor time.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from math import ceil
from pathlib import Path

import pytest

from controller.dispatch.engine import Engine
from controller.fleet.model import InstanceId
from controller.fleet.orders import Assign, Order
from controller.fleet.sessions import Sessions
from controller.hub.local import LocalHub
from controller.store.api import TicketStore
from controller.store.memory import MemoryStore
from controller.store.sqlite import SqliteStore
from controller.tickets import machine
from controller.tickets.batches import batches
from controller.tickets.model import Outcome, Target, TicketId, TicketSpec, TicketState
from controller.tickets.policies import BatchPolicy, BatchPolicyKind
from tests.benchmarks.measuring import Table
from tests.builders import NOW
from tests.fakes import FakeClock

ONE = TicketSpec(batch_policy=BatchPolicy(BatchPolicyKind.NO_BATCH), max_in_flight=1000)
"""All in one batch, a thousand out at once: what a large ticket may not be slow at."""


class Heard(asyncio.Queue[Order]):
    """One queue for all agents: a benchmark that looks through ten thousand would measure its own looking."""

    def __init__(self, instance: InstanceId, together: asyncio.Queue[tuple[InstanceId, Assign]]) -> None:
        super().__init__()
        self._instance = instance
        self._together = together

    def put_nowait(self, item: Order) -> None:
        if isinstance(item, Assign):
            self._together.put_nowait((self._instance, item))


async def driven(store: TicketStore, count: int, spec: TicketSpec) -> float:
    """Seconds of processor time for one ticket of so many instances, from its making to its end."""
    clock, answers = FakeClock(), set[asyncio.Future[bool]]()
    sessions = Sessions(clock, ONE.timeout)
    engine = Engine(store, sessions, LocalHub(), clock)
    targets = [Target(InstanceId(f"i-{n:06d}"), f"web-{n:06d}", "r", "z", "web") for n in range(count)]
    heard = asyncio.Queue[tuple[InstanceId, Assign]]()
    for target in targets:
        sessions.open(target.id).orders = Heard(target.id, heard)
    begun = time.process_time()
    ticket = machine.create(TicketId("T-1"), spec, batches(targets, spec.batch_policy), "operator", NOW)
    await engine.create(ticket)
    for _ in range(count):
        instance, order = await heard.get()
        answers.add(asyncio.ensure_future(engine.report(instance, order.run_id, Outcome.SUCCEEDED, "")))
    assert all(await asyncio.gather(*answers))
    took = time.process_time() - begun
    await engine.stop()
    ended = await store.load(TicketId("T-1"))
    assert (ended.state, ended.counts.succeeded) == (TicketState.FINISHED, count)
    return took


@pytest.mark.bench
@pytest.mark.parametrize("count", [100, 1000, 10_000, 100_000])
async def test_bench_engine_per_run(table: Table, count: int) -> None:
    took = min([await driven(MemoryStore().tickets, count, ONE) for _ in range(3 if count <= 10_000 else 1)])
    name = f"engine, one ticket of {count:,} instances: CPU per run"
    table.absolute(name, took / count * 1e6, "µs", at_most=500 if count == 10_000 else None)


@pytest.mark.bench
async def test_bench_engine_per_run_with_its_store(tmp_path: Path, table: Table) -> None:
    store = SqliteStore.open(tmp_path / "bench.db")
    took = await driven(store.tickets, 10_000, ONE)
    await store.close()
    table.absolute("engine and SQLite, one ticket of 10,000 instances: CPU per run", took / 10_000 * 1e6, "µs")


@pytest.mark.bench
def test_bench_batches_against_the_least_possible(table: Table) -> None:
    rng = random.Random(1)
    fleet = [
        Target(
            InstanceId(f"i-{n}"), f"web-{n}", f"r{rng.randrange(4)}", f"z{rng.randrange(3)}", f"g{rng.randrange(40)}"
        )
        for n in range(10_000)
    ]
    begun = time.process_time()
    planned = batches(fleet, BatchPolicy())
    took = time.process_time() - begun
    groups = Counter(t.application_group for t in fleet)
    places = Counter((t.region, t.zone, t.application_group) for t in fleet)
    least = sum(ceil(count / min(10, max(1, groups[place[2]] // 2))) for place, count in places.items())
    table.absolute(
        "automatic batches of 10,000 instances in 480 places, above the least possible", len(planned) - least, ""
    )
    table.absolute("automatic batches of 10,000 instances: CPU", took * 1e3, "ms")
