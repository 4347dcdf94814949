"""Accounts, users, operators' tokens and agencies: messages to records and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from google.protobuf.duration_pb2 import Duration

from common.pb.v1 import account_pb2 as pb
from controller.accounts.model import DEFAULT_ACCOUNT, Account, Agency, AgencyPermission, OperatorToken, User
from controller.accounts.rules import why_no_account_name, why_no_user_name
from controller.api.checks import Checks
from controller.api.translate import AGENCY_PERMISSION, ROLE, read_duration, read_instant, timestamp
from controller.fleet.model import Role

MAX_NOTE: Final = 200
MAX_PROJECTS: Final = 100
_MAX_PROJECT: Final = 64
TOKEN_LIFE: Final = timedelta(days=90)
_SHORTEST_LIFE: Final = timedelta(hours=1)
_LONGEST_LIFE: Final = timedelta(days=366)
_PATHS: Final = ("enterprise_projects", "disabled")


def account_name(field: str, name: str, checks: Checks) -> str:
    """Check a name for an account or an agency; return it."""
    return _name(field, name, why_no_account_name(name), checks)


def user_name(field: str, name: str, checks: Checks) -> str:
    """Check a name for a new user; return it."""
    return _name(field, name, why_no_user_name(name), checks)


def _name(field: str, name: str, wrong: str, checks: Checks) -> str:
    if wrong:
        checks.refuse(field, wrong if name else "is missing")
    return name


def projects(field: str, sent: Sequence[str], checks: Checks) -> tuple[str, ...]:
    """Check enterprise projects; return them without duplicates."""
    return checks.texts(field, sent, MAX_PROJECTS, _MAX_PROJECT)


def lifetime(sent: Duration | None, checks: Checks) -> timedelta:
    """Read how long a token is valid."""
    return read_duration(checks, "lifetime", sent, TOKEN_LIFE, _SHORTEST_LIFE, _LONGEST_LIFE)


def new_user(sent: pb.User, account: str, by: str, now: datetime, checks: Checks) -> User:
    """Read a user who is to be made in an account."""
    role = ROLE.read_optional(checks, "user.role", sent.role)
    if role is None and sent.role == pb.ROLE_UNSPECIFIED:
        checks.refuse("user.role", f"is missing, allowed are {', '.join(Role)}")
    return User(
        name=user_name("user.name", sent.name, checks),
        account=account,
        role=role or Role.VIEWER,
        created_at=now,
        created_by=by,
        enterprise_projects=projects("user.enterprise_projects", sent.enterprise_projects, checks),
    )


def changed_user(user: User, request: pb.UpdateUserRequest, by: str, now: datetime, checks: Checks) -> User:
    """Return a user as a request wants him to be."""
    paths = set(request.update_mask.paths)
    if unknown := sorted(paths - set(_PATHS)):
        checks.refuse("update_mask", f"{unknown[0]!r:.60} cannot be changed, allowed are {', '.join(_PATHS)}")
    role = ROLE.read_optional(checks, "role", request.role)
    if role is not None:
        user = replace(user, role=role)
    if "enterprise_projects" in paths:
        user = replace(user, enterprise_projects=projects("enterprise_projects", request.enterprise_projects, checks))
    if "disabled" in paths and request.disabled != (user.disabled_at is not None):
        disabled = (now, by) if request.disabled else (None, "")
        user = replace(user, disabled_at=disabled[0], disabled_by=disabled[1])
    return user


def new_agency(sent: pb.Agency, account: str, by: str, now: datetime, checks: Checks) -> Agency:
    """Read an agency that an account is to grant. Whether the trusted account exists is nobody's business."""
    trusted = account_name("agency.trusted_account", sent.trusted_account, checks)
    if trusted == account:
        checks.refuse("agency.trusted_account", f"is your own: {account} needs no agency for its own instances")
    permission = AGENCY_PERMISSION.read_optional(checks, "agency.permission", sent.permission)
    if permission is None and sent.permission == pb.AGENCY_PERMISSION_UNSPECIFIED:
        checks.refuse("agency.permission", f"is missing, allowed are {', '.join(AgencyPermission)}")
    expires_at = read_instant(checks, "agency.expires_at", sent.expires_at if sent.HasField("expires_at") else None)
    if expires_at is not None and expires_at <= now:
        checks.refuse("agency.expires_at", f"must be in the future, and it is {now:%Y-%m-%d %H:%M} UTC")
    return Agency(
        account=account,
        name=account_name("agency.name", sent.name, checks),
        trusted_account=trusted,
        permission=permission or AgencyPermission.VIEW,
        created_at=now,
        created_by=by,
        expires_at=expires_at,
    )


def account_message(account: Account) -> pb.Account:
    """Return an account for the wire."""
    return pb.Account(
        name=account.name,
        note=account.note,
        created_at=timestamp(account.created_at),
        created_by=account.created_by,
        management=account.name == DEFAULT_ACCOUNT,
    )


def user_message(user: User) -> pb.User:
    """Return a user for the wire."""
    return pb.User(
        name=user.name,
        account=user.account,
        role=ROLE.to_wire(user.role),
        enterprise_projects=user.enterprise_projects,
        created_at=timestamp(user.created_at),
        created_by=user.created_by,
        disabled_at=timestamp(user.disabled_at),
        disabled_by=user.disabled_by,
    )


def token_message(token: OperatorToken) -> pb.OperatorToken:
    """Return a token for the wire; its hash stays."""
    return pb.OperatorToken(
        id=token.id,
        user=token.user,
        role=ROLE.to_wire(token.role),
        note=token.note,
        created_at=timestamp(token.created_at),
        created_by=token.created_by,
        expires_at=timestamp(token.expires_at),
        last_used_at=timestamp(token.last_used_at),
        revoked_at=timestamp(token.revoked_at),
        revoked_by=token.revoked_by,
    )


def agency_message(agency: Agency, account: str) -> pb.Agency:
    """Return an agency as one of its two accounts may see it: who granted it is the granting account's own affair."""
    own = agency.account == account
    return pb.Agency(
        name=agency.name,
        account=agency.account,
        trusted_account=agency.trusted_account,
        permission=AGENCY_PERMISSION.to_wire(agency.permission),
        created_at=timestamp(agency.created_at),
        created_by=agency.created_by if own else "",
        expires_at=timestamp(agency.expires_at),
        revoked_at=timestamp(agency.revoked_at),
        revoked_by=agency.revoked_by if own else "",
    )
