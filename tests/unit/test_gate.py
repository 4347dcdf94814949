"""Whom the gate lets in: how long it believes what it has read, what it says when it refuses, and streams whose right ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest

from common import digest
from common.errors import NotFound, PatchError, Unauthenticated, Unavailable
from controller.accounts.model import OperatorToken, User
from controller.api.auth import ACCOUNTS, Gate, Look, Operator
from controller.api.open_streams import OpenStreams, end_those_refused
from controller.fleet.model import Role
from controller.hub.local import LocalHub
from tests.builders import MINUTE, NOW, a_user, an_operator_token
from tests.fakes import FakeClock

HASH = an_operator_token(1).secret_hash


class CountingAccounts:
    """One token and its user; counts how often it is asked for."""

    def __init__(self) -> None:
        self.token, self.user = an_operator_token(1, Role.ADMIN), a_user(1, Role.ADMIN)
        self.asked, self.used, self.broken = 0, list[Any](), False

    async def find_token(self, secret_hash: bytes) -> tuple[OperatorToken, User]:
        self.asked += 1
        if secret_hash != self.token.secret_hash:
            raise NotFound("operator token", "")
        found = self.token, self.user
        await asyncio.sleep(0)  # as a database: what is read may be old when it arrives
        return found

    async def mark_used(self, token_id: str, at: Any) -> None:
        if self.broken:
            raise Unavailable("the disk is full")
        self.used.append(at)


class World:
    def __init__(self, look: Look | None = None) -> None:
        self.accounts, self.clock, self.hub = CountingAccounts(), FakeClock(NOW), LocalHub()
        self.changes = self.hub.subscribe(ACCOUNTS)
        self.changes.__enter__()
        self.gate = Gate(cast(Any, self.accounts), self.clock, self.changes, look)

    async def refusal(self) -> str:
        with pytest.raises(Unauthenticated) as refused:
            await self.gate.identify(HASH)
        return str(refused.value)


async def test_a_token_is_remembered_for_seconds_not_for_ever() -> None:
    world = World()
    for _ in range(5):
        assert (await world.gate.identify(HASH)).name == "operator-1"
    assert world.accounts.asked == 1
    await world.clock.advance(16)
    await world.gate.identify(HASH)
    assert world.accounts.asked == 2


async def test_guessed_tokens_are_not_remembered_and_do_not_look_into_the_folder_each_time() -> None:
    looked = 0

    async def look(secret_hash: bytes) -> str:
        nonlocal looked
        looked += 1
        return ""

    world = World(look)
    for number in range(2000):
        with pytest.raises(Unauthenticated, match="nobody has this token; log in: patchctl login"):
            await world.gate.identify(digest.of(str(number).encode()))
    assert looked == 1
    assert not world.gate._known


async def test_a_left_token_that_was_not_taken_is_told_why() -> None:
    async def look(secret_hash: bytes) -> str:
        return f"{secret_hash.hex()[:4]} was not taken"

    with pytest.raises(Unauthenticated, match=f"{digest.of(b'left').hex()[:4]} was not taken"):
        await World(look).gate.identify(digest.of(b"left"))


@pytest.mark.parametrize(
    ("of_token", "of_user", "sentence"),
    [
        ({"expires_at": NOW}, {}, "the token O-1 of operator-1 has expired at"),
        ({"revoked_at": NOW, "revoked_by": "lin"}, {}, "the token O-1 of operator-1 was revoked at .* by lin"),
        ({}, {"disabled_at": NOW}, "the user operator-1 is disabled since"),
    ],
)
async def test_each_reason_to_refuse_has_its_own_sentence(
    of_token: dict[str, Any], of_user: dict[str, Any], sentence: str
) -> None:
    world = World()
    world.accounts.token = replace(world.accounts.token, **of_token)
    world.accounts.user = replace(world.accounts.user, **of_user)
    with pytest.raises(Unauthenticated, match=f"{sentence}.*; log in: patchctl login"):
        await world.gate.identify(HASH)


@pytest.mark.parametrize("of_token", Role)
@pytest.mark.parametrize("of_user", Role)
async def test_the_lower_of_both_roles_counts(of_token: Role, of_user: Role) -> None:
    world = World()
    world.accounts.token = replace(world.accounts.token, role=of_token)
    world.accounts.user = replace(world.accounts.user, role=of_user, enterprise_projects=("bank",), account="acme")
    caller = await world.gate.identify(HASH)
    order = list(Role)
    assert order.index(caller.role) == min(order.index(of_token), order.index(of_user))
    assert (caller.account, caller.enterprise_projects) == ("acme", ("bank",))
    assert HASH.hex() not in repr(caller)
    assert repr(HASH) not in repr(caller)


async def test_a_change_that_is_published_holds_at_once_though_tokens_are_remembered() -> None:
    world = World()
    await world.gate.identify(HASH)
    world.accounts.user = replace(world.accounts.user, disabled_at=NOW)
    world.hub.publish(ACCOUNTS)
    assert "disabled" in await world.refusal()


async def test_what_was_read_before_a_change_is_not_remembered_after_it() -> None:
    world = World()
    reading = asyncio.create_task(world.gate.identify(HASH))
    await asyncio.sleep(0)
    world.accounts.token = replace(world.accounts.token, revoked_at=NOW)
    world.hub.publish(ACCOUNTS)
    await reading  # it came before the change was answered
    assert "revoked" in await world.refusal()


async def test_another_replica_s_change_holds_within_the_time_that_tokens_are_remembered() -> None:
    world = World()
    await world.gate.identify(HASH)
    world.accounts.token = replace(world.accounts.token, revoked_at=NOW)  # nobody says so here
    await world.gate.identify(HASH)
    await world.clock.advance(15)
    assert "revoked" in await world.refusal()


async def test_use_is_noted_once_a_minute_and_not_being_able_to_refuses_nobody() -> None:
    world = World()
    for _ in range(13):
        await world.gate.identify(HASH)
        await world.clock.advance(10)
        world.hub.publish(ACCOUNTS)
    await world.gate.drain()
    assert [(at - NOW) / MINUTE for at in world.accounts.used] == [0, 1, 2]
    world.accounts.broken = True
    await world.clock.advance(60)
    assert (await world.gate.identify(HASH)).name == "operator-1"
    await world.gate.drain()


async def test_a_use_that_another_process_noted_is_not_noted_again() -> None:
    world = World()
    world.accounts.token = replace(world.accounts.token, last_used_at=NOW)
    await world.gate.identify(HASH)
    await world.gate.drain()
    assert world.accounts.used == []


class Streaming:
    """A stream of a caller, read by nobody but the test."""

    def __init__(self, streams: OpenStreams, caller: Operator) -> None:
        self.got, self.closed, self.error = list[int](), False, None
        self.more, self.reader = asyncio.Event(), asyncio.Event()
        self.reader.set()
        self.task = asyncio.create_task(self._run(streams, caller))

    async def _numbers(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(10):
                yield number
                await self.more.wait()
        finally:
            self.closed = True

    async def _run(self, streams: OpenStreams, caller: Operator) -> None:
        with streams.running(caller) as stream:
            async for number in cast(AsyncIterator[int], stream.messages(self._numbers())):
                self.got.append(number)
                await self.reader.wait()  # as grpc does while the caller's window is full


async def started(stream: Streaming) -> None:
    while not stream.got:
        await asyncio.sleep(0)


async def ended_with(stream: Streaming) -> PatchError:
    async with asyncio.timeout(60):
        with pytest.raises(PatchError) as ended:
            await stream.task
    assert stream.closed
    return ended.value


@pytest.fixture
async def watched() -> AsyncIterator[tuple[World, OpenStreams]]:
    world, streams = World(), OpenStreams()
    task = asyncio.create_task(end_those_refused(streams, world.gate))
    yield world, streams
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_stream_that_waits_ends_when_its_token_is_revoked(watched: tuple[World, OpenStreams]) -> None:
    world, streams = watched
    stream = Streaming(streams, await world.gate.identify(HASH))
    await started(stream)
    world.accounts.token = replace(world.accounts.token, revoked_at=NOW)
    world.hub.publish(ACCOUNTS)
    assert isinstance(await ended_with(stream), Unauthenticated)
    assert stream.got == [0]
    assert not list(streams)


async def test_a_stream_with_a_slow_reader_ends_before_its_next_message(watched: tuple[World, OpenStreams]) -> None:
    world, streams = watched
    stream = Streaming(streams, await world.gate.identify(HASH))
    stream.reader.clear()
    stream.more.set()
    await started(stream)
    world.accounts.user = replace(world.accounts.user, disabled_at=NOW)
    world.hub.publish(ACCOUNTS)
    (there,) = streams
    while there._error is None:
        await asyncio.sleep(0)
    assert not stream.task.done(), "what is on its way is not torn"
    stream.reader.set()
    assert "disabled" in str(await ended_with(stream))
    assert stream.got == [0]


async def test_a_stream_ends_when_its_token_expires_and_nobody_says_so(watched: tuple[World, OpenStreams]) -> None:
    world, streams = watched
    world.accounts.token = replace(world.accounts.token, expires_at=NOW + MINUTE)
    stream = Streaming(streams, await world.gate.identify(HASH))
    await started(stream)
    await world.clock.advance(60)
    assert "expired" in str(await ended_with(stream))


async def test_a_stream_of_somebody_who_may_see_something_else_now_begins_anew(
    watched: tuple[World, OpenStreams],
) -> None:
    world, streams = watched
    stream = Streaming(streams, await world.gate.identify(HASH))
    await started(stream)
    world.accounts.user = replace(world.accounts.user, enterprise_projects=("bank",))
    world.hub.publish(ACCOUNTS)
    error = await ended_with(stream)
    assert (error.retry, str(error)) == (True, "what you may see or do has changed: ask again")


async def test_a_stream_whose_caller_goes_away_is_just_cancelled(watched: tuple[World, OpenStreams]) -> None:
    world, streams = watched
    stream = Streaming(streams, await world.gate.identify(HASH))
    await started(stream)
    stream.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stream.task
    assert stream.closed
    assert not list(streams)


async def test_a_stream_that_ends_by_itself_ends() -> None:
    streams = OpenStreams()
    stream = Streaming(streams, await World().gate.identify(HASH))
    stream.more.set()
    await stream.task
    assert stream.got == list(range(10))
