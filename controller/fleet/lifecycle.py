"""Where an instance is in its life, and what operators may do about it. Pure.

RETIRED and DELETED are what an operator said, QUARANTINED what detection found (clones.py), REPLACED what an enrolment on the same host
said; NOT_ENROLLED comes from the CMDB, and STALE from the clock.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from common.errors import Rejected
from controller.fleet.model import AgentState, Instance, InstanceId, Lifecycle, Presence, Quarantine, QuarantineCause

STALE_AFTER: Final = timedelta(days=14)
"""Without a setting: so long without stream and report makes an instance STALE."""


def of(
    instance: Instance,
    presence: Presence,
    reported_at: datetime | None,
    now: datetime,
    stale_after: timedelta = STALE_AFTER,
) -> Lifecycle:
    """Return where an instance is in its life. Of several the one that an operator should look at first."""
    if instance.retired_at is not None:
        return Lifecycle.RETIRED
    if instance.quarantined:
        return Lifecycle.QUARANTINED
    if not instance.enrolled:
        return Lifecycle.NOT_ENROLLED
    if presence.state is AgentState.ONLINE:
        return Lifecycle.ACTIVE
    if instance.replaced_by is not None:
        return Lifecycle.REPLACED
    return Lifecycle.STALE if now - last_sign(instance, reported_at) > stale_after else Lifecycle.ACTIVE


def last_sign(instance: Instance, reported_at: datetime | None) -> datetime:
    """Return when an instance last gave a sign of life: its stream, its report, or its enrolment."""
    return max(filter(None, (instance.enrolled_at, instance.last_seen_at, reported_at)))


def retired(instance: Instance, by: str, at: datetime, replaced_by: InstanceId | None = None) -> Instance:
    """Return the instance as it is once an operator has taken it out of the fleet; one that is out stays so."""
    if instance.retired_at is not None:
        return instance
    return replace(instance, retired_at=at, retired_by=by, replaced_by=replaced_by or instance.replaced_by)


def restored(instance: Instance) -> Instance:
    """Return the instance as it is once an operator has taken it back; raise Rejected when it was not retired."""
    if instance.retired_at is None:
        raise Rejected(f"{instance.name} is not retired; those that are: patchctl instances list --lifecycle retired")
    return replace(instance, retired_at=None, retired_by="", replaced_by=None)


def released(instance: Instance, by: str, at: datetime) -> Instance:
    """Return the instance as it is once an operator has ended its quarantine; raise Rejected when it is in none."""
    if instance.quarantine is None or not instance.quarantined:
        raise Rejected(
            f"{instance.name} is not in quarantine; those that are: patchctl instances list --lifecycle quarantined"
        )
    return replace(instance, quarantine=replace(instance.quarantine, released_at=at, released_by=by))


def merged(kept: Instance, old: Instance) -> Instance:
    """Return the instance that is kept once it has taken over what people said about the old one.

    That is where an operator, a token or the CMDB put it, unless the kept one was put somewhere itself; tags of both are joined, and of a
    key in both the kept one's value counts. Raise Rejected when they cannot be one host.
    """
    if kept.id == old.id:
        raise Rejected(f"{kept.name} cannot be merged into itself; name the instance that takes over with --into")
    if not kept.enrolled and old.enrolled:
        raise Rejected(f"{kept.name} has no agent, and {old.name} had one; merge the other way round")
    if kept.quarantined or old.quarantined:
        name = kept.name if kept.quarantined else old.name
        raise Rejected(f"{name} is in quarantine; mend it and release it first: patchctl instances release {name}")
    told = old.edited | (old.cmdb.fields if old.cmdb is not None else frozenset())
    own = kept.edited | (kept.cmdb.fields if kept.cmdb is not None else frozenset())
    taken = {field: getattr(old, field) for field in sorted(told - own - {"tags", "stopped"})}
    return replace(
        kept,
        **taken,
        tags={**old.tags, **kept.tags} if "tags" in told else kept.tags,
        edited=kept.edited | (old.edited - own),
        cmdb=kept.cmdb or old.cmdb,
    )


def how_to_mend(quarantine: Quarantine, name: str) -> tuple[str, ...]:
    """Return what to do about a quarantine, one step a sentence."""
    release = f"Then let it back in: patchctl instances release {name}"
    if quarantine.cause is QuarantineCause.AGENT_KEY:
        return (
            "Find the host whose agent's state was copied (the addresses say where both are).",
            "On the copy: systemctl stop uniagent; rm -r /var/lib/uniagent; give it a token: patchctl enrolment create; start uniagent.",
            release,
        )
    return (
        "On each copy: rm /etc/machine-id; systemd-machine-id-setup; systemctl restart uniagent.",
        "In the image that they were made from: truncate -s 0 /etc/machine-id, so that each copy makes its own.",
        release,
    )
