"""What a BaselineStore promises about assignments, their history, and exceptions."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from common.errors import Conflict, NotFound
from controller.compliance.model import (
    ApprovedPatch,
    AssignmentScope,
    CustomPackage,
    ExceptionMatch,
    Exceptions,
    ExceptionScope,
    Level,
    RejectAction,
    RejectedPatch,
)
from controller.fleet.model import ResourceType
from controller.store.api import Store
from tests.builders import MINUTE, NOW, a_baseline, an_assignment, an_exception

LATER, LONG_AFTER = NOW + MINUTE, NOW + timedelta(days=9)


class AssignmentStoreContract:
    """Subclass it, give it a `store` fixture, and the new store is held to the contract."""

    async def test_lists_and_custom_packages_come_back_as_they_were(self, store: Store) -> None:
        lists = a_baseline(
            "lists",
            approved=(ApprovedPatch("CVE-2023-0286", Level.HIGH), ApprovedPatch("kernel*")),
            rejected=(RejectedPatch("httpd"), RejectedPatch("telnet", RejectAction.BLOCK)),
        )
        custom = replace(a_baseline("own"), rules=(), custom=(CustomPackage("bash", "1:4.2", "1.el7", Level.LOW),))
        for baseline in (lists, custom):
            await store.baselines.put_baseline(baseline)
            assert await store.baselines.get_baseline(baseline.id) == baseline

    async def test_a_baseline_as_of_an_instant_is_the_version_that_was_the_newest_then(self, store: Store) -> None:
        first, second = a_baseline(created_at=NOW), a_baseline(version=2, created_at=LATER)
        for version in (first, second):
            await store.baselines.put_baseline(version)
        assert await store.baselines.baseline_as_of(first.id, NOW) == first
        assert await store.baselines.baseline_as_of(first.id, LATER - timedelta(microseconds=1)) == first
        assert await store.baselines.baseline_as_of(first.id, LATER) == second
        with pytest.raises(NotFound):
            await store.baselines.baseline_as_of(first.id, NOW - timedelta(microseconds=1))
        with pytest.raises(NotFound):
            await store.baselines.baseline_as_of("nothing", LATER)

    async def test_a_version_without_a_date_was_always_there_and_a_deleted_baseline_still_answers(
        self, store: Store
    ) -> None:
        preset = a_baseline(created_at=None)
        await store.baselines.put_baseline(preset)
        await store.baselines.delete_baseline(preset.id, LATER)
        assert await store.baselines.baseline_as_of(preset.id, NOW - timedelta(days=9999)) == preset

    async def test_an_assignment_comes_back_with_every_field_as_it_was(self, store: Store) -> None:
        await store.baselines.put_baseline(a_baseline("one"))
        assignment = an_assignment(
            AssignmentScope.PROJECT,
            "ünïcode project",
            "b-one",
            scenario=ResourceType.BMS,
            operating_system="EulerOS",
            since=NOW + timedelta(microseconds=1),
            assigned_by="ann",
        )
        await store.baselines.put_assignment(assignment)
        assert await store.baselines.assignments() == (assignment,)

    async def test_the_newest_of_a_key_holds_and_each_field_of_the_key_makes_another(self, store: Store) -> None:
        for name in ("one", "two"):
            await store.baselines.put_baseline(a_baseline(name))
        first = an_assignment(baseline_id="b-one")
        others = [
            replace(first, scope=AssignmentScope.PROJECT),
            replace(first, value="db"),
            replace(first, scenario=ResourceType.BMS),
            replace(first, operating_system="EulerOS"),
        ]
        for assignment in (first, *others):
            await store.baselines.put_assignment(assignment)
        second = replace(first, baseline_id="b-two", since=LATER)
        await store.baselines.put_assignment(second)
        assert set(await store.baselines.assignments()) == {second, *others}

    async def test_assignments_are_ordered_by_scope_value_scenario_and_operating_system(self, store: Store) -> None:
        await store.baselines.put_baseline(a_baseline("one"))
        await store.baselines.set_default("b-one")
        expected = [
            an_assignment(AssignmentScope.GROUP, "a", "b-one", scenario=ResourceType.BMS),
            an_assignment(AssignmentScope.GROUP, "a", "b-one"),
            an_assignment(AssignmentScope.GROUP, "a", "b-one", operating_system="EulerOS"),
            an_assignment(AssignmentScope.GROUP, "b", "b-one"),
            an_assignment(AssignmentScope.INSTANCE, "i-1", "b-one"),
            an_assignment(AssignmentScope.PROJECT, "a", "b-one"),
        ]
        for assignment in reversed(expected):
            await store.baselines.put_assignment(assignment)
        default, *rest = await store.baselines.assignments()
        assert default.scope is AssignmentScope.DEFAULT
        assert rest == expected

    async def test_what_held_at_an_instant_can_be_asked_afterwards(self, store: Store) -> None:
        for name in ("one", "two"):
            await store.baselines.put_baseline(a_baseline(name))
        first = an_assignment(baseline_id="b-one", since=NOW)
        second = an_assignment(baseline_id="b-two", since=LATER)
        for assignment in (first, second, an_assignment(baseline_id="", since=LONG_AFTER)):
            await store.baselines.put_assignment(assignment)
        assert await store.baselines.assignments(NOW - timedelta(microseconds=1)) == ()
        assert await store.baselines.assignments(NOW) == (first,)
        assert await store.baselines.assignments(LATER) == (second,)
        assert await store.baselines.assignments(LONG_AFTER) == ()
        assert await store.baselines.assignments() == ()

    async def test_an_assignment_since_before_the_newest_of_its_key_is_refused(self, store: Store) -> None:
        for name in ("one", "two"):
            await store.baselines.put_baseline(a_baseline(name))
        newest = an_assignment(baseline_id="b-one", since=LATER)
        await store.baselines.put_assignment(newest)
        with pytest.raises(Conflict, match="web"):
            await store.baselines.put_assignment(an_assignment(baseline_id="b-two", since=NOW))
        assert await store.baselines.assignments() == (newest,)

    async def test_of_two_since_the_same_instant_the_later_to_arrive_holds(self, store: Store) -> None:
        for name in ("one", "two"):
            await store.baselines.put_baseline(a_baseline(name))
        for baseline_id in ("b-one", "b-two", "", "b-one", "b-two"):
            await store.baselines.put_assignment(an_assignment(baseline_id=baseline_id))
        assert [a.baseline_id for a in await store.baselines.assignments()] == ["b-two"]
        assert [a.baseline_id for a in await store.baselines.assignments(NOW)] == ["b-two"]

    async def test_a_baseline_that_is_absent_or_deleted_cannot_be_assigned(self, store: Store) -> None:
        await store.baselines.put_baseline(a_baseline("one"))
        await store.baselines.delete_baseline("b-one")
        for baseline_id in ("b-one", "nothing"):
            with pytest.raises(NotFound, match=baseline_id):
                await store.baselines.put_assignment(an_assignment(baseline_id=baseline_id))
        assert await store.baselines.assignments() == ()

    async def test_a_deleted_baseline_s_assignments_end_then_and_others_stay(self, store: Store) -> None:
        for name in ("one", "two"):
            await store.baselines.put_baseline(a_baseline(name))
        await store.baselines.set_default("b-one")
        for value, baseline_id in (("web", "b-one"), ("db", "b-two")):
            await store.baselines.put_assignment(an_assignment(value=value, baseline_id=baseline_id))
        await store.baselines.delete_baseline("b-one", LATER, "ann")
        assert [a.value for a in await store.baselines.assignments()] == ["db"]
        assert await store.baselines.defaults() == {}
        held = {(a.scope, a.value) for a in await store.baselines.assignments(LATER - timedelta(microseconds=1))}
        assert held == {(AssignmentScope.DEFAULT, ""), (AssignmentScope.GROUP, "db"), (AssignmentScope.GROUP, "web")}

    async def test_a_baseline_deleted_at_no_particular_time_is_assigned_to_nobody_at_once(self, store: Store) -> None:
        await store.baselines.put_baseline(a_baseline("one"))
        await store.baselines.put_assignment(an_assignment(baseline_id="b-one", since=LONG_AFTER))
        await store.baselines.delete_baseline("b-one", NOW)
        assert await store.baselines.assignments() == ()
        assert await store.baselines.assignments(LONG_AFTER) == ()

    async def test_a_default_is_an_assignment_with_its_history(self, store: Store) -> None:
        for name in ("one", "two"):
            await store.baselines.put_baseline(a_baseline(name))
        await store.baselines.set_default("b-one")
        assert await store.baselines.assignments(datetime(1970, 1, 1, tzinfo=UTC)) == (
            an_assignment(AssignmentScope.DEFAULT, "", "b-one", since=datetime.min.replace(tzinfo=UTC), assigned_by=""),
        )
        await store.baselines.set_default("b-two", LATER, "ann")
        assert await store.baselines.assignments() == (
            an_assignment(AssignmentScope.DEFAULT, "", "b-two", since=LATER, assigned_by="ann"),
        )
        assert [a.baseline_id for a in await store.baselines.assignments(NOW)] == ["b-one"]
        await store.baselines.set_default(
            "b-one", NOW, "bob"
        )  # a clock that was set back must not keep anybody from it
        assert [(a.baseline_id, a.since) for a in await store.baselines.assignments()] == [("b-one", LATER)]
        assert await store.baselines.defaults() == {(ResourceType.ECS, "CentOS"): "b-one"}

    async def test_an_exception_comes_back_with_every_field_as_it_was(self, store: Store) -> None:
        assert await store.baselines.exceptions() == Exceptions()
        exception = an_exception(
            1,
            scope=ExceptionScope.INSTANCE,
            scope_value="i-1",
            match=ExceptionMatch.CVE,
            match_value="CVE-2023-0286",
            reason="why\nnot, ünïcode",
            approver="ann",
            revoked_at=LATER,
        )
        assert await store.baselines.put_exception(exception) == Exceptions(1, (exception,))
        assert await store.baselines.exceptions() == Exceptions(1, (exception,))

    async def test_every_change_of_an_exception_raises_the_version_of_all_by_one(self, store: Store) -> None:
        first, second = an_exception(1), an_exception(2)
        assert (await store.baselines.put_exception(first)).version == 1
        assert (await store.baselines.put_exception(second)).version == 2
        revoked = replace(first, revoked_at=LATER)
        assert await store.baselines.put_exception(revoked) == Exceptions(3, (revoked, second))
        assert (await store.baselines.put_exception(second)).version == 4

    async def test_exceptions_are_ordered_by_when_they_were_made_then_by_id(self, store: Store) -> None:
        made = [an_exception(3), an_exception(1, created_at=LATER), an_exception(2, created_at=LATER)]
        for exception in reversed(made):
            await store.baselines.put_exception(exception)
        assert (await store.baselines.exceptions()).all == tuple(made)

    async def test_exceptions_written_at_once_each_get_a_version(self, store: Store) -> None:
        answers = await asyncio.gather(*(store.baselines.put_exception(an_exception(n)) for n in range(1, 6)))
        assert sorted(a.version for a in answers) == [1, 2, 3, 4, 5]
        assert len((await store.baselines.exceptions()).all) == 5

    async def test_assignments_and_exceptions_keep_whose_they_are(self, store: Store) -> None:
        baseline = a_baseline(account="acme")
        await store.baselines.put_baseline(baseline)
        for account in ("acme", "default"):
            await store.baselines.put_assignment(an_assignment(baseline_id=baseline.id, account=account))
        assert [(a.account, a.scope, a.value) for a in await store.baselines.assignments()] == [
            ("acme", AssignmentScope.GROUP, "web"),
            ("default", AssignmentScope.GROUP, "web"),
        ]
        await store.baselines.put_exception(an_exception(1, account="acme"))
        assert (await store.baselines.exceptions()).all == (an_exception(1, account="acme"),)
