"""patchwarden-controller as a process: the zero-config start, what it leaves on disk, how it ends, and what it says when it cannot."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.errors import Unauthenticated
from controller.client import Client, connect

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-m", "controller.main"]
START_SECONDS, STOP_SECONDS = 60.0, 60.0


class Process:
    """A controller process."""

    def __init__(self, *arguments: str) -> None:
        self.popen = subprocess.Popen(
            [*PROGRAM, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait_for(self, file: Path) -> str:
        deadline = time.monotonic() + START_SECONDS
        while not file.exists() or not file.read_text():
            if self.popen.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"it does not serve: {self.popen.communicate(timeout=5)}")
            time.sleep(0.02)
        return file.read_text().strip()

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        self.popen.send_signal(number)
        out, err = self.popen.communicate(timeout=STOP_SECONDS)
        return self.popen.returncode, out, err


@contextmanager
def running(*arguments: str) -> Iterator[Process]:
    process = Process(*arguments)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.popen.kill()
            process.popen.communicate()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=START_SECONDS)


def client(data: Path, address: str, token: str) -> Client:
    return connect(address, data / "join.pem", token)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_folder_is_all_it_needs_and_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    data = tmp_path / "new" / "data"
    with running("run", "--data", str(data), "--listen", "127.0.0.1:0") as process:
        address = process.wait_for(data / "address")
        assert re.fullmatch(r"127\.0\.0\.1:[1-9][0-9]*", address)
        token = (data / "admin-token").read_text().strip()
        with client(data, address, token) as calls:
            assert calls.whoami().name == "admin"
            assert len(list(calls.list_baselines())) >= 10
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        code, out, err = process.end(number)
    assert code == 0
    assert out.splitlines()[0] == f"admin token: {token}"
    assert f"patchctl login --controller {address} --join {data / 'join.pem'}" in out
    assert "Traceback" not in err
    assert token not in err
    assert not (data / "address").exists()


def test_the_second_start_keeps_everything_and_prints_no_token(tmp_path: Path) -> None:
    arguments = ("run", "--data", str(tmp_path), "--listen", "127.0.0.1:0")
    with running(*arguments) as process:
        process.wait_for(tmp_path / "address")
        assert process.end()[0] == 0
    join, token = (tmp_path / "join.pem").read_bytes(), (tmp_path / "admin-token").read_text().strip()
    with running(*arguments) as process:
        address = process.wait_for(tmp_path / "address")
        assert (tmp_path / "join.pem").read_bytes() == join
        with client(tmp_path, address, token) as calls:
            assert calls.whoami().name == "admin"
        assert process.end()[1] == ""


def test_killed_at_any_moment_it_starts_again(tmp_path: Path) -> None:
    for delay in (0.3, 0.8, 1.2, 2.0):
        with running("run", "--data", str(tmp_path), "--listen", "127.0.0.1:0") as process:
            time.sleep(delay)
            process.popen.kill()
    (tmp_path / "address").unlink(missing_ok=True)
    with running("run", "--data", str(tmp_path), "--listen", "127.0.0.1:0") as process:
        address = process.wait_for(tmp_path / "address")
        token = (tmp_path / "admin-token").read_text().strip()
        with client(tmp_path, address, token) as calls:
            assert calls.whoami().name == "admin"


def test_a_second_controller_on_the_same_folder_or_port_is_refused_with_the_reason(tmp_path: Path) -> None:
    with running("run", "--data", str(tmp_path / "a"), "--listen", "127.0.0.1:0") as process:
        address = process.wait_for(tmp_path / "a/address")
        second = run("run", "--data", str(tmp_path / "a"), "--listen", "127.0.0.1:0")
        assert (second.returncode, second.stdout) == (1, "")
        assert re.search(rf"error: .*another controller \(process {process.popen.pid}\)", second.stderr)
        second = run("run", "--data", str(tmp_path / "b"), "--listen", address)
        assert second.returncode == 1
        assert f"error: cannot listen on {address}" in second.stderr
        assert "Traceback" not in second.stderr


def test_another_admin_token_can_be_made_while_it_runs_and_works_at_once(tmp_path: Path) -> None:
    with running("run", "--data", str(tmp_path), "--listen", "127.0.0.1:0") as process:
        address = process.wait_for(tmp_path / "address")
        made = run("admin-token", "--data", str(tmp_path), "--name", "eve")
        assert made.returncode == 0
        token = made.stdout.removeprefix("admin token: ").strip()
        with client(tmp_path, address, token) as calls:
            assert calls.whoami().name == "eve"
        with client(tmp_path, address, "pwa_guessed") as calls, pytest.raises(Unauthenticated):
            calls.whoami()


def test_a_settings_file_is_obeyed_and_the_command_line_wins(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('data = "d"\nlisten = "127.0.0.1:1"\nhosts = ["127.0.0.1"]\nlog = "json"\n')
    with running(
        "run", "--config", str(tmp_path / "c.toml"), "--listen", "localhost:0", "--host", "localhost"
    ) as process:
        address = process.wait_for(tmp_path / "d/address")
        token = (tmp_path / "d/admin-token").read_text().strip()
        with client(tmp_path / "d", address, token) as calls:
            assert calls.whoami().name == "admin"
        code, _, err = process.end()
    assert code == 0
    assert err.startswith('{"at": ')


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "--data", "x", "--listen", "nowhere"], "--listen: 'nowhere' is not an address"),
        (["run", "--data", "x", "--host", ""], "--host: must name"),
        (["run", "--config", "/nonexistent.toml"], "/nonexistent.toml: cannot be read"),
        (["run"], "one of the arguments --config --data is required"),
        (["run", "--data", "x", "--config", "y"], "not allowed with"),
        (["admin-token", "--data", "/nonexistent"], "--data: /nonexistent is no folder"),
        ([], "COMMAND"),
    ],
)
def test_wrong_arguments_are_named_and_exit_2(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    done = subprocess.run(
        [*PROGRAM, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert not (tmp_path / "x").exists()


def test_a_data_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("run", "--data", str(tmp_path / "file" / "data"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_help_and_version_teach() -> None:
    told = run("--help")
    assert told.returncode == 0
    for word in ("run", "admin-token", "version", "patchctl login", "join.pem"):
        assert word in told.stdout
    assert run("version").stdout.startswith("patchwarden-controller ")
    for command in ("run", "admin-token"):
        assert "--data" in run(command, "--help").stdout
