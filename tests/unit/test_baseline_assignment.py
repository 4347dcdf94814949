"""R16: which baseline decides, and why that one."""

from __future__ import annotations

from controller.compliance.model import AssignmentScope
from controller.fleet.assignment import by_key, deciding
from controller.fleet.model import OperatingSystem, ResourceType
from tests.builders import a_baseline, an_assignment, an_instance

INSTANCE = an_instance(1, application_group="web", enterprise_project="shop")
BASELINES = {b.id: b for b in (a_baseline("own"), a_baseline("group"), a_baseline("project"), a_baseline("default"))}
ALL = (
    an_assignment(AssignmentScope.DEFAULT, "", "b-default"),
    an_assignment(AssignmentScope.GROUP, "web", "b-group"),
    an_assignment(AssignmentScope.INSTANCE, INSTANCE.id, "b-own"),
    an_assignment(AssignmentScope.PROJECT, "shop", "b-project"),
)


def test_R16_the_most_specific_assignment_decides_instance_group_project_default() -> None:
    left = {a.scope: a for a in ALL}
    for scope, source in (
        (AssignmentScope.INSTANCE, "instance"),
        (AssignmentScope.GROUP, "group"),
        (AssignmentScope.PROJECT, "project"),
        (AssignmentScope.DEFAULT, "default"),
    ):
        baseline, why = deciding(INSTANCE, tuple(left.values()), BASELINES)
        assert baseline is not None
        assert (baseline.id, why) == (left.pop(scope).baseline_id, source)
    assert deciding(INSTANCE, (), BASELINES) == (None, "")


def test_R16_assignments_may_be_given_by_key() -> None:
    assert deciding(INSTANCE, by_key(ALL), BASELINES) == (BASELINES["b-own"], "instance")


def test_R16_an_assignment_to_somebody_else_does_not_decide() -> None:
    others = (
        an_assignment(AssignmentScope.GROUP, "db", "b-group"),
        an_assignment(AssignmentScope.PROJECT, "", "b-own"),
    )
    assert deciding(INSTANCE, others, BASELINES) == (None, "")


def test_R16_a_baseline_of_another_operating_system_or_scenario_never_decides() -> None:
    euler = an_instance(2, operating_system=OperatingSystem("euleros", "2.10", "EulerOS 2.10"), application_group="web")
    metal = an_instance(3, resource_type=ResourceType.BMS, application_group="web")
    assert deciding(euler, ALL, BASELINES) == (None, "")
    assert deciding(metal, ALL, BASELINES) == (None, "")
    astray = (an_assignment(AssignmentScope.GROUP, "web", "b-group", operating_system="EulerOS"),)
    assert deciding(euler, astray, BASELINES) == (None, "")


def test_R16_an_assignment_of_a_deleted_baseline_leaves_the_decision_to_the_next() -> None:
    kept = {key: baseline for key, baseline in BASELINES.items() if key != "b-own"}
    assert deciding(INSTANCE, ALL, kept) == (BASELINES["b-group"], "group")


def test_R16_an_instance_whose_operating_system_is_not_known_has_no_deciding_baseline() -> None:
    assert deciding(an_instance(4, operating_system=OperatingSystem()), ALL, BASELINES) == (None, "")


def test_R16_an_assignment_of_another_account_does_not_decide_for_groups_and_projects_of_the_same_name() -> None:
    theirs = an_instance(4, account="acme", application_group="web", enterprise_project="shop")
    assert deciding(theirs, ALL, BASELINES) == (None, "")
    own = an_assignment(AssignmentScope.DEFAULT, "", "b-default", account="acme")
    assert deciding(theirs, (*ALL, own), BASELINES) == (None, ""), "the baseline is another account's"
    shown = {"b-default": a_baseline("default", public=True)}
    assert deciding(theirs, (*ALL, own), shown) == (shown["b-default"], "default")
    assert deciding(INSTANCE, (own,), shown) == (None, "")
