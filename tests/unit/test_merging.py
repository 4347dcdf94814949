"""What was decided about an instance goes over to the one it is merged into, from now on and once (R10, R16)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from controller.compliance.exceptions import ends_at
from controller.compliance.model import Assignment, AssignmentScope, ExceptionScope, PatchException
from controller.fleet.merging import moved_assignments, moved_exceptions
from controller.fleet.model import ResourceType
from tests.builders import NOW, an_exception, instance_id
from tests.fakes import SequentialIds

OLD, KEPT, OTHER = instance_id(1), instance_id(2), instance_id(3)
DAY = timedelta(days=1)


def an_assignment(value: str = OLD, os: str = "CentOS", baseline: str = "B-1", **changes: object) -> Assignment:
    made = Assignment(AssignmentScope.INSTANCE, value, ResourceType.ECS, os, baseline, NOW - DAY, "ann")
    return replace(made, **changes)  # type: ignore[arg-type]


def excused(value: str = OLD, **changes: object) -> PatchException:
    given = {"scope": ExceptionScope.INSTANCE, "scope_value": value, "created_at": NOW - DAY, "expires_at": NOW + DAY}
    return an_exception(**given | changes)


def moved(*known: PatchException) -> list[PatchException]:
    ids = SequentialIds()
    return list(moved_exceptions(known, OLD, KEPT, NOW, lambda: ids.new("X-new-", 1)))


def test_R16_the_baseline_of_the_one_that_goes_decides_for_the_one_that_is_kept_unless_it_has_its_own() -> None:
    held = (
        an_assignment(),
        an_assignment(os="EulerOS", baseline="B-2"),
        an_assignment(KEPT, "EulerOS", "B-3"),
        an_assignment(OTHER),
        replace(an_assignment(), scope=AssignmentScope.GROUP, value="web"),
    )
    written = list(moved_assignments(held, OLD, KEPT, NOW, "bob"))
    assert [(a.value, a.operating_system, a.baseline_id, a.since, a.assigned_by) for a in written] == [
        (KEPT, "CentOS", "B-1", NOW, "bob"),
        (OLD, "CentOS", "", NOW, "bob"),
        (OLD, "EulerOS", "", NOW, "bob"),
    ]


def test_R16_a_clock_that_was_set_back_ends_no_assignment_before_it_began() -> None:
    written = list(moved_assignments([an_assignment(since=NOW + DAY)], OLD, KEPT, NOW, "bob"))
    assert {a.since for a in written} == {NOW + DAY}


def test_R10_exceptions_that_hold_go_over_with_their_end_and_those_that_ended_stay() -> None:
    holds, ended = excused(id="X-1"), excused(id="X-2", expires_at=NOW - timedelta(hours=1))
    group = replace(excused(id="X-3"), scope=ExceptionScope.GROUP, scope_value="web")
    made, over = moved(holds, ended, group, excused(OTHER, id="X-4"))
    assert made == replace(holds, id="X-new-1", scope_value=KEPT, created_at=NOW)
    assert over == replace(holds, revoked_at=NOW)
    assert ends_at(over) == NOW, "what was answered before now stands as it was"


def test_R10_what_the_kept_one_is_excused_already_it_is_not_excused_twice() -> None:
    (over,) = moved(excused(id="X-1"), excused(KEPT, id="X-2"))
    assert (over.id, over.revoked_at) == ("X-1", NOW)
