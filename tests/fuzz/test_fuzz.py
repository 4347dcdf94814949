"""No made-up bytes break a parser's promise: seeds and whatever once broke one at each run, atheris in the slow tier."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fuzz.run import attack
from tests.fuzz.targets import TARGETS

FINDINGS = sorted(path for path in (Path(__file__).parent / "findings").glob("*") if path.is_file())
SECONDS = 20


@pytest.mark.parametrize("name", TARGETS)
def test_the_promises_hold_for_seeds_and_for_seeds_cut_off_anywhere(name: str) -> None:
    for seed in TARGETS[name].seeds:
        for end in range(0, len(seed) + 1, max(1, len(seed) // 60)):
            TARGETS[name].attack(seed[:end])
        TARGETS[name].attack(seed)


@pytest.mark.parametrize("path", FINDINGS, ids=lambda path: path.name)
def test_what_once_broke_a_promise_does_not_any_more(path: Path) -> None:
    TARGETS[path.name.partition("-")[0]].attack(path.read_bytes())


@pytest.mark.slow
@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed: make fuzz installs it")
@pytest.mark.parametrize("name", TARGETS)
def test_fuzzing_breaks_no_promise(name: str, tmp_path: Path) -> None:
    done = attack(name, SECONDS, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert list(tmp_path.iterdir()) == []
