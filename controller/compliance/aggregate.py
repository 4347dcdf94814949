"""The fleet in numbers: always three of them, compliant, non-compliant, undetermined (SEMANTICS §1)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from controller.compliance.model import Assessment, InstanceStatus, Item, Level, PatchStatus, Reason
from controller.fleet.model import Instance

UNSUPPORTED: Final = "unsupported"
"""Stands for the product of instances whose operating system is not a supported one."""
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ComplianceCounts:
    """Instances by answer."""

    compliant: int = 0
    non_compliant: int = 0
    undetermined: int = 0


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """The numbers of the instances that share a value of an attribute."""

    attribute: str
    """"region", "application_group", "enterprise_project", "product" or "baseline"."""
    value: str
    counts: ComplianceCounts


@dataclass(frozen=True, slots=True)
class Summary:
    """The numbers of some instances."""

    instances: int
    counts: ComplianceCounts
    levels: tuple[tuple[Level, int], ...]
    """Non-compliant instances by their worst level, highest first."""
    reasons: tuple[tuple[Reason, int], ...]
    """Undetermined instances by reason, most frequent first; one with several reasons counts for each."""
    groups: tuple[GroupSummary, ...]
    """By attribute, in the order that GroupSummary names them, then by value."""


def summarise(answers: Iterable[tuple[Instance, Assessment | None]]) -> Summary:
    """Count instances and their deciding answers. One without an answer is undetermined: it has not reported yet."""
    totals, levels, reasons = Counter[InstanceStatus](), Counter[Level](), Counter[Reason]()
    groups = defaultdict[tuple[int, str, str], Counter[InstanceStatus]](Counter)
    for instance, answer in answers:
        status = answer.status if answer is not None else InstanceStatus.UNDETERMINED
        totals[status] += 1
        if status is InstanceStatus.NON_COMPLIANT and answer is not None:
            levels[answer.level] += 1
        if status is InstanceStatus.UNDETERMINED:
            reasons.update({r.reason for r in answer.reasons} if answer is not None else {Reason.NO_REPORT})
        for place, (attribute, value) in enumerate(_attributes(instance, answer)):
            groups[place, attribute, value][status] += 1
    return Summary(
        totals.total(),
        _counts(totals),
        tuple(sorted(levels.items(), reverse=True)),
        tuple(sorted(reasons.items(), key=lambda found: (-found[1], found[0]))),
        tuple(
            GroupSummary(attribute, value, _counts(found)) for (_, attribute, value), found in sorted(groups.items())
        ),
    )


def oldest_missing(items: Iterable[tuple[Instance, Item]]) -> tuple[Instance, Item] | None:
    """Return the longest-standing MISSING item of the highest level there is; None when nothing is missing."""
    missing = (found for found in items if found[1].status is PatchStatus.MISSING)
    return min(missing, key=_age_order, default=None)


def _age_order(found: tuple[Instance, Item]) -> tuple[int, datetime, str, str, str]:
    instance, item = found
    return (-item.level, item.first_non_compliant_at or _NEVER, instance.name, instance.id, item.key)


def _attributes(instance: Instance, answer: Assessment | None) -> tuple[tuple[str, str], ...]:
    return (
        ("region", instance.region),
        ("application_group", instance.application_group),
        ("enterprise_project", instance.enterprise_project),
        ("product", instance.operating_system.product or UNSUPPORTED),
        ("baseline", answer.baseline_name if answer is not None else ""),
    )


def _counts(found: Counter[InstanceStatus]) -> ComplianceCounts:
    return ComplianceCounts(
        found[InstanceStatus.COMPLIANT], found[InstanceStatus.NON_COMPLIANT], found[InstanceStatus.UNDETERMINED]
    )
