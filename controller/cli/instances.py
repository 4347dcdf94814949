"""patchctl instances: what the fleet is, and what people may change about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controller.cli.command import Misuse, Session, command
from controller.cli.selection import Filters, Kind, resource_type
from controller.cli.table import Column, Table
from controller.cli.words import ago, plural, since, system, tags, word

if TYPE_CHECKING:
    from common.pb.v1 import fleet_pb2

InstanceArgument = Annotated[str, typer.Argument(help="The instance's id or name.")]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an instance stands; what is not given stays as it is."""

    name: Annotated[str | None, typer.Option(help="Name.")] = None
    region: Annotated[str | None, typer.Option(help="Region, e.g. cn-hongkong.")] = None
    zone: Annotated[str | None, typer.Option(help="Availability zone, e.g. a.")] = None
    project: Annotated[str | None, typer.Option(help="Enterprise project.")] = None
    resource_type: Annotated[Kind | None, typer.Option(case_sensitive=False, help="Kind of machine.")] = None
    group: Annotated[str | None, typer.Option(help="Application group.")] = None


def add_to(app: typer.Typer) -> None:
    """Add the group to the root."""
    group = typer.Typer(help="Instances: what they are and where they stand.", no_args_is_help=True)
    command(group, "list")(list_instances)
    command(group, "show")(show)
    command(group, "tag")(tag)
    command(group, "set")(change)
    command(group, "delete")(delete)
    app.add_typer(group, name="instances")


def list_instances(
    session: Session,
    filters: Filters,
    selectable: Annotated[bool, typer.Option("--selectable", help="Only those that a ticket can take.")] = False,
) -> None:
    """List instances, by name."""
    from common.pb.v1 import fleet_pb2

    found = list(session.client().list_instances(filters.or_all(), selectable_only=selectable, page_size=1000))
    session.printer.many(fleet_pb2.Instance.DESCRIPTOR, found, lambda: [_table(found)])
    session.printer.remark(plural(len(found), "instance"))


def show(session: Session, instance: InstanceArgument) -> None:
    """Show everything about one instance."""
    _print(session, session.client().get_instance(instance))


def tag(
    session: Session,
    instance: InstanceArgument,
    tag_values: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Tags to write.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="Key of a tag to remove; repeat it.")] = None,
) -> None:
    """Write and remove tags; the others stay."""
    add = pairs(tag_values)
    if not add and not remove:
        raise Misuse("give KEY=VALUE to write, or --remove KEY")
    _print(session, session.client().tag_instance(instance, add, remove or ()))


def change(
    session: Session,
    instance: InstanceArgument,
    placement: Placement,
    stopped: Annotated[
        bool | None, typer.Option("--stopped/--running", help="Whether the machine is stopped on purpose.")
    ] = None,
) -> None:
    """Change where an instance stands, or say that its machine is stopped."""
    kind = placement.resource_type
    values: dict[str, Any] = {
        "name": placement.name,
        "enterprise_project": placement.project,
        "region": placement.region,
        "zone": placement.zone,
        "resource_type": resource_type(kind) if kind else None,
        "application_group": placement.group,
        "stopped": stopped,
    }
    if all(value is None for value in values.values()):
        raise Misuse("say what to change, e.g. --group web")
    _print(session, session.client().update_instance(instance, **values))


def delete(
    session: Session,
    instance: InstanceArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Forget an instance and refuse its agent from now on. Its reports stay in history."""
    session.confirm(f"Forget {instance} and refuse its agent?", agreed=yes)
    session.client().delete_instance(instance)
    session.printer.remark(f"{instance} is forgotten")


def pairs(values: Sequence[str] | None) -> dict[str, str]:
    """Read KEY=VALUE, or KEY alone for an empty value."""
    found = dict[str, str]()
    for text in values or ():
        key, _, value = text.partition("=")
        if not key:
            raise Misuse(f"{text!r} has no key: write a tag as KEY=VALUE")
        found[key] = value
    return found


def agent(instance: fleet_pb2.Instance, now: datetime) -> str:
    """Say where an instance's agent is and since when, "OFFLINE 4 m"."""
    from common.pb.v1 import types_pb2

    state = word(types_pb2.AgentState, instance.agent_state) or "not installed"
    if state == "ONLINE" or not instance.HasField("agent_since"):
        return state
    return f"{state} {since(instance.agent_since, now)}"


def answer(instance: fleet_pb2.Instance) -> str:
    """Say whether an instance complies, "UNDETERMINED REPO_ERROR, STALE"."""
    from common.pb.v1 import types_pb2

    status = word(types_pb2.InstanceStatus, instance.status)
    detail = [word(types_pb2.UndeterminedReason, reason) for reason in instance.reasons]
    return f"{status} {', '.join(detail)}".strip()


def _table(found: Sequence[fleet_pb2.Instance]) -> Table:
    from common.pb.v1 import types_pb2

    now = datetime.now(UTC)
    titles = (
        Column("name", least=12),
        Column("status", least=13),
        Column("level", rank=1),
        Column("agent", least=7),
        Column("os", rank=2),
        Column("region", rank=3),
        Column("zone", rank=5),
        Column("group", rank=4),
        Column("type", rank=8),
        Column("project", rank=9),
        Column("reported", rank=6),
        Column("id", rank=7, least=18),
    )
    rows = [
        (
            i.name,
            answer(i),
            word(types_pb2.ComplianceLevel, i.level),
            agent(i, now) + (" stopped" if i.stopped else ""),
            system(i.operating_system),
            i.region,
            i.zone,
            i.application_group,
            word(types_pb2.ResourceType, i.resource_type),
            i.enterprise_project,
            ago(i.reported_at, now) if i.HasField("reported_at") else "never",
            i.id,
        )
        for i in found
    ]
    return Table(titles, rows)


def _print(session: Session, instance: fleet_pb2.Instance) -> None:
    session.printer.one(instance, lambda: _lines(instance))


def _lines(i: fleet_pb2.Instance) -> Iterator[str | Table]:
    from common.pb.v1 import types_pb2

    now = datetime.now(UTC)
    yield f"{i.name}  {answer(i)}  {word(types_pb2.ComplianceLevel, i.level)}".rstrip()
    facts = (
        ("id", i.id),
        ("runs", f"{i.operating_system.pretty_name or system(i.operating_system)} {i.operating_system.arch}".strip()),
        ("product", i.operating_system.product or "not supported"),
        ("stands in", ", ".join(filter(None, (i.region, i.zone, i.enterprise_project, i.application_group)))),
        ("type", word(types_pb2.ResourceType, i.resource_type)),
        ("tags", tags(i.tags)),
        ("address", i.ip_address),
        ("baseline", _deciding(i)),
        ("agent", f"{agent(i, now)} {i.agent_version}".strip()),
        ("machine", "stopped" if i.stopped else ""),
        ("enrolled", ago(i.enrolled_at, now) if i.HasField("enrolled_at") else ""),
        ("reported", ago(i.reported_at, now) if i.HasField("reported_at") else "never"),
        ("not selectable", i.not_selectable_help),
    )
    for title, value in facts:
        if value:
            yield f"  {title + ' ':<16}{value}"


def _deciding(i: fleet_pb2.Instance) -> str:
    """Say which baseline decides and why that one, "web-strict v3, assigned to group web"."""
    if not i.baseline_name:
        return "none decides; see patchctl baseline list"
    why = {
        "instance": "assigned to this instance",
        "group": f"assigned to group {i.application_group}",
        "project": f"assigned to project {i.enterprise_project}",
        "default": "the default",
    }.get(i.baseline_source, i.baseline_source)
    return f"{i.baseline_name} v{i.baseline_version}, {why}"
