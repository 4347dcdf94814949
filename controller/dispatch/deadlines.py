"""Which runs of a ticket are to be looked at when: a heap, so that a ticket of 100,000 runs is not searched at each event."""

from __future__ import annotations

import heapq
from datetime import datetime

from controller.fleet.model import InstanceId


class Deadlines:
    """The earliest time noted for each instance. Noting costs the logarithm of their number, and so does taking one out."""

    def __init__(self) -> None:
        """Begin with none."""
        self._heap: list[tuple[datetime, InstanceId]] = []
        self._at: dict[InstanceId, datetime] = {}

    def note(self, instance: InstanceId, at: datetime) -> None:
        """Look at an instance at this time, or earlier if that was noted before."""
        known = self._at.get(instance)
        if known is None or at < known:
            self._at[instance] = at
            heapq.heappush(self._heap, (at, instance))

    def due(self, now: datetime) -> list[InstanceId]:
        """Take out and return the instances whose time has come, the earliest first."""
        found = list[InstanceId]()
        while self._heap and self._heap[0][0] <= now:
            at, instance = heapq.heappop(self._heap)
            if self._at.get(instance) == at:
                del self._at[instance]
                found.append(instance)
        return found

    def forget(self, instance: InstanceId) -> None:
        """Look at an instance no more."""
        self._at.pop(instance, None)

    def next(self) -> datetime | None:
        """Return the earliest time; None when there is none."""
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
