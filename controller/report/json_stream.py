"""JSON of any size, read member by member: of the file's outer object and of its list of reports one element is held at a time."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, Final, Protocol

from controller.report.kept import MAX_REPORT_BYTES, NotAnExport, once

_CHUNK: Final = 2**16
_TAIL: Final = 16
"""A mistake so near the end of what was read may be the cut itself: tru, 1e+, \\u12."""
_SPACE: Final = re.compile(r"[ \t\r\n]+")


class Readable(Protocol):
    """What bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes; none at the end."""
        ...


class Truncated(NotAnExport):
    """The file ends before its outermost object does."""


def members(file: Readable, streamed: str) -> Iterator[tuple[str, Any]]:
    """Yield the members of the outermost object, name and value; of the member `streamed`, a list, each element as if it stood alone.

    Raises NotAnExport for what is no such JSON, and where one value is larger than a report may be.
    """
    scan = _Scan(file)
    names = set[str]()
    scan.expect("{")
    if scan.takes("}"):
        scan.end()
        return
    while True:
        name = scan.value()
        if not isinstance(name, str) or name in names:
            raise NotAnExport("is no JSON: a name stands twice, or is no name")
        names.add(name)
        scan.expect(":")
        if name == streamed and scan.takes("["):
            if not scan.takes("]"):
                while True:
                    yield name, scan.value()
                    if scan.takes("]"):
                        break
                    scan.expect(",")
        else:
            yield name, scan.value()
        if scan.takes("}"):
            break
        scan.expect(",")
    scan.end()


class _Scan:
    """A place in a text that comes in pieces."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")()
        self._json = json.JSONDecoder(object_pairs_hook=once, parse_constant=_refuse)
        self._text, self._at, self._gone, self._ended = "", 0, 0, False
        self._fill(_CHUNK)
        self._at += self._text.startswith("\ufeff")

    def value(self) -> Any:
        """Read the value that begins here."""
        self._skip()
        wanted = _CHUNK
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                may_go_on = error.pos >= len(self._text) - _TAIL or error.msg.startswith("Unterminated")
                if self._ended or not may_go_on:
                    kind = Truncated if may_go_on else NotAnExport
                    raise kind(f"is no JSON: {error.msg} at character {self._gone + error.pos}") from None
            except (ValueError, RecursionError) as error:
                raise NotAnExport(f"is no JSON: {error}" if isinstance(error, ValueError) else "is too deep") from None
            else:
                if end < len(self._text) or self._ended:  # 12 may be the beginning of 123
                    self._at = end
                    return value
            if len(self._text) - self._at > MAX_REPORT_BYTES:
                raise NotAnExport(f"holds one thing of more than {MAX_REPORT_BYTES // 2**20} MiB: that is no report")
            self._fill(wanted)
            wanted *= 2

    def takes(self, letter: str) -> bool:
        """Step over this letter if it is the next one."""
        self._skip()
        found = self._text.startswith(letter, self._at)
        self._at += found
        return found

    def expect(self, letter: str) -> None:
        """Step over this letter. Raises NotAnExport if another one stands here."""
        if not self.takes(letter):
            kind = Truncated if self._at >= len(self._text) else NotAnExport
            raise kind(f"is no JSON: {letter!r} is missing")

    def end(self) -> None:
        """Raise NotAnExport if something follows."""
        self._skip()
        if self._at < len(self._text):
            raise NotAnExport("goes on after its end")

    def _skip(self) -> None:
        while True:
            if blank := _SPACE.match(self._text, self._at):
                self._at = blank.end()
            if self._at < len(self._text) or self._ended:
                return
            self._fill(_CHUNK)

    def _fill(self, size: int) -> None:
        content = self._file.read(size)
        self._ended = not content
        try:
            more = self._decode.decode(content, final=not content)
        except UnicodeDecodeError:
            raise NotAnExport("is no text in UTF-8") from None
        self._gone += self._at
        self._text, self._at = self._text[self._at :] + more, 0


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
