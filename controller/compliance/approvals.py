"""Which versions are required: repositories' metadata and a baseline, compiled for one day (SEMANTICS R4, R5, R6, R8)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from types import MappingProxyType
from typing import Final

from immutables import Map

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
from controller.compliance.offers import Offers, RepositoryContent, offers_of, with_changes
from controller.compliance.required import (
    BY_HAND,
    REQUIRED,
    Approval,
    Approved,
    Line,
    LineKey,
    Obsoletion,
    Step,
    Version,
)
from controller.compliance.told import Change, Told, ToldOfName, ids_of, tell
from controller.fleet import products

_order: Final = attrgetter("order")
_NO_STEPS: Final[Mapping[str, list[Step]]] = MappingProxyType({})


def compile_approvals(
    repositories: Iterable[RepositoryContent],
    baseline: Baseline,
    as_of: date,
    streams: Iterable[Stream],
    product: str,
    first_seen: Mapping[str, datetime],
    *,
    offers: Offers | None = None,
    told: Told | None = None,
) -> Approved:
    """Return what `baseline` requires of an instance with this product, these repositories and these enabled module streams.

    `first_seen` says when advisories were first seen; one that is absent counts as seen on `as_of`. `offers` and `told`:
    what `offers_of` and `tell` say of these repositories, for callers that remember it.
    """
    contents = sorted(repositories, key=lambda content: content.id)
    offers = offers or offers_of(contents)
    told = told or tell(contents, offers, streams)
    return _compile(contents, _Asked(baseline, as_of, product, first_seen, offers, told), None)


def recompile(
    before: Approved,
    change: Change,
    repositories: Iterable[RepositoryContent],
    baseline: Baseline,
    as_of: date,
    product: str,
    first_seen: Mapping[str, datetime],
    offers: Offers,
    told: Told,
) -> Approved:
    """Return what `compile_approvals` does, given what it said before these repositories' files changed, and how they did.

    All else must be the same as it was for `before`; the cost depends on the change.
    """
    contents = sorted(repositories, key=lambda content: content.id)
    part = _compile(contents, _Asked(baseline, as_of, product, first_seen, offers, told), change)
    names, seen = change.names, change.advisories
    pairs = [(name, arch) for name in names for arch in before.archs]
    line_keys = [(*pair, modular) for pair in pairs for modular in (False, True)]
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
        lines=with_changes(before.lines, line_keys, part.lines),
        names=before.names.difference(pairs) | part.names,
        without_advisory=with_changes(before.without_advisory, pairs, part.without_advisory),
        first_seen_used=tuple(
            sorted({(a, day) for a, day in before.first_seen_used if a not in seen}.union(part.first_seen_used))
        ),
        obsoleted=obsoleted,
        restart=told.restart,
        in_modules=told.in_modules,
        security=with_changes(before.security, line_keys, part.security),
        archs=before.archs | part.archs,
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked of the repositories."""

    baseline: Baseline
    as_of: date
    product: str
    first_seen: Mapping[str, datetime]
    offers: Offers
    told: Told


def _compile(contents: Sequence[RepositoryContent], asked: _Asked, change: Change | None) -> Approved:
    """Compile all (None), or only the names of a change."""
    offers, told = asked.offers, asked.told
    approve = _Approving(asked)
    names: Iterable[str] = told.names
    ids = None
    if change is not None:
        ids = ids_of(told, change)
        names = [name for name in change.names if name in told.names]
    # Advisories that name no package are asked, too: whose date was asked for is part of the inputs.
    for content in contents:
        for advisory in content.advisories:
            if ids is None or advisory.id in ids:
                approve.advisory(advisory)
    lines, security = dict[LineKey, Line](), dict[LineKey, tuple[bytes, Evr]]()
    without_advisory, archs = dict[tuple[str, str], bytes](), set[str]()
    for name in names:
        said = told.names[name]
        approved, left = approve.unmentioned(name, said)
        for arch, modular in {**said.versions, **dict.fromkeys((arch, False) for arch in approved)}:
            steps = [Step(v, approve.version(v)) for v in said.versions.get((arch, modular), ())]
            if not modular and arch in approved:
                steps = sorted([*steps, *approved[arch]], key=lambda step: step.version.key)
            line = _line(steps, everything_read=offers.everything_read)
            if line is not None:
                lines[name, arch, modular] = line
            for step in reversed(steps[len(line.steps) if line is not None else 0 :]):
                if step.version.security and not approve.rejects(step.version):
                    security[name, arch, modular] = (step.version.key, step.version.evr)
                    break
            archs.add(arch)
        for arch, key in left.items():
            without_advisory[name, arch] = key
            archs.add(arch)
    return Approved(
        Map(lines),
        frozenset((name, arch) for name, arch, _ in lines),
        Map(without_advisory),
        approve.first_seen_used(),
        obsoleted=_obsoleted(lines, offers),
        restart=told.restart,
        in_modules=told.in_modules,
        blocked=approve.lists.blocked,
        blocked_words=approve.lists.blocked_words,
        security=Map(security),
        archs=frozenset(archs),
    )


def compile_custom(rows: Sequence[CustomPackage]) -> Approved:
    """Return what a custom baseline requires: of each name at least one version, whatever any repository says."""
    lines = dict[str, Line]()
    for number, row in enumerate(rows, 1):
        required = evr.parse(f"{row.version}-{row.release}")
        clause = f"{REQUIRED}{row.name} {required} or newer, row {number}"
        approval = Approval(0, row.level, "", Category.UNSPECIFIED, Severity.NONE, (), clause=clause)
        lines[row.name] = Line((Step(Version(required.key, required, ""), approval),))
    return Approved(Map(), frozenset(), Map(), custom=lines)


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
    """The approved and the rejected list of a baseline; false when both are empty."""

    def __init__(self, baseline: Baseline) -> None:
        self._approved = baseline.approved
        self._entries = Entries([patch.entry for patch in baseline.approved])
        self._rejected = Entries([patch.entry for patch in baseline.rejected])
        self.blocked_words = tuple(p.entry for p in baseline.rejected if p.action is RejectAction.BLOCK)
        self.blocked = Entries(self.blocked_words)

    def __bool__(self) -> bool:
        return bool(self._entries or self._rejected)

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


class _Approving:
    """Says what a baseline approves. What a rule says of an advisory is asked once, however many builds it names."""

    def __init__(self, asked: _Asked) -> None:
        self._asked = asked
        self._rules = applicable_rules(asked.baseline, asked.product)
        self._seen = _FirstSeen(asked.first_seen, asked.as_of)
        self._known = dict[int, list[Approval]]()
        """By identity: to hash an advisory takes longer than to judge it. They live as long as this does."""
        self._kept = list[Advisory]()
        self.lists = _Lists(asked.baseline)
        self._asks_of_builds = bool(self.lists) or any(rule.include_without_advisory for _, rule in self._rules)

    def first_seen_used(self) -> tuple[tuple[str, date], ...]:
        """Return the advisories whose date was asked of first_seen, and the day that was told."""
        return self._seen.used()

    def advisory(self, advisory: Advisory) -> list[Approval]:
        """Return the approvals of all builds of an advisory."""
        found = self._known.get(id(advisory))
        if found is None:
            as_of = self._asked.as_of
            found = [
                a
                for number, rule in self._rules
                if (a := _approve(number, rule, advisory, as_of, self._seen)) is not None
            ]
            found += self.lists.of_advisory(advisory)
            self._known[id(advisory)] = found
            self._kept.append(advisory)
        return found

    def version(self, version: Version) -> Approval | None:
        """Return the approval that is told of a version; None when it is not approved, or rejected: that always wins."""
        told = version.told
        if len(told) == 1 and not self.lists:
            found = self.advisory(told[0])
            return found[0] if len(found) == 1 else min(found, key=_order, default=None)
        if self.rejects(version):
            return None
        found = []
        for advisory, build in zip(told, version.builds, strict=True):
            found += self.advisory(advisory)
            found += self.lists.of_build(build, advisory)
        return min(found, key=_order, default=None)

    def rejects(self, version: Version) -> bool:
        """Say whether the rejected list means a version, by any spelling of it."""
        return any(self.lists.rejects(build) for build in version.builds)

    def unmentioned(self, name: str, said: ToldOfName) -> tuple[Mapping[str, list[Step]], Mapping[str, bytes]]:
        """Return the plain builds of a name that are approved without an advisory; and the newest that is not. By architecture."""
        if not self._asks_of_builds:
            return _NO_STEPS, {arch: max(keys) for arch, keys in said.unmentioned.items()}
        offered = self._asked.offers.of(name)
        approved, left = defaultdict[str, list[Step]](list), dict[str, bytes]()
        for arch, keys in said.unmentioned.items():
            for key in sorted(keys):
                repository, offer = offered[arch, key]
                if self.lists.rejects(offer.nevra):
                    continue
                as_of = self._asked.as_of
                found = [
                    a
                    for number, rule in self._rules
                    if (a := _approve_build(number, rule, offer.build_time, as_of)) is not None
                ]
                found += self.lists.of_build(offer.nevra, None)
                if found:
                    version = Version(key, offer.nevra.evr, repository)
                    approved[arch].append(Step(version, min(found, key=_order)))
                else:
                    left[arch] = key
        return approved, left


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


def _obsoleted(lines: Mapping[LineKey, Line], offers: Offers) -> dict[str, tuple[Obsoletion, ...]]:
    """Find what the required builds replace. Only targets count: what an older version replaced may have come back since."""
    found = defaultdict[str, list[Obsoletion]](list)
    for (name, arch, modular), line in lines.items():
        if modular or (offer := offers.of(name).get((arch, line.target.key))) is None:
            continue
        for text in offer[1].obsoletes:
            old, _, rest = text.partition(" ")
            if old == name:
                continue  # rpm's own rule: a package replaces its older versions anyway
            if (obsoletion := _obsoletion(Nevra(name, *line.target.version.evr, arch), line, rest)) is not None:
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


def _line(steps: Sequence[Step], *, everything_read: bool) -> Line | None:
    """Return what is required, from versions that ascend: the highest approved one (R4); None if none is approved."""
    for place in range(len(steps) - 1, -1, -1):
        if steps[place].approval is not None:
            # R4's "lowest available approved build above it" has nothing to choose from: the target is the highest approved build.
            gone = everything_read and not steps[place].version.offered
            return Line(tuple(steps[: place + 1]), gone)
    return None
