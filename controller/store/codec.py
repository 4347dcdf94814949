"""Records as stores write them: times as whole microseconds since 1970 UTC, enums as their text, the rest as canonical JSON.

`to_json` writes every field, defaults too: a default that changes later must not change what was stored before. `from_json` fills
fields that are absent (they were added since) and refuses unknown ones (their migration is missing).
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum, StrEnum
from functools import cache
from typing import Any, Final, TypeVar

T = TypeVar("T")

_Code = Callable[[Any], Any]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False)
END_OF_TIME: Final = (1 << 63) - 1
"""Later than every `micros`: where a list that is read newest first begins."""


def micros(at: datetime) -> int:
    """Return an aware time as microseconds since 1970 UTC, exactly."""
    return (at - _EPOCH) // _MICROSECOND


def micros_or_none(at: datetime | None) -> int | None:
    """Return `micros(at)`, None for None."""
    return None if at is None else (at - _EPOCH) // _MICROSECOND


def moment(microseconds: int) -> datetime:
    """Return the time that `micros` turned into a number."""
    return _EPOCH + timedelta(microseconds=microseconds)


def moment_or_none(microseconds: int | None) -> datetime | None:
    """Return `moment(microseconds)`, None for None."""
    return None if microseconds is None else _EPOCH + timedelta(microseconds=microseconds)


def canonical(document: Any) -> str:
    """Return JSON of which equal documents have one spelling: sorted keys, no spaces."""
    return _CANONICAL.encode(document)


def to_json(record: Any) -> str:
    """Return a record, a dataclass or a named tuple, as canonical JSON."""
    kind: Any = type(record)
    return canonical(_encoder(kind)(record))


def from_json(kind: type[T], text: str) -> T:
    """Return the record of this kind that `to_json` wrote; raise ValueError if it is none."""
    hint: Any = kind
    try:
        return typing.cast(T, _decoder(hint)(json.loads(text)))
    except (KeyError, TypeError) as error:
        raise ValueError(f"stored {kind.__name__} cannot be read: {error}") from error


def _same(value: Any) -> Any:
    return value


_SCALARS: Final[Mapping[Any, tuple[_Code, _Code]]] = {
    str: (_same, _same),
    int: (_same, _same),
    bool: (_same, _same),
    bytes: (bytes.hex, bytes.fromhex),
    datetime: (micros, moment),
    date: (date.isoformat, date.fromisoformat),
    time: (time.isoformat, time.fromisoformat),
    timedelta: (lambda length: length // _MICROSECOND, lambda number: timedelta(microseconds=number)),
}


@cache
def _encoder(hint: Any) -> _Code:
    """Return what turns a value of this type into plain JSON values."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _SCALARS:
        return _SCALARS[hint][0]
    if isinstance(hint, typing.NewType):
        return _encoder(hint.__supertype__)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return str if issubclass(hint, StrEnum) else lambda value: value.name
    if origin in _UNIONS:
        inner = _encoder(_not_none(arguments))
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        inner = _encoder(arguments[0])
        return lambda value: [inner(v) for v in value]
    if origin is frozenset:
        inner = _encoder(arguments[0])
        return lambda value: sorted(inner(v) for v in value)
    if origin is Mapping:
        inner = _encoder(arguments[1])
        return lambda value: {key: inner(v) for key, v in value.items()}
    if _is_record(hint):
        encoders = [(name, _encoder(inner)) for name, inner in _fields(hint).items()]
        return lambda value: {name: encode(getattr(value, name)) for name, encode in encoders}
    raise TypeError(f"no way to store a {hint}")


@cache
def _decoder(hint: Any) -> _Code:
    """Return what turns the plain JSON values of `_encoder` back."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _SCALARS:
        return _SCALARS[hint][1]
    if isinstance(hint, typing.NewType):
        return _decoder(hint.__supertype__)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint if issubclass(hint, StrEnum) else hint.__getitem__
    if origin in _UNIONS:
        inner = _decoder(_not_none(arguments))
        return lambda value: None if value is None else inner(value)
    if origin in (tuple, frozenset):
        inner = _decoder(arguments[0])
        return lambda value: origin(inner(v) for v in value)
    if origin is Mapping:
        inner = _decoder(arguments[1])
        return lambda value: {key: inner(v) for key, v in value.items()}
    if _is_record(hint):
        make: Any = hint
        decoders = {name: _decoder(inner) for name, inner in _fields(hint).items()}
        return lambda value: make(**{name: decoders[name](v) for name, v in value.items()})
    raise TypeError(f"no way to store a {hint}")


_UNIONS: Final = (types.UnionType, typing.Union)


def _not_none(arguments: tuple[Any, ...]) -> Any:
    (only,) = (a for a in arguments if a is not types.NoneType)
    return only


def _is_record(hint: Any) -> bool:
    return dataclasses.is_dataclass(hint) or (isinstance(hint, type) and issubclass(hint, tuple))


def _fields(kind: Any) -> Mapping[str, Any]:
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else kind._fields
    return {name: hints[name] for name in names}
