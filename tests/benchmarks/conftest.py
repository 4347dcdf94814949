"""Collects what the benchmarks measure, and prints it as one table at the end of the run."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from controller import heap
from tests.benchmarks.measuring import Table, noise

TABLE = pytest.StashKey[Table]()


@pytest.fixture(scope="session", autouse=True)
def _collects_as_the_controller_does() -> None:
    heap.collect_seldom()


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> Table:
    """Where a benchmark writes its rows."""
    return request.config.stash.setdefault(TABLE, Table())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    table = config.stash.get(TABLE, None)
    if table is None or not table.rows:
        return
    terminalreporter.section("measured")
    for line in (*table.lines(), "", machine()):
        terminalreporter.write_line(line)


def machine() -> str:
    """Say where this was measured and how calm it was there."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), "?")
    load = ", ".join(f"{figure:.1f}" for figure in os.getloadavg())
    return (
        f"{os.cpu_count()} x {model}, {platform.system()} {platform.release()}, {platform.python_implementation()}"
        f" {platform.python_version()}; load {load}; noise of equal runs {noise():.0f} %; best of three"
    )
