"""Accounts, users, operators' tokens and agencies over a real controller: who may make, see and end what, and that it holds at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from common.pb.v1 import account_pb2 as pb
from common.pb.v1 import fleet_pb2, report_pb2, ticket_pb2
from controller.api.account_service import MAX_TOKENS
from controller.audit.chain import verify
from controller.audit.model import AuditKind
from controller.fleet.model import Role
from tests.integration.api_harness import TIMEOUT, Harness, Stubs, refusal, serving

CODE = grpc.StatusCode
VIEWER, OPERATOR, ADMIN = pb.ROLE_VIEWER, pb.ROLE_OPERATOR, pb.ROLE_ADMIN
HOUR = timedelta(hours=1)


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with serving(tmp_path) as made:
        yield made


@pytest.fixture
async def admin(harness: Harness) -> Stubs:
    return await harness.admin()


def life(length: timedelta) -> Duration:
    made = Duration()
    made.FromTimedelta(length)
    return made


async def whoami(stubs: Stubs) -> pb.WhoAmIResponse:
    answer: pb.WhoAmIResponse = await stubs.account.WhoAmI(pb.WhoAmIRequest())
    return answer


async def make_account(admin: Stubs, name: str = "acme", first: str = "ann") -> pb.CreateAccountResponse:
    request = pb.CreateAccountRequest(account=pb.Account(name=name, note="a customer"), admin=first)
    made: pb.CreateAccountResponse = await admin.account.CreateAccount(request)
    return made


async def make_user(
    admin: Stubs, name: str, role: pb.Role.ValueType = VIEWER, projects: tuple[str, ...] = ()
) -> pb.CreateUserResponse:
    request = pb.CreateUserRequest(user=pb.User(name=name, role=role, enterprise_projects=projects))
    made: pb.CreateUserResponse = await admin.account.CreateUser(request)
    return made


async def change(admin: Stubs, name: str, *paths: str, **values: Any) -> pb.User:
    request = pb.UpdateUserRequest(name=name, update_mask=FieldMask(paths=paths), **values)
    answer: pb.UpdateUserResponse = await admin.account.UpdateUser(request)
    return answer.user


async def names_of_users(stubs: Stubs) -> list[str]:
    return [u.name for u in (await stubs.account.ListUsers(pb.ListUsersRequest())).users]


def an_agency(name: str = "scans", trusted: str = "default", **changes: Any) -> pb.CreateAgencyRequest:
    permission = changes.pop("permission", pb.AGENCY_PERMISSION_SCAN)
    return pb.CreateAgencyRequest(
        agency=pb.Agency(name=name, trusted_account=trusted, permission=permission, **changes)
    )


async def agencies(stubs: Stubs, *, include_ended: bool = False) -> list[tuple[str, str, str]]:
    answer = await stubs.account.ListAgencies(pb.ListAgenciesRequest(include_ended=include_ended))
    return [(a.account, a.name, a.trusted_account) for a in answer.agencies]


async def test_an_account_is_made_with_an_admin_who_alone_has_power_in_it(harness: Harness, admin: Stubs) -> None:
    made = await make_account(admin)
    assert (made.account.name, made.account.note, made.account.created_by) == ("acme", "a customer", "admin")
    assert (made.admin.name, made.admin.account, made.admin.role) == ("ann", "acme", ADMIN)
    until = made.token.expires_at.ToDatetime() - made.token.created_at.ToDatetime()
    assert (until, made.token.user) == (timedelta(days=90), "ann")
    ann = harness.stubs(made.secret)
    me = await whoami(ann)
    assert (me.name, me.account, me.role, me.token_id) == ("ann", "acme", ADMIN, made.token.id)
    await make_user(ann, "bob")
    assert await names_of_users(ann) == ["ann", "bob"]
    assert await names_of_users(admin) == ["admin"]
    for name in ("ann", "bob", "nobody"):
        refused = await refusal(admin.account.UpdateUser(pb.UpdateUserRequest(name=name, role=VIEWER)))
        assert (refused.code, refused.sentence) == (
            CODE.NOT_FOUND,
            f"there is no user '{name}'; list them: patchctl users list",
        )
    refused = await refusal(admin.account.RevokeOperatorToken(pb.RevokeOperatorTokenRequest(id=made.token.id)))
    assert refused.sentence == f"there is no operator token '{made.token.id}'; list them: patchctl tokens list"


async def test_only_unbound_admins_of_the_management_account_make_and_see_all_accounts(
    harness: Harness, admin: Stubs
) -> None:
    ann = harness.stubs((await make_account(admin)).secret)
    bound = harness.stubs((await make_user(admin, "cid", ADMIN, ("bank",))).secret)
    for nobody in (ann, bound):
        request = pb.CreateAccountRequest(account=pb.Account(name="beta"), admin="bea")
        refused = await refusal(nobody.account.CreateAccount(request))
        assert refused.code is CODE.PERMISSION_DENIED
    listed = (await admin.account.ListAccounts(pb.ListAccountsRequest())).accounts
    assert [(a.name, a.note, a.management) for a in listed] == [("acme", "a customer", False), ("default", "", True)]
    assert [a.name for a in (await ann.account.ListAccounts(pb.ListAccountsRequest())).accounts] == ["acme"]
    assert [a.name for a in (await bound.account.ListAccounts(pb.ListAccountsRequest())).accounts] == ["default"]


async def test_names_are_unique_and_a_taken_one_says_only_that(harness: Harness, admin: Stubs) -> None:
    ann = harness.stubs((await make_account(admin)).secret)
    refused = await refusal(ann.account.CreateUser(pb.CreateUserRequest(user=pb.User(name="admin", role=VIEWER))))
    assert (refused.code, refused.sentence) == (
        CODE.FAILED_PRECONDITION,
        "the name admin is taken; choose another user name",
    )
    again = pb.CreateAccountRequest(account=pb.Account(name="acme"), admin="dan")
    assert "the name acme is taken" in (await refusal(admin.account.CreateAccount(again))).sentence
    with_taken_admin = pb.CreateAccountRequest(account=pb.Account(name="beta"), admin="ann")
    assert "the name ann is taken" in (await refusal(admin.account.CreateAccount(with_taken_admin))).sentence
    assert [a.name for a in (await admin.account.ListAccounts(pb.ListAccountsRequest())).accounts] == [
        "acme",
        "default",
    ]


async def test_every_wrong_field_is_named(admin: Stubs) -> None:
    wrong = pb.CreateUserRequest(user=pb.User(name="a b", enterprise_projects=[""]), lifetime=life(HOUR / 2))
    refused = await refusal(admin.account.CreateUser(wrong))
    assert set(refused.fields) == {"user.role", "user.name", "user.enterprise_projects[0]", "lifetime"}
    long = pb.CreateUserRequest(user=pb.User(name="x", role=VIEWER), lifetime=life(timedelta(days=367)))
    assert list((await refusal(admin.account.CreateUser(long))).fields) == ["lifetime"]
    past = pb.Agency(name="x y", trusted_account="default")
    past.expires_at.FromDatetime(datetime.now(UTC) - HOUR)
    refused = await refusal(admin.account.CreateAgency(pb.CreateAgencyRequest(agency=past)))
    assert set(refused.fields) == {*("agency.name", "agency.trusted_account", "agency.permission", "agency.expires_at")}
    mask = pb.UpdateUserRequest(name="admin", update_mask=FieldMask(paths=["name"]))
    assert list((await refusal(admin.account.UpdateUser(mask))).fields) == ["update_mask"]


async def test_a_role_change_and_disabling_hold_at_once(harness: Harness, admin: Stubs) -> None:
    made = await make_user(admin, "bob", ADMIN)
    bob = harness.stubs(made.secret)
    assert (await whoami(bob)).role == ADMIN
    assert (await change(admin, "bob", role=VIEWER)).role == VIEWER
    assert (await whoami(bob)).role == VIEWER
    refused = await refusal(bob.account.ListUsers(pb.ListUsersRequest()))
    assert (refused.code, refused.sentence) == (
        CODE.PERMISSION_DENIED,
        "bob is VIEWER: ListUsers needs the role ADMIN; ask an admin of the account default for it",
    )
    await change(admin, "bob", "enterprise_projects", enterprise_projects=["bank", "bank"])
    assert (await whoami(bob)).enterprise_projects == ["bank"]
    disabled = await change(admin, "bob", "disabled", disabled=True)
    assert (disabled.disabled_by, disabled.HasField("disabled_at")) == ("admin", True)
    refused = await refusal(bob.account.WhoAmI(pb.WhoAmIRequest()))
    assert (refused.code, refused.sentence.split(" since ")[0]) == (CODE.UNAUTHENTICATED, "the user bob is disabled")
    request = pb.CreateOperatorTokenRequest(user="bob")
    assert "bob is disabled" in (await refusal(admin.account.CreateOperatorToken(request))).sentence
    await change(admin, "bob", "disabled", disabled=False)
    assert (await whoami(bob)).name == "bob"


async def test_nobody_disables_himself_and_the_last_admin_stays(harness: Harness, admin: Stubs) -> None:
    last = (
        "admin is the last admin of the account default who is neither disabled nor bound to enterprise projects; "
        "make another one first: patchctl users create NAME --role ADMIN"
    )
    himself = pb.UpdateUserRequest(name="admin", update_mask=FieldMask(paths=["disabled"]), disabled=True)
    refused = await refusal(admin.account.UpdateUser(himself))
    assert (refused.code, "nobody disables himself" in refused.sentence) == (CODE.FAILED_PRECONDITION, True)
    bound = harness.stubs((await make_user(admin, "cid", ADMIN, ("bank",))).secret)
    assert (await whoami(bound)).role == ADMIN  # he is no admin of all of the account
    for request in (
        pb.UpdateUserRequest(name="admin", role=OPERATOR),
        pb.UpdateUserRequest(
            name="admin", update_mask=FieldMask(paths=["enterprise_projects"]), enterprise_projects=["bank"]
        ),
    ):
        assert (await refusal(admin.account.UpdateUser(request))).sentence == last
    bea = harness.stubs((await make_user(admin, "bea", ADMIN)).secret)
    await change(bea, "admin", "disabled", disabled=True)
    refused = await refusal(bea.account.UpdateUser(pb.UpdateUserRequest(name="bea", role=VIEWER)))
    assert refused.sentence == last.replace("admin is", "bea is", 1)


async def test_an_admin_of_projects_makes_and_sees_users_of_these_only(harness: Harness, admin: Stubs) -> None:
    bound = harness.stubs((await make_user(admin, "cid", ADMIN, ("bank", "shop"))).secret)
    await make_user(admin, "all-of-it")
    await make_user(admin, "other", VIEWER, ("bank", "hr"))
    for projects in ((), ("hr",), ("bank", "hr")):
        request = pb.CreateUserRequest(user=pb.User(name="x", role=VIEWER, enterprise_projects=projects))
        refused = await refusal(bound.account.CreateUser(request))
        assert refused.fields == {"user.enterprise_projects": "must be one or more of your own: bank, shop"}
    teller = await make_user(bound, "teller", VIEWER, ("bank",))
    assert await names_of_users(bound) == ["cid", "teller"]
    for name in ("admin", "all-of-it", "other"):
        refused = await refusal(bound.account.UpdateUser(pb.UpdateUserRequest(name=name, role=VIEWER)))
        assert refused.code is CODE.NOT_FOUND
        refused = await refusal(bound.account.CreateOperatorToken(pb.CreateOperatorTokenRequest(user=name)))
        assert refused.code is CODE.NOT_FOUND
    widened = pb.UpdateUserRequest(name="cid", update_mask=FieldMask(paths=["enterprise_projects"]))
    assert list((await refusal(bound.account.UpdateUser(widened))).fields) == ["enterprise_projects"]
    listed = (await bound.account.ListOperatorTokens(pb.ListOperatorTokensRequest())).tokens
    assert {t.user for t in listed} == {"cid", "teller"}
    await bound.account.RevokeOperatorToken(pb.RevokeOperatorTokenRequest(id=teller.token.id))
    for request in (
        bound.account.CreateAgency(an_agency(trusted="acme")),
        bound.account.RevokeAgency(pb.RevokeAgencyRequest(name="x")),
    ):
        assert (await refusal(request)).code is CODE.PERMISSION_DENIED


async def test_everybody_makes_lists_and_revokes_tokens_of_his_own(harness: Harness, admin: Stubs) -> None:
    bob = harness.stubs((await make_user(admin, "bob", OPERATOR)).secret)
    request = pb.CreateOperatorTokenRequest(role=VIEWER, note="for the dashboard", lifetime=life(HOUR))
    made = await bob.account.CreateOperatorToken(request)
    assert (made.token.user, made.token.role, made.token.note, made.token.created_by) == (
        *("bob", VIEWER, "for the dashboard", "bob"),
    )
    weak = harness.stubs(made.secret)
    assert (await whoami(weak)).role == VIEWER
    refused = await refusal(weak.account.CreateOperatorToken(pb.CreateOperatorTokenRequest(role=OPERATOR)))
    assert refused.fields == {"role": "OPERATOR is more than allowed: you speak with a token that is VIEWER"}
    weakest = await weak.account.CreateOperatorToken(pb.CreateOperatorTokenRequest())
    assert weakest.token.role == VIEWER, "a token makes none that may more than it"
    listed = (await bob.account.ListOperatorTokens(pb.ListOperatorTokensRequest())).tokens
    assert [t.user for t in listed] == ["bob"] * 3
    page = await bob.account.ListOperatorTokens(pb.ListOperatorTokensRequest(page_size=2))
    rest = await bob.account.ListOperatorTokens(
        pb.ListOperatorTokensRequest(page_size=2, page_token=page.next_page_token)
    )
    assert [t.id for t in (*page.tokens, *rest.tokens)] == [t.id for t in listed]
    theirs = pb.ListOperatorTokensRequest(user="admin")
    assert (await refusal(bob.account.ListOperatorTokens(theirs))).code is CODE.PERMISSION_DENIED
    for_another = pb.CreateOperatorTokenRequest(user="admin")
    assert (await refusal(bob.account.CreateOperatorToken(for_another))).code is CODE.PERMISSION_DENIED
    admins_own = (await whoami(admin)).token_id
    refused = await refusal(bob.account.RevokeOperatorToken(pb.RevokeOperatorTokenRequest(id=admins_own)))
    assert refused.code is CODE.NOT_FOUND
    revoked = (await bob.account.RevokeOperatorToken(pb.RevokeOperatorTokenRequest(id=made.token.id))).token
    assert revoked.revoked_by == "bob"
    refused = await refusal(weak.account.WhoAmI(pb.WhoAmIRequest()))
    assert (refused.code, f"the token {made.token.id} of bob was revoked" in refused.sentence) == (
        CODE.UNAUTHENTICATED,
        True,
    )
    again = (await admin.account.RevokeOperatorToken(pb.RevokeOperatorTokenRequest(id=made.token.id))).token
    assert again == revoked, "it stays as it was revoked first"


async def test_an_admin_makes_tokens_for_users_no_stronger_than_they_are(harness: Harness, admin: Stubs) -> None:
    await make_user(admin, "bob", OPERATOR)
    refused = await refusal(admin.account.CreateOperatorToken(pb.CreateOperatorTokenRequest(user="bob", role=ADMIN)))
    assert refused.fields == {"role": "ADMIN is more than allowed: bob is OPERATOR"}
    made = await admin.account.CreateOperatorToken(pb.CreateOperatorTokenRequest(user="bob"))
    assert made.token.created_by == "admin"
    bob = harness.stubs(made.secret)
    assert ((await whoami(bob)).name, (await whoami(bob)).role) == ("bob", OPERATOR)
    used = (await admin.account.ListOperatorTokens(pb.ListOperatorTokensRequest(user="bob"))).tokens
    assert [t.HasField("last_used_at") for t in used] == [True, False]


async def test_a_user_s_tokens_may_more_when_he_may_but_for_those_that_were_made_to_do_less(
    harness: Harness, admin: Stubs
) -> None:
    bob = harness.stubs((await make_user(admin, "bob")).secret)
    weak = await bob.account.CreateOperatorToken(pb.CreateOperatorTokenRequest(role=VIEWER))
    own = await bob.account.CreateOperatorToken(pb.CreateOperatorTokenRequest())
    await change(admin, "bob", role=OPERATOR)
    assert (await whoami(bob)).role == OPERATOR
    assert (await whoami(harness.stubs(own.secret))).role == OPERATOR
    child = await harness.stubs(weak.secret).account.CreateOperatorToken(pb.CreateOperatorTokenRequest())
    for secret in (weak.secret, child.secret):
        assert (await whoami(harness.stubs(secret))).role == VIEWER
    pause = ticket_pb2.PauseRequest(ticket_id="T-1")
    assert (await refusal(harness.stubs(weak.secret).tickets.Pause(pause))).sentence == (
        f"bob is VIEWER: Pause needs the role OPERATOR; the token {weak.token.id} was made to do less than its user may: "
        "use another, patchctl login"
    )


async def test_a_user_has_so_many_tokens_at_a_time(harness: Harness, admin: Stubs) -> None:
    bob = harness.stubs((await make_user(admin, "bob")).secret)
    made = [await bob.account.CreateOperatorToken(pb.CreateOperatorTokenRequest()) for _ in range(MAX_TOKENS - 1)]
    refused = await refusal(bob.account.CreateOperatorToken(pb.CreateOperatorTokenRequest()))
    assert refused.sentence == "bob has 100 tokens that hold, which is the most; revoke one first: patchctl tokens list"
    await bob.account.RevokeOperatorToken(pb.RevokeOperatorTokenRequest(id=made[0].token.id))
    await bob.account.CreateOperatorToken(pb.CreateOperatorTokenRequest())


async def test_an_agency_is_seen_by_both_accounts_and_by_nobody_else(harness: Harness, admin: Stubs) -> None:
    ann = harness.stubs((await make_account(admin)).secret)
    bea = harness.stubs((await make_account(admin, "beta", "bea")).secret)
    granted = (await ann.account.CreateAgency(an_agency())).agency
    assert (granted.account, granted.created_by, granted.permission) == ("acme", "ann", pb.AGENCY_PERMISSION_SCAN)
    assert await agencies(ann) == await agencies(admin) == [("acme", "scans", "default")]
    assert await agencies(bea) == []
    (received,) = (await admin.account.ListAgencies(pb.ListAgenciesRequest())).agencies
    assert received.created_by == "", "who works in another account is its own affair"
    viewer = await harness.operator(Role.VIEWER)
    assert [a.name for a in (await viewer.account.ListAccounts(pb.ListAccountsRequest())).accounts] == [
        "acme",
        "default",
    ]
    assert [a.note for a in (await ann.account.ListAccounts(pb.ListAccountsRequest())).accounts] == ["a customer", ""]
    revoke = pb.RevokeAgencyRequest(name="scans")
    assert (await refusal(admin.account.RevokeAgency(revoke))).code is CODE.NOT_FOUND, "only who grants it ends it"
    revoked = (await ann.account.RevokeAgency(revoke)).agency
    assert revoked.revoked_by == "ann"
    assert (await ann.account.RevokeAgency(revoke)).agency == revoked
    assert await agencies(ann) == await agencies(admin) == []
    assert await agencies(ann, include_ended=True) == [("acme", "scans", "default")]


async def test_the_name_of_an_agency_is_free_once_it_has_ended(harness: Harness, admin: Stubs) -> None:
    await admin.account.CreateAgency(an_agency(trusted="acme"))
    refused = await refusal(admin.account.CreateAgency(an_agency(trusted="beta")))
    assert refused.sentence == "there is an agency scans already; end it first: patchctl agency revoke scans"
    await admin.account.RevokeAgency(pb.RevokeAgencyRequest(name="scans"))
    await admin.account.CreateAgency(an_agency(trusted="beta"))
    assert await agencies(admin, include_ended=True) == [("default", "scans", "acme"), ("default", "scans", "beta")]
    pages, token = list[str](), ""
    while True:
        page = await admin.account.ListAgencies(
            pb.ListAgenciesRequest(include_ended=True, page_size=1, page_token=token)
        )
        pages += [a.trusted_account for a in page.agencies]
        if not (token := page.next_page_token):
            break
    assert pages == ["acme", "beta"]


async def test_whether_an_account_exists_is_told_to_nobody(harness: Harness, admin: Stubs) -> None:
    ann = harness.stubs((await make_account(admin)).secret)
    await make_account(admin, "secret-customer", "sue")
    answers = list[pb.Agency]()
    for number, trusted in enumerate(("secret-customer", "no-such-one")):
        answer = (await ann.account.CreateAgency(an_agency(f"a{number}", trusted))).agency
        answer.ClearField("created_at")
        answer.name = answer.trusted_account = ""
        answers.append(answer)
    assert answers[0] == answers[1]
    listed = (await ann.account.ListAccounts(pb.ListAccountsRequest())).accounts
    assert [(a.name, a.note, a.HasField("created_at")) for a in listed] == [
        ("acme", "a customer", True),
        ("no-such-one", "", False),
        ("secret-customer", "", False),
    ]
    own = await refusal(ann.account.CreateAgency(an_agency(trusted="acme")))
    assert list(own.fields) == ["agency.trusted_account"]


async def test_an_open_watch_ends_when_its_token_is_revoked(harness: Harness, admin: Stubs) -> None:
    await harness.connect("web-1", ready=False)
    bob = harness.stubs((await make_user(admin, "bob", OPERATOR)).secret)
    spec = ticket_pb2.TicketSpec(selector=fleet_pb2.Selector(all=True))
    ticket = (await bob.tickets.CreateTicket(ticket_pb2.CreateTicketRequest(spec=spec))).ticket
    watch = bob.tickets.Watch(ticket_pb2.WatchRequest(ticket_id=ticket.id))
    assert (await watch.read()).ticket.id == ticket.id
    ending = asyncio.create_task(refusal(watch))
    await admin.account.RevokeOperatorToken(pb.RevokeOperatorTokenRequest(id=(await whoami(bob)).token_id))
    async with asyncio.timeout(TIMEOUT):
        refused = await ending
    assert (refused.code, "of bob was revoked" in refused.sentence) == (CODE.UNAUTHENTICATED, True)
    assert (await refusal(bob.reports.Export(report_pb2.ExportRequest()))).code is CODE.UNAUTHENTICATED
    left = (await admin.tickets.GetTicket(ticket_pb2.GetTicketRequest(ticket_id=ticket.id))).ticket
    assert left.state == ticket_pb2.TICKET_STATE_PROCESSING, "what he began goes on"


async def test_the_log_has_every_change_in_its_account_and_no_secret(harness: Harness, admin: Stubs) -> None:
    made = await make_account(admin)
    ann = harness.stubs(made.secret)
    user = await make_user(ann, "bob")
    bob = harness.stubs(user.secret)
    token = await bob.account.CreateOperatorToken(pb.CreateOperatorTokenRequest(note="mine"))
    await bob.account.RevokeOperatorToken(pb.RevokeOperatorTokenRequest(id=token.token.id))
    await refusal(bob.account.CreateUser(pb.CreateUserRequest(user=pb.User(name="eve", role=ADMIN))))
    await change(ann, "bob", role=OPERATOR)
    await ann.account.CreateAgency(an_agency())
    await ann.account.RevokeAgency(pb.RevokeAgencyRequest(name="scans"))
    await whoami(bob)
    await names_of_users(ann)
    entries = await harness.store.audit.entries_after(0, 999)
    assert verify(entries) == entries[-1].head
    done = [
        (e.deed.account, e.deed.operator, e.deed.method.removeprefix("AccountService/"), e.deed.subject)
        for e in entries
        if e.deed.kind in (AuditKind.DONE, AuditKind.REFUSED)
    ]
    assert done == [
        ("default", "admin", "CreateAccount", "acme"),
        ("acme", "ann", "CreateUser", "bob"),
        ("acme", "bob", "CreateOperatorToken", token.token.id),
        ("acme", "bob", "RevokeOperatorToken", token.token.id),
        ("acme", "bob", "CreateUser", ""),
        ("acme", "ann", "UpdateUser", "bob"),
        ("acme", "ann", "CreateAgency", "scans"),
        ("acme", "ann", "RevokeAgency", "scans"),
    ]
    written = str(entries)
    for secret in (made.secret, user.secret, token.secret):
        assert secret not in written


async def test_a_host_s_enrolment_is_noted_in_its_account(harness: Harness, admin: Stubs) -> None:
    ann = harness.stubs((await make_account(admin)).secret)
    secret = (await ann.fleet.CreateEnrolmentToken(fleet_pb2.CreateEnrolmentTokenRequest())).secret
    agent = await harness.enrol("web-1", token=secret)
    noted = [e.deed for e in await harness.store.audit.entries_after(0, 999) if e.deed.kind is AuditKind.NOTED]
    assert (noted[-1].account, noted[-1].subject) == ("acme", agent.instance_id)
