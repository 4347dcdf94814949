"""Local times and instants: what a wall clock in a zone shows, and when that is (SEMANTICS §1, Schedule).

A time that a clock change leaves out stands for the first valid instant after it; one that a clock shows twice stands for the first of
the two. So `instant` never goes back when the wall clock goes forward, and everything here counts each local time once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

DEFAULT_ZONE: Final = "UTC"


class Weekday(StrEnum):
    """A day of the week, in the order of `date.weekday()`."""

    MONDAY = "MONDAY"
    TUESDAY = "TUESDAY"
    WEDNESDAY = "WEDNESDAY"
    THURSDAY = "THURSDAY"
    FRIDAY = "FRIDAY"
    SATURDAY = "SATURDAY"
    SUNDAY = "SUNDAY"


WEEK: Final = tuple(Weekday)


def numbers(weekdays: Iterable[Weekday]) -> frozenset[int]:
    """Return weekdays as `date.weekday()` counts them; none at all means every day."""
    return frozenset(map(WEEK.index, weekdays)) or frozenset(range(7))


def wrong_with_zone(name: str) -> str | None:
    """Say what is wrong with the name of a time zone, None when it is one of the IANA database."""
    if name in _zones():
        return None
    near = difflib.get_close_matches(name[:80], _zones(), n=3)
    meant = f"; did you mean {', '.join(near)}?" if near else ""
    return f"{name[:80]!r} is no IANA time zone, write it like UTC, Asia/Hong_Kong or Europe/Berlin{meant}"


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def zone_of(name: str) -> ZoneInfo:
    """Return a zone that `wrong_with_zone` lets pass."""
    return ZoneInfo(name)


def local(at: datetime, zone: ZoneInfo) -> datetime:
    """Return what a wall clock shows at an instant, without its zone; `fold` is 1 the second time that it shows it."""
    return at.astimezone(zone).replace(tzinfo=None)


def instant(shown: datetime, zone: ZoneInfo) -> datetime:
    """Return when a wall clock first shows this, as UTC; for a time that is left out the first valid instant after it."""
    at = shown.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) == shown:
        return at
    # Left out. With the offset of before it lies behind the change, with that of after before it; the change is in between.
    before, behind = shown.replace(tzinfo=zone, fold=1).astimezone(UTC), at
    offset = before.astimezone(zone).utcoffset()
    seconds, least = int((behind - before).total_seconds()), 0
    while seconds - least > 1:
        middle = (least + seconds) // 2
        if (before + timedelta(seconds=middle)).astimezone(zone).utcoffset() == offset:
            least = middle
        else:
            seconds = middle
    return (before + timedelta(seconds=seconds)).replace(microsecond=0)
