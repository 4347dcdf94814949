"""What is tried with few examples whenever the tests run, tried with many: each property in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples import VARIABLE

ROOT = Path(__file__).resolve().parent.parent
TIMES = 20
PROPERTIES = (
    "conformance/test_sqlite_ingest.py::test_what_was_kept_is_what_was_sent_whatever_came_between",
    "unit/test_api_counting.py::test_R1_numbers_that_follow_are_those_of_counting_anew",
    "unit/test_compliance_newest.py::test_R7_of_several_builds_the_newest_counts_whatever_was_asked_before",
    "unit/test_compliance_reference.py::test_R1_metadata_that_changed_is_answered_as_if_it_had_always_been_so",
    "unit/test_compliance_reference.py::test_R1_what_was_evaluated_before_changes_no_answer",
    "unit/test_compliance_reference.py::test_a_custom_baseline_asks_what_its_rows_say_and_nothing_else",
    "unit/test_compliance_reference.py::test_the_fast_evaluator_says_what_the_reference_says",
    "unit/test_schedules_cron.py::test_no_second_between_a_moment_and_the_next_time_matches",
    "unit/test_schedules_next_fire.py::test_an_instant_is_when_a_clock_first_shows_it",
    "unit/test_schedules_next_fire.py::test_it_fires_when_a_walk_over_the_minutes_says_so",
    "unit/test_schedules_next_fire.py::test_looking_forwards_and_backwards_agree",
    "unit/test_store_likeness.py::test_what_differs_is_found_or_the_text_must_be_read_whole",
    "unit/test_tickets_properties.py::TestAnyTicket",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROPERTIES)
def test_a_property_holds_over_many_times_as_many_examples(name: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/{name}"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | {VARIABLE: str(TIMES)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "1 passed" in done.stdout
