"""What a watch sends and when.

grpcio-testing fakes the synchronous server only and cannot drive grpc.aio servicers: the wire is tested over a real one
(tests/integration/test_api_*.py), the parts behind it here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from common.errors import NotFound, Unavailable
from common.pb.v1 import ticket_pb2 as pb
from controller.api import watching
from controller.api.watching import Watcher
from controller.dispatch.engine import Engine
from controller.fleet.sessions import Sessions
from controller.hub.local import LocalHub
from controller.store.memory import MemoryStore
from controller.tickets.model import Continued, Ended, Paused, Ticket, TicketId
from tests.builders import NOW, a_ticket
from tests.fakes import FakeClock

MINUTE = timedelta(minutes=1)


class DeafHub(LocalHub):
    """Loses every hint."""

    def publish(self, topic: str) -> None:
        """Lose it."""


class Watch:
    """A ticket, its engine, and one who watches it."""

    def __init__(self, hub: LocalHub) -> None:
        self.clock, self.hub, self.store = FakeClock(), hub, MemoryStore()
        self.engine = Engine(self.store.tickets, Sessions(self.clock, MINUTE), hub, self.clock)
        self.watcher = Watcher(self.store.tickets, self.engine, hub, self.clock)
        self.said: list[pb.WatchResponse] = []
        self.reading: asyncio.Task[None] | None = None

    async def begin(self, ticket: Ticket) -> None:
        await self.engine.create(ticket)
        await self.clock.advance(0)
        self.reading = asyncio.create_task(self._read(ticket.id))
        await self.clock.advance(0)

    async def _read(self, ticket_id: TicketId) -> None:
        async for response in self.watcher.watch(ticket_id):
            self.said.append(response)

    async def ended(self) -> None:
        assert self.reading is not None
        async with asyncio.timeout(60):
            while not self.reading.done():
                await self.clock.advance(1)
                await asyncio.sleep(0.01)
        await self.reading


@pytest.fixture
async def watch() -> AsyncIterator[Watch]:
    made = Watch(LocalHub())
    yield made
    if made.reading is not None:
        made.reading.cancel()
    await made.engine.stop()


async def test_the_ticket_is_sent_at_once(watch: Watch) -> None:
    await watch.begin(a_ticket(3))
    assert [s.ticket.id for s in watch.said] == ["T-1"]


async def test_hints_without_a_change_send_nothing(watch: Watch) -> None:
    await watch.begin(a_ticket(3))
    for _ in range(20):
        watch.hub.publish("ticket/T-1")
        await watch.clock.advance(1)
    assert len(watch.said) == 1


async def test_a_busy_ticket_is_sent_five_times_a_second_and_no_more(watch: Watch) -> None:
    await watch.begin(a_ticket(3))
    for number in range(100):
        event = Paused(NOW, f"{number}") if number % 2 == 0 else Continued(NOW)
        await watch.engine.apply(TicketId("T-1"), lambda _, event=event: event)  # type: ignore[misc]
        await watch.clock.advance(0.01)
    assert 3 <= len(watch.said) <= 6
    await watch.clock.advance(1)
    assert watch.said[-1].ticket.state == pb.TICKET_STATE_PROCESSING


async def test_a_watch_ends_with_its_ticket(watch: Watch) -> None:
    await watch.begin(a_ticket(3))
    await watch.engine.apply(TicketId("T-1"), lambda now: Ended(now, "enough"))
    await watch.ended()
    assert watch.said[-1].ticket.state == pb.TICKET_STATE_CANCELED
    assert not watch.hub.listeners


async def test_a_lost_hint_costs_a_poll_and_never_the_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_POLL_SECONDS", 0.02)
    deaf = Watch(DeafHub())
    await deaf.begin(a_ticket(3))
    await deaf.engine.apply(TicketId("T-1"), lambda now: Paused(now, "lunch"))
    await deaf.engine.apply(TicketId("T-1"), Ended)
    await deaf.ended()
    assert deaf.said[-1].ticket.state == pb.TICKET_STATE_CANCELED
    await deaf.engine.stop()


async def test_a_ticket_at_rest_is_not_read_whole_to_learn_that_nothing_changed(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_POLL_SECONDS", 0.01)
    await watch.begin(a_ticket(3))
    await watch.engine.apply(TicketId("T-1"), lambda now: Paused(now, "lunch"))
    await watch.clock.advance(1)
    loaded = 0
    load = watch.store.tickets.load

    async def counting(ticket_id: TicketId) -> Ticket:
        nonlocal loaded
        loaded += 1
        return await load(ticket_id)

    monkeypatch.setattr(watch.store.tickets, "load", counting)
    await asyncio.sleep(0.2)
    assert loaded == 0
    assert watch.said[-1].ticket.state == pb.TICKET_STATE_PAUSED


async def test_a_stopping_controller_ends_the_watch_with_unavailable(watch: Watch) -> None:
    await watch.begin(a_ticket(3))
    watch.watcher.stop()
    with pytest.raises(Unavailable, match="stopping"):
        await watch.ended()


async def test_a_ticket_that_does_not_exist_is_not_found(watch: Watch) -> None:
    with pytest.raises(NotFound):
        await anext(watch.watcher.watch(TicketId("T-none")))
