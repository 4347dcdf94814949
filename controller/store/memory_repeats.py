"""Reports that continue what was said last, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from common.errors import Conflict
from controller.fleet.model import InstanceId
from controller.inventory.model import Report
from controller.store import rules
from controller.store.api import InventoryStore


class MemoryRepeats:
    """RepeatStore over an inventory in memory, which never waits for anything: so this happens at once too."""

    def __init__(self, inventory: InventoryStore) -> None:
        self._inventory = inventory

    async def repeat(self, reports: Sequence[Report]) -> None:
        """Stretch the latest reports of instances to these, all or none; see the Protocol."""
        ends = dict[InstanceId, Report]()
        for report in reports:
            latest = ends.get(report.instance_id) or await self._inventory.latest_report(report.instance_id)
            if latest is None or not rules.continues(latest, report):
                raise Conflict("report", "latest")
            ends[report.instance_id] = report
        for report in ends.values():
            await self._inventory.put_report(report)
