"""Maintenance windows: when a ticket may send runs. Pure; nothing here knows what time it is.

A window opens on its weekdays at a local time and closes at another; one that closes no later than it opens closes on the next day,
so equal times make a window of a whole day. Several windows are open while any of them is. A clock change moves both ends as it moves any
schedule (local_time.py), so a window may be an hour longer or shorter then, and one that lies wholly in the gap does not open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from controller.schedules.local_time import DEFAULT_ZONE, WEEK, Weekday, instant, local, numbers, zone_of

MAX_WINDOWS: Final = 20
_AHEAD: Final = 15
"""Days: a window opens at least once a week, or in the week after if a clock change swallowed it."""


@dataclass(frozen=True, slots=True)
class MaintenanceWindow:
    """From a local time to another on some weekdays; no weekday means every day."""

    weekdays: tuple[Weekday, ...] = ()
    """On which it opens."""
    opens: time = time(0, 0)
    closes: time = time(0, 0)
    """On the next day if it is not later than `opens`."""
    time_zone: str = DEFAULT_ZONE

    def __str__(self) -> str:
        days = ",".join(day.value[:3].title() for day in WEEK if day in self.weekdays) or "daily"
        return f"{days} {self.opens.isoformat('minutes')}-{self.closes.isoformat('minutes')} {self.time_zone}"


def is_open(windows: Sequence[MaintenanceWindow], at: datetime) -> bool:
    """Say whether any of them is open at an instant; without any there is nothing to keep to."""
    return not windows or any(opens <= at < closes for opens, closes in _near(windows, at, 0))


def next_opening(windows: Sequence[MaintenanceWindow], at: datetime) -> datetime | None:
    """Return the first instant from `at` on at which one is open: `at` itself if one is. None if that is not within two weeks."""
    if is_open(windows, at):
        return at
    return min((opens for opens, _ in _near(windows, at, _AHEAD) if opens > at), default=None)


def next_closing(windows: Sequence[MaintenanceWindow], at: datetime) -> datetime | None:
    """Return when all will be closed if one is open at `at`, None when none is, or when they never close."""
    if not windows or not is_open(windows, at):
        return None
    spans, end = sorted(_near(windows, at, _AHEAD)), at
    for opens, closes in spans:
        if opens <= end < closes:
            end = closes
    return None if end >= at + timedelta(days=_AHEAD - 2) else end


def _near(windows: Sequence[MaintenanceWindow], at: datetime, ahead: int) -> Iterator[tuple[datetime, datetime]]:
    """Yield when windows open and close, from the days before an instant to some days after it; empty ones are left out."""
    for window in windows:
        zone, days = zone_of(window.time_zone), numbers(window.weekdays)
        today = local(at.astimezone(UTC), zone).date()
        for passed in range(-2, ahead + 2):
            day = today + timedelta(days=passed)
            if day.weekday() in days:
                opens = instant(datetime.combine(day, window.opens), zone)
                closes = instant(datetime.combine(_closing_day(window, day), window.closes), zone)
                if opens < closes:
                    yield opens, closes


def _closing_day(window: MaintenanceWindow, day: date) -> date:
    return day + timedelta(days=1) if window.closes <= window.opens else day
