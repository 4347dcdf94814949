"""Texts that are nearly the same: what differs is found, or it is said that they must be read whole."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.store.sqlite.likeness import Likeness, blocks, cut, difference
from tests.examples import examples

LINES = st.binary(max_size=6).map(lambda line: line.replace(b"\n", b"-")) | st.sampled_from(
    [b"package-%03d" % number + b"-" * (number % 90) for number in range(200)]
)


def text_of(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


@st.composite
def alike(draw: st.DrawFn) -> tuple[list[bytes], list[bytes]]:
    """A list in order, and one that differs in some lines: in order, or with one moved or said twice."""
    base = sorted(draw(st.sets(LINES, max_size=150)))
    gone = draw(st.sets(st.sampled_from(base), max_size=5)) if base else set[bytes]()
    lines = sorted((set(base) - gone) | draw(st.sets(LINES, max_size=5)))
    if lines and draw(st.booleans()):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(lines)))
    return base, lines


@settings(max_examples=examples(150))
@given(alike(), st.integers(0, 20))
def test_what_differs_is_found_or_the_text_must_be_read_whole(
    case: tuple[list[bytes], list[bytes]], limit: int
) -> None:
    base, lines = case
    found = difference(text_of(lines), blocks(base), limit)
    came, gone = set(lines) - set(base), set(base) - set(lines)
    is_in_order = lines == sorted(set(lines))
    if found is None:
        assert not lines or not is_in_order or len(came) + len(gone) > limit
    else:
        assert is_in_order
        assert (found.came, [base[place] for place in found.gone]) == (sorted(came), sorted(gone))


def test_a_text_that_is_cut_off_must_be_read_whole() -> None:
    assert difference(b"a\nb", blocks([b"a", b"b"]), 9) is None


def test_the_text_is_found_that_shares_most_lines_and_no_more_once_it_is_forgotten() -> None:
    lines = [b"line %03d" % number for number in range(100)]
    ids = {line: number for number, line in enumerate(lines)}
    likeness = Likeness()
    likeness.add(0, range(60))
    likeness.add(300, range(100))
    likeness.add(7, range(30))
    assert likeness.of(text_of(lines), ids) == 300
    likeness.remove(300, range(100))
    assert likeness.of(text_of(lines), ids) == 0
    assert likeness.of(text_of(lines[:60]), ids) == 0
    likeness.remove(0, range(60))
    assert likeness.of(text_of(lines), ids) is None  # less than half
    assert likeness.of(text_of(lines[:50]), ids) == 7
    assert likeness.of(b"", ids) is None


def test_a_text_that_begins_like_another_is_told_from_it_by_its_end() -> None:
    lines = [b"line %03d" % number for number in range(100)]
    ids = {line: number for number, line in enumerate(lines)}
    likeness = Likeness()
    likeness.add(5, range(80))
    likeness.add(6, range(100))
    likeness.add(7, range(80))
    assert likeness.of(text_of(lines), ids) == 6


def test_a_text_is_cut_into_the_lines_that_it_was_made_of() -> None:
    lines = [b"line %03d" % number for number in range(100)]
    for count in (0, 1, 7, 8, 9, 100):
        assert cut(blocks(lines[:count])) == lines[:count]
