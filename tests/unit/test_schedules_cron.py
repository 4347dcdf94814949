"""The cron dialect (SEMANTICS §1, Schedule): Quartz' six fields, 1 = SUN, exactly one of the two days is `?`."""

from __future__ import annotations

import calendar
import csv
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidArgument
from controller.schedules.cron import parse
from controller.schedules.model import Schedule, ScheduleKind
from controller.schedules.next_fire import next_fire
from tests.examples import examples

DATA = Path(__file__).resolve().parents[2].parent / "shared/data/cron"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("0 30 2 ? * MON-FRI", "2026-11-27T02:30:00", "2026-11-30T02:30:00"),
        ("0 30 2 ? * 2-6", "2026-11-27T02:30:00", "2026-11-30T02:30:00"),
        ("0 0 0 ? * 1", "2026-11-26T00:00:00", "2026-11-29T00:00:00"),
        ("0 0 0 ? * sun", "2026-11-26T00:00:00", "2026-11-29T00:00:00"),
        ("0 0 0 ? * 7", "2026-11-26T00:00:00", "2026-11-28T00:00:00"),
        ("0 0 0 ? * L", "2026-11-26T00:00:00", "2026-11-28T00:00:00"),
        ("0 0 0 ? * 6L", "2026-11-01T00:00:00", "2026-11-27T00:00:00"),
        ("0 0 0 ? * FRIL", "2026-11-27T00:00:00", "2026-12-25T00:00:00"),
        ("0 0 0 ? * 6#3", "2026-11-01T00:00:00", "2026-11-20T00:00:00"),
        ("0 0 0 ? * FRI#5", "2026-11-01T00:00:00", "2027-01-29T00:00:00"),
        ("0 0 0 ? * FRI-MON", "2026-11-24T00:00:00", "2026-11-27T00:00:00"),
        ("0 0 0 L * ?", "2027-02-01T00:00:00", "2027-02-28T00:00:00"),
        ("0 0 0 L 2 ?", "2027-03-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 0 LW * ?", "2027-02-01T00:00:00", "2027-02-26T00:00:00"),
        ("0 0 22-2/2 1 JAN ?", "2027-01-01T00:00:00", "2027-01-01T02:00:00"),
        ("5/20 10 3 * * ?", "2026-11-26T03:10:05", "2026-11-26T03:10:25"),
        ("0 */15 * ? * *", "2026-11-26T03:10:05", "2026-11-26T03:15:00"),
        ("30 2 ? * 2", "2026-11-26T00:00:00", "2026-11-30T02:30:00"),
        ("59 59 23 29 2 ?", "2026-11-26T00:00:00", "2028-02-29T23:59:59"),
    ],
)
def test_the_next_time_is_the_first_that_matches(expression: str, after: str, expected: str) -> None:
    assert parse(expression).after(at(after)) == at(expected)
    assert parse(expression).at_or_before(at(expected)) == at(expected)


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "has 0 fields, allowed are 6: seconds minutes hours day-of-month month day-of-week, or 5 without seconds"),
        ("0 0 0 ? * MON 2027", "has 7 fields, .* a year is no part of it, let the rule expire instead"),
        ("60 0 0 ? * MON", "seconds, field 1 of .*: 60 is out of range, allowed are 0 to 59"),
        ("0 61 0 ? * MON", "minutes, field 2 of .*: 61 is out of range, allowed are 0 to 59"),
        ("0 0 24 ? * MON", "hours, field 3 of .*: 24 is out of range, allowed are 0 to 23"),
        ("0 24 ? * MON", "hours, field 2 of .*: 24 is out of range, allowed are 0 to 23"),
        ("0 0 0 0 * ?", r"day-of-month, field 4 of .*: 0 is out of range, allowed are 1 to 31, L, LW, \?"),
        ("0 0 0 1 13 ?", "month, field 5 of .*: 13 is out of range, allowed are 1 to 12 or JAN to DEC"),
        ("0 0 0 ? * 0", r"day-of-week, field 6 of .*: 0 is out of range, allowed are 1 to 7 \(1 = SUN\)"),
        ("0 0 0 ? * 8", "day-of-week, field 6 of .*: 8 is out of range"),
        ("0 0 0 ? * friday", "day-of-week, field 6 of .*: 'FRIDAY' is not a value"),
        ("0 0 0 ? * FRI#6", "FRI#6: a month has 1 to 5 of a day"),
        ("0 0 ? 1 * ?", r"hours, field 3 of .*: \? is for the two days only"),
        (
            "0 0 0 * * *",
            r"exactly one of day-of-month \(field 4\) and day-of-week \(field 6\) .* must be \?, neither is",
        ),
        ("0 0 0 ? * ?", r"must be \?, both are"),
        ("0 2 * * 1", r"exactly one of day-of-month \(field 3\) .* neither is, .*days of the week count from 1 = SUN"),
        ("0 0/0 0 ? * *", "0/0: the step '0' is out of range, allowed 1 to 60"),
        ("0 0/61 0 ? * *", "the step '61' is out of range"),
        ("0 1,,2 0 ? * *", "a value is missing"),
        ("0 /5 0 ? * *", "a value is missing"),
        ("0 1-2-3 0 ? * *", "'2-3' is not a value"),
        ("0 \u0663 0 ? * *", "is not a value"),
        ("0 0 0 15W * ?", "15W is not known here, allowed are 1 to 31, L, LW"),
        ("0 0 0 L-3 * ?", "L-3 is not known here"),
        ("0 0 0 30 2 ?", "day-of-month, field 4 of .*: none of its months has such a day"),
        ("0 0 0 31 4,6,9,11 ?", "none of its months has such a day"),
        ("0 " * 101, "characters, allowed are 200"),
    ],
)
def test_a_refusal_points_at_the_field_and_shows_what_is_allowed(expression: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says) as refused:
        parse(expression)
    assert {v.field for v in refused.value.violations} == {"cron"}


def test_everything_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse("61 61 25 32 13 8")
    assert len(refused.value.violations) == 7  # each field, and that no day is ?


# A second reading of the dialect, written without looking at the first: one value at a time, for a given moment.

_NAMES = {name: n for n, name in enumerate(["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"], 1)} | {
    name: n
    for n, name in enumerate(["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"], 1)
}


def _holds(term: str, value: int, least: int, most: int) -> bool:
    spread, _, step = term.partition("/")
    first, dash, last = spread.partition("-")
    low = least if spread == "*" else _NAMES.get(first) or int(first)
    if spread == "*":
        high = most
    elif dash:
        high = _NAMES.get(last) or int(last)
    else:
        high = most if step else low
    values = list(range(low, high + 1)) if low <= high else [*range(low, most + 1), *range(least, high + 1)]
    return value in values[:: int(step or 1)]


def _day_of_month_holds(term: str, day: date) -> bool:
    last = calendar.monthrange(day.year, day.month)[1]
    if term == "L":
        return day.day == last
    if term == "LW":
        working = [d for d in range(1, last + 1) if date(day.year, day.month, d).weekday() < 5]
        return day.day == working[-1]
    return _holds(term, day.day, 1, 31)


def _day_of_week_holds(term: str, day: date) -> bool:
    number = day.isoweekday() % 7 + 1
    if term == "L":
        return number == 7
    if term.endswith("L"):
        return number == (_NAMES.get(term[:-1]) or int(term[:-1])) and (day + timedelta(days=7)).month != day.month
    if "#" in term:
        name, nth = term.split("#")
        return number == (_NAMES.get(name) or int(name)) and (day.day - 1) // 7 + 1 == int(nth)
    return _holds(term, number, 1, 7)


def matches(expression: str, shown: datetime) -> bool:
    parts = expression.split()
    second, minute, hour, day, month, weekday = parts if len(parts) == 6 else ["0", *parts]
    return (
        any(_holds(t, shown.second, 0, 59) for t in second.split(","))
        and any(_holds(t, shown.minute, 0, 59) for t in minute.split(","))
        and any(_holds(t, shown.hour, 0, 23) for t in hour.split(","))
        and any(_holds(t, shown.month, 1, 12) for t in month.split(","))
        and (day == "?" or any(_day_of_month_holds(t, shown.date()) for t in day.split(",")))
        and (weekday == "?" or any(_day_of_week_holds(t, shown.date()) for t in weekday.split(",")))
    )


def _numbers(least: int, most: int) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    size = most - least + 1
    term = st.one_of(
        number.map(str),
        st.tuples(number, number).map("{0[0]}-{0[1]}".format),
        st.tuples(number, number, st.integers(1, size)).map("{0[0]}-{0[1]}/{0[2]}".format),
        st.tuples(number, st.integers(1, size)).map("{0[0]}/{0[1]}".format),
        st.integers(1, size).map("*/{}".format),
    )
    return st.one_of(st.just("*"), st.lists(term, min_size=1, max_size=3).map(",".join))


_MONTHS = st.one_of(_numbers(1, 12), st.sampled_from(["JAN-MAR", "FEB", "OCT-FEB/2"]))
_DAYS = st.one_of(_numbers(1, 31), st.sampled_from(["L", "LW", "1,L", "15,LW"]))
_WEEKDAYS = st.one_of(
    _numbers(1, 7),
    st.sampled_from(["L", "FRIL", "1L", "7#1", "MON#5", "2#2,6#4", "SAT-MON", "SUN,WED"]),
)
EXPRESSIONS = st.one_of(
    st.tuples(_numbers(0, 59), _numbers(0, 59), _numbers(0, 23), _DAYS, _MONTHS, st.just("?")),
    st.tuples(_numbers(0, 59), _numbers(0, 59), _numbers(0, 23), st.just("?"), _MONTHS, _WEEKDAYS),
).map(" ".join)
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2029, 1, 1)).map(lambda moment: moment.replace(microsecond=0))


@settings(max_examples=examples(60), deadline=None)
@given(expression=EXPRESSIONS, moment=MOMENTS)
def test_no_second_between_a_moment_and_the_next_time_matches(expression: str, moment: datetime) -> None:
    try:
        found = parse(expression).after(moment)
    except InvalidArgument as never:
        assert "none of its months has such a day" in str(never)  # noqa: PT017 - the only refusal of a well-formed expression
        return
    assert found is not None
    assert found > moment
    assert matches(expression, found)
    assert parse(expression).at_or_before(found) == found
    assert parse(expression).at_or_before(found - timedelta(seconds=1)) in (
        None,
        parse(expression).at_or_before(moment),
    )
    last = min(found, moment + timedelta(minutes=10))
    walked = moment + timedelta(seconds=1)
    while walked < last:  # every second at first,
        assert not matches(expression, walked)
        walked += timedelta(seconds=1)
    walked = walked.replace(second=0)
    one_second = expression.replace(expression.split()[0], "*", 1)
    for _ in range(1500):  # then every minute of a day, with any second
        walked += timedelta(minutes=1)
        if walked + timedelta(minutes=1) > found:
            break
        assert not matches(one_second, walked)
    any_time = " ".join(["*", "*", "*", *expression.split()[3:]])
    day = walked.date() + timedelta(days=1)
    while day < found.date():  # then every day, at any time
        assert not matches(any_time, datetime.combine(day, datetime.min.time()))
        day += timedelta(days=1)


@settings(max_examples=300, deadline=None)
@given(expression=st.text(alphabet="0123456789*?/,-#LWMONFRI ", max_size=40))
def test_any_text_is_read_or_refused(expression: str) -> None:
    try:
        assert parse(expression).after(datetime(2026, 1, 1)) is not None
    except InvalidArgument as refused:
        assert str(refused)  # noqa: PT017


# What other implementations say, where their dialect can be written in ours.


def rows(name: str) -> list[dict[str, str]]:
    path = DATA / name
    if not path.exists():
        pytest.skip("the tables are not here")
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def in_our_dialect(expression: str) -> str | None:
    """The same expression as we write it; None when it cannot be said or means something else here.

    One `*` of the two days becomes `?`, which is the same thing. Left out: seven fields (a year), @words, days joined by OR (two
    restricted days: `?` forbids it), numbers of weekdays (they count from 0 or 1 = MON there), nW, long names.
    """
    parts = expression.upper().split()
    if len(parts) not in (5, 6):
        return None
    *before, day, month, weekday = parts
    if "?" not in (day, weekday):
        if weekday == "*":
            weekday = "?"
        elif day == "*":
            day = "?"
        else:
            return None
    names = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "?", "*"}
    if "W" in day.replace("LW", "") or not set(weekday.replace("-", ",").split(",")) <= names:
        return None
    return " ".join([*before, day, month, weekday])


def test_the_rows_of_cronexpr_hold_where_its_dialect_is_ours() -> None:
    asked, left_out = 0, set[str]()
    for row in rows("cronexpr_next.tsv"):
        # its sixth and seventh field are a year and, before all others, seconds
        expression = in_our_dialect(row["expr"]) if len(row["expr"].split()) == 5 else None
        if expression is None:
            left_out.add(row["expr"])
            continue
        expected = row["expected"].split(maxsplit=1)[1] if row["expected"][0].isalpha() else row["expected"]
        assert parse(expression).after(at(row["from"])) == at(expected), row
        asked += 1
    assert asked == 34
    assert left_out == {
        "* * * * * * *",  # a year
        "*/5 * * * * * *",
        "0 0 * 04 * *",
        "0 0 * * friday",  # a long name
        "0 0 * * 6,7",  # numbers of weekdays
        "0 0 * * 5-7",
        "0 0 * * 6#5",
        "0 0 14W * *",  # nW
        "0 0 30W * *",
    }


def moment_of(text: str) -> datetime:
    for form in ("%a %b %d %H:%M %Y", "%a %b %d %H:%M:%S %Y"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")


def test_the_rows_of_robfig_activation_hold_where_its_dialect_is_ours() -> None:
    asked, left_out = 0, set[str]()
    for row in rows("robfig_activation.tsv"):
        expression = in_our_dialect(row["spec"])
        if expression is None:
            left_out.add(row["spec"])
            continue
        moment = moment_of(row["time"]).replace(tzinfo=None)
        found = parse(expression).after(moment - timedelta(seconds=1))
        assert (found == moment) == (row["expected"] == "true"), row
        asked += 1
    assert asked >= 15
    # words, and two restricted days, which robfig joins by OR
    assert {spec for spec in left_out if not spec.startswith("@")} == {
        "* * 1,15 * Sun",
        "* * */10 * Sun",
        "* * */2 * Sun",
    }


OTHERWISE = {
    # robfig leaves a time in a gap out; here it runs at the first valid instant.
    ("2012-03-11T00:00:00-0500", "0 30 2 11 MAR ?"): "2012-03-11T03:00:00-0400",
    ("2012-03-11T00:00:00-0500", "0 0 2 * * ?"): "2012-03-11T03:00:00-0400",
    # robfig runs a time in an overlap twice, or in the second hour; here it runs once, in the first.
    ("2012-11-04T01:45:00-0400", "0 30 1 04 NOV ?"): "2013-11-04T01:30:00-0500",
    ("2012-11-04T01:00:00-0400", "0 0 * * * ?"): "2012-11-04T02:00:00-0500",
    ("2012-11-04T01:00:00-0400", "0 0 1 * * ?"): "2012-11-05T01:00:00-0500",
}


def test_the_rows_of_robfig_next_hold_where_its_dialect_is_ours() -> None:
    asked, left_out, otherwise = 0, set[str](), set[tuple[str, str]]()
    for row in rows("robfig_next.tsv"):
        spec, time = row["spec"], row["time"]
        zone = "UTC"
        for text in (spec, time):
            if text.startswith(("TZ=", "CRON_TZ=")):
                zone = text.split()[0].partition("=")[2]
        spec, time = (text.split(maxsplit=1)[1] if "TZ=" in text else text for text in (spec, time))
        expression = in_our_dialect(spec)
        if expression is None:
            left_out.add(spec)
            continue
        if not row["expected"]:
            with pytest.raises(InvalidArgument, match="none of its months has such a day"):
                parse(expression)
            continue
        schedule = Schedule(ScheduleKind.CRON, zone, cron=expression)
        found, expected = next_fire(schedule, moment_of(time)), moment_of(row["expected"])
        asked += 1
        if found != expected:
            otherwise.add((time, expression))
            assert found == moment_of(OTHERWISE[time, expression]), row
            assert ZoneInfo(zone).utcoffset(datetime(2012, 1, 1)) != ZoneInfo(zone).utcoffset(datetime(2012, 7, 1))
    assert asked >= 45
    assert otherwise == set(OTHERWISE)
    assert left_out == {  # two restricted days, joined by OR
        "0 0 0 */5 Apr,Aug,Oct Mon",
        "0 0 0 */5 Oct Mon",
        "0 0 0 * Feb Mon/2",  # a step from a weekday by its robfig number
    }
