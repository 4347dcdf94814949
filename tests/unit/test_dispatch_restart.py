"""After a restart an answer is taken up only if it can be shown that it would be the same; all others are given anew (R1, R11)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from common import digest
from controller.compliance.evaluator import Limits
from controller.compliance.model import ExceptionScope, InstanceStatus, Reason
from controller.dispatch import assess
from controller.dispatch.assess import Assessor
from controller.dispatch.edition import edition
from controller.dispatch.trying import try_baseline
from controller.fleet.model import OperatingSystem
from controller.inventory.parse_worker import MetadataParser
from tests.builders import NOW, a_baseline, a_rule, instance_id
from tests.fleet_in_store import NEW, Fleet, a_fleet

LATER = timedelta(minutes=5)
LENIENT = a_rule(approve_after_days=365)


@asynccontextmanager
async def restarted(fleet: Fleet, limits: Limits = Limits()) -> AsyncIterator[Fleet]:  # noqa: B008 - frozen
    """The fleet five minutes later with another assessor over the same store."""
    await fleet.assessor.stop()
    fleet.clock.jump(LATER)
    async with MetadataParser() as parser:
        assessor = Assessor(fleet.store, parser, fleet.clock, limits)
        await assessor.start()
        try:
            yield replace(fleet, assessor=assessor)
        finally:
            await assessor.stop()


@asynccontextmanager
async def reported() -> AsyncIterator[Fleet]:
    async with a_fleet() as fleet:
        await fleet.enrol(1)
        await fleet.report(1, [await fleet.repository()])
        assert (await fleet.answer(1)).status is InstanceStatus.NON_COMPLIANT
        yield fleet


async def was_taken_up(fleet: Fleet) -> bool:
    """Say whether the answer is the one of before the restart, and not one of now."""
    as_of = (await fleet.answer(1)).inputs.as_of
    assert as_of in (NOW, fleet.clock.now())
    return as_of == NOW


async def test_R1_an_answer_whose_inputs_are_the_same_is_not_given_again_after_a_restart() -> None:
    async with reported() as fleet:
        before = await fleet.answer(1)
        async with restarted(fleet) as again:
            assert await again.answer(1) == before
            (standing,) = await again.assessor.standings([await again.store.fleet.get_instance(instance_id(1))])
            assert standing.earliest == NOW


async def test_what_a_baseline_would_change_is_exact_for_answers_from_before_the_restart() -> None:
    async with reported() as fleet:
        lenient = a_baseline("CentOS-Default", LENIENT)
        instances = await fleet.store.fleet.instances()
        before = await try_baseline(fleet.assessor, lenient, instances, fleet.clock)
        async with restarted(fleet) as again:
            after = await try_baseline(again.assessor, lenient, instances, again.clock)
            assert await was_taken_up(again)
        assert [(r.newly, r.gone) for r in after.rows] == [(r.newly, r.gone) for r in before.rows]
        assert after.rows[0].gone == ("bash.x86_64",)


async def test_another_edition_of_the_program_trusts_no_stored_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with reported() as fleet:
        monkeypatch.setattr(assess, "edition", lambda: b"the next release")
        async with restarted(fleet) as again:
            assert not await was_taken_up(again)


async def test_other_limits_trust_no_stored_answer() -> None:
    async with reported() as fleet, restarted(fleet, Limits(eol=True)) as again:
        assert not await was_taken_up(again)


async def test_a_baseline_that_says_something_else_under_the_same_version_is_another_one() -> None:
    """A release may bring other public baselines: their content counts, not their number."""
    async with reported() as fleet:
        await fleet.assessor.stop()
        (known,) = await fleet.store.baselines.baselines()
        versions = fleet.store.baselines._versions  # type: ignore[attr-defined] # what no call of the store can do
        versions[known.id] = {known.version: replace(known, rules=(LENIENT,))}
        async with restarted(fleet) as again:
            assert not await was_taken_up(again)
            assert (await again.answer(1)).status is InstanceStatus.COMPLIANT


async def test_what_was_reported_while_the_controller_was_down_is_evaluated() -> None:
    async with reported() as fleet:
        await fleet.assessor.stop()
        await fleet.report(1, [await fleet.repository()], NEW)
        async with restarted(fleet) as again:
            assert (await again.answer(1)).status is InstanceStatus.COMPLIANT


async def test_R10_an_exception_that_ended_while_the_controller_was_down_excuses_nothing() -> None:
    async with reported() as fleet:
        await fleet.excuse(ExceptionScope.ALL, "", "ba*", LATER)
        assert (await fleet.answer(1)).status is InstanceStatus.COMPLIANT
        async with restarted(fleet) as again:
            assert (await again.answer(1)).status is InstanceStatus.NON_COMPLIANT


async def test_R11_a_report_that_became_stale_while_the_controller_was_down_is_no_answer() -> None:
    async with reported() as fleet:
        fleet.clock.jump(timedelta(hours=26))
        async with restarted(fleet) as again:
            assert [r.reason for r in (await again.answer(1)).reasons] == [Reason.STALE]


async def test_R5_the_answer_of_another_day_is_not_taken_up() -> None:
    async with reported() as fleet:
        fleet.clock.jump(timedelta(hours=13))
        async with restarted(fleet) as again:
            assert not await was_taken_up(again)


async def test_an_instance_that_is_another_one_by_now_is_evaluated() -> None:
    async with reported() as fleet:
        await fleet.assessor.stop()
        await fleet.enrol(1, operating_system=OperatingSystem("plan9", "4"))
        async with restarted(fleet) as again:
            assert [r.reason for r in (await again.answer(1)).reasons] == [Reason.NO_BASELINE]


async def test_R11_where_a_repository_was_not_to_be_read_it_is_tried_again() -> None:
    async with a_fleet() as fleet:
        await fleet.enrol(1)
        content = b"this is no updateinfo"
        await fleet.store.inventory.put_blob(digest.of(content), content)
        await fleet.report(1, [replace(await fleet.repository(), updateinfo=digest.of(content).hex())])
        assert Reason.REPO_ERROR in [r.reason for r in (await fleet.answer(1)).reasons]
        async with restarted(fleet) as again:
            assert not await was_taken_up(again)


def test_the_edition_is_the_same_for_the_same_program() -> None:
    first = edition()
    edition.cache_clear()
    assert edition() == first
    assert len(first) == 32
