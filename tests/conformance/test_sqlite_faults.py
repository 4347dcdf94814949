"""What only a database on a disk has to stand: no room, locks, a second process, neighbours that fail."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common import digest
from common.errors import Conflict, NotFound, Rejected, Unavailable
from controller.store.sqlite import SqliteStore, database
from controller.store.sqlite.database import Database
from tests.builders import a_ticket, an_instance, instance_id, packages, packages_blob, packages_digest

ROOT = Path(__file__).resolve().parents[2]
FILES_END_AT = 1_000_000
"""The log of a new database already has what all migrations wrote: there must be room for some more than that."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "patchwarden.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore.open(path)
    yield opened
    await opened.close()


@contextmanager
def no_room_beyond(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size: writing there fails in the kernel, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def fill(store: SqliteStore) -> int:
    """Write instances until it says no; return how many were acknowledged."""
    for number in range(1, 10_000):
        try:
            await store.fleet.put_instance(an_instance(number, tags={"filler": os.urandom(4000).hex()}))
        except Unavailable as error:
            said = error
            break
    assert "disk" in str(said)
    assert said.retry
    return number - 1


async def test_without_room_it_says_so_keeps_what_it_has_and_goes_on_when_there_is_room(store: SqliteStore) -> None:
    with no_room_beyond(FILES_END_AT):
        kept = await fill(store)
        assert kept > 10
        with pytest.raises(Unavailable):
            await store.tickets.create(a_ticket(5000))
        assert len(await store.fleet.instances()) == kept
    await store.fleet.put_instance(an_instance(kept + 1))
    await store.tickets.create(a_ticket(5000))
    assert len(await store.fleet.instances()) == kept + 1


async def test_without_room_for_an_inventory_no_package_is_interned_by_half(store: SqliteStore) -> None:
    await store.inventory.put_snapshot(packages_digest(packages(10)), packages_blob(packages(10)))
    lines = packages(18000)
    with no_room_beyond(FILES_END_AT), pytest.raises(Unavailable):
        await store.inventory.put_snapshot(packages_digest(lines), packages_blob(lines))
    assert len(await store.inventory.packages_after(0)) == 10
    snapshot = await store.inventory.put_snapshot(packages_digest(lines), packages_blob(lines))
    assert [p.nevra for p in await store.inventory.packages(snapshot.packages)] == [line.nevra for line in lines]


async def test_without_room_for_large_content_nothing_of_it_is_kept(store: SqliteStore, path: Path) -> None:
    content = os.urandom(2_000_000)
    with no_room_beyond(FILES_END_AT), pytest.raises(Unavailable, match=r"blobs"):
        await store.inventory.put_blob(digest.of(content), content)
    assert await store.inventory.missing([digest.of(content)]) == {digest.of(content)}
    assert [p for p in path.parent.rglob("*.blobs/*/*") if p.is_file()] == []
    await store.inventory.put_blob(digest.of(content), content)
    assert await store.inventory.get_blob(digest.of(content)) == content


async def test_on_a_disk_that_is_really_full_it_lives_on(tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("may not mount a small disk here")
    try:
        store = SqliteStore.open(tmp_path / "patchwarden.db")
        (tmp_path / "spare").write_bytes(b"1" * 1_000_000)
        kept = await fill(store)
        (tmp_path / "spare").unlink()
        await store.fleet.put_instance(an_instance(kept + 1))
        assert len(await store.fleet.instances()) == kept + 1
        await store.close()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


async def test_what_a_crash_left_half_written_is_removed(path: Path) -> None:
    store = SqliteStore.open(path)
    content = b"1" * 400_000
    await store.inventory.put_blob(digest.of(content), content)
    await store.close()
    (kept,) = [p for p in path.parent.rglob("*.blobs/*/*") if p.is_file()]
    (kept.parent / "tmpabc.part").write_bytes(b"half")
    store = SqliteStore.open(path)
    assert list(kept.parent.iterdir()) == [kept]
    assert await store.inventory.get_blob(digest.of(content)) == content
    await store.close()


async def test_content_whose_file_is_gone_is_an_error_that_names_it(store: SqliteStore, path: Path) -> None:
    content = b"1" * 400_000
    await store.inventory.put_blob(digest.of(content), content)
    (kept,) = [p for p in path.parent.rglob("*.blobs/*/*") if p.is_file()]
    kept.unlink()
    with pytest.raises(Unavailable, match=digest.of(content).hex()):
        await store.inventory.get_blob(digest.of(content))


async def test_a_package_that_stands_in_it_twice_is_told_and_gets_no_third_number(path: Path) -> None:
    lines = packages(10)
    store = SqliteStore.open(path)
    await store.inventory.put_snapshot(packages_digest(lines), packages_blob(lines))
    await store.close()
    other = sqlite3.connect(path)
    other.execute(
        "INSERT INTO package SELECT 11, name, epoch, version, release, arch, module FROM package WHERE id = 3"
    )
    other.commit()
    other.close()
    store = SqliteStore.open(path)
    with pytest.raises(Unavailable, match="stands in it twice"):
        await store.inventory.put_snapshot(packages_digest(lines[:5]), packages_blob(lines[:5]))
    assert len(await store.inventory.packages_after(0)) == 11
    await store.close()


async def test_a_database_that_another_program_locks_is_unavailable_until_it_lets_go(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.1)
    store = SqliteStore.open(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        await store.fleet.put_instance(an_instance(1))
    assert await store.fleet.instances() == ()
    other.execute("ROLLBACK")
    other.close()
    await store.fleet.put_instance(an_instance(1))
    await store.close()


async def test_a_second_store_in_this_process_is_refused(store: SqliteStore, path: Path) -> None:
    with pytest.raises(Rejected, match="already open in this process"):
        SqliteStore.open(path)
    await store.fleet.put_instance(an_instance(1))


async def test_a_second_process_is_refused_with_the_number_of_the_first(store: SqliteStore, path: Path) -> None:
    script = f"from pathlib import Path; from controller.store.sqlite import SqliteStore; SqliteStore.open(Path({str(path)!r}))"
    second = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert f"Rejected: another controller (process {os.getpid()}) uses {path}: stop it first" in second.stderr
    await store.fleet.put_instance(an_instance(1))


async def test_a_store_that_was_closed_can_be_opened_again_and_says_that_it_is_closed(path: Path) -> None:
    store = SqliteStore.open(path)
    await store.close()
    await store.close()
    for call in (store.fleet.instances(), store.fleet.put_instance(an_instance(1))):
        with pytest.raises(Unavailable, match="closed"):
            await call
    again = SqliteStore.open(path)
    assert await again.fleet.instances() == ()
    await again.close()


async def test_close_finishes_the_writes_that_wait(path: Path) -> None:
    store = SqliteStore.open(path)
    writes = [asyncio.create_task(store.fleet.put_instance(an_instance(n))) for n in range(1, 101)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*writes)
    again = SqliteStore.open(path)
    assert len(await again.fleet.instances()) == 100
    await again.close()


@pytest.mark.parametrize("content", [b"this is no database" * 100, b""])
async def test_a_file_that_is_no_database_is_refused_and_an_empty_one_is_used(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    if content:
        with pytest.raises(Unavailable, match="not a patchwarden database"):
            SqliteStore.open(path)
        assert path.read_bytes() == content
        path.unlink()
    store = SqliteStore.open(path)  # the lock was given back
    await store.close()


async def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="file"):
        SqliteStore.open(tmp_path / "file" / "patchwarden.db")


async def test_writes_that_wait_share_a_commit(path: Path) -> None:
    opened = Database.open(path, "FULL")
    statements = list[str]()
    await opened.write(lambda db: db.set_trace_callback(statements.append))
    statements.clear()
    await asyncio.gather(*(opened.write(lambda db: db.execute("SELECT 1").fetchone()) for _ in range(500)))
    await opened.write(lambda db: db.set_trace_callback(None))
    assert statements.count("SELECT 1") == 500
    assert statements.count("COMMIT") < 50
    await opened.close()


async def test_an_error_undoes_its_own_write_and_no_neighbours(store: SqliteStore) -> None:
    await store.tickets.create(a_ticket(3, id="T-0"))
    writes = list[asyncio.Task[object]]()
    for number in range(1, 101):
        writes.append(asyncio.create_task(store.fleet.put_instance(an_instance(number))))
        writes.append(asyncio.create_task(store.tickets.create(a_ticket(3, id="T-0"))))
        writes.append(asyncio.create_task(store.tickets.save(a_ticket(3, id="T-9"))))
        writes.append(asyncio.create_task(store.tickets.create(a_ticket(3, id=f"T-{number}-x"))))
    answers = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(a) for a in answers[1::4]] == [Conflict] * 100
    assert [type(a) for a in answers[2::4]] == [NotFound] * 100
    assert not any(isinstance(a, BaseException) for a in answers[0::4] + answers[3::4])
    assert len(await store.fleet.instances()) == 100
    assert len(await store.tickets.unfinished()) == 101


async def test_a_value_that_no_column_takes_is_the_callers_error_and_nobody_elses(store: SqliteStore) -> None:
    good, bad = (
        store.fleet.put_instance(an_instance(1)),
        store.fleet.put_instance(an_instance(2, name="\ud800")),
    )
    answers = await asyncio.gather(good, bad, return_exceptions=True)
    assert answers[0] is None
    assert isinstance(answers[1], UnicodeEncodeError)
    assert [i.id for i in await store.fleet.instances()] == [instance_id(1)]


async def test_a_caller_that_gives_up_disturbs_nobody(store: SqliteStore) -> None:
    writes = [asyncio.create_task(store.fleet.put_instance(an_instance(n))) for n in range(1, 21)]
    await asyncio.sleep(0)
    for write in writes[::2]:
        write.cancel()
    await asyncio.gather(*writes, return_exceptions=True)
    await store.fleet.put_instance(an_instance(99))
    assert {instance_id(n) for n in range(2, 21, 2)} <= {i.id for i in await store.fleet.instances()}


async def test_readers_that_give_up_or_fail_disturb_nobody(store: SqliteStore) -> None:
    await store.fleet.put_instance(an_instance(1))
    reads = [asyncio.create_task(store.fleet.instances()) for _ in range(20)]
    await asyncio.sleep(0)
    for read in reads[::2]:
        read.cancel()
    absent = [store.fleet.get_instance(instance_id(9)) for _ in range(9)]
    answers = await asyncio.gather(*reads, *absent, return_exceptions=True)
    assert [type(a) for a in answers[20:]] == [NotFound] * 9
    assert answers[1:20:2] == [(an_instance(1),)] * 10
    assert await store.fleet.instances() == (an_instance(1),)


async def test_what_was_asked_before_the_store_closes_is_answered(path: Path) -> None:
    store = SqliteStore.open(path)
    await store.fleet.put_instance(an_instance(1))
    reads = [asyncio.create_task(store.fleet.instances()) for _ in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*reads) == [(an_instance(1),)] * 50


async def test_the_event_loop_stays_free_while_a_large_ticket_is_written_and_read(store: SqliteStore) -> None:
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    ticket = a_ticket(20_000)
    watcher = asyncio.create_task(watch())
    await store.tickets.create(ticket)
    written = turns
    assert len((await store.tickets.load(ticket.id)).runs) == 20_000
    watcher.cancel()
    assert min(written, turns - written) > 10  # were the work done on the loop, one turn or two


async def test_inventories_whose_neighbours_fail_are_kept_right(store: SqliteStore) -> None:
    """Writes that wait together share a transaction; it is undone and run again when one of them fails."""

    async def unknown(_: int) -> None:
        with pytest.raises(NotFound):
            await store.fleet.change_instance(instance_id(9), lambda instance: instance)

    async def keep(number: int) -> None:
        lines = packages(20, first=number * 7)
        await store.inventory.put_snapshot(packages_digest(lines), packages_blob(lines))
        content = f"a document that others resemble {number}".encode() * 20
        await store.inventory.put_blob(digest.of(content), content)

    for start in range(0, 90, 30):
        await asyncio.gather(*(each(n) for n in range(start, start + 30) for each in (keep, unknown)))
    found = await store.inventory.packages_after(0)
    assert [p.id for p in found] == list(range(1, len(found) + 1))
    assert len({p.nevra for p in found}) == len(found) == 20 + 89 * 7
    for number in range(90):
        lines = packages(20, first=number * 7)
        snapshot = await store.inventory.get_snapshot(packages_digest(lines))
        assert {p.nevra for p in await store.inventory.packages(snapshot.packages)} == {line.nevra for line in lines}
        content = f"a document that others resemble {number}".encode() * 20
        assert await store.inventory.get_blob(digest.of(content)) == content
