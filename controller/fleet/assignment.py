"""Which baseline decides for an instance, and why that one (SEMANTICS §1, R16): the most specific assignment does.

An instance's own assignment comes first, then its application group's and those of the groups above that, the nearest first, then its
enterprise project's, and the default last. Only baselines of the instance's scenario and operating system family are meant for it, and
only assignments of its own account count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from controller.compliance.model import Assignment, AssignmentScope, Baseline
from controller.fleet.groups import lineage
from controller.fleet.model import Instance, ResourceType
from controller.fleet.products import family_of

Key = tuple[str, AssignmentScope, str, ResourceType, str]
"""Account, scope, value, scenario, operating system family: there is at most one assignment for each."""

SOURCES: Final[Mapping[AssignmentScope, str]] = {
    AssignmentScope.INSTANCE: "instance",
    AssignmentScope.GROUP: "group",
    AssignmentScope.PROJECT: "project",
    AssignmentScope.DEFAULT: "default",
}
"""What reports call each scope, the most specific first."""


def by_key(assignments: Iterable[Assignment]) -> Mapping[Key, Assignment]:
    """Return assignments by their key; `deciding` takes them like this when it is asked for many instances."""
    return {(a.account, a.scope, a.value, a.scenario, a.operating_system): a for a in assignments}


def deciding(
    instance: Instance,
    assignments: Iterable[Assignment] | Mapping[Key, Assignment],
    baselines_by_id: Mapping[str, Baseline],
) -> tuple[Baseline | None, str]:
    """Return the baseline that decides for an instance and its source, as in SOURCES; None and "" when none does.

    An assignment decides only if its baseline is among `baselines_by_id` and is meant for the instance's scenario and operating system;
    else the next, less specific one does.
    """
    known = assignments if isinstance(assignments, Mapping) else by_key(assignments)
    family = family_of(instance.operating_system.product)
    scopes = (
        (AssignmentScope.INSTANCE, instance.id),
        *((AssignmentScope.GROUP, group) for group in lineage(instance.application_group)),
        (AssignmentScope.PROJECT, instance.enterprise_project),
        (AssignmentScope.DEFAULT, ""),
    )
    for scope, value in scopes:
        found = known.get((instance.account, scope, value, instance.resource_type, family))
        baseline = baselines_by_id.get(found.baseline_id) if found is not None else None
        if baseline is not None and is_meant_for(baseline, instance):
            return baseline, SOURCES[scope]
    return None, ""


def is_meant_for(baseline: Baseline, instance: Instance) -> bool:
    """Say whether a baseline is of an instance's scenario and operating system family, and public or its account's."""
    family = family_of(instance.operating_system.product)
    fits = baseline.scenario is instance.resource_type and baseline.operating_system == family
    return fits and baseline.is_for(instance.account)
