"""The process that the daemon starts: what it leaves in its spool, and that it ends when it is told to."""

from __future__ import annotations

import hashlib
import json
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from common import manifest
from realroots import point_repository
from tests.builders import NOW
from tests.conftest import CENTOS_BASE, RealHost
from uniagent.collect import spool
from uniagent.collect.inventory import collect
from uniagent.collect.model import Collected, CollectRequest
from uniagent.collect.runner import Runner


def collected(root: Path) -> Collected:
    return collect(CollectRequest(root), Runner(60))


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "uniagent.collect", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_process_writes_every_blob_then_the_result(centos_host: RealHost, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    with start("--spool", folder, "--root", centos_host.root, "--timeout", "60s") as process:
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert out.split() == ["collecting", "refreshing", "collecting"]
    result = json.loads((folder / spool.RESULT).read_text())
    assert result["problems"] == 0
    told = manifest.decode((folder / result["manifest"]).read_bytes())
    assert {p.name for p in folder.iterdir()} == {spool.RESULT, result["manifest"], *told.blobs()}
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.name != spool.RESULT}
    with start("--spool", folder, "--root", centos_host.root) as process:
        process.communicate()
    after = {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.name != spool.RESULT}
    assert after == before, "what is there already is left alone, and an unchanged host adds nothing"


def test_a_spool_that_cannot_be_written_is_one_sentence_and_no_result(centos_host: RealHost, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with start("--spool", tmp_path / "file/spool", "--root", centos_host.root) as process:
        _, err = process.communicate()
    assert process.returncode == 1
    assert err == f"the report cannot be written to {tmp_path}/file/spool: Not a directory\n"


def words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""  # it ended while we looked


@pytest.fixture
def silent_server() -> Iterator[int]:
    """A server that takes connections and never says a word; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_repository_that_never_answers_costs_its_own_answer_and_no_other_and_no_more_than_the_time(
    own_centos_host: RealHost, silent_server: int, tmp_path: Path
) -> None:
    (own_centos_host.root / "etc/yum.repos.d/silent.repo").write_text(
        f"[silent]\nname=s\nbaseurl=http://127.0.0.1:{silent_server}/\n"
    )
    with start("--spool", tmp_path, "--root", own_centos_host.root, "--timeout", "20") as process:
        process.communicate(timeout=20)  # the daemon waits exactly as long as it said
    assert process.returncode == 0
    told = manifest.decode((tmp_path / json.loads((tmp_path / spool.RESULT).read_text())["manifest"]).read_bytes())
    errors = {r.id: r.error for r in told.repositories}
    assert (errors["base"], bool(errors["silent"])) == ("", True)
    assert (told.problems, told.package_count) == ((), len(CENTOS_BASE))


def test_sigterm_ends_the_process_and_all_it_started(
    own_centos_host: RealHost, silent_server: int, tmp_path: Path
) -> None:
    point_repository(own_centos_host.root, "base", f"http://127.0.0.1:{silent_server}/")
    with start("--spool", tmp_path / "spool", "--root", own_centos_host.root) as process:
        try:
            deadline, children = time.monotonic() + 60, list[psutil.Process]()
            while not any("ask_dnf.py" in words(c) for c in children) and time.monotonic() < deadline:
                children = psutil.Process(process.pid).children(recursive=True)
                time.sleep(0.05)
            assert children
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        finally:
            process.kill()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []
    assert process.returncode == 128 + signal.SIGTERM
    assert not (tmp_path / "spool" / spool.RESULT).exists()


def test_a_full_disk_leaves_no_half_written_blob_and_no_result(centos_host: RealHost, tmp_path: Path) -> None:
    found = collected(centos_host.root)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            spool.write(found, tmp_path / "spool", NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    written = list((tmp_path / "spool").iterdir())
    assert all(hashlib.sha256(p.read_bytes()).hexdigest() == p.name for p in written)
    spool.write(found, tmp_path / "spool", NOW)
    assert json.loads((tmp_path / "spool" / spool.RESULT).read_text())["collected_at"] == NOW.isoformat()


def test_a_cache_that_changes_between_reading_and_writing_is_noticed(own_centos_host: RealHost, tmp_path: Path) -> None:
    found = collected(own_centos_host.root)
    (updateinfo,) = own_centos_host.root.glob("var/cache/dnf/updates-*/repodata/*updateinfo*")
    updateinfo.write_bytes(b"something else")
    with pytest.raises(spool.Changed):
        spool.write(found, tmp_path, NOW)
    updateinfo.unlink()
    with pytest.raises(spool.Changed):
        spool.write(found, tmp_path, NOW)
    assert not [p for p in tmp_path.iterdir() if p.name in (spool.RESULT, found.manifest.repositories[1].updateinfo)]
