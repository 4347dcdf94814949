"""What a SightingStore promises."""

from __future__ import annotations

from controller.fleet.clones import Sighting
from controller.store.api import Store
from tests.builders import MINUTE, NOW, instance_id


def a_sighting(number: int = 1, boot: str = "boot-a", **changes: object) -> Sighting:
    values = {
        "instance_id": instance_id(number),
        "machine_id": f"m-{number}",
        "boot_id": boot,
        "address": "10.0.0.1",
        "first_at": NOW,
        "last_at": NOW + MINUTE,
    }
    return Sighting(**(values | changes))  # type: ignore[arg-type]


class SightingStoreContract:
    """Subclass it, give it a `store` fixture, and the new store is held to the contract."""

    async def test_sightings_come_back_by_instance_then_by_when_they_were_last_heard(self, store: Store) -> None:
        late, early = a_sighting(2, "boot-a", last_at=NOW + 5 * MINUTE), a_sighting(2, "boot-b")
        await store.sightings.put_sightings({instance_id(2): [late, early], instance_id(1): [a_sighting(1)]})
        assert await store.sightings.sightings() == (a_sighting(1), early, late)

    async def test_what_is_remembered_of_an_instance_is_replaced_and_that_of_others_stays(self, store: Store) -> None:
        await store.sightings.put_sightings({instance_id(n): [a_sighting(n)] for n in (1, 2, 3)})
        await store.sightings.put_sightings({instance_id(1): [a_sighting(1, "boot-b")], instance_id(2): []})
        assert await store.sightings.sightings() == (a_sighting(1, "boot-b"), a_sighting(3))
        await store.sightings.put_sightings({})
        assert len(await store.sightings.sightings()) == 2
