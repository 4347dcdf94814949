"""Which builds of module streams a repository describes, and which are defaults: what stands in its modules.yaml, as far as we need it.

Read as events, never as a tree: such a file has tens of megabytes, and of each document four words count, and which modules it needs.
Runs on untrusted bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import yaml

from controller.inventory.metadata import MetadataError, Packed, unpacked

MAX_MODULES_BYTES: Final = 256 << 20
_MAX_DEPTH: Final = 64
_MAX_DEPENDENCIES: Final = 2_000
"""Events of one document; nobody's dependencies are near that."""
_DEPENDENCIES: Final = ["data", "dependencies"]
_PLATFORM: Final = "platform"
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WANTED: Final = frozenset(
    {("document",), ("data", "name"), ("data", "stream"), ("data", "context"), ("data", "module")}
)


class Described(NamedTuple):
    """A stream as it was built in one context."""

    name: str
    stream: str
    context: str
    requires: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Of other modules: the streams of which it needs one; "-5.24" is one that will not do. Empty where it has a choice of such sets."""


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
    in_list, dependencies, is_dependency = 0, list[Any](), False
    for event in events:
        if is_dependency and len(dependencies) <= _MAX_DEPENDENCIES:
            dependencies.append(event)
        match event:
            case yaml.DocumentStartEvent():
                found, keys, in_list, dependencies, is_dependency = {}, [], 0, [], False
            case yaml.DocumentEndEvent():
                told = {path[1]: value for path, value in found.items() if len(path) > 1}
                match found.get(("document",)), told:
                    case "modulemd", {"name": name, "stream": stream, "context": context}:
                        yield Described(name, stream, context, _requires(dependencies))
                    case "modulemd-defaults", {"module": module, "stream": stream}:
                        yield Default(module, stream)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent() if in_list or isinstance(
                event, yaml.SequenceStartEvent
            ):
                is_dependency = is_dependency or (not in_list and keys == _DEPENDENCIES)
                in_list += 1  # nothing in any other list counts
            case yaml.MappingStartEvent():
                keys.append(None)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                if in_list:
                    in_list -= 1
                else:
                    keys.pop()
                if not in_list:
                    is_dependency = False
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


def _requires(events: Sequence[Any]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Read the events of a list of dependencies, of which the first, the list's own beginning, was left out."""
    if not events or len(events) > _MAX_DEPENDENCIES:
        return ()
    open_lists: list[list[Any]] = [[]]
    for event in events[:-1]:
        match event:
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                open_lists.append([])
            case yaml.SequenceEndEvent():
                items = open_lists.pop()
                open_lists[-1].append(items)
            case yaml.MappingEndEvent():
                items = open_lists.pop()
                open_lists[-1].append(
                    {k: v for k, v in zip(items[::2], items[1::2], strict=True) if isinstance(k, str)}
                )
            case yaml.ScalarEvent():
                open_lists[-1].append(event.value)
            case _:
                return ()  # what stands elsewhere is not looked for
    match open_lists[0]:
        case [{"requires": dict() as required}]:
            return tuple(
                sorted(
                    (module, tuple(streams))
                    for module, streams in required.items()
                    if module != _PLATFORM
                    and isinstance(streams, list)
                    and streams
                    and all(isinstance(s, str) for s in streams)
                )
            )
    return ()
