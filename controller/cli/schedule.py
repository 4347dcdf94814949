"""patchctl schedule: scans that are made by themselves, at an instant or again and again."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from controller.cli.command import Misuse, Session, command
from controller.cli.options import read_yaml
from controller.cli.printer import Format
from controller.cli.scan import Plan, preview_lines
from controller.cli.selection import Filters
from controller.cli.table import Column, Table
from controller.cli.telling import Telling
from controller.cli.when import local_text, weekdays_of, weekdays_text
from controller.cli.words import plural, utc, word

if TYPE_CHECKING:
    from common.pb.v1 import schedule_pb2 as pb

_WHEN: Final = "When"
_TASK: Final = "The task"

ScheduleArgument = Annotated[str, typer.Argument(metavar="NAME", help="The task's name or id.")]
CommentOption = Annotated[str, typer.Option(help="Why; people read it.")]


class Risk(StrEnum):
    """How much a task can harm."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"


class Missed(StrEnum):
    """What to do about missed runs."""

    SKIP = "skip"
    RUN_ONCE = "run-once"


@dataclass(frozen=True, slots=True)
class When:
    """When a task runs: one of --once, --every and --cron."""

    once: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Once, local time: '2026-12-01 02:30'.", rich_help_panel=_WHEN),
    ] = None
    every: Annotated[
        str | None,
        typer.Option(
            metavar="'DAYS TIME'",
            help="Again and again, local time: 'Mon-Fri 02:30', 'Sat,Sun 22:00:30' or 'daily 02:30'.",
            rich_help_panel=_WHEN,
        ),
    ] = None
    cron: Annotated[
        str | None,
        typer.Option(
            metavar="'S M H DOM MON DOW'",
            help="Cron, 1 = SUN, one of the two days is ?: '0 30 2 ? * MON-FRI', '0 0 3 L * ?'; five fields mean second 0.",
            rich_help_panel=_WHEN,
        ),
    ] = None
    time_zone: Annotated[
        str,
        typer.Option(metavar="ZONE", help="IANA time zone of these times, e.g. Asia/Hong_Kong.", rich_help_panel=_WHEN),
    ] = "UTC"
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="No run after this day, UTC (2027-06-30), or instant (2027-06-30T12:00Z).",
            rich_help_panel=_WHEN,
        ),
    ] = None

    def schedule(self) -> pb.Schedule:
        """Return what the API takes; raise Misuse unless exactly one way to say when was given."""
        from common.pb.v1 import schedule_pb2 as pb

        ways = [way for way in (self.once, self.every, self.cron) if way is not None]
        if len(ways) != 1:
            raise Misuse("say when: one of --once, --every and --cron")
        schedule = pb.Schedule(time_zone=self.time_zone)
        if self.once is not None:
            day, _, at = self.once.strip().replace("T", " ").partition(" ")
            schedule.kind, schedule.date, schedule.time = pb.SCHEDULE_KIND_ONCE, day, at.strip() or "00:00"
        elif self.every is not None:
            days, _, at = self.every.strip().rpartition(" ")
            schedule.kind, schedule.time = pb.SCHEDULE_KIND_PERIODIC, at
            schedule.weekdays.extend(weekdays_of("--every", days))
        else:
            schedule.kind, schedule.cron = pb.SCHEDULE_KIND_CRON, self.cron or ""
        if self.expires is not None:
            schedule.expires_at.FromDatetime(_end("--expires", self.expires))
        return schedule


def _end(option: str, text: str) -> datetime:
    """Read when a rule expires: a whole day, or an instant."""
    try:
        at = datetime.fromisoformat(text.strip())
        if len(text.strip()) <= len("YYYY-MM-DD"):
            at = datetime.combine(at.date(), time(23, 59, 59))
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Misuse(
            f"{option}: {text!r} is not a date; write a day as 2027-06-30, or an instant as 2027-06-30T12:00Z"
        ) from None


@dataclass(frozen=True, slots=True)
class Task:
    """What a task says of itself."""

    description: Annotated[str, typer.Option(help="For people.", rich_help_panel=_TASK)] = ""
    enterprise_project: Annotated[
        str, typer.Option(metavar="TEXT", help="Enterprise project of the task.", rich_help_panel=_TASK)
    ] = ""
    task_version: Annotated[
        str,
        typer.Option(metavar="TEXT", help="Your own version of the task; 1.0.0 if not said.", rich_help_panel=_TASK),
    ] = ""
    agency: Annotated[str, typer.Option(metavar="NAME", help="Agency for other accounts.", rich_help_panel=_TASK)] = ""
    risk: Annotated[
        Risk,
        typer.Option(
            case_sensitive=False, help="HIGH needs another person's approval before it runs.", rich_help_panel=_TASK
        ),
    ] = Risk.LOW
    missed: Annotated[
        Missed,
        typer.Option(
            case_sensitive=False,
            help="Runs whose time went by while the controller was down: skip them, or run once when it is back.",
            rich_help_panel=_TASK,
        ),
    ] = Missed.SKIP
    allow_overlap: Annotated[
        bool,
        typer.Option("--allow-overlap", help="Run although the ticket before is still open.", rich_help_panel=_TASK),
    ] = False

    def message(self, name: str, when: When, filters: Filters, plan: Plan, telling: Telling) -> pb.ScheduledTask:
        """Return what the API takes."""
        from common.pb.v1 import schedule_pb2 as pb

        return pb.ScheduledTask(
            name=name,
            description=self.description,
            enterprise_project=self.enterprise_project,
            task_version=self.task_version,
            agency=self.agency,
            risk_level=pb.RiskLevel.Value(f"RISK_LEVEL_{self.risk.value}"),
            schedule=when.schedule(),
            spec=plan.spec(filters, telling),
            missed_runs=pb.MissedRunPolicy.Value(f"MISSED_RUN_POLICY_{self.missed.name}"),
            allow_overlap=self.allow_overlap,
        )


def add_to(app: typer.Typer) -> None:
    """Add the group to the root."""
    group = typer.Typer(help="Schedules: scans that are made by themselves.", no_args_is_help=True)
    for name, function in (
        ("create", create),
        ("preview", preview),
        ("list", list_schedules),
        ("show", show),
        ("edit", edit),
        ("enable", enable),
        ("disable", disable),
        ("delete", delete),
        ("approve", approve),
        ("reject", reject),
        ("run", run),
        ("history", history),
    ):
        command(group, name)(function)
    app.add_typer(group, name="schedule")


def preview(
    session: Session, called: ScheduleArgument, when: When, filters: Filters, plan: Plan, telling: Telling, task: Task
) -> None:
    """Show when schedule create with the same options would run, and what its scan would be now. Nothing is stored."""
    answer = session.client().preview_schedule(task.message(called, when, filters, plan, telling))
    session.printer.one(answer, lambda: [*_runs_ahead(answer.task), "", *preview_lines(answer.ticket)])
    session.printer.remark("Make it with: patchctl schedule create (same options)")


def create(
    session: Session,
    called: ScheduleArgument,
    when: When,
    filters: Filters,
    plan: Plan,
    telling: Telling,
    task: Task,
    disabled: Annotated[bool, typer.Option("--disabled", help="Do not let it run yet.")] = False,
) -> None:
    """Make a scheduled scan, and let it run unless it has to be approved first. Whom --all means is decided at each run."""
    message = task.message(called, when, filters, plan, telling)
    made = session.client().create_schedule(message, enable=not disabled and task.risk is not Risk.HIGH)
    _changed(session, made)


def list_schedules(session: Session) -> None:
    """List scheduled tasks."""
    from common.pb.v1 import schedule_pb2 as pb

    found = list(session.client().list_schedules(page_size=1000))
    session.printer.many(pb.ScheduledTask.DESCRIPTOR, found, lambda: [_tasks(found)])
    session.printer.remark(plural(len(found), "schedule"))


def show(session: Session, called: ScheduleArgument) -> None:
    """Show a scheduled task and its next runs."""
    found = session.client().get_schedule(called)
    session.printer.one(found, lambda: _task(found))


def edit(
    session: Session,
    called: ScheduleArgument,
    file: Annotated[
        Path, typer.Option("--file", "-f", help="The task as YAML, as schedule show -o yaml writes it; - is stdin.")
    ],
) -> None:
    """Replace what a disabled task does. Its approval is void afterwards."""
    from common.pb.v1 import schedule_pb2 as pb
    from controller.cli.unplain import fill

    task = pb.ScheduledTask()
    fill(task, read_yaml("--file", file), "--file")
    _changed(session, session.client().update_schedule(called, task))


def enable(session: Session, called: ScheduleArgument) -> None:
    """Let a task run from now on."""
    _changed(session, session.client().enable_schedule(called))


def disable(session: Session, called: ScheduleArgument) -> None:
    """Let a task run no more; its tickets go on."""
    _changed(session, session.client().disable_schedule(called))


def delete(
    session: Session,
    called: ScheduleArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Forget a task and its history; its tickets stay."""
    session.confirm(f"Delete schedule {called} and its history?", agreed=yes)
    session.client().delete_schedule(called)
    session.printer.remark(f"{called} is deleted; its tickets stay")


def approve(
    session: Session,
    called: ScheduleArgument,
    comment: CommentOption = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not show and ask first.")] = False,
) -> None:
    """Approve a task of HIGH risk that somebody else made and last edited."""
    client = session.client()
    seen = client.get_schedule(called)
    if session.asks and not yes:
        session.printer.remark_lines(_task(seen))
    session.confirm(f"Approve schedule {seen.name} as it stands?", agreed=yes, must_ask=False)
    _changed(session, client.approve_schedule(called, comment, version=seen.version))


def reject(session: Session, called: ScheduleArgument, comment: CommentOption = "") -> None:
    """Refuse a task of HIGH risk, or take its approval back while it is disabled."""
    _changed(session, session.client().reject_schedule(called, comment))


def run(
    session: Session,
    called: ScheduleArgument,
    request_id: Annotated[
        str, typer.Option(metavar="TEXT", help="The same text makes no second ticket, e.g. when a script tries again.")
    ] = "",
) -> None:
    """Run a task now, beside its schedule, enabled or not. Its approval and overlap rules hold; the history names you."""
    fired = session.client().run_schedule(called, request_id=request_id or secrets.token_hex(8))
    session.printer.one(fired, lambda: [fired.ticket_id])
    session.printer.remark(f"Follow it with: patchctl ticket watch {fired.ticket_id}")


def history(
    session: Session,
    called: ScheduleArgument,
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="At most so many; 0 is all.")] = 50,
) -> None:
    """Show what became of each run of a task, newest first: its ticket, or why there is none."""
    from common.pb.v1 import schedule_pb2 as pb

    runs = session.client().list_schedule_runs(called, page_size=min(1000, limit) if limit else 1000)
    found = list(islice(runs, limit or None))
    session.printer.many(pb.ScheduleRun.DESCRIPTOR, found, lambda: [_history(found)])
    session.printer.remark(plural(len(found), "run"))


def _changed(session: Session, task: pb.ScheduledTask) -> None:
    printer = session.printer
    if printer.format is Format.TABLE:
        printer.lines([task.id])
    else:
        printer.one(task, list)
    printer.remark_lines(_runs_ahead(task))


def _runs_ahead(task: pb.ScheduledTask) -> Iterator[str]:
    state = "runs" if task.enabled else "is disabled; it would run"
    yield f"Schedule {task.name} {state} {when_text(task.schedule)}"
    now = datetime.now(UTC)
    for run in task.next_runs:
        at = run.ToDatetime(tzinfo=UTC)
        yield f"  {local_text(at, task.schedule.time_zone)}   in {_until(at - now)}"
    if not task.next_runs:
        yield "  never again: its time is over"
    if task.waits_for:
        yield task.waits_for
    elif task.id and not task.enabled:
        yield f"Let it run with: patchctl schedule enable {task.name}"


def _until(length: timedelta) -> str:
    from common.clock import format_duration

    return format_duration(length)


def when_text(schedule: pb.Schedule) -> str:
    """Say when a task runs: "Mon,Tue at 02:30 Europe/Berlin"."""
    from common.pb.v1 import schedule_pb2 as pb

    if schedule.kind == pb.SCHEDULE_KIND_ONCE:
        said = f"once at {schedule.date} {schedule.time}"
    elif schedule.kind == pb.SCHEDULE_KIND_CRON:
        said = f"at '{schedule.cron}'"
    else:
        said = f"{weekdays_text(schedule.weekdays)} at {schedule.time}"
    until = f" until {utc(schedule.expires_at)}" if schedule.HasField("expires_at") else ""
    return f"{said} {schedule.time_zone}{until}"


def _tasks(found: Sequence[pb.ScheduledTask]) -> Table:
    from common.pb.v1 import schedule_pb2 as pb

    titles = (
        Column("name", least=12),
        Column("state", least=9),
        Column("when", least=16),
        Column("next run", least=16),
        Column("risk", rank=1),
        Column("made by", rank=2),
        Column("id", rank=3),
    )
    rows = [
        (
            t.name,
            _state(t),
            when_text(t.schedule),
            utc(t.next_runs[0]) if t.next_runs else "never again",
            word(pb.RiskLevel, t.risk_level),
            t.created_by,
            t.id,
        )
        for t in found
    ]
    return Table(titles, rows)


def _state(task: pb.ScheduledTask) -> str:
    if task.enabled:
        return "enabled"
    return "disabled, to be approved" if task.waits_for else "disabled"


def _task(t: pb.ScheduledTask) -> Iterator[str | Table]:
    from common.pb.v1 import schedule_pb2 as pb

    yield from _runs_ahead(t)
    yield f"  {t.id}  version {t.task_version}  risk {word(pb.RiskLevel, t.risk_level)}"
    if t.description:
        yield from (f"  {line}" for line in t.description.splitlines())
    yield f"  made {utc(t.created_at)} by {t.created_by}, last edited {utc(t.edited_at)} by {t.edited_by}"
    missed = word(pb.MissedRunPolicy, t.missed_runs).lower().replace("_", " ")
    overlap = "runs may overlap" if t.allow_overlap else "runs do not overlap"
    yield f"  missed runs: {missed}; {overlap}"
    if t.HasField("approval"):
        verdict = "approved" if t.approval.approved else "rejected"
        comment = f": {t.approval.comment}" if t.approval.comment else ""
        yield f"  {verdict} {utc(t.approval.at)} by {t.approval.by}{comment}"
    yield f"See its runs with: patchctl schedule history {t.name}"


def _history(found: Sequence[pb.ScheduleRun]) -> Table:
    from common.pb.v1 import schedule_pb2 as pb
    from common.pb.v1 import ticket_pb2

    titles = (
        Column("run", least=20),
        Column("outcome", least=8),
        Column("ticket", least=7),
        Column("state", least=8),
        Column("why", least=24),
    )
    rows = [
        (
            utc(r.fire_at),
            " ".join(
                filter(None, (word(pb.ScheduleRunOutcome, r.outcome), word(pb.ScheduleSkipReason, r.skip_reason)))
            ),
            r.ticket_id,
            word(ticket_pb2.TicketState, r.ticket_state),
            r.sentence or (f"run by {r.fired_by}" if r.fired_by else ""),
        )
        for r in found
    ]
    return Table(titles, rows)
