"""Agents that say again what they said: acknowledged when it is stored, never before, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from common import digest, manifest
from common.errors import Conflict, Unavailable
from common.pb.v1 import agent_pb2, agent_pb2_grpc
from controller.app import DATABASE
from controller.fleet.model import InstanceId
from controller.inventory.model import Report
from controller.store.sqlite import SqliteStore
from tests.builders import a_manifest, a_package
from tests.integration.api_harness import Agent, Harness, serving
from tests.integration.test_failpoints import Walk

PACKAGES, DETAILS = manifest.encode_packages([(a_package(), 0, "CentOS")])
OTHER, OTHER_DETAILS = manifest.encode_packages([(a_package("bash-4.2.46-34.el7.x86_64"), 0, "CentOS")])
SAID, SAID_ELSE = (
    manifest.encode(
        a_manifest((), packages=digest.of(p).hex(), details=digest.of(d).hex(), package_count=1, repositories=())
    )
    for p, d in ((PACKAGES, DETAILS), (OTHER, OTHER_DETAILS))
)
CONTENT = {digest.of(c): c for c in (SAID, SAID_ELSE, PACKAGES, DETAILS, OTHER, OTHER_DETAILS)}
SECONDS = 30.0
START = 1_750_000_000


class Speaker:
    """An agent's stream, word by word."""

    def __init__(self, channel: aio.Channel) -> None:
        self._call: Any = agent_pb2_grpc.AgentServiceStub(channel).Connect()
        self._sequence = 0
        self.acknowledged = list[str]()

    async def greet(self) -> None:
        await self._say(hello=agent_pb2.Hello(os_id="centos", os_version="7.9", arch="x86_64"))
        await self._call.read()

    async def report(self, report_id: str, second: int, content: bytes = SAID) -> None:
        """Offer a report and do not wait for anything."""
        offer = agent_pb2.ReportOffer(manifest_digest=digest.of(content))
        offer.collected_at.FromSeconds(START + second)
        await self._say(self_report=agent_pb2.SelfReport(id=report_id, report=offer))

    async def until(self, *report_ids: str) -> None:
        """Answer what is asked until these are acknowledged."""
        async with asyncio.timeout(SECONDS):
            while not set(report_ids) <= set(self.acknowledged):
                message = await self._call.read()
                if message is aio.EOF:
                    raise AssertionError("the stream ended")
                self.acknowledged += [message.ack.id] if message.WhichOneof("body") == "ack" else []
                for wanted in message.want.digests:
                    await self._say(blob_chunk=agent_pb2.BlobChunk(digest=wanted, data=CONTENT[wanted], last=True))

    async def listen(self) -> agent_pb2.ConnectResponse:
        async with asyncio.timeout(SECONDS):
            return await self._call.read()  # type: ignore[no-any-return]

    def leave(self) -> None:
        self._call.cancel()

    async def end(self) -> tuple[grpc.StatusCode, str]:
        async with asyncio.timeout(SECONDS):
            return await self._call.code(), await self._call.details()

    async def _say(self, **body: Any) -> None:
        self._sequence += 1
        await self._call.write(agent_pb2.ConnectRequest(sequence=self._sequence, **body))


class Gate:
    """Stands in front of a store's `repeat`, and lets it go on when it is opened, or fail."""

    def __init__(self, harness: Harness) -> None:
        self._store: Any = harness.store.repeats
        self._repeat = self._store.repeat
        self._store.repeat = self._pass
        self.came = asyncio.Event()
        self.opened = asyncio.Event()
        self.error: Exception | None = None
        self.lots = list[int]()

    async def _pass(self, reports: Sequence[Report]) -> None:
        self.lots.append(len(reports))
        self.came.set()
        await self.opened.wait()
        if self.error is not None:
            raise self.error
        await self._repeat(reports)


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with serving(tmp_path) as harness:
        yield harness


@pytest.fixture
async def agent(harness: Harness) -> Agent:
    return await harness.enrol("web-01")


@pytest.fixture
async def speaker(agent: Agent) -> Speaker:
    """One that has said something, so that the next may be a repeat."""
    speaker = Speaker(agent.stubs.channel)
    await speaker.greet()
    await speaker.report("first", 0)
    await speaker.until("first")
    return speaker


async def latest(harness: Harness, agent: Agent) -> Report:
    found = await harness.store.inventory.latest_report(InstanceId(agent.instance_id))
    assert found is not None
    return found


def second(report: Report) -> float:
    return report.collected_at.timestamp() - START


async def test_the_same_again_is_acknowledged_and_stretches_what_is_stored(
    harness: Harness, agent: Agent, speaker: Speaker
) -> None:
    gate = Gate(harness)
    gate.opened.set()
    for turn in range(1, 6):
        await speaker.report(f"again {turn}", turn)
        await speaker.until(f"again {turn}")
    found = await latest(harness, agent)
    assert (second(found), found.first_collected_at) == (5, datetime.fromtimestamp(START, UTC))
    assert gate.lots == [1, 1, 1, 1, 1]


async def test_invariant_3_nothing_is_acknowledged_before_it_is_stored(
    harness: Harness, agent: Agent, speaker: Speaker
) -> None:
    gate = Gate(harness)
    await speaker.report("again", 1)
    hearing = asyncio.create_task(speaker.listen())
    await gate.came.wait()
    done, _ = await asyncio.wait({hearing}, timeout=0.1)
    assert not done
    assert second(await latest(harness, agent)) == 0
    gate.opened.set()
    assert (await hearing).ack.id == "again"
    assert second(await latest(harness, agent)) == 1


async def test_many_at_once_are_acknowledged_each_once_in_their_order(
    harness: Harness, agent: Agent, speaker: Speaker
) -> None:
    names = [f"again {turn}" for turn in range(40)]
    for turn, name in enumerate(names):
        await speaker.report(name, turn)
        await speaker.report(
            name, turn
        )  # said twice while the first still waits, or again after it: no harm either way
    await speaker.until(*names)
    assert list(dict.fromkeys(speaker.acknowledged[1:])) == names
    assert second(await latest(harness, agent)) == 39


async def test_what_changes_meanwhile_is_stored_in_its_place(harness: Harness, agent: Agent, speaker: Speaker) -> None:
    for turn, content in enumerate((SAID, SAID_ELSE, SAID_ELSE, SAID, SAID), 1):
        await speaker.report(f"report {turn}", turn, content)
        await speaker.until(f"report {turn}")
    said = [
        await harness.store.inventory.report_as_of(
            InstanceId(agent.instance_id), datetime.fromtimestamp(START + s, UTC)
        )
        for s in range(6)
    ]
    there = [None if report is None else report.manifest_digest for report in said]
    assert there == [digest.of(content) for content in (SAID, SAID, SAID_ELSE, SAID_ELSE, SAID, SAID)]


async def test_when_somebody_else_wrote_meanwhile_the_report_is_stored_by_itself(
    harness: Harness, agent: Agent, speaker: Speaker
) -> None:
    gate = Gate(harness)
    gate.error = Conflict("report", "latest")
    gate.opened.set()
    await speaker.report("again", 1)
    await speaker.until("again")
    assert gate.lots == [1]
    assert second(await latest(harness, agent)) == 1


async def test_when_nothing_can_be_stored_the_stream_ends_and_the_report_can_be_said_again(
    harness: Harness, agent: Agent, speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(harness)
    gate.error = Unavailable("the disk is full")

    async def full(_: Report) -> Report:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(harness.store.inventory, "put_report", full)
    gate.opened.set()
    await speaker.report("again", 1)
    assert await speaker.end() == (grpc.StatusCode.UNAVAILABLE, "the disk is full")
    assert second(await latest(harness, agent)) == 0
    monkeypatch.undo()
    gate.error = None
    speaker = Speaker(agent.stubs.channel)
    await speaker.greet()
    await speaker.report("again", 1)
    await speaker.until("again")
    assert second(await latest(harness, agent)) == 1


@pytest.mark.parametrize("error", [None, Conflict("report", "latest")])
async def test_an_agent_that_went_away_meanwhile_does_no_harm(
    harness: Harness, agent: Agent, speaker: Speaker, error: Exception | None
) -> None:
    gate = Gate(harness)
    gate.error = error
    await speaker.report("again", 1)
    await gate.came.wait()
    there = await harness.store.fleet.get_instance(InstanceId(agent.instance_id))
    speaker.leave()
    async with asyncio.timeout(SECONDS):  # when the controller has noticed, it notes down when it saw the agent last
        while await harness.store.fleet.get_instance(there.id) == there:
            await asyncio.sleep(0.01)
    gate.opened.set()
    returned = Speaker(agent.stubs.channel)
    await returned.greet()
    gate.error = None
    for turn in (1, 2, 3):
        await returned.report(f"again {turn}", turn)
        await returned.until(f"again {turn}")
    assert second(await latest(harness, agent)) == 3


async def test_more_than_an_agent_may_have_open_ends_its_stream(harness: Harness, speaker: Speaker) -> None:
    gate = Gate(harness)
    for turn in range(65):
        await speaker.report(f"again {turn}", turn)
    code, details = await speaker.end()
    gate.opened.set()
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "64 results of this agent wait already" in details


@pytest.mark.parametrize("report_id", ["", "x" * 65])
async def test_a_report_without_a_proper_id_is_refused(speaker: Speaker, report_id: str) -> None:
    await speaker.report(report_id, 1)
    code, _ = await speaker.end()
    assert code is grpc.StatusCode.INVALID_ARGUMENT


@asynccontextmanager
async def walking(folder: Path) -> AsyncIterator[Walk]:
    walk = Walk(folder)
    try:
        walk.start()
        await walk.until("it serves", walk.is_serving)
        await walk.enrol()
        yield walk
    finally:
        await walk.end()


async def speak_until_killed(walk: Walk, number: int, ends: dict[int, int]) -> None:
    """Report for as long as the controller lives; note what was acknowledged last."""
    agent = walk.agents[number]
    secret = grpc.ssl_channel_credentials(agent.ca_pem, agent.credential.key_pem, agent.credential.chain_pem)
    async with aio.secure_channel(agent.address, secret, (("grpc.use_local_subchannel_pool", 1),)) as channel:
        speaker = Speaker(channel)
        await speaker.greet()
        for turn in range(ends[number] + 1, 1_000_000):
            await speaker.report(f"report {turn}", turn)
            await speaker.until(f"report {turn}")
            ends[number] = turn


@pytest.mark.parametrize(
    ("place", "times"),
    [("repeats.before_lot", 9), ("store.before_commit", 30), ("store.committed", 30), ("repeats.lot_stored", 9)],
)
async def test_invariant_3_what_was_acknowledged_is_there_after_SIGKILL(tmp_path: Path, place: str, times: int) -> None:
    async with walking(tmp_path) as walk:
        assert walk.process is not None
        walk.process.terminate()
        await walk.until("it stops", walk.is_dead)
        walk.start(f"{place}:{times}")
        await walk.until("it serves", walk.is_serving)
        ends = dict.fromkeys(range(len(walk.agents)), -1)
        await asyncio.gather(*(speak_until_killed(walk, n, ends) for n in ends), return_exceptions=True)
        await walk.until("it is dead", walk.is_dead)
        assert walk.process.returncode == -9
        assert any(turn >= 1 for turn in ends.values())
    store = SqliteStore.open(walk.data / DATABASE)
    try:
        names = {i.name: i.id for i in await store.fleet.instances()}
        for number, turn in ends.items():
            found = await store.inventory.latest_report(names[f"ecs-{number}"])
            assert (-1 if found is None else second(found)) >= turn
    finally:
        await store.close()
