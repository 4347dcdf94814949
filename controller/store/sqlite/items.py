"""Numbers for what may be non-compliant (name.arch), in SQLite: an answer says it hundreds of times, and a fleet has few."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from typing import Final

from controller.store.sqlite.database import Database
from controller.store.sqlite.queries import queries

_SQL: Final = queries("assessments")


class Items:
    """Gives keys their numbers. What it remembers is used in the writer's thread only."""

    def __init__(self, database: Database) -> None:
        self._known: dict[str, int] | None = None
        """None until it is read."""
        database.on_lost(self.forget)

    def numbers(self, db: sqlite3.Connection, keys: Collection[str]) -> list[int]:
        """Return the numbers of these keys, in their order; those that are new get one."""
        if self._known is None:
            self._known = dict(db.execute(_SQL["items"]))
        known = self._known
        try:
            return list(map(known.__getitem__, keys))
        except KeyError:
            for key in keys:
                if key not in known:
                    known[key] = int(db.execute(_SQL["add_item"], {"key": key}).lastrowid or 0)
            return list(map(known.__getitem__, keys))

    def forget(self) -> None:
        """Read them again before the next use: some may have been undone."""
        self._known = None
