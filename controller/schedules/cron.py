"""Cron expressions in the model's dialect, which is Quartz' (SEMANTICS §1, Schedule).

Six fields: seconds minutes hours day-of-month month day-of-week; five mean seconds = 0. `*`, lists `1,15`, ranges `9-17`
(`FRI-MON` goes round), steps `*/15`, `5/15` (from 5 to the end) and `8-18/2`; months JAN-DEC, days 1-7 or SUN-SAT with 1 = SUN;
exactly one of the two days is `?`. Day-of-month also takes `L` (the last day) and `LW` (the last working day), day-of-week `L` (SAT),
`6L` or `FRIL` (the last Friday) and `6#3` or `FRI#3` (the third Friday).

cronsim does the arithmetic, over plain local times and over an expression in which every value stands by itself; its own dialect (0 = SUN,
no `?`, steps inside wrapped ranges) and its own treatment of zones are never seen. cronsim rather than croniter: it knows LW, it depends on
nothing, it is typed, it goes backwards too, and it says when an expression can never match.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from cronsim import CronSim, CronSimError

from common.errors import InvalidArgument, Violation

MAX_LENGTH: Final = 200
EXAMPLES: Final = "0 30 2 ? * MON-FRI or 0 0 3 1 * ?"
_FIELD: Final = "cron"
_A_FRIDAY: Final = datetime(1999, 12, 31)  # noqa: DTZ001 - local times have no zone here


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()
    forms: str = ""

    @property
    def allowed(self) -> str:
        """What a refusal shows."""
        names = f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
        return f"{self.least} to {self.most}{self.forms}{names}, lists 1,2, ranges 1-5, steps */2"


_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_DAY_OF_MONTH: Final = _Field("day-of-month", 1, 31, forms=", L, LW, ?")
_DAY_OF_WEEK: Final = _Field("day-of-week", 1, 7, _DAYS, " (1 = SUN), 6L, 6#3, ?")
_FIELDS: Final = (
    _Field("seconds", 0, 59),
    _Field("minutes", 0, 59),
    _Field("hours", 0, 23),
    _DAY_OF_MONTH,
    _Field("month", 1, 12, _MONTHS),
    _DAY_OF_WEEK,
)


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression that was understood. Its times are local ones, without a zone."""

    text: str
    plain: str
    """The same with every value written out, as cronsim reads it."""

    def after(self, shown: datetime) -> datetime | None:
        """Return the first time after this one that matches; None when there is none within 50 years."""
        return _next(CronSim(self.plain, shown))

    def at_or_before(self, shown: datetime) -> datetime | None:
        """Return the last time that matches and is not after this one; None when there is none within 50 years."""
        return _next(CronSim(self.plain, shown.replace(microsecond=0) + timedelta(seconds=1), reverse=True))


def _next(times: CronSim) -> datetime | None:
    try:
        return next(times, None)
    except (OverflowError, ValueError):  # the calendar ends
        return None


@lru_cache(maxsize=1024)
def parse(text: str) -> Cron:
    """Read an expression; raise InvalidArgument that names each field that is wrong and shows what is allowed."""
    parts = text.upper().split()
    if len(text) > MAX_LENGTH:
        raise InvalidArgument.of(_FIELD, f"has {len(text)} characters, allowed are {MAX_LENGTH}")
    if len(parts) not in (5, 6):
        year = "; a year is no part of it, let the rule expire instead" if len(parts) == 7 else ""
        raise InvalidArgument.of(
            _FIELD,
            f"{text!r} has {len(parts)} fields, allowed are 6: seconds minutes hours day-of-month month day-of-week, "
            f"or 5 without seconds, e.g. {EXAMPLES}{year}",
        )
    fields = _FIELDS[-len(parts) :]
    wrong, plain = list[Violation](), ["0"] * (6 - len(parts))
    for place, (field, part) in enumerate(zip(fields, parts, strict=True), start=1):
        try:
            plain.append(_plain(field, part))
        except ValueError as error:
            where = f"{field.name}, field {place} of {text!r}"
            wrong.append(Violation(_FIELD, f"{where}: {error}, allowed are {field.allowed}"))
    if (parts[-3] == "?") == (parts[-1] == "?"):
        both = "both are" if parts[-1] == "?" else "neither is"
        wrong.append(
            Violation(
                _FIELD,
                f"exactly one of day-of-month (field {len(parts) - 2}) and day-of-week (field {len(parts)}) of {text!r} must "
                f"be ?, {both}, e.g. {EXAMPLES}; days of the week count from 1 = SUN",
            )
        )
    if wrong:
        raise InvalidArgument(tuple(wrong))
    cron = Cron(text, " ".join(plain))
    if not _ever(cron):
        raise InvalidArgument.of(
            _FIELD, f"day-of-month, field {len(parts) - 2} of {text!r}: none of its months has such a day"
        )
    return cron


def _ever(cron: Cron) -> bool:
    try:
        return cron.after(_A_FRIDAY) is not None
    except CronSimError:
        return False


def _plain(field: _Field, part: str) -> str:
    """Return one field as cronsim reads it; raise ValueError that says what is wrong."""
    if part == "?":
        if field not in (_DAY_OF_MONTH, _DAY_OF_WEEK):
            raise ValueError("? is for the two days only")
        return "*"
    found, special = set[int](), list[str]()
    for term in part.split(","):
        if (kept := _special(field, term)) is not None:
            special.append(kept)
        else:
            found |= set(_values(field, term))
    if len(found) == field.most - field.least + 1:
        return "*"
    return ",".join([*(str(_number(field, n)) for n in sorted(found)), *special])


def _number(field: _Field, value: int) -> int:
    return value - 1 if field is _DAY_OF_WEEK else value


def _special(field: _Field, term: str) -> str | None:
    """Return what is no plain number or range as cronsim reads it, None for all that is."""
    if field is _DAY_OF_MONTH:
        if term in ("L", "LW"):
            return term
        if term.startswith("L-") or (term.endswith("W") and term[:-1].isdigit()):
            raise ValueError(f"{term} is not known here")
    if field is _DAY_OF_WEEK:
        if term == "L":
            return str(_number(field, field.most))
        if term.endswith("L"):
            return f"{_number(field, _value(field, term[:-1]))}L"
        day, nth, which = term.partition("#")
        if nth:
            if which not in ("1", "2", "3", "4", "5"):
                raise ValueError(f"{term}: a month has 1 to 5 of a day")
            return f"{_number(field, _value(field, day))}#{which}"
    return None


def _values(field: _Field, term: str) -> Iterator[int]:
    spread, step, every = term.partition("/")
    size = field.most - field.least + 1
    if step and not (every.isascii() and every.isdigit() and 1 <= int(every[:4]) <= size):
        raise ValueError(f"{term}: the step {every!r} is out of range, allowed 1 to {size}")
    first, dash, last = spread.partition("-")
    if spread == "*":
        begin, length = field.least, size
    else:
        begin = _value(field, first)
        end = _value(field, last) if dash else field.most if step else begin
        length = (end - begin) % size + 1  # the end may lie before the beginning: FRI-MON
    for place in range(0, length, int(every) if step else 1):
        yield (begin - field.least + place) % size + field.least


def _value(field: _Field, text: str) -> int:
    if text in field.names:
        return field.names.index(text) + field.least
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not a value" if text else "a value is missing")
    if len(text) > 4 or not field.least <= int(text) <= field.most:
        raise ValueError(f"{text} is out of range")
    return int(text)
