"""What repositories offer, by name: read once for all baselines and days."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, TypeVar

from immutables import Map

from common import evr
from controller.compliance.model import Advisory, Available

K = TypeVar("K")
V = TypeVar("V")

Offered = Mapping[tuple[str, bytes], tuple[str, Available]]
"""Builds of one name by architecture and key of the version: each with the first repository that offers it."""
_NOT_OFFERED: Final[Offered] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RepositoryContent:
    """What one repository holds. `available` is None when its list of packages was not read."""

    id: str
    advisories: Sequence[Advisory]
    available: Sequence[Available] | None = None


@dataclass(frozen=True, slots=True)
class Offers:
    """What some repositories offer together."""

    names: Map[str, Offered]
    everything_read: bool
    """Whether all repositories could be asked."""

    def of(self, name: str) -> Offered:
        """Return the builds of a name, none where there are none."""
        return self.names.get(name, _NOT_OFFERED)


def offers_of(contents: Iterable[RepositoryContent]) -> Offers:
    """Read the lists of packages of some repositories, which must stand in order of their ids."""
    names = defaultdict[str, dict[tuple[str, bytes], tuple[str, Available]]](dict)
    everything_read = True
    for content in contents:
        if content.available is None:
            everything_read = False
            continue
        for build in content.available:
            name, *version, arch = build.nevra
            known, key = names[name], (arch, evr.key(*version))
            if (first := known.get(key)) is None:
                known[key] = content.id, build
            elif build.obsoletes and not first[1].obsoletes:
                known[key] = first[0], replace(first[1], obsoletes=build.obsoletes)
    return Offers(Map(names), everything_read)


def offers_again(before: Offers, names: AbstractSet[str], contents: Iterable[RepositoryContent]) -> Offers:
    """Return what `offers_of` does, given what it said before the builds of some names changed: all others are taken over."""
    part = offers_of(
        replace(content, available=[b for b in content.available if b.nevra.name in names])
        if content.available is not None
        else content
        for content in contents
    )
    return Offers(with_changes(before.names, names, part.names), part.everything_read)


def with_changes(before: Map[K, V], gone: Iterable[K], now: Mapping[K, V]) -> Map[K, V]:
    """Return it without some keys, if they were there, and with others; what stays is not copied."""
    left = before.mutate()
    for key in gone:
        left.pop(key, None)
    left.update(now)
    return left.finish()
