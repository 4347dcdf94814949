"""One mTLS connection to the controller: every call has the caller's token, a deadline, and errors of common.errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import grpc

from common.errors import InvalidArgument
from common.tls import Join, parse_join
from controller.client.faults import decode

if TYPE_CHECKING:
    from google.protobuf.message import Message

DEFAULT_TIMEOUT_SECONDS: Final = 30.0
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),  # a controller that died silently must surface as an error
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_reconnect_backoff_ms", 5_000),  # a watch that waits for a restart decides its own pauses
)


Request = TypeVar("Request", bound="Message")
Response = TypeVar("Response", bound="Message")
Row = TypeVar("Row")


class Line:
    """A connection that is made by the first call and made again by itself whenever it was lost."""

    def __init__(self, address: str, join: Join, token: str, timeout_seconds: float) -> None:
        """Prepare it; nothing is sent yet."""
        self.address = address
        self.timeout_seconds = timeout_seconds
        self._metadata = (("authorization", f"Bearer {token}"),)
        credentials = grpc.ssl_channel_credentials(join.ca_pem, join.credential.key_pem, join.credential.chain_pem)
        self.channel = grpc.secure_channel(address, credentials, options=_OPTIONS)

    def ask(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout_seconds: float | None = None,
    ) -> Response:
        """Call once; raise a PatchError for anything but an answer."""
        try:
            return method(request, timeout=timeout_seconds or self.timeout_seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise decode(error, self.address) from None

    def stream(
        self, method: grpc.UnaryStreamMultiCallable[Request, Response], request: Request, timeout_seconds: float
    ) -> Iterator[Response]:
        """Yield the answers as they come. Leaving the loop early ends the call."""
        call = method(request, timeout=timeout_seconds, metadata=self._metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise decode(error, self.address) from None
        finally:
            call.cancel()

    def rows(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        rows_of: Callable[[Response], Iterable[Row]],
    ) -> Iterator[Row]:
        """Yield the rows of every page; the next page is asked for when the one before is used up.

        `method` is one that pages: its request has page_token, its response next_page_token.
        """
        while True:
            page = self.ask(method, request)
            yield from rows_of(page)
            token = page.next_page_token  # type: ignore[attr-defined]
            if not token:
                return
            request.page_token = token  # type: ignore[attr-defined]

    def close(self) -> None:
        """End the connection."""
        self.channel.close()


def checked_address(address: str) -> str:
    """Return "HOST:PORT" as it is; raise InvalidArgument that shows the form."""
    host, colon, port = address.strip().rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not bare or not port.isdigit() or not 0 < int(port) < 65536 or "/" in host:
        raise InvalidArgument.of("controller", f"{address!r} is not HOST:PORT, e.g. patch.example.org:8443")
    if ":" in bare and not host.startswith("["):
        raise InvalidArgument.of("controller", f"{address!r}: write an IPv6 address in brackets, e.g. [::1]:8443")
    return address.strip()


def checked_token(token: str) -> str:
    """Return the token without the white space around it; raise InvalidArgument for what cannot be one."""
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidArgument.of("token", "is empty or has characters that no token has")
    return token


def checked_join(join: bytes | Path) -> Join:
    """Read a join file, or its content; raise InvalidArgument with the matter."""
    try:
        return parse_join(join.read_bytes() if isinstance(join, Path) else join)
    except OSError as error:
        raise InvalidArgument.of("join", f"{join!s} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidArgument.of("join", str(error)) from None
