"""Pages of a PDF filled from top to bottom: paragraphs and tables that break where a page ends. Pure."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from reportlab.lib.colors import Color, HexColor
from reportlab.lib.pagesizes import A4
from reportlab.pdfbase.pdfdoc import PDFArray, PDFDictionary, PDFName, PDFStream, PDFString
from reportlab.pdfgen.canvas import Canvas

from controller.report import pdf_text
from controller.report.pdf_text import BOLD, PLAIN
from controller.report.text import visible

INK: Final = HexColor("#1c2128")
QUIET: Final = HexColor("#5a6470")
LINE: Final = HexColor("#c9d0d8")
_WIDTH, _HEIGHT = A4
_MARGIN: Final = 42.0
_TOP: Final = _HEIGHT - 52
_BOTTOM: Final = 52.0
_FOOT: Final = 30.0
_GAP: Final = 6.0
_TOTAL: Final = "total"
ATTACHMENT: Final = "ReportsAsData"
CREATOR: Final = "Patchwarden (edition "
ROOM: Final = _WIDTH - 2 * _MARGIN
"""How wide the text is."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its title, how wide it is, and whether it stands right."""

    title: str
    width: float
    right: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """A text in a table, said otherwise than plainly."""

    text: str | tuple[str, ...]
    """One text, or several that each begin a line."""
    colour: Color = INK
    font: str = PLAIN


class TooManyPages(Exception):
    """The file would have more pages than was allowed."""


class Sheet:
    """A PDF that is being written. `at` is its date: nothing here reads a clock.

    Its pages stay in memory until `finish`; TooManyPages is raised where it would get more than `max_pages`.
    """

    def __init__(self, title: str, at: datetime | None, max_pages: int, made_by: str) -> None:
        """Begin the first page. `made_by` is the edition that the file names."""
        self._max_pages = max_pages
        pdf_text.register()
        self._out = io.BytesIO()
        self._canvas = Canvas(self._out, pagesize=A4, invariant=1, pageCompression=1)
        said = f"D:{at:%Y%m%d%H%M%S}Z" if at is not None else "D:19700101000000Z"
        self._canvas.setDateFormatter(lambda *_: said)
        self._canvas.setTitle(title)
        self._canvas.setAuthor("Patchwarden")
        self._canvas.setCreator(f"{CREATOR}{made_by})")
        self._title = title
        self._page = 1
        self._y = _TOP

    def attach(self, name: str, content: Iterable[bytes], length: int) -> None:
        """Put a file into the file, JSON whose length is known; readers list it among the attachments."""
        packed = zlib.compressobj(9)
        packed_content = b"".join([*map(packed.compress, content), packed.flush()])
        stream = PDFStream(
            PDFDictionary(
                {
                    "Type": PDFName("EmbeddedFile"),
                    "Subtype": "/application#2Fjson",  # PDFName would escape the escape
                    "Filter": PDFArray([PDFName("FlateDecode")]),
                    "Params": PDFDictionary({"Size": length}),
                }
            ),
            packed_content + b"\n",
        )
        document: Any = self._canvas._doc  # type: ignore[attr-defined]  # reportlab has no other way to attach a file
        described = PDFDictionary(
            {
                "Type": PDFName("Filespec"),
                "F": PDFString(name),
                "UF": PDFString(name),
                "Desc": PDFString("These reports as data; patchctl report verify reads them"),
                "EF": PDFDictionary({"F": document.Reference(stream, ATTACHMENT)}),
            }
        )
        names = PDFArray([PDFString(name), document.Reference(described, f"{ATTACHMENT}Described")])
        document.Catalog.Names = PDFDictionary({"EmbeddedFiles": PDFDictionary({"Names": names})})
        self._canvas.setViewerPreference("DisplayDocTitle", "true")

    def finish(self) -> bytes:
        """End the last page and return the file."""
        self._end_page()
        self._canvas.beginForm(_TOTAL)
        self._write(0, 0, f"{self._page}", PLAIN, 8, QUIET)
        self._canvas.endForm()
        self._canvas.save()
        return self._out.getvalue()

    def skip(self, points: float) -> None:
        """Leave room."""
        self._y -= points

    def keep(self, points: float) -> None:
        """Begin a new page unless so much room is left."""
        if self._y - points < _BOTTOM:
            if self._page >= self._max_pages:
                raise TooManyPages
            self._end_page()
            self._canvas.showPage()
            self._page += 1
            self._y = _TOP

    def heading(self, text: str, size: float = 13) -> None:
        """Write a heading that does not stand alone at the end of a page; the reader's outline has it too."""
        self.keep(size * 5)
        if self._y < _TOP:
            self._y -= size * 0.9
        self._y -= size * 1.1
        key = f"h{self._page}-{self._y:.0f}"
        self._canvas.bookmarkHorizontal(key, 0, self._y + size)
        self._canvas.addOutlineEntry(visible(text), key, 0 if size > 12 else 1, closed=True)
        first, *more = pdf_text.wrap(text, BOLD, size, ROOM)
        self._write(_MARGIN, self._y, first, BOLD, size, INK)
        for line in more:
            self._y -= size * 1.35
            self._write(_MARGIN, self._y, line, BOLD, size, INK)
        self._y -= size * 0.3

    def paragraph(
        self, text: str, *, size: float = 9, colour: Color = INK, font: str = PLAIN, indent: float = 0
    ) -> None:
        """Write text in as many lines as it needs."""
        for line in pdf_text.wrap(text, font, size, ROOM - indent):
            self.keep(size * 1.4)
            self._y -= size * 1.4
            self._write(_MARGIN + indent, self._y, line, font, size, colour)

    def bar(self, parts: Iterable[tuple[int, Color]], height: float = 8) -> None:
        """Draw a bar as wide as the text, cut in proportion."""
        found = [(count, colour) for count, colour in parts if count]
        whole, x = sum(count for count, _ in found), _MARGIN
        self.keep(height * 2)
        self._y -= height * 1.5
        for count, colour in found:
            length = ROOM * count / whole
            self._canvas.setFillColor(colour)
            self._canvas.rect(x, self._y, length, height, stroke=0, fill=1)
            x += length
        self._y -= height * 0.5

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str | Cell]], size: float = 8) -> None:
        """Write a table. The titles stand again on each page; a row is not cut unless it is longer than a page."""
        self.keep(size * 5)
        self._titles(columns, size)
        for row in rows:
            cells = [cell if isinstance(cell, Cell) else Cell(cell) for cell in row]
            lines = [
                [
                    line
                    for text in ((cell.text,) if isinstance(cell.text, str) else cell.text)
                    for line in pdf_text.wrap(text, cell.font, size, column.width - _GAP)
                ]
                for cell, column in zip(cells, columns, strict=True)
            ]
            height = max(len(found) for found in lines)
            if self._y - height * size * 1.35 - 4 < _BOTTOM:
                self.keep(_HEIGHT)
                self._titles(columns, size)
            for number in range(height):
                if self._y - size * 1.35 < _BOTTOM:
                    self.keep(_HEIGHT)
                    self._titles(columns, size)
                self._y -= size * 1.35
                self._line(columns, cells, [found[number] if number < len(found) else "" for found in lines], size)
            self._y -= 3
            self._rule()

    def _titles(self, columns: Sequence[Column], size: float) -> None:
        if not any(column.title for column in columns):
            return
        self._y -= size * 1.6
        self._line(columns, [Cell("", QUIET)] * len(columns), [column.title for column in columns], size)
        self._y -= 3
        self._rule()

    def _line(self, columns: Sequence[Column], cells: Sequence[Cell], texts: Sequence[str], size: float) -> None:
        x = _MARGIN
        for column, cell, text in zip(columns, cells, texts, strict=True):
            if text:
                start = x + column.width - _GAP - pdf_text.width(text, cell.font, size) if column.right else x
                self._write(start, self._y, text, cell.font, size, cell.colour)
            x += column.width

    def _rule(self) -> None:
        self._canvas.setStrokeColor(LINE)
        self._canvas.setLineWidth(0.4)
        self._canvas.line(_MARGIN, self._y, _WIDTH - _MARGIN, self._y)

    def _end_page(self) -> None:
        self._write(_MARGIN, _FOOT, self._title, PLAIN, 8, QUIET)
        said = f"Page {self._page} of "
        start = _WIDTH - _MARGIN - pdf_text.width(f"{said}0000", PLAIN, 8)
        self._write(start, _FOOT, said, PLAIN, 8, QUIET)
        self._canvas.saveState()
        self._canvas.translate(start + pdf_text.width(said, PLAIN, 8), _FOOT)
        self._canvas.doForm(_TOTAL)  # written at the end, when the number of pages is known
        self._canvas.restoreState()

    def _write(self, x: float, y: float, text: str, font: str, size: float, colour: Color) -> None:
        self._canvas.setFillColor(colour)
        for name, part in pdf_text.runs(text, font):
            self._canvas.setFont(name, size)
            self._canvas.drawString(x, y, part)
            x += self._canvas.stringWidth(part, name, size)
