"""Reports that continue what was said last, in SQLite: one statement for all that come together."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from common.digest import SIZE
from common.errors import Conflict
from controller.fleet.model import InstanceId
from controller.inventory.model import Report
from controller.store import rules
from controller.store.codec import canonical, micros
from controller.store.sqlite.database import Database
from controller.store.sqlite.queries import queries

_SQL: Final = queries("repeats")


class SqliteRepeats:
    """RepeatStore over a Database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def repeat(self, reports: Sequence[Report]) -> None:
        """Stretch the latest reports of instances to these, all or none; see the Protocol."""
        ends = dict[InstanceId, Report]()
        for report in reports:
            earlier = ends.setdefault(report.instance_id, report)
            if earlier is not report:
                if not rules.continues(earlier, report):
                    raise Conflict("report", "latest")
                ends[report.instance_id] = report
        parameters = {
            "reports": canonical([_row(report) for report in ends.values()]),
            "manifests": b"".join([report.manifest_digest for report in ends.values()]),
            "size": SIZE,
        }

        def work(db: sqlite3.Connection) -> None:
            if db.execute(_SQL["repeat"], parameters).rowcount < len(ends):
                raise Conflict("report", "latest")

        await self._database.write(work)


def _row(report: Report) -> tuple[object, ...]:
    """Return what is written of a report, in the order in which the statement takes it."""
    return (
        report.instance_id,
        micros(report.first_collected_at),
        micros(report.collected_at),
        micros(report.received_at),
        report.ticket_id,
    )
