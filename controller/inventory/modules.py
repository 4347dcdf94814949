"""Which builds of module streams a repository describes, and which are defaults: what stands in its modules.yaml, as far as we need it.

Read as events, never as a tree: such a file has tens of megabytes, and of each document four words count. Runs on untrusted bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import yaml

from controller.inventory.metadata import MetadataError, Packed, unpacked

MAX_MODULES_BYTES: Final = 256 << 20
_MAX_DEPTH: Final = 64
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WANTED: Final = frozenset(
    {("document",), ("data", "name"), ("data", "stream"), ("data", "context"), ("data", "module")}
)


class Described(NamedTuple):
    """A stream as it was built in one context."""

    name: str
    stream: str
    context: str


class Default(NamedTuple):
    """The stream of a module that counts as long as nobody enabled another or disabled the module."""

    name: str
    stream: str


def parse_modules(content: bytes | Packed, max_bytes: int = MAX_MODULES_BYTES) -> frozenset[Described | Default]:
    """Read a modules file, compressed as `metadata.parse_updateinfo` says. Raise MetadataError when it is not whole YAML, or too large."""
    with unpacked(content, max_bytes) as path, path.open("rb") as file:
        try:
            return frozenset(_described(yaml.parse(file, Loader=_LOADER)))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise MetadataError(f"is not whole YAML: {' '.join(str(error).split())[:200]}") from None


def defaults(found: Iterable[Described | Default]) -> frozenset[Default]:
    """Return the default streams that some modules files name; of a module for which they name several, none: they cancel each other."""
    named = dict[str, set[Default]]()
    for each in found:
        if isinstance(each, Default):
            named.setdefault(each.name, set()).add(each)
    return frozenset(each for several in named.values() if len(several) == 1 for each in several)


def _described(events: Iterable[Any]) -> Iterator[Described | Default]:
    found, keys = dict[tuple[str, ...], str](), list[str | None]()
    in_list = 0
    for event in events:
        match event:
            case yaml.DocumentStartEvent():
                found, keys, in_list = {}, [], 0
            case yaml.DocumentEndEvent():
                told = {path[1]: value for path, value in found.items() if len(path) > 1}
                match found.get(("document",)), told:
                    case "modulemd", {"name": name, "stream": stream, "context": context}:
                        yield Described(name, stream, context)
                    case "modulemd-defaults", {"module": module, "stream": stream}:
                        yield Default(module, stream)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent() if in_list or isinstance(
                event, yaml.SequenceStartEvent
            ):
                in_list += 1  # nothing in a list counts
            case yaml.MappingStartEvent():
                keys.append(None)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                if in_list:
                    in_list -= 1
                else:
                    keys.pop()
                if not in_list and keys:
                    keys[-1] = None  # that was the value of a key
            case yaml.ScalarEvent() | yaml.AliasEvent() if keys and not in_list:
                value = event.value if isinstance(event, yaml.ScalarEvent) else ""
                if keys[-1] is None:
                    keys[-1] = value
                    continue
                if (path := tuple(key or "" for key in keys)) in _WANTED:
                    found[path] = value
                keys[-1] = None
        if len(keys) + in_list > _MAX_DEPTH:
            raise MetadataError("is nested too deeply")
