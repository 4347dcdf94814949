"""Tickets over the wire: careful ones, two on one instance, retries of single runs, the log of a run, edited batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from common.pb.v1 import agent_pb2, fleet_pb2
from common.pb.v1 import ticket_pb2 as pb
from tests.builders import an_instance
from tests.integration.api_harness import TIMEOUT, Harness, Stubs, refusal, serving


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with serving(tmp_path) as made:
        yield made


@pytest.fixture
async def admin(harness: Harness) -> Stubs:
    return await harness.admin()


ONE_AT_A_TIME = pb.BatchPolicy(batch_size=1, group_share_percent=100)


async def create(stubs: Stubs, **changes: Any) -> pb.Ticket:
    spec = pb.TicketSpec(selector=fleet_pb2.Selector(all=True), **changes)
    answer: pb.CreateTicketResponse = await stubs.tickets.CreateTicket(pb.CreateTicketRequest(spec=spec))
    return answer.ticket


async def until(stubs: Stubs, ticket: str, done: Any) -> pb.Ticket:
    """The ticket as soon as it is as wanted."""
    async with asyncio.timeout(TIMEOUT):
        while not done(found := (await stubs.tickets.GetTicket(pb.GetTicketRequest(ticket_id=ticket))).ticket):
            await asyncio.sleep(0.02)
    return found  # type: ignore[no-any-return]  # a protobuf message


async def test_a_canary_holds_and_says_that_it_waits_for_continue(harness: Harness, admin: Stubs) -> None:
    for n in (1, 2, 3):
        await harness.connect(f"web-{n}")
    policy = pb.BatchPolicy(canary=pb.Canary(instances=1, wait=True), group_share_percent=100)
    ticket = await create(admin, batch_policy=policy)
    assert [b.canary for b in ticket.batches] == [True, False]
    held = await until(admin, ticket.id, lambda t: t.state == pb.TICKET_STATE_PAUSED)
    assert (held.waiting_for, held.counts.succeeded, held.counts.ready) == (pb.TICKET_WAIT_CONTINUE, 1, 2)
    await admin.tickets.Continue(pb.ContinueRequest(ticket_id=ticket.id))
    assert (await until(admin, ticket.id, lambda t: t.state == pb.TICKET_STATE_FINISHED)).counts.succeeded == 3


async def test_a_soaking_ticket_says_until_when_it_waits(harness: Harness, admin: Stubs) -> None:
    for n in (1, 2):
        await harness.connect(f"web-{n}")
    policy = pb.BatchPolicy(batch_size=1, soak=Duration(seconds=3600))
    ticket = await create(admin, batch_policy=policy, ticket_timeout=Duration(seconds=7200))
    soaking = await until(admin, ticket.id, lambda t: t.waiting_for == pb.TICKET_WAIT_SOAK)
    ended = soaking.batches[0].ended_at.ToDatetime()
    assert soaking.waiting_until.ToDatetime() - ended == timedelta(hours=1)
    assert soaking.expires_at.ToDatetime() - soaking.created_at.ToDatetime() > timedelta(minutes=119)


async def test_two_tickets_on_one_instance_queue_and_the_runs_and_the_watch_say_so(
    harness: Harness, admin: Stubs
) -> None:
    agent = await harness.connect("web-1", ready=False)
    first = await create(admin)
    second = await create(admin)
    waits = await until(admin, second.id, lambda t: t.waiting_for == pb.TICKET_WAIT_OTHER_TICKETS)
    assert (waits.counts.ready, waits.waiting_runs) == (1, 1)
    (run,) = (await admin.tickets.ListRuns(pb.ListRunsRequest(ticket_id=second.id))).runs
    assert (run.state, run.waits_for) == (pb.RUN_STATE_READY, first.id)
    async for said in admin.tickets.Watch(pb.WatchRequest(ticket_id=second.id)):
        if said.waiting:
            assert [r.waits_for for r in said.waiting] == [first.id]
            agent.gate.set()
    for ticket in (first, second):
        await until(admin, ticket.id, lambda t: t.state == pb.TICKET_STATE_FINISHED)


async def test_an_offline_instance_can_be_selected_only_by_who_waits_for_it(harness: Harness, admin: Stubs) -> None:
    await harness.connect("web-1")
    await harness.store.fleet.put_instance(an_instance(9, name="web-9", last_seen_at=datetime(2026, 11, 1, tzinfo=UTC)))
    spec = pb.TicketSpec(selector=fleet_pb2.Selector(all=True))
    plain = await admin.tickets.Preview(pb.PreviewRequest(spec=spec))
    assert (plain.targets, [n.instance_name for n in plain.not_selectable]) == (1, ["web-9"])
    spec.offline.wait.seconds = 3600
    waiting = await admin.tickets.Preview(pb.PreviewRequest(spec=spec))
    assert (waiting.targets, list(waiting.not_selectable)) == (2, [])
    ticket = await create(admin, offline=pb.OfflinePolicy(wait=Duration(seconds=3600)), batch_policy=ONE_AT_A_TIME)
    found = await until(admin, ticket.id, lambda t: t.waiting_for == pb.TICKET_WAIT_AGENTS)
    assert found.waiting_until.ToDatetime() - found.created_at.ToDatetime() == timedelta(hours=1)
    spec.offline.until.FromDatetime(datetime.now(UTC) + timedelta(days=1))
    refused = await refusal(admin.tickets.Preview(pb.PreviewRequest(spec=spec)))
    assert list(refused.fields) == ["offline"]
    spec.offline.Clear()
    spec.offline.until.FromDatetime(datetime(2020, 1, 1, tzinfo=UTC))
    refused = await refusal(admin.tickets.Preview(pb.PreviewRequest(spec=spec)))
    assert "is past" in refused.fields["offline.until"]


async def test_a_failed_instance_is_retried_alone_and_its_log_has_both_attempts(harness: Harness, admin: Stubs) -> None:
    bad = await harness.connect("web-1", outcome=agent_pb2.SCAN_OUTCOME_FAILED)
    await harness.connect("web-2")
    ticket = await create(admin, suspension_policy=pb.SuspensionPolicy(success_rate_tenths=0))
    ended = await until(admin, ticket.id, lambda t: t.state == pb.TICKET_STATE_ABNORMAL)
    assert (ended.counts.failed, ended.counts.succeeded) == (1, 1)
    request = pb.RetryRunsRequest(ticket_id=ticket.id, instances=["web-2"])
    assert (await refusal(admin.tickets.RetryRuns(request))).reason == "ILLEGAL_MOVE"
    bad.outcome = agent_pb2.SCAN_OUTCOME_SUCCEEDED
    await admin.tickets.RetryRuns(pb.RetryRunsRequest(ticket_id=ticket.id, instances=["web-1"]))
    await until(admin, ticket.id, lambda t: t.state == pb.TICKET_STATE_FINISHED)
    log = await admin.tickets.GetRunLog(pb.GetRunLogRequest(ticket_id=ticket.id, instance="web-1"))
    steps = [(s.attempt, s.name) for s in log.steps]
    assert steps[:3] == [(1, "queued"), (1, "promised"), (1, "sent")]
    assert [step for step in steps if step[1] in ("promised", "stored", "ended")] == [
        (attempt, name) for attempt in (1, 2) for name in ("promised", "stored", "ended")
    ]
    assert [s.at.ToDatetime() for s in log.steps] == sorted(s.at.ToDatetime() for s in log.steps)
    refused = await refusal(admin.tickets.GetRunLog(pb.GetRunLogRequest(ticket_id=ticket.id, instance="web-9")))
    assert refused.code is grpc.StatusCode.NOT_FOUND


async def test_what_was_not_sent_when_the_tickets_time_was_over_is_canceled(harness: Harness, admin: Stubs) -> None:
    for n in (1, 2):
        await harness.connect(f"web-{n}", ready=False)
    ticket = await create(admin, batch_policy=ONE_AT_A_TIME, ticket_timeout=Duration(seconds=4))
    ended = await until(admin, ticket.id, lambda t: t.HasField("timed_out_at"))
    assert (ended.state, ended.abnormal_cause) == (pb.TICKET_STATE_ABNORMAL, pb.ABNORMAL_CAUSE_TIMED_OUT)
    assert (ended.counts.timeout, ended.counts.canceled) == (1, 1)
    assert ended.note == "its 4 s were over: 1 not sent, 1 without an answer"


async def test_the_batches_of_a_preview_can_be_edited_and_sent_back(harness: Harness, admin: Stubs) -> None:
    for n in (1, 2, 3):
        await harness.connect(f"web-{n}")
    spec = pb.TicketSpec(selector=fleet_pb2.Selector(all=True))
    planned = (await admin.tickets.Preview(pb.PreviewRequest(spec=spec))).batches
    ids = [i for batch in planned for i in batch.instance_ids]
    moved = [pb.ManualBatch(instances=ids[2:]), pb.ManualBatch(instances=ids[:2])]
    policy = pb.BatchPolicy(kind=pb.BATCH_POLICY_KIND_MANUAL_BATCH, batches=moved, canary=pb.Canary(wait=False))
    spec.batch_policy.CopyFrom(policy)
    edited = (await admin.tickets.Preview(pb.PreviewRequest(spec=spec))).batches
    assert [list(b.instance_ids) for b in edited] == [ids[2:], ids[:2]]
    assert [b.canary for b in edited] == [True, False]
    spec.batch_policy.batches[0].instances.append(ids[0])
    refused = await refusal(admin.tickets.Preview(pb.PreviewRequest(spec=spec)))
    assert list(refused.fields) == ["batch_policy.batches[1].instances[0]"]


async def test_an_instance_that_is_retired_after_the_ticket_was_made_is_skipped_and_says_why(
    harness: Harness, admin: Stubs
) -> None:
    first, second = [await harness.connect(f"web-{n}", ready=False) for n in (1, 2)]
    ticket = await create(admin, batch_policy=ONE_AT_A_TIME)
    await until(admin, ticket.id, lambda _: first.assigned)
    await admin.fleet.RetireInstance(fleet_pb2.RetireInstanceRequest(instance="web-2"))
    first.gate.set()
    ended = await until(admin, ticket.id, lambda t: t.state == pb.TICKET_STATE_FINISHED)
    assert (ended.counts.succeeded, ended.counts.skipped) == (1, 1)
    assert not second.assigned
    runs = (await admin.tickets.ListRuns(pb.ListRunsRequest(ticket_id=ticket.id))).runs
    assert [(r.instance_name, r.outcome, r.error) for r in runs if r.error] == [
        (
            "web-2",
            pb.RUN_OUTCOME_SKIPPED,
            "the instance was retired; to take it back: patchctl instances restore web-2",
        )
    ]
