"""One verdict for every distinct package of the fleet, once; instances are then a matter of bitmaps (DESIGN §4)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, overload

from pyroaring import BitMap, FrozenBitMap

from common.nevra import Nevra
from controller.compliance.model import Level
from controller.compliance.required import Approved, Line, LineKey, Obsoletion
from controller.inventory.advisories import is_modular
from controller.inventory.model import Package

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


_NOARCH: Final = "noarch"
_ARCHITECTURES: Final = (
    "x86_64",
    "aarch64",
    "ppc64le",
    "s390x",
    "riscv64",
    "loongarch64",
    "sw_64",
    "i686",
    "i586",
    "armv7hl",
)
"""What a package may be of that was noarch; the first of several that are required in one version is the one that is told."""


@dataclass(frozen=True, slots=True)
class Builds:
    """The builds of one name.arch that belong to a module, or of one that do not: by key, oldest first."""

    keys: list[bytes]
    ids: list[int]

    def add(self, key: bytes, package_id: int) -> None:
        """Take one more."""
        if not self.keys or key >= self.keys[-1]:
            self.keys.append(key)
            self.ids.append(package_id)
        else:
            place = bisect_right(self.keys, key)
            self.keys.insert(place, key)
            self.ids.insert(place, package_id)

    def older(self, key: bytes) -> list[int]:
        """Return the ids of those that are older."""
        return self.ids[: bisect_left(self.keys, key)]


class PackageTable:
    """Interned packages by id, and which ids are builds of one name.arch. Grows; nothing in it changes."""

    def __init__(self) -> None:
        """Make an empty table."""
        self._packages = list[Package | None]([None])
        self._lines = dict[LineKey, Builds]()
        self._line_keys = dict[str, list[LineKey]]()
        self._built = dict[tuple[str, str], FrozenBitMap]()
        """What `builds` was asked for, as long as no build was added."""
        self._siblings = list[FrozenBitMap | None]([None])
        self._kernels = BitMap()
        self._keys = list[str]([""])
        self._spelled = dict[tuple[str, str], tuple[str, int]]()
        self._numbers = list[int]([0])

    @property
    def last_id(self) -> int:
        """The greatest id known, 0 in an empty table."""
        return len(self._packages) - 1

    def add(self, packages: Iterable[Package]) -> None:
        """Take packages in ascending order of id; those already known change nothing."""
        for package in packages:
            missing = package.id - len(self._packages)
            if missing < 0:
                continue
            if missing:
                self._packages += [None] * missing
                self._keys += [""] * missing
                self._numbers += [0] * missing
                self._siblings += [None] * missing
            self._packages.append(package)
            self._siblings.append(None)
            build = package.nevra
            line_key = (build.name, build.arch, belongs_to_module(package))
            builds = self._lines.get(line_key)
            if builds is None:
                builds = self._lines[line_key] = Builds([], [])
                self._line_keys.setdefault(build.name, []).append(line_key)
            builds.add(package.key, package.id)
            pair = line_key[:2]
            for number in self._built.pop(pair, ()):
                self._siblings[number] = None
            if (spelled := self._spelled.get(pair)) is None:
                spelled = self._spelled[pair] = f"{build.name}.{build.arch}", len(self._spelled) + 1
            self._keys.append(spelled[0])
            self._numbers.append(spelled[1])
            if build.name.startswith("kernel"):
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

    def numbers(self, package_ids: Iterable[int]) -> list[int]:
        """Return a number for the name.arch of each of some packages, in their order. Raises ValueError for one that is not known."""
        try:
            found = list(map(self._numbers.__getitem__, package_ids))
        except IndexError:
            raise ValueError("a package was not learnt") from None
        if not all(found):
            raise ValueError("a package was not learnt")
        return found

    def lines(self, names: Iterable[str] | None = None) -> Iterator[tuple[LineKey, Builds]]:
        """Return the builds of some names, of all without any, apart by what may be required of them."""
        if names is None:
            return iter(self._lines.items())
        return ((key, self._lines[key]) for name in names for key in self._line_keys.get(name, ()))

    def builds(self, name: str, arch: str) -> FrozenBitMap:
        """Return the ids of all builds of a name.arch."""
        if (found := self._built.get((name, arch))) is None:
            ids = [number for key, builds in self.lines((name,)) if key[1] == arch for number in builds.ids]
            found = self._built[name, arch] = FrozenBitMap(ids)
        return found

    def siblings(self, package_id: int) -> FrozenBitMap:
        """Return the ids of all builds of a package's name.arch, its own among them. Raises ValueError for one that is not known."""
        try:
            found = self._siblings[package_id]
        except IndexError:
            found = None
        if found is None:
            build = self[package_id].nevra
            found = self._siblings[package_id] = self.builds(build.name, build.arch)
        return found

    def named(self, names: Iterable[str]) -> FrozenBitMap:
        """Return the ids of all builds of some names, whatever their architecture."""
        return FrozenBitMap([number for _, builds in self.lines(names) for number in builds.ids])

    @property
    def kernels(self) -> BitMap:
        """The ids of all builds whose name begins like a kernel's. Not to be changed."""
        return self._kernels

    def names_after(self, package_id: int) -> set[str]:
        """Return the names of the packages with greater ids."""
        return {package.nevra.name for package in self._packages[package_id + 1 :] if package is not None}


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
        if self._spelled is None:  # who reads all once, to store it, need not leave it in memory
            return iter(sorted(self._table.keys(self._ids.to_array())))
        return iter(self._spelled)

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
    obsoleted: Mapping[int, tuple[Obsoletion, ...]] = field(default_factory=dict)
    """Replaced by packages that are required, and by which: the first of them that is not there is the one that comes."""
    restart: FrozenBitMap = _NOTHING
    """Of the satisfied: those that take effect only after a restart (R9), kernels apart: those R7 decides."""

    all_apply: bool = False
    """Of every covered name.arch each build is either behind or satisfied: none belongs to a module of which nothing is required."""

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
    if not before.last_id:
        return _judge(approved, table, table.lines(), table.last_id)
    names = table.names_after(before.last_id)
    return _together(before, _judge(approved, table, table.lines(names), table.last_id), table.named(names))


def judge_again(approved: Approved, table: PackageTable, before: Judged, names: AbstractSet[str]) -> Judged:
    """Return the verdicts of the packages that `before` has, when those of some names changed."""
    changed = _judge(approved, table, table.lines(names), before.last_id)
    return _together(before, changed, table.named(names))


def _together(before: Judged, after: Judged, changed: FrozenBitMap) -> Judged:
    """Return the verdicts of `before`, but for what changed: those of `after`."""
    levels = {level: found - changed for level, found in before.levels.items()}
    for level, found in after.levels.items():
        levels[level] = levels.get(level, _NOTHING) | found
    return Judged(
        after.last_id,
        (before.behind - changed) | after.behind,
        (before.satisfied - changed) | after.satisfied,
        (before.covered_names - changed) | after.covered_names,
        (before.without_advisory - changed) | after.without_advisory,
        dict(sorted(levels.items(), reverse=True)),
        (before.blocked - changed) | after.blocked,
        {number: o for number, o in before.obsoleted.items() if number not in changed} | dict(after.obsoleted),
        (before.restart - changed) | after.restart,
        before.all_apply and after.all_apply,
    )


def _judge(approved: Approved, table: PackageTable, lines: Iterable[tuple[LineKey, Builds]], last_id: int) -> Judged:
    """Judge builds, all of a name.arch together: they are in order, so a version parts them into older and newer ones."""
    satisfied, covered, without, restart = list[int](), list[int](), list[int](), list[int]()
    behind = defaultdict[Level, list[int]](list)
    blocked, obsoleted = list[int](), dict[int, tuple[Obsoletion, ...]]()
    restarting = {build[:2] for build in approved.restart}
    for line_key, builds in lines:
        name, arch, modular = line_key
        pair = (name, arch)
        if pair in approved.names or name in approved.custom:
            covered += builds.ids
            line = approved.custom.get(name) if approved.custom else approved.lines.get(line_key)
            if line is not None:
                enough = _behind(line, builds, behind)
                satisfied += builds.ids[enough:]
                if name in RESTART_NAMES:
                    restart += builds.ids[enough:]
                elif pair in restarting:
                    restart += [
                        number
                        for key, number in zip(builds.keys[enough:], builds.ids[enough:], strict=True)
                        if (name, arch, key) in approved.restart
                    ]
        if not modular and (offer := approved.without_advisory.get(pair)) is not None:
            without += builds.older(offer)
        if approved.blocked:
            blocked += [number for number in builds.ids if approved.blocked.of_build(table[number].nevra)]
        for obsoletion in approved.obsoleted.get(name, ()):
            for number in builds.ids:
                if obsoletion.replaces(table[number].nevra):
                    obsoleted[number] = (*obsoleted.get(number, ()), obsoletion)
        for change in _changes_of_arch(approved, line_key):
            for number in builds.older(change.line.target.key):
                obsoleted[number] = (*obsoleted.get(number, ()), change)
    levels = {level: FrozenBitMap(ids) for level, ids in sorted(behind.items(), reverse=True) if ids}
    return Judged(
        last_id,
        FrozenBitMap.union(*levels.values()) if levels else _NOTHING,
        FrozenBitMap(satisfied),
        FrozenBitMap(covered),
        FrozenBitMap(without),
        levels,
        FrozenBitMap(blocked),
        obsoleted,
        FrozenBitMap(restart),
        len(covered) == len(satisfied) + sum(map(len, behind.values())),
    )


def _changes_of_arch(approved: Approved, line_key: LineKey) -> Sequence[Obsoletion]:
    """Return the required builds of the same name that replace older ones by becoming noarch, or by being it no more, newest first.

    No advisory and no list says so: the package manager takes such a build for an update, and so the older one is outdated. Other
    architectures live beside each other.
    """
    name, arch, modular = line_key
    own = approved.lines.get(line_key)
    found = list[Obsoletion]()
    for other in _ARCHITECTURES if arch == _NOARCH else (_NOARCH,):
        if (line := approved.lines.get((name, other, modular))) is None or line.gone:
            continue
        target = line.target
        if own is None or target.key > own.target.key:
            found.append(Obsoletion(Nevra(name, *target.version.evr, other), line, "<", *target.version.evr))
    return sorted(found, key=_target_key, reverse=True)


def _target_key(obsoletion: Obsoletion) -> bytes:
    return obsoletion.line.target.key


def _behind(line: Line, builds: Builds, behind: Mapping[Level, list[int]]) -> int:
    """Add the builds that are older than required to those of their level; return how many they are.

    The level of a build is the highest of all approved versions that are newer: it can only rise from newer builds to older ones.
    """
    enough = newer = bisect_left(builds.keys, line.target.key)
    level = Level.UNSPECIFIED
    for step in reversed(line.steps):
        if step.approval is None or (step.approval.level <= level and step is not line.target):
            continue
        older = bisect_left(builds.keys, step.key, 0, newer)
        behind[level] += builds.ids[older:newer]
        level, newer = max(level, step.approval.level), older
    behind[level] += builds.ids[:newer]
    return enough
