"""A program: serve agents, say where and as whom, and, as often as it is asked, how much processor time that has taken until now.

    python -m tests.benchmarks.agent_streams FOLDER WHAT

WHAT is `whole`, a controller as it is; `intake`, one that takes in, stores and acknowledges reports but answers nothing by them; or `bare`:
the same server with the same TLS, whose handler of agents' streams says what a controller would say and does nothing with what it hears.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import grpc
from grpc import aio

from common import digest, tls
from common.pb.v1 import agent_pb2 as pb
from common.pb.v1 import agent_pb2_grpc, fleet_pb2, fleet_pb2_grpc
from common.tls import Credential
from controller import heap
from controller.api.agent_service import AgentService
from controller.api.translate_agent import order_message
from controller.app import Controller
from controller.dispatch.assess import Assessor
from controller.fleet.orders import Ack, Order, Want
from controller.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[2]
UNCHANGED: Final = "unchanged"
"""What ids of reports begin with whose content a controller has: the bare server does not ask for it."""


async def bare(_: AgentService, __: object, context: Any) -> None:
    """Say to an agent what a controller would say, and do nothing else."""
    written = 0

    async def write(message: pb.ConnectResponse) -> None:
        nonlocal written
        written += 1
        message.sequence = written
        await context.write(message)

    async def order(what: Order) -> None:
        await write(order_message(what))

    report, wanted = "", 0
    while isinstance(message := await context.read(), pb.ConnectRequest):
        match message.WhichOneof("body"):
            case "hello":
                await write(pb.ConnectResponse(welcome=pb.Welcome()))
            case "self_report" if message.self_report.id.startswith(UNCHANGED):
                await order(Ack(message.self_report.id))
            case "self_report":
                report = message.self_report.id
                await order(Want((message.self_report.report.manifest_digest,)))
            case "blob_chunk" if wanted == 0:  # the manifest, which names two more
                wanted = 2
                await order(Want((digest.of(b"packages"), digest.of(b"details"))))
            case "blob_chunk":
                wanted -= 1
                if wanted == 0:
                    await order(Ack(report))
            case _:
                pass
        del message


async def main(folder: Path, what: str) -> None:
    """Serve until the input ends; answer each line of it with the processor time of this process, all its threads, in nanoseconds."""
    if what == "bare":
        AgentService.Connect = bare  # type: ignore[method-assign,assignment]
    if what == "intake":
        Assessor.reported = lambda *_: None  # type: ignore[method-assign]
    hour = timedelta(hours=1)  # nobody sends a heartbeat here
    controller = Controller(Settings(folder, listen="127.0.0.1:0", hosts=("127.0.0.1",), heartbeat_interval=hour))
    heap.collect_seldom()  # as the controller's own program does
    await controller.start()
    heap.keep_what_is_there()
    print(json.dumps({"address": controller.address, "token": controller.first_token}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(time.process_time_ns(), flush=True)
    await controller.stop()


class Talker:
    """An agent's stream: one report after the other."""

    def __init__(self, channel: aio.Channel) -> None:
        """Open it with `greet`."""
        self._call: Any = agent_pb2_grpc.AgentServiceStub(channel).Connect()
        self._sequence = 0

    async def greet(self) -> None:
        """Say Hello and wait for the welcome."""
        await self._say(hello=pb.Hello(agent_version="0.1.0", os_id="centos", os_version="7.9", arch="x86_64"))
        await self._call.read()

    async def report(self, identifier: str, at: int, blobs: list[tuple[bytes, bytes]]) -> None:
        """Offer a report (digest and compressed content of the manifest, then of what it names), send what is asked for, await the ack."""
        offer = pb.ReportOffer(manifest_digest=blobs[0][0])
        offer.collected_at.FromSeconds(at)
        await self._say(self_report=pb.SelfReport(id=identifier, report=offer))
        following = iter(blobs)
        known = dict(blobs)
        while True:
            message = await self._call.read()
            match message.WhichOneof("body"):
                case "want":
                    for wanted in message.want.digests:
                        name, data = (wanted, known[wanted]) if wanted in known else next(following)
                        if wanted == blobs[0][0]:
                            next(following)
                        chunk = pb.BlobChunk(digest=name, data=data, last=True, encoding=pb.BLOB_ENCODING_ZSTD)
                        await self._say(blob_chunk=chunk)
                case "ack":
                    return

    async def _say(self, **body: Any) -> None:
        self._sequence += 1
        await self._call.write(pb.ConnectRequest(sequence=self._sequence, **body))


class Served:
    """A program that serves, and its agents."""

    def __init__(self, process: Process, talkers: list[Talker]) -> None:
        """`served` makes one."""
        self._process = process
        self.talkers = talkers

    async def seconds(self) -> float:
        """Return the processor time that the program has taken until now."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        return int(await self._process.stdout.readline()) / 1e9


@asynccontextmanager
async def served(folder: Path, what: str, agents: int) -> AsyncIterator[Served]:
    """Start the program, let agents in and open their streams."""
    folder.mkdir()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.agent_streams", str(folder), what),
        cwd=ROOT,
        stdin=PIPE,
        stdout=PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    channels = list[aio.Channel]()
    try:
        said = json.loads(await process.stdout.readline())
        join = tls.parse_join((folder / "join.pem").read_bytes())

        def channel(credential: Credential) -> aio.Channel:
            made = aio.secure_channel(
                said["address"],
                aio_credentials(join.ca_pem, credential),
                options=(("grpc.use_local_subchannel_pool", 1),),
            )
            channels.append(made)
            return made

        outside: Any = channel(join.credential)
        fleet: Any = fleet_pb2_grpc.FleetServiceStub(outside)
        agent: Any = agent_pb2_grpc.AgentServiceStub(outside)
        talkers = list[Talker]()
        for number in range(agents):
            token = await fleet.CreateEnrolmentToken(
                fleet_pb2.CreateEnrolmentTokenRequest(), metadata=(("authorization", f"Bearer {said['token']}"),)
            )
            key = tls.new_key()
            answer = await agent.Enroll(
                pb.EnrollRequest(
                    token=token.secret,
                    certificate_request_pem=tls.new_request(key),
                    placement=pb.Placement(name=f"host-{number}"),
                )
            )
            talkers.append(Talker(channel(Credential(answer.certificate_chain_pem, key))))
            await talkers[-1].greet()
        yield Served(process, talkers)
    finally:
        for made in channels:
            await made.close()
        process.stdin.close()
        with suppress(ProcessLookupError):
            await process.wait()


def aio_credentials(ca_pem: bytes, credential: Credential) -> Any:
    """Return what a channel with mutual TLS needs."""
    return grpc.ssl_channel_credentials(ca_pem, credential.key_pem, credential.chain_pem)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
