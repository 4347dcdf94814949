"""Who is let in, who may do what, and what those are told who may not: over real mutual TLS."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from common import tls
from common.pb.v1 import account_pb2, agent_pb2, fleet_pb2, ticket_pb2
from common.tls import Authority, Credential
from controller.api.auth import ACCESS, Peer
from controller.api.server import SERVICES
from controller.fleet.model import Role
from tests.integration.api_harness import Harness, Stubs, refusal, serving

UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
LATER = timedelta(days=30)


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with serving(tmp_path) as made:
        yield made


def authority() -> Authority:
    return Authority(Authority.create("somebody else", datetime.now(UTC), LATER))


async def whoami(stubs: Stubs) -> account_pb2.WhoAmIResponse:
    answer: account_pb2.WhoAmIResponse = await stubs.account.WhoAmI(account_pb2.WhoAmIRequest(), timeout=60)
    return answer


async def test_a_peer_without_a_certificate_does_not_get_through_tls(harness: Harness) -> None:
    credentials = grpc.ssl_channel_credentials(harness.join.ca_pem)
    async with aio.secure_channel(harness.controller.address, credentials) as channel:
        call = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
        assert (await refusal(call)).code is grpc.StatusCode.UNAVAILABLE


async def test_a_foreign_certificate_does_not_get_through_tls_whatever_it_claims(harness: Harness) -> None:
    foreign, key = authority(), tls.new_key()
    chain = foreign.issue_agent(tls.read_request(tls.new_request(key)), datetime.now(UTC), LATER)
    for credential in (Credential(chain, key), foreign.issue_join(datetime.now(UTC), LATER).credential):
        stubs = harness.stubs(harness.controller.first_token, credential)
        call = stubs.account.WhoAmI(account_pb2.WhoAmIRequest(), timeout=60)
        assert (await refusal(call)).code is grpc.StatusCode.UNAVAILABLE


async def test_the_server_s_own_certificate_makes_nobody_a_caller(harness: Harness) -> None:
    pem = (harness.data / "server.pem").read_bytes()
    chain, _, key = pem.partition(b"-----BEGIN PRIVATE KEY")
    stubs = harness.stubs(harness.controller.first_token, Credential(chain, b"-----BEGIN PRIVATE KEY" + key))
    refused = await refusal(stubs.account.WhoAmI(account_pb2.WhoAmIRequest(), timeout=60))
    assert refused.code in (grpc.StatusCode.UNAVAILABLE, UNAUTHENTICATED)


async def test_the_join_credential_is_enough_for_health_and_reflection(harness: Harness) -> None:
    channel = harness.stubs().channel
    for service in ("", *SERVICES):
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    async for said in reflection.ServerReflectionInfo(iter([asked])):
        assert set(SERVICES) <= {s.name for s in said.list_services_response.service}
        break


async def test_the_first_token_says_admin(harness: Harness) -> None:
    answer = await whoami(await harness.admin())
    assert (answer.name, answer.role) == ("admin", account_pb2.ROLE_ADMIN)


@pytest.mark.parametrize("token", [None, "pwa_nobody-has-this", "x" * 5000])
async def test_without_a_token_that_somebody_has_nobody_is_served(harness: Harness, token: str | None) -> None:
    refused = await refusal(harness.stubs(token).account.WhoAmI(account_pb2.WhoAmIRequest()))
    assert (refused.code, refused.reason) == (UNAUTHENTICATED, "UNAUTHENTICATED")
    assert "patchctl login" in refused.sentence


@pytest.mark.parametrize("value", ["Basic YTpi", "Bearer", "Bearer ", "pwa_naked", ""])
async def test_an_authorization_in_another_form_is_refused(harness: Harness, value: str) -> None:
    call = harness.stubs().account.WhoAmI(account_pb2.WhoAmIRequest(), metadata=[("authorization", value)])
    assert (await refusal(call)).code is UNAUTHENTICATED


async def test_two_authorizations_are_refused(harness: Harness) -> None:
    one = ("authorization", f"Bearer {harness.controller.first_token}")
    call = harness.stubs().account.WhoAmI(account_pb2.WhoAmIRequest(), metadata=[one, one])
    assert (await refusal(call)).code is UNAUTHENTICATED


async def test_a_token_that_has_expired_is_refused_and_says_so(harness: Harness) -> None:
    stubs = await harness.operator(Role.ADMIN, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert "has expired" in (await refusal(stubs.account.WhoAmI(account_pb2.WhoAmIRequest()))).sentence


async def test_a_refusal_is_logged_with_who_and_what_and_never_the_token(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        await refusal(harness.stubs("pwa_secret-of-somebody").account.WhoAmI(account_pb2.WhoAmIRequest()))
    [record] = [r for r in caplog.records if r.message == "call refused"]
    facts = vars(record)
    assert facts["method"] == "/patchwarden.v1.AccountService/WhoAmI"
    assert facts["certificate"] == tls.JOIN_URI
    assert "127.0.0.1" in facts["peer"]
    assert "secret-of-somebody" not in caplog.text + str([vars(r) for r in caplog.records])


@pytest.mark.parametrize("role", Role)
async def test_each_role_may_do_what_the_table_says_and_no_more(harness: Harness, role: Role) -> None:
    stubs = await harness.operator(role)
    rank = list(Role)
    for method, need in ACCESS.items():
        if not isinstance(need, Role) or method.endswith(("/Watch", "/Export")):
            continue
        call = stubs.channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)(b"", timeout=60)
        try:
            await call
            code = grpc.StatusCode.OK
        except aio.AioRpcError as error:
            code = error.code()
        assert (code is DENIED) == (rank.index(role) < rank.index(need)), f"{role} {method}: {code}"
        assert code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED), method


@pytest.mark.parametrize("method", [m for m, need in ACCESS.items() if isinstance(need, Role)])
async def test_an_agent_s_certificate_alone_opens_no_operator_s_call(harness: Harness, method: str) -> None:
    agent = await harness.enrol("web-1")
    call = agent.stubs.channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)(
        b"", timeout=60
    )
    assert (await refusal(call)).code is UNAUTHENTICATED


async def test_an_rpc_that_does_not_exist_is_unimplemented(harness: Harness) -> None:
    call = (await harness.admin()).channel.unary_unary("/patchwarden.v1.FleetService/Format")(b"")
    assert (await refusal(call)).code is grpc.StatusCode.UNIMPLEMENTED


async def test_the_join_credential_and_an_admin_s_token_open_no_agent_s_call(harness: Harness) -> None:
    request = agent_pb2.RenewRequest(certificate_request_pem=tls.new_request(tls.new_key()))
    assert (await refusal((await harness.admin()).agents.Renew(request))).code is UNAUTHENTICATED
    leaving = (await harness.admin()).agents.Leave(agent_pb2.LeaveRequest())
    assert (await refusal(leaving)).code is UNAUTHENTICATED
    assert {m for m, need in ACCESS.items() if need is Peer.AGENT} == {
        "/patchwarden.v1.AgentService/Renew",
        "/patchwarden.v1.AgentService/Connect",
        "/patchwarden.v1.AgentService/Leave",
    }


async def test_an_enrolled_host_is_the_instance_that_its_key_says(harness: Harness) -> None:
    agent = await harness.enrol("web-1")
    key = tls.read_request(tls.new_request(agent.key_pem))
    assert agent.instance_id == tls.instance_id(key)
    assert tls.uri_of(agent.chain_pem) == f"patchwarden://agent/{agent.instance_id}"
    listed = await (await harness.admin()).fleet.ListInstances(fleet_pb2.ListInstancesRequest())
    assert [i.id for i in listed.instances] == [agent.instance_id]


async def test_a_token_serves_one_host_and_the_same_host_again_when_its_answer_was_lost(harness: Harness) -> None:
    made = await (await harness.admin()).fleet.CreateEnrolmentToken(fleet_pb2.CreateEnrolmentTokenRequest())
    first = await harness.enrol("web-1", token=made.secret)
    again = await harness.enrol("web-1", token=made.secret, key_pem=first.key_pem)
    assert again.instance_id == first.instance_id
    refused = await refusal(harness.enrol("web-2", token=made.secret))
    assert refused.code is DENIED
    assert "used by another host" in refused.sentence
    listed = await (await harness.admin()).fleet.ListInstances(fleet_pb2.ListInstancesRequest())
    assert listed.total_size == 1


async def test_a_host_that_enrols_again_keeps_what_operators_wrote(harness: Harness) -> None:
    admin = await harness.admin()
    made = await admin.fleet.CreateEnrolmentToken(fleet_pb2.CreateEnrolmentTokenRequest())
    agent = await harness.enrol("web-1", token=made.secret)
    request = fleet_pb2.UpdateInstanceRequest(instance="web-1", values=fleet_pb2.Instance(name="shop-1"))
    request.update_mask.paths.append("name")
    await admin.fleet.UpdateInstance(request)
    await harness.enrol("web-1", token=made.secret, key_pem=agent.key_pem)
    assert (
        await admin.fleet.GetInstance(fleet_pb2.GetInstanceRequest(instance="shop-1"))
    ).instance.id == agent.instance_id


@pytest.mark.parametrize("token", ["", "pwe_nobody", "x" * 1000])
async def test_a_token_that_nobody_made_lets_nobody_in(harness: Harness, token: str) -> None:
    refused = await refusal(harness.enrol("web-1", token=token))
    assert (refused.code, refused.reason) == (DENIED, "PERMISSION_DENIED")
    assert await harness.store.fleet.instances() == ()


async def test_a_revoked_and_an_expired_token_let_nobody_in(harness: Harness) -> None:
    admin = await harness.admin()
    made = await admin.fleet.CreateEnrolmentToken(fleet_pb2.CreateEnrolmentTokenRequest())
    await admin.fleet.RevokeEnrolmentToken(fleet_pb2.RevokeEnrolmentTokenRequest(id=made.token.id))
    assert "was revoked" in (await refusal(harness.enrol("web-1", token=made.secret))).sentence
    made = await admin.fleet.CreateEnrolmentToken(fleet_pb2.CreateEnrolmentTokenRequest())
    token = await harness.store.fleet.get_enrolment_token(made.token.id)
    await harness.store.fleet.put_enrolment_token(replace(token, expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert "expired" in (await refusal(harness.enrol("web-1", token=made.secret))).sentence
    assert await harness.store.fleet.instances() == ()


async def test_a_certificate_request_that_cannot_be_read_is_named_and_costs_no_token(harness: Harness) -> None:
    admin = await harness.admin()
    made = await admin.fleet.CreateEnrolmentToken(fleet_pb2.CreateEnrolmentTokenRequest())
    for pem in (b"", b"rubbish", b"x" * 9000, (harness.data / "join.pem").read_bytes()):
        request = agent_pb2.EnrollRequest(token=made.secret, certificate_request_pem=pem)
        refused = await refusal(harness.stubs().agents.Enroll(request))
        assert list(refused.fields) == ["certificate_request_pem"]
    assert (await harness.enrol("web-1", token=made.secret)).instance_id


async def test_a_hostile_placement_is_refused_by_field_and_costs_no_token(harness: Harness) -> None:
    made = await (await harness.admin()).fleet.CreateEnrolmentToken(fleet_pb2.CreateEnrolmentTokenRequest())
    for name in ("n" * 65, "a\x1b[2Jb"):
        assert list((await refusal(harness.enrol(name, token=made.secret))).fields) == ["placement.name"]
    assert await harness.store.fleet.instances() == ()
    await harness.enrol("fine", token=made.secret)


async def test_an_agent_renews_for_its_own_key_and_no_other(harness: Harness) -> None:
    agent, other = await harness.enrol("web-1"), await harness.enrol("web-2")
    own = agent_pb2.RenewRequest(certificate_request_pem=tls.new_request(agent.key_pem))
    renewed = await agent.stubs.agents.Renew(own)
    assert tls.uri_of(renewed.certificate_chain_pem) == tls.uri_of(agent.chain_pem)
    foreign = agent_pb2.RenewRequest(certificate_request_pem=tls.new_request(other.key_pem))
    assert (await refusal(agent.stubs.agents.Renew(foreign))).code is DENIED


async def test_a_deleted_instance_is_refused_from_then_on_and_comes_back_only_with_a_new_token(
    harness: Harness,
) -> None:
    admin = await harness.admin()
    made = await admin.fleet.CreateEnrolmentToken(fleet_pb2.CreateEnrolmentTokenRequest())
    agent = await harness.enrol("web-1", token=made.secret)
    await admin.fleet.DeleteInstance(fleet_pb2.DeleteInstanceRequest(instance="web-1"))
    request = agent_pb2.RenewRequest(certificate_request_pem=tls.new_request(agent.key_pem))
    assert "was deleted" in (await refusal(agent.stubs.agents.Renew(request))).sentence
    assert (await refusal(agent.run())).code is DENIED
    refused = await refusal(harness.enrol("web-1", token=made.secret, key_pem=agent.key_pem))
    assert "does not bring it back" in refused.sentence
    back = await harness.enrol("web-1", key_pem=agent.key_pem)
    assert back.instance_id == agent.instance_id
    assert (
        await admin.fleet.GetInstance(fleet_pb2.GetInstanceRequest(instance="web-1"))
    ).instance.id == back.instance_id


async def test_deleting_an_instance_ends_its_stream(harness: Harness) -> None:
    agent = await harness.connect("web-1")
    await (await harness.admin()).fleet.DeleteInstance(fleet_pb2.DeleteInstanceRequest(instance="web-1"))
    [stream] = harness._streams
    await stream
    assert harness.controller.address
    assert (await refusal(agent.run())).code is DENIED


async def test_a_message_over_the_limit_is_refused_with_the_limit_named(tmp_path: Path) -> None:
    async with serving(tmp_path / "small", max_message_bytes=1 << 20) as harness:
        spec = ticket_pb2.TicketSpec(selector=fleet_pb2.Selector(names=["x" * 1_100_000]))
        refused = await refusal((await harness.admin()).tickets.Preview(ticket_pb2.PreviewRequest(spec=spec)))
        assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "1048576" in refused.sentence


async def test_bytes_that_are_no_message_are_a_refusal_not_a_crash(harness: Harness) -> None:
    channel = (await harness.admin()).channel
    call = channel.unary_unary("/patchwarden.v1.FleetService/ListInstances")(b"\xff\xff\xff\xff")
    assert list((await refusal(call)).fields) == ["request"]
    agent = await harness.enrol("web-1")

    async def garbage() -> AsyncIterator[bytes]:
        yield b"\xff\xff\xff\xff"
        await asyncio.sleep(60)

    stream = agent.stubs.channel.stream_stream("/patchwarden.v1.AgentService/Connect")(garbage())
    assert (await refusal(stream)).code is grpc.StatusCode.INVALID_ARGUMENT
    assert (await whoami(await harness.admin())).name == "admin"


async def test_a_fault_of_ours_says_an_id_that_is_in_the_log_and_nothing_of_our_insides(
    harness: Harness, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise ZeroDivisionError("the secret formula")

    monkeypatch.setattr(harness.store.fleet, "instances", fail)
    refused = await refusal((await harness.admin()).fleet.ListInstances(fleet_pb2.ListInstancesRequest()))
    assert refused.code is grpc.StatusCode.INTERNAL
    assert "formula" not in refused.sentence
    fault = refused.sentence.rpartition(" ")[2]
    [record] = [r for r in caplog.records if vars(r).get("fault") == fault]
    assert record.exc_info is not None
