"""Taking in a fleet's inventories, against a store of one row per package at one transaction per host.

Processor time, as a busy machine makes any clock lie; waiting for the disk's sync is not in it, which the plain way does once a
host and ours once for all who wait.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest

from common import digest, manifest
from controller.inventory.model import Report
from controller.store.sqlite import SqliteStore
from tests.benchmarks.measuring import Table
from tests.builders import NOW, a_manifest, a_package, an_instance, instance_id, packages_blob

WARM_HOSTS = 500
"""The plain way slows down until its tables have outgrown the caches, some hundred hosts: those after them are measured."""
MEASURED = 100
"""So many for each fleet, some after each part of it: on a machine whose speed changes both ways are to meet the same."""
ROW_HOSTS = WARM_HOSTS + 3 * MEASURED
PACKAGES = 1000
CHUNK = 500
AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Host:
    """What an agent has to say: its digests it works out itself, before it says anything."""

    number: int
    packages: bytes
    packages_digest: bytes
    manifest: bytes
    manifest_digest: bytes


def a_fleet(hosts: int, images: int, drift: int) -> Iterator[Host]:
    """Hosts made from so many images, on each of which so many packages differ from its image."""
    rng = random.Random(1)
    builds = [
        [a_package(f"package-with-a-name-{n:05d}-{n % 7}.{n % 31}.{v}-{v}.el7_9.x86_64") for v in range(1, 6)]
        for n in range(3 * PACKAGES)
    ]
    pictures = [
        {n: builds[n][rng.randrange(5)] for n in rng.sample(range(len(builds)), PACKAGES)} for _ in range(images)
    ]
    blobs = [packages_blob(list(picture.values())) for picture in pictures]
    for number in range(1, hosts + 1):
        has, blob = pictures[number % images], blobs[number % images]
        if drift:
            has = has | {n: builds[n][rng.randrange(5)] for n in rng.sample(sorted(has), drift)}
            blob = packages_blob(list(has.values()))
        made = replace(
            TEMPLATE, packages=digest.of(blob).hex(), package_count=PACKAGES, boot_id=f"{rng.getrandbits(128):032x}"
        )
        said = manifest.encode(made)
        yield Host(number, blob, bytes.fromhex(made.packages), said, digest.of(said))


TEMPLATE = a_manifest(())


class RowPerPackage:
    """The plain way: a host's rows are replaced in one transaction."""

    def __init__(self, path: Path) -> None:
        """Take in hosts until more of them make it no slower."""
        self._path = path
        self._fleet = a_fleet(ROW_HOSTS, 100, 10)
        self._hosts = 0
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA cache_size = -16384")
        self._db.execute("""
            CREATE TABLE installed (host TEXT, name TEXT, epoch INTEGER, version TEXT, release TEXT, arch TEXT, module TEXT,
                                    PRIMARY KEY (host, name, epoch, version, release, arch, module))
        """)
        self._db.execute("CREATE INDEX installed_name ON installed (name)")
        self.ingest(WARM_HOSTS)

    def ingest(self, count: int) -> float:
        """Take in the next hosts; return the seconds that it took."""
        hosts = list(islice(self._fleet, count))
        assert len(hosts) == count
        begun = time.process_time()
        for host in hosts:
            name = instance_id(host.number)
            lines = [line.split("\t") for line in host.packages.decode().splitlines()]
            self._db.execute("BEGIN")
            self._db.execute("DELETE FROM installed WHERE host = ?", (name,))
            self._db.executemany(
                "INSERT INTO installed VALUES (?, ?, ?, ?, ?, ?, ?)", ((name, *line) for line in lines)
            )
            self._db.execute("COMMIT")
        self._hosts += count
        return time.process_time() - begun

    def bytes_per_host(self) -> float:
        """What a host needs on the disk, once the log is empty."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return size_of(self._path) / self._hosts

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


async def ingest(store: SqliteStore, hosts: Sequence[Host], seconds: int) -> None:
    """Our way: digests first; content only when it is new, from one agent, and checked; many agents speak at once.

    As the controller's intake does: an agent's content is stored where its messages are read, and others who have the same wait for it.
    """
    asked = dict[bytes, asyncio.Event]()
    at = NOW + timedelta(seconds=seconds)

    async def put(wanted: bytes, content: bytes, is_inventory: bool) -> None:
        assert digest.of(content) == wanted
        if is_inventory:
            await store.inventory.put_snapshot(wanted, content)
        else:
            await store.inventory.put_blob(wanted, content)

    async def one(host: Host) -> None:
        said, installed = host.manifest_digest, host.packages_digest
        contents = {said: host.manifest, installed: host.packages}
        for wanted in await store.inventory.missing(contents):
            if (stored := asked.get(wanted)) is not None:
                await stored.wait()
                continue
            stored = asked[wanted] = asyncio.Event()
            await put(wanted, contents[wanted], wanted == installed)
            stored.set()
        await store.inventory.put_report(Report(instance_id(host.number), said, installed, at, at, at))

    waiting = iter(hosts)

    async def some(of: Iterator[Host]) -> None:
        for host in of:
            await one(host)

    await asyncio.gather(*(some(waiting) for _ in range(AT_ONCE)))


def size_of(path: Path) -> int:
    return sum(p.stat().st_size for p in path.parent.rglob("*") if p.is_file() and p.name.startswith(path.name))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RowPerPackage]:
    """The plain way, to which it makes no difference which packages a host has."""
    kept = RowPerPackage(tmp_path_factory.mktemp("rows") / "rows.db")
    yield kept
    kept.close()


@pytest.mark.bench
@pytest.mark.parametrize(("count", "images", "drift"), [(10_000, 10, 0), (4_000, 100, 10), (500, 500, 0)])
async def test_bench_ingest_of_a_fleet(
    tmp_path: Path, table: Table, rows: RowPerPackage, count: int, images: int, drift: int
) -> None:
    path = tmp_path / "ours.db"
    store = SqliteStore.open(path)
    await asyncio.gather(*(store.fleet.put_instance(an_instance(n)) for n in range(1, count + 1)))
    await store.close()
    empty = size_of(path)
    store = SqliteStore.open(path)
    first = again = plain = 0.0
    plain_hosts, plain_at_once = 0, MEASURED * CHUNK // count
    fleet = a_fleet(count, images, drift)
    while chunk := list(islice(fleet, CHUNK)):  # one after the other: the texts of all would not fit into memory
        begun = time.process_time()
        await ingest(store, chunk, 0)
        between = time.process_time()
        await ingest(store, chunk, 3600)
        first, again = first + between - begun, again + time.process_time() - between
        plain += rows.ingest(plain_at_once)
        plain_hosts += plain_at_once
    assert len(await store.inventory.latest_reports()) == count
    await store.close()
    first, again, ours_bytes = first / count, again / count, (size_of(path) - empty) / count
    rows_seconds, rows_bytes = plain / plain_hosts, rows.bytes_per_host()
    fleet_like = f"{count:,} hosts, {images} images" + (f", {drift} packages apart" if drift else "")
    # The aims are for the fleet of few images; the others show how far the sharing carries.
    table.ratio(
        f"first inventory stored, a host ({fleet_like})",
        first,
        rows_seconds,
        "s",
        than="row per package",
        at_least=50 if images < count else None,
    )
    table.ratio(f"unchanged inventory stored, a host ({fleet_like})", again, rows_seconds, "s", than="row per package")
    table.ratio(
        f"bytes stored, a host ({fleet_like})",
        ours_bytes / 1e3,
        rows_bytes / 1e3,
        "kB",
        than="row per package",
        at_least=200 if images < count else None,
    )
    table.remark(
        f"stores: {PACKAGES:,} packages a host, {AT_ONCE} hosts speak at once, each in a transaction of its own"
    )
