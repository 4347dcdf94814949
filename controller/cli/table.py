"""Tables for people, as wide as there is room: columns that matter less go first, then the widest are cut. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len, set_cell_size

from controller.cli.words import clean

_GAP: Final = 2
_LEAST: Final = 10


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `rank` 0 is never left out; of the others the highest rank goes first. `least` is how far it may be cut."""

    title: str
    rank: int = 0
    right: bool = False
    least: int = _LEAST


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns, every cell one line of text."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    indent: int = 0


def lines_of(table: Table, width: int | None) -> list[list[str]]:
    """Return the table's lines, the titles first, as cells padded to their columns. `width` None means unlimited.

    Columns in which every cell is empty are left out. The last cell of a line is not padded.
    """
    rows = [[clean(cell) for cell in row] for row in table.rows]
    shown = [i for i, _ in enumerate(table.columns) if not rows or any(row[i] for row in rows)]
    natural = {i: max(cell_len(text) for text in (table.columns[i].title, *(row[i] for row in rows))) for i in shown}
    shown = _chosen(table, shown, natural, width)
    widths = _cut(table, shown, natural, width)
    titles = [column.title for column in table.columns]
    return [_line(table, shown, widths, row) for row in (titles, *rows)]


def _chosen(table: Table, shown: list[int], natural: dict[int, int], width: int | None) -> list[int]:
    def least(kept: list[int]) -> int:
        return table.indent + sum(min(natural[i], table.columns[i].least) + _GAP for i in kept) - _GAP

    while width is not None and least(shown) > width and any(table.columns[i].rank for i in shown):
        worst = max(shown, key=lambda i: (table.columns[i].rank, i))
        shown = [i for i in shown if i != worst]
    return shown


def _cut(table: Table, shown: list[int], natural: dict[int, int], width: int | None) -> dict[int, int]:
    widths = {i: natural[i] for i in shown}
    if width is None:
        return widths
    over = table.indent + sum(w + _GAP for w in widths.values()) - _GAP - width
    while over > 0:
        cuttable = [i for i in shown if widths[i] > min(natural[i], table.columns[i].least)]
        if not cuttable:
            break
        widths[max(cuttable, key=lambda i: widths[i])] -= 1
        over -= 1
    return widths


def _line(table: Table, shown: list[int], widths: dict[int, int], row: Sequence[str]) -> list[str]:
    cells = [_fitted(row[i], widths[i], right=table.columns[i].right) for i in shown]
    line = [" " * table.indent + cells[0], *cells[1:]] if cells else []
    while line and not line[-1].strip():
        line.pop()
    if line:
        line[-1] = line[-1].rstrip()
    return [cell + " " * _GAP for cell in line[:-1]] + line[-1:]


def _fitted(text: str, width: int, *, right: bool) -> str:
    if cell_len(text) > width:
        return set_cell_size(text, max(0, width - 1)) + "…"
    return " " * (width - cell_len(text)) + text if right else set_cell_size(text, width)
