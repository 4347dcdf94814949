"""patchctl instances: what the fleet is, and what people may change about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controller.cli.command import Misuse, Session, command
from controller.cli.printer import Format
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
    group: Annotated[
        str | None, typer.Option(help="Application group: a path such as shop/web, of which shop is the parent.")
    ] = None
    cluster: Annotated[str | None, typer.Option(help="CCE cluster of which it is a node.")] = None


def add_to(app: typer.Typer) -> None:
    """Add the group to the root."""
    group = typer.Typer(help="Instances: what they are and where they stand.", no_args_is_help=True)
    command(group, "list")(list_instances)
    command(group, "show")(show)
    command(group, "tag")(tag)
    command(group, "set")(change)
    command(group, "retire")(retire)
    command(group, "restore")(restore)
    command(group, "release")(release)
    command(group, "merge")(merge)
    command(group, "delete")(delete)
    app.add_typer(group, name="instances")


def list_instances(
    session: Session,
    filters: Filters,
    selectable: Annotated[
        bool, typer.Option("--selectable", help="Those that a ticket can take, and of all others why not.")
    ] = False,
    not_selectable: Annotated[
        bool, typer.Option("--not-selectable", help="Only those that no ticket can take: why, and what to do.")
    ] = False,
    stale: Annotated[bool, typer.Option("--stale", help="Only those of which nothing was heard for long.")] = False,
    retired: Annotated[
        bool, typer.Option("--retired", help="Only those that were taken out of the fleet; no other list has them.")
    ] = False,
) -> None:
    """List instances, by name.

    A ticket can take an instance when its UniAgent is ONLINE, its operating system is supported, and it is not stopped.
    """
    from common.pb.v1 import fleet_pb2

    if selectable and not_selectable:
        raise Misuse("--selectable already says of all others why not; give one of the two")
    wanted = filters.or_all()
    for place, asked in ((fleet_pb2.LIFECYCLE_STALE, stale), (fleet_pb2.LIFECYCLE_RETIRED, retired)):
        if asked and place not in wanted.lifecycles:
            wanted.lifecycles.append(place)
    client, kind = session.client(), fleet_pb2.Instance.DESCRIPTOR
    found = list(
        client.list_instances(wanted, selectable_only=selectable, not_selectable_only=not_selectable, page_size=1000)
    )
    if not_selectable:
        session.printer.many(kind, found, lambda: [why_table(found)])
        session.printer.remark(f"{plural(len(found), 'instance')} not selectable")
        return
    session.printer.many(kind, found, lambda: [_table(found)])
    session.printer.remark(plural(len(found), "instance"))
    if selectable and session.printer.format is Format.TABLE:
        others = list(client.list_instances(wanted, not_selectable_only=True, page_size=1000))
        if others:
            session.printer.remark_lines([f"Not selectable: {len(others)}", why_table(others)])


def why_table(found: Sequence[fleet_pb2.Instance]) -> Table:
    """Say of instances that cannot be selected which condition does not hold, and what to do."""
    from common.pb.v1 import types_pb2

    titles = (
        Column("  name", least=12),
        Column("because of", least=7),
        Column("matter", least=20),
        Column("what to do"),
    )
    rows = list[tuple[str, ...]]()
    for i in found:
        matter, _, todo = i.not_selectable_help.partition("; ")
        if not i.not_selectable and i.HasField("retired_at"):
            matter, todo = f"retired by {i.retired_by}", f"take it back: patchctl instances restore {i.name}"
        rows.append((f"  {i.name}", word(types_pb2.NotSelectableReason, i.not_selectable), matter, todo))
    return Table(titles, rows)


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
        "cluster": placement.cluster,
        "stopped": stopped,
    }
    if all(value is None for value in values.values()):
        raise Misuse("say what to change, e.g. --group web")
    _print(session, session.client().update_instance(instance, **values))


def retire(
    session: Session,
    instance: InstanceArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Take an instance out of the fleet: its agent is refused, it counts nowhere, its history stays.

    See those that are out with instances list --retired; take one back with instances restore.
    """
    session.confirm(f"Retire {instance} and refuse its agent?", agreed=yes)
    _print(session, session.client().retire_instance(instance))


def restore(session: Session, instance: InstanceArgument) -> None:
    """Take a retired instance back: its agent is let in again."""
    _print(session, session.client().restore_instance(instance))


def release(session: Session, instance: InstanceArgument) -> None:
    """End an instance's quarantine, once each of the hosts has an identity of its own.

    Two hosts that have one machine id or one agent's key are in quarantine: nothing that they say counts. instances show says how to
    mend it. If they are released before that, they are found again as soon as both have spoken.
    """
    _print(session, session.client().release_instance(instance))


def merge(
    session: Session,
    instance: Annotated[str, typer.Argument(help="Id or name of the instance that is given up.")],
    into: Annotated[str, typer.Option(metavar="INSTANCE", help="Id or name of the instance that takes over.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Make one of two instances that are one host, which enrolled again, e.g. after it was installed anew.

    The one that takes over gets what people and the CMDB said about the other: where it stands, its tags. The other is retired: its reports
    stay in history.
    """
    session.confirm(f"Retire {instance} and let {into} take over where it stood?", agreed=yes)
    _print(session, session.client().merge_instance(instance, into))


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
            " ".join(filter(None, (agent(i, now), "stopped" if i.stopped else "", _place(i).lower()))),
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
        ("type", " ".join(filter(None, (word(types_pb2.ResourceType, i.resource_type), i.cluster)))),
        ("tags", tags(i.tags)),
        ("address", i.ip_address),
        ("baseline", _deciding(i)),
        ("agent", f"{agent(i, now)} {i.agent_version}".strip()),
        ("machine", "stopped" if i.stopped else ""),
        ("enrolled", ago(i.enrolled_at, now) if i.HasField("enrolled_at") else ""),
        ("reported", ago(i.reported_at, now) if i.HasField("reported_at") else "never"),
        ("CMDB", _cmdb(i, now)),
        ("retired", f"{ago(i.retired_at, now)} by {i.retired_by}" if i.HasField("retired_at") else ""),
        ("replaced by", i.replaced_by_instance_id),
        ("place in life", _place(i)),
        ("not selectable", i.not_selectable_help),
    )
    for title, value in facts:
        if value:
            yield f"  {title + ' ':<16}{value}"
    if i.HasField("quarantine"):
        yield from _quarantine(i, now)


def _place(i: fleet_pb2.Instance) -> str:
    """Say where it is in its life, unless it is in use as it should be."""
    from common.pb.v1 import fleet_pb2

    return "" if i.lifecycle == fleet_pb2.LIFECYCLE_ACTIVE else word(fleet_pb2.Lifecycle, i.lifecycle)


def _cmdb(i: fleet_pb2.Instance, now: datetime) -> str:
    if not i.HasField("cmdb"):
        return ""
    known = " ".join(filter(None, (i.cmdb.id, f"since {ago(i.cmdb.imported_at, now)}")))
    return f"{known}, not listed any more" if i.cmdb.HasField("missing_since") else known


def _quarantine(i: fleet_pb2.Instance, now: datetime) -> Iterator[str]:
    from common.pb.v1 import fleet_pb2

    quarantine = i.quarantine
    shared = "machine id" if quarantine.cause == fleet_pb2.QUARANTINE_CAUSE_MACHINE_ID else "agent's key"
    where = f" from {', '.join(quarantine.addresses)}" if quarantine.addresses else ""
    yield f"In quarantine since {ago(quarantine.since, now)}: more than one host has its {shared}; they spoke{where}"
    if quarantine.other_instance_ids:
        yield f"  the others      {', '.join(quarantine.other_instance_ids)}"
    for number, step in enumerate(quarantine.help, 1):
        yield f"  {number}. {step}"


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
