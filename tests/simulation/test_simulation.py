"""Invariants 1 to 3 of the design under a simulation of whole controllers' lives: tickets, agents, operators, restarts, bad disks."""

from __future__ import annotations

import asyncio

import pytest

from controller.dispatch.claims import Others
from controller.dispatch.engine import Engine
from controller.fleet.barred import Barred
from controller.tickets import machine, plan
from tests.simulation.ledger import Outbox
from tests.simulation.run import shortened, simulate, simulated

LIVES = 16


def test_invariants_1_to_3_hold_over_5_000_events_in_any_order() -> None:
    """Everything that can happen does; a million events are in the slow tier."""
    done = simulated(seed=20261126, events=5_000, instances=300)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    assert "violations: 0" in done.stdout
    for event in ("Lost", "Suspended", "Continued", "PassedOver", "RunsRetried", "BatchRetried", "Ended", "TimedOut"):
        assert event in done.stdout, "the simulation came by everything that can happen"
    for event in (
        "duplicate", "restart", "agents go", "disk", "windows", "a window opens", "edited batches", "notice", "barred"
    ):  # fmt: skip
        assert event in done.stdout


def test_the_same_seed_is_the_same_life() -> None:
    first, again = (simulated(seed=5, events=600, instances=100) for _ in range(2))
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout.splitlines()[1:] == again.stdout.splitlines()[1:]


def test_a_controller_that_ignores_other_tickets_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Others, "get", lambda *_: None)
    *_, violation = asyncio.run(simulate(3, 60, 20_000, range(1, 3000)))
    assert "an instance has one run out over all tickets" in str(violation)


def test_a_controller_that_sends_before_it_stores_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    tell = Engine._tell
    save = Engine._save

    async def told_first(self: Engine, ticket: machine.Ticket) -> machine.Ticket:
        tell(self, self._drivers[ticket.id].ticket, ticket)
        return await save(self, ticket)

    monkeypatch.setattr(Engine, "_save", told_first)
    *_, violation = asyncio.run(simulate(3, 60, 20_000, range(1, 3000)))
    assert violation is not None


def test_a_ticket_that_does_not_stop_in_time_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (machine, plan):
        monkeypatch.setattr(module, "tripped", lambda _: False)
    *_, violation = asyncio.run(simulate(3, 60, 20_000, range(1, 3000)))
    assert "a tripped policy sends nothing" in str(violation)


def test_a_ticket_that_does_not_keep_to_its_windows_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "may_send", lambda *_: True)
    *_, violation = asyncio.run(simulate(3, 60, 20_000, range(1, 3000)))
    assert "nothing is sent while the window is closed" in str(violation)


def test_a_run_that_is_sent_to_who_is_barred_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Barred, "get", lambda *_: None)
    *_, violation = asyncio.run(simulate(3, 60, 20_000, range(1, 3000)))
    assert "is barred" in str(violation)


def test_an_event_that_is_told_without_its_ticket_or_not_at_all_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as lost:
        lost.setattr(machine, "noted", lambda _, after: after)
        *_, violation = asyncio.run(simulate(3, 60, 20_000, range(1, 3000)))
        assert "told" in str(violation)
    monkeypatch.setattr(Outbox, "add_notices", lambda *_: None)
    *_, violation = asyncio.run(simulate(3, 60, 20_000, range(1, 3000)))
    assert "what is told is stored with the ticket" in str(violation)


def test_a_violation_says_with_which_steps_it_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Others, "get", lambda *_: None)
    _, _, done, violation = asyncio.run(simulate(3, 60, 20_000, range(1, 3000)))
    assert violation is not None
    fewer = shortened(3, 60, done, 20)
    assert len(fewer) < len(done)
    *_, again = asyncio.run(simulate(3, 60, 20_000, fewer))
    assert "an instance has one run out over all tickets" in str(again)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(101, 101 + LIVES))
def test_invariants_1_to_3_hold_over_a_million_events(seed: int) -> None:
    """A life of its own for each seed: they run on all cores, and one that is cut short has said which it was."""
    done = simulated(seed, events=1_000_000 // LIVES, instances=3000)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "violations: 0" in done.stdout
