"""What a program prints and nobody takes: one sentence, an exit status, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "import sys; from common.printed import printed; sys.exit(printed(lambda: print({text}) or {status}))"  # prints, then ends so
LITTLE, MUCH = "'a line'", "'a line\\n' * 100_000"


def ended(text: str, status: int, stdout: int) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(text=text, status=status)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
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


@pytest.mark.parametrize("status", [0, 2])
def test_what_was_printed_ends_with_the_programs_own_status(status: int) -> None:
    assert ended(LITTLE, status, subprocess.DEVNULL) == (status, "")
