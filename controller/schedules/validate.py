"""What a scheduled task and a maintenance window may say. Everything that is wrong is named at once, by its field in the API."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import time
from typing import Final

from common.errors import InvalidArgument, Violation
from controller.schedules import cron
from controller.schedules.local_time import wrong_with_zone
from controller.schedules.model import Schedule, ScheduledTask, ScheduleKind
from controller.schedules.windows import MAX_WINDOWS, MaintenanceWindow

NAME: Final = re.compile(r"[A-Za-z0-9_-]{3,100}")
MAX_DESCRIPTION: Final = 1000
MAX_TEXT: Final = 256
MAX_COMMENT: Final = 200
_TASK_VERSION: Final = re.compile(r"[0-9A-Za-z.+_-]{1,50}")


def check_task(task: ScheduledTask) -> None:
    """Raise InvalidArgument with everything that is wrong, but for the ticket's spec, which has its own check."""
    wrong = [
        *_name(task.name),
        *_text("description", task.description, MAX_DESCRIPTION, lines=True),
        *_text("enterprise_project", task.enterprise_project, MAX_TEXT),
        *_text("agency", task.agency, MAX_TEXT),
        *_version(task.task_version),
        *wrong_with_schedule(task.schedule),
    ]
    if wrong:
        raise InvalidArgument(tuple(wrong))


def check_comment(comment: str) -> None:
    """Raise InvalidArgument when the comment of an approval is too long or not printable."""
    if wrong := tuple(_text("comment", comment, MAX_COMMENT)):
        raise InvalidArgument(wrong)


def wrong_with_schedule(schedule: Schedule, field: str = "schedule") -> Iterator[Violation]:
    """Yield what is wrong with a schedule: a zone that is none, what is missing, and what belongs to another kind."""
    if (unknown := wrong_with_zone(schedule.time_zone)) is not None:
        yield Violation(f"{field}.time_zone", unknown)
    kind = schedule.kind
    for name, given, kinds in (
        ("date", schedule.date is not None, (ScheduleKind.ONCE,)),
        ("time", schedule.time != time(0, 0), (ScheduleKind.ONCE, ScheduleKind.PERIODIC)),
        ("weekdays", bool(schedule.weekdays), (ScheduleKind.PERIODIC,)),
        ("cron", bool(schedule.cron), (ScheduleKind.CRON,)),
        ("expires_at", schedule.expires_at is not None, (ScheduleKind.PERIODIC, ScheduleKind.CRON)),
    ):
        if given and kind not in kinds:
            yield Violation(f"{field}.{name}", f"is not for {kind}, only for {' and '.join(kinds)}; leave it out")
    if kind is ScheduleKind.ONCE and schedule.date is None:
        yield Violation(f"{field}.date", "is missing; ONCE needs a day, e.g. 2026-12-01")
    if kind is ScheduleKind.CRON:
        try:
            cron.parse(schedule.cron)
        except InvalidArgument as error:
            yield from (Violation(f"{field}.cron", v.description) for v in error.violations)


def wrong_with_windows(windows: Sequence[MaintenanceWindow], field: str = "maintenance_windows") -> Iterator[Violation]:
    """Yield what is wrong with a ticket's windows."""
    if len(windows) > MAX_WINDOWS:
        yield Violation(field, f"has {len(windows)} values, allowed are {MAX_WINDOWS}")
        return
    for number, window in enumerate(windows):
        if (unknown := wrong_with_zone(window.time_zone)) is not None:
            yield Violation(f"{field}[{number}].time_zone", unknown)


def _name(name: str) -> Iterator[Violation]:
    if not NAME.fullmatch(name):
        said = f"{name[:120]!r} is not a name" if name else "is missing"
        yield Violation("name", f"{said}, allowed are 3 to 100 letters, digits, _ and -")


def _version(version: str) -> Iterator[Violation]:
    if not _TASK_VERSION.fullmatch(version):
        yield Violation(
            "task_version", f"{version[:80]!r} is not a version, allowed are 1 to 50 letters, digits and . + _ -"
        )


def _text(field: str, value: str, most: int, *, lines: bool = False) -> Iterator[Violation]:
    if len(value) > most:
        yield Violation(field, f"has {len(value)} characters, allowed are {most}")
    elif not (value.replace("\n", "") if lines else value).isprintable():
        yield Violation(field, f"{value[:80]!a} has characters that cannot be printed")
