"""Operators' tokens: the first one, and those that `patchwarden-controller admin-token` makes while the controller runs.

The database belongs to one process. So that command leaves the token's hash in DATA/operators, and the controller takes it from there:
when it starts, and when somebody comes with a token that it does not know. Who may write there may do anything to the controller anyway.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from common import digest
from common.errors import Rejected
from common.ids import Ids, new_secret
from controller.api.auth import OPERATOR_PREFIX
from controller.api.files import make_folder, read, write
from controller.fleet.model import OperatorToken, Role
from controller.store.api import FleetStore

log = logging.getLogger(__name__)

FOLDER: Final = "operators"
FIRST_TOKEN: Final = "admin-token"


def leave_token(data: Path, name: str, ids: Ids, now: datetime) -> str:
    """Make an admin's token and leave it for the controller to take; return its secret. Raises Rejected."""
    secret = new_secret(OPERATOR_PREFIX)
    token_id = ids.new("O-", 8)
    make_folder(data / FOLDER)
    record = {"id": token_id, "hash": digest.of(secret.encode()).hex(), "name": name, "created_at": now.isoformat()}
    write(data / FOLDER / f"{token_id}.json", json.dumps(record).encode(), mode=0o600)
    return secret


Note = Callable[[str, str, str], Awaitable[None]]
"""Writes something down that is no call of an operator: what, about what, and details."""


async def take_tokens(data: Path, fleet: FleetStore, note: Note) -> bool:
    """Take the tokens that were left in the folder; return whether there were any. One that cannot be read is logged and left.

    Each is noted before it can be used.
    """
    taken = False
    for path in sorted((data / FOLDER).glob("*.json")):
        try:
            token = _token(read(path))
        except (Rejected, ValueError, KeyError, TypeError) as error:
            log.warning("operator token cannot be read", extra={"file": str(path), "error": str(error)})
            continue
        await note("operator token taken", token.id, f"{token.name}, {token.role}, from the data folder")
        await fleet.put_operator_token(token)
        path.unlink(missing_ok=True)
        log.info("operator token taken", extra={"token": token.id, "operator": token.name})
        taken = True
    return taken


async def first_token(data: Path, fleet: FleetStore, ids: Ids, now: datetime, note: Note) -> str | None:
    """Make the first admin's token if there is no operator yet, keep it in DATA/admin-token, and return it; else None."""
    if await fleet.has_operator_tokens():
        return None
    secret = new_secret(OPERATOR_PREFIX)
    write(data / FIRST_TOKEN, f"{secret}\n".encode(), mode=0o600)  # first: a crash here costs a token nobody knows
    token = OperatorToken(ids.new("O-", 8), digest.of(secret.encode()), "admin", Role.ADMIN, now)
    await note("operator token made", token.id, f"{token.name}, {token.role}, the first one")
    await fleet.put_operator_token(token)
    return secret


def _token(content: bytes) -> OperatorToken:
    record = json.loads(content)
    return OperatorToken(
        id=str(record["id"]),
        secret_hash=bytes.fromhex(record["hash"]),
        name=str(record["name"]),
        role=Role.ADMIN,
        created_at=datetime.fromisoformat(record["created_at"]),
    )
