"""Time as an input: everything that waits or dates something is handed a Clock."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> datetime:
        """Return the time, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back; only differences mean something."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        ...


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """Return the time, aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since some fixed instant."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        await asyncio.sleep(seconds)


def parse_duration(text: str) -> timedelta:
    """Read "90", "90s", "10m", "1h30m" or "2d"; raise ValueError that shows these forms."""
    compact = text.strip().lower().replace(" ", "")
    parts = list(_DURATION.finditer(compact))
    if not parts or "".join(m.group(0) for m in parts) != compact:
        raise ValueError(f"{text!r} is not a duration, write it like 90s, 10m, 1h30m or 2d")
    try:
        return timedelta(seconds=sum(float(m.group(1)) * _SECONDS[m.group(2)] for m in parts))
    except OverflowError:
        raise ValueError(f"{text!r} is too long for a duration") from None


def format_duration(length: timedelta) -> str:
    """Say a duration in its two largest units, as people do: "41 d", "1 h 30 m", "12 s"."""
    seconds = max(0, round(length.total_seconds()))
    for unit, size, smaller, smaller_size in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= size:
            count, rest = divmod(seconds, size)
            return f"{count} {unit} {rest // smaller_size} {smaller}" if rest >= smaller_size else f"{count} {unit}"
    return f"{seconds} s"
