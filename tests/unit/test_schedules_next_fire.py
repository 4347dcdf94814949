"""When schedules fire, and what is due (SEMANTICS §1, Schedule): zones, clock changes, expiry, missed runs."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.schedules.local_time import Weekday, instant, local, wrong_with_zone, zone_of
from controller.schedules.model import MissedRunPolicy, Schedule, ScheduleKind
from controller.schedules.next_fire import LATE, MAX_COUNTED, due, last_fire, next_fire, next_fires, shortest_gap
from tests.examples import examples

SKIP, RUN_ONCE = MissedRunPolicy.SKIP, MissedRunPolicy.RUN_ONCE
BERLIN = "Europe/Berlin"
THIS_YEAR = datetime.now(UTC).year
NIGHTLY = Schedule(ScheduleKind.PERIODIC, BERLIN, time=time(2, 30))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def shown_in(zone: str, *instants: datetime) -> list[str]:
    return [at.astimezone(ZoneInfo(zone)).strftime("%a %d %H:%M:%S") for at in instants]


def test_once_fires_at_its_local_time_and_never_again() -> None:
    once = Schedule(ScheduleKind.ONCE, "Asia/Hong_Kong", date=date(2026, 12, 1), time=time(3, 0, 5))
    assert next_fire(once, utc("2026-11-26T00:00")) == utc("2026-11-30T19:00:05")
    assert next_fire(once, utc("2026-11-30T19:00:05")) is None
    assert next_fires(once, utc("2026-11-26T00:00")) == (utc("2026-11-30T19:00:05"),)
    assert last_fire(once, utc("2026-11-30T19:00:04")) is None
    assert last_fire(once, utc("2027-01-01T00:00")) == utc("2026-11-30T19:00:05")


def test_periodic_fires_on_its_weekdays() -> None:
    some = Schedule(ScheduleKind.PERIODIC, BERLIN, time=time(22, 15, 30), weekdays=(Weekday.SATURDAY, Weekday.TUESDAY))
    assert shown_in(BERLIN, *next_fires(some, utc("2026-11-24T21:15:30"))) == [
        "Sat 28 22:15:30",
        "Tue 01 22:15:30",
        "Sat 05 22:15:30",
        "Tue 08 22:15:30",
        "Sat 12 22:15:30",
    ]


def test_cron_fires_in_its_zone() -> None:
    cron = Schedule(ScheduleKind.CRON, "America/New_York", cron="0 0 9 ? * MON-FRI")
    assert shown_in("America/New_York", *next_fires(cron, utc("2026-11-26T15:00"), 3)) == [
        "Fri 27 09:00:00",
        "Mon 30 09:00:00",
        "Tue 01 09:00:00",
    ]


def test_nothing_fires_after_the_rule_expires() -> None:
    until = utc("2026-11-28T01:30")
    daily = Schedule(ScheduleKind.PERIODIC, BERLIN, time=time(2, 30), expires_at=until)
    assert next_fires(daily, utc("2026-11-26T12:00")) == (utc("2026-11-27T01:30"), until)
    assert last_fire(daily, utc("2027-01-01T00:00")) == until
    assert next_fire(daily, until) is None


def test_a_time_in_a_gap_runs_at_the_first_valid_instant_and_one_in_an_overlap_once() -> None:
    assert shown_in(BERLIN, *next_fires(NIGHTLY, utc("2026-03-27T12:00"), 4)) == [
        "Sat 28 02:30:00",
        "Sun 29 03:00:00",  # 02:00 to 03:00 was left out
        "Mon 30 02:30:00",
        "Tue 31 02:30:00",
    ]
    assert next_fires(NIGHTLY, utc("2026-10-24T12:00"), 2) == (utc("2026-10-25T00:30"), utc("2026-10-26T01:30"))


def test_times_in_one_gap_run_once_together() -> None:
    often = Schedule(ScheduleKind.CRON, BERLIN, cron="0 */20 * * * ?")
    assert shown_in(BERLIN, *next_fires(often, utc("2026-03-29T00:30"), 4)) == [
        "Sun 29 01:40:00",
        "Sun 29 03:00:00",
        "Sun 29 03:20:00",
        "Sun 29 03:40:00",
    ]


def changes(zone: ZoneInfo, year: int) -> list[datetime]:
    """The instants in a year at which a zone's offset changes."""
    found, at = list[datetime](), datetime(year, 1, 1, tzinfo=UTC)
    while at.year == year:
        after = at + timedelta(days=1)
        if at.astimezone(zone).utcoffset() != after.astimezone(zone).utcoffset():
            low, high = at, after
            while high - low > timedelta(seconds=1):
                middle = low + timedelta(seconds=(high - low).total_seconds() // 2)
                same = middle.astimezone(zone).utcoffset() == at.astimezone(zone).utcoffset()
                low, high = (middle, high) if same else (low, middle)
            found.append(high)
        at = after
    return found


@pytest.mark.parametrize("year", [THIS_YEAR, THIS_YEAR + 1])
def test_in_every_zone_a_gap_runs_once_at_the_first_valid_instant_and_an_overlap_once(year: int) -> None:
    seen = {"gaps": 0, "overlaps": 0}
    for name in sorted(available_timezones()):
        zone = zone_of(name)
        for change in changes(zone, year):
            second = timedelta(seconds=1)
            before, after = (change - second).astimezone(zone).utcoffset(), change.astimezone(zone).utcoffset()
            assert before is not None
            assert after is not None
            shift = after - before
            first = (change + before).replace(tzinfo=None)  # what the clock would have shown
            last = first + abs(shift) - second
            if shift < timedelta(0):
                first, last = first + shift, last + shift
            middle = first + (last - first) // 2
            for shown in (first, middle.replace(microsecond=0), last):
                schedule = Schedule(ScheduleKind.PERIODIC, name, time=shown.time())
                noon = change - timedelta(hours=20)
                ran = [f for f in next_fires(schedule, noon, 4) if abs(f - change) < timedelta(hours=6)]
                if shift > timedelta(0):
                    assert ran == [change], (name, shown)
                else:
                    assert ran == [(shown - before).replace(tzinfo=UTC)], (name, shown)
                    assert local(ran[0], zone).fold == 0
            seen["gaps" if shift > timedelta(0) else "overlaps"] += 1
    assert seen["gaps"] > 100
    assert seen["overlaps"] > 100


ZONES = ("UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "America/St_Johns")
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 1)).map(lambda m: m.replace(tzinfo=UTC))
NEAR_A_CHANGE = st.sampled_from([c for zone in ZONES for c in changes(zone_of(zone), 2026)]).flatmap(
    lambda change: st.integers(-10_000, 10_000).map(lambda seconds: change + timedelta(seconds=seconds))
)
SCHEDULES = st.builds(
    Schedule,
    kind=st.just(ScheduleKind.CRON),
    time_zone=st.sampled_from(ZONES),
    cron=st.sampled_from(
        ["0 30 2 * * ?", "0 */7 * * * ?", "0 15,45 0-3 ? * SUN", "0 0 * * * ?", "0 59 1 ? * *", "0 0,30 2 L * ?"]
    ),
)


def brute_force(schedule: Schedule, after: datetime, until: datetime) -> list[datetime]:
    """Walk over whole minutes: a minute fires if a clock shows a matching time for the first time, or has just left one out."""
    zone, cron = zone_of(schedule.time_zone), Schedule(ScheduleKind.CRON, "UTC", cron=schedule.cron)

    def holds(shown: datetime) -> bool:
        at = shown.replace(tzinfo=UTC, fold=0)
        return next_fire(cron, at - timedelta(seconds=1)) == at

    found, minute = list[datetime](), timedelta(minutes=1)
    at = after.replace(second=0, microsecond=0) + minute
    while at <= until:
        shown, expected = local(at, zone), local(at - minute, zone) + minute
        left_out = list[datetime]()
        if shown.replace(fold=0) > expected.replace(fold=0):
            gap = expected.replace(fold=0)
            while gap < shown.replace(fold=0):
                left_out.append(gap)
                gap += minute
        if (not shown.fold and holds(shown)) or any(holds(t) for t in left_out):
            found.append(at)
        at += minute
    return found


@settings(max_examples=examples(25), deadline=None)
@given(schedule=SCHEDULES, after=st.one_of(MOMENTS, NEAR_A_CHANGE))
def test_it_fires_when_a_walk_over_the_minutes_says_so(schedule: Schedule, after: datetime) -> None:
    until = after + timedelta(hours=8)
    expected = brute_force(schedule, after, until)
    assert [f for f in next_fires(schedule, after, 200) if f <= until] == expected
    if expected:
        assert last_fire(schedule, until) == expected[-1]


@settings(max_examples=examples(100), deadline=None)
@given(schedule=SCHEDULES, after=st.one_of(MOMENTS, NEAR_A_CHANGE))
def test_looking_forwards_and_backwards_agree(schedule: Schedule, after: datetime) -> None:
    ahead = next_fire(schedule, after)
    assert ahead is not None
    assert ahead > after
    assert last_fire(schedule, ahead) == ahead
    before = last_fire(schedule, ahead - timedelta(microseconds=1))
    assert before is not None
    assert before <= after
    assert next_fire(schedule, before) == ahead


@settings(max_examples=examples(100), deadline=None)
@given(zone=st.sampled_from(ZONES), at=st.one_of(MOMENTS, NEAR_A_CHANGE))
def test_an_instant_is_when_a_clock_first_shows_it(zone: str, at: datetime) -> None:
    shown = local(at, zone_of(zone))
    first = instant(shown.replace(fold=0), zone_of(zone))
    assert first == at if not shown.fold else first < at
    assert local(first, zone_of(zone)).replace(fold=0) == shown.replace(fold=0)


DAILY = Schedule(ScheduleKind.PERIODIC, "UTC", time=time(2, 0))


def test_nothing_is_due_before_its_time() -> None:
    assert due(DAILY, SKIP, utc("2026-11-26T02:00"), utc("2026-11-27T01:59:59")) is None


@pytest.mark.parametrize("policy", MissedRunPolicy)
def test_a_run_is_due_at_its_time_and_a_little_later(policy: MissedRunPolicy) -> None:
    for late in (timedelta(0), timedelta(seconds=3), LATE):
        found = due(DAILY, policy, utc("2026-11-26T02:00"), utc("2026-11-27T02:00") + late)
        assert found is not None
        assert (found.fire_at, found.missed, found.until) == (utc("2026-11-27T02:00"), None, utc("2026-11-27T02:00"))


def test_missed_runs_are_skipped_or_made_up_for_once() -> None:
    settled, now = utc("2026-11-24T02:00"), utc("2026-11-27T09:00")
    skipped, made_up = due(DAILY, SKIP, settled, now), due(DAILY, RUN_ONCE, settled, now)
    assert skipped is not None
    assert made_up is not None
    assert skipped.fire_at is None
    assert made_up.fire_at == skipped.until == made_up.until == utc("2026-11-27T02:00")
    assert skipped.missed == made_up.missed
    assert str(skipped.missed) == "3 runs from 2026-11-25 02:00:00 to 2026-11-27 02:00:00 UTC were missed"
    assert due(DAILY, SKIP, skipped.until, now) is None


@pytest.mark.parametrize("policy", MissedRunPolicy)
def test_back_just_in_time_the_latest_run_is_run_and_those_before_it_are_not(policy: MissedRunPolicy) -> None:
    found = due(DAILY, policy, utc("2026-11-24T02:00"), utc("2026-11-27T02:00:20"))
    assert found is not None
    assert found.fire_at == utc("2026-11-27T02:00")
    assert found.missed is not None
    assert (found.missed.count, found.missed.last) == (2, utc("2026-11-26T02:00"))


def test_a_clock_that_went_back_runs_nothing_twice() -> None:
    assert due(DAILY, RUN_ONCE, utc("2026-11-27T02:00"), utc("2026-11-26T02:00:10")) is None
    assert due(DAILY, RUN_ONCE, utc("2026-11-27T02:00"), utc("2026-11-27T02:00:10")) is None


def test_what_was_missed_before_the_expiry_is_missed_and_nothing_after_it() -> None:
    ended = Schedule(ScheduleKind.PERIODIC, "UTC", time=time(2, 0), expires_at=utc("2026-11-25T12:00"))
    found = due(ended, SKIP, utc("2026-11-24T02:00"), utc("2026-12-24T09:00"))
    assert found is not None
    assert found.missed is not None
    assert (found.missed.count, found.until) == (1, utc("2026-11-25T02:00"))
    assert str(found.missed) == "the run of 2026-11-25 02:00:00 UTC was missed"


def test_missed_runs_of_a_month_of_seconds_are_counted_up_to_a_limit() -> None:
    every_second = Schedule(ScheduleKind.CRON, "UTC", cron="* * * * * ?")
    found = due(every_second, SKIP, utc("2026-10-26T02:00"), utc("2026-11-26T02:00"))
    assert found is not None
    assert found.missed is not None
    assert found.missed.count == MAX_COUNTED
    assert str(found.missed).startswith("at least 1000 runs from 2026-10-26 02:00:01 to 2026-11-26 01:59:59 UTC")


@settings(max_examples=100, deadline=None)
@given(
    schedule=SCHEDULES,
    policy=st.sampled_from(MissedRunPolicy),
    start=MOMENTS,
    steps=st.lists(st.integers(-7200, 20_000), min_size=1, max_size=12),
)
def test_however_the_clock_jumps_each_run_is_dealt_with_once(
    schedule: Schedule, policy: MissedRunPolicy, start: datetime, steps: list[int]
) -> None:
    settled, now, ran, passed = start, start, list[datetime](), 0
    for step in steps:
        now += timedelta(seconds=step)
        while (found := due(schedule, policy, settled, now)) is not None:
            assert settled < found.until <= now
            missed = found.missed
            if missed is not None:
                passed += missed.count
                assert settled < missed.first <= missed.last <= found.until
            if found.fire_at is not None:
                ran.append(found.fire_at)
                passed += missed is None or missed.last < found.fire_at
            settled = found.until
    assert len(set(ran)) == len(ran)
    assert passed == sum(at <= settled for at in next_fires(schedule, start, passed + 1))


def test_the_shortest_time_between_runs_is_known() -> None:
    assert shortest_gap(DAILY, utc("2026-11-26T00:00")) == timedelta(days=1)
    assert shortest_gap(Schedule(ScheduleKind.CRON, "UTC", cron="0 0,5 3 * * ?"), utc("2026-11-26T00:00")) == timedelta(
        minutes=5
    )
    assert shortest_gap(Schedule(ScheduleKind.ONCE, "UTC", date=date(2027, 1, 1)), utc("2026-11-26T00:00")) is None


def test_a_zone_is_known_or_the_refusal_names_those_like_it() -> None:
    assert wrong_with_zone("Asia/Hong_Kong") is None
    assert "did you mean" in (wrong := wrong_with_zone("Asia/HongKong") or "")
    assert "Asia/Hong_Kong" in wrong
    assert wrong_with_zone("../../etc/passwd") is not None
    assert wrong_with_zone("") is not None
