"""Maintenance windows: when they are open, open next and close, over midnight and over clock changes."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.schedules.local_time import Weekday, local, zone_of
from controller.schedules.validate import wrong_with_windows
from controller.schedules.windows import MAX_WINDOWS, MaintenanceWindow, is_open, next_closing, next_opening

WEEKEND = (Weekday.SATURDAY, Weekday.SUNDAY)
BERLIN = "Europe/Berlin"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_without_a_window_it_is_always_open_and_never_closes() -> None:
    now = utc("2026-11-26T12:00")
    assert is_open((), now)
    assert next_opening((), now) == now
    assert next_closing((), now) is None


def test_a_window_is_open_from_its_first_instant_until_before_its_last() -> None:
    night = (MaintenanceWindow((Weekday.FRIDAY,), time(1, 0), time(5, 0), BERLIN),)
    for at, expected in (("00:00:00", True), ("03:59:59", True), ("04:00:00", False), ("12:00:00", False)):
        assert is_open(night, utc(f"2026-11-27T{at}")) is expected
    assert not is_open(night, utc("2026-11-26T23:59:59"))
    assert next_opening(night, utc("2026-11-26T12:00")) == utc("2026-11-27T00:00")
    assert next_opening(night, utc("2026-11-27T02:00")) == utc("2026-11-27T02:00")
    assert next_opening(night, utc("2026-11-27T04:00")) == utc("2026-12-04T00:00")
    assert next_closing(night, utc("2026-11-27T02:00")) == utc("2026-11-27T04:00")
    assert next_closing(night, utc("2026-11-27T04:00")) is None


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_opens() -> None:
    night = (MaintenanceWindow((Weekday.SUNDAY,), time(22, 0), time(4, 0), "UTC"),)
    assert is_open(night, utc("2026-11-29T22:00"))
    assert is_open(night, utc("2026-11-30T03:59"))  # Monday morning
    assert not is_open(night, utc("2026-11-29T03:00"))  # Sunday morning
    assert next_closing(night, utc("2026-11-29T23:00")) == utc("2026-11-30T04:00")


def test_equal_times_are_a_whole_day_and_days_that_meet_are_one_window() -> None:
    weekend = (MaintenanceWindow(WEEKEND, time(0, 0), time(0, 0), "UTC"),)
    assert next_opening(weekend, utc("2026-11-26T12:00")) == utc("2026-11-28T00:00")
    assert next_closing(weekend, utc("2026-11-28T12:00")) == utc("2026-11-30T00:00")
    assert next_closing((MaintenanceWindow(),), utc("2026-11-28T12:00")) is None  # every day, all day


def test_of_several_windows_any_will_do() -> None:
    both = (
        MaintenanceWindow((), time(1, 0), time(2, 0), "UTC"),
        MaintenanceWindow((), time(1, 30), time(3, 0), "UTC"),
        MaintenanceWindow((), time(12, 0), time(13, 0), "UTC"),
    )
    assert next_closing(both, utc("2026-11-26T01:10")) == utc("2026-11-26T03:00")
    assert next_opening(both, utc("2026-11-26T03:00")) == utc("2026-11-26T12:00")


def test_clock_changes_move_the_ends() -> None:
    night = (MaintenanceWindow((Weekday.SUNDAY,), time(1, 0), time(4, 0), BERLIN),)
    spring, autumn = utc("2026-03-29T00:00"), utc("2026-10-24T23:00")
    assert next_closing(night, spring) == spring + timedelta(hours=2)
    assert next_closing(night, autumn) == autumn + timedelta(hours=4)
    swallowed = (MaintenanceWindow((Weekday.SUNDAY,), time(2, 0), time(3, 0), BERLIN),)
    assert next_opening(swallowed, utc("2026-03-28T12:00")) == utc("2026-04-05T00:00")


WINDOWS = st.lists(
    st.builds(
        MaintenanceWindow,
        weekdays=st.lists(st.sampled_from(Weekday), unique=True, max_size=3).map(tuple),
        opens=st.builds(time, st.integers(0, 23), st.sampled_from([0, 30])),
        closes=st.builds(time, st.integers(0, 23), st.sampled_from([0, 30])),
        time_zone=st.sampled_from(["UTC", BERLIN, "America/New_York", "Asia/Kolkata"]),
    ),
    min_size=1,
    max_size=3,
).map(tuple)


def open_by_the_wall(window: MaintenanceWindow, at: datetime) -> bool:
    """The same from what a wall clock shows; right where no clock change is near."""
    shown = local(at, zone_of(window.time_zone))
    days = window.weekdays or tuple(Weekday)
    today, yesterday = (tuple(Weekday)[d.weekday()] in days for d in (shown, shown - timedelta(days=1)))
    if window.opens < window.closes:
        return today and window.opens <= shown.time() < window.closes
    return (today and shown.time() >= window.opens) or (yesterday and shown.time() < window.closes)


@settings(max_examples=150, deadline=None)
@given(windows=WINDOWS, start=st.datetimes(datetime(2026, 5, 1), datetime(2026, 9, 1)))
def test_it_is_open_when_a_wall_clock_says_so(windows: tuple[MaintenanceWindow, ...], start: datetime) -> None:
    at = start.replace(tzinfo=UTC)
    assert is_open(windows, at) == any(open_by_the_wall(w, at) for w in windows)
    opening = next_opening(windows, at)
    assert opening is not None
    assert is_open(windows, opening)
    walked = at
    while walked < opening:
        assert not is_open(windows, walked)
        walked += timedelta(minutes=37)
    closing = next_closing(windows, opening)
    if closing is not None:
        assert not is_open(windows, closing)
        while opening < closing:
            assert is_open(windows, opening)
            opening += timedelta(minutes=37)


def test_a_refusal_names_the_window() -> None:
    wrong = list(wrong_with_windows((MaintenanceWindow(), MaintenanceWindow(time_zone="Mars/Olympus"))))
    assert [v.field for v in wrong] == ["maintenance_windows[1].time_zone"]
    (too_many,) = wrong_with_windows((MaintenanceWindow(),) * (MAX_WINDOWS + 1))
    assert "allowed are 20" in too_many.description


@pytest.mark.parametrize(
    ("window", "said"),
    [
        (MaintenanceWindow(WEEKEND, time(22, 0), time(4, 0), BERLIN), "Sat,Sun 22:00-04:00 Europe/Berlin"),
        (MaintenanceWindow(), "daily 00:00-00:00 UTC"),
    ],
)
def test_a_window_is_said_as_it_is_written(window: MaintenanceWindow, said: str) -> None:
    assert str(window) == said
