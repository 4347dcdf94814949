"""Who is meant by a selector, and who of them can be selected for a ticket (SEMANTICS §1, UniAgent state).

An instance can be selected when its UniAgent is ONLINE, its OS is supported, and it is not stopped.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from common.errors import InvalidArgument, Violation
from controller.fleet.model import (
    AgentState,
    Instance,
    InstanceId,
    NotSelectableReason,
    OperatingSystem,
    Presence,
    Selector,
)
from controller.fleet.products import SUPPORTED

_MAX_VIOLATIONS: Final = 10  # they travel in a response header, which has room for a few thousand bytes
_MAX_SUGGESTED: Final = 3
_MAX_COMPARED: Final = 2000  # likeness is dear: it is asked of so many names at most
_AGENT: Final[Mapping[AgentState, tuple[str, str]]] = {
    AgentState.NONE: ("UniAgent not installed", "install it: patchctl tokens create, then uniagent on the host"),
    AgentState.OFFLINE: ("UniAgent OFFLINE", "start it: systemctl start uniagent"),
    AgentState.INSTALLING: ("UniAgent INSTALLING", "wait until it is installed"),
    AgentState.FAILED: ("UniAgent FAILED to install", "see what is wrong: uniagent doctor"),
    AgentState.UNINSTALLED: (
        "UniAgent UNINSTALLED",
        "install it again: patchctl tokens create, then uniagent on the host",
    ),
}


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


def select(
    instances: Sequence[Instance],
    selector: Selector,
    presences: Mapping[InstanceId, Presence],
    now: datetime | None = None,
) -> Selection:
    """Return who is meant, and who of them can be selected. An instance without presence counts as not connected.

    Raise InvalidArgument when the selector names an instance that there is not, or a name that stands for several.
    """
    check_references(instances, selector)
    selected, not_selectable = list[Instance](), list[NotSelectable]()
    for instance in matching(instances, selector):
        presence = presences.get(instance.id) or _absent(instance)
        if (refused := why_not(instance, presence, now)) is not None:
            not_selectable.append(refused)
        else:
            selected.append(instance)
    return Selection(tuple(selected), tuple(not_selectable))


def matching(instances: Iterable[Instance], selector: Selector) -> tuple[Instance, ...]:
    """Return who is meant, whether it can be selected or not, in the order given; forgotten instances never are.

    Without `instances` and without `all` nobody is meant. References to nobody are passed over (see `check_references`).
    """
    if not selector.instances and not selector.all:
        return ()
    meant = _test(selector)
    candidates = (i for i in instances if i.deleted_at is None)
    if not selector.instances:
        return tuple(i for i in candidates if meant(i))
    named = frozenset(selector.instances)
    found = [i for i in candidates if i.id in named or i.name in named]
    taken = {i.id for i in found}  # an id means its instance, whatever others are called
    return tuple(i for i in found if (i.id in named or i.name not in taken) and meant(i))


def check_references(instances: Sequence[Instance], selector: Selector) -> None:
    """Raise InvalidArgument for each reference that means no instance, or several of those that the other fields leave."""
    if not selector.instances:
        return
    wanted, meant = frozenset(selector.instances), _test(selector)
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


def _absent(instance: Instance) -> Presence:
    if instance.last_seen_at is None:
        return Presence(AgentState.NONE)
    return Presence(AgentState.OFFLINE, instance.last_seen_at)


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


def _test(selector: Selector) -> Callable[[Instance], bool]:
    """Return what says whether the fields other than `instances` hold of an instance."""
    projects, regions = frozenset(selector.enterprise_projects), frozenset(selector.regions)
    zones, types = frozenset(selector.zones), frozenset(selector.resource_types)
    groups = frozenset(selector.application_groups)
    names, systems = _globs(selector.names), _globs(selector.operating_systems)
    tags = [tag.partition("=") for tag in selector.tags]

    def meant(instance: Instance) -> bool:
        return (
            (not projects or instance.enterprise_project in projects)
            and (not regions or instance.region in regions)
            and (not zones or instance.zone in zones)
            and (not types or instance.resource_type in types)
            and (not groups or instance.application_group in groups)
            and (names is None or names.match(instance.name.lower()) is not None)
            and (systems is None or systems.match(instance.operating_system.product.lower()) is not None)
            and all(instance.tags.get(key) == value if equals else key in instance.tags for key, equals, value in tags)
        )

    return meant


def _globs(patterns: Sequence[str]) -> re.Pattern[str] | None:
    if not patterns:
        return None
    return re.compile("|".join(f"(?:{fnmatch.translate(pattern.lower())})" for pattern in patterns))
