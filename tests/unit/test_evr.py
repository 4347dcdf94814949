"""R2: the order of versions is rpm's, by rpm's own table, by its properties, and by asking librpm."""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections import Counter
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


PIECES = (
    *("0", "00", "1", "01", "9", "10", "19", "255", "256", "20230101", "18446744073709551616"),
    *("a", "A", "z", "Z", "rc", "el", "el7", "git"),
    *(".", "..", "_", "+", "._+", "~", "~~", "^", "^^", "~^", "^~", ".~", "~.", ".^", "^."),
    *(
        "\u00e9",
        "\u4e2d",
        "\u0663",
        "\uff11",
        "\u00b2",
        "\u0130",
        "\U0001f600",
    ),  # letters and digits, but none of rpm's
)
"""What versions are made of. Digits of other scripts only separate, as everything does that is not ASCII."""
EPOCHS = (0, 0, 0, 0, 1, 9, 10, 255, 256, 2**31 - 1, 2**31, 2**32 - 1)


def adversarial_pairs(count: int, seed: int) -> list[tuple[evr.Evr, evr.Evr]]:
    """Pairs that are alike, so that every kind of difference decides some: most differ in one piece of one field only."""
    dice = random.Random(seed)

    def piece() -> str:
        if dice.random() < 0.02:  # as long as the length codes of keys, and longer
            return "0" * dice.choice((0, 1, 300)) + dice.choice("19") * dice.choice((253, 254, 255, 256, 257, 300, 600))
        return dice.choice(PIECES)

    def pieces() -> list[str]:
        return [piece() for _ in range(dice.randint(0 if dice.random() < 0.02 else 1, 6))]

    def changed(text: list[str]) -> list[str]:
        at = dice.randint(0, len(text))
        match dice.randrange(4):
            case 0:
                return [*text[:at], piece(), *text[at:]]
            case 1:
                return [*text[:at], piece(), *text[at + 1 :]]
            case 2:
                return [*text[:at], *text[at + 1 :]]
            case _:
                return [
                    *text[:at],
                    dice.choice(("0", ".", "_", "\u4e2d")),
                    *text[at:],
                ]  # often changes nothing that rpm sees

    pairs = []

    def build(epoch: int, version: list[str], release: list[str]) -> evr.Evr:
        return evr.Evr(
            epoch, "".join(version) or "0", "".join(release)
        )  # rpm has releases that are empty, but no versions

    for _ in range(count):
        epoch, version, release = dice.choice(EPOCHS), pieces(), pieces()
        others = (epoch, version, release)
        match dice.randrange(10):
            case 0:
                others = (dice.choice(EPOCHS), version, release)
            case 1 | 2 | 3 | 4:
                others = (epoch, changed(version), release)
            case 5 | 6 | 7:
                others = (epoch, version, changed(release))
            case 8:
                others = (epoch, changed(version), changed(release))
            case _:
                others = (epoch, pieces(), pieces())
        pairs.append((build(epoch, version, release), build(*others)))
    return pairs


def test_the_adversarial_pairs_are_of_every_kind() -> None:
    pairs = adversarial_pairs(20_000, seed=1)
    answers = Counter(order(a.key, b.key) for a, b in pairs)
    assert min(answers.values()) > len(pairs) / 10
    alike = [(a, b) for a, b in pairs if a != b and a.key == b.key]
    assert len(alike) > len(pairs) / 20
    texts = [text for pair in pairs for build in pair for text in build[1:]]
    for kind in (r"^$", r"\d{256}", r"(?<!\d)0{300}", r"[^\x00-\x7f]", r"~\^", r"\^~", r"\.\.", r"~$", r"^\^"):
        assert sum(1 for text in texts if re.search(kind, text, re.ASCII)) > 20, kind
    assert {build.epoch for pair in pairs for build in pair} == set(EPOCHS)


def compare_with_librpm(pairs: list[tuple[evr.Evr, evr.Evr]]) -> None:
    try:
        subprocess.run([PYTHON, "-c", "import rpm"], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("the host's python3 has no rpm module (python3-rpm)")
    environment = os.environ | {"PYTHONIOENCODING": "utf-8", "PYTHONUTF8": "1"}
    asked = "".join(f"{a.epoch}|{a.version}|{a.release}\t{b.epoch}|{b.version}|{b.release}\n" for a, b in pairs)
    told = subprocess.run(
        [PYTHON, "-c", ASK],
        input=asked,
        env=environment,
        check=True,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    answers = [int(line) for line in told.stdout.splitlines()]
    assert len(answers) == len(pairs)
    wrong = [(a, b, said) for (a, b), said in zip(pairs, answers, strict=True) if order(a.key, b.key) != said]
    assert wrong == []


def test_R2_keys_order_like_librpm_on_twenty_thousand_adversarial_pairs() -> None:
    compare_with_librpm(adversarial_pairs(20_000, seed=1))


@pytest.mark.slow
def test_R2_keys_order_like_librpm_on_a_million_adversarial_pairs() -> None:
    compare_with_librpm(adversarial_pairs(1_000_000, seed=2))
