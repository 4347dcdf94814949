"""Answers for past instants: what was known then decides, and nothing that came later (R1)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from controller.compliance.aggregate import ComplianceCounts
from controller.compliance.model import (
    AssignmentScope,
    ExceptionMatch,
    Exceptions,
    ExceptionScope,
    InstanceStatus,
    PatchException,
    Reason,
)
from controller.dispatch.decisions import known_by
from controller.dispatch.history import History, end_of
from tests.builders import NOW, a_baseline, a_rule, instance_id
from tests.fleet_in_store import DAY, NEW, OLD, Fleet, a_fleet

LATER = a_rule(approve_after_days=365)
HOUR = timedelta(hours=1)


async def days_pass(fleet: Fleet, days: int) -> None:
    """Let days go by without anybody looking at the clock meanwhile."""
    fleet.clock.jump(days * DAY)


async def test_R1_a_past_answer_comes_from_the_inventory_of_then() -> None:
    async with a_fleet() as fleet:
        history = History(fleet.store, fleet.assessor)
        repository = await fleet.repository()
        instance = await fleet.enrol(1, enrolled_at=NOW - DAY)
        await fleet.report(1, [repository], OLD)
        await days_pass(fleet, 1)
        await fleet.report(1, [repository], NEW)
        answers = [
            (await history.assessments([instance], at))[0] for at in (NOW - HOUR, NOW, NOW + 23 * HOUR, NOW + DAY)
        ]
        assert [a.status for a in answers] == [
            InstanceStatus.UNDETERMINED,
            InstanceStatus.NON_COMPLIANT,
            InstanceStatus.NON_COMPLIANT,
            InstanceStatus.COMPLIANT,
        ]
        assert [r.reason for r in answers[0].reasons] == [Reason.NO_REPORT]
        assert answers[2].inputs.as_of == NOW + 23 * HOUR


async def test_R1_a_past_answer_of_an_instant_is_the_answer_that_was_given_then() -> None:
    async with a_fleet() as fleet:
        history = History(fleet.store, fleet.assessor)
        instance = await fleet.enrol(1)
        await fleet.report(1, [await fleet.repository()])
        given, given_items = await fleet.assessor.report(instance, all_items=True)
        at = fleet.clock.now()
        await days_pass(fleet, 3)
        await fleet.excuse(ExceptionScope.ALL, "", "*", DAY)
        await fleet.baseline(a_baseline("CentOS-Default", LATER, version=2))
        again, items = await history.report(instance, at, all_items=True)
        assert (again, items) == (given, given_items)


async def test_what_a_host_said_twice_held_between_and_got_stale_after_the_last_time() -> None:
    async with a_fleet() as fleet:
        history = History(fleet.store, fleet.assessor)
        repository = await fleet.repository()
        instance = await fleet.enrol(1)
        await fleet.report(1, [repository])
        await days_pass(fleet, 5)
        await fleet.report(1, [repository])
        await days_pass(fleet, 5)
        between, after = [(await history.assessments([instance], NOW + n * DAY))[0] for n in (3, 8)]
        assert between.status is InstanceStatus.NON_COMPLIANT
        assert between.collected_at == NOW + 3 * DAY
        assert Reason.STALE in [r.reason for r in after.reasons]
        assert after.collected_at == NOW + 5 * DAY


async def test_the_baseline_version_and_the_assignment_of_then_decide() -> None:
    async with a_fleet() as fleet:
        history = History(fleet.store, fleet.assessor)
        repository = await fleet.repository()
        instance = await fleet.enrol(1)
        await fleet.report(1, [repository])
        await days_pass(fleet, 1)
        await fleet.baseline(a_baseline("CentOS-Default", LATER, version=2))
        await days_pass(fleet, 1)
        own = await fleet.baseline(a_baseline("own"))
        await fleet.assign(AssignmentScope.INSTANCE, instance_id(1), own.id)
        await days_pass(fleet, 1)
        await fleet.assign(AssignmentScope.INSTANCE, instance_id(1), "")
        told = list[tuple[str, int, str]]()
        for number in range(4):
            (answer,) = await history.assessments([instance], NOW + number * DAY)
            told.append((answer.baseline_name, answer.inputs.baseline_version, answer.baseline_source))
        assert told == [
            ("CentOS-Default", 1, "default"),
            ("CentOS-Default", 2, "default"),
            ("own", 1, "instance"),
            ("CentOS-Default", 2, "default"),
        ]


async def test_R13_a_past_item_says_since_when_only_if_that_is_remembered_and_had_come_by_then() -> None:
    async with a_fleet() as fleet:
        history = History(fleet.store, fleet.assessor)
        repository = await fleet.repository()
        instance = await fleet.enrol(1)
        for build in (OLD, NEW, OLD):
            await fleet.report(1, [repository], build)
            await fleet.answer(1)
            await days_pass(fleet, 1)
        _, (first,) = await history.report(instance, NOW)
        _, (second,) = await history.report(instance, NOW + 2 * DAY + HOUR)
        assert first.first_non_compliant_at is None
        assert second.first_non_compliant_at == NOW + 2 * DAY


def test_R10_exceptions_are_those_known_then_with_the_version_of_then() -> None:
    first = PatchException(
        "X-1", ExceptionScope.ALL, "", ExceptionMatch.PACKAGE, "*", "why", "ann", NOW, NOW + 9 * DAY, NOW + 2 * DAY
    )
    second = replace(first, id="X-2", created_at=NOW + DAY, revoked_at=None)
    now = Exceptions(3, (first, second))
    assert known_by(now, NOW - HOUR) == Exceptions(0, ())
    assert known_by(now, NOW) == Exceptions(1, (replace(first, revoked_at=None),))
    assert known_by(now, NOW + DAY) == Exceptions(2, (replace(first, revoked_at=None), second))
    assert known_by(now, NOW + 2 * DAY) == now


async def test_the_trend_counts_an_instance_from_its_enrolment_and_each_day_as_of_its_end() -> None:
    async with a_fleet() as fleet:
        history = History(fleet.store, fleet.assessor)
        repository = await fleet.repository()
        first = await fleet.enrol(1)
        await fleet.report(1, [repository], OLD)
        await days_pass(fleet, 1)
        second = await fleet.enrol(2, enrolled_at=fleet.clock.now())
        await fleet.report(1, [repository], NEW)
        await days_pass(fleet, 1)
        await fleet.report(1, [repository], NEW)
        await fleet.report(2, [repository], OLD)
        today = fleet.clock.now().date()
        expected = [
            (today - 3 * DAY, ComplianceCounts()),
            (today - 2 * DAY, ComplianceCounts(0, 1, 0)),
            (today - 1 * DAY, ComplianceCounts(1, 0, 1)),
            (today, ComplianceCounts(1, 1, 0)),
        ]
        for _ in range(2):  # the second time from memory
            trend = await history.trend([first, second], 4, fleet.clock.now())
            assert [(t.day, t.counts) for t in trend] == expected
        only_second = await history.trend([second], 2, fleet.clock.now())
        assert [t.counts for t in only_second] == [ComplianceCounts(0, 0, 1), ComplianceCounts(0, 1, 0)]


async def test_each_day_of_the_trend_is_what_the_answers_as_of_its_end_say() -> None:
    async with a_fleet(a_baseline("CentOS-Default", a_rule(approve_after_days=12))) as fleet:
        history = History(fleet.store, fleet.assessor)
        repository = await fleet.repository()
        instances = [await fleet.enrol(number) for number in range(1, 9)]
        for _ in range(5):
            for number in range(1, 9):
                if number % 3:
                    await fleet.report(number, [repository], NEW if number % 4 == 0 else OLD)
            await days_pass(fleet, 1)
        trend = await history.trend(instances, 5, fleet.clock.now())
        for day in trend[:-1]:
            answers = await history.assessments(
                [i for i in instances if i.enrolled_at <= end_of(day.day)], end_of(day.day)
            )
            statuses = [a.status for a in answers]
            assert day.counts == ComplianceCounts(
                statuses.count(InstanceStatus.COMPLIANT),
                statuses.count(InstanceStatus.NON_COMPLIANT),
                statuses.count(InstanceStatus.UNDETERMINED),
            )
        assert len({t.counts for t in trend}) > 1
