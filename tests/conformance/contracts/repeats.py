"""What a RepeatStore promises: it writes what `put_report` would write, or nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from common.errors import Conflict
from controller.inventory.model import Report
from controller.store.api import Store
from tests.builders import instance_id
from tests.conformance.contracts.inventory import at, report, said


def again(latest: Report, minutes: float, ticket: str = "") -> Report:
    """The latest report of an instance, said again at a time."""
    received_at = at(minutes) + timedelta(seconds=1)
    return replace(latest, collected_at=at(minutes), received_at=received_at, ticket_id=ticket)


class RepeatStoreContract:
    """Subclass it, give it a `store` fixture, and the new store is held to the contract."""

    async def test_what_is_said_again_is_stored_as_put_report_would_store_it(self, store: Store) -> None:
        one, two = await report(store, "a", 0, 1), await report(store, "a", 0, 2, "T-1")
        await store.repeats.repeat([again(one, 5)])
        assert await store.inventory.latest_report(instance_id(1)) == again(one, 5)
        assert await report(store, "a", 5, 2) == again(two, 5)

    async def test_several_instances_are_stored_at_once_each_with_its_own(self, store: Store) -> None:
        said_first = [await report(store, manifest, number, number) for number, manifest in enumerate("abca", 1)]
        repeated = [again(latest, 10 + number) for number, latest in enumerate(said_first)]
        await store.repeats.repeat(repeated)
        assert await store.inventory.latest_reports() == tuple(repeated)

    async def test_of_one_instance_the_last_of_several_stands(self, store: Store) -> None:
        latest = await report(store, "a", 0)
        await store.repeats.repeat([again(latest, 1), again(latest, 2), again(latest, 2, "T-1")])
        assert await store.inventory.latest_report(instance_id(1)) == again(latest, 2, "T-1")

    async def test_of_one_instance_several_stand_in_their_order(self, store: Store) -> None:
        latest = await report(store, "a", 0)
        with pytest.raises(Conflict):
            await store.repeats.repeat([again(latest, 2), again(latest, 1)])
        assert await store.inventory.latest_report(instance_id(1)) == latest

    async def test_nothing_at_all_is_stored_as_nothing(self, store: Store) -> None:
        latest = await report(store, "a", 0)
        await store.repeats.repeat([])
        assert await store.inventory.latest_report(instance_id(1)) == latest

    async def test_what_is_no_longer_the_latest_is_not_stretched(self, store: Store) -> None:
        first = await report(store, "a", 0)
        latest = await report(store, "b", 1)
        with pytest.raises(Conflict):
            await store.repeats.repeat([again(first, 2)])
        assert await store.inventory.latest_report(instance_id(1)) == latest
        assert [await said(store, minutes) for minutes in (0, 0.5, 1, 2)] == ["a", "a", "b", "b"]

    async def test_nor_is_another_manifest_of_the_same_instant(self, store: Store) -> None:
        first = await report(store, "a", 0)
        latest = await report(store, "b", 0)
        with pytest.raises(Conflict):
            await store.repeats.repeat([again(first, 2)])
        assert await store.inventory.latest_report(instance_id(1)) == latest
        await store.repeats.repeat([again(latest, 2)])
        assert await store.inventory.latest_report(instance_id(1)) == again(latest, 2)

    async def test_collected_at_never_goes_back(self, store: Store) -> None:
        latest = again(await report(store, "a", 0), 5)
        await store.repeats.repeat([latest])
        with pytest.raises(Conflict):
            await store.repeats.repeat([again(latest, 4)])
        assert await store.inventory.latest_report(instance_id(1)) == latest

    async def test_an_instance_that_never_reported_continues_nothing(self, store: Store) -> None:
        latest = await report(store, "a", 0)
        with pytest.raises(Conflict):
            await store.repeats.repeat([replace(again(latest, 1), instance_id=instance_id(2))])

    async def test_all_or_none_are_stored(self, store: Store) -> None:
        one, two, three = [await report(store, "a", 0, number) for number in (1, 2, 3)]
        three_now = await report(store, "b", 1, 3)
        with pytest.raises(Conflict):
            await store.repeats.repeat([again(one, 2), again(two, 2), again(three, 2)])
        assert await store.inventory.latest_reports() == (one, two, three_now)
