"""What a store promises of accounts and of those who operate in them; api.py has the rest, and this under the same roof."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Protocol

from controller.accounts.model import Account, Agency, OperatorToken, User


class AccountStore(Protocol):
    """Accounts, users, users' tokens and agencies. The account "default" is always there.

    Names of accounts and of users are unique in the organization. Conflict names which of account, user, operator token and agency is
    taken.
    """

    async def add_account(
        self, account: Account, admin: User | None = None, token: OperatorToken | None = None
    ) -> None:
        """Write a new account with its first user and his token, all or nothing; raise Conflict when a name or the secret is taken."""
        ...

    async def get_account(self, name: str) -> Account:
        """Return an account; raise NotFound."""
        ...

    async def accounts(self, limit: int, after: str) -> tuple[Account, ...]:
        """Return accounts by name, only those whose name is above `after`."""
        ...

    async def add_user(self, user: User, token: OperatorToken | None = None) -> None:
        """Write a new user with a first token, both or neither; raise Conflict when taken, NotFound when the account is absent."""
        ...

    async def change_user(self, name: str, change: Callable[[User, tuple[User, ...]], User]) -> User:
        """Write what a pure function makes of a user, given all users of his account by name, and return it.

        No other write comes between reading and writing. Name, account and what tells of his making stay. What `change` raises is
        raised, and nothing is written. Raise NotFound.
        """
        ...

    async def get_user(self, name: str) -> User:
        """Return a user; raise NotFound."""
        ...

    async def users(self, account: str, limit: int, after: str) -> tuple[User, ...]:
        """Return users of an account by name, only those whose name is above `after`."""
        ...

    async def add_token(self, token: OperatorToken) -> None:
        """Write a new token; raise Conflict when its id or secret is taken, NotFound when its user is absent."""
        ...

    async def change_token(self, token_id: str, change: Callable[[OperatorToken], OperatorToken]) -> OperatorToken:
        """Write what a pure function makes of a token, and return it; no other write comes between. Raise NotFound.

        Only expires_at, revoked_at and revoked_by change.
        """
        ...

    async def get_token(self, token_id: str) -> OperatorToken:
        """Return a token; raise NotFound."""
        ...

    async def find_token(self, secret_hash: bytes) -> tuple[OperatorToken, User]:
        """Return the token with this hash, whatever became of it, and its user; raise NotFound."""
        ...

    async def tokens(
        self, account: str, users: Collection[str] | None, limit: int, before: tuple[datetime, str] | None
    ) -> tuple[OperatorToken, ...]:
        """Return tokens of an account ordered by (created_at, id), newest first, only those below `before`.

        Only those of these users; None: of all.
        """
        ...

    async def mark_used(self, token_id: str, at: datetime) -> None:
        """Note when a token was last used, the latest that was ever told; an unknown one is passed over."""
        ...

    async def has_tokens(self) -> bool:
        """Say whether any operator's token exists."""
        ...

    async def add_agency(self, agency: Agency) -> None:
        """Write a new agency; raise Conflict while one of its name in its account lives at `created_at`.

        Raise NotFound when the account that grants it is absent. The trusted one need not exist.
        """
        ...

    async def change_agency(self, account: str, name: str, change: Callable[[Agency], Agency]) -> Agency:
        """Write what a pure function makes of the latest agency of a name, and return it; no other write comes between.

        Only expires_at, revoked_at and revoked_by change. Raise NotFound.
        """
        ...

    async def get_agency(self, account: str, name: str) -> Agency:
        """Return the latest agency of a name, whatever became of it; raise NotFound."""
        ...

    async def agencies(self, account: str) -> tuple[Agency, ...]:
        """Return the agencies that an account grants, those too that have ended, by name, then oldest first."""
        ...

    async def agencies_trusting(self, account: str) -> tuple[Agency, ...]:
        """Return the agencies that others grant an account, those too that have ended, by granting account, name, oldest first."""
        ...
