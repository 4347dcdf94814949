"""The items of one instance with their evidence, from its verdict (SEMANTICS R3, R14)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain
from typing import Final

from pyroaring import FrozenBitMap

from common.evr import Evr
from common.nevra import Nevra
from controller.compliance.baseline import clause
from controller.compliance.evaluate import Excused, Verdict, level_of
from controller.compliance.holds import held_by
from controller.compliance.host import Host
from controller.compliance.judge import PackageTable, belongs_to_module, line_of
from controller.compliance.model import (
    Attempt,
    Baseline,
    Item,
    Level,
    PatchStatus,
)
from controller.compliance.required import Approved, Line, Obsoletion, Step
from controller.compliance.undetermined import metadata_time
from controller.compliance.why import excepted_why, why
from controller.inventory.model import Package

MODULE: Final = "module"
"""What holds a plain update back when an enabled module stream has builds of the same name: the package manager shows only those."""
LOW_CONFIDENCE: Final = "REBOOT(low confidence)"
"""The reason of what looks, by the clock, as if it was installed after the host started (R9)."""


NOT_ATTEMPTED: Final = "NOT_ATTEMPTED"
"""The reason of what is missing on an instance that was repaired, if no repair tried it (R12)."""


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
        found = [self._unmended(number, verdict) for number in verdict.missing]
        found += [self._late(self._table[number]) for number in verdict.late]
        found += [self._pending(self._table[number], running) for number, running in verdict.pending.items()]
        found += [self._rejected(self._table[number]) for number in verdict.rejected]
        excepted = [
            self._excepted(self._table[number], excused, obsoleted.get(number), verdict.attempts.get(number))
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

    def _unmended(self, number: int, verdict: Verdict) -> Item:
        """Make the item of a package that is missing: FAILED when a repair tried it last and ended badly (R12)."""
        attempt = verdict.attempts.get(number)
        item = self._missing(self._table[number], verdict.obsoleted.get(number), attempt)
        if number in verdict.failed:
            return replace(item, status=PatchStatus.FAILED, reason=item.last_error_class)
        if verdict.is_repaired and attempt is None and not item.reason:
            return replace(item, reason=NOT_ATTEMPTED)
        return item

    def _missing(self, package: Package, obsoletion: Obsoletion | None, attempt: Attempt | None) -> Item:
        if obsoletion is not None:
            line = obsoletion.line
            steps: tuple[Step, ...] = obsoletion.skipped(package)
            new, level = obsoletion.by, obsoletion.level
        else:
            line = self._line(package)
            steps, level = line.skipped(package.key), line.level(package.key)
            new = Nevra(package.nevra.name, *line.target.version.evr, package.nevra.arch)
        reason, hold = self._obstacle(package.nevra, new, line, obsoletion)
        item = self._evidence(
            PatchStatus.MISSING, package, line.target, steps, level, reason=reason, hold=hold, attempt=attempt
        )
        return self._told(item, line.target)

    def _obstacle(self, build: Nevra, new: Nevra, line: Line, obsoletion: Obsoletion | None) -> tuple[str, str]:
        """Return the reason of what is missing, if it has one, and what on the host holds the update to `new` back."""
        target = line.target.version
        hold = held_by(new, build, self._holds, target.repository)
        held = hold.kind.value if hold is not None else ""
        if obsoletion is not None:
            is_other = new.name != build.name
            return f"OBSOLETES({new.name if is_other else f'{new.name}.{new.arch}'})", held
        if line.gone:
            return "VERSION_GONE", ""
        if not held and new.name in self._approved.in_modules and not target.modular:
            held = MODULE
        return f"HELD({held})" if held else "", held

    def _late(self, package: Package) -> Item:
        target = self._line(package).target
        item = self._evidence(
            PatchStatus.PENDING_REBOOT, package, target, (target,), level_of(target), reason=LOW_CONFIDENCE
        )
        return self._told(item, target)

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
        return item.told(why(item, self._host.instance.name, self._baseline_name))

    def _excepted(
        self, package: Package, excused: Excused, obsoletion: Obsoletion | None, attempt: Attempt | None
    ) -> Item:
        if excused.otherwise is PatchStatus.REJECT:
            item = self._rejected(package)
        elif excused.running is not None:
            item = self._pending(package, excused.running)
        elif excused.otherwise is PatchStatus.PENDING_REBOOT:
            item = self._late(package)
        else:
            item = self._missing(package, obsoletion, attempt)
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
        return self._told(item, target)

    def _line(self, package: Package) -> Line:
        line = line_of(self._approved, package)
        assert line is not None  # the verdict named this package because there is one
        return line

    def _evidence(
        self,
        status: PatchStatus,
        package: Package,
        target: Step,
        steps: Sequence[Step],
        level: Level,
        *,
        reason: str = "",
        hold: str = "",
        attempt: Attempt | None = None,
    ) -> Item:
        """Fill in what is known; `steps` are the versions that the host skips, or has skipped."""
        approval, version = target.approval, target.version
        assert approval is not None  # a target is an approved version
        build = package.nevra
        since = self._since.get(f"{build.name}.{build.arch}") if status is not PatchStatus.INSTALLED else None
        return Item(
            status=status,
            name=build.name,
            arch=build.arch,
            installed=build.evr,
            level=level,
            required=version.evr,
            reason=reason,
            category=approval.category,
            severity=approval.severity,
            advisories=_advisories(approval.advisory, steps),
            cves=steps[0].version.cves if len(steps) == 1 else _union(step.version.cves for step in reversed(steps)),
            rule=approval.rule,
            clause=approval.clause or self._clauses[approval.rule - 1],
            date_basis=approval.basis,
            basis_date=approval.basis_date,
            approved_on=approval.approved_on,
            repository=version.repository,
            metadata_at=self._metadata_at.get(version.repository),
            hold=hold,
            first_non_compliant_at=since,
            last_attempt_at=attempt.at if attempt is not None else None,
            last_error_class=attempt.error_class or "" if attempt is not None else "",
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
        return item.told(text)


def _advisories(approved: str, steps: Sequence[Step]) -> tuple[str, ...]:
    """Name the approved advisory first, if there is one, then those of the newest step, and so on to the oldest."""
    if len(steps) == 1 and steps[0].version.advisories[:1] == (approved,):
        return steps[0].version.advisories
    return _union([(approved,) if approved else (), *(step.version.advisories for step in reversed(steps))])


def _union(lists: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Each word once, where it stands first."""
    return tuple(dict.fromkeys(chain.from_iterable(lists)))


def _order(item: Item) -> tuple[int, str, str]:
    return (-item.level, item.name, item.arch)
