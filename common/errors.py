"""One tree of errors. Each class knows its gRPC code, a reason for machines, and whether trying again helps.

PatchError
├── InvalidArgument     a field is wrong: which, and what is allowed
├── NotFound            no such thing
├── Conflict            somebody else changed it meanwhile
├── Rejected            fine in itself, but not now: the state forbids it
│   └── IllegalMove     a ticket cannot do that in its state
├── Unauthenticated     who are you?
├── PermissionDenied    you may not
├── TooLarge            over a limit, which is named
└── Unavailable         nothing is wrong with the request: try again later
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class PatchError(Exception):
    """Anything that the product says no to. `str()` is one sentence for people."""

    code: ClassVar[str] = "UNKNOWN"
    """The name of a grpc.StatusCode: what decides need not import grpc."""
    reason: ClassVar[str] = "UNKNOWN"
    """For machines; never changes once released."""
    retry: ClassVar[bool] = False
    """Whether the same request can succeed later."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One wrong field: its path as the API spells it, and what is the matter and allowed."""

    field: str
    description: str


@dataclass(eq=False)  # none of these is frozen: contextlib must be able to set __traceback__
class InvalidArgument(PatchError):
    """One or more fields are wrong."""

    violations: tuple[Violation, ...]
    code = "INVALID_ARGUMENT"
    reason = "INVALID_ARGUMENT"

    @classmethod
    def of(cls, field: str, description: str) -> InvalidArgument:
        """Make the error for a single field."""
        return cls((Violation(field, description),))

    def __str__(self) -> str:
        return "; ".join(f"{v.field}: {v.description}" for v in self.violations)


@dataclass(eq=False)
class NotFound(PatchError):
    """There is no such thing; `help` says where to look."""

    kind: str
    name: str
    help: str = ""
    code = "NOT_FOUND"
    reason = "NOT_FOUND"

    def __str__(self) -> str:
        return f"there is no {self.kind} {self.name!r}" + (f"; {self.help}" if self.help else "")


@dataclass(eq=False)
class Conflict(PatchError):
    """Somebody else changed it between reading and writing."""

    kind: str
    name: str
    code = "ABORTED"
    reason = "CONFLICT"
    retry = True

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} was changed by somebody else meanwhile; read it and try again"


@dataclass(eq=False)
class Rejected(PatchError):
    """The request is well formed, but the state of things forbids it."""

    sentence: str
    code = "FAILED_PRECONDITION"
    reason = "REJECTED"

    def __str__(self) -> str:
        return self.sentence


@dataclass(eq=False)
class IllegalMove(Rejected):
    """A ticket, batch or run cannot do that in its state. `sentence` is made from the parts."""

    sentence: str = ""
    subject: str = ""
    state: str = ""
    event: str = ""
    allowed: str = ""
    """What can be done instead, e.g. "continue or end it"."""
    reason = "ILLEGAL_MOVE"

    def __str__(self) -> str:
        return f"{self.subject} is {self.state}: {self.event} cannot happen now" + (
            f"; {self.allowed}" if self.allowed else ""
        )


@dataclass(eq=False)
class Unauthenticated(PatchError):
    """The caller did not say who it is, or not in a way that can be believed."""

    sentence: str
    code = "UNAUTHENTICATED"
    reason = "UNAUTHENTICATED"

    def __str__(self) -> str:
        return self.sentence


@dataclass(eq=False)
class PermissionDenied(PatchError):
    """The caller may not do this."""

    sentence: str
    code = "PERMISSION_DENIED"
    reason = "PERMISSION_DENIED"

    def __str__(self) -> str:
        return self.sentence


@dataclass(eq=False)
class TooLarge(PatchError):
    """Something is over its limit."""

    what: str
    size: int
    limit: int
    code = "RESOURCE_EXHAUSTED"
    reason = "TOO_LARGE"

    def __str__(self) -> str:
        return f"{self.what} has {self.size:,} bytes, allowed are {self.limit:,}"


@dataclass(eq=False)
class Unavailable(PatchError):
    """Nothing is wrong with the request: try again later."""

    sentence: str
    code = "UNAVAILABLE"
    reason = "UNAVAILABLE"
    retry = True

    def __str__(self) -> str:
        return self.sentence
