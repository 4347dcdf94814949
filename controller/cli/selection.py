"""The options that choose instances, the same for every command that does."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from controller.cli.options import length

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration

    from common.pb.v1 import fleet_pb2, types_pb2

_PANEL: Final = "Which instances"


class Kind(StrEnum):
    """What kind of machine an instance is."""

    ECS = "ECS"
    BMS = "BMS"
    CCE = "CCE"


class Agent(StrEnum):
    """Where an instance's agent is."""

    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"
    INSTALLING = "INSTALLING"
    FAILED = "FAILED"
    UNINSTALLED = "UNINSTALLED"
    NONE = "NONE"


class Compliance(StrEnum):
    """Whether an instance complies."""

    COMPLIANT = "COMPLIANT"
    NON_COMPLIANT = "NON_COMPLIANT"
    UNDETERMINED = "UNDETERMINED"


class Place(StrEnum):
    """Where an instance is in its life."""

    ACTIVE = "ACTIVE"
    NOT_ENROLLED = "NOT_ENROLLED"
    STALE = "STALE"
    REPLACED = "REPLACED"
    QUARANTINED = "QUARANTINED"
    RETIRED = "RETIRED"


class Side(StrEnum):
    """From which side the fleet is looked at."""

    CMDB_RESOURCES = "CMDB_RESOURCES"
    APPLICATION_GROUPS = "APPLICATION_GROUPS"


def resource_type(kind: Kind | None) -> types_pb2.ResourceType.ValueType:
    """Return the API's value."""
    from common.pb.v1 import types_pb2

    return types_pb2.ResourceType.Value(f"RESOURCE_TYPE_{kind.value if kind else 'UNSPECIFIED'}")


def _age(option: str, text: str | None) -> Duration | None:
    """Read how old a report may be, 26h or 7d."""
    if text is None:
        return None
    from controller.client.specs import duration_of

    return duration_of(length(option, text))


@dataclass(frozen=True, slots=True)
class Filters:
    """Which instances are meant: options are joined by AND, repeated values of one option by OR."""

    instance: Annotated[
        list[str] | None,
        typer.Option("--instance", "-i", metavar="ID", help="An id or name; repeat it.", rich_help_panel=_PANEL),
    ] = None
    region: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Region; repeat it.", rich_help_panel=_PANEL)
    ] = None
    zone: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Availability zone; repeat it.", rich_help_panel=_PANEL)
    ] = None
    project: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Enterprise project; repeat it.", rich_help_panel=_PANEL)
    ] = None
    resource_type: Annotated[
        list[Kind] | None,
        typer.Option(
            case_sensitive=False, metavar="ECS|BMS|CCE", help="Kind of machine; repeat it.", rich_help_panel=_PANEL
        ),
    ] = None
    group: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Application group and all below it: shop means shop/web too; repeat it.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Glob over the name, e.g. 'ecs-web-*'; repeat it.", rich_help_panel=_PANEL),
    ] = None
    tag: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TAG", help="KEY=VALUE, or KEY for any value; repeat it: all must hold.", rich_help_panel=_PANEL
        ),
    ] = None
    os: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Glob over the OS, e.g. 'CentOS*'; repeat it.", rich_help_panel=_PANEL),
    ] = None
    account: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Account, of those you may see; repeat it.", rich_help_panel=_PANEL),
    ] = None
    cluster: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="CCE cluster: its nodes; repeat it.", rich_help_panel=_PANEL),
    ] = None
    ip: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS", help="Address or network, e.g. 10.0.0.0/16; repeat it.", rich_help_panel=_PANEL
        ),
    ] = None
    agent: Annotated[
        list[Agent] | None,
        typer.Option(
            case_sensitive=False,
            metavar="STATE",
            help="Where the agent is: ONLINE, OFFLINE, INSTALLING, FAILED, UNINSTALLED or NONE; repeat it.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    compliance: Annotated[
        list[Compliance] | None,
        typer.Option(
            case_sensitive=False,
            metavar="STATUS",
            help="COMPLIANT, NON_COMPLIANT or UNDETERMINED, as of now; repeat it.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    report_older: Annotated[
        str | None,
        typer.Option(
            metavar="AGE", help="The last report is older, e.g. 26h or 7d, or there is none.", rich_help_panel=_PANEL
        ),
    ] = None
    report_newer: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="The last report is at most so old, e.g. 1h.", rich_help_panel=_PANEL),
    ] = None
    lifecycle: Annotated[
        list[Place] | None,
        typer.Option(
            case_sensitive=False,
            metavar="PLACE",
            help="Place in life: ACTIVE, NOT_ENROLLED, STALE, REPLACED or QUARANTINED (RETIRED ones can only be listed); repeat it.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    view: Annotated[
        Side | None,
        typer.Option(
            case_sensitive=False,
            metavar="VIEW",
            help="CMDB_RESOURCES: what the CMDB lists. APPLICATION_GROUPS: what stands in a group.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def selector(self, *, all_matching: bool) -> fleet_pb2.Selector:
        """Return what the API takes."""
        from common.pb.v1 import fleet_pb2, types_pb2

        states = ("UNSPECIFIED" if state is Agent.NONE else state for state in self.agent or ())
        return fleet_pb2.Selector(
            instances=self.instance or (),
            all=all_matching,
            enterprise_projects=self.project or (),
            regions=self.region or (),
            zones=self.zone or (),
            resource_types=[resource_type(kind) for kind in self.resource_type or ()],
            application_groups=self.group or (),
            names=self.name or (),
            tags=self.tag or (),
            operating_systems=self.os or (),
            clusters=self.cluster or (),
            accounts=self.account or (),
            addresses=self.ip or (),
            agent_states=[types_pb2.AgentState.Value(f"AGENT_STATE_{state}") for state in states],
            statuses=[types_pb2.InstanceStatus.Value(f"INSTANCE_STATUS_{status}") for status in self.compliance or ()],
            report_older_than=_age("report_older", self.report_older),
            report_newer_than=_age("report_newer", self.report_newer),
            lifecycles=[fleet_pb2.Lifecycle.Value(f"LIFECYCLE_{place}") for place in self.lifecycle or ()],
            view=fleet_pb2.View.Value(f"VIEW_{self.view}") if self.view else fleet_pb2.VIEW_UNSPECIFIED,
        )

    def or_all(self) -> fleet_pb2.Selector:
        """Return what the API takes, for commands that only read: without --instance everything that matches."""
        return self.selector(all_matching=not self.instance)
