"""A ticket keeps to its maintenance windows: outside them nothing is sent, and what is out finishes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.dispatch.engine import Engine
from controller.fleet.sessions import Sessions
from controller.hub.local import LocalHub
from controller.schedules.windows import MaintenanceWindow
from controller.store.memory import MemoryStore
from controller.tickets.machine import evolve
from controller.tickets.model import (
    BatchEnded,
    Completed,
    Dispatched,
    Outcome,
    Paused,
    Reported,
    RunState,
    Started,
    Ticket,
    TicketState,
)
from controller.tickets.plan import next_deadline, plan
from controller.tickets.waiting import opens_at
from tests.builders import NOW, a_ticket, instance_id
from tests.fakes import FakeClock

OPENS = NOW + timedelta(hours=2)
CLOSES = OPENS + timedelta(hours=1)
WINDOW = MaintenanceWindow((), OPENS.time(), CLOSES.time(), "UTC")


def waiting(instances: int = 2, **changes: object) -> Ticket:
    ticket = a_ticket(instances)
    spec = replace(ticket.spec, maintenance_windows=(WINDOW,), max_in_flight=1)
    return evolve(replace(ticket, spec=spec, **changes), Started(NOW))  # type: ignore[arg-type]


def test_outside_its_windows_nothing_is_sent_and_the_next_opening_is_a_deadline() -> None:
    ticket = waiting()
    assert plan(ticket, {}, NOW) is None
    assert next_deadline(ticket, {}, NOW) == OPENS
    assert opens_at(ticket, NOW) == OPENS
    assert plan(ticket, {}, OPENS - timedelta(seconds=1)) is None
    assert plan(ticket, {}, OPENS) == Dispatched(OPENS, (instance_id(1),))
    assert next_deadline(ticket, {}, OPENS) is None, "an open window is no deadline, or the engine would never sleep"


def test_what_is_out_when_the_window_closes_finishes_and_the_rest_waits_for_the_next_day() -> None:
    ticket = evolve(waiting(), Dispatched(CLOSES - timedelta(minutes=1), (instance_id(1),)))
    assert plan(ticket, {}, CLOSES) is None
    after = evolve(ticket, Reported(CLOSES, instance_id(1), 1, Outcome.SUCCEEDED))
    assert plan(after, {}, CLOSES) is None
    assert next_deadline(after, {}, CLOSES) == OPENS + timedelta(days=1)


def test_a_ticket_ends_outside_its_windows_too() -> None:
    ticket = evolve(waiting(1), Dispatched(OPENS, (instance_id(1),)))
    ticket = evolve(ticket, Reported(CLOSES, instance_id(1), 1, Outcome.SUCCEEDED))
    assert isinstance(ended := plan(ticket, {}, CLOSES), BatchEnded)
    assert isinstance(plan(evolve(ticket, ended), {}, CLOSES), Completed)


def test_a_paused_ticket_waits_for_its_operator_and_not_for_a_window() -> None:
    assert opens_at(evolve(waiting(), Paused(NOW)), NOW) is None


@pytest.mark.asyncio
async def test_the_engine_sends_when_the_window_opens() -> None:
    clock, store = FakeClock(), MemoryStore()
    engine = Engine(store.tickets, Sessions(clock, timedelta(seconds=30)), LocalHub(), clock)
    await engine.start()
    made = a_ticket(2)
    made = replace(made, spec=replace(made.spec, maintenance_windows=(WINDOW,)))
    await engine.create(made)
    await clock.advance(2 * 3600 - 1)
    assert not (await engine.get(made.id)).out
    await clock.advance(2)
    ticket = await engine.get(made.id)
    assert ticket.state is TicketState.PROCESSING
    assert {run.state for run in ticket.runs.values()} == {RunState.PROCESSING}
    await engine.stop()
