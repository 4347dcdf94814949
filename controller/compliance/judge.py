"""One verdict for every distinct package of the fleet, once; instances are then a matter of bitmaps (DESIGN §4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pyroaring import BitMap, FrozenBitMap

from controller.compliance.approvals import Approved, Line
from controller.inventory.advisories import is_modular
from controller.inventory.model import Package, Snapshot

_NOTHING: Final = FrozenBitMap()


class PackageTable:
    """Interned packages by id, and which ids are builds of one name.arch. Grows; nothing in it changes."""

    def __init__(self) -> None:
        """Make an empty table."""
        self._packages = list[Package | None]([None])
        self._names = dict[tuple[str, str], BitMap]()
        self._kernels = BitMap()

    @property
    def last_id(self) -> int:
        """The greatest id known, 0 in an empty table."""
        return len(self._packages) - 1

    def add(self, packages: Iterable[Package]) -> None:
        """Take packages in ascending order of id; those already known change nothing."""
        for package in packages:
            if package.id < len(self._packages):
                continue
            self._packages += [None] * (package.id - len(self._packages))
            self._packages.append(package)
            name = (package.nevra.name, package.nevra.arch)
            if name not in self._names:
                self._names[name] = BitMap()
            self._names[name].add(package.id)
            if name[0].startswith("kernel"):
                self._kernels.add(package.id)

    def __getitem__(self, package_id: int) -> Package:
        package = self._packages[package_id] if 0 < package_id < len(self._packages) else None
        if package is None:
            raise ValueError(f"package {package_id} was not learnt")
        return package

    def builds(self, name: str, arch: str) -> BitMap | FrozenBitMap:
        """Return the ids of all builds of a name.arch."""
        return self._names.get((name, arch), _NOTHING)

    @property
    def kernels(self) -> BitMap:
        """The ids of all builds whose name begins like a kernel's. Not to be changed."""
        return self._kernels

    def after(self, package_id: int) -> Iterator[Package]:
        """Return the packages with greater ids, ascending."""
        return (package for package in self._packages[package_id + 1 :] if package is not None)


def newest_builds(snapshot: Snapshot, table: PackageTable) -> FrozenBitMap:
    """Return one id for each installed name.arch: of several installed versions the newest decides (R7).

    Raises ValueError for a package that `table` does not know.
    """
    newest = dict[tuple[str, str], Package]()
    older = list[int]()
    for package_id in snapshot.packages:
        package = table[package_id]
        name = (package.nevra.name, package.nevra.arch)
        known = newest.setdefault(name, package)
        if known is not package:
            if package.key >= known.key:
                newest[name] = package
                older.append(known.id)
            else:
                older.append(package.id)
    return snapshot.packages - FrozenBitMap(older) if older else snapshot.packages


@dataclass(frozen=True, slots=True)
class Judged:
    """Verdicts by package id, for all packages up to `last_id`."""

    last_id: int
    behind: FrozenBitMap
    """Covered by the baseline and older than required."""
    satisfied: FrozenBitMap
    """Covered, and new enough."""
    covered_names: FrozenBitMap
    """Of a name.arch for which anything is approved, whether or not it applies to this build."""
    without_advisory: FrozenBitMap
    """A newer build is offered that no advisory mentions and no rule asks for."""


NOTHING_JUDGED: Final = Judged(0, _NOTHING, _NOTHING, _NOTHING, _NOTHING)


def line_of(approved: Approved, package: Package) -> Line | None:
    """Return what is required of an installed package's name.arch; None if nothing is."""
    build = package.nevra
    return approved.lines.get((build.name, build.arch, belongs_to_module(package)))


def belongs_to_module(package: Package) -> bool:
    """Say whether an installed build is modular: by its label, or by its release tag where rpm is too old for labels."""
    return bool(package.module) or is_modular(package.nevra.release)


def judge(approved: Approved, table: PackageTable, before: Judged = NOTHING_JUDGED) -> Judged:
    """Judge the packages that came after `before`, and return the verdicts of all."""
    if before.last_id == table.last_id:
        return before
    behind, satisfied, covered, without = list[int](), list[int](), list[int](), list[int]()
    names, newer = approved.names, approved.without_advisory
    for package in table.after(before.last_id):
        build = package.nevra
        name = (build.name, build.arch)
        if name in names:
            covered.append(package.id)
            line = line_of(approved, package)
            if line is not None:
                (satisfied if package.key >= line.target.key else behind).append(package.id)
        offer = newer.get(name)
        if offer is not None and offer > package.key and not belongs_to_module(package):
            without.append(package.id)
    return Judged(
        table.last_id,
        before.behind | FrozenBitMap(behind),
        before.satisfied | FrozenBitMap(satisfied),
        before.covered_names | FrozenBitMap(covered),
        before.without_advisory | FrozenBitMap(without),
    )
