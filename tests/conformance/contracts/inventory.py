"""What an InventoryStore promises."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from common import digest, evr
from common.errors import NotFound
from common.manifest import PackageLine, package_text
from controller.inventory.model import Report, Snapshot
from controller.store.api import Store
from controller.store.sqlite.blobs import FILE_BYTES
from tests.builders import (
    MINUTE,
    NOW,
    a_package,
    a_report,
    an_instance,
    instance_id,
    packages,
    packages_blob,
    packages_digest,
)


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


async def report(store: Store, manifest: str, minutes: float, number: int = 1, ticket: str = "") -> Report:
    """Let an instance say something; its manifest is whatever text."""
    content = manifest.encode()
    await store.fleet.put_instance(an_instance(number))
    await store.inventory.put_blob(digest.of(content), content)
    return await store.inventory.put_report(
        a_report(
            number,
            at=at(minutes),
            manifest_digest=digest.of(content),
            inventory_digest=None,
            received_at=at(minutes) + timedelta(seconds=1),
            ticket_id=ticket,
        )
    )


async def said(store: Store, minutes: float) -> str | None:
    """What instance 1 said last at a time."""
    found = await store.inventory.report_as_of(instance_id(1), at(minutes))
    return None if found is None else (await store.inventory.get_blob(found.manifest_digest)).decode()


class InventoryStoreContract:
    """Subclass it, give it a `store` fixture, and the new store is held to the contract."""

    @pytest.mark.parametrize("size", [0, 1, 1000, 300_000, 3_000_000])
    async def test_content_comes_back_byte_for_byte(self, store: Store, size: int) -> None:
        for content in (random.Random(size).randbytes(size), b"abc" * (size // 3)):
            await store.inventory.put_blob(digest.of(content), content)
            assert await store.inventory.get_blob(digest.of(content)) == content

    @pytest.mark.parametrize("size", [10, 300_000])
    async def test_the_same_digest_again_changes_nothing(self, store: Store, size: int) -> None:
        await store.inventory.put_blob(digest.of(b"first"), b"1" * size)
        await store.inventory.put_blob(digest.of(b"first"), b"2" * size)
        assert await store.inventory.get_blob(digest.of(b"first")) == b"1" * size

    async def test_unknown_content_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound, match="content"):
            await store.inventory.get_blob(digest.of(b"never"))

    async def test_missing_is_what_is_neither_content_nor_snapshot(self, store: Store) -> None:
        lines = packages(3)
        await store.inventory.put_blob(digest.of(b"small"), b"small")
        await store.inventory.put_blob(digest.of(b"large"), b"1" * 500_000)
        await store.inventory.put_snapshot(packages_digest(lines), packages_blob(lines))
        known = {digest.of(b"small"), digest.of(b"large"), packages_digest(lines)}
        assert await store.inventory.missing(known) == frozenset()
        assert await store.inventory.missing({*known, digest.of(b"new")}) == {digest.of(b"new")}
        assert await store.inventory.missing([]) == frozenset()

    async def test_a_snapshot_is_the_set_of_its_packages(self, store: Store) -> None:
        lines = (
            a_package("bash-4.2.46-34.el7.x86_64"),
            a_package("openssl-libs-1:1.0.2k-19.el7.i686"),
            a_package("openssl-libs-1:1.0.2k-19.el7.x86_64"),
            a_package("nginx-1.20.1-10.module.x86_64", "nginx:1.20:8:abcd"),
            a_package("nginx-1.20.1-10.module.x86_64"),
        )
        snapshot = await store.inventory.put_snapshot(packages_digest(lines), packages_blob(lines))
        assert snapshot.digest == packages_digest(lines)
        assert await store.inventory.get_snapshot(snapshot.digest) == snapshot
        found = await store.inventory.packages(snapshot.packages)
        assert {(p.nevra, p.module) for p in found} == {(line.nevra, line.module) for line in lines}
        assert all(p.key == evr.key(p.nevra.epoch, p.nevra.version, p.nevra.release) for p in found)
        assert [p.id for p in found] == sorted(snapshot.packages)

    async def test_an_empty_inventory_is_an_inventory(self, store: Store) -> None:
        await store.inventory.put_snapshot(packages_digest(()), packages_blob(()))
        assert len((await store.inventory.get_snapshot(packages_digest(()))).packages) == 0

    async def test_a_build_has_one_id_however_many_hosts_have_it(self, store: Store) -> None:
        first = await store.inventory.put_snapshot(digest.of(b"a"), packages_blob(packages(10)))
        second = await store.inventory.put_snapshot(digest.of(b"b"), packages_blob(packages(10, first=6)))
        assert len(first.packages & second.packages) == 5
        assert [p.id for p in await store.inventory.packages_after(0)] == list(range(1, 16))

    async def test_the_same_snapshot_again_changes_nothing(self, store: Store) -> None:
        first = await store.inventory.put_snapshot(digest.of(b"a"), packages_blob(packages(3)))
        assert await store.inventory.put_snapshot(digest.of(b"a"), packages_blob(packages(5))) == first
        assert len(await store.inventory.packages_after(0)) == 3

    @pytest.mark.parametrize(
        "wrong",
        [
            b"bash\t0\t5\t1\tx86_64\t",  # cut off
            b"bash\t0\t5\t1\tx86_64\t\nzsh\tone\t5\t1\tx86_64\t\n",
            b"zsh\t0\t5\t1\tx86_64\t\nbash\t0\t5\t1\tx86_64\t\n",
            b"bash\t0\t5\t1\tx86_64\t\nb\xffsh\t0\t5\t1\tx86_64\t\n",
        ],
    )
    async def test_of_what_is_no_list_of_packages_nothing_is_kept(self, store: Store, wrong: bytes) -> None:
        await store.inventory.put_snapshot(digest.of(b"a"), packages_blob(packages(3)))
        with pytest.raises(ValueError):
            await store.inventory.put_snapshot(digest.of(wrong), wrong)
        assert await store.inventory.missing([digest.of(wrong)]) == {digest.of(wrong)}
        assert len(await store.inventory.packages_after(0)) == 3
        after = await store.inventory.put_snapshot(digest.of(b"b"), packages_blob(packages(5)))
        assert list(after.packages) == [1, 2, 3, 4, 5]

    async def test_hosts_that_are_alike_keep_each_its_own_packages(self, store: Store) -> None:
        """Whatever a store saves where texts are nearly the same: every set is that of its lines."""
        dice = random.Random(1)
        image, others = packages(120), packages(200, first=500)
        kept = dict[bytes, frozenset[bytes]]()
        for number in range(30):
            has = set(dice.sample(image, 120 - dice.randrange(4))) | set(dice.sample(others, dice.randrange(4)))
            if number % 10 == 9:
                has = set(dice.sample(others, 100))
            blob = packages_blob(tuple(has))
            if number % 7 == 6:
                blob += blob.splitlines(keepends=True)[-1]  # says a line twice
            await store.inventory.put_snapshot(digest.of(blob), blob)
            kept[digest.of(blob)] = frozenset(blob.splitlines())
        for name, lines in kept.items():
            snapshot = await store.inventory.get_snapshot(name)
            found = await store.inventory.packages(snapshot.packages)
            assert {package_text(PackageLine(p.nevra, p.module)).encode() for p in found} == lines

    async def test_a_host_that_drifts_away_from_its_image_keeps_each_set_it_ever_had(self, store: Store) -> None:
        """Step by step all its packages are others; a second host made from the image goes another way."""
        dice, image = random.Random(2), packages(160)
        hosts = [dict(enumerate(image)), dict(enumerate(image))]
        kept = dict[bytes, frozenset[bytes]]()
        for step in range(1, 41):
            for which, has in enumerate(hosts):
                for place in dice.sample(range(160), 8):
                    has[place] = a_package(f"package-{place + 1:05d}-{step + 1}.{which}-1.el7.x86_64")
                blob = packages_blob(tuple(has.values()))
                snapshot = await store.inventory.put_snapshot(digest.of(blob), blob)
                assert len(snapshot.packages) == 160
                kept[digest.of(blob)] = frozenset(blob.splitlines())
        interned = await store.inventory.packages_after(0)
        assert len({(p.nevra, p.module) for p in interned}) == len(interned)
        by_id = {p.id: package_text(PackageLine(p.nevra, p.module)).encode() for p in interned}
        for name, lines in kept.items():
            assert {by_id[number] for number in (await store.inventory.get_snapshot(name)).packages} == lines

    @pytest.mark.parametrize("place", [0, 60, 119])
    async def test_a_list_like_another_is_refused_for_what_is_wrong_with_it(self, store: Store, place: int) -> None:
        right = packages_blob(packages(120))
        await store.inventory.put_snapshot(digest.of(right), right)
        lines = right.splitlines(keepends=True)
        other = b"package-00007\t0\t2\t1\tx86_64\t\n"
        for wrong in (
            b"".join([*lines[:place], b"no package\n", *lines[place:]]),
            b"".join([*lines[:place], b"zzz\t0\t1\t1\tx86_64\t\n", *lines[place:], b"zz\t0\t1\t1\tx86_64\t\n"]),
            b"".join([*lines[:place], lines[-1 - place], *lines[place:]]) + other,
            right + b"".join(lines[place:]) + other,
            right[:-1],
        ):
            with pytest.raises(ValueError):
                await store.inventory.put_snapshot(digest.of(wrong), wrong)
        assert len(await store.inventory.packages_after(0)) == 120

    async def test_an_unknown_snapshot_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound, match="inventory"):
            await store.inventory.get_snapshot(digest.of(b"never"))

    async def test_packages_are_returned_in_order_once_each_and_unknown_ones_are_not_found(self, store: Store) -> None:
        await store.inventory.put_snapshot(digest.of(b"a"), packages_blob(packages(5)))
        assert [p.id for p in await store.inventory.packages([4, 2, 4, 1])] == [1, 2, 4]
        assert await store.inventory.packages([]) == ()
        for unknown in (6, 0, -1):
            with pytest.raises(NotFound, match=str(unknown)):
                await store.inventory.packages([1, unknown])

    async def test_packages_after_an_id_are_the_new_ones(self, store: Store) -> None:
        await store.inventory.put_snapshot(digest.of(b"a"), packages_blob(packages(5)))
        await store.inventory.put_snapshot(digest.of(b"b"), packages_blob(packages(8)))
        assert [p.nevra.name for p in await store.inventory.packages_after(5)] == [
            f"package-{n:05d}" for n in (6, 7, 8)
        ]
        assert await store.inventory.packages_after(8) == ()

    async def test_a_report_comes_back_with_every_field_as_it_was(self, store: Store) -> None:
        await store.fleet.put_instance(an_instance(1))
        await store.inventory.put_blob(digest.of(b"m"), b"m")
        await store.inventory.put_snapshot(digest.of(b"s"), packages_blob(packages(2)))
        given = a_report(
            1,
            manifest_digest=digest.of(b"m"),
            inventory_digest=digest.of(b"s"),
            received_at=NOW + MINUTE,
            ticket_id="T-1",
        )
        assert await store.inventory.put_report(given) == given
        assert await store.inventory.latest_report(instance_id(1)) == given
        assert await store.inventory.latest_reports() == (given,)

    async def test_a_report_needs_its_instance_its_manifest_and_its_snapshot(self, store: Store) -> None:
        given = a_report(1, manifest_digest=digest.of(b"m"), inventory_digest=digest.of(b"s"))
        with pytest.raises(NotFound, match="instance"):
            await store.inventory.put_report(given)
        await store.fleet.put_instance(an_instance(1))
        with pytest.raises(NotFound, match="manifest"):
            await store.inventory.put_report(given)
        await store.inventory.put_blob(digest.of(b"m"), b"m")
        with pytest.raises(NotFound, match="inventory"):
            await store.inventory.put_report(given)
        assert await store.inventory.latest_report(instance_id(1)) is None
        await store.inventory.put_snapshot(digest.of(b"s"), packages_blob(packages(1)))
        assert await store.inventory.put_report(given) == given
        later = replace(given, collected_at=NOW + timedelta(hours=1), inventory_digest=digest.of(b"t"))
        with pytest.raises(NotFound, match="inventory"):
            await store.inventory.put_report(later)
        assert await store.inventory.latest_report(instance_id(1)) == given

    async def test_the_same_manifest_again_stretches_the_interval(self, store: Store) -> None:
        await report(store, "A", 0, ticket="T-1")
        latest = await report(store, "A", 10)
        assert (latest.first_collected_at, latest.collected_at) == (at(0), at(10))
        assert latest.received_at == at(10) + timedelta(seconds=1)
        assert latest.ticket_id == ""
        assert await store.inventory.latest_reports() == (latest,)

    async def test_collected_at_never_goes_back(self, store: Store) -> None:
        await report(store, "A", 0)
        newest = await report(store, "A", 10)
        assert await report(store, "A", 5, ticket="T-late") == newest

    async def test_another_manifest_is_another_report_and_history_remains(self, store: Store) -> None:
        for manifest, minutes in (("A", 0), ("A", 2), ("B", 5), ("A", 9)):
            latest = await report(store, manifest, minutes)
        assert (latest.first_collected_at, latest.collected_at) == (at(9), at(9))
        assert [await said(store, m) for m in (-1, 0, 1, 4.9, 5, 8, 9, 99)] == [None, "A", "A", "A", "B", "B", "A", "A"]

    async def test_a_late_report_is_kept_in_its_place(self, store: Store) -> None:
        await report(store, "A", 0)
        newest = await report(store, "C", 10)
        assert await report(store, "B", 5) == newest
        assert await report(store, "Z", -5) == newest
        assert [await said(store, m) for m in (-5, 0, 5, 7, 10)] == ["Z", "A", "B", "B", "C"]

    async def test_a_late_report_inside_an_interval_parts_it(self, store: Store) -> None:
        await report(store, "A", 0)
        await report(store, "A", 10)
        latest = await report(store, "B", 5)
        assert (latest.first_collected_at, latest.collected_at) == (at(10), at(10))
        assert [await said(store, m) for m in (0, 4, 5, 9, 10, 11)] == ["A", "A", "B", "B", "A", "A"]

    async def test_a_late_report_of_what_came_next_lets_that_begin_earlier(self, store: Store) -> None:
        await report(store, "A", 0)
        await report(store, "B", 10)
        latest = await report(store, "B", 5)
        assert (latest.first_collected_at, latest.collected_at) == (at(5), at(10))
        assert [await said(store, m) for m in (4, 5, 10)] == ["A", "B", "B"]

    async def test_of_two_reports_of_one_instant_the_later_to_arrive_is_the_latest(self, store: Store) -> None:
        await report(store, "A", 0)
        await report(store, "B", 0)
        assert await said(store, 0) == "B"
        await report(store, "C", 0)
        assert await said(store, 0) == "C"

    async def test_history_says_what_was_said_last_in_whatever_order_it_arrived(self, store: Store) -> None:
        told = [(letter, minutes) for minutes, letter in enumerate("ABCDEFGH")]
        shuffled = told.copy()
        random.Random(5).shuffle(shuffled)
        for manifest, minutes in shuffled:
            await report(store, manifest, minutes)
        assert [await said(store, minutes + 0.5) for _, minutes in told] == [manifest for manifest, _ in told]

    async def test_latest_reports_are_of_listed_instances_in_order_of_id(self, store: Store) -> None:
        for number in (3, 1, 2):
            await report(store, "A", number, number)
            await report(store, "B", number + 10, number)
        await store.fleet.put_instance(an_instance(2, deleted_at=NOW))
        await store.fleet.put_instance(an_instance(4))
        latest = await store.inventory.latest_reports()
        assert [(r.instance_id, r.collected_at) for r in latest] == [(instance_id(1), at(11)), (instance_id(3), at(13))]
        assert await store.inventory.latest_report(instance_id(2)) is not None
        assert await store.inventory.latest_report(instance_id(4)) is None

    async def test_R11_repositories_that_ever_had_advisories_are_remembered(self, store: Store) -> None:
        for number in (1, 2):
            await store.fleet.put_instance(an_instance(number))
        remember = store.inventory.remember_advisory_repositories
        one, two, nobody = map(instance_id, (1, 2, 9))
        assert await remember({one: ["updates"]}) == {one: {"updates"}}
        assert await remember({one: []}) == {one: {"updates"}}
        assert await remember({one: ["updates", "epel"], two: []}) == {one: {"updates", "epel"}, two: frozenset()}
        assert await remember({}) == {}
        with pytest.raises(NotFound, match="instance"):
            await remember({two: ["base"], nobody: ["updates"]})
        assert await remember({two: [], nobody: []}) == {two: frozenset(), nobody: frozenset()}

    async def test_several_contents_and_snapshots_come_together(self, store: Store) -> None:
        contents = {digest.of(c): c for c in (b"one", b"two" * 400, b"two" * 401, b"3" * FILE_BYTES)}
        for name, content in contents.items():
            await store.inventory.put_blob(name, content)
        assert await store.inventory.get_blobs(list(contents)) == contents
        snapshots = dict[bytes, Snapshot]()
        for lines in ((a_package(),), (a_package(), a_package("curl-7.29.0-59.el7.x86_64"))):
            name = packages_digest(lines)
            snapshots[name] = await store.inventory.put_snapshot(name, packages_blob(lines))
        assert await store.inventory.get_snapshots(list(snapshots)) == snapshots
        never = digest.of(b"never")
        for asked in (
            store.inventory.get_blobs((*contents, never)),
            store.inventory.get_snapshots((*snapshots, never)),
        ):
            with pytest.raises(NotFound):
                await asked

    async def test_R5_the_first_time_an_advisory_was_seen_stays(self, store: Store) -> None:
        await store.inventory.see_advisories(["A-1", "A-2"], at(0))
        await store.inventory.see_advisories(["A-2", "A-3"], at(5))
        await store.inventory.see_advisories([], at(6))
        assert await store.inventory.first_seen(["A-1", "A-2", "A-3", "A-4"]) == {
            "A-1": at(0),
            "A-2": at(0),
            "A-3": at(5),
        }

    async def test_R5_an_earlier_time_wins_even_when_it_is_told_later(self, store: Store) -> None:
        await store.inventory.see_advisories(["A-1"], at(5))
        await store.inventory.see_advisories(["A-1"], at(0))
        assert await store.inventory.first_seen(["A-1"]) == {"A-1": at(0)}
