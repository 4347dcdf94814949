"""Turns errors into gRPC statuses: the code, a sentence for people, and google.rpc details for machines.

Whatever is not one of our own errors becomes INTERNAL with an id that also stands in the log: the caller learns nothing about our insides.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped,unused-ignore]
from grpc import aio
from grpc_status import rpc_status

from common.errors import InvalidArgument, PatchError
from common.ids import Ids
from controller.api.interception import Context, Interceptor

log = logging.getLogger(__name__)

DOMAIN: Final = "patchwarden"
# A status travels in HTTP trailers, which peers limit to 8 KiB: the sentence there twice, at worst three bytes for one.
_MAX_SENTENCE: Final = 600
_MAX_VALUE: Final = 200
_MAX_VIOLATIONS_BYTES: Final = 2_500


def status_of(error: PatchError) -> status_pb2.Status:
    """Return the status that tells a caller about an error, small enough to travel."""
    status = status_pb2.Status(
        code=grpc.StatusCode[error.code].value[0],
        message=_cut(str(error), _MAX_SENTENCE),
    )
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=dict(_facts(error)))
    status.details.append(_packed(info))
    if isinstance(error, InvalidArgument):
        status.details.append(_packed(_bad_request(error)))
    return status


def fault_interceptor(ids: Ids) -> Interceptor:
    """Return the outermost interceptor: no exception of a handler gets past it but as a status."""

    @asynccontextmanager
    async def around(method: str, context: Context) -> AsyncIterator[None]:
        try:
            yield
        except PatchError as error:
            log.info("refused", extra={"method": method, "reason": error.reason, "sentence": _cut(str(error), 300)})
            await context.abort_with_status(rpc_status.to_status(status_of(error)))
        except (aio.AbortError, aio.UsageError):
            raise  # a handler of the libraries has already said how the call ends
        except aio.InternalError:
            raise  # the caller went away while it was spoken to: no fault, and nobody is left to hear of one
        except DecodeError:  # of a message on a stream
            garbled = InvalidArgument.of("message", "is none of this call: client and controller do not speak alike")
            log.warning("garbled message", extra={"method": method, "peer": context.peer()})
            await context.abort_with_status(rpc_status.to_status(status_of(garbled)))
        except Exception:
            fault = ids.new("F-", 10)
            log.exception("a fault of the controller", extra={"method": method, "fault": fault})
            await context.abort(
                grpc.StatusCode.INTERNAL, f"a fault of the controller; its log tells more about {fault}"
            )

    return Interceptor(around)


def _facts(error: PatchError) -> Iterator[tuple[str, str]]:
    """The parts of the error's sentence, so that nobody needs to take the sentence apart."""
    yield "retry", "true" if error.retry else "false"
    if isinstance(error, InvalidArgument) or not dataclasses.is_dataclass(error):
        return
    for field in dataclasses.fields(error):
        value = getattr(error, field.name)
        if field.name not in ("sentence", "help") and isinstance(value, str | int) and value != "":
            yield field.name, _cut(str(value), _MAX_VALUE)


def _bad_request(error: InvalidArgument) -> error_details_pb2.BadRequest:
    details, size = error_details_pb2.BadRequest(), 0
    for violation in error.violations:
        field, description = _cut(violation.field, _MAX_VALUE), _cut(violation.description, _MAX_SENTENCE)
        size += len(field.encode()) + len(description.encode())
        if size > _MAX_VIOLATIONS_BYTES and details.field_violations:
            left = len(error.violations) - len(details.field_violations)
            details.field_violations.add(field="", description=f"and {left} more")
            break
        details.field_violations.add(field=field, description=description)
    return details


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
