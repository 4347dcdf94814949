"""Text in a PDF whatever its letters: most from a font in the file, Chinese and Korean from fonts that every reader has. Pure."""

from __future__ import annotations

import io
from collections.abc import Container, Iterator
from functools import cache, lru_cache
from itertools import groupby
from typing import Any, Final

import pymupdf_fonts
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont

from controller.report.text import visible

PLAIN: Final = "NotoSans"
BOLD: Final = "NotoSans-Bold"
_FILES: Final = {PLAIN: "notos", BOLD: "notosbo"}
_ELSEWHERE: Final = (("STSong-Light", "gbk"), ("HYSMyeongJo-Medium", "euc_kr"))
"""Fonts of the reader, and the character set that each is sure to have."""

Run = tuple[str, str]
"""A font and a text in it."""


@cache
def register() -> None:
    """Make the fonts known. Call it before anything else of this module; more than once does no harm."""
    for name, file in _FILES.items():
        pdfmetrics.registerFont(TTFont(name, io.BytesIO(pymupdf_fonts.myfont(file))))
    for name, _ in _ELSEWHERE:
        pdfmetrics.registerFont(UnicodeCIDFont(name))


def runs(text: str, font: str) -> Iterator[Run]:
    """Cut a text by the fonts that have its letters. What no font has is written as its escape."""
    text = visible(text)
    if text.isascii():
        if text:
            yield font, text
        return
    for name, letters in groupby(text, lambda letter: _font_of(letter, font)):
        found = "".join(letters)
        yield (name, found) if name else (font, found.encode("unicode_escape").decode("ascii"))


def width(text: str, font: str, size: float) -> float:
    """Return how wide a text is."""
    return sum(pdfmetrics.stringWidth(part, name, size) for name, part in runs(text, font))


def wrap(text: str, font: str, size: float, limit: float) -> list[str]:
    """Break a text into lines that fit, at spaces where there are some, else anywhere. At least one line."""
    lines, line = list[str](), ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if width(longer, font, size) <= limit:
            line = longer
            continue
        if line:
            lines.append(line)
        *full, line = _pieces(word, font, size, limit)
        lines += full
    return [*lines, line]


def _pieces(word: str, font: str, size: float, limit: float) -> list[str]:
    pieces, piece = list[str](), ""
    for letter in word:
        if piece and width(piece + letter, font, size) > limit:
            pieces.append(piece)
            piece = ""
        piece += letter
    return [*pieces, piece]


@cache
def _letters(font: str) -> Container[int]:
    found: Any = pdfmetrics.getFont(font)  # a TTFont: the only kind that says which letters it has
    letters: Container[int] = found.face.charToGlyph
    return letters


@lru_cache(maxsize=4096)
def _font_of(letter: str, font: str) -> str:
    """Return the font for a letter; "" when none has it."""
    if ord(letter) in _letters(font):
        return font
    return next((name for name, charset in _ELSEWHERE if _can_write(charset, letter)), "")


def _can_write(charset: str, letter: str) -> bool:
    try:
        return bool(letter.encode(charset))
    except UnicodeEncodeError:
        return False
