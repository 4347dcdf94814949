"""Who may speak and act, and what an agency allows: plain functions over frozen records and a time."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Final

from controller.accounts.model import Agency, AgencyPermission, OperatorToken, User
from controller.fleet.model import Role

MAX_NAME: Final = 64
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_USER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
RANK: Final = {role: rank for rank, role in enumerate((Role.VIEWER, Role.OPERATOR, Role.ADMIN))}
"""A role may also do what those of lower rank may."""
_LEVEL: Final = {permission: level for level, permission in enumerate((AgencyPermission.VIEW, AgencyPermission.SCAN))}


def why_no_account_name(name: str) -> str:
    """Say what is wrong with a name for an account or an agency; empty when nothing is."""
    return (
        ""
        if _ACCOUNT.fullmatch(name)
        else "must have 1 to 64 letters, digits, '-', '_' or '.', a letter or digit first"
    )


def why_no_user_name(name: str) -> str:
    """Say what is wrong with a name for a user; empty when nothing is."""
    return (
        ""
        if _USER.fullmatch(name)
        else "must have 1 to 64 letters, digits, '-', '_', '.' or '@', a letter or digit first"
    )


def role_of(token: OperatorToken, user: User) -> Role:
    """Return what a user may do with a token: no more than either allows."""
    return min(token.role, user.role, key=RANK.__getitem__)


def is_covered(projects: Collection[str], bound: Collection[str]) -> bool:
    """Say whether a user of these enterprise projects is one for an admin who is bound to `bound`, empty for none."""
    return not bound or (bool(projects) and set(projects) <= set(bound))


def why_not_change(before: User, after: User, everybody: Iterable[User], by: str) -> str:
    """Say in one sentence why a user may not be changed so by somebody, given all users of the account; empty when he may."""
    if after.disabled_at is not None and before.disabled_at is None and before.name == by:
        return "nobody disables himself: ask another admin of the account"
    if _leads(before) and not _leads(after) and not any(_leads(u) for u in everybody if u.name != before.name):
        return (
            f"{before.name} is the last admin of the account {before.account} who is neither disabled nor bound to enterprise "
            "projects; make another one first: patchctl users create NAME --role ADMIN"
        )
    return ""


def _leads(user: User) -> bool:
    return user.role is Role.ADMIN and user.disabled_at is None and not user.enterprise_projects


def why_refused(token: OperatorToken, user: User, now: datetime) -> str:
    """Say in one sentence why a token is not let in; empty when it is."""
    if token.revoked_at is not None:
        by = f" by {token.revoked_by}" if token.revoked_by else ""
        return f"the token {token.id} of {user.name} was revoked at {token.revoked_at:%Y-%m-%d %H:%M} UTC{by}"
    if token.expires_at is not None and token.expires_at <= now:
        return f"the token {token.id} of {user.name} has expired at {token.expires_at:%Y-%m-%d %H:%M} UTC"
    if user.disabled_at is not None:
        return f"the user {user.name} is disabled since {user.disabled_at:%Y-%m-%d %H:%M} UTC"
    return ""


def live(agency: Agency, now: datetime) -> bool:
    """Say whether an agency holds at an instant."""
    return agency.revoked_at is None and (agency.expires_at is None or agency.expires_at > now)


def why_not(
    agency: Agency | None, account: str, trusted: str, name: str, permission: AgencyPermission, now: datetime
) -> str:
    """Say in one sentence why an account may not act on another's instances by an agency, and what to grant; empty when it may.

    `agency` is the latest one of this `name` that `account` grants, None when there is none. One that trusts somebody else is told as if
    there were none.
    """
    grant = (
        f"an admin of {account} can grant it: patchctl agency create {name} --trust {trusted} --permission {permission}"
    )
    if agency is None or agency.trusted_account != trusted:
        return f"the account {account} grants {trusted} no agency {name}; {grant}"
    if agency.revoked_at is not None:
        return (
            f"the agency {name} of the account {account} was revoked at {agency.revoked_at:%Y-%m-%d %H:%M} UTC; {grant}"
        )
    if not live(agency, now):
        return f"the agency {name} of the account {account} ended at {agency.expires_at:%Y-%m-%d %H:%M} UTC; {grant}"
    if _LEVEL[agency.permission] < _LEVEL[permission]:
        return (
            f"the agency {name} of the account {account} allows {agency.permission} only, this needs {permission}; "
            f"an admin of {account} can replace it: patchctl agency revoke {name}, then "
            f"patchctl agency create {name} --trust {trusted} --permission {permission}"
        )
    return ""
