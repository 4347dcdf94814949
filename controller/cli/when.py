"""Reading and saying when: weekdays, times of day, maintenance windows. Which zones and times there are is for the controller to say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from controller.cli.command import Misuse
from controller.cli.words import word

if TYPE_CHECKING:
    from common.pb.v1 import ticket_pb2, types_pb2

WEEKDAYS: Final = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
_SPAN: Final = re.compile(r"([\d:]+)\s*-\s*([\d:]+)", re.ASCII)
_FORM: Final = "write it like 'Sat,Sun 22:00-04:00 Europe/Berlin', 'Mon-Fri 01:00-05:00' or 'daily 02:00-04:00 UTC'"


def weekdays_of(option: str, text: str) -> list[types_pb2.Weekday.ValueType]:
    """Read weekdays, "Mon-Fri" or "sat,sun"; "daily" and nothing are every day, which is an empty list."""
    from common.pb.v1 import types_pb2

    if text.strip().lower() in ("", "daily"):
        return []
    chosen = dict[int, None]()
    for term in text.split(","):
        first, dash, last = term.strip().partition("-")
        begin = _weekday(option, first)
        end = _weekday(option, last) if dash else begin
        chosen |= dict.fromkeys((begin + n) % 7 for n in range((end - begin) % 7 + 1))
    return [types_pb2.Weekday.Value(f"WEEKDAY_{WEEKDAYS[n]}") for n in sorted(chosen)]


def _weekday(option: str, text: str) -> int:
    found = [n for n, day in enumerate(WEEKDAYS) if len(text) >= 3 and day.startswith(text.upper())]
    if not found:
        raise Misuse(f"{option}: {text!r} is not a weekday, write Mon, Tue, ... Sun, Mon-Fri, or daily")
    return found[0]


def window_of(option: str, text: str) -> ticket_pb2.MaintenanceWindow:
    """Read a maintenance window, "Sat,Sun 22:00-04:00 Europe/Berlin": weekdays if not daily, times, zone if not UTC."""
    from common.pb.v1 import ticket_pb2

    if (span := _SPAN.search(text)) is None:
        raise Misuse(f"{option}: {text!r} has no times, {_FORM}")
    zone = text[span.end() :].strip()
    if len(zone.split()) > 1:
        raise Misuse(f"{option}: {text!r} has more than a zone after its times, {_FORM}")
    opens, closes = span.groups()
    return ticket_pb2.MaintenanceWindow(
        weekdays=weekdays_of(option, text[: span.start()]),
        opens=opens,
        closes="00:00" if closes == "24:00" else closes,
        time_zone=zone,
    )


def window_text(window: ticket_pb2.MaintenanceWindow) -> str:
    """Say a maintenance window as `window_of` reads it."""
    return f"{weekdays_text(window.weekdays)} {window.opens}-{window.closes} {window.time_zone}".rstrip()


def weekdays_text(weekdays: Iterable[int]) -> str:
    """Say weekdays, "Sat,Sun"; none of them is "daily"."""
    from common.pb.v1 import types_pb2

    return ",".join(word(types_pb2.Weekday, day)[:3].title() for day in weekdays) or "daily"


def local_text(at: datetime, zone: str) -> str:
    """Say an instant as a wall clock in a zone shows it, "Fri 2026-11-27 02:30:00 CET"; in UTC where the zone is not known."""
    try:
        shown = at.astimezone(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError):
        shown = at
    return f"{shown:%a %Y-%m-%d %H:%M:%S %Z}"
