"""What one packages blob has that another has not: hosts made from one image say nearly the same text."""

from __future__ import annotations

from collections import defaultdict
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
"""At most so many lines of a text are looked at to find which base it is like."""
_ENOUGH: Final = 5
"""The first base that has so many of them, most, is it."""
Blocks = Sequence[bytes]
"""A text in pieces of some lines, as `difference` wants a base: it is cut once and compared with many texts."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Lines that only one of two texts has."""

    came: list[bytes]
    gone: list[bytes]


def blocks(text: bytes) -> Blocks:
    """Cut a text of lines, each ended by a newline."""
    lines = text.split(b"\n")[:-1]
    return [b"\n".join(lines[n : n + _BLOCK]) + b"\n" for n in range(0, len(lines), _BLOCK)]


def difference(text: bytes, base: Blocks, at_most: int) -> Difference | None:
    """Compare two texts of lines that ascend, each once; None when they differ in more lines, or `text` is not of that kind.

    Of `base` the caller must know that it is. Blocks that are alike are compared whole, without a look at their lines.
    """
    if not text.endswith(b"\n"):
        return None
    found = Difference([], [])
    begins, place = text.startswith, 0  # what is before agrees, but for what came and what is gone
    for block in base:
        if begins(block, place):
            place += len(block)
            continue
        after = _walk(text, place, block, found, at_most)
        if after is None:
            return None
        place = after
    rest = text[place:-1].split(b"\n") if place < len(text) else []
    if not _ascend(rest, text, place) or len(found.came) + len(found.gone) + len(rest) > at_most:
        return None
    found.came.extend(rest)
    return found


def _walk(text: bytes, place: int, block: bytes, found: Difference, at_most: int) -> int | None:
    """Add what differs in one block, line by line; return where the text goes on behind it, None as `difference` does."""
    ours, reach = _lines(text, place, len(block))
    came, gone, at, after = found.came, found.gone, 0, place + len(block)
    for line in block.split(b"\n")[:-1]:
        while (other := ours[at]) != line:
            if other == _END and reach < len(text):
                ours[at:], reach = _lines(text, reach, len(block))
            elif other == _END or line < other:
                gone.append(line)
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
    """Finds out which of some bases a text is like, by looking at few of its lines. It may be wrong: compare the two."""

    def __init__(self) -> None:
        """Know no base."""
        self._bases = defaultdict[int, list[int]](list)
        """By the id of a line: the numbers of the bases that have it."""

    def add(self, number: int, ids: Iterable[int]) -> None:
        """Take a base."""
        for line in ids:
            self._bases[line].append(number)

    def remove(self, number: int, ids: Iterable[int]) -> None:
        """Forget a base."""
        for line in ids:
            self._bases[line].remove(number)

    def of(self, text: bytes, ids: Mapping[bytes, int]) -> int | None:
        """Return the number of a base that has enough of the lines that are looked at; None if there is none."""
        votes = dict[int, int]()
        for look in range(_LOOKS):
            begin = text.find(b"\n", look * len(text) // _LOOKS) + 1
            line = ids.get(text[begin : text.find(b"\n", begin)])
            for number in () if line is None else reversed(self._bases.get(line, ())):  # the newest is the likest
                votes[number] = count = votes.get(number, 0) + 1
                if count == _ENOUGH:
                    return number
        return None
