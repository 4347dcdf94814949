"""Reading what people type: durations, batches, ramps. Whether a value is allowed is for the controller to say."""

from __future__ import annotations

import functools
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from common.clock import parse_duration
from controller.cli.command import Misuse

_MERGE: Final = "tag:yaml.org,2002:merge"
_LARGEST: Final = 2**32 - 1
_COMMENTS: Final = re.compile(r"\A(?:[ \t]*(?:#[^\n]*)?\n|\s)+")
_BETWEEN_NAMES: Final = re.compile(r"[,\s]+")


def length(option: str, text: str) -> timedelta:
    """Read a duration such as 90s or 1h30m."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise Misuse(f"{option}: {error}") from None


def whole_numbers(option: str, text: str) -> list[int]:
    """Read numbers with commas between them, "1,2,5"."""
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if not all(part.isascii() and part.isdigit() and int(part) <= _LARGEST for part in parts):
        raise Misuse(f"{option}: {text!r} is not a list of whole numbers such as 1,2,5")
    return [int(part) for part in parts]


def batches(option: str, path: Path) -> list[list[str]]:
    """Read batches by hand: one a line, names with spaces or commas between them; or YAML, a list of lists.

    `#` begins a comment. An empty line is nothing.
    """
    text = read_text(option, path)
    if _COMMENTS.sub("", text).startswith(("-", "[")):
        return [_batch(option, entry) for entry in _yaml_list(option, path, text)]
    lines = (line.split("#", 1)[0] for line in text.splitlines())
    found = [_names(line) for line in lines]
    return _some(option, path, [names for names in found if names])


def read_text(option: str, path: Path) -> str:
    """Read a file of text; `-` is standard input."""
    import sys

    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as error:
        raise Misuse(f"{option}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Misuse(f"{option}: {path} is not text") from None


def read_yaml(option: str, path: Path) -> Any:
    """Read a file of YAML, without anything executable in it; `-` is standard input."""
    return _yaml(option, path, read_text(option, path))


def _yaml(option: str, path: Path, text: str) -> Any:
    import yaml

    if (found := _json(text)) is not None:
        return found
    try:
        return yaml.load(text, Loader=_strict_loader())  # noqa: S506 - it is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise Misuse(f"{option}: {_called(path)} is not YAML: {where}{error.problem or error.context}") from None
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as error:  # ValueError: 2026-02-31 looks like a date, and is none
        said = "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise Misuse(f"{option}: {_called(path)} is not YAML: {said}") from None


def _json(text: str) -> dict[str, Any] | None:
    """Read an object of JSON, of which YAML knows all but tabs; None for everything else, and where a key stands twice."""
    text = text.removeprefix("\ufeff")
    if not text.lstrip().startswith("{"):
        return None
    try:
        found: dict[str, Any] = json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        return None  # YAML says what is wrong with it, and where
    return found


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


@functools.cache
def _strict_loader() -> type[Any]:
    """Return a safe loader that refuses a key that stands twice in one table: YAML would let the last one win and say nothing."""
    import yaml

    class Strict(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen = set[tuple[str, str]]()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                    named = (key.tag, key.value)
                    if named in seen:
                        raise yaml.constructor.ConstructorError(
                            None, None, f"{key.value[:80]!r} stands twice in one table", key.start_mark
                        )
                    seen.add(named)
            return dict(super().construct_mapping(node, deep))

    return Strict


def _called(path: Path) -> str:
    return "stdin" if str(path) == "-" else str(path)


def _yaml_list(option: str, path: Path, text: str) -> list[Any]:
    value = _yaml(option, path, text)
    if not isinstance(value, list):
        raise Misuse(f"{option}: must be a list of batches, each a list of names")
    return value


def _batch(option: str, entry: object) -> list[str]:
    if isinstance(entry, str):
        return _names(entry)
    if isinstance(entry, list) and all(isinstance(name, str) for name in entry):
        return list(entry)
    raise Misuse(f"{option}: {entry!r} is not a batch: write a list of names, in quotes if they look like numbers")


def _names(text: str) -> list[str]:
    return [name for name in _BETWEEN_NAMES.split(text.strip()) if name]


def _some(option: str, path: Path, found: list[list[str]]) -> list[list[str]]:
    if not found:
        raise Misuse(f"{option}: {path} names no instance")
    return found
