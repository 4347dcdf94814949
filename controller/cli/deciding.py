"""patchctl baseline assign, unassign, assignments, try: for whom a baseline decides, and what it would decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from controller.cli.command import Misuse, Session, command
from controller.cli.printer import Format
from controller.cli.selection import Filters
from controller.cli.table import Column, Table
from controller.cli.words import ago, plural, word

if TYPE_CHECKING:
    from common.pb.v1 import baseline_pb2

BaselineArgument = Annotated[str, typer.Argument(help="The baseline's id or name.")]
FileOption = Annotated[Path, typer.Option("--file", "-f", help="The baseline in YAML; - is stdin.")]
CsvOption = Annotated[
    Path | None,
    typer.Option(
        "--csv",
        help="Rows of a custom baseline, name,version,release or name,version,release,level; - is stdin.",
    ),
]
_MANY: Final = 10
_MANY_PACKAGES: Final = 5
_YEAR_ONE: Final = -62135596800


@dataclass(frozen=True, slots=True)
class For:
    """For whom a baseline decides: one of these."""

    instance: Annotated[
        str | None, typer.Option("--instance", "-i", metavar="ID", help="For one instance, by id or name.")
    ] = None
    group: Annotated[str | None, typer.Option(metavar="TEXT", help="For an application group.")] = None
    project: Annotated[str | None, typer.Option(metavar="TEXT", help="For an enterprise project.")] = None

    def one(self) -> tuple[baseline_pb2.AssignmentScope.ValueType, str]:
        """Return what the API takes; raise Misuse unless exactly one was given."""
        from common.pb.v1 import baseline_pb2 as pb

        scopes = (
            (pb.ASSIGNMENT_SCOPE_INSTANCE, self.instance),
            (pb.ASSIGNMENT_SCOPE_GROUP, self.group),
            (pb.ASSIGNMENT_SCOPE_PROJECT, self.project),
        )
        given = [(scope, value) for scope, value in scopes if value is not None]
        if len(given) != 1:
            raise Misuse("say for whom: one of --instance, --group and --project")
        return given[0]


def add_to(group: typer.Typer) -> None:
    """Add the commands to the group `baseline`."""
    command(group, "assign")(assign)
    command(group, "unassign")(unassign)
    command(group, "assignments")(assignments)
    command(group, "try")(try_baseline)


def assign(session: Session, baseline: BaselineArgument, whom: For) -> None:
    """Let a baseline decide for an instance, an application group or an enterprise project.

    The most specific one decides: an instance's own, then its group's, then its project's, then the default.
    """
    scope, value = whom.one()
    made = session.client().assign_baseline(baseline, scope, value)
    session.printer.one(made, lambda: [_sentence(made, value)])


def unassign(session: Session, baseline: BaselineArgument, whom: For) -> None:
    """Take an assignment back: the next, less specific one decides."""
    scope, value = whom.one()
    session.client().unassign_baseline(baseline, scope, value)
    session.printer.remark(f"{baseline} is no longer assigned to {_scope(scope)} {value}")


def assignments(session: Session) -> None:
    """List for whom which baseline decides; defaults are in patchctl baseline list."""
    from common.pb.v1 import baseline_pb2

    found = list(session.client().list_assignments(page_size=1000))
    session.printer.many(baseline_pb2.BaselineAssignment.DESCRIPTOR, found, lambda: [_table(found)])
    session.printer.remark(plural(len(found), "assignment"))


def try_baseline(session: Session, file: FileOption, filters: Filters, csv: CsvOption = None) -> None:
    """Show what a baseline would change in the fleet if it decided now, saving nothing.

    It is tried wherever the stored one of the same name decides, or else the default of its operating system.
    """
    from common.pb.v1 import baseline_pb2
    from controller.cli.baseline_file import read_baseline

    baseline = read_baseline(file, csv)
    tried = session.client().try_baseline(baseline, filters.or_all())
    if session.printer.format is Format.CSV:
        session.printer.many(baseline_pb2.BaselineChange.DESCRIPTOR, tried.changes, list)
    else:
        called = baseline.name if str(file) == "-" else file.name
        session.printer.one(tried, lambda: _outcome(called, tried))
    session.printer.remark("Nothing was saved.")


def _scope(scope: baseline_pb2.AssignmentScope.ValueType) -> str:
    from common.pb.v1 import baseline_pb2

    return word(baseline_pb2.AssignmentScope, scope).lower()


def _sentence(made: baseline_pb2.BaselineAssignment, called: str) -> str:
    from common.pb.v1 import types_pb2

    scenario = word(types_pb2.ResourceType, made.scenario)
    return f"{made.baseline_name} decides for {_scope(made.scope)} {called}  ({made.operating_system} on {scenario})"


def _table(found: Sequence[baseline_pb2.BaselineAssignment]) -> Table:
    from common.pb.v1 import types_pb2

    now = datetime.now(UTC)
    titles = (
        Column("for", least=8),
        Column("called", least=12),
        Column("baseline", least=14),
        Column("os", rank=1),
        Column("scenario", rank=2),
        Column("since", rank=3),
        Column("by", rank=4),
    )
    rows = [
        (
            _scope(a.scope),
            a.value,
            a.baseline_name or a.baseline_id,
            a.operating_system,
            word(types_pb2.ResourceType, a.scenario),
            ago(a.assigned_at, now) if a.assigned_at.seconds > _YEAR_ONE else "",
            a.assigned_by,
        )
        for a in found
    ]
    return Table(titles, rows)


def _outcome(called: str, tried: baseline_pb2.TryBaselineResponse) -> Iterator[str]:
    from common.pb.v1 import types_pb2

    where = f"replaced {tried.replaces} now" if tried.replaces else "decided now where none does"
    yield f"If {called} {where}:"
    if not tried.instances:
        yield "  it would decide for no instance"
        return
    numbers = (
        _change(tried.before.compliant, tried.after.compliant, "compliant"),
        _change(tried.before.non_compliant, tried.after.non_compliant, "non-compliant"),
        _change(tried.before.undetermined, tried.after.undetermined, "undetermined"),
    )
    yield f"  {plural(tried.instances, 'instance')}: {', '.join(numbers)}"
    bad, unknown = types_pb2.INSTANCE_STATUS_NON_COMPLIANT, types_pb2.INSTANCE_STATUS_UNDETERMINED
    other = [c for c in tried.changes if c.before == c.after]
    kinds = (
        (
            "newly non-compliant",
            [(c, c.newly_non_compliant) for c in tried.changes if c.after == bad and c.before != bad],
        ),
        (
            "no longer non-compliant",
            [
                (c, c.no_longer_non_compliant)
                for c in tried.changes
                if c.before == bad and c.after not in (bad, unknown)
            ],
        ),
        ("newly undetermined", [(c, ()) for c in tried.changes if c.after == unknown and c.before != unknown]),
        ("more packages", [(c, c.newly_non_compliant) for c in other if c.newly_non_compliant]),
        ("fewer packages", [(c, c.no_longer_non_compliant) for c in other if c.no_longer_non_compliant]),
    )
    width = max((len(title) for title, found in kinds if found), default=0)
    for title, found in kinds:
        if found:
            named = [_instance(change.instance_name, keys) for change, keys in found[:_MANY]]
            rest = [f"and {len(found) - _MANY} more (see all with --output csv)"] if len(found) > _MANY else []
            yield f"  {title:<{width}}  {', '.join([*named, *rest])}"
    if (hidden := tried.changed_instances - len(tried.changes)) > 0:
        yield f"  and {hidden} more instances would change"
    if not tried.changes:
        yield "  no answer would change"


def _change(before: int, after: int, what: str) -> str:
    return f"{before} {what}" if before == after else f"{before} -> {after} {what}"


def _instance(name: str, keys: Sequence[str]) -> str:
    names = list(dict.fromkeys(key.rpartition(".")[0] or key for key in keys))  # two architectures are one package here
    if not names:
        return name
    more = f" and {len(names) - _MANY_PACKAGES} more" if len(names) > _MANY_PACKAGES else ""
    return f"{name} ({', '.join(names[:_MANY_PACKAGES])}{more})"
