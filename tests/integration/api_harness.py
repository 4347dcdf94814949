"""A real controller on a free port inside the test's process, callers with real certificates, and an agent that says what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import zstandard
from google.rpc import error_details_pb2
from grpc import aio
from grpc_status import rpc_status

from common import digest, manifest, tls
from common.errors import Conflict, InvalidArgument
from common.pb.v1 import (
    account_pb2_grpc,
    agent_pb2,
    agent_pb2_grpc,
    audit_pb2_grpc,
    baseline_pb2_grpc,
    fleet_pb2,
    fleet_pb2_grpc,
    notification_pb2_grpc,
    report_pb2_grpc,
    schedule_pb2_grpc,
    ticket_pb2_grpc,
)
from common.tls import Credential
from controller.accounts.model import DEFAULT_ACCOUNT, Account, OperatorToken, User
from controller.app import Controller, seed
from controller.fleet.model import Role
from controller.settings import Settings
from controller.store.memory import MemoryStore
from tests.builders import NOW, a_manifest, a_package, packages_blob

TIMEOUT = 60.0
"""How long a test waits for what must come: much longer than a busy machine takes, since it costs time only when it fails."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a refused caller is told."""

    code: grpc.StatusCode
    sentence: str
    reason: str
    fields: dict[str, str]


class Stubs:
    """Every service, called with one credential and one token."""

    def __init__(self, address: str, ca_pem: bytes, credential: Credential, token: str | None) -> None:
        self.channel = aio.secure_channel(
            address,
            grpc.ssl_channel_credentials(ca_pem, credential.key_pem, credential.chain_pem),
            interceptors=[_Bearer(token), _BearerStream(token)] if token else [],
        )
        self.fleet: Any = fleet_pb2_grpc.FleetServiceStub(self.channel)
        self.baselines: Any = baseline_pb2_grpc.BaselineServiceStub(self.channel)
        self.tickets: Any = ticket_pb2_grpc.TicketServiceStub(self.channel)
        self.reports: Any = report_pb2_grpc.ReportServiceStub(self.channel)
        self.schedules: Any = schedule_pb2_grpc.ScheduleServiceStub(self.channel)
        self.account: Any = account_pb2_grpc.AccountServiceStub(self.channel)
        self.notifications: Any = notification_pb2_grpc.NotificationServiceStub(self.channel)
        self.audit: Any = audit_pb2_grpc.AuditServiceStub(self.channel)
        self.agents: Any = agent_pb2_grpc.AgentServiceStub(self.channel)


def _with_token(details: aio.ClientCallDetails, token: str) -> aio.ClientCallDetails:
    metadata = [*(details.metadata or ()), ("authorization", f"Bearer {token}")]
    return details._replace(metadata=aio.Metadata(*metadata))


class _Bearer(aio.UnaryUnaryClientInterceptor):
    def __init__(self, token: str) -> None:
        self._token = token

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_with_token(client_call_details, self._token), request)


class _BearerStream(aio.UnaryStreamClientInterceptor):
    def __init__(self, token: str) -> None:
        self._token = token

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_with_token(client_call_details, self._token), request)


async def refusal(call: Any) -> Refusal:
    """Await a call (or read a stream) that must be refused; return what was said."""
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except aio.AioRpcError as error:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        status = rpc_status.from_call(error)
        for detail in status.details if status is not None else ():
            assert detail.Unpack(info) or detail.Unpack(bad)
        fields = {v.field: v.description for v in bad.field_violations}
        return Refusal(error.code(), error.details() or "", info.reason, fields)
    raise AssertionError("it was not refused")


@dataclass
class Agent:
    """An agent of a host with these packages: enrols, connects, and answers each assignment with `outcome`, after `gate` opens."""

    stubs: Stubs
    key_pem: bytes
    instance_id: str
    chain_pem: bytes
    outcome: agent_pb2.ScanOutcome.ValueType = agent_pb2.SCAN_OUTCOME_SUCCEEDED
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    welcomed: asyncio.Event = field(default_factory=asyncio.Event)
    assigned: list[str] = field(default_factory=list)
    farewell: list[agent_pb2.Pace] = field(default_factory=list)
    os_version: str = "7.9"
    os_id: str = "centos"
    boot_id: str = ""
    machine_id: str = ""
    ip_address: str = ""

    async def run(self) -> None:
        """Hold a stream until it ends."""
        self._out: asyncio.Queue[agent_pb2.ConnectRequest] = asyncio.Queue()
        hello = agent_pb2.Hello(
            agent_version="0.1.0",
            os_id=self.os_id,
            os_version=self.os_version,
            os_pretty_name=f"{self.os_id} {self.os_version}",
            arch="x86_64",
            boot_id=self.boot_id,
            machine_id=self.machine_id,
            ip_address=self.ip_address,
        )
        self._say(hello=hello)
        call = self.stubs.agents.Connect(self._requests())
        work = set[asyncio.Task[None]]()
        async for message in call:
            match message.WhichOneof("body"):
                case "welcome":
                    self.welcomed.set()
                case "assignment":
                    self.assigned.append(message.assignment.run_id)
                    work.add(asyncio.create_task(self._answer(message.assignment.run_id)))
                case "want":
                    for wanted in message.want.digests:
                        self._send_blob(wanted)
                case "pace":
                    self.farewell.append(message.pace)

    def _say(self, **body: Any) -> None:
        self._out.put_nowait(agent_pb2.ConnectRequest(**body))

    async def _requests(self) -> AsyncIterator[agent_pb2.ConnectRequest]:
        sequence = 0
        while True:
            message = await self._out.get()
            sequence += 1
            message.sequence = sequence
            yield message

    async def _answer(self, run_id: str) -> None:
        await self.gate.wait()
        result = agent_pb2.RunResult(id=f"r-{run_id[-20:]}-{len(self.assigned)}", run_id=run_id, outcome=self.outcome)
        if self.outcome == agent_pb2.SCAN_OUTCOME_SUCCEEDED:
            result.report.manifest_digest = digest.of(manifest.encode(self._manifest()))
            result.report.collected_at.GetCurrentTime()
        else:
            result.error = "the rpm database is locked"
        self._say(run_result=result)

    def _lines(self) -> list[manifest.PackageLine]:
        return [a_package()]

    def _manifest(self) -> manifest.Manifest:
        return a_manifest(self._lines(), repositories=())

    def _send_blob(self, wanted: bytes) -> None:
        installed, details = manifest.encode_packages((line, 0, "CentOS") for line in self._lines())
        blobs = {digest.of(b): b for b in (manifest.encode(self._manifest()), installed, details)}
        assert packages_blob(self._lines()) == installed
        data = zstandard.ZstdCompressor().compress(blobs[wanted])
        chunk = agent_pb2.BlobChunk(digest=wanted, data=data, last=True, encoding=agent_pb2.BLOB_ENCODING_ZSTD)
        self._say(blob_chunk=chunk)


class Harness:
    """A controller that serves, and everybody who calls it."""

    def __init__(self, controller: Controller, store: MemoryStore, data: Path) -> None:
        self.controller = controller
        self.store = store
        self.data = data
        self.join = tls.parse_join((data / "join.pem").read_bytes())
        self._open: list[Stubs] = []
        self._streams: list[asyncio.Task[None]] = []

    def stubs(self, token: str | None = None, credential: Credential | None = None) -> Stubs:
        made = Stubs(self.controller.address, self.join.ca_pem, credential or self.join.credential, token)
        self._open.append(made)
        return made

    async def operator(self, role: Role, **changes: Any) -> Stubs:
        """A token of a user, who is made with his account if missing; `changes` name fields of the user or of the token."""
        number, accounts = len(self._open), self.store.accounts
        secret = f"pwa_{role.value.lower()}-{number}"
        name, account = changes.pop("name", ""), changes.pop("account", DEFAULT_ACCOUNT)
        projects = tuple(changes.pop("enterprise_projects", ()))
        user = User(name or role.value.lower(), account, role, NOW, enterprise_projects=projects)
        with suppress(Conflict):
            await accounts.add_account(Account(account, NOW))
        try:
            await accounts.add_user(user)
        except Conflict:
            there = await accounts.get_user(user.name)
            if (there.account, there.role, there.enterprise_projects) != (account, role, projects):
                assert not name, f"{name} is somebody else"
                user = replace(user, name=f"{user.name}-{number}")
                await accounts.add_user(user)
        await accounts.add_token(
            OperatorToken(f"O-{number}", digest.of(secret.encode()), user.name, role, NOW, **changes)
        )
        return self.stubs(secret)

    async def admin(self) -> Stubs:
        assert self.controller.first_token is not None
        return self.stubs(self.controller.first_token)

    async def enrol(
        self, name: str, *, key_pem: bytes | None = None, token: str | None = None, **placement: Any
    ) -> Agent:
        """Let a host in with a fresh token (or the one given)."""
        if token is None:
            admin = await self.admin()
            token = (await admin.fleet.CreateEnrolmentToken(fleet_pb2.CreateEnrolmentTokenRequest())).secret
        key_pem = key_pem or tls.new_key()
        answer = await self.stubs().agents.Enroll(
            agent_pb2.EnrollRequest(
                token=token,
                certificate_request_pem=tls.new_request(key_pem),
                placement=agent_pb2.Placement(
                    name=name, region="cn-hongkong", zone="a", application_group="web", **placement
                ),
            )
        )
        credential = Credential(answer.certificate_chain_pem, key_pem)
        return Agent(self.stubs(credential=credential), key_pem, answer.instance_id, answer.certificate_chain_pem)

    async def seed(self, account: str) -> None:
        """Give an account that a test made what every account begins with."""
        await seed(self.store.baselines, NOW, [account])

    async def connect(self, name: str, *, ready: bool = True, token: str | None = None, **changes: Any) -> Agent:
        """Let a host in and open its stream; `ready` agents answer at once."""
        agent = await self.enrol(name, token=token)
        for key, value in changes.items():
            setattr(agent, key, value)
        if ready:
            agent.gate.set()
        self._streams.append(asyncio.create_task(agent.run()))
        async with asyncio.timeout(TIMEOUT):
            await agent.welcomed.wait()
        return agent

    async def close(self) -> None:
        for task in self._streams:
            task.cancel()
            with suppress(asyncio.CancelledError, aio.AioRpcError, InvalidArgument):
                await task
        for stubs in self._open:
            await stubs.channel.close()


@asynccontextmanager
async def serving(data: Path, **settings: Any) -> AsyncIterator[Harness]:
    """A controller with a store in memory, on a free port."""
    # The agents here say nothing between their answers: by a shorter interval a slow machine would find them silent.
    given = {"listen": "127.0.0.1:0", "hosts": ("127.0.0.1", "localhost"), "heartbeat_interval": timedelta(minutes=1)}
    store = MemoryStore()
    controller = Controller(Settings(data, **(given | settings)), store=store)
    await controller.start()
    harness = Harness(controller, store, data)
    try:
        yield harness
    finally:
        await harness.close()
        await controller.stop()


def names(instances: Sequence[Any]) -> list[str]:
    return [i.name for i in instances]
