"""The assessor keeps every answer true: what is asked again when something changes or time goes by, and what is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from common import digest, manifest
from controller.compliance.model import Assessment, AssignmentScope, ExceptionScope, InstanceStatus, Reason
from controller.dispatch.trying import try_baseline
from controller.tickets.model import TicketId, TicketSpec
from tests.builders import NOW, a_baseline, a_package, a_rule, a_ticket, an_advisory, instance_id
from tests.fleet_in_store import DAY, NEW, a_fleet, until

LATER = a_rule(approve_after_days=365)
"""Approves nothing that the tests' repositories have."""


async def test_R16_the_most_specific_assignment_decides_and_the_answer_says_which() -> None:
    async with a_fleet() as fleet:
        repository = await fleet.repository()
        await fleet.enrol(1, enterprise_project="shop")
        await fleet.report(1, [repository])
        told = list[tuple[str, str]]()
        for scope, value in (
            (AssignmentScope.PROJECT, "shop"),
            (AssignmentScope.GROUP, "web"),
            (AssignmentScope.INSTANCE, instance_id(1)),
        ):
            answer = await fleet.answer(1)
            told.append((answer.baseline_source, answer.baseline_name))
            made = await fleet.baseline(a_baseline(f"for-{scope.value.lower()}", LATER))
            await fleet.assign(scope, value, made.id)
        answer = await fleet.answer(1)
        told.append((answer.baseline_source, answer.baseline_name))
        assert told == [
            ("default", "CentOS-Default"),
            ("project", "for-project"),
            ("group", "for-group"),
            ("instance", "for-instance"),
        ]
        assert answer.status is InstanceStatus.COMPLIANT
        await fleet.assign(AssignmentScope.INSTANCE, instance_id(1), "")
        assert (await fleet.answer(1)).baseline_source == "group"


async def test_R16_the_baseline_of_a_ticket_is_kept_beside_the_deciding_answer() -> None:
    async with a_fleet() as fleet:
        custom = await fleet.baseline(a_baseline("lenient", LATER))
        ticket = a_ticket(1, spec=TicketSpec(name="a scan", baseline=custom.id))
        await fleet.store.tickets.create(ticket)
        await fleet.enrol(1)
        await fleet.report(1, [await fleet.repository()], ticket=TicketId("T-1"))

        async def kept() -> bool:
            return await fleet.store.assessments.assessment(instance_id(1), custom.id) is not None

        await until(kept)
        once = await fleet.store.assessments.assessment(instance_id(1), custom.id)
        deciding = await fleet.stored(1)
        assert once is not None
        assert deciding is not None
        assert (once.status, once.baseline_source) == (InstanceStatus.COMPLIANT, "ticket")
        assert (deciding.status, deciding.baseline_source) == (InstanceStatus.NON_COMPLIANT, "default")


async def test_R10_an_exception_holds_from_its_beginning_to_its_end_and_only_those_it_concerns_are_asked_again() -> (
    None
):
    async with a_fleet() as fleet:
        repository = await fleet.repository()
        for number in (1, 2):
            await fleet.enrol(number)
            await fleet.report(number, [repository])
        await fleet.excuse(ExceptionScope.INSTANCE, instance_id(1), "ba*", timedelta(hours=2))
        excused, other = await fleet.answer(1), await fleet.answer(2)
        assert (excused.status, excused.counts.excepted) == (InstanceStatus.COMPLIANT, 1)
        assert excused.inputs.exceptions_version == other.inputs.exceptions_version == 1
        assert other.status is InstanceStatus.NON_COMPLIANT
        await fleet.clock.advance(2 * 3600)

        async def comes_back() -> bool:
            stored = await fleet.stored(1)
            return stored is not None and stored.status is InstanceStatus.NON_COMPLIANT

        await until(comes_back)
        assert (await fleet.answer(1)).inputs.as_of == NOW + timedelta(hours=2)
        assert (await fleet.answer(2)).inputs.as_of == NOW


async def test_R5_at_midnight_utc_what_has_waited_long_enough_is_asked_for_by_itself() -> None:
    async with a_fleet(a_baseline("CentOS-Default", a_rule(approve_after_days=11))) as fleet:
        await fleet.enrol(1)
        await fleet.report(1, [await fleet.repository()])
        assert (await fleet.answer(1)).status is InstanceStatus.COMPLIANT
        await fleet.clock.advance((DAY - timedelta(hours=12, minutes=40)).total_seconds() - 1)
        assert (await fleet.answer(1)).status is InstanceStatus.COMPLIANT
        await fleet.clock.advance(1)

        async def approved() -> bool:
            stored = await fleet.stored(1)
            return stored is not None and stored.status is InstanceStatus.NON_COMPLIANT

        await until(approved)


async def test_an_answer_that_held_to_midnight_is_told_as_that_day_s_last() -> None:
    async with a_fleet() as fleet:
        ended = list[tuple[str, date, InstanceStatus]]()
        fleet.assessor.day_ended = lambda *told: ended.append(told)
        repository = await fleet.repository()
        for number in (1, 2):
            await fleet.enrol(number)
            await fleet.report(number, [repository])
            await fleet.answer(number)
        midnight = datetime(2026, 11, 23, tzinfo=UTC)
        fleet.clock.jump(midnight - NOW - timedelta(seconds=1))
        await fleet.report(2, [repository], NEW)  # evaluated after midnight, said before it
        fleet.clock.jump(timedelta(seconds=1))
        await fleet.report(1, [repository], NEW)
        assert [(await fleet.answer(n)).status for n in (1, 2)] == [InstanceStatus.COMPLIANT] * 2
        assert ended == [(instance_id(1), NOW.date(), InstanceStatus.NON_COMPLIANT)]


async def test_R11_a_report_becomes_stale_without_anybody_asking() -> None:
    async with a_fleet() as fleet:
        await fleet.enrol(1)
        await fleet.report(1, [await fleet.repository()])
        await fleet.clock.advance(26 * 3600)
        assert (await fleet.answer(1)).status is InstanceStatus.NON_COMPLIANT
        await fleet.clock.advance(60)

        async def stale() -> bool:
            stored = await fleet.stored(1)
            return stored is not None and [r.reason for r in stored.reasons] == [Reason.STALE]

        await until(stale)


async def test_a_change_of_one_group_s_baseline_asks_only_that_group_again() -> None:
    async with a_fleet() as fleet:
        repository = await fleet.repository()
        for number, group in ((1, "web"), (2, "db")):
            await fleet.enrol(number, application_group=group)
            await fleet.report(number, [repository])
            await fleet.answer(number)
        await fleet.clock.advance(60)
        made = await fleet.baseline(a_baseline("db", LATER))
        await fleet.assign(AssignmentScope.GROUP, "db", made.id)
        assert (await fleet.answer(1)).inputs.as_of == NOW
        assert (await fleet.answer(2)).inputs.as_of == NOW + timedelta(seconds=60)
        before = fleet.assessor.generation
        await fleet.answer(1)
        await fleet.answer(2)
        assert fleet.assessor.generation == before


async def test_who_asks_while_the_same_is_being_found_out_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep after a start and the first who asks for the fleet's numbers want the same answers."""
    async with a_fleet() as fleet:
        repository = await fleet.repository()
        for number in range(1, 6):
            await fleet.enrol(number)
            await fleet.report(number, [repository])
            await fleet.answer(number)
        kept, keep = list[str](), fleet.store.assessments.put_assessment

        async def counted(assessment: Assessment, *args: Any, **named: Any) -> Any:
            kept.append(assessment.instance_id)
            await asyncio.sleep(0)  # others have their turn
            return await keep(assessment, *args, **named)

        monkeypatch.setattr(fleet.store.assessments, "put_assessment", counted)
        fleet.clock.jump(DAY)
        instances = await fleet.store.fleet.instances()
        both = await asyncio.gather(*(fleet.assessor.assessments(instances) for _ in range(3)))
        assert sorted(kept) == sorted(i.id for i in instances)
        assert both[0] == both[1] == both[2]
        assert {a.inputs.as_of for a in both[0].values()} == {NOW + DAY}


async def test_who_waited_for_an_answer_that_failed_finds_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_fleet() as fleet:
        await fleet.enrol(1)
        await fleet.report(1, [await fleet.repository()])
        await fleet.answer(1)
        fails, keep = [True], fleet.store.assessments.put_assessment

        async def once(*args: Any, **named: Any) -> Any:
            await asyncio.sleep(0)
            if fails:
                fails.clear()
                raise RuntimeError("the first fails")
            return await keep(*args, **named)

        monkeypatch.setattr(fleet.store.assessments, "put_assessment", once)
        fleet.clock.jump(DAY)
        instances = await fleet.store.fleet.instances()
        asked = (fleet.assessor.assessments(instances) for _ in range(2))
        first, second = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(first, RuntimeError)
        assert isinstance(second, Mapping)
        assert [a.inputs.as_of for a in second.values()] == [NOW + DAY]


async def test_an_instance_that_moves_to_another_group_gets_that_group_s_baseline() -> None:
    async with a_fleet() as fleet:
        made = await fleet.baseline(a_baseline("db", LATER))
        await fleet.assign(AssignmentScope.GROUP, "db", made.id)
        instance = await fleet.enrol(1)
        await fleet.report(1, [await fleet.repository()])
        assert (await fleet.answer(1)).baseline_name == "CentOS-Default"
        await fleet.store.fleet.put_instance(replace(instance, application_group="db"))
        assert (await fleet.answer(1)).baseline_name == "db"


async def test_a_baseline_that_is_tried_says_who_would_change_and_stores_nothing() -> None:
    async with a_fleet() as fleet:
        repository = await fleet.repository()
        instances = [await fleet.enrol(number) for number in (1, 2, 3)]
        await fleet.report(1, [repository])
        await fleet.report(2, [repository], NEW)
        await fleet.report(3, [repository])
        own = await fleet.baseline(a_baseline("own"))
        await fleet.assign(AssignmentScope.INSTANCE, instance_id(3), own.id)
        outcome = await try_baseline(fleet.assessor, a_baseline("stricter", LATER), instances, fleet.clock)
        assert outcome.replaces is not None
        assert outcome.replaces.name == "CentOS-Default"
        assert [(r.instance.id, r.before.status, r.after.status, r.newly, r.gone) for r in outcome.rows] == [
            (instance_id(1), InstanceStatus.NON_COMPLIANT, InstanceStatus.COMPLIANT, (), ("bash.x86_64",)),
            (instance_id(2), InstanceStatus.COMPLIANT, InstanceStatus.COMPLIANT, (), ()),
        ]
        assert await fleet.store.assessments.assessment(instance_id(1), "b-stricter") is None
        assert (await fleet.answer(1)).status is InstanceStatus.NON_COMPLIANT
        own_again = await try_baseline(fleet.assessor, a_baseline("own", LATER), instances, fleet.clock)
        assert own_again.replaces == own
        assert [r.instance.id for r in own_again.rows] == [instance_id(3)]


async def test_a_baseline_that_is_tried_where_none_decides_would_be_the_first() -> None:
    async with a_fleet(a_baseline("for others", operating_system="EulerOS")) as fleet:
        instance = await fleet.enrol(1)
        await fleet.report(1, [await fleet.repository()])
        assert [r.reason for r in (await fleet.answer(1)).reasons] == [Reason.NO_BASELINE]
        outcome = await try_baseline(fleet.assessor, a_baseline("first"), [instance], fleet.clock)
        assert outcome.replaces is None
        (row,) = outcome.rows
        assert (row.after.status, row.newly) == (InstanceStatus.NON_COMPLIANT, ("bash.x86_64",))


async def test_R9_a_package_that_matters_and_came_after_the_boot_waits_for_a_restart() -> None:
    async with a_fleet() as fleet:
        fixed = "glibc-2.17-326.el7_9.x86_64"
        lines = [a_package(fixed)]
        booted = int(NOW.timestamp()) - 10 * 86_400
        _, details = manifest.encode_packages((line, booted + 3600, "CentOS") for line in lines)
        await fleet.store.inventory.put_blob(digest.of(details), details)
        await fleet.enrol(1)
        updates = await fleet.repository(an_advisory("CESA-2026:0002", fixed))
        await fleet.report(1, [updates], fixed, details=digest.of(details).hex(), boot_time=booted)
        answer = await fleet.answer(1)
        assert (answer.status, answer.counts.pending_reboot) == (InstanceStatus.NON_COMPLIANT, 1)
        await fleet.report(1, [updates], fixed, details=digest.of(details).hex(), boot_time=booted + 7200)
        assert (await fleet.answer(1)).status is InstanceStatus.COMPLIANT
