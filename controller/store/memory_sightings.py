"""SightingStore in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller.fleet.clones import Sighting
from controller.fleet.model import InstanceId


class MemorySightings:
    """SightingStore in memory."""

    def __init__(self) -> None:
        self._by_instance = dict[InstanceId, tuple[Sighting, ...]]()

    async def put_sightings(self, sightings: Mapping[InstanceId, Iterable[Sighting]]) -> None:
        """Replace what is remembered of each of these instances."""
        for instance_id, seen in sightings.items():
            self._by_instance[instance_id] = tuple(seen)

    async def sightings(self) -> tuple[Sighting, ...]:
        """Return all sightings, ordered by instance, then by when they were last heard, then by boot."""
        found = (s for seen in self._by_instance.values() for s in seen)
        return tuple(sorted(found, key=lambda s: (s.instance_id, s.last_at, s.boot_id, s.machine_id)))
