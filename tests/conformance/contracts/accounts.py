"""What an AccountStore promises."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from common import digest
from common.errors import Conflict, NotFound, Rejected
from controller.accounts.model import Account, Agency, AgencyPermission, User
from controller.fleet.model import Role
from controller.store.api import Store
from tests.builders import MINUTE, NOW, a_user, an_operator_token

ACME = Account("acme", NOW, "admin", "the other one")


def an_agency(name: str = "scans", **changes: object) -> Agency:
    agency = Agency("acme", name, "default", AgencyPermission.SCAN, NOW, "lin", NOW + 5 * MINUTE)
    return replace(agency, **changes)  # type: ignore[arg-type]


class AccountStoreContract:
    """Subclass it, give it a `store` fixture, and the new store is held to the contract."""

    async def test_the_default_account_is_always_there(self, store: Store) -> None:
        assert await store.accounts.accounts(9, "") == (Account("default"),)
        assert await store.accounts.get_account("default") == Account("default")
        with pytest.raises(Conflict, match="default"):
            await store.accounts.add_account(Account("default", NOW))

    async def test_an_account_comes_with_its_first_admin_and_his_token_or_not_at_all(self, store: Store) -> None:
        admin = a_user(1, Role.ADMIN, account="acme", created_by="admin", enterprise_projects=("b", "a"))
        token = an_operator_token(1, Role.ADMIN, created_by="admin", note="first", expires_at=NOW + MINUTE)
        await store.accounts.add_account(ACME, admin, token)
        assert await store.accounts.get_account("acme") == ACME
        assert await store.accounts.get_user(admin.name) == admin
        assert await store.accounts.get_token(token.id) == token
        with pytest.raises(Conflict, match="operator-1"):
            await store.accounts.add_account(Account("beta", NOW), replace(admin, account="beta"), an_operator_token(2))
        with pytest.raises(Conflict, match="O-1"):
            await store.accounts.add_account(Account("beta", NOW), a_user(2, account="beta"), token)
        assert await store.accounts.accounts(9, "") == (ACME, Account("default"))
        for nobody in (store.accounts.get_account("beta"), store.accounts.get_user("operator-2")):
            with pytest.raises(NotFound):
                await nobody

    async def test_accounts_and_users_are_listed_by_name_in_pages(self, store: Store) -> None:
        await store.accounts.add_account(ACME)
        for number, name, account in (
            (1, "bob", "acme"),
            (2, "ann", "acme"),
            (3, "zoe", "default"),
            (4, "cid", "acme"),
        ):
            await store.accounts.add_user(a_user(number, name=name, account=account))
        assert [a.name for a in await store.accounts.accounts(1, "")] == ["acme"]
        assert [a.name for a in await store.accounts.accounts(9, "acme")] == ["default"]
        assert [u.name for u in await store.accounts.users("acme", 2, "")] == ["ann", "bob"]
        assert [u.name for u in await store.accounts.users("acme", 2, "bob")] == ["cid"]
        assert await store.accounts.users("nobody", 9, "") == ()

    async def test_a_user_s_name_is_taken_in_the_whole_organization(self, store: Store) -> None:
        await store.accounts.add_account(ACME)
        await store.accounts.add_user(a_user(1))
        with pytest.raises(Conflict, match="operator-1"):
            await store.accounts.add_user(a_user(1, account="acme"))
        with pytest.raises(NotFound, match="beta"):
            await store.accounts.add_user(a_user(2, account="beta"))
        with pytest.raises(NotFound):
            await store.accounts.get_user("operator-2")

    async def test_a_user_and_his_first_token_come_together_or_not_at_all(self, store: Store) -> None:
        await store.accounts.add_user(a_user(1), an_operator_token(1))
        with pytest.raises(Conflict, match="O-2"):
            await store.accounts.add_user(a_user(2), an_operator_token(2, secret_hash=an_operator_token(1).secret_hash))
        with pytest.raises(NotFound):
            await store.accounts.get_user("operator-2")

    async def test_a_user_is_changed_in_view_of_all_users_of_his_account(self, store: Store) -> None:
        await store.accounts.add_account(ACME)
        for number, account in ((1, "default"), (2, "default"), (3, "acme")):
            await store.accounts.add_user(a_user(number, account=account))
        seen = list[tuple[str, ...]]()

        def change(user: User, everybody: tuple[User, ...]) -> User:
            seen.append(tuple(u.name for u in everybody))
            return replace(
                user,
                role=Role.ADMIN,
                enterprise_projects=("bank",),
                disabled_at=NOW,
                disabled_by="lin",
                account="acme",
                created_by="somebody",
            )

        changed = await store.accounts.change_user("operator-1", change)
        assert set(seen) == {("operator-1", "operator-2")}
        assert changed == replace(
            a_user(1), role=Role.ADMIN, enterprise_projects=("bank",), disabled_at=NOW, disabled_by="lin"
        )
        assert await store.accounts.get_user("operator-1") == changed
        with pytest.raises(NotFound):
            await store.accounts.change_user("nobody", change)

    async def test_a_change_that_is_refused_changes_nothing_and_two_at_once_see_each_other(self, store: Store) -> None:
        for number in (1, 2):
            await store.accounts.add_user(a_user(number, Role.ADMIN))

        def step_down(user: User, everybody: tuple[User, ...]) -> User:
            if not any(u.role is Role.ADMIN for u in everybody if u.name != user.name):
                raise Rejected("the last one")
            return replace(user, role=Role.VIEWER)

        both = [store.accounts.change_user(f"operator-{number}", step_down) for number in (1, 2)]
        ended = await asyncio.gather(*both, return_exceptions=True)
        assert sum(isinstance(e, Rejected) for e in ended) == 1
        assert sorted(u.role for u in await store.accounts.users("default", 9, "")) == [Role.ADMIN, Role.VIEWER]

    async def test_a_token_is_found_by_its_hash_with_its_user(self, store: Store) -> None:
        assert not await store.accounts.has_tokens()
        await store.accounts.add_user(a_user(1))
        await store.accounts.add_token(an_operator_token(1))
        assert await store.accounts.has_tokens()
        assert await store.accounts.find_token(an_operator_token(1).secret_hash) == (an_operator_token(1), a_user(1))
        with pytest.raises(NotFound):
            await store.accounts.find_token(digest.of(b"guess"))
        with pytest.raises(NotFound, match="operator-2"):
            await store.accounts.add_token(an_operator_token(2))
        for taken in (
            an_operator_token(1, secret_hash=digest.of(b"x")),
            an_operator_token(1, id="O-2"),
        ):
            with pytest.raises(Conflict, match=taken.id):
                await store.accounts.add_token(taken)

    async def test_a_token_is_revoked_and_nothing_else_of_it_changes(self, store: Store) -> None:
        await store.accounts.add_user(a_user(1), an_operator_token(1))
        revoked = await store.accounts.change_token(
            "O-1", lambda t: replace(t, revoked_at=NOW, revoked_by="lin", role=Role.ADMIN, user="operator-9")
        )
        assert revoked == replace(an_operator_token(1), revoked_at=NOW, revoked_by="lin")
        assert (await store.accounts.find_token(revoked.secret_hash))[0] == revoked
        with pytest.raises(NotFound):
            await store.accounts.change_token("O-2", lambda t: t)

    async def test_last_use_never_goes_back(self, store: Store) -> None:
        await store.accounts.add_user(a_user(1), an_operator_token(1))
        for at in (NOW + MINUTE, NOW):
            await store.accounts.mark_used("O-1", at)
        assert (await store.accounts.get_token("O-1")).last_used_at == NOW + MINUTE
        await store.accounts.change_token("O-1", lambda t: replace(t, revoked_at=NOW))
        assert (await store.accounts.get_token("O-1")).last_used_at == NOW + MINUTE
        await store.accounts.mark_used("O-none", NOW)

    async def test_tokens_of_an_account_are_listed_newest_first_in_pages(self, store: Store) -> None:
        await store.accounts.add_account(ACME)
        await store.accounts.add_user(a_user(1, name="ann"))
        await store.accounts.add_user(a_user(2, name="bob"))
        await store.accounts.add_user(a_user(3, name="zoe", account="acme"))
        for number, user, at in ((1, "ann", 1), (2, "bob", 3), (3, "ann", 3), (4, "zoe", 2), (5, "ann", 2)):
            await store.accounts.add_token(an_operator_token(number, user=user, created_at=NOW + at * MINUTE))
        listed = await store.accounts.tokens("default", None, 9, None)
        assert [t.id for t in listed] == ["O-3", "O-2", "O-5", "O-1"]
        assert [t.id for t in await store.accounts.tokens("default", None, 2, None)] == ["O-3", "O-2"]
        rest = await store.accounts.tokens("default", None, 9, (listed[1].created_at, listed[1].id))
        assert [t.id for t in rest] == ["O-5", "O-1"]
        assert [t.id for t in await store.accounts.tokens("default", ["bob", "zoe"], 9, None)] == ["O-2"]
        assert await store.accounts.tokens("default", [], 9, None) == ()

    async def test_an_agency_s_name_is_taken_while_it_lives(self, store: Store) -> None:
        await store.accounts.add_account(ACME)
        first = an_agency()
        await store.accounts.add_agency(first)
        with pytest.raises(Conflict, match="scans"):
            await store.accounts.add_agency(an_agency(created_at=NOW + MINUTE))
        second = an_agency(created_at=NOW + 5 * MINUTE, expires_at=None, permission=AgencyPermission.VIEW)
        await store.accounts.add_agency(second)  # the first has ended by then
        assert await store.accounts.get_agency("acme", "scans") == second
        with pytest.raises(Conflict, match="scans"):
            await store.accounts.add_agency(an_agency(created_at=NOW + 99 * MINUTE))
        with pytest.raises(NotFound, match="beta"):
            await store.accounts.add_agency(an_agency(account="beta"))
        assert await store.accounts.agencies("acme") == (first, second)

    async def test_the_latest_agency_of_a_name_is_revoked_and_its_name_is_free(self, store: Store) -> None:
        await store.accounts.add_account(ACME)
        await store.accounts.add_agency(an_agency())
        revoked = await store.accounts.change_agency(
            "acme", "scans", lambda a: replace(a, revoked_at=NOW, revoked_by="lin", trusted_account="evil")
        )
        assert revoked == an_agency(revoked_at=NOW, revoked_by="lin")
        assert await store.accounts.get_agency("acme", "scans") == revoked
        again = an_agency(created_at=NOW + MINUTE)
        await store.accounts.add_agency(again)
        assert await store.accounts.get_agency("acme", "scans") == again
        for absent in (
            store.accounts.get_agency("default", "scans"),
            store.accounts.change_agency("acme", "none", lambda a: a),
        ):
            with pytest.raises(NotFound):
                await absent

    async def test_agencies_are_listed_by_who_grants_and_by_who_is_trusted(self, store: Store) -> None:
        await store.accounts.add_account(ACME)
        b, a = an_agency("b"), an_agency("a", trusted_account="nobody-knows")
        back = an_agency("c", account="default", trusted_account="acme")
        for agency in (b, a, back):
            await store.accounts.add_agency(agency)
        assert await store.accounts.agencies("acme") == (a, b)
        assert await store.accounts.agencies_trusting("default") == (b,)
        assert await store.accounts.agencies_trusting("acme") == (back,)
        assert await store.accounts.agencies_trusting("nobody-knows") == (a,)
