"""Where an instance stands in the fleet, and who may say so."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from common.errors import InvalidArgument
from controller.fleet.model import InstanceId, OperatingSystem, Placement, ResourceType
from controller.fleet.placement import apply_hello, check, merge, placed, said, violations

NOW = datetime(2026, 11, 22, 12, 40, tzinfo=UTC)
ME = InstanceId("i-0123456789abcdef")
CENTOS = OperatingSystem("centos", "7.9", "CentOS 7.9")


def test_the_token_wins_over_the_agent_and_the_agent_over_the_defaults() -> None:
    token = Placement(region="r1", application_group="billing", tags={"env": "prod"})
    agent = Placement(name="web-1", region="r2", zone="b", tags={"env": "test", "rack": "7"})
    assert merge(token, agent) == Placement(
        "web-1", "r1", "b", "default", "ECS", "billing", {"env": "prod", "rack": "7"}
    )


def test_a_host_without_a_name_is_called_by_its_hostname_or_else_its_id() -> None:
    assert placed(ME, Placement(), Placement(), NOW, "host-1").name == "host-1"
    assert placed(ME, Placement(), Placement(), NOW).name == ME


def test_a_new_instance_remembers_what_its_token_fixed() -> None:
    instance = placed(ME, Placement(region="r1", resource_type="BMS"), Placement(name="web-1", region="r2"), NOW)
    assert (instance.region, instance.resource_type, instance.enterprise_project) == ("r1", ResourceType.BMS, "default")
    assert instance.edited == {"region", "resource_type"}
    assert instance.enrolled_at == NOW


def test_hello_changes_what_the_agent_may_say_and_leaves_what_was_edited() -> None:
    instance = placed(ME, Placement(region="r1"), Placement(name="web-1", zone="a", tags={"a": "1"}), NOW)
    again = apply_hello(
        instance, Placement(name="web-2", region="r9", resource_type="CCE"), CENTOS, "10.0.0.1", "0.2.0"
    )
    assert (again.name, again.region, again.zone) == ("web-2", "r1", "a")
    assert again.resource_type is ResourceType.CCE
    assert again.tags == {"a": "1"}, "a field that is not said stays"
    assert (again.operating_system, again.ip_address, again.agent_version) == (CENTOS, "10.0.0.1", "0.2.0")
    assert again.edited == instance.edited
    assert apply_hello(again, Placement(tags={"b": "2"}), CENTOS, "", "").tags == {"b": "2"}


@pytest.mark.parametrize(
    ("placement", "field", "description"),
    [
        (Placement(name="x" * 65), "placement.name", "has 65 characters, allowed are 64"),
        (Placement(name=" web"), "placement.name", "begins or ends with a space"),
        (Placement(region="a\nb"), "placement.region", "has characters that cannot be printed"),
        (Placement(zone="\u202eabc"), "placement.zone", "has characters that cannot be printed"),
        (Placement(resource_type="VM"), "placement.resource_type", "'VM' is not one of ECS, BMS, CCE"),
        (Placement(enterprise_project="p" * 65), "placement.enterprise_project", "has 65 characters, allowed are 64"),
        (Placement(application_group="\x00"), "placement.application_group", "has characters that cannot be printed"),
        (Placement(tags={str(n): "" for n in range(51)}), "placement.tags", "has 51 tags, allowed are 50"),
        (Placement(tags={"": "x"}), "placement.tags['']", "its key is empty, allowed are 1 to 36 characters"),
        (
            Placement(tags={"a=b": ""}),
            "placement.tags['a=b']",
            "its key has a =, which selectors put between key and value",
        ),
        (Placement(tags={"k" * 37: ""}), f"placement.tags[{'k' * 36!r}]", "its key has 37 characters, allowed are 36"),
        (Placement(tags={"k": "v" * 256}), "placement.tags['k']", "its value has 256 characters, allowed are 255"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(placement: Placement, field: str, description: str) -> None:
    assert [(v.field, v.description) for v in violations(placement)] == [(field, description)]
    for refused in (
        lambda: check(placement),
        lambda: placed(ME, Placement(), placement, NOW),
        lambda: apply_hello(placed(ME, Placement(), Placement(), NOW), placement, CENTOS, "", ""),
    ):
        with pytest.raises(InvalidArgument):
            refused()


def test_everything_at_its_limit_passes() -> None:
    full = Placement("n" * 64, "r" * 64, "z", "p", "CCE", "g g", {f"{n:036}": "v" * 255 for n in range(50)})
    check(full)
    assert said(full) == {"name", "region", "zone", "enterprise_project", "resource_type", "application_group", "tags"}
    assert said(Placement()) == frozenset()


def test_a_hostname_that_is_no_name_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"placement\.name: has 300 characters"):
        placed(ME, Placement(), Placement(), NOW, "h" * 300)
