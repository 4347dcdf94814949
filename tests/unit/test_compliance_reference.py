"""The fast evaluator against a slow one: a page of SEMANTICS over plain lists, host by host, without keys, bitmaps or caches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import FrozenBitMap

from common import digest
from common.evr import Evr
from common.manifest import Manifest, PackageLine, Stream, decode_details, encode_packages
from common.nevra import Nevra
from controller.compliance.evaluator import Evaluation, Evaluator, Host, evaluate
from controller.compliance.model import (
    NON_COMPLIANT_STATUSES,
    Advisory,
    AdvisoryPackage,
    ApprovedPatch,
    Attempt,
    Available,
    Baseline,
    Category,
    CustomPackage,
    DateBasis,
    ErrorClass,
    ExceptionMatch,
    Exceptions,
    InstanceStatus,
    Level,
    PatchException,
    PatchStatus,
    RejectAction,
    RejectedPatch,
    Rule,
    Severity,
)
from controller.inventory.model import Package, Snapshot
from tests.builders import NOW, a_baseline, a_manifest, a_package, a_repository, an_advisory, an_exception, an_instance
from tests.examples import examples

T = TypeVar("T")
TODAY = NOW.date()
KERNEL_PARTS = ("kernel", "kernel-core", "kernel-modules")


# --- the reference -----------------------------------------------------------------------------------------------------------


def rpm_compare(a: str, b: str) -> int:
    """Rpm's comparison, told as its manual tells it: segment by segment."""
    while a or b:
        while a and not (a[0].isascii() and a[0].isalnum()) and a[0] not in "~^":
            a = a[1:]
        while b and not (b[0].isascii() and b[0].isalnum()) and b[0] not in "~^":
            b = b[1:]
        if a[:1] == "~" or b[:1] == "~":
            if a[:1] != b[:1]:
                return -1 if a[:1] == "~" else 1
            a, b = a[1:], b[1:]
            continue
        if a[:1] == "^" or b[:1] == "^":
            if a[:1] != b[:1]:
                return (1 if not b else -1) if a[:1] == "^" else (-1 if not a else 1)
            a, b = a[1:], b[1:]
            continue
        if not (a and b):
            break
        digits = a[0].isdigit()
        one = two = ""
        while a and (a[0].isdigit() if digits else a[0].isalpha()):
            one, a = one + a[0], a[1:]
        while b and (b[0].isdigit() if digits else b[0].isalpha()):
            two, b = two + b[0], b[1:]
        if not two:
            return 1 if digits else -1
        if digits:
            first, second = int(one), int(two)
            if first != second:
                return 1 if first > second else -1
        elif one != two:
            return 1 if one > two else -1
    return (1 if a else 0) - (1 if b else 0)


def newer(a: Evr, b: Evr) -> bool:
    if a.epoch != b.epoch:
        return a.epoch > b.epoch
    return (rpm_compare(a.version, b.version) or rpm_compare(a.release, b.release)) > 0


def same(a: Evr, b: Evr) -> bool:
    return not newer(a, b) and not newer(b, a)


@dataclass
class World:
    installed: list[PackageLine]
    streams: list[str]
    running: Nevra | None
    advisories: list[Advisory]
    offers: list[Available]
    baseline: Baseline
    as_of: datetime
    first_seen: dict[str, datetime]
    exceptions: Exceptions = Exceptions()  # noqa: RUF009  frozen
    late: frozenset[Nevra] = frozenset()  # installed after the host started
    attempts: tuple[Attempt, ...] = ()


def spellings(build: Nevra) -> list[str]:
    n, e, v, r, a = build
    bare = [n, f"{n}-{v}", f"{n}-{v}-{r}", f"{n}-{v}-{r}.{a}"]
    return [*bare, f"{e}:{n}-{v}-{r}.{a}", f"{n}-{e}:{v}-{r}.{a}"]


def means(entry: str, build: Nevra) -> bool:
    return any(fnmatchcase(text.lower(), entry.lower()) for text in spellings(build))


def by_hand(world: World, build: Nevra, advisory: Advisory | None) -> list[Level]:
    words = [w.lower() for w in (advisory.id, *advisory.cves)] if advisory else []
    return [p.level for p in world.baseline.approved if p.entry.lower() in words or means(p.entry, build)]


def rejected(world: World, build: Nevra) -> bool:
    return any(means(p.entry, build) for p in world.baseline.rejected)


def blocked(world: World, build: Nevra) -> bool:
    return any(means(p.entry, build) for p in world.baseline.rejected if p.action is RejectAction.BLOCK)


def excused(world: World, name: str, skipped: list[Advisory], advisories_ask: bool) -> bool:
    live = [e for e in world.exceptions.all if e.created_at <= world.as_of < e.expires_at and not e.revoked_at]
    if any(e.match is ExceptionMatch.PACKAGE and fnmatchcase(name, e.match_value) for e in live):
        return True
    if not advisories_ask or not skipped:
        return False
    ids = {e.match_value for e in live if e.match is ExceptionMatch.ADVISORY}
    cves = {e.match_value for e in live if e.match is ExceptionMatch.CVE}
    theirs = {cve for a in skipped for cve in a.cves}
    if theirs and theirs <= cves:
        return True
    return all(a.id in ids or (a.cves and set(a.cves) <= cves) for a in skipped)


def approvals(world: World, advisory: Advisory) -> list[Rule]:
    found = []
    for rule in world.baseline.rules:
        if rule.products != ("All",) and "CentOS 7.9" not in rule.products:
            continue
        if rule.categories and advisory.category not in rule.categories:
            continue
        if rule.severities and advisory.severity not in rule.severities:
            continue
        seen = world.first_seen[advisory.id].date() if advisory.id in world.first_seen else world.as_of.date()
        dates = [d for d in (advisory.issued, advisory.updated) if d]
        if rule.date_basis is DateBasis.ISSUED:
            day = advisory.issued or seen
        elif rule.date_basis is DateBasis.UPDATED:
            day = max(dates) if dates else seen
        else:
            day = seen
        if in_time(rule, day, world.as_of.date()):
            found.append(rule)
    return found


def in_time(rule: Rule, day: date, as_of: date) -> bool:
    if rule.approve_until:
        return day <= rule.approve_until
    return day + timedelta(days=rule.approve_after_days or 0) <= as_of


def is_modular(build: PackageLine) -> bool:
    return bool(build.module) or modular_tag(build.nevra)


def modular_tag(build: Nevra) -> bool:
    return ".module+" in build.release or ".module_" in build.release


def applies(package: AdvisoryPackage, world: World, modular: bool) -> bool:
    if package.module == "?":
        return modular
    if package.module:
        return package.module in world.streams
    return not modular


@dataclass
class Needed:
    mine: list[tuple[Advisory, AdvisoryPackage]]
    approved: list[tuple[Evr, Level]]
    unmentioned: list[Evr]
    target: Evr | None


def needed(world: World, name: str, arch: str, modular: bool) -> Needed:
    """What the baseline asks of a name.arch."""
    mine = [
        (advisory, package)
        for advisory in world.advisories
        for package in advisory.packages
        if (package.nevra.name, package.nevra.arch) == (name, arch) and applies(package, world, modular)
    ]
    approved = [
        (p.nevra.evr, level)
        for a, p in mine
        for level in [rule.level for rule in approvals(world, a)] + by_hand(world, p.nevra, a)
        if not rejected(world, p.nevra)
    ]
    unmentioned = list[Evr]()
    for offer in world.offers:
        mentioned = any(
            (p.nevra.name, p.nevra.arch) == (offer.nevra.name, offer.nevra.arch) and same(p.nevra.evr, offer.nevra.evr)
            for a in world.advisories
            for p in a.packages
        )
        if (offer.nevra.name, offer.nevra.arch) != (name, arch) or mentioned or modular_tag(offer.nevra):
            continue
        if rejected(world, offer.nevra) or modular:
            continue
        unmentioned += [offer.nevra.evr]
        approved += [(offer.nevra.evr, level) for level in by_hand(world, offer.nevra, None)]
        for rule in world.baseline.rules:
            day = datetime.fromtimestamp(offer.build_time, NOW.tzinfo).date()
            fits = rule.products == ("All",) or "CentOS 7.9" in rule.products
            if fits and rule.include_without_advisory and in_time(rule, day, world.as_of.date()):
                approved.append((offer.nevra.evr, rule.level))
    target = approved[0][0] if approved else None
    for version, _ in approved[1:]:
        if target is not None and newer(version, target):
            target = version
    return Needed(mine, approved, unmentioned, target)


def replaces(condition: str, old: Nevra) -> bool:
    """Rpm's comparison of "name op [epoch:]version[-release]" with a build."""
    name, _, rest = condition.partition(" ")
    if name != old.name or not rest:
        return name == old.name
    operator, _, text = rest.partition(" ")
    epoch, _, text = text.rpartition(":")
    version, _, release = text.partition("-")
    theirs = Evr(int(epoch or 0), version, release)
    ours = Evr(old.epoch, old.version, old.release if release else "")
    return any((newer(ours, theirs) and c == ">") or (newer(theirs, ours) and c == "<") for c in operator) or (
        "=" in operator and same(ours, theirs)
    )


def change_of_arch(world: World, old: Nevra, modular: bool) -> tuple[Needed, Nevra] | None:
    """The required and offered build of the same name that is noarch where the installed one is not, or the other way round."""
    own = needed(world, old.name, old.arch, modular).target
    best: tuple[Needed, Nevra] | None = None
    for arch in ("x86_64", "i686") if old.arch == "noarch" else ("noarch",):
        asked = needed(world, old.name, arch, modular)
        new = asked.target
        offered = [o.nevra for o in world.offers if (o.nevra.name, o.nevra.arch) == (old.name, arch)]
        there = [x.nevra for x in world.installed if (x.nevra.name, x.nevra.arch) == (old.name, arch)]
        if new is None or not any(same(new, b.evr) for b in offered) or any(not newer(new, b.evr) for b in there):
            continue
        if newer(new, old.evr) and (own is None or newer(new, own)) and (best is None or newer(new, best[1].evr)):
            best = asked, Nevra(old.name, *new, arch)
    return best


def replacement(world: World, old: Nevra, modular: bool) -> tuple[Needed, Nevra] | None:
    """The required build that replaces an installed one, is not there yet, and matters most."""
    found = list[tuple[Level, str, str, Needed, Nevra]]()
    for offer in world.offers:
        new = offer.nevra
        asked = needed(world, new.name, new.arch, False)
        if asked.target is None or not same(asked.target, new.evr) or new.name == old.name:
            continue
        if "noarch" not in (new.arch, old.arch) and new.arch != old.arch:
            continue
        beside = [i.nevra for i in world.installed if (i.nevra.name, i.nevra.arch) == (new.name, new.arch)]
        if any(replaces(o, old) for o in offer.obsoletes) and all(newer(new.evr, build.evr) for build in beside):
            level = max(lvl for _, lvl in asked.approved)
            found.append((level, new.name, new.arch, asked, Nevra(new.name, *asked.target, new.arch)))
    if not found:
        return change_of_arch(world, old, modular)
    _, _, _, asked, new = min(found, key=lambda f: (-f[0], f[1], f[2]))
    return asked, new


def restarts(world: World, build: Nevra) -> bool:
    if world.running is not None and build.name in KERNEL_PARTS:
        return False
    return build in world.late and any(
        p.reboot_suggested and (p.nevra.name, p.nevra.arch) == (build.name, build.arch) and same(p.nevra.evr, build.evr)
        for a in world.advisories
        for p in a.packages
    )


def outcome(world: World, key: tuple[str, str], status: PatchStatus, reason: str) -> tuple[PatchStatus, str]:
    """What repairs make of a package that is missing."""
    known = [a for a in world.attempts if a.at <= world.as_of]
    mine = [a for a in known if a.key == ".".join(key)]
    if status is not PatchStatus.MISSING or not known:
        return status, reason
    last = max(mine, key=lambda a: a.at, default=None)
    if last is not None:
        there = [i.nevra for i in world.installed if (i.nevra.name, i.nevra.arch) == (last.build.name, last.build.arch)]
        if all(newer(last.build.evr, build.evr) for build in there):
            return (PatchStatus.FAILED, last.error_class.value) if last.error_class else (status, reason)
    return status, reason or "NOT_ATTEMPTED"


def reference(world: World) -> dict[tuple[str, str], tuple[PatchStatus, Level, Evr | None, str, set[str], set[str]]]:
    """Status, level, required version, reason, advisories and CVEs of every installed name.arch."""
    answer = dict[tuple[str, str], tuple[PatchStatus, Level, Evr | None, str, set[str], set[str]]]()
    for name, arch in {(line.nevra.name, line.nevra.arch) for line in world.installed}:
        builds = [line for line in world.installed if (line.nevra.name, line.nevra.arch) == (name, arch)]
        build = builds[0]
        for other in builds[1:]:
            if newer(other.nevra.evr, build.nevra.evr):
                build = other
        asked = needed(world, name, arch, is_modular(build))
        mine, approved, unmentioned, target = asked.mine, asked.approved, asked.unmentioned, asked.target
        no_need = set[str]()
        if (coming := replacement(world, build.nevra, is_modular(build))) is not None:
            theirs, new = coming
            seen = build.nevra.evr if new.name == name else None  # a change of architecture brings all that is skipped
            bring = [(a, p.nevra.evr) for a, p in theirs.mine if not newer(p.nevra.evr, new.evr)]
            brings = [a for a, e in bring if same(e, new.evr) or (seen and newer(e, seen))]
            asked_for = [e for e in theirs.unmentioned if any(same(e, version) for version, _ in theirs.approved)]
            is_bare = any(same(e, new.evr) or (seen and newer(e, seen) and not newer(e, new.evr)) for e in asked_for)
            status = PatchStatus.EXCEPTED if excused(world, name, brings, not is_bare) else PatchStatus.MISSING
            level = max(lvl for _, lvl in theirs.approved)
            ids, cves = {a.id for a in brings}, {cve for a in brings for cve in a.cves}
            by = new.name if seen is None else f"{new.name}.{new.arch}"
            answer[name, arch] = (status, level, new.evr, f"OBSOLETES({by})", ids, cves)
            continue
        if target is None:
            status = PatchStatus.REJECT if blocked(world, build.nevra) else PatchStatus.INSTALLED_OTHER
            if status is PatchStatus.REJECT and excused(world, name, [], False):
                status = PatchStatus.EXCEPTED
            answer[name, arch] = (status, Level.UNSPECIFIED, None, "", no_need, no_need)
            continue
        effective, status, reason = build.nevra.evr, PatchStatus.INSTALLED, ""
        if newer(target, build.nevra.evr):
            status = PatchStatus.MISSING
            offered = [o.nevra.evr for o in world.offers if (o.nevra.name, o.nevra.arch) == (name, arch)]
            reason = "" if any(same(target, version) for version in offered) else "VERSION_GONE"
            of_stream = [p for a in world.advisories for p in a.packages if p.module in world.streams]
            from_module = any(p.module and same(p.nevra.evr, target) for _, p in mine)
            if not reason and any(p.nevra.name == name for p in of_stream) and not from_module:
                reason = "HELD(module)"
        elif blocked(world, build.nevra):
            status = PatchStatus.EXCEPTED if excused(world, name, [], False) else PatchStatus.REJECT
            answer[name, arch] = (status, Level.UNSPECIFIED, None, "", no_need, no_need)
            continue
        elif (
            world.running is not None
            and (name in KERNEL_PARTS and arch == world.running.arch)
            and newer(target, world.running.evr)
        ):
            status, effective = PatchStatus.PENDING_REBOOT, world.running.evr
        if status is PatchStatus.INSTALLED and restarts(world, build.nevra):
            level = max(lvl for version, lvl in approved if same(version, target))
            brings = [a for a, p in mine if same(p.nevra.evr, target)]
            status = PatchStatus.PENDING_REBOOT
            if excused(world, name, brings, not any(same(e, target) for e in unmentioned)):
                status = PatchStatus.EXCEPTED
            ids, cves = {a.id for a in brings}, {cve for a in brings for cve in a.cves}
            answer[name, arch] = (status, level, target, "", ids, cves)
            continue
        if status is PatchStatus.INSTALLED:
            answer[name, arch] = (status, Level.UNSPECIFIED, target, "", set[str](), set[str]())
            continue
        level = max(lvl for version, lvl in approved if newer(version, effective))
        skipped = [a for a, p in mine if newer(p.nevra.evr, effective) and not newer(p.nevra.evr, target)]
        bare = [e for e in unmentioned if newer(e, effective) and any(same(e, version) for version, _ in approved)]
        if excused(world, name, skipped, not bare):
            status = PatchStatus.EXCEPTED
        answer[name, arch] = (
            status,
            level,
            target,
            reason,
            {a.id for a in skipped},
            {cve for a in skipped for cve in a.cves},
        )
    return answer


# --- random worlds -----------------------------------------------------------------------------------------------------------

NAMES = ("bash", "ruby", "ruby", "kernel", "kernel-core")
HUGE = "98765432109876543210"
versions = st.sampled_from(
    ["1", "1.0", "1.1", "1.1~rc", "1.1^git", "1.1~~", "2", "10", "1.a", "1.A", "01_0.", HUGE, f"00{HUGE}"]
)
releases = st.sampled_from(
    ["1", "2.el7", "10.el7_9", "1.module+el8+1+a", "2.module+el8+2+b", "2.module_el8+2+b", "3.modules"]
)
nevras = st.builds(
    Nevra,
    st.sampled_from(NAMES),
    st.sampled_from([0, 0, 0, 1]),
    versions,
    releases,
    st.sampled_from(["x86_64", "x86_64", "x86_64", "noarch", "i686"]),
)
modules = st.sampled_from(["", "", "ruby:1", "ruby:1", "ruby:2", "?"])
days = st.one_of(st.none(), st.integers(0, 12).map(lambda n: TODAY - timedelta(days=n)))
lines = st.builds(PackageLine, nevras, st.sampled_from(["", "", "ruby:1:1:a", "ruby:2:1:a"]))
rules = st.builds(
    Rule,
    products=st.sampled_from([("All",), ("All",), ("CentOS 7.9",), ("CentOS 7.8",)]),
    categories=st.sampled_from([(), (), (Category.SECURITY,), (Category.BUGFIX, Category.SECURITY)]),
    severities=st.sampled_from([(), (), (Severity.CRITICAL,), (Severity.IMPORTANT, Severity.NONE)]),
    approve_after_days=st.integers(0, 8),
    date_basis=st.sampled_from([DateBasis.ISSUED, DateBasis.UPDATED, DateBasis.FIRST_SEEN]),
    level=st.sampled_from(list(Level)),
    include_without_advisory=st.sampled_from([False, False, True]),
)

package_entries = st.sampled_from(
    [
        "bash",
        "RUBY",
        "k*",
        "*",
        "bash-1.1",
        "BASH-1.1-2.EL7",
        "ruby-1.0-1",
        "0:bash-2-1.x86_64",
        "kernel-1:1.1-2.el7.x86_64",
        "b?sh",
    ]
)
approved_lists = st.lists(
    st.builds(
        ApprovedPatch,
        st.one_of(package_entries, st.sampled_from(["CVE-1", "cve-2", "A-0", "a-1"])),
        st.sampled_from([Level.UNSPECIFIED, Level.LOW, Level.CRITICAL]),
    ),
    max_size=2,
)
rejected_lists = st.lists(st.builds(RejectedPatch, package_entries, st.sampled_from(RejectAction)), max_size=2)
exception_lists = st.lists(
    st.builds(
        an_exception,
        st.integers(1, 9),
        match=st.just(ExceptionMatch.ADVISORY),
        match_value=st.sampled_from(["A-0", "A-1", "A-2", "A-3"]),
    )
    | st.builds(
        an_exception,
        st.integers(1, 9),
        match=st.just(ExceptionMatch.CVE),
        match_value=st.sampled_from(["CVE-1", "CVE-2", "CVE-3"]),
    )
    | st.builds(
        an_exception,
        st.integers(1, 9),
        match=st.just(ExceptionMatch.PACKAGE),
        match_value=st.sampled_from(["kernel*", "ruby", "x"]),
        created_at=st.sampled_from([NOW, NOW + timedelta(seconds=1)]),
        revoked_at=st.sampled_from([None, NOW]),
    ),
    max_size=5,
)

attempt_lists = st.lists(
    st.builds(
        Attempt,
        st.sampled_from(["bash.x86_64", "ruby.x86_64", "ruby.noarch", "kernel.x86_64", "kernel-core.x86_64"]),
        nevras,
        st.integers(-1, 5).map(lambda n: NOW - timedelta(hours=n)),
        st.sampled_from([None, ErrorClass.DEPSOLVE, ErrorClass.SCRIPTLET]),
    ),
    max_size=4,
    unique_by=lambda attempt: attempt.at,
)
obsoletes = st.sampled_from(
    [
        (),
        (),
        (),
        ("bash",),
        ("ruby < 1.1-1",),
        ("ruby = 1.0", "kernel <= 1:2-1"),
        ("bash > 1",),
        ("kernel-core >= 1.1",),
    ]
)


def with_lists(baseline: Baseline, approved: list[ApprovedPatch], rejected: list[RejectedPatch]) -> Baseline:
    return replace(baseline, approved=tuple(approved), rejected=tuple(rejected))


def numbered(found: list[PatchException]) -> Exceptions:
    return Exceptions(len(found), tuple(found))


@st.composite
def until_rules(draw: st.DrawFn) -> Rule:
    rule = draw(rules)
    return Rule(
        **{f: getattr(rule, f) for f in rule.__dataclass_fields__ if f not in ("approve_after_days", "approve_until")},
        approve_after_days=None,
        approve_until=TODAY - timedelta(days=draw(st.integers(0, 8))),
    )


@st.composite
def advisories(draw: st.DrawFn, number: int) -> Advisory:
    found = draw(st.lists(st.builds(AdvisoryPackage, nevras, modules, st.booleans()), max_size=4))
    return an_advisory(
        f"A-{number}",
        category=draw(st.sampled_from([Category.SECURITY, Category.BUGFIX])),
        severity=draw(st.sampled_from([Severity.CRITICAL, Severity.IMPORTANT, Severity.NONE])),
        issued=draw(days),
        updated=draw(days),
        cves=tuple(draw(st.lists(st.sampled_from(["CVE-1", "CVE-2", "CVE-3"]), max_size=2, unique=True))),
        packages=tuple(found),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    found = [draw(advisories(n)) for n in range(draw(st.integers(1, 6)))]
    seen = draw(st.lists(st.booleans(), min_size=len(found), max_size=len(found)))
    named = [p.nevra for a in found for p in a.packages]
    kept = draw(st.lists(st.sampled_from(named), max_size=6)) if named else []
    offers = {
        n: Available(n, int((NOW - timedelta(days=draw(st.integers(0, 9)))).timestamp()), obsoletes=draw(obsoletes))
        for n in kept + draw(st.lists(nevras, max_size=4))
    }
    installed = draw(st.lists(lines, max_size=8, unique_by=lambda line: line.nevra))
    return World(
        installed,
        draw(st.sampled_from([["ruby:1"], ["ruby:1", "ruby:2"], []])),
        draw(
            st.one_of(
                st.none(), st.builds(Nevra, st.just("kernel-core"), st.just(0), versions, releases, st.just("x86_64"))
            )
        ),
        found,
        list(offers.values()),
        with_lists(
            a_baseline("b", *draw(st.lists(st.one_of(rules, until_rules()), min_size=1, max_size=3))),
            draw(approved_lists),
            draw(rejected_lists),
        ),
        NOW + timedelta(hours=draw(st.sampled_from([0, 0, 0, -13, -12, 11, 12, 24 * 7, -24 * 3]))),
        {a.id: NOW - timedelta(days=n) for n, (a, yes) in enumerate(zip(found, seen, strict=True)) if yes},
        numbered(draw(exception_lists)),
        frozenset(line.nevra for line in installed if draw(st.booleans())),
        tuple(draw(attempt_lists)),
    )


def manifest_of(world: World, repository: str = "updates") -> Manifest:
    return a_manifest(
        world.installed,
        repositories=(a_repository(repository),),
        streams=tuple(Stream(*text.split(":")) for text in world.streams),
        running_kernel="x" if world.running else "",
        running_kernel_package=str(world.running) if world.running else "",
        install_only=("kernel", "kernel-core"),
        boot_time=1_000_000,
    )


def details_of(world: World) -> tuple[tuple[int, str], ...]:
    """Install times around the start of the host, in the order of the packages blob."""
    _, blob = encode_packages(
        (line, 1_000_061 if line.nevra in world.late else 1_000_060, "") for line in world.installed
    )
    return decode_details(blob)


def fast(world: World) -> Evaluation:
    repository = a_repository()
    return evaluate(
        Host(
            an_instance(1),
            manifest_of(world),
            "",
            None,
            world.as_of,
            details=details_of(world),
            attempts=world.attempts,
        ),
        world.installed,
        {repository.updateinfo: world.advisories},
        {repository.primary: world.offers},
        world.baseline,
        world.as_of,
        exceptions=world.exceptions,
        first_seen=world.first_seen,
        everything=True,
    )


def told(found: Evaluation) -> dict[tuple[str, str], tuple[PatchStatus, Level, str, str, set[str], set[str]]]:
    return {
        (i.name, i.arch): (
            i.status,
            i.level,
            str(i.required or ""),
            i.reason if i.status in (PatchStatus.MISSING, PatchStatus.FAILED) else "",
            set(i.advisories) if i.status is not PatchStatus.INSTALLED else set[str](),
            set(i.cves) if i.status is not PatchStatus.INSTALLED else set[str](),
        )
        for i in found.items
    }


def normal(evr: Evr | None, others: dict[str, Evr]) -> str:
    """Versions that rpm calls equal may be spelled in several ways: the first spelling stands for all."""
    if evr is None:
        return ""
    return next(text for text, other in others.items() if same(evr, other))


@settings(max_examples=examples(80), deadline=None)
@given(worlds())
def test_the_fast_evaluator_says_what_the_reference_says(world: World) -> None:
    found, expected = fast(world), reference(world)
    spelled = {str(p.nevra.evr): p.nevra.evr for a in world.advisories for p in a.packages}
    spelled |= {str(o.nevra.evr): o.nevra.evr for o in world.offers}
    ours = {
        key: (status, level, normal(spelled[required], spelled) if required else "", reason, ids, cves)
        for key, (status, level, required, reason, ids, cves) in told(found).items()
    }
    outcomes = {key: outcome(world, key, row[0], row[3]) for key, row in expected.items()}
    theirs = {
        key: (
            outcomes[key][0],
            level,
            normal(required, spelled),
            outcomes[key][1] if status is PatchStatus.MISSING else "",
            ids,
            cves,
        )
        for key, (status, level, required, _, ids, cves) in expected.items()
    }
    assert ours == theirs
    counts = found.assessment.counts
    by_status = [status for status, _ in outcomes.values()]
    assert (counts.missing, counts.installed, counts.installed_other, counts.pending_reboot) == (
        by_status.count(PatchStatus.MISSING),
        by_status.count(PatchStatus.INSTALLED),
        by_status.count(PatchStatus.INSTALLED_OTHER),
        by_status.count(PatchStatus.PENDING_REBOOT),
    )
    assert (counts.failed, counts.reject, counts.excepted) == (
        by_status.count(PatchStatus.FAILED),
        by_status.count(PatchStatus.REJECT),
        by_status.count(PatchStatus.EXCEPTED),
    )
    bad = counts.missing + counts.failed + counts.pending_reboot + counts.reject
    bad_levels = [row[1] for row in expected.values() if row[0] in NON_COMPLIANT_STATUSES]
    assert found.assessment.level == max(bad_levels, default=Level.UNSPECIFIED)
    if found.assessment.status is not InstanceStatus.UNDETERMINED:
        assert (found.assessment.status is InstanceStatus.NON_COMPLIANT) == bool(bad)


@st.composite
def custom_baselines(draw: st.DrawFn) -> Baseline:
    names = st.sampled_from(["bash", "ruby", "kernel", "kernel-core", "absent"])
    epochs = st.sampled_from(["", "", "0:", "1:"])
    rows = st.builds(
        CustomPackage,
        names,
        st.builds(str.__add__, epochs, versions),
        releases,
        st.sampled_from([Level.LOW, Level.HIGH]),
    )
    chosen = draw(st.lists(rows, min_size=1, max_size=4, unique_by=lambda row: row.name))
    return replace(a_baseline("c"), rules=(), custom=tuple(chosen))


def custom_reference(world: World) -> dict[tuple[str, str], tuple[PatchStatus, Level]]:
    """A row asks one version of all packages of its name, whatever repositories and advisories say."""
    answer = dict[tuple[str, str], tuple[PatchStatus, Level]]()
    for name, arch in {(line.nevra.name, line.nevra.arch) for line in world.installed}:
        builds = [line.nevra.evr for line in world.installed if (line.nevra.name, line.nevra.arch) == (name, arch)]
        status, level = PatchStatus.INSTALLED_OTHER, Level.UNSPECIFIED
        for row in world.baseline.custom:
            if row.name != name:
                continue
            epoch, _, version = row.version.rpartition(":")
            wanted, running = Evr(int(epoch or 0), version, row.release), world.running
            status = PatchStatus.INSTALLED
            if all(newer(wanted, build) for build in builds):
                status, level = PatchStatus.MISSING, row.level
            elif running is not None and name in KERNEL_PARTS and arch == running.arch and newer(wanted, running.evr):
                status, level = PatchStatus.PENDING_REBOOT, row.level
        answer[name, arch] = (status, level)
    return answer


@settings(max_examples=examples(40), deadline=None)
@given(worlds(), custom_baselines())
def test_a_custom_baseline_asks_what_its_rows_say_and_nothing_else(world: World, baseline: Baseline) -> None:
    asked = replace(world, baseline=baseline, late=frozenset(), attempts=(), exceptions=Exceptions())
    found = fast(asked)
    assert {(i.name, i.arch): (i.status, i.level) for i in found.items} == custom_reference(asked)
    known = {line.nevra.name for line in world.installed}
    assert found.assessment.counts.not_applicable == len([row for row in baseline.custom if row.name not in known])


@settings(max_examples=examples(20), deadline=None)
@given(st.lists(worlds(), min_size=2, max_size=4))
def test_R1_what_was_evaluated_before_changes_no_answer(fleet: list[World]) -> None:
    """One evaluator for a whole fleet, packages learnt bit by bit, and few compiled approvals kept: as if each were alone."""
    shared = Evaluator(max_compiled=2, max_records=30)
    ids = dict[PackageLine, int]()
    for again in range(2):
        for number, world in enumerate(fleet):
            new = [line for line in world.installed if line not in ids]
            for line in new:
                ids[line] = len(ids) + 1
            shared.learn(Package(ids[line], line.nevra, line.module, line.nevra.key) for line in new)
            repository = a_repository(f"repository-{number}")
            manifest = manifest_of(world, repository.id)
            for kind, name in shared.needs(manifest):
                if kind == "updateinfo":
                    renamed = [with_prefix(number, a) for a in world.advisories]
                    shared.add_updateinfo(name, renamed, {f"{number}-{k}": at for k, at in world.first_seen.items()})
                else:
                    shared.add_primary(name, world.offers)
            assert shared.needs(manifest) == ()
            content, _ = encode_packages((line, 0, "") for line in world.installed)
            snapshot = Snapshot(digest.of(content), FrozenBitMap(ids[line] for line in world.installed))
            host = Host(
                an_instance(1),
                manifest,
                snapshot=snapshot,
                collected_at=NOW,
                details=details_of(world),
                attempts=world.attempts,
            )
            assessed = shared.assess(host, world.baseline, NOW, exceptions=world.exceptions)
            together = shared.evaluate(host, world.baseline, NOW, exceptions=world.exceptions, everything=True)
            alone = evaluate(
                host,
                world.installed,
                {repository.updateinfo: [with_prefix(number, a) for a in world.advisories]},
                {repository.primary: world.offers},
                world.baseline,
                NOW,
                exceptions=world.exceptions,
                first_seen={f"{number}-{k}": at for k, at in world.first_seen.items()},
                everything=True,
            )
            assert together == alone, again
            assert assessed.assessment == together.assessment
            assert assessed.non_compliant_keys == tuple(sorted(together.non_compliant_keys))
            assert assessed.assessment.level == max(
                (i.level for i in together.items if i.status in NON_COMPLIANT_STATUSES), default=Level.UNSPECIFIED
            )


@dataclass(frozen=True)
class Changing:
    """A world, what several of its hosts have installed, editions of its files, and in which order hosts report which of them."""

    world: World
    hosts: list[list[PackageLine]]
    editions: list[tuple[list[Advisory], list[Available]]]
    asks: list[tuple[int, int]]
    beside: tuple[Advisory, ...] = ()
    """Those of a second repository, which stays as it is; its advisories may have ids of the first one's."""


@st.composite
def edited(draw: st.DrawFn, before: list[T], another: Callable[[int], st.SearchStrategy[T]]) -> list[T]:
    """A list in which one or two records came, went, changed or moved."""
    now = list(before)
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.integers(0, len(now)))
        match draw(st.sampled_from(["add", "add", "drop", "change", "move"])):
            case "add":
                now.insert(place, draw(another(draw(st.integers(0, 9)))))
            case "drop" if now:
                now.pop(place % len(now))
            case "change" if now:
                now[place % len(now)] = draw(another(place))
            case _ if now:
                now.insert(place, now.pop())
    return now


@st.composite
def changing(draw: st.DrawFn) -> Changing:
    """Advisories and builds come, go, change and move; hosts lag behind and upgrade while others have the newest edition already."""
    world = draw(worlds())
    hosts = [
        world.installed,
        *draw(st.lists(st.lists(lines, max_size=8, unique_by=lambda line: line.nevra), max_size=2)),
    ]
    found = [(world.advisories, world.offers)]
    for _ in range(draw(st.integers(1, 3))):
        now, offers = found[-1]
        if draw(st.sampled_from([True, True, False])):
            now = draw(edited(now, lambda place: advisories(place)))
        if draw(st.booleans()):
            offers = draw(
                edited(offers, lambda _: st.builds(Available, nevras, st.just(1_700_000_000), obsoletes=obsoletes))
            )
        found.append((now, offers))
    asks = st.tuples(st.integers(0, len(hosts) - 1), st.integers(0, len(found) - 1))
    beside = [draw(advisories(n)) for n in draw(st.lists(st.integers(0, 9), max_size=2))]
    return Changing(world, hosts, found, draw(st.lists(asks, min_size=2, max_size=12)), tuple(beside))


@settings(max_examples=examples(50), deadline=None)
@given(changing())
def test_R1_metadata_that_changed_is_answered_as_if_it_had_always_been_so(case: Changing) -> None:
    """Only what an edition changes is compiled and judged anew, and verdicts it does not touch are kept: the answers must not show it."""
    shared, learnt = Evaluator(), dict[PackageLine, int]()
    for place, number in case.asks:
        together, alone = both_answers(shared, learnt, case, place, number)
        assert together == alone, (place, number)


def test_a_build_that_came_later_on_a_host_that_lags_behind_is_judged_by_the_new_edition() -> None:
    """One host has the new edition already; another upgrades under the old one, to a build that the new edition finds too old."""
    old, middle = a_package("bash-1-1.x86_64"), a_package("bash-2-1.x86_64")
    world = World([old], [], None, [an_advisory("A-1", "zsh-9-1.x86_64")], [], a_baseline(), NOW, {})
    newer_edition = [*world.advisories, an_advisory("A-2", "bash-3-1.x86_64")]
    editions = [(world.advisories, world.offers), (newer_edition, world.offers)]
    case = Changing(world, [[old], [middle]], editions, [(0, 0), (0, 1), (1, 0), (1, 1)])
    shared, learnt = Evaluator(), dict[PackageLine, int]()
    answers = [both_answers(shared, learnt, case, place, number) for place, number in case.asks]
    assert all(together == alone for together, alone in answers)
    assert [together.assessment.counts.missing for together, _ in answers] == [0, 1, 0, 1]


def both_answers(
    shared: Evaluator, learnt: dict[PackageLine, int], case: Changing, place: int, number: int
) -> tuple[Evaluation, Evaluation]:
    """What an evaluator that has answered before says of a host with an edition, and what one says that knows nothing else."""
    world, installed, (edition, offers) = case.world, case.hosts[place], case.editions[number]
    repository = replace(a_repository(), updateinfo=f"{number:064x}", primary=f"{1000 + number:064x}")
    second = a_repository("second")
    files = {repository.updateinfo: edition, second.updateinfo: case.beside}
    for name, found in files.items():
        shared.add_updateinfo(name, found, world.first_seen)
    builds = {repository.primary: offers, second.primary: world.offers[:1]}
    for name, available in builds.items():
        shared.add_primary(name, available)
    for line in installed:
        if line not in learnt:  # packages are learnt when the first host has them
            learnt[line] = len(learnt) + 1
            shared.learn([Package(learnt[line], line.nevra, line.module, line.nevra.key)])
    there = replace(
        world, installed=installed, advisories=edition, offers=offers, late=world.late & {x.nevra for x in installed}
    )
    said = replace(manifest_of(there), repositories=(repository, second))
    content, _ = encode_packages((line, 0, "") for line in installed)
    snapshot = Snapshot(digest.of(content), FrozenBitMap(learnt[line] for line in installed))
    host = Host(an_instance(1), said, snapshot=snapshot, collected_at=NOW, details=details_of(there))
    together = shared.evaluate(host, world.baseline, NOW, exceptions=world.exceptions, everything=True)
    alone = evaluate(
        host,
        installed,
        files,
        builds,
        world.baseline,
        NOW,
        exceptions=world.exceptions,
        first_seen=world.first_seen,
        everything=True,
    )
    return together, alone


def with_prefix(number: int, advisory: Advisory) -> Advisory:
    return Advisory(
        **{f: getattr(advisory, f) for f in advisory.__dataclass_fields__} | {"id": f"{number}-{advisory.id}"}
    )
