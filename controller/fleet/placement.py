"""Where an instance stands in the fleet: who may say it, what may be said, and what holds when nobody says anything.

The enrolment token wins over the agent's own settings, and what the token or an operator set stays set (Instance.edited).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final

from common.errors import InvalidArgument, Violation
from controller.fleet.groups import wrong_with
from controller.fleet.model import DEFAULT_ACCOUNT, Instance, InstanceId, OperatingSystem, Placement, ResourceType

FIELDS: Final = (
    "name",
    "region",
    "zone",
    "enterprise_project",
    "resource_type",
    "application_group",
    "cluster",
    "tags",
)
DEFAULT_PROJECT: Final = "default"
MAX_TEXT: Final = 64
MAX_GROUP: Final = 256
"""Characters of an application group: a path, e.g. shop/web/frontend."""
MAX_TAGS: Final = 50
MAX_TAG_KEY: Final = 36
MAX_TAG_VALUE: Final = 255
_FEW: Final = 5


def violations(placement: Placement, prefix: str = "placement") -> tuple[Violation, ...]:
    """Return everything that is wrong with a placement, by field under `prefix`; an empty field is not said, and fine."""
    return tuple(_violations(placement, f"{prefix}." if prefix else ""))


def check(placement: Placement, prefix: str = "placement") -> None:
    """Raise InvalidArgument with everything that is wrong with a placement."""
    if wrong := violations(placement, prefix):
        raise InvalidArgument(wrong)


def said(placement: Placement) -> frozenset[str]:
    """Return the names of the fields that a placement says."""
    return frozenset(field for field in FIELDS if getattr(placement, field))


def merge(token: Placement, agent: Placement, hostname: str = "") -> Placement:
    """Return where a new instance stands: what the token says, else the agent, else the defaults.

    Tags of both are joined; of a key in both the token's value counts.
    """
    return Placement(
        name=token.name or agent.name or hostname,
        region=token.region or agent.region,
        zone=token.zone or agent.zone,
        enterprise_project=token.enterprise_project or agent.enterprise_project or DEFAULT_PROJECT,
        resource_type=token.resource_type or agent.resource_type or ResourceType.ECS.value,
        application_group=token.application_group or agent.application_group,
        cluster=token.cluster or agent.cluster,
        tags={**agent.tags, **token.tags},
    )


def placed(
    instance_id: InstanceId,
    token: Placement,
    agent: Placement,
    now: datetime,
    hostname: str = "",
    account: str = DEFAULT_ACCOUNT,
) -> Instance:
    """Return the new instance of an agent that enrols; without any name it is called by its id.

    What the token says is marked as edited. Raise InvalidArgument for what the agent says wrongly.
    """
    check(agent)
    merged = merge(token, agent, hostname)
    if wrong := violations(replace(merged, name=merged.name or instance_id)):
        raise InvalidArgument(wrong)
    return Instance(
        id=instance_id,
        name=merged.name or instance_id,
        enterprise_project=merged.enterprise_project,
        region=merged.region,
        zone=merged.zone,
        resource_type=ResourceType(merged.resource_type),
        application_group=merged.application_group,
        cluster=merged.cluster,
        enrolled_at=now,
        tags=merged.tags,
        edited=said(token),
        account=account,
    )


def apply_hello(
    instance: Instance,
    placement: Placement,
    operating_system: OperatingSystem,
    ip_address: str,
    agent_version: str,
) -> Instance:
    """Return the instance as its agent describes it now; fields in `edited`, those that the CMDB set, and those it does not say stay.

    Raise InvalidArgument for what the agent says wrongly.
    """
    check(placement)
    changed = replace(instance, operating_system=operating_system, ip_address=ip_address, agent_version=agent_version)
    settled = instance.edited | (instance.cmdb.fields if instance.cmdb is not None else frozenset())
    return _put(changed, placement, said(placement) - settled)


def _put(instance: Instance, placement: Placement, fields: Collection[str]) -> Instance:
    return replace(
        instance,
        name=placement.name if "name" in fields else instance.name,
        region=placement.region if "region" in fields else instance.region,
        zone=placement.zone if "zone" in fields else instance.zone,
        enterprise_project=(
            placement.enterprise_project if "enterprise_project" in fields else instance.enterprise_project
        ),
        resource_type=(ResourceType(placement.resource_type) if "resource_type" in fields else instance.resource_type),
        application_group=(
            placement.application_group if "application_group" in fields else instance.application_group
        ),
        cluster=placement.cluster if "cluster" in fields else instance.cluster,
        tags=dict(placement.tags) if "tags" in fields else instance.tags,
    )


def _violations(placement: Placement, prefix: str) -> Iterator[Violation]:
    for field in ("name", "region", "zone", "enterprise_project", "application_group", "cluster"):
        most = MAX_GROUP if field == "application_group" else MAX_TEXT
        if (wrong := _text(getattr(placement, field), most)) is not None:
            yield Violation(f"{prefix}{field}", wrong)
    if (wrong := wrong_with(placement.application_group)) is not None:
        yield Violation(f"{prefix}application_group", wrong)
    kind = placement.resource_type
    if kind and kind not in ResourceType.__members__:
        yield Violation(f"{prefix}resource_type", f"{kind[:80]!r} is not one of {', '.join(ResourceType)}")
    if len(placement.tags) > MAX_TAGS:
        yield Violation(f"{prefix}tags", f"has {len(placement.tags)} tags, allowed are {MAX_TAGS}")
        return
    bad = [found for key, value in placement.tags.items() for found in _tag(prefix, key, value)]
    yield from bad[:_FEW]


def _tag(prefix: str, key: str, value: str) -> Iterator[Violation]:
    field = f"{prefix}tags[{key[:MAX_TAG_KEY]!a}]"
    if not key:
        yield Violation(field, f"its key is empty, allowed are 1 to {MAX_TAG_KEY} characters")
    elif "=" in key:
        yield Violation(field, "its key has a =, which selectors put between key and value")
    elif (wrong := _text(key, MAX_TAG_KEY)) is not None:
        yield Violation(field, f"its key {wrong}")
    if (wrong := _text(value, MAX_TAG_VALUE)) is not None:
        yield Violation(field, f"its value {wrong}")


def _text(value: str, most: int) -> str | None:
    if len(value) > most:
        return f"has {len(value)} characters, allowed are {most}"
    if not value.isprintable():
        return "has characters that cannot be printed"
    if value != value.strip():
        return "begins or ends with a space"
    return None
