"""What a ticket's notification policy wants to be told is noted when it happens, once, under an id made from what happened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from controller.notify.model import TICKET_EVENTS, NotificationEvent, NotificationPolicy, Recipients
from controller.tickets.machine import evolve
from controller.tickets.model import (
    BatchCanceled,
    BatchEnded,
    BatchRetried,
    Completed,
    Continued,
    Dispatched,
    Ended,
    Event,
    Outcome,
    Paused,
    Reported,
    Started,
    Suspended,
    Ticket,
    TicketSpec,
)
from controller.tickets.policies import SuspensionPolicy
from tests.builders import MINUTE, NOW, a_ticket, instance_id

TO_LIN = Recipients(("lin",))
ALL = NotificationPolicy(TICKET_EVENTS, TO_LIN)
ONE = instance_id(1)


def a_told_ticket(instances: int = 1, policy: NotificationPolicy = ALL, rate: int = 0) -> Ticket:
    spec = TicketSpec(name="nightly", notification=policy, suspension_policy=SuspensionPolicy(rate))
    return a_ticket(instances, spec=spec)


def after(ticket: Ticket, events: Iterable[Event]) -> Ticket:
    for event in events:
        ticket = evolve(ticket, event)
    return ticket


def told(ticket: Ticket) -> list[str]:
    return [notice.id for notice in ticket.unsaved_notices]


def run(outcome: Outcome, attempt: int = 1) -> list[Event]:
    return [
        Dispatched(NOW, (ONE,)),
        Reported(NOW, ONE, attempt, outcome),
        BatchEnded(NOW),
        Completed(NOW + MINUTE),
    ]


def test_a_ticket_that_goes_well_tells_its_start_and_its_success() -> None:
    ticket = after(a_told_ticket(), [Started(NOW), *run(Outcome.SUCCEEDED)])
    assert told(ticket) == ["T-1/START_EXECUTION/1", "T-1/EXECUTION_SUCCEEDED/2"]
    start, end = ticket.unsaved_notices
    assert (start.at, end.at) == (NOW, NOW + MINUTE)
    assert start.recipients == TO_LIN
    assert end.ticket is not None
    assert (end.ticket.name, end.ticket.state, end.ticket.succeeded, end.ticket.total) == ("nightly", "FINISHED", 1, 1)


def test_each_time_it_becomes_abnormal_is_told() -> None:
    events = [
        Started(NOW),
        *run(Outcome.FAILED),
        BatchRetried(NOW, 1),
        *run(Outcome.TIMEOUT, 2),
        BatchRetried(NOW, 1),
        *run(Outcome.SUCCEEDED, 3),
    ]
    assert told(after(a_told_ticket(), events)) == [
        "T-1/START_EXECUTION/1",
        "T-1/EXECUTION_FAILED/2",
        "T-1/EXECUTION_FAILED/3",
        "T-1/EXECUTION_SUCCEEDED/4",
    ]


def test_a_suspension_is_a_failure_and_says_at_which_failed_instance_it_stops() -> None:
    ticket = after(
        a_told_ticket(2, rate=1000),
        [Started(NOW), Dispatched(NOW, (ONE,)), Reported(NOW, ONE, 1, Outcome.FAILED), Suspended(NOW, 1)],
    )
    facts = ticket.unsaved_notices[-1].ticket
    assert facts is not None
    assert (facts.state, facts.abnormal_cause, facts.stops_at, facts.failed, facts.ready) == (
        "ABNORMAL",
        "SUSPENDED",
        1,
        1,
        1,
    )


def test_a_ticket_that_was_held_before_it_began_starts_when_it_continues_and_only_then() -> None:
    ticket = after(a_told_ticket(), [Paused(NOW), Continued(NOW), Paused(NOW), Continued(NOW)])
    assert told(ticket) == ["T-1/START_EXECUTION/1"]


def test_a_batch_given_up_after_a_failure_finishes_the_ticket_and_that_is_told() -> None:
    ticket = after(a_told_ticket(), [Started(NOW), *run(Outcome.FAILED), BatchCanceled(NOW, 1)])
    assert told(ticket)[-1] == "T-1/EXECUTION_SUCCEEDED/3"


def test_a_late_success_turns_a_failure_into_a_success_and_both_are_told() -> None:
    ticket = after(a_told_ticket(), [Started(NOW), *run(Outcome.TIMEOUT), Reported(NOW, ONE, 1, Outcome.SUCCEEDED)])
    assert told(ticket)[1:] == ["T-1/EXECUTION_FAILED/2", "T-1/EXECUTION_SUCCEEDED/3"]


def test_an_end_by_hand_tells_nothing() -> None:
    assert told(after(a_told_ticket(), [Started(NOW), Ended(NOW)])) == ["T-1/START_EXECUTION/1"]
    assert told(after(a_told_ticket(), [Ended(NOW)])) == []


@pytest.mark.parametrize("event", TICKET_EVENTS)
def test_only_what_was_asked_for_is_told_under_the_same_id(event: NotificationEvent) -> None:
    events = [Started(NOW), *run(Outcome.FAILED), BatchRetried(NOW, 1), *run(Outcome.SUCCEEDED, 2)]
    everything = after(a_told_ticket(), events)
    some = after(a_told_ticket(policy=NotificationPolicy((event,), TO_LIN)), events)
    assert told(some) == [i for i in told(everything) if f"/{event}/" in i]
    assert some.notices == everything.notices == 3


def test_a_ticket_saved_in_between_goes_on_counting() -> None:
    begun = evolve(a_told_ticket(), Started(NOW)).saved()
    assert begun.unsaved_notices == ()
    assert told(after(begun, run(Outcome.SUCCEEDED))) == ["T-1/EXECUTION_SUCCEEDED/2"]


def test_the_same_event_of_the_same_ticket_makes_the_same_notice() -> None:
    ticket = a_told_ticket()
    assert evolve(ticket, Started(NOW)) == evolve(replace(ticket), Started(NOW))
