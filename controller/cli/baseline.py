"""patchctl baseline: which updates an instance must have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.command import Session, command
from controller.cli.options import read_text, read_yaml
from controller.cli.printer import Format, yaml_text
from controller.cli.selection import Kind, resource_type
from controller.cli.table import Column, Table
from controller.cli.words import ago, plural, word

if TYPE_CHECKING:
    from common.pb.v1 import baseline_pb2

BaselineArgument = Annotated[str, typer.Argument(help="The baseline's id or name.")]


def add_to(app: typer.Typer) -> None:
    """Add the group to the root."""
    group = typer.Typer(help="Patch baselines: which updates an instance must have.", no_args_is_help=True)
    command(group, "list")(list_baselines)
    command(group, "show")(show)
    command(group, "create")(create)
    command(group, "set-default")(set_default)
    command(group, "delete")(delete)
    app.add_typer(group, name="baseline")


def list_baselines(
    session: Session,
    os: Annotated[str, typer.Option(help="Only of this operating system family, e.g. CentOS.")] = "",
    scenario: Annotated[Kind | None, typer.Option(case_sensitive=False, help="Only of this scenario.")] = None,
) -> None:
    """List baselines, public ones first."""
    from common.pb.v1 import baseline_pb2

    found = list(session.client().list_baselines(operating_system=os, scenario=resource_type(scenario), page_size=1000))
    session.printer.many(baseline_pb2.Baseline.DESCRIPTOR, found, lambda: [_table(found)])
    session.printer.remark(plural(len(found), "baseline"))


def show(
    session: Session,
    baseline: BaselineArgument,
    version: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, metavar="N", show_default=False, help="Which version; 0 is the newest.")
    ] = 0,
) -> None:
    """Show a baseline and its rules. With --output yaml: the file that baseline create -f takes."""
    from controller.cli.baseline_file import document_of

    found = session.client().get_baseline(baseline, version=version)
    if session.printer.format is Format.YAML:
        typer.echo(yaml_text(document_of(found), sort_keys=False), nl=False)
    else:
        session.printer.one(found, lambda: _lines(found))


def create(
    session: Session,
    file: Annotated[Path, typer.Option("--file", "-f", help="The baseline in YAML; - is stdin.")],
) -> None:
    """Make a baseline, or a new version of the one of the same name."""
    from controller.cli.baseline_file import baseline_of

    baseline = baseline_of(read_yaml("--file", read_text("--file", file)))
    made = session.client().create_baseline(baseline)
    session.printer.one(made, lambda: _lines(made))
    session.printer.remark(
        f"{made.name} v{made.version} is stored; patchctl baseline set-default {made.name} makes it decide"
    )


def set_default(session: Session, baseline: BaselineArgument) -> None:
    """Make a baseline the default of its scenario and operating system."""
    changed = session.client().set_default_baseline(baseline)
    session.printer.one(changed, lambda: _lines(changed))


def delete(
    session: Session,
    baseline: BaselineArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a baseline that is neither public nor a default."""
    session.confirm(f"Delete baseline {baseline}?", agreed=yes)
    session.client().delete_baseline(baseline)
    session.printer.remark(f"{baseline} is deleted")


def rule_in_words(rule: baseline_pb2.BaselineRule) -> str:
    """Say a rule, "SECURITY, CRITICAL or IMPORTANT, of CentOS 7.9, 7 days after issue"."""
    from common.pb.v1 import baseline_pb2, types_pb2

    parts = [
        " or ".join(word(types_pb2.Category, c) or "UNSPECIFIED" for c in rule.categories) or "any category",
        " or ".join(word(types_pb2.Severity, s) or "UNSPECIFIED" for s in rule.severities) or "any severity",
        "of " + (" or ".join(rule.products) or "any product"),
    ]
    basis = {baseline_pb2.DATE_BASIS_UPDATED: "update", baseline_pb2.DATE_BASIS_FIRST_SEEN: "being first seen"}.get(
        rule.date_basis, "issue"
    )
    match rule.WhichOneof("approval"):
        case "approve_until":
            parts.append(f"{basis} on or before {rule.approve_until}")
        case _:
            parts.append(f"{plural(rule.approve_after_days, 'day')} after {basis}")
    if rule.include_without_advisory:
        parts.append("also updates without advisory")
    return ", ".join(parts)


def _table(found: Sequence[baseline_pb2.Baseline]) -> Table:
    from common.pb.v1 import types_pb2

    now = datetime.now(UTC)
    titles = (
        Column("name", least=20),
        Column("os", least=14),
        Column("scenario", rank=2),
        Column("version", rank=3, right=True),
        Column("default"),
        Column("kind", rank=1),
        Column("rules", rank=4, right=True),
        Column("made", rank=5),
        Column("by", rank=6),
        Column("id", rank=7),
    )
    rows = [
        (
            b.name,
            b.operating_system,
            word(types_pb2.ResourceType, b.scenario),
            str(b.version),
            "default" if b.is_default else "",
            "public" if b.public else "own",
            str(len(b.rules)),
            ago(b.created_at, now) if b.HasField("created_at") and not b.public else "",
            b.created_by,
            b.id,
        )
        for b in found
    ]
    return Table(titles, rows)


def _lines(b: baseline_pb2.Baseline) -> Iterator[str]:
    from common.pb.v1 import types_pb2

    kind = ", ".join(filter(None, ("public" if b.public else "", "default" if b.is_default else "")))
    yield f"{b.name} v{b.version}  {b.operating_system}  {word(types_pb2.ResourceType, b.scenario)}  {kind}".rstrip()
    if b.description:
        yield f"  {b.description}"
    for number, rule in enumerate(b.rules, 1):
        level = word(types_pb2.ComplianceLevel, rule.compliance_level) or "UNSPECIFIED"
        yield f"  rule {number}  {level}  {rule_in_words(rule)}"
