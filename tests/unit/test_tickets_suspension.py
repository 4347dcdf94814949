"""When a ticket stops itself (SEMANTICS §1, suspension policy)."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

import pytest

from controller.tickets.model import Counts
from controller.tickets.policies import SuspensionMode, SuspensionPolicy
from controller.tickets.suspension import failures, stops_at

ATTAINABLE, LITERAL = SuspensionMode.ATTAINABLE, SuspensionMode.LITERAL


@pytest.mark.parametrize(
    ("targets", "rate_tenths", "attainable", "literal"),
    [(10, 800, 3, 2), (10, 850, 2, 2), (200, 995, 2, 1)]
    + [(n, 1000, 1, 1) for n in (1, 2, 7, 10, 100_000)]
    + [(n, 0, None, n) for n in (1, 2, 7, 10, 100_000)],
)
def test_the_table_of_the_semantics_holds(
    targets: int, rate_tenths: int, attainable: int | None, literal: int | None
) -> None:
    assert stops_at(targets, SuspensionPolicy(rate_tenths, ATTAINABLE)) == attainable
    assert stops_at(targets, SuspensionPolicy(rate_tenths, LITERAL)) == literal


def test_every_rate_of_every_size_up_to_200_is_exact() -> None:
    for rate in range(1001):
        attainable, literal = SuspensionPolicy(rate, ATTAINABLE), SuspensionPolicy(rate, LITERAL)
        fail_share = 1 - Fraction(rate, 1000)
        for targets in range(1, 201):
            allowed = targets * fail_share
            k = floor(allowed) + 1
            assert stops_at(targets, attainable) == (k if k <= targets else None)
            assert stops_at(targets, literal) == max(1, ceil(allowed))


def test_attainable_is_the_first_failure_after_which_the_rate_cannot_be_met() -> None:
    for rate in (0, 1, 333, 500, 666, 667, 800, 999, 1000):
        for targets in range(1, 60):
            missed = [k for k in range(1, targets + 1) if Fraction(targets - k, targets) < Fraction(rate, 1000)]
            assert stops_at(targets, SuspensionPolicy(rate)) == (missed[0] if missed else None)


def test_no_targets_never_stop() -> None:
    assert stops_at(0, SuspensionPolicy(1000, ATTAINABLE)) is None
    assert stops_at(0, SuspensionPolicy(0, LITERAL)) is None


def test_failed_timeout_and_unreachable_are_failures_and_nothing_else_is() -> None:
    counts = Counts(
        ready=1000, processing=1000, succeeded=1000, failed=1, timeout=20, unreachable=300, skipped=1000, canceled=1000
    )
    assert failures(counts, SuspensionPolicy()) == 321
    assert failures(counts, SuspensionPolicy(ignore_unreachable=True)) == 21
