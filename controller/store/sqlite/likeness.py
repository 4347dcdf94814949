"""What one packages blob has that another has not: hosts made from one image say nearly the same text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

_BLOCK: Final = 8
"""So many lines are compared at once. Fewer: more comparisons of what is alike; more: more lines to walk through where two texts part."""
_AHEAD: Final = 256
"""So many bytes beyond a block are cut into lines with it, where a text parts from it: enough for some lines that it lacks."""
_END: Final = b"\n"
"""Behind the last line: no line is like that."""
_LOOKS: Final = 8
"""So many lines of a text are looked at to find which other it is like; one that has half of them is."""
Blocks = Sequence[bytes]
"""A text in pieces of some lines, as `difference` wants a base: it is cut once and compared with many texts."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Lines that only one of two texts has."""

    came: list[bytes]
    gone: list[int]
    """The places that they have in the base, counted from 0: who knows its lines by number need not look these up."""


def blocks(lines: Sequence[bytes]) -> Blocks:
    """Return the text of these lines, each ended by a newline, in blocks."""
    return [b"\n".join(lines[n : n + _BLOCK]) + b"\n" for n in range(0, len(lines), _BLOCK)]


def cut(text: Blocks) -> list[bytes]:
    """Return the lines of a text."""
    return b"".join(text).split(b"\n")[:-1]


def difference(text: bytes, base: Blocks, at_most: int) -> Difference | None:
    """Compare two texts of lines that ascend, each once; None when they differ in more lines, or `text` is not of that kind.

    Of `base` the caller must know that it is. Blocks that are alike are compared whole, without a look at their lines.
    """
    if not text.endswith(b"\n"):
        return None
    found = Difference([], [])
    begins, place = text.startswith, 0  # what is before agrees, but for what came and what is gone
    for number, block in enumerate(base):
        if begins(block, place):
            place += len(block)
            continue
        after = _walk(text, place, block, number * _BLOCK, found, at_most)
        if after is None:
            return None
        place = after
    rest = text[place:-1].split(b"\n") if place < len(text) else []
    if not _ascend(rest, text, place) or len(found.came) + len(found.gone) + len(rest) > at_most:
        return None
    found.came.extend(rest)
    return found


def _walk(text: bytes, place: int, block: bytes, first: int, found: Difference, at_most: int) -> int | None:
    """Add what differs in one block, line by line; return where the text goes on behind it, None as `difference` does."""
    ours, reach = _lines(text, place, len(block))
    came, gone, at, after = found.came, found.gone, 0, place + len(block)
    for number, line in enumerate(block.split(b"\n")[:-1], first):
        while (other := ours[at]) != line:
            if other == _END and reach < len(text):
                ours[at:], reach = _lines(text, reach, len(block))
            elif other == _END or line < other:
                gone.append(number)
                after -= len(line) + 1
                break
            elif len(came) >= at_most or (other <= ours[at - 1] if at else not _ascend([other], text, place)):
                return None
            else:
                came.append(other)
                after += len(other) + 1
                at += 1
        else:
            at += 1
    return after if len(came) + len(gone) <= at_most else None


def _lines(text: bytes, begin: int, size: int) -> tuple[list[bytes], int]:
    """Return the lines in so many bytes and some more, and where the next one begins."""
    end = text.find(b"\n", begin + size + _AHEAD) + 1 or len(text)
    lines = text[begin:end].split(b"\n")
    lines[-1] = _END
    return lines, end


def _ascend(lines: list[bytes], text: bytes, place: int) -> bool:
    """Say whether lines, of which the first begins at a place, ascend from the line before it, each once."""
    before = [text[text.rfind(b"\n", 0, place - 1) + 1 : place - 1]] if place and lines else []
    return all(one < other for one, other in pairwise(before + lines))


class Likeness:
    """Finds out which of some texts another is like, by looking at few of its lines. It may be wrong: compare the two.

    A text has a number from 0, and a set of texts is an integer with one bit for each: to count for hundreds of texts at once which
    have how many of the lines takes a few operations on integers, where a walk through lists would take thousands.
    """

    def __init__(self) -> None:
        """Know no text."""
        self._having = list[int]()
        """At the id of a line, as ids have few gaps: the texts that have it."""

    def add(self, number: int, ids: Iterable[int]) -> None:
        """Take a text. Its number is free again once it is removed; memory grows with the greatest."""
        having, text, ids = self._having, 1 << number, list(ids)
        having += [0] * (max(ids, default=-1) + 1 - len(having))
        for line in ids:
            having[line] |= text

    def remove(self, number: int, ids: Iterable[int]) -> None:
        """Forget a text."""
        having, others = self._having, ~(1 << number)
        for line in ids:
            having[line] &= others

    def of(self, text: bytes, ids: Mapping[bytes, int]) -> int | None:
        """Return the number of the text that has the most of the lines looked at; None if none has half of them."""
        having = self._having
        ones = twos = fours = eights = 0  # read down, the bits of one text are the count of its lines
        for look in range(_LOOKS):
            begin = text.find(b"\n", look * len(text) // _LOOKS) + 1
            line = ids.get(text[begin : text.find(b"\n", begin)])
            carry = 0 if line is None or line >= len(having) else having[line]
            ones, carry = ones ^ carry, ones & carry
            twos, carry = twos ^ carry, twos & carry
            fours, carry = fours ^ carry, fours & carry
            eights |= carry
            if fours and look == _LOOKS // 2 - 1 and fours & (fours - 1) == 0:
                break  # one has them all
        most = eights | fours
        for digit in (eights, fours, twos, ones):
            most = most & digit or most
        return most.bit_length() - 1 if most else None
