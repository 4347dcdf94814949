"""What people look at, as the fleet grows: one instance's report and the fleet's summary, asked of a real controller over the wire."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.measuring import Table
from tests.benchmarks.serving_fleet import LIMIT

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.bench
@pytest.mark.parametrize("count", [1_000, 10_000, 100_000])
def test_bench_i_reports_of_a_served_fleet(tmp_path: Path, table: Table, count: int) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.serving_fleet", str(tmp_path), str(count)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    aim = 50e-3 if count == 10_000 else None
    table.absolute(f"fleet summary, {count:,} hosts", found["summary"], "s", at_most=aim)
    table.absolute(f"report page of one instance, {count:,} hosts", found["page"], "s", at_most=aim)
    table.absolute(f"first fifty reports, {count:,} hosts", found["list"], "s")
    table.absolute(
        f"first summary after a start: all evaluated and stored, {count:,} hosts", found["first summary"], "s"
    )
    table.absolute(f"memory of the controller, {count:,} hosts", found["rss"], "MiB")
    for name in ("summary", "page", "list", "first summary"):
        if found[name] >= LIMIT:
            table.remark(
                f"{name}, {count:,} hosts: not waited for any longer than {LIMIT:g} s, so the figure is a floor"
            )
    table.remark(
        "served fleets: SQLite, gRPC over TLS on one machine, the least time a client waited; their memory holds the client, too"
    )
