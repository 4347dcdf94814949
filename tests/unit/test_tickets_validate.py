"""What a ticket's specification may say: every wrong field is named, with what is allowed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from common.errors import InvalidArgument
from controller.fleet.model import ResourceType, Selector
from controller.tickets.model import TicketSpec
from controller.tickets.policies import BatchPolicy, BatchPolicyKind, SuspensionPolicy
from controller.tickets.validate import check_reason, check_request_id, check_spec

GOOD = TicketSpec(selector=Selector(all=True))


def wrong(spec: TicketSpec) -> dict[str, str]:
    with pytest.raises(InvalidArgument) as refused:
        check_spec(spec)
    return {v.field: v.description for v in refused.value.violations}


@pytest.mark.parametrize(
    "spec",
    [
        GOOD,
        replace(GOOD, selector=Selector(instances=("web-1",), resource_types=(ResourceType.ECS,), tags=("a=b", "c"))),
        replace(GOOD, timeout=timedelta(seconds=1), unreachable_after=timedelta(hours=24), max_in_flight=10_000),
        replace(GOOD, name="x" * 100, suspension_policy=SuspensionPolicy(0)),
        replace(GOOD, batch_policy=BatchPolicy(batch_size=1000, group_share_percent=1, ramp=(1, 1000))),
        replace(GOOD, batch_policy=BatchPolicy(BatchPolicyKind.MANUAL_BATCH, manual=(("a",), ("b", "c")))),
    ],
)
def test_what_is_in_range_passes(spec: TicketSpec) -> None:
    check_spec(spec)


@pytest.mark.parametrize(("tenths", "said"), [(1010, "101"), (1001, "100.1"), (-5, "-0.5"), (1 << 31, "214748364.8")])
def test_a_success_rate_out_of_range_is_refused_in_the_words_of_the_page(tenths: int, said: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_spec(replace(GOOD, suspension_policy=SuspensionPolicy(tenths)))
    assert str(refused.value) == f"success_rate: {said} is out of range, allowed 0.0 to 100.0 with one decimal"


def test_everything_that_is_wrong_is_named_at_once() -> None:
    found = wrong(
        TicketSpec(
            name="x" * 101,
            baseline="\x1b[31m",
            timeout=timedelta(milliseconds=500),
            unreachable_after=timedelta(hours=24, seconds=1),
            max_in_flight=0,
            batch_policy=BatchPolicy(batch_size=1001, group_share_percent=0, ramp=(1, 0)),
            suspension_policy=SuspensionPolicy(-1),
        )
    )
    assert found == {
        "name": "has 101 characters, allowed are 100",
        "selector": "nothing is selected; name instances or set all",
        "baseline": r"'\x1b[31m' has characters that cannot be printed",
        "timeout": "0.5 s is out of range, allowed 1 s to 24 h",
        "unreachable_after": "86401 s is out of range, allowed 1 s to 24 h",
        "max_in_flight": "0 is out of range, allowed 1 to 10000",
        "batch_policy.batch_size": "1001 is out of range, allowed 1 to 1000",
        "batch_policy.group_share_percent": "0 is out of range, allowed 1 to 100",
        "batch_policy.ramp[1]": "0 is out of range, allowed 1 to 1000",
        "success_rate": "-0.1 is out of range, allowed 0.0 to 100.0 with one decimal",
    }


def test_an_empty_selector_selects_nothing_even_with_filters() -> None:
    assert wrong(TicketSpec(selector=Selector(regions=("cn-hongkong",)))) == {
        "selector": "nothing is selected; name instances or set all"
    }


def test_selectors_have_limits_and_their_values_are_named_by_place() -> None:
    found = wrong(
        TicketSpec(
            selector=Selector(
                instances=tuple(map(str, range(10_001))),
                names=("ok", "", "x" * 257),
                tags=("=value",),
            )
        )
    )
    assert found == {
        "selector.instances": "has 10001 values, allowed are 10000",
        "selector.names[1]": "is empty, allowed are 1 to 256 characters",
        "selector.names[2]": "has 257 characters, allowed are 256",
        "selector.tags[0]": "'=value' has no key; write key=value or key",
    }


def test_of_a_long_wrong_list_the_first_few_values_are_named() -> None:
    assert list(wrong(TicketSpec(selector=Selector(instances=("",) * 9000)))) == [
        f"selector.instances[{n}]" for n in range(5)
    ]


def test_manual_lists_and_their_policy_come_together() -> None:
    manual = BatchPolicyKind.MANUAL_BATCH
    assert "needs the batches" in wrong(replace(GOOD, batch_policy=BatchPolicy(manual)))["batch_policy.batches"]
    stray = wrong(replace(GOOD, batch_policy=BatchPolicy(manual=(("a",),))))
    assert stray == {
        "batch_policy.batches": "AUTO_BATCH takes no lists of instances; choose MANUAL_BATCH or leave them out"
    }
    too_many = wrong(replace(GOOD, batch_policy=BatchPolicy(manual, manual=(("a",),) * 10_001)))
    assert "is too long" in too_many["batch_policy.batches"]
    assert list(wrong(replace(GOOD, batch_policy=BatchPolicy(manual, manual=(("a",), ("b", "\n")))))) == [
        "batch_policy.batches[1].instances[1]"
    ]


def test_a_ramp_has_at_most_ten_steps() -> None:
    found = wrong(replace(GOOD, batch_policy=BatchPolicy(ramp=(1,) * 11)))
    assert found == {"batch_policy.ramp": "has 11 steps, allowed are 10"}


def test_reasons_and_request_ids_have_limits() -> None:
    check_reason("x" * 200)
    check_request_id("x" * 64)
    with pytest.raises(InvalidArgument, match="reason: has 201 characters, allowed are 200"):
        check_reason("x" * 201)
    with pytest.raises(InvalidArgument, match="request_id: has 65 characters, allowed are 64"):
        check_request_id("x" * 65)
