"""Tickets across accounts: in another account's instances only by an agency that it granted, and only as long as that holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from common.pb.v1 import account_pb2, agent_pb2, fleet_pb2, report_pb2, schedule_pb2, types_pb2
from common.pb.v1 import ticket_pb2 as pb
from controller.fleet.model import Role
from tests.integration.api_harness import TIMEOUT, Agent, Harness, Stubs, refusal, serving

ALL = fleet_pb2.Selector(all=True)
SCAN, VIEW = account_pb2.AGENCY_PERMISSION_SCAN, account_pb2.AGENCY_PERMISSION_VIEW
DENIED = grpc.StatusCode.PERMISSION_DENIED


class Two:
    """The account "default", which scans, and "acme", whose hosts are scanned; each has one host."""

    def __init__(self, harness: Harness, ours: Stubs, theirs: Stubs, own: Agent, foreign: Agent) -> None:
        self.harness, self.ours, self.theirs, self.own, self.foreign = harness, ours, theirs, own, foreign

    async def grant(
        self, name: str = "scans", permission: Any = SCAN, trusted: str = "default", **changes: Any
    ) -> None:
        agency = account_pb2.Agency(name=name, trusted_account=trusted, permission=permission, **changes)
        await self.theirs.account.CreateAgency(account_pb2.CreateAgencyRequest(agency=agency))

    async def revoke(self, name: str = "scans") -> None:
        await self.theirs.account.RevokeAgency(account_pb2.RevokeAgencyRequest(name=name))

    async def preview(self, spec: pb.TicketSpec) -> pb.PreviewResponse:
        answer: pb.PreviewResponse = await self.ours.tickets.Preview(pb.PreviewRequest(spec=spec))
        return answer

    async def create(self, spec: pb.TicketSpec) -> pb.Ticket:
        made: pb.CreateTicketResponse = await self.ours.tickets.CreateTicket(pb.CreateTicketRequest(spec=spec))
        return made.ticket

    async def ended(self, ticket: pb.Ticket) -> pb.Ticket:
        async with asyncio.timeout(TIMEOUT):
            last = ticket
            async for change in self.ours.tickets.Watch(pb.WatchRequest(ticket_id=ticket.id)):
                last = change.ticket
        return last

    async def runs(self, ticket: pb.Ticket) -> dict[str, pb.Run]:
        answer = await self.ours.tickets.ListRuns(pb.ListRunsRequest(ticket_id=ticket.id))
        return {run.instance_name: run for run in answer.runs}


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    async with serving(tmp_path / "data") as harness:
        theirs = await harness.operator(Role.ADMIN, name="zed", account="acme")
        await harness.seed("acme")
        token = (await theirs.fleet.CreateEnrolmentToken(fleet_pb2.CreateEnrolmentTokenRequest())).secret
        foreign = await harness.connect("acme-host", token=token)
        own = await harness.connect("own-host")
        yield Two(harness, await harness.admin(), theirs, own, foreign)


def across(*accounts: str, **changes: Any) -> pb.TicketSpec:
    """A scan of everybody in these accounts, each "account" or "account=agency"."""
    named = [pb.ExecutionAccount(account=a.partition("=")[0], agency=a.partition("=")[2]) for a in accounts]
    return pb.TicketSpec(selector=ALL, execution_accounts=named, **changes)


def ahead(length: timedelta) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(datetime.now(UTC) + length)
    return stamp


async def test_a_ticket_of_a_single_account_never_reaches_another_even_with_an_agency(two: Two) -> None:
    await two.grant()
    ticket = await two.ended(await two.create(pb.TicketSpec(selector=ALL)))
    assert set(await two.runs(ticket)) == {"own-host"}
    assert not two.foreign.assigned
    selector = fleet_pb2.Selector(all=True, accounts=["acme"])
    refused = await refusal(two.preview(pb.TicketSpec(selector=selector)))
    assert set(refused.fields) == {"selector.accounts"}


async def test_an_agency_lets_one_ticket_work_in_several_accounts(two: Two) -> None:
    await two.grant()
    would = await two.preview(across("default", "acme=scans"))
    assert (would.targets, list(would.refused_accounts)) == (2, [])
    ticket = await two.ended(await two.create(across("default", "acme=scans")))
    assert {n: r.outcome for n, r in (await two.runs(ticket)).items()} == {
        "own-host": pb.RUN_OUTCOME_SUCCEEDED,
        "acme-host": pb.RUN_OUTCOME_SUCCEEDED,
    }
    assert (ticket.account, ticket.state) == ("default", pb.TICKET_STATE_FINISHED)
    assert not (await two.theirs.tickets.ListTickets(pb.ListTicketsRequest())).tickets
    report = (await two.theirs.reports.GetReport(report_pb2.GetReportRequest(instance="acme-host"))).report
    assert report.ticket_id in ("", ticket.id)
    assert report.status != types_pb2.INSTANCE_STATUS_UNSPECIFIED
    only = await two.preview(across("acme=scans"))
    assert [list(b.instance_names) for b in only.batches] == [["acme-host"]]


@pytest.mark.parametrize(
    ("granted", "sentence"),
    [
        ({"name": "other"}, "the account acme grants default no agency scans; an admin of acme can grant it:"),
        ({"trusted": "partner"}, "the account acme grants default no agency scans; an admin of acme can grant it:"),
        ({"permission": VIEW}, "the agency scans of the account acme allows VIEW only, this needs SCAN;"),
    ],
)
async def test_a_missing_or_insufficient_agency_says_what_to_grant_and_the_others_go_on_if_the_operator_chose_so(
    two: Two, granted: dict[str, Any], sentence: str
) -> None:
    await two.grant(**granted)
    for call in (two.preview, two.create):
        refused = await refusal(call(across("default", "acme=scans")))
        assert refused.code is DENIED
        assert refused.sentence.startswith(sentence)
        assert "patchctl agency create scans --trust default --permission SCAN" in refused.sentence
    would = await two.preview(across("default", "acme=scans", go_on_without_agency=True))
    assert (would.targets, [r.account for r in would.refused_accounts]) == (1, ["acme"])
    ticket = await two.ended(await two.create(across("default", "acme=scans", go_on_without_agency=True)))
    assert set(await two.runs(ticket)) == {"own-host"}
    (left_out,) = ticket.refused_accounts
    assert (left_out.account, left_out.agency) == ("acme", "scans")
    assert left_out.sentence.startswith(sentence)
    refused = await refusal(two.create(across("acme=scans", go_on_without_agency=True)))
    assert refused.sentence.startswith(sentence)
    assert not two.foreign.assigned


async def test_an_account_that_does_not_exist_is_told_as_one_that_grants_nothing(two: Two) -> None:
    there = await refusal(two.preview(across("acme=scans")))
    nowhere = await refusal(two.preview(across("nowhere=scans")))
    assert there.sentence.replace("acme", "X") == nowhere.sentence.replace("nowhere", "X")


async def test_what_is_named_wrongly_is_refused_by_its_field(two: Two) -> None:
    refused = await refusal(two.preview(across("acme")))
    assert set(refused.fields) == {"execution_accounts[0].agency"}
    refused = await refusal(two.preview(across("default", "acme=scans", "acme=other")))
    assert (
        set(refused.fields) == {"spec.execution_accounts[2].account"}
        or "execution_accounts[2].account" in refused.fields
    )
    refused = await refusal(two.preview(pb.TicketSpec(selector=ALL, go_on_without_agency=True)))
    assert set(refused.fields) == {"go_on_without_agency"}


async def test_who_is_bound_to_enterprise_projects_works_in_no_other_account(two: Two) -> None:
    await two.grant()
    bea = await two.harness.operator(Role.ADMIN, name="bea", enterprise_projects=["shop"])
    refused = await refusal(bea.tickets.Preview(pb.PreviewRequest(spec=across("acme=scans"))))
    assert refused.code is DENIED
    assert "bound to the enterprise projects shop" in refused.sentence


async def test_when_an_agency_is_revoked_while_a_ticket_is_under_way_nothing_more_is_sent_there(two: Two) -> None:
    await two.grant()
    two.own.gate.clear()
    policy = pb.BatchPolicy(
        kind=pb.BATCH_POLICY_KIND_MANUAL_BATCH,
        batches=[pb.ManualBatch(instances=["own-host"]), pb.ManualBatch(instances=["acme-host"])],
    )
    ticket = await two.create(across("default", "acme=scans", batch_policy=policy))
    async with asyncio.timeout(TIMEOUT):
        while not two.own.assigned:
            await asyncio.sleep(0.05)
    await two.revoke()
    two.own.gate.set()
    ended = await two.ended(ticket)
    run = (await two.runs(ended))["acme-host"]
    assert run.outcome == pb.RUN_OUTCOME_SKIPPED
    assert "the agency scans of the account acme was revoked" in run.error
    assert not two.foreign.assigned


async def test_VIEW_shows_another_account_s_instances_and_reports_to_who_asks_for_them_by_name(two: Two) -> None:
    theirs = fleet_pb2.Selector(all=True, accounts=["acme"])

    async def seen(selector: fleet_pb2.Selector | None = None) -> list[str]:
        answer = await two.ours.fleet.ListInstances(fleet_pb2.ListInstancesRequest(selector=selector))
        return [i.name for i in answer.instances]

    refused = await refusal(two.ours.fleet.ListInstances(fleet_pb2.ListInstancesRequest(selector=theirs)))
    assert refused.sentence.endswith("patchctl agency create NAME --trust default --permission VIEW")
    await two.grant("looks", VIEW)
    assert await seen() == ["own-host"]
    assert await seen(theirs) == ["acme-host"]
    assert await seen(fleet_pb2.Selector(all=True, accounts=["acme", "default"])) == ["acme-host", "own-host"]
    found = await two.ours.fleet.GetInstance(fleet_pb2.GetInstanceRequest(instance="acme-host"))
    assert found.instance.account == "acme"
    report = await two.ours.reports.GetReport(report_pb2.GetReportRequest(instance=two.foreign.instance_id))
    assert report.report.instance_name == "acme-host"
    edit = fleet_pb2.RetireInstanceRequest(instance="acme-host")
    assert (await refusal(two.ours.fleet.RetireInstance(edit))).code is grpc.StatusCode.NOT_FOUND
    await two.revoke("looks")
    assert (await refusal(two.ours.fleet.ListInstances(fleet_pb2.ListInstancesRequest(selector=theirs)))).code is DENIED
    get = fleet_pb2.GetInstanceRequest(instance="acme-host")
    assert (await refusal(two.ours.fleet.GetInstance(get))).code is grpc.StatusCode.NOT_FOUND


async def test_an_agency_that_has_ended_lets_nobody_in(two: Two) -> None:
    await two.grant(expires_at=ahead(timedelta(seconds=2)))
    await two.preview(across("acme=scans"))
    await asyncio.sleep(2.5)
    refused = await refusal(two.preview(across("acme=scans")))
    assert refused.sentence.startswith("the agency scans of the account acme ended at ")


async def test_a_schedule_works_across_accounts_by_its_agency_and_says_in_its_history_when_that_is_missing(
    two: Two,
) -> None:
    await two.grant()
    daily = schedule_pb2.Schedule(kind=schedule_pb2.SCHEDULE_KIND_CRON, cron="0 0 3 * * ?")
    task = schedule_pb2.ScheduledTask(name="nightly", schedule=daily, agency="scans", spec=across("default", "acme"))
    made = (await two.ours.schedules.CreateSchedule(schedule_pb2.CreateScheduleRequest(task=task, enable=True))).task
    assert [e.agency for e in made.spec.execution_accounts] == ["", "scans"]
    run = (await two.ours.schedules.RunSchedule(schedule_pb2.RunScheduleRequest(schedule="nightly"))).run
    ticket = await two.ended(pb.Ticket(id=run.ticket_id))
    assert set(await two.runs(ticket)) == {"own-host", "acme-host"}
    await two.revoke()
    request = schedule_pb2.RunScheduleRequest(schedule="nightly")
    refused = await refusal(two.ours.schedules.RunSchedule(request))
    assert refused.sentence.startswith("the agency scans of the account acme was revoked")


@pytest.mark.parametrize("account", ["acme", "default"])
async def test_a_host_with_another_account_s_machine_id_gets_nobody_into_quarantine(two: Two, account: str) -> None:
    agents = list[Agent]()
    for name, calls in (("twin-1", two.theirs), ("twin-2", two.theirs if account == "acme" else two.ours)):
        token = (await calls.fleet.CreateEnrolmentToken(fleet_pb2.CreateEnrolmentTokenRequest())).secret
        agents.append(await two.harness.connect(name, token=token, machine_id="m-1", boot_id=f"boot of {name}"))
    for _ in range(3):
        for agent in agents:
            agent._say(heartbeat=agent_pb2.Heartbeat())
            await asyncio.sleep(0.1)

    async def held() -> list[bool]:
        request = fleet_pb2.GetInstanceRequest
        found = [await two.theirs.fleet.GetInstance(request(instance="twin-1"))]
        found.append(
            await (two.theirs if account == "acme" else two.ours).fleet.GetInstance(request(instance="twin-2"))
        )
        return [answer.instance.HasField("quarantine") for answer in found]

    if account == "default":
        assert await held() == [False, False]
        return
    async with asyncio.timeout(TIMEOUT):  # in one account the two are clones
        while await held() != [True, True]:
            await asyncio.sleep(0.1)
