"""The advisories of all repositories that the fleet has enabled, and whom they concern: "who has this?".

Every distinct package that an advisory names knows which instances have it as their newest build of its name and architecture; whom an
advisory concerns is then a union of bitmaps over the few builds that are older. Nothing is counted host by host but what changed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Final

from pyroaring import BitMap, FrozenBitMap

from common.errors import NotFound
from common.evr import Evr
from common.manifest import Manifest
from common.nevra import Nevra
from controller.compliance.judge import PackageTable, belongs_to_module
from controller.compliance.model import Advisory, AdvisoryPackage
from controller.dispatch.assess import Assessor
from controller.dispatch.evaluations import SLICE
from controller.fleet.model import Instance, InstanceId
from controller.inventory.advisories import UNKNOWN_MODULE
from controller.inventory.model import Package, Report, Snapshot
from controller.store.api import Store

_NOBODY: Final = FrozenBitMap()
_VIEWS: Final = 16
"""So many callers' views of the advisories are kept, as long as the repositories are the same."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One advisory of the fleet's repositories."""

    advisory: Advisory
    """As its newest edition says; repositories may have several."""
    repositories: tuple[str, ...]
    first_seen_at: datetime | None
    packages: tuple[Nevra, ...]
    """The builds that any of its editions names."""
    affected: int = 0
    """How many instances have one of its packages in an older version."""

    @property
    def position(self) -> tuple[int, str]:
        """Where it stands in the list: the newest first, those without a date last."""
        day = self.advisory.issued or self.advisory.updated
        return (-day.toordinal() if day is not None else 0, self.advisory.id)


@dataclass(frozen=True, slots=True)
class Concern:
    """One package of one instance that an advisory concerns."""

    instance: Instance
    name: str
    arch: str
    installed: Evr
    fixed_in: Evr
    fixed: bool
    advisory_id: str

    @property
    def position(self) -> tuple[str, str, str, str, str, str]:
        """Where it stands in the list."""
        return (self.instance.name, self.instance.id, self.name, self.arch, self.advisory_id, str(self.fixed_in))


@dataclass(frozen=True, slots=True)
class Concerned:
    """Whom an advisory or a CVE concerns."""

    rows: tuple[Concern, ...]
    """Ordered by instance name, then id, then package."""
    affected: int
    """How many instances have one of its packages in an older version."""
    unknown: int
    """Of how many others it cannot be said: no report, or a repository or the rpm database that could not be read."""


@dataclass(frozen=True, slots=True)
class _Member:
    """What one instance contributes: taken back when it changes."""

    report: Report
    files: frozenset[str]
    streams: frozenset[str]
    is_unknown: bool
    snapshot: Snapshot | None
    held: FrozenBitMap


@dataclass(frozen=True, slots=True)
class _Edition:
    """An advisory as one updateinfo file has it."""

    file: str
    advisory: Advisory


@dataclass(slots=True)
class _Index:
    """Bitmaps of instances' numbers. All of it is used in the evaluator's thread only."""

    table: PackageTable = field(default_factory=PackageTable)
    relevant: FrozenBitMap = _NOBODY
    holders: defaultdict[int, BitMap] = field(default_factory=lambda: defaultdict(BitMap))
    files: defaultdict[str, BitMap] = field(default_factory=lambda: defaultdict(BitMap))
    streams: defaultdict[str, BitMap] = field(default_factory=lambda: defaultdict(BitMap))
    unknown: BitMap = field(default_factory=BitMap)
    members: dict[int, _Member] = field(default_factory=dict)
    named: frozenset[tuple[str, str]] = frozenset()
    builds: dict[tuple[Nevra, tuple[bool, ...]], tuple[int, FrozenBitMap, FrozenBitMap]] = field(default_factory=dict)

    def learn(self, packages: Iterable[Package]) -> None:
        """Take packages that are new."""
        last = self.table.last_id
        self.table.add(p for p in packages if p.id > last)

    def name(self, advisories: Iterable[Advisory]) -> None:
        """Let these advisories be the ones that matter; who is in already is looked at again where that is another package."""
        named = frozenset((p.nevra.name, p.nevra.arch) for a in advisories for p in a.packages)
        relevant = FrozenBitMap.union(_NOBODY, *(self.table.builds(*name) for name in named))
        self.named = named
        came, went = relevant - self.relevant, self.relevant - relevant
        self.relevant = relevant
        if not (came or went):
            return
        for number, member in tuple(self.members.items()):
            snapshot = member.snapshot
            if snapshot is not None and (snapshot.packages.intersect(came) or member.held.intersect(went)):
                self._hold(number, member.held, self._newest(snapshot))

    def put(
        self, number: int, report: Report, said: Manifest, snapshot: Snapshot | None, unreadable: frozenset[str]
    ) -> None:
        """Let an instance be as it reported."""
        before = self.members.get(number)
        files = frozenset(r.updateinfo for r in said.repositories if r.updateinfo and not r.error)
        member = _Member(
            report,
            files,
            frozenset(f"{s.name}:{s.stream}" for s in said.streams),
            snapshot is None or bool(files & unreadable) or any(r.error for r in said.repositories),
            snapshot,
            before.held if before is not None else _NOBODY,
        )
        _move(self.files, number, before.files if before is not None else (), member.files)
        _move(self.streams, number, before.streams if before is not None else (), member.streams)
        (self.unknown.add if member.is_unknown else self.unknown.discard)(number)
        self.members[number] = member
        self._hold(number, member.held, self._newest(snapshot))

    def concerned(self, edition: _Edition) -> Iterator[tuple[AdvisoryPackage, FrozenBitMap, FrozenBitMap, BitMap]]:
        """Yield each build of an advisory with the packages that are older and those that are not, and whose they may be."""
        everybody = self.files.get(edition.file)
        if everybody is None:
            return
        for package in edition.advisory.packages:
            who = everybody
            if package.module and package.module != UNKNOWN_MODULE:
                who = everybody & self.streams.get(package.module, _NOBODY)
            if not who:
                continue
            older, others = self._builds(package)
            if older or others:
                yield package, older, others, who

    def files_of(self, instances: BitMap) -> frozenset[str]:
        """Return the updateinfo files that any of these instances has."""
        return frozenset(file for file, who in self.files.items() if who.intersect(instances))

    def affected(self, edition: _Edition) -> BitMap:
        """Return who has a package of this advisory in an older version."""
        found = BitMap()
        for _, older, _, who in self.concerned(edition):
            for number in older:
                if holders := self.holders.get(number):
                    found |= holders & who
        return found

    def _builds(self, package: AdvisoryPackage) -> tuple[FrozenBitMap, FrozenBitMap]:
        """Return the builds of a package's name.arch that are older than it, and the others; modular for modular (R8)."""
        build, modular = package.nevra, _kinds(package)
        known = self.builds.get((build, modular))
        if known is not None and known[0] == self.table.last_id:
            return known[1], known[2]
        older, others, key = list[int](), list[int](), build.key
        for number in self.table.builds(build.name, build.arch):
            installed = self.table[number]
            if belongs_to_module(installed) in modular:
                (older if installed.key < key else others).append(number)
        found = FrozenBitMap(older), FrozenBitMap(others)
        self.builds[build, modular] = (self.table.last_id, *found)
        return found

    def _newest(self, snapshot: Snapshot | None) -> FrozenBitMap:
        """Return the newest build of each name.arch that an advisory names."""
        if snapshot is None:
            return _NOBODY
        held = snapshot.packages & self.relevant
        if len(set(self.table.keys(held))) == len(held):
            return held
        newest = dict[tuple[str, str], Package]()
        for number in held:
            package = self.table[number]
            name = (package.nevra.name, package.nevra.arch)
            if name not in newest or newest[name].key <= package.key:
                newest[name] = package
        return FrozenBitMap(p.id for p in newest.values())

    def _hold(self, number: int, before: FrozenBitMap, after: FrozenBitMap) -> None:
        for package in before - after:
            self.holders[package].discard(number)
        for package in after - before:
            self.holders[package].add(number)
        member = self.members[number]
        self.members[number] = replace(member, held=after)


class Catalog:
    """One for a controller process. Use it from one event loop."""

    def __init__(self, store: Store, assessor: Assessor) -> None:
        """Begin empty: what is asked first reads everything."""
        self._store = store
        self._assessor = assessor
        self._evaluations = assessor.evaluations
        self._index = _Index()
        self._numbers = dict[InstanceId, int]()
        self._editions: Mapping[str, Sequence[_Edition]] = {}
        self._files: frozenset[str] = frozenset()
        self._names: Mapping[str, set[tuple[str, str]]] = {}
        """What repositories are called that have a file, and in which account."""
        self._first_seen: Mapping[str, datetime] = {}
        self._affected = dict[str, FrozenBitMap]()
        self._entries = OrderedDict[tuple[frozenset[str], frozenset[str]], Mapping[str, Entry]]()
        self._one_at_a_time = asyncio.Lock()

    async def entries(
        self,
        instances: Sequence[Instance],
        wanted: Callable[[Entry], bool] = lambda _: True,
        *,
        affecting_only: bool = False,
        limit: int | None = None,
    ) -> tuple[Entry, ...]:
        """Return the advisories of these instances' repositories that are wanted, the newest first, at most so many.

        `wanted` must not look at `affected`.
        """
        async with self._one_at_a_time:
            await self._refresh()
            return await self._evaluations.call(self._choose, wanted, affecting_only, limit, instances)

    async def entry(self, identifier: str, instances: Sequence[Instance]) -> Entry:
        """Return one advisory of these instances' repositories by its id, whose case does not matter; raise NotFound."""
        wanted = identifier.lower()
        for entry in await self.entries(instances, lambda e: e.advisory.id.lower() == wanted, limit=1):
            return entry
        raise NotFound("advisory", identifier, "list them: patchctl advisory list")

    async def concerned(
        self, reference: str, fleet: Sequence[Instance], instances: Sequence[Instance], *, include_fixed: bool
    ) -> Concerned:
        """Say whom of these instances an advisory or a CVE concerns; raise NotFound when no repository of the fleet knows it."""
        async with self._one_at_a_time:
            await self._refresh()
            found = await self._evaluations.call(self._concerned, reference.lower(), fleet, instances, include_fixed)
        if found is None:
            raise NotFound("advisory or CVE", reference, "no repository of the fleet names it; patchctl advisory list")
        return found

    def _number(self, instance_id: InstanceId) -> int:
        return self._numbers.setdefault(instance_id, len(self._numbers))

    async def _refresh(self) -> None:
        """Take what changed since the last time."""
        instances = await self._store.fleet.instances()
        reports = {self._number(i.id): r for i in instances if (r := self._assessor.latest_report(i.id)) is not None}
        if newer := await self._store.inventory.packages_after(self._index.table.last_id):
            await self._evaluations.call(self._index.learn, newer)
        members = self._index.members
        changed = [n for n, r in reports.items() if n not in members or members[n].report is not r]
        news = list[tuple[int, Report, Manifest, Snapshot | None]]()
        for number in changed:
            report = reports[number]
            said = await self._evaluations.manifest(report.manifest_digest)
            digest = report.inventory_digest
            snapshot = await self._store.inventory.get_snapshot(digest) if digest is not None else None
            news.append((number, report, said, snapshot))
        accounts = {self._number(i.id): i.account for i in instances}
        await self._read_files(accounts, reports, [said for _, _, said, _ in news], force=bool(newer))
        unreadable = frozenset([f for f in self._files if await self._evaluations.advisories(f) is None])
        for start in range(0, len(news), SLICE):
            await self._evaluations.call(self._put, news[start : start + SLICE], unreadable)
        if news or newer:
            self._affected.clear()

    async def _read_files(
        self, accounts: Mapping[int, str], reports: Mapping[int, Report], said: Sequence[Manifest], *, force: bool
    ) -> None:
        """Read the updateinfo files that the latest reports name, if these are other ones than before."""
        if not (force or said):
            return
        names = defaultdict[str, set[tuple[str, str]]](set)
        for number, report in reports.items():
            for repository in (await self._evaluations.manifest(report.manifest_digest)).repositories:
                if repository.updateinfo and not repository.error:
                    names[repository.updateinfo].add((accounts[number], repository.id))
        if names == self._names and not force:
            return
        files, editions = frozenset(names), defaultdict[str, list[_Edition]](list)
        for file in sorted(files):
            for advisory in await self._evaluations.advisories(file) or ():
                editions[advisory.id].append(_Edition(file, advisory))
        self._evaluations.keep_advisories(files)
        self._first_seen = await self._store.inventory.first_seen(list(editions))
        self._editions = {i: sorted(found, key=_age, reverse=True) for i, found in editions.items()}
        self._files, self._names = files, names
        self._entries.clear()
        self._affected.clear()
        await self._evaluations.call(self._index.name, [e.advisory for found in self._editions.values() for e in found])

    def _entries_of(self, instances: Sequence[Instance]) -> Mapping[str, Entry]:
        """Return the advisories of these instances' repositories by id, the newest first: of files that one of them has, as those say."""
        accounts = frozenset(i.account for i in instances)
        view = (self._index.files_of(BitMap(self._number(i.id) for i in instances)), accounts)
        known = self._entries.get(view)
        if known is not None:
            self._entries.move_to_end(view)
            return known
        entries = list[Entry]()
        for identifier, editions in self._editions.items():
            if seen := [edition for edition in editions if edition.file in view[0]]:
                names = {name for edition in seen for account, name in self._names[edition.file] if account in accounts}
                packages = {p.nevra for edition in seen for p in edition.advisory.packages}
                first_seen = self._first_seen.get(identifier)
                entries.append(Entry(seen[0].advisory, tuple(sorted(names)), first_seen, tuple(sorted(packages))))
        made = self._entries[view] = {e.advisory.id: e for e in sorted(entries, key=lambda e: e.position)}
        if len(self._entries) > _VIEWS:
            self._entries.popitem(last=False)
        return made

    def _put(self, news: Sequence[tuple[int, Report, Manifest, Snapshot | None]], unreadable: frozenset[str]) -> None:
        for number, report, said, snapshot in news:
            self._index.put(number, report, said, snapshot, unreadable)

    def _choose(
        self, wanted: Callable[[Entry], bool], affecting_only: bool, limit: int | None, instances: Sequence[Instance]
    ) -> tuple[Entry, ...]:
        chosen, listed = list[Entry](), BitMap(self._number(i.id) for i in instances)
        for identifier, entry in self._entries_of(instances).items():
            if limit is not None and len(chosen) >= limit:
                break
            if wanted(entry):
                affected = len(self._affected_by(identifier) & listed)
                if affected or not affecting_only:
                    chosen.append(replace(entry, affected=affected))
        return tuple(chosen)

    def _affected_by(self, identifier: str) -> FrozenBitMap:
        known = self._affected.get(identifier)
        if known is None:
            found = BitMap()
            for edition in self._editions[identifier]:
                found |= self._index.affected(edition)
            known = self._affected[identifier] = FrozenBitMap(found)
        return known

    def _concerned(
        self, wanted: str, fleet: Sequence[Instance], chosen_from: Sequence[Instance], include_fixed: bool
    ) -> Concerned | None:
        files = self._index.files_of(BitMap(self._number(i.id) for i in fleet))
        meant = [
            edition
            for editions in self._editions.values()
            for edition in editions
            if edition.file in files
            and (edition.advisory.id.lower() == wanted or wanted in (cve.lower() for cve in edition.advisory.cves))
        ]
        if not meant:
            return None
        instances = {self._number(i.id): i for i in chosen_from}
        chosen = BitMap(instances)
        affected = BitMap()
        rows = dict[tuple[str, ...], Concern]()
        for edition in meant:
            for package, older, others, who in self._index.concerned(edition):
                for fixed, builds in ((False, older), (True, others if include_fixed else _NOBODY)):
                    for build in builds:
                        found = self._index.holders.get(build, _NOBODY) & who & chosen
                        if not fixed:
                            affected |= found
                        installed = self._index.table[build].nevra
                        for number in found:
                            row = Concern(
                                instances[number],
                                installed.name,
                                installed.arch,
                                installed.evr,
                                package.nevra.evr,
                                fixed,
                                edition.advisory.id,
                            )
                            rows[row.position] = row
        silent = chosen - BitMap(self._index.members)
        unknown = (silent | (self._index.unknown & chosen)) - affected
        return Concerned(tuple(rows[position] for position in sorted(rows)), len(affected), len(unknown))


def _age(edition: _Edition) -> tuple[date, str]:
    dates = [d for d in (edition.advisory.issued, edition.advisory.updated) if d is not None]
    return max(dates, default=date.min), edition.file


def _kinds(package: AdvisoryPackage) -> tuple[bool, ...]:
    """Say to which installed builds an advisory package applies: plain ones (False), modular ones (True) (R8)."""
    if not package.module:
        return (False,)
    return (True,) if package.module == UNKNOWN_MODULE else (False, True)


def _move(where: defaultdict[str, BitMap], number: int, before: Iterable[str], after: Iterable[str]) -> None:
    for key in before:
        where[key].discard(number)
    for key in after:
        where[key].add(number)
