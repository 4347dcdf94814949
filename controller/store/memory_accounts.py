"""Accounts, users, tokens and agencies in memory, held to the same contract as those that are remembered."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime

from common.errors import Conflict, NotFound
from controller.accounts.model import DEFAULT_ACCOUNT, Account, Agency, OperatorToken, User
from controller.accounts.rules import live


class MemoryAccounts:
    """AccountStore in memory."""

    def __init__(self) -> None:
        self._accounts = {DEFAULT_ACCOUNT: Account(DEFAULT_ACCOUNT)}
        self._users = dict[str, User]()
        self._tokens = dict[str, OperatorToken]()
        self._agencies = dict[tuple[str, str], list[Agency]]()

    async def add_account(
        self, account: Account, admin: User | None = None, token: OperatorToken | None = None
    ) -> None:
        """Write a new account with its first user and his token, all or nothing; raise Conflict."""
        if account.name in self._accounts:
            raise Conflict("account", account.name)
        self._check(admin, token)
        self._accounts[account.name] = account
        self._write(admin, token)

    async def get_account(self, name: str) -> Account:
        """Return an account; raise NotFound."""
        try:
            return self._accounts[name]
        except KeyError:
            raise NotFound("account", name) from None

    async def accounts(self, limit: int, after: str) -> tuple[Account, ...]:
        """Return accounts by name, only those above `after`."""
        return tuple(self._accounts[name] for name in sorted(self._accounts) if name > after)[:limit]

    async def add_user(self, user: User, token: OperatorToken | None = None) -> None:
        """Write a new user with a first token, both or neither; raise Conflict, NotFound."""
        await self.get_account(user.account)
        self._check(user, token)
        self._write(user, token)

    async def change_user(self, name: str, change: Callable[[User, tuple[User, ...]], User]) -> User:
        """Write what a pure function makes of a user, given all users of his account; raise NotFound."""
        there = await self.get_user(name)
        changed = change(there, self._of(there.account))
        self._users[name] = replace(
            there,
            role=changed.role,
            enterprise_projects=changed.enterprise_projects,
            disabled_at=changed.disabled_at,
            disabled_by=changed.disabled_by,
        )
        return self._users[name]

    async def get_user(self, name: str) -> User:
        """Return a user; raise NotFound."""
        try:
            return self._users[name]
        except KeyError:
            raise NotFound("user", name) from None

    async def users(self, account: str, limit: int, after: str) -> tuple[User, ...]:
        """Return users of an account by name, only those above `after`."""
        return tuple(u for u in self._of(account) if u.name > after)[:limit]

    async def add_token(self, token: OperatorToken) -> None:
        """Write a new token; raise Conflict, NotFound."""
        await self.get_user(token.user)
        self._check(None, token)
        self._write(None, token)

    async def change_token(self, token_id: str, change: Callable[[OperatorToken], OperatorToken]) -> OperatorToken:
        """Write what a pure function makes of a token, and return it; raise NotFound."""
        there = await self.get_token(token_id)
        changed = change(there)
        self._tokens[token_id] = replace(
            there, expires_at=changed.expires_at, revoked_at=changed.revoked_at, revoked_by=changed.revoked_by
        )
        return self._tokens[token_id]

    async def get_token(self, token_id: str) -> OperatorToken:
        """Return a token; raise NotFound."""
        try:
            return self._tokens[token_id]
        except KeyError:
            raise NotFound("operator token", token_id) from None

    async def find_token(self, secret_hash: bytes) -> tuple[OperatorToken, User]:
        """Return the token with this hash and its user; raise NotFound."""
        for token in self._tokens.values():
            if token.secret_hash == secret_hash:
                return token, self._users[token.user]
        raise NotFound("operator token", "with this secret")

    async def tokens(
        self, account: str, users: Collection[str] | None, limit: int, before: tuple[datetime, str] | None
    ) -> tuple[OperatorToken, ...]:
        """Return tokens of an account, newest first, only those below `before`."""
        wanted = {u.name for u in self._of(account) if users is None or u.name in users}
        found = sorted(
            (t for t in self._tokens.values() if t.user in wanted), key=lambda t: (t.created_at, t.id), reverse=True
        )
        return tuple(t for t in found if before is None or (t.created_at, t.id) < before)[:limit]

    async def mark_used(self, token_id: str, at: datetime) -> None:
        """Note when a token was last used; an unknown one is passed over."""
        if (token := self._tokens.get(token_id)) is not None:
            self._tokens[token_id] = replace(token, last_used_at=max(at, token.last_used_at or at))

    async def has_tokens(self) -> bool:
        """Say whether any operator's token exists."""
        return bool(self._tokens)

    async def add_agency(self, agency: Agency) -> None:
        """Write a new agency; raise Conflict while one of its name lives, NotFound."""
        await self.get_account(agency.account)
        before = self._agencies.setdefault((agency.account, agency.name), [])
        if any(live(a, agency.created_at) or a.created_at == agency.created_at for a in before):
            raise Conflict("agency", agency.name)
        before.append(agency)
        before.sort(key=lambda a: a.created_at)

    async def change_agency(self, account: str, name: str, change: Callable[[Agency], Agency]) -> Agency:
        """Write what a pure function makes of the latest agency of a name, and return it; raise NotFound."""
        there = await self.get_agency(account, name)
        changed = change(there)
        self._agencies[account, name][-1] = replace(
            there, expires_at=changed.expires_at, revoked_at=changed.revoked_at, revoked_by=changed.revoked_by
        )
        return self._agencies[account, name][-1]

    async def get_agency(self, account: str, name: str) -> Agency:
        """Return the latest agency of a name; raise NotFound."""
        if not (found := self._agencies.get((account, name))):
            raise NotFound("agency", name)
        return found[-1]

    async def agencies(self, account: str) -> tuple[Agency, ...]:
        """Return the agencies that an account grants, by name, then oldest first."""
        return tuple(a for a in self._all_agencies() if a.account == account)

    async def agencies_trusting(self, account: str) -> tuple[Agency, ...]:
        """Return the agencies that others grant an account, by granting account, name, oldest first."""
        return tuple(a for a in self._all_agencies() if a.trusted_account == account)

    def _all_agencies(self) -> tuple[Agency, ...]:
        return tuple(a for key in sorted(self._agencies) for a in self._agencies[key])

    def _of(self, account: str) -> tuple[User, ...]:
        return tuple(sorted((u for u in self._users.values() if u.account == account), key=lambda u: u.name))

    def _check(self, user: User | None, token: OperatorToken | None) -> None:
        if user is not None and user.name in self._users:
            raise Conflict("user", user.name)
        if token is not None and any(
            token.id == t.id or token.secret_hash == t.secret_hash for t in self._tokens.values()
        ):
            raise Conflict("operator token", token.id)

    def _write(self, user: User | None, token: OperatorToken | None) -> None:
        if user is not None:
            self._users[user.name] = user
        if token is not None:
            self._tokens[token.id] = token
