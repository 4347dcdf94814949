"""Settings files: TOML into a frozen dataclass, with errors that name the key and what is allowed."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from common.clock import parse_duration
from common.errors import InvalidArgument, Violation

T = TypeVar("T")


def load(kind: type[T], path: Path) -> T:
    """Read `path` into the dataclass `kind`. A relative path in the file starts at the file's folder.

    Raises InvalidArgument that names each unknown, missing or wrong key.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidArgument.of(str(path), f"cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument.of(str(path), f"is not TOML: {error}") from None
    return parse(kind, table, path.parent)


def parse(kind: type[T], table: Mapping[str, object], folder: Path, prefix: str = "") -> T:
    """Turn a table into the dataclass `kind`; see `load`."""
    assert dataclasses.is_dataclass(kind)
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    wrong = [
        Violation(prefix + key, f"is unknown; known are {', '.join(fields)}") for key in table if key not in fields
    ]
    values = dict[str, Any]()
    for name, field in fields.items():
        if name not in table:
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                wrong.append(Violation(prefix + name, "is missing"))
            continue
        try:
            values[name] = _value(hints[name], table[name], folder, f"{prefix}{name}.")
        except InvalidArgument as inner:
            wrong.extend(inner.violations)
        except ValueError as error:
            wrong.append(Violation(prefix + name, str(error)))
    if wrong:
        raise InvalidArgument(tuple(wrong))
    try:
        return kind(**values)  # __post_init__ may refuse a value: ValueError("key: what is allowed")
    except ValueError as error:
        key, _, description = str(error).partition(": ")
        raise InvalidArgument.of(prefix + key, description) from None


def _value(hint: Any, value: object, folder: Path, prefix: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):  # X | None
        return _value(next(a for a in arguments if a is not type(None)), value, folder, prefix)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise ValueError("must be a table")
        return parse(hint, value, folder, prefix)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError("must be a list")
        return tuple(_value(arguments[0], item, folder, prefix) for item in value)
    if origin in (dict, Mapping) or getattr(origin, "__name__", "") == "Mapping":
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise ValueError("must be a table of texts")
        return dict(value)
    if hint is timedelta:
        return parse_duration(str(value)) if isinstance(value, str | int | float) else _refuse("a duration such as 10m")
    if hint is Path:
        return (folder / Path(value).expanduser()) if isinstance(value, str) else _refuse("a path")
    if hint is bool or isinstance(value, bool):
        return (
            value
            if hint is bool and isinstance(value, bool)
            else _refuse("true or false" if hint is bool else hint.__name__)
        )
    if hint is float and isinstance(value, int):
        return float(value)
    return (
        value if isinstance(value, hint) else _refuse({str: "a text", int: "a whole number", float: "a number"}[hint])
    )


def _refuse(expected: str) -> typing.NoReturn:
    raise ValueError(f"must be {expected}")
