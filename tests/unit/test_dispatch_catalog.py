"""Who has this? The catalogue of advisories against a plain loop over hosts and packages, and the cases that need care."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from common import nevra
from common.errors import NotFound
from common.manifest import Stream
from controller.compliance.model import Advisory, AdvisoryPackage
from controller.dispatch.catalog import Catalog
from tests.builders import NOW, an_advisory
from tests.fleet_in_store import NEW, OLD, Fleet, a_fleet

BASH = "CESA-2026:0001"


async def who(catalog: Catalog, fleet: Fleet, reference: str, *, fixed: bool = False) -> list[tuple[str, str, bool]]:
    found = await catalog.concerned(reference, *[await fleet.store.fleet.instances()] * 2, include_fixed=fixed)
    return [(row.instance.name, str(row.installed), row.fixed) for row in found.rows]


async def test_an_advisory_concerns_who_has_an_older_build_and_is_fixed_where_it_is_not_older() -> None:
    async with a_fleet() as fleet:
        catalog = Catalog(fleet.store, fleet.assessor)
        repository = await fleet.repository()
        for number, build in ((1, OLD), (2, NEW), (3, "zsh-1-1.x86_64")):
            await fleet.enrol(number)
            await fleet.report(number, [repository], build)
        assert await who(catalog, fleet, "cesa-2026:0001") == [("ecs-0001", "4.2.46-34.el7", False)]
        assert await who(catalog, fleet, "cve-2026-0001", fixed=True) == [
            ("ecs-0001", "4.2.46-34.el7", False),
            ("ecs-0002", "4.2.46-35.el7_9", True),
        ]
        entry = await catalog.entry("cesa-2026:0001", await fleet.store.fleet.instances())
        assert (entry.affected, entry.repositories, entry.first_seen_at) == (1, ("updates",), NOW)
        await fleet.report(1, [repository], NEW)
        assert await who(catalog, fleet, BASH) == []
        assert (await catalog.entry(BASH, await fleet.store.fleet.instances())).affected == 0
        with pytest.raises(NotFound):
            await catalog.concerned("CVE-1999-0001", *[await fleet.store.fleet.instances()] * 2, include_fixed=False)
        with pytest.raises(NotFound):
            await catalog.entry("CVE-2026-0001", await fleet.store.fleet.instances())


async def test_R7_of_several_installed_builds_the_newest_counts() -> None:
    async with a_fleet() as fleet:
        catalog = Catalog(fleet.store, fleet.assessor)
        repository = await fleet.repository(an_advisory(BASH, "kernel-5-2.x86_64"))
        await fleet.enrol(1)
        await fleet.report(1, [repository], "kernel-5-1.x86_64", "kernel-5-2.x86_64")
        assert await who(catalog, fleet, BASH, fixed=True) == [("ecs-0001", "5-2", True)]


async def test_an_advisory_concerns_only_those_who_have_its_repository_enabled() -> None:
    async with a_fleet() as fleet:
        catalog = Catalog(fleet.store, fleet.assessor)
        updates = await fleet.repository()
        other = await fleet.repository(an_advisory("CESA-2026:0002", "zsh-2-1.x86_64"), called="other")
        for number, repository in ((1, updates), (2, other)):
            await fleet.enrol(number)
            await fleet.report(number, [repository])
        assert [name for name, *_ in await who(catalog, fleet, BASH)] == ["ecs-0001"]
        assert [e.advisory.id for e in await catalog.entries(await fleet.store.fleet.instances())] == [
            BASH,
            "CESA-2026:0002",
        ]


async def test_R8_an_advisory_of_a_module_concerns_only_hosts_with_its_stream_enabled() -> None:
    async with a_fleet() as fleet:
        catalog = Catalog(fleet.store, fleet.assessor)
        build = "nodejs-18.1-2.module+el8.x86_64"
        modular = replace(an_advisory(BASH), packages=(AdvisoryPackage(nevra.parse(build), "nodejs:18"),))
        plain = an_advisory("CESA-2026:0002", "nodejs-20-1.x86_64")
        repository = await fleet.repository(modular, plain)
        for number, stream in ((1, "18"), (2, "20")):
            await fleet.enrol(number)
            await fleet.report(
                number, [repository], "nodejs-18.1-1.module+el8.x86_64", streams=(Stream("nodejs", stream),)
            )
        assert [name for name, *_ in await who(catalog, fleet, BASH)] == ["ecs-0001"]
        assert await who(catalog, fleet, "CESA-2026:0002") == []


async def test_R11_of_whom_it_cannot_be_said_is_counted_as_unknown() -> None:
    async with a_fleet() as fleet:
        catalog = Catalog(fleet.store, fleet.assessor)
        repository = await fleet.repository()
        broken = replace(repository, id="broken", updateinfo="", error="timed out")
        for number in (1, 2, 3, 4):
            await fleet.enrol(number)
        await fleet.report(1, [repository], NEW)
        await fleet.report(2, [repository, broken], NEW)
        await fleet.report(3, [repository, broken], OLD)
        found = await catalog.concerned(BASH, *[await fleet.store.fleet.instances()] * 2, include_fixed=False)
        assert (found.affected, found.unknown) == (
            1,
            2,
        )  # 2 lacks a repository, 4 has not reported; 3 is known to lack it


async def test_an_instance_that_is_forgotten_is_not_counted() -> None:
    async with a_fleet() as fleet:
        catalog = Catalog(fleet.store, fleet.assessor)
        instance = await fleet.enrol(1)
        await fleet.enrol(2)
        for number in (1, 2):
            await fleet.report(number, [await fleet.repository()])
        assert (await catalog.entry(BASH, await fleet.store.fleet.instances())).affected == 2
        await fleet.store.fleet.put_instance(replace(instance, deleted_at=NOW))
        assert (await catalog.entry(BASH, await fleet.store.fleet.instances())).affected == 1


@pytest.mark.parametrize("seed", range(3))
async def test_the_catalogue_agrees_with_a_loop_over_hosts_packages_and_advisories(seed: int) -> None:
    random_ = random.Random(seed)
    async with a_fleet() as fleet:
        catalog = Catalog(fleet.store, fleet.assessor)
        pool = [f"p{n}-1-{r}.x86_64" for n in range(12) for r in range(1, 6)]
        shelves = [
            [an_advisory(f"A-{s}-{n}", *random_.sample(pool, 3), cves=(f"CVE-2026-000{n}",)) for n in range(1, 8)]
            for s in range(2)
        ]
        repositories = [await fleet.repository(*shelf, called=f"r{s}") for s, shelf in enumerate(shelves)]
        instances = [await fleet.enrol(number) for number in range(1, 21)]
        has = dict[str, tuple[list[str], list[Advisory]]]()
        for turn in range(3):
            for instance in random_.sample(instances, 20 if turn == 0 else 6):
                chosen = random_.sample([0, 1], random_.choice([1, 2]))
                installed = random_.sample(pool, 15)
                has[instance.id] = (installed, [a for s in chosen for a in shelves[s]])
                await fleet.report(int(instance.name[4:]), [repositories[s] for s in chosen], *installed)
            for entry in await catalog.entries(await fleet.store.fleet.instances()):
                assert entry.affected == len({i for i, *_ in naive(has, entry.advisory.id)})
            for reference in ("A-0-1", "A-1-3", "CVE-2026-0002"):
                found = await catalog.concerned(reference, instances, instances, include_fixed=True)
                assert {
                    (r.instance.id, r.advisory_id, f"{r.name}-{r.installed}.{r.arch}", str(r.fixed_in), r.fixed)
                    for r in found.rows
                } == naive_rows(has, reference)
                assert [r.position for r in found.rows] == sorted(r.position for r in found.rows)


def naive(has: dict[str, tuple[list[str], list[Advisory]]], reference: str) -> set[tuple[str, ...]]:
    return {(row[0], row[1]) for row in naive_rows(has, reference) if not row[4]}


def naive_rows(
    has: dict[str, tuple[list[str], list[Advisory]]], reference: str
) -> set[tuple[str, str, str, str, bool]]:
    found = set[tuple[str, str, str, str, bool]]()
    for identifier, (installed, advisories) in has.items():
        newest = dict[str, nevra.Nevra]()
        for text in installed:
            build = nevra.parse(text)
            if build.name not in newest or newest[build.name].key < build.key:
                newest[build.name] = build
        for advisory in advisories:
            if reference not in (advisory.id, *advisory.cves):
                continue
            for package in advisory.packages:
                mine = newest.get(package.nevra.name)
                if mine is not None:
                    fixed = mine.key >= package.nevra.key
                    found.add((identifier, advisory.id, str(mine), str(package.nevra.evr), fixed))
    return found


async def test_an_account_sees_the_advisories_of_its_own_repositories_as_they_are_called_there() -> None:
    async with a_fleet() as fleet:
        catalog, own = Catalog(fleet.store, fleet.assessor), an_advisory("CESA-2026:0002")
        ours, theirs = await fleet.enrol(1), await fleet.enrol(2, account="acme")
        shared = await fleet.repository()
        await fleet.report(1, [shared])
        await fleet.report(2, [replace(shared, id="acme-secret"), await fleet.repository(own, called="acme-own")])
        (seen,) = await catalog.entries([ours])
        assert (seen.advisory.id, seen.repositories, seen.affected) == (BASH, ("updates",), 1)
        assert {e.advisory.id: e.repositories for e in await catalog.entries([theirs])} == {
            BASH: ("acme-secret",),
            "CESA-2026:0002": ("acme-own",),
        }
        with pytest.raises(NotFound):
            await catalog.entry("CESA-2026:0002", [ours])
        with pytest.raises(NotFound):
            await catalog.concerned("CESA-2026:0002", [ours], [ours], include_fixed=False)
