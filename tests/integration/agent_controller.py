"""A scripted controller for the agent's tests: a real gRPC server over real mutual TLS, which does only what a test says."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import zstandard

from common import tls
from common.pb.v1 import agent_pb2 as pb
from common.pb.v1 import agent_pb2_grpc
from tests.ports import free_port

WAIT = 60.0


class Session:
    """One stream of an agent, as the controller sees it."""

    def __init__(self, context: Any, hello: pb.Hello) -> None:
        self.context = context
        self.hello = hello
        self.over = asyncio.Event()
        self.got = list[pb.ConnectRequest]()
        self._sent = 0
        self._turn = asyncio.Lock()

    async def send(self, **body: Any) -> None:
        async with self._turn:  # the test and the answers speak on one stream
            self._sent += 1
            await self.context.write(pb.ConnectResponse(sequence=self._sent, **body))

    async def send_with_a_gap(self) -> None:
        async with self._turn:
            self._sent += 1
        await self.send(pace=pb.Pace())

    def all(self, kind: str) -> list[Any]:
        return [getattr(m, kind) for m in self.got if m.WhichOneof("body") == kind]

    async def assign(self, run_id: str, seconds: float = 60.0) -> None:
        assignment = pb.Assignment(run_id=run_id, ticket_id="T-1", scan=pb.ScanOperation())
        assignment.timeout.FromTimedelta(timedelta(seconds=seconds))
        await self.send(assignment=assignment)


class Controller(agent_pb2_grpc.AgentServiceServicer):
    """Enrols with the tokens it knows, welcomes, notes what it hears, and acknowledges if told to."""

    def __init__(self, folder: Path) -> None:
        now = datetime.now(UTC)
        self.authority = tls.Authority(tls.Authority.create("test", now, timedelta(days=1)))
        self._server_credential = self.authority.issue_server(("127.0.0.1", "localhost"), now, timedelta(days=1))
        self.join = folder / "join.pem"
        self.join.write_bytes(self.authority.issue_join(now, timedelta(days=1)).pem)
        self.tokens: dict[str, str] = {"good": ""}
        self.lifetime = timedelta(hours=1)
        self.enrolments = self.renewals = 0
        self.lose_answers = 0
        self.refuse: grpc.StatusCode | None = None
        self.acknowledge = True
        self.want = True
        self.welcome = True
        self.seconds_a_chunk = 0.0
        self.report_interval = timedelta(0)
        self.heartbeat_interval = timedelta(seconds=30)
        self.sessions = list[Session]()
        self.left = list[str]()
        self.blobs = dict[str, bytes]()
        self.changed = asyncio.Condition()
        self.port = free_port()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        options = (
            ("grpc.max_receive_message_length", 1 << 20),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
            ("grpc.so_reuseport", 0),
        )
        self._server = grpc.aio.server(options=options)
        agent_pb2_grpc.add_AgentServiceServicer_to_server(self, self._server)
        mine = self._server_credential
        secret = grpc.ssl_server_credentials(
            [(mine.key_pem, mine.chain_pem)], self.authority.ca_pem, require_client_auth=True
        )
        self.port = self._server.add_secure_port(f"127.0.0.1:{self.port}", secret)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)

    async def until(self, condition: Callable[[], Any], seconds: float = WAIT) -> Any:
        """Wait for something to become true, and return it."""
        async with self.changed, asyncio.timeout(seconds):
            await self.changed.wait_for(condition)
        return condition()

    async def session(self, number: int = 1) -> Session:
        """Wait for the so-manieth stream."""
        await self.until(lambda: len(self.sessions) >= number)
        return self.sessions[number - 1]

    def heard(self, kind: str) -> list[Any]:
        """Return all messages of a kind, over all streams."""
        return [message for session in self.sessions for message in session.all(kind)]

    async def note(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def Enroll(self, request: pb.EnrollRequest, context: Any) -> pb.EnrollResponse:
        assert _uri(context) == tls.JOIN_URI
        key = tls.read_request(request.certificate_request_pem)
        instance = tls.instance_id(key)
        if self.tokens.get(request.token, "-") not in ("", instance):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "the token is unknown or used")
        self.tokens[request.token] = instance
        self.enrolments += 1
        if self.lose_answers:
            self.lose_answers -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer is lost")
        chain = self.authority.issue_agent(key, datetime.now(UTC), self.lifetime)
        return pb.EnrollResponse(instance_id=instance, certificate_chain_pem=chain, ca_pem=self.authority.ca_pem)

    async def Renew(self, request: pb.RenewRequest, context: Any) -> pb.RenewResponse:
        key = tls.read_request(request.certificate_request_pem)
        assert tls.agent_of(_uri(context)) == tls.instance_id(key)
        self.renewals += 1
        self.lifetime = timedelta(hours=1)
        chain = self.authority.issue_agent(key, datetime.now(UTC), self.lifetime)
        await self.note()
        return pb.RenewResponse(certificate_chain_pem=chain, ca_pem=self.authority.ca_pem)

    async def Leave(self, request: pb.LeaveRequest, context: Any) -> pb.LeaveResponse:
        self.left.append(tls.agent_of(_uri(context)) or "")
        return pb.LeaveResponse()

    async def Connect(self, _: Any, context: Any) -> None:
        if self.refuse is not None:
            await context.abort(self.refuse, "this agent was removed")
        first = await context.read()
        assert first.sequence == 1
        assert first.WhichOneof("body") == "hello"
        session = Session(context, first.hello)
        welcome = pb.Welcome(instance_id=tls.agent_of(_uri(context)) or "", controller_version="test")
        welcome.pace.heartbeat_interval.FromTimedelta(self.heartbeat_interval)
        welcome.pace.report_interval.FromTimedelta(self.report_interval)
        welcome.certificate_not_after.FromDatetime(datetime.now(UTC) + self.lifetime)
        if self.welcome:
            await session.send(welcome=welcome)
        self.sessions.append(session)
        await self.note()
        try:
            while isinstance(message := await context.read(), pb.ConnectRequest):
                assert message.sequence == len(session.got) + 2
                session.got.append(message)
                await self._answer(session, message)
                await self.note()
        finally:
            session.over.set()

    async def _answer(self, session: Session, message: pb.ConnectRequest) -> None:
        kind = message.WhichOneof("body")
        if kind == "blob_chunk" and self.seconds_a_chunk:
            await asyncio.sleep(self.seconds_a_chunk)
        if kind == "blob_chunk" and message.blob_chunk.last:
            digest = message.blob_chunk.digest
            chunks = [c for c in session.all("blob_chunk") if c.digest == digest]
            content = b"".join(c.data for c in chunks)  # of the whole stream: a blob is asked for once
            if chunks[0].encoding == pb.BLOB_ENCODING_ZSTD:
                content = zstandard.ZstdDecompressor().decompressobj().decompress(content)
            assert hashlib.sha256(content).digest() == digest
            self.blobs[digest.hex()] = content
        if kind in ("run_result", "self_report"):
            told = getattr(message, kind)
            if self.want and told.HasField("report"):
                await session.send(want=pb.Want(digests=[told.report.manifest_digest]))
                return  # acknowledged when it is here
            if self.acknowledge:
                await session.send(ack=pb.Ack(id=told.id))
        if self.want and self.acknowledge and kind == "blob_chunk" and message.blob_chunk.last:
            for told in session.all("run_result") + session.all("self_report"):
                if told.report.manifest_digest == message.blob_chunk.digest:
                    await session.send(ack=pb.Ack(id=told.id))


class Agent:
    """A real agent process."""

    def __init__(self, folder: Path, controller: Controller, **extra: Any) -> None:
        self.folder = folder
        self.config = folder / "uniagent.toml"
        self.log = folder / "agent.log"
        self.state = folder / "state"
        self._settings: dict[str, Any] = {
            "controller": f"127.0.0.1:{controller.port}",
            "join": str(controller.join),
            "state": str(self.state),
            "token": "good",
            "name": "one",
            "root": str(folder / "root"),
        }
        self._gate = folder / "gate"
        (folder / "root").mkdir(exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None
        self.configure(**extra)

    def configure(self, **extra: Any) -> None:
        self._settings |= extra
        self.config.write_text("".join(f'{k} = "{v}"\n' for k, v in self._settings.items() if v is not None))

    def start(self) -> None:
        found_first = os.environ | {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "uniagent", "run", "--config", str(self.config)],
                env=found_first,
                stderr=log,
                stdout=log,
            )

    def hold_collections(self) -> None:
        """Let every collection wait in the middle, until `let_go`: by a program that is found before the real rpm."""
        database = self.folder / "root/var/lib/rpm"  # without one, rpm is not even asked
        subprocess.run(["rpm", "--dbpath", database, "--initdb"], check=True)
        rpm = self.folder / "bin/rpm"
        rpm.parent.mkdir()
        self._gate.touch()
        waits = f"while [ -e '{self._gate}' ]; do sleep 0.05; done"
        rpm.write_text(f"#!/bin/sh\ntouch '{self._gate}.reached'\n{waits}\nexec {shutil.which('rpm')} \"$@\"\n")
        rpm.chmod(0o755)

    async def until_held(self) -> None:
        """Return when a collection waits."""
        async with asyncio.timeout(WAIT):
            while not self._gate.with_name("gate.reached").exists():
                await asyncio.sleep(0.02)

    def let_go(self) -> None:
        self._gate.unlink()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def wait(self, seconds: float = WAIT) -> int:
        """Wait for the end and return the exit status."""
        assert self.process is not None
        async with asyncio.timeout(seconds):
            while self.process.poll() is None:
                await asyncio.sleep(0.02)
        return self.process.returncode

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.wait()

    def said(self) -> str:
        return self.log.read_text()

    async def until_said(self, text: str, times: int = 1) -> None:
        async with asyncio.timeout(WAIT):
            while self.said().count(text) < times:
                await asyncio.sleep(0.05)

    async def until_kept_nothing(self, *folders: str) -> None:
        async with asyncio.timeout(WAIT):
            while any(self.kept(folder) for folder in folders):
                await asyncio.sleep(0.02)

    def kept(self, folder: str) -> list[str]:
        """Return the names of the files in a folder of the agent's state."""
        where = self.state / folder
        return sorted(path.name for path in where.iterdir()) if where.exists() else []


@contextlib.asynccontextmanager
async def running(folder: Path, **extra: Any) -> AsyncIterator[tuple[Controller, Agent]]:
    """A controller that serves and an agent that is not started yet; both are ended afterwards."""
    controller = Controller(folder)
    await controller.start()
    agent = Agent(folder, controller, **extra)
    try:
        yield controller, agent
    finally:
        if agent.process is not None and agent.process.poll() is None:
            agent.signal(signal.SIGKILL)
            agent.process.wait()
        await controller.stop()


def _uri(context: Any) -> str:
    return tls.uri_of(context.auth_context()["x509_pem_cert"][0])
