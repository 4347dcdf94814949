"""Accounts of an organization, their users and users' tokens, and the agencies by which one account lets another act on its instances.

One controller serves one organization. Its management account is `fleet.model.DEFAULT_ACCOUNT`: its admins make the other accounts, and
see no more of them than anybody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from controller.fleet.model import DEFAULT_ACCOUNT, Role


@dataclass(frozen=True, slots=True)
class Account:
    """A tenant: instances, tickets, baselines and users belong to exactly one."""

    name: str
    created_at: datetime | None = None
    """None for the management account: it was always there."""
    created_by: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class User:
    """A person or a program that acts in one account. Names are unique in the organization: tickets and the audit log use them."""

    name: str
    account: str
    role: Role
    created_at: datetime
    created_by: str = ""
    enterprise_projects: tuple[str, ...] = ()
    """Those of the account that the user may see and act on; empty means all."""
    disabled_at: datetime | None = None
    """Since when all tokens of the user are refused."""
    disabled_by: str = ""


@dataclass(frozen=True, slots=True)
class OperatorToken:
    """With which a user speaks. Its secret is kept nowhere, only its hash."""

    id: str
    secret_hash: bytes
    user: str
    role: Role
    """At most this, however much the user may; ADMIN: all that the user may."""
    created_at: datetime
    created_by: str = ""
    note: str = ""
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    """To the minute."""
    revoked_at: datetime | None = None
    revoked_by: str = ""


class AgencyPermission(StrEnum):
    """What an agency lets the trusted account do on the instances of the account that grants it."""

    VIEW = "VIEW"
    """See instances and their reports."""
    SCAN = "SCAN"
    """Also run scan tickets on them."""


@dataclass(frozen=True, slots=True)
class Agency:
    """An account's word that another one may act on its instances. Its name is unique in the account that grants it."""

    account: str
    """Whose instances."""
    name: str
    trusted_account: str
    """Who may."""
    permission: AgencyPermission
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str = ""


__all__ = ("DEFAULT_ACCOUNT", "Account", "Agency", "AgencyPermission", "OperatorToken", "User")
