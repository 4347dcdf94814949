"""One Runner starts every command: bounded in time and output, and it says how the command ended."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from uniagent import family
from uniagent.collect.runner import MAX_OUTPUT_BYTES, End, Runner, stable


def sh(script: str, timeout_seconds: float | None = None, runner: Runner | None = None):
    return (runner or Runner(30)).run(("/bin/sh", "-c", script), timeout_seconds)


def test_a_command_that_ends_well_is_ok_and_both_its_outputs_are_kept() -> None:
    ran = sh("echo out; echo err >&2")
    assert (ran.ok, ran.stdout, ran.stderr) == (True, "out\n", "err\n")


def test_a_program_that_is_not_there_is_told_from_one_that_fails() -> None:
    missing = Runner(30, environment={"PATH": "/nowhere"}).run(("rpm", "-qa"))
    assert (missing.end, missing.failure()) == (End.NOT_FOUND, "rpm is not installed")
    failed = sh("echo 'cannot open it' >&2; exit 3")
    assert (failed.end, failed.code) == (End.EXITED, 3)
    assert failed.failure() == "sh ended with exit code 3: cannot open it"


def test_a_command_ended_by_a_signal_says_which() -> None:
    ran = sh("kill -9 $$")
    assert (ran.end, ran.failure()) == (End.SIGNALED, "sh was ended by signal 9")


def test_a_command_that_is_too_slow_is_ended_with_all_it_started_and_what_it_said_is_kept(tmp_path: Path) -> None:
    ran = sh(f"echo early; sleep 600 & echo $! > {tmp_path}/pid; wait", 3)
    assert ran.end is End.TIMED_OUT
    assert ran.failure() == "sh did not answer within 3 s"
    assert ran.stdout == "early\n"
    grandchild = int((tmp_path / "pid").read_text())
    until = time.monotonic() + 60
    while family.look(grandchild) is not None:  # whom a busy machine has not let die yet
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_command_that_ignores_the_polite_signal_is_ended_all_the_same() -> None:
    assert sh("trap '' TERM; while :; do sleep 0.1; done", 0.3).end is End.TIMED_OUT


def test_the_deadline_of_all_commands_together_also_counts(tmp_path: Path) -> None:
    runner = Runner(2)
    slow = sh("sleep 60", 30, runner)
    assert slow.failure() == "sh did not answer within the 2 s of this collection"
    assert sh(f"touch {tmp_path}/started", 30, runner).end is End.TIMED_OUT
    assert not (tmp_path / "started").exists(), "with no time left nothing is even started"


def test_something_left_in_the_background_does_not_hold_the_answer_up() -> None:
    ran = sh("sleep 600 & echo done")
    assert (ran.ok, ran.stdout) == (True, "done\n")


def test_output_without_end_is_cut_off() -> None:
    ran = sh("yes")
    assert ran.end is End.TOO_MUCH
    assert ran.failure() == f"sh said more than {MAX_OUTPUT_BYTES >> 20} MiB"


def test_commands_see_no_terminal_no_shell_settings_and_speak_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("SECRET", "x")
    ran = sh("env; test -t 0 || echo no terminal; cat")
    lines = ran.stdout.splitlines()
    assert "LC_ALL=C" in lines
    assert "no terminal" in lines
    assert not [line for line in lines if line.startswith(("LANG=", "SECRET="))]


def test_bytes_that_are_no_text_are_shown_not_dropped() -> None:
    assert sh(r"printf 'a\377b'").stdout == r"a\xffb"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Failed to connect to h port 1 after 0 ms: refused", "Failed to connect to h port 1 after 1234 ms: refused"),
        ("timed out after 30001 milliseconds with 12 bytes received", "timed out after 30000 milliseconds"),
        ("transfer closed with 7 bytes remaining to read", "transfer closed with 99 bytes remaining to read"),
        ("cannot write /var/cache/dnf/x/tmpdir.a8Xk2Q/y", "cannot write /var/cache/dnf/x/tmpdir.ZZ9kPp/y"),
        ("metadata already locked by pid 17", "metadata already locked by pid 1708"),
        ("a\n   b", "a b"),
    ],
)
def test_the_same_failure_gives_the_same_sentence(one: str, other: str) -> None:
    assert stable(one) == stable(other)


def test_different_failures_stay_different() -> None:
    assert stable("Curl error (7): no route to host-7 port 443") != stable("Curl error (6): no route to host-8 port 80")


def test_a_long_complaint_is_shortened() -> None:
    assert len(stable("x" * 10_000)) == 400


def test_a_signal_to_us_is_not_a_signal_to_the_command() -> None:
    assert int(sh("ps -o sid= -p $$ || echo 0").stdout or 0) != os.getsid(0)
