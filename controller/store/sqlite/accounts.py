"""Accounts, users, tokens and agencies in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime
from typing import Final

from common.errors import Conflict, NotFound
from controller.accounts.model import Account, Agency, AgencyPermission, OperatorToken, User
from controller.fleet.model import Role
from controller.store.codec import END_OF_TIME, canonical, micros, micros_or_none, moment, moment_or_none
from controller.store.sqlite.database import Database, Parameters, Row
from controller.store.sqlite.queries import queries

_SQL: Final = queries("accounts")
_ALL: Final = -1
"""As a LIMIT: no limit."""
_TOKEN_COLUMNS: Final = 11


class SqliteAccounts:
    """AccountStore over a Database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_account(
        self, account: Account, admin: User | None = None, token: OperatorToken | None = None
    ) -> None:
        """Write a new account with its first user and his token, all or nothing; raise Conflict."""

        def work(db: sqlite3.Connection) -> None:
            try:
                db.execute(_SQL["add_account"], _account_parameters(account))
            except sqlite3.IntegrityError as error:
                raise Conflict("account", account.name) from error
            _add(db, admin, token)

        await self._database.write(work)

    async def get_account(self, name: str) -> Account:
        """Return an account; raise NotFound."""
        return await self._database.read(lambda db: _get_account(db, name))

    async def accounts(self, limit: int, after: str) -> tuple[Account, ...]:
        """Return accounts by name, only those above `after`."""
        return tuple(map(_account, await self._database.rows(_SQL["accounts"], {"limit": limit, "after": after})))

    async def add_user(self, user: User, token: OperatorToken | None = None) -> None:
        """Write a new user with a first token, both or neither; raise Conflict, NotFound."""

        def work(db: sqlite3.Connection) -> None:
            _get_account(db, user.account)
            _add(db, user, token)

        await self._database.write(work)

    async def change_user(self, name: str, change: Callable[[User, tuple[User, ...]], User]) -> User:
        """Write what a pure function makes of a user, given all users of his account; raise NotFound."""

        def work(db: sqlite3.Connection) -> User:
            there = _get_user(db, name)
            everybody: Parameters = {"account": there.account, "limit": _ALL, "after": ""}
            changed = change(there, tuple(map(_user, db.execute(_SQL["users"], everybody))))
            db.execute(_SQL["change_user"], _user_parameters(changed) | {"name": name})
            return _get_user(db, name)

        return await self._database.write(work)

    async def get_user(self, name: str) -> User:
        """Return a user; raise NotFound."""
        return await self._database.read(lambda db: _get_user(db, name))

    async def users(self, account: str, limit: int, after: str) -> tuple[User, ...]:
        """Return users of an account by name, only those above `after`."""
        page = {"account": account, "limit": limit, "after": after}
        return tuple(map(_user, await self._database.rows(_SQL["users"], page)))

    async def add_token(self, token: OperatorToken) -> None:
        """Write a new token; raise Conflict, NotFound."""

        def work(db: sqlite3.Connection) -> None:
            _get_user(db, token.user)
            _add(db, None, token)

        await self._database.write(work)

    async def change_token(self, token_id: str, change: Callable[[OperatorToken], OperatorToken]) -> OperatorToken:
        """Write what a pure function makes of a token, and return it; raise NotFound."""

        def work(db: sqlite3.Connection) -> OperatorToken:
            changed = change(_get_token(db, token_id))
            db.execute(_SQL["change_token"], _token_parameters(changed) | {"id": token_id})
            return _get_token(db, token_id)

        return await self._database.write(work)

    async def get_token(self, token_id: str) -> OperatorToken:
        """Return a token; raise NotFound."""
        return await self._database.read(lambda db: _get_token(db, token_id))

    async def find_token(self, secret_hash: bytes) -> tuple[OperatorToken, User]:
        """Return the token with this hash and its user; raise NotFound."""
        row = await self._database.row(_SQL["find_token"], {"secret_hash": secret_hash})
        if row is None:
            raise NotFound("operator token", "with this secret")
        return _token(row[:_TOKEN_COLUMNS]), _user(row[_TOKEN_COLUMNS:])

    async def tokens(
        self, account: str, users: Collection[str] | None, limit: int, before: tuple[datetime, str] | None
    ) -> tuple[OperatorToken, ...]:
        """Return tokens of an account, newest first, only those below `before`."""
        at, token_id = (END_OF_TIME, "") if before is None else (micros(before[0]), before[1])
        page: Parameters = {
            "account": account,
            "users": None if users is None else canonical(sorted(users)),
            "before_at": at,
            "before_id": token_id,
            "limit": limit,
        }
        return tuple(map(_token, await self._database.rows(_SQL["tokens"], page)))

    async def mark_used(self, token_id: str, at: datetime) -> None:
        """Note when a token was last used; an unknown one is passed over."""
        await self._database.execute(_SQL["mark_used"], {"id": token_id, "at": micros(at)})

    async def has_tokens(self) -> bool:
        """Say whether any operator's token exists."""
        return await self._database.row(_SQL["has_tokens"], {}) == (1,)

    async def add_agency(self, agency: Agency) -> None:
        """Write a new agency; raise Conflict while one of its name lives, NotFound."""

        def work(db: sqlite3.Connection) -> None:
            _get_account(db, agency.account)
            asked = {"account": agency.account, "name": agency.name, "at": micros(agency.created_at)}
            if db.execute(_SQL["agency_lives"], asked).fetchone() == (1,):
                raise Conflict("agency", agency.name)
            try:
                db.execute(_SQL["add_agency"], _agency_parameters(agency))
            except sqlite3.IntegrityError as error:
                raise Conflict("agency", agency.name) from error

        await self._database.write(work)

    async def change_agency(self, account: str, name: str, change: Callable[[Agency], Agency]) -> Agency:
        """Write what a pure function makes of the latest agency of a name, and return it; raise NotFound."""

        def work(db: sqlite3.Connection) -> Agency:
            there = _get_agency(db, account, name)
            changed = change(there)
            kept = replace(
                there, expires_at=changed.expires_at, revoked_at=changed.revoked_at, revoked_by=changed.revoked_by
            )
            db.execute(_SQL["change_agency"], _agency_parameters(kept))
            return kept

        return await self._database.write(work)

    async def get_agency(self, account: str, name: str) -> Agency:
        """Return the latest agency of a name; raise NotFound."""
        return await self._database.read(lambda db: _get_agency(db, account, name))

    async def agencies(self, account: str) -> tuple[Agency, ...]:
        """Return the agencies that an account grants, by name, then oldest first."""
        return tuple(map(_agency, await self._database.rows(_SQL["agencies"], {"account": account})))

    async def agencies_trusting(self, account: str) -> tuple[Agency, ...]:
        """Return the agencies that others grant an account, by granting account, name, oldest first."""
        return tuple(map(_agency, await self._database.rows(_SQL["agencies_trusting"], {"account": account})))


def _add(db: sqlite3.Connection, user: User | None, token: OperatorToken | None) -> None:
    if user is not None:
        try:
            db.execute(_SQL["add_user"], _user_parameters(user))
        except sqlite3.IntegrityError as error:
            raise Conflict("user", user.name) from error
    if token is not None:
        try:
            db.execute(_SQL["add_token"], _token_parameters(token))
        except sqlite3.IntegrityError as error:
            raise Conflict("operator token", token.id) from error


def _get_account(db: sqlite3.Connection, name: str) -> Account:
    row: Row | None = db.execute(_SQL["get_account"], {"name": name}).fetchone()
    if row is None:
        raise NotFound("account", name)
    return _account(row)


def _get_user(db: sqlite3.Connection, name: str) -> User:
    row: Row | None = db.execute(_SQL["get_user"], {"name": name}).fetchone()
    if row is None:
        raise NotFound("user", name)
    return _user(row)


def _get_token(db: sqlite3.Connection, token_id: str) -> OperatorToken:
    row: Row | None = db.execute(_SQL["get_token"], {"id": token_id}).fetchone()
    if row is None:
        raise NotFound("operator token", token_id)
    return _token(row)


def _get_agency(db: sqlite3.Connection, account: str, name: str) -> Agency:
    row: Row | None = db.execute(_SQL["get_agency"], {"account": account, "name": name}).fetchone()
    if row is None:
        raise NotFound("agency", name)
    return _agency(row)


def _account_parameters(account: Account) -> Parameters:
    return {
        "name": account.name,
        "created_at": micros_or_none(account.created_at),
        "created_by": account.created_by,
        "note": account.note,
    }


def _account(row: Row) -> Account:
    name, created_at, created_by, note = row
    return Account(name, moment_or_none(created_at), created_by, note)


def _user_parameters(user: User) -> dict[str, object]:
    return {
        "name": user.name,
        "account": user.account,
        "role": user.role.value,
        "enterprise_projects": canonical(list(user.enterprise_projects)),
        "created_at": micros(user.created_at),
        "created_by": user.created_by,
        "disabled_at": micros_or_none(user.disabled_at),
        "disabled_by": user.disabled_by,
    }


def _user(row: Row) -> User:
    name, account, role, projects, created_at, created_by, disabled_at, disabled_by = row
    return User(
        name=name,
        account=account,
        role=Role(role),
        created_at=moment(created_at),
        created_by=created_by,
        enterprise_projects=tuple(json.loads(projects)),
        disabled_at=moment_or_none(disabled_at),
        disabled_by=disabled_by,
    )


def _token_parameters(token: OperatorToken) -> dict[str, object]:
    return {
        "id": token.id,
        "secret_hash": token.secret_hash,
        "user": token.user,
        "role": token.role.value,
        "created_at": micros(token.created_at),
        "created_by": token.created_by,
        "note": token.note,
        "expires_at": micros_or_none(token.expires_at),
        "last_used_at": micros_or_none(token.last_used_at),
        "revoked_at": micros_or_none(token.revoked_at),
        "revoked_by": token.revoked_by,
    }


def _token(row: Row) -> OperatorToken:
    (token_id, secret_hash, user, role, created_at, created_by, note, expires_at, last_used_at, *revoked) = row
    return OperatorToken(
        id=token_id,
        secret_hash=secret_hash,
        user=user,
        role=Role(role),
        created_at=moment(created_at),
        created_by=created_by,
        note=note,
        expires_at=moment_or_none(expires_at),
        last_used_at=moment_or_none(last_used_at),
        revoked_at=moment_or_none(revoked[0]),
        revoked_by=revoked[1],
    )


def _agency_parameters(agency: Agency) -> Parameters:
    return {
        "account": agency.account,
        "name": agency.name,
        "created_at": micros(agency.created_at),
        "created_by": agency.created_by,
        "trusted_account": agency.trusted_account,
        "permission": agency.permission.value,
        "expires_at": micros_or_none(agency.expires_at),
        "revoked_at": micros_or_none(agency.revoked_at),
        "revoked_by": agency.revoked_by,
    }


def _agency(row: Row) -> Agency:
    account, name, created_at, created_by, trusted_account, permission, expires_at, revoked_at, revoked_by = row
    return Agency(
        account=account,
        name=name,
        trusted_account=trusted_account,
        permission=AgencyPermission(permission),
        created_at=moment(created_at),
        created_by=created_by,
        expires_at=moment_or_none(expires_at),
        revoked_at=moment_or_none(revoked_at),
        revoked_by=revoked_by,
    )
