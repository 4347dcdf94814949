"""What two editions of a repository file differ in: never less than they do, and no more than a little where they are nearly the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.compliance.model import Available
from controller.compliance.told import change_of_advisories, change_of_available, difference
from tests.builders import a_package, an_advisory

BUILDS = [Available(a_package(f"p{n}-1-1.x86_64").nevra, n) for n in range(600)]


@given(st.lists(st.integers(0, 9), max_size=12), st.lists(st.integers(0, 9), max_size=12))
def test_without_what_differs_two_editions_are_the_same(before: list[int], after: list[int]) -> None:
    differs = difference([BUILDS[n] for n in before], [BUILDS[n] for n in after])
    names = {build.nevra.name for build in differs}
    left, right = ([n for n in numbers if f"p{n}" not in names] for numbers in (before, after))
    assert left == right
    assert not differs or before != after


def test_builds_that_come_and_go_anywhere_are_all_that_differs() -> None:
    after = [*BUILDS[:100], *BUILDS[101:300], BUILDS[599], *BUILDS[300:598]]
    assert change_of_available(BUILDS[:599], after).names == {"p100", "p599", "p598"}
    assert not difference(BUILDS, list(BUILDS))


def test_an_order_that_changed_counts() -> None:
    assert set(difference(BUILDS[:4], [BUILDS[0], BUILDS[2], BUILDS[1], BUILDS[3]])) == set(BUILDS[1:3])


def test_records_that_say_the_same_and_are_not_the_same_objects_count_only_in_between() -> None:
    """Whoever compiles too much is slow; whoever compiles too little is wrong."""
    anew = [Available(b.nevra, b.build_time) for b in BUILDS[:6]]
    assert not difference(BUILDS[:6], anew)
    assert change_of_available(BUILDS[:6], [*anew[:2], BUILDS[9], *anew[3:]]).names == {"p2", "p9"}


def test_a_changed_advisory_concerns_the_packages_that_it_named_and_that_it_names() -> None:
    same, old, new = (
        an_advisory("A-1", "zsh-1-1.x86_64"),
        an_advisory("A-2", "bash-1-1.x86_64"),
        an_advisory("A-2", "ksh-1-1.x86_64"),
    )
    change = change_of_advisories([same, old], [same, new])
    assert (change.advisories, change.names) == ({"A-2"}, {"bash", "ksh"})
