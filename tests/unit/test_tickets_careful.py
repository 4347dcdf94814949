"""Canary, soak time, a ticket's own time, agents that are away, instances that another ticket holds, retries, logs (SEMANTICS §1)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from common.errors import IllegalMove, NotFound
from controller.fleet.model import InstanceId
from controller.tickets.batches import batches
from controller.tickets.machine import create, evolve
from controller.tickets.model import (
    MOST_STEPS,
    AbnormalCause,
    BatchCanceled,
    BatchRetried,
    BatchState,
    Continued,
    Counts,
    Dispatched,
    Ended,
    Event,
    Gate,
    Lost,
    Outcome,
    Paused,
    Progressed,
    Reported,
    RunCanceled,
    RunsRetried,
    Step,
    Target,
    Ticket,
    TicketId,
    TicketSpec,
    TicketState,
)
from controller.tickets.plan import next_deadline, next_turn, plan
from controller.tickets.policies import BatchPolicy, BatchPolicyKind, Canary, OfflinePolicy, SuspensionPolicy
from controller.tickets.suspension import counted

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
OK, BAD = Outcome.SUCCEEDED, Outcome.FAILED


def i(number: int) -> InstanceId:
    return InstanceId(f"i-{number}")


def a_ticket(
    size: int, *, rate: int = 0, canary: Canary | None = None, soak: timedelta = timedelta(0), **spec: object
) -> Ticket:
    policy = BatchPolicy(BatchPolicyKind.AUTO_BATCH, batch_size=2, group_share_percent=100, canary=canary, soak=soak)
    whole = TicketSpec(batch_policy=policy, suspension_policy=SuspensionPolicy(rate), **spec)  # type: ignore[arg-type]
    targets = [Target(i(n), f"web-{n}") for n in range(1, size + 1)]
    return create(TicketId("T-1"), whole, batches(targets, policy), "operator", NOW)


def planned(
    ticket: Ticket,
    at: datetime = NOW,
    away: Mapping[InstanceId, datetime] | None = None,
    busy: Mapping[InstanceId, TicketId] | None = None,
    barred: Mapping[InstanceId, str] | None = None,
) -> Ticket:
    while (event := plan(ticket, away or {}, at, busy=busy or {}, barred=barred or {})) is not None:
        ticket = evolve(ticket, event)
    return ticket


def after(ticket: Ticket, *events: Event) -> Ticket:
    for event in events:
        ticket = evolve(ticket, event)
    return ticket


def answered(ticket: Ticket, outcome: Outcome, *numbers: int, at: datetime = NOW) -> Ticket:
    for number in numbers:
        ticket = evolve(ticket, Reported(at, i(number), ticket.runs[i(number)].attempt, outcome))
    return planned(ticket, at)


# Canary --------------------------------------------------------------------------------------------------------------


def test_the_rest_begins_by_itself_when_the_canary_ended_without_failure() -> None:
    ticket = planned(a_ticket(5, canary=Canary(instances=1)))
    assert (sorted(ticket.out), ticket.gate) == ([i(1)], Gate.CLOSED)
    ticket = answered(ticket, OK, 1)
    assert (sorted(ticket.out), ticket.gate) == ([i(2), i(3)], Gate.OPEN)


def test_a_failed_canary_suspends_whatever_the_rate_allows() -> None:
    ticket = answered(planned(a_ticket(5, canary=Canary(instances=2))), OK, 1)
    ticket = answered(ticket, BAD, 2)
    assert (ticket.state, ticket.abnormal_cause) == (TicketState.ABNORMAL, AbnormalCause.SUSPENDED)
    assert (ticket.gate, ticket.batches[1].state) == (Gate.WAITING, BatchState.ABNORMAL)
    on = planned(after(ticket, Continued(NOW)))
    assert sorted(on.out) == [i(3), i(4)]
    assert counted(on) == 0


def test_a_retried_canary_is_a_canary_again() -> None:
    ticket = answered(planned(a_ticket(5, canary=Canary(instances=1))), BAD, 1)
    again = planned(after(ticket, BatchRetried(NOW, 1)))
    assert (sorted(again.out), again.gate) == ([i(1)], Gate.CLOSED)
    assert answered(again, BAD, 1).state is TicketState.ABNORMAL
    assert sorted(answered(again, OK, 1).out) == [i(2), i(3)]


def test_a_canary_that_was_given_up_lets_nothing_go_on_by_itself() -> None:
    ticket = after(answered(planned(a_ticket(5, canary=Canary(instances=1))), BAD, 1), BatchCanceled(NOW, 1))
    assert (planned(ticket).state, dict(planned(ticket).out)) == (TicketState.ABNORMAL, {})
    assert planned(after(ticket, Continued(NOW))).out


def test_a_canary_can_wait_for_an_operator_and_a_pause_before_is_not_his_word() -> None:
    ticket = planned(a_ticket(5, canary=Canary(instances=1, wait=True)))
    ticket = answered(after(ticket, Paused(NOW)), OK, 1)
    held = planned(after(ticket, Continued(NOW)))
    assert (held.state, held.gate, dict(held.out)) == (TicketState.PAUSED, Gate.WAITING, {})
    assert "canary" in held.note
    assert sorted(planned(after(held, Continued(NOW))).out) == [i(2), i(3)]


def test_nothing_is_sent_past_a_canary_that_has_not_ended_well() -> None:
    ticket = after(answered(planned(a_ticket(5, canary=Canary(instances=1))), BAD, 1), BatchRetried(NOW, 1))
    with pytest.raises(IllegalMove):
        evolve(ticket, Dispatched(NOW, (i(2),)))


def test_a_canary_of_all_targets_is_an_ordinary_batch() -> None:
    assert answered(planned(a_ticket(2, canary=Canary(percent=100, wait=True))), OK, 1, 2).state is TicketState.FINISHED


# Soak ----------------------------------------------------------------------------------------------------------------


def test_after_a_batch_nothing_is_sent_for_the_soak_time() -> None:
    ticket = answered(planned(a_ticket(4, soak=5 * MINUTE)), OK, 1, 2)
    assert (dict(ticket.out), ticket.soak_until) == ({}, NOW + 5 * MINUTE)
    assert next_deadline(ticket, {}) == NOW + 5 * MINUTE
    assert plan(ticket, {}, NOW + 5 * MINUTE - timedelta(seconds=1)) is None
    ticket = planned(ticket, NOW + 5 * MINUTE)
    assert sorted(ticket.out) == [i(3), i(4)]
    assert ticket.soak_until is None
    assert answered(ticket, OK, 3, 4).state is TicketState.FINISHED, "nothing soaks after the last batch"


def test_a_retry_does_not_soak_and_a_pause_does_not_shorten_it() -> None:
    ticket = answered(planned(a_ticket(4, soak=5 * MINUTE)), BAD, 1)
    ticket = answered(ticket, OK, 2)
    paused = after(ticket, Paused(NOW), Continued(NOW + MINUTE))
    assert plan(paused, {}, NOW + MINUTE) is None
    assert sorted(planned(after(ticket, BatchRetried(NOW, 1))).out) == [i(1)]


# A ticket's own time -------------------------------------------------------------------------------------------------


def test_when_its_time_is_over_what_is_out_is_timeout_and_what_was_not_sent_is_canceled() -> None:
    ticket = answered(planned(a_ticket(5, ticket_timeout=5 * MINUTE)), OK, 1)
    assert next_turn(ticket) == NOW + 5 * MINUTE
    ticket = planned(ticket, NOW + 5 * MINUTE)
    assert ticket.counts == Counts(succeeded=1, timeout=1, canceled=3)
    assert (ticket.state, ticket.abnormal_cause) == (TicketState.ABNORMAL, AbnormalCause.TIMED_OUT)
    assert [ticket.batches[n].state.value for n in (1, 2, 3)] == ["ABNORMAL", "CANCELED", "CANCELED"]
    assert ticket.note == "its 5 m were over: 3 not sent, 1 without an answer"
    assert ticket.timed_out_at == ticket.ended_at == NOW + 5 * MINUTE
    assert "not sent" in ticket.runs[i(5)].error


def test_a_ticket_that_had_nothing_out_when_its_time_was_over_is_canceled() -> None:
    ticket = answered(planned(a_ticket(4, ticket_timeout=5 * MINUTE, soak=10 * MINUTE)), OK, 1, 2)
    ticket = planned(ticket, NOW + 5 * MINUTE)
    assert (ticket.state, ticket.abnormal_cause) == (TicketState.CANCELED, None)
    assert ticket.counts == Counts(succeeded=2, canceled=2)


def test_time_passes_while_a_ticket_is_held_but_not_while_it_is_suspended() -> None:
    held = after(planned(a_ticket(2, ticket_timeout=5 * MINUTE)), Paused(NOW))
    assert planned(held, NOW + 5 * MINUTE).timed_out_at is not None
    stopped = answered(planned(a_ticket(3, rate=1000, ticket_timeout=5 * MINUTE)), BAD, 1)
    stopped = answered(stopped, OK, 2)
    assert planned(stopped, NOW + 60 * MINUTE).state is TicketState.ABNORMAL
    on = planned(after(stopped, Continued(NOW + 60 * MINUTE)), NOW + 60 * MINUTE)
    assert (sorted(on.out), on.expires_at) == ([i(3)], NOW + 65 * MINUTE)


def test_what_timed_out_can_be_retried_and_gets_new_time() -> None:
    ticket = planned(planned(a_ticket(2, ticket_timeout=5 * MINUTE)), NOW + 5 * MINUTE)
    again = planned(after(ticket, RunsRetried(NOW + 6 * MINUTE)), NOW + 6 * MINUTE)
    assert (again.counts, again.timed_out_at) == (Counts(processing=2), None)
    assert again.expires_at == NOW + 11 * MINUTE


# Agents that are away ------------------------------------------------------------------------------------------------


def test_runs_wait_for_their_agents_while_others_go_first_and_go_when_they_come() -> None:
    ticket = a_ticket(2, max_in_flight=1, offline=OfflinePolicy(wait=60 * MINUTE))
    ticket = planned(ticket, away={i(1): NOW})
    assert (sorted(ticket.out), dict(ticket.waiting)) == ([i(2)], {i(1): "agent"})
    ticket = evolve(ticket, Reported(NOW, i(2), 1, OK))
    assert not planned(ticket, away={i(1): NOW}).out
    assert sorted(planned(ticket).out) == [i(1)]
    assert not planned(ticket).waiting


def test_who_is_away_when_the_waiting_is_over_is_unreachable_without_having_been_sent() -> None:
    ticket = a_ticket(2, offline=OfflinePolicy(until=NOW + 30 * MINUTE))
    ticket = planned(ticket, away={i(1): NOW})
    assert next_deadline(ticket, {i(1): NOW}) == min(NOW + 30 * MINUTE, NOW + ticket.spec.timeout)
    ticket = evolve(ticket, Reported(NOW, i(2), 1, OK))
    ticket = planned(ticket, NOW + 30 * MINUTE, away={i(1): NOW})
    run = ticket.runs[i(1)]
    assert (run.outcome, run.attempt, ticket.state) == (Outcome.UNREACHABLE, 0, TicketState.ABNORMAL)
    assert run.error == "agent away since 2026-11-22 12:00:00 UTC, was to be waited for until 2026-11-22 12:30:00 UTC"
    assert evolve(ticket, Reported(NOW, i(1), 0, OK)) is ticket, "nobody can have a result of what was never sent"


def test_what_is_retried_when_nobody_waits_any_more_is_sent() -> None:
    ticket = planned(a_ticket(1, offline=OfflinePolicy(wait=MINUTE)))
    ticket = after(answered(ticket, BAD, 1, at=NOW + 2 * MINUTE), RunsRetried(NOW + 2 * MINUTE))
    assert dict(planned(ticket, NOW + 2 * MINUTE, away={i(1): NOW}).out) == {i(1): "T-1/i-1/2"}


# Two tickets on one instance -----------------------------------------------------------------------------------------


def test_a_run_waits_for_another_tickets_run_takes_no_slot_and_others_go_first() -> None:
    ticket = planned(a_ticket(2, max_in_flight=1), busy={i(1): TicketId("T-9")})
    assert (sorted(ticket.out), dict(ticket.waiting)) == ([i(2)], {i(1): "T-9"})
    ticket = evolve(ticket, Reported(NOW, i(2), 1, OK))
    assert dict(planned(ticket, busy={i(1): TicketId("T-8")}).waiting) == {i(1): "T-8"}
    assert sorted(planned(ticket).out) == [i(1)]


def test_who_waits_can_be_given_up_and_waits_no_more() -> None:
    ticket = planned(a_ticket(2), busy={i(1): TicketId("T-9")})
    assert not after(ticket, RunCanceled(NOW, i(1))).waiting
    assert not after(ticket, Ended(NOW)).waiting


def test_the_work_of_a_plan_is_for_those_named_only() -> None:
    ticket = planned(a_ticket(2), busy={i(1): TicketId("T-9")})
    assert plan(ticket, {}, NOW, again=()) is None
    assert plan(ticket, {}, NOW, again=(i(1),)) == Dispatched(NOW, (i(1),))
    late = NOW + ticket.spec.timeout
    assert plan(ticket, {}, late, due=(), again=()) is None
    assert isinstance(plan(ticket, {}, late, due=(i(2),), again=()), Lost)


# Retry ---------------------------------------------------------------------------------------------------------------


def test_one_failed_instance_can_be_retried_alone() -> None:
    ticket = answered(answered(planned(a_ticket(4)), BAD, 1, 2), OK, 3, 4)
    again = planned(after(ticket, RunsRetried(NOW, (i(2),))))
    assert (sorted(again.out), again.counts) == ([i(2)], Counts(processing=1, failed=1, succeeded=2))
    ended = answered(again, OK, 2)
    assert (ended.state, ended.batches[1].state) == (TicketState.ABNORMAL, BatchState.ABNORMAL)


def test_all_failed_instances_can_be_retried_also_those_of_the_batch_that_runs() -> None:
    ticket = answered(answered(planned(a_ticket(4)), BAD, 1, 2), BAD, 3)
    again = planned(after(ticket, RunsRetried(NOW)))
    assert (again.counts, again.current) == (Counts(ready=3, processing=1), 1)
    again = answered(again, OK, 4)
    assert sorted(again.out) == [i(1), i(2)], "the batch that ran lets its run end first"
    assert answered(answered(again, OK, 1, 2), OK, 3).state is TicketState.FINISHED


def test_only_failed_runs_of_batches_that_were_not_given_up_can_be_retried() -> None:
    ticket = answered(answered(planned(a_ticket(4)), BAD, 1, 2), OK, 3, 4)
    with pytest.raises(IllegalMove, match="only a run that failed"):
        evolve(ticket, RunsRetried(NOW, (i(3),)))
    with pytest.raises(NotFound):
        evolve(ticket, RunsRetried(NOW, (i(9),)))
    canceled = after(answered(planned(a_ticket(4)), BAD, 1, 2), BatchCanceled(NOW, 1))
    with pytest.raises(IllegalMove, match="given up"):
        evolve(canceled, RunsRetried(NOW, (i(1),)))
    with pytest.raises(IllegalMove, match="without a failed instance"):
        evolve(canceled, RunsRetried(NOW))


def test_a_retry_while_it_goes_on_forgives_nothing_else() -> None:
    ticket = answered(answered(planned(a_ticket(6, rate=500)), BAD, 1, 2), OK, 3)
    again = after(ticket, RunsRetried(NOW, (i(1),)))
    assert counted(again) == 1, "the other failure still counts; the retried one is out of the count until it ends"


def test_what_was_forgiven_is_known_run_by_run() -> None:
    ticket = answered(planned(a_ticket(6, rate=1000)), Outcome.TIMEOUT, 1)
    ticket = planned(after(answered(ticket, OK, 2), Continued(NOW)))
    late = evolve(ticket, Reported(NOW, i(1), 1, BAD))
    assert counted(late) == 0, "the same failure by another name is still forgiven"
    assert counted(answered(late, BAD, 3)) == 1
    healed = evolve(ticket, Reported(NOW, i(1), 1, OK))
    assert counted(evolve(healed, Reported(NOW, i(3), 1, BAD))) == 1


# The log of a run ----------------------------------------------------------------------------------------------------


def test_a_run_remembers_when_it_reached_each_step_each_once() -> None:
    ticket = planned(a_ticket(1))
    said = tuple((i(1), Step(1, name, NOW + MINUTE)) for name in ("sent", "accepted", "accepted"))
    ticket = after(ticket, Progressed(NOW, said), Reported(NOW + 2 * MINUTE, i(1), 1, BAD))
    log = [(s.attempt, s.name, s.at) for s in ticket.runs[i(1)].log]
    assert log == [
        (1, "promised", NOW),
        (1, "sent", NOW + MINUTE),
        (1, "accepted", NOW + MINUTE),
        (1, "stored", NOW + 2 * MINUTE),
        (1, "ended", NOW + 2 * MINUTE),
    ]
    again = planned(after(planned(ticket), RunsRetried(NOW)))
    assert [(s.attempt, s.name) for s in again.runs[i(1)].log[-2:]] == [(2, "queued"), (2, "promised")]


def test_a_log_is_bounded() -> None:
    ticket = planned(a_ticket(1))
    for _ in range(2 * MOST_STEPS):
        ticket = planned(after(answered(ticket, BAD, 1), RunsRetried(NOW)))
    assert len(ticket.runs[i(1)].log) == MOST_STEPS


# Instances that left the fleet, or were found to be two, since the ticket was planned


def test_who_may_not_be_spoken_to_any_more_is_skipped_when_its_turn_comes_and_counts_neither_way() -> None:
    ticket = planned(a_ticket(4, rate=1000), barred={i(1): "in quarantine", i(4): "retired"})
    assert set(ticket.out) == {i(2)}
    assert (ticket.runs[i(1)].outcome, ticket.runs[i(1)].error) == (Outcome.SKIPPED, "in quarantine")
    assert ticket.counts == Counts(ready=2, processing=1, skipped=1), "it is not the other one's turn yet"
    going = planned(evolve(ticket, Reported(NOW, i(2), 1, OK)), barred={i(4): "retired"})
    ended = answered(going, OK, 3)
    assert (ended.state, ended.counts) == (TicketState.FINISHED, Counts(succeeded=2, skipped=2))
    assert counted(ended) == 0


def test_a_ticket_all_of_whose_instances_left_is_over_at_once() -> None:
    ticket = planned(a_ticket(3), barred=dict.fromkeys(map(i, range(1, 4)), "retired"))
    assert (ticket.state, ticket.counts) == (TicketState.FINISHED, Counts(skipped=3))
    assert {batch.state for batch in ticket.batches.values()} == {BatchState.FINISHED}


def test_who_waits_for_its_agent_is_skipped_too_and_a_run_that_is_out_is_not() -> None:
    waits = a_ticket(2, offline=OfflinePolicy(wait=10 * MINUTE))
    ticket = planned(waits, away={i(1): NOW})
    assert (set(ticket.out), set(ticket.waiting)) == ({i(2)}, {i(1)})
    ticket = planned(ticket, NOW + MINUTE, away={i(1): NOW}, barred={i(1): "retired", i(2): "retired"})
    assert ticket.counts == Counts(processing=1, skipped=1)


def test_a_retry_that_is_skipped_takes_no_result_of_the_attempt_before() -> None:
    ticket = planned(answered(planned(a_ticket(1)), Outcome.TIMEOUT, 1))
    skipped = planned(evolve(ticket, RunsRetried(NOW)), barred={i(1): "in quarantine"})
    assert skipped.counts == Counts(skipped=1)
    late = evolve(skipped, Reported(NOW, i(1), 1, OK))
    assert late is skipped
