"""Instances, selectors, placements and enrolment tokens: messages to records and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, Literal

from common.pb.v1 import agent_pb2, fleet_pb2, types_pb2
from controller.api.checks import Checks
from controller.api.translate import (
    AGENT_STATE,
    INSTANCE_STATUS,
    LEVEL,
    LIFECYCLE,
    NOT_SELECTABLE,
    QUARANTINE_CAUSE,
    REASON,
    RESOURCE_TYPE,
    VIEW,
    duration,
    read_length,
    timestamp,
)
from controller.compliance.model import Assessment
from controller.fleet.lifecycle import how_to_mend
from controller.fleet.model import (
    CmdbEntry,
    EnrolmentToken,
    Instance,
    Lifecycle,
    NotSelectableReason,
    OperatingSystem,
    Placement,
    Presence,
    Quarantine,
    ResourceType,
    Selector,
)
from controller.fleet.placement import violations
from controller.tickets.validate import check_selector

EDITABLE: Final = (
    "name",
    "enterprise_project",
    "region",
    "zone",
    "resource_type",
    "application_group",
    "cluster",
    "tags",
    "stopped",
)
"""What UpdateInstance may change: the paths of its mask."""
_NEVER_EMPTY: Final = ("name", "enterprise_project")


def selector(sent: fleet_pb2.Selector, checks: Checks) -> Selector:
    """Read a selector; unknown resource types are noted, the rest is for tickets/validate.py to check."""
    return Selector(
        instances=tuple(dict.fromkeys(sent.instances)),
        all=sent.all,
        enterprise_projects=tuple(sent.enterprise_projects),
        regions=tuple(sent.regions),
        zones=tuple(sent.zones),
        resource_types=RESOURCE_TYPE.read_all(checks, "selector.resource_types", sent.resource_types),
        application_groups=tuple(sent.application_groups),
        names=tuple(sent.names),
        tags=tuple(sent.tags),
        operating_systems=tuple(sent.operating_systems),
        clusters=tuple(sent.clusters),
        addresses=tuple(sent.addresses),
        agent_states=AGENT_STATE.read_all(checks, "selector.agent_states", sent.agent_states, zero=True),
        statuses=INSTANCE_STATUS.read_all(checks, "selector.statuses", sent.statuses),
        report_older_than=_length(checks, sent, "report_older_than"),
        report_newer_than=_length(checks, sent, "report_newer_than"),
        lifecycles=LIFECYCLE.read_all(checks, "selector.lifecycles", sent.lifecycles),
        view=VIEW.read_optional(checks, "selector.view", sent.view),
        accounts=tuple(sent.accounts),
    )


def _length(
    checks: Checks, sent: fleet_pb2.Selector, field: Literal["report_older_than", "report_newer_than"]
) -> timedelta | None:
    return read_length(checks, f"selector.{field}", getattr(sent, field) if sent.HasField(field) else None)


def filter_selector(sent: fleet_pb2.Selector | None, checks: Checks) -> Selector:
    """Read and check the selector of a list; an absent one, or one that names no instances, means all that match."""
    read = selector(sent, checks) if sent is not None else Selector()
    if not read.instances:
        read = replace(read, all=True)
    with checks.part(""):
        check_selector(read)
    return read


def selector_message(read: Selector) -> fleet_pb2.Selector:
    """Return a selector as a message."""
    return fleet_pb2.Selector(
        instances=read.instances,
        all=read.all,
        enterprise_projects=read.enterprise_projects,
        regions=read.regions,
        zones=read.zones,
        resource_types=[RESOURCE_TYPE.to_wire(t) for t in read.resource_types],
        application_groups=read.application_groups,
        names=read.names,
        tags=read.tags,
        operating_systems=read.operating_systems,
        clusters=read.clusters,
        addresses=read.addresses,
        agent_states=[AGENT_STATE.to_wire(s) for s in read.agent_states],
        statuses=[INSTANCE_STATUS.to_wire(s) for s in read.statuses],
        report_older_than=None if read.report_older_than is None else duration(read.report_older_than),
        report_newer_than=None if read.report_newer_than is None else duration(read.report_newer_than),
        lifecycles=[LIFECYCLE.to_wire(place) for place in read.lifecycles],
        view=VIEW.to_wire(read.view),
        accounts=read.accounts,
    )


def operating_system_message(system: OperatingSystem) -> types_pb2.OperatingSystem:
    """Return an operating system as a message."""
    return types_pb2.OperatingSystem(
        id=system.id,
        version=system.version,
        product=system.product,
        pretty_name=system.pretty_name,
        arch=system.arch,
    )


def instance_message(
    instance: Instance,
    presence: Presence,
    assessment: Assessment,
    not_selectable: tuple[NotSelectableReason, str] | None,
    lifecycle: Lifecycle = Lifecycle.ACTIVE,
) -> fleet_pb2.Instance:
    """Return an instance as a message: what it is, where its agent is, its answer, and where it is in its life."""
    reason, sentence = not_selectable if not_selectable is not None else (None, "")
    return fleet_pb2.Instance(
        id=instance.id,
        name=instance.name,
        enterprise_project=instance.enterprise_project,
        region=instance.region,
        zone=instance.zone,
        resource_type=RESOURCE_TYPE.to_wire(instance.resource_type),
        application_group=instance.application_group,
        tags=dict(instance.tags),
        operating_system=operating_system_message(instance.operating_system),
        ip_address=instance.ip_address,
        agent_state=AGENT_STATE.to_wire(presence.state),
        agent_since=timestamp(presence.since),
        agent_version=instance.agent_version,
        stopped=instance.stopped,
        enrolled_at=timestamp(instance.enrolled_at) if instance.enrolled else None,
        reported_at=timestamp(assessment.collected_at),
        status=INSTANCE_STATUS.to_wire(assessment.status),
        reasons=[REASON.to_wire(u.reason) for u in assessment.reasons],
        level=LEVEL.to_wire(assessment.level),
        not_selectable=NOT_SELECTABLE.to_wire(reason),
        not_selectable_help=sentence,
        baseline_name=assessment.baseline_name,
        baseline_version=assessment.inputs.baseline_version,
        baseline_source=assessment.baseline_source,
        cluster=instance.cluster,
        lifecycle=LIFECYCLE.to_wire(lifecycle),
        quarantine=_quarantine_message(instance.quarantine, instance.name) if instance.quarantined else None,
        retired_at=timestamp(instance.retired_at),
        retired_by=instance.retired_by,
        replaced_by_instance_id=instance.replaced_by or "",
        cmdb=_cmdb_message(instance.cmdb),
        machine_id=instance.machine_id,
        account=instance.account,
    )


def _quarantine_message(quarantine: Quarantine | None, name: str) -> fleet_pb2.Quarantine | None:
    if quarantine is None:
        return None
    return fleet_pb2.Quarantine(
        cause=QUARANTINE_CAUSE.to_wire(quarantine.cause),
        since=timestamp(quarantine.since),
        other_instance_ids=quarantine.others,
        addresses=quarantine.addresses,
        help=how_to_mend(quarantine, name),
    )


def _cmdb_message(entry: CmdbEntry | None) -> fleet_pb2.CmdbEntry | None:
    if entry is None:
        return None
    return fleet_pb2.CmdbEntry(
        id=entry.id,
        imported_at=timestamp(entry.imported_at),
        fields=sorted(entry.fields),
        missing_since=timestamp(entry.missing_since),
    )


def edit(instance: Instance, request: fleet_pb2.UpdateInstanceRequest) -> Instance:
    """Return the instance with the fields of the mask changed and marked as edited. Raises InvalidArgument."""
    checks, values = Checks(), request.values
    paths = tuple(dict.fromkeys(request.update_mask.paths))
    if not paths:
        checks.refuse("update_mask", f"is empty, allowed are {', '.join(EDITABLE)}")
    for path in paths:
        if path not in EDITABLE:
            checks.refuse("update_mask", f"{path[:64]!r} cannot be changed, allowed are {', '.join(EDITABLE)}")
    changes = dict[str, Any]()
    for path in (p for p in EDITABLE if p in paths):
        value = getattr(values, path)
        if path == "tags":
            value = dict(value)
        elif path == "resource_type":
            value = RESOURCE_TYPE.read_optional(checks, "values.resource_type", value)
            if value is None and not values.resource_type:
                checks.refuse("values.resource_type", f"is missing, allowed are {', '.join(ResourceType)}")
        elif path in _NEVER_EMPTY and not value:
            checks.refuse(f"values.{path}", "is missing")
        changes[path] = value
    placed = {k: v for k, v in changes.items() if k not in ("stopped", "resource_type")}
    checks.violations += violations(Placement(**placed), "values")
    checks.done()
    return replace(instance, **changes, edited=instance.edited | (frozenset(paths) - {"stopped"}))


def placement(sent: agent_pb2.Placement, checks: Checks) -> Placement:
    """Read what an enrolment token fixes; what is wrong is noted."""
    read = Placement(
        name=sent.name,
        region=sent.region,
        zone=sent.zone,
        enterprise_project=sent.enterprise_project,
        resource_type=sent.resource_type,
        application_group=sent.application_group,
        cluster=sent.cluster,
        tags=dict(sent.tags),
    )
    checks.violations += violations(read)
    return read


def placement_message(read: Placement) -> agent_pb2.Placement:
    """Return a placement as a message."""
    tags: Mapping[str, str] = read.tags
    return agent_pb2.Placement(
        name=read.name,
        region=read.region,
        zone=read.zone,
        enterprise_project=read.enterprise_project,
        resource_type=read.resource_type,
        application_group=read.application_group,
        cluster=read.cluster,
        tags=dict(tags),
    )


def enrolment_token_message(token: EnrolmentToken) -> fleet_pb2.EnrolmentToken:
    """Return an enrolment token as a message, without anything secret."""
    return fleet_pb2.EnrolmentToken(
        id=token.id,
        note=token.note,
        placement=placement_message(token.placement),
        created_by=token.created_by,
        created_at=timestamp(token.created_at),
        expires_at=timestamp(token.expires_at),
        used_at=timestamp(token.used_at),
        used_by_instance_id=token.used_by or "",
        revoked_at=timestamp(token.revoked_at),
        account=token.account,
    )
