"""The audit log around a real controller: every change is in it before it happens, and a changed log is seen."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from common.errors import Unavailable
from common.pb.v1 import agent_pb2, audit_pb2, baseline_pb2, fleet_pb2, ticket_pb2
from controller.api.auth import ACCESS, Peer
from controller.api.recording import NOTED, READS, VIEWERS_CHANGES, detail_of, is_recorded
from controller.app import DATABASE
from controller.audit.chain import Broken, verify
from controller.audit.model import AuditEntry, AuditFilter, AuditKind, Deed
from controller.fleet.model import Role
from controller.store.sqlite import SqliteStore
from tests.integration.api_harness import Harness, refusal, serving
from tests.unit.test_audit_chain import a_chain


async def recorded(harness: Harness) -> list[AuditEntry]:
    return list(await harness.store.audit.entries_after(0, 1000))


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with serving(tmp_path) as made:
        yield made


def told(entries: list[AuditEntry]) -> list[tuple[AuditKind, str, str, str]]:
    return [(e.deed.kind, e.deed.method, e.deed.operator, e.deed.subject) for e in entries]


async def test_a_start_and_a_change_are_written_down_the_change_before_and_after(harness: Harness) -> None:
    made = await (await harness.admin()).fleet.CreateEnrolmentToken(
        fleet_pb2.CreateEnrolmentTokenRequest(note="rack 4")
    )
    start, token, attempt, done = await recorded(harness)
    assert (start.deed.kind, start.deed.method, start.deed.operator) == (AuditKind.NOTED, "controller started", "")
    assert (token.deed.kind, token.deed.method) == (AuditKind.NOTED, "operator token made")
    assert attempt.deed.kind is AuditKind.ATTEMPTED
    assert attempt.deed.detail == '{"note":"rack 4"}'
    assert (done.deed.kind, done.deed.attempt, done.deed.subject) == (AuditKind.DONE, attempt.number, made.token.id)
    assert made.secret not in str(await recorded(harness))
    assert attempt.deed.peer.startswith("ipv4:127.0.0.1")
    assert verify(await recorded(harness)) == await harness.store.audit.head()


async def test_reading_is_not_written_down(harness: Harness) -> None:
    begun = await recorded(harness)
    await (await harness.admin()).fleet.ListInstances(fleet_pb2.ListInstancesRequest())
    await (await harness.admin()).tickets.Preview(ticket_pb2.PreviewRequest(spec={"selector": {"all": True}}))
    assert await recorded(harness) == begun


async def test_what_is_refused_is_written_down_with_the_sentence(harness: Harness) -> None:
    said = await refusal(
        (await harness.admin()).tickets.Pause(ticket_pb2.PauseRequest(ticket_id="T-NONE", reason="lunch"))
    )
    attempt, refused = (await recorded(harness))[2:]
    assert told([refused]) == [(AuditKind.REFUSED, "TicketService/Pause", "admin", "T-NONE")]
    assert refused.deed.detail == said.sentence
    assert refused.deed.attempt == attempt.number


async def test_what_somebody_may_not_do_is_written_down_and_nothing_else_happens(harness: Harness) -> None:
    said = await refusal(
        (await harness.operator(Role.VIEWER)).baselines.DeleteBaseline(baseline_pb2.DeleteBaselineRequest(baseline="x"))
    )
    assert said.code is grpc.StatusCode.PERMISSION_DENIED
    (denied,) = (await recorded(harness))[2:]
    assert (denied.deed.kind, denied.deed.attempt, denied.deed.detail) == (AuditKind.REFUSED, 0, said.sentence)


async def test_callers_whom_nobody_knows_cannot_fill_the_log(harness: Harness) -> None:
    begun = await recorded(harness)
    stranger = harness.stubs("pwa_nobody")
    for _ in range(3):
        await refusal(stranger.fleet.DeleteInstance(fleet_pb2.DeleteInstanceRequest(instance="x")))
    assert await recorded(harness) == begun


async def test_a_change_that_cannot_be_written_down_is_not_made(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(deed: Deed) -> AuditEntry:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(harness.store.audit, "append", full)
    said = await refusal((await harness.admin()).fleet.CreateEnrolmentToken(fleet_pb2.CreateEnrolmentTokenRequest()))
    assert said.code is grpc.StatusCode.UNAVAILABLE
    assert await harness.store.fleet.enrolment_tokens(10, None) == ()


async def test_an_enrolment_is_written_down(harness: Harness) -> None:
    agent = await harness.enrol("ecs-1")
    noted = [e for e in await recorded(harness) if e.deed.method == "AgentService/Enroll"]
    assert [(e.deed.kind, e.deed.subject) for e in noted] == [(AuditKind.NOTED, agent.instance_id)]


async def test_an_admin_reads_it_a_viewer_does_not(harness: Harness) -> None:
    await (await harness.admin()).fleet.CreateEnrolmentToken(fleet_pb2.CreateEnrolmentTokenRequest())
    page = await (await harness.admin()).audit.ListAuditEntries(audit_pb2.ListAuditEntriesRequest(page_size=2))
    assert [e.number for e in page.entries] == [4, 3]
    rest = await (await harness.admin()).audit.ListAuditEntries(
        audit_pb2.ListAuditEntriesRequest(page_size=2, page_token=page.next_page_token)
    )
    assert [e.number for e in rest.entries] == [2, 1]
    said = await refusal((await harness.operator(Role.VIEWER)).audit.ListAuditChain(audit_pb2.ListAuditChainRequest()))
    assert said.code is grpc.StatusCode.PERMISSION_DENIED
    assert await harness.store.audit.newest(AuditFilter(method="audit"), 5, None) == ()


def test_every_call_that_may_change_something_is_recorded_or_said_to_be_a_read() -> None:
    for method, need in ACCESS.items():
        changes = need in (Role.OPERATOR, Role.ADMIN)
        assert is_recorded(method) == ((changes and method not in READS) or method in VIEWERS_CHANGES), method
    assert {method for method in READS if ACCESS[method] is Role.VIEWER} == set()
    assert all(ACCESS[method] is Role.VIEWER for method in VIEWERS_CHANGES)
    assert all(isinstance(ACCESS[method], Peer) for method in NOTED)


def test_a_request_is_told_without_its_secrets_and_cut_to_size() -> None:
    told = detail_of(agent_pb2.EnrollRequest(token="pwe_very_secret"))
    assert "very_secret" not in told
    assert "not written down" in told
    long = baseline_pb2.AssignBaselineRequest(baseline="b" * 5000)
    assert len(detail_of(long)) < 2001
    assert "5002 characters" in detail_of(long)


@pytest.mark.parametrize(
    ("statement", "number"),
    [
        ("UPDATE audit_entry SET operator = 'nobody' WHERE number = 4", 4),
        ("UPDATE audit_entry SET at = at - 1 WHERE number = 2", 2),
        ("DELETE FROM audit_entry WHERE number = 3", 3),
    ],
)
async def test_a_database_that_was_tampered_with_is_seen(tmp_path: Path, statement: str, number: int) -> None:
    path = tmp_path / DATABASE
    store = SqliteStore.open(path)
    for entry in a_chain(6):
        await store.audit.append(entry.deed)
    head = await store.audit.head()
    assert verify(await store.audit.entries_after(0, 100)) == head
    await store.close()
    with sqlite3.connect(path) as database:
        database.execute(statement)
    database.close()
    store = SqliteStore.open(path)
    found: Any = verify(await store.audit.entries_after(0, 100))
    await store.close()
    assert isinstance(found, Broken)
    assert found.number == number
