"""A made-up fleet of the shape that real ones have: few images, small differences. The same numbers give the same fleet.

A hundred base images of about 1,000 packages out of 3,000 names; each host differs from its image in 0 to 20 packages. The advisories name
builds that some hosts have, and newer ones.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import Final

from pyroaring import FrozenBitMap

from common import digest
from common.manifest import Manifest, PackageLine, Repository
from common.nevra import Nevra
from controller.compliance.evaluator import Evaluator, Host
from controller.compliance.model import (
    Advisory,
    AdvisoryPackage,
    Available,
    Baseline,
    Category,
    Level,
    Rule,
    Severity,
)
from controller.inventory.model import Package, Snapshot
from tests.builders import NOW, a_baseline, a_manifest, a_repository, an_instance

NAMES: Final = 3_000
PACKAGES: Final = 1_000
ADVISORIES: Final = 3_000
IMAGES: Final = 100
DRIFT: Final = 20
_BUILDS: Final = 8
"""So many builds of each name may be installed somewhere; the newest is in nobody's image."""
_SEVERITIES: Final = (Severity.CRITICAL, Severity.IMPORTANT, Severity.MODERATE, Severity.LOW, Severity.NONE)
_CATEGORIES: Final = (Category.SECURITY, Category.SECURITY, Category.BUGFIX, Category.ENHANCEMENT)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Hosts as the evaluator takes them, and all it must be told first."""

    hosts: Sequence[Host]
    packages: Sequence[Package]
    advisories: Sequence[Advisory]
    available: Sequence[Available]
    baseline: Baseline
    repository: Repository

    def evaluator(self) -> Evaluator:
        """One that knows the packages and has the repository's files: nothing is evaluated yet."""
        evaluator = Evaluator()
        evaluator.learn(self.packages)
        evaluator.add_updateinfo(self.repository.updateinfo, self.advisories, {})
        evaluator.add_primary(self.repository.primary, self.available)
        return evaluator

    def lines(self, host: Host) -> list[PackageLine]:
        """What is installed on a host."""
        assert host.snapshot is not None
        return [PackageLine(self.packages[n - 1].nevra) for n in host.snapshot.packages]


def changed(baseline: Baseline) -> Baseline:
    """Another baseline, as somebody tries it out: bug fixes too, after a week."""
    rules = (replace(baseline.rules[0], approve_after_days=7), Rule(categories=(Category.BUGFIX,), level=Level.LOW))
    return replace(baseline, version=baseline.version + 1, rules=rules)


def an_advisory_for(name: int, number: int, dice: random.Random) -> Advisory:
    """One advisory; most name one build, some the parts of a family."""
    names = range(name, min(NAMES, name + dice.choice((1, 1, 1, 2, 4))))
    build = dice.randrange(1, _BUILDS)
    return Advisory(
        id=f"FLEET-2026:{number:04d}",
        category=dice.choice(_CATEGORIES),
        severity=(severity := dice.choice(_SEVERITIES)),
        raw_severity=severity.value,
        raw_type="security",
        title=f"an update of {_build(name, build).name}",
        issued=(NOW - timedelta(days=dice.randrange(1, 900))).date(),
        updated=None,
        cves=(f"CVE-2026-{number:04d}",),
        packages=tuple(AdvisoryPackage(_build(each, build)) for each in names),
    )


@cache
def a_fleet(count: int = 10_000, *, images: int = IMAGES, drift: int = DRIFT, seed: int = 1) -> Fleet:
    """Make a fleet; made once for a process."""
    dice = random.Random(seed)
    packages = [
        Package(number, build, "", build.key)
        for number, build in enumerate((_build(n, b) for n in range(NAMES) for b in range(_BUILDS)), 1)
    ]
    advisories = [an_advisory_for(dice.randrange(NAMES), number, dice) for number in range(ADVISORIES)]
    repository = a_repository()
    pictures = [
        {name: dice.randrange(_BUILDS - 1) for name in dice.sample(range(NAMES), PACKAGES)} for _ in range(images)
    ]
    manifest = a_manifest((), repositories=(repository,), boot_id="")
    hosts = [
        _host(number, _drifted(pictures[number % images], dice, drift), manifest) for number in range(1, count + 1)
    ]
    return Fleet(
        hosts,
        packages,
        advisories,
        [Available(_build(n, b), 1_700_000_000) for n in range(NAMES) for b in range(_BUILDS)],
        a_baseline(),
        repository,
    )


def _drifted(picture: dict[int, int], dice: random.Random, drift: int) -> dict[int, int]:
    """Some packages are gone, others are new, or there in another build."""
    has = dict(picture)
    for name in dice.sample(sorted(has), dice.randint(0, drift) // 2):
        del has[name]
    for _ in range(dice.randint(0, drift) // 2):
        has[dice.randrange(NAMES)] = dice.randrange(_BUILDS)
    return has


def _host(number: int, has: dict[int, int], manifest: Manifest) -> Host:
    installed = FrozenBitMap(name * _BUILDS + build + 1 for name, build in has.items())
    content = installed.serialize()
    return Host(
        an_instance(number),
        manifest=replace(manifest, packages=digest.of(content).hex(), package_count=len(has)),
        manifest_digest=digest.of(f"manifest {number}".encode()).hex(),
        snapshot=Snapshot(digest.of(content), installed),
        collected_at=NOW,
        baseline_source="default",
    )


@cache
def _build(name: int, build: int) -> Nevra:
    arch = "noarch" if name % 9 == 0 else "x86_64"
    version = f"{name % 7}.{name % 31}.{build}"
    return Nevra(f"package-with-a-name-{name:04d}", int(name % 50 == 0), version, f"{10 + 2 * build}.el7_9", arch)
