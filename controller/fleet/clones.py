"""Whether two hosts speak as one (SEMANTICS §3): decided by what was seen of them, purely.

A host keeps its boot_id until it restarts and never has it again. So of one machine id, or of one agent's key, the boots follow each other:
A, then B, then C. A, B, A means two hosts: one copied from the other. A host that enrols again, even after a restart, is no clone: the
instance that it was before never speaks again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from controller.fleet.model import InstanceId, QuarantineCause

MOST_KEPT: Final = 8
"""Boots of an instance that are remembered: the newest."""


@dataclass(frozen=True, slots=True)
class Observation:
    """An agent spoke."""

    instance_id: InstanceId
    machine_id: str
    boot_id: str
    address: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Sighting:
    """All observations of one instance on one boot of one machine."""

    instance_id: InstanceId
    machine_id: str
    boot_id: str
    address: str
    """The last one."""
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Clones:
    """Several hosts that speak as one."""

    cause: QuarantineCause
    instances: tuple[InstanceId, ...]
    """All that are concerned, in order."""
    addresses: tuple[str, ...]
    """From where they spoke, in order."""


def noted(sightings: Sequence[Sighting], seen: Observation) -> tuple[Sighting, ...]:
    """Return an instance's sightings with one observation more: the newest MOST_KEPT, the latest last."""
    same = [s for s in sightings if (s.machine_id, s.boot_id) == (seen.machine_id, seen.boot_id)]
    others = [s for s in sightings if s not in same]
    now = (
        replace(
            same[0],
            address=seen.address,
            first_at=min(same[0].first_at, seen.at),
            last_at=max(same[0].last_at, seen.at),
        )
        if same
        else Sighting(seen.instance_id, seen.machine_id, seen.boot_id, seen.address, seen.at, seen.at)
    )
    return tuple(sorted((*others, now), key=lambda s: s.last_at)[-MOST_KEPT:])


def sightings_of(observations: Iterable[Observation]) -> tuple[Sighting, ...]:
    """Return what a sequence of observations amounts to; those without a boot id say nothing and are left out."""
    found = dict[InstanceId, tuple[Sighting, ...]]()
    for seen in observations:
        if seen.boot_id:
            found[seen.instance_id] = noted(found.get(seen.instance_id, ()), seen)
    return tuple(sighting for each in found.values() for sighting in each)


def verdicts(observations: Iterable[Observation]) -> tuple[Clones, ...]:
    """Return the clones that a sequence of observations shows."""
    return clones(sightings_of(observations))


def clones(sightings: Iterable[Sighting]) -> tuple[Clones, ...]:
    """Return all clones among these sightings: one for each agent's key and for each machine id that several hosts have."""
    by_key, by_machine = defaultdict[InstanceId, list[Sighting]](list), defaultdict[str, list[Sighting]](list)
    for sighting in sightings:
        by_key[sighting.instance_id].append(sighting)
        if sighting.machine_id:
            by_machine[sighting.machine_id].append(sighting)
    found = [
        _clones(QuarantineCause.AGENT_KEY, twins)
        for _, group in sorted(by_key.items())
        if (twins := [s for s in group if any(alternate(s, other) for other in group)])
    ]
    found += [
        _clones(QuarantineCause.MACHINE_ID, twins)
        for _, group in sorted(by_machine.items())
        if (twins := [s for s in group if any(_are_two(s, other) for other in group)])
    ]
    return tuple(found)


def alternate(one: Sighting, other: Sighting) -> bool:
    """Say whether two boots are of two hosts: the one that began first was heard again after the other had begun."""
    if one.boot_id == other.boot_id:
        return False
    first, second = sorted((one, other), key=lambda s: (s.first_at, s.last_at))
    return first.last_at > second.first_at


def _are_two(one: Sighting, other: Sighting) -> bool:
    return one.instance_id != other.instance_id and alternate(one, other)


def _clones(cause: QuarantineCause, twins: Iterable[Sighting]) -> Clones:
    group = list(twins)
    return Clones(
        cause,
        tuple(sorted({s.instance_id for s in group})),
        tuple(sorted({s.address for s in group if s.address})),
    )
