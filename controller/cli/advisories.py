"""patchctl advisory: what vendors have published, and who still lacks it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.command import Session, command
from controller.cli.printer import Format
from controller.cli.selection import Filters
from controller.cli.table import Column, Table
from controller.cli.words import plural, utc, word

if TYPE_CHECKING:
    from common.pb.v1 import report_pb2


class CategoryOption(StrEnum):
    """What an advisory announces."""

    SECURITY = "SECURITY"
    BUGFIX = "BUGFIX"
    ENHANCEMENT = "ENHANCEMENT"
    RECOMMENDED = "RECOMMENDED"
    NEWPACKAGE = "NEWPACKAGE"


class SeverityOption(StrEnum):
    """The vendor's severity."""

    CRITICAL = "CRITICAL"
    IMPORTANT = "IMPORTANT"
    MODERATE = "MODERATE"
    LOW = "LOW"
    NONE = "NONE"


def add_to(app: typer.Typer) -> None:
    """Add the group to the root."""
    group = typer.Typer(help="Advisories: what vendors have published, and who still lacks it.", no_args_is_help=True)
    command(group, "list")(list_advisories)
    command(group, "show")(show)
    command(group, "affected")(affected)
    app.add_typer(group, name="advisory")


def list_advisories(
    session: Session,
    category: Annotated[
        list[CategoryOption] | None, typer.Option(case_sensitive=False, help="Only of this category; repeat it.")
    ] = None,
    severity: Annotated[
        list[SeverityOption] | None, typer.Option(case_sensitive=False, help="Only of this severity; repeat it.")
    ] = None,
    text: Annotated[
        str, typer.Option(metavar="WORDS", help="Words that stand in the id, the title, a CVE or a package's name.")
    ] = "",
    affecting: Annotated[bool, typer.Option("--affecting", help="Only those that some instance lacks.")] = False,
) -> None:
    """List the advisories of all repositories that the fleet has enabled, the newest first."""
    from common.pb.v1 import report_pb2, types_pb2

    found = list(
        session.client().list_advisories(
            categories=[types_pb2.Category.Value(f"CATEGORY_{c.value}") for c in category or ()],
            severities=[types_pb2.Severity.Value(f"SEVERITY_{s.value}") for s in severity or ()],
            text=text,
            affecting_only=affecting,
            page_size=1000,
        )
    )
    session.printer.many(report_pb2.Advisory.DESCRIPTOR, found, lambda: [_table(found)])
    session.printer.remark("1 advisory" if len(found) == 1 else f"{len(found):,} advisories")


def show(
    session: Session, advisory: Annotated[str, typer.Argument(help="The advisory's id; case does not matter.")]
) -> None:
    """Show one advisory: what it announces, its CVEs and builds, and how many instances lack it."""
    found = session.client().get_advisory(advisory)
    session.printer.one(found, lambda: _lines(found))


def affected(
    session: Session,
    reference: Annotated[str, typer.Argument(help="An advisory or a CVE by its id; case does not matter.")],
    filters: Filters,
    all_rows: Annotated[bool, typer.Option("--all", help="Also the instances that have it installed already.")] = False,
) -> None:
    """Say who has this: which instances lack an advisory or the fix of a CVE, and in which package."""
    from common.pb.v1 import report_pb2

    found = session.client().list_affected(reference, filters.or_all(), include_fixed=all_rows, page_size=1000)
    if session.printer.format is Format.CSV:
        session.printer.many(report_pb2.Affected.DESCRIPTOR, found.affected, list)
    else:
        session.printer.one(found, lambda: _affected(reference, found))


def _table(found: Sequence[report_pb2.Advisory]) -> Table:
    from common.pb.v1 import types_pb2

    titles = (
        Column("id", least=14),
        Column("category", rank=2),
        Column("severity"),
        Column("issued", rank=1),
        Column("affected", right=True),
        Column("title", rank=3, least=20),
    )
    rows = [
        (
            a.id,
            word(types_pb2.Category, a.category),
            word(types_pb2.Severity, a.severity),
            a.issued,
            str(a.affected_instances),
            a.title,
        )
        for a in found
    ]
    return Table(titles, rows)


def _lines(a: report_pb2.Advisory) -> Iterator[str | Table]:
    from common.pb.v1 import types_pb2

    kind = "  ".join(filter(None, (word(types_pb2.Category, a.category), word(types_pb2.Severity, a.severity))))
    yield f"{a.id}  {kind}".rstrip()
    if a.title:
        yield f"  {a.title}"
    facts = (
        ("issued", a.issued or "the vendor does not say"),
        ("updated", a.updated),
        ("first seen", utc(a.first_seen_at) if a.HasField("first_seen_at") else ""),
        ("repositories", ", ".join(a.repositories)),
        ("CVEs", ", ".join(a.cves)),
        ("lacked by", f"{plural(a.affected_instances, 'instance')}: patchctl advisory affected {a.id}"),
    )
    for title, value in facts:
        if value:
            yield f"  {title:<12}  {value}"
    yield f"  {plural(len(a.packages), 'build')}"
    for build in a.packages:
        yield f"    {build}"


def _affected(reference: str, found: report_pb2.ListAffectedResponse) -> Iterator[str | Table]:
    unknown = f"; of {plural(found.unknown_instances, 'other')} it is not known" if found.unknown_instances else ""
    verb = "lacks" if found.affected_instances == 1 else "lack"
    yield f"{plural(found.affected_instances, 'instance')} {verb} {reference}{unknown}"
    titles = (
        Column("instance", least=12),
        Column("package", least=12),
        Column("installed", least=14),
        Column("fixed in", least=14),
        Column("state"),
        Column("advisory", rank=1, least=14),
    )
    rows = [
        (
            row.instance_name,
            f"{row.name}.{row.arch}",
            row.installed,
            row.fixed_in,
            "fixed" if row.fixed else "lacking",
            row.advisory_id,
        )
        for row in found.affected
    ]
    if rows:
        yield Table(titles, rows, indent=2)
