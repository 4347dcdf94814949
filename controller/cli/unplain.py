"""Plain values back to API messages: what `--output yaml` writes can be edited and read again. The inverse of plain.py.

Descriptors are Any here: protobuf's C and Python implementations have no common type for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from controller.cli.command import Misuse

if TYPE_CHECKING:
    from google.protobuf.message import Message


def fill(message: Message, document: object, option: str, path: str = "") -> None:
    """Set the fields of a message from plain values; null leaves one as it is. Raise Misuse that names the key that is wrong."""
    fields: Mapping[str, Any] = message.DESCRIPTOR.fields_by_name
    if not isinstance(document, Mapping):
        raise Misuse(f"{option}: {path or 'the file'} must be a table with the keys {', '.join(fields)}")
    for key, value in document.items():
        where = f"{path}.{key}" if path else str(key)
        if (field := fields.get(str(key))) is None:
            raise Misuse(f"{option}: {where} is unknown, allowed are {', '.join(fields)}")
        if value is None:
            continue
        if not field.is_repeated:
            _set(message, field, value, option, where)
            continue
        if not isinstance(value, list):
            raise Misuse(f"{option}: {where} must be a list")
        target = getattr(message, field.name)
        for number, item in enumerate(value):
            place = f"{where}[{number}]"
            if field.message_type is not None:
                _fill(target.add(), item, option, place)
            else:
                target.append(_scalar(field, item, option, place))


def _set(message: Message, field: Any, value: Any, option: str, where: str) -> None:
    if field.message_type is None:
        try:
            setattr(message, field.name, _scalar(field, value, option, where))
        except (TypeError, ValueError):
            raise Misuse(f"{option}: {where}: {value!r} cannot stand here") from None
        return
    inner = getattr(message, field.name)
    inner.SetInParent()
    _fill(inner, value, option, where)


def _fill(inner: Any, value: Any, option: str, where: str) -> None:
    """Set a message that may be one of those that have a plain spelling of their own."""
    match inner.DESCRIPTOR.full_name:
        case "google.protobuf.Timestamp":
            inner.FromDatetime(_instant(value, option, where))
        case "google.protobuf.Duration":
            if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 10**9:
                raise Misuse(f"{option}: {where}: {value!r} is not a number of seconds")
            inner.FromTimedelta(timedelta(seconds=value))
        case _:
            fill(inner, value, option, where)


def _scalar(field: Any, value: Any, option: str, where: str) -> Any:
    if field.enum_type is not None:
        names: Mapping[str, Any] = field.enum_type.values_by_name
        prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
        found = names.get(f"{prefix}{value}") if isinstance(value, str) else None
        if found is None:
            words = (name.removeprefix(prefix) for name in names if not name.endswith("UNSPECIFIED"))
            raise Misuse(f"{option}: {where}: {value!r} is not one of {', '.join(words)}")
        return found.number
    if isinstance(value, date):  # YAML reads 2026-12-01 as a day
        return value.isoformat()
    if isinstance(value, dict | list):
        raise Misuse(f"{option}: {where} must be a single value")
    return value


def _instant(value: Any, option: str, where: str) -> datetime:
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise Misuse(f"{option}: {where}: {value!r} is not an instant such as 2027-06-30T12:00:00Z") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
