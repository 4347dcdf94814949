"""Which versions are required: repositories' metadata and a baseline, compiled for one day (SEMANTICS R4, R5, R6, R8)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from common import evr
from common.evr import Evr
from common.manifest import Stream
from common.nevra import Nevra
from controller.compliance.entries import Entries
from controller.compliance.model import (
    Advisory,
    Available,
    Baseline,
    Category,
    CustomPackage,
    DateBasis,
    RejectAction,
    Rule,
    Severity,
)
from controller.compliance.required import (
    BY_HAND,
    REQUIRED,
    Approval,
    Approved,
    Line,
    LineKey,
    Obsoletion,
    Step,
)
from controller.fleet import products
from controller.inventory.advisories import UNKNOWN_MODULE, is_modular


@dataclass(frozen=True, slots=True)
class RepositoryContent:
    """What one repository holds. `available` is None when its list of packages was not read."""

    id: str
    advisories: Sequence[Advisory]
    available: Sequence[Available] | None = None


@dataclass(slots=True)
class _Version:
    evr: Evr
    repository: str
    advisories: dict[str, tuple[str, ...]] = field(default_factory=dict)
    approvals: list[Approval] = field(default_factory=list)
    security: bool = False
    modular: bool = False
    rejected: bool = False


def compile_approvals(
    repositories: Iterable[RepositoryContent],
    baseline: Baseline,
    as_of: date,
    streams: Iterable[Stream],
    product: str,
    first_seen: Mapping[str, datetime],
) -> Approved:
    """Return what `baseline` requires of an instance with this product, these repositories and these enabled module streams.

    `first_seen` says when advisories were first seen; one that is absent counts as seen on `as_of`.
    """
    contents = sorted(repositories, key=lambda content: content.id)
    rules = applicable_rules(baseline, product)
    enabled = {f"{stream.name}:{stream.stream}" for stream in streams}
    seen = _FirstSeen(first_seen, as_of)
    lists = _Lists(baseline)
    versions = defaultdict[LineKey, dict[bytes, _Version]](dict)
    mentioned = set[tuple[str, str, bytes]]()
    for content in contents:
        for advisory in content.advisories:
            approvals = [
                a for number, rule in rules if (a := _approve(number, rule, advisory, as_of, seen)) is not None
            ]
            approvals += lists.of_advisory(advisory)
            is_security = advisory.category is Category.SECURITY
            for package in advisory.packages:
                build = package.nevra
                key = build.key
                mentioned.add((build.name, build.arch, key))
                by_hand = lists.of_build(build, advisory)
                rejected = lists.rejects(build)
                for modular in _applies_to(package.module, enabled):
                    known = versions[build.name, build.arch, modular]
                    version = known.get(key)
                    if version is None:
                        version = known[key] = _Version(build.evr, content.id)
                    version.advisories.setdefault(advisory.id, advisory.cves)
                    version.approvals += approvals
                    version.approvals += by_hand
                    version.security |= is_security
                    version.modular |= bool(package.module)
                    version.rejected |= rejected
    offered, obsoletes, everything_read = _offered(contents)
    without = dict[tuple[str, str], bytes]()
    for (name, arch, key), (repository, build, build_time) in offered.items():
        if (name, arch, key) in mentioned or is_modular(build.release):
            continue  # which stream a modular build belongs to, only its advisory or the modules file can tell
        if lists.rejects(build):
            continue
        approvals = [a for number, rule in rules if (a := _approve_build(number, rule, build_time, as_of)) is not None]
        approvals += lists.of_build(build, None)
        if approvals:
            known = versions[name, arch, False]
            version = known.setdefault(key, _Version(build.evr, repository))
            version.approvals += approvals
        elif key > without.get((name, arch), b""):
            without[name, arch] = key
    for found in versions.values():
        for version in found.values():
            if version.rejected:
                version.approvals.clear()  # the rejected list always wins
    lines = {
        line_key: line
        for line_key, found in sorted(versions.items())
        if (line := _line(line_key, found, offered, everything_read)) is not None
    }
    return Approved(
        lines,
        frozenset((name, arch) for name, arch, _ in lines),
        without,
        seen.used(),
        obsoleted=_obsoleted(lines, obsoletes),
        restart=frozenset(
            (p.nevra.name, p.nevra.arch, p.nevra.key)
            for content in contents
            for advisory in content.advisories
            for p in advisory.packages
            if p.reboot_suggested
        ),
        in_modules=frozenset(
            p.nevra.name
            for content in contents
            for advisory in content.advisories
            for p in advisory.packages
            if p.module and p.module in enabled
        ),
        blocked=lists.blocked,
        blocked_words=lists.blocked_words,
        security=_not_yet_approved(versions, lines),
    )


def compile_custom(rows: Sequence[CustomPackage]) -> Approved:
    """Return what a custom baseline requires: of each name at least one version, whatever any repository says."""
    lines = dict[str, Line]()
    for number, row in enumerate(rows, 1):
        required = evr.parse(f"{row.version}-{row.release}")
        clause = f"{REQUIRED}{row.name} {required} or newer, row {number}"
        approval = Approval(0, row.level, "", Category.UNSPECIFIED, Severity.NONE, (), clause=clause)
        lines[row.name] = Line((Step(required.key, required, "", (), (), approval),))
    return Approved({}, frozenset(), {}, custom=lines)


def applicable_rules(baseline: Baseline, product: str) -> tuple[tuple[int, Rule], ...]:
    """Return the rules that are for a product, with their numbers from 1."""
    return tuple(
        (number, rule)
        for number, rule in enumerate(baseline.rules, 1)
        if any(products.matches(wanted, product) for wanted in rule.products)
    )


def basis_date(rule_basis: DateBasis, advisory: Advisory, first_seen: date) -> tuple[DateBasis, date]:
    """Return the date that a rule counts from, and which one it is: a missing date is first_seen, never 1970 (R5)."""
    match rule_basis:
        case DateBasis.ISSUED if advisory.issued is not None:
            return DateBasis.ISSUED, advisory.issued
        case DateBasis.UPDATED if dates := [day for day in (advisory.issued, advisory.updated) if day is not None]:
            return DateBasis.UPDATED, max(dates)
        case _:
            return DateBasis.FIRST_SEEN, first_seen


def instant(seconds: int) -> datetime | None:
    """Read seconds since 1970 from metadata; None when they are 0 or no time at all."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


class _FirstSeen:
    """Answers when an advisory was first seen, and remembers who was asked."""

    def __init__(self, known: Mapping[str, datetime], as_of: date) -> None:
        self._known = known
        self._as_of = as_of
        self._used = dict[str, date]()

    def __getitem__(self, advisory: str) -> date:
        at = self._known.get(advisory)
        return self._used.setdefault(advisory, at.astimezone(UTC).date() if at is not None else self._as_of)

    def used(self) -> tuple[tuple[str, date], ...]:
        return tuple(sorted(self._used.items()))


class _Lists:
    """The approved and the rejected list of a baseline."""

    def __init__(self, baseline: Baseline) -> None:
        self._approved = baseline.approved
        self._entries = Entries([patch.entry for patch in baseline.approved])
        self._rejected = Entries([patch.entry for patch in baseline.rejected])
        self.blocked_words = tuple(p.entry for p in baseline.rejected if p.action is RejectAction.BLOCK)
        self.blocked = Entries(self.blocked_words)

    def rejects(self, build: Nevra) -> bool:
        return bool(self._rejected and self._rejected.of_build(build))

    def of_advisory(self, advisory: Advisory) -> list[Approval]:
        """Return the approvals of all builds of an advisory: its id or one of its CVEs is listed."""
        if not self._entries:
            return []
        return [self._approval(place, advisory) for place in self._entries.of_advisory(advisory.id, advisory.cves)]

    def of_build(self, build: Nevra, advisory: Advisory | None) -> list[Approval]:
        """Return the approvals of one build (None: no advisory mentions it)."""
        if not self._entries:
            return []
        return [self._approval(place, advisory) for place in self._entries.of_build(build)]

    def _approval(self, place: int, advisory: Advisory | None) -> Approval:
        patch = self._approved[place]
        clause = f"{BY_HAND}{patch.entry}"
        if advisory is None:
            return Approval(0, patch.level, "", Category.UNSPECIFIED, Severity.NONE, (), clause=clause)
        return Approval(0, patch.level, advisory.id, advisory.category, advisory.severity, advisory.cves, clause=clause)


def _not_yet_approved(
    versions: Mapping[LineKey, Mapping[bytes, _Version]], lines: Mapping[LineKey, Line]
) -> dict[LineKey, tuple[bytes, Evr]]:
    found = dict[LineKey, tuple[bytes, Evr]]()
    for line_key, known in versions.items():
        newest = max(
            (key for key, v in known.items() if v.security and not v.approvals and not v.rejected), default=b""
        )
        line = lines.get(line_key)
        if newest and (line is None or newest > line.target.key):
            found[line_key] = (newest, known[newest].evr)
    return found


def _approve(number: int, rule: Rule, advisory: Advisory, as_of: date, seen: _FirstSeen) -> Approval | None:
    if rule.categories and advisory.category not in rule.categories:
        return None
    if rule.severities and advisory.severity not in rule.severities:
        return None
    basis, day = basis_date(rule.date_basis, advisory, as_of)
    if basis is DateBasis.FIRST_SEEN:
        day = seen[advisory.id]
    approved_on = _approved_on(rule, day, as_of)
    if approved_on is None:
        return None
    return Approval(
        number,
        rule.level,
        advisory.id,
        advisory.category,
        advisory.severity,
        advisory.cves,
        basis,
        day,
        approved_on,
    )


def _approve_build(number: int, rule: Rule, build_time: int, as_of: date) -> Approval | None:
    if not rule.include_without_advisory:
        return None
    built = instant(build_time)
    # Nobody wrote down when a build without a time was first seen: it counts as seen today.
    day, basis = (built.date(), DateBasis.BUILD_TIME) if built is not None else (as_of, DateBasis.FIRST_SEEN)
    approved_on = _approved_on(rule, day, as_of)
    if approved_on is None:
        return None
    return Approval(number, rule.level, "", Category.UNSPECIFIED, Severity.NONE, (), basis, day, approved_on)


def _approved_on(rule: Rule, day: date, as_of: date) -> date | None:
    """Return the whole UTC day on which a rule approved what is of `day`; None if it has not by `as_of`."""
    if rule.approve_until is not None:
        return day if day <= rule.approve_until else None
    days = rule.approve_after_days or 0
    if (as_of - day).days < days:
        return None
    return day + timedelta(days=days)


def _applies_to(module: str, enabled: AbstractSet[str]) -> tuple[bool, ...]:
    """Say to which installed builds an advisory package applies: plain ones (False), modular ones (True) (R8)."""
    if not module:
        return (False,)
    if module == UNKNOWN_MODULE:
        return (True,)  # the vendor left out of which stream: leaving the build out would call too much compliant
    return (False, True) if module in enabled else ()


Offered = Mapping[tuple[str, str, bytes], tuple[str, Nevra, int]]


Obsoletes = Mapping[tuple[str, str, bytes], tuple[str, ...]]


def _offered(contents: Iterable[RepositoryContent]) -> tuple[Offered, Obsoletes, bool]:
    """Return what repositories offer, by name, arch and key, what of it replaces others, and whether all could be asked."""
    found = dict[tuple[str, str, bytes], tuple[str, Nevra, int]]()
    obsoletes = dict[tuple[str, str, bytes], tuple[str, ...]]()
    everything_read = True
    for content in contents:
        if content.available is None:
            everything_read = False
            continue
        for build in content.available:
            key = (build.nevra.name, build.nevra.arch, build.nevra.key)
            found.setdefault(key, (content.id, build.nevra, build.build_time))
            if build.obsoletes:
                obsoletes.setdefault(key, build.obsoletes)
    return found, obsoletes, everything_read


def _obsoleted(lines: Mapping[LineKey, Line], obsoletes: Obsoletes) -> dict[str, tuple[Obsoletion, ...]]:
    """Find what the required builds replace. Only targets count: what an older version replaced may have come back since."""
    found = defaultdict[str, list[Obsoletion]](list)
    for name, arch, key in obsoletes:
        line = lines.get((name, arch, False))
        if line is None or line.target.key != key:
            continue
        for text in obsoletes[name, arch, key]:
            old, _, rest = text.partition(" ")
            if old == name:
                continue  # rpm's own rule: a package replaces its older versions anyway
            if (obsoletion := _obsoletion(Nevra(name, *line.target.evr, arch), line, rest)) is not None:
                found[old].append(obsoletion)
    return {
        old: tuple(sorted(several, key=lambda o: (-o.level, o.by.name, o.by.arch))) for old, several in found.items()
    }


def _obsoletion(by: Nevra, line: Line, condition: str) -> Obsoletion | None:
    """Read the part after the name of "old < 1:2.0-3"; None for a condition that rpm would not have written."""
    if not condition:
        return Obsoletion(by, line, "")
    relation, _, version = condition.partition(" ")
    epoch, colon, rest = version.rpartition(":")
    bare, _, release = rest.partition("-")
    try:
        number = evr.parse_epoch(epoch) if colon else 0
    except ValueError:
        return None
    return Obsoletion(by, line, relation, number, bare, release) if bare and relation.strip("<=>") == "" else None


def _line(
    line_key: LineKey, versions: Mapping[bytes, _Version], offered: Offered, everything_read: bool
) -> Line | None:
    approved = [key for key, version in versions.items() if version.approvals]
    if not approved:
        return None
    name, arch, _ = line_key
    target = max(approved)
    # R4's "lowest available approved build above it" has nothing to choose from: the target is the highest approved build.
    gone = everything_read and (name, arch, target) not in offered
    return Line(
        tuple(_step(key, versions[key], offered.get((name, arch, key))) for key in sorted(versions) if key <= target),
        gone,
    )


def _step(key: bytes, version: _Version, offer: tuple[str, Nevra, int] | None) -> Step:
    return Step(
        key,
        version.evr,
        offer[0] if offer is not None else version.repository,
        tuple(version.advisories),
        tuple(dict.fromkeys(cve for cves in version.advisories.values() for cve in cves)),
        min(version.approvals, key=lambda approval: approval.order, default=None),
        tuple(version.advisories.items()),
        version.modular,
    )
