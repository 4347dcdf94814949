"""What repositories offer, looked up by name: read once for all baselines and days."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import TypeVar

from common.nevra import Nevra
from controller.compliance.model import Advisory, Available

K = TypeVar("K")
V = TypeVar("V")

BuildKey = tuple[str, str, bytes]
"""Name, architecture and the key of the version."""


@dataclass(frozen=True, slots=True)
class RepositoryContent:
    """What one repository holds. `available` is None when its list of packages was not read."""

    id: str
    advisories: Sequence[Advisory]
    available: Sequence[Available] | None = None


@dataclass(frozen=True, slots=True)
class Offers:
    """What some repositories offer together."""

    builds: Mapping[BuildKey, tuple[str, Nevra, int]]
    """The first repository that offers a build, the build, and when it was built."""
    obsoletes: Mapping[BuildKey, tuple[str, ...]]
    """What a build says that it replaces."""
    names: Mapping[str, Sequence[BuildKey]]
    """The builds of each name."""
    everything_read: bool
    """Whether all repositories could be asked."""


def offers_of(contents: Iterable[RepositoryContent]) -> Offers:
    """Read the lists of packages of some repositories, which must stand in order of their ids."""
    builds = dict[BuildKey, tuple[str, Nevra, int]]()
    obsoletes = dict[BuildKey, tuple[str, ...]]()
    names = defaultdict[str, list[BuildKey]](list)
    everything_read = True
    for content in contents:
        if content.available is None:
            everything_read = False
            continue
        for build in content.available:
            key = (build.nevra.name, build.nevra.arch, build.nevra.key)
            if key not in builds:
                builds[key] = (content.id, build.nevra, build.build_time)
                names[key[0]].append(key)
            if build.obsoletes:
                obsoletes.setdefault(key, build.obsoletes)
    return Offers(builds, obsoletes, names, everything_read)


def offers_again(before: Offers, names: AbstractSet[str], contents: Iterable[RepositoryContent]) -> Offers:
    """Return what `offers_of` does, given what it said before the builds of some names changed: all others are taken over."""
    part = offers_of(
        replace(content, available=[b for b in content.available if b.nevra.name in names])
        for content in contents
        if content.available is not None
    )
    gone = [key for name in names for key in before.names.get(name, ())]
    return Offers(
        without(before.builds, gone) | dict(part.builds),
        without(before.obsoletes, gone) | dict(part.obsoletes),
        without(before.names, names) | dict(part.names),
        before.everything_read,
    )


def without(mapping: Mapping[K, V], keys: Iterable[K]) -> dict[K, V]:
    """Return a copy in which some keys, if they were there, are not."""
    left = dict(mapping)
    for key in keys:
        left.pop(key, None)
    return left
