"""What the audit log holds: one entry for each step of a call that may change something. Frozen records, no rules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class AuditKind(StrEnum):
    """Which step of a call an entry tells of."""

    ATTEMPTED = "ATTEMPTED"
    """It was let through and is about to be carried out: written before anything changes."""
    DONE = "DONE"
    """It was carried out."""
    REFUSED = "REFUSED"
    """The caller may not do this, or what was asked cannot be done; nothing changed."""
    FAILED = "FAILED"
    """The controller could not carry it out, or the caller went away: what it changed is not known."""
    NOTED = "NOTED"
    """Something that is no call: the controller started, a token was taken from the data folder."""


@dataclass(frozen=True, slots=True)
class Deed:
    """What is to be written down. An attempt and its end are two deeds; the end names the attempt by its number."""

    at: datetime
    kind: AuditKind
    method: str
    """Service and method, "TicketService/Pause"; for what is no call, words such as "controller started"."""
    account: str = "default"
    operator: str = ""
    """Name of the caller; empty for the controller itself."""
    token_id: str = ""
    """Which of the operator's tokens spoke."""
    peer: str = ""
    """The address that the call came from."""
    subject: str = ""
    """What it is about: an id or a name, as far as it is known by then."""
    detail: str = ""
    """ATTEMPTED: the request, without secrets and cut to size. REFUSED and FAILED: the sentence that the caller was told."""
    attempt: int = 0
    """Number of the entry that this one ends; 0 for all others."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends: whoever keeps it can tell later whether anything before it was changed or cut off."""

    number: int = 0
    """Of the last entry; 0 for an empty log."""
    hash: bytes = bytes(32)


EMPTY = Head()
"""Before the first entry."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A deed in its place: numbered from 1 without gaps, each with the hash of the one before."""

    number: int
    deed: Deed
    previous: bytes
    """Hash of the entry before; 32 zero bytes for the first."""
    hash: bytes
    """SHA-256 over all the others, see chain.py."""

    @property
    def head(self) -> Head:
        """The end of the chain up to and with this entry."""
        return Head(self.number, self.hash)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are wanted; what is empty wants all."""

    account: str | None = None
    operator: str = ""
    method: str = ""
    """A part of the method's name, whatever its case: "ticket", "Pause"."""
    subject: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def wants(self, entry: AuditEntry) -> bool:
        """Say whether an entry is one of them."""
        deed = entry.deed
        return (
            self.account in (None, deed.account)
            and self.operator in ("", deed.operator)
            and self.method.lower() in deed.method.lower()
            and self.subject in ("", deed.subject)
            and (self.since is None or deed.at >= self.since)
            and (self.until is None or deed.at < self.until)
        )
