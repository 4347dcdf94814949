"""What the commands about users and their tokens share: roles as people type them, and how a new token is handed over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from controller.cli.words import ago, word

if TYPE_CHECKING:
    from common.pb.v1 import account_pb2


class Role(StrEnum):
    """What somebody may do; each may also do what those before it may."""

    VIEWER = "VIEWER"
    OPERATOR = "OPERATOR"
    ADMIN = "ADMIN"


AS_USER: Final = "as user"
"""Of a token that may all that its user may."""


def role_number(role: Role | None) -> account_pb2.Role.ValueType | None:
    """Return a role as the API takes it."""
    from common.pb.v1 import account_pb2

    return None if role is None else account_pb2.Role.Value(f"ROLE_{role.value}")


def may(token: account_pb2.OperatorToken) -> str:
    """Say what a token may."""
    from common.pb.v1 import account_pb2

    return AS_USER if token.role == account_pb2.ROLE_ADMIN else word(account_pb2.Role, token.role)


def handed_over(address: str, token: account_pb2.OperatorToken) -> str:
    """Say how to log in with a token that was just printed."""
    limit = "" if may(token) == AS_USER else f", at most {may(token)},"
    ends = "does not end by itself"
    if token.HasField("expires_at"):
        ends = f"ends {ago(token.expires_at, datetime.now(UTC))}"
    return "\n".join(
        (
            f"Token {token.id} of {token.user}{limit} {ends}. It is not shown again. To log in with it (it is asked for):",
            "",
            f"  patchctl login --controller {address} --join join.pem",
        )
    )


def projects_text(projects: Sequence[str]) -> str:
    """Say to which enterprise projects somebody is bound."""
    return ", ".join(projects) or "all"
