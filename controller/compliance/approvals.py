"""Which versions are required: repositories' metadata and a baseline, compiled for one day (SEMANTICS R4, R5, R6, R8)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

from common import evr
from common.evr import Evr
from common.manifest import Stream
from common.nevra import Nevra
from controller.compliance.entries import Entries
from controller.compliance.model import (
    Advisory,
    Baseline,
    Category,
    CustomPackage,
    DateBasis,
    RejectAction,
    Rule,
    Severity,
)
from controller.compliance.offers import BuildKey, Offers, RepositoryContent, key_of, offers_of
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
    *,
    offers: Offers | None = None,
) -> Approved:
    """Return what `baseline` requires of an instance with this product, these repositories and these enabled module streams.

    `first_seen` says when advisories were first seen; one that is absent counts as seen on `as_of`. `offers` is what `offers_of` says of
    these repositories, for callers that remember it.
    """
    contents = sorted(repositories, key=lambda content: content.id)
    asked = _Asked(baseline, as_of, streams, product, first_seen, offers or offers_of(contents))
    return _compile(contents, asked, None)


def recompile(
    before: Approved,
    change: Change,
    repositories: Iterable[RepositoryContent],
    baseline: Baseline,
    as_of: date,
    streams: Iterable[Stream],
    product: str,
    first_seen: Mapping[str, datetime],
    offers: Offers,
) -> Approved:
    """Return what `compile_approvals` does, given what it said before these repositories' advisories changed, and how they did.

    All else must be the same as it was for `before`; the cost depends on the change.
    """
    contents = sorted(repositories, key=lambda content: content.id)
    part = _compile(contents, _Asked(baseline, as_of, streams, product, first_seen, offers), change)
    names, seen = change.names, change.advisories
    obsoleted = dict(before.obsoleted)
    for old, several in before.obsoleted.items():
        if any(o.by.name in names for o in several):
            del obsoleted[old]
            if kept := tuple(o for o in several if o.by.name not in names):
                obsoleted[old] = kept
    for old, several in part.obsoleted.items():
        obsoleted[old] = _most_important((*obsoleted.get(old, ()), *several))
    return replace(
        before,
        lines={key: line for key, line in before.lines.items() if key[0] not in names} | dict(part.lines),
        names=frozenset(name for name in before.names if name[0] not in names) | part.names,
        without_advisory={n: key for n, key in before.without_advisory.items() if n[0] not in names}
        | dict(part.without_advisory),
        first_seen_used=tuple(
            sorted({(a, day) for a, day in before.first_seen_used if a not in seen}.union(part.first_seen_used))
        ),
        obsoleted=obsoleted,
        restart=frozenset(r for r in before.restart if r[0] not in names) | part.restart,
        in_modules=frozenset(n for n in before.in_modules if n not in names) | part.in_modules,
        security={key: found for key, found in before.security.items() if key[0] not in names} | dict(part.security),
    )


@dataclass(frozen=True, slots=True)
class Change:
    """What of some updateinfo files differs from before."""

    advisories: AbstractSet[str]
    """Ids."""
    names: AbstractSet[str]
    """Of the packages that these advisories name, as they were or as they are."""


def change_of(before: Sequence[Advisory], after: Sequence[Advisory]) -> Change:
    """Say what two editions of an updateinfo file differ in, by what they say. Order counts, as it does in answers."""
    start, end = 0, 0
    least = min(len(before), len(after))
    while start < least and before[start] == after[start]:
        start += 1
    while end < least - start and before[-1 - end] == after[-1 - end]:
        end += 1
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    common = set(old).intersection(new)
    stayed = [a for a in old if a in common]
    if stayed == [a for a in new if a in common] and len(stayed) == len(common):
        old, new = [a for a in old if a not in common], [a for a in new if a not in common]
    differs = (*old, *new)
    return Change({a.id for a in differs}, {p.nevra.name for a in differs for p in a.packages})


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked of the repositories."""

    baseline: Baseline
    as_of: date
    streams: Iterable[Stream]
    product: str
    first_seen: Mapping[str, datetime]
    offers: Offers


def _compile(contents: Sequence[RepositoryContent], asked: _Asked, change: Change | None) -> Approved:
    """Compile all (None), or only the names of a change."""
    as_of, offers, only = asked.as_of, asked.offers, change.names if change is not None else None
    rules = applicable_rules(asked.baseline, asked.product)
    enabled = {f"{stream.name}:{stream.stream}" for stream in asked.streams}
    seen = _FirstSeen(asked.first_seen, as_of)
    lists = _Lists(asked.baseline)
    versions = defaultdict[LineKey, dict[bytes, _Version]](dict)
    mentioned, restart, in_modules = set[BuildKey](), set[BuildKey](), set[str]()
    for content in contents:
        for advisory in content.advisories:
            packages = advisory.packages
            if change is not None:
                packages = tuple([p for p in packages if p.nevra.name in change.names])
                if not packages and advisory.id not in change.advisories:
                    continue
            approvals = [
                a for number, rule in rules if (a := _approve(number, rule, advisory, as_of, seen)) is not None
            ]
            approvals += lists.of_advisory(advisory)
            is_security = advisory.category is Category.SECURITY
            for package in packages:
                build = package.nevra
                key = key_of(build)
                build_key = (build.name, build.arch, key)
                mentioned.add(build_key)
                if package.reboot_suggested:
                    restart.add(build_key)
                if package.module and package.module in enabled:
                    in_modules.add(build.name)
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
    builds: Iterable[BuildKey] = offers.builds
    if only is not None:
        builds = [key for name in only for key in offers.names.get(name, ())]
    without = dict[tuple[str, str], bytes]()
    for build_key in builds:
        repository, build, build_time = offers.builds[build_key]
        name, arch, key = build_key
        if build_key in mentioned or is_modular(build.release):
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
        if (line := _line(line_key, found, offers)) is not None
    }
    return Approved(
        lines,
        frozenset((name, arch) for name, arch, _ in lines),
        without,
        seen.used(),
        obsoleted=_obsoleted(lines, offers.obsoletes),
        restart=frozenset(restart),
        in_modules=frozenset(in_modules),
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


def _obsoleted(
    lines: Mapping[LineKey, Line], obsoletes: Mapping[BuildKey, tuple[str, ...]]
) -> dict[str, tuple[Obsoletion, ...]]:
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
    return {old: _most_important(several) for old, several in found.items()}


def _most_important(several: Iterable[Obsoletion]) -> tuple[Obsoletion, ...]:
    return tuple(sorted(several, key=lambda o: (-o.level, o.by.name, o.by.arch)))


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


def _line(line_key: LineKey, versions: Mapping[bytes, _Version], offers: Offers) -> Line | None:
    approved = [key for key, version in versions.items() if version.approvals]
    if not approved:
        return None
    name, arch, _ = line_key
    target = max(approved)
    # R4's "lowest available approved build above it" has nothing to choose from: the target is the highest approved build.
    gone = offers.everything_read and (name, arch, target) not in offers.builds
    return Line(
        tuple(
            _step(key, versions[key], offers.builds.get((name, arch, key))) for key in sorted(versions) if key <= target
        ),
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
