"""patchctl instances, tokens and baseline against a scripted controller."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.pb.v1 import baseline_pb2, fleet_pb2, types_pb2
from controller.client.specs import duration_of
from tests.scripted_controller import ScriptedController
from tests.scripted_patchctl import (  # noqa: F401 - fixtures
    FAILED_RUN,
    WEB_02,
    a_report,
    a_summary,
    a_ticket,
    ago,
    at,
    instances,
    logged_in,
    patchctl,
    started,
)


def test_instances_list_sends_every_filter(server: ScriptedController) -> None:
    server.answers["ListInstances"] = instances()
    options = (
        "--region r1 --region r2 --zone a --project p --resource-type bms --group web --name w* --tag k=v --os C*"
        " --account acme --cluster cce-1 --ip 10.0.0.0/16 --agent online --agent none --compliance non_compliant --report-older 26h"
        " --report-newer 7d --lifecycle quarantined --view cmdb_resources --stale"
    )
    assert patchctl("instances", "list", *options.split(), "-o", "json", "--selectable").exit_code == 0
    (request,) = server.requests("ListInstances")
    assert request.selectable_only
    assert request.selector == fleet_pb2.Selector(
        all=True,
        regions=["r1", "r2"],
        zones=["a"],
        enterprise_projects=["p"],
        resource_types=[types_pb2.RESOURCE_TYPE_BMS],
        application_groups=["web"],
        names=["w*"],
        tags=["k=v"],
        operating_systems=["C*"],
        accounts=["acme"],
        clusters=["cce-1"],
        addresses=["10.0.0.0/16"],
        agent_states=[types_pb2.AGENT_STATE_ONLINE, types_pb2.AGENT_STATE_UNSPECIFIED],
        statuses=[types_pb2.INSTANCE_STATUS_NON_COMPLIANT],
        report_older_than=duration_of(timedelta(hours=26)),
        report_newer_than=duration_of(timedelta(days=7)),
        lifecycles=[fleet_pb2.LIFECYCLE_QUARANTINED, fleet_pb2.LIFECYCLE_STALE],
        view=fleet_pb2.VIEW_CMDB_RESOURCES,
    )


def test_selectable_says_of_all_others_which_condition_fails_and_what_to_do(server: ScriptedController) -> None:
    offline = fleet_pb2.Instance(
        id="i-3",
        name="ecs-db-03",
        not_selectable=types_pb2.NOT_SELECTABLE_REASON_AGENT,
        not_selectable_help="UniAgent OFFLINE since 12:04; start it: systemctl start uniagent",
    )

    def listed(request: fleet_pb2.ListInstancesRequest) -> fleet_pb2.ListInstancesResponse:
        found = [offline] if request.not_selectable_only else [fleet_pb2.Instance(id="i-1", name="ecs-web-01")]
        return fleet_pb2.ListInstancesResponse(instances=found, total_size=1)

    server.answers["ListInstances"] = listed
    result = patchctl("instances", "list", "--selectable")
    assert "ecs-web-01" in result.stdout
    assert "ecs-db-03" not in result.stdout
    assert "Not selectable: 1" in result.stderr
    why = result.stderr.splitlines()[-1]
    assert why.split("  ")[1:] != []
    for part in ("ecs-db-03", "AGENT", "UniAgent OFFLINE since 12:04", "start it: systemctl start uniagent"):
        assert part in why
    only = patchctl("instances", "list", "--not-selectable")
    assert "start it: systemctl start uniagent" in only.stdout
    assert only.stderr == "1 instance not selectable\n"
    assert patchctl("instances", "list", "--selectable", "--not-selectable").exit_code == 2


def test_an_instance_in_quarantine_is_shown_with_the_others_and_how_to_mend_it(server: ScriptedController) -> None:
    shown = fleet_pb2.Instance(
        id="i-1",
        name="ecs-web-01",
        lifecycle=fleet_pb2.LIFECYCLE_QUARANTINED,
        quarantine=fleet_pb2.Quarantine(
            cause=fleet_pb2.QUARANTINE_CAUSE_MACHINE_ID,
            since=ago(minutes=4),
            other_instance_ids=["i-2"],
            addresses=["10.0.0.1", "10.0.0.2"],
            help=["Do this.", "Then that."],
        ),
    )
    server.answers["GetInstance"] = lambda _: fleet_pb2.GetInstanceResponse(instance=shown)
    lines = patchctl("instances", "show", "ecs-web-01").stdout.splitlines()
    assert lines[-4].startswith("In quarantine since 4 m")
    assert lines[-4].endswith("more than one host has its machine id; they spoke from 10.0.0.1, 10.0.0.2")
    assert lines[-3:] == ["  the others      i-2", "  1. Do this.", "  2. Then that."]


@pytest.mark.parametrize(
    ("command", "method", "request_", "answer"),
    [
        ("retire web-01 --yes", "RetireInstance", {"instance": "web-01"}, fleet_pb2.RetireInstanceResponse),
        ("restore web-01", "RestoreInstance", {"instance": "web-01"}, fleet_pb2.RestoreInstanceResponse),
        ("release web-01", "ReleaseInstance", {"instance": "web-01"}, fleet_pb2.ReleaseInstanceResponse),
        ("merge a --into b -y", "MergeInstance", {"instance": "a", "into": "b"}, fleet_pb2.MergeInstanceResponse),
    ],
)
def test_operators_end_and_begin_parts_of_an_instances_life(
    server: ScriptedController, command: str, method: str, request_: dict[str, str], answer: Any
) -> None:
    server.answers[method] = lambda _: answer(instance=WEB_02)
    result = patchctl("instances", *command.split())
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("ecs-web-02  UNDETERMINED")
    (sent,) = server.requests(method)
    assert {field: getattr(sent, field) for field in request_} == request_


def test_who_cannot_be_asked_must_agree_beforehand_to_what_shuts_an_agent_out(server: ScriptedController) -> None:
    for command in ("retire web-01", "merge a --into b"):
        assert patchctl("instances", *command.split()).exit_code == 2
    assert server.requests("RetireInstance") == server.requests("MergeInstance") == []


def test_instances_come_in_every_format(server: ScriptedController) -> None:
    server.answers["ListInstances"] = instances(WEB_02, fleet_pb2.Instance(id="i-2", name="b"))
    table = patchctl("instances", "list")
    assert table.stdout.splitlines()[1].startswith("ecs-web-02  UNDETERMINED REPO_ERROR  OFFLINE")
    assert table.stderr == "2 instances\n"
    first = json.loads(patchctl("instances", "list", "-o", "json").stdout)[0]
    assert first == yaml.safe_load(patchctl("instances", "list", "-o", "yaml").stdout)[0]
    assert first["status"] == "UNDETERMINED"
    assert first["reasons"] == ["REPO_ERROR"]
    assert first["tags"] == {"canary": "", "env": "prod"}
    assert first["operating_system"]["product"] == "CentOS 7.9"
    assert first["agent_since"] is None
    assert first["stopped"] is False
    rows = list(csv.DictReader(io.StringIO(patchctl("instances", "list", "-o", "csv").stdout)))
    assert rows[0]["operating_system.product"] == "CentOS 7.9"
    assert rows[0]["tags"] == "canary= env=prod"
    assert rows[1]["status"] == ""


def test_a_cell_that_looks_like_a_formula_is_no_formula_in_csv(server: ScriptedController) -> None:
    server.answers["ListInstances"] = instances(fleet_pb2.Instance(id="i-1", name="=HYPERLINK(1)"))
    rows = list(csv.DictReader(io.StringIO(patchctl("instances", "list", "-o", "csv").stdout)))
    assert rows[0]["name"] == "'=HYPERLINK(1)"


def test_instances_show_says_why_it_cannot_be_selected(server: ScriptedController) -> None:
    server.answers["GetInstance"] = lambda _: fleet_pb2.GetInstanceResponse(instance=WEB_02)
    assert "systemctl start uniagent" in patchctl("instances", "show", "ecs-web-02").stdout


def test_instances_tag_and_set_write_what_was_given(server: ScriptedController) -> None:
    server.answers["GetInstance"] = lambda _: fleet_pb2.GetInstanceResponse(instance=WEB_02)
    server.answers["UpdateInstance"] = lambda r: fleet_pb2.UpdateInstanceResponse(instance=r.values)
    assert patchctl("instances", "tag", "web", "team=a=b", "--remove", "env").exit_code == 0
    assert patchctl("instances", "set", "web", "--group", "db", "--stopped").exit_code == 0
    tagged, changed = server.requests("UpdateInstance")
    assert dict(tagged.values.tags) == {"canary": "", "team": "a=b"}
    assert sorted(changed.update_mask.paths) == ["application_group", "stopped"]
    assert patchctl("instances", "set", "web").exit_code == 2
    assert patchctl("instances", "tag", "web").exit_code == 2
    assert patchctl("instances", "tag", "web", "=x").exit_code == 2


def test_deleting_needs_a_yes_where_nobody_can_be_asked(server: ScriptedController) -> None:
    server.answers["DeleteInstance"] = lambda _: fleet_pb2.DeleteInstanceResponse()
    assert patchctl("instances", "delete", "web").exit_code == 2
    assert server.calls == []
    assert patchctl("instances", "delete", "web", "--yes").exit_code == 0
    assert server.requests("DeleteInstance")[0].instance == "web"


def test_enrolment_create_prints_the_secret_and_settings_that_the_agent_reads(
    server: ScriptedController, tmp_path: Path
) -> None:
    from uniagent.settings import load

    token = fleet_pb2.EnrolmentToken(id="e-1", expires_at=ago(hours=-25))
    server.answers["CreateEnrolmentToken"] = lambda _: fleet_pb2.CreateEnrolmentTokenResponse(
        secret="pwe_secret", token=token
    )
    result = patchctl("enrolment", "create", "--region", "r1", "--tag", "a=b", "--lifetime", "2h")
    assert result.stdout == "pwe_secret\n"
    snippet = "\n".join(line for line in result.stderr.splitlines() if line.startswith("  "))
    (tmp_path / "uniagent.toml").write_text(re.sub(r"(?m)^  ", "", snippet))
    settings = load(tmp_path / "uniagent.toml")
    assert (settings.controller, settings.token, settings.join) == (server.address, "pwe_secret", tmp_path / "join.pem")
    (request,) = server.requests("CreateEnrolmentToken")
    assert (request.placement.region, dict(request.placement.tags), request.lifetime.seconds) == (
        "r1",
        {"a": "b"},
        7200,
    )
    as_json = json.loads(patchctl("enrolment", "create", "--output", "json").stdout)
    assert as_json["secret"] == "pwe_secret"
    assert as_json["token"]["id"] == "e-1"
    assert patchctl("enrolment", "create", "--lifetime", "soon").exit_code == 2


def test_enrolment_list_says_what_became_of_each(server: ScriptedController) -> None:
    tokens = [
        fleet_pb2.EnrolmentToken(id="e-1", used_at=ago(hours=3), used_by_instance_id="i-9", created_at=ago(days=1)),
        fleet_pb2.EnrolmentToken(id="e-2", revoked_at=ago(days=2), created_at=ago(days=3)),
        fleet_pb2.EnrolmentToken(id="e-3", expires_at=ago(hours=-5, minutes=-1), created_at=ago(days=1)),
        fleet_pb2.EnrolmentToken(id="e-4", expires_at=ago(hours=5), created_at=ago(days=1)),
    ]
    server.answers["ListEnrolmentTokens"] = lambda _: fleet_pb2.ListEnrolmentTokensResponse(tokens=tokens)
    shown = patchctl("enrolment", "list").stdout
    for words in ("used 3 h ago by i-9", "revoked 2 d ago", "ends in 5 h", "ended 5 h ago"):
        assert words in shown
    server.answers["RevokeEnrolmentToken"] = lambda _: fleet_pb2.RevokeEnrolmentTokenResponse(token=tokens[1])
    assert patchctl("enrolment", "revoke", "e-2").stderr == "e-2 is revoked\n"


BASELINE_YAML = """\
name: web-strict
description: For the web tier
scenario: ECS
operating_system: CentOS
rules:
- products:
  - CentOS 7.9
  categories:
  - SECURITY
  severities:
  - CRITICAL
  - IMPORTANT
  approve_after_days: 0
  date_basis: UPDATED
  compliance_level: HIGH
- approve_until: '2026-11-01'
  include_without_advisory: true
"""


def test_a_baseline_goes_out_and_comes_back_as_the_same_yaml(server: ScriptedController, tmp_path: Path) -> None:
    stored: list[baseline_pb2.Baseline] = []

    def create(request: Any) -> Any:
        stored.append(request.baseline)
        return baseline_pb2.CreateBaselineResponse(baseline=request.baseline)

    server.answers["CreateBaseline"] = create
    server.answers["GetBaseline"] = lambda _: baseline_pb2.GetBaselineResponse(baseline=stored[-1])
    file = tmp_path / "b.yaml"
    file.write_text(BASELINE_YAML)
    assert patchctl("baseline", "create", "-f", str(file)).exit_code == 0
    assert patchctl("baseline", "show", "web-strict", "--output", "yaml").stdout == BASELINE_YAML
    assert stored[0].rules[0].WhichOneof("approval") == "approve_after_days"
    shown = patchctl("baseline", "show", "web-strict").stdout
    assert "rule 1  HIGH  SECURITY, CRITICAL or IMPORTANT, of CentOS 7.9, 0 days after update" in shown
    assert patchctl("baseline", "create", "-f", "-", given=BASELINE_YAML.lower()).exit_code == 0
    assert json.loads(patchctl("baseline", "show", "x", "-o", "json").stdout)["rules"][1]["approve_after_days"] is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: x\nrulez: []", "rulez: unknown; known are name"),
        ("name: x\nrules: [{product: [All], colour: red}]", "rules[0].product, rules[0].colour: unknown"),
        ("name: x\nrules: [{}, {categories: [Fun]}]", "rules[1].categories[0]: 'Fun' is unknown; known are SECURITY"),
        ("name: on", "name: must be a text, put True in quotes"),
        ("name: x\nrules: [{approve_after_days: soon}]", "rules[0].approve_after_days: 'soon' is not a number of days"),
        ("name: x\nrules: [{approve_after_days: -1}]", "allowed 0 to 365"),
        ("name: x\nrules: [{approve_after_days: 1, approve_until: 2026-01-01}]", "not both"),
        ("name: x\nrules: [{include_without_advisory: perhaps}]", "must be true or false"),
        ("name: x\nrules: yes", "rules: must be a list"),
        ("- a", "the file: must have keys"),
        ("", "the file: must have keys, as in name: ...; it is empty; known are name, description, scenario"),
        ("a: [", "--file: stdin is not YAML: line 1, column 5: "),
        (
            "name: x\nrules: []\nrules: []",
            "--file: stdin is not YAML: line 3, column 1: 'rules' stands twice in one table",
        ),
        ("!!python/object/apply:os.getpid []", "--file: stdin is not YAML: line 1, column 1: "),
        ("name: x\nrules: [{approve_until: 2026-02-31}]", "--file: stdin is not YAML: day is out of range for month"),
        ("[" * 5000, "--file: stdin is not YAML: it is nested too deeply"),
    ],
)
def test_a_baseline_file_that_is_wrong_names_the_key(server: ScriptedController, text: str, says: str) -> None:
    result = patchctl("baseline", "create", "-f", "-", given=text)
    assert (result.exit_code, server.calls) == (2, [])
    assert result.stderr.startswith("error: ")
    assert says in result.stderr


def test_a_number_of_days_out_of_range_is_for_the_controller_to_refuse(server: ScriptedController) -> None:
    server.answers["CreateBaseline"] = lambda r: baseline_pb2.CreateBaselineResponse(baseline=r.baseline)
    assert patchctl("baseline", "create", "-f", "-", given="name: x\nrules: [{approve_after_days: 400}]").exit_code == 0
    assert server.requests("CreateBaseline")[0].baseline.rules[0].approve_after_days == 400


def test_baseline_list_set_default_and_delete(server: ScriptedController) -> None:
    preset = baseline_pb2.Baseline(
        id="b", name="CentOS-Default", operating_system="CentOS", version=3, public=True, is_default=True
    )
    server.answers["ListBaselines"] = lambda _: baseline_pb2.ListBaselinesResponse(baselines=[preset])
    server.answers["SetDefaultBaseline"] = lambda _: baseline_pb2.SetDefaultBaselineResponse(baseline=preset)
    server.answers["DeleteBaseline"] = lambda _: baseline_pb2.DeleteBaselineResponse()
    shown = patchctl("baseline", "list", "--scenario", "ecs").stdout
    assert re.search(r"CentOS-Default +CentOS +3 +default +public", shown)
    assert patchctl("baseline", "set-default", "b").stdout.startswith("CentOS-Default v3")
    assert patchctl("baseline", "delete", "b", "-y").stderr == "b is deleted\n"
