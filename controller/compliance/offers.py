"""What repositories offer, looked up by name: read once for all baselines and days."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import TypeVar

from immutables import Map

from common.nevra import Nevra
from controller.compliance.model import Advisory, Available

K = TypeVar("K")
V = TypeVar("V")

BuildKey = tuple[str, str, bytes]
"""Name, architecture and the key of the version."""
Offer = tuple[str, Nevra, int]
"""The first repository that offers a build, the build, and when it was built."""


@dataclass(frozen=True, slots=True)
class RepositoryContent:
    """What one repository holds. `available` is None when its list of packages was not read."""

    id: str
    advisories: Sequence[Advisory]
    available: Sequence[Available] | None = None


@dataclass(frozen=True, slots=True)
class Offers:
    """What some repositories offer together."""

    builds: Map[BuildKey, Offer]
    obsoletes: Map[BuildKey, tuple[str, ...]]
    """What a build says that it replaces."""
    names: Map[str, Sequence[BuildKey]]
    """The builds of each name."""
    everything_read: bool
    """Whether all repositories could be asked."""


def offers_of(contents: Iterable[RepositoryContent]) -> Offers:
    """Read the lists of packages of some repositories, which must stand in order of their ids."""
    builds = dict[BuildKey, Offer]()
    obsoletes = dict[BuildKey, tuple[str, ...]]()
    names = defaultdict[str, list[BuildKey]](list)
    everything_read = True
    for content in contents:
        if content.available is None:
            everything_read = False
            continue
        for build in content.available:
            nevra = build.nevra
            key = (nevra.name, nevra.arch, nevra.key)
            if key not in builds:
                builds[key] = (content.id, nevra, build.build_time)
                names[nevra.name].append(key)
            if build.obsoletes:
                obsoletes.setdefault(key, build.obsoletes)
    return Offers(Map(builds), Map(obsoletes), Map(names), everything_read)


def offers_again(before: Offers, names: AbstractSet[str], contents: Iterable[RepositoryContent]) -> Offers:
    """Return what `offers_of` does, given what it said before the builds of some names changed: all others are taken over."""
    part = offers_of(
        replace(content, available=[b for b in content.available if b.nevra.name in names])
        for content in contents
        if content.available is not None
    )
    gone = [key for name in names for key in before.names.get(name, ())]
    return Offers(
        with_changes(before.builds, gone, part.builds),
        with_changes(before.obsoletes, gone, part.obsoletes),
        with_changes(before.names, names, part.names),
        before.everything_read,
    )


def with_changes(before: Map[K, V], gone: Iterable[K], now: Mapping[K, V]) -> Map[K, V]:
    """Return it without some keys, if they were there, and with others; what stays is not copied."""
    left = before.mutate()
    for key in gone:
        left.pop(key, None)
    left.update(now)
    return left.finish()
