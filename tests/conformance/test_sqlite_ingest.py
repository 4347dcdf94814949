"""Whatever hosts say in whatever order, and whatever is undone or restarted between: what was kept is what was sent.

Texts are compared with what is remembered of earlier ones, and what is remembered changes with them. Here little is remembered, so that
all of it is often forgotten.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import digest, manifest
from common.manifest import PackageLine
from controller.store.sqlite import snapshots
from controller.store.sqlite.database import Database
from controller.store.sqlite.inventory import SqliteInventory
from controller.store.sqlite.likeness import Blocks, Difference, difference
from tests.builders import a_package, packages_blob
from tests.examples import examples

IMAGE = 200
"""So many packages: a tenth of them may differ before a text is read whole."""


@dataclass(frozen=True)
class Host:
    """Made from an image, updated with all others so many times, and then so far drifted away."""

    image: int
    updates: int
    drifted: frozenset[tuple[int, int]]

    def packages(self) -> Sequence[PackageLine]:
        """Images share half of their packages; each update is of the same five."""
        first = self.image * IMAGE // 2
        versions = dict.fromkeys(range(first, first + IMAGE), 1)
        versions |= {first + 31 * n: 1 + self.updates for n in range(5)}
        for place, version in self.drifted:
            versions[first + place] = version
        return [a_package(f"package-{n:05d}-{version}-1.el7.x86_64") for n, version in versions.items() if version]


@dataclass(frozen=True)
class Group:
    """Hosts that speak at once; the disk may be full then, or one of them may say what is no list of packages."""

    hosts: tuple[Host, ...]
    is_lost: bool = False
    has_wrong: bool = False


class Restart:
    """The store is closed and opened again."""


@st.composite
def groups(draw: st.DrawFn) -> Group:
    """Hosts of one image, most of them updated equally."""
    image, updates = draw(st.integers(0, 1)), draw(st.integers(0, 2))
    drifted = st.frozensets(st.tuples(st.integers(0, IMAGE - 1), st.sampled_from([0, 8, 9])), max_size=5)
    hosts = st.builds(Host, st.just(image), st.just(updates) | st.integers(0, 2), drifted)
    return Group(tuple(draw(st.lists(hosts, min_size=1, max_size=6))), draw(st.booleans()), draw(st.booleans()))


@settings(max_examples=examples(25), deadline=None)
@given(st.lists(groups() | st.builds(Restart), min_size=2, max_size=8))
def test_what_was_kept_is_what_was_sent_whatever_came_between(steps: list[Group | Restart]) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.multiple(snapshots, _BASES=2, _TEXTS=3),
    ):
        asyncio.run(_follow(Path(folder) / "patchwarden.db", steps))


async def test_of_what_was_undone_no_line_is_remembered(tmp_path: Path) -> None:
    """Its number is given to another line next."""
    drifts = [frozenset({(100 + n, 8)}) for n in range(5)]
    await _follow(
        tmp_path / "patchwarden.db",
        [
            Group((Host(0, 0, frozenset()),)),
            Group(tuple(Host(0, 1, drifted) for drifted in drifts), is_lost=True),
            Group((Host(1, 0, frozenset()),)),
            Group(tuple(Host(0, 1, drifted) for drifted in drifts)),
        ],
    )


async def _follow(path: Path, steps: Sequence[Group | Restart]) -> None:
    kept = set[bytes]()
    database = Database.open(path, "NORMAL")
    inventory = SqliteInventory(database)
    for step in steps:
        if isinstance(step, Group):
            kept.update(await _speak(database, inventory, step))
        else:
            await database.close()
            database = Database.open(path, "NORMAL")
            inventory = SqliteInventory(database)
        await _check(inventory, kept)
    await database.close()


async def _speak(database: Database, inventory: SqliteInventory, group: Group) -> Collection[bytes]:
    """Let hosts speak at once; return what is surely kept."""
    contents = {digest.of(blob): blob for blob in (packages_blob(host.packages()) for host in group.hosts)}
    said = [inventory.put_snapshot(name, content) for name, content in contents.items()]
    if group.has_wrong:
        said.insert(
            1, inventory.put_snapshot(digest.of(b"wrong"), b"wrong\n" + packages_blob(group.hosts[0].packages()))
        )
    disk = [database.write(_fill_the_disk)] if group.is_lost else []
    answers = await asyncio.gather(*said, *disk, return_exceptions=True)
    if group.is_lost:
        assert all(isinstance(answer, sqlite3.OperationalError | ValueError) for answer in answers)
        return ()
    assert sum(isinstance(answer, BaseException) for answer in answers) == group.has_wrong
    return contents


def _fill_the_disk(db: sqlite3.Connection) -> None:
    """Do what SQLite does when a disk is full: all that the transaction did is undone, the neighbours' work too."""
    db.execute("ROLLBACK")
    raise sqlite3.OperationalError("database or disk is full")


async def _check(inventory: SqliteInventory, kept: Collection[bytes]) -> None:
    assert await inventory.missing(kept) == frozenset()
    found = await inventory.get_snapshots(kept)
    for name in kept:
        lines = [PackageLine(p.nevra, p.module) for p in await inventory.packages(found[name].packages)]
        assert digest.of(packages_blob(lines)) == name
        assert manifest.decode_packages(packages_blob(lines)) == tuple(sorted(lines, key=manifest.package_text))


@pytest.fixture
def differing(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """In how many lines each text differed from what it was compared with."""
    seen = list[int]()

    def spy(text: bytes, base: Blocks, at_most: int) -> Difference | None:
        found = difference(text, base, at_most)
        seen.append(-1 if found is None else len(found.came) + len(found.gone))
        return found

    monkeypatch.setattr(snapshots, "difference", spy)
    return seen


async def test_what_is_remembered_follows_the_fleet(tmp_path: Path, differing: list[int]) -> None:
    """Each host has four packages of its own: it is eight lines from the image, and sixteen from another host."""
    database = Database.open(tmp_path / "patchwarden.db", "NORMAL")
    inventory = SqliteInventory(database)

    kept = set[bytes]()

    async def speak(number: int, updates: int) -> None:
        drifted = frozenset((126 + 4 * number + n, 9) for n in range(4))  # behind what updates change
        content = packages_blob(Host(0, updates, drifted).packages())
        await inventory.put_snapshot(name := digest.of(content), content)
        kept.add(name)

    for number in range(10):
        await speak(number, 0)
    assert differing == [16] * 3 + [8] * 6
    for updates in (1, 2):
        differing.clear()
        for number in range(10, 16):
            await speak(number, updates)
        assert differing == [18] * 3 + [8] * 3
    await _check(inventory, kept)
    await database.close()
