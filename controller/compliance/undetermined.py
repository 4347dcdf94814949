"""When it cannot be said whether an instance complies (SEMANTICS R11): missing data is never COMPLIANT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from common.clock import format_duration
from common.manifest import Manifest, ProblemCode, Repository
from controller.compliance.approvals import applicable_rules, instant
from controller.compliance.entries import is_for_packages
from controller.compliance.eol import last_day
from controller.compliance.host import Host, Limits
from controller.compliance.model import Baseline, Reason, Undetermined
from controller.compliance.reasons import PROBLEM_REASONS, from_problem, undetermined
from controller.fleet.model import QuarantineCause
from controller.fleet.products import family_of

_PROBLEMS_OF_CUSTOM: Final = frozenset({ProblemCode.RPMDB, ProblemCode.BUSY, ProblemCode.OS_RELEASE})
"""The problems that keep a custom baseline from being judged: those that leave in doubt what is installed, or on what."""


def undetermined_reasons(
    host: Host,
    baseline: Baseline | None,
    as_of: datetime,
    limits: Limits,
    unreadable: Mapping[str, str],
    advisory_counts: Mapping[str, int],
    *,
    kernel_matters: bool,
    asks: Asks | None = None,
) -> tuple[Undetermined, ...]:
    """Return every reason why the answer cannot be given, in a fixed order; empty when it can.

    `unreadable` says by digest what is wrong with a repository file; `advisory_counts` says by digest how many advisories an
    updateinfo file has; `kernel_matters`: an approved kernel is installed and it is not known which one runs (R7).
    `asks` is what `what_it_asks` says of this baseline and product, for callers that remember it.
    """
    if asks is None and baseline is not None:
        asks = what_it_asks(baseline, host.instance.operating_system.product)
    return tuple(_reasons(host, baseline, as_of, limits, unreadable, advisory_counts, kernel_matters, asks))


@dataclass(frozen=True, slots=True)
class Asks:
    """What a baseline asks of instances with one product."""

    anything: bool
    """A rule is for the product, or it is a custom baseline, whose rows are for all."""
    advisories: bool
    """A rule can be followed only with advisories: unless it takes everything, it asks them."""
    package_lists: bool
    """It asks for updates without advisory, by a rule or by their names: these stand only in the repositories' lists of packages."""


def what_it_asks(baseline: Baseline, product: str) -> Asks:
    """Say what a baseline asks of instances with a product."""
    if baseline.custom:
        return Asks(anything=True, advisories=False, package_lists=False)
    rules = applicable_rules(baseline, product)
    return Asks(
        anything=bool(rules),
        advisories=any(r.categories or r.severities or not r.include_without_advisory for _, r in rules),
        package_lists=any(r.include_without_advisory for _, r in rules)
        or any(is_for_packages(patch.entry) for patch in baseline.approved),
    )


def _reasons(
    host: Host,
    baseline: Baseline | None,
    as_of: datetime,
    limits: Limits,
    unreadable: Mapping[str, str],
    advisory_counts: Mapping[str, int],
    kernel_matters: bool,
    asks: Asks | None,
) -> Iterator[Undetermined]:
    unfit = list(_baseline_reasons(host, baseline, asks))
    yield from unfit
    quarantine = host.instance.quarantine
    if quarantine is not None and quarantine.holds(as_of):
        what = "its machine id" if quarantine.cause is QuarantineCause.MACHINE_ID else "its agent's key"
        yield undetermined(Reason.QUARANTINED, f"more than one host has {what}: nobody can say whose reports these are")
    if limits.eol:
        yield from _end_of_life(host.instance.operating_system.product, as_of)
    manifest = host.manifest
    if manifest is None or host.collected_at is None:
        yield undetermined(Reason.NO_REPORT, "the instance has not sent a report yet")
        return
    age = as_of - host.collected_at
    if age > limits.stale_after:
        yield undetermined(
            Reason.STALE,
            f"the last report is {format_duration(age)} old, allowed are {format_duration(limits.stale_after)}",
        )
    is_custom = baseline is not None and bool(baseline.custom)
    for problem in sorted(manifest.problems, key=lambda p: (p.code, p.detail)):
        if problem.code in PROBLEM_REASONS and (not is_custom or problem.code in _PROBLEMS_OF_CUSTOM):
            yield from_problem(problem.code, problem.detail)
    if host.snapshot is None and not _has(manifest, ProblemCode.RPMDB):
        yield undetermined(Reason.RPMDB, "the report has no list of installed packages")
    if kernel_matters:
        yield from _kernel_reasons(manifest)
    if is_custom:
        return  # its rows name versions: what repositories offer, and whether they can be read, changes nothing
    if not manifest.repositories:
        if not _has(manifest, ProblemCode.REPO_CONFIG):
            yield undetermined(Reason.NO_REPOS, "no repository is enabled")
        return
    repositories = sorted(manifest.repositories, key=lambda r: r.id)
    yield from _repository_reasons(repositories, unreadable, age, limits)
    if baseline is not None and asks is not None and asks.package_lists and not unfit:
        yield from _package_list_reasons(baseline, repositories)
    if baseline is not None and asks is not None and asks.advisories and not unfit:
        yield from _advisory_reasons(host, baseline, repositories, unreadable, advisory_counts)


def _baseline_reasons(host: Host, baseline: Baseline | None, asks: Asks | None) -> Iterator[Undetermined]:
    product = host.instance.operating_system.product
    if not product:
        system = host.instance.operating_system
        told = system.pretty_name or f"{system.id} {system.version}".strip() or "not known"
        yield undetermined(Reason.NO_BASELINE, f"its operating system ({told}) is not a supported one")
    elif baseline is None:
        scenario = host.instance.resource_type
        yield undetermined(Reason.NO_BASELINE, f"no baseline is meant for {product} as {scenario}")
    elif family_of(product) != baseline.operating_system:
        yield undetermined(
            Reason.NO_BASELINE, f"{baseline.name} is for {baseline.operating_system}, this instance runs {product}"
        )
    elif asks is None or not asks.anything:
        yield undetermined(Reason.NO_BASELINE, f"no rule of {baseline.name} is for {product}")


def _end_of_life(product: str, as_of: datetime) -> Iterator[Undetermined]:
    end = last_day(product)
    if end is not None and as_of.astimezone(UTC).date() > end:
        yield undetermined(
            Reason.EOL, f"{product} is maintained by its vendor until {end}: nobody mends what is found since"
        )


def _kernel_reasons(manifest: Manifest) -> Iterator[Undetermined]:
    if manifest.running_kernel:
        found = [p.detail for p in manifest.problems if p.code is ProblemCode.KERNEL]
        yield from_problem(
            ProblemCode.KERNEL, found[0] if found else f"no package owns the running kernel {manifest.running_kernel}"
        )
    elif not manifest.running_kernel:
        # An offline root or a container has no running kernel: no verdict. Not to know it on a live host is another thing.
        for problem in manifest.problems:
            if problem.code is ProblemCode.KERNEL:
                yield from_problem(problem.code, problem.detail)


def _repository_reasons(
    repositories: list[Repository], unreadable: Mapping[str, str], age: timedelta, limits: Limits
) -> Iterator[Undetermined]:
    refreshed = list[str]()
    for repository in repositories:
        matters = [repository.error] if repository.error else []
        matters += [unreadable[d] for d in (repository.updateinfo, repository.primary) if d in unreadable]
        if matters:
            yield undetermined(Reason.REPO_ERROR, f"repository {repository.id}: {'; '.join(matters)}")
        else:
            refreshed.append(repository.id)
    # A repository without error was refreshed when the report was collected. The time inside repomd is no measure: the
    # metadata of a release that gets no more updates may be years old and yet be all there is.
    if refreshed and age > limits.metadata_stale_after:
        yield undetermined(
            Reason.METADATA_STALE,
            f"repositories {', '.join(refreshed)} were last refreshed {format_duration(age)} ago,"
            f" allowed are {format_duration(limits.metadata_stale_after)}",
        )


def _package_list_reasons(baseline: Baseline, repositories: list[Repository]) -> Iterator[Undetermined]:
    """Updates that no advisory mentions stand only in a repository's list of packages: without it none would be missed."""
    for repository in repositories:
        if not repository.error and not repository.primary:
            asks = "asks for updates without advisory"
            if not any(rule.include_without_advisory for rule in baseline.rules):
                asks = "approves packages by name, whether or not an advisory mentions them"
            detail = f"its list of packages was not read, and {baseline.name} {asks}"
            yield undetermined(Reason.REPO_ERROR, f"repository {repository.id}: {detail}")


def _advisory_reasons(
    host: Host,
    baseline: Baseline,
    repositories: list[Repository],
    unreadable: Mapping[str, str],
    advisory_counts: Mapping[str, int],
) -> Iterator[Undetermined]:
    lost = [
        r.id
        for r in repositories
        if not r.error and r.id in host.had_advisories and not advisory_counts.get(r.updateinfo, 0)
    ]
    for repository in lost:
        yield undetermined(Reason.NO_ADVISORIES, f"repository {repository} had advisories before and has none now")
    if any(r.error or r.updateinfo in unreadable for r in repositories):
        return  # one that could not be read may be the one that has them; the answer is undetermined already
    if not lost and not any(advisory_counts.get(r.updateinfo, 0) for r in repositories):
        yield undetermined(
            Reason.NO_ADVISORIES,
            f"no enabled repository ({', '.join(r.id for r in repositories)}) has advisories, and {baseline.name} asks for them",
        )


def metadata_time(repository: Repository) -> datetime | None:
    """Return when a repository's metadata was made, as repomd says; None when it does not."""
    return instant(repository.timestamp)


def _has(manifest: Manifest, code: ProblemCode) -> bool:
    return any(problem.code is code for problem in manifest.problems)
