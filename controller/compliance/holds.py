"""Whether the host's own settings hold an update back (SEMANTICS R3): version locks and excludes, as dnf and yum read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Final

from common.manifest import Hold, HoldKind
from common.nevra import Nevra

_INCLUDE: Final = "includepkgs="
"""How an agent spells a word of includepkgs: the list of what a repository may offer."""


def held_by(target: Nevra, installed: Nevra, holds: Iterable[Hold], repository: str) -> Hold | None:
    """Return what keeps `target`, offered by `repository`, from replacing `installed`; None when nothing does.

    A lock keeps a package at the versions that locks name; a lock that begins with "!" keeps it away from those. An exclude
    hides the builds that it matches, everywhere or in one repository; one that begins with "includepkgs=" is a word of a list that
    hides all the builds that none of its words matches.
    """
    locks, includes = list[Hold](), list[Hold]()
    for hold in holds:
        if hold.repository and hold.repository != repository:
            continue
        if hold.pattern.startswith(_INCLUDE):
            includes.append(hold)
        elif hold.kind is HoldKind.EXCLUDE:
            if matches(hold.pattern, target):
                return hold
        elif hold.pattern.startswith("!"):
            if matches(hold.pattern[1:], target):
                return hold
        elif _concerns(hold.pattern, target, installed):
            locks.append(hold)
    if includes and not any(matches(word.pattern.removeprefix(_INCLUDE), target) for word in includes):
        return includes[0]
    if locks and not any(matches(lock.pattern, target) for lock in locks):
        return locks[0]
    return None


def matches(pattern: str, build: Nevra) -> bool:
    """Say whether a package spec (a name, n.a, n-v, n-v-r, n-v-r.a, with or without epoch, globs) means this build."""
    return any(fnmatchcase(form, pattern) for form in forms(build))


def forms(build: Nevra) -> Iterator[str]:
    """Return all the ways to spell a build."""
    name, epoch, version, release, arch = build
    yield name
    yield f"{name}.{arch}"
    for evr in (version, f"{version}-{release}", f"{version}-{release}.{arch}"):
        yield f"{name}-{evr}"
        yield f"{name}-{epoch}:{evr}"
        yield f"{epoch}:{name}-{evr}"


def _concerns(pattern: str, target: Nevra, installed: Nevra) -> bool:
    """A lock is about a package if it names one of its builds, or any other version of it."""
    if matches(pattern, installed) or matches(pattern, target):
        return True
    head, _, _ = pattern.rpartition("-")
    name, _, _ = head.rpartition("-")
    return bool(name) and fnmatchcase(target.name, name.rpartition(":")[2])
