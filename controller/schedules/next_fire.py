"""When a schedule fires, and what is due (SEMANTICS §1, Schedule). Pure.

A schedule is a sequence of local times; each stands for one instant (local_time.py), and local times that stand for the same one fire
once. Nothing fires after the rule's expiry.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import islice, pairwise
from typing import Final
from zoneinfo import ZoneInfo

from controller.schedules import cron
from controller.schedules.local_time import instant, local, numbers, zone_of
from controller.schedules.model import MissedRunPolicy, Schedule, ScheduleKind

LATE: Final = timedelta(minutes=1)
"""A run that begins no later than this after its time is not missed: a controller may be busy, or restarting."""
SHOWN: Final = 5
"""How many runs are shown ahead."""
MAX_COUNTED: Final = 1000
"""Missed runs are counted up to here."""
_FURTHEST: Final = datetime(9990, 1, 1, tzinfo=UTC)


def next_fire(schedule: Schedule, after: datetime) -> datetime | None:
    """Return the first instant after this one at which it fires; None when it never does again."""
    zone = zone_of(schedule.time_zone)
    if after >= _FURTHEST:
        return None
    shown: datetime | None = local(after, zone).replace(fold=0)
    while shown is not None and (shown := _after(schedule, shown)) is not None:
        at = instant(shown, zone)
        if at > after:
            return None if _expired(schedule, at) else at
    return None


def last_fire(schedule: Schedule, until: datetime) -> datetime | None:
    """Return the last instant at which it fired, up to and with this one; None when it had not begun."""
    if schedule.expires_at is not None:
        until = min(until, schedule.expires_at)
    zone = zone_of(schedule.time_zone)
    shown: datetime | None = _latest_shown(until, zone)
    while shown is not None and (shown := _at_or_before(schedule, shown)) is not None:
        at = instant(shown, zone)
        if at <= until:
            return at
        shown -= timedelta(seconds=1)
    return None


def next_fires(schedule: Schedule, after: datetime, number: int = SHOWN) -> tuple[datetime, ...]:
    """Return the next instants at which it fires, at most so many."""
    found = list[datetime]()
    while len(found) < number and (at := next_fire(schedule, found[-1] if found else after)) is not None:
        found.append(at)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Missed:
    """Runs whose time went by while nobody looked."""

    first: datetime
    last: datetime
    count: int
    """At most MAX_COUNTED; then there may be more."""

    def __str__(self) -> str:
        if self.count == 1:
            return f"the run of {self.first:%Y-%m-%d %H:%M:%S} UTC was missed"
        some = f"{self.count} runs" if self.count < MAX_COUNTED else f"at least {self.count} runs"
        return f"{some} from {self.first:%Y-%m-%d %H:%M:%S} to {self.last:%Y-%m-%d %H:%M:%S} UTC were missed"


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done now about the time since a schedule was last looked at."""

    fire_at: datetime | None
    """The instant for which to run; None: for none."""
    missed: Missed | None
    """What is not run, or not by itself: with `fire_at` later than its last, skipped; with the same, the run makes up for all of them."""
    until: datetime
    """Everything up to and with this instant is settled then."""


def due(schedule: Schedule, policy: MissedRunPolicy, settled_until: datetime, now: datetime) -> Due | None:
    """Say what to do about the runs after `settled_until` and up to now; None when there are none.

    The latest is run if it is no later than LATE. What came before it, and it itself if it is later, was missed: skipped, or made up for
    by one run. A clock that went back changes nothing: what is settled stays so.
    """
    first = next_fire(schedule, settled_until) if settled_until < now else None
    if first is None or first > now:
        return None
    latest = last_fire(schedule, now)
    if latest is None or latest < first:
        raise ValueError(f"a schedule that fires at {first} has no last run before {now}")
    if now - latest <= LATE:
        before = last_fire(schedule, latest - timedelta(microseconds=1))
        skipped = _missed(schedule, first, before) if before is not None and before >= first else None
        return Due(latest, skipped, latest)
    missed = _missed(schedule, first, latest)
    return Due(latest if policy is MissedRunPolicy.RUN_ONCE else None, missed, latest)


def _missed(schedule: Schedule, first: datetime, last: datetime) -> Missed:
    count, at = 1, first
    while count < MAX_COUNTED and at < last and (at_next := next_fire(schedule, at)) is not None and at_next <= last:
        count, at = count + 1, at_next
    return Missed(first, last, count)


def shortest_gap(schedule: Schedule, after: datetime, looked_at: int = 50) -> timedelta | None:
    """Return the shortest time between two of the next runs; None when there are not two."""
    ahead = next_fires(schedule, after, looked_at)
    return min((later - earlier for earlier, later in pairwise(islice(ahead, looked_at))), default=None)


def _expired(schedule: Schedule, at: datetime) -> bool:
    return schedule.expires_at is not None and at > schedule.expires_at


def _latest_shown(until: datetime, zone: ZoneInfo) -> datetime:
    """Return the latest local time that has been shown by an instant: while a clock shows an hour again, the end of that hour."""
    shown = local(until, zone)
    if not shown.fold:
        return shown
    earlier = shown.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return shown.replace(fold=0) + (until - earlier)


def _after(schedule: Schedule, shown: datetime) -> datetime | None:
    match schedule.kind:
        case ScheduleKind.ONCE:
            once = _once(schedule)
            return once if once > shown else None
        case ScheduleKind.PERIODIC:
            days = numbers(schedule.weekdays)
            for passed in range(9):
                at = datetime.combine(shown.date() + timedelta(days=passed), schedule.time)
                if at > shown and at.weekday() in days:
                    return at
            raise AssertionError("a week has every day")
        case ScheduleKind.CRON:
            return cron.parse(schedule.cron).after(shown)


def _at_or_before(schedule: Schedule, shown: datetime) -> datetime | None:
    match schedule.kind:
        case ScheduleKind.ONCE:
            once = _once(schedule)
            return once if once <= shown else None
        case ScheduleKind.PERIODIC:
            days = numbers(schedule.weekdays)
            for passed in range(9):
                at = datetime.combine(shown.date() - timedelta(days=passed), schedule.time)
                if at <= shown and at.weekday() in days:
                    return at
            raise AssertionError("a week has every day")
        case ScheduleKind.CRON:
            return cron.parse(schedule.cron).at_or_before(shown)


def _once(schedule: Schedule) -> datetime:
    if schedule.date is None:
        raise ValueError("a schedule that fires once has no date")
    return datetime.combine(schedule.date, schedule.time or time())
