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


def run(folder: Path, count: int, what: str) -> str:
    """Let the program do its part in a process of its own; return what it printed."""
    command = [sys.executable, "-m", "tests.benchmarks.serving_fleet", str(folder), str(count), what]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.bench
@pytest.mark.parametrize("count", [1_000, 10_000, 100_000])
def test_bench_i_reports_of_a_served_fleet(tmp_path: Path, table: Table, count: int) -> None:
    run(tmp_path, count, "fill")
    first, found = (json.loads(run(tmp_path, count, "serve")) for _ in range(2))
    aim = 50e-3 if count == 10_000 else None
    for name, what in (
        ("summary", "fleet summary"),
        ("page", "report page of one instance"),
        ("list", "first fifty reports"),
    ):
        table.absolute(f"{what}, {count:,} hosts", found[name], "s", at_most=aim if name != "list" else None)
        table.absolute(f"{what}, the longest of forty, {count:,} hosts", found[f"{name}, worst"], "s")
    table.absolute(f"processor time of a report page, its client's too, {count:,} hosts", found["page, processor"], "s")
    for served, when in ((first, "ever: all evaluated and stored"), (found, "after a restart: all taken up")):
        table.absolute(f"first summary {when}, {count:,} hosts", served["start"] + served["first summary"], "s")
        table.absolute(f"processor time until then, {count:,} hosts", served["processor"], "s")
        table.absolute(f"memory of the controller then, {count:,} hosts", served["rss"], "MiB")
    table.absolute(f"database with all answers, {count:,} hosts", found["database"], "MiB")
    for name in ("summary", "page", "list", "first summary"):
        if max(first[name], found[name]) >= LIMIT:
            table.remark(
                f"{name}, {count:,} hosts: not waited for any longer than {LIMIT:g} s, so the figure is a floor"
            )
    table.remark(
        "served fleets: SQLite, gRPC over TLS on one machine; what a client waited, the middle of forty times, after a restart; first"
        " summaries from the beginning of the start; their memory holds the client, too"
    )
