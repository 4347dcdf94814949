"""Finds the item that is missing longest among those that matter most, with as few full reports as can be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from controller.compliance.aggregate import oldest_missing
from controller.compliance.model import Assessment, InstanceStatus, Item
from controller.fleet.model import Instance

NEVER: Final = datetime.max.replace(tzinfo=UTC)
"""Stands for a time that is not remembered."""

Reading = Callable[[Instance], Awaitable[tuple[Assessment, tuple[Item, ...]]]]
"""Reads the full report of an instance."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An instance that misses something: nothing for longer than since `earliest`, nothing of a higher level than its own."""

    instance: Instance
    assessment: Assessment
    earliest: datetime


def may_miss(assessment: Assessment) -> bool:
    """Say whether an answer has a MISSING item that counts."""
    return assessment.status is InstanceStatus.NON_COMPLIANT and assessment.counts.missing > 0


def in_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Sort: the highest level first, then the one with the oldest item."""
    return sorted(candidates, key=lambda c: (-c.assessment.level, c.earliest, c.instance.name, c.instance.id))


async def find_oldest(candidates: Iterable[Candidate], read: Reading) -> tuple[Instance, Item] | None:
    """Return the longest-standing MISSING item of the highest level there is, and whose it is; None when nothing is missing.

    `candidates` are `in_order`. Of several since one instant it is the one of the candidate with the oldest item of all, then by name.
    """
    best: tuple[Instance, Item] | None = None
    for candidate in candidates:
        if best is not None and _cannot_beat(best[1], candidate):
            break  # nor can those that come after it
        _, items = await read(candidate.instance)
        own = [(candidate.instance, item) for item in items]
        best = oldest_missing([best, *own] if best is not None else own)
    return best


def _cannot_beat(best: Item, candidate: Candidate) -> bool:
    if candidate.assessment.level != best.level:
        return candidate.assessment.level < best.level
    return candidate.earliest >= (best.first_non_compliant_at or NEVER)
