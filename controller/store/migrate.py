"""Numbered migrations: `0001_first.sql`, `0002_split_names.py` (with a function `migrate(database)`), applied once each, in order.

Each runs in a transaction of its own together with the record that it ran, so a crash leaves it done or not begun.
"""

from __future__ import annotations

import importlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Final

from sqlite_utils import Database, Migrations

from common.errors import Rejected

_SET: Final = "patchwarden"
_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.(sql|py)")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from an older schema to a newer one."""

    name: str
    run: Callable[[Database], None]


def numbered(package: str) -> tuple[Migration, ...]:
    """Return the migrations in a Python package's folder, in order; raise ValueError if their numbers have gaps."""
    files = {f.name: f for f in resources.files(package).iterdir() if _NAME.fullmatch(f.name)}
    found = list[Migration]()
    for number, name in enumerate(sorted(files), 1):
        if int(name[:4]) != number:
            raise ValueError(f"migration {name} should have the number {number:04d}")
        stem, _, kind = name.rpartition(".")
        if kind == "sql":
            found.append(Migration(stem, _runner(files[name].read_text(encoding="utf-8"))))
        else:
            found.append(Migration(stem, importlib.import_module(f"{package}.{stem}").migrate))
    return tuple(found)


def apply(connection: sqlite3.Connection, migrations: tuple[Migration, ...], where: str) -> tuple[str, ...]:
    """Bring a database up to date; return the names of the migrations that ran.

    Raise Rejected when a newer version of the product has already changed it.
    """
    database = Database(connection)
    planned = Migrations(_SET)
    for migration in migrations:
        planned(name=migration.name)(_named(migration))
    known = {migration.name for migration in migrations}
    for applied in planned.applied(database):
        if applied.name not in known:
            raise Rejected(
                f"{where} was written by a newer version (migration {applied.name}): "
                "start that version, or restore a copy from before the upgrade"
            )
    pending = tuple(migration.name for migration in planned.pending(database))
    if pending:
        planned.apply(database)
    return pending


def statements(script: str) -> Iterator[str]:
    """Split an SQL script into its statements; raise ValueError if the last does not end.

    sqlite3's own executescript would commit the migration's transaction first.
    """
    statement = ""
    for part in script.split(";")[:-1]:
        statement += part + ";"
        if sqlite3.complete_statement(statement):  # not in the middle of a trigger, a text or a comment
            yield statement.strip()
            statement = ""
    rest = statement + script.rpartition(";")[2]
    if any(line.strip() and not line.strip().startswith("--") for line in rest.splitlines()):
        raise ValueError(f"no semicolon ends the statement {rest.strip()[:80]!r}")


def _runner(script: str) -> Callable[[Database], None]:
    def run(database: Database) -> None:
        for statement in statements(script):
            database.execute(statement)

    return run


class _named:  # noqa: N801 - sqlite-utils wants a function, which has a name
    def __init__(self, migration: Migration) -> None:
        self.__name__ = migration.name
        self._run = migration.run

    def __call__(self, database: Database, /) -> None:
        self._run(database)
