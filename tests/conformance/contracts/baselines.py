"""What a BaselineStore promises."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date

import pytest

from common.errors import Conflict, NotFound
from controller.compliance.model import Category, DateBasis, Level, Rule, Severity
from controller.fleet.model import ResourceType
from controller.store.api import Store
from tests.builders import a_baseline


class BaselineStoreContract:
    """Subclass it, give it a `store` fixture, and the new store is held to the contract."""

    async def test_a_baseline_comes_back_with_every_field_as_it_was(self, store: Store) -> None:
        rules = (
            Rule(("CentOS 7.9", "EulerOS 2.10"), (Category.SECURITY,), (Severity.NONE, Severity.CRITICAL), 7),
            Rule(
                approve_after_days=None,
                approve_until=date(2026, 1, 31),
                date_basis=DateBasis.UPDATED,
                level=Level.CRITICAL,
                include_without_advisory=True,
            ),
        )
        baseline = a_baseline("strict ünïcode", *rules, scenario=ResourceType.CCE, description="why\nnot", public=True)
        await store.baselines.put_baseline(baseline)
        assert await store.baselines.get_baseline(baseline.id) == baseline

    async def test_every_version_stays_readable_and_0_is_the_newest(self, store: Store) -> None:
        versions = [a_baseline(version=n, description=f"version {n}") for n in (1, 2, 3)]
        for baseline in versions:
            await store.baselines.put_baseline(baseline)
        for baseline in versions:
            assert await store.baselines.get_baseline(baseline.id, baseline.version) == baseline
        assert await store.baselines.get_baseline(versions[0].id) == versions[-1]
        assert await store.baselines.baselines() == (versions[-1],)

    async def test_a_version_is_written_once(self, store: Store) -> None:
        await store.baselines.put_baseline(a_baseline())
        with pytest.raises(Conflict, match="CentOS-Default"):
            await store.baselines.put_baseline(a_baseline(description="another"))
        assert await store.baselines.get_baseline(a_baseline().id) == a_baseline()

    async def test_of_two_who_write_the_next_version_one_wins(self, store: Store) -> None:
        await store.baselines.put_baseline(a_baseline())
        mine, theirs = (a_baseline(version=2, description=who) for who in ("mine", "theirs"))
        answers = await asyncio.gather(*map(store.baselines.put_baseline, (mine, theirs)), return_exceptions=True)
        assert sum(isinstance(a, Conflict) for a in answers) == 1
        assert await store.baselines.get_baseline(mine.id) in (mine, theirs)

    async def test_a_name_belongs_to_one_baseline(self, store: Store) -> None:
        await store.baselines.put_baseline(a_baseline("one"))
        await store.baselines.put_baseline(a_baseline("two"))
        with pytest.raises(Conflict, match="one"):
            await store.baselines.put_baseline(a_baseline("one", id="b-other"))
        with pytest.raises(Conflict, match="one"):
            await store.baselines.put_baseline(replace(a_baseline("two"), name="one", version=2))
        with pytest.raises(NotFound):
            await store.baselines.get_baseline("b-other")
        assert (await store.baselines.get_baseline("b-two")).version == 1

    async def test_a_renamed_baseline_gives_its_name_free(self, store: Store) -> None:
        await store.baselines.put_baseline(a_baseline("old"))
        await store.baselines.put_baseline(replace(a_baseline("old"), name="new", version=2))
        await store.baselines.put_baseline(a_baseline("old", id="b-another"))
        assert (await store.baselines.find_baseline("old")).id == "b-another"
        assert (await store.baselines.find_baseline("new")).id == "b-old"

    async def test_a_baseline_is_found_by_id_before_name(self, store: Store) -> None:
        await store.baselines.put_baseline(a_baseline("b-two", id="b-one"))
        await store.baselines.put_baseline(a_baseline("second", id="b-two"))
        assert (await store.baselines.find_baseline("b-two")).name == "second"
        assert (await store.baselines.find_baseline("second")).id == "b-two"
        assert (await store.baselines.find_baseline("b-one")).name == "b-two"

    async def test_what_is_not_there_is_not_found(self, store: Store) -> None:
        await store.baselines.put_baseline(a_baseline())
        with pytest.raises(NotFound, match="nothing"):
            await store.baselines.find_baseline("nothing")
        with pytest.raises(NotFound, match="nothing"):
            await store.baselines.get_baseline("nothing")
        with pytest.raises(NotFound, match="v2"):
            await store.baselines.get_baseline(a_baseline().id, 2)
        with pytest.raises(NotFound):
            await store.baselines.delete_baseline("nothing")
        with pytest.raises(NotFound):
            await store.baselines.set_default("nothing")

    async def test_public_baselines_come_first_then_names(self, store: Store) -> None:
        for name, public in (("b", False), ("z", True), ("a", False), ("y", True)):
            await store.baselines.put_baseline(a_baseline(name, public=public))
        assert [b.name for b in await store.baselines.baselines()] == ["y", "z", "a", "b"]

    async def test_a_deleted_baseline_leaves_lists_but_answers_by_id(self, store: Store) -> None:
        await store.baselines.put_baseline(a_baseline())
        await store.baselines.delete_baseline(a_baseline().id)
        assert await store.baselines.baselines() == ()
        for reference in (a_baseline().id, a_baseline().name):
            with pytest.raises(NotFound):
                await store.baselines.find_baseline(reference)
        assert await store.baselines.get_baseline(a_baseline().id) == a_baseline()
        assert await store.baselines.get_baseline(a_baseline().id, 1) == a_baseline()

    async def test_a_deleted_baseline_cannot_be_changed_deleted_or_made_default(self, store: Store) -> None:
        await store.baselines.put_baseline(a_baseline())
        await store.baselines.delete_baseline(a_baseline().id)
        with pytest.raises(Conflict):
            await store.baselines.put_baseline(a_baseline(version=2))
        with pytest.raises(NotFound):
            await store.baselines.delete_baseline(a_baseline().id)
        with pytest.raises(NotFound):
            await store.baselines.set_default(a_baseline().id)

    async def test_the_name_of_a_deleted_baseline_is_free(self, store: Store) -> None:
        await store.baselines.put_baseline(a_baseline("one"))
        await store.baselines.delete_baseline("b-one")
        await store.baselines.put_baseline(a_baseline("one", id="b-again"))
        assert (await store.baselines.find_baseline("one")).id == "b-again"

    async def test_there_is_one_default_for_each_scenario_and_operating_system(self, store: Store) -> None:
        assert await store.baselines.defaults() == {}
        for baseline in (
            a_baseline("one"),
            a_baseline("two"),
            a_baseline("bms", scenario=ResourceType.BMS),
            a_baseline("euler", operating_system="EulerOS"),
        ):
            await store.baselines.put_baseline(baseline)
        for baseline_id in ("b-one", "b-bms", "b-euler", "b-two"):
            await store.baselines.set_default(baseline_id)
        assert await store.baselines.defaults() == {
            (ResourceType.ECS, "CentOS"): "b-two",
            (ResourceType.BMS, "CentOS"): "b-bms",
            (ResourceType.ECS, "EulerOS"): "b-euler",
        }

    async def test_a_deleted_baseline_is_no_default(self, store: Store) -> None:
        await store.baselines.put_baseline(a_baseline())
        await store.baselines.set_default(a_baseline().id)
        await store.baselines.delete_baseline(a_baseline().id)
        assert await store.baselines.defaults() == {}

    async def test_accounts_may_use_the_same_name_and_find_their_own(self, store: Store) -> None:
        public = a_baseline("Public", public=True)
        ours, theirs = a_baseline("Strict"), a_baseline("Strict", id="b-theirs", account="acme")
        for baseline in (public, ours, theirs):
            await store.baselines.put_baseline(baseline)
        assert await store.baselines.baselines() == (public, ours, theirs)
        assert await store.baselines.find_baseline("Strict") == ours
        assert await store.baselines.find_baseline("Strict", "acme") == theirs
        assert await store.baselines.find_baseline("Public", "acme") == public
        with pytest.raises(NotFound):
            await store.baselines.find_baseline("b-theirs")
        with pytest.raises(Conflict):
            await store.baselines.put_baseline(a_baseline("Public", id="b-taken", account="acme"))
        with pytest.raises(Conflict):
            await store.baselines.put_baseline(a_baseline("Strict", id="b-taken", public=True))

    async def test_each_account_has_its_own_defaults(self, store: Store) -> None:
        for name in ("One", "Two"):
            await store.baselines.put_baseline(a_baseline(name, public=True))
        await store.baselines.set_default("b-One")
        await store.baselines.set_default("b-Two", account="acme")
        key = (ResourceType.ECS, "CentOS")
        assert await store.baselines.defaults() == {key: "b-One"}
        assert await store.baselines.defaults("acme") == {key: "b-Two"}
        assert [a.account for a in await store.baselines.assignments()] == ["acme", "default"]
