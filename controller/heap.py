"""How often the interpreter looks for garbage in a process that keeps a whole fleet in memory.

Reference counts free nearly everything here at once. What is left to the collector is cycles, and by default it looks for them after every
700 new objects, now and then among all the millions that the fleet's answers are made of: which takes a third of an evaluation's time,
and holds everybody else up for as long as a look at all of them takes.
"""

from __future__ import annotations

import gc
from typing import Final

_THRESHOLDS: Final = (25_000, 20, 20)


def collect_seldom() -> None:
    """Look for cycles after so many new objects that it costs next to nothing; memory grows by some megabytes at most."""
    gc.set_threshold(*_THRESHOLDS)


def keep_what_is_there() -> None:
    """Look for cycles once more, and never again among what is there now: it is there to stay."""
    gc.collect()
    gc.freeze()
