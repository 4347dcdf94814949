"""patchctl report: who complies, why not, and since when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from controller.cli import report_files
from controller.cli.command import Session, command
from controller.cli.instants import AsOfOption, as_of
from controller.cli.printer import Format
from controller.cli.selection import Filters
from controller.cli.table import Column, Table
from controller.cli.words import ago, plural, share, since, system, utc, word

if TYPE_CHECKING:
    from common.pb.v1 import report_pb2

InstanceArgument = Annotated[str, typer.Argument(help="The instance's id or name.")]
AllOption = Annotated[bool, typer.Option("--all", help="Also the compliant packages.")]
BaselineOption = Annotated[
    str, typer.Option(metavar="BASELINE", help="Use this baseline, by id or name, for this answer only.")
]
_ATTRIBUTES: Final = {
    "region": "region",
    "application_group": "group",
    "enterprise_project": "project",
    "product": "os",
    "baseline": "baseline",
}


class Status(StrEnum):
    """Whether an instance complies."""

    COMPLIANT = "COMPLIANT"
    NON_COMPLIANT = "NON_COMPLIANT"
    UNDETERMINED = "UNDETERMINED"


def add_to(app: typer.Typer) -> None:
    """Add the group to the root."""
    group = typer.Typer(help="Compliance reports: who complies, why not, and since when.", no_args_is_help=True)
    command(group, "list")(list_reports)
    command(group, "show")(show)
    command(group, "summary")(summary)
    command(group, "why")(why)
    command(group, "trend")(trend)
    report_files.add_to(group)
    app.add_typer(group, name="report")


def list_reports(
    session: Session,
    filters: Filters,
    status: Annotated[
        list[Status] | None, typer.Option(case_sensitive=False, help="Only with this answer; repeat it.")
    ] = None,
    as_of_option: AsOfOption = None,
) -> None:
    """List instances with their answers, by name."""
    from common.pb.v1 import report_pb2, types_pb2

    now = datetime.now(UTC)
    at = as_of("--as-of", as_of_option, now)
    statuses = [types_pb2.InstanceStatus.Value(f"INSTANCE_STATUS_{s.value}") for s in status or ()]
    found = list(session.client().list_reports(filters.or_all(), statuses=statuses, page_size=1000, as_of=at))
    session.printer.many(report_pb2.InstanceReport.DESCRIPTOR, found, lambda: [_reports(found, at or now)])
    session.printer.remark(plural(len(found), "instance") + (f" as of {utc(at)}" if at is not None else ""))


def show(
    session: Session,
    instance: InstanceArgument,
    all_items: AllOption = False,
    baseline: BaselineOption = "",
    as_of_option: AsOfOption = None,
) -> None:
    """Show one instance's report: what is wrong, since when. In CSV a row for each package.

    Of a past day: since when an item is non-compliant is said only where it is still remembered.
    """
    at = as_of("--as-of", as_of_option, datetime.now(UTC))
    report = session.client().get_report(instance, all_items=all_items, baseline=baseline, as_of=at)
    if session.printer.format is Format.CSV:
        from controller.cli.plain import plain
        from controller.report.sheet import COLUMNS, rows

        session.printer.csv(COLUMNS, ({name: row[name] for name in COLUMNS} for row in rows(plain(report))))
    else:
        session.printer.one(report, lambda: _report(report, at, all_items=all_items))


def summary(session: Session, filters: Filters, as_of_option: AsOfOption = None) -> None:
    """Show the fleet in numbers; there are always three."""
    at = as_of("--as-of", as_of_option, datetime.now(UTC))
    answer = session.client().get_summary(filters.or_all(), as_of=at)
    session.printer.one(answer, lambda: _summary(answer, at or datetime.now(UTC)))


def trend(
    session: Session,
    filters: Filters,
    days: Annotated[
        int, typer.Option(min=1, max=366, metavar="N", help="How many days, today included, 1 to 366.")
    ] = 30,
) -> None:
    """Draw the three numbers day by day. An instance counts from its enrolment on."""
    from common.pb.v1 import report_pb2
    from controller.cli.trend import trend_lines

    points = session.client().get_trend(filters.or_all(), days=days)
    printer = session.printer
    printer.many(report_pb2.TrendPoint.DESCRIPTOR, points, lambda: trend_lines(points, printer.width))


def why(
    session: Session,
    instance: InstanceArgument,
    package: Annotated[str, typer.Argument(help="The package's name, or name.arch.")],
    baseline: BaselineOption = "",
    as_of_option: AsOfOption = None,
) -> None:
    """Say in a sentence why a package has the status it has."""
    from common.pb.v1 import report_pb2, types_pb2

    at = as_of("--as-of", as_of_option, datetime.now(UTC))
    answer = session.client().why(instance, package, baseline=baseline, as_of=at)
    match session.printer.format:
        case Format.TABLE:
            for item in answer.items:
                status = word(types_pb2.PatchStatus, item.status)
                session.printer.prose(
                    item.why or f"{item.name}.{item.arch} {item.installed} is {status} on {answer.instance_name}."
                )
            for reason in answer.reasons:
                name = word(types_pb2.UndeterminedReason, reason.reason)
                session.printer.prose(f"{answer.instance_name} is UNDETERMINED, {name}: {reason.detail}. {reason.help}")
        case Format.CSV:
            session.printer.many(report_pb2.ReportItem.DESCRIPTOR, answer.items, list)
        case _:
            session.printer.one(answer, list)


def _reports(found: Sequence[report_pb2.InstanceReport], now: datetime) -> Table:
    from common.pb.v1 import types_pb2

    titles = (
        Column("name", least=12),
        Column("status", least=13),
        Column("level"),
        Column("missing", right=True),
        Column("other", rank=1, right=True),
        Column("reasons", rank=2, least=12),
        Column("os", rank=5),
        Column("baseline", rank=3),
        Column("scanned", rank=4),
        Column("ticket", rank=6),
    )
    rows = [
        (
            r.instance_name,
            word(types_pb2.InstanceStatus, r.status),
            word(types_pb2.ComplianceLevel, r.level),
            str(r.counts.missing),
            str(r.counts.reject + r.counts.failed + r.counts.pending_reboot),
            ", ".join(word(types_pb2.UndeterminedReason, reason.reason) for reason in r.reasons),
            system(r.operating_system),
            _baseline(r),
            ago(r.collected_at, now) if r.HasField("collected_at") else "never",
            r.ticket_id,
        )
        for r in found
    ]
    return Table(titles, rows)


def _baseline(report: report_pb2.InstanceReport) -> str:
    return f"{report.baseline_name} v{report.inputs.baseline_version}" if report.baseline_name else ""


def _report(r: report_pb2.InstanceReport, at: datetime | None, *, all_items: bool) -> Iterator[str | Table]:
    from common.pb.v1 import types_pb2

    now = at or datetime.now(UTC)
    scanned = f"scanned {ago(r.collected_at, now)}" if r.HasField("collected_at") else "never scanned"
    by = f" by {r.ticket_id}" if r.ticket_id else ""
    facts = " · ".join(filter(None, (system(r.operating_system), _baseline(r) or "no baseline", scanned + by)))
    answer = "  ".join(
        filter(None, (word(types_pb2.InstanceStatus, r.status), word(types_pb2.ComplianceLevel, r.level)))
    )
    yield f"{r.instance_name}  {answer}   {facts}" + (f" · as of {utc(at)}" if at is not None else "")
    for reason in r.reasons:
        yield f"  {word(types_pb2.UndeterminedReason, reason.reason)}  {reason.detail}"
        if reason.help:
            yield f"    {reason.help}"
    titles = (
        Column("status", least=14),
        Column("level", rank=2),
        Column("package", least=12),
        Column("installed", rank=1, least=17),
        Column("required", least=17),
        Column("advisory", rank=4, least=14),
        Column("since", rank=3),
    )
    rows = [
        (
            _status_and_reason(i),
            word(types_pb2.ComplianceLevel, i.level),
            i.name,
            i.installed,
            i.required,
            (i.advisories[0] + (f" +{len(i.advisories) - 1}" if len(i.advisories) > 1 else "")) if i.advisories else "",
            since(i.first_non_compliant_at, now) if i.HasField("first_non_compliant_at") else "",
        )
        for i in r.items
    ]
    if rows:
        yield Table(titles, rows, indent=2)
    c = r.counts
    excepted = sum(i.status == types_pb2.PATCH_STATUS_EXCEPTED for i in r.items)
    rest = ((c.excepted - excepted, "EXCEPTED"), (c.installed, "INSTALLED"), (c.installed_other, "INSTALLED_OTHER"))
    told = ", ".join(f"{count:,} {name}" for count, name in rest if count or name != "EXCEPTED")
    yield f"  ... {told}" + ("" if all_items else " (use --all)")


def _status_and_reason(item: report_pb2.ReportItem) -> str:
    """Say how a package stands, and why where that says more than the status does: REJECT REJECTED would not."""
    from common.pb.v1 import types_pb2

    status, reason = word(types_pb2.PatchStatus, item.status), item.reason.partition("(")[0]
    return status if reason in (status, f"{status}ED") else f"{status} {reason}".rstrip()


def _summary(s: report_pb2.GetSummaryResponse, now: datetime) -> Iterator[str | Table]:
    from common.pb.v1 import types_pb2

    worst = ", ".join(f"{word(types_pb2.ComplianceLevel, x.level) or 'UNSPECIFIED'} {x.instances}" for x in s.levels)
    reasons = ", ".join(f"{word(types_pb2.UndeterminedReason, x.reason)} {x.instances}" for x in s.reasons)
    yield f"Compliance of {plural(s.instances, 'instance')} as of {utc(s.as_of)}"
    rows = (
        ("compliant", s.counts.compliant, ""),
        ("non-compliant", s.counts.non_compliant, f"worst: {worst}" if worst else ""),
        ("undetermined", s.counts.undetermined, reasons),
    )
    for title, count, detail in rows:
        yield f"  {title:<13}  {count:>6}  {share(count, s.instances):>7}   {detail}".rstrip()
    if s.HasField("oldest_missing"):
        item = s.oldest_missing
        level = word(types_pb2.ComplianceLevel, item.level).lower()
        age = f", {since(item.first_non_compliant_at, now)}" if item.HasField("first_non_compliant_at") else ""
        yield f"Oldest missing {level + ' ' if level else ''}patch: {item.name} on {s.oldest_missing_instance}{age}"
    titles = (
        Column("by", least=12),
        Column("", least=14),
        Column("compliant", right=True),
        Column("non-compliant", right=True, least=13),
        Column("undetermined", right=True, least=12),
    )
    groups, last = list[tuple[str, ...]](), ""
    for g in s.groups:
        by = _ATTRIBUTES.get(g.attribute, g.attribute)
        counts = (str(g.counts.compliant), str(g.counts.non_compliant), str(g.counts.undetermined))
        groups.append((by if by != last else "", g.value or "(none)", *counts))
        last = by
    if groups:
        yield Table(titles, groups, indent=2)
