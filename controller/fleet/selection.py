"""Who is meant by a selector, and who of them can be selected for a ticket (SEMANTICS §1, UniAgent state).

An instance can be selected when its UniAgent is ONLINE, its OS is supported, and it is not stopped.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import islice
from typing import Final

from common.errors import InvalidArgument, Violation
from controller.compliance.status import InstanceStatus
from controller.fleet import lifecycle
from controller.fleet.groups import stands_in
from controller.fleet.model import (
    AgentState,
    Instance,
    InstanceId,
    NotSelectableReason,
    OperatingSystem,
    Presence,
    Selector,
    View,
)
from controller.fleet.products import SUPPORTED

_MAX_VIOLATIONS: Final = 10  # they travel in a response header, which has room for a few thousand bytes
_MAX_SUGGESTED: Final = 3
_MAX_COMPARED: Final = 2000  # likeness is dear: it is asked of so many names at most
_AGENT: Final[Mapping[AgentState, tuple[str, str]]] = {
    AgentState.NONE: ("UniAgent not installed", "install it: patchctl enrolment create, then uniagent on the host"),
    AgentState.OFFLINE: ("UniAgent OFFLINE", "start it: systemctl start uniagent"),
    AgentState.INSTALLING: ("UniAgent INSTALLING", "wait until it is installed"),
    AgentState.FAILED: ("UniAgent FAILED to install", "see what is wrong: uniagent doctor"),
    AgentState.UNINSTALLED: (
        "UniAgent UNINSTALLED",
        "install it again: patchctl enrolment create, then uniagent on the host",
    ),
}


_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Answered:
    """What is known of an instance's compliance."""

    status: InstanceStatus
    reported_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of instances besides what they are; what a selector does not ask may be left out (see `asks_answers`)."""

    presences: Mapping[InstanceId, Presence] = field(default_factory=dict)
    """An instance without one counts as not connected."""
    answers: Mapping[InstanceId, Answered] = field(default_factory=dict)
    """An instance without one is UNDETERMINED and has never reported."""
    now: datetime = _NEVER
    stale_after: timedelta = lifecycle.STALE_AFTER

    def presence(self, instance: Instance) -> Presence:
        """Say where an instance's agent is."""
        return self.presences.get(instance.id) or absent(instance)

    def answer(self, instance: Instance) -> Answered:
        """Say what is known of its compliance."""
        return self.answers.get(instance.id, _UNKNOWN)


_UNKNOWN: Final = Answered(InstanceStatus.UNDETERMINED)
_NOTHING: Final = Known()


@dataclass(frozen=True, slots=True)
class NotSelectable:
    """An instance that is meant but cannot be selected: which condition does not hold, and what to do."""

    instance: Instance
    reason: NotSelectableReason
    explanation: str
    """What is the matter, e.g. "UniAgent OFFLINE since 12:04"."""
    help: str
    """What to do, e.g. "start it: systemctl start uniagent"."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Who is meant, in the order of the fleet: each instance once, in one of the two."""

    selected: tuple[Instance, ...]
    not_selectable: tuple[NotSelectable, ...]


def asks_answers(selector: Selector) -> bool:
    """Say whether a selector can be followed only with answers: it asks for compliance, reports, or places in life."""
    return bool(selector.statuses or selector.report_older_than or selector.report_newer_than or selector.lifecycles)


def select(
    instances: Sequence[Instance],
    selector: Selector,
    presences: Mapping[InstanceId, Presence],
    now: datetime | None = None,
    known: Known | None = None,
    *,
    offline_too: bool = False,
) -> Selection:
    """Return who is meant, and who of them can be selected. An instance without presence counts as not connected.

    With `offline_too` an agent that is OFFLINE is no reason against an instance: somebody will wait for it.

    `known` is what the selector's fields are held against; without it that is the presences only.

    Raise InvalidArgument when the selector names an instance that there is not, or a name that stands for several.
    """
    facts = known or Known(presences, now=now or _NOTHING.now)
    check_references(instances, selector, facts)
    selected, not_selectable = list[Instance](), list[NotSelectable]()
    for instance in matching(instances, selector, facts):
        presence = presences.get(instance.id) or absent(instance)
        if offline_too and presence.state is AgentState.OFFLINE:
            presence = Presence(AgentState.ONLINE, presence.since)
        if (refused := why_not(instance, presence, now)) is not None:
            not_selectable.append(refused)
        else:
            selected.append(instance)
    return Selection(tuple(selected), tuple(not_selectable))


def matching(instances: Iterable[Instance], selector: Selector, known: Known = _NOTHING) -> tuple[Instance, ...]:
    """Return who is meant, whether it can be selected or not, in the order given; forgotten instances never are.

    Without `instances` and without `all` nobody is meant. References to nobody are passed over (see `check_references`).
    """
    if not selector.instances and not selector.all:
        return ()
    meant = _test(selector, known)
    candidates = (i for i in instances if i.deleted_at is None)
    if not selector.instances:
        return tuple(i for i in candidates if meant(i))
    named = frozenset(selector.instances)
    found = [i for i in candidates if i.id in named or i.name in named]
    taken = {i.id for i in found}  # an id means its instance, whatever others are called
    return tuple(i for i in found if (i.id in named or i.name not in taken) and meant(i))


def check_references(instances: Sequence[Instance], selector: Selector, known: Known = _NOTHING) -> None:
    """Raise InvalidArgument for each reference that means no instance, or several of those that the other fields leave."""
    if not selector.instances:
        return
    wanted, meant = frozenset(selector.instances), _test(selector, known)
    ids, names = set[str](), dict[str, list[Instance]]()
    for instance in instances:
        if instance.deleted_at is None:
            if instance.id in wanted:
                ids.add(instance.id)
            if instance.name in wanted:
                names.setdefault(instance.name, []).append(instance)
    wrong = list[Violation]()
    for place, reference in enumerate(selector.instances):
        if reference in ids:
            continue
        several = [i.id for i in names.get(reference, ()) if meant(i)]
        if reference not in names:
            wrong.append(Violation(f"selector.instances[{place}]", _unknown(reference, instances)))
        elif len(several) > 1:
            some = ", ".join(several[:_MAX_SUGGESTED]) + (", ..." if len(several) > _MAX_SUGGESTED else "")
            wrong.append(
                Violation(
                    f"selector.instances[{place}]",
                    f"{reference[:80]!r} stands for {len(several)} instances, write an id: {some}",
                )
            )
        if len(wrong) == _MAX_VIOLATIONS:
            break
    if wrong:
        raise InvalidArgument(tuple(wrong))


def why_not(instance: Instance, presence: Presence, now: datetime | None = None) -> NotSelectable | None:
    """Say why an instance cannot be selected, None when it can.

    Of several reasons the one to mend first: a stopped machine has no agent, and an OS that is not supported never will do.
    `now` lets times of the same day be said without the date.
    """
    system = instance.operating_system
    known = bool(system.id or system.pretty_name)
    if instance.quarantined:
        return NotSelectable(
            instance,
            NotSelectableReason.QUARANTINED,
            "instance is in quarantine: two hosts speak as one",
            f"see how to mend it: patchctl instances show {instance.name}",
        )
    if instance.stopped:
        return NotSelectable(
            instance,
            NotSelectableReason.STOPPED,
            "instance is stopped",
            "start the machine, then mark it as running",
        )
    if known and not system.product:
        return NotSelectable(instance, NotSelectableReason.OS, f"OS {_called(system)} not supported", SUPPORTED)
    if presence.state is not AgentState.ONLINE:
        what, help_ = _AGENT[presence.state]
        return NotSelectable(instance, NotSelectableReason.AGENT, what + _since(presence.since, now), help_)
    if not known:
        return NotSelectable(
            instance, NotSelectableReason.OS, "OS not known yet", "see what the host says: uniagent doctor"
        )
    return None


def absent(instance: Instance, since: datetime | None = None) -> Presence:
    """Say where the agent of an instance is that is not connected; `since` is when it went away, if that is known better."""
    if instance.agent_said is not AgentState.NONE:
        return Presence(instance.agent_said, instance.last_seen_at if instance.enrolled else None)
    at = since or instance.last_seen_at
    return Presence(AgentState.NONE) if at is None or not instance.enrolled else Presence(AgentState.OFFLINE, at)


def _since(at: datetime | None, now: datetime | None) -> str:
    if at is None:
        return ""
    if now is not None and at.date() == now.date():
        return f" since {at:%H:%M}"
    return f" since {at:%Y-%m-%d %H:%M} UTC"


def _called(system: OperatingSystem) -> str:
    return system.pretty_name or " ".join(filter(None, (system.id, system.version)))


def _unknown(reference: str, instances: Sequence[Instance]) -> str:
    begin = reference[:2].lower()
    like = (i.name for i in instances if i.deleted_at is None and i.name[:2].lower() == begin)
    near = difflib.get_close_matches(reference[:256], islice(like, _MAX_COMPARED), _MAX_SUGGESTED, 0.8)
    hint = f"did you mean {', '.join(dict.fromkeys(near))}?" if near else "list them: patchctl instances list"
    return f"there is no instance {reference[:80]!r}; {hint}"


_Test = Callable[[Instance], bool]
_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network


def _test(selector: Selector, known: Known) -> _Test:
    """Return what says whether the fields other than `instances` hold of an instance."""
    tests = (*_tests_of_itself(selector), *_tests_of_what_is_known(selector, known))

    def meant(instance: Instance) -> bool:
        return all(test(instance) for test in tests)

    return meant


def _tests_of_itself(selector: Selector) -> list[_Test]:
    """One test for each field that is said: of what an instance is."""
    tests = list[_Test]()
    if accounts := frozenset(selector.accounts):
        tests.append(lambda i: i.account in accounts)
    if projects := frozenset(selector.enterprise_projects):
        tests.append(lambda i: i.enterprise_project in projects)
    if regions := frozenset(selector.regions):
        tests.append(lambda i: i.region in regions)
    if zones := frozenset(selector.zones):
        tests.append(lambda i: i.zone in zones)
    if types := frozenset(selector.resource_types):
        tests.append(lambda i: i.resource_type in types)
    if clusters := frozenset(selector.clusters):
        tests.append(lambda i: i.cluster in clusters)
    if groups := frozenset(selector.application_groups):
        tests.append(lambda i: stands_in(i.application_group, groups))
    if (names := _globs(selector.names)) is not None:
        tests.append(lambda i: names.match(i.name.lower()) is not None)
    if (systems := _globs(selector.operating_systems)) is not None:
        tests.append(lambda i: systems.match(i.operating_system.product.lower()) is not None)
    if tags := [tag.partition("=") for tag in selector.tags]:
        tests.append(lambda i: all(i.tags.get(key) == value if eq else key in i.tags for key, eq, value in tags))
    if selector.addresses:
        tests.append(_stands_at(selector.addresses))
    if selector.view is View.CMDB_RESOURCES:
        tests.append(lambda i: i.cmdb is not None and i.cmdb.missing_since is None)
    elif selector.view is View.APPLICATION_GROUPS:
        tests.append(lambda i: i.application_group != "")
    return tests


def _tests_of_what_is_known(selector: Selector, known: Known) -> list[_Test]:
    """One test for each field that is said: of where its agent is, and of its answer."""
    tests, now = list[_Test](), known.now
    if states := frozenset(selector.agent_states):
        tests.append(lambda i: known.presence(i).state in states)
    if statuses := frozenset(selector.statuses):
        tests.append(lambda i: known.answer(i).status in statuses)
    if (older := selector.report_older_than) is not None:
        tests.append(lambda i: (at := known.answer(i).reported_at) is None or now - at > older)
    if (newer := selector.report_newer_than) is not None:
        tests.append(lambda i: (at := known.answer(i).reported_at) is not None and now - at <= newer)
    if lifecycles := frozenset(selector.lifecycles):

        def is_there(i: Instance) -> bool:
            place = lifecycle.of(i, known.presence(i), known.answer(i).reported_at, now, known.stale_after)
            return place in lifecycles

        tests.append(is_there)
    return tests


def read_network(text: str) -> _Network | None:
    """Read an IP address or a network in CIDR form, "10.0.3.7" or "10.0.0.0/16"; None when it is neither.

    Bits behind the prefix are allowed: "10.0.3.7/16" means the network in which that address is.
    """
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _stands_at(addresses: Sequence[str]) -> _Test:
    networks = [network for text in addresses if (network := read_network(text)) is not None]
    exact = frozenset(n.network_address for n in networks if n.prefixlen == n.max_prefixlen)
    wide = [n for n in networks if n.prefixlen < n.max_prefixlen]

    def stands(instance: Instance) -> bool:
        address = _address(instance.ip_address)
        return address is not None and (address in exact or any(address in network for network in wide))

    return stands


@lru_cache(maxsize=1 << 17)
def _address(text: str) -> _Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _globs(patterns: Sequence[str]) -> re.Pattern[str] | None:
    if not patterns:
        return None
    return re.compile("|".join(f"(?:{fnmatch.translate(pattern.lower())})" for pattern in patterns))
