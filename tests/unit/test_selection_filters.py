"""The filters of a selector: nested groups, clusters, addresses, agents, compliance, reports, places in life (SEMANTICS §1)."""

from __future__ import annotations

import ipaddress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidArgument
from controller.compliance.status import InstanceStatus
from controller.fleet import groups
from controller.fleet.model import (
    AgentState,
    CmdbEntry,
    Instance,
    Lifecycle,
    NotSelectableReason,
    Presence,
    Quarantine,
    QuarantineCause,
    ResourceType,
    Selector,
    View,
)
from controller.fleet.selection import Answered, Known, asks_answers, matching, select, why_not
from controller.tickets.validate import check_selector
from tests.builders import NOW, an_instance, instance_id

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ONLINE = Presence(AgentState.ONLINE, NOW)
FLEET = (
    an_instance(1, application_group="shop/web/frontend", ip_address="10.0.1.7", last_seen_at=NOW),
    an_instance(2, application_group="shop/web", ip_address="10.0.2.7", last_seen_at=NOW),
    an_instance(3, application_group="shopping", ip_address="fd00::3", last_seen_at=NOW - 20 * DAY, enrolled_at=NOW - 30 * DAY),
    an_instance(
        4,
        application_group="",
        ip_address="",
        resource_type=ResourceType.CCE,
        cluster="cce-prod",
        enrolled=False,
        cmdb=CmdbEntry("c-4", NOW),
    ),
    an_instance(
        5,
        application_group="bank",
        ip_address="10.1.0.1",
        last_seen_at=NOW,
        quarantine=Quarantine(QuarantineCause.MACHINE_ID, NOW, (instance_id(6),)),
        cmdb=CmdbEntry("c-5", NOW, missing_since=NOW),
    ),
)  # fmt: skip
KNOWN = Known(
    presences={instance_id(n): ONLINE for n in (1, 2, 5)},
    answers={
        instance_id(1): Answered(InstanceStatus.COMPLIANT, NOW - HOUR),
        instance_id(2): Answered(InstanceStatus.NON_COMPLIANT, NOW - 30 * HOUR),
        instance_id(5): Answered(InstanceStatus.UNDETERMINED, NOW),
    },
    now=NOW,
)


def meant(**fields: object) -> list[int]:
    selector = Selector(all=True, **fields)  # type: ignore[arg-type]
    numbers = {i.id: n for n, i in enumerate(FLEET, 1)}
    return [numbers[i.id] for i in matching(FLEET, selector, KNOWN)]


@pytest.mark.parametrize(
    ("fields", "numbers"),
    [
        ({"application_groups": ("shop",)}, [1, 2]),
        ({"application_groups": ("shop/web",)}, [1, 2]),
        ({"application_groups": ("shop/web/frontend", "bank")}, [1, 5]),
        ({"application_groups": ("shop/we",)}, []),
        ({"resource_types": (ResourceType.CCE,), "clusters": ("cce-prod", "cce-test")}, [4]),
        ({"clusters": ("cce",)}, []),
        ({"addresses": ("10.0.1.7",)}, [1]),
        ({"addresses": ("10.0.0.0/16", "fd00::/8")}, [1, 2, 3]),
        ({"addresses": ("10.0.2.9/24",)}, [2]),
        ({"agent_states": (AgentState.ONLINE,)}, [1, 2, 5]),
        ({"agent_states": (AgentState.OFFLINE,)}, [3]),
        ({"agent_states": (AgentState.NONE, AgentState.OFFLINE)}, [3, 4]),
        ({"statuses": (InstanceStatus.NON_COMPLIANT,)}, [2]),
        ({"statuses": (InstanceStatus.UNDETERMINED,)}, [3, 4, 5]),
        ({"report_older_than": 26 * HOUR}, [2, 3, 4]),
        ({"report_newer_than": HOUR}, [1, 5]),
        ({"report_newer_than": DAY * 7, "report_older_than": DAY}, [2]),
        ({"lifecycles": (Lifecycle.STALE,)}, [3]),
        ({"lifecycles": (Lifecycle.NOT_ENROLLED, Lifecycle.QUARANTINED)}, [4, 5]),
        ({"lifecycles": (Lifecycle.ACTIVE,)}, [1, 2]),
        ({"view": View.CMDB_RESOURCES}, [4]),
        ({"view": View.APPLICATION_GROUPS}, [1, 2, 3, 5]),
    ],
)
def test_each_filter_means_those_of_whom_it_holds(fields: dict[str, object], numbers: list[int]) -> None:
    assert meant(**fields) == numbers


def test_answers_are_asked_for_only_when_a_filter_needs_them() -> None:
    assert not asks_answers(Selector(all=True, agent_states=(AgentState.ONLINE,), addresses=("10.0.0.1",)))
    for fields in (
        {"statuses": (InstanceStatus.COMPLIANT,)},
        {"report_older_than": HOUR},
        {"report_newer_than": HOUR},
        {"lifecycles": (Lifecycle.STALE,)},
    ):
        assert asks_answers(Selector(all=True, **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"addresses": ("10.0.0.1", "10.0.0.999")}, "selector.addresses[1]", "write 10.0.3.7 or 10.0.0.0/16"),
        ({"application_groups": ("shop//web",)}, "selector.application_groups[0]", "write a path such as shop/web/frontend"),
        ({"application_groups": ("/shop",)}, "selector.application_groups[0]", "empty part"),
        ({"report_older_than": timedelta(0)}, "selector.report_older_than", "allowed 1 second to 10 years"),
        ({"report_newer_than": 4000 * DAY}, "selector.report_newer_than", "allowed 1 second to 10 years"),
        ({"clusters": ("",)}, "selector.clusters[0]", "is empty"),
    ],
)  # fmt: skip
def test_a_wrong_filter_is_named_with_what_is_allowed(fields: dict[str, object], field: str, says: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_selector(Selector(all=True, **fields))  # type: ignore[arg-type]
    (violation,) = refused.value.violations
    assert violation.field == field
    assert says in violation.description


def test_an_instance_in_quarantine_cannot_be_selected_and_hears_what_to_do() -> None:
    refused = why_not(FLEET[4], ONLINE, NOW)
    assert refused is not None
    assert refused.reason is NotSelectableReason.QUARANTINED
    assert "patchctl instances show ecs-0005" in refused.help
    selection = select(FLEET, Selector(all=True), KNOWN.presences, NOW)
    assert [i.id for i in selection.selected] == [instance_id(1), instance_id(2)]


def test_an_instance_that_only_the_cmdb_knows_has_no_agent_and_hears_how_to_install_it() -> None:
    selection = select(FLEET, Selector(instances=("ecs-0004",)), {}, NOW)
    (refused,) = selection.not_selectable
    assert (refused.reason, refused.explanation) == (NotSelectableReason.AGENT, "UniAgent not installed")
    assert "patchctl enrolment create" in refused.help


@pytest.mark.parametrize("said", [AgentState.INSTALLING, AgentState.FAILED, AgentState.UNINSTALLED])
def test_what_was_said_of_an_agent_that_is_away_is_its_state(said: AgentState) -> None:
    fleet = (an_instance(1, agent_said=said, last_seen_at=NOW),)
    assert len(matching(fleet, Selector(all=True, agent_states=(said,)))) == 1


paths = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=4).map("/".join)


@given(st.lists(paths, max_size=6), paths)
def test_a_group_means_itself_and_exactly_what_is_below_it(all_paths: list[str], wanted: str) -> None:
    for path in all_paths:
        below = bool(wanted) and (path == wanted or path.startswith(f"{wanted}/"))
        assert groups.stands_in(path, [wanted]) == below
        assert groups.lineage(path) == tuple(
            "/".join(path.split("/")[:end]) for end in range(len(path.split("/")) if path else 0, 0, -1)
        )


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 128))
def test_a_network_means_exactly_the_addresses_in_it(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    other: ipaddress.IPv4Address | ipaddress.IPv6Address,
    bits: int,
) -> None:
    network = ipaddress.ip_network(f"{other}/{min(bits, other.max_prefixlen)}", strict=False)
    fleet: tuple[Instance, ...] = (an_instance(1, ip_address=str(address)),)
    found = matching(fleet, Selector(all=True, addresses=(f"{other}/{network.prefixlen}",)))
    assert bool(found) == (address.version == network.version and address in network)
