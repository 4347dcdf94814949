"""What goes out: data to stdout in the format asked for, remarks to stderr."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TextIO

from controller.cli.words import clean
from controller.report.text import disarmed

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from rich.console import Console
    from rich.text import Text

    from controller.cli.table import Table


class Format(StrEnum):
    """How data is written."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


_COLOURS: Final = {
    "COMPLIANT": "green",
    "FINISHED": "green",
    "SUCCEEDED": "green",
    "ONLINE": "green",
    "NON_COMPLIANT": "red",
    "MISSING": "red",
    "REJECT": "red",
    "FAILED": "red",
    "ABNORMAL": "red",
    "TIMEOUT": "red",
    "UNREACHABLE": "red",
    "CRITICAL": "bold red",
    "HIGH": "red",
    "MEDIUM": "yellow",
    "UNDETERMINED": "yellow",
    "PENDING_REBOOT": "yellow",
    "PAUSED": "yellow",
    "OFFLINE": "yellow",
    "PROCESSING": "cyan",
}
"""Colour only repeats what the word says."""


class Printer:
    """Writes answers. A piece of text from elsewhere cannot move the cursor or colour the screen."""

    def __init__(self, output: Format) -> None:
        """Write to the present stdout and stderr."""
        self.format = output
        self._out: TextIO = sys.stdout
        self._console: Console | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether a person sees stdout."""
        return self._out.isatty()

    @property
    def width(self) -> int | None:
        """How many columns a line may have; None when nobody sees it and nobody said."""
        if self.is_terminal or os.environ.get("COLUMNS", "").isdigit():
            return max(20, shutil.get_terminal_size().columns)
        return None

    def one(self, message: Message, human: Callable[[], Iterable[str | Table]]) -> None:
        """Write one message; `human` makes its lines and tables for people."""
        from controller.cli.plain import cells, columns, plain

        if self.format is Format.TABLE:
            self.lines(human())
        elif self.format is Format.CSV:
            self.csv(columns(message.DESCRIPTOR), [cells(message)])
        else:
            self.data(plain(message))

    def many(self, kind: Any, messages: Iterable[Message], human: Callable[[], Iterable[str | Table]]) -> None:
        """Write messages of one type (its DESCRIPTOR): a list in JSON and YAML, a row each in CSV."""
        from controller.cli.plain import cells, columns, plain

        if self.format is Format.TABLE:
            self.lines(human())
        elif self.format is Format.CSV:
            self.csv(columns(kind), map(cells, messages))
        else:
            self.data([plain(message) for message in messages])

    def data(self, value: Any) -> None:
        """Write plain values as JSON, or as YAML if that was asked for."""
        self._out.write(yaml_text(value) if self.format is Format.YAML else json_text(value))

    def csv(self, names: Iterable[str], rows: Iterable[Mapping[str, str]]) -> None:
        """Write rows as CSV under their column names; a cell that a row does not have is empty."""
        write_csv(self._out, names, rows)

    def lines(self, parts: Iterable[str | Table]) -> None:
        """Write lines of text and tables for people."""
        from rich.text import Text

        from controller.cli.table import lines_of

        for part in parts:
            if isinstance(part, str):
                self._print(self.painted(clean(part)))
            elif part.rows:  # titles over nothing say nothing
                for line in lines_of(part, self.width):
                    self._print(Text.assemble(*map(_coloured, line)))

    @staticmethod
    def painted(line: str) -> Text:
        """Return a line in which the words that have a colour have it, where two spaces part it."""
        from rich.text import Text

        return Text("  ").join(_coloured(cell) for cell in line.split("  "))

    def prose(self, sentence: str) -> None:
        """Write a sentence, in several lines where it does not fit in one."""
        width = self.width
        self.lines(textwrap.wrap(clean(sentence), width, break_on_hyphens=False) if width else [sentence])

    def remark(self, sentence: str) -> None:
        """Say something about the data to stderr."""
        sys.stderr.write("\n".join(clean(line) for line in sentence.split("\n")) + "\n")
        sys.stderr.flush()

    def remark_lines(self, parts: Iterable[str | Table]) -> None:
        """Write lines of text and tables to stderr."""
        from controller.cli.table import lines_of

        for part in parts:
            for line in [[part]] if isinstance(part, str) else lines_of(part, self.width):
                self.remark("".join(line))

    @property
    def console(self) -> Console:
        """Rich's console on stdout; respects NO_COLOR."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(
                file=self._out, highlight=False, markup=False, emoji=False, width=self.width or 10_000
            )
        return self._console

    def _print(self, text: Text) -> None:
        self.console.print(text, soft_wrap=True)


def _coloured(cell: str) -> Text:
    from rich.text import Text

    words = cell.split(maxsplit=1)
    return Text(cell, style=_COLOURS.get(words[0], "") if words else "")


def json_text(value: Any) -> str:
    """Return canonical JSON: sorted keys, two spaces, no escaping of letters."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def yaml_text(value: Any, *, sort_keys: bool = True) -> str:
    """Return YAML in blocks."""
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=sort_keys, allow_unicode=True, default_flow_style=False, width=120)
    return text


def write_csv(out: TextIO, names: Iterable[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Write a header line and rows. A cell that a spreadsheet would take for a formula gets a ' in front."""
    writer = csv.DictWriter(out, list(names), restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: disarmed(cell) for name, cell in row.items()})
