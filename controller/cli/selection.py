"""The options that choose instances, the same for every command that does."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from common.pb.v1 import fleet_pb2, types_pb2

_PANEL: Final = "Which instances"


class Kind(StrEnum):
    """What kind of machine an instance is."""

    ECS = "ECS"
    BMS = "BMS"
    CCE = "CCE"


def resource_type(kind: Kind | None) -> types_pb2.ResourceType.ValueType:
    """Return the API's value."""
    from common.pb.v1 import types_pb2

    return types_pb2.ResourceType.Value(f"RESOURCE_TYPE_{kind.value if kind else 'UNSPECIFIED'}")


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
        list[str] | None, typer.Option(metavar="TEXT", help="Application group; repeat it.", rich_help_panel=_PANEL)
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

    def selector(self, *, all_matching: bool) -> fleet_pb2.Selector:
        """Return what the API takes."""
        from common.pb.v1 import fleet_pb2

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
        )

    def or_all(self) -> fleet_pb2.Selector:
        """Return what the API takes, for commands that only read: without --instance everything that matches."""
        return self.selector(all_matching=not self.instance)
