"""What operators and agents can do to a ticket, and what it is then (SEMANTICS §1, ticket state)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import perf_counter

import pytest

from common.errors import IllegalMove, NotFound
from controller.fleet.model import InstanceId
from controller.tickets.batches import batches
from controller.tickets.machine import create, evolve
from controller.tickets.model import (
    AbnormalCause,
    BatchCanceled,
    BatchEnded,
    BatchRetried,
    Completed,
    Continued,
    Counts,
    Dispatched,
    Ended,
    Event,
    Lost,
    LostRun,
    Outcome,
    Paused,
    Reported,
    RunCanceled,
    RunState,
    Started,
    Suspended,
    Target,
    Ticket,
    TicketId,
    TicketSpec,
    TicketState,
)
from controller.tickets.plan import next_deadline, plan
from controller.tickets.policies import BatchPolicy, BatchPolicyKind, SuspensionPolicy
from controller.tickets.suspension import counted

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
OK, BAD = Outcome.SUCCEEDED, Outcome.FAILED
ANY_RATE = SuspensionPolicy(success_rate_tenths=0)


def i(number: int) -> InstanceId:
    return InstanceId(f"i-{number}")


def a_ticket(
    size: int,
    per_batch: int = 10,
    *,
    max_in_flight: int = 100,
    policy: SuspensionPolicy = ANY_RATE,
    no_batch: bool = False,
) -> Ticket:
    """A ticket of instances 1 to `size`; it never stops by itself unless told to."""
    kind = BatchPolicyKind.NO_BATCH if no_batch else BatchPolicyKind.AUTO_BATCH
    batch_policy = BatchPolicy(kind, batch_size=per_batch, group_share_percent=100)
    spec = TicketSpec(batch_policy=batch_policy, max_in_flight=max_in_flight, suspension_policy=policy)
    targets = [Target(i(n), f"web-{n}") for n in range(1, size + 1)]
    return create(TicketId("T-1"), spec, batches(targets, batch_policy), "operator", NOW)


def planned(ticket: Ticket, at: datetime = NOW) -> Ticket:
    """Let the plan go on until it waits for somebody."""
    while (event := plan(ticket, {}, at)) is not None:
        ticket = evolve(ticket, event)
    return ticket


def answered(ticket: Ticket, outcome: Outcome, *numbers: int, at: datetime = NOW) -> Ticket:
    """These agents answer, then the plan goes on."""
    for number in numbers:
        ticket = evolve(ticket, Reported(at, i(number), ticket.runs[i(number)].attempt, outcome))
    return planned(ticket, at)


def after(ticket: Ticket, *events: Event) -> Ticket:
    for event in events:
        ticket = evolve(ticket, event)
    return ticket


def batch_states(ticket: Ticket) -> list[str]:
    return [ticket.batches[n].state.value for n in range(1, len(ticket.batches) + 1)]


def suspended() -> Ticket:
    """Six instances in three batches; the first one failed, and at 100 % the ticket stopped in batch 1."""
    ticket = planned(a_ticket(6, 2, policy=SuspensionPolicy(success_rate_tenths=1000), max_in_flight=1))
    ticket = answered(ticket, BAD, 1)
    assert (ticket.state, ticket.abnormal_cause) == (TicketState.ABNORMAL, AbnormalCause.SUSPENDED)
    return ticket


def test_a_new_ticket_is_ready_with_every_run_ready() -> None:
    ticket = a_ticket(5, 2)
    assert ticket.state is TicketState.READY
    assert ticket.counts == Counts(ready=5)
    assert [len(ticket.batches[n].members) for n in (1, 2, 3)] == [2, 2, 1]
    assert ticket.unsaved_runs == set(ticket.runs)


def test_a_ticket_needs_targets_and_each_once() -> None:
    with pytest.raises(ValueError, match="needs targets"):
        create(TicketId("T-1"), TicketSpec(), (), "operator", NOW)
    (batch,) = batches([Target(i(1), "web-1")], BatchPolicy())
    with pytest.raises(ValueError, match="each in one batch"):
        create(TicketId("T-1"), TicketSpec(), (batch, batch), "operator", NOW)


def test_batches_are_barriers_and_all_successes_finish_the_ticket() -> None:
    ticket = planned(a_ticket(4, 2))
    assert sorted(ticket.out) == [i(1), i(2)]
    ticket = answered(ticket, OK, 1)
    assert sorted(ticket.out) == [i(2)], "batch 2 waits for batch 1"
    ticket = answered(ticket, OK, 2)
    assert sorted(ticket.out) == [i(3), i(4)]
    ticket = answered(ticket, OK, 3, 4)
    assert (ticket.state, batch_states(ticket)) == (TicketState.FINISHED, ["FINISHED", "FINISHED"])
    assert ticket.ended_at == NOW


def test_dispatching_promises_an_attempt_with_its_deadline() -> None:
    ticket = planned(a_ticket(1))
    run = ticket.runs[i(1)]
    assert (run.attempt, run.sent_at, run.deadline) == (1, NOW, NOW + ticket.spec.timeout)
    assert dict(ticket.out) == {i(1): "T-1/i-1/1"}


def test_never_more_than_max_in_flight_are_out() -> None:
    ticket = planned(a_ticket(5, max_in_flight=2))
    assert sorted(ticket.out) == [i(1), i(2)]
    with pytest.raises(IllegalMove, match="at its limit"):
        evolve(ticket, Dispatched(NOW, (i(3),)))
    assert sorted(answered(ticket, OK, 1).out) == [i(2), i(3)]


@pytest.mark.parametrize("instances", [(), (3,), (1, 1)])
def test_only_ready_members_of_the_current_batch_can_be_sent_and_only_once(instances: tuple[int, ...]) -> None:
    ticket = after(a_ticket(4, 2), Started(NOW))
    with pytest.raises(IllegalMove):
        evolve(ticket, Dispatched(NOW, tuple(map(i, instances))))


def test_a_batch_with_a_failure_is_abnormal_and_the_ticket_goes_on_within_the_rate() -> None:
    ticket = answered(answered(planned(a_ticket(4, 2)), BAD, 1), OK, 2)
    assert batch_states(ticket) == ["ABNORMAL", "PROCESSING"]
    ticket = answered(ticket, OK, 3, 4)
    assert (ticket.state, ticket.abnormal_cause) == (TicketState.ABNORMAL, AbnormalCause.ENDED_WITH_FAILURES)


def test_skipped_and_canceled_runs_do_not_make_a_batch_abnormal() -> None:
    ticket = after(planned(a_ticket(3)), RunCanceled(NOW, i(1)))
    ticket = answered(answered(ticket, Outcome.SKIPPED, 2), OK, 3)
    assert ticket.state is TicketState.FINISHED
    assert ticket.counts == Counts(succeeded=1, skipped=1, canceled=1)


def test_the_ticket_stops_at_the_kth_failure() -> None:
    ticket = planned(a_ticket(10, 1, policy=SuspensionPolicy(success_rate_tenths=800)))
    ticket = answered(ticket, BAD, 1)
    ticket = answered(ticket, BAD, 2)
    assert ticket.state is TicketState.PROCESSING
    ticket = answered(ticket, BAD, 3)
    assert (ticket.state, ticket.abnormal_cause) == (TicketState.ABNORMAL, AbnormalCause.SUSPENDED)
    assert ticket.counts == Counts(failed=3, ready=7)
    assert batch_states(ticket)[:4] == ["ABNORMAL", "ABNORMAL", "ABNORMAL", "READY"]


def test_a_ticket_past_its_limit_sends_nothing_even_before_it_is_suspended() -> None:
    ticket = after(a_ticket(3, policy=SuspensionPolicy(1000)), Started(NOW), Dispatched(NOW, (i(1),)))
    ticket = after(ticket, Reported(NOW, i(1), 1, BAD))
    with pytest.raises(IllegalMove, match="limit of failures"):
        evolve(ticket, Dispatched(NOW, (i(2),)))
    assert plan(ticket, {}, NOW) == Suspended(NOW, 1)


def test_a_ticket_within_its_rate_cannot_be_suspended() -> None:
    with pytest.raises(IllegalMove, match="within its rate"):
        evolve(planned(a_ticket(3)), Suspended(NOW, 0))


def test_runs_out_when_a_ticket_is_suspended_finish_and_are_counted() -> None:
    ticket = answered(planned(a_ticket(3, policy=SuspensionPolicy(1000), max_in_flight=2)), BAD, 1)
    assert batch_states(ticket) == ["PROCESSING"]
    ticket = answered(ticket, BAD, 2)
    assert ticket.counts == Counts(ready=1, failed=2)
    assert batch_states(ticket) == ["ABNORMAL"]
    assert ticket.state is TicketState.ABNORMAL


def test_continue_after_a_suspension_forgives_once_and_counts_afresh() -> None:
    ticket = planned(after(suspended(), Continued(NOW)))
    assert (ticket.state, counted(ticket)) == (TicketState.PROCESSING, 0)
    assert sorted(ticket.out) == [i(2)], "the batch that was cut off goes on"
    assert ticket.abnormal_cause is None
    ticket = answered(ticket, BAD, 2)
    assert (ticket.state, counted(ticket)) == (TicketState.ABNORMAL, 1)


def test_a_pause_forgives_nothing() -> None:
    ticket = after(planned(a_ticket(3, policy=SuspensionPolicy(1000), max_in_flight=1)), Paused(NOW))
    ticket = answered(ticket, BAD, 1)
    assert ticket.state is TicketState.PAUSED
    ticket = planned(after(ticket, Continued(NOW)))
    assert ticket.state is TicketState.ABNORMAL
    assert not ticket.out


def test_a_paused_ticket_sends_nothing_but_takes_results() -> None:
    ticket = after(planned(a_ticket(3, max_in_flight=1)), Paused(LATER, "maintenance"))
    assert ticket.note == "maintenance"
    ticket = answered(ticket, OK, 1)
    assert ticket.counts == Counts(ready=2, succeeded=1)
    with pytest.raises(IllegalMove, match="continue it"):
        evolve(ticket, Dispatched(NOW, (i(2),)))
    assert sorted(planned(after(ticket, Continued(NOW))).out) == [i(2)]


def test_a_batch_whose_last_run_ends_during_a_pause_ends() -> None:
    ticket = after(planned(a_ticket(4, 2)), Paused(NOW))
    ticket = answered(ticket, OK, 1, 2)
    assert batch_states(ticket) == ["FINISHED", "READY"]
    assert ticket.state is TicketState.PAUSED
    assert planned(after(ticket, Continued(NOW))).current == 2


def test_a_ticket_can_be_paused_before_it_starts() -> None:
    ticket = after(a_ticket(1), Paused(NOW))
    assert plan(ticket, {}, NOW) is None
    assert planned(after(ticket, Continued(NOW))).out


def test_a_duplicate_or_an_older_attempts_result_changes_nothing() -> None:
    ticket = planned(a_ticket(2))
    ticket = after(ticket, Reported(NOW, i(1), 1, BAD))
    for event in (
        Reported(LATER, i(1), 1, BAD),
        Reported(LATER, i(1), 1, OK),
        Reported(LATER, i(2), 0, OK),
        Reported(LATER, i(2), 2, OK),
    ):
        assert evolve(ticket, event) is ticket


def test_a_late_success_replaces_a_timeout_and_finishes_the_ticket() -> None:
    ticket = answered(planned(a_ticket(1)), Outcome.TIMEOUT, 1)
    assert (ticket.state, batch_states(ticket)) == (TicketState.ABNORMAL, ["ABNORMAL"])
    ticket = evolve(ticket, Reported(LATER, i(1), 1, OK))
    assert (ticket.state, batch_states(ticket)) == (TicketState.FINISHED, ["FINISHED"])
    assert ticket.abnormal_cause is None
    assert ticket.ended_at == LATER


def test_a_late_failure_replaces_unreachable_and_counts() -> None:
    policy = SuspensionPolicy(success_rate_tenths=0, ignore_unreachable=True)
    ticket = answered(planned(a_ticket(2, policy=policy)), Outcome.UNREACHABLE, 1)
    assert counted(ticket) == 0
    ticket = evolve(ticket, Reported(LATER, i(1), 1, BAD, "disk full"))
    assert (counted(ticket), ticket.runs[i(1)].outcome, ticket.runs[i(1)].error) == (1, BAD, "disk full")


def test_a_real_result_is_never_replaced() -> None:
    ticket = answered(planned(a_ticket(1)), BAD, 1)
    assert evolve(ticket, Reported(LATER, i(1), 1, OK)) is ticket


def test_a_late_success_does_not_release_a_suspended_ticket() -> None:
    ticket = planned(a_ticket(4, 2, policy=SuspensionPolicy(1000), max_in_flight=1))
    ticket = answered(ticket, Outcome.UNREACHABLE, 1)
    ticket = answered(ticket, OK, 1)
    assert (ticket.state, counted(ticket)) == (TicketState.ABNORMAL, 0)
    assert batch_states(ticket) == ["READY", "READY"]
    assert sorted(planned(after(ticket, Continued(NOW))).out) == [i(2)]


def test_a_late_success_of_a_forgiven_failure_does_not_hide_a_new_one() -> None:
    ticket = planned(a_ticket(4, policy=SuspensionPolicy(1000), max_in_flight=1))
    ticket = planned(after(answered(ticket, Outcome.TIMEOUT, 1), Continued(NOW)))
    ticket = evolve(ticket, Reported(NOW, i(1), 1, OK))
    assert answered(ticket, BAD, 2).state is TicketState.ABNORMAL


def test_a_result_that_comes_while_a_retry_waits_to_be_sent_changes_nothing() -> None:
    ticket = answered(planned(a_ticket(1)), Outcome.TIMEOUT, 1)
    ticket = after(ticket, BatchRetried(NOW, 1))
    assert evolve(ticket, Reported(LATER, i(1), 1, OK)) is ticket


def test_forcibly_ending_cancels_what_has_not_started_and_stops_waiting() -> None:
    ticket = answered(planned(a_ticket(6, 2, max_in_flight=2)), BAD, 1)
    ticket = answered(ticket, OK, 2)
    ticket = after(ticket, Ended(LATER, "wrong baseline"))
    assert ticket.state is TicketState.CANCELED
    assert ticket.counts == Counts(failed=1, succeeded=1, canceled=4)
    assert batch_states(ticket) == ["ABNORMAL", "CANCELED", "CANCELED"]
    assert (ticket.note, ticket.ended_at) == ("wrong baseline", LATER)
    assert evolve(ticket, Reported(LATER, i(3), 1, OK)) is ticket, "the sum stays; the report itself is kept elsewhere"


def test_retry_runs_again_only_what_did_not_succeed() -> None:
    ticket = after(planned(a_ticket(5)), RunCanceled(NOW, i(1)))
    ticket = after(ticket, Reported(NOW, i(2), 1, OK), Reported(NOW, i(3), 1, Outcome.UNREACHABLE))
    ticket = answered(answered(ticket, Outcome.SKIPPED, 4), BAD, 5)
    ticket = planned(after(ticket, BatchRetried(NOW, 1)), LATER)
    assert dict(ticket.out) == {i(3): "T-1/i-3/2", i(5): "T-1/i-5/2"}
    assert ticket.counts == Counts(processing=2, succeeded=1, skipped=1, canceled=1)
    assert ticket.state is TicketState.PROCESSING
    ticket = answered(ticket, OK, 3, 5)
    assert (ticket.state, batch_states(ticket)) == (TicketState.FINISHED, ["FINISHED"])


def test_retry_forgives_and_counts_afresh() -> None:
    ticket = planned(a_ticket(4, 2, policy=SuspensionPolicy(750), max_in_flight=1))
    ticket = answered(answered(ticket, BAD, 1), BAD, 2)
    assert ticket.state is TicketState.ABNORMAL
    ticket = planned(after(ticket, BatchRetried(NOW, 1)))
    assert counted(ticket) == 0
    ticket = answered(ticket, BAD, 1)
    assert (ticket.state, counted(ticket)) == (TicketState.PROCESSING, 1)


def test_after_a_retried_batch_the_next_unfinished_one_goes_on() -> None:
    ticket = planned(after(suspended(), BatchRetried(NOW, 1)))
    ticket = answered(ticket, OK, 1)
    ticket = answered(ticket, OK, 2)
    assert ticket.current == 2
    assert sorted(ticket.out) == [i(3)]


def test_retry_of_an_earlier_batch_takes_the_turn_and_waits_for_what_is_out() -> None:
    ticket = planned(a_ticket(6, 2))
    ticket = answered(answered(ticket, BAD, 1), OK, 2)
    assert sorted(ticket.out) == [i(3), i(4)]
    ticket = planned(after(ticket, BatchRetried(NOW, 1)))
    assert ticket.current == 1
    assert sorted(ticket.out) == [i(3), i(4)], "batches are barriers"
    ticket = answered(ticket, OK, 3, 4)
    assert (sorted(ticket.out), batch_states(ticket)) == ([i(1)], ["PROCESSING", "FINISHED", "READY"])
    ticket = answered(ticket, OK, 1)
    assert sorted(ticket.out) == [i(5), i(6)]


def test_what_a_retry_left_behind_the_current_batch_has_its_turn_at_the_end() -> None:
    ticket = answered(answered(planned(a_ticket(4, 1)), BAD, 1), BAD, 2)
    ticket = planned(answered(after(ticket, BatchRetried(NOW, 1), BatchRetried(NOW, 2)), OK, 3))
    order = list[InstanceId]()
    while ticket.out:
        (instance,) = ticket.out
        order.append(instance)
        ticket = answered(ticket, OK, int(instance.removeprefix("i-")))
    assert order == [i(2), i(4), i(1)]
    assert ticket.state is TicketState.FINISHED


def test_retry_of_a_paused_ticket_waits_for_continue() -> None:
    ticket = answered(answered(planned(a_ticket(4, 2)), BAD, 1), OK, 2)
    ticket = planned(after(ticket, Paused(NOW), BatchRetried(NOW, 1)))
    assert ticket.state is TicketState.PAUSED
    assert ticket.counts.ready == 1
    ticket = planned(after(ticket, Continued(NOW), Reported(NOW, i(3), 1, OK), Reported(NOW, i(4), 1, OK)))
    assert sorted(ticket.out) == [i(1)]


def test_retry_of_0_means_every_abnormal_batch_in_order() -> None:
    ticket = planned(a_ticket(3, 1))
    for number, outcome in ((1, BAD), (2, OK), (3, BAD)):
        ticket = answered(ticket, outcome, number)
    ticket = planned(after(ticket, BatchRetried(NOW, 0)))
    assert sorted(ticket.out) == [i(1)]
    ticket = answered(ticket, OK, 1)
    assert sorted(ticket.out) == [i(3)]
    assert answered(ticket, OK, 3).state is TicketState.FINISHED


def test_cancelling_every_abnormal_batch_finishes_the_ticket_and_failures_stay() -> None:
    ticket = answered(answered(planned(a_ticket(2, 1)), BAD, 1), OK, 2)
    ticket = after(ticket, BatchCanceled(LATER, 1))
    assert (ticket.state, batch_states(ticket)) == (TicketState.FINISHED, ["CANCELED", "FINISHED"])
    assert ticket.counts == Counts(failed=1, succeeded=1)


def test_cancelling_the_batch_that_was_cut_off_cancels_its_unstarted_runs_and_holds_the_rest() -> None:
    ticket = after(suspended(), BatchCanceled(NOW, 1))
    assert ticket.counts == Counts(failed=1, canceled=1, ready=4)
    assert (ticket.state, batch_states(ticket)) == (TicketState.ABNORMAL, ["CANCELED", "READY", "READY"])
    ticket = planned(after(ticket, Continued(NOW)))
    assert sorted(ticket.out) == [i(3)]


def test_a_late_success_in_a_cancelled_batch_is_kept_and_the_batch_stays_cancelled() -> None:
    ticket = answered(answered(planned(a_ticket(2, 1)), Outcome.TIMEOUT, 1), OK, 2)
    ticket = after(ticket, BatchCanceled(NOW, 0), Reported(LATER, i(1), 1, OK))
    assert ticket.counts == Counts(succeeded=2)
    assert (ticket.state, batch_states(ticket)) == (TicketState.FINISHED, ["CANCELED", "FINISHED"])


def test_cancelling_runs_can_end_their_batch() -> None:
    ticket = planned(a_ticket(2, 1))
    ticket = planned(after(ticket, RunCanceled(NOW, i(1))))
    assert sorted(ticket.out) == [i(2)]
    ticket = planned(after(ticket, RunCanceled(NOW, i(2))))
    assert (ticket.state, ticket.counts) == (TicketState.FINISHED, Counts(canceled=2))
    assert ticket.runs[i(1)].state is RunState.CANCELED


def test_a_run_that_has_ended_cannot_be_cancelled() -> None:
    ticket = answered(planned(a_ticket(2)), OK, 1)
    with pytest.raises(IllegalMove, match="instance web-1 is FINISHED") as refused:
        evolve(ticket, RunCanceled(NOW, i(1)))
    assert "has not ended" in str(refused.value)


OPERATORS = (
    Paused(NOW),
    Continued(NOW),
    Ended(NOW),
    BatchRetried(NOW, 0),
    BatchCanceled(NOW, 0),
    RunCanceled(NOW, i(1)),
)
MACHINERY = (Started(NOW), Dispatched(NOW, (i(1),)), BatchEnded(NOW), Suspended(NOW, 1), Completed(NOW))


@pytest.mark.parametrize("event", OPERATORS + MACHINERY, ids=lambda e: type(e).__name__)
def test_a_ticket_that_is_over_refuses_everything_and_says_so(event: Event) -> None:
    for ticket in (after(a_ticket(1), Ended(NOW)), answered(planned(a_ticket(1)), OK, 1)):
        with pytest.raises(IllegalMove, match="create a new ticket"):
            evolve(ticket, event)


def test_every_refusal_says_what_can_be_done_instead() -> None:
    with pytest.raises(IllegalMove, match=r"^ticket T-1 is PROCESSING: continue cannot happen now; pause it, end it"):
        evolve(planned(a_ticket(1)), Continued(NOW))
    with pytest.raises(IllegalMove, match=r"ABNORMAL: pause cannot happen now; continue it, retry or cancel"):
        evolve(suspended(), Paused(NOW))
    ended = answered(answered(planned(a_ticket(2)), BAD, 1), OK, 2)
    with pytest.raises(
        IllegalMove, match=r"ABNORMAL: continue cannot happen now; retry or cancel its abnormal batches, or end"
    ):
        evolve(ended, Continued(NOW))
    with pytest.raises(IllegalMove, match="batch 2 is READY: retry cannot happen now; only a batch that is ABNORMAL"):
        evolve(suspended(), BatchRetried(NOW, 2))
    with pytest.raises(IllegalMove, match="PROCESSING without an abnormal batch: cancel"):
        evolve(planned(a_ticket(1)), BatchCanceled(NOW, 0))


def test_unknown_batches_and_instances_are_not_found() -> None:
    with pytest.raises(NotFound, match="batches 1 to 3"):
        evolve(suspended(), BatchRetried(NOW, 4))
    for event in (RunCanceled(NOW, i(9)), Reported(NOW, i(9), 1, OK)):
        with pytest.raises(NotFound, match="does not have it"):
            evolve(suspended(), event)


def test_silence_past_the_deadline_is_a_timeout_in_any_state() -> None:
    for ticket in (planned(a_ticket(1)), after(planned(a_ticket(1)), Paused(NOW))):
        deadline = NOW + ticket.spec.timeout
        assert next_deadline(ticket, {}) == deadline
        assert plan(ticket, {}, deadline - timedelta(seconds=1)) is None
        assert plan(ticket, {}, deadline) == Lost(
            deadline, (LostRun(i(1), 1, Outcome.TIMEOUT, "no answer after 10 m"),)
        )


def test_an_agent_away_too_long_is_unreachable_counted_from_when_its_run_was_sent() -> None:
    ticket = planned(a_ticket(2))
    away = {i(1): NOW - timedelta(days=1)}
    assert next_deadline(ticket, away) == NOW + timedelta(minutes=1)
    assert plan(ticket, away, NOW + timedelta(seconds=59)) is None
    event = plan(ticket, away, NOW + timedelta(minutes=1))
    assert isinstance(event, Lost)
    (lost,) = event.runs
    assert (lost.instance, lost.outcome) == (i(1), Outcome.UNREACHABLE)
    assert lost.error == "agent lost at 2026-11-21 12:00:00 UTC, away for 1 m"
    assert plan(ticket, {}, NOW + timedelta(minutes=1)) is None, "it came back in time"


def test_an_agent_lost_just_before_the_deadline_times_out_and_the_error_says_it_was_lost() -> None:
    ticket = planned(a_ticket(1))
    deadline = NOW + ticket.spec.timeout
    event = plan(ticket, {i(1): deadline - timedelta(seconds=30)}, deadline)
    assert isinstance(event, Lost)
    (lost,) = event.runs
    assert lost.outcome is Outcome.TIMEOUT
    assert lost.error == "no answer after 10 m: agent lost at 2026-11-22 12:09:30 UTC"


def test_runs_are_promised_to_absent_agents_too() -> None:
    ticket = after(a_ticket(1), Started(NOW))
    assert plan(ticket, {i(1): NOW}, NOW) == Dispatched(NOW, (i(1),))
    assert next_deadline(ticket, {i(1): NOW}) is None


def test_a_move_shares_all_but_what_it_changes() -> None:
    ticket = planned(a_ticket(1000, max_in_flight=10, no_batch=True)).saved()
    changed = after(ticket, Reported(NOW, i(1), 1, OK))
    assert [n for n in ticket.runs if changed.runs[n] is not ticket.runs[n]] == [i(1)]
    assert changed.unsaved_runs == {i(1)}
    assert changed.batches[1].members is ticket.batches[1].members


@pytest.mark.bench
def test_an_event_costs_the_same_at_10_runs_and_at_100_000() -> None:
    def cost(size: int) -> float:
        best = float("inf")
        for _ in range(3):
            ticket = planned(a_ticket(size, max_in_flight=10, no_batch=True)).saved()
            began, events = perf_counter(), 0
            while events < 400 and ticket.out:
                instance = min(ticket.out)
                ticket = after(ticket, Reported(NOW, instance, ticket.runs[instance].attempt, OK))
                if (event := plan(ticket, {}, NOW)) is not None:
                    ticket = evolve(ticket, event)
                ticket = ticket.saved()
                events += 1
            best = min(best, (perf_counter() - began) / events)
        return best

    small, large = cost(10), cost(100_000)
    print(f"a result and the next dispatch: {small * 1e6:.0f} us at 10 runs, {large * 1e6:.0f} us at 100,000")
    assert large < 5 * small
