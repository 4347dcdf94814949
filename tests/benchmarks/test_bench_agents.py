"""What the controller pays for a report, against the bare transport: the same server, TLS and messages, and nothing done with them."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final

import pytest
import zstandard

from common import digest, manifest
from common.manifest import PackageLine
from tests.benchmarks.agent_streams import UNCHANGED, Served, Talker, served
from tests.benchmarks.measuring import Table
from tests.benchmarks.synthetic_fleet import Fleet, a_fleet
from tests.builders import NOW

AGENTS: Final = 20
ROUNDS: Final = 12
UNCHANGED_REPORTS: Final = 200
"""So many a round, of each agent: some seconds of processor time a side in all rounds."""
CHANGED_REPORTS: Final = 10
UPDATED: Final = 10
"""So many packages are in another build than when the agent last said something new."""
Blobs = list[tuple[bytes, bytes]]


def blobs_of(installed: dict[str, tuple[PackageLine, int]]) -> Blobs:
    """The manifest and what it names, as an agent sends it: digests and compressed content."""
    packages, details = manifest.encode_packages((line, at, "CentOS") for line, at in installed.values())
    said = replace(
        next(host.manifest for host in a_fleet(AGENTS).hosts if host.manifest is not None),
        packages=digest.of(packages).hex(),
        details=digest.of(details).hex(),
        package_count=len(installed),
        repositories=(),
    )
    compressor = zstandard.ZstdCompressor()
    return [(digest.of(blob), compressor.compress(blob)) for blob in (manifest.encode(said), packages, details)]


def histories(fleet: Fleet, count: int) -> list[list[Blobs]]:
    """For each agent: what it says first, and after each of so many updates, which date what they change and nothing else."""
    dice, found = random.Random(5), list[list[Blobs]]()
    builds = {package.nevra.name: [] for package in fleet.packages} | dict[str, list[PackageLine]]()
    for package in fleet.packages:
        builds[package.nevra.name].append(PackageLine(package.nevra))
    for number, host in enumerate(fleet.hosts[:AGENTS]):
        begun = 1_700_000_000 + number
        has = {line.nevra.name: (line, begun + place // 10) for place, line in enumerate(fleet.lines(host))}
        said = [blobs_of(has)]
        for step in range(1, count + 1):
            for name in dice.sample(sorted(has), UPDATED):
                has[name] = dice.choice(builds[name]), begun + 86_400 * step
            said.append(blobs_of(has))
        found.append(said)
    return found


class Side:
    """One of the programs that are compared: its agents, and what its processor needed for a report, round by round."""

    def __init__(self, there: Served, said: list[list[Blobs]]) -> None:
        """Its agents are to say this, in this order."""
        self._there = there
        self._said = said
        self._said_last = 0
        self._at = int(NOW.timestamp())
        self.unchanged = list[float]()
        self.changed = list[float]()

    async def begin(self) -> None:
        """Let each agent say something for the first time, and something of each kind: nothing of it counts."""
        await self._everybody([(f"{UNCHANGED} at first", 0)])
        await self.stay()
        await self.change()
        self.unchanged.clear()
        self.changed.clear()

    async def stay(self) -> None:
        """Let each agent say again what it said last, so many times."""
        self.unchanged.append(
            await self._everybody([(f"{UNCHANGED} {n}", self._said_last) for n in range(UNCHANGED_REPORTS)])
        )

    async def change(self) -> None:
        """Let each agent say something new, so many times."""
        places = range(self._said_last + 1, self._said_last + 1 + CHANGED_REPORTS)
        self.changed.append(await self._everybody([(f"new {place}", place) for place in places]))

    async def _everybody(self, reports: list[tuple[str, int]]) -> float:
        """Let all agents speak at once, each give these reports one by one; return the processor seconds for a report."""

        async def one(talker: Talker, said: list[Blobs]) -> None:
            for at, (name, place) in enumerate(reports, self._at):
                await talker.report(name, at, said[place])

        before = await self._there.seconds()
        await asyncio.gather(*map(one, self._there.talkers, self._said))
        took = await self._there.seconds() - before
        self._at += len(reports)
        self._said_last = reports[-1][1]
        return took / len(self._there.talkers) / len(reports)


@pytest.mark.bench
async def test_bench_k_reports_on_agents_streams(tmp_path: Path, table: Table) -> None:
    said = histories(a_fleet(AGENTS), (1 + ROUNDS) * CHANGED_REPORTS)
    async with AsyncExitStack() as serving:
        sides = [
            Side(await serving.enter_async_context(served(tmp_path / what, what, AGENTS)), said)
            for what in ("bare", "intake", "whole")
        ]
        for side in sides:
            await side.begin()
        for _ in range(ROUNDS):  # in turn, so that whatever else the machine does meanwhile meets all of them
            for side in sides:
                await side.stay()
            for side in sides:
                await side.change()
    bare, intake, whole = sides
    table.times_in_turn(
        "unchanged inventory: heard, stored, acknowledged, a report",
        *(intake.unchanged, bare.unchanged, "s"),
        than="bare echo",
        at_most=1.5,
    )
    table.times_in_turn(
        "changed inventory: fetched, checked, stored, acknowledged, a report",
        *(intake.changed, bare.changed, "s"),
        than="raw transport",
        at_most=4,
    )
    for what, found in (("unchanged", whole.unchanged), ("changed", whole.changed)):
        table.absolute(f"{what} inventory, and the instance's answer given and stored anew", median(found), "s")
    sizes = [sum(len(content) for _, content in blobs) for blobs in said[0]]
    table.remark(
        f"agents' streams: processor time of the serving process for a report, mutual TLS, {AGENTS} agents at once, {UPDATED} packages"
        f" updated each, {sum(sizes) // len(sizes) / 1000:.0f} kB sent for a changed one; bare: the same server, whose handler says"
        f" what a controller says, and no more; {ROUNDS} rounds of each in turn, of {AGENTS * UNCHANGED_REPORTS:,} unchanged reports and"
        f" {AGENTS * CHANGED_REPORTS:,} changed ones; the median of the rounds' ratios, and what the middle half of them lies between"
    )
