"""The whole collection: every question in turn, and the manifest that the answers make."""

from __future__ import annotations

import functools
import hashlib
import platform
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from common.manifest import MAX_PACKAGES_BYTES, Manifest, OsRelease, Problem, ProblemCode, Repository, encode_packages
from uniagent.collect import facts, holds, kernel, modules, os_release, repos, rpm
from uniagent.collect.model import Asked, Blob, CachedRepository, Collected, CollectRequest, InstalledPackage
from uniagent.collect.rooted import Tree
from uniagent.collect.runner import Runner

_DETAIL: Final = 1000
_FUTURE_SECONDS: Final = 86_400


def _quiet(step: str) -> None:
    """Tell nobody."""


def collect(
    request: CollectRequest,
    runner: Runner,
    *,
    step: Callable[[str], None] = _quiet,
    pause: rpm.Pause = time.sleep,
    jitter: rpm.Jitter = random.random,
    now: Callable[[], float] = time.time,
) -> Collected:
    """Ask for everything and return it. Never raises for what the host does wrong: that is a problem in the manifest.

    `step` hears "collecting" and "refreshing". `now` serves only to notice a wrong clock: an unchanged host gives the same manifest.
    """
    tree = Tree(request.root.resolve() if request.root is not None else None)
    step("collecting")
    with rpm.opened(runner, tree, request.dbpath) as database:
        listing, running, folder = rpm.Listing(), kernel.Running(), None
        if isinstance(database, Problem):
            listing = rpm.Listing(problems=(database,))
        else:
            folder = database.folder
            listing = rpm.list_packages(runner, database, pause, jitter)
            if tree.folder is None and not request.packages_only:
                names = {p.line.nevra.name for p in listing.packages}
                running = kernel.running(functools.partial(rpm.owners, runner, database), names)
        arch = platform.machine() if tree.folder is None else _arch(listing.packages)
        if request.packages_only:
            return _packages_only(listing, arch)
        step("refreshing")
        asked = repos.ask(runner, request, tree, folder, arch)
    step("collecting")
    repositories, cached, blobs = read_repositories(asked, request.refresh)
    os_told, os_problems = os_release.read(tree, arch)
    held, hold_problems = holds.read(tree, asked)
    enabled, module_problems = modules.read(tree)
    hardware, boot_time, fact_problems = dict[str, str](), 0, tuple[Problem, ...]()
    if tree.folder is None:
        hardware, fact_problems = facts.read()
        boot_time, boot_problems = facts.boot_time()
        fact_problems += boot_problems
    problems = (*listing.problems, *running.problems, *asked.problems, *os_problems, *hold_problems, *module_problems)
    problems += (*fact_problems, *clock_problems(listing.packages, now(), request.clock_matter))
    packages, details, more = package_blobs(listing.packages)
    for content in (packages, details):
        if content:
            blobs[_sha256(content)] = content
    manifest = Manifest(
        os=os_told,
        packages=_sha256(packages),
        details=_sha256(details),
        package_count=len(listing.packages) if packages else 0,
        package_manager=asked.package_manager[:_DETAIL],
        boot_id=kernel.boot_id() if tree.folder is None else "",
        boot_time=boot_time,
        running_kernel=running.kernel,
        running_kernel_package=running.package,
        install_only=rpm.install_only(listing.provides, asked.install_only),
        streams=modules.effective(enabled, asked.streams),
        holds=held,
        repositories=repositories,
        facts=hardware,
        problems=tuple(Problem(p.code, p.detail[:_DETAIL]) for p in (*problems, *more)),
    )
    return Collected(manifest, blobs, listing.packages if packages else (), cached)


def read_repositories(
    asked: Asked, refreshed: bool
) -> tuple[tuple[Repository, ...], dict[str, CachedRepository], dict[str, Blob]]:
    """Read what the package manager cached: each repository, where its files lie, and its blobs by digest."""
    repositories, cached, blobs = list[Repository](), dict[str, CachedRepository](), dict[str, Blob]()
    for each in asked.repositories:
        repository, files, contents = repos.read(each, refreshed)
        repositories.append(repository)
        blobs.update(contents)
        if files is not None:
            cached[each.id] = files
    return tuple(repositories), cached, blobs


def package_blobs(packages: Sequence[InstalledPackage]) -> tuple[bytes, bytes, tuple[Problem, ...]]:
    """Return the packages blob and the details blob; both empty, with a problem, when there is nothing to tell."""
    if not packages:
        return b"", b"", ()
    listed, details = encode_packages((p.line, p.installed_at, p.vendor) for p in packages)
    if len(listed) > MAX_PACKAGES_BYTES:
        sentence = f"the list of packages has {len(listed):,} bytes, allowed are {MAX_PACKAGES_BYTES:,}"
        return b"", b"", (Problem(ProblemCode.RPMDB, sentence),)
    return listed, details, ()


def clock_problems(packages: Sequence[InstalledPackage], now: float, matter: str = "") -> tuple[Problem, ...]:
    """Notice a clock that is behind the newest installation; `matter` is what the controller's clock showed."""
    matters = [matter] if matter else []
    if max((p.installed_at for p in packages), default=0) > now + _FUTURE_SECONDS:
        matters.append("a package was installed in the future, as this clock sees it")
    return tuple(Problem(ProblemCode.CLOCK, each) for each in matters)


def _packages_only(listing: rpm.Listing, arch: str) -> Collected:
    packages, details, more = package_blobs(listing.packages)
    blobs: dict[str, Blob] = {_sha256(content): content for content in (packages, details) if content}
    manifest = Manifest(
        os=OsRelease(arch=arch),  # a database alone does not say what it is of
        packages=_sha256(packages),
        details=_sha256(details),
        package_count=len(listing.packages) if packages else 0,
        install_only=rpm.install_only(listing.provides, ()),
        problems=(*listing.problems, *more),
    )
    return Collected(manifest, blobs, listing.packages if packages else ())


def _arch(packages: Sequence[InstalledPackage]) -> str:
    """Return the architecture of an installation: that of most packages; the asking machine's when no package says."""
    counted = Counter(p.line.nevra.arch for p in packages if p.line.nevra.arch != "noarch")
    return min(counted, key=lambda arch: (-counted[arch], arch)) if counted else platform.machine()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if content else ""
