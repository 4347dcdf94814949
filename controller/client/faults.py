"""What the controller refuses, as the errors of common.errors: one class for each reason, never by matching text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped,unused-ignore]

from common.errors import (
    Conflict,
    IllegalMove,
    InvalidArgument,
    NotFound,
    PatchError,
    PermissionDenied,
    Rejected,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Violation,
)

if TYPE_CHECKING:
    from google.protobuf.message import Message

DOMAIN: Final = "patchwarden"
_DETAILS_KEY: Final = "grpc-status-details-bin"
_SENTENCES: Final[Mapping[str, type[Rejected | Unauthenticated | PermissionDenied]]] = {
    cls.reason: cls for cls in (Rejected, Unauthenticated, PermissionDenied)
}
_REASON_OF_CODE: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: "INVALID_ARGUMENT",
    grpc.StatusCode.NOT_FOUND: "NOT_FOUND",
    grpc.StatusCode.ABORTED: "CONFLICT",
    grpc.StatusCode.FAILED_PRECONDITION: "REJECTED",
    grpc.StatusCode.UNAUTHENTICATED: "UNAUTHENTICATED",
    grpc.StatusCode.PERMISSION_DENIED: "PERMISSION_DENIED",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "TOO_LARGE",
    grpc.StatusCode.UNAVAILABLE: "UNAVAILABLE",
    grpc.StatusCode.CANCELLED: "UNAVAILABLE",  # by the controller: this client never cancels a call it still reads
    grpc.StatusCode.DEADLINE_EXCEEDED: "UNAVAILABLE",
}


class _Told:
    """An error in the controller's own words, whatever its class would make of its parts."""

    told: str = ""

    def __str__(self) -> str:
        return self.told


@dataclass(eq=False)
class _ToldNotFound(_Told, NotFound):
    told: str = ""


@dataclass(eq=False)
class _ToldConflict(_Told, Conflict):
    told: str = ""


@dataclass(eq=False)
class _ToldIllegalMove(_Told, IllegalMove):
    told: str = ""


@dataclass(eq=False)
class _ToldTooLarge(_Told, TooLarge):
    told: str = ""


def decode(error: grpc.RpcError, address: str) -> PatchError:
    """Return what a failed call means. `str()` of the result is the controller's own sentence wherever it said one."""
    if not isinstance(error, grpc.Call):
        return PatchError(str(error))
    code, sentence = error.code(), error.details() or ""
    status = _status(error)
    info, violations = error_details_pb2.ErrorInfo(), tuple[Violation, ...]()
    for detail in status.details:
        bad = error_details_pb2.BadRequest()
        if not _unpack(detail, info) and _unpack(detail, bad):
            violations = tuple(Violation(v.field, v.description) for v in bad.field_violations)
    if info.domain == DOMAIN:
        return _of_reason(info.reason, sentence, info.metadata, violations, address)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return Unavailable(f"cannot reach the controller at {address}: {_core(sentence)}")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Unavailable(f"the controller at {address} did not answer in time")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return Rejected(f"the controller at {address} does not know this call: it may be older than this client")
    if code in _REASON_OF_CODE:
        return _of_reason(_REASON_OF_CODE[code], sentence, {}, violations, address)
    return PatchError(f"the controller at {address} failed: {sentence or code.name}")


def _of_reason(
    reason: str, sentence: str, facts: Mapping[str, str], violations: tuple[Violation, ...], address: str
) -> PatchError:
    if (kind := _SENTENCES.get(reason)) is not None:
        return kind(sentence)
    match reason:
        case "INVALID_ARGUMENT":
            return InvalidArgument(violations or (Violation("request", sentence),))
        case "NOT_FOUND":
            return _ToldNotFound(facts.get("kind", ""), facts.get("name", ""), facts.get("help", ""), told=sentence)
        case "CONFLICT":
            return _ToldConflict(facts.get("kind", ""), facts.get("name", ""), told=sentence)
        case "ILLEGAL_MOVE":
            parts = {key: facts.get(key, "") for key in ("subject", "state", "event", "allowed")}
            return _ToldIllegalMove(sentence, **parts, told=sentence)
        case "TOO_LARGE":
            return _ToldTooLarge(
                facts.get("what", ""), _whole(facts.get("size")), _whole(facts.get("limit")), told=sentence
            )
        case "UNAVAILABLE":
            return Unavailable(f"the controller at {address} cannot do it now: {sentence}")
        case _:
            return PatchError(sentence or reason)


def _status(error: grpc.Call) -> status_pb2.Status:
    """Return the rich status of a failed call; an empty one when it has none that can be read."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return status_pb2.Status()


def _unpack(detail: object, into: Message) -> bool:
    try:
        return bool(detail.Unpack(into))  # type: ignore[attr-defined]  # a google.protobuf.Any
    except DecodeError:
        return False


def _core(sentence: str) -> str:
    """Say what gRPC's core says, without the words about its own parts: "connect: Connection refused (111)"."""
    return ": ".join(sentence.split(": ")[-2:]) or "the connection was lost"


def _whole(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
