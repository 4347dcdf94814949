"""Who is on duty at an instant: rotations with hand-over times in a time zone, and overrides, which win.

A turn begins at a local time. One that a change to summer time leaves out begins at the first instant that exists; one that occurs
twice begins the first time. So every instant belongs to exactly one turn, however the clocks go.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from controller.notify.model import Override, Rotation, Shift

_SECOND: Final = timedelta(seconds=1)
_LAST_DAY: Final = date(9990, 1, 1)


@dataclass(frozen=True, slots=True)
class OnDuty:
    """Who is on duty, why, and until when at least nothing changes."""

    people: tuple[str, ...]
    """Names of contacts, each once; empty when nobody is."""
    override: Override | None
    """The one that decides, if one does."""
    until: datetime | None
    """When the next turn, or an override, begins or ends; None when nothing will."""


def on_duty(shift: Shift, at: datetime) -> OnDuty:
    """Say who is on duty at an instant."""
    override = next((o for o in reversed(shift.overrides) if o.begins_at <= at < o.ends_at), None)
    edges = [edge for o in shift.overrides for edge in (o.begins_at, o.ends_at) if edge > at]
    people = list[str]()
    for rotation in shift.rotations:
        person, ends = _turn(rotation, shift.time_zone, at)
        if person:
            people.append(person)
        if ends is not None:
            edges.append(ends)
    if override is not None:
        people = list(override.people)
    return OnDuty(tuple(dict.fromkeys(people)), override, min(edges, default=None))


def _turn(rotation: Rotation, zone: str, at: datetime) -> tuple[str, datetime | None]:
    """Return whose turn it is in a rotation ("" when nobody's), and when the next one begins or the last one ends."""
    local = at.astimezone(ZoneInfo(zone)).date()
    near = (local - rotation.first_day).days // rotation.days
    turns = list(_turns(rotation, zone, max(0, near - 1), near + 2))
    place = bisect_right(turns, at, key=lambda turn: turn[0])
    following = turns[place] if place < len(turns) else None
    if place == 0:
        return "", following[0] if following is not None and _may_begin(rotation, following[1]) else None
    _, day, number = turns[place - 1]
    if not _may_begin(rotation, day):
        return "", None
    return rotation.people[number % len(rotation.people)], following[0] if following is not None else None


def _may_begin(rotation: Rotation, day: date) -> bool:
    return rotation.last_day is None or day <= rotation.last_day


def _turns(rotation: Rotation, zone: str, first: int, last: int) -> Iterator[tuple[datetime, date, int]]:
    """Yield turns as (when it begins, its local day, its number from 0), in order, of the periods from first to last."""
    for period in range(first, max(first, last) + 1):
        if (_LAST_DAY - rotation.first_day).days < period * rotation.days:
            return
        day = rotation.first_day + timedelta(days=period * rotation.days)
        for slot, hand_over in enumerate(rotation.hand_over):
            yield instant(zone, day, hand_over), day, period * len(rotation.hand_over) + slot


@lru_cache(maxsize=4096)
def instant(zone: str, day: date, local: time) -> datetime:
    """Return a local time as an instant: the first one if it occurs twice, the first that exists if it does not occur."""
    there = ZoneInfo(zone)
    wall = datetime.combine(day, local)
    first = wall.replace(tzinfo=there).astimezone(UTC)
    if first.astimezone(there).replace(tzinfo=None) == wall:
        return first
    # It does not occur. The clocks were changed between the two instants that the offsets before and after make of it.
    after, before = first, wall.replace(tzinfo=there, fold=1).astimezone(UTC)
    old = before.astimezone(there).utcoffset()
    while after - before > _SECOND:
        middle = before + timedelta(seconds=(after - before) // _SECOND // 2)
        before, after = (middle, after) if middle.astimezone(there).utcoffset() == old else (before, middle)
    return after
