"""AssessmentStore in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Protocol

from common.errors import NotFound
from controller.compliance.model import Assessment, Kept
from controller.store import rules
from controller.store.api_assessments import Deciding


class _Fleet(Protocol):
    """Which instances there are."""

    def is_known(self, instance_id: str) -> bool: ...

    def is_listed(self, instance_id: str) -> bool: ...


class MemoryAssessments:
    """AssessmentStore in memory."""

    def __init__(self, fleet: _Fleet) -> None:
        """Ask `fleet` which instances there are."""
        self._fleet = fleet
        self._latest = dict[tuple[str, str], Assessment]()
        self._since = dict[tuple[str, str], Mapping[datetime, AbstractSet[str]]]()
        self._deciding = dict[str, Kept]()

    async def put_assessment(
        self, assessment: Assessment, items: Collection[str], at: datetime, *, deciding: bool, mark: bytes = b""
    ) -> Mapping[str, datetime]:
        """Keep an answer and return since when its items are non-compliant; see the Protocol."""
        self._known(assessment.instance_id)
        key = (assessment.instance_id, assessment.inputs.baseline_id)
        wanted = frozenset(items)
        since = self._since[key] = rules.remembered(self._since.get(key, {}), assessment, wanted, at)
        self._latest[key] = assessment
        if deciding:
            earliest = min(since) if wanted else None
            self._deciding[assessment.instance_id] = Kept(assessment, mark, earliest)
        return {item: begun for item, begun in _by_item(since).items() if item in wanted}

    async def put_deciding(self, answers: Sequence[Deciding]) -> tuple[datetime | None, ...]:
        """Keep deciding answers, all or none of them; see the Protocol."""
        for answer in answers:
            self._known(answer.assessment.instance_id)
        found = list[datetime | None]()
        for answer in answers:
            since = await self.put_assessment(
                answer.assessment, answer.items, answer.at, deciding=True, mark=answer.mark
            )
            found.append(min(since.values(), default=None))
        return tuple(found)

    async def since(self, instance_id: str, baseline_id: str) -> Mapping[str, datetime]:
        """Return since when items are non-compliant, by key."""
        return _by_item(self._since.get((instance_id, baseline_id), {}))

    async def deciding(self, instance_id: str) -> Assessment | None:
        """Return the instance's deciding answer, None before the first."""
        kept = self._deciding.get(instance_id)
        return kept.assessment if kept is not None else None

    async def all_deciding(self) -> tuple[Kept, ...]:
        """Return the deciding answers of all instances that are not deleted, ordered by instance id."""
        return tuple(self._deciding[i] for i in sorted(self._deciding) if self._fleet.is_listed(i))

    async def assessment(self, instance_id: str, baseline_id: str) -> Assessment | None:
        """Return the latest answer for an instance and a baseline, None before the first."""
        return self._latest.get((instance_id, baseline_id))

    def _known(self, instance_id: str) -> None:
        if not self._fleet.is_known(instance_id):
            raise NotFound("instance", instance_id)


def _by_item(since: Mapping[datetime, AbstractSet[str]]) -> Mapping[str, datetime]:
    return {item: begun for begun, items in since.items() for item in items}
