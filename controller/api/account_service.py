"""AccountService: accounts, their users, users' tokens, and agencies between accounts.

Everybody acts in his own account only; what is in another one does not exist for him. Making accounts is the one thing that admins of the
management account do beyond it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from common import VERSION, digest
from common.clock import Clock
from common.errors import Conflict, InvalidArgument, NotFound, PatchError, PermissionDenied, Rejected
from common.ids import Ids, new_secret
from common.pb.v1 import account_pb2 as pb
from common.pb.v1 import account_pb2_grpc
from controller.accounts.model import DEFAULT_ACCOUNT, Account, Agency, OperatorToken, User
from controller.accounts.rules import RANK, is_covered, live, why_not_change, why_refused
from controller.api import paging
from controller.api import translate_account as translate
from controller.api.auth import ACCOUNTS, OPERATOR_PREFIX, Operator, operator
from controller.api.checks import MAX_REFERENCE, Checks, reference
from controller.api.interception import Context
from controller.api.translate import ROLE, timestamp
from controller.fleet.model import Role
from controller.hub.api import Hub
from controller.store.api import AccountStore

log = logging.getLogger(__name__)

NO_LESS: Final = Role.ADMIN
"""Of a token that may all that its user may, also once that is more."""
MAX_TOKENS: Final = 100
"""That a user may have at a time, not counting those that have ended."""
AccountMade = Callable[[str], Awaitable[None]]
"""Awaited with the name of an account that was made, to put there what every account begins with."""


class AccountService(account_pb2_grpc.AccountServiceServicer):
    """Serves accounts. Whoever's rights change is heard of by the gate before the call is answered."""

    def __init__(self, store: AccountStore, hub: Hub, clock: Clock, ids: Ids, account_made: AccountMade) -> None:
        """Join the parts."""
        self._store = store
        self._hub = hub
        self._clock = clock
        self._ids = ids
        self._account_made = account_made

    async def WhoAmI(self, request: pb.WhoAmIRequest, context: Context) -> pb.WhoAmIResponse:  # noqa: N802
        """Say whom the controller takes the caller for."""
        caller = operator()
        return pb.WhoAmIResponse(
            name=caller.name,
            role=ROLE.to_wire(caller.role),
            expires_at=timestamp(caller.expires_at),
            controller_version=VERSION,
            account=caller.account,
            enterprise_projects=caller.enterprise_projects,
            token_id=caller.token_id,
        )

    async def CreateAccount(self, request: pb.CreateAccountRequest, context: Context) -> pb.CreateAccountResponse:  # noqa: N802
        """Make an account and its first admin."""
        caller, now, checks = operator(), self._clock.now(), Checks()
        if not _manages(caller):
            raise PermissionDenied(
                f"accounts are made by admins of the account {DEFAULT_ACCOUNT} who are bound to no enterprise project; ask one"
            )
        account = Account(
            name=translate.account_name("account.name", request.account.name, checks),
            created_at=now,
            created_by=caller.name,
            note=checks.text("account.note", request.account.note, translate.MAX_NOTE),
        )
        name = translate.user_name("admin", request.admin, checks)
        checks.done()
        admin = User(name, account.name, Role.ADMIN, now, caller.name)
        secret, token = self._new_token(admin, NO_LESS, translate.TOKEN_LIFE, "the first one")
        try:
            await self._store.add_account(account, admin, token)
        except Conflict as conflict:
            raise _taken(conflict) from None
        log.info("account made", extra={"account": account.name, "by": caller.name, "admin": admin.name})
        try:
            await self._account_made(account.name)
        except PatchError:  # the account is there, and its admin needs the secret; the next start makes up for it
            log.exception("a new account lacks what accounts begin with", extra={"account": account.name})
        return pb.CreateAccountResponse(
            account=translate.account_message(account),
            admin=translate.user_message(admin),
            token=translate.token_message(token),
            secret=secret,
        )

    async def ListAccounts(self, request: pb.ListAccountsRequest, context: Context) -> pb.ListAccountsResponse:  # noqa: N802
        """List the accounts that the caller may know of, by name."""
        caller = operator()
        size = paging.page_size(request.page_size)
        position = paging.read_token(request, request.page_token, (str,))
        after = "" if position is None else str(position[0])
        if _manages(caller):
            found = await self._store.accounts(size + 1, after)
        else:
            known = await self._known_to(caller.account)
            found = tuple(a for a in known if a.name > after)[: size + 1]
        page, more = found[:size], len(found) > size
        return pb.ListAccountsResponse(
            accounts=map(translate.account_message, page),
            next_page_token=paging.make_token(request, (page[-1].name,)) if more else "",
        )

    async def CreateUser(self, request: pb.CreateUserRequest, context: Context) -> pb.CreateUserResponse:  # noqa: N802
        """Make a user of the caller's account, with a first token."""
        caller, checks = operator(), Checks()
        user = translate.new_user(request.user, caller.account, caller.name, self._clock.now(), checks)
        life = translate.lifetime(request.lifetime if request.HasField("lifetime") else None, checks)
        _check_bound(caller, user, "user.enterprise_projects", checks)
        checks.done()
        secret, token = self._new_token(user, NO_LESS, life, "the first one")
        try:
            await self._store.add_user(user, token)
        except Conflict as conflict:
            raise _taken(conflict) from None
        log.info("user made", extra={"user": user.name, "account": user.account, "by": caller.name})
        return pb.CreateUserResponse(
            user=translate.user_message(user), token=translate.token_message(token), secret=secret
        )

    async def UpdateUser(self, request: pb.UpdateUserRequest, context: Context) -> pb.UpdateUserResponse:  # noqa: N802
        """Change what a user may do, or disable one. It holds at once."""
        caller, now = operator(), self._clock.now()
        user = await self._user(caller, reference("name", request.name))

        def change(there: User, everybody: tuple[User, ...]) -> User:
            if not is_covered(there.enterprise_projects, caller.enterprise_projects):
                raise _no_user(there.name)  # somebody has widened his binding meanwhile
            checks = Checks()
            wanted = translate.changed_user(there, request, caller.name, now, checks)
            _check_bound(caller, wanted, "enterprise_projects", checks)
            checks.done()
            if refusal := why_not_change(there, wanted, everybody, caller.name):
                raise Rejected(refusal)
            return wanted

        changed = await self._store.change_user(user.name, change)
        self._hub.publish(ACCOUNTS)
        log.info("user changed", extra={"user": user.name, "account": user.account, "by": caller.name})
        return pb.UpdateUserResponse(user=translate.user_message(changed))

    async def ListUsers(self, request: pb.ListUsersRequest, context: Context) -> pb.ListUsersResponse:  # noqa: N802
        """List the users of the caller's account, by name: those whom he may change."""
        caller = operator()
        size = paging.page_size(request.page_size)
        position = paging.read_token(request, request.page_token, (str,))
        found = await self._users(caller, size + 1, "" if position is None else str(position[0]))
        page, more = found[:size], len(found) > size
        return pb.ListUsersResponse(
            users=map(translate.user_message, page),
            next_page_token=paging.make_token(request, (page[-1].name,)) if more else "",
        )

    async def CreateOperatorToken(  # noqa: N802
        self, request: pb.CreateOperatorTokenRequest, context: Context
    ) -> pb.CreateOperatorTokenResponse:
        """Make a token for the caller, or for a user of his account if he is an admin."""
        caller, checks = operator(), Checks()
        called = checks.text("user", request.user, MAX_REFERENCE)
        role = ROLE.read_optional(checks, "role", request.role)
        life = translate.lifetime(request.lifetime if request.HasField("lifetime") else None, checks)
        note = checks.text("note", request.note, translate.MAX_NOTE)
        checks.done()
        user = await self._user(caller, called or caller.name)
        is_own = user.name == caller.name
        most = caller.role if is_own else user.role
        if role is not None and RANK[role] > RANK[most]:
            whose = "you speak with a token that is" if is_own else f"{user.name} is"
            raise InvalidArgument.of("role", f"{role} is more than allowed: {whose} {most}")
        if role is None:  # a token makes none that could ever do more than it
            role = (await self._store.get_token(caller.token_id)).role if is_own else NO_LESS
        if user.disabled_at is not None:
            raise Rejected(
                f"{user.name} is disabled: a token would be refused; enable first: patchctl users enable {user.name}"
            )
        await self._check_room(user)
        secret, token = self._new_token(user, role, life, note)
        await self._store.add_token(token)
        log.info("operator token made", extra={"token": token.id, "user": user.name, "by": caller.name})
        return pb.CreateOperatorTokenResponse(token=translate.token_message(token), secret=secret)

    async def ListOperatorTokens(  # noqa: N802
        self, request: pb.ListOperatorTokensRequest, context: Context
    ) -> pb.ListOperatorTokensResponse:
        """List tokens, newest first, without their secrets: an admin's view of those of the users whom he may change, others' own."""
        caller, checks = operator(), Checks()
        called = checks.text("user", request.user, MAX_REFERENCE)
        checks.done()
        size = paging.page_size(request.page_size)
        position = paging.read_token(request, request.page_token, (str, str))
        before = None if position is None else (paging.decode_time(position[0]), str(position[1]))
        users: set[str] | None = None
        if called or caller.role is not Role.ADMIN:
            users = {(await self._user(caller, called or caller.name)).name}
        elif caller.enterprise_projects:
            users = {u.name for u in await self._users(caller, None, "")} | {caller.name}
        found = await self._store.tokens(caller.account, users, size + 1, before)
        page, more = found[:size], len(found) > size
        return pb.ListOperatorTokensResponse(
            tokens=map(translate.token_message, page),
            next_page_token=(
                paging.make_token(request, (paging.encode_time(page[-1].created_at), page[-1].id)) if more else ""
            ),
        )

    async def RevokeOperatorToken(  # noqa: N802
        self, request: pb.RevokeOperatorTokenRequest, context: Context
    ) -> pb.RevokeOperatorTokenResponse:
        """Make a token worthless at once; one that is revoked already stays so."""
        caller, now = operator(), self._clock.now()
        called = reference("id", request.id)
        try:
            token = await self._store.get_token(called)
            await self._user(caller, token.user)
        except (NotFound, PermissionDenied):
            raise NotFound("operator token", called, "list them: patchctl tokens list") from None

        def revoke(there: OperatorToken) -> OperatorToken:
            return there if there.revoked_at is not None else replace(there, revoked_at=now, revoked_by=caller.name)

        token = await self._store.change_token(token.id, revoke)
        self._hub.publish(ACCOUNTS)
        log.info("operator token revoked", extra={"token": token.id, "user": token.user, "by": caller.name})
        return pb.RevokeOperatorTokenResponse(token=translate.token_message(token))

    async def CreateAgency(self, request: pb.CreateAgencyRequest, context: Context) -> pb.CreateAgencyResponse:  # noqa: N802
        """Let another account act on instances of the caller's."""
        caller, checks = _unbound(operator()), Checks()
        agency = translate.new_agency(request.agency, caller.account, caller.name, self._clock.now(), checks)
        checks.done()
        try:
            await self._store.add_agency(agency)
        except Conflict:
            raise Rejected(
                f"there is an agency {agency.name} already; end it first: patchctl agency revoke {agency.name}"
            ) from None
        self._hub.publish(ACCOUNTS)
        log.info("agency granted", extra={"agency": agency.name, "account": agency.account, "by": caller.name})
        return pb.CreateAgencyResponse(agency=translate.agency_message(agency, caller.account))

    async def ListAgencies(self, request: pb.ListAgenciesRequest, context: Context) -> pb.ListAgenciesResponse:  # noqa: N802
        """List the agencies that the caller's account grants or was granted, by account, then by name."""
        account, now = operator().account, self._clock.now()
        size = paging.page_size(request.page_size)
        position = paging.read_token(request, request.page_token, (str, str, str))
        found = sorted(
            (a for a in await self._agencies(account) if request.include_ended or live(a, now)),
            key=_place,
        )
        if position is not None:
            after = (str(position[0]), str(position[1]), paging.decode_time(position[2]))
            found = [a for a in found if _place(a) > after]
        page, more = found[:size], len(found) > size
        return pb.ListAgenciesResponse(
            agencies=[translate.agency_message(a, account) for a in page],
            next_page_token=(
                paging.make_token(request, (page[-1].account, page[-1].name, paging.encode_time(page[-1].created_at)))
                if more
                else ""
            ),
        )

    async def RevokeAgency(self, request: pb.RevokeAgencyRequest, context: Context) -> pb.RevokeAgencyResponse:  # noqa: N802
        """End an agency at once; one that has ended stays as it is."""
        caller, now = _unbound(operator()), self._clock.now()
        called = reference("name", request.name)

        def revoke(there: Agency) -> Agency:
            return replace(there, revoked_at=now, revoked_by=caller.name) if live(there, now) else there

        try:
            agency = await self._store.change_agency(caller.account, called, revoke)
        except NotFound:
            raise NotFound("agency", called, "list them: patchctl agency list") from None
        self._hub.publish(ACCOUNTS)
        log.info("agency revoked", extra={"agency": agency.name, "account": agency.account, "by": caller.name})
        return pb.RevokeAgencyResponse(agency=translate.agency_message(agency, caller.account))

    def _new_token(self, user: User, role: Role, life: timedelta, note: str) -> tuple[str, OperatorToken]:
        secret, now = new_secret(OPERATOR_PREFIX), self._clock.now()
        token = OperatorToken(
            id=self._ids.new("O-", 8),
            secret_hash=digest.of(secret.encode()),
            user=user.name,
            role=role,
            created_at=now,
            created_by=operator().name,
            note=note,
            expires_at=now + life,
        )
        return secret, token

    async def _check_room(self, user: User) -> None:
        now, held = self._clock.now(), 0
        before: tuple[datetime, str] | None = None
        while page := await self._store.tokens(user.account, [user.name], paging.MAX_PAGE, before):
            held += sum(not why_refused(token, user, now) for token in page)
            before = page[-1].created_at, page[-1].id
        if held >= MAX_TOKENS:
            raise Rejected(
                f"{user.name} has {held} tokens that hold, which is the most; revoke one first: patchctl tokens list"
            )

    async def _user(self, caller: Operator, name: str) -> User:
        """Return a user whose tokens, or who himself, is the caller's to change; raise NotFound, PermissionDenied."""
        if name != caller.name and caller.role is not Role.ADMIN:
            raise PermissionDenied(
                f"{caller.name} is {caller.role}: other users' tokens need the role ADMIN; leave the user out for your own"
            )
        try:
            user = await self._store.get_user(name)
        except NotFound:
            raise _no_user(name) from None
        is_visible = user.account == caller.account and is_covered(user.enterprise_projects, caller.enterprise_projects)
        if not is_visible and user.name != caller.name:
            raise _no_user(name)
        return user

    async def _users(self, caller: Operator, limit: int | None, after: str) -> tuple[User, ...]:
        """Return the users whom an admin may see, by name, all above `after` or so many."""
        found = list[User]()
        while True:
            more = await self._store.users(caller.account, paging.MAX_PAGE, after)
            found += (u for u in more if is_covered(u.enterprise_projects, caller.enterprise_projects))
            if len(more) < paging.MAX_PAGE or (limit is not None and len(found) >= limit):
                return tuple(found[:limit])
            after = more[-1].name

    async def _agencies(self, account: str) -> tuple[Agency, ...]:
        return await self._store.agencies(account) + await self._store.agencies_trusting(account)

    async def _known_to(self, name: str) -> list[Account]:
        """Return an account and, by name only, those with a live agency between them: whether a trusted one exists is not told."""
        now = self._clock.now()
        others = {n for a in await self._agencies(name) if live(a, now) for n in (a.account, a.trusted_account)} - {
            name
        }
        return sorted([await self._store.get_account(name), *map(Account, others)], key=lambda a: a.name)


def _manages(caller: Operator) -> bool:
    return caller.account == DEFAULT_ACCOUNT and caller.role is Role.ADMIN and not caller.enterprise_projects


def _unbound(caller: Operator) -> Operator:
    if caller.enterprise_projects:
        raise PermissionDenied(
            f"{caller.name} is bound to enterprise projects: an agency is about all of the account; "
            "ask an admin who is bound to none"
        )
    return caller


def _check_bound(caller: Operator, user: User, field: str, checks: Checks) -> None:
    if not is_covered(user.enterprise_projects, caller.enterprise_projects):
        own = ", ".join(caller.enterprise_projects)
        checks.refuse(field, f"must be one or more of your own: {own}")


def _no_user(name: str) -> NotFound:
    return NotFound("user", name, "list them: patchctl users list")


def _taken(conflict: Conflict) -> PatchError:
    if conflict.kind in ("account", "user"):
        return Rejected(f"the name {conflict.name} is taken; choose another {conflict.kind} name")
    return conflict


def _place(agency: Agency) -> tuple[str, str, datetime]:
    return agency.account, agency.name, agency.created_at
