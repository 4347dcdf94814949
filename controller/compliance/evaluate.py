"""One instance's answer from verdicts: bitmaps for the many, a closer look at the few (SEMANTICS §1, R3, R4, R7, R14)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from pyroaring import FrozenBitMap

from common import nevra
from common.manifest import Manifest
from common.nevra import Nevra
from controller.compliance.exceptions import Excuse, Excuses
from controller.compliance.host import Host
from controller.compliance.judge import Judged, PackageTable, Spelled, line_of
from controller.compliance.model import (
    Assessment,
    Attempt,
    Baseline,
    Inputs,
    InstanceStatus,
    Level,
    PatchStatus,
    StatusCounts,
    Undetermined,
)
from controller.compliance.required import Approved, Obsoletion, Step
from controller.inventory.model import Package


@dataclass(frozen=True, slots=True)
class Excused:
    """One excused package: by what, which status it would have, and, if that is PENDING_REBOOT, what runs."""

    excuse: Excuse
    otherwise: PatchStatus
    running: Nevra | None = None


_PART: Final = re.compile(r"(-modules)?(-core|-extra|-internal)?$")
"""How the name of a part of a kernel ends: rpm may name any that owns /lib/modules as the package of the running one (R7)."""
_NONE: Final = FrozenBitMap()
_NO_OBSOLETED: Final[Mapping[int, Obsoletion]] = MappingProxyType({})
_NO_EXCUSED: Final[Mapping[int, Excused]] = MappingProxyType({})
_NO_ATTEMPTS: Final[Mapping[int, Attempt]] = MappingProxyType({})


class Verdict(NamedTuple):
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
    rejected: FrozenBitMap = _NONE
    """On the rejected list with BLOCK; neither missing nor satisfied."""
    obsoleted: Mapping[int, Obsoletion] = _NO_OBSOLETED
    """Of the missing: those that a required package replaces, and which."""
    late: FrozenBitMap = _NONE
    """Of the satisfied: those that were installed after the host started, and take effect when it starts again (R9)."""
    excepted: Mapping[int, Excused] = _NO_EXCUSED
    """What would be missing, rejected or pending and is excused; in none of the three."""
    attempts: Mapping[int, Attempt] = _NO_ATTEMPTS
    """Of what is missing, excused or not: the last attempt, unless what it was to bring is installed (R12)."""
    failed: FrozenBitMap = _NONE
    """Of the missing: those whose attempt ended badly."""
    is_repaired: bool = False
    """A repair tried something on this instance: what it left alone is NOT_ATTEMPTED."""


NOTHING = Verdict(_NONE, _NONE, _NONE, {}, Level.UNSPECIFIED, 0, 0, kernel_matters=False)


def decide(
    newest: FrozenBitMap, manifest: Manifest, approved: Approved, judged: Judged, table: PackageTable
) -> Verdict:
    """Join verdicts with the newest installed build of each name.arch."""
    obsoleted = _obsoleted(newest, judged, table)
    missing = newest & judged.behind
    satisfied = newest & judged.satisfied
    not_applicable = _not_applicable(newest, missing, satisfied, approved, judged, table)
    if obsoleted:
        missing |= FrozenBitMap(obsoleted)
    # What the baseline wants out of the way stays REJECT even where an older version is approved: the rejected list always wins.
    # Where a newer one is approved, that one is missing, and it takes the blocked build away.
    rejected = (newest & judged.blocked) - missing if judged.blocked else _NONE
    if obsoleted or rejected:
        satisfied = satisfied - rejected - missing
    pending, kernel_matters = _running_kernel(satisfied, manifest, approved, table)
    return Verdict(
        newest,
        missing,
        satisfied,
        pending,
        _level(missing, obsoleted, pending, _NONE, approved, judged, table),
        not_applicable,
        newest.intersection_cardinality(judged.without_advisory) if judged.without_advisory else 0,
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
    return verdict._replace(late=late, level=level)


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
    if not (obsoleted or pending or late):
        return judged.worst(missing)
    found = [judged.worst(missing - FrozenBitMap(obsoleted) if obsoleted else missing)]
    found += [obsoletion.level for obsoletion in obsoleted.values()]
    for number, running in pending.items():
        line = line_of(approved, table[number])
        found.append(line.level(running.key) if line is not None else Level.UNSPECIFIED)
    for number in late:
        line = line_of(approved, table[number])
        found.append(level_of(line.target) if line is not None else Level.UNSPECIFIED)
    return max(found)


def level_of(step: Step) -> Level:
    """Return the level of a version's approval."""
    return step.approval.level if step.approval is not None else Level.UNSPECIFIED


def _obsoleted(newest: FrozenBitMap, judged: Judged, table: PackageTable) -> dict[int, Obsoletion]:
    """Find what is replaced by a required package, unless that stands beside it already, new enough: then it will not come again."""
    if not judged.obsoleted:
        return {}
    found = dict[int, Obsoletion]()
    for number in newest & FrozenBitMap(judged.obsoleted):
        for obsoletion in judged.obsoleted[number]:
            if not _is_there(obsoletion.by, newest, table):
                found[number] = obsoletion
                break
    return found


def _not_applicable(
    newest: FrozenBitMap,
    behind: FrozenBitMap,
    satisfied: FrozenBitMap,
    approved: Approved,
    judged: Judged,
    table: PackageTable,
) -> int:
    """Count what is asked of packages that are not installed: of name.arch, or of names by a custom baseline."""
    if approved.custom:
        return len(approved.custom) - len({table[number].nevra.name for number in newest & judged.covered_names})
    if judged.all_apply:
        return len(approved.names) - len(behind) - len(satisfied)
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
            steps = obsoletion.skipped(package)
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
    return verdict._replace(
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
    return excuses.of_advisories([pair for step in steps for pair in step.version.advisory_cves])


def attempted(verdict: Verdict, attempts: Iterable[Attempt], as_of: datetime, table: PackageTable) -> Verdict:
    """Tell apart what a repair tried in vain, and what it never tried (R12). An attempt is over when its build is installed."""
    last = dict[str, Attempt]()
    for attempt in sorted((a for a in attempts if a.at <= as_of), key=lambda a: (a.at, a.error_class or "", a.build)):
        last[attempt.key] = attempt
    if not last:
        return verdict
    excused = (n for n, found in verdict.excepted.items() if found.otherwise is PatchStatus.MISSING)
    numbers = [*verdict.missing, *excused]
    found = {
        number: last[key]
        for number, key in zip(numbers, table.keys(numbers), strict=True)
        if key in last and not _is_there(last[key].build, verdict.newest, table)
    }
    failed = FrozenBitMap(number for number, attempt in found.items() if attempt.error_class is not None)
    return verdict._replace(attempts=found, failed=failed & verdict.missing, is_repaired=True)


def _is_there(build: Nevra, newest: FrozenBitMap, table: PackageTable) -> bool:
    return any(table[number].key >= build.key for number in newest & table.builds(build.name, build.arch))


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
        missing=len(verdict.missing) - len(verdict.failed),
        reject=len(verdict.rejected),
        failed=len(verdict.failed),
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


def non_compliant_keys(verdict: Verdict, table: PackageTable) -> Spelled:
    """Return the keys (name.arch) of what is missing, rejected or pending, in order."""
    if not (verdict.rejected or verdict.pending or verdict.late):
        return Spelled(verdict.missing, table)
    return Spelled(FrozenBitMap([*verdict.missing, *verdict.rejected, *verdict.pending, *verdict.late]), table)


def running_kernel(manifest: Manifest) -> Nevra | None:
    """Return the package of the running kernel; None when it is not known, or when there is none."""
    return _parsed(manifest.running_kernel_package)


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Nevra | None:
    """Remembered: a fleet runs few kernels."""
    try:
        return nevra.parse(text)
    except ValueError:
        return None


def _running_kernel(
    satisfied: FrozenBitMap, manifest: Manifest, approved: Approved, table: PackageTable
) -> tuple[Mapping[int, Nevra], bool]:
    """Find the kernel packages that are installed well enough and run in an older version than required (R7)."""
    running = running_kernel(manifest)
    if running is None:
        if not manifest.install_only:
            return {}, False
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
    base = _PART.sub("", running)
    parts = (base, f"{base}-core", f"{base}-modules", f"{base}-modules-core", f"{base}-modules-extra")
    return tuple(dict.fromkeys((running, *parts)))
