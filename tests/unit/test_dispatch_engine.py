"""The engine stores before it sends, says again what was promised, and answers only what is stored (DESIGN §6, invariants 1-3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from common.errors import IllegalMove, NotFound, Unavailable
from controller.dispatch.engine import Engine
from controller.fleet import lifecycle
from controller.fleet.model import InstanceId, Quarantine, QuarantineCause
from controller.fleet.orders import Assign, Cancel, Order
from controller.fleet.sessions import Session, Sessions
from controller.hub.local import LocalHub
from controller.store.memory import MemoryStore
from controller.tickets import machine
from controller.tickets.batches import batches
from controller.tickets.model import (
    Continued,
    Counts,
    Ended,
    Outcome,
    Paused,
    RunId,
    Ticket,
    TicketId,
    TicketSpec,
    TicketState,
)
from controller.tickets.policies import BatchPolicy, BatchPolicyKind, OfflinePolicy, SuspensionPolicy
from tests.builders import NOW, a_target, an_instance, instance_id
from tests.fakes import FakeClock

HEARTBEAT = timedelta(seconds=30)


class World:
    """A controller's ticket side over a memory store, with agents played by the test."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore()
        self.hub = LocalHub()
        self.boot()

    def boot(self) -> None:
        """Begin as a new process does: memory is gone, the store is not."""
        self.sessions = Sessions(self.clock, HEARTBEAT)
        self.engine = Engine(self.store.tickets, self.sessions, self.hub, self.clock)

    def connect(self, *numbers: int) -> list[Session]:
        opened = [self.sessions.open(instance_id(n)) for n in numbers]
        for session in opened:
            self.engine.connected(session.instance_id)
        return opened

    def lose(self, session: Session) -> None:
        self.sessions.close(session)
        self.engine.lost(session.instance_id)

    async def settle(self) -> None:
        for _ in range(60):
            await asyncio.sleep(0)

    async def create(self, instances: int, spec: TicketSpec, name: str = "T-1") -> TicketId:
        planned = batches([a_target(n) for n in range(1, instances + 1)], spec.batch_policy)
        ticket = machine.create(TicketId(name), spec, planned, "operator", self.clock.now(), "")
        await self.engine.create(ticket)
        await self.settle()
        return ticket.id

    async def report(self, number: int, run_id: str, outcome: Outcome = Outcome.SUCCEEDED) -> bool:
        kept = await self.engine.report(instance_id(number), run_id, outcome, "")
        await self.settle()
        return kept


ONE_BATCH = TicketSpec(batch_policy=BatchPolicy(BatchPolicyKind.NO_BATCH))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    for n in range(1, 8):
        await world.store.fleet.put_instance(an_instance(n))
    yield world
    await world.engine.stop()


def said(session: Session) -> list[Order]:
    orders = list[Order]()
    while not session.orders.empty():
        orders.append(session.orders.get_nowait())
    return orders


def run_of(session: Session) -> str:
    (order,) = said(session)
    assert isinstance(order, Assign)
    return order.run_id


async def test_a_ticket_goes_out_comes_back_and_finishes(world: World) -> None:
    agents = world.connect(1, 2)
    ticket_id = await world.create(2, ONE_BATCH)
    for number, agent in enumerate(agents, 1):
        assert await world.report(number, run_of(agent))
    ticket = await world.engine.get(ticket_id)
    assert ticket.state is TicketState.FINISHED
    assert ticket.counts.succeeded == 2


async def test_what_was_promised_is_stored_before_it_is_sent(world: World) -> None:
    (agent,) = world.connect(1)
    ticket_id = await world.create(1, ONE_BATCH)
    run_id = run_of(agent)
    assert (await world.store.tickets.load(ticket_id)).out[instance_id(1)] == run_id


async def test_an_agent_that_comes_back_hears_its_open_run_again(world: World) -> None:
    (agent,) = world.connect(1)
    await world.create(1, ONE_BATCH)
    first = run_of(agent)
    world.lose(agent)
    (again,) = world.connect(1)
    assert run_of(again) == first


async def test_a_new_process_goes_on_where_the_old_one_was(world: World) -> None:
    agents = world.connect(1, 2, 3)
    spec = replace(ONE_BATCH, max_in_flight=2)
    ticket_id = await world.create(3, spec)
    assert await world.report(1, run_of(agents[0]))
    await world.engine.stop()
    world.boot()
    agents = world.connect(1, 2, 3)
    await world.engine.start()
    await world.settle()
    assert said(agents[0]) == []
    assert await world.report(2, run_of(agents[1]))
    assert await world.report(3, run_of(agents[2]))
    assert (await world.store.tickets.load(ticket_id)).counts.succeeded == 3


async def test_the_same_result_twice_counts_once(world: World) -> None:
    agents = world.connect(1, 2)
    ticket_id = await world.create(2, ONE_BATCH)
    run_id = run_of(agents[0])
    for _ in range(3):
        assert await world.report(1, run_id)
    ticket = await world.engine.get(ticket_id)
    assert (ticket.counts.succeeded, ticket.counts.processing) == (1, 1)


async def test_a_result_for_another_instance_or_an_unknown_run_is_of_no_use(world: World) -> None:
    agents = world.connect(1, 2)
    ticket_id = await world.create(2, ONE_BATCH)
    run_of_2 = run_of(agents[1])
    assert not await world.report(1, run_of_2)
    assert not await world.report(1, f"T-404/{instance_id(1)}/1")
    assert not await world.report(7, f"{ticket_id}/{instance_id(7)}/1")
    assert not await world.report(1, "nonsense")
    assert (await world.engine.get(ticket_id)).counts.processing == 2


async def test_a_silent_run_times_out_and_a_late_result_is_still_taken(world: World) -> None:
    (agent,) = world.connect(1)
    ticket_id = await world.create(1, replace(ONE_BATCH, timeout=timedelta(seconds=30)))
    run_id = run_of(agent)
    await world.clock.advance(31)
    await world.settle()
    ticket = await world.engine.get(ticket_id)
    assert (ticket.state, ticket.counts.timeout) == (TicketState.ABNORMAL, 1)
    assert await world.report(1, run_id)
    ticket = await world.store.tickets.load(ticket_id)
    assert (ticket.state, ticket.counts.succeeded) == (TicketState.FINISHED, 1)


async def test_a_run_of_a_lost_agent_becomes_unreachable(world: World) -> None:
    (agent,) = world.connect(1)
    ticket_id = await world.create(1, replace(ONE_BATCH, unreachable_after=timedelta(seconds=10)))
    world.lose(agent)
    await world.settle()
    await world.clock.advance(11)
    await world.settle()
    assert (await world.store.tickets.load(ticket_id)).counts.unreachable == 1


async def test_a_paused_ticket_sends_nothing_until_it_is_continued(world: World) -> None:
    agents = world.connect(1, 2)
    ticket_id = await world.create(2, replace(ONE_BATCH, max_in_flight=1))
    run_id = run_of(agents[0])
    await world.engine.apply(ticket_id, lambda now: Paused(now, "wait"))
    assert await world.report(1, run_id)
    assert said(agents[1]) == []
    await world.engine.apply(ticket_id, Continued)
    await world.settle()
    assert await world.report(2, run_of(agents[1]))
    assert (await world.engine.get(ticket_id)).state is TicketState.FINISHED


async def test_a_suspended_ticket_sends_nothing(world: World) -> None:
    agents = world.connect(1, 2, 3)
    spec = replace(ONE_BATCH, max_in_flight=1, suspension_policy=SuspensionPolicy(1000))
    ticket_id = await world.create(3, spec)
    assert await world.report(1, run_of(agents[0]), Outcome.FAILED)
    assert said(agents[1]) == []
    assert (await world.engine.get(ticket_id)).state is TicketState.ABNORMAL


async def test_ending_a_ticket_tells_agents_that_nobody_waits(world: World) -> None:
    agents = world.connect(1, 2)
    ticket_id = await world.create(2, ONE_BATCH)
    runs = [run_of(a) for a in agents]
    ended = await world.engine.apply(ticket_id, Ended)
    assert ended.state is TicketState.CANCELED
    assert [said(a) for a in agents] == [[Cancel(r)] for r in runs]
    assert ended.counts.canceled == ended.counts.total == 2


async def test_a_move_that_is_not_legal_is_refused_and_changes_nothing(world: World) -> None:
    ticket_id = await world.create(1, ONE_BATCH)
    with pytest.raises(IllegalMove):
        await world.engine.apply(ticket_id, Continued)
    with pytest.raises(NotFound):
        await world.engine.apply(TicketId("T-404"), Continued)
    assert (await world.engine.get(ticket_id)).state is TicketState.PROCESSING


async def test_a_result_that_cannot_be_stored_is_not_acknowledged_and_is_taken_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (agent,) = world.connect(1)
    ticket_id = await world.create(1, ONE_BATCH)
    run_id = run_of(agent)
    save = world.store.tickets.save

    async def full(ticket: Ticket) -> Ticket:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(world.store.tickets, "save", full)
    with pytest.raises(Unavailable, match="disk is full"):
        await world.report(1, run_id)
    monkeypatch.setattr(world.store.tickets, "save", save)
    assert await world.report(1, run_id)
    assert (await world.store.tickets.load(ticket_id)).counts.succeeded == 1


async def test_results_that_come_together_are_saved_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    agents = world.connect(*range(1, 8))
    await world.create(7, ONE_BATCH)
    runs = [run_of(a) for a in agents]
    save, saves = world.store.tickets.save, list[int]()

    async def counted(ticket: Ticket) -> Ticket:
        saves.append(len(ticket.unsaved_runs))
        return await save(ticket)

    monkeypatch.setattr(world.store.tickets, "save", counted)
    kept = await asyncio.gather(*(world.report(n, r) for n, r in enumerate(runs, 1)))
    assert all(kept)
    assert sum(saves) == 7
    assert len(saves) == 1


async def test_a_ticket_at_rest_is_not_kept_in_memory(world: World) -> None:
    (agent,) = world.connect(1)
    ticket_id = await world.create(1, ONE_BATCH)
    assert await world.report(1, run_of(agent))
    assert not [t for t in asyncio.all_tasks() if t.get_name() == f"ticket {ticket_id}"]


def test_an_agent_counts_as_absent_from_the_start_of_the_process_not_from_long_ago() -> None:
    clock = FakeClock()
    sessions = Sessions(clock, HEARTBEAT)
    assert sessions.absent([InstanceId("i-1")]) == {"i-1": NOW}


async def test_of_two_tickets_on_one_instance_the_later_waits_says_so_and_goes_on(world: World) -> None:
    (agent,) = world.connect(1)
    await world.create(1, ONE_BATCH)
    second = await world.create(1, ONE_BATCH, "T-2")
    first_run = run_of(agent)
    assert first_run.startswith("T-1/")
    (waits,) = [run for _, run in await world.store.tickets.runs(second, 0, (), 10, None)]
    assert waits.waits_for == "T-1"
    assert await world.report(1, first_run)
    assert run_of(agent).startswith("T-2/")
    (goes,) = [run for _, run in await world.store.tickets.runs(second, 0, (), 10, None)]
    assert goes.waits_for == ""


async def test_a_run_that_waits_for_another_ticket_takes_no_slot_of_its_own(world: World) -> None:
    agents = world.connect(1, 2)
    await world.create(1, ONE_BATCH)
    await world.create(2, replace(ONE_BATCH, max_in_flight=1), "T-2")
    run_of(agents[0])
    assert run_of(agents[1]).startswith("T-2/")


async def test_two_tickets_made_at_once_never_have_an_instance_both(world: World) -> None:
    agents = world.connect(1, 2, 3)
    await asyncio.gather(*(world.create(3, ONE_BATCH, f"T-{n}") for n in range(1, 5)))
    for _ in range(4):
        for number, agent in enumerate(agents, 1):
            assert await world.report(number, run_of(agent))
    for n in range(1, 5):
        assert (await world.store.tickets.load(TicketId(f"T-{n}"))).state is TicketState.FINISHED


async def test_a_ticket_that_is_held_or_ended_gives_an_instance_free_when_its_run_ends(world: World) -> None:
    (agent,) = world.connect(1)
    first = await world.create(1, ONE_BATCH)
    second = await world.create(1, ONE_BATCH, "T-2")
    await world.engine.apply(first, Paused)
    assert dict((await world.engine.get(second)).waiting) == {instance_id(1): first}
    await world.engine.apply(first, Ended)
    await world.settle()
    assert [type(order) for order in said(agent)] == [Assign, Cancel, Assign]


async def test_who_waits_for_another_ticket_still_waits_in_a_new_process(world: World) -> None:
    world.connect(1)
    await world.create(1, ONE_BATCH)
    second = await world.create(1, ONE_BATCH, "T-2")
    await world.engine.stop()
    world.boot()
    (agent,) = world.connect(1)
    await world.engine.start()
    await world.settle()
    first_run = run_of(agent)
    assert first_run.startswith("T-1/")
    assert dict((await world.engine.get(second)).waiting) == {instance_id(1): "T-1"}
    assert await world.report(1, first_run)
    assert run_of(agent).startswith("T-2/")


@pytest.mark.parametrize("written", [False, True])
async def test_an_instance_is_held_until_it_is_known_whether_its_run_was_stored(
    world: World, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    (agent,) = world.connect(1)
    save = world.store.tickets.save

    async def full(ticket: Ticket) -> Ticket:
        if ticket.id == "T-1":
            if written:
                await save(ticket)
            raise Unavailable("the disk is full")
        return await save(ticket)

    monkeypatch.setattr(world.store.tickets, "save", full)
    await world.create(1, ONE_BATCH)
    second = await world.create(1, ONE_BATCH, "T-2")
    assert said(agent) == [], "neither what may not be stored, nor what might be the second run on one instance"
    monkeypatch.setattr(world.store.tickets, "save", save)
    await world.clock.advance(3)
    await world.settle()
    first_run = run_of(agent)
    assert first_run.startswith("T-1/")
    assert await world.report(1, first_run)
    assert await world.report(1, run_of(agent))
    assert (await world.store.tickets.load(second)).state is TicketState.FINISHED


async def test_what_was_written_although_the_store_said_it_was_not_sets_the_instance_free(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (agent,) = world.connect(1)
    first = await world.create(1, ONE_BATCH)
    second = await world.create(1, ONE_BATCH, "T-2")
    run_id, save = run_of(agent), world.store.tickets.save

    async def written_and_lost(ticket: Ticket) -> Ticket:
        await save(ticket)
        raise Unavailable("the disk is full, after all was written")

    monkeypatch.setattr(world.store.tickets, "save", written_and_lost)
    with pytest.raises(Unavailable):
        await world.report(1, run_id)
    monkeypatch.setattr(world.store.tickets, "save", save)
    await world.clock.advance(3)
    assert await world.report(1, run_id)
    assert (await world.store.tickets.load(first)).state is TicketState.FINISHED
    assert await world.report(1, run_of(agent))
    assert (await world.store.tickets.load(second)).state is TicketState.FINISHED


async def test_what_may_have_been_written_is_read_even_if_there_is_nothing_to_write_any_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = replace(ONE_BATCH, offline=OfflinePolicy(wait=timedelta(hours=1)))
    first, save = await world.create(1, waits), world.store.tickets.save

    async def written_and_lost(ticket: Ticket) -> Ticket:
        await save(ticket)
        raise Unavailable("the disk is full, after all was written")

    monkeypatch.setattr(world.store.tickets, "save", written_and_lost)
    (agent,) = world.connect(1)
    await world.settle()
    world.lose(agent)  # now its run would wait for it as before, had it not been written that it is out
    monkeypatch.setattr(world.store.tickets, "save", save)
    await world.clock.advance(3)
    assert instance_id(1) in (await world.engine.get(first)).out
    second = await world.create(1, ONE_BATCH, "T-2")
    assert dict((await world.engine.get(second)).waiting) == {instance_id(1): first}


async def test_a_run_that_waits_for_its_agent_goes_when_the_agent_comes(world: World) -> None:
    ticket_id = await world.create(1, replace(ONE_BATCH, offline=OfflinePolicy(wait=timedelta(hours=1))))
    assert dict((await world.engine.get(ticket_id)).waiting) == {instance_id(1): "agent"}
    await world.clock.advance(600)
    (agent,) = world.connect(1)
    await world.settle()
    assert await world.report(1, run_of(agent))
    assert (await world.store.tickets.load(ticket_id)).state is TicketState.FINISHED


async def test_a_run_whose_agent_never_comes_is_unreachable_when_the_waiting_is_over(world: World) -> None:
    ticket_id = await world.create(1, replace(ONE_BATCH, offline=OfflinePolicy(wait=timedelta(hours=1))))
    await world.clock.advance(3601)
    await world.settle()
    ticket = await world.store.tickets.load(ticket_id)
    assert (ticket.state, ticket.counts.unreachable) == (TicketState.ABNORMAL, 1)


async def test_a_ticket_soaks_between_batches_and_its_own_time_ends_it(world: World) -> None:
    agents = world.connect(1, 2, 3)
    policy = BatchPolicy(batch_size=1, group_share_percent=100, soak=timedelta(minutes=5))
    spec = TicketSpec(batch_policy=policy, ticket_timeout=timedelta(minutes=7))
    ticket_id = await world.create(3, spec)
    assert await world.report(1, run_of(agents[0]))
    await world.clock.advance(299)
    await world.settle()
    assert said(agents[1]) == []
    await world.clock.advance(2)
    await world.settle()
    assert await world.report(2, run_of(agents[1]))
    await world.clock.advance(200)
    await world.settle()
    ticket = await world.store.tickets.load(ticket_id)
    assert (ticket.state, ticket.counts.canceled) == (TicketState.CANCELED, 1)
    assert ticket.timed_out_at is not None


async def test_a_run_keeps_when_its_agent_said_what(world: World) -> None:
    (agent,) = world.connect(1)
    ticket_id = await world.create(1, ONE_BATCH)
    run_id = run_of(agent)
    await world.clock.advance(1)
    world.engine.progress(instance_id(1), run_id, "accepted")
    await world.clock.advance(1)
    world.engine.progress(instance_id(1), run_id, "collecting")
    assert list(world.engine.steps_of(RunId(run_id))) == ["sent", "accepted", "collecting"]
    assert world.engine.steps(await world.engine.get(ticket_id)) == {instance_id(1): "collecting"}
    assert await world.report(1, run_id)
    run = (await world.store.tickets.load(ticket_id)).runs[instance_id(1)]
    assert [step.name for step in run.log] == ["promised", "sent", "accepted", "collecting", "stored", "ended"]
    assert not world.engine.steps_of(RunId(run_id))


async def test_what_was_found_to_be_two_hosts_after_it_was_planned_is_sent_nothing(world: World) -> None:
    first, second = world.connect(1, 2)
    ticket_id = await world.create(2, replace(ONE_BATCH, max_in_flight=1))
    twin = Quarantine(QuarantineCause.AGENT_KEY, world.clock.now())
    world.sessions.barred.note((an_instance(2, quarantine=twin),))
    await world.report(1, run_of(first))
    assert said(second) == []
    ticket = await world.engine.get(ticket_id)
    assert (ticket.state, ticket.counts) == (TicketState.FINISHED, Counts(succeeded=1, skipped=1))
    assert "patchctl instances release" in ticket.runs[instance_id(2)].error


async def test_who_comes_back_in_quarantine_does_not_hear_its_open_run_again_until_it_is_released(world: World) -> None:
    (agent,) = world.connect(1)
    ticket_id = await world.create(1, ONE_BATCH)
    run_id = run_of(agent)
    world.lose(agent)
    held = an_instance(1, quarantine=Quarantine(QuarantineCause.AGENT_KEY, world.clock.now()))
    world.sessions.barred.note((held,))
    (again,) = world.connect(1)
    assert said(again) == []
    world.sessions.barred.note((lifecycle.released(held, "ann", world.clock.now()),))
    (free,) = world.connect(1)
    assert run_of(free) == run_id
    assert await world.report(1, run_id), "what it was sent before may still be answered"
    assert (await world.engine.get(ticket_id)).state is TicketState.FINISHED
