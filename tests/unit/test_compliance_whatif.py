"""What another baseline would change in a fleet, and that asking for a whole fleet of few images is cheap."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from pyroaring import FrozenBitMap

from common.manifest import PackageLine
from controller.compliance.evaluator import Answer, Evaluator, Host
from controller.compliance.model import Assessment, Available, Inputs, InstanceStatus, Level
from controller.compliance.whatif import changes
from controller.inventory.model import Package, Snapshot
from tests.builders import NOW, a_baseline, a_manifest, a_package, a_repository, a_rule, an_advisory, an_instance

GOOD, BAD = InstanceStatus.COMPLIANT, InstanceStatus.NON_COMPLIANT
ANYTHING = a_rule(categories=(), severities=(), level=Level.HIGH)


def an_answer(instance: str, status: InstanceStatus, *keys: str, level: Level = Level.UNSPECIFIED) -> Answer:
    return Answer(Assessment(instance, status, Inputs(), level=level), keys)


def test_instances_that_change_and_their_packages_are_told_and_counted() -> None:
    before = [an_answer("i-1", GOOD), an_answer("i-2", BAD, "a.x", "b.x"), an_answer("i-3", BAD, "a.x")]
    after = [an_answer("i-1", BAD, "a.x"), an_answer("i-2", BAD, "b.x", "c.x"), an_answer("i-3", BAD, "a.x")]
    found = changes(before, after)
    assert (found.instances, [c.instance_id for c in found.changed]) == (3, ["i-1", "i-2"])
    first, second = found.changed
    assert (first.changes_status, first.worse, first.better) == (True, ("a.x",), ())
    assert (second.changes_status, second.worse, second.better) == (False, ("c.x",), ("a.x",))
    assert found.moves == ((GOOD, BAD, 1),)
    assert found.worse == (("a.x", 1), ("c.x", 1))
    assert found.better == (("a.x", 1),)


def test_another_level_alone_is_a_change_too() -> None:
    found = changes([an_answer("i", BAD, "a")], [an_answer("i", BAD, "a", level=Level.HIGH)])
    assert [(c.level_before, c.level_after) for c in found.changed] == [(Level.UNSPECIFIED, Level.HIGH)]
    assert found.moves == ()


def test_answers_of_different_instances_are_not_compared() -> None:
    with pytest.raises(ValueError, match="is of i-1 before and of i-2 after"):
        changes([an_answer("i-1", GOOD)], [an_answer("i-2", GOOD)])
    with pytest.raises(ValueError, match="zip"):
        changes([an_answer("i-1", GOOD)], [])


def a_fleet(hosts: int, images: int, packages: int) -> tuple[Evaluator, list[Host]]:
    """Make hosts from a few images; each image lags behind in other packages."""
    evaluator, repository = Evaluator(), a_repository()
    lines = [a_package(f"package{n}-{v}-1.x86_64") for n in range(packages) for v in (1, 2)]
    evaluator.learn(Package(n, line.nevra, line.module, line.nevra.key) for n, line in enumerate(lines, 1))
    advisories = [an_advisory(f"A-{n}", f"package{n}-2-1.x86_64") for n in range(packages)]
    evaluator.add_updateinfo(repository.updateinfo, advisories, {})
    evaluator.add_primary(repository.primary, [Available(line.nevra, 0) for line in lines])
    pictures = list[tuple[Snapshot, list[PackageLine]]]()
    for image in range(images):
        ids = [2 * n + (1 if n % images == image else 2) for n in range(packages)]
        pictures.append((Snapshot(image.to_bytes(32), FrozenBitMap(ids)), [lines[i - 1] for i in ids]))
    manifests = [a_manifest(found, repositories=(repository,)) for _, found in pictures]
    return evaluator, [
        Host(an_instance(n), manifests[n % images], str(n % images), pictures[n % images][0], NOW) for n in range(hosts)
    ]


def test_R1_a_remembered_verdict_is_the_one_that_was_decided() -> None:
    evaluator, hosts = a_fleet(6, 2, 10)
    baseline = a_baseline("b", ANYTHING)
    first = [evaluator.assess(host, baseline, NOW) for host in hosts]
    again = [evaluator.assess(host, baseline, NOW) for host in hosts]
    assert first == again
    assert {answer.non_compliant_keys for answer in first} == {
        tuple(f"package{n}.x86_64" for n in (0, 2, 4, 6, 8)),
        tuple(f"package{n}.x86_64" for n in (1, 3, 5, 7, 9)),
    }


def test_a_change_of_the_running_kernel_is_not_overlooked_by_what_is_remembered() -> None:
    evaluator, repository = Evaluator(), a_repository()
    line = a_package("kernel-5-1.x86_64")
    evaluator.learn([Package(1, line.nevra, "", line.nevra.key)])
    evaluator.add_updateinfo(repository.updateinfo, [an_advisory("A", "kernel-5-1.x86_64")], {})
    evaluator.add_primary(repository.primary, [Available(line.nevra, 0)])
    baseline, snapshot = a_baseline("b", ANYTHING), Snapshot(b"1" * 32, FrozenBitMap([1]))
    pending = list[int]()
    for running in ("4-1", "5-1", "4-1"):
        manifest = a_manifest(
            [line], running_kernel=running, running_kernel_package=f"kernel-{running}.x86_64", install_only=("kernel",)
        )
        answer = evaluator.assess(Host(an_instance(1), manifest, "", snapshot, NOW), baseline, NOW)
        pending.append(answer.assessment.counts.pending_reboot)
    assert pending == [1, 0, 1]


@pytest.mark.bench
def test_bench_a_what_if_over_10000_instances_of_few_images() -> None:
    evaluator, hosts = a_fleet(10_000, 20, 1000)
    baseline = a_baseline("b", ANYTHING)
    before = [evaluator.assess(host, baseline, NOW) for host in hosts]
    other = replace(baseline, rules=(replace(ANYTHING, level=Level.LOW),))
    began = time.process_time()
    after = [evaluator.assess(host, other, NOW) for host in hosts]
    asked = time.process_time()
    found = changes(before, after)
    compared = time.process_time()
    print(
        f"what-if over 10,000 instances of 20 images: {asked - began:.3f} s of CPU, comparing {compared - asked:.3f} s"
    )
    assert len(found.changed) == len(hosts)
