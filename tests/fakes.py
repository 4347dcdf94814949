"""Time and identifiers that a test holds in its hand."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from datetime import datetime, timedelta
from typing import Final

from tests.builders import NOW

_TURNS: Final = 20
"""How many turns of the event loop a woken task gets before time goes on: enough for a chain of awaits without real I/O."""


class FakeClock:
    """A Clock that stands still until `advance`. Sleepers wake in the order of their times, each seeing its own time."""

    def __init__(self, start: datetime = NOW) -> None:
        self._wall = start
        self._monotonic = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> datetime:
        """Return the time, aware, UTC."""
        return self._wall

    def monotonic(self) -> float:
        """Return the seconds advanced so far."""
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """Return when time was advanced by so many seconds."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._monotonic + seconds, self._count, woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Let so much time pass: wake who is due, one after the other; who sleeps again meanwhile may wake again."""
        until = self._monotonic + seconds
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            due, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():  # a cancelled sleeper left its future behind
                self._move(due)
                woken.set_result(None)
                await self._settle()
        self._move(until)
        await self._settle()

    def jump(self, change: timedelta) -> None:
        """Set the wall clock forwards or back, as an administrator does; nobody wakes, monotonic time stands."""
        self._wall += change

    @property
    def sleeping(self) -> int:
        """How many wait."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def until_sleeping(self, count: int = 1, timeout_seconds: float = 60) -> None:
        """Return when so many wait; for code that does real I/O before it sleeps. Raise TimeoutError."""
        async with asyncio.timeout(timeout_seconds):
            while self.sleeping < count:
                await asyncio.sleep(0.001)

    def _move(self, to: float) -> None:
        self._wall += timedelta(seconds=to - self._monotonic)
        self._monotonic = to

    async def _settle(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)


class SequentialIds:
    """Ids that count, per prefix: T-0001, T-0002."""

    def __init__(self) -> None:
        self._made = Counter[str]()

    def new(self, prefix: str, length: int) -> str:
        """Return `prefix` and a number of `length` digits."""
        self._made[prefix] += 1
        return f"{prefix}{self._made[prefix]:0{length}d}"
