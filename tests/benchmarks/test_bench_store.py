"""Taking in a fleet's inventories, against a store of one row per package at one transaction per host. Prints the ratios."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from common import digest, manifest
from common.manifest import PackageLine
from controller.store.sqlite import SqliteStore
from tests.builders import NOW, a_manifest, a_package, a_report, an_instance, instance_id, packages_blob

HOSTS = 1000
PACKAGES = 1000
AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Host:
    number: int
    packages: bytes
    manifest: bytes


def a_fleet(images: int, drift: int) -> list[Host]:
    """Hosts made from so many images, on each of which so many packages differ from its image."""
    rng = random.Random(1)
    builds = [
        [a_package(f"package-with-a-name-{n:05d}-{n % 7}.{n % 31}.{v}-{v}.el7_9.x86_64") for v in range(1, 6)]
        for n in range(3 * PACKAGES)
    ]
    pictures = [
        {n: builds[n][rng.randrange(5)] for n in rng.sample(range(len(builds)), PACKAGES)} for _ in range(images)
    ]
    hosts, blobs = list[Host](), dict[tuple[PackageLine, ...], bytes]()
    for number in range(1, HOSTS + 1):
        has = dict(pictures[number % images])
        for n in rng.sample(sorted(has), drift):
            has[n] = builds[n][rng.randrange(5)]
        lines = tuple(has[n] for n in sorted(has))
        blob = blobs.setdefault(lines, b"") or packages_blob(lines)
        blobs[lines] = blob
        made = a_manifest(lines, boot_id=f"{number:032x}", details=digest.of(b"details").hex())
        hosts.append(Host(number, blob, manifest.encode(made)))
    return hosts


def ingest_rows(path: Path, hosts: Sequence[Host]) -> None:
    """The plain way: a host's rows are replaced in one transaction."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("""
        CREATE TABLE installed (host TEXT, name TEXT, epoch INTEGER, version TEXT, release TEXT, arch TEXT, module TEXT,
                                PRIMARY KEY (host, name, epoch, version, release, arch, module))
    """)
    db.execute("CREATE INDEX installed_name ON installed (name)")
    for host in hosts:
        lines = manifest.decode_packages(host.packages)
        db.execute("BEGIN")
        db.execute("DELETE FROM installed WHERE host = ?", (instance_id(host.number),))
        db.executemany(
            "INSERT INTO installed VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((instance_id(host.number), *line.nevra, line.module) for line in lines),
        )
        db.execute("COMMIT")
    db.close()


async def ingest(store: SqliteStore, hosts: Sequence[Host], seconds: int) -> None:
    """Our way: digests first, content only when it is new; many agents speak at once."""

    async def one(host: Host) -> None:
        said, installed = digest.of(host.manifest), digest.of(host.packages)
        wanted = await store.inventory.missing((said, installed))
        if said in wanted:
            await store.inventory.put_blob(said, host.manifest)
        if installed in wanted:
            await store.inventory.put_snapshot(installed, manifest.decode_packages(host.packages))
        at = NOW + timedelta(seconds=seconds)
        await store.inventory.put_report(a_report(host.number, at=at, manifest_digest=said, inventory_digest=installed))

    waiting = iter(hosts)

    async def some(of: Iterator[Host]) -> None:
        for host in of:
            await one(host)

    await asyncio.gather(*(some(waiting) for _ in range(AT_ONCE)))


def size_of(path: Path) -> int:
    return sum(p.stat().st_size for p in path.parent.rglob("*") if p.is_file() and p.name.startswith(path.name))


@pytest.mark.bench
@pytest.mark.parametrize(("images", "drift"), [(10, 0), (10, 10), (HOSTS, 0)])
async def test_bench_ingest_of_a_fleet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], images: int, drift: int
) -> None:
    hosts = a_fleet(images, drift)
    begun = time.perf_counter()
    ingest_rows(tmp_path / "rows.db", hosts)
    rows_seconds, rows_bytes = time.perf_counter() - begun, size_of(tmp_path / "rows.db")

    store = SqliteStore.open(tmp_path / "ours.db")
    await asyncio.gather(*(store.fleet.put_instance(an_instance(host.number)) for host in hosts))
    await store.close()
    empty = size_of(tmp_path / "ours.db")
    store = SqliteStore.open(tmp_path / "ours.db")
    begun = time.perf_counter()
    await ingest(store, hosts, 0)
    first = time.perf_counter() - begun
    begun = time.perf_counter()
    await ingest(store, hosts, 3600)
    again = time.perf_counter() - begun
    assert len(await store.inventory.latest_reports()) == HOSTS
    await store.close()
    ours_bytes = size_of(tmp_path / "ours.db") - empty
    with capsys.disabled():
        print(
            f"\n{HOSTS} hosts x {PACKAGES} packages, {images} images, {drift} packages of each host drifted\n"
            f"  row per package {rows_seconds / HOSTS * 1e3:8.2f} ms a host  {rows_bytes / HOSTS / 1e3:8.1f} kB a host\n"
            f"  first report    {first / HOSTS * 1e3:8.2f} ms a host  {ours_bytes / HOSTS / 1e3:8.1f} kB a host"
            f"  {rows_seconds / first:6.1f} x faster, 1/{rows_bytes / ours_bytes:.0f} of the bytes\n"
            f"  unchanged       {again / HOSTS * 1e3:8.2f} ms a host  {'':18}{rows_seconds / again:8.1f} x faster"
        )
