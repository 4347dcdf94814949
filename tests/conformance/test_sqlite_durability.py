"""What was acknowledged is there after a SIGKILL, and nothing is there by half."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

from common import digest
from controller.store.api import Store
from controller.store.sqlite import SqliteStore
from controller.tickets.model import Outcome, TicketId
from tests.builders import NOW, instance_id, packages, packages_digest
from tests.conformance.sqlite_writer import LARGE, content_of

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 5


def killed_writer(path: Path, start: int, lives_seconds: float) -> list[list[str]]:
    """Start a writer, kill it so long after its first word; return what it had acknowledged."""
    command = [sys.executable, "-m", "tests.conformance.sqlite_writer", str(path), str(start)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline()]
        timer = threading.Timer(lives_seconds, writer.send_signal, (signal.SIGKILL,))
        timer.start()
        lines += writer.stdout.readlines()
        timer.join()
    assert writer.returncode == -signal.SIGKILL
    return [line.split() for line in lines if line.endswith("\n")]  # a line that is cut off was not said


async def check(store: Store, line: list[str]) -> None:
    match line:
        case ["report", number, step]:
            said = await store.inventory.report_as_of(instance_id(int(number)), NOW + timedelta(seconds=int(step)))
            assert said is not None
            assert said.manifest_digest == digest.of(content_of(f"{number} {step}", 100))
            assert await store.inventory.get_blob(said.manifest_digest) == content_of(f"{number} {step}", 100)
            lines = packages(5, first=int(number) * 10 + int(step))
            assert said.inventory_digest == packages_digest(lines)
            snapshot = await store.inventory.get_snapshot(packages_digest(lines))
            found = await store.inventory.packages(snapshot.packages)
            assert {p.nevra for p in found} == {one.nevra for one in lines}
        case ["repeat", number, step, part]:
            end = NOW + timedelta(seconds=int(step), milliseconds=int(part))
            said = await store.inventory.report_as_of(instance_id(int(number)), end)
            assert said is not None
            assert said.manifest_digest == digest.of(content_of(f"{number} {step}", 100))
            assert said.collected_at >= end
        case ["ticket", ticket_id, version]:
            ticket = await store.tickets.load(TicketId(ticket_id))
            assert ticket.version >= int(version)
            done = sum(run.outcome is Outcome.SUCCEEDED for run in ticket.runs.values())
            assert (done, ticket.counts.succeeded, len(ticket.runs)) == (ticket.version - 1, ticket.version - 1, 5)
        case ["large", number]:
            content = content_of(f"large {number}", LARGE)
            assert await store.inventory.get_blob(digest.of(content)) == content
        case _:
            raise AssertionError(line)


async def test_all_that_was_acknowledged_survives_SIGKILL_at_any_moment(tmp_path: Path) -> None:
    rng = random.Random(7)
    path, acknowledged = tmp_path / "patchwarden.db", list[list[str]]()
    for killed in range(ROUNDS):
        acknowledged += killed_writer(path, killed * 10_000, rng.uniform(0, 0.4))
        store = SqliteStore.open(path)
        for line in acknowledged:
            await check(store, line)
        await store.close()
    assert {line[0] for line in acknowledged} == {"report", "repeat", "ticket", "large"}
