"""The audit log in SQLite: a row an entry, linked in the writer's own transaction, so that two calls never take one place."""

from __future__ import annotations

import sqlite3
from typing import Final

from controller.audit.chain import link
from controller.audit.model import EMPTY, AuditEntry, AuditFilter, AuditKind, Deed, Head
from controller.store.codec import micros, micros_or_none, moment
from controller.store.sqlite.database import Database, Parameters, Row
from controller.store.sqlite.queries import queries

_SQL: Final = queries("audit")
_LAST: Final = (1 << 63) - 1


class SqliteAudit:
    """AuditStore over a Database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, deed: Deed) -> AuditEntry:
        """Write a deed at the end of the chain; return the entry that it became."""

        def work(db: sqlite3.Connection) -> AuditEntry:
            entry = link(deed, _head(db.execute(_SQL["head"]).fetchone()))
            db.execute(_SQL["append"], _parameters(entry))
            return entry

        return await self._database.write(work)

    async def head(self) -> Head:
        """Return where the chain ends."""
        return _head(await self._database.row(_SQL["head"], {}))

    async def entries_after(self, number: int, limit: int) -> tuple[AuditEntry, ...]:
        """Return the entries with greater numbers, ascending."""
        rows = await self._database.rows(_SQL["entries_after"], {"number": number, "limit": limit})
        return tuple(map(_entry, rows))

    async def newest(self, wanted: AuditFilter, limit: int, before: int | None) -> tuple[AuditEntry, ...]:
        """Return wanted entries with numbers below `before`, newest first."""
        page: Parameters = {
            "before": _LAST if before is None else before,
            "account": wanted.account,
            "operator": wanted.operator,
            "method": wanted.method.lower(),
            "subject": wanted.subject,
            "since": micros_or_none(wanted.since),
            "until": micros_or_none(wanted.until),
            "limit": limit,
        }
        return tuple(map(_entry, await self._database.rows(_SQL["newest"], page)))


def _head(row: Row | None) -> Head:
    return EMPTY if row is None else Head(row[0], row[1])


def _parameters(entry: AuditEntry) -> Parameters:
    deed = entry.deed
    return {
        "number": entry.number,
        "at": micros(deed.at),
        "kind": deed.kind.value,
        "account": deed.account,
        "operator": deed.operator,
        "token_id": deed.token_id,
        "peer": deed.peer,
        "method": deed.method,
        "subject": deed.subject,
        "detail": deed.detail,
        "attempt": deed.attempt,
        "previous": entry.previous,
        "hash": entry.hash,
    }


def _entry(row: Row) -> AuditEntry:
    number, at, kind, account, operator, token_id, peer, method, subject, detail, attempt, previous, hashed = row
    deed = Deed(
        at=moment(at),
        kind=AuditKind(kind),
        method=method,
        account=account,
        operator=operator,
        token_id=token_id,
        peer=peer,
        subject=subject,
        detail=detail,
        attempt=attempt,
    )
    return AuditEntry(number, deed, previous, hashed)
