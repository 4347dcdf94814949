"""R2: the order of versions is rpm's, by rpm's own table, by its properties, and by asking librpm."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import evr

TABLE = Path(__file__).resolve().parents[2].parent / "shared/data/rpmvercmp.tsv"
PYTHON = "/usr/bin/python3"
ALPHABET = "0019aAzZ.._-+~^"
ASK = """
import rpm, sys
for line in sys.stdin:
    a, b = line.rstrip("\\n").split("\\t")
    print(rpm.labelCompare(tuple(a.split("|")), tuple(b.split("|"))))
"""

versions = st.text(st.sampled_from(ALPHABET + "é"), min_size=1, max_size=12)
evrs = st.builds(evr.Evr, st.integers(0, 12), versions, versions)


def order(a: bytes, b: bytes) -> int:
    return (a > b) - (a < b)


@pytest.mark.skipif(not TABLE.is_file(), reason="the shared test data are not here")
def test_R2_every_row_of_rpms_own_table_holds() -> None:
    _, *rows = TABLE.read_text(encoding="utf-8").splitlines()
    assert len(rows) > 80
    for a, b, expected in (row.split("\t") for row in rows):
        assert order(evr.version_key(a), evr.version_key(b)) == int(expected), (a, b)
        assert order(evr.version_key(b), evr.version_key(a)) == -int(expected), (b, a)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0-1", "1:0.1-1"),
        ("9:1-1", "10:1-1"),
        ("1.0~rc1-1", "1.0-1"),
        ("1.0-1", "1.0^git1-1"),
        ("1.0^git1-1", "1.0.1-1"),
        ("1.0~~-1", "1.0~-1"),
        ("1.0-9", "1.0-10"),
        ("1.0-1.el7", "1.0-1.el7_9"),
        ("1.a-1", "1.1-1"),
        ("1.A-1", "1.a-1"),
        ("1-" + "1" * 300, "1-" + "1" * 301),
        ("1-" + "1" * 300, "1-2" + "0" * 299),
    ],
)
def test_R2_pairs_that_others_got_wrong(older: str, newer: str) -> None:
    assert evr.parse(older).key < evr.parse(newer).key


@pytest.mark.parametrize("text", ["1.0-1", "0:1.0-1", ":1.0-1", "(none):1.0-1", "00:1.0-1"])
def test_R2_an_absent_epoch_is_0(text: str) -> None:
    assert evr.parse(text) == evr.Evr(0, "1.0", "1")


@given(evrs, evrs)
def test_R2_the_order_is_total_and_antisymmetric(a: evr.Evr, b: evr.Evr) -> None:
    assert [a.key < b.key, a.key == b.key, a.key > b.key].count(True) == 1
    assert order(a.key, b.key) == -order(b.key, a.key)


@given(st.lists(evrs, min_size=3, max_size=8))
def test_R2_the_order_is_transitive(some: list[evr.Evr]) -> None:
    ordered = sorted(some, key=lambda e: e.key)
    assert all(a.key <= b.key for n, a in enumerate(ordered) for b in ordered[n:])


@given(evrs, evrs)
def test_R2_a_higher_epoch_beats_every_version(a: evr.Evr, b: evr.Evr) -> None:
    if a.epoch != b.epoch:
        assert (a.key < b.key) == (a.epoch < b.epoch)


@given(evrs)
def test_R2_what_is_written_is_read_back(a: evr.Evr) -> None:
    if "-" not in a.release and ":" not in a.version:
        assert evr.parse(str(a)) == a


def adversarial_pairs(count: int, seed: int) -> list[tuple[evr.Evr, evr.Evr]]:
    """Pairs that are alike, so that every kind of difference decides some: half of them differ in one place only."""
    dice = random.Random(seed)

    def text(alphabet: str) -> str:
        return "".join(dice.choices(alphabet, k=dice.randint(1, 8)))

    def version() -> str:
        return ("0" * dice.randint(0, 2) if dice.random() < 0.2 else "") + text(ALPHABET.replace("-", ""))

    pairs = []
    for _ in range(count):
        a = evr.Evr(dice.choice((0, 0, 0, 1, 9, 10)), version(), version())
        b = evr.Evr(dice.choice((0, 0, 0, 1, 9, 10)), version(), version())
        if dice.random() < 0.6:
            cut = dice.randint(0, len(a.version))
            b = evr.Evr(a.epoch, a.version[:cut] + text(ALPHABET.replace("-", "")) + a.version[cut + 1 :], a.release)
        pairs.append((a, b))
    return pairs


def compare_with_librpm(pairs: list[tuple[evr.Evr, evr.Evr]]) -> None:
    try:
        subprocess.run([PYTHON, "-c", "import rpm"], check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("the host's python3 has no rpm module (python3-rpm)")
    asked = "".join(f"{a.epoch}|{a.version}|{a.release}\t{b.epoch}|{b.version}|{b.release}\n" for a, b in pairs)
    told = subprocess.run([PYTHON, "-c", ASK], input=asked, check=True, capture_output=True, text=True, timeout=300)
    answers = [int(line) for line in told.stdout.splitlines()]
    assert len(answers) == len(pairs)
    wrong = [(a, b, said) for (a, b), said in zip(pairs, answers, strict=True) if order(a.key, b.key) != said]
    assert wrong == []


def test_R2_keys_order_like_librpm_on_twenty_thousand_adversarial_pairs() -> None:
    compare_with_librpm(adversarial_pairs(20_000, seed=1))


@pytest.mark.slow
def test_R2_keys_order_like_librpm_on_a_million_adversarial_pairs() -> None:
    compare_with_librpm(adversarial_pairs(1_000_000, seed=2))
