"""Names, and what an agency allows: the sentence says what to grant and how."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.accounts.model import Agency, AgencyPermission
from controller.accounts.rules import is_covered, live, why_no_account_name, why_no_user_name, why_not, why_not_change
from controller.fleet.model import Role
from tests.builders import MINUTE, NOW, a_user

AGENCY = Agency("acme", "scans", "default", AgencyPermission.SCAN, NOW - MINUTE, "lin", NOW + MINUTE)


@pytest.mark.parametrize("name", ["a", "acme", "Acme-2.test_x", "0", "x" * 64])
def test_names_of_accounts_are_also_names_of_users(name: str) -> None:
    assert why_no_account_name(name) == why_no_user_name(name) == ""


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a/b", "ä", "x" * 65, "a\n", "a\u202eb"])
def test_other_names_are_refused(name: str) -> None:
    for sentence in (why_no_account_name(name), why_no_user_name(name)):
        assert sentence.startswith("must have 1 to 64 letters, digits, '-', '_'")


def test_only_users_have_an_at_in_their_names() -> None:
    assert why_no_user_name("lin@acme.example") == ""
    assert why_no_account_name("lin@acme") != ""


def test_an_agency_lives_until_it_ends_or_is_revoked() -> None:
    assert live(AGENCY, NOW)
    assert not live(AGENCY, NOW + MINUTE)
    assert live(replace(AGENCY, expires_at=None), NOW + 10000 * MINUTE)
    assert not live(replace(AGENCY, revoked_at=NOW), NOW)


@pytest.mark.parametrize("permission", AgencyPermission)
def test_scanning_includes_viewing(permission: AgencyPermission) -> None:
    assert why_not(AGENCY, "acme", "default", "scans", permission, NOW) == ""


@pytest.mark.parametrize(
    ("agency", "sentence"),
    [
        (None, "the account acme grants default no agency scans; "),
        (replace(AGENCY, trusted_account="beta"), "the account acme grants default no agency scans; "),
        (replace(AGENCY, revoked_at=NOW), "the agency scans of the account acme was revoked at 2026-"),
        (replace(AGENCY, expires_at=NOW), "the agency scans of the account acme ended at 2026-"),
        (
            replace(AGENCY, permission=AgencyPermission.VIEW),
            "the agency scans of the account acme allows VIEW only, this needs SCAN; an admin of acme can replace it: ",
        ),
    ],
)
def test_whoever_may_not_is_told_what_to_grant(agency: Agency | None, sentence: str) -> None:
    said = why_not(agency, "acme", "default", "scans", AgencyPermission.SCAN, NOW)
    assert said.startswith(sentence)
    assert said.endswith("patchctl agency create scans --trust default --permission SCAN")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("projects", "bound", "covered"),
    [
        ((), (), True),
        (("bank",), (), True),
        (("bank",), ("bank", "shop"), True),
        (("bank", "hr"), ("bank", "shop"), False),
        ((), ("bank",), False),
    ],
)
def test_an_admin_of_projects_is_for_users_of_some_of_these(
    projects: tuple[str, ...], bound: tuple[str, ...], covered: bool
) -> None:
    assert is_covered(projects, bound) is covered


@pytest.mark.parametrize(
    "change", [{"role": Role.OPERATOR}, {"enterprise_projects": ("bank",)}, {"disabled_at": NOW}], ids=str
)
def test_an_account_keeps_an_admin_of_all_of_it(change: dict[str, Any]) -> None:
    ann = a_user(1, Role.ADMIN, name="ann")
    bound = a_user(2, Role.ADMIN, name="bob", enterprise_projects=("bank",))
    disabled, viewer = a_user(3, Role.ADMIN, name="cid", disabled_at=NOW), a_user(4, Role.VIEWER, name="dan")
    after, others = replace(ann, **change), (ann, bound, disabled, viewer)
    assert "ann is the last admin of the account default" in why_not_change(ann, after, others, "eve")
    assert why_not_change(ann, after, (*others, a_user(5, Role.ADMIN, name="eve")), "eve") == ""
    assert why_not_change(bound, replace(bound, **change), others, "ann") == "", "he was none"
    assert why_not_change(ann, ann, others, "ann") == ""


def test_nobody_disables_himself_but_a_disabled_one_may_be_changed() -> None:
    ann, bob = a_user(1, Role.ADMIN, name="ann"), a_user(2, Role.ADMIN, name="bob")
    assert "nobody disables himself" in why_not_change(ann, replace(ann, disabled_at=NOW), (ann, bob), "ann")
    disabled = replace(ann, disabled_at=NOW)
    assert why_not_change(disabled, replace(disabled, role=Role.VIEWER), (disabled, bob), "bob") == ""
