"""Content is asked for once per fleet, kept only if it hashes to what was asked for, and never lost to one agent's going away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
import zstandard

from common import digest, manifest
from common.errors import InvalidArgument, TooLarge
from controller.dispatch.intake import ContentGone, Intake
from controller.fleet.orders import Want
from controller.fleet.sessions import Session
from controller.inventory.model import Report
from controller.store.memory import MemoryStore
from tests.builders import NOW, a_manifest, a_package, a_repository, an_instance, instance_id
from tests.fakes import FakeClock

LINES = (a_package("bash-4.2.46-34.el7.x86_64"), a_package("openssl-1:1.0.2k-19.el7.x86_64"))
PACKAGES, DETAILS = manifest.encode_packages((line, 1_700_000_000, "CentOS") for line in LINES)
UPDATEINFO = b"<updates/>" * 40
SAID = a_manifest(
    LINES,
    details=digest.of(DETAILS).hex(),
    repositories=(a_repository(updateinfo=digest.of(UPDATEINFO).hex(), primary=""),),
)
MANIFEST = manifest.encode(SAID)
CONTENT = {digest.of(c): c for c in (PACKAGES, DETAILS, UPDATEINFO, MANIFEST)}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    for number in (1, 2, 3):
        await store.fleet.put_instance(an_instance(number))
    return store


@pytest.fixture
def intake(store: MemoryStore, clock: FakeClock) -> Intake:
    return Intake(store.inventory, store.repeats, clock, max_blob_bytes=1 << 20)


def a_session(number: int = 1) -> Session:
    return Session(instance_id(number), NOW)


def wanted(session: Session) -> Iterator[bytes]:
    while not session.orders.empty():
        order = session.orders.get_nowait()
        assert isinstance(order, Want)
        yield from order.digests


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def send(intake: Intake, session: Session, of: bytes, content: bytes, *, zstd: bool = False) -> None:
    data = zstandard.compress(content) if zstd else content
    half = len(data) // 2
    await intake.take_chunk(session, of, 0, data[:half], last=False, zstd=zstd)
    await intake.take_chunk(session, of, half, data[half:], last=True, zstd=zstd)


async def serve(intake: Intake, session: Session, receiving: asyncio.Task[object]) -> list[bytes]:
    """Answer every Want of a session until its report is in; return what was asked."""
    asked = list[bytes]()
    for _ in range(100):
        await settle()
        for one in wanted(session):
            asked.append(one)
            await send(intake, session, one, CONTENT[one], zstd=one == digest.of(PACKAGES))
        if receiving.done():
            return asked
        await asyncio.sleep(0.01)
    raise AssertionError("the report never came in")


def offer(intake: Intake, session: Session) -> asyncio.Task[object]:
    return asyncio.create_task(intake.receive(session, digest.of(MANIFEST), NOW, "T-1"))


async def test_a_new_report_is_asked_for_part_by_part_and_an_unchanged_one_not_at_all(
    intake: Intake, store: MemoryStore
) -> None:
    session = a_session()
    first = offer(intake, session)
    assert set(await serve(intake, session, first)) == set(CONTENT)
    report, runs = await first  # type: ignore[misc]
    assert runs == SAID.os
    assert report.inventory_digest == digest.of(PACKAGES)
    assert len((await store.inventory.get_snapshot(digest.of(PACKAGES))).packages) == 2
    again = offer(intake, session)
    assert await serve(intake, session, again) == []


async def test_content_that_two_agents_offer_is_asked_of_one(intake: Intake) -> None:
    one, two = a_session(1), a_session(2)
    first, second = offer(intake, one), offer(intake, two)
    await settle()
    assert list(wanted(one)) == [digest.of(MANIFEST)]
    assert list(wanted(two)) == []
    await send(intake, one, digest.of(MANIFEST), MANIFEST)
    await serve(intake, one, first)
    await second


async def test_when_the_asked_agent_goes_away_another_is_asked(intake: Intake) -> None:
    one, two = a_session(1), a_session(2)
    first, second = offer(intake, one), offer(intake, two)
    await settle()
    first.cancel()
    intake.forget(one)
    assert digest.of(MANIFEST) in await serve(intake, two, second)


async def test_when_the_asked_agent_is_silent_another_is_asked(intake: Intake, clock: FakeClock) -> None:
    one, two = a_session(1), a_session(2)
    first, second = offer(intake, one), offer(intake, two)
    await settle()
    await clock.advance(61)
    intake.check_silence()
    await serve(intake, two, second)
    with pytest.raises(ContentGone):
        await first


async def test_content_that_the_only_agent_lost_ends_its_report(intake: Intake) -> None:
    session = a_session()
    receiving = offer(intake, session)
    await settle()
    intake.gone(session, digest.of(MANIFEST))
    with pytest.raises(ContentGone, match="scan again"):
        await receiving


async def test_content_that_does_not_hash_to_what_was_asked_for_is_refused(intake: Intake, store: MemoryStore) -> None:
    session = a_session()
    receiving = offer(intake, session)
    await settle()
    with pytest.raises(InvalidArgument, match="does not hash"):
        await send(intake, session, digest.of(MANIFEST), b"something else")
    assert await store.inventory.missing([digest.of(MANIFEST)]) == {digest.of(MANIFEST)}
    receiving.cancel()


async def test_content_over_the_limit_is_refused_with_the_limit_named_also_when_it_grows_in_unpacking(
    intake: Intake,
) -> None:
    session = a_session()
    receiving = offer(intake, session)
    await settle()
    with pytest.raises(TooLarge, match="1,048,576"):
        await intake.take_chunk(session, digest.of(MANIFEST), 0, bytes((1 << 20) + 1), last=True, zstd=False)
    intake.forget(session)
    receiving = offer(intake, session)
    await settle()
    with pytest.raises(TooLarge, match="1,048,576"):
        await send(intake, session, digest.of(MANIFEST), bytes(64 << 20), zstd=True)
    receiving.cancel()


def packed_without_a_size(content: bytes) -> bytes:
    compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return compressor.compress(content) + compressor.flush()


@pytest.mark.parametrize("pack", [zstandard.compress, packed_without_a_size])
async def test_packed_content_may_say_its_size_or_not(intake: Intake, pack: Callable[[bytes], bytes]) -> None:
    session = a_session()
    receiving = offer(intake, session)
    await settle()
    await intake.take_chunk(session, digest.of(MANIFEST), 0, pack(MANIFEST), last=True, zstd=True)
    await settle()
    assert set(wanted(session)) == set(CONTENT)  # the manifest was read: what it names is asked for
    receiving.cancel()


@pytest.mark.parametrize("packed", [zstandard.compress(MANIFEST)[:-3], b"no zstd", b"", zstandard.compress(b"")])
async def test_what_cannot_be_unpacked_or_is_something_else_is_refused(intake: Intake, packed: bytes) -> None:
    session = a_session()
    receiving = offer(intake, session)
    await settle()
    with pytest.raises(InvalidArgument):
        await intake.take_chunk(session, digest.of(MANIFEST), 0, packed, last=True, zstd=True)
    receiving.cancel()


async def test_a_gap_between_pieces_is_refused(intake: Intake) -> None:
    session = a_session()
    receiving = offer(intake, session)
    await settle()
    with pytest.raises(InvalidArgument, match="expected 0"):
        await intake.take_chunk(session, digest.of(MANIFEST), 5, b"x", last=False, zstd=False)
    receiving.cancel()


async def test_content_nobody_asked_for_is_not_kept(intake: Intake, store: MemoryStore) -> None:
    await send(intake, a_session(), digest.of(UPDATEINFO), UPDATEINFO)
    assert await store.inventory.missing([digest.of(UPDATEINFO)]) == {digest.of(UPDATEINFO)}


async def test_a_manifest_that_cannot_be_read_is_refused_and_names_the_field(intake: Intake) -> None:
    session, wrong = a_session(), b'{"format":1,"os":{},"packages":"zz"}'
    receiving = asyncio.create_task(intake.receive(session, digest.of(wrong), NOW, ""))
    await settle()
    await send(intake, session, digest.of(wrong), wrong)
    with pytest.raises(InvalidArgument, match="not a SHA-256 digest"):
        await receiving


async def test_a_package_list_that_cannot_be_read_is_refused(intake: Intake, store: MemoryStore) -> None:
    session, wrong = a_session(), b"bash\tone\t4.2\t1\tx86_64\t\n"
    content = manifest.encode(
        a_manifest(LINES, packages=digest.of(wrong).hex(), details=digest.of(DETAILS).hex(), repositories=())
    )
    receiving = asyncio.create_task(intake.receive(session, digest.of(content), NOW, ""))
    known = CONTENT | {digest.of(wrong): wrong, digest.of(content): content}
    for _ in range(100):
        await settle()
        for one in wanted(session):
            await send(intake, session, one, known.get(one, DETAILS))
        if receiving.done():
            break
        await asyncio.sleep(0.01)
    with pytest.raises(InvalidArgument, match="not a package"):
        await receiving
    assert await store.inventory.latest_report(session.instance_id) is None


async def test_R9_install_times_that_are_not_one_for_each_package_are_refused(intake: Intake) -> None:
    session, short = a_session(), b"1700000000\tCentOS\n"
    content = manifest.encode(a_manifest(LINES, details=digest.of(short).hex(), repositories=()))
    known = CONTENT | {digest.of(short): short, digest.of(content): content}
    receiving = asyncio.create_task(intake.receive(session, digest.of(content), NOW, ""))
    for _ in range(100):
        await settle()
        for one in wanted(session):
            await send(intake, session, one, known[one])
        if receiving.done():
            break
        await asyncio.sleep(0.01)
    with pytest.raises(InvalidArgument, match="has 1 lines, there are 2 packages"):
        await receiving


async def test_a_report_from_a_clock_that_runs_ahead_counts_from_its_arrival(intake: Intake) -> None:
    session = a_session()
    ahead = asyncio.create_task(intake.receive(session, digest.of(MANIFEST), NOW + timedelta(days=3), ""))
    await serve(intake, session, ahead)  # type: ignore[arg-type]
    report, _ = await ahead
    assert report.collected_at == NOW


async def test_what_a_session_said_last_is_stored_when_it_is_said_again(
    intake: Intake, store: MemoryStore, clock: FakeClock
) -> None:
    session = a_session()
    first = offer(intake, session)
    await serve(intake, session, first)
    session.latest, _ = await first  # type: ignore[misc]
    first_said = session.latest
    assert first_said is not None
    told = list[Report | None]()
    await clock.advance(300)
    assert intake.repeat(session, digest.of(MANIFEST), NOW + timedelta(minutes=4), told.append)
    assert told == []
    await intake.drain()
    latest = await store.inventory.latest_report(session.instance_id)
    assert told == [latest]
    assert latest == replace(first_said, collected_at=NOW + timedelta(minutes=4), received_at=clock.now(), ticket_id="")


async def test_a_clock_that_runs_ahead_makes_no_report_fresh_for_longer(
    intake: Intake, store: MemoryStore, clock: FakeClock
) -> None:
    session = a_session()
    first = offer(intake, session)
    await serve(intake, session, first)
    session.latest, _ = await first  # type: ignore[misc]
    await clock.advance(300)
    assert intake.repeat(session, digest.of(MANIFEST), NOW + timedelta(days=1), lambda _: None)
    await intake.drain()
    latest = await store.inventory.latest_report(session.instance_id)
    assert latest is not None
    assert latest.collected_at == clock.now()


async def test_what_is_new_or_late_or_the_first_of_a_session_is_no_repeat(intake: Intake, clock: FakeClock) -> None:
    session = a_session()
    first = offer(intake, session)
    await serve(intake, session, first)
    latest, _ = await first  # type: ignore[misc]
    await clock.advance(300)
    told = list[Report | None]()
    assert not intake.repeat(session, digest.of(MANIFEST), clock.now(), told.append)
    session.latest = latest
    assert not intake.repeat(session, digest.of(b"another"), clock.now(), told.append)
    assert not intake.repeat(session, digest.of(MANIFEST), NOW - timedelta(seconds=1), told.append)
    await intake.drain()
    assert told == []
    assert intake.repeat(session, digest.of(MANIFEST), NOW + timedelta(seconds=2), told.append)
    assert not intake.repeat(session, digest.of(MANIFEST), NOW + timedelta(seconds=1), told.append)
    await intake.drain()
    assert len(told) == 1
