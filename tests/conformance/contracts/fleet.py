"""What a FleetStore promises."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from common import digest
from common.errors import Conflict, InvalidArgument, NotFound
from controller.fleet.model import (
    AgentState,
    CmdbEntry,
    Instance,
    InstanceId,
    OperatingSystem,
    Placement,
    Quarantine,
    QuarantineCause,
    ResourceType,
)
from controller.store.api import Store
from tests.builders import MINUTE, NOW, an_enrolment_token, an_instance, instance_id


class FleetStoreContract:
    """Subclass it, give it a `store` fixture, and the new store is held to the contract."""

    async def test_an_instance_comes_back_with_every_field_as_it_was(self, store: Store) -> None:
        instance = an_instance(
            7,
            name="名前 'quoted\"; DROP TABLE instance",
            resource_type=ResourceType.BMS,
            tags={"owner": "Zoë", "": "empty key"},
            operating_system=OperatingSystem("hce", "2.0", "Huawei Cloud EulerOS 2.0", "HCE 2.0", "aarch64"),
            last_seen_at=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
            stopped=True,
            edited=frozenset({"region", "tags.owner"}),
            cluster="cce-prod",
            enrolled=False,
            agent_said=AgentState.INSTALLING,
            retired_at=NOW,
            retired_by="ann",
            replaced_by=instance_id(8),
            quarantine=Quarantine(
                QuarantineCause.MACHINE_ID, NOW, (instance_id(8),), ("10.0.0.1", "fd00::1"), NOW + MINUTE, "ben"
            ),
            cmdb=CmdbEntry("c-7", NOW, frozenset({"zone", "tags"}), NOW + MINUTE),
            account="acme",
        )
        await store.fleet.put_instance(instance)
        assert await store.fleet.get_instance(instance.id) == instance

    async def test_an_instance_is_changed_by_writing_it_again(self, store: Store) -> None:
        await store.fleet.put_instance(an_instance(1))
        await store.fleet.put_instance(an_instance(1, region="eu-west", tags={}))
        assert await store.fleet.get_instance(instance_id(1)) == an_instance(1, region="eu-west", tags={})
        assert len(await store.fleet.instances()) == 1

    async def test_a_list_shows_every_write_that_has_returned_whoever_asked_before(self, store: Store) -> None:
        fleet = store.fleet
        for change in range(5):
            await fleet.put_instance(an_instance(1, region=f"region-{change}"))
            assert [i.region for i in await fleet.instances()] == [f"region-{change}"]
            await fleet.mark_seen({instance_id(1): NOW + timedelta(minutes=change)})
            assert [i.last_seen_at for i in await fleet.instances()] == [NOW + timedelta(minutes=change)]
        await fleet.put_instance(an_instance(1, deleted_at=NOW))
        assert await fleet.instances() == ()

    async def test_changes_that_come_together_are_all_kept(self, store: Store) -> None:
        await store.fleet.put_instance(an_instance(1, tags={}))

        def tagged(tag: str) -> Callable[[Instance], Instance]:
            return lambda now: replace(now, tags={**now.tags, tag: "yes"})

        changes = [store.fleet.change_instance(instance_id(1), tagged(f"tag-{n}")) for n in range(20)]
        await asyncio.gather(*changes, store.fleet.mark_seen({instance_id(1): NOW}))
        kept = await store.fleet.get_instance(instance_id(1))
        assert (len(kept.tags), kept.last_seen_at) == (20, NOW)
        assert await store.fleet.instances() == (kept,)

    async def test_a_change_that_fails_writes_nothing(self, store: Store) -> None:
        await store.fleet.put_instance(an_instance(1))

        def refused(now: Instance) -> Instance:
            raise InvalidArgument.of("region", "is not one")

        with pytest.raises(InvalidArgument, match="region"):
            await store.fleet.change_instance(instance_id(1), refused)
        with pytest.raises(NotFound):
            await store.fleet.change_instance(instance_id(2), lambda now: now)
        assert await store.fleet.instances() == (an_instance(1),)

    async def test_a_list_shows_a_write_whose_caller_has_gone(self, store: Store) -> None:
        for change in range(20):
            writing = asyncio.create_task(store.fleet.put_instance(an_instance(1, region=f"region-{change}")))
            await asyncio.sleep(0)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await store.fleet.instances()
            await store.fleet.put_instance(an_instance(2))  # one writer: what was before it is written now
            written = [i.region for i in await store.fleet.instances() if i.id == instance_id(1)]
            stored = [(await store.fleet.get_instance(instance_id(1))).region] if written else []
            assert written == stored

    async def test_a_time_in_another_zone_comes_back_as_the_same_instant(self, store: Store) -> None:
        local = NOW.astimezone(timezone(timedelta(hours=8)))
        await store.fleet.put_instance(an_instance(1, last_seen_at=local))
        assert (await store.fleet.get_instance(instance_id(1))).last_seen_at == NOW

    async def test_an_instance_is_found_by_its_id_or_its_name(self, store: Store) -> None:
        named = {1: "web", 2: "web", 3: "db", 4: instance_id(3), 5: "web", 6: "web"}
        gone = {5: {"deleted_at": NOW}, 6: {"retired_at": NOW}}
        for number, name in named.items():
            await store.fleet.put_instance(an_instance(number, name=name, **gone.get(number, {})))
        found = {called: await store.fleet.called(called) for called in ("web", "db", instance_id(1), instance_id(3))}
        assert {called: [i.id for i in instances] for called, instances in found.items()} == {
            "web": [instance_id(1), instance_id(2)],
            "db": [instance_id(3)],
            instance_id(1): [instance_id(1)],
            instance_id(3): [instance_id(3), instance_id(4)],  # by name: "db" stands before "i-..."
        }
        for called in ("", "Web", "we", instance_id(5), instance_id(9)):
            assert await store.fleet.called(called) == ()

    async def test_instances_are_listed_by_name_then_id(self, store: Store) -> None:
        for number, name in ((3, "b"), (2, "b"), (1, "c"), (4, "B")):
            await store.fleet.put_instance(an_instance(number, name=name))
        assert [(i.name, i.id) for i in await store.fleet.instances()] == [
            ("B", instance_id(4)),
            ("b", instance_id(2)),
            ("b", instance_id(3)),
            ("c", instance_id(1)),
        ]

    async def test_a_deleted_instance_is_not_listed_but_answers_by_id(self, store: Store) -> None:
        await store.fleet.put_instance(an_instance(1))
        await store.fleet.put_instance(an_instance(2, deleted_at=NOW))
        assert await store.fleet.instances() == (an_instance(1),)
        assert (await store.fleet.get_instance(instance_id(2))).deleted_at == NOW

    async def test_a_retired_instance_is_listed_only_among_the_retired(self, store: Store) -> None:
        gone = an_instance(2, retired_at=NOW, retired_by="ann")
        for instance in (an_instance(1), gone, an_instance(3, retired_at=NOW, deleted_at=NOW)):
            await store.fleet.put_instance(instance)
        assert await store.fleet.instances() == (an_instance(1),)
        assert await store.fleet.retired_instances() == (gone,)
        assert await store.fleet.get_instance(instance_id(2)) == gone

    async def test_the_whole_fleet_is_rewritten_at_once(self, store: Store) -> None:
        for instance in (an_instance(2), an_instance(1, retired_at=NOW), an_instance(3, deleted_at=NOW)):
            await store.fleet.put_instance(instance)
        seen = list[tuple[Instance, ...]]()

        def moved(fleet: tuple[Instance, ...]) -> list[Instance]:
            seen.append(fleet)
            return [replace(i, region="moved") for i in fleet] + [an_instance(4)]

        written = await store.fleet.rewrite(moved)
        assert seen == [(an_instance(1, retired_at=NOW), an_instance(2))]
        assert [i.id for i in written] == [instance_id(1), instance_id(2), instance_id(4)]
        assert await store.fleet.instances() == (an_instance(2, region="moved"), an_instance(4))
        assert (await store.fleet.get_instance(instance_id(1))).region == "moved"
        assert (await store.fleet.get_instance(instance_id(3))).region == "cn-hongkong"

    async def test_a_rewrite_that_fails_writes_nothing(self, store: Store) -> None:
        await store.fleet.put_instance(an_instance(1))

        def refused(fleet: tuple[Instance, ...]) -> Iterator[Instance]:
            yield replace(fleet[0], region="moved")
            raise InvalidArgument.of("digest", "is not that of the fleet")

        with pytest.raises(InvalidArgument, match="digest"):
            await store.fleet.rewrite(refused)
        assert await store.fleet.instances() == (an_instance(1),)

    async def test_of_rewrites_and_changes_that_come_together_none_is_lost(self, store: Store) -> None:
        for number in (1, 2):
            await store.fleet.put_instance(an_instance(number, tags={}))

        def tagged(tag: str) -> Callable[[tuple[Instance, ...]], list[Instance]]:
            return lambda fleet: [replace(i, tags={**i.tags, tag: "yes"}) for i in fleet]

        rewrites = [store.fleet.rewrite(tagged(f"tag-{n}")) for n in range(10)]
        changes = [
            store.fleet.change_instance(
                instance_id(1), lambda now, n=n: replace(now, tags={**now.tags, f"own-{n}": ""})
            )
            for n in range(10)
        ]
        await asyncio.gather(*rewrites, *changes)
        assert [len(i.tags) for i in await store.fleet.instances()] == [20, 10]

    async def test_an_instance_that_enrols_takes_the_place_of_one_that_only_the_cmdb_knew(self, store: Store) -> None:
        known = an_instance(1, enrolled=False, cmdb=CmdbEntry("c-1", NOW))
        for number, instance in enumerate((known, an_instance(2))):
            await store.fleet.put_instance(instance)
            await store.fleet.put_enrolment_token(an_enrolment_token(number))
        new = an_instance(3, enrolled_at=NOW + MINUTE)
        await store.fleet.enrol(digest.of(b"secret-0"), new, adopts=known.id)
        assert await store.fleet.instances() == (an_instance(2), new)
        assert (await store.fleet.get_instance(known.id)).deleted_at == NOW + MINUTE
        await store.fleet.enrol(digest.of(b"secret-1"), an_instance(4), adopts=instance_id(2))
        assert an_instance(2) in await store.fleet.instances()

    async def test_an_unknown_instance_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound, match="i-nobody"):
            await store.fleet.get_instance(InstanceId("i-nobody"))

    async def test_seen_instances_are_marked_and_unknown_ones_passed_over(self, store: Store) -> None:
        for number in (1, 2):
            await store.fleet.put_instance(an_instance(number))
        await store.fleet.mark_seen({instance_id(1): NOW + MINUTE, instance_id(9): NOW})
        assert await store.fleet.instances() == (an_instance(1, last_seen_at=NOW + MINUTE), an_instance(2))
        await store.fleet.mark_seen({})
        with pytest.raises(NotFound):
            await store.fleet.get_instance(instance_id(9))

    async def test_an_enrolment_token_comes_back_by_id_and_by_hash(self, store: Store) -> None:
        placement = Placement("n", "r", "z", "p", "BMS", "g", {"a": "b"}, "c")
        token = an_enrolment_token(1, placement=placement, used_at=NOW, used_by=instance_id(4), revoked_at=NOW + MINUTE)
        await store.fleet.put_enrolment_token(token)
        assert await store.fleet.get_enrolment_token("E-1") == token
        assert await store.fleet.find_enrolment_token(token.secret_hash) == token

    async def test_unknown_enrolment_tokens_are_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound, match="E-9"):
            await store.fleet.get_enrolment_token("E-9")
        with pytest.raises(NotFound):
            await store.fleet.find_enrolment_token(digest.of(b"guess"))

    async def test_two_enrolment_tokens_cannot_have_one_secret(self, store: Store) -> None:
        await store.fleet.put_enrolment_token(an_enrolment_token(1))
        with pytest.raises(Conflict, match="E-2"):
            await store.fleet.put_enrolment_token(an_enrolment_token(2, secret_hash=digest.of(b"secret-1")))
        assert await store.fleet.find_enrolment_token(digest.of(b"secret-1")) == an_enrolment_token(1)

    async def test_enrolment_tokens_are_paged_newest_first_without_gap_or_repetition(self, store: Store) -> None:
        tokens = [an_enrolment_token(n, created_at=NOW + (n // 2) * MINUTE) for n in range(1, 8)]
        for token in tokens:
            await store.fleet.put_enrolment_token(token)
        expected = sorted(tokens, key=lambda t: (t.created_at, t.id), reverse=True)
        seen, before = list[str](), None
        while page := await store.fleet.enrolment_tokens(3, before):
            assert len(page) <= 3
            seen += [t.id for t in page]
            before = (page[-1].created_at, page[-1].id)
        assert seen == [t.id for t in expected]

    async def test_enrolling_uses_the_token_and_writes_the_instance(self, store: Store) -> None:
        await store.fleet.put_enrolment_token(an_enrolment_token(1))
        used = await store.fleet.enrol(digest.of(b"secret-1"), an_instance(1, enrolled_at=NOW + MINUTE))
        assert used == an_enrolment_token(1, used_at=NOW + MINUTE, used_by=instance_id(1))
        assert await store.fleet.get_enrolment_token("E-1") == used
        assert await store.fleet.get_instance(instance_id(1)) == an_instance(1, enrolled_at=NOW + MINUTE)

    async def test_an_unknown_secret_enrols_nobody(self, store: Store) -> None:
        with pytest.raises(NotFound):
            await store.fleet.enrol(digest.of(b"guess"), an_instance(1))
        assert await store.fleet.instances() == ()

    async def test_a_token_that_another_instance_used_enrols_nobody(self, store: Store) -> None:
        await store.fleet.put_enrolment_token(an_enrolment_token(1))
        await store.fleet.enrol(digest.of(b"secret-1"), an_instance(1))
        with pytest.raises(Conflict, match="E-1"):
            await store.fleet.enrol(digest.of(b"secret-1"), an_instance(2))
        assert await store.fleet.instances() == (an_instance(1),)

    async def test_a_revoked_token_enrols_nobody(self, store: Store) -> None:
        await store.fleet.put_enrolment_token(an_enrolment_token(1, revoked_at=NOW))
        with pytest.raises(Conflict, match="E-1"):
            await store.fleet.enrol(digest.of(b"secret-1"), an_instance(1))
        assert await store.fleet.instances() == ()

    async def test_the_same_instance_may_enrol_again_because_its_answer_was_lost(self, store: Store) -> None:
        await store.fleet.put_enrolment_token(an_enrolment_token(1))
        first = await store.fleet.enrol(digest.of(b"secret-1"), an_instance(1))
        again = an_instance(1, enrolled_at=NOW + MINUTE, agent_version="0.2.0")
        assert await store.fleet.enrol(digest.of(b"secret-1"), again) == first
        assert await store.fleet.get_instance(instance_id(1)) == again

    async def test_of_many_who_use_a_token_at_once_one_enrols(self, store: Store) -> None:
        await store.fleet.put_enrolment_token(an_enrolment_token(1))
        instances = [an_instance(n) for n in range(1, 21)]
        tries = (store.fleet.enrol(digest.of(b"secret-1"), i) for i in instances)
        answers = await asyncio.gather(*tries, return_exceptions=True)
        won = [i for i, a in zip(instances, answers, strict=True) if not isinstance(a, BaseException)]
        assert len(won) == 1
        assert sum(isinstance(a, Conflict) for a in answers) == 19
        assert await store.fleet.instances() == tuple(won)
        assert (await store.fleet.get_enrolment_token("E-1")).used_by == won[0].id

    async def test_an_enrolment_token_keeps_its_account(self, store: Store) -> None:
        await store.fleet.put_enrolment_token(an_enrolment_token(1, account="acme"))
        assert (await store.fleet.get_enrolment_token("E-1")).account == "acme"
        used = await store.fleet.enrol(digest.of(b"secret-1"), an_instance(1, account="acme"))
        assert used.account == "acme"

    async def test_many_writers_at_once_all_get_through(self, store: Store) -> None:
        async def put(number: int) -> Instance:
            await store.fleet.put_instance(an_instance(number))
            return await store.fleet.get_instance(instance_id(number))

        assert await asyncio.gather(*map(put, range(1, 51))) == [an_instance(n) for n in range(1, 51)]
