"""Where each rule of SEMANTICS (R1-R18) and each invariant of DESIGN (1-8) is proved: no rule without a test that names it."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).resolve().parent
RULES: Final = tuple(f"R{number}" for number in range(1, 19))
NOT_YET: Final = {
    "R15": "what a repair installs is frozen in its ticket, and nothing repairs yet",
}
UNDER_ANOTHER_NAME: Final = {
    "R18": (
        "unit/test_tickets_machine.py::test_silence_past_the_deadline_is_a_timeout_in_any_state",
        "unit/test_dispatch_engine.py::test_a_silent_run_times_out_and_a_late_result_is_still_taken",
    ),
}
INVARIANTS: Final = {
    "1 every target ends in exactly one bucket": (
        "unit/test_tickets_properties.py",
        "integration/test_crashes.py",
        "simulation/test_simulation.py",
    ),
    "2 never more than the batch is out": (
        "unit/test_tickets_properties.py",
        "unit/test_dispatch_engine.py",
        "simulation/test_simulation.py",
    ),
    "3 nothing acknowledged is lost or counted twice": (
        "integration/test_crashes.py",
        "conformance/test_sqlite_durability.py",
        "simulation/test_simulation.py",
    ),
    "4 missing data is never COMPLIANT": ("R11",),
    "5 the same five inputs, the same bytes": ("R1",),
    "6 as dnf on every oracle case, as a brute-force reference on random fleets": (
        "integration/test_dnf_oracle.py::test_every_case_of_the_oracle_is_asked_and_each_disagreement_explained",
        "integration/test_dnf_live.py::test_random_hosts_and_repositories_get_the_rows_of_the_real_dnf",
        "unit/test_compliance_reference.py::test_the_fast_evaluator_says_what_the_reference_says",
    ),
    "7 each store passes the same contract": ("conformance/test_store_memory.py", "conformance/test_store_sqlite.py"),
    "8 the agent lives without the controller": (
        "test_architecture.py::test_invariant_8_the_agent_imports_with_the_controller_absent",
    ),
}


def functions(path: Path) -> Iterator[str]:
    """Names of the tests in a file, also those in classes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name


@cache
def index() -> dict[str, list[str]]:
    """The tests that name each rule."""
    found = defaultdict[str, list[str]](list)
    for path in sorted({*TESTS.rglob("test_*.py"), *TESTS.glob("conformance/contracts/*.py")}):
        for name in functions(path):
            for number in re.findall(r"(?<![A-Za-z0-9])[Rr](\d+)(?![A-Za-z0-9])", name.replace("_", " ")):
                found[f"R{number}"].append(f"{path.relative_to(TESTS)}::{name}")
    return found


def exists(place: str) -> bool:
    """Say whether a rule is named, a test is there, or a file has tests (a class of contracts counts as some)."""
    if place in RULES:
        return place in index()
    file, _, name = place.partition("::")
    path = TESTS / file
    if not path.is_file():
        return False
    text = path.read_text(encoding="utf-8")
    return name in functions(path) if name else any(functions(path)) or "StoreContract):" in text or ".TestCase" in text


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in NOT_YET])
def test_each_rule_is_named_by_a_test(rule: str) -> None:
    missing = [place for place in UNDER_ANOTHER_NAME.get(rule, ()) if not exists(place)]
    assert missing == []
    assert rule in UNDER_ANOTHER_NAME or index()[rule]


def test_what_is_left_out_is_not_tested_under_its_number_already() -> None:
    assert {rule: index()[rule] for rule in NOT_YET if index()[rule]} == {}


def test_no_test_names_a_rule_that_does_not_exist() -> None:
    assert sorted(set(index()) - set(RULES)) == []


@pytest.mark.parametrize("invariant", INVARIANTS)
def test_each_invariant_is_proved_where_the_index_says(invariant: str) -> None:
    assert [place for place in INVARIANTS[invariant] if not exists(place)] == []
