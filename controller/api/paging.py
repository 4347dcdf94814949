"""Page sizes and page tokens.

A token is opaque to callers: the position of the last thing on the page before, and a mark of the question it belongs to. It grants
nothing, so it is not signed; it is checked, and one that is damaged, foreign or from another question is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import Final

from google.protobuf.message import Message

from common import digest
from common.errors import InvalidArgument

MAX_PAGE: Final = 1000
DEFAULT_PAGE: Final = 100
_MAX_TOKEN: Final = 1024
_PAGING_FIELDS: Final = ("page_size", "page_token")

Position = tuple[str | int, ...]


def page_size(asked: int) -> int:
    """Return how many things a page has; raise InvalidArgument."""
    if not 0 <= asked <= MAX_PAGE:
        raise InvalidArgument.of(
            "page_size", f"{asked} is out of range, allowed 1 to {MAX_PAGE}, or 0 for {DEFAULT_PAGE}"
        )
    return asked or DEFAULT_PAGE


def make_token(request: Message, position: Position) -> str:
    """Return the token with which the page after `position` is asked for."""
    text = json.dumps([_question(request), *position], separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_token(request: Message, token: str, kinds: tuple[type[str | int], ...]) -> Position | None:
    """Return the position in a token, None for the first page; raise InvalidArgument for anything that is not such a token."""
    if not token:
        return None
    try:
        if len(token) > _MAX_TOKEN:
            raise ValueError
        raw = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        question, *position = json.loads(raw)
        if len(position) != len(kinds) or not all(type(v) is k for v, k in zip(position, kinds, strict=True)):
            raise ValueError
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise InvalidArgument.of("page_token", "is not a token of this list; begin without one") from None
    if question != _question(request):
        raise InvalidArgument.of(
            "page_token", "belongs to another question; keep the other fields as they were, or begin without one"
        )
    return tuple(position)


def encode_time(at: datetime) -> str:
    """Write an instant into a position, to the microsecond."""
    return at.astimezone(UTC).isoformat()


def decode_time(text: str | int) -> datetime:
    """Read an instant from a position; raise InvalidArgument."""
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidArgument.of("page_token", "is not a token of this list; begin without one")
    return at


def _question(request: Message) -> str:
    """A mark of everything a request asks but the paging itself."""
    bare = type(request)()
    bare.CopyFrom(request)
    for name in _PAGING_FIELDS:
        bare.ClearField(name)
    return digest.of(request.DESCRIPTOR.full_name.encode() + b"\0" + bare.SerializeToString(deterministic=True)).hex()[
        :12
    ]
