"""What an idle agent costs a host: memory and processor time over a minute, with its stream open."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "integration"))

from agent_controller import running

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
async def test_an_idle_agent_is_light_and_does_not_grow_with_its_scans(tmp_path: Path) -> None:
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
        print(f"\nidle agent: RSS {rss:.1f} MiB, private {private:.1f} MiB, CPU {percent:.3f} % over {SECONDS} s")
        assert rss < 42
        assert private < 18
        assert percent < 0.1
        for count in (20, 100):
            for number in range(len(session.all("run_result")), count):
                await session.assign(f"run-{number}")
            await controller.until(lambda count=count: len(session.all("run_result")) == count, 300)
            await asyncio.sleep(1)
            grown = memory(pid)
            print(f"after {count} scans: RSS {grown[0]:.1f} MiB, private {grown[1]:.1f} MiB")
        assert grown[1] < private + 1.5
