"""One instance's answer from verdicts: bitmaps for the many, a closer look at the few (SEMANTICS §1, R3, R4, R7, R14)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from pyroaring import FrozenBitMap

from common import nevra
from common.evr import Evr
from common.manifest import Manifest
from common.nevra import Nevra
from controller.compliance.approvals import Approved, Line, Obsoletion, Step
from controller.compliance.baseline import clause
from controller.compliance.exceptions import Excuse, Excuses
from controller.compliance.holds import held_by
from controller.compliance.host import Host
from controller.compliance.judge import Judged, PackageTable, belongs_to_module, line_of
from controller.compliance.model import (
    Assessment,
    Baseline,
    Inputs,
    InstanceStatus,
    Item,
    Level,
    PatchStatus,
    StatusCounts,
    Undetermined,
)
from controller.compliance.undetermined import metadata_time
from controller.compliance.why import excepted_why, why
from controller.inventory.model import Package

LOW_CONFIDENCE: Final = "REBOOT(low confidence)"
"""The reason of what looks, by the clock, as if it was installed after the host started (R9)."""


@dataclass(frozen=True, slots=True)
class Excused:
    """One excused package: by what, which status it would have, and, if that is PENDING_REBOOT, what runs."""

    excuse: Excuse
    otherwise: PatchStatus
    running: Nevra | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the bitmaps say of one snapshot: ids of packages, one for each installed name.arch."""

    newest: FrozenBitMap
    missing: FrozenBitMap
    satisfied: FrozenBitMap
    pending: Mapping[int, Nevra]
    """Of the satisfied: those that run in an older version, and which (R7)."""
    level: Level
    """The highest among what is missing or pending."""
    not_applicable: int
    without_advisory: int
    kernel_matters: bool
    """An approved kernel is installed, so that the running one decides, and it is not known which one runs."""
    rejected: FrozenBitMap = field(default_factory=FrozenBitMap)
    """On the rejected list with BLOCK; neither missing nor satisfied."""
    obsoleted: Mapping[int, Obsoletion] = field(default_factory=dict)
    """Of the missing: those that a required package replaces, and which."""
    late: FrozenBitMap = field(default_factory=FrozenBitMap)
    """Of the satisfied: those that were installed after the host started, and take effect when it starts again (R9)."""
    excepted: Mapping[int, Excused] = field(default_factory=dict)
    """What would be missing, rejected or pending and is excused; in none of the three."""


NOTHING = Verdict(FrozenBitMap(), FrozenBitMap(), FrozenBitMap(), {}, Level.UNSPECIFIED, 0, 0, kernel_matters=False)


def decide(
    newest: FrozenBitMap, manifest: Manifest, approved: Approved, judged: Judged, table: PackageTable
) -> Verdict:
    """Join verdicts with the newest installed build of each name.arch."""
    obsoleted = _obsoleted(newest, judged, table)
    missing = (newest & judged.behind) | FrozenBitMap(obsoleted)
    # What the baseline wants out of the way stays REJECT even where an older version is approved: the rejected list always wins.
    # Where a newer one is approved, that one is missing, and it takes the blocked build away.
    rejected = (newest & judged.blocked) - missing
    satisfied = (newest & judged.satisfied) - rejected - missing
    pending, kernel_matters = _running_kernel(satisfied, manifest, approved, table)
    return Verdict(
        newest,
        missing,
        satisfied,
        pending,
        _level(missing, obsoleted, pending, FrozenBitMap(), approved, judged, table),
        _not_applicable(newest, approved, judged, table),
        newest.intersection_cardinality(judged.without_advisory),
        kernel_matters,
        rejected,
        obsoleted,
    )


def restarts(
    verdict: Verdict, waiting: FrozenBitMap, manifest: Manifest, approved: Approved, judged: Judged, table: PackageTable
) -> Verdict:
    """Move what came after the last start of the host, and needs a start, from installed to pending (R9)."""
    running = running_kernel(manifest)
    parts = kernel_parts(running.name) if running is not None else ()
    late = FrozenBitMap(
        number
        for number in waiting & verdict.satisfied
        if number not in verdict.pending and table[number].nevra.name not in parts
    )
    if not late:
        return verdict
    level = _level(verdict.missing, verdict.obsoleted, verdict.pending, late, approved, judged, table)
    return replace(verdict, late=late, level=level)


def _level(
    missing: FrozenBitMap,
    obsoleted: Mapping[int, Obsoletion],
    pending: Mapping[int, Nevra],
    late: FrozenBitMap,
    approved: Approved,
    judged: Judged,
    table: PackageTable,
) -> Level:
    """Return the highest level among what is missing or pending."""
    found = [judged.worst(missing - FrozenBitMap(obsoleted))]
    found += [obsoletion.level for obsoletion in obsoleted.values()]
    for number, running in pending.items():
        line = line_of(approved, table[number])
        found.append(line.level(running.key) if line is not None else Level.UNSPECIFIED)
    for number in late:
        line = line_of(approved, table[number])
        found.append(_level_of(line.target) if line is not None else Level.UNSPECIFIED)
    return max(found)


def _level_of(step: Step) -> Level:
    return step.approval.level if step.approval is not None else Level.UNSPECIFIED


def _obsoleted(newest: FrozenBitMap, judged: Judged, table: PackageTable) -> dict[int, Obsoletion]:
    """Find what is replaced by a required package, unless that stands beside it already, new enough: then nothing will come."""
    if not judged.obsoleted:
        return {}
    found = dict[int, Obsoletion]()
    for number in newest & FrozenBitMap(judged.obsoleted):
        by = judged.obsoleted[number].by
        if not any(table[other].key >= by.key for other in newest & table.builds(by.name, by.arch)):
            found[number] = judged.obsoleted[number]
    return found


def _not_applicable(newest: FrozenBitMap, approved: Approved, judged: Judged, table: PackageTable) -> int:
    """Count what is asked of packages that are not installed: of name.arch, or of names by a custom baseline."""
    if approved.custom:
        return len(approved.custom) - len({table[number].nevra.name for number in newest & judged.covered_names})
    return len(approved.names) - newest.intersection_cardinality(judged.covered_names)


def excuse(verdict: Verdict, excuses: Excuses, approved: Approved, judged: Judged, table: PackageTable) -> Verdict:
    """Take what is excused out of what is missing or pending (R10)."""
    excepted = dict[int, Excused]()
    effective: list[tuple[int, bytes, Nevra | None]] = [(n, table[n].key, None) for n in verdict.missing]
    effective += [(number, running.key, running) for number, running in verdict.pending.items()]
    for number, key, running in effective:
        package = table[number]
        obsoletion = verdict.obsoleted.get(number)
        line = line_of(approved, package) if obsoletion is None else None
        steps = line.skipped(key) if line is not None else ()
        if obsoletion is not None:
            steps = (obsoletion.line.target,)
        if (found := _excuse_for(excuses, package, steps)) is not None:
            excepted[number] = Excused(
                found, PatchStatus.MISSING if running is None else PatchStatus.PENDING_REBOOT, running
            )
    for number in verdict.late:
        package = table[number]
        line = line_of(approved, package)
        if (found := _excuse_for(excuses, package, (line.target,) if line is not None else ())) is not None:
            excepted[number] = Excused(found, PatchStatus.PENDING_REBOOT)
    for number in verdict.rejected:
        package = table[number]
        if (found := excuses.of_package(package.nevra.name, package.nevra.arch)) is not None:
            excepted[number] = Excused(found, PatchStatus.REJECT)
    if not excepted:
        return verdict
    gone = FrozenBitMap(excepted)
    missing, late = verdict.missing - gone, verdict.late - gone
    pending = {number: running for number, running in verdict.pending.items() if number not in excepted}
    return replace(
        verdict,
        missing=missing,
        satisfied=verdict.satisfied - gone,
        rejected=verdict.rejected - gone,
        pending=pending,
        late=late,
        level=_level(
            missing,
            {number: o for number, o in verdict.obsoleted.items() if number in missing},
            pending,
            late,
            approved,
            judged,
            table,
        ),
        excepted=excepted,
    )


def _excuse_for(excuses: Excuses, package: Package, steps: Sequence[Step]) -> Excuse | None:
    build = package.nevra
    found = excuses.of_package(build.name, build.arch)
    if found is not None:
        return found
    if any(step.approval is not None and not step.approval.advisory for step in steps):
        return None  # a build is required that no advisory asks for: what excuses advisories does not excuse it
    return excuses.of_advisories([pair for step in steps for pair in step.advisory_cves])


def assess(
    host: Host,
    baseline: Baseline | None,
    as_of: datetime,
    verdict: Verdict,
    reasons: Sequence[Undetermined],
    metadata_digest: str,
    exceptions_version: int,
) -> Assessment:
    """Put the answer together. What is excused counts apart: it neither makes an instance non-compliant nor is it compliant (R10)."""
    counts = StatusCounts(
        installed=len(verdict.satisfied) - len(verdict.pending) - len(verdict.late),
        installed_other=len(verdict.newest) - _seen_to(verdict),
        missing=len(verdict.missing),
        reject=len(verdict.rejected),
        pending_reboot=len(verdict.pending) + len(verdict.late),
        excepted=len(verdict.excepted),
        not_applicable=verdict.not_applicable,
        updates_without_advisory=verdict.without_advisory,
    )
    if reasons:
        status = InstanceStatus.UNDETERMINED
    elif verdict.missing or verdict.pending or verdict.late or verdict.rejected:
        status = InstanceStatus.NON_COMPLIANT
    else:
        status = InstanceStatus.COMPLIANT
    return Assessment(
        instance_id=host.instance.id,
        status=status,
        inputs=Inputs(
            inventory_digest=host.snapshot.digest.hex() if host.snapshot is not None else "",
            metadata_digest=metadata_digest,
            manifest_digest=host.manifest_digest,
            baseline_id=baseline.id if baseline is not None else "",
            baseline_version=baseline.version if baseline is not None else 0,
            exceptions_version=exceptions_version,
            as_of=as_of,
        ),
        reasons=tuple(reasons),
        level=verdict.level,
        counts=counts,
        baseline_name=baseline.name if baseline is not None else "",
        baseline_source=host.baseline_source,
        collected_at=host.collected_at,
        ticket_id=host.ticket_id,
    )


def _seen_to(verdict: Verdict) -> int:
    """Count the packages that the baseline has anything to say about."""
    return len(verdict.satisfied) + len(verdict.missing) + len(verdict.rejected) + len(verdict.excepted)


class Items:
    """Makes the items of one instance, with their evidence."""

    def __init__(
        self,
        host: Host,
        baseline: Baseline | None,
        approved: Approved,
        table: PackageTable,
        since: Mapping[str, datetime],
    ) -> None:
        """Remember what the evidence is made of."""
        self._host = host
        self._baseline_name = baseline.name if baseline is not None else ""
        self._clauses = [clause(rule) for rule in baseline.rules] if baseline is not None else []
        self._approved = approved
        self._table = table
        self._since = since
        self._holds = host.manifest.holds if host.manifest is not None else ()
        repositories = host.manifest.repositories if host.manifest is not None else ()
        self._metadata_at = {repository.id: metadata_time(repository) for repository in repositories}

    def non_compliant(self, verdict: Verdict) -> tuple[Item, ...]:
        """Return the items that keep the instance from complying, then those that are excused: by level, then by name and arch."""
        obsoleted = verdict.obsoleted
        found = [self._missing(self._table[number], obsoleted.get(number)) for number in verdict.missing]
        found += [self._late(self._table[number]) for number in verdict.late]
        found += [self._pending(self._table[number], running) for number, running in verdict.pending.items()]
        found += [self._rejected(self._table[number]) for number in verdict.rejected]
        excepted = [
            self._excepted(self._table[number], excused, obsoleted.get(number))
            for number, excused in verdict.excepted.items()
        ]
        return tuple(sorted(found, key=_order)) + tuple(sorted(excepted, key=_order))

    def others(self, verdict: Verdict) -> tuple[Item, ...]:
        """Return the items of all other installed packages, by name and arch."""
        told = FrozenBitMap([*verdict.pending, *verdict.excepted])
        left = verdict.newest - verdict.missing - verdict.rejected - verdict.late - told
        found = [
            self._installed(self._table[number]) if number in verdict.satisfied else self._other(self._table[number])
            for number in left
        ]
        return tuple(sorted(found, key=_order))

    def _missing(self, package: Package, obsoletion: Obsoletion | None) -> Item:
        if obsoletion is not None:
            line = obsoletion.line
            steps: tuple[Step, ...] = (line.target,)
            new, level = obsoletion.by, obsoletion.level
        else:
            line = self._line(package)
            steps, level = line.skipped(package.key), line.level(package.key)
            new = Nevra(package.nevra.name, *line.target.evr, package.nevra.arch)
        item = self._evidence(PatchStatus.MISSING, package, line.target, steps, level)
        hold = held_by(new, package.nevra, self._holds, line.target.repository)
        if hold is not None:
            item = replace(item, hold=hold.kind.value)
        if obsoletion is not None:
            item = replace(item, reason=f"OBSOLETES({obsoletion.by.name})")
        elif line.gone:
            item = replace(item, reason="VERSION_GONE", hold="")
        elif hold is not None:
            item = replace(item, reason=f"HELD({hold.kind.value})")
        return self._told(item, line.target)

    def _late(self, package: Package) -> Item:
        target = self._line(package).target
        item = self._evidence(PatchStatus.PENDING_REBOOT, package, target, (target,), _level_of(target))
        return self._told(replace(item, reason=LOW_CONFIDENCE), target)

    def _pending(self, package: Package, running: Nevra) -> Item:
        line = self._line(package)
        steps, level = line.skipped(running.key), line.level(running.key)
        item = self._evidence(PatchStatus.PENDING_REBOOT, package, line.target, steps, level)
        return self._told(item, line.target, running=str(running.evr))

    def _rejected(self, package: Package) -> Item:
        build = package.nevra
        words = [self._approved.blocked_words[place] for place in self._approved.blocked.of_build(build)]
        item = Item(
            PatchStatus.REJECT,
            build.name,
            build.arch,
            build.evr,
            reason=f"REJECTED({', '.join(words)})",
            clause=f"rejected: {', '.join(words)}, BLOCK",
            first_non_compliant_at=self._since.get(f"{build.name}.{build.arch}"),
        )
        return replace(item, why=why(item, self._host.instance.name, self._baseline_name))

    def _excepted(self, package: Package, excused: Excused, obsoletion: Obsoletion | None) -> Item:
        if excused.otherwise is PatchStatus.REJECT:
            item = self._rejected(package)
        elif excused.running is not None:
            item = self._pending(package, excused.running)
        elif excused.otherwise is PatchStatus.PENDING_REBOOT:
            item = self._late(package)
        else:
            item = self._missing(package, obsoletion)
        return replace(
            item,
            status=PatchStatus.EXCEPTED,
            reason=excused.excuse.reason,
            first_non_compliant_at=None,
            why=excepted_why(excused.excuse, item.why),
        )

    def _other(self, package: Package) -> Item:
        build = package.nevra
        return Item(
            PatchStatus.INSTALLED_OTHER,
            build.name,
            build.arch,
            build.evr,
            available_security=self._available_security(package),
        )

    def _available_security(self, package: Package) -> Evr | None:
        """Return the newer security build that is not approved yet (R4); None if there is none."""
        build = package.nevra
        found = self._approved.security.get((build.name, build.arch, belongs_to_module(package)))
        return found[1] if found is not None and found[0] > package.key else None

    def _installed(self, package: Package) -> Item:
        target = self._line(package).target
        item = self._evidence(PatchStatus.INSTALLED, package, target, (target,), Level.UNSPECIFIED)
        return self._told(replace(item, first_non_compliant_at=None), target)

    def _line(self, package: Package) -> Line:
        line = line_of(self._approved, package)
        assert line is not None  # the verdict named this package because there is one
        return line

    def _evidence(
        self, status: PatchStatus, package: Package, target: Step, steps: Sequence[Step], level: Level
    ) -> Item:
        """Fill in what is known; `steps` are the versions that the host skips, or has skipped."""
        approval = target.approval
        assert approval is not None  # a target is an approved version
        build = package.nevra
        return Item(
            status=status,
            name=build.name,
            arch=build.arch,
            installed=build.evr,
            level=level,
            required=target.evr,
            category=approval.category,
            severity=approval.severity,
            advisories=_union([approval.advisory] if approval.advisory else [], steps, lambda step: step.advisories),
            cves=_union([], steps, lambda step: step.cves),
            rule=approval.rule,
            clause=approval.clause or self._clauses[approval.rule - 1],
            date_basis=approval.basis,
            basis_date=approval.basis_date,
            approved_on=approval.approved_on,
            repository=target.repository,
            metadata_at=self._metadata_at.get(target.repository),
            first_non_compliant_at=self._since.get(f"{build.name}.{build.arch}"),
            available_security=self._available_security(package),
        )

    def _told(self, item: Item, target: Step, running: str = "") -> Item:
        approval = target.approval
        assert approval is not None  # a target is an approved version
        text = why(
            item,
            self._host.instance.name,
            self._baseline_name,
            running=running,
            decisive_cves=approval.cves,
            by_advisory=bool(approval.advisory),
        )
        return replace(item, why=text)


def _union(first: list[str], steps: Sequence[Step], words: Callable[[Step], Iterable[str]]) -> tuple[str, ...]:
    """Each word once: the first ones first, then from the newest step to the oldest."""
    return tuple(dict.fromkeys([*first, *(word for step in reversed(steps) for word in words(step))]))


def _order(item: Item) -> tuple[int, str, str]:
    return (-item.level, item.name, item.arch)


def non_compliant_keys(verdict: Verdict, table: PackageTable) -> tuple[str, ...]:
    """Return the keys (name.arch) of what is missing, rejected or pending, in order."""
    return tuple(sorted(table.keys([*verdict.missing, *verdict.rejected, *verdict.pending, *verdict.late])))


def running_kernel(manifest: Manifest) -> Nevra | None:
    """Return the package of the running kernel; None when it is not known, or when there is none."""
    try:
        return nevra.parse(manifest.running_kernel_package)
    except ValueError:
        return None


def _running_kernel(
    satisfied: FrozenBitMap, manifest: Manifest, approved: Approved, table: PackageTable
) -> tuple[Mapping[int, Nevra], bool]:
    """Find the kernel packages that are installed well enough and run in an older version than required (R7)."""
    running = running_kernel(manifest)
    if running is None:
        kernels = (table[number].nevra.name for number in satisfied & table.kernels)
        return {}, any(name in manifest.install_only and not name.endswith("-devel") for name in kernels)
    pending = dict[int, Nevra]()
    for name in kernel_parts(running.name):
        for number in satisfied & table.builds(name, running.arch):
            line = line_of(approved, table[number])
            if line is not None and running.key < line.target.key:
                pending[number] = running
    return pending, False


def kernel_parts(running: str) -> tuple[str, ...]:
    """Return the names of the packages that start to work together with the running kernel's: it may be split into parts."""
    base = running.removesuffix("-core")
    parts = (base, f"{base}-core", f"{base}-modules", f"{base}-modules-core", f"{base}-modules-extra")
    return tuple(dict.fromkeys((running, *parts)))
