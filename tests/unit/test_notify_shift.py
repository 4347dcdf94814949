"""Who is on duty: turns by day and week with local hand-over times, summer time, overrides that win, and saying that nobody is."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.notify.model import Override, Rotation, Shift, ShiftKey
from controller.notify.shift import OnDuty, instant, on_duty

KEY = ShiftKey("patching", "primary")
SECOND = timedelta(seconds=1)
MONDAY = date(2026, 11, 2)


def a_rotation(
    *people: str,
    days: int = 7,
    hand_over: tuple[time, ...] = (time(9),),
    first: date = MONDAY,
    last: date | None = None,
) -> Rotation:
    return Rotation(people or ("lin", "wu", "zoe"), first, hand_over, days, last)


def a_shift(*rotations: Rotation, zone: str = "Asia/Shanghai", overrides: tuple[Override, ...] = ()) -> Shift:
    return Shift(KEY, zone, rotations or (a_rotation(),), overrides)


def local(zone: str, *parts: int) -> datetime:
    return datetime(*parts, tzinfo=ZoneInfo(zone))  # type: ignore[misc,arg-type]


def who(shift: Shift, at: datetime) -> tuple[str, ...]:
    return on_duty(shift, at).people


def test_a_weekly_turn_is_handed_over_at_the_local_hour() -> None:
    shift = a_shift()
    zone = "Asia/Shanghai"
    assert who(shift, local(zone, 2026, 11, 2, 9)) == ("lin",)
    assert who(shift, local(zone, 2026, 11, 9, 8, 59)) == ("lin",)
    assert who(shift, local(zone, 2026, 11, 9, 9)) == ("wu",)
    assert who(shift, local(zone, 2026, 11, 16, 9)) == ("zoe",)
    assert who(shift, local(zone, 2026, 11, 23, 9)) == ("lin",), "and from the beginning again"
    assert on_duty(shift, local(zone, 2026, 11, 5, 0)).until == local(zone, 2026, 11, 9, 9)


def test_day_and_night_turns_are_two_hand_overs_a_day() -> None:
    shift = a_shift(a_rotation("day", "night", days=1, hand_over=(time(8), time(20))))
    zone = "Asia/Shanghai"
    assert who(shift, local(zone, 2026, 11, 5, 8)) == ("day",)
    assert who(shift, local(zone, 2026, 11, 5, 20)) == ("night",)
    assert who(shift, local(zone, 2026, 11, 6, 3)) == ("night",)
    assert who(shift, local(zone, 2026, 11, 6, 8)) == ("day",)


def test_nobody_is_on_duty_before_the_first_turn_and_after_the_last() -> None:
    shift = a_shift(a_rotation(last=date(2026, 11, 9)))
    zone = "Asia/Shanghai"
    assert on_duty(shift, local(zone, 2026, 11, 2, 8, 59)) == OnDuty((), None, local(zone, 2026, 11, 2, 9))
    assert on_duty(shift, local(zone, 2020, 1, 1)).people == ()
    assert who(shift, local(zone, 2026, 11, 16, 8, 59)) == ("wu",), "the last turn lasts as long as any other"
    assert on_duty(shift, local(zone, 2026, 11, 16, 9)) == OnDuty((), None, None)
    assert on_duty(Shift(KEY, "UTC", ()), datetime(2026, 1, 1, tzinfo=UTC)) == OnDuty((), None, None)


def test_all_rotations_that_apply_put_somebody_on_duty_each_person_once() -> None:
    shift = a_shift(a_rotation("lin"), a_rotation("wu", "lin"), a_rotation("zoe", last=MONDAY))
    assert who(shift, local("Asia/Shanghai", 2026, 11, 3)) == ("lin", "wu", "zoe")
    assert who(shift, local("Asia/Shanghai", 2026, 11, 10)) == ("lin",)


def test_an_override_wins_over_the_rotations_and_the_last_one_over_the_others() -> None:
    begin, end = local("UTC", 2026, 11, 3, 12), local("UTC", 2026, 11, 4, 12)
    first = Override("o-1", ("amy",), begin, end, "wu is ill")
    second = Override("o-2", ("bob", "eve"), begin + timedelta(hours=6), end + timedelta(hours=6))
    shift = a_shift(overrides=(first, second))
    assert who(shift, begin - SECOND) == ("lin",)
    assert on_duty(shift, begin) == OnDuty(("amy",), first, second.begins_at)
    assert on_duty(shift, second.begins_at) == OnDuty(("bob", "eve"), second, end)
    assert who(shift, second.ends_at - SECOND) == ("bob", "eve")
    assert who(shift, second.ends_at) == ("lin",)


def test_an_override_can_stand_alone() -> None:
    override = Override("o-1", ("amy",), local("UTC", 2026, 11, 3), local("UTC", 2026, 11, 4))
    shift = Shift(KEY, "UTC", (), (override,))
    assert on_duty(shift, local("UTC", 2026, 11, 1)) == OnDuty((), None, override.begins_at)
    assert who(shift, local("UTC", 2026, 11, 3, 12)) == ("amy",)


@pytest.mark.parametrize(
    ("zone", "day", "at", "expected"),
    [
        (
            "Europe/Berlin",
            date(2026, 3, 29),
            time(2, 30),
            datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
        ),  # 02:00 becomes 03:00
        (
            "Europe/Berlin",
            date(2026, 10, 25),
            time(2, 30),
            datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        ),  # the first of two
        ("America/New_York", date(2026, 3, 8), time(2, 0), datetime(2026, 3, 8, 7, 0, tzinfo=UTC)),
        (
            "Australia/Lord_Howe",
            date(2026, 10, 4),
            time(2, 15),
            datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
        ),  # half an hour
        ("Pacific/Apia", date(2011, 12, 30), time(12), datetime(2011, 12, 30, 10, 0, tzinfo=UTC)),  # a whole day
        ("Asia/Kathmandu", date(2026, 3, 29), time(2, 30), datetime(2026, 3, 28, 20, 45, tzinfo=UTC)),
    ],
)
def test_a_hand_over_that_does_not_occur_is_at_the_first_instant_that_does(
    zone: str, day: date, at: time, expected: datetime
) -> None:
    assert instant(zone, day, at) == expected


def test_in_every_time_zone_each_day_of_a_year_has_its_one_turn() -> None:
    for zone in sorted(available_timezones()):
        if zone in ("localtime", "Factory"):
            continue
        days = [date(2026, 1, 1) + timedelta(days=n) for n in range(366)]
        starts = [instant(zone, day, time(2, 30)) for day in days]
        assert all(timedelta(hours=20) < b - a < timedelta(hours=28) for a, b in itertools.pairwise(starts)), zone


ZONES = ("UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")


@st.composite
def rotations(draw: st.DrawFn) -> Rotation:
    days = draw(st.integers(1, 9))
    times = draw(st.lists(st.times(), min_size=1, max_size=3 if days == 1 else 1, unique=True))
    people = draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5))
    first = draw(st.dates(date(2026, 1, 1), date(2026, 4, 30)))
    last = draw(st.none() | st.integers(0, 60).map(lambda n: first + timedelta(days=n)))
    return Rotation(tuple(people), first, tuple(sorted(times)), days, last)


@given(rotation=rotations(), zone=st.sampled_from(ZONES), minutes=st.integers(0, 200 * 1440))
def test_the_person_is_the_one_that_counting_every_turn_from_the_first_finds(
    rotation: Rotation, zone: str, minutes: int
) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    expected, turn, day = "", 0, rotation.first_day
    while day < date(2026, 9, 1):
        for hand_over in rotation.hand_over:
            if instant(zone, day, hand_over) <= at:
                open_ended = rotation.last_day is None or day <= rotation.last_day
                expected = rotation.people[turn % len(rotation.people)] if open_ended else ""
            turn += 1
        day += timedelta(days=rotation.days)
    duty = on_duty(Shift(KEY, zone, (rotation,)), at)
    assert duty.people == ((expected,) if expected else ())
    if duty.until is not None:
        assert duty.until > at
        assert on_duty(Shift(KEY, zone, (rotation,)), duty.until - SECOND).people == duty.people
