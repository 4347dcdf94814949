"""What the controller pays for a report, against the bare transport: the same server, TLS and messages, and nothing done with them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import zstandard

from common import digest, manifest
from common.manifest import PackageLine
from tests.benchmarks.agent_streams import UNCHANGED, Served, Talker, served
from tests.benchmarks.measuring import TIMES, Table
from tests.benchmarks.synthetic_fleet import Fleet, a_fleet
from tests.builders import NOW

AGENTS: Final = 20
UNCHANGED_REPORTS: Final = 40
CHANGED_REPORTS: Final = 10
UPDATED: Final = 10
"""So many packages are in another build than when the agent last said something new."""
Blobs = list[tuple[bytes, bytes]]


def blobs_of(lines: list[PackageLine], installed_at: int) -> Blobs:
    """The manifest and what it names, as an agent sends it: digests and compressed content."""
    packages, details = manifest.encode_packages(
        (line, installed_at + number % 7, "CentOS") for number, line in enumerate(lines)
    )
    said = replace(
        next(host.manifest for host in a_fleet(AGENTS).hosts if host.manifest is not None),
        packages=digest.of(packages).hex(),
        details=digest.of(details).hex(),
        package_count=len(lines),
        repositories=(),
    )
    compressor = zstandard.ZstdCompressor()
    return [(digest.of(blob), compressor.compress(blob)) for blob in (manifest.encode(said), packages, details)]


def histories(fleet: Fleet, count: int) -> list[list[Blobs]]:
    """For each agent: what it says first, and after each of so many updates."""
    dice, found = random.Random(5), list[list[Blobs]]()
    builds = {package.nevra.name: [] for package in fleet.packages} | dict[str, list[PackageLine]]()
    for package in fleet.packages:
        builds[package.nevra.name].append(PackageLine(package.nevra))
    for number, host in enumerate(fleet.hosts[:AGENTS]):
        has = {line.nevra.name: line for line in fleet.lines(host)}
        said = [blobs_of(list(has.values()), 1_700_000_000 + number)]
        for step in range(count):
            for name in dice.sample(sorted(has), UPDATED):
                has[name] = dice.choice(builds[name])
            said.append(blobs_of(list(has.values()), 1_700_000_000 + number + 100 * step))
        found.append(said)
    return found


async def everybody(there: Served, say: Callable[[int, Talker], object]) -> None:
    """Let all agents speak at once."""

    async def one(number: int, talker: Talker) -> None:
        await say(number, talker)  # type: ignore[misc]

    await asyncio.gather(*(one(number, talker) for number, talker in enumerate(there.talkers)))


async def costs(folder: Path, what: str, said: list[list[Blobs]]) -> tuple[float, float]:
    """Return the processor seconds of a server for an unchanged report and for a changed one, the least of some rounds."""
    start = int(NOW.timestamp())
    unchanged, changed = list[float](), list[float]()
    async with served(folder, what, AGENTS) as there:

        async def first(number: int, talker: Talker) -> None:
            await talker.report("first", start, said[number][0])

        await everybody(there, first)
        for turn in range(TIMES):

            async def same(number: int, talker: Talker, turn: int = turn) -> None:
                for place in range(UNCHANGED_REPORTS):
                    at = start + 1000 * turn + place + 1
                    await talker.report(f"{UNCHANGED} {turn} {place}", at, said[number][turn * CHANGED_REPORTS])

            async def other(number: int, talker: Talker, turn: int = turn) -> None:
                for place in range(turn * CHANGED_REPORTS + 1, (turn + 1) * CHANGED_REPORTS + 1):
                    await talker.report(f"new {place}", start + 1000 * turn + 500 + place, said[number][place])

            before = there.seconds()
            await everybody(there, same)
            between = there.seconds()
            await everybody(there, other)
            unchanged.append((between - before) / AGENTS / UNCHANGED_REPORTS)
            changed.append((there.seconds() - between) / AGENTS / CHANGED_REPORTS)
    return min(unchanged), min(changed)


@pytest.mark.bench
async def test_bench_k_reports_on_agents_streams(tmp_path: Path, table: Table) -> None:
    said = histories(a_fleet(AGENTS), TIMES * CHANGED_REPORTS)
    echo, transport = await costs(tmp_path / "bare", "bare", said)
    unchanged, changed = await costs(tmp_path / "intake", "intake", said)
    answered, answered_anew = await costs(tmp_path / "whole", "whole", said)
    for what, ours, plain, than, aim in (
        ("unchanged inventory: heard, stored, acknowledged", unchanged, echo, "bare echo", 1.5),
        ("changed inventory: fetched, checked, stored, acknowledged", changed, transport, "raw transport", 4),
    ):
        table.times(f"{what}, a report", ours, plain, "s", than=than, at_most=aim)
    table.absolute("unchanged inventory, and the instance's answer given and stored anew", answered, "s")
    table.absolute("changed inventory, and the instance's answer given and stored anew", answered_anew, "s")
    sizes = [sum(len(content) for _, content in blobs) for blobs in said[0]]
    table.remark(
        f"agents' streams: processor time of the serving process for a report, mutual TLS, {AGENTS} agents at once, {UPDATED} packages"
        f" updated each, {sum(sizes) // len(sizes) / 1000:.0f} kB sent for a changed one; bare: the same server, whose handler says"
        " what a controller says, and no more"
    )
