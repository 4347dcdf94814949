"""How things are measured here: processor time, the best of three, and one row of the table for each aim."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

TIMES: Final = 3


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `met` is None where nothing is aimed at."""

    what: str
    ours: str
    alternative: str = ""
    ratio: str = ""
    aim: str = ""
    met: bool | None = None


@dataclass
class Table:
    """What this run measured, in the order it was measured."""

    rows: list[Row] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def absolute(self, what: str, value: float, unit: str, *, at_most: float | None = None) -> None:
        """Add a figure that is aimed at by itself: a time, a size, a share."""
        aim = f"<= {at_most:g} {unit}" if at_most is not None else ""
        self.rows.append(Row(what, quantity(value, unit), aim=aim, met=None if at_most is None else value <= at_most))

    def ratio(
        self, what: str, ours: float, alternative: float, unit: str, *, than: str, at_least: float | None = None
    ) -> None:
        """Add a figure that is aimed at as a ratio: how often `ours` goes into the alternative."""
        found = alternative / ours
        self.rows.append(
            Row(
                what,
                quantity(ours, unit),
                f"{quantity(alternative, unit)} {than}",
                f"{found:,.{1 if found < 100 else 0}f}x",
                f">= {at_least:g}x" if at_least is not None else "",
                None if at_least is None else found >= at_least,
            )
        )

    def times(
        self, what: str, ours: float, alternative: float, unit: str, *, than: str, at_most: float | None = None
    ) -> None:
        """Add a figure that is aimed at as a multiple: how often the least that can be had, `alternative`, goes into `ours`."""
        found = ours / alternative
        self.rows.append(
            Row(
                what,
                quantity(ours, unit),
                f"{quantity(alternative, unit)} {than}",
                f"{found:,.1f}x of it",
                f"<= {at_most:g}x" if at_most is not None else "",
                None if at_most is None else found <= at_most,
            )
        )

    def times_in_turn(
        self, what: str, ours: Sequence[float], alternative: Sequence[float], unit: str, *, than: str, at_most: float
    ) -> None:
        """Add a multiple as `times` does, of what was measured in turn, round by round: its median, and the middle half of the rounds."""
        rounds = [mine / least for mine, least in zip(ours, alternative, strict=True)]
        low, found, high = statistics.quantiles(rounds, n=4)
        self.rows.append(
            Row(
                what,
                quantity(statistics.median(ours), unit),
                f"{quantity(statistics.median(alternative), unit)} {than}",
                f"{found:,.2f}x of it ({low:,.2f} to {high:,.2f})",
                f"<= {at_most:g}x",
                found <= at_most,
            )
        )

    def remark(self, text: str) -> None:
        """Add a sentence under the table: how a figure came about, where it is not plain."""
        self.remarks.append(text)

    def lines(self) -> list[str]:
        """Return the table as text."""
        head = Row("what", "ours", "alternative", "ratio", "aim")
        cells = [[r.what, r.ours, r.alternative, r.ratio, r.aim, _word(r.met)] for r in (head, *self.rows)]
        cells[0][-1] = "met"
        widths = [max(len(row[n]) for row in cells) for n in range(len(cells[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return lines + [f"* {remark}" for remark in dict.fromkeys(self.remarks)]


def best(function: Callable[[], object], times: int = TIMES) -> float:
    """Return the processor seconds of this process for a call, the least of some: a busy machine only ever adds."""
    return min(_once(function) for _ in range(times))


async def best_wall(function: Callable[[], Awaitable[object]], times: int = TIMES) -> float:
    """Return the seconds that a caller waits, the least of some."""
    found = list[float]()
    for _ in range(times):
        begun = time.perf_counter()
        await function()
        found.append(time.perf_counter() - begun)
    return min(found)


def noise() -> float:
    """Return how much longer the slowest of ten equal runs took than the fastest, in percent."""
    found = [_once(lambda: sum(range(2_000_000))) for _ in range(10)]
    return (max(found) / min(found) - 1) * 100


def quantity(value: float, unit: str) -> str:
    """Spell a figure: seconds in the unit that reads best, all others with three digits that matter."""
    if unit == "s":
        for limit, factor, name in ((1e-3, 1e6, "us"), (1, 1e3, "ms"), (float("inf"), 1, "s")):
            if value < limit:
                return f"{value * factor:,.{2 if value * factor < 10 else 1 if value * factor < 100 else 0}f} {name}"
    return f"{value:,.{3 if value < 1 else 1 if value < 100 else 0}f} {unit}"


def _once(function: Callable[[], object]) -> float:
    gc.collect()
    begun = time.process_time()
    found = function()
    took = time.process_time() - begun
    del found  # to throw an answer away is no part of giving it
    return took


def _word(met: bool | None) -> str:
    return "" if met is None else "yes" if met else "NO"
