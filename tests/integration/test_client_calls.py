"""The typed client against a scripted controller over real mutual TLS."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import controller.client
from common.errors import (
    Conflict,
    IllegalMove,
    InvalidArgument,
    NotFound,
    PatchError,
    PermissionDenied,
    Rejected,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Violation,
)
from common.pb.v1 import account_pb2, baseline_pb2, fleet_pb2, report_pb2, types_pb2
from common.pb.v1 import ticket_pb2 as pb
from common.tls import Authority
from controller.client import Client, Patience, connect, scan_of, tenths_of
from tests.scripted_controller import TOKEN, ScriptedController, paged

SECONDS = 60.0


@pytest.fixture
def server() -> Iterator[ScriptedController]:
    scripted = ScriptedController()
    scripted.start()
    yield scripted
    scripted.stop()


@pytest.fixture
def client(server: ScriptedController) -> Iterator[Client]:
    with connect(server.address, server.join.pem, TOKEN, timeout_seconds=SECONDS) as connected:
        yield connected


def quick(give_up_after_seconds: float = 60) -> Patience:
    return Patience(give_up_after_seconds, first_pause_seconds=0.05, longest_pause_seconds=0.2)


def watched(state: pb.TicketState.ValueType, succeeded: int) -> pb.WatchResponse:
    return pb.WatchResponse(ticket=pb.Ticket(id="T-1", state=state, counts=pb.RunCounts(succeeded=succeeded)))


def test_the_callers_token_and_a_deadline_travel_with_every_call(server: ScriptedController, client: Client) -> None:
    server.answers["WhoAmI"] = lambda _: account_pb2.WhoAmIResponse(name="ann", role=account_pb2.ROLE_ADMIN)
    assert client.whoami().name == "ann"
    assert server.deadlines[0] is not None
    assert 0 < server.deadlines[0] <= SECONDS


def test_pages_turn_themselves_and_the_request_stays_the_same(server: ScriptedController, client: Client) -> None:
    rows = [fleet_pb2.Instance(id=f"i-{n}") for n in range(5)]
    server.answers["ListInstances"] = paged(
        rows, lambda page, token: fleet_pb2.ListInstancesResponse(instances=page, next_page_token=token)
    )
    selector = fleet_pb2.Selector(all=True, regions=["r1"])
    assert [i.id for i in client.list_instances(selector, selectable_only=True)] == [f"i-{n}" for n in range(5)]
    asked = server.requests("ListInstances")
    assert [request.page_token for request in asked] == ["", "2", "4"]
    assert all(request.selector == selector and request.selectable_only for request in asked)


def test_a_page_is_asked_for_only_when_it_is_needed(server: ScriptedController, client: Client) -> None:
    rows = [pb.Ticket(id=f"T-{n}") for n in range(6)]
    server.answers["ListTickets"] = paged(
        rows, lambda page, token: pb.ListTicketsResponse(tickets=page, next_page_token=token)
    )
    assert next(client.list_tickets()).id == "T-0"
    assert len(server.requests("ListTickets")) == 1


@pytest.mark.parametrize(
    "error",
    [
        NotFound("baseline", "x", "patchctl baseline list shows all"),
        Conflict("ticket", "T-1"),
        Rejected("nothing can be selected"),
        IllegalMove(subject="ticket 'T-1'", state="FINISHED", event="pause", allowed="look at its report"),
        Unauthenticated("the token has ended"),
        PermissionDenied("a viewer may not create tickets"),
        TooLarge("the request", 5_000_000, 4_194_304),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refusal_comes_back_as_the_class_and_the_sentence_it_was(
    server: ScriptedController, client: Client, error: PatchError
) -> None:
    def refuse(_: Any) -> Any:
        raise error

    server.answers["GetTicket"] = refuse
    with pytest.raises(type(error)) as caught:
        client.get_ticket("T-1")
    assert str(caught.value) == str(error)
    assert caught.value.reason == error.reason


def test_the_parts_of_a_refusal_come_back_too(server: ScriptedController, client: Client) -> None:
    def refuse(_: Any) -> Any:
        raise NotFound("baseline", "x")

    server.answers["GetBaseline"] = refuse
    with pytest.raises(NotFound) as caught:
        client.get_baseline("x")
    assert (caught.value.kind, caught.value.name) == ("baseline", "x")


def test_every_wrong_field_comes_back_by_name(server: ScriptedController, client: Client) -> None:
    violations = (Violation("success_rate", "101 is out of range"), Violation("timeout", "must be at least 1 s"))

    def refuse(_: Any) -> Any:
        raise InvalidArgument(violations)

    server.answers["Preview"] = refuse
    with pytest.raises(InvalidArgument) as caught:
        client.preview(pb.TicketSpec())
    assert caught.value.violations == violations


def test_a_controller_that_is_away_is_named_with_its_address() -> None:
    scripted = ScriptedController()
    scripted.start()
    scripted.stop()
    with connect(scripted.address, scripted.join.pem, TOKEN) as client, pytest.raises(Unavailable) as caught:
        client.whoami()
    assert scripted.address in str(caught.value)
    assert "refused" in str(caught.value)


def test_an_answer_that_does_not_come_in_time_is_unavailable(server: ScriptedController) -> None:
    import threading

    asked = threading.Event()
    server.answers["WhoAmI"] = lambda _: asked.wait(2) and account_pb2.WhoAmIResponse()
    with (
        connect(server.address, server.join.pem, TOKEN, timeout_seconds=0.3) as client,
        pytest.raises(Unavailable, match="did not answer in time"),
    ):
        client.whoami()
    asked.set()


def test_a_call_that_the_controller_does_not_know_says_so(client: Client) -> None:
    with pytest.raises(Rejected, match="may be older"):
        client.why("web-01", "bash")


def test_a_wrong_token_is_unauthenticated(server: ScriptedController) -> None:
    with connect(server.address, server.join.pem, "wrong") as client, pytest.raises(Unauthenticated):
        client.whoami()


def test_a_controller_of_another_ca_is_not_spoken_to(server: ScriptedController) -> None:
    now = datetime.now(UTC)
    other = Authority(Authority.create("other", now, timedelta(days=1))).issue_join(now, timedelta(days=1))
    with connect(server.address, other.pem, TOKEN) as client, pytest.raises(Unavailable):
        client.whoami()
    assert server.calls == []


@pytest.mark.parametrize(
    "address", ["", "host", "host:", "host:x", ":8443", "host:0", "host:70000", "::1:8443", "http://h:1"]
)
def test_an_address_that_is_none_is_refused_at_once(address: str, server: ScriptedController) -> None:
    with pytest.raises(InvalidArgument, match=r"^controller: "):
        connect(address, server.join.pem, TOKEN)


def test_a_join_file_or_token_that_is_none_is_refused_at_once(server: ScriptedController, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"^join: .*No such file"):
        connect(server.address, tmp_path / "absent.pem", TOKEN)
    with pytest.raises(InvalidArgument, match=r"^join: a join file holds"):
        connect(server.address, b"nonsense", TOKEN)
    for token in ("", " ", "two words", "ünïcode", "line\nbreak"):
        with pytest.raises(InvalidArgument, match=r"^token: "):
            connect(server.address, server.join.pem, token)


def test_update_instance_names_exactly_the_given_fields(server: ScriptedController, client: Client) -> None:
    server.answers["UpdateInstance"] = lambda request: fleet_pb2.UpdateInstanceResponse(instance=request.values)
    client.update_instance("web-01", region="", stopped=False)
    (request,) = server.requests("UpdateInstance")
    assert sorted(request.update_mask.paths) == ["region", "stopped"]


def test_tagging_keeps_the_other_tags(server: ScriptedController, client: Client) -> None:
    present = fleet_pb2.Instance(id="i-1", tags={"keep": "1", "drop": "2", "change": "3"})
    server.answers["GetInstance"] = lambda _: fleet_pb2.GetInstanceResponse(instance=present)
    server.answers["UpdateInstance"] = lambda request: fleet_pb2.UpdateInstanceResponse(instance=request.values)
    assert dict(client.tag_instance("web-01", {"change": "4", "new": ""}, ["drop"]).tags) == {
        "keep": "1",
        "change": "4",
        "new": "",
    }


def test_the_other_calls_ask_what_they_say(server: ScriptedController, client: Client) -> None:
    answers = {
        "DeleteInstance": fleet_pb2.DeleteInstanceResponse(),
        "CreateEnrolmentToken": fleet_pb2.CreateEnrolmentTokenResponse(secret="s"),
        "ListEnrolmentTokens": fleet_pb2.ListEnrolmentTokensResponse(tokens=[fleet_pb2.EnrolmentToken(id="e")]),
        "RevokeEnrolmentToken": fleet_pb2.RevokeEnrolmentTokenResponse(),
        "ListBaselines": baseline_pb2.ListBaselinesResponse(baselines=[baseline_pb2.Baseline(id="b")]),
        "CreateBaseline": baseline_pb2.CreateBaselineResponse(),
        "SetDefaultBaseline": baseline_pb2.SetDefaultBaselineResponse(),
        "DeleteBaseline": baseline_pb2.DeleteBaselineResponse(),
        "ListRuns": pb.ListRunsResponse(runs=[pb.Run(id="r")]),
        "Pause": pb.PauseResponse(),
        "Continue": pb.ContinueResponse(),
        "End": pb.EndResponse(),
        "RetryBatch": pb.RetryBatchResponse(),
        "CancelBatch": pb.CancelBatchResponse(),
        "CancelRun": pb.CancelRunResponse(),
        "ListReports": report_pb2.ListReportsResponse(reports=[report_pb2.InstanceReport(instance_id="i")]),
        "GetReport": report_pb2.GetReportResponse(),
        "GetSummary": report_pb2.GetSummaryResponse(instances=3),
        "ListInstances": fleet_pb2.ListInstancesResponse(total_size=7),
    }
    for name, answer in answers.items():
        server.answers[name] = lambda _, answer=answer: answer
    client.delete_instance("web-01")
    assert client.create_enrolment_token(note="n", lifetime=timedelta(hours=2)).secret == "s"
    assert [t.id for t in client.list_enrolment_tokens()] == ["e"]
    client.revoke_enrolment_token("e")
    assert [b.id for b in client.list_baselines(operating_system="CentOS")] == ["b"]
    client.create_baseline(baseline_pb2.Baseline(name="mine"))
    client.set_default_baseline("mine")
    client.delete_baseline("mine")
    assert [r.id for r in client.list_runs("T-1", batch=2, states=[pb.RUN_STATE_READY])] == ["r"]
    client.pause_ticket("T-1", "lunch")
    client.continue_ticket("T-1")
    client.end_ticket("T-1", "done")
    client.retry_batch("T-1", 2)
    client.cancel_batch("T-1")
    client.cancel_run("T-1", "web-01")
    assert [r.instance_id for r in client.list_reports(statuses=[types_pb2.INSTANCE_STATUS_COMPLIANT])] == ["i"]
    client.get_report("web-01", all_items=True)
    assert client.get_summary().instances == 3
    assert client.count_instances() == 7
    assert server.requests("CreateEnrolmentToken")[0].lifetime.seconds == 7200
    assert server.requests("Pause")[0] == pb.PauseRequest(ticket_id="T-1", reason="lunch")
    assert server.requests("RetryBatch")[0].batch == 2
    assert server.requests("CancelRun")[0].instance == "web-01"
    assert server.requests("GetReport")[0].all_items
    assert {name for name, _ in server.calls} == set(answers)


def test_a_watch_survives_a_restart_of_the_controller(server: ScriptedController, client: Client) -> None:
    lost = list[Unavailable]()

    def before(_: Any) -> Iterator[pb.WatchResponse]:
        yield watched(pb.TICKET_STATE_PROCESSING, 1)
        yield watched(pb.TICKET_STATE_PROCESSING, 2)
        raise Unavailable("going down")

    def after(_: Any) -> Iterator[pb.WatchResponse]:
        yield watched(pb.TICKET_STATE_PROCESSING, 2)
        yield watched(pb.TICKET_STATE_FINISHED, 3)

    server.answers["Watch"] = before
    seen = list[int]()
    for message in client.watch("T-1", patience=quick(), on_lost=lost.append):
        seen.append(message.ticket.counts.succeeded)
        if seen == [1, 2]:
            server.stop()
            server.answers["Watch"] = after
            server.start()
    assert seen == [1, 2, 3]
    assert len(lost) == 1


def test_a_watch_that_ends_before_its_ticket_is_made_again(server: ScriptedController, client: Client) -> None:
    states = iter([pb.TICKET_STATE_PAUSED, pb.TICKET_STATE_ABNORMAL])
    server.answers["Watch"] = lambda _: iter([watched(next(states), 0)])
    seen = [message.ticket.state for message in client.watch("T-1", patience=quick())]
    assert seen == [pb.TICKET_STATE_PAUSED, pb.TICKET_STATE_ABNORMAL]


def test_a_watch_gives_up_when_its_patience_ends_and_pauses_grow_with_full_jitter(server: ScriptedController) -> None:
    now, pauses = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += 10

    def away(_: Any) -> Iterator[pb.WatchResponse]:
        raise Unavailable("still starting")
        yield

    server.answers["Watch"] = away
    patience = Patience(60, 1, 8, sleep=sleep, monotonic=lambda: now[0], jitter=lambda: 0.5)
    with (
        connect(server.address, server.join.pem, TOKEN) as client,
        pytest.raises(Unavailable, match=f"{server.address} cannot do it now: still starting"),
    ):
        list(client.watch("T-1", patience=patience))
    assert pauses == [0.5, 1, 2, 4, 4, 4]


def test_a_refused_watch_is_not_tried_again(server: ScriptedController, client: Client) -> None:
    def refuse(_: Any) -> Iterator[pb.WatchResponse]:
        raise NotFound("ticket", "T-9")
        yield

    server.answers["Watch"] = refuse
    with pytest.raises(NotFound):
        list(client.watch("T-9", patience=quick()))
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("rate", "tenths"), [("80", 800), ("99.5", 995), (80, 800), ("101", 1010), ("0", 0), ("80.0", 800), ("1e1", 100)]
)
def test_a_success_rate_becomes_tenths_exactly(rate: str | int, tenths: int) -> None:
    assert tenths_of(rate) == tenths


@pytest.mark.parametrize("rate", ["99.55", "x", "", "nan", "inf", "-1", "1e12", "80 %"])
def test_a_success_rate_that_cannot_be_sent_is_a_value_error(rate: str) -> None:
    with pytest.raises(ValueError):
        tenths_of(rate)


def test_scan_of_says_only_what_was_said() -> None:
    spec = scan_of(fleet_pb2.Selector(all=True))
    assert not spec.HasField("timeout")
    assert spec.batch_policy.kind == pb.BATCH_POLICY_KIND_AUTO_BATCH
    assert spec.suspension_policy.success_rate_tenths == 800
    by_hand = scan_of(fleet_pb2.Selector(), batches=[["a", "b"], ["c"]], literal=True)
    assert [list(b.instances) for b in by_hand.batch_policy.batches] == [["a", "b"], ["c"]]
    assert by_hand.suspension_policy.mode == pb.SUSPENSION_MODE_LITERAL
    assert scan_of(fleet_pb2.Selector(), one_batch=True).batch_policy.kind == pb.BATCH_POLICY_KIND_NO_BATCH


def test_the_documented_example_runs_as_it_stands(server: ScriptedController, tmp_path: Path) -> None:
    documented = (controller.client.__doc__ or "").split("\n\n", 3)[3]
    example = textwrap.dedent(documented)
    assert len([line for line in example.splitlines() if line.strip()]) <= 20
    item = report_pb2.ReportItem(status=types_pb2.PATCH_STATUS_MISSING, name="sudo", required="1.8-2")
    fine = report_pb2.ReportItem(status=types_pb2.PATCH_STATUS_INSTALLED, name="bash")
    report = report_pb2.InstanceReport(instance_name="ecs-web-01", items=[item, fine])
    server.answers |= {
        "Preview": lambda _: pb.PreviewResponse(stops_at=3),
        "CreateTicket": lambda _: pb.CreateTicketResponse(ticket=pb.Ticket(id="T-1")),
        "Watch": lambda _: iter([watched(pb.TICKET_STATE_FINISHED, 2)]),
        "Export": lambda _: iter([report_pb2.ExportResponse(report=report)]),
    }
    names: dict[str, Any] = {}
    said = io.StringIO()
    with redirect_stdout(said):
        exec(compile(example, "example", "exec"), names)
        missing = names["scan_web"](server.address, server.write_join(tmp_path), TOKEN, "cn-hongkong")
    assert missing == ["ecs-web-01 sudo 1.8-2"]
    assert said.getvalue() == "stops at failed instance 3\n2 succeeded\n"
    (request,) = server.requests("CreateTicket")
    assert request.spec.suspension_policy.success_rate_tenths == 995
    assert request.request_id == "nightly-cn-hongkong"
