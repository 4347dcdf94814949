"""What agents say again is stored in lots, and nobody is told before his lot is on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from common.errors import Conflict, Unavailable
from controller.dispatch.repeats import Repeats
from controller.inventory.model import Report
from tests.builders import a_report


class SlowDisk:
    """A RepeatStore that is told when a lot is on disk, or what went wrong."""

    def __init__(self) -> None:
        self.lots = list[tuple[Report, ...]]()
        self._written = asyncio.Queue[Exception | None]()

    async def repeat(self, reports: Sequence[Report]) -> None:
        self.lots.append(tuple(reports))
        if (error := await self._written.get()) is not None:
            raise error

    async def until_writes(self, lots: int) -> None:
        async with asyncio.timeout(10):
            while len(self.lots) < lots:
                await asyncio.sleep(0.001)

    def ends(self, error: Exception | None = None) -> None:
        self._written.put_nowait(error)


def said(number: int) -> Report:
    return a_report(number)


@pytest.fixture
def disk() -> SlowDisk:
    return SlowDisk()


async def test_invariant_3_nobody_is_told_before_the_lot_is_written(disk: SlowDisk) -> None:
    repeats, told = Repeats(disk), list[Report | None]()
    repeats.add(said(1), told.append)
    await disk.until_writes(1)
    assert told == []
    disk.ends()
    await repeats.drain()
    assert told == [said(1)]


async def test_what_comes_together_is_one_lot_and_what_comes_meanwhile_the_next(disk: SlowDisk) -> None:
    repeats, told = Repeats(disk), list[Report | None]()
    for number in (1, 2, 3):
        repeats.add(said(number), told.append)
    await disk.until_writes(1)
    for number in (4, 5):
        repeats.add(said(number), told.append)
    disk.ends()
    disk.ends()
    await repeats.drain()
    assert disk.lots == [(said(1), said(2), said(3)), (said(4), said(5))]
    assert told == [said(number) for number in (1, 2, 3, 4, 5)]


async def test_a_lot_has_an_end(disk: SlowDisk) -> None:
    repeats, told = Repeats(disk), list[Report | None]()
    for number in range(1, 2502):
        repeats.add(said(number), told.append)
        disk.ends()
    await repeats.drain()
    assert [len(lot) for lot in disk.lots] == [1000, 1000, 501]
    assert told == [said(number) for number in range(1, 2502)]


@pytest.mark.parametrize(
    "error", [Conflict("report", "latest"), Unavailable("the disk is full"), RuntimeError("a bug")]
)
async def test_of_a_lot_that_fails_everybody_is_told_and_the_next_goes_on(disk: SlowDisk, error: Exception) -> None:
    repeats, told = Repeats(disk), list[Report | None]()
    repeats.add(said(1), told.append)
    repeats.add(said(2), told.append)
    await disk.until_writes(1)
    repeats.add(said(3), told.append)
    disk.ends(error)
    disk.ends()
    await repeats.drain()
    assert told == [None, None, said(3)]


async def test_after_a_rest_it_begins_again(disk: SlowDisk) -> None:
    repeats, told = Repeats(disk), list[Report | None]()
    await repeats.drain()
    for number in (1, 2):
        disk.ends()
        repeats.add(said(number), told.append)
        await repeats.drain()
    assert told == [said(1), said(2)]


async def test_whoever_is_told_may_bring_another_at_once(disk: SlowDisk) -> None:
    repeats, told = Repeats(disk), list[Report | None]()
    repeats.add(said(1), lambda _: repeats.add(said(2), told.append))
    disk.ends()
    disk.ends()
    await repeats.drain()
    assert told == [said(2)]
