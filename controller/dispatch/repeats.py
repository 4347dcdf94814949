"""Stores what agents say again, in lots: a commit costs as much as dozens of such reports.

Nobody is told that a report is stored before its lot is on disk. A lot waits some milliseconds for others to join it, and then for the
lot before it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from common import failpoints
from common.errors import PatchError
from controller.inventory.model import Report
from controller.store.api import RepeatStore

log = logging.getLogger(__name__)

_LOT: Final = 1000
"""At most so many are written at once: who wants to write something else must not wait for long."""
_PATIENCE_SECONDS: Final = 0.005
"""Real time that the first of a lot waits for others. Its agent has nothing to do but to forget it."""
Told = Callable[[Report | None], None]
"""Called once, with the report when it is stored. With None if it is not; nothing is known of why."""


class Repeats:
    """One for a controller process. Use it from one event loop."""

    def __init__(self, store: RepeatStore) -> None:
        """Begin with nothing to write."""
        self._store = store
        self._waiting = list[tuple[Report, Told]]()
        self._writing: asyncio.Task[None] | None = None

    def add(self, report: Report, told: Told) -> None:
        """Have a report stored that continues the latest one of its instance, and tell whoever brought it."""
        self._waiting.append((report, told))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="write repeats")

    async def drain(self) -> None:
        """Return when nothing waits any more."""
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        """Write until nothing waits."""
        try:
            while self._waiting:
                await asyncio.sleep(_PATIENCE_SECONDS)
                lot, self._waiting = self._waiting[:_LOT], self._waiting[_LOT:]
                is_stored = await self._put([report for report, _ in lot])
                for report, told in lot:
                    told(report if is_stored else None)
        finally:
            self._writing = None

    async def _put(self, reports: Sequence[Report]) -> bool:
        failpoints.reached("repeats.before_lot")
        try:
            await self._store.repeat(reports)
        except PatchError as error:
            log.info("reports are stored one by one", extra={"reports": len(reports), "cause": str(error)})
            return False
        except Exception:
            log.exception("reports are stored one by one", extra={"reports": len(reports)})
            return False
        failpoints.reached("repeats.lot_stored")
        return True
