"""Simulates tickets by a seed: python -m tests.simulation.run --seed 7 --events 20000. What a violated invariant prints repeats it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.simulation.ledger import Violation
from tests.simulation.world import CountedEvents, World

ROOT = Path(__file__).resolve().parents[2]


def simulated(seed: int, events: int, instances: int) -> subprocess.CompletedProcess[str]:
    """Simulate in a process of its own, in which the order of sets is always the same."""
    command = [sys.executable, "-m", "tests.simulation.run", "--seed", str(seed), "--events", str(events)]
    command += ["--instances", str(instances)]
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


async def simulate(
    seed: int, instances: int, events: int, steps: Iterable[int]
) -> tuple[World, Counter[str], list[int], Violation | None]:
    """Make these steps happen until there were so many events; return what there was, and what was violated."""
    world, done = World(seed, instances), list[int]()
    with CountedEvents() as counted:
        try:
            for number in steps:
                done.append(number)
                await world.step(number)
                if counted.total() >= events:
                    break
            await world.end()
        except Violation as violation:
            await world.engine.stop()
            return world, counted, done, violation
    return world, counted, done, None


def shortened(seed: int, instances: int, steps: Sequence[int], seconds: float) -> list[int]:
    """Leave out as many steps as can be while an invariant is still violated, for so long at most."""
    kept, size, until = list(steps), max(1, len(steps) // 2), time.monotonic() + seconds
    while size and time.monotonic() < until:
        start, before = 0, len(kept)
        while start < len(kept) and time.monotonic() < until:
            fewer = kept[:start] + kept[start + size :]
            *_, violation = asyncio.run(simulate(seed, instances, sys.maxsize, fewer))
            if violation is not None:
                kept = fewer
            else:
                start += size
        if size == 1 and len(kept) == before:
            break
        size = max(1, size // 2)
    return kept


def main() -> int:
    """Simulate, print figures, or the violation with what repeats it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=20_000, help="Stop after so many events of the machine.")
    parser.add_argument("--instances", type=int, default=2000)
    parser.add_argument("--steps", default="", help="Only these steps, 3,17,18: what a violation prints.")
    parser.add_argument(
        "--shorten", type=float, default=60.0, metavar="SECONDS", help="How long to shorten a violation."
    )
    given = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets in one order, or the same seed is another run
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.simulation.run", *sys.argv[1:]],
            os.environ | {"PYTHONHASHSEED": "0"},
        )
    logging.disable(logging.CRITICAL)
    steps: Iterable[int] = map(int, given.steps.split(",")) if given.steps else range(1, sys.maxsize)
    began, cpu = time.monotonic(), time.process_time()
    world, counted, done, violation = asyncio.run(simulate(given.seed, given.instances, given.events, steps))
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    print(
        f"seed {given.seed}: {counted.total()} events in {len(done)} steps, {world.made} tickets, {took:.1f} s, {cpu:.1f} s CPU"
    )
    print("  machine: " + ", ".join(f"{name} {n}" for name, n in counted.most_common()))
    print("  world: " + ", ".join(f"{name} {n}" for name, n in world.happened.most_common()))
    if violation is None:
        print("  violations: 0")
        return 0
    print(f"VIOLATION {violation}", *world.trace, sep="\n  ")
    kept = shortened(given.seed, given.instances, done, given.shorten)
    print(
        f"repeat: python -m tests.simulation.run --seed {given.seed} --instances {given.instances} --steps {','.join(map(str, kept))}"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
