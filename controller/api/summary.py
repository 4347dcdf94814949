"""The fleet in numbers: pure counting over instances and their answers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controller.compliance.model import Assessment, InstanceStatus, Level, Reason
from controller.fleet.model import Instance

Row = tuple[Instance, Assessment]


@dataclass(frozen=True, slots=True)
class Summary:
    """What GetSummary says, but for the oldest missing item. Everything is in the order in which it is shown."""

    instances: int
    statuses: Mapping[InstanceStatus, int]
    levels: tuple[tuple[Level, int], ...] = ()
    """Non-compliant instances by their worst level, highest first."""
    reasons: tuple[tuple[Reason, int], ...] = ()
    """Undetermined instances by reason, most frequent first; an instance with two reasons counts in both."""
    groups: tuple[tuple[str, str, Mapping[InstanceStatus, int]], ...] = field(default=())
    """(attribute, value, numbers)."""


def summarise(rows: Iterable[Row]) -> Summary:
    """Count."""
    statuses, levels, reasons = Counter[InstanceStatus](), Counter[Level](), Counter[Reason]()
    groups: defaultdict[tuple[int, str, str], Counter[InstanceStatus]] = defaultdict(Counter)
    total = 0
    for instance, assessment in rows:
        total += 1
        statuses[assessment.status] += 1
        if assessment.status is InstanceStatus.NON_COMPLIANT:
            levels[assessment.level] += 1
        if assessment.status is InstanceStatus.UNDETERMINED:
            reasons.update({u.reason for u in assessment.reasons})
        for order, (attribute, value) in enumerate(_attributes(instance, assessment)):
            groups[order, attribute, value][assessment.status] += 1
    return Summary(
        instances=total,
        statuses=statuses,
        levels=tuple(sorted(levels.items(), reverse=True)),
        reasons=tuple(sorted(reasons.items(), key=lambda r: (-r[1], r[0]))),
        groups=tuple((attribute, value, counts) for (_, attribute, value), counts in sorted(groups.items())),
    )


def _attributes(instance: Instance, assessment: Assessment) -> Iterable[tuple[str, str]]:
    return (
        ("region", instance.region),
        ("application_group", instance.application_group),
        ("enterprise_project", instance.enterprise_project),
        ("product", instance.operating_system.product or instance.operating_system.pretty_name),
        ("baseline", assessment.baseline_name),
    )
