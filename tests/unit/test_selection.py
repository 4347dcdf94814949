"""Who is meant by a selector, who can be selected, and what the others hear (SEMANTICS §1, UniAgent state)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import pytest

from common.errors import InvalidArgument
from controller.fleet.model import (
    AgentState,
    Instance,
    InstanceId,
    NotSelectableReason,
    OperatingSystem,
    Presence,
    ResourceType,
    Selector,
)
from controller.fleet.selection import check_references, matching, select, why_not

NOW = datetime(2026, 11, 22, 12, 40, tzinfo=UTC)
ONLINE = Presence(AgentState.ONLINE, NOW)
EVERYBODY = Selector(all=True)


def an_instance(name: str, **changes: Any) -> Instance:
    instance = Instance(
        id=InstanceId(f"i-{name}"),
        name=name,
        enterprise_project="default",
        region="r1",
        zone="a",
        resource_type=ResourceType.ECS,
        application_group="web",
        enrolled_at=NOW,
        operating_system=OperatingSystem("centos", "7.9", "CentOS 7.9", "CentOS Linux 7 (Core)", "x86_64"),
        last_seen_at=NOW,
    )
    return replace(instance, **changes)


FLEET = (
    an_instance("ecs-web-01", tags={"env": "prod", "tier": "1"}),
    an_instance("ecs-web-02", zone="b", tags={"env": "test"}),
    an_instance("ecs-db-01", region="r2", application_group="db", enterprise_project="shop"),
    an_instance(
        "bms-db-02",
        resource_type=ResourceType.BMS,
        application_group="db",
        operating_system=OperatingSystem("hce", "2.0", "Huawei Cloud EulerOS 2.0"),
    ),
    an_instance("gone", deleted_at=NOW),
)


def names(selector: Selector, fleet: tuple[Instance, ...] = FLEET) -> list[str]:
    return [i.name for i in matching(fleet, selector)]


@pytest.mark.parametrize(
    ("selector", "meant"),
    [
        (EVERYBODY, ["ecs-web-01", "ecs-web-02", "ecs-db-01", "bms-db-02"]),
        (Selector(), []),
        (Selector(regions=("r1",)), []),
        (Selector(all=True, regions=("r2", "r9")), ["ecs-db-01"]),
        (Selector(all=True, regions=("r1",), zones=("a",)), ["ecs-web-01", "bms-db-02"]),
        (Selector(all=True, enterprise_projects=("shop",)), ["ecs-db-01"]),
        (Selector(all=True, resource_types=(ResourceType.BMS,)), ["bms-db-02"]),
        (Selector(all=True, application_groups=("db",)), ["ecs-db-01", "bms-db-02"]),
        (Selector(all=True, names=("ECS-*-01", "bms-?b-0[2-3]")), ["ecs-web-01", "ecs-db-01", "bms-db-02"]),
        (Selector(all=True, tags=("env",)), ["ecs-web-01", "ecs-web-02"]),
        (Selector(all=True, tags=("env=prod", "tier")), ["ecs-web-01"]),
        (Selector(all=True, tags=("env=",)), []),
        (Selector(all=True, operating_systems=("centos*",)), ["ecs-web-01", "ecs-web-02", "ecs-db-01"]),
        (Selector(all=True, operating_systems=("*eulerOS 2.0",)), ["bms-db-02"]),
        (Selector(instances=("ecs-db-01", "i-ecs-web-01")), ["ecs-web-01", "ecs-db-01"]),
        (Selector(instances=("ecs-db-01", "i-ecs-web-01"), regions=("r2",)), ["ecs-db-01"]),
        (Selector(instances=("ecs-web-01", "i-ecs-web-01")), ["ecs-web-01"]),
        (Selector(instances=("gone", "i-gone")), []),
    ],
)
def test_fields_are_joined_by_and_values_by_or(selector: Selector, meant: list[str]) -> None:
    assert names(selector) == meant


def test_an_instance_cannot_take_anothers_place_by_its_name() -> None:
    impostor = an_instance("i-ecs-web-01", id=InstanceId("i-x"))
    assert [i.id for i in matching((*FLEET, impostor), Selector(instances=("i-ecs-web-01",)))] == ["i-ecs-web-01"]


def test_unknown_references_are_refused_with_what_is_near() -> None:
    with pytest.raises(InvalidArgument) as refused:
        select(FLEET, Selector(instances=("ecs-web-01", "ecs-web-1", "gone", "x" * 5000)), {})
    assert [(v.field, v.description) for v in refused.value.violations] == [
        ("selector.instances[1]", "there is no instance 'ecs-web-1'; did you mean ecs-web-01, ecs-web-02?"),
        ("selector.instances[2]", "there is no instance 'gone'; list them: patchctl instances list"),
        ("selector.instances[3]", f"there is no instance {'x' * 80!r}; list them: patchctl instances list"),
    ]


def test_a_name_that_stands_for_several_is_refused_unless_other_fields_leave_one() -> None:
    fleet = (*FLEET, an_instance("ecs-db-01", id=InstanceId("i-other")))
    with pytest.raises(InvalidArgument) as refused:
        check_references(fleet, Selector(instances=("ecs-db-01",)))
    assert str(refused.value) == (
        "selector.instances[0]: 'ecs-db-01' stands for 2 instances, write an id: i-ecs-db-01, i-other"
    )
    narrowed = Selector(instances=("ecs-db-01",), regions=("r2",))
    check_references(fleet, narrowed)
    assert names(narrowed, fleet) == ["ecs-db-01"]


def test_of_many_wrong_references_ten_are_named() -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_references(FLEET, Selector(instances=tuple(f"no-{n}" for n in range(5000))))
    assert len(refused.value.violations) == 10


def test_every_meant_instance_is_selected_or_not_selectable() -> None:
    presences = {i.id: ONLINE for i in FLEET[:2]} | {FLEET[2].id: Presence(AgentState.OFFLINE, NOW)}
    selection = select(FLEET, EVERYBODY, presences, NOW)
    assert [i.name for i in selection.selected] == ["ecs-web-01", "ecs-web-02"]
    assert [(n.instance.name, n.reason) for n in selection.not_selectable] == [
        ("ecs-db-01", NotSelectableReason.AGENT),
        ("bms-db-02", NotSelectableReason.AGENT),
    ]


UBUNTU = OperatingSystem("ubuntu", "22.04", "", "Ubuntu 22.04", "x86_64")


@pytest.mark.parametrize(
    ("changes", "presence", "reason", "explanation", "help_"),
    [
        (
            {},
            Presence(AgentState.OFFLINE, NOW.replace(hour=12, minute=4)),
            NotSelectableReason.AGENT,
            "UniAgent OFFLINE since 12:04",
            "systemctl start uniagent",
        ),
        (
            {},
            Presence(AgentState.OFFLINE, NOW - timedelta(days=1)),
            NotSelectableReason.AGENT,
            "UniAgent OFFLINE since 2026-11-21 12:40 UTC",
            "systemctl start uniagent",
        ),
        ({}, Presence(AgentState.NONE), NotSelectableReason.AGENT, "UniAgent not installed", "enrolment create"),
        ({}, Presence(AgentState.INSTALLING), NotSelectableReason.AGENT, "UniAgent INSTALLING", "wait"),
        ({}, Presence(AgentState.FAILED), NotSelectableReason.AGENT, "UniAgent FAILED to install", "uniagent doctor"),
        ({}, Presence(AgentState.UNINSTALLED), NotSelectableReason.AGENT, "UniAgent UNINSTALLED", "install it again"),
        (
            {"operating_system": UBUNTU},
            ONLINE,
            NotSelectableReason.OS,
            "OS Ubuntu 22.04 not supported",
            "supported: HCE, EulerOS, CentOS, openEuler, RHEL, Rocky,",
        ),
        (
            {"operating_system": OperatingSystem("alpine", "3.20")},
            Presence(AgentState.OFFLINE),
            NotSelectableReason.OS,
            "OS alpine 3.20 not supported",
            "supported: ",
        ),
        ({"operating_system": OperatingSystem()}, ONLINE, NotSelectableReason.OS, "OS not known yet", "doctor"),
        (
            {"operating_system": OperatingSystem()},
            Presence(AgentState.NONE),
            NotSelectableReason.AGENT,
            "UniAgent not installed",
            "install it",
        ),
        (
            {"stopped": True, "operating_system": UBUNTU},
            Presence(AgentState.OFFLINE, NOW),
            NotSelectableReason.STOPPED,
            "instance is stopped",
            "start the machine",
        ),
    ],
)
def test_who_cannot_be_selected_hears_which_of_the_three_and_what_to_do(
    changes: dict[str, Any], presence: Presence, reason: NotSelectableReason, explanation: str, help_: str
) -> None:
    refused = why_not(an_instance("x", **changes), presence, NOW)
    assert refused is not None
    assert (refused.reason, refused.explanation) == (reason, explanation)
    assert help_ in refused.help


def test_an_online_supported_running_instance_can_be_selected() -> None:
    assert why_not(an_instance("x"), ONLINE) is None


def test_an_instance_nobody_knows_the_presence_of_was_last_seen_or_never_came() -> None:
    selection = select((an_instance("a"), an_instance("b", last_seen_at=None)), EVERYBODY, {}, NOW)
    assert [n.explanation for n in selection.not_selectable] == [
        "UniAgent OFFLINE since 12:40",
        "UniAgent not installed",
    ]


@pytest.mark.bench
def test_selecting_by_references_and_globs_is_linear() -> None:
    def cost(size: int) -> float:
        fleet = tuple(an_instance(f"ecs-{n:06}") for n in range(size))
        references = tuple(f"ecs-{n:06}" for n in range(0, size, 10))
        presences = {i.id: ONLINE for i in fleet}
        began = perf_counter()
        assert len(select(fleet, Selector(instances=references, names=("*a*c*-*",)), presences).selected) == 0
        assert len(select(fleet, Selector(instances=references), presences).selected) == size // 10
        return perf_counter() - began

    small, large = cost(10_000), cost(100_000)
    print(f"selecting a tenth by name: {small:.2f} s of 10,000, {large:.2f} s of 100,000: {large / small:.1f}x")
