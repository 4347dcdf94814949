"""The ticket machine under random events: invariants 1 to 3 of the design hold after every single step."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from common.errors import IllegalMove
from controller.fleet.model import InstanceId
from controller.tickets.batches import batches
from controller.tickets.gate import Verdict, verdict
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
    Lost,
    Outcome,
    Paused,
    Reported,
    RunCanceled,
    RunsRetried,
    RunState,
    Target,
    Ticket,
    TicketId,
    TicketSpec,
    TicketState,
)
from controller.tickets.plan import given_up_at, next_deadline, offline_until, plan
from controller.tickets.policies import (
    BatchPolicy,
    BatchPolicyKind,
    Canary,
    OfflinePolicy,
    SuspensionMode,
    SuspensionPolicy,
)
from controller.tickets.suspension import counted, failures, is_failure, stops_at, tripped
from tests.examples import examples

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ANSWERS = st.sampled_from([Outcome.SUCCEEDED, Outcome.SUCCEEDED, Outcome.FAILED, Outcome.SKIPPED, Outcome.TIMEOUT])
OVER = {BatchState.FINISHED, BatchState.ABNORMAL, BatchState.CANCELED}

specs = st.builds(
    TicketSpec,
    timeout=st.sampled_from([timedelta(seconds=30), timedelta(minutes=10)]),
    batch_policy=st.builds(
        BatchPolicy,
        kind=st.sampled_from([BatchPolicyKind.NO_BATCH, BatchPolicyKind.AUTO_BATCH]),
        batch_size=st.integers(1, 4),
        group_share_percent=st.just(100),
        ramp=st.sampled_from([(), (1,)]),
        canary=st.none() | st.builds(Canary, instances=st.integers(1, 3), wait=st.booleans()),
        soak=st.sampled_from([timedelta(0), timedelta(seconds=45)]),
    ),
    max_in_flight=st.integers(1, 4),
    ticket_timeout=st.sampled_from([timedelta(0), timedelta(minutes=15)]),
    offline=st.sampled_from([OfflinePolicy(), OfflinePolicy(wait=timedelta(minutes=5))]),
    suspension_policy=st.builds(
        SuspensionPolicy,
        success_rate_tenths=st.sampled_from([0, 500, 800, 1000]),
        mode=st.sampled_from(SuspensionMode),
        ignore_unreachable=st.booleans(),
    ),
)


def a_ticket(size: int, spec: TicketSpec) -> Ticket:
    targets = [Target(InstanceId(f"i-{n}"), f"web-{n}") for n in range(size)]
    return create(TicketId("T-1"), spec, batches(targets, spec.batch_policy), "operator", NOW)


def recount(buckets: list[str]) -> Counts:
    return Counts(**Counter(buckets))


def check(ticket: Ticket, size: int) -> None:
    """Assert all that must hold of any ticket."""
    assert ticket.counts.total == size == len(ticket.runs), "every target is in exactly one bucket"
    assert ticket.counts == recount([run.bucket for run in ticket.runs.values()])
    out = {i: run.id(ticket.id) for i, run in ticket.runs.items() if run.state is RunState.PROCESSING}
    assert dict(ticket.out) == out
    assert len(out) <= ticket.spec.max_in_flight
    assert len({ticket.runs[i].batch for i in out}) <= 1, "batches are barriers"
    for number, batch in ticket.batches.items():
        assert batch.counts == recount([ticket.runs[m].bucket for m in batch.members])
        assert all(ticket.runs[m].batch == number for m in batch.members)
        passed = [ticket.runs[m] for m in batch.members[: batch.cursor]]
        assert all(run.state is not RunState.READY or run.waits_for for run in passed)
        if batch.state in OVER:
            assert not batch.counts.processing
        if batch.state in (BatchState.FINISHED, BatchState.CANCELED):
            assert not batch.counts.ready
        assert batch.state is not BatchState.FINISHED or not batch.counts.ended_badly
        assert batch.state is not BatchState.ABNORMAL or batch.counts.ended_badly
        assert (batch.ended_at is not None) == (batch.state in OVER and not batch.counts.ready)
    assert (ticket.abnormal_cause is not None) == (ticket.state is TicketState.ABNORMAL)
    at_rest = ticket.state in (TicketState.ABNORMAL, TicketState.CANCELED, TicketState.FINISHED)
    assert (ticket.ended_at is not None) == at_rest
    if ticket.state in (TicketState.FINISHED, TicketState.CANCELED):
        assert not ticket.counts.ready
        assert not ticket.out
    if ticket.state is TicketState.FINISHED:
        assert all(batch.state in (BatchState.FINISHED, BatchState.CANCELED) for batch in ticket.batches.values())
    if ticket.counts.ready:
        current = ticket.batches[ticket.current]
        assert (
            current.counts.ready
            or current.counts.processing
            or current.state in (BatchState.READY, BatchState.PROCESSING)
        )
    policy = ticket.spec.suspension_policy
    old = [run for run in ticket.runs.values() if is_failure(run, policy) and run.pardons < ticket.pardons]
    assert ticket.forgiven == len(old), "what was forgiven is known run by run"
    assert 0 <= ticket.forgiven <= failures(ticket.counts, policy)
    waiting = {i: run.waits_for for i, run in ticket.runs.items() if run.waits_for}
    assert dict(ticket.waiting) == waiting
    assert all(ticket.runs[i].state is RunState.READY for i in waiting)
    assert all(len(run.log) <= MOST_STEPS for run in ticket.runs.values())


class AnyTicket(RuleBasedStateMachine):
    """A ticket, its agents, its operator, and time, in any order."""

    @initialize(size=st.integers(1, 9), spec=specs)
    def made(self, size: int, spec: TicketSpec) -> None:
        self.size, self.now = size, NOW
        self.ticket = a_ticket(size, spec)
        self.saved = self.ticket.saved()
        self.ticket = self.saved
        self.absent = dict[InstanceId, datetime]()
        self.busy = dict[InstanceId, TicketId]()
        self.said = list[Reported]()

    def apply(self, event: Event) -> None:
        before = self.ticket
        after = evolve(before, event)
        sent = {i for i, run in after.runs.items() if run.attempt > before.runs[i].attempt}
        assert not sent or (
            before.state is TicketState.PROCESSING and not tripped(before) and isinstance(event, Dispatched)
        )
        assert not sent & self.busy.keys(), "an instance has one run out at a time"
        assert not sent or before.soak_until is None or before.soak_until <= event.at
        assert not sent or verdict(before) is Verdict.GO
        until = offline_until(before)
        away = {i for i in sent & self.absent.keys() if until is not None}
        retried = {i for i in away if until is not None and event.at >= until and before.runs[i].attempt}
        assert away == retried, "who is away is waited for; only what is retried after that is sent all the same"
        assert after is before or after.changed_at == event.at
        self.ticket = after

    def try_to(self, event: Event) -> None:
        try:
            self.apply(event)
        except IllegalMove as no:
            refused = no
        else:
            return
        assert refused.allowed, "every refusal says what to do next"

    @rule()
    def engine_steps(self) -> None:
        if (event := plan(self.ticket, self.absent, self.now, busy=self.busy)) is not None:
            self.apply(event)  # what is planned is legal

    @rule()
    def engine_goes_on_until_it_waits(self) -> None:
        for _ in range(20 * self.size + 20):
            if (event := plan(self.ticket, self.absent, self.now, busy=self.busy)) is None:
                return
            self.apply(event)
        raise AssertionError("the plan never comes to rest")

    @precondition(lambda self: self.ticket.out)
    @rule(data=st.data(), outcome=ANSWERS)
    def agent_answers(self, data: st.DataObject, outcome: Outcome) -> None:
        instance = data.draw(st.sampled_from(sorted(self.ticket.out)))
        event = Reported(self.now, instance, self.ticket.runs[instance].attempt, outcome, "said so")
        self.said.append(event)
        self.apply(event)
        assert self.ticket.runs[instance].outcome is outcome

    @precondition(lambda self: self.said)
    @rule(data=st.data())
    def a_result_arrives_again(self, data: st.DataObject) -> None:
        event = data.draw(st.sampled_from(self.said))
        run = self.ticket.runs[event.instance]
        if run.attempt == event.attempt and run.outcome is event.outcome:
            assert evolve(self.ticket, event) is self.ticket, "duplicates change nothing"
        self.apply(event)

    @rule(data=st.data(), outcome=ANSWERS, attempt=st.integers(0, 3))
    def any_result_arrives(self, data: st.DataObject, outcome: Outcome, attempt: int) -> None:
        instance = data.draw(st.sampled_from(sorted(self.ticket.runs)))
        before = self.ticket.runs[instance]
        self.apply(Reported(self.now, instance, attempt, outcome))
        if attempt != before.attempt or before.state in (RunState.READY, RunState.FINISHED, RunState.CANCELED):
            assert self.ticket.runs[instance] is before

    @rule(data=st.data())
    def agent_goes_away_or_comes_back(self, data: st.DataObject) -> None:
        instance = data.draw(st.sampled_from(sorted(self.ticket.runs)))
        if self.absent.pop(instance, None) is None:
            self.absent[instance] = self.now

    @rule(data=st.data())
    def another_ticket_takes_or_frees_an_instance(self, data: st.DataObject) -> None:
        instance = data.draw(st.sampled_from(sorted(self.ticket.runs)))
        if self.busy.pop(instance, None) is None and instance not in self.ticket.out:
            self.busy[instance] = TicketId("T-2")

    @rule(seconds=st.sampled_from([1, 29, 60, 600]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def time_passes_until_the_next_deadline(self) -> None:
        if (at := next_deadline(self.ticket, self.absent)) is not None:
            self.now = max(self.now, at)
            if any(given_up_at(self.ticket, i, self.absent) == at for i in self.ticket.out):
                assert isinstance(plan(self.ticket, self.absent, self.now, busy=self.busy), Lost)

    @rule(data=st.data(), kind=st.sampled_from([Paused, Continued, Continued, Ended]))
    def operator_moves_the_ticket(self, data: st.DataObject, kind: Any) -> None:
        if kind is not Ended or data.draw(st.integers(0, 3)) == 0:
            self.try_to(kind(self.now))

    @rule(data=st.data(), kind=st.sampled_from([BatchRetried, BatchRetried, BatchCanceled]))
    def operator_retries_or_cancels_batches(self, data: st.DataObject, kind: Any) -> None:
        self.try_to(kind(self.now, data.draw(st.integers(0, len(self.ticket.batches)))))

    @rule(data=st.data(), count=st.integers(0, 2))
    def operator_retries_runs(self, data: st.DataObject, count: int) -> None:
        some = data.draw(st.lists(st.sampled_from(sorted(self.ticket.runs)), min_size=count, max_size=count))
        self.try_to(RunsRetried(self.now, tuple(some)))

    @rule(data=st.data())
    def operator_cancels_a_run(self, data: st.DataObject) -> None:
        instance = data.draw(st.sampled_from(sorted(self.ticket.runs)))
        self.try_to(RunCanceled(self.now, instance))

    @rule()
    def it_is_saved(self) -> None:
        self.ticket = self.saved = self.ticket.saved()

    @invariant()
    def all_invariants_hold(self) -> None:
        check(self.ticket, self.size)

    @invariant()
    def the_next_plan_is_a_legal_move(self) -> None:
        if (event := plan(self.ticket, self.absent, self.now, busy=self.busy)) is not None:
            assert evolve(self.ticket, event) is not self.ticket

    @invariant()
    def what_is_to_be_saved_covers_all_that_changed(self) -> None:
        changed = {i for i, run in self.ticket.runs.items() if run != self.saved.runs[i]}
        assert changed <= self.ticket.unsaved_runs
        batches_changed = {n for n, batch in self.ticket.batches.items() if batch != self.saved.batches[n]}
        assert batches_changed <= self.ticket.unsaved_batches

    def teardown(self) -> None:
        """However it got here: when agents answer and the operator lets it, the ticket comes to its end."""
        if not hasattr(self, "ticket"):
            return
        self.busy.clear()
        self.absent.clear()
        for _ in range(90 * self.size + 90):
            if (event := plan(self.ticket, {}, self.now)) is not None:
                self.apply(event)
            elif self.ticket.state is TicketState.PAUSED:  # by the operator, or for its canary
                self.apply(Continued(self.now))
            elif self.ticket.out:
                instance = min(self.ticket.out)
                self.apply(Reported(self.now, instance, self.ticket.runs[instance].attempt, Outcome.SUCCEEDED))
            elif self.ticket.abnormal_cause is AbnormalCause.SUSPENDED:
                self.apply(Continued(self.now))
            elif self.ticket.state is TicketState.PROCESSING and self.ticket.soak_until is not None:
                self.now = max(self.now, self.ticket.soak_until)
            else:
                break
        check(self.ticket, self.size)
        assert self.ticket.state in (TicketState.ABNORMAL, TicketState.CANCELED, TicketState.FINISHED)
        assert not self.ticket.counts.ready
        assert not self.ticket.out


AnyTicket.TestCase.settings = settings(max_examples=examples(80), stateful_step_count=50, deadline=None)
TestAnyTicket = AnyTicket.TestCase


@given(
    outcomes=st.lists(st.sampled_from([Outcome.SUCCEEDED, Outcome.FAILED, Outcome.SKIPPED]), min_size=1, max_size=30),
    spec=specs,
)
def test_a_ticket_whose_agents_answer_ends_and_stops_exactly_when_it_must(
    outcomes: list[Outcome], spec: TicketSpec
) -> None:
    script = {InstanceId(f"i-{n}"): outcome for n, outcome in enumerate(outcomes)}
    k = stops_at(len(outcomes), spec.suspension_policy)
    most_out = 0
    spec = replace(spec, batch_policy=replace(spec.batch_policy, canary=None, soak=timedelta(0)))
    ticket = a_ticket(len(outcomes), spec)
    while (event := plan(ticket, {}, NOW)) is not None or ticket.out:
        if event is None:
            instance = min(ticket.out)
            event = Reported(NOW, instance, 1, script[instance])
        ticket = evolve(ticket, event)
        check(ticket, len(outcomes))
        most_out = max(most_out, len(ticket.out))
        assert k is None or not isinstance(event, Dispatched) or ticket.counts.ended_badly < k
    assert most_out <= spec.max_in_flight
    failed = outcomes.count(Outcome.FAILED)
    if k is not None and failed >= k:
        assert ticket.state is TicketState.ABNORMAL
        assert counted(ticket) >= k
    else:
        assert ticket.state is (TicketState.ABNORMAL if failed else TicketState.FINISHED)
        assert not ticket.counts.ready
