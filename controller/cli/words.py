"""How patchctl says things: times as ages and UTC, states without their prefixes, text from others made harmless. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from common.clock import format_duration

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

    from common.pb.v1 import ticket_pb2, types_pb2


class EnumType(Protocol):
    """The generated type of a protobuf enum."""

    def Name(self, number: int) -> str:  # noqa: N802 - protobuf's word
        """Return the value's full name."""
        ...


def word(kind: object, number: int) -> str:
    """Return an enum value without its prefix; "" for the unspecified one, the number for one we do not know."""
    enum: EnumType = kind  # type: ignore[assignment]  # the generated types do not say that they have Name(number)
    try:
        name = enum.Name(number)
    except ValueError:  # said by a newer controller
        return str(number)
    return name.removeprefix(enum.Name(0).removesuffix("UNSPECIFIED")) if number else ""


def clean(text: str) -> str:
    """Show control characters instead of sending them to the terminal: names come from hosts that may be hostile."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def utc(stamp: Timestamp | datetime) -> str:
    """Say an instant to the minute, "2026-11-22 12:40 UTC"."""
    return f"{_aware(stamp).replace(tzinfo=None).isoformat(' ', 'minutes')} UTC"


def time_of_day(stamp: Timestamp | datetime) -> str:
    """Say an instant of today, "12:40:07"."""
    return f"{_aware(stamp):%H:%M:%S}"


def since(stamp: Timestamp, now: datetime) -> str:
    """Say how long ago something was, in its largest unit: "4 m", "41 d"."""
    return _largest_unit(now - _aware(stamp))


def ago(stamp: Timestamp, now: datetime) -> str:
    """Say when something was, "4 m ago" or "in 3 h"."""
    length = now - _aware(stamp)
    if length < timedelta(0):
        return f"in {_largest_unit(-length)}"
    return f"{_largest_unit(length)} ago" if length >= timedelta(seconds=1) else "now"


def length_of(duration: Duration) -> str:
    """Say a duration, "10 m"."""
    return format_duration(duration.ToTimedelta())


def clock_length(seconds: float) -> str:
    """Say a short time as a clock does, "0:12" or "1:02:07"."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def tenths(rate: int) -> str:
    """Say tenths of a percent, "80 %" or "99.5 %"."""
    whole, rest = divmod(rate, 10)
    return f"{whole}.{rest} %" if rest else f"{whole} %"


def share(part: int, whole: int) -> str:
    """Say a part of a whole in percent with one decimal, exactly rounded; "-" of nothing."""
    if not whole:
        return "-"
    return "{}.{} %".format(*divmod((part * 2000 + whole) // (2 * whole), 10))


def ordinal(number: int) -> str:
    """Say 1st, 2nd, 3rd, 4th, 11th."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def plural(count: int, noun: str) -> str:
    """Say how many, "1 instance", "2 batches"."""
    if count == 1:
        return f"{count} {noun}"
    return f"{count:,} {noun}{'es' if noun.endswith(('ch', 's', 'x')) else 's'}"


def tags(values: object) -> str:
    """Say tags in their order, "env=prod, team=web"."""
    pairs = dict(values)  # type: ignore[call-overload]  # a protobuf map
    return ", ".join(f"{key}={value}" if value else key for key, value in sorted(pairs.items()))


def system(operating_system: types_pb2.OperatingSystem) -> str:
    """Say what an instance runs, as baselines spell it if it is supported."""
    return operating_system.product or operating_system.pretty_name


def total(counts: ticket_pb2.RunCounts) -> int:
    """Return how many runs there are."""
    return sum(
        (
            counts.ready,
            counts.processing,
            counts.succeeded,
            counts.failed,
            counts.timeout,
            counts.unreachable,
            counts.skipped,
            counts.canceled,
        )
    )


def ended(counts: ticket_pb2.RunCounts) -> int:
    """Return how many runs have ended, in whatever way."""
    return total(counts) - counts.ready - counts.processing


def bad(counts: ticket_pb2.RunCounts) -> int:
    """Return how many runs ended badly."""
    return counts.failed + counts.timeout + counts.unreachable


def _aware(stamp: Timestamp | datetime) -> datetime:
    return stamp if isinstance(stamp, datetime) else stamp.ToDatetime(tzinfo=UTC)


def _largest_unit(length: timedelta) -> str:
    return " ".join(format_duration(length).split(" ")[:2])
