"""The outbox in SQLite: a row a notice, a row a message. `add_notices` runs in the transaction of what happened."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Final

from common.errors import NotFound
from controller.notify.model import Channel, Message, MessageState, Notice, NotificationEvent
from controller.store.codec import (
    END_OF_TIME,
    canonical,
    from_json,
    micros,
    micros_or_none,
    moment,
    moment_or_none,
    to_json,
)
from controller.store.sqlite.database import Database, Parameters, Row
from controller.store.sqlite.queries import queries

_SQL: Final = queries("outbox")


def add_notices(db: sqlite3.Connection, notices: Iterable[Notice]) -> int:
    """Write notices whose ids are not there; return how many were not. For other stores, inside their transactions."""
    return sum(db.execute(_SQL["add_notice"], _notice_parameters(notice)).rowcount for notice in notices)


class SqliteOutbox:
    """OutboxStore over a Database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put_notice(self, notice: Notice) -> bool:
        """Write a notice unless one with its id is there; say whether it was written."""
        return await self._database.write(lambda db: add_notices(db, (notice,)) == 1)

    async def unrouted(self, limit: int) -> tuple[Notice, ...]:
        """Return notices that have no messages yet, oldest first."""
        rows = await self._database.rows(_SQL["unrouted"], {"limit": limit})
        return tuple(from_json(Notice, document) for (document,) in rows)

    async def get_notice(self, notice_id: str) -> Notice:
        """Return a notice; raise NotFound."""
        row = await self._database.row(_SQL["get_notice"], {"id": notice_id})
        if row is None:
            raise NotFound("notice", notice_id)
        return from_json(Notice, row[0])

    async def route(self, notice_id: str, messages: Collection[Message]) -> None:
        """Write a notice's messages and note that it has them; raise NotFound."""

        def work(db: sqlite3.Connection) -> None:
            _mark(db, notice_id, routed=True)
            db.execute(_SQL["drop_unreachable"], {"notice_id": notice_id})
            db.executemany(_SQL["add_message"], map(_message_parameters, messages))

        await self._database.write(work)

    async def unroute(self, notice_id: str) -> None:
        """Let a notice be routed again; raise NotFound."""
        await self._database.write(lambda db: _mark(db, notice_id, routed=False))

    async def get_message(self, message_id: str) -> Message:
        """Return a message; raise NotFound."""
        return await self._database.read(lambda db: _get(db, message_id))

    async def change_message(self, message_id: str, change: Callable[[Message], Message]) -> Message:
        """Write what a pure function makes of a message, and return it; raise NotFound."""

        def work(db: sqlite3.Connection) -> Message:
            changed = change(_get(db, message_id))
            db.execute(_SQL["change_message"], _message_parameters(changed))
            return changed

        return await self._database.write(work)

    async def due(self, at: datetime, limit: int) -> tuple[Message, ...]:
        """Return messages that are to be tried by now, the longest due first."""
        return tuple(map(_message, await self._database.rows(_SQL["due"], {"at": micros(at), "limit": limit})))

    async def next_due(self) -> datetime | None:
        """Return when the next message is to be tried, None when none waits."""
        row = await self._database.row(_SQL["next_due"], {})
        return None if row is None else moment_or_none(row[0])

    async def messages(
        self, account: str, states: Collection[MessageState], limit: int, before: tuple[datetime, str] | None
    ) -> tuple[Message, ...]:
        """Return messages of an account ordered by (at, id), newest first, only those below `before`."""
        at, message_id = (END_OF_TIME, "") if before is None else (micros(before[0]), before[1])
        page: Parameters = {
            "account": account,
            "states": canonical(list(states)),
            "limit": limit,
            "before_at": at,
            "before_id": message_id,
        }
        return tuple(map(_message, await self._database.rows(_SQL["messages"], page)))

    async def forget(self, before: datetime) -> int:
        """Drop what happened before an instant and is settled; return how many notices went."""

        def work(db: sqlite3.Connection) -> int:
            db.execute(_SQL["forget_messages"], {"before": micros(before)})
            return db.execute(_SQL["forget_notices"], {"before": micros(before)}).rowcount

        return await self._database.write(work)


def _mark(db: sqlite3.Connection, notice_id: str, *, routed: bool) -> None:
    if db.execute(_SQL["mark"], {"id": notice_id, "routed": int(routed)}).fetchone() is None:
        raise NotFound("notice", notice_id)


def _get(db: sqlite3.Connection, message_id: str) -> Message:
    row = db.execute(_SQL["get_message"], {"id": message_id}).fetchone()
    if row is None:
        raise NotFound("message", message_id)
    return _message(row)


def _message(row: Row) -> Message:
    message_id, notice_id, event, at, account, contact, channel, address, state, attempts = row[:10]
    since, next_attempt_at, sent_at, error = row[10:]
    return Message(
        id=message_id,
        notice_id=notice_id,
        event=NotificationEvent(event),
        at=moment(at),
        account=account,
        contact=contact,
        channel=Channel(channel),
        address=address,
        state=MessageState(state),
        attempts=attempts,
        since=moment_or_none(since),
        next_attempt_at=moment_or_none(next_attempt_at),
        sent_at=moment_or_none(sent_at),
        error=error,
    )


def _notice_parameters(notice: Notice) -> Parameters:
    return {"id": notice.id, "account": notice.account, "at": micros(notice.at), "document": to_json(notice)}


def _message_parameters(message: Message) -> Parameters:
    return {
        "id": message.id,
        "notice_id": message.notice_id,
        "event": message.event.value,
        "at": micros(message.at),
        "account": message.account,
        "contact": message.contact,
        "channel": message.channel.value,
        "address": message.address,
        "state": message.state.value,
        "attempts": message.attempts,
        "since": micros_or_none(message.since),
        "next_attempt_at": micros_or_none(message.next_attempt_at),
        "sent_at": micros_or_none(message.sent_at),
        "error": message.error,
    }
