"""patchctl baseline: which updates an instance must have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli import deciding
from controller.cli.command import Session, command
from controller.cli.deciding import BaselineArgument, CsvOption, FileOption
from controller.cli.printer import Format, yaml_text
from controller.cli.selection import Kind, resource_type
from controller.cli.table import Column, Table
from controller.cli.words import ago, plural, word

if TYPE_CHECKING:
    from common.pb.v1 import baseline_pb2


def add_to(app: typer.Typer) -> None:
    """Add the group to the root."""
    group = typer.Typer(help="Patch baselines: which updates an instance must have.", no_args_is_help=True)
    command(group, "list")(list_baselines)
    command(group, "show")(show)
    command(group, "create")(create)
    command(group, "set-default")(set_default)
    command(group, "delete")(delete)
    deciding.add_to(group)
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


def create(session: Session, file: FileOption, csv: CsvOption = None) -> None:
    """Make a baseline, or a new version of the one of the same name.

    With --csv it is a custom baseline: what must be installed at least at which version, by names as rpm spells them (case matters).
    """
    from controller.cli.baseline_file import read_baseline

    made = session.client().create_baseline(read_baseline(file, csv))
    session.printer.one(made, lambda: _lines(made))
    session.printer.remark(
        f"{made.name} v{made.version} is stored; patchctl baseline assign or set-default {made.name} makes it decide"
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
    """Delete a baseline that is neither public nor a default; its assignments are taken back."""
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
        Column("approved", rank=8, right=True, least=8),
        Column("rejected", rank=8, right=True, least=8),
        Column("packages", rank=4, right=True, least=8),
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
            str(len(b.rules) or ""),
            str(len(b.approved_patches) or ""),
            str(len(b.rejected_patches) or ""),
            str(len(b.custom_packages) or ""),
            ago(b.created_at, now) if b.HasField("created_at") and not b.public else "",
            b.created_by,
            b.id,
        )
        for b in found
    ]
    return Table(titles, rows)


def _lines(b: baseline_pb2.Baseline) -> Iterator[str | Table]:
    from common.pb.v1 import baseline_pb2, types_pb2

    kind = ", ".join(filter(None, ("public" if b.public else "", "default" if b.is_default else "")))
    yield f"{b.name} v{b.version}  {b.operating_system}  {word(types_pb2.ResourceType, b.scenario)}  {kind}".rstrip()
    if b.description:
        yield f"  {b.description}"
    for number, rule in enumerate(b.rules, 1):
        level = word(types_pb2.ComplianceLevel, rule.compliance_level) or "UNSPECIFIED"
        yield f"  rule {number}  {level}  {rule_in_words(rule)}"
    approved = [
        ("approved", p.entry, word(types_pb2.ComplianceLevel, p.compliance_level) or "UNSPECIFIED")
        for p in b.approved_patches
    ]
    blocks = baseline_pb2.REJECT_ACTION_BLOCK
    rejected = [
        ("rejected", p.entry, "BLOCK" if p.action == blocks else "ALLOW_AS_DEPENDENCY") for p in b.rejected_patches
    ]
    yield Table((Column("list"), Column("entry", least=20), Column("means")), approved + rejected, indent=2)
    required = [
        (p.name, p.version, p.release, word(types_pb2.ComplianceLevel, p.compliance_level) or "UNSPECIFIED")
        for p in b.custom_packages
    ]
    titles = (Column("package", least=20), Column("version at least"), Column("release"), Column("level"))
    yield Table(titles, required, indent=2)
