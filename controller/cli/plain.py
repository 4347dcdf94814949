"""API messages as plain values for JSON, YAML and CSV: the API's own field names, states without prefixes, UTC times.

Every field of a message is always there, so that scripts need not ask: null stands for what is absent or unspecified.
Bytes are hashes, written in hexadecimal as wherever else people meet them.
Descriptors are Any here: protobuf's C and Python implementations have no common type for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

if TYPE_CHECKING:
    from google.protobuf.message import Message

_TIMESTAMP: Final = "google.protobuf.Timestamp"
_DURATION: Final = "google.protobuf.Duration"
_SAID_WHEN_UNSPECIFIED: Final = "ComplianceLevel"  # the one enum whose UNSPECIFIED is a word of the model


def plain(message: Message) -> dict[str, Any]:
    """Return a message as plain values."""
    return {field.name: _value(message, field) for field in message.DESCRIPTOR.fields}


def columns(kind: Any, prefix: str = "") -> Iterator[str]:
    """Yield the names of the CSV columns of a message type (its DESCRIPTOR); a field of a nested message is "outer.inner"."""
    for field in kind.fields:
        if _is_nested(field):
            yield from columns(field.message_type, f"{prefix}{field.name}.")
        elif not _is_list_of_messages(field):
            yield prefix + field.name


def cells(message: Message) -> dict[str, str]:
    """Return a message as CSV cells by column name. Lists are joined by spaces, maps are key=value; lists of messages are left out."""
    found = dict[str, str]()
    for field in message.DESCRIPTOR.fields:
        if _is_nested(field):
            inner = cells(getattr(message, field.name))
            found |= {f"{field.name}.{name}": text for name, text in inner.items()}
        elif not _is_list_of_messages(field):
            found[field.name] = _cell(_value(message, field))
    return found


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list():
            return " ".join(_cell(inner) for inner in value)
        case dict():
            return " ".join(f"{key}={_cell(inner)}" for key, inner in value.items())
        case _:
            return str(value)


def _value(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        if isinstance(value, Mapping):
            return {key: value[key] for key in sorted(value)}
        return [_scalar(field, item) for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _scalar(field, value)


def _scalar(field: Any, value: Any) -> Any:
    if field.enum_type is not None:
        return _enum(field, value)
    match value:
        case Timestamp():
            return _instant(value)
        case Duration():
            return _seconds(value)
        case bytes():
            return value.hex()
    return plain(value) if field.message_type is not None else value


def _enum(field: Any, number: int) -> str | int | None:
    kind = field.enum_type
    known = kind.values_by_number.get(number)
    if known is None:  # said by a newer controller
        return number
    if number == 0 and kind.name != _SAID_WHEN_UNSPECIFIED:
        return None
    return str(known.name).removeprefix(kind.values_by_number[0].name.removesuffix("UNSPECIFIED"))


def _instant(stamp: Timestamp) -> str:
    text = stamp.ToDatetime(tzinfo=UTC).isoformat(timespec="microseconds" if stamp.nanos else "seconds")
    return text.replace("+00:00", "Z")


def _seconds(duration: Duration) -> int | float:
    return duration.seconds if not duration.nanos else float(duration.seconds + Decimal(duration.nanos) / 10**9)


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _is_list_of_messages(field: Any) -> bool:
    return bool(field.is_repeated and field.message_type is not None and not _is_map(field))


def _is_nested(field: Any) -> bool:
    if field.message_type is None or field.is_repeated:
        return False
    return field.message_type.full_name not in (_TIMESTAMP, _DURATION)
