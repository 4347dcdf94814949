"""How many examples a property is tried with: enough to find what is new whenever the tests run, many times as many in the slow tier."""

from __future__ import annotations

import os
from typing import Final

VARIABLE: Final = "PATCHWARDEN_EXAMPLES"
"""Whose value multiplies them, e.g. PATCHWARDEN_EXAMPLES=100 for a night."""


def examples(count: int) -> int:
    """Return how many to try where `count` is enough for every day."""
    return count * int(os.environ.get(VARIABLE, "1"))
