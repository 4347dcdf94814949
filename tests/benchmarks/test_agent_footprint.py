"""What an idle agent costs a host: memory and processor time over a minute, with its stream open."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "integration"))

from agent_controller import running

from tests.benchmarks.measuring import Table

SECONDS = 60


def memory(pid: int) -> tuple[float, float]:
    """Return resident and private MiB. Pages of files count as shared: other programs of the host map them, too."""
    lines = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    kib = {words[0]: int(words[1]) for words in lines}
    return kib["Rss:"] / 1024, kib["Private_Dirty:"] / 1024


def ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.bench
async def test_bench_j_an_idle_agent_is_light_and_does_not_grow_with_its_scans(tmp_path: Path, table: Table) -> None:
    async with running(tmp_path) as (controller, agent):
        agent.start()
        session = await controller.session()
        assert agent.process is not None
        pid = agent.process.pid
        await asyncio.sleep(2)
        before = ticks(pid)
        await asyncio.sleep(SECONDS)
        percent = (ticks(pid) - before) / os.sysconf("SC_CLK_TCK") / SECONDS * 100
        rss, private = memory(pid)
        table.absolute("idle agent: resident memory", rss, "MiB", at_most=42)
        table.absolute("idle agent: private memory", private, "MiB", at_most=18)
        table.absolute("idle agent: processor", percent, "%", at_most=0.1)
        found = list[float]()
        for count in (20, 120):
            for number in range(len(session.all("run_result")), count):
                await session.assign(f"run-{number}")
            await controller.until(lambda count=count: len(session.all("run_result")) == count, 300)
            await asyncio.sleep(1)
            found.append(memory(pid)[1])
        table.absolute("agent: growth over 100 scans", found[1] - found[0], "MiB", at_most=0.5)
        table.remark("agent: growth is that of private memory, from the 20th scan to the 120th")
