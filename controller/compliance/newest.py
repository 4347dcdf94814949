"""Which of the installed builds count: of several builds of one name.arch the newest decides (SEMANTICS R7)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pyroaring import FrozenBitMap

from controller.compliance.judge import PackageTable
from controller.inventory.model import Snapshot

_NOTHING: Final = FrozenBitMap()
_MAX_SNAPSHOTS: Final = 1 << 17
"""Of so many it is remembered which builds do not count: usually none, so an entry takes some 200 bytes."""
_MAX_EXAMPLES: Final = 1 << 11
"""So many are compared with; each is a few kilobytes that the snapshots share."""
_SAMPLE: Final = 127
"""Snapshots are taken for alike when they have the same of every so-manieth package, in one of two countings.

It is prime, lest it keep step with the builds of a name.
"""
_ALIKE: Final = 64
"""With more packages that the other has not, all are looked through."""


@dataclass(frozen=True, slots=True)
class _Example:
    """A snapshot that was looked through: which name.arch it has, of which it has several builds, and which of those do not count."""

    packages: FrozenBitMap
    names: FrozenBitMap
    several: FrozenBitMap
    older: FrozenBitMap


class Newest:
    """Chooses the builds that count, and remembers.

    Hosts are copies of few images: for one that is like another, only the packages in which they differ, and those of which either has
    several builds, are looked at.
    """

    def __init__(self, table: PackageTable) -> None:
        """Ask `table` about the packages."""
        self._table = table
        self._older = OrderedDict[bytes, FrozenBitMap]()
        self._examples = OrderedDict[bytes, _Example]()
        self._samples: tuple[tuple[bytes, FrozenBitMap], ...] = ()
        self._sampled_to = 0

    def of(self, snapshot: Snapshot) -> FrozenBitMap:
        """Return one id for each installed name.arch. Raises ValueError for a package that the table does not know."""
        if (older := self._older.get(snapshot.digest)) is None:
            older = self._older[snapshot.digest] = self._look(snapshot.packages)
            if len(self._older) > _MAX_SNAPSHOTS:
                self._older.popitem(last=False)
        return snapshot.packages - older if older else snapshot.packages

    def _look(self, packages: FrozenBitMap) -> FrozenBitMap:
        names = list[bytes]()
        for name in self._names_of(packages):
            example = self._examples.get(name)
            if example is not None:
                other = packages - example.packages
                if len(other) <= _ALIKE:
                    self._examples.move_to_end(name)
                    return self._older_than_in(example, packages, other)
            names.append(name)
        found = self._table.numbers(packages.to_array())
        numbers = FrozenBitMap(found)
        if len(numbers) == len(found):
            older = several = _NOTHING  # nothing is installed twice
        else:
            older = self._older_of(packages, packages)
            several = packages & FrozenBitMap.union(*map(self._table.siblings, older))
        for name in names:
            self._examples[name] = _Example(packages, numbers, several, older)
            if len(self._examples) > _MAX_EXAMPLES:
                self._examples.popitem(last=False)
        return older

    def _older_than_in(self, example: _Example, packages: FrozenBitMap, other: FrozenBitMap) -> FrozenBitMap:
        """Return what does not count in a snapshot that is like an example, but for what it has that the example has not."""
        gone = example.packages - packages
        if gone.isdisjoint(example.several):
            brought = self._table.numbers(other.to_array())
            names = set(brought)
            if len(names) == len(brought) and not any(
                name in example.names for name in names.difference(self._table.numbers(gone.to_array()))
            ):
                return (
                    example.older
                )  # each brings a name.arch that was not there, or comes in the place of the one build there was
        return self._older_of(packages, other | (packages & example.several))

    def _older_of(self, packages: FrozenBitMap, doubtful: FrozenBitMap) -> FrozenBitMap:
        """Return what does not count, if only packages that have the name.arch of a doubtful one may be there in several builds.

        Of builds that rpm takes for equally new their spelling decides, never which of them was heard of first.
        """
        groups = set(map(self._table.siblings, doubtful.to_array()))
        if not groups or packages.intersection_cardinality(FrozenBitMap.union(*groups)) == len(groups):
            return _NOTHING  # one of each
        older = list[int]()
        for group in groups:
            if packages.intersection_cardinality(group) > 1:
                found = sorted((p.key, p.nevra, p.module, p.id) for p in map(self._table.__getitem__, packages & group))
                older += [number for _, _, _, number in found[:-1]]
        return FrozenBitMap(older)

    def _names_of(self, packages: FrozenBitMap) -> Iterator[bytes]:
        """Return what a snapshot is found by."""
        if packages and packages.max() >= self._sampled_to:
            self._sampled_to = 2 * packages.max()
            self._samples = tuple(
                (bytes((place,)), FrozenBitMap(range(place * _SAMPLE // 2, self._sampled_to, _SAMPLE)))
                for place in range(2)
            )
        return (prefix + (packages & sample).to_array().tobytes() for prefix, sample in self._samples)
