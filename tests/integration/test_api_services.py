"""The client services over the wire: instances, tokens, baselines, tickets and reports, with agents that connect and answer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from common.pb.v1 import agent_pb2, fleet_pb2, report_pb2, ticket_pb2, types_pb2
from common.pb.v1 import baseline_pb2 as bpb
from common.pb.v1 import ticket_pb2 as pb
from controller.fleet.model import Role
from tests.builders import an_enrolment_token, an_instance, instance_id
from tests.integration.api_harness import TIMEOUT, Harness, Stubs, names, refusal, serving

PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with serving(tmp_path) as made:
        yield made


@pytest.fixture
async def admin(harness: Harness) -> Stubs:
    return await harness.admin()


def selecting_all(**changes: Any) -> pb.TicketSpec:
    return pb.TicketSpec(selector=fleet_pb2.Selector(all=True), **changes)


async def create(stubs: Stubs, request_id: str = "", **changes: Any) -> pb.Ticket:
    request = pb.CreateTicketRequest(spec=selecting_all(**changes), request_id=request_id)
    answer: pb.CreateTicketResponse = await stubs.tickets.CreateTicket(request)
    return answer.ticket


async def watched(stubs: Stubs, ticket: str) -> list[pb.WatchResponse]:
    async with asyncio.timeout(TIMEOUT):
        return [said async for said in stubs.tickets.Watch(pb.WatchRequest(ticket_id=ticket))]


# Instances


async def test_instances_come_in_pages_by_name_then_id_each_once(harness: Harness, admin: Stubs) -> None:
    for number in range(1, 8):
        await harness.store.fleet.put_instance(an_instance(number, name=f"web-{number % 3}"))
    found, token = [], ""
    while True:
        page = await admin.fleet.ListInstances(fleet_pb2.ListInstancesRequest(page_size=3, page_token=token))
        assert page.total_size == 7
        found += [(i.name, i.id) for i in page.instances]
        token = page.next_page_token
        if not token:
            break
    assert found == sorted((f"web-{n % 3}", instance_id(n)) for n in range(1, 8))


async def test_instances_are_filtered_and_a_wrong_filter_is_named(harness: Harness, admin: Stubs) -> None:
    await harness.store.fleet.put_instance(an_instance(1, region="cn-north"))
    await harness.store.fleet.put_instance(an_instance(2, region="cn-south"))
    selector = fleet_pb2.Selector(regions=["cn-south"])
    page = await admin.fleet.ListInstances(fleet_pb2.ListInstancesRequest(selector=selector))
    assert names(page.instances) == ["ecs-0002"]
    wrong = fleet_pb2.Selector(instances=["ecs-9999"])
    refused = await refusal(admin.fleet.ListInstances(fleet_pb2.ListInstancesRequest(selector=wrong)))
    assert list(refused.fields) == ["selector.instances[0]"]
    wrong = fleet_pb2.Selector(regions=["x" * 300])
    refused = await refusal(admin.fleet.ListInstances(fleet_pb2.ListInstancesRequest(selector=wrong)))
    assert list(refused.fields) == ["selector.regions[0]"]


async def test_an_instance_that_cannot_be_selected_says_why_and_what_to_do(harness: Harness, admin: Stubs) -> None:
    await harness.store.fleet.put_instance(an_instance(1))
    await harness.connect("online")
    await harness.connect("ubuntu", os_id="ubuntu", os_version="22.04")
    page = await admin.fleet.ListInstances(fleet_pb2.ListInstancesRequest())
    said = {i.name: (i.not_selectable, i.not_selectable_help) for i in page.instances}
    assert said["online"] == (types_pb2.NOT_SELECTABLE_REASON_UNSPECIFIED, "")
    assert said["ecs-0001"][0] == types_pb2.NOT_SELECTABLE_REASON_AGENT
    assert "systemctl start uniagent" in said["ecs-0001"][1]
    assert said["ubuntu"][0] == types_pb2.NOT_SELECTABLE_REASON_OS
    page = await admin.fleet.ListInstances(fleet_pb2.ListInstancesRequest(selectable_only=True))
    assert names(page.instances) == ["online"]
    assert page.instances[0].agent_state == types_pb2.AGENT_STATE_ONLINE
    assert page.instances[0].operating_system.product == "CentOS 7.9"


async def test_R11_an_instance_that_never_reported_is_undetermined(harness: Harness, admin: Stubs) -> None:
    await harness.store.fleet.put_instance(an_instance(1))
    found = (await admin.fleet.GetInstance(fleet_pb2.GetInstanceRequest(instance="ecs-0001"))).instance
    assert found.status == types_pb2.INSTANCE_STATUS_UNDETERMINED
    assert list(found.reasons) == [types_pb2.UNDETERMINED_REASON_NO_REPORT]
    assert not found.HasField("reported_at")


async def test_an_instance_is_found_by_id_or_by_a_name_that_only_it_has(harness: Harness, admin: Stubs) -> None:
    for number in (1, 2):
        await harness.store.fleet.put_instance(an_instance(number, name="twin"))
    found = await admin.fleet.GetInstance(fleet_pb2.GetInstanceRequest(instance=instance_id(2)))
    assert found.instance.id == instance_id(2)
    refused = await refusal(admin.fleet.GetInstance(fleet_pb2.GetInstanceRequest(instance="twin")))
    assert refused.code is PRECONDITION
    assert instance_id(1) in refused.sentence
    refused = await refusal(admin.fleet.GetInstance(fleet_pb2.GetInstanceRequest(instance="nobody")))
    assert (refused.code, refused.reason) == (NOT_FOUND, "NOT_FOUND")


@pytest.mark.parametrize("called", ["", "x" * 101, "a\nb"])
async def test_a_reference_that_cannot_be_is_named(admin: Stubs, called: str) -> None:
    refused = await refusal(admin.fleet.GetInstance(fleet_pb2.GetInstanceRequest(instance=called)))
    assert (refused.code, list(refused.fields)) == (INVALID, ["instance"])


async def test_an_operator_edits_an_instance_and_a_wrong_edit_changes_nothing(harness: Harness) -> None:
    await harness.store.fleet.put_instance(an_instance(1))
    operator = await harness.operator(Role.OPERATOR)
    request = fleet_pb2.UpdateInstanceRequest(
        instance="ecs-0001", values=fleet_pb2.Instance(tags={"env": "prod"}, region="r" * 65)
    )
    request.update_mask.paths.extend(["tags", "region", "id"])
    refused = await refusal(operator.fleet.UpdateInstance(request))
    assert set(refused.fields) == {"update_mask", "values.region"}
    assert "name, enterprise_project, region" in refused.fields["update_mask"]
    assert await harness.store.fleet.get_instance(instance_id(1)) == an_instance(1)
    del request.update_mask.paths[1:]
    changed = (await operator.fleet.UpdateInstance(request)).instance
    assert (dict(changed.tags), changed.region) == ({"env": "prod"}, "cn-hongkong")


# Enrolment tokens


async def test_a_token_s_secret_is_shown_once_and_stored_as_a_hash(harness: Harness, admin: Stubs) -> None:
    request = fleet_pb2.CreateEnrolmentTokenRequest(
        note="rack 7", placement=agent_pb2.Placement(region="cn-east"), lifetime=Duration(seconds=3600)
    )
    made = await admin.fleet.CreateEnrolmentToken(request)
    assert made.secret.startswith("pwe_")
    listed = (await admin.fleet.ListEnrolmentTokens(fleet_pb2.ListEnrolmentTokensRequest())).tokens
    assert list(listed) == [made.token]
    assert (made.token.note, made.token.placement.region, made.token.created_by) == ("rack 7", "cn-east", "admin")
    assert made.token.expires_at.seconds - made.token.created_at.seconds == 3600
    assert made.secret.encode() not in (await harness.store.fleet.get_enrolment_token(made.token.id)).secret_hash


async def test_the_token_s_placement_wins_over_what_the_agent_says(harness: Harness, admin: Stubs) -> None:
    request = fleet_pb2.CreateEnrolmentTokenRequest(
        placement=agent_pb2.Placement(region="cn-east", resource_type="BMS")
    )
    token = (await admin.fleet.CreateEnrolmentToken(request)).secret
    await harness.enrol("web-1", token=token)
    found = (await admin.fleet.GetInstance(fleet_pb2.GetInstanceRequest(instance="web-1"))).instance
    assert (found.region, found.zone, found.resource_type) == ("cn-east", "a", types_pb2.RESOURCE_TYPE_BMS)


async def test_everything_wrong_with_a_token_request_is_named_and_nothing_made(harness: Harness, admin: Stubs) -> None:
    request = fleet_pb2.CreateEnrolmentTokenRequest(
        note="n" * 201,
        placement=agent_pb2.Placement(name="n" * 65, resource_type="VM", tags={"": "x"}),
        lifetime=Duration(seconds=59),
    )
    refused = await refusal(admin.fleet.CreateEnrolmentToken(request))
    assert {"note", "lifetime", "placement.name", "placement.resource_type", "placement.tags['']"} == set(
        refused.fields
    )
    assert await harness.store.fleet.enrolment_tokens(10, None) == ()


async def test_tokens_come_newest_first_in_pages(harness: Harness, admin: Stubs) -> None:
    for number in range(1, 6):
        at = datetime(2026, 1, number, tzinfo=UTC)
        await harness.store.fleet.put_enrolment_token(an_enrolment_token(number, created_at=at))
    found, token = [], ""
    while not found or token:
        page = await admin.fleet.ListEnrolmentTokens(
            fleet_pb2.ListEnrolmentTokensRequest(page_size=2, page_token=token)
        )
        found += [t.id for t in page.tokens]
        token = page.next_page_token
    assert found == ["E-5", "E-4", "E-3", "E-2", "E-1"]


async def test_a_used_token_cannot_be_revoked_and_a_revoked_one_stays_so(harness: Harness, admin: Stubs) -> None:
    await harness.enrol("web-1")
    [used] = (await admin.fleet.ListEnrolmentTokens(fleet_pb2.ListEnrolmentTokensRequest())).tokens
    request = fleet_pb2.RevokeEnrolmentTokenRequest(id=used.id)
    assert (await refusal(admin.fleet.RevokeEnrolmentToken(request))).code is PRECONDITION
    made = (await admin.fleet.CreateEnrolmentToken(fleet_pb2.CreateEnrolmentTokenRequest())).token
    request = fleet_pb2.RevokeEnrolmentTokenRequest(id=made.id)
    once = (await admin.fleet.RevokeEnrolmentToken(request)).token
    assert (await admin.fleet.RevokeEnrolmentToken(request)).token == once
    request = fleet_pb2.RevokeEnrolmentTokenRequest(id="E-nothing")
    assert (await refusal(admin.fleet.RevokeEnrolmentToken(request))).code is NOT_FOUND


# Baselines


def a_wanted_baseline(**changes: Any) -> bpb.Baseline:
    rule = bpb.BaselineRule(categories=[types_pb2.CATEGORY_SECURITY], approve_after_days=7)
    given: dict[str, Any] = {
        "name": "Strict",
        "scenario": types_pb2.RESOURCE_TYPE_ECS,
        "operating_system": "CentOS",
        "rules": [rule],
    }
    return bpb.Baseline(**(given | changes))


async def make(stubs: Stubs, **changes: Any) -> bpb.Baseline:
    request = bpb.CreateBaselineRequest(baseline=a_wanted_baseline(**changes))
    answer: bpb.CreateBaselineResponse = await stubs.baselines.CreateBaseline(request)
    return answer.baseline


async def test_public_baselines_are_there_for_ecs_and_bms_and_are_the_defaults(admin: Stubs) -> None:
    listed = (await admin.baselines.ListBaselines(bpb.ListBaselinesRequest(page_size=1000))).baselines
    assert {b.operating_system for b in listed} >= {"Huawei Cloud EulerOS", "EulerOS", "CentOS", "openEuler"}
    assert all(b.public and b.is_default and b.version == 1 for b in listed)
    assert {b.scenario for b in listed} == {types_pb2.RESOURCE_TYPE_ECS, types_pb2.RESOURCE_TYPE_BMS}


async def test_baselines_come_public_ones_first_in_pages_and_by_family(admin: Stubs) -> None:
    await make(admin, name="Aardvark")
    found, token = [], ""
    while not found or token:
        page = await admin.baselines.ListBaselines(
            bpb.ListBaselinesRequest(operating_system="CentOS", page_size=1, page_token=token)
        )
        found += names(page.baselines)
        token = page.next_page_token
    assert found == ["CentOS-BMS-Default", "CentOS-Default", "Aardvark"]


async def test_a_baseline_gets_a_new_version_when_it_is_made_again_and_the_old_one_stays_readable(admin: Stubs) -> None:
    first = await make(admin)
    second = await make(admin, description="stricter")
    assert (second.id, first.version, second.version, second.created_by) == (first.id, 1, 2, "admin")
    for called in ("Strict", first.id):
        newest = await admin.baselines.GetBaseline(bpb.GetBaselineRequest(baseline=called))
        assert newest.baseline == second
    old = await admin.baselines.GetBaseline(bpb.GetBaselineRequest(baseline="Strict", version=1))
    assert old.baseline == first
    request = bpb.GetBaselineRequest(baseline="Strict", version=9)
    refused = await refusal(admin.baselines.GetBaseline(request))
    assert refused.code is NOT_FOUND
    assert refused.sentence == "there is no baseline 'Strict v9'; its newest version is 2"


async def test_everything_wrong_with_a_baseline_is_named_and_nothing_made(admin: Stubs) -> None:
    wanted = a_wanted_baseline(
        name="a b",
        operating_system="Debian",
        scenario=0,
        rules=[bpb.BaselineRule(approve_after_days=366), bpb.BaselineRule(products=["CentOS 7"], severities=[0, 99])],  # type: ignore[list-item]
    )
    refused = await refusal(admin.baselines.CreateBaseline(bpb.CreateBaselineRequest(baseline=wanted)))
    assert refused.code is INVALID
    assert set(refused.fields) >= {
        "baseline.name",
        "baseline.operating_system",
        "baseline.scenario",
        "baseline.rules[0].approve_after_days",
        "baseline.rules[1].approval",
        "baseline.rules[1].severities[0]",
        "baseline.rules[1].severities[1]",
    }
    listed = await admin.baselines.ListBaselines(bpb.ListBaselinesRequest(page_size=1000))
    assert all(b.public for b in listed.baselines)


@pytest.mark.parametrize("name", ["default", "DEFAULT", "public-centos-ecs"])
async def test_a_name_that_would_be_taken_for_something_else_is_refused(admin: Stubs, name: str) -> None:
    request = bpb.CreateBaselineRequest(baseline=a_wanted_baseline(name=name))
    assert list((await refusal(admin.baselines.CreateBaseline(request))).fields) == ["baseline.name"]


async def test_public_baselines_cannot_be_changed_or_deleted_nor_a_default_be_deleted(admin: Stubs) -> None:
    request = bpb.CreateBaselineRequest(baseline=a_wanted_baseline(name="CentOS-Default"))
    assert (await refusal(admin.baselines.CreateBaseline(request))).code is PRECONDITION
    delete = bpb.DeleteBaselineRequest(baseline="CentOS-Default")
    assert (await refusal(admin.baselines.DeleteBaseline(delete))).code is PRECONDITION
    await make(admin)
    made_default = await admin.baselines.SetDefaultBaseline(bpb.SetDefaultBaselineRequest(baseline="Strict"))
    assert made_default.baseline.is_default
    delete = bpb.DeleteBaselineRequest(baseline="Strict")
    refused = await refusal(admin.baselines.DeleteBaseline(delete))
    assert (refused.code, "set another default first" in refused.sentence) == (PRECONDITION, True)
    request = bpb.CreateBaselineRequest(baseline=a_wanted_baseline(operating_system="EulerOS"))
    assert (await refusal(admin.baselines.CreateBaseline(request))).code is PRECONDITION
    await admin.baselines.SetDefaultBaseline(bpb.SetDefaultBaselineRequest(baseline="CentOS-Default"))
    await admin.baselines.DeleteBaseline(delete)
    assert (await refusal(admin.baselines.GetBaseline(bpb.GetBaselineRequest(baseline="Strict")))).code is NOT_FOUND


async def test_another_default_decides_for_instances_from_then_on(harness: Harness, admin: Stubs) -> None:
    await harness.store.fleet.put_instance(an_instance(1))
    request = report_pb2.GetReportRequest(instance="ecs-0001")
    assert (await admin.reports.GetReport(request)).report.baseline_name == "CentOS-Default"
    await make(admin)
    await admin.baselines.SetDefaultBaseline(bpb.SetDefaultBaselineRequest(baseline="Strict"))
    report = (await admin.reports.GetReport(request)).report
    assert (report.baseline_name, report.baseline_source) == ("Strict", "default")


# Tickets


async def test_preview_is_what_create_does(harness: Harness, admin: Stubs) -> None:
    for number in range(5):
        await harness.connect(f"web-{number}", ready=False)
    await harness.connect("ubuntu", os_id="ubuntu", os_version="22.04")
    await harness.store.fleet.put_instance(an_instance(1))
    spec = selecting_all(batch_policy=pb.BatchPolicy(batch_size=2), name="nightly")
    preview = await admin.tickets.Preview(pb.PreviewRequest(spec=spec))
    assert (preview.targets, preview.stops_at, preview.executed_by) == (5, 2, "root")
    assert [list(b.instance_names) for b in preview.batches] == [["web-0", "web-1"], ["web-2", "web-3"], ["web-4"]]
    assert [(b.region, b.zone, b.application_group) for b in preview.batches] == [("cn-hongkong", "a", "web")] * 3
    [use] = preview.baselines
    assert (use.baseline_name, use.baseline_version, use.product, use.instances) == (
        "CentOS-Default",
        1,
        "CentOS 7.9",
        5,
    )
    refused = {n.instance_name: (n.reason, n.explanation, n.help) for n in preview.not_selectable}
    assert refused["ecs-0001"][0] == types_pb2.NOT_SELECTABLE_REASON_AGENT
    assert refused["ubuntu"][0] == types_pb2.NOT_SELECTABLE_REASON_OS
    assert all(explanation and help_ for _, explanation, help_ in refused.values())
    assert (await admin.tickets.ListTickets(pb.ListTicketsRequest())).tickets == []
    made = await admin.tickets.CreateTicket(pb.CreateTicketRequest(spec=spec))
    assert made.ticket.spec == preview.spec
    assert [sum(f[1] for f in b.counts.ListFields()) for b in made.ticket.batches] == [2, 2, 1]
    assert (made.ticket.stops_at, made.ticket.created_by) == (2, "admin")
    assert list(made.not_selectable) == list(preview.not_selectable)
    await admin.tickets.End(pb.EndRequest(ticket_id=made.ticket.id))


async def test_a_named_baseline_decides_for_all_of_a_ticket_and_an_unknown_one_is_named(
    harness: Harness, admin: Stubs
) -> None:
    await harness.connect("web-1")
    made = await make(admin)
    for called in ("Strict", made.id):
        preview = await admin.tickets.Preview(pb.PreviewRequest(spec=selecting_all(baseline=called)))
        assert [u.baseline_id for u in preview.baselines] == [made.id]
        assert preview.spec.baseline == made.id
    for called in ("", "default"):
        preview = await admin.tickets.Preview(pb.PreviewRequest(spec=selecting_all(baseline=called)))
        assert [u.baseline_name for u in preview.baselines] == ["CentOS-Default"]
    refused = await refusal(admin.tickets.Preview(pb.PreviewRequest(spec=selecting_all(baseline="Lax"))))
    assert (refused.code, "Lax" in refused.sentence) == (NOT_FOUND, True)


async def test_manual_batches_take_ids_and_names_and_name_who_is_missing(harness: Harness, admin: Stubs) -> None:
    one, _ = await harness.connect("web-1"), await harness.connect("web-2")
    policy = pb.BatchPolicy(kind=pb.BATCH_POLICY_KIND_MANUAL_BATCH)
    policy.batches.add(instances=["web-2"])
    policy.batches.add(instances=[one.instance_id])
    preview = await admin.tickets.Preview(pb.PreviewRequest(spec=selecting_all(batch_policy=policy)))
    assert [list(b.instance_names) for b in preview.batches] == [["web-2"], ["web-1"]]
    del policy.batches[1]
    refused = await refusal(admin.tickets.Preview(pb.PreviewRequest(spec=selecting_all(batch_policy=policy))))
    assert list(refused.fields) == ["batch_policy.batches"]
    assert "web-1" in refused.fields["batch_policy.batches"]


async def test_a_ticket_without_anybody_is_refused_with_the_reasons(harness: Harness, admin: Stubs) -> None:
    request = pb.CreateTicketRequest(spec=selecting_all())
    assert (await refusal(admin.tickets.CreateTicket(request))).code is PRECONDITION
    await harness.store.fleet.put_instance(an_instance(1))
    refused = await refusal(admin.tickets.CreateTicket(request))
    assert refused.code is PRECONDITION
    assert "ecs-0001: UniAgent OFFLINE" in refused.sentence
    assert "systemctl start uniagent" in refused.sentence
    assert await harness.store.tickets.unfinished() == ()


async def test_everything_wrong_with_a_ticket_is_named_and_nothing_made(harness: Harness, admin: Stubs) -> None:
    await harness.connect("web-1")
    spec = pb.TicketSpec(
        timeout=Duration(seconds=86401),
        suspension_policy=pb.SuspensionPolicy(success_rate_tenths=1010),
        max_in_flight=10_001,
    )
    refused = await refusal(admin.tickets.CreateTicket(pb.CreateTicketRequest(spec=spec)))
    assert (refused.code, set(refused.fields)) == (INVALID, {"selector", "timeout", "success_rate", "max_in_flight"})
    request = pb.CreateTicketRequest(spec=selecting_all(), request_id="r" * 65)
    assert list((await refusal(admin.tickets.CreateTicket(request))).fields) == ["request_id"]
    assert (await admin.tickets.ListTickets(pb.ListTicketsRequest())).tickets == []


async def test_the_same_request_again_answers_with_the_same_ticket(harness: Harness, admin: Stubs) -> None:
    await harness.connect("web-1", ready=False)
    made = await asyncio.gather(*(create(admin, request_id="again") for _ in range(4)))
    assert len({t.id for t in made}) == 1
    assert (await create(admin, request_id="again")).id == made[0].id
    other = await harness.operator(Role.OPERATOR)
    assert (await create(other, request_id="again")).id != made[0].id
    assert (await create(admin)).id != made[0].id


async def test_a_watch_sends_the_ticket_at_once_and_ends_with_it(harness: Harness, admin: Stubs) -> None:
    agents = [await harness.connect(f"web-{n}", ready=False) for n in range(3)]
    ticket = await create(admin)
    call = admin.tickets.Watch(pb.WatchRequest(ticket_id=ticket.id))
    said = list[pb.WatchResponse]()
    async with asyncio.timeout(TIMEOUT):
        async for response in call:
            said.append(response)
            if response.ticket.counts.processing:
                assert {r.state for r in response.running} == {pb.RUN_STATE_PROCESSING}
                for agent in agents:
                    agent.gate.set()
    assert said[0].ticket.id == ticket.id
    assert said[-1].ticket.state == pb.TICKET_STATE_FINISHED
    assert said[-1].ticket.counts.succeeded == 3
    assert not said[-1].running
    assert all(a.SerializeToString() != b.SerializeToString() for a, b in itertools.pairwise(said))
    assert all(sum(f[1] for f in s.ticket.counts.ListFields()) == 3 for s in said)  # R17
    again = await watched(admin, ticket.id)
    assert [s.ticket for s in again] == [said[-1].ticket]


async def test_a_failed_run_shows_in_the_watch_the_runs_and_the_batch_and_can_be_retried(
    harness: Harness, admin: Stubs
) -> None:
    bad = await harness.connect("bad", outcome=agent_pb2.SCAN_OUTCOME_FAILED)
    await harness.connect("good")
    ticket = await create(admin, suspension_policy=pb.SuspensionPolicy(success_rate_tenths=100))
    last = (await watched(admin, ticket.id))[-1]
    assert last.ticket.state == pb.TICKET_STATE_ABNORMAL
    assert last.ticket.abnormal_cause == pb.ABNORMAL_CAUSE_ENDED_WITH_FAILURES
    assert [(r.instance_name, r.outcome, r.error) for r in last.failed] == [
        ("bad", pb.RUN_OUTCOME_FAILED, "the rpm database is locked")
    ]
    runs = await admin.tickets.ListRuns(pb.ListRunsRequest(ticket_id=ticket.id, states=[pb.RUN_STATE_ABNORMAL]))
    assert names_of(runs) == ["bad"]
    bad.outcome = agent_pb2.SCAN_OUTCOME_SUCCEEDED
    await admin.tickets.RetryBatch(pb.RetryBatchRequest(ticket_id=ticket.id))
    last = (await watched(admin, ticket.id))[-1]
    assert last.ticket.state == pb.TICKET_STATE_FINISHED
    assert not last.failed
    assert len(bad.assigned) == 2


def names_of(page: pb.ListRunsResponse) -> list[str]:
    return [r.instance_name for r in page.runs]


async def test_runs_come_in_pages_in_the_order_in_which_they_are_sent(harness: Harness, admin: Stubs) -> None:
    for number in range(5):
        await harness.connect(f"web-{number}", ready=False)
    ticket = await create(admin, batch_policy=pb.BatchPolicy(batch_size=2))
    found, token = list[str](), ""
    while not found or token:
        page = await admin.tickets.ListRuns(pb.ListRunsRequest(ticket_id=ticket.id, page_size=2, page_token=token))
        found += names_of(page)
        token = page.next_page_token
    assert found == [f"web-{n}" for n in range(5)]
    second = await admin.tickets.ListRuns(pb.ListRunsRequest(ticket_id=ticket.id, batch=2))
    assert names_of(second) == ["web-2", "web-3"]
    out = await admin.tickets.ListRuns(pb.ListRunsRequest(ticket_id=ticket.id, states=[pb.RUN_STATE_PROCESSING]))
    assert {r.step for r in out.runs} <= {"sent", "accepted"}
    refused = await refusal(admin.tickets.ListRuns(pb.ListRunsRequest(ticket_id=ticket.id, batch=9)))
    assert refused.code is NOT_FOUND


async def test_tickets_come_newest_first_in_pages_and_by_state(harness: Harness, admin: Stubs) -> None:
    await harness.connect("web-1", ready=False)
    made = [(await create(admin, name=f"n{n}")).id for n in range(4)]
    await admin.tickets.End(pb.EndRequest(ticket_id=made[1]))
    found, token = list[str](), ""
    while not found or token:
        page = await admin.tickets.ListTickets(pb.ListTicketsRequest(page_size=3, page_token=token))
        found += [t.id for t in page.tickets]
        token = page.next_page_token
    assert found == made[::-1]
    ended = await admin.tickets.ListTickets(pb.ListTicketsRequest(states=[pb.TICKET_STATE_CANCELED]))
    assert [t.id for t in ended.tickets] == [made[1]]
    request = pb.ListTicketsRequest(states=[0, 77])  # type: ignore[list-item]
    assert set((await refusal(admin.tickets.ListTickets(request))).fields) == {"states[0]", "states[1]"}


async def test_pause_continue_and_end_say_the_state_and_refuse_what_cannot_be(harness: Harness, admin: Stubs) -> None:
    agent = await harness.connect("web-1", ready=False)
    ticket = await create(admin)
    paused = (await admin.tickets.Pause(pb.PauseRequest(ticket_id=ticket.id, reason="lunch"))).ticket
    assert (paused.state, paused.note) == (pb.TICKET_STATE_PAUSED, "lunch")
    refused = await refusal(admin.tickets.Pause(pb.PauseRequest(ticket_id=ticket.id)))
    assert (refused.code, refused.reason) == (PRECONDITION, "ILLEGAL_MOVE")
    going = (await admin.tickets.Continue(pb.ContinueRequest(ticket_id=ticket.id))).ticket
    assert going.state == pb.TICKET_STATE_PROCESSING
    ended = (await admin.tickets.End(pb.EndRequest(ticket_id=ticket.id, reason="enough"))).ticket
    assert (ended.state, ended.note) == (pb.TICKET_STATE_CANCELED, "enough")
    assert ended.HasField("ended_at")
    agent.gate.set()
    for call in (
        admin.tickets.Continue(pb.ContinueRequest(ticket_id=ticket.id)),
        admin.tickets.RetryBatch(pb.RetryBatchRequest(ticket_id=ticket.id)),
    ):
        assert (await refusal(call)).code is PRECONDITION
    request = pb.PauseRequest(ticket_id=ticket.id, reason="r" * 201)
    assert list((await refusal(admin.tickets.Pause(request))).fields) == ["reason"]


async def test_one_run_can_be_given_up_by_the_instance_s_name(harness: Harness, admin: Stubs) -> None:
    await harness.connect("web-1", ready=False)
    await harness.connect("web-2")
    ticket = await create(admin)
    await admin.tickets.CancelRun(pb.CancelRunRequest(ticket_id=ticket.id, instance="web-1"))
    last = (await watched(admin, ticket.id))[-1].ticket
    assert (last.state, last.counts.canceled, last.counts.succeeded) == (pb.TICKET_STATE_FINISHED, 1, 1)
    request = pb.CancelRunRequest(ticket_id=ticket.id, instance="web-3")
    assert (await refusal(admin.tickets.CancelRun(request))).code is NOT_FOUND


@pytest.mark.parametrize(
    "method", ["GetTicket", "ListRuns", "Watch", "Pause", "Continue", "End", "RetryBatch", "RetryRuns", "CancelBatch"]
)
async def test_a_ticket_that_does_not_exist_is_not_found_and_a_hostile_id_is_named(admin: Stubs, method: str) -> None:
    request = getattr(pb, f"{method}Request")
    refused = await refusal(getattr(admin.tickets, method)(request(ticket_id="T-none")))
    assert (refused.code, refused.reason) == (NOT_FOUND, "NOT_FOUND")
    for called in ("", "T" * 500, "\x1b[2J"):
        refused = await refusal(getattr(admin.tickets, method)(request(ticket_id=called)))
        assert (refused.code, list(refused.fields)) == (INVALID, ["ticket_id"])


async def test_a_stopping_controller_ends_watches_and_tells_agents_when_to_come_back(tmp_path: Path) -> None:
    async with serving(tmp_path) as harness:
        agent = await harness.connect("web-1", ready=False)
        stubs = await harness.admin()
        ticket = await create(stubs)
        watch = stubs.tickets.Watch(pb.WatchRequest(ticket_id=ticket.id))
        await watch.read()
        reading = asyncio.create_task(refusal(watch))
        async with asyncio.timeout(TIMEOUT):  # a watch and a stream that nobody ended would hold it up for ever
            await harness.controller.stop()
        assert (await reading).code is grpc.StatusCode.UNAVAILABLE
        assert agent.farewell
        assert agent.farewell[0].retry_after.ToTimedelta() >= timedelta(seconds=1)


# Reports


async def test_a_scan_s_report_can_be_read_listed_summed_up_explained_and_exported(
    harness: Harness, admin: Stubs
) -> None:
    await harness.connect("web-1")
    await harness.store.fleet.put_instance(an_instance(1, region="cn-east"))
    ticket = await create(admin)
    await watched(admin, ticket.id)
    report = (await admin.reports.GetReport(report_pb2.GetReportRequest(instance="web-1", all_items=True))).report
    assert (report.ticket_id, report.baseline_name) == (ticket.id, "CentOS-Default")
    assert report.status == types_pb2.INSTANCE_STATUS_UNDETERMINED  # R11: it has no repository at all
    assert types_pb2.UNDETERMINED_REASON_NO_REPOS in {r.reason for r in report.reasons}
    assert all(r.detail and r.help for r in report.reasons)
    assert report.inputs.manifest_digest
    assert report.inputs.baseline_version == 1
    listed = (await admin.reports.ListReports(report_pb2.ListReportsRequest())).reports
    assert [r.instance_name for r in listed] == ["ecs-0001", "web-1"]
    assert not any(r.items for r in listed)
    compliant = report_pb2.ListReportsRequest(statuses=[types_pb2.INSTANCE_STATUS_COMPLIANT])
    assert not (await admin.reports.ListReports(compliant)).reports
    summary = await admin.reports.GetSummary(report_pb2.GetSummaryRequest())
    assert (summary.instances, summary.counts.undetermined) == (2, 2)
    assert {g.value for g in summary.groups if g.attribute == "region"} == {"cn-hongkong", "cn-east"}
    assert not summary.HasField("oldest_missing")
    why = await admin.reports.Why(report_pb2.WhyRequest(instance="web-1", package="bash"))
    assert why.instance_name == "web-1"
    assert why.reasons
    exported = [e.report async for e in admin.reports.Export(report_pb2.ExportRequest())]
    assert [r.instance_name for r in exported] == ["ecs-0001", "web-1"]


async def test_reports_come_in_pages(harness: Harness, admin: Stubs) -> None:
    for number in range(1, 6):
        await harness.store.fleet.put_instance(an_instance(number))
    found, token = list[str](), ""
    while not found or token:
        page = await admin.reports.ListReports(report_pb2.ListReportsRequest(page_size=2, page_token=token))
        found += [r.instance_name for r in page.reports]
        token = page.next_page_token
    assert found == [f"ecs-{n:04d}" for n in range(1, 6)]


async def test_a_report_by_another_baseline_is_for_this_answer_only(harness: Harness, admin: Stubs) -> None:
    await harness.store.fleet.put_instance(an_instance(1))
    await make(admin)
    request = report_pb2.GetReportRequest(instance="ecs-0001", baseline="Strict")
    report = (await admin.reports.GetReport(request)).report
    assert (report.baseline_name, report.baseline_source) == ("Strict", "ticket")
    deciding = (await admin.reports.GetReport(report_pb2.GetReportRequest(instance="ecs-0001"))).report
    assert (deciding.baseline_name, deciding.baseline_source) == ("CentOS-Default", "default")
    request.baseline = "Lax"
    assert (await refusal(admin.reports.GetReport(request))).code is NOT_FOUND


async def test_page_sizes_and_tokens_are_checked_by_every_list(admin: Stubs) -> None:
    lists = (
        (admin.fleet.ListInstances, fleet_pb2.ListInstancesRequest),
        (admin.fleet.ListEnrolmentTokens, fleet_pb2.ListEnrolmentTokensRequest),
        (admin.baselines.ListBaselines, bpb.ListBaselinesRequest),
        (admin.tickets.ListTickets, ticket_pb2.ListTicketsRequest),
        (admin.reports.ListReports, report_pb2.ListReportsRequest),
    )
    for method, request in lists:
        for wrong, field in (
            ({"page_size": 1001}, "page_size"),
            ({"page_size": -1}, "page_size"),
            ({"page_token": "x"}, "page_token"),
        ):
            assert list((await refusal(method(request(**wrong)))).fields) == [field]
