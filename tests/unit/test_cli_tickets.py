"""patchctl scan and ticket against a scripted controller."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from common.errors import InvalidArgument, Violation
from common.pb.v1 import fleet_pb2
from common.pb.v1 import ticket_pb2 as pb
from tests.scripted_controller import ScriptedController, paged
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


def made(request: Any) -> pb.CreateTicketResponse:
    left_out = pb.NotSelectable(instance_name="ecs-db-03", explanation="UniAgent OFFLINE since 12:04", help="start it")
    return pb.CreateTicketResponse(ticket=a_ticket(pb.TICKET_STATE_PROCESSING), not_selectable=[left_out])


def test_scan_create_sends_every_option(server: ScriptedController) -> None:
    server.answers["CreateTicket"] = made
    options = (
        "--all --region r --baseline strict --timeout 90s --batch auto --batch-size 20 --group-share 30 --ramp 1,2,5 "
        "--max-in-flight 7 --success-rate 99.5 --literal --ignore-unreachable --unreachable-after 2m --title nightly --request-id k "
        "--canary 5% --canary-wait --soak 10m --ticket-timeout 3h --offline-wait 8h"
    )
    result = patchctl("scan", "create", *options.split())
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "T-7Q4M\n"
    assert "ecs-db-03  UniAgent OFFLINE since 12:04  start it" in result.stderr
    (request,) = server.requests("CreateTicket")
    spec = request.spec
    assert (request.request_id, spec.name, spec.baseline, spec.timeout.seconds) == ("k", "nightly", "strict", 90)
    assert spec.selector == fleet_pb2.Selector(all=True, regions=["r"])
    policy = spec.batch_policy
    assert (policy.kind, policy.batch_size, policy.group_share_percent) == (pb.BATCH_POLICY_KIND_AUTO_BATCH, 20, 30)
    assert list(policy.ramp) == [1, 2, 5]
    assert policy.canary == pb.Canary(percent=5, wait=True)
    assert (policy.soak.seconds, spec.ticket_timeout.seconds, spec.offline.wait.seconds) == (600, 10_800, 28_800)
    assert (spec.max_in_flight, spec.unreachable_after.seconds) == (7, 120)
    assert spec.suspension_policy == pb.SuspensionPolicy(
        success_rate_tenths=995, mode=pb.SUSPENSION_MODE_LITERAL, ignore_unreachable=True
    )


def test_a_success_rate_out_of_range_is_refused_in_the_controllers_words(server: ScriptedController) -> None:
    sentence = "101 is out of range, allowed 0.0 to 100.0 with one decimal"

    def refuse(_: Any) -> Any:
        raise InvalidArgument((Violation("success_rate", sentence), Violation("timeout", "is too short")))

    server.answers["CreateTicket"] = refuse
    result = patchctl("scan", "create", "--all", "--success-rate", "101")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"error: success_rate: {sentence}\nerror: timeout: is too short\n"
    assert server.requests("CreateTicket")[0].spec.suspension_policy.success_rate_tenths == 1010


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--success-rate 99.55", "error: success_rate: 99.55 has more than one decimal"),
        ("--success-rate many", "error: success_rate: 'many' is not a number"),
        ("--success-rate -1", "error: success_rate: -1 is out of range, allowed 0.0 to 100.0 with one decimal"),
        ("--timeout soon", "error: --timeout: 'soon' is not a duration"),
        ("--ramp 1,x", "error: --ramp: '1,x' is not a list of whole numbers"),
        ("--batch manual", "error: --batch: manual needs --batches FILE"),
        ("--batches /nonexistent/file", "error: --batches: /nonexistent/file cannot be read: No such file"),
        ("--batches - --batch none", "error: --batches: goes with --batch manual"),
        ("--canary some", "error: --canary: 'some' is not a number of instances"),
        ("--canary-wait", "error: --canary-wait: goes with --canary"),
        ("--offline-until soon", "error: --offline-until: 'soon' is not a date"),
        ("--batch-size -1", ""),
        ("--batch sometimes", ""),
    ],
)
def test_what_cannot_be_sent_is_a_misuse(server: ScriptedController, options: str, says: str) -> None:
    result = patchctl("scan", "create", "--all", *options.split(), given="a b")
    assert (result.exit_code, server.calls) == (2, [])
    assert result.stderr.startswith(says)


@pytest.mark.parametrize(
    "text", ["a b\n# first\n\nc, d\n", "- [a, b]\n- [c, d]\n", "- a b\n- c d\n", "[[a, b], [c, d]]"]
)
def test_batches_by_hand_are_lines_or_yaml_and_name_the_targets(server: ScriptedController, text: str) -> None:
    server.answers["Preview"] = lambda _: pb.PreviewResponse()
    assert patchctl("scan", "preview", "--batches", "-", given=text).exit_code == 0
    spec = server.requests("Preview")[0].spec
    assert spec.batch_policy.kind == pb.BATCH_POLICY_KIND_MANUAL_BATCH
    assert [list(b.instances) for b in spec.batch_policy.batches] == [["a", "b"], ["c", "d"]]
    assert list(spec.selector.instances) == ["a", "b", "c", "d"]


def test_scan_create_works_across_accounts_and_says_which_are_left_out(server: ScriptedController) -> None:
    refused = pb.RefusedAccount(
        account="acme", agency="scans", sentence="the account acme grants ops no agency scans; grant it"
    )
    ticket = a_ticket(pb.TICKET_STATE_PROCESSING)
    ticket.refused_accounts.append(refused)
    ticket.spec.execution_accounts.add(account="acme", agency="scans")
    server.answers["CreateTicket"] = lambda _: pb.CreateTicketResponse(ticket=ticket)
    server.answers["GetTicket"] = lambda _: pb.GetTicketResponse(ticket=ticket)
    server.answers["ListRuns"] = lambda _: pb.ListRunsResponse()
    options = "--all --execution-account ops --execution-account acme=scans --go-on-without-agency"
    result = patchctl("scan", "create", *options.split())
    assert result.exit_code == 0, result.stderr
    assert "Nothing of the account acme: the account acme grants ops no agency scans; grant it" in result.stderr
    (request,) = server.requests("CreateTicket")
    assert [(e.account, e.agency) for e in request.spec.execution_accounts] == [("ops", ""), ("acme", "scans")]
    assert request.spec.go_on_without_agency
    shown = patchctl("ticket", "show", "T-7Q4M").stdout
    assert "  Across accounts: acme by the agency scans\n  Nothing of the account acme: " in shown
    wrong = patchctl("scan", "create", "--all", "--execution-account", "=scans")
    assert (wrong.exit_code, "write ACCOUNT=AGENCY" in wrong.stderr) == (2, True)


def test_scan_preview_shows_batches_baselines_the_stop_and_who_is_left_out(server: ScriptedController) -> None:
    spec = a_ticket().spec
    answer = pb.PreviewResponse(
        targets=6,
        executed_by="root",
        stops_at=3,
        spec=spec,
        batches=[
            pb.PlannedBatch(
                number=1, region="cn-hongkong", zone="a", application_group="billing", instance_names=["b-1", "b-2"]
            ),
            pb.PlannedBatch(
                number=2,
                region="cn-hongkong",
                zone="a",
                application_group="web",
                instance_names=[f"w-{n}" for n in range(1, 5)],
            ),
        ],
        baselines=[pb.BaselineUse(product="CentOS 7.9", baseline_name="CentOS-Default", instances=6)],
        not_selectable=[pb.NotSelectable(instance_name="db-3", explanation="UniAgent OFFLINE", help="start it")],
    )
    server.answers["Preview"] = lambda _: answer
    result = patchctl("scan", "preview", "--all")
    assert result.stdout.splitlines() == [
        "Scan of 6 instances in 2 batches, as root, timeout 10 m each",
        "  batch  region       zone  application  instances",
        "      1  cn-hongkong  a     billing      b-1, b-2   (2)",
        "      2  cn-hongkong  a     web          w-1 … w-4  (4)",
        "Baselines  CentOS 7.9: CentOS-Default (6)",
        "Stops at the 3rd failed instance (80 % of 6).",
        "Not selectable: 1",
        "  instance  matter            help",
        "  db-3      UniAgent OFFLINE  start it",
    ]
    assert result.stderr == "Run it with: patchctl scan create (same options)\n"
    assert json.loads(patchctl("scan", "preview", "--all", "-o", "json").stdout)["stops_at"] == 3


def test_the_batches_of_a_preview_go_into_a_file_that_is_read_again(server: ScriptedController, tmp_path: Path) -> None:
    answer = pb.PreviewResponse(
        targets=3,
        spec=a_ticket().spec,
        batches=[
            pb.PlannedBatch(number=1, region="cn", instance_ids=["i-1"], instance_names=["w-1"], canary=True),
            pb.PlannedBatch(number=2, instance_ids=["i-2", "i-3"], instance_names=["w-2", "w\n- 3"]),
        ],
    )
    server.answers["Preview"] = lambda _: answer
    file = tmp_path / "batches.yaml"
    saved = patchctl("scan", "preview", "--all", "--canary", "1", "--save-batches", str(file))
    assert saved.exit_code == 0, saved.stderr
    assert f"Edit {file}, then: patchctl scan create (same options) --batches {file}" in saved.stderr
    assert file.read_text().splitlines() == [
        "# 3 instances in 2 batches, in the order in which they run. Move lines, split batches or merge them;",
        "# every instance stands in exactly one batch. An id or a name is an entry, what follows # is a remark.",
        f"# Then: patchctl scan create (same options) --batches {file} --canary first",
        "- # batch 1, 1 instance: the canary · cn",
        '  - "i-1"  # w-1',
        "- # batch 2, 2 instances",
        '  - "i-2"  # w-2',
        '  - "i-3"  # w\\n- 3',
    ]
    server.answers["CreateTicket"] = made
    created = patchctl("scan", "create", "--all", "--batches", str(file), "--canary", "first")
    assert created.exit_code == 0, created.stderr
    policy = server.requests("CreateTicket")[0].spec.batch_policy
    assert [list(b.instances) for b in policy.batches] == [["i-1"], ["i-2", "i-3"]]
    assert policy.canary == pb.Canary()
    assert policy.HasField("canary")
    assert patchctl("scan", "preview", "--all", "--save-batches", str(tmp_path)).exit_code == 2


def test_what_a_ticket_and_its_runs_wait_for_is_said(server: ScriptedController) -> None:
    ticket = a_ticket(pb.TICKET_STATE_PROCESSING, waiting_for=pb.TICKET_WAIT_OTHER_TICKETS, waiting_runs=1)
    run = pb.Run(id="x", batch=1, instance_id="i-1", instance_name="w-1", state=pb.RUN_STATE_READY, waits_for="T-9")
    server.answers["GetTicket"] = lambda _: pb.GetTicketResponse(ticket=ticket)
    server.answers["ListRuns"] = lambda _: pb.ListRunsResponse(runs=[run])
    shown = patchctl("ticket", "show", "T-1").stdout
    assert "waits for other tickets on 1 instance" in shown
    assert "waits for T-9 on this instance" in shown
    finished = a_ticket(pb.TICKET_STATE_FINISHED)
    server.answers["Watch"] = lambda _: iter(
        [pb.WatchResponse(ticket=ticket, waiting=[run]), pb.WatchResponse(ticket=finished)]
    )
    watched = patchctl("ticket", "watch", "T-1").stdout
    assert "batch 1  w-1 waits for T-9 on this instance" in watched


def test_the_log_of_a_run_has_its_steps_with_their_times(server: ScriptedController) -> None:
    steps = [pb.RunStep(attempt=1, name="queued"), pb.RunStep(attempt=1, name="promised")]
    for second, step in enumerate(steps):
        step.at.seconds = 1_764_000_000 + 2 * second
    run = pb.Run(batch=1, instance_name="w-1", state=pb.RUN_STATE_PROCESSING)
    server.answers["GetRunLog"] = lambda _: pb.GetRunLogResponse(run=run, steps=steps)
    assert patchctl("ticket", "log", "T-1", "w-1").stdout.splitlines() == [
        "w-1  batch 1  PROCESSING",
        "  try  step      at                       after",
        "    1  queued    2025-11-24 16:00:00.000",
        "    1  promised  2025-11-24 16:00:02.000  2.0 s",
    ]
    assert server.requests("GetRunLog") == [pb.GetRunLogRequest(ticket_id="T-1", instance="w-1")]
    assert len(json.loads(patchctl("ticket", "log", "T-1", "w-1", "-o", "json").stdout)["steps"]) == 2


def watching(*messages: pb.WatchResponse) -> Any:
    return lambda _: iter(messages)


def test_watching_writes_a_line_for_each_change_and_ends_with_the_tickets_answer(server: ScriptedController) -> None:
    running = a_ticket(
        pb.TICKET_STATE_PROCESSING,
        batches=[
            pb.Batch(number=1, state=pb.BATCH_STATE_PROCESSING, counts=pb.RunCounts(processing=2)),
            pb.Batch(number=2, state=pb.BATCH_STATE_READY, counts=pb.RunCounts(ready=2)),
        ],
        counts=pb.RunCounts(processing=2, ready=2),
    )
    ended = a_ticket(pb.TICKET_STATE_ABNORMAL, abnormal_cause=pb.ABNORMAL_CAUSE_ENDED_WITH_FAILURES)
    server.answers["GetTicket"] = lambda _: pb.GetTicketResponse(ticket=running)
    server.answers["Watch"] = watching(
        pb.WatchResponse(ticket=running), pb.WatchResponse(ticket=ended, failed=[FAILED_RUN])
    )
    result = patchctl("ticket", "watch", "T-7Q4M")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "12:31:07  T-7Q4M scan  PROCESSING  0/4  ok 0  failed 0 (stops at 3)",
        "12:31:07  batch 1/2  PROCESSING  0/2",
        "12:31:07  batch 2  ecs-web-04 TIMEOUT: agent lost at 12:31:07",
        "12:31:07  batch 1/2  FINISHED  2/2  cn-hongkong a web",
        "12:31:07  batch 2/2  ABNORMAL  2/2",
        "12:31:07  T-7Q4M scan  ABNORMAL  ENDED_WITH_FAILURES  4/4  ok 3  failed 1 (stops at 3)",
    ]
    assert "try again     patchctl ticket retry T-7Q4M" in result.stderr


@pytest.mark.parametrize(
    ("state", "code"), [(pb.TICKET_STATE_FINISHED, 0), (pb.TICKET_STATE_ABNORMAL, 1), (pb.TICKET_STATE_CANCELED, 1)]
)
def test_the_exit_code_of_a_watched_scan_says_how_it_ended(
    server: ScriptedController, state: pb.TicketState.ValueType, code: int
) -> None:
    server.answers["CreateTicket"] = made
    server.answers["Watch"] = watching(pb.WatchResponse(ticket=a_ticket(state)))
    result = patchctl("scan", "create", "--all", "--watch", "--output", "json")
    assert result.exit_code == code
    assert json.loads(result.stdout)["counts"]["succeeded"] == 3


def test_ticket_show_has_batches_and_runs(server: ScriptedController) -> None:
    server.answers["GetTicket"] = lambda _: pb.GetTicketResponse(ticket=a_ticket(note="lunch"))
    server.answers["ListRuns"] = lambda _: pb.ListRunsResponse(runs=[FAILED_RUN])
    shown = patchctl("ticket", "show", "T-7Q4M", "--batch", "2", "--state", "abnormal").stdout
    assert "stops at the 3rd failed instance (80 %)" in shown
    assert re.search(r"2 +ecs-web-04 +ABNORMAL +TIMEOUT +1 +agent lost at 12:31:07", shown)
    (request,) = server.requests("ListRuns")
    assert (request.batch, list(request.states)) == (2, [pb.RUN_STATE_ABNORMAL])
    as_json = json.loads(patchctl("ticket", "show", "T-7Q4M", "-o", "json").stdout)
    assert as_json["ticket"]["spec"]["timeout"] == 600
    assert as_json["runs"][0]["outcome"] == "TIMEOUT"
    rows = list(csv.DictReader(io.StringIO(patchctl("ticket", "show", "T-7Q4M", "-o", "csv").stdout)))
    assert rows[0]["error"] == "agent lost at 12:31:07"


def test_ticket_list_says_when_there_are_more(server: ScriptedController) -> None:
    tickets = [a_ticket(id=f"T-{n}") for n in range(5)]
    server.answers["ListTickets"] = paged(tickets, lambda p, t: pb.ListTicketsResponse(tickets=p, next_page_token=t))
    result = patchctl("ticket", "list", "--limit", "3", "--state", "finished")
    assert result.stderr == "3 tickets, there are more: --limit 0\n"
    assert len(result.stdout.splitlines()) == 4
    assert patchctl("ticket", "list", "--limit", "0").stderr == "5 tickets\n"


def test_steering_calls_what_it_says(server: ScriptedController) -> None:
    ticket = a_ticket(pb.TICKET_STATE_PAUSED, counts=pb.RunCounts(processing=2, succeeded=1))
    server.answers |= {
        "Pause": lambda _: pb.PauseResponse(ticket=ticket),
        "Continue": lambda _: pb.ContinueResponse(ticket=ticket),
        "End": lambda _: pb.EndResponse(ticket=ticket),
        "RetryBatch": lambda _: pb.RetryBatchResponse(ticket=ticket),
        "RetryRuns": lambda _: pb.RetryRunsResponse(ticket=ticket),
        "CancelBatch": lambda _: pb.CancelBatchResponse(ticket=ticket),
        "CancelRun": lambda _: pb.CancelRunResponse(ticket=ticket),
    }
    paused = patchctl("ticket", "pause", "T-1", "--reason", "lunch")
    assert paused.stderr == "2 instances still finishing\n"
    assert paused.stdout == "T-7Q4M scan  PAUSED  1/3  ok 1  failed 0 (stops at 3)\n"
    for words in (
        "continue T-1",
        "end T-1 --reason done",
        "retry T-1 --batch 2",
        "retry T-1 --instance w --instance v",
        "retry T-1 --failed",
        "cancel T-1",
        "cancel T-1 --instance w",
    ):
        assert patchctl("ticket", *words.split()).exit_code == 0
    assert [(name, request) for name, request in server.calls] == [
        ("Pause", pb.PauseRequest(ticket_id="T-1", reason="lunch")),
        ("Continue", pb.ContinueRequest(ticket_id="T-1")),
        ("End", pb.EndRequest(ticket_id="T-1", reason="done")),
        ("RetryBatch", pb.RetryBatchRequest(ticket_id="T-1", batch=2)),
        ("RetryRuns", pb.RetryRunsRequest(ticket_id="T-1", instances=["w", "v"])),
        ("RetryRuns", pb.RetryRunsRequest(ticket_id="T-1")),
        ("CancelBatch", pb.CancelBatchRequest(ticket_id="T-1")),
        ("CancelRun", pb.CancelRunRequest(ticket_id="T-1", instance="w")),
    ]
