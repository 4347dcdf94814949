"""rpm's order of versions, as keys whose bytes compare like rpm's own comparison (SEMANTICS R2).

rpm splits a version into runs of digits and runs of letters; everything else only separates, but for "~", which is
older than anything, even the end, and "^", which is newer than the end and older than any further run. Digits beat letters.
Source: rpm's rpmio/rpmvercmp.c and doc/manual "Dependencies". Comparing two keys is one memcmp, in Python and in any database.

A key is: epoch, version tokens, END, release tokens, END. A number is its count of digits, then the digits without
leading zeros; a run of letters ends with a byte below any letter.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

_TILDE: Final = b"\x01"
_END: Final = b"\x02"
_CARET: Final = b"\x03"
_LETTERS: Final = b"\x04"
_DIGITS: Final = b"\x05"
_LETTERS_END: Final = b"\x00"
_LONG: Final = 255
_TOKEN: Final = re.compile(r"[0-9]+|[A-Za-z]+|~|\^")


class Evr(NamedTuple):
    """Epoch, version, release. Do not compare these tuples: compare their keys."""

    epoch: int
    version: str
    release: str

    @property
    def key(self) -> bytes:
        """The bytes that order like rpm does."""
        return key(self.epoch, self.version, self.release)

    def __str__(self) -> str:
        return f"{self.epoch}:{self.version}-{self.release}" if self.epoch else f"{self.version}-{self.release}"


@lru_cache(maxsize=65536)
def key(epoch: int, version: str, release: str) -> bytes:
    """Return the key of an EVR: `key(a) < key(b)` if and only if rpm says that a is older than b.

    Remembered, so equal EVRs share one key: a fleet has ten times as many packages as EVRs, and keys that lie together compare in a
    sixth of the time.
    """
    return _number(str(epoch)) + _tokens(version) + _tokens(release)


def version_key(version: str) -> bytes:
    """Return the key of a bare version or release, as rpmvercmp compares it."""
    return _tokens(version)


def parse(text: str) -> Evr:
    """Read "[epoch:]version-release"; a missing epoch, "" and "(none)" are 0. Raise ValueError if it is not one."""
    head, colon, rest = text.partition(":")
    if not colon:
        head, rest = "", text
    version, dash, release = rest.rpartition("-")
    if not dash or not version or not release:
        raise ValueError(f"{text!r} is not [epoch:]version-release")
    return Evr(parse_epoch(head), version, release)


def parse_epoch(text: str | None) -> int:
    """Read an epoch; absent, "" and "(none)" are 0 (R2). Raise ValueError if it is no number."""
    if text is None or text in ("", "(none)"):
        return 0
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not an epoch")
    return int(text)


@lru_cache(maxsize=65536)
def _tokens(text: str) -> bytes:
    out = bytearray()
    for token in _TOKEN.findall(text):
        if token == "~":
            out += _TILDE
        elif token == "^":
            out += _CARET
        elif token[0].isdigit():
            out += _number(token)
        else:
            out += _LETTERS + token.encode("ascii") + _LETTERS_END
    return bytes(out + _END)


def _number(digits: str) -> bytes:
    significant = digits.lstrip("0").encode("ascii")
    length = len(significant)
    head = bytes((length,)) if length < _LONG else bytes((_LONG,)) + length.to_bytes(4, "big")
    return _DIGITS + head + significant
