"""A host whose clock is wrong says so in its reports, in words that do not change from report to report."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from common.manifest import ProblemCode
from tests.builders import NOW
from uniagent.collect.inventory import clock_problems
from uniagent.collection import command
from uniagent.host import clock_matter
from uniagent.settings import Settings


@pytest.mark.parametrize(
    ("ahead", "matter"),
    [
        (timedelta(0), ""),
        (timedelta(minutes=5), ""),
        (-timedelta(minutes=5), ""),
        (timedelta(minutes=6), "this clock is less than an hour ahead of the controller's"),
        (-timedelta(hours=3, minutes=10), "this clock is about 3 h behind the controller's"),
        (-timedelta(days=30, hours=2), "this clock is about 30 d behind the controller's"),
    ],
)
def test_a_clock_that_is_off_is_named_and_by_how_much(ahead: timedelta, matter: str) -> None:
    assert clock_matter(NOW + ahead, NOW) == matter
    assert clock_matter(NOW + ahead + timedelta(seconds=20), NOW + timedelta(seconds=20)) == matter


def test_a_controller_that_does_not_tell_its_time_proves_nothing() -> None:
    assert clock_matter(NOW, None) == ""


def test_the_matter_travels_to_the_collector_and_becomes_a_problem(tmp_path: Path) -> None:
    settings = Settings(controller="127.0.0.1:1", join=tmp_path / "join.pem", state=tmp_path)
    words = command(settings, tmp_path, timedelta(minutes=1), "this clock is about 3 h behind the controller's")
    assert words[-2:] == ["--clock", "this clock is about 3 h behind the controller's"]
    assert "--clock" not in command(settings, tmp_path, timedelta(minutes=1))
    (problem,) = clock_problems((), NOW.timestamp(), words[-1])
    assert (problem.code, problem.detail) == (ProblemCode.CLOCK, words[-1])
