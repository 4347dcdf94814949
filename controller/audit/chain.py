"""The chain of hashes: each entry's hash covers its number, its deed and the hash before it. Pure.

What it proves. Whoever changes, inserts, moves or removes an entry must compute all later hashes anew; so one head (`NUMBER:HASH`, kept
where the controller cannot write) proves all entries up to it. What it cannot prove alone: that nothing after the last kept head was cut
off, or that the whole log was not written anew by somebody with the database in hand. So keep heads outside, and often.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from typing import Final

from controller.audit.model import EMPTY, AuditEntry, Deed, Head

_FORM: Final = "patchwarden audit entry 1"
"""Names the form that is hashed: another form needs another name."""


def link(deed: Deed, after: Head) -> AuditEntry:
    """Return the entry that a deed becomes at the end of a chain."""
    number = after.number + 1
    return AuditEntry(number, deed, after.hash, hash_of(number, deed, after.hash))


def hash_of(number: int, deed: Deed, previous: bytes) -> bytes:
    """Return SHA-256 of an entry: a JSON list of its fields in a fixed order, so that no two entries are written alike."""
    fields = [
        _FORM,
        number,
        previous.hex(),
        deed.at.astimezone(UTC).isoformat(timespec="microseconds"),
        deed.kind.value,
        deed.account,
        deed.operator,
        deed.token_id,
        deed.peer,
        deed.method,
        deed.subject,
        deed.detail,
        deed.attempt,
    ]
    return hashlib.sha256(json.dumps(fields, ensure_ascii=True, separators=(",", ":")).encode("ascii")).digest()


@dataclass(frozen=True, slots=True)
class Broken:
    """The first place at which a chain does not hold."""

    number: int
    matter: str

    def __str__(self) -> str:
        return f"entry {self.number}: {self.matter}"


class Chain:
    """Takes entries in ascending order and says at the first one that does not follow from those before."""

    def __init__(self, kept: Iterable[Head] = ()) -> None:
        """Begin before the first entry; `kept` are heads of earlier days that must be met."""
        self.head = EMPTY
        self._kept = {head.number: head.hash for head in kept if head.number}

    def take(self, entry: AuditEntry) -> Broken | None:
        """Look at the next entry; return what is wrong with it."""
        expected = self.head.number + 1
        if entry.number != expected:
            gone = f"{expected}" if entry.number == expected + 1 else f"{expected} to {entry.number - 1}"
            matter = f"comes after {self.head.number}: what should be {gone} is gone"
            return Broken(expected, matter if entry.number > expected else f"comes again after {self.head.number}")
        if entry.previous != self.head.hash:
            return Broken(entry.number, "does not follow from the one before: one of the two was changed")
        if entry.hash != hash_of(entry.number, entry.deed, entry.previous):
            return Broken(entry.number, "was changed: its hash is another one")
        kept = self._kept.pop(entry.number, entry.hash)
        if kept != entry.hash:
            return Broken(entry.number, "is not what it was when its head was kept: the log was written anew")
        self.head = entry.head
        return None

    def end(self) -> Broken | None:
        """Say what is wrong when no entry is left: a kept head that was never met."""
        if not self._kept:
            return None
        last = max(self._kept)
        return Broken(self.head.number + 1, f"the log ends at {self.head.number}, and had {last} when a head was kept")


def verify(entries: Iterable[AuditEntry], kept: Iterable[Head] = ()) -> Head | Broken:
    """Return the head of a whole chain, or the first place at which it does not hold."""
    chain = Chain(kept)
    for entry in entries:
        if (broken := chain.take(entry)) is not None:
            return broken
    return chain.end() or chain.head


def write_head(head: Head) -> str:
    """Write a head for people to keep: NUMBER:HASH."""
    return f"{head.number}:{head.hash.hex()}"


def read_head(text: str) -> Head:
    """Read what `write_head` wrote; raise ValueError."""
    number, _, hexadecimal = text.strip().partition(":")
    if not (number.isascii() and number.isdigit()) or len(hexadecimal) != 64:
        raise ValueError(f"{text[:80]!r} is not a head, which looks like 42:9f86d0…: NUMBER:HASH")
    try:
        return Head(int(number), bytes.fromhex(hexadecimal))
    except ValueError:
        raise ValueError(f"{text[:80]!r} is not a head: its hash is not hexadecimal") from None
