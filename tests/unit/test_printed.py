"""What a program prints and nobody takes: one sentence, an exit status, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "import sys; from common.printed import printed; sys.exit(printed(lambda: print({text}) or {status}))"  # prints, then ends so
LITTLE, MUCH = "'a line'", "'a line\\n' * 100_000"


BUFFERED = {
    name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"
}  # as programs run for people


def ended(text: str, status: int, stdout: int) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(text=text, status=status)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=BUFFERED,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("text", [LITTLE, MUCH])
def test_what_a_full_disk_does_not_take_is_told_and_is_no_success(text: str) -> None:
    if not Path("/dev/full").is_char_device():
        pytest.skip("no /dev/full here")
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        assert ended(text, 0, full) == (1, "error: standard output: No space left on device\n")
    finally:
        os.close(full)


@pytest.mark.parametrize("text", [LITTLE, MUCH])
def test_who_reads_no_more_is_told_nothing(text: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert ended(text, 0, writing) == (1, "")
    finally:
        os.close(writing)


@pytest.mark.parametrize("text", [LITTLE, MUCH])
def test_a_failure_keeps_its_status_whoever_reads_and_whatever_is_full(text: str) -> None:
    reading, closed = os.pipe()
    os.close(reading)
    try:
        assert ended(text, 4, closed) == (1 if text is MUCH else 4, "")  # of much, the printing itself fails
    finally:
        os.close(closed)


@pytest.mark.parametrize("status", [0, 2])
def test_what_was_printed_ends_with_the_programs_own_status(status: int) -> None:
    assert ended(LITTLE, status, subprocess.DEVNULL) == (status, "")


STREAMLESS = (
    "import sys; from common.printed import open_streams, printed; open_streams(); sys.exit(printed(lambda: {work}))"
)


def started_without(closed: str, work: str) -> subprocess.CompletedProcess[str]:
    command = f'exec "$0" -c "$1" {closed}'
    return subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, STREAMLESS.format(work=work)],
        capture_output=True,
        text=True,
        check=False,
        env=BUFFERED,
    )


@pytest.mark.parametrize("text", [LITTLE, MUCH])
def test_a_program_started_without_stdout_says_that_its_answer_went_nowhere(text: str) -> None:
    done = started_without(">&-", f"print({text}) or 0")
    assert (done.returncode, done.stderr) == (1, "error: standard output: Bad file descriptor\n")


def test_a_program_started_without_stdout_writes_into_no_file_that_it_opens(tmp_path: Path) -> None:
    work = f"[open({str(tmp_path / 'kept')!r}, 'w'), print('a line')] and 0"
    assert started_without(">&-", work).returncode == 1
    assert (tmp_path / "kept").read_text() == ""


def test_a_program_started_without_stderr_does_its_work() -> None:
    done = started_without("2>&-", "print('a remark', file=sys.stderr) or print('a line') or 0")
    assert (done.returncode, done.stdout) == (0, "a line\n")


def test_a_program_started_without_stdin_finds_nothing_to_read() -> None:
    done = started_without("<&-", "print(repr(sys.stdin.read())) or 0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "''\n", "")


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["report", "list", "--help"]])
@pytest.mark.parametrize(("onto", "why"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")])
def test_patchctl_says_what_could_not_be_written_also_when_the_last_of_it_is_kept_back(
    words: list[str], onto: str, why: str
) -> None:
    program = "from controller.cli.main import main; main()"
    command = ["/bin/sh", "-c", f'exec "$0" -c "{program}" "$@" {onto}', sys.executable, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=BUFFERED)
    assert (done.returncode, done.stderr) == (1, f"error: standard output: {why}\n")
