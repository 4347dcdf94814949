"""The fleet that is kept in memory is the one in the database, whatever was written, and whoever read it meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from common.errors import NotFound
from controller.fleet.model import Instance
from controller.store.sqlite.database import Database
from controller.store.sqlite.fleet import SqliteFleet
from controller.store.sqlite.listed import Listed
from tests.builders import MINUTE, NOW, an_enrolment_token, an_instance, instance_id

NUMBERS = range(1, 8)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = Database.open(tmp_path / "it.db", "NORMAL")
    yield made
    await made.close()


def a_write(fleet: SqliteFleet, dice: random.Random, minute: int) -> Awaitable[Any]:
    """Something that an agent or an operator may do."""
    number, name, at = dice.choice(NUMBERS), dice.choice("abc"), NOW + minute * MINUTE
    gone = dice.choice(({}, {}, {}, {"deleted_at": at}, {"retired_at": at}))
    match dice.randrange(6):
        case 0 | 1:
            return fleet.put_instance(an_instance(number, name=name, **gone))
        case 2:
            return fleet.change_instance(instance_id(number), lambda i: replace(i, zone=f"zone {minute}"))
        case 3:
            return fleet.mark_seen({instance_id(n): at for n in dice.sample(NUMBERS, 3)})
        case 4:
            return fleet.rewrite(lambda known: [replace(i, name=name) for i in known[:2]])
        case _:
            token = an_enrolment_token(minute, expires_at=at + timedelta(days=1))
            return let_in(fleet, token, an_instance(100 + minute, name=name, enrolled_at=at), instance_id(number))


async def let_in(fleet: SqliteFleet, token: Any, instance: Instance, adopts: str) -> None:
    await fleet.put_enrolment_token(token)
    await fleet.enrol(token.secret_hash, instance, adopts)  # type: ignore[arg-type]


async def passing_over_nobody(write: Awaitable[Any]) -> None:
    with contextlib.suppress(NotFound):
        await write


@pytest.mark.parametrize("seed", range(6))
async def test_what_is_kept_is_what_a_new_reader_finds(database: Database, seed: int) -> None:
    fleet, dice = SqliteFleet(database), random.Random(seed)
    for number in NUMBERS:
        await fleet.put_instance(an_instance(number, enrolled=number % 2 == 0))
    for minute in range(0, 60, 3):
        writes = [passing_over_nobody(a_write(fleet, dice, minute + n)) for n in range(3)]
        await asyncio.gather(*writes, fleet.instances())
        assert await fleet.instances() == await SqliteFleet(database).instances()


def test_a_write_that_ended_while_they_were_read_is_not_lost() -> None:
    listed, before, after = Listed(), an_instance(1), an_instance(1, name="other")
    listed.take(lambda _: [before])  # nobody reads: what is read later has it
    listed.begin()
    listed.take(lambda _: [after])
    listed.end([before])
    assert listed.all() == (after,)


async def test_who_reads_while_others_write_misses_nothing_that_was_written(database: Database) -> None:
    for number in NUMBERS:
        await SqliteFleet(database).put_instance(an_instance(number))
    for delay in range(8):
        fleet = SqliteFleet(database)  # it has read nothing yet
        reading = asyncio.create_task(fleet.instances())
        for _ in range(delay):
            await asyncio.sleep(0)
        await fleet.put_instance(an_instance(1, name=f"named {delay}"))
        await fleet.mark_seen({instance_id(2): NOW + delay * MINUTE})
        await reading
        assert await fleet.instances() == await SqliteFleet(database).instances()
        assert f"named {delay}" in [i.name for i in await fleet.instances()]


async def test_those_that_nobody_wrote_stay_the_same_and_so_does_the_list_when_nobody_did(database: Database) -> None:
    fleet = SqliteFleet(database)
    for number in NUMBERS:
        await fleet.put_instance(an_instance(number))
    before = await fleet.instances()
    await fleet.mark_seen({})
    await fleet.put_instance(before[0])
    with pytest.raises(NotFound):
        await fleet.change_instance(instance_id(99), lambda i: i)  # type: ignore[arg-type]
    assert await fleet.instances() is before
    await fleet.mark_seen({before[2].id: NOW + MINUTE})
    after = await fleet.instances()
    assert [a is b for a, b in zip(before, after, strict=True)] == [n != 2 for n in range(len(NUMBERS))]
    assert after[2] == replace(before[2], last_seen_at=NOW + MINUTE)


async def test_what_was_written_for_somebody_who_went_away_is_heeded(database: Database) -> None:
    fleet = SqliteFleet(database)
    await fleet.put_instance(an_instance(1))
    await fleet.instances()
    writing = asyncio.create_task(fleet.put_instance(an_instance(1, name="other")))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await fleet.put_instance(an_instance(2))
    assert [i.name for i in await fleet.instances()] == [i.name for i in await SqliteFleet(database).instances()]
