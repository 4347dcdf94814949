"""A collection is a child process: whatever it does, the daemon hears one outcome and nothing of it is left running."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from uniagent import collection, family
from uniagent.collection import CollectionFailed, CollectionTimedOut
from uniagent.messages import Offer

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
MANIFEST = b'{"format":1}'
DIGEST = hashlib.sha256(MANIFEST).hexdigest()
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
inner = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", inner], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
open(sys.argv[1] + "/pids", "w").write(f"{os.getpid()} {child.pid}")
print("collecting", flush=True)
time.sleep(60)
"""

DEAF = STUBBORN.replace("lambda *_: sys.exit(3)", "signal.SIG_IGN")


def script(code: str, spool: Path) -> list[str]:
    return [sys.executable, "-c", code, str(spool)]


def writing(document: object) -> str:
    return (
        f"import sys; from pathlib import Path; d = Path(sys.argv[1]); print('collecting'); print('x' * 200000);"
        f"(d / {DIGEST!r}).write_bytes({MANIFEST!r}); (d / 'result.json').write_text({json.dumps(document)!r})"
    )


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder


async def collect(words: list[str], spool: Path, seconds: float = 20.0, steps: list[str] | None = None) -> Offer:
    said = [] if steps is None else steps
    return await collection.collect(words, spool, timedelta(seconds=seconds), 5, said.append)


async def test_what_it_found_is_offered_and_its_steps_are_heard(spool: Path) -> None:
    steps = list[str]()
    good = writing({"manifest": DIGEST, "problems": 0, "collected_at": AT.isoformat()})
    assert await collect(script(good, spool), spool, steps=steps) == Offer(DIGEST, AT)
    assert steps == ["collecting"]
    assert not (spool.parent / "collector.pid").exists()


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import sys; print('first', file=sys.stderr); sys.exit('rpm is gone')", "rpm is gone"),
        ("raise SystemExit(7)", "status 7"),
        ("import os; os.kill(os.getpid(), 9)", "signal SIGKILL"),
        ("", "its result cannot be read"),
        (writing({"manifest": "ab" * 32, "collected_at": AT.isoformat()}), "its result cannot be read"),
        (writing({"manifest": "../../etc/passwd", "collected_at": AT.isoformat()}), "its result cannot be read"),
        (writing({"manifest": DIGEST, "collected_at": "2026-11-22T12:00:00"}), "its result cannot be read"),
        (writing([]), "its result cannot be read"),
    ],
    ids=["sentence", "status", "signal", "nothing", "no such blob", "no digest", "no zone", "no table"],
)
async def test_a_collector_that_fails_is_told_in_one_sentence(spool: Path, code: str, sentence: str) -> None:
    with pytest.raises(CollectionFailed) as failed:
        await collect(script(code, spool), spool)
    assert sentence in str(failed.value)
    assert "\n" not in str(failed.value)


async def test_a_collector_that_cannot_be_started_is_a_failure(spool: Path) -> None:
    with pytest.raises(CollectionFailed, match="cannot be started"):
        await collect([str(spool / "absent")], spool)


async def running(spool: Path) -> list[int]:
    async with asyncio.timeout(60):
        while not (spool / "pids").exists() or not (text := (spool / "pids").read_text()):
            await asyncio.sleep(0.02)
    return [int(word) for word in text.split()]


async def have_ended(pids: list[int]) -> None:
    async with asyncio.timeout(60):
        while any(family.look(pid) is not None for pid in pids):  # whom a busy machine has not let die yet
            await asyncio.sleep(0.02)


async def test_one_that_hangs_is_ended_with_all_it_started_in_whatever_session(spool: Path) -> None:
    for seconds in (1.5, 6, 24):  # how long a busy machine takes to start two interpreters, nobody knows
        with pytest.raises(CollectionTimedOut):
            await collect(script(STUBBORN, spool), spool, seconds)
        if (spool / "pids").exists():
            break
    await have_ended(await running(spool))


async def test_cancelled_it_ends_them_as_well(spool: Path) -> None:
    task = asyncio.create_task(collect(script(STUBBORN, spool), spool))
    pids = await running(spool)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await have_ended(pids)


async def test_cancelled_while_it_ends_them_in_good_order_it_ends_them_at_once(spool: Path) -> None:
    task = asyncio.create_task(collect(script(DEAF, spool), spool))
    pids = await running(spool)
    task.cancel()
    await asyncio.sleep(0)  # it has asked, and waits now
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await have_ended(pids)
    assert not (spool.parent / "collector.pid").exists()


async def test_one_left_by_a_killed_daemon_is_ended_before_the_next_begins(spool: Path) -> None:
    child = await asyncio.create_subprocess_exec(*script(STUBBORN, spool))
    pids = await running(spool)
    pid_file = spool.parent / "collector.pid"
    pid_file.write_text(json.dumps({"pid": child.pid, "spool": str(spool)}))
    (spool / "left").write_text("")
    (spool / "cache").mkdir()
    assert await collection.fresh_spool(spool.parent) == spool
    await have_ended(pids)
    assert [path.name for path in spool.iterdir()] == ["cache"]
    assert not pid_file.exists()
    await child.wait()


async def test_a_stranger_that_has_the_number_of_an_old_collector_is_left_alone(spool: Path) -> None:
    (spool.parent / "collector.pid").write_text(json.dumps({"pid": os.getpid(), "spool": str(spool)}))
    await collection.fresh_spool(spool.parent)
    (spool.parent / "collector.pid").write_text("{")
    await collection.fresh_spool(spool.parent)
    assert not (spool.parent / "collector.pid").exists()
