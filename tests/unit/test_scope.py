"""What of the fleet somebody may see: accounts, and inside them enterprise projects."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.api.auth import Operator
from controller.fleet.model import DEFAULT_ACCOUNT, Role, Selector
from controller.fleet.scope import Scope
from controller.fleet.selection import matching
from tests.builders import an_instance

OURS = an_instance(1, enterprise_project="shop")
OURS_TOO = an_instance(2, enterprise_project="bank")
THEIRS = an_instance(3, enterprise_project="shop", account="acme")
FLEET = (OURS, OURS_TOO, THEIRS)
NAMES = st.sampled_from(["", "a", "b", DEFAULT_ACCOUNT])


def test_an_operator_sees_his_account_and_nothing_of_another() -> None:
    caller = Operator("O-1", "ann", Role.ADMIN, None)
    assert caller.scope.visible(FLEET) == (OURS, OURS_TOO)


def test_enterprise_projects_narrow_the_account_and_never_reach_into_another() -> None:
    caller = Operator("O-1", "ann", Role.ADMIN, None, DEFAULT_ACCOUNT, ("shop",))
    assert caller.scope.visible(FLEET) == (OURS,)


@given(projects=st.frozensets(NAMES), account=NAMES, project=NAMES)
def test_without_accounts_nothing_may_be_seen(projects: frozenset[str], account: str, project: str) -> None:
    assert not Scope(frozenset(), projects).covers(account, project)


@given(accounts=st.frozensets(NAMES), projects=st.frozensets(NAMES), account=NAMES, project=NAMES)
def test_a_project_only_ever_narrows(
    accounts: frozenset[str], projects: frozenset[str], account: str, project: str
) -> None:
    if Scope(accounts, projects).covers(account, project):
        assert Scope(accounts).covers(account, project)
        assert account in accounts


def test_a_selector_narrows_to_accounts() -> None:
    assert matching(FLEET, Selector(all=True, accounts=("acme",))) == (THEIRS,)
    assert matching(FLEET, Selector(all=True)) == FLEET
