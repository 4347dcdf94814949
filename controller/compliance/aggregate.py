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


class Tally:
    """Numbers that follow their instances: adding an answer or taking it back costs the same, however many there are."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._totals = Counter[InstanceStatus]()
        self._levels = Counter[Level]()
        self._reasons = Counter[Reason]()
        self._groups = defaultdict[tuple[int, str, str], Counter[InstanceStatus]](Counter)

    def add(self, instance: Instance, answer: Assessment | None) -> None:
        """Count an instance with its deciding answer. One without an answer is undetermined: it has not reported yet."""
        self._count(instance, answer, 1)

    def take_back(self, instance: Instance, answer: Assessment | None) -> None:
        """Undo an `add` of the same two."""
        self._count(instance, answer, -1)

    def summary(self) -> Summary:
        """Return the numbers of those that are counted."""
        groups = ((key, found) for key, found in sorted(self._groups.items()) if any(found.values()))
        return Summary(
            self._totals.total(),
            _counts(self._totals),
            tuple(sorted((+self._levels).items(), reverse=True)),
            tuple(sorted((+self._reasons).items(), key=lambda found: (-found[1], found[0]))),
            tuple(GroupSummary(attribute, value, _counts(found)) for (_, attribute, value), found in groups),
        )

    def _count(self, instance: Instance, answer: Assessment | None, by: int) -> None:
        status = answer.status if answer is not None else InstanceStatus.UNDETERMINED
        self._totals[status] += by
        if status is InstanceStatus.NON_COMPLIANT and answer is not None:
            self._levels[answer.level] += by
        if status is InstanceStatus.UNDETERMINED:
            for reason in {r.reason for r in answer.reasons} if answer is not None else {Reason.NO_REPORT}:
                self._reasons[reason] += by
        for place, (attribute, value) in enumerate(_attributes(instance, answer)):
            self._groups[place, attribute, value][status] += by


def summarise(answers: Iterable[tuple[Instance, Assessment | None]]) -> Summary:
    """Count instances and their deciding answers, once."""
    tally = Tally()
    for instance, answer in answers:
        tally.add(instance, answer)
    return tally.summary()


def counts_alike(one: Instance, other: Instance, answer: Assessment | None) -> bool:
    """Say whether a summary is the same with one instance instead of another, and the same answer: it may have been seen meanwhile."""
    return (one.id, one.name) == (other.id, other.name) and _attributes(one, answer) == _attributes(other, answer)


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
