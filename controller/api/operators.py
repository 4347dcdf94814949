"""Admins' tokens that no call makes: the first one, and those that `patchwarden-controller admin-token` makes, each with its user.

The database belongs to one process. So that command leaves the token's hash in DATA/operators, and the controller takes it from there:
when it starts, and when somebody comes with a token that it does not know. Who may write there may do anything to the controller anyway.
One that cannot be taken stays there, in case what is missing comes later; who shows it is told why.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from common import digest
from common.errors import Conflict, NotFound, Rejected
from common.ids import Ids, new_secret
from controller.accounts.model import DEFAULT_ACCOUNT, OperatorToken, User
from controller.api.auth import OPERATOR_PREFIX
from controller.api.files import make_folder, read, write
from controller.fleet.model import Role
from controller.store.api import AccountStore

log = logging.getLogger(__name__)

FOLDER: Final = "operators"
FIRST_TOKEN: Final = "admin-token"
FIRST_ADMIN: Final = "admin"


def leave_token(data: Path, name: str, ids: Ids, now: datetime, account: str = DEFAULT_ACCOUNT) -> str:
    """Make an admin's token and leave it for the controller to take; return its secret. Raises Rejected."""
    secret = new_secret(OPERATOR_PREFIX)
    token_id = ids.new("O-", 8)
    make_folder(data / FOLDER)
    record = {
        "id": token_id,
        "hash": digest.of(secret.encode()).hex(),
        "name": name,
        "account": account,
        "created_at": now.isoformat(),
    }
    write(data / FOLDER / f"{token_id}.json", json.dumps(record).encode(), mode=0o600)
    return secret


Note = Callable[[str, str, str, str], Awaitable[None]]
"""Writes something down that is no call of an operator: what, about what, details, and in which account."""


async def take_tokens(data: Path, accounts: AccountStore, note: Note, wanted: bytes = b"") -> str:
    """Take the tokens that were left in the folder; one that cannot be taken is logged and left.

    Each is noted before it can be used. Returns why the token of the hash `wanted` could not be taken; empty when it could, or is not
    there.
    """
    why = ""
    for path in sorted((data / FOLDER).glob("*.json")):
        try:
            user, token = _read(read(path))
        except (Rejected, ValueError, KeyError, TypeError) as error:
            log.warning("operator token cannot be read", extra={"file": str(path), "error": str(error)})
            continue
        try:
            made = await _user_for(user, accounts)
        except Rejected as error:
            log.warning("operator token not taken", extra={"file": str(path), "error": str(error)})
            why = f"the token {token.id} was not taken: {error}" if token.secret_hash == wanted else why
            continue
        await note("operator token taken", token.id, f"{user.name}, {token.role}, from the data folder", user.account)
        try:
            await (accounts.add_user(user, token) if made is None else accounts.add_token(token))
        except Conflict:  # a crash, or somebody else, between the taking and the removal of its file
            log.info("operator token was taken before", extra={"token": token.id})
        path.unlink(missing_ok=True)
        log.info("operator token taken", extra={"token": token.id, "operator": user.name, "account": user.account})
    return why


async def _user_for(wanted: User, accounts: AccountStore) -> User | None:
    """Return the user if there is one of this name; raise Rejected when an admin's token for it would be none."""
    try:
        await accounts.get_account(wanted.account)
    except NotFound:
        raise Rejected(
            f"there is no account {wanted.account!r}; an admin of {DEFAULT_ACCOUNT} can make it: "
            f"patchctl accounts create {wanted.account}"
        ) from None
    try:
        user = await accounts.get_user(wanted.name)
    except NotFound:
        return None
    if user.account != wanted.account:
        raise Rejected(f"the name {user.name} is taken by a user of the account {user.account}; choose another --name")
    if user.role is not Role.ADMIN or user.disabled_at is not None:
        state = "disabled" if user.disabled_at is not None else user.role
        raise Rejected(f"the user {user.name} of the account {user.account} is {state}; choose another --name")
    return user


async def first_token(data: Path, accounts: AccountStore, ids: Ids, now: datetime, note: Note) -> str | None:
    """Make the first admin and his token if there is no token yet, keep it in DATA/admin-token, and return it; else None."""
    if await accounts.has_tokens():
        return None
    secret = new_secret(OPERATOR_PREFIX)
    write(data / FIRST_TOKEN, f"{secret}\n".encode(), mode=0o600)  # first: a crash here costs a token nobody knows
    user = User(FIRST_ADMIN, DEFAULT_ACCOUNT, Role.ADMIN, now)
    token = OperatorToken(ids.new("O-", 8), digest.of(secret.encode()), user.name, Role.ADMIN, now)
    await note("operator token made", token.id, f"{user.name}, {token.role}, the first one", user.account)
    await accounts.add_user(user, token)
    return secret


def _read(content: bytes) -> tuple[User, OperatorToken]:
    record = json.loads(content)
    name, account = str(record["name"]), str(record.get("account", DEFAULT_ACCOUNT))
    made_at = datetime.fromisoformat(record["created_at"])
    token = OperatorToken(
        id=str(record["id"]),
        secret_hash=bytes.fromhex(record["hash"]),
        user=name,
        role=Role.ADMIN,
        created_at=made_at,
        note="made with admin-token",
    )
    return User(name, account, Role.ADMIN, made_at), token
