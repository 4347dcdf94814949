"""Failpoints: nothing without the variable, SIGKILL with it, and every name of the list is a place in the code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import typing
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.failpoints import NAMES, VARIABLE
from controller.api.agent_service import FAILPOINTS
from controller.fleet.orders import Order

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
from common.failpoints import reached
for time in (1, 2, 3):
    reached("engine.saved")
    reached("engine.created")
    print(time, flush=True)
"""


def lived(setting: str | None) -> tuple[int, str, str]:
    environment = {k: v for k, v in os.environ.items() if k != VARIABLE} | (
        {} if setting is None else {VARIABLE: setting}
    )
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("setting", [None, "", "engine.told", "engine.saved:4"])
def test_a_process_lives_on_where_it_is_not_to_die(setting: str | None) -> None:
    assert lived(setting) == (0, "1\n2\n3\n", "")


@pytest.mark.parametrize(
    ("setting", "said"),
    [("engine.saved", ""), ("engine.saved:1", ""), ("engine.saved:3", "1\n2\n"), ("engine.created:2", "1\n")],
)
def test_a_process_dies_as_by_a_power_cut_at_the_place_and_time_that_are_named(setting: str, said: str) -> None:
    assert lived(setting) == (-signal.SIGKILL, said, "")


@pytest.mark.parametrize("setting", ["engine.svaed", "engine.saved:x", "engine.saved:-1", ":1"])
def test_a_process_does_not_start_with_a_place_that_is_none(setting: str) -> None:
    code, said, error = lived(setting)
    assert (code, said) == (1, "")
    assert "engine.saved" in error
    assert repr(setting) in error


def programs() -> Iterator[Path]:
    for folder in ("controller", "uniagent"):
        yield from (ROOT / folder).rglob("*.py")


def test_each_name_is_one_place_in_the_code() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in programs())
    assert {name: code.count(f'"{name}"') for name in NAMES} == dict.fromkeys(NAMES, 1)
    assert not [name for name, count in Counter(NAMES).items() if count > 1]


def test_each_place_in_the_code_has_a_name_of_the_list() -> None:
    named = {
        line.partition('failpoints.reached("')[2].partition('"')[0]
        for path in programs()
        for line in path.read_text(encoding="utf-8").splitlines()
        if 'failpoints.reached("' in line
    }
    assert named
    assert named | {name for pair in FAILPOINTS.values() for name in pair} == set(NAMES)


def test_everything_that_is_said_to_an_agent_has_its_two_places() -> None:
    assert set(FAILPOINTS) == set(typing.get_args(Order))
