"""What a store of answers promises. See api.py, which names it with the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from controller.compliance.model import Assessment, Kept


@dataclass(frozen=True, slots=True)
class Deciding:
    """A deciding answer that is to be kept."""

    assessment: Assessment
    items: Collection[str]
    """The keys of its non-compliant items (Item.key)."""
    at: datetime
    """Since when those of them are non-compliant that were not before."""
    mark: bytes = b""


class AssessmentStore(Protocol):
    """Answers: the latest for each (instance, baseline), which one decides, and since when each item is non-compliant."""

    async def put_assessment(
        self, assessment: Assessment, items: Collection[str], at: datetime, *, deciding: bool, mark: bytes = b""
    ) -> Mapping[str, datetime]:
        """Keep an answer; `items` are the keys of its non-compliant items (Item.key).

        An item that was non-compliant in the answer before, for the same (instance, baseline), keeps its time; a new one
        gets `at`; one that is gone is forgotten. An UNDETERMINED answer without items leaves the remembered times as they
        are. Returns the times of `items`. Raise NotFound when the instance is absent. `deciding` answers replace the instance's
        deciding one (R16), with its mark; others do not touch it.
        """
        ...

    async def put_deciding(self, answers: Sequence[Deciding]) -> tuple[datetime | None, ...]:
        """Keep deciding answers, all or none of them, each as `put_assessment` keeps it.

        Returns since when the longest-standing item of each is non-compliant, in their order; None for one without items.
        """
        ...

    async def since(self, instance_id: str, baseline_id: str) -> Mapping[str, datetime]:
        """Return since when items are non-compliant, by key."""
        ...

    async def deciding(self, instance_id: str) -> Assessment | None:
        """Return the instance's deciding answer, None before the first."""
        ...

    async def all_deciding(self) -> tuple[Kept, ...]:
        """Return the deciding answers of all instances that are not deleted, ordered by instance id."""
        ...

    async def assessment(self, instance_id: str, baseline_id: str) -> Assessment | None:
        """Return the latest answer for an instance and a baseline, None before the first."""
        ...
