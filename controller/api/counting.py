"""The numbers of a fleet, kept between two questions: only instances that changed, or whose answer may have, are counted again."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Generator, Sequence
from typing import Final

from controller.api.oldest import NEVER, Candidate, may_miss
from controller.compliance.aggregate import Summary, Tally, counts_alike
from controller.dispatch.assess import Assessor
from controller.dispatch.standing import Standing
from controller.fleet.model import Instance, InstanceId

_AT_A_STRETCH: Final = 500
"""So many instances are counted before others get their turn."""
_Place = tuple[int, object, str, str]
"""Where a candidate stands: the highest level first, then the one with the oldest item, then by name and id."""


class Counting:
    """One for each question about the fleet as it is now. Use it from one event loop."""

    def __init__(self, assessor: Assessor) -> None:
        """Begin with nobody counted."""
        self._assessor = assessor
        self._stirred = assessor.stirred()
        self._instances: Sequence[Instance] = ()
        self._members = dict[InstanceId, tuple[Instance, Standing]]()
        self._tally = Tally()
        self._candidates = list[_Place]()
        self.one_at_a_time = asyncio.Lock()
        """Hold it while you use this: what is counted must not change meanwhile."""
        self.version = 0
        """Rises when anything changed."""

    async def refresh(self, instances: Sequence[Instance]) -> None:
        """Count these instances with their answers as of now."""
        self._assessor.expire()
        stirred = self._stirred.take()
        try:
            await self._follow(instances, stirred)
        except BaseException:
            self._stirred.add_everybody()  # whoever asks next begins anew
            self._instances = ()
            raise

    def summary(self) -> Summary:
        """Return the numbers."""
        return self._tally.summary()

    def candidates(self) -> Generator[Candidate, None, None]:
        """Return who may have the longest-standing missing item of the highest level, the likeliest first."""
        seen = list[_Place]()
        try:
            while self._candidates:
                place = heapq.heappop(self._candidates)
                member = self._members.get(InstanceId(place[-1]))
                if member is None or _place(*member) != place or (seen and seen[-1] == place):
                    continue  # it stood there once
                seen.append(place)
                instance, standing = member
                yield Candidate(instance, standing.assessment, standing.earliest or NEVER)
        finally:
            for place in seen:
                heapq.heappush(self._candidates, place)

    async def _follow(self, instances: Sequence[Instance], stirred: frozenset[InstanceId] | None) -> None:
        due: Sequence[Instance]
        if stirred is None:
            due = instances
        elif instances is self._instances:
            members = self._members
            due = [members[i][0] for i in stirred if i in members]
        else:
            due = [i for i in instances if i.id in stirred or not self._has(i)]
        if instances is not self._instances and len(instances) < len(self._members) + len(due):
            listed = {i.id for i in instances}
            for instance_id in [i for i in self._members if i not in listed]:
                self._drop(instance_id)
        for place, (instance, standing) in enumerate(zip(due, await self._assessor.standings(due), strict=True), 1):
            self._put(instance, standing)
            if place % _AT_A_STRETCH == 0:
                await asyncio.sleep(0)  # let others have their turn
        self._instances = instances
        if len(self._candidates) > 2 * len(self._members) + 64:
            places = (_place(*member) for member in self._members.values())
            self._candidates = sorted(place for place in places if place is not None)

    def _has(self, instance: Instance) -> bool:
        member = self._members.get(instance.id)
        return member is not None and member[0] is instance

    def _put(self, instance: Instance, standing: Standing) -> None:
        known = self._members.get(instance.id)
        if (
            known is not None
            and known[1].assessment is standing.assessment
            and (known[0] is instance or counts_alike(known[0], instance, standing.assessment))
        ):
            self._members[instance.id] = (instance, standing)
            return
        self._drop(instance.id)
        self._members[instance.id] = (instance, standing)
        self._tally.add(instance, standing.assessment)
        if (place := _place(instance, standing)) is not None:
            heapq.heappush(self._candidates, place)
        self.version += 1

    def _drop(self, instance_id: InstanceId) -> None:
        known = self._members.pop(instance_id, None)
        if known is not None:
            self._tally.take_back(known[0], known[1].assessment)
            self.version += 1


def _place(instance: Instance, standing: Standing) -> _Place | None:
    """Return where an instance stands among the candidates; None when it is none."""
    if not may_miss(standing.assessment):
        return None
    return (-standing.assessment.level, standing.earliest or NEVER, instance.name, instance.id)
