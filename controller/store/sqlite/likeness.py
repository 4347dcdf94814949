"""What one packages blob has that another has not: hosts made from one image say nearly the same text."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

_STRIDE: Final = 512
_NARROW: Final = 64
"""When it is known to so many bytes where two texts part, lines are compared."""
_LOOKS: Final = 8
"""So many lines of a text are looked at to find which base it is like; most of them must be in it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Lines that only one of two texts has."""

    came: list[bytes]
    gone: list[bytes]


def difference(text: bytes, base: bytes, at_most: int) -> Difference | None:
    """Compare two texts of lines that ascend, each once; None when they differ in more lines, or `text` is not of that kind.

    Of `base` the caller must know that it is. Parts that are alike are compared as a whole: the cost depends on what differs.
    """
    came, gone = list[bytes](), list[bytes]()
    if not text.endswith(b"\n"):
        return None
    place = other = 0  # both at the beginning of a line; what is before agrees, but for what came and what is gone
    while len(came) + len(gone) <= at_most:
        same = _alike(text, place, base, other)
        skipped = max(text.rfind(b"\n", place, place + same) + 1 - place, 0)
        place, other = place + skipped, other + skipped
        if place == len(text) and other == len(base):
            return Difference(came, gone)
        end, other_end = text.find(b"\n", place), base.find(b"\n", other)
        line, base_line = text[place:end], base[other:other_end]
        if other_end < 0 or (end >= 0 and line < base_line):
            before = text[text.rfind(b"\n", 0, place - 1) + 1 : place - 1] if place else b""
            if line <= before and place:
                return None
            came.append(line)
            place = end + 1
        elif end < 0 or base_line < line:
            gone.append(base_line)
            other = other_end + 1
        else:
            place, other = end + 1, other_end + 1
    return None


def _alike(text: bytes, place: int, base: bytes, other: int) -> int:
    """Return how many bytes are alike from two places on, or some fewer: where it ends is found by halving."""
    limit = min(len(text) - place, len(base) - other)
    low, stride = 0, _STRIDE
    while low < limit:
        high = min(low + stride, limit)
        if not text.startswith(base[other + low : other + high], place + low):
            break
        low, stride = high, 2 * stride
    else:
        return limit
    while high - low > _NARROW:
        middle = (low + high) // 2
        if text.startswith(base[other + low : other + middle], place + low):
            low = middle
        else:
            high = middle
    return low


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
        """Return the number of a base that has most of the lines that are looked at; None if there is none."""
        votes = Counter[int]()
        for look in range(_LOOKS):
            begin = text.find(b"\n", look * len(text) // _LOOKS) + 1
            line = ids.get(text[begin : text.find(b"\n", begin)])
            if line is not None:
                votes.update(self._bases.get(line, ()))
        if not votes:
            return None
        ((number, count),) = votes.most_common(1)
        return number if count > _LOOKS // 2 else None
