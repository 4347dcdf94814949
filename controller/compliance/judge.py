"""One verdict for every distinct package of the fleet, once; instances are then a matter of bitmaps (DESIGN §4)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, overload

from pyroaring import BitMap, FrozenBitMap

from controller.compliance.model import Level
from controller.compliance.required import Approved, Line, Obsoletion
from controller.inventory.advisories import is_modular
from controller.inventory.model import Package, Snapshot

_NOTHING: Final = FrozenBitMap()
RESTART_NAMES: Final = frozenset(
    {
        "glibc",
        "systemd",
        "dbus",
        "dbus-daemon",
        "dbus-broker",
        "linux-firmware",
        "microcode_ctl",
        "openssl-libs",
    }
)
"""What runs in its old version until the next start (R9): R9's list, and the two packages that dbus became."""


class PackageTable:
    """Interned packages by id, and which ids are builds of one name.arch. Grows; nothing in it changes."""

    def __init__(self) -> None:
        """Make an empty table."""
        self._packages = list[Package | None]([None])
        self._names = dict[tuple[str, str], BitMap]()
        self._archs = defaultdict[str, list[str]](list)
        self._kernels = BitMap()
        self._keys = list[str]([""])
        self._spelled = dict[tuple[str, str], str]()

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
                self._archs[name[0]].append(name[1])
            self._names[name].add(package.id)
            self._keys += [""] * (package.id - len(self._keys))
            self._keys.append(self._spelled.setdefault(name, f"{name[0]}.{name[1]}"))
            if name[0].startswith("kernel"):
                self._kernels.add(package.id)

    def __getitem__(self, package_id: int) -> Package:
        package = self._packages[package_id] if 0 < package_id < len(self._packages) else None
        if package is None:
            raise ValueError(f"package {package_id} was not learnt")
        return package

    def keys(self, package_ids: Iterable[int]) -> list[str]:
        """Return name.arch of some packages, in their order. Raises ValueError for one that is not known."""
        try:
            found = list(map(self._keys.__getitem__, package_ids))
        except IndexError:
            raise ValueError("a package was not learnt") from None
        if not all(found):
            raise ValueError("a package was not learnt")
        return found

    def builds(self, name: str, arch: str) -> BitMap | FrozenBitMap:
        """Return the ids of all builds of a name.arch."""
        return self._names.get((name, arch), _NOTHING)

    def named(self, names: Iterable[str]) -> FrozenBitMap:
        """Return the ids of all builds of some names, whatever their architecture."""
        found = [self._names[name, arch] for name in names for arch in self._archs.get(name, ())]
        return FrozenBitMap(BitMap.union(*found)) if found else _NOTHING

    @property
    def kernels(self) -> BitMap:
        """The ids of all builds whose name begins like a kernel's. Not to be changed."""
        return self._kernels

    def after(self, package_id: int) -> Iterator[Package]:
        """Return the packages with greater ids, ascending."""
        return (package for package in self._packages[package_id + 1 :] if package is not None)


class Spelled(Sequence[str]):
    """The keys (name.arch) of some packages, in order and each once: a tuple that is made when somebody looks into it.

    Most answers of a fleet are counted and compared only, and to spell a key takes longer than to decide about its package.
    """

    __slots__ = ("_ids", "_spelled", "_table")

    def __init__(self, ids: FrozenBitMap, table: PackageTable) -> None:
        """Spell packages that `table` knows, of which no two have one key."""
        self._ids = ids
        self._table = table
        self._spelled: tuple[str, ...] | None = None

    def _tuple(self) -> tuple[str, ...]:
        if self._spelled is None:
            self._spelled = tuple(sorted(self._table.keys(self._ids.to_array())))
        return self._spelled

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...
    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        return self._tuple()[place]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tuple())

    def __len__(self) -> int:
        return len(self._ids)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Spelled):
            if self._table is other._table and self._ids == other._ids:
                return True
            return self._tuple() == other._tuple()
        return isinstance(other, tuple) and self._tuple() == other

    def __hash__(self) -> int:
        return hash(self._tuple())

    def __repr__(self) -> str:
        return repr(self._tuple())

    def without(self, other: Spelled) -> frozenset[str]:
        """Return the keys that stand here and not there; only packages that are not in both are spelled."""
        if self._table is not other._table:
            return frozenset(self).difference(other)
        keys = self._table.keys
        return frozenset(keys((self._ids - other._ids).to_array())).difference(
            keys((other._ids - self._ids).to_array())
        )


def older_builds(snapshot: Snapshot, table: PackageTable) -> FrozenBitMap:
    """Return what does not count among the installed: all builds of a name.arch but the newest one (R7). Usually few or none.

    Raises ValueError for a package that `table` does not know.
    """
    if len(set(table.keys(snapshot.packages))) == len(snapshot.packages):
        return _NOTHING  # nothing is installed twice
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
    return FrozenBitMap(older)


def newest_builds(snapshot: Snapshot, table: PackageTable) -> FrozenBitMap:
    """Return one id for each installed name.arch: of several installed versions the newest decides (R7)."""
    older = older_builds(snapshot, table)
    return snapshot.packages - older if older else snapshot.packages


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
    levels: Mapping[Level, FrozenBitMap] = field(default_factory=dict)
    """`behind`, apart by level, the highest first."""
    blocked: FrozenBitMap = _NOTHING
    """On the rejected list with BLOCK."""
    obsoleted: Mapping[int, Obsoletion] = field(default_factory=dict)
    """Replaced by a package that is required, and by which."""
    restart: FrozenBitMap = _NOTHING
    """Of the satisfied: those that take effect only after a restart (R9), kernels apart: those R7 decides."""

    def worst(self, missing: FrozenBitMap) -> Level:
        """Return the highest level of some packages that are behind."""
        for level, behind in self.levels.items():
            if missing.intersect(behind):
                return level
        return Level.UNSPECIFIED


NOTHING_JUDGED: Final = Judged(0, _NOTHING, _NOTHING, _NOTHING, _NOTHING)


def line_of(approved: Approved, package: Package) -> Line | None:
    """Return what is required of an installed package's name.arch; None if nothing is."""
    build = package.nevra
    if approved.custom:
        return approved.custom.get(build.name)
    return approved.lines.get((build.name, build.arch, belongs_to_module(package)))


def belongs_to_module(package: Package) -> bool:
    """Say whether an installed build is modular: by its label, or by its release tag where rpm is too old for labels."""
    return bool(package.module) or is_modular(package.nevra.release)


def judge(approved: Approved, table: PackageTable, before: Judged = NOTHING_JUDGED) -> Judged:
    """Judge the packages that came after `before`, and return the verdicts of all."""
    if before.last_id == table.last_id:
        return before
    return _judge(approved, table.after(before.last_id), before, table.last_id)


def judge_again(approved: Approved, table: PackageTable, before: Judged, changed: FrozenBitMap) -> Judged:
    """Return the verdicts of the packages that `before` has, when those of some changed."""
    stayed = Judged(
        before.last_id,
        before.behind - changed,
        before.satisfied - changed,
        before.covered_names - changed,
        before.without_advisory - changed,
        {level: found - changed for level, found in before.levels.items()},
        before.blocked - changed,
        {number: o for number, o in before.obsoleted.items() if number not in changed},
        before.restart - changed,
    )
    packages = (table[number] for number in changed if number <= before.last_id)
    return _judge(approved, packages, stayed, before.last_id)


def _judge(approved: Approved, packages: Iterable[Package], before: Judged, last_id: int) -> Judged:
    satisfied, covered, without = list[int](), list[int](), list[int]()
    behind = defaultdict[Level, list[int]](list)
    blocked, restart, obsoleted = list[int](), list[int](), dict(before.obsoleted)
    names, newer, custom = approved.names, approved.without_advisory, approved.custom
    for package in packages:
        build = package.nevra
        name = (build.name, build.arch)
        if name in names or build.name in custom:
            covered.append(package.id)
            line = line_of(approved, package)
            if line is not None:
                if package.key >= line.target.key:
                    satisfied.append(package.id)
                    if build.name in RESTART_NAMES or (*name, package.key) in approved.restart:
                        restart.append(package.id)
                else:
                    behind[line.level(package.key)].append(package.id)
        offer = newer.get(name)
        if offer is not None and offer > package.key and not belongs_to_module(package):
            without.append(package.id)
        if approved.blocked and approved.blocked.of_build(build):
            blocked.append(package.id)
        for obsoletion in approved.obsoleted.get(build.name, ()):
            if obsoletion.replaces(build):
                obsoleted.setdefault(package.id, obsoletion)
    levels = dict(before.levels)
    for level, ids in behind.items():
        levels[level] = levels.get(level, _NOTHING) | FrozenBitMap(ids)
    return Judged(
        last_id,
        FrozenBitMap.union(*levels.values()) if levels else _NOTHING,
        before.satisfied | FrozenBitMap(satisfied),
        before.covered_names | FrozenBitMap(covered),
        before.without_advisory | FrozenBitMap(without),
        dict(sorted(levels.items(), reverse=True)),
        before.blocked | FrozenBitMap(blocked),
        obsoleted,
        before.restart | FrozenBitMap(restart),
    )
