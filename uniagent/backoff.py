"""How long to wait before trying again: full jitter, so that a restarted controller meets a trickle."""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """Waits of a random part of a bound that doubles from `base` to `cap` seconds. `least` is added to every wait."""

    def __init__(self, random: Callable[[], float], *, base: float, cap: float, least: float = 0.0) -> None:
        """`random` returns numbers from 0 up to 1."""
        self._random = random
        self._base = base
        self._cap = cap
        self._least = least
        self._tries = 0

    def next(self) -> float:
        """Return the seconds to wait now."""
        bound = min(self._cap - self._least, self._base * 2.0 ** min(self._tries, 62))
        self._tries += 1
        return self._least + self._random() * bound

    def reset(self) -> None:
        """Begin again at `base`. Call it when the other side has spoken: a bare TCP connect proves nothing."""
        self._tries = 0
