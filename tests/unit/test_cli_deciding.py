"""patchctl baseline with lists and CSV rows, assign, try; patchctl exception."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from common.errors import InvalidArgument, NotFound, Rejected
from common.pb.v1 import baseline_pb2 as pb
from common.pb.v1 import fleet_pb2, types_pb2
from tests.scripted_controller import ScriptedController
from tests.scripted_patchctl import WEB_02, ago, at, logged_in, patchctl, started  # noqa: F401 - fixtures

LISTS_YAML = """\
name: web-strict
scenario: ECS
operating_system: CentOS
rules:
- approve_after_days: 7
approved_patches:
- entry: CVE-2023-0286
  compliance_level: HIGH
- kernel*
rejected_patches:
- entry: telnet
  action: BLOCK
- httpd
"""
CUSTOM_YAML = """\
name: needs-bash
scenario: ECS
operating_system: CentOS
custom_packages:
- name: bash
  version: '4.2'
  release: 34.el7
  compliance_level: CRITICAL
- name: openssl-libs
  version: 1:1.0.2k
  release: 26.el7_9
"""
HEAD_YAML = "name: needs-bash\nscenario: ECS\noperating_system: CentOS\n"
BAD, GOOD, UNKNOWN = (
    types_pb2.INSTANCE_STATUS_NON_COMPLIANT,
    types_pb2.INSTANCE_STATUS_COMPLIANT,
    types_pb2.INSTANCE_STATUS_UNDETERMINED,
)


def storing(server: ScriptedController) -> list[pb.Baseline]:
    stored: list[pb.Baseline] = []

    def create(request: Any) -> Any:
        stored.append(request.baseline)
        return pb.CreateBaselineResponse(baseline=request.baseline)

    server.answers["CreateBaseline"] = create
    server.answers["GetBaseline"] = lambda _: pb.GetBaselineResponse(baseline=stored[-1])
    return stored


# Baselines


@pytest.mark.parametrize("text", [LISTS_YAML, CUSTOM_YAML], ids=["lists", "custom"])
def test_lists_and_custom_packages_go_out_and_come_back_as_the_same_yaml(server: ScriptedController, text: str) -> None:
    stored = storing(server)
    assert patchctl("baseline", "create", "-f", "-", given=text).exit_code == 0
    assert patchctl("baseline", "show", "x", "--output", "yaml").stdout == text
    stored[-1].approved_patches.add(entry="sudo")
    again = patchctl("baseline", "show", "x", "--output", "yaml").stdout
    assert patchctl("baseline", "create", "-f", "-", given=again).exit_code == 0
    assert stored[1] == stored[0]


def test_baseline_show_prints_lists_and_custom_packages(server: ScriptedController) -> None:
    storing(server)
    shown = patchctl("baseline", "create", "-f", "-", given=LISTS_YAML).stdout
    assert re.search(r"approved +CVE-2023-0286 +HIGH\n", shown)
    assert re.search(r"rejected +telnet +BLOCK\n +rejected +httpd +ALLOW_AS_DEPENDENCY", shown)
    assert "version at least" not in shown
    shown = patchctl("baseline", "create", "-f", "-", given=CUSTOM_YAML).stdout
    assert re.search(r"package +version at least +release +level\n +bash +4\.2 +34\.el7 +CRITICAL", shown)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("approved_patches: bash", "approved_patches: must be a list"),
        ("approved_patches: [{name: bash}]", "approved_patches[0].name: unknown; known are entry, compliance_level"),
        ("approved_patches: [a, 7]", "approved_patches[1]: must have keys"),
        ("rejected_patches: [{entry: a, action: BAN}]", "'BAN' is unknown; known are ALLOW_AS_DEPENDENCY, BLOCK"),
        ("custom_packages: [bash]", "custom_packages[0]: must have keys"),
        ("custom_packages: [{name: bash, version: 4.2}]", "custom_packages[0].version: must be a text, put 4.2 in"),
    ],
)
def test_a_file_with_a_wrong_list_names_the_entry(server: ScriptedController, text: str, says: str) -> None:
    result = patchctl("baseline", "create", "-f", "-", given=f"name: x\n{text}\n")
    assert (result.exit_code, server.calls) == (2, [])
    assert says in result.stderr


def test_rows_of_a_csv_file_become_custom_packages(server: ScriptedController, tmp_path: Path) -> None:
    stored = storing(server)
    rows = tmp_path / "rows.csv"
    rows.write_text("name,version,release,level\nbash,4.2,34.el7,critical\nopenssl-libs,1:1.0.2k,26.el7_9,\n")
    result = patchctl("baseline", "create", "-f", "-", "--csv", str(rows), given=HEAD_YAML)
    assert result.exit_code == 0
    assert "patchctl baseline assign or set-default needs-bash makes it decide" in result.stderr
    assert patchctl("baseline", "show", "x", "--output", "yaml").stdout == CUSTOM_YAML
    assert [row.name for row in stored[0].custom_packages] == ["bash", "openssl-libs"]


def test_each_bad_row_of_a_csv_file_is_reported_by_number_and_nothing_is_sent(
    server: ScriptedController, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("name,version,release\n" + "".join(f"p{n},,1\n" for n in range(2, 400)) + "bash,4.2,1\n")
    result = patchctl("baseline", "create", "-f", "-", "--csv", str(rows), given=HEAD_YAML)
    assert (result.exit_code, server.calls) == (2, [])
    assert re.findall(r"^  row (\d+): version", result.stderr, re.MULTILINE) == [str(n) for n in range(2, 400)]
    both = patchctl("baseline", "create", "-f", "-", "--csv", str(rows), given=CUSTOM_YAML)
    assert "give the one or the other" in both.stderr
    assert "stdin cannot be both" in patchctl("baseline", "create", "-f", "-", "--csv", "-", given="").stderr


# Assignments


@pytest.mark.parametrize(
    ("option", "scope"),
    [
        ("--instance", pb.ASSIGNMENT_SCOPE_INSTANCE),
        ("--group", pb.ASSIGNMENT_SCOPE_GROUP),
        ("--project", pb.ASSIGNMENT_SCOPE_PROJECT),
    ],
)
def test_baseline_assign_and_unassign_say_for_whom(
    server: ScriptedController, option: str, scope: pb.AssignmentScope.ValueType
) -> None:
    made = pb.BaselineAssignment(
        scope=scope,
        value="i-1",
        baseline_name="web-strict",
        operating_system="CentOS",
        scenario=types_pb2.RESOURCE_TYPE_ECS,
    )
    server.answers["AssignBaseline"] = lambda _: pb.AssignBaselineResponse(assignment=made)
    server.answers["UnassignBaseline"] = lambda _: pb.UnassignBaselineResponse()
    said = patchctl("baseline", "assign", "web-strict", option, "web")
    assert said.stdout == f"web-strict decides for {option[2:]} web  (CentOS on ECS)\n"
    gone = patchctl("baseline", "unassign", "web-strict", option, "web")
    assert gone.stderr == f"web-strict is no longer assigned to {option[2:]} web\n"
    for method in ("AssignBaseline", "UnassignBaseline"):
        (request,) = server.requests(method)
        assert (request.baseline, request.scope, request.value) == ("web-strict", scope, "web")


@pytest.mark.parametrize("options", [(), ("--group", "a", "--project", "b")])
def test_baseline_assign_needs_exactly_one_to_decide_for(server: ScriptedController, options: tuple[str, ...]) -> None:
    result = patchctl("baseline", "assign", "web-strict", *options)
    assert (result.exit_code, server.calls) == (2, [])
    assert result.stderr == "error: say for whom: one of --instance, --group and --project\n"


def test_a_baseline_that_does_not_fit_is_refused_in_the_controllers_words(server: ScriptedController) -> None:
    def refuse(_: Any) -> Any:
        raise Rejected("web-strict is for CentOS on ECS, but ecs-1 runs EulerOS 2.10 on ECS; choose one that fits")

    server.answers["AssignBaseline"] = refuse
    result = patchctl("baseline", "assign", "web-strict", "-i", "ecs-1")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: web-strict is for CentOS on ECS, but ecs-1 runs EulerOS 2.10")


def test_assignments_come_in_every_format(server: ScriptedController) -> None:
    made = pb.BaselineAssignment(
        scope=pb.ASSIGNMENT_SCOPE_GROUP,
        value="web",
        baseline_id="b-1",
        baseline_name="web-strict",
        scenario=types_pb2.RESOURCE_TYPE_ECS,
        operating_system="CentOS",
        assigned_at=ago(days=2, hours=1),
        assigned_by="ann",
    )
    server.answers["ListAssignments"] = lambda _: pb.ListAssignmentsResponse(assignments=[made])
    result = patchctl("baseline", "assignments")
    assert re.search(r"group +web +web-strict +CentOS +ECS +2 d ago +ann", result.stdout)
    assert result.stderr == "1 assignment\n"
    assert json.loads(patchctl("baseline", "assignments", "-o", "json").stdout)[0]["scope"] == "GROUP"
    (row,) = csv.DictReader(io.StringIO(patchctl("baseline", "assignments", "-o", "csv").stdout))
    assert (row["value"], row["baseline_name"]) == ("web", "web-strict")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("instance", "web-strict v3, assigned to this instance"),
        ("group", "web-strict v3, assigned to group web"),
        ("project", "web-strict v3, assigned to project default"),
        ("default", "web-strict v3, the default"),
    ],
)
def test_R16_instances_show_says_which_baseline_decides_and_why(
    server: ScriptedController, source: str, says: str
) -> None:
    found = fleet_pb2.Instance(baseline_name="web-strict", baseline_version=3, baseline_source=source)
    found.MergeFrom(WEB_02)
    server.answers["GetInstance"] = lambda _: fleet_pb2.GetInstanceResponse(instance=found)
    assert re.search(rf"^  baseline +{says}$", patchctl("instances", "show", "ecs-web-02").stdout, re.MULTILINE)


def test_instances_show_says_when_no_baseline_decides(server: ScriptedController) -> None:
    server.answers["GetInstance"] = lambda _: fleet_pb2.GetInstanceResponse(instance=WEB_02)
    assert "none decides; see patchctl baseline list" in patchctl("instances", "show", "ecs-web-02").stdout


# What-if


def a_change(name: str, before: Any, after: Any, newly: tuple[str, ...] = (), gone: tuple[str, ...] = ()) -> Any:
    return pb.BaselineChange(
        instance_id=f"i-{name}",
        instance_name=name,
        before=before,
        after=after,
        newly_non_compliant=newly,
        no_longer_non_compliant=gone,
    )


TRIED = pb.TryBaselineResponse(
    replaces="CentOS-Default",
    instances=12,
    before=pb.StatusTotals(compliant=7, non_compliant=3, undetermined=2),
    after=pb.StatusTotals(compliant=5, non_compliant=5, undetermined=2),
    changes=[
        a_change("bms-app-02", GOOD, BAD, ("sudo.x86_64",)),
        a_change("ecs-db-01", BAD, GOOD, (), ("httpd.x86_64",)),
        a_change("ecs-web-01", GOOD, BAD, ("bind-libs.i686", "bind-libs.x86_64", "sudo.x86_64")),
        a_change("ecs-web-02", BAD, BAD, ("sudo.x86_64",), ("tar.x86_64",)),
        a_change("ecs-web-05", GOOD, BAD, tuple(f"p{n}.noarch" for n in range(8))),
    ],
)


def test_baseline_try_says_who_would_change_and_that_nothing_was_saved(
    server: ScriptedController, tmp_path: Path
) -> None:
    server.answers["TryBaseline"] = lambda _: TRIED
    file = tmp_path / "stricter.yaml"
    file.write_text(LISTS_YAML)
    result = patchctl("baseline", "try", "-f", str(file), "--region", "cn-hongkong", "--group", "web")
    assert result.stdout.splitlines() == [
        "If stricter.yaml replaced CentOS-Default now:",
        "  12 instances: 7 -> 5 compliant, 3 -> 5 non-compliant, 2 undetermined",
        "  newly non-compliant      bms-app-02 (sudo), ecs-web-01 (bind-libs, sudo), ecs-web-05 (p0, p1, p2, p3, p4 and 3 more)",
        "  no longer non-compliant  ecs-db-01 (httpd)",
        "  more packages            ecs-web-02 (sudo)",
        "  fewer packages           ecs-web-02 (tar)",
    ]
    assert (result.exit_code, result.stderr) == (0, "Nothing was saved.\n")
    (request,) = server.requests("TryBaseline")
    assert (request.baseline.name, len(request.baseline.rejected_patches)) == ("web-strict", 2)
    assert (list(request.selector.regions), list(request.selector.application_groups)) == (["cn-hongkong"], ["web"])
    assert request.selector.all


def test_baseline_try_gives_every_change_in_json_and_csv(server: ScriptedController) -> None:
    server.answers["TryBaseline"] = lambda _: TRIED
    said = json.loads(patchctl("baseline", "try", "-f", "-", "-o", "json", given=LISTS_YAML).stdout)
    assert (said["replaces"], len(said["changes"]), said["after"]["non_compliant"]) == ("CentOS-Default", 5, 5)
    text = patchctl("baseline", "try", "-f", "-", "-o", "csv", given=LISTS_YAML).stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["instance_name"] for row in rows][:2] == ["bms-app-02", "ecs-db-01"]
    assert rows[2]["newly_non_compliant"] == "bind-libs.i686 bind-libs.x86_64 sudo.x86_64"


def test_baseline_try_of_what_changes_nothing_or_decides_for_nobody_says_so(server: ScriptedController) -> None:
    totals = pb.StatusTotals(compliant=1)
    same = pb.TryBaselineResponse(replaces="CentOS-Default", instances=1, before=totals, after=totals)
    server.answers["TryBaseline"] = lambda _: same
    lines = patchctl("baseline", "try", "-f", "-", given=LISTS_YAML).stdout.splitlines()
    assert lines == [
        "If web-strict replaced CentOS-Default now:",
        "  1 instance: 1 compliant, 0 non-compliant, 0 undetermined",
        "  no answer would change",
    ]
    server.answers["TryBaseline"] = lambda _: pb.TryBaselineResponse()
    lines = patchctl("baseline", "try", "-f", "-", given=LISTS_YAML).stdout.splitlines()
    assert lines == ["If web-strict decided now where none does:", "  it would decide for no instance"]


def test_baseline_try_of_a_large_fleet_names_some_and_counts_the_rest(server: ScriptedController) -> None:
    changes = [a_change(f"web-{n:02d}", GOOD, UNKNOWN) for n in range(25)]
    server.answers["TryBaseline"] = lambda _: pb.TryBaselineResponse(replaces="x", instances=25, changes=changes)
    shown = patchctl("baseline", "try", "-f", "-", given=LISTS_YAML).stdout
    assert "newly undetermined  web-00, web-01" in shown
    assert "web-09, and 15 more (see all with --output csv)\n" in shown


# Exceptions


def an_exception(**changes: Any) -> pb.PatchException:
    now = datetime.now(UTC)
    given: dict[str, Any] = {
        "id": "X-7Q4M",
        "scope": pb.EXCEPTION_SCOPE_GROUP,
        "scope_value": "web",
        "match": pb.EXCEPTION_MATCH_PACKAGE,
        "match_value": "kernel*",
        "reason": "the driver is not ready",
        "approver": "ciso",
        "created_at": ago(hours=2, minutes=1),
        "expires_at": at(now + timedelta(days=9, minutes=5)),
    }
    return pb.PatchException(**(given | changes))


@pytest.mark.parametrize(
    ("options", "scope", "match"),
    [
        (("--instance", "web", "--package", "x"), pb.EXCEPTION_SCOPE_INSTANCE, pb.EXCEPTION_MATCH_PACKAGE),
        (("--group", "web", "--advisory", "x"), pb.EXCEPTION_SCOPE_GROUP, pb.EXCEPTION_MATCH_ADVISORY),
        (("--all", "--cve", "x"), pb.EXCEPTION_SCOPE_ALL, pb.EXCEPTION_MATCH_CVE),
    ],
)
def test_exception_create_says_for_whom_what_why_and_until_when(
    server: ScriptedController,
    options: tuple[str, ...],
    scope: pb.ExceptionScope.ValueType,
    match: pb.ExceptionMatch.ValueType,
) -> None:
    server.answers["CreateException"] = lambda r: pb.CreateExceptionResponse(exception=an_exception())
    result = patchctl("exception", "create", *options, "--reason", "why", "--until", "2026-12-31", "--approver", "ciso")
    assert re.search(r"X-7Q4M +group web +kernel\* +ends in 9 d +the driver is not ready +ciso", result.stdout)
    assert result.stderr.startswith("X-7Q4M ends by itself on ")
    sent = server.requests("CreateException")[0].exception
    assert (sent.scope, sent.match, sent.match_value, sent.reason, sent.approver) == (scope, match, "x", "why", "ciso")
    assert sent.scope_value == ("" if scope == pb.EXCEPTION_SCOPE_ALL else "web")
    assert sent.expires_at.ToDatetime(UTC) == datetime(2027, 1, 1, tzinfo=UTC)


def test_days_of_an_exception_count_from_now(server: ScriptedController) -> None:
    server.answers["CreateException"] = lambda r: pb.CreateExceptionResponse(exception=an_exception())
    before = datetime.now(UTC)
    assert patchctl("exception", "create", "--all", "--cve", "x", "--reason", "y", "--days", "180").exit_code == 0
    ends = server.requests("CreateException")[0].exception.expires_at.ToDatetime(UTC)
    assert timedelta(minutes=-1) < ends - before - timedelta(days=180) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--cve", "x", "--days", "1"), "say for whom: one of --instance, --group and --all"),
        (("--all", "--group", "a", "--cve", "x", "--days", "1"), "say for whom"),
        (("--all", "--days", "1"), "say what is excused: one of --package, --advisory and --cve"),
        (("--all", "--cve", "x"), "say when it ends: --days N or --until DATE"),
        (("--all", "--cve", "x", "--days", "1", "--until", "2026-12-31"), "say when it ends"),
        (("--all", "--cve", "x", "--until", "soon"), "'soon' is not a date, write it like 2026-12-31"),
        (("--all", "--cve", "x", "--until", "9999-12-31"), "is not a date"),
    ],
)
def test_an_exception_that_cannot_mean_anything_is_misuse(
    server: ScriptedController, options: tuple[str, ...], says: str
) -> None:
    result = patchctl("exception", "create", "--reason", "why", *options)
    assert (result.exit_code, server.calls) == (2, [])
    assert says in result.stderr


def test_the_limits_of_an_exception_are_the_controllers(server: ScriptedController) -> None:
    def refuse(_: Any) -> Any:
        raise InvalidArgument.of("exception.expires_at", "2027-12-31 00:00 UTC is too late, allowed are 180 days")

    server.answers["CreateException"] = refuse
    result = patchctl("exception", "create", "--all", "--cve", "x", "--reason", "y", "--days", "400")
    assert (result.exit_code, "expires_at: 2027-12-31 00:00 UTC is too late" in result.stderr) == (1, True)


def test_exceptions_are_listed_and_revoked(server: ScriptedController) -> None:
    ended = an_exception(id="X-2", expires_at=ago(days=1, hours=1))
    revoked = an_exception(id="X-3", revoked_at=ago(minutes=5))
    answer = pb.ListExceptionsResponse(exceptions=[an_exception(scope=pb.EXCEPTION_SCOPE_ALL, scope_value="")])
    server.answers["ListExceptions"] = lambda r: (
        pb.ListExceptionsResponse(exceptions=[ended, revoked]) if r.include_ended else answer
    )
    server.answers["RevokeException"] = lambda _: pb.RevokeExceptionResponse(exception=revoked)
    listed = patchctl("exception", "list")
    assert re.search(r"X-7Q4M +all +kernel\* +ends in 9 d .* ciso +2 h ago", listed.stdout)
    assert listed.stderr == "1 exception, 1 ends within 14 days\n"
    everything = patchctl("exception", "list", "--all")
    assert everything.stderr == "2 exceptions\n"
    assert re.search(r"X-2 .*ended 1 d ago", everything.stdout)
    assert re.search(r"X-3 .*revoked 5 m ago", everything.stdout)
    (row,) = json.loads(patchctl("exception", "list", "-o", "json").stdout)
    assert (row["match"], row["revoked_at"]) == ("PACKAGE", None)
    assert patchctl("exception", "revoke", "X-3").stderr == "X-3 has ended\n"

    def missing(_: Any) -> Any:
        raise NotFound("exception", "X-9", "list them: patchctl exception list --all")

    server.answers["RevokeException"] = missing
    assert patchctl("exception", "revoke", "X-9").exit_code == 1
