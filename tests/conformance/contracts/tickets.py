"""What a TicketStore promises."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from immutables import Map

from common.errors import Conflict, IllegalMove, NotFound
from controller.fleet.model import ResourceType, Selector
from controller.store.api import Store
from controller.tickets import machine
from controller.tickets.model import (
    AbnormalCause,
    BatchCanceled,
    BatchEnded,
    BatchRetried,
    BatchState,
    Completed,
    Continued,
    Counts,
    Dispatched,
    Ended,
    Event,
    Gate,
    Lost,
    LostRun,
    Outcome,
    PassedOver,
    Paused,
    PlannedBatch,
    RefusedAccount,
    Reported,
    Run,
    RunCanceled,
    RunsRetried,
    RunState,
    Started,
    Step,
    Suspended,
    Ticket,
    TicketId,
    TicketSpec,
    TicketState,
)
from controller.tickets.policies import (
    BatchPolicy,
    BatchPolicyKind,
    Canary,
    OfflinePolicy,
    SuspensionMode,
    SuspensionPolicy,
)
from tests.builders import MINUTE, NOW, a_target, a_ticket, instance_id


def with_run(ticket: Ticket, number: int, **changes: object) -> Ticket:
    """The ticket with one run changed and marked as unsaved, as the machine does it."""
    instance = instance_id(number)
    run = replace(ticket.runs[instance], **changes)  # type: ignore[arg-type]
    return replace(ticket, runs=ticket.runs.set(instance, run), unsaved_runs=ticket.unsaved_runs | {instance})


def with_batch(ticket: Ticket, number: int, **changes: object) -> Ticket:
    batch = replace(ticket.batches[number], **changes)  # type: ignore[arg-type]
    return replace(ticket, batches=ticket.batches.set(number, batch), unsaved_batches=ticket.unsaved_batches | {number})


def head_of(ticket: Ticket) -> Ticket:
    batches = {n: replace(b, members=()) for n, b in ticket.batches.items()}
    return replace(ticket, batches=Map(batches), runs=Map(), out=Map(), waiting=Map())


def random_events(ticket: Ticket, rng: random.Random) -> Iterator[Event]:
    """Events that may or may not be legal now, later and later."""
    at = ticket.changed_at + MINUTE
    batch = rng.choice(sorted(ticket.batches))
    somebody = rng.choice(sorted(ticket.runs))
    members = ticket.batches[min(ticket.current, len(ticket.batches))].members
    ready = [m for m in members if ticket.runs[m].state is RunState.READY]
    yield Dispatched(at, tuple(ready[: rng.randint(1, 3)]))
    yield Reported(at, somebody, ticket.runs[somebody].attempt, rng.choice(list(Outcome)), rng.choice(("", "boom")))
    for instance in sorted(ticket.out):
        outcome = rng.choice((Outcome.SUCCEEDED, Outcome.SUCCEEDED, Outcome.FAILED, Outcome.TIMEOUT))
        yield Reported(at, instance, ticket.runs[instance].attempt, outcome)
    yield from (Started(at), BatchEnded(at), Completed(at), Suspended(at, 1), Paused(at, "lunch"), Continued(at))
    yield PassedOver(at, ((somebody, rng.choice(("agent", "T-9"))),))
    yield Lost(at, (LostRun(somebody, ticket.runs[somebody].attempt, Outcome.UNREACHABLE, "away"),))
    yield RunsRetried(at, rng.choice(((), (somebody,))))
    yield from (BatchRetried(at, batch), BatchCanceled(at, batch), RunCanceled(at, somebody))
    if rng.random() < 0.05:
        yield Ended(at, "enough")


class TicketStoreContract:
    """Subclass it, give it a `store` fixture, and the new store is held to the contract."""

    async def test_a_new_ticket_is_saved_whole_as_version_1(self, store: Store) -> None:
        spec = TicketSpec(
            name="nightly",
            selector=Selector(("ecs-0001",), regions=("cn",), resource_types=(ResourceType.BMS,), tags=("a=b",)),
            baseline="b-1",
            timeout=timedelta(minutes=7, microseconds=1),
            batch_policy=BatchPolicy(
                BatchPolicyKind.MANUAL_BATCH, (("a", "b"), ("c",)), ramp=(1, 5), canary=Canary(wait=True), soak=MINUTE
            ),
            max_in_flight=3,
            suspension_policy=SuspensionPolicy(995, SuspensionMode.LITERAL, ignore_unreachable=True),
            unreachable_after=timedelta(seconds=90),
            ticket_timeout=timedelta(hours=3),
            offline=OfflinePolicy(until=NOW + timedelta(days=1)),
        )
        ticket = a_ticket(batches=(2, 3), spec=spec, note="n", request_id="r", unsaved_batches=frozenset({1}))
        created = await store.tickets.create(ticket)
        assert created == replace(ticket, version=1, unsaved_batches=frozenset())
        assert await store.tickets.load(ticket.id) == created

    async def test_an_id_is_taken_once(self, store: Store) -> None:
        created = await store.tickets.create(a_ticket(2))
        with pytest.raises(Conflict, match="T-1"):
            await store.tickets.create(a_ticket(5))
        assert await store.tickets.load(created.id) == created

    async def test_a_request_makes_one_ticket(self, store: Store) -> None:
        await store.tickets.create(a_ticket(request_id="r-1"))
        with pytest.raises(Conflict):
            await store.tickets.create(a_ticket(id="T-2", request_id="r-1"))
        await store.tickets.create(a_ticket(id="T-3", request_id="r-1", created_by="somebody else"))
        await store.tickets.create(a_ticket(id="T-4"))
        await store.tickets.create(a_ticket(id="T-5"))
        assert await store.tickets.find_request("operator", "r-1") == "T-1"
        assert await store.tickets.find_request("somebody else", "r-1") == "T-3"
        assert await store.tickets.find_request("operator", "r-2") is None
        assert await store.tickets.find_request("operator", "") is None
        with pytest.raises(NotFound):
            await store.tickets.load(TicketId("T-2"))

    async def test_of_many_who_make_one_request_at_once_one_gets_a_ticket(self, store: Store) -> None:
        tries = (store.tickets.create(a_ticket(id=f"T-{n}", request_id="r")) for n in range(8))
        answers = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(a, Conflict) for a in answers) == 7
        assert len(await store.tickets.unfinished()) == 1

    async def test_an_unknown_ticket_is_not_found(self, store: Store) -> None:
        unknown = TicketId("T-9")
        with pytest.raises(NotFound, match="T-9"):
            await store.tickets.load(unknown)
        with pytest.raises(NotFound, match="T-9"):
            await store.tickets.head(unknown)
        with pytest.raises(NotFound, match="T-9"):
            await store.tickets.runs(unknown, 0, (), 10, None)
        with pytest.raises(NotFound, match="T-9"):
            await store.tickets.save(a_ticket(id=unknown))

    async def test_a_save_writes_what_changed_and_returns_it_as_saved(self, store: Store) -> None:
        ticket = await store.tickets.create(a_ticket(batches=(2, 2)))
        changed = with_run(
            ticket, 2, state=RunState.ABNORMAL, outcome=Outcome.FAILED, error="boom", attempt=2,
            sent_at=NOW, deadline=NOW + MINUTE, ended_at=NOW + 2 * MINUTE, pardons=2,
            log=(Step(1, "promised", NOW), Step(2, "sent", NOW + MINUTE), Step(2, "odd", NOW - MINUTE)),
        )  # fmt: skip
        changed = with_batch(
            changed, 1, state=BatchState.ABNORMAL, counts=Counts(1, failed=1), cursor=1,
            started_at=NOW, ended_at=NOW + MINUTE,
        )  # fmt: skip
        changed = replace(
            changed, state=TicketState.ABNORMAL, abnormal_cause=AbnormalCause.SUSPENDED, counts=Counts(3, failed=1),
            current=2, forgiven=1, pardons=3, gate=Gate.WAITING, soak_until=NOW, expires_at=NOW + MINUTE, timed_out_at=NOW,
            note="n", changed_at=NOW + MINUTE, ended_at=NOW + MINUTE,
        )  # fmt: skip
        saved = await store.tickets.save(changed)
        assert saved == replace(changed, version=2, unsaved_runs=frozenset(), unsaved_batches=frozenset())
        assert await store.tickets.load(ticket.id) == saved

    async def test_what_is_not_marked_as_unsaved_is_not_written(self, store: Store) -> None:
        ticket = await store.tickets.create(a_ticket(2))
        forgotten = replace(with_run(ticket, 1, error="unmarked"), unsaved_runs=frozenset())
        await store.tickets.save(forgotten)
        assert (await store.tickets.load(ticket.id)).runs == ticket.runs

    async def test_a_run_that_is_out_is_in_out_with_its_id(self, store: Store) -> None:
        ticket = await store.tickets.create(a_ticket(2))
        run_id = Run(instance_id(2), "", 1, attempt=3).id(ticket.id)
        sent = with_run(ticket, 2, state=RunState.PROCESSING, attempt=3, sent_at=NOW)
        sent = replace(sent, out=Map({instance_id(2): run_id}), counts=Counts(1, 1))
        await store.tickets.save(sent)
        assert (await store.tickets.load(ticket.id)).out == Map({instance_id(2): run_id})

    async def test_a_run_that_waits_is_among_those_waiting(self, store: Store) -> None:
        ticket = await store.tickets.create(a_ticket(3))
        passed = machine.evolve(machine.evolve(ticket, Started(NOW)), PassedOver(NOW, ((instance_id(2), "T-9"),)))
        saved = await store.tickets.save(passed)
        assert saved.waiting == Map({instance_id(2): "T-9"})
        assert await store.tickets.load(ticket.id) == saved
        page = await store.tickets.runs(ticket.id, 0, (), 10, None)
        assert [run.waits_for for _, run in page] == ["", "T-9", ""]

    async def test_two_writers_cannot_both_win(self, store: Store) -> None:
        mine = theirs = await store.tickets.create(a_ticket())
        saved = await store.tickets.save(replace(theirs, note="theirs"))
        with pytest.raises(Conflict, match="T-1"):
            await store.tickets.save(with_run(replace(mine, note="mine"), 1, error="mine"))
        assert await store.tickets.load(mine.id) == saved

    async def test_of_many_writers_at_once_one_wins(self, store: Store) -> None:
        ticket = await store.tickets.create(a_ticket())
        tries = (store.tickets.save(replace(ticket, note=f"writer {n}")) for n in range(8))
        answers = await asyncio.gather(*tries, return_exceptions=True)
        (won,) = [a for a in answers if isinstance(a, Ticket)]
        assert sum(isinstance(a, Conflict) for a in answers) == 7
        assert await store.tickets.load(ticket.id) == won

    async def test_a_head_has_batches_without_members_and_no_runs(self, store: Store) -> None:
        ticket = await store.tickets.create(a_ticket(batches=(2, 1)))
        head = await store.tickets.head(ticket.id)
        assert head == head_of(ticket)
        assert [b.members for b in head.batches.values()] == [(), ()]

    async def test_heads_are_paged_newest_first_without_gap_or_repetition(self, store: Store) -> None:
        tickets = [a_ticket(1, id=f"T-{n}", created_at=NOW + (n // 2) * MINUTE) for n in range(1, 8)]
        for ticket in tickets:
            await store.tickets.create(ticket)
        expected = sorted(tickets, key=lambda t: (t.created_at, t.id), reverse=True)
        seen, before = list[str](), None
        while page := await store.tickets.heads((), 3, before):
            assert len(page) <= 3
            seen += [t.id for t in page]
            before = (page[-1].created_at, page[-1].id)
        assert seen == [t.id for t in expected]
        assert (await store.tickets.heads((), 1, None))[0] == head_of(replace(expected[0], version=1))

    async def test_heads_are_of_one_account(self, store: Store) -> None:
        for number, account in enumerate(("default", "acme", "acme")):
            await store.tickets.create(a_ticket(1, id=f"T-{number}", account=account))
        assert [t.id for t in await store.tickets.heads((), 10, None)] == ["T-0"]
        assert {t.id for t in await store.tickets.heads((), 10, None, "acme")} == {"T-1", "T-2"}

    async def test_a_ticket_keeps_whose_it_is_and_who_was_left_out(self, store: Store) -> None:
        left_out = RefusedAccount("partner", "scans", "the account partner grants acme no agency scans")
        ticket = a_ticket(1, account="acme", enterprise_projects=("bank", "shop"), refused_accounts=(left_out,))
        await store.tickets.create(ticket)
        found = await store.tickets.load(ticket.id)
        assert (found.account, found.enterprise_projects, found.refused_accounts) == (
            "acme",
            ("bank", "shop"),
            (left_out,),
        )

    async def test_heads_are_of_the_states_asked_for(self, store: Store) -> None:
        for number, state in enumerate(TicketState):
            await store.tickets.create(a_ticket(1, id=f"T-{number}", state=state))
        wanted = {TicketState.PAUSED, TicketState.FINISHED}
        assert {t.state for t in await store.tickets.heads(wanted, 10, None)} == wanted
        assert len(await store.tickets.heads((), 10, None)) == len(TicketState)

    async def test_runs_are_paged_in_dispatch_order_without_gap_or_repetition(self, store: Store) -> None:
        ticket = await store.tickets.create(a_ticket(batches=(3, 1, 4)))
        seen, after = list[Run](), None
        while page := await store.tickets.runs(ticket.id, 0, (), 3, after):
            assert len(page) <= 3
            seen += [run for _, run in page]
            after = page[-1][0]
        assert [r.instance_id for r in seen] == [instance_id(n) for n in range(1, 9)]
        assert [r.batch for r in seen] == [1, 1, 1, 2, 3, 3, 3, 3]

    async def test_runs_are_of_the_batch_and_the_states_asked_for(self, store: Store) -> None:
        ticket = await store.tickets.create(a_ticket(batches=(3, 2)))
        for number in (2, 4):
            ticket = with_run(ticket, number, state=RunState.ABNORMAL, outcome=Outcome.FAILED)
        await store.tickets.save(ticket)

        async def found(batch: int, *states: RunState) -> list[int]:
            page = await store.tickets.runs(ticket.id, batch, states, 10, None)
            return [int(run.instance_name.removeprefix("ecs-")) for _, run in page]

        assert await found(2) == [4, 5]
        assert await found(0, RunState.ABNORMAL) == [2, 4]
        assert await found(1, RunState.READY) == [1, 3]
        assert await found(1, RunState.READY, RunState.ABNORMAL) == [1, 2, 3]
        assert await found(3) == []

    async def test_unfinished_tickets_are_those_that_go_on_or_have_a_run_out_oldest_first(self, store: Store) -> None:
        for number, state in enumerate(TicketState):
            await store.tickets.create(a_ticket(1, id=f"T-{state}", state=state, created_at=NOW - number * MINUTE))
        out = a_ticket(1, id="T-out", state=TicketState.ABNORMAL, created_at=NOW - 99 * MINUTE)
        out = with_run(replace(out, counts=Counts(processing=1)), 1, state=RunState.PROCESSING)
        await store.tickets.create(replace(out, out=Map({instance_id(1): out.runs[instance_id(1)].id(out.id)})))
        assert await store.tickets.unfinished() == ("T-out", "T-PAUSED", "T-PROCESSING", "T-READY")

    @pytest.mark.parametrize("seed", range(4))
    async def test_a_ticket_driven_through_random_events_loads_as_it_is(self, store: Store, seed: int) -> None:
        rng = random.Random(seed)
        planned = [
            PlannedBatch(b, tuple(a_target(10 * b + n) for n in range(rng.randint(1, 4))), region="cn")
            for b in (1, 2, 3)
        ]
        spec = TicketSpec(max_in_flight=4)
        ticket = await store.tickets.create(machine.create(TicketId("T-1"), spec, planned, "operator", NOW))
        moved = 0
        for _ in range(25):
            events = list(random_events(ticket, rng))
            rng.shuffle(events)
            for event in events:
                try:
                    ticket = machine.evolve(ticket, event)
                except (IllegalMove, NotFound, ValueError):
                    continue
                moved += 1
                break
            if rng.random() < 0.7:  # several moves may be saved as one
                ticket = await store.tickets.save(ticket)
                assert await store.tickets.load(ticket.id) == ticket
                assert await store.tickets.head(ticket.id) == head_of(ticket)
        assert moved >= 3
