"""Contacts and shifts in SQLite: a document each."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

from common.errors import Conflict, NotFound
from controller.notify.model import Contact, Shift, ShiftKey
from controller.store.codec import from_json, to_json
from controller.store.sqlite.database import Database, Parameters
from controller.store.sqlite.queries import queries

_SQL: Final = queries("contacts")


class SqliteContacts:
    """ContactStore over a Database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_contact(self, contact: Contact) -> None:
        """Write a new contact; raise Conflict when its name is taken."""

        def work(db: sqlite3.Connection) -> None:
            if db.execute(_SQL["get_contact"], _contact_key(contact.account, contact.name)).fetchone() is not None:
                raise Conflict("contact", contact.name)
            db.execute(_SQL["put_contact"], _contact_parameters(contact))

        await self._database.write(work)

    async def change_contact(self, account: str, name: str, change: Callable[[Contact], Contact]) -> Contact:
        """Write what a pure function makes of a contact, and return it; raise NotFound."""

        def work(db: sqlite3.Connection) -> Contact:
            changed = change(_contact(db, account, name))
            db.execute(_SQL["put_contact"], _contact_parameters(changed))
            return changed

        return await self._database.write(work)

    async def get_contact(self, account: str, name: str) -> Contact:
        """Return a contact; raise NotFound."""
        return await self._database.read(lambda db: _contact(db, account, name))

    async def contacts(self, account: str) -> tuple[Contact, ...]:
        """Return the contacts of an account, by name."""
        rows = await self._database.rows(_SQL["contacts"], {"account": account})
        return tuple(from_json(Contact, document) for (document,) in rows)

    async def delete_contact(self, account: str, name: str) -> None:
        """Remove a contact; raise NotFound."""

        def work(db: sqlite3.Connection) -> None:
            if db.execute(_SQL["delete_contact"], _contact_key(account, name)).fetchone() is None:
                raise NotFound("contact", name)

        await self._database.write(work)

    async def add_shift(self, shift: Shift) -> None:
        """Write a new shift; raise Conflict when its key is taken."""

        def work(db: sqlite3.Connection) -> None:
            if db.execute(_SQL["get_shift"], _shift_key(shift.account, shift.key)).fetchone() is not None:
                raise Conflict("shift", str(shift.key))
            db.execute(_SQL["put_shift"], _shift_parameters(shift))

        await self._database.write(work)

    async def change_shift(self, account: str, key: ShiftKey, change: Callable[[Shift], Shift]) -> Shift:
        """Write what a pure function makes of a shift, and return it; raise NotFound."""

        def work(db: sqlite3.Connection) -> Shift:
            changed = change(_shift(db, account, key))
            db.execute(_SQL["put_shift"], _shift_parameters(changed))
            return changed

        return await self._database.write(work)

    async def get_shift(self, account: str, key: ShiftKey) -> Shift:
        """Return a shift; raise NotFound."""
        return await self._database.read(lambda db: _shift(db, account, key))

    async def shifts(self, account: str) -> tuple[Shift, ...]:
        """Return the shifts of an account, by scenario, then role."""
        rows = await self._database.rows(_SQL["shifts"], {"account": account})
        return tuple(from_json(Shift, document) for (document,) in rows)

    async def delete_shift(self, account: str, key: ShiftKey) -> None:
        """Remove a shift; raise NotFound."""

        def work(db: sqlite3.Connection) -> None:
            if db.execute(_SQL["delete_shift"], _shift_key(account, key)).fetchone() is None:
                raise NotFound("shift", str(key))

        await self._database.write(work)


def _contact(db: sqlite3.Connection, account: str, name: str) -> Contact:
    row = db.execute(_SQL["get_contact"], _contact_key(account, name)).fetchone()
    if row is None:
        raise NotFound("contact", name)
    return from_json(Contact, row[0])


def _shift(db: sqlite3.Connection, account: str, key: ShiftKey) -> Shift:
    row = db.execute(_SQL["get_shift"], _shift_key(account, key)).fetchone()
    if row is None:
        raise NotFound("shift", str(key))
    return from_json(Shift, row[0])


def _contact_key(account: str, name: str) -> Parameters:
    return {"account": account, "name": name}


def _shift_key(account: str, key: ShiftKey) -> Parameters:
    return {"account": account, "scenario": key.scenario, "role": key.role}


def _contact_parameters(contact: Contact) -> Parameters:
    return {**_contact_key(contact.account, contact.name), "document": to_json(contact)}


def _shift_parameters(shift: Shift) -> Parameters:
    return {**_shift_key(shift.account, shift.key), "document": to_json(shift)}
