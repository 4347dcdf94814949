"""Which of several installed builds count (R7): the same whatever was asked before, and whether hosts are alike or not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import FrozenBitMap

from controller.compliance.judge import PackageTable
from controller.compliance.newest import Newest
from controller.inventory.model import Package, Snapshot
from tests.builders import a_package
from tests.examples import examples

BUILDS = [
    (name, version, arch, module)
    for name in ("kernel", "bash", "ruby", "zsh")
    for version in ("1-1", "1.0-1", "1_0-1", "2-1", "10-1")
    for arch in ("x86_64", "i686")
    for module in ("", "ruby:1:1:a")
]


def a_package_of(number: int, build: tuple[str, str, str, str]) -> Package:
    name, version, arch, module = build
    nevra = a_package(f"{name}-{version}.{arch}").nevra
    return Package(number, nevra, module, nevra.key)


def plainly(installed: list[Package]) -> set[int]:
    """Of each name.arch the newest; of two that are equally new their spelling decides, not which was learnt first (R1)."""
    found = dict[tuple[str, str], Package]()
    for package in sorted(installed, key=lambda p: (p.key, p.nevra, p.module)):
        found[package.nevra.name, package.nevra.arch] = package
    return {package.id for package in found.values()}


@st.composite
def snapshots(draw: st.DrawFn) -> list[list[int]]:
    """Some of one image, from which they differ in few packages; some of another."""
    numbers = st.integers(1, len(BUILDS))
    images = draw(st.lists(st.lists(numbers, max_size=20, unique=True), min_size=1, max_size=2))
    found = list[list[int]]()
    for _ in range(draw(st.integers(1, 8))):
        has = set(draw(st.sampled_from(images)))
        has ^= set(draw(st.lists(numbers, max_size=4)))
        found.append(sorted(has))
    return found


@settings(max_examples=examples(120), deadline=None)
@given(st.permutations(BUILDS), snapshots())
def test_R7_of_several_builds_the_newest_counts_whatever_was_asked_before(
    builds: list[tuple[str, str, str, str]], asked: list[list[int]]
) -> None:
    table = PackageTable()
    newest = Newest(table)
    packages = [a_package_of(number, build) for number, build in enumerate(builds, 1)]
    for place, has in enumerate(asked):
        table.add(packages[: max(has, default=0)])  # bit by bit: a later host may bring another build of what is known
        snapshot = Snapshot(bytes([place]), FrozenBitMap(has))
        expected = plainly([packages[number - 1] for number in has])
        assert set(newest.of(snapshot)) == expected
        assert set(newest.of(snapshot)) == expected  # remembered


def test_a_package_that_nobody_knows_is_refused_however_alike_the_hosts_are() -> None:
    table = PackageTable()
    table.add([a_package_of(1, BUILDS[0])])
    newest = Newest(table)
    assert set(newest.of(Snapshot(b"1", FrozenBitMap([1])))) == {1}
    with pytest.raises(ValueError, match="was not learnt"):
        newest.of(Snapshot(b"2", FrozenBitMap([1, 2])))
