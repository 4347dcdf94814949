"""What holds packages back: version locks and excludes (SEMANTICS R3), as the host's settings spell them.

dnf's `includepkgs` is the other way round: only what matches is offered. Each of its words is told as an exclude spelled
`includepkgs=WORD`; no package glob can look like that.
"""

from __future__ import annotations

import configparser
import tomllib
from collections.abc import Iterable
from typing import Any, Final

from common.manifest import Hold, HoldKind, Problem, ProblemCode
from uniagent.collect.model import Asked
from uniagent.collect.rooted import Tree

INCLUDE: Final = "includepkgs="
_PLUGINS: Final = (
    ("etc/dnf/plugins/versionlock.conf", "/etc/dnf/plugins/versionlock.list"),
    ("etc/yum/pluginconf.d/versionlock.conf", "/etc/yum/pluginconf.d/versionlock.list"),
)
_DNF5_LIST: Final = "etc/dnf/versionlock.toml"
_OFF: Final = frozenset({"0", "no", "false", "off"})
_MAX_PATTERN: Final = 1000


def read(tree: Tree, asked: Asked) -> tuple[tuple[Hold, ...], tuple[Problem, ...]]:
    """Return all that holds packages back in an installation."""
    holds, problems = list(excludes(asked)), list[Problem]()
    for config, usual_list in _PLUGINS if asked.plugins else ():
        if not tree.path(config).is_file():
            continue  # the plugin is not installed
        try:
            place = _lock_list(tree.read_text(config), usual_list)
            if place and tree.path(place).exists():
                holds += (Hold(HoldKind.VERSIONLOCK, pattern) for pattern in parse_lock_list(tree.read_text(place)))
        except (OSError, configparser.Error) as error:
            problems.append(_unread(f"/{config} or its list", error))
    if tree.path(_DNF5_LIST).is_file():
        try:
            holds += (Hold(HoldKind.VERSIONLOCK, pattern) for pattern in parse_lock_table(tree.read_text(_DNF5_LIST)))
        except (OSError, ValueError) as error:
            problems.append(_unread(f"/{_DNF5_LIST}", error))
    if any(len(hold.pattern) > _MAX_PATTERN for hold in holds):
        problems.append(Problem(ProblemCode.HOLDS, f"a lock or exclude is longer than {_MAX_PATTERN} characters"))
    return tuple(dict.fromkeys(h for h in holds if len(h.pattern) <= _MAX_PATTERN)), tuple(problems)


def excludes(asked: Asked) -> Iterable[Hold]:
    """Return what the package manager's settings leave out, but for what they say does not count."""
    off = asked.disabled_excludes
    if "all" in off or "*" in off:
        return
    if "main" not in off:
        yield from (Hold(HoldKind.EXCLUDE, word) for word in asked.excludes)
        yield from (Hold(HoldKind.EXCLUDE, INCLUDE + word) for word in asked.includes)
    for repository in asked.repositories:
        if repository.id not in off:
            yield from (Hold(HoldKind.EXCLUDE, word, repository.id) for word in repository.excludes)
            yield from (Hold(HoldKind.EXCLUDE, INCLUDE + word, repository.id) for word in repository.includes)


def parse_lock_list(text: str) -> tuple[str, ...]:
    """Read the lines of a versionlock.list of dnf 4 or yum: one pattern each, `!` before one that is to be avoided."""
    lines = (line.split("#", 1)[0].strip() for line in text.split("\n"))
    return tuple(line for line in lines if line)


def parse_lock_table(text: str) -> tuple[str, ...]:
    """Read a versionlock.toml of dnf 5; raise ValueError when it is something else."""
    packages = tomllib.loads(text).get("packages", [])
    if not isinstance(packages, list):
        raise ValueError("packages is no list")
    try:
        return tuple(pattern for package in packages for pattern in _conditions(package))
    except (KeyError, TypeError, AttributeError):
        raise ValueError("an entry is no package with conditions") from None


def _conditions(package: Any) -> Iterable[str]:
    """Spell a lock on one exact build like dnf 4 does, and any other one in words."""
    name, conditions = package["name"], package.get("conditions", [])
    match conditions:
        case [{"key": "evr", "comparator": "=" | "==", "value": str(evr)}]:
            yield f"{name}-{evr}.*"
        case []:
            yield str(name)
        case _:
            yield " and ".join(f"{name} {c['key']} {c['comparator']} {c['value']}" for c in conditions)


def _lock_list(config: str, usual: str) -> str:
    """Return where a version-lock plugin keeps its list; "" when the plugin is off."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read_string(config)
    if parser.get("main", "enabled", fallback="1").strip().lower() in _OFF:
        return ""
    return parser.get("main", "locklist", fallback=usual).strip()


def _unread(what: str, error: Exception) -> Problem:
    why = error.strerror if isinstance(error, OSError) and error.strerror else "its form is wrong"
    return Problem(ProblemCode.HOLDS, f"{what} cannot be read: {why}")
