"""SIGKILL of the controller in each place where it stores or sends: after a restart invariants 1 to 3 hold (DESIGN §11)."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from common import digest, manifest, tls
from common.errors import PatchError, Unavailable
from common.failpoints import NAMES, VARIABLE
from common.pb.v1 import agent_pb2, agent_pb2_grpc, fleet_pb2, ticket_pb2
from controller.client import Client, connect, scan_of
from tests.builders import a_manifest, a_package, a_repository
from tests.integration.real_fleet import PROGRAMS
from tests.ports import free_port

AGENTS = 4
SECONDS = 120.0
OVER = (ticket_pb2.TICKET_STATE_FINISHED, ticket_pb2.TICKET_STATE_ABNORMAL)
CANCELS = ("agents.before_cancel", "agents.cancel_sent")
GOODBYES = ("agents.before_goodbye", "agents.goodbye_sent")
IN_EVERY_RUN = (
    "engine.saved",
    "intake.snapshot_stored",
    "store.committed",
    "agents.assignment_sent",
    "agents.result_stored",
)
"""These are walked whenever the tests run; all others take minutes."""
WALKED = tuple(name for name in NAMES if name.startswith(("engine.", "agents.", "intake.", "store.")))
"""What a ticket without a schedule and without notices comes to."""
WALKED_ELSEWHERE = (
    "test_notify_kills.py",
    "test_repeated_reports.py",
    "test_schedules_whole.py",
    "test_agent_kills.py",
)


class LightAgent:
    """Speaks as an agent does: journals what it is assigned, does a run once, says a result until it is acknowledged, comes back."""

    def __init__(self, number: int, address: str, ca_pem: bytes, credential: tls.Credential) -> None:
        self.address, self.ca_pem, self.credential = address, ca_pem, credential
        self.executed = Counter[str]()
        self.acknowledged = set[str]()
        self.assigned_after_acknowledgement = list[str]()
        self.gate = asyncio.Event()
        self._unsaid = dict[str, agent_pb2.RunResult]()
        self._work = set[asyncio.Task[None]]()
        file = random.Random(1).randbytes(300_000)  # too large for the database, the same on every host
        lines = [a_package(), a_package(f"only-here-{number}-1.x86_64")]
        installed, details = manifest.encode_packages((line, 0, "CentOS") for line in lines)
        said = a_manifest(lines, repositories=(a_repository(updateinfo="", modules="", primary=digest.of(file).hex()),))
        said = manifest.encode(manifest.decode(manifest.encode(said)))
        self._manifest = digest.of(said)
        self._blobs = {digest.of(blob): blob for blob in (file, installed, details, said)}

    async def live(self) -> None:
        """Hold one stream after the other."""
        while True:
            with suppress(aio.AioRpcError):
                await self._hold()
            await asyncio.sleep(0.05)

    async def _hold(self) -> None:
        secret = grpc.ssl_channel_credentials(self.ca_pem, self.credential.key_pem, self.credential.chain_pem)
        options = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.use_local_subchannel_pool", 1))
        async with aio.secure_channel(self.address, secret, options) as channel:
            self._out = asyncio.Queue[agent_pb2.ConnectRequest]()
            self._say(hello=agent_pb2.Hello(os_id="centos", os_version="7.9", arch="x86_64"))
            for result in self._unsaid.values():
                self._say(run_result=result)
            stub: Any = agent_pb2_grpc.AgentServiceStub(channel)
            async for message in stub.Connect(self._requests(self._out)):
                self._take(message)

    def _take(self, message: agent_pb2.ConnectResponse) -> None:
        match message.WhichOneof("body"):
            case "assignment":
                run_id = message.assignment.run_id
                if run_id in self.acknowledged:
                    self.assigned_after_acknowledgement.append(run_id)
                elif run_id in self._unsaid:
                    self._say(run_result=self._unsaid[run_id])
                elif run_id not in self.executed:
                    self.executed[run_id] += 1
                    task = asyncio.create_task(self._execute(run_id))
                    self._work.add(task)
                    task.add_done_callback(self._work.discard)
            case "want":
                for wanted in message.want.digests:
                    self._send(wanted)
            case "ack":
                self.acknowledged.add(message.ack.id)
                self._unsaid.pop(message.ack.id, None)

    async def _execute(self, run_id: str) -> None:
        await self.gate.wait()
        result = agent_pb2.RunResult(id=run_id[-60:], run_id=run_id, outcome=agent_pb2.SCAN_OUTCOME_SUCCEEDED)
        result.report.manifest_digest = self._manifest
        result.report.collected_at.GetCurrentTime()
        self._unsaid[result.id] = result
        self._say(run_result=result)

    def _send(self, wanted: bytes) -> None:
        blob, size = self._blobs[wanted], 200_000
        for offset in range(0, len(blob), size):
            data = blob[offset : offset + size]
            chunk = agent_pb2.BlobChunk(digest=wanted, offset=offset, data=data, last=offset + size >= len(blob))
            chunk.encoding = agent_pb2.BLOB_ENCODING_IDENTITY
            self._say(blob_chunk=chunk)

    def _say(self, **body: Any) -> None:
        self._out.put_nowait(agent_pb2.ConnectRequest(**body))

    async def _requests(self, out: asyncio.Queue[agent_pb2.ConnectRequest]) -> AsyncIterator[agent_pb2.ConnectRequest]:
        sequence = 0
        while True:
            message = await out.get()
            sequence += 1
            message.sequence = sequence
            yield message


class Walk:
    """A controller process that may die, and light agents."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.address = folder, folder / "data", f"127.0.0.1:{free_port()}"
        self.agents = list[LightAgent]()
        self.process: subprocess.Popen[bytes] | None = None
        self._tasks = list[asyncio.Task[None]]()
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = connect(
                self.address, self.data / "join.pem", (self.data / "admin-token").read_text().strip()
            )
        return self._client

    def start(self, failpoint: str = "") -> None:
        (self.data / "address").unlink(missing_ok=True)
        command = [PROGRAMS / "patchwarden-controller", "run", "--data", self.data, "--listen", self.address]
        command += ["--host", "127.0.0.1"]
        with (self.folder / "controller.log").open("ab") as log:
            environment = os.environ | {VARIABLE: failpoint}
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    async def until(self, what: str, ready: Callable[[], object]) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                while not ready():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{what}: not within {SECONDS:.0f} s") from None

    def is_listening(self) -> bool:
        return (self.data / "address").exists()

    def is_serving(self) -> bool:
        assert not self.is_dead(), (self.folder / "controller.log").read_text()[-2000:]
        return self.is_listening()

    def is_dead(self) -> bool:
        assert self.process is not None
        return self.process.poll() is not None

    async def enrol(self) -> None:
        join = tls.parse_join((self.data / "join.pem").read_bytes())
        secret = grpc.ssl_channel_credentials(join.ca_pem, join.credential.key_pem, join.credential.chain_pem)
        async with aio.secure_channel(self.address, secret) as channel:
            stub: Any = agent_pb2_grpc.AgentServiceStub(channel)
            for number in range(AGENTS):
                token = (await asyncio.to_thread(self.client.create_enrolment_token)).secret
                key = tls.new_key()
                asked = agent_pb2.EnrollRequest(token=token, certificate_request_pem=tls.new_request(key))
                asked.placement.name, asked.placement.region, asked.placement.zone = f"ecs-{number}", "r", "a"
                answer = await stub.Enroll(asked)
                credential = tls.Credential(answer.certificate_chain_pem, key)
                self.agents.append(LightAgent(number, self.address, answer.ca_pem, credential))

    def let_agents_live(self) -> None:
        self._tasks += [asyncio.create_task(agent.live()) for agent in self.agents]

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            self._client.close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    async def ask(self, call: Callable[[], Any]) -> Any:
        """Ask until there is an answer, or the controller is dead: then return None."""
        async with asyncio.timeout(SECONDS):
            while not self.is_dead():
                with suppress(Unavailable):
                    return await asyncio.to_thread(call)
                await asyncio.sleep(0.05)
        return None

    async def until_all_online(self) -> None:
        """Return when every agent can be selected, or the controller is dead."""
        async with asyncio.timeout(SECONDS):
            while not self.is_dead() and not await self.ask(self.all_online):
                for task in self._tasks:
                    assert not task.done(), task
                await asyncio.sleep(0.02)

    def create(self) -> str:
        spec = scan_of(
            fleet_pb2.Selector(all=True), success_rate=0, max_in_flight=2, batch_size=2, group_share_percent=100
        )
        return self.client.create_ticket(spec, request_id="walk").ticket.id

    def all_online(self) -> bool:
        return len(list(self.client.list_instances(selectable_only=True))) == AGENTS


@pytest.fixture
async def walk(tmp_path: Path) -> AsyncIterator[Walk]:
    walk = Walk(tmp_path)
    try:
        walk.start()
        await walk.until("it serves", walk.is_serving)
        await walk.enrol()
        yield walk
    finally:
        await walk.end()


async def die(walk: Walk, failpoint: str) -> str | None:
    """Run a ticket on a controller that is to die; return the ticket's id if that was heard before."""
    assert walk.process is not None
    walk.process.send_signal(signal.SIGTERM)
    await walk.until("it stops", walk.is_dead)
    walk.start(failpoint)
    await walk.until("it serves or is dead", lambda: walk.is_dead() or walk.is_listening())
    walk.let_agents_live()
    name = failpoint.partition(":")[0]
    await walk.until_all_online()
    if name not in (*CANCELS, *GOODBYES):
        for agent in walk.agents:
            agent.gate.set()
    heard = await walk.ask(walk.create)
    if name in (*CANCELS, *GOODBYES):
        await walk.until("somebody works", lambda: any(a.executed for a in walk.agents))
    if name in CANCELS:
        number = next(n for n, a in enumerate(walk.agents) if a.executed)
        with suppress(PatchError):
            await asyncio.to_thread(walk.client.cancel_run, heard, f"ecs-{number}")
    if name in GOODBYES:
        walk.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(SECONDS):
        while not walk.is_dead():
            state = await walk.ask(lambda: walk.client.get_ticket(heard).state) if heard else None
            if state in OVER and ":" in failpoint:  # results that come together are stored together
                pytest.skip(f"this ticket was over before it came to {failpoint}")
            await asyncio.sleep(0.05)
    assert walk.process.returncode == -signal.SIGKILL, f"{failpoint} was never reached"
    return heard


def test_each_place_is_walked_by_a_test() -> None:
    elsewhere = "".join((Path(__file__).parent / name).read_text(encoding="utf-8") for name in WALKED_ELSEWHERE)
    assert [name for name in NAMES if name not in WALKED and f'"{name}"' not in elsewhere] == []


@pytest.mark.parametrize(
    "failpoint",
    [
        *(name if name in IN_EVERY_RUN else pytest.param(name, marks=pytest.mark.slow) for name in WALKED),
        *(
            pytest.param(f"{name}:{n}", marks=pytest.mark.slow)
            for name in WALKED
            if name.startswith(("engine.", "store."))
            and name not in ("engine.before_create", "engine.created", "store.file_written")
            for n in (3, 5)
        ),
    ],
)
async def test_invariants_1_2_3_hold_when_the_controller_is_killed_at(walk: Walk, failpoint: str) -> None:
    heard = await die(walk, failpoint)
    walk.start()
    await walk.until("it serves again", walk.is_serving)
    await walk.until_all_online()
    for agent in walk.agents:
        agent.gate.set()
    ticket_id = await walk.ask(walk.create)
    assert heard in (None, ticket_id), "the same request made two tickets"
    async with asyncio.timeout(SECONDS):
        while (ticket := await walk.ask(lambda: walk.client.get_ticket(ticket_id))).state not in OVER:
            await asyncio.sleep(0.05)
    runs = await walk.ask(lambda: list(walk.client.list_runs(ticket_id)))
    counts = {f.name: v for f, v in ticket.counts.ListFields()}
    assert sum(counts.values()) == len(runs) == len({r.instance_id for r in runs}) == AGENTS, counts
    if not failpoint.startswith(CANCELS):
        assert counts == {"succeeded": AGENTS}
    for agent in walk.agents:
        assert set(agent.executed.values()) <= {1}
        assert len(agent.executed) <= 1, "a run was made anew under another id"
        assert agent.assigned_after_acknowledgement == [], "a result was acknowledged and is not known"
    reports = await walk.ask(lambda: list(walk.client.list_reports()))
    succeeded = {r.instance_id for r in runs if r.outcome == ticket_pb2.RUN_OUTCOME_SUCCEEDED}
    assert succeeded <= {r.instance_id for r in reports}
