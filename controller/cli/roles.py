"""What the commands about users and their tokens share: roles as people type them, and how a new token is handed over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from controller.cli.words import ago, word

if TYPE_CHECKING:
    from common.pb.v1 import account_pb2


class Role(StrEnum):
    """What somebody may do; each may also do what those before it may."""

    VIEWER = "VIEWER"
    OPERATOR = "OPERATOR"
    ADMIN = "ADMIN"


def role_number(role: Role | None) -> account_pb2.Role.ValueType | None:
    """Return a role as the API takes it."""
    from common.pb.v1 import account_pb2

    return None if role is None else account_pb2.Role.Value(f"ROLE_{role.value}")


def handed_over(address: str, token: account_pb2.OperatorToken) -> str:
    """Say how to log in with a token that was just printed."""
    from common.pb.v1 import account_pb2

    role, ends = word(account_pb2.Role, token.role), "does not end by itself"
    if token.HasField("expires_at"):
        ends = f"ends {ago(token.expires_at, datetime.now(UTC))}"
    return "\n".join(
        (
            f"Token {token.id} of {token.user}, {role}, {ends}. It is not shown again. To log in with it (it is asked for):",
            "",
            f"  patchctl login --controller {address} --join join.pem",
        )
    )


def projects_text(projects: Sequence[str]) -> str:
    """Say to which enterprise projects somebody is bound."""
    return ", ".join(projects) or "all"
