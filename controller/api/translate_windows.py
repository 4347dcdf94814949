"""Maintenance windows and times of day: messages to records and back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import time
from typing import Final

from common.pb.v1 import ticket_pb2
from controller.api.checks import Checks
from controller.api.translate import WEEKDAY
from controller.schedules.local_time import DEFAULT_ZONE
from controller.schedules.windows import MAX_WINDOWS, MaintenanceWindow

_TIME: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?", re.ASCII)


def windows(sent: Iterable[ticket_pb2.MaintenanceWindow], checks: Checks) -> tuple[MaintenanceWindow, ...]:
    """Read a ticket's maintenance windows; what is wrong is noted."""
    read = list[MaintenanceWindow]()
    for number, window in enumerate(sent):
        if number >= MAX_WINDOWS:
            checks.refuse("maintenance_windows", f"has more than {MAX_WINDOWS} values, allowed are {MAX_WINDOWS}")
            break
        field = f"maintenance_windows[{number}]"
        read.append(
            MaintenanceWindow(
                WEEKDAY.read_all(checks, f"{field}.weekdays", window.weekdays),
                time_of_day(checks, f"{field}.opens", window.opens),
                time_of_day(checks, f"{field}.closes", window.closes),
                window.time_zone or DEFAULT_ZONE,
            )
        )
    return tuple(read)


def window_messages(read: Iterable[MaintenanceWindow]) -> list[ticket_pb2.MaintenanceWindow]:
    """Return maintenance windows as messages; reading them again gives the same."""
    return [
        ticket_pb2.MaintenanceWindow(
            weekdays=[WEEKDAY.to_wire(day) for day in window.weekdays],
            opens=time_text(window.opens),
            closes=time_text(window.closes),
            time_zone=window.time_zone,
        )
        for window in read
    ]


def time_of_day(checks: Checks, field: str, text: str) -> time:
    """Read a local time of day; a wrong one is noted."""
    if (found := _TIME.fullmatch(text)) is None:
        said = f"{text[:40]!r} is not a time of day" if text else "is missing"
        checks.refuse(field, f"{said}, write it like 02:30 or 02:30:00")
        return time()
    hour, minute, second = found.groups("0")
    return time(int(hour), int(minute), int(second))


def time_text(at: time) -> str:
    """Say a time of day as it is read, to the second only if it has one."""
    return at.isoformat("seconds" if at.second else "minutes")
