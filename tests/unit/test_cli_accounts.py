"""patchctl whoami, users, tokens, accounts and agency: what is asked of the controller, and what people and scripts get to read."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from common.errors import Rejected
from common.pb.v1 import account_pb2 as pb
from common.pb.v1 import fleet_pb2
from tests.scripted_controller import ScriptedController
from tests.scripted_patchctl import ago, logged_in, patchctl, started  # noqa: F401 - fixtures

LIN = pb.User(
    name="lin",
    account="acme",
    role=pb.ROLE_OPERATOR,
    enterprise_projects=["bank", "shop"],
    created_at=ago(days=3),
    created_by="ann",
)
TOKEN = pb.OperatorToken(
    id="O-1", user="lin", role=pb.ROLE_OPERATOR, created_at=ago(days=3), created_by="ann", expires_at=ago(days=-87)
)


def whoami(**changes: Any) -> Any:
    said = {"name": "lin", "role": pb.ROLE_OPERATOR, "controller_version": "1", "account": "acme", "token_id": "O-1"}
    return lambda _: pb.WhoAmIResponse(**(said | changes))


def test_whoami_says_account_projects_and_when_the_token_ends(server: ScriptedController) -> None:
    server.answers["WhoAmI"] = whoami(enterprise_projects=["bank", "shop"], expires_at=ago(days=-60, hours=-1))
    result = patchctl("whoami")
    assert result.stdout.splitlines() == [
        f"lin  OPERATOR  at {server.address}  controller 1",
        "account acme, enterprise projects bank, shop",
        "token O-1 ends in 60 d",
    ]
    assert result.stderr == ""
    server.answers["WhoAmI"] = whoami()
    assert patchctl("whoami").stdout.splitlines()[1:] == [
        "account acme, all enterprise projects",
        "token O-1 does not end",
    ]


def test_whoami_warns_of_a_token_that_ends_soon(server: ScriptedController) -> None:
    server.answers["WhoAmI"] = whoami(expires_at=ago(days=-13, minutes=-5))
    for output in ("table", "json"):
        result = patchctl("whoami", "--output", output)
        assert result.stderr == "Your token ends in 13 d. Make another in time: patchctl tokens create --own\n"
        assert result.exit_code == 0


def test_a_user_is_made_and_the_secret_alone_goes_to_stdout(server: ScriptedController) -> None:
    server.answers["CreateUser"] = lambda _: pb.CreateUserResponse(user=LIN, token=TOKEN, secret="pwa_secret")
    result = patchctl(
        *("users", "create", "lin", "--role", "operator", "--project", "bank", "--project", "shop"),
        *("--lifetime", "87d"),
    )
    assert (result.exit_code, result.stdout) == (0, "pwa_secret\n")
    assert "Token O-1 of lin, at most OPERATOR, ends in 86 d. It is not shown again." in result.stderr
    assert f"  patchctl login --controller {server.address} --join join.pem\n" in result.stderr
    assert "pwa_secret" not in result.stderr
    (asked,) = server.requests("CreateUser")
    assert asked == pb.CreateUserRequest(
        user=pb.User(name="lin", role=pb.ROLE_OPERATOR, enterprise_projects=["bank", "shop"]), lifetime=asked.lifetime
    )
    assert asked.lifetime.seconds == 87 * 86400
    as_json = json.loads(patchctl("users", "create", "lin", "--role", "VIEWER", "--output", "json").stdout)
    assert (as_json["secret"], as_json["user"]["name"], as_json["token"]["id"]) == ("pwa_secret", "lin", "O-1")
    assert patchctl("users", "create", "lin").exit_code == 2, "nobody gets a role that nobody said"


def test_users_are_listed_for_people_and_for_scripts(server: ScriptedController) -> None:
    gone = pb.User(name="max", role=pb.ROLE_VIEWER, disabled_at=ago(days=2), disabled_by="ann", created_at=ago(days=9))
    server.answers["ListUsers"] = lambda _: pb.ListUsersResponse(users=[LIN, gone])
    result = patchctl("users", "list")
    lin, max_ = result.stdout.splitlines()[1:]
    assert lin.split() == ["lin", "OPERATOR", "bank,", "shop", "enabled", "3", "d", "ago", "ann"]
    assert "disabled 2 d ago by ann" in max_
    assert max_.endswith("the controller")
    assert result.stderr == "2 users, 1 disabled\n"
    rows = list(csv.DictReader(io.StringIO(patchctl("users", "list", "-o", "csv").stdout)))
    assert [row["name"] for row in rows] == ["lin", "max"]
    assert "name: lin" in patchctl("users", "list", "-o", "yaml").stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--role", "VIEWER"], {"role": pb.ROLE_VIEWER}),
        (["--project", "hr"], {"paths": ["enterprise_projects"], "enterprise_projects": ["hr"]}),
        (["--all-projects"], {"paths": ["enterprise_projects"]}),
    ],
)
def test_update_changes_what_is_said_and_nothing_else(
    server: ScriptedController, words: list[str], expected: dict[str, Any]
) -> None:
    server.answers["UpdateUser"] = lambda _: pb.UpdateUserResponse(user=LIN)
    assert patchctl("users", "update", "lin", *words).exit_code == 0
    wanted = pb.UpdateUserRequest(name="lin")
    wanted.update_mask.paths.extend(expected.pop("paths", []))
    wanted.MergeFrom(pb.UpdateUserRequest(**expected))
    assert server.requests("UpdateUser") == [wanted]


@pytest.mark.parametrize("words", [[], ["--project", "hr", "--all-projects"]])
def test_update_that_says_nothing_or_two_things_is_misuse(server: ScriptedController, words: list[str]) -> None:
    assert patchctl("users", "update", "lin", *words).exit_code == 2
    assert server.calls == []


def test_disable_and_enable(server: ScriptedController) -> None:
    server.answers["UpdateUser"] = lambda _: pb.UpdateUserResponse(user=LIN)
    assert "patchctl users enable lin" in patchctl("users", "disable", "lin").stderr
    assert patchctl("users", "enable", "lin").exit_code == 0
    asked = server.requests("UpdateUser")
    assert [(r.disabled, list(r.update_mask.paths)) for r in asked] == [(True, ["disabled"]), (False, ["disabled"])]

    def refuse(_: Any) -> Any:
        raise Rejected("nobody disables himself: ask another admin of the account")

    server.answers["UpdateUser"] = refuse
    refused = patchctl("users", "disable", "lin")
    assert (refused.exit_code, refused.stderr) == (
        1,
        "error: nobody disables himself: ask another admin of the account\n",
    )


def test_a_token_is_made_for_oneself_or_for_a_user(server: ScriptedController) -> None:
    server.answers["CreateOperatorToken"] = lambda _: pb.CreateOperatorTokenResponse(token=TOKEN, secret="pwa_secret")
    result = patchctl("tokens", "create", "--own", "--role", "VIEWER", "--lifetime", "30d", "--note", "dashboard")
    assert (result.exit_code, result.stdout) == (0, "pwa_secret\n")
    assert "patchctl login --controller" in result.stderr
    assert patchctl("tokens", "create", "--user", "lin").exit_code == 0
    mine, lins = server.requests("CreateOperatorToken")
    assert (mine.user, mine.role, mine.note, mine.lifetime.seconds) == ("", pb.ROLE_VIEWER, "dashboard", 30 * 86400)
    assert (lins.user, lins.role, lins.HasField("lifetime")) == ("lin", pb.ROLE_UNSPECIFIED, False)
    assert patchctl("tokens", "create", "--user", "lin", "--own").exit_code == 2


def test_the_old_words_for_enrolment_tokens_go_on_to_work_and_never_make_an_operator_s(
    server: ScriptedController,
) -> None:
    made = fleet_pb2.EnrolmentToken(id="E-1", expires_at=ago(hours=-25))
    server.answers["CreateEnrolmentToken"] = lambda _: fleet_pb2.CreateEnrolmentTokenResponse(
        secret="pwe_secret", token=made
    )
    for words in ([], ["--region", "r1", "--tag", "a=b", "--lifetime", "2h"]):
        result = patchctl("tokens", "create", *words)
        assert (result.exit_code, result.stdout) == (0, "pwe_secret\n")
        assert "Better say so: patchctl enrolment create. For yourself: --own" in result.stderr
    bare, placed = server.requests("CreateEnrolmentToken")
    assert (bare.lifetime.seconds, placed.lifetime.seconds) == (86400, 7200)
    assert (placed.placement.region, dict(placed.placement.tags)) == ("r1", {"a": "b"})
    mixed = patchctl("tokens", "create", "--own", "--region", "r1")
    assert (mixed.exit_code, "--region: is for hosts" in mixed.stderr) == (2, True)
    server.answers["RevokeEnrolmentToken"] = lambda _: fleet_pb2.RevokeEnrolmentTokenResponse(token=made)
    assert patchctl("tokens", "revoke", "E-1").stderr == "E-1 is revoked\n"
    assert "--region" not in patchctl("tokens", "create", "--help").stdout
    assert server.requests("CreateOperatorToken") == []


def test_tokens_are_listed_with_their_last_use_and_those_that_ended_only_when_asked_for(
    server: ScriptedController,
) -> None:
    tokens = [
        TOKEN,
        pb.OperatorToken(id="O-2", user="lin", expires_at=ago(days=-3), last_used_at=ago(minutes=5)),
        pb.OperatorToken(id="O-3", user="max", expires_at=ago(days=1)),
        pb.OperatorToken(id="O-4", user="max", revoked_at=ago(hours=2), revoked_by="ann"),
        pb.OperatorToken(id="O-5", user="admin"),
    ]
    server.answers["ListOperatorTokens"] = lambda _: pb.ListOperatorTokensResponse(tokens=tokens)
    result = patchctl("tokens", "list")
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == ["O-1", "O-2", "O-5"]
    assert "never" in result.stdout
    assert "5 m ago" in result.stdout
    assert "does not end" in result.stdout
    assert result.stderr == "3 tokens, 1 ends within 14 days; 2 that have ended are left out (--all)\n"
    everything = patchctl("tokens", "list", "--all", "--user", "max")
    assert "ended 1 d ago" in everything.stdout
    assert "revoked 2 h ago by ann" in everything.stdout
    assert server.requests("ListOperatorTokens")[-1].user == "max"
    assert [t["id"] for t in json.loads(patchctl("tokens", "list", "-o", "json").stdout)] == ["O-1", "O-2", "O-5"]


def test_a_token_is_revoked_by_id(server: ScriptedController) -> None:
    revoked = pb.OperatorToken(id="O-1", user="lin", revoked_at=ago(seconds=0), revoked_by="ann")
    server.answers["RevokeOperatorToken"] = lambda _: pb.RevokeOperatorTokenResponse(token=revoked)
    assert patchctl("tokens", "revoke", "O-1").stderr == "O-1 of lin is revoked\n"


def test_an_account_is_made_with_its_first_admin(server: ScriptedController) -> None:
    server.answers["CreateAccount"] = lambda request: pb.CreateAccountResponse(
        account=request.account,
        admin=pb.User(name=request.admin),
        token=pb.OperatorToken(id="O-9", user=request.admin, role=pb.ROLE_ADMIN),
        secret="pwa_secret",
    )
    result = patchctl("accounts", "create", "acme", "--note", "customer 4711")
    assert result.stdout == "pwa_secret\n"
    assert result.stderr.startswith(
        "Account acme is made, admin@acme is its admin.\nToken O-9 of admin@acme does not end"
    )
    (asked,) = server.requests("CreateAccount")
    assert (asked.account.name, asked.account.note, asked.admin) == ("acme", "customer 4711", "admin@acme")
    server.answers["ListAccounts"] = lambda _: pb.ListAccountsResponse(
        accounts=[pb.Account(name="acme", note="a customer"), pb.Account(name="default", management=True)]
    )
    listed = patchctl("accounts", "list")
    assert "manages the organization" in listed.stdout
    assert listed.stderr == "2 accounts\n"


def test_agencies_are_granted_listed_and_revoked(server: ScriptedController) -> None:
    server.answers["CreateAgency"] = lambda request: pb.CreateAgencyResponse(agency=request.agency)
    result = patchctl(
        *("agency", "create", "nightly", "--trust", "ops", "--permission", "scan", "--until", "2027-06-30")
    )
    assert result.exit_code == 0, result.stderr
    assert "patchctl agency revoke nightly" in result.stderr
    (asked,) = server.requests("CreateAgency")
    assert (asked.agency.name, asked.agency.trusted_account) == ("nightly", "ops")
    assert asked.agency.permission == pb.AGENCY_PERMISSION_SCAN
    assert asked.agency.expires_at.ToDatetime(tzinfo=UTC) == datetime(2027, 7, 1, tzinfo=UTC)
    assert patchctl("agency", "create", "x", "--trust", "y", "--permission", "VIEW", "--until", "soon").exit_code == 2
    agencies = [
        pb.Agency(name="nightly", account="acme", trusted_account="ops", permission=pb.AGENCY_PERMISSION_SCAN),
        pb.Agency(name="old", account="beta", trusted_account="acme", revoked_at=ago(days=1)),
    ]
    server.answers["ListAgencies"] = lambda _: pb.ListAgenciesResponse(agencies=agencies)
    listed = patchctl("agency", "list", "--all")
    assert listed.stdout.splitlines()[1].split()[:6] == ["nightly", "acme", "ops", "SCAN", "does", "not"]
    assert "revoked 1 d ago" in listed.stdout
    assert listed.stderr == "2 agencies\n"
    assert server.requests("ListAgencies")[0].include_ended
    server.answers["RevokeAgency"] = lambda _: pb.RevokeAgencyResponse(agency=agencies[1])
    assert patchctl("agency", "revoke", "old").stderr == "old has ended\n"
