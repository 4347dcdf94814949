"""The three numbers day by day, drawn with characters that need no colour. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from controller.cli.table import Column, Table
from controller.cli.words import plural, share

if TYPE_CHECKING:
    from common.pb.v1 import report_pb2

_MARKS: Final = "█▒░"
"""Compliant, non-compliant, undetermined."""
_OTHERS: Final = 62
"""Columns that the table needs beside its bars."""
_LEAST: Final = 12
_MOST: Final = 60


def trend_lines(points: Sequence[report_pb2.TrendPoint], width: int | None) -> Iterator[str | Table]:
    """Yield what people see: a bar a day, as long as there were instances, and its numbers. Days before the first instance are one line."""
    room = max(_LEAST, min(_MOST, (width or 80) - _OTHERS))
    most = max((_total(p) for p in points), default=0)
    yield f"Compliance of {plural(most, 'instance')} over {plural(len(points), 'day')}, each at its end (UTC), the last now"
    yield f"{_MARKS[0]} compliant  {_MARKS[1]} non-compliant  {_MARKS[2]} undetermined"
    empty = next((day for day, point in enumerate(points) if _total(point)), 0)
    if empty:
        yield f"No instances before {points[empty].date}."
    columns = (
        Column("day"),
        Column("", least=room),
        Column("compliant", right=True),
        Column("non-compliant", right=True),
        Column("undetermined", right=True),
        Column("share", rank=1, right=True),
    )
    rows = [
        (
            p.date,
            bar((p.counts.compliant, p.counts.non_compliant, p.counts.undetermined), most, room),
            str(p.counts.compliant),
            str(p.counts.non_compliant),
            str(p.counts.undetermined),
            share(p.counts.compliant, _total(p)),
        )
        for p in points[empty:]
    ]
    yield Table(columns, rows)


def bar(parts: Sequence[int], most: int, room: int) -> str:
    """Return a stacked bar; `most` fills the room. A part that is there is seen, however small it is.

    Rounded by largest remainders, so that parts of equal size look equal.
    """
    whole = sum(parts)
    if not whole or not most:
        return ""
    length = max(sum(part > 0 for part in parts), (whole * room * 2 + most) // (2 * most))
    sizes = [max(part * length // whole, 1 if part else 0) for part in parts]
    while sum(sizes) < length:
        sizes[max(range(len(parts)), key=lambda i: (parts[i] * length - sizes[i] * whole, -i))] += 1
    while sum(sizes) > length:
        sizes[max(range(len(parts)), key=lambda i: (sizes[i] > 1, sizes[i] * whole - parts[i] * length, -i))] -= 1
    return "".join(mark * size for mark, size in zip(_MARKS, sizes, strict=True))


def _total(point: report_pb2.TrendPoint) -> int:
    return point.counts.compliant + point.counts.non_compliant + point.counts.undetermined
