"""What a baseline requires, once it is compiled: versions of packages, each with what approves it. Records that decide nothing."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import date
from typing import Final, NamedTuple

from immutables import Map

from common import evr
from common.evr import Evr
from common.nevra import Nevra
from controller.compliance.entries import Entries
from controller.compliance.model import Advisory, Category, DateBasis, Level, Severity
from controller.inventory.model import Package

BY_HAND: Final = "approved by hand: "
"""What the clause of an entry of the approved list begins with."""
REQUIRED: Final = "required: "
"""What the clause of a custom baseline's row begins with."""


class Approval(NamedTuple):
    """Why a version is approved: the rule (from 1; 0: no rule, `clause` says what), the advisory and the dates."""

    rule: int
    level: Level
    advisory: str
    """Empty for a build that no advisory mentions."""
    category: Category
    severity: Severity
    cves: tuple[str, ...]
    basis: DateBasis | None = None
    basis_date: date | None = None
    approved_on: date | None = None
    """A rule has all three; nobody wrote down since when an entry of a list or a row holds."""
    clause: str = ""
    """What approves it when no rule does, "approved by hand: bash"."""

    @property
    def order(self) -> tuple[int, bool, int, date, str, str]:
        """Of several approvals of one version the first in this order is the one that is told: rules before entries of lists."""
        return (-self.level, not self.rule, self.rule, self.approved_on or date.max, self.advisory, self.clause)


class Version(NamedTuple):
    """One version of a name.arch, with all that repositories tell of it. No baseline and no day has a part in it."""

    key: bytes
    evr: Evr
    repository: str
    """The first repository, by id, that offers it; else the first that has an advisory for it."""
    advisories: tuple[str, ...] = ()
    cves: tuple[str, ...] = ()
    advisory_cves: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """The advisories again, each with its own CVEs."""
    modular: bool = False
    """It is a build of a module."""
    security: bool = False
    """One of the advisories is about security."""
    offered: bool = True
    """A repository's list of packages has it."""
    told: tuple[Advisory, ...] = ()
    """The advisories as they were read, in order."""
    builds: tuple[Nevra, ...] = ()
    """For each of them: the build as it spells it."""


class Step(NamedTuple):
    """One version that advisories (or a rule) name, and what a baseline says of it."""

    version: Version
    approval: Approval | None
    """None when it is not approved: it still counts among the versions that an update skips (R14)."""

    @property
    def key(self) -> bytes:
        """The key of its EVR."""
        return self.version.key


class Line(NamedTuple):
    """What is required of one name.arch. The last step is the target: the highest approved version (R4)."""

    steps: tuple[Step, ...]
    """Ascending; every version up to the target that has an advisory or an approval."""
    gone: bool = False
    """No repository offers the target any more (VERSION_GONE)."""

    @property
    def target(self) -> Step:
        """The version that must be installed at least."""
        return self.steps[-1]

    def skipped(self, installed: bytes) -> tuple[Step, ...]:
        """Return the steps that are newer than an installed version (an EVR key)."""
        return tuple(step for step in self.steps if step.key > installed)

    def level(self, installed: bytes) -> Level:
        """Return the highest level of all approved versions that are newer than an installed one."""
        approvals = (step.approval for step in self.steps if step.key > installed)
        return max((a.level for a in approvals if a is not None), default=Level.UNSPECIFIED)


@dataclass(frozen=True, slots=True)
class Obsoletion:
    """A required build that replaces other packages, and which builds of one of them."""

    by: Nevra
    line: Line
    """What is required of the replacing package: `by` is its target."""
    relation: str
    """"<", "<=", "=", ">=", ">" or empty for every version."""
    epoch: int = 0
    version: str = ""
    release: str = ""
    """Empty: the relation does not look at releases."""

    @property
    def level(self) -> Level:
        """The highest level of the approvals of the replacing package."""
        return self.line.level(b"")

    def skipped(self, package: Package) -> tuple[Step, ...]:
        """Return the steps that count for a package that is replaced: of one that only changes its architecture, all that it skips."""
        return self.line.skipped(package.key) if package.nevra.name == self.by.name else (self.line.target,)

    def replaces(self, build: Nevra) -> bool:
        """Say whether a build of the named package is replaced, as rpm compares; one of another architecture is not."""
        if "noarch" not in (build.arch, self.by.arch) and build.arch != self.by.arch:
            return False
        if not self.relation:
            return True
        ours, theirs = [evr.version_key(build.version)], [evr.version_key(self.version)]
        if self.release:
            ours.append(evr.version_key(build.release))
            theirs.append(evr.version_key(self.release))
        order = ((build.epoch, ours) > (self.epoch, theirs)) - ((build.epoch, ours) < (self.epoch, theirs))
        return {-1: "<", 0: "=", 1: ">"}[order] in self.relation


BuildKey = tuple[str, str, bytes]
"""Name, architecture and the key of the version."""
LineKey = tuple[str, str, bool]
"""Name, architecture, and whether the installed build belongs to a module (R8)."""


@dataclass(frozen=True, slots=True)
class Approved:
    """All that a baseline requires on one day, given the metadata."""

    lines: Map[LineKey, Line]
    names: frozenset[tuple[str, str]]
    """(name, arch) of all lines."""
    without_advisory: Map[tuple[str, str], bytes]
    """(name, arch) -> key of the newest build that no advisory mentions and no rule approves."""
    first_seen_used: tuple[tuple[str, date], ...] = ()
    """The advisories whose date was asked of first_seen: part of the inputs (R1)."""
    custom: Mapping[str, Line] = field(default_factory=dict)
    """By name, whatever the architecture: the rows of a custom baseline. Then all the others are empty."""
    blocked: Entries = field(default_factory=lambda: Entries(()))
    """Builds that must not be installed: the rejected list's entries with action BLOCK."""
    blocked_words: tuple[str, ...] = ()
    """Those entries as they were written."""
    obsoleted: Mapping[str, tuple[Obsoletion, ...]] = field(default_factory=dict)
    """By the name of what is replaced: required builds that replace it, the one that matters most first."""
    restart: AbstractSet[tuple[str, str, bytes]] = frozenset()
    """(name, arch, key) of the builds whose advisories suggest a restart (R9)."""
    in_modules: AbstractSet[str] = frozenset()
    """Names of packages that an enabled module stream has builds of, as far as advisories tell: it hides all plain ones (R3)."""
    security: Map[LineKey, tuple[bytes, Evr]] = field(default_factory=Map)
    """The newest build with a security advisory that is neither approved yet nor rejected, and newer than the target (R4)."""
    archs: frozenset[str] = frozenset()
    """At least the architectures of the lines and of what else is kept by name and architecture here."""
