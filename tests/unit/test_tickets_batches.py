"""How targets become batches (SEMANTICS §1, batch policy)."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from math import ceil
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidArgument
from controller.fleet.model import InstanceId
from controller.tickets.batches import batches, manual
from controller.tickets.model import PlannedBatch, Target
from controller.tickets.policies import BatchPolicy, BatchPolicyKind, Canary

AUTO = BatchPolicy()


def target(name: str, region: str = "r1", zone: str = "a", group: str = "web", instance_id: str = "") -> Target:
    return Target(InstanceId(instance_id or f"i-{name}"), name, region, zone, group)


def several(number: int, prefix: str, region: str = "r1", zone: str = "a", group: str = "web") -> list[Target]:
    return [target(f"{prefix}-{n}", region, zone, group) for n in range(1, number + 1)]


def names(planned: tuple[PlannedBatch, ...]) -> list[list[str]]:
    return [[t.name for t in batch.targets] for batch in planned]


fleets = st.lists(
    st.tuples(st.sampled_from(["", "r1", "r2", "r3"]), st.sampled_from(["a", "b"]), st.sampled_from(["", "web", "db"])),
    max_size=80,
).map(lambda places: [target(f"n-{i % 17}", *place, instance_id=f"i-{i}") for i, place in enumerate(places)])
policies = st.builds(
    BatchPolicy,
    kind=st.just(BatchPolicyKind.AUTO_BATCH),
    batch_size=st.integers(1, 12),
    group_share_percent=st.integers(1, 100),
    ramp=st.lists(st.integers(1, 5), max_size=3).map(tuple),
)


@given(fleets, policies)
def test_the_automatic_rule_holds_for_any_fleet(fleet: list[Target], policy: BatchPolicy) -> None:
    groups = Counter(t.application_group for t in fleet)
    for batch in batches(fleet, policy):
        places = {(t.region, t.zone, t.application_group) for t in batch.targets}
        assert places == {(batch.region, batch.zone, batch.application_group)}, "one region, one zone, one application"
        assert len(batch.targets) <= policy.batch_size
        if (group := groups[batch.application_group]) > 1 and len(batch.targets) > 1:
            assert len(batch.targets) * 100 <= group * policy.group_share_percent, "at most its share of the group"
        if batch.number <= len(policy.ramp):
            assert len(batch.targets) <= policy.ramp[batch.number - 1]


@given(fleets, policies)
def test_every_target_stands_in_exactly_one_batch(fleet: list[Target], policy: BatchPolicy) -> None:
    planned = batches(fleet, policy)
    assert sorted(t.id for batch in planned for t in batch.targets) == sorted(t.id for t in fleet)
    assert [batch.number for batch in planned] == list(range(1, len(planned) + 1))
    assert all(batch.targets for batch in planned)


@given(fleets, policies, st.randoms(use_true_random=False))
def test_the_order_of_the_input_changes_nothing(fleet: list[Target], policy: BatchPolicy, random: Random) -> None:
    shuffled = fleet.copy()
    random.shuffle(shuffled)
    assert batches(shuffled, policy) == batches(fleet, policy)


@given(fleets, st.integers(1, 12), st.integers(1, 100))
def test_there_are_no_more_batches_than_needed(fleet: list[Target], size: int, share: int) -> None:
    planned = batches(fleet, BatchPolicy(batch_size=size, group_share_percent=share))
    groups = Counter(t.application_group for t in fleet)
    used = Counter((b.region, b.zone, b.application_group) for b in planned)
    for place, number in Counter((t.region, t.zone, t.application_group) for t in fleet).items():
        assert used[place] == ceil(number / min(size, max(1, groups[place[2]] * share // 100)))


def test_the_region_with_the_fewest_targets_comes_first_then_zone_then_group_then_name() -> None:
    fleet = [
        *several(3, "big", "north"),
        target("z-2", "south", "b", "web"),
        target("z-1", "south", "a", "web"),
        *several(2, "even", "east", "a"),
        target("z-3", "west", "a", "db"),
        target("z-4", "west", "a", ""),
    ]
    assert names(batches(fleet, BatchPolicy(group_share_percent=100))) == [
        ["even-1", "even-2"],
        ["z-1"],
        ["z-2"],
        ["z-4"],
        ["z-3"],
        ["big-1", "big-2", "big-3"],
    ]


def test_numbers_in_names_count_as_numbers_and_equal_names_go_by_id() -> None:
    fleet = [*several(10, "web"), target("web-2", instance_id="i-a"), target("Ω"), target("")]
    planned = batches(fleet, BatchPolicy(batch_size=100, group_share_percent=100))
    assert names(planned)[0][:4] == ["", "web-1", "web-2", "web-2"]
    assert [t.id for t in planned[0].targets][2:4] == ["i-a", "i-web-2"]
    assert names(planned)[0][-2:] == ["web-10", "Ω"]


def test_half_of_a_group_is_rounded_down_but_a_group_of_one_is_exempt() -> None:
    assert [len(b.targets) for b in batches(several(1, "solo"), AUTO)] == [1]
    assert [len(b.targets) for b in batches(several(3, "few"), AUTO)] == [1, 1, 1]
    assert [len(b.targets) for b in batches(several(9, "some"), AUTO)] == [4, 4, 1]
    assert [len(b.targets) for b in batches(several(50, "many"), AUTO)] == [10] * 5


def test_a_group_is_all_its_targets_wherever_they_stand() -> None:
    fleet = several(4, "a", zone="a") + several(4, "b", zone="b")
    assert [len(b.targets) for b in batches(fleet, AUTO)] == [4, 4]


def test_targets_without_a_group_are_a_group() -> None:
    assert [len(b.targets) for b in batches(several(6, "loose", group=""), AUTO)] == [3, 3]


def test_the_ramp_limits_the_first_batches() -> None:
    sizes = [len(b.targets) for b in batches(several(40, "web"), BatchPolicy(ramp=(1, 2, 5)))]
    assert sizes == [1, 2, 5, 10, 10, 10, 2]


def test_no_batch_is_one_batch_that_names_only_what_its_targets_share() -> None:
    fleet = [target("x", "r1", "a", "web"), target("y", "r1", "b", "web")]
    (batch,) = batches(fleet, BatchPolicy(BatchPolicyKind.NO_BATCH))
    assert (batch.region, batch.zone, batch.application_group) == ("r1", "", "web")
    assert batches([], BatchPolicy(BatchPolicyKind.NO_BATCH)) == ()


def test_manual_batches_keep_the_operators_order() -> None:
    fleet = several(4, "web")
    planned = manual(fleet, (("i-web-3", "web-1"), ("i-web-4", "i-web-2")))
    assert names(planned) == [["web-3", "web-1"], ["web-4", "web-2"]]
    policy = BatchPolicy(BatchPolicyKind.MANUAL_BATCH, manual=(("i-web-3", "web-1"), ("i-web-4", "i-web-2")))
    assert batches(fleet, policy) == planned


def test_manual_batches_name_everything_that_is_wrong() -> None:
    fleet = [*several(3, "web"), target("twin", instance_id="i-t1"), target("twin", instance_id="i-t2")]
    with pytest.raises(InvalidArgument) as refused:
        manual(fleet, (("i-web-1", "nobody"), (), ("web-1", "twin")))
    assert [(v.field, v.description) for v in refused.value.violations] == [
        (
            "batch_policy.batches[0].instances[1]",
            "batch 1, entry 2: 'nobody' is not among the selected instances; select it or leave it out",
        ),
        ("batch_policy.batches[1].instances", "batch 2 is empty; name at least one instance or leave it out"),
        (
            "batch_policy.batches[2].instances[0]",
            "batch 3, entry 1: 'web-1' is batch 1, entry 1 already; name it once",
        ),
        (
            "batch_policy.batches[2].instances[1]",
            "batch 3, entry 2: 'twin' stands for 2 instances, write an id: i-t1, i-t2",
        ),
        ("batch_policy.batches", "4 selected instances stand in no batch: twin, twin, web-2, web-3; add them"),
    ]


def test_an_id_means_its_instance_even_if_another_one_is_named_like_it() -> None:
    fleet = [target("web-1"), target("i-web-1", instance_id="i-x")]
    assert [t.id for t in manual(fleet, (("i-web-1", "i-x"),))[0].targets] == ["i-web-1", "i-x"]


@pytest.mark.bench
def test_100_000_targets_are_split_in_little_more_than_ten_times_what_10_000_take() -> None:
    def cost(size: int) -> float:
        fleet = [target(f"ecs-{n:06}", f"r{n % 7}", f"z{n % 3}", f"app-{n % 400}") for n in range(size)]
        began = time.perf_counter()
        assert sum(len(b.targets) for b in batches(fleet, AUTO)) == size
        return time.perf_counter() - began

    small, large = cost(10_000), cost(100_000)
    print(f"automatic batches: {small:.2f} s for 10,000 targets, {large:.2f} s for 100,000: {large / small:.1f}x")


def test_a_canary_is_spread_over_regions_then_over_zones_and_groups() -> None:
    fleet = [
        *several(6, "a", "r1", "a", "web"),
        *several(6, "b", "r1", "b", "db"),
        *several(6, "c", "r2", "a", "web"),
    ]
    planned = batches(fleet, BatchPolicy(canary=Canary(instances=4)))
    assert names(planned)[0] == ["c-1", "c-2", "a-1", "b-1"], "two of each region, in one of them one of each group"
    assert sorted(t.name for batch in planned for t in batch.targets) == sorted(t.name for t in fleet)


def test_a_percentage_is_rounded_up_and_of_one_group_a_canary_takes_no_more_than_its_share() -> None:
    fleet = several(15, "a")
    assert len(batches(fleet, BatchPolicy(canary=Canary(percent=1)))[0].targets) == 1
    assert len(batches(fleet, BatchPolicy(canary=Canary(percent=90)))[0].targets) == 7
    whole = batches(fleet, BatchPolicy(BatchPolicyKind.NO_BATCH, canary=Canary(percent=50)))
    assert [len(batch.targets) for batch in whole] == [8, 7]


@given(fleet=fleets, policy=policies, size=st.integers(1, 20), random=st.randoms(use_true_random=False))
def test_with_a_canary_every_target_still_stands_in_one_batch_whatever_the_order(
    fleet: list[Target], policy: BatchPolicy, size: int, random: Random
) -> None:
    careful = replace(policy, canary=Canary(instances=size))
    planned = batches(fleet, careful)
    assert Counter(t.id for batch in planned for t in batch.targets) == Counter(t.id for t in fleet)
    assert not fleet or len(planned[0].targets) <= size
    assert batches(random.sample(fleet, len(fleet)), careful) == planned
    assert [batch.number for batch in planned] == list(range(1, len(planned) + 1))
