"""patchctl ticket: what runs, and steering it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.across import execution_accounts, refused_accounts
from controller.cli.command import Misuse, Session, command
from controller.cli.printer import Format
from controller.cli.table import Column, Table
from controller.cli.when import window_text
from controller.cli.words import ago, bad, ended, length_of, ordinal, plural, tenths, total, utc, word

if TYPE_CHECKING:
    from common.pb.v1 import ticket_pb2 as pb

TicketArgument = Annotated[str, typer.Argument(help="The ticket's id, e.g. T-7Q4M.")]
BatchOption = Annotated[
    int,
    typer.Option(
        "--batch",
        min=0,
        max=2**32 - 1,
        metavar="N",
        show_default=False,
        help="Only this batch; 0 is every abnormal one.",
    ),
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for other people.")]


class State(StrEnum):
    """State of a ticket."""

    READY = "READY"
    PROCESSING = "PROCESSING"
    PAUSED = "PAUSED"
    ABNORMAL = "ABNORMAL"
    CANCELED = "CANCELED"
    FINISHED = "FINISHED"


class RunState(StrEnum):
    """State of a run."""

    READY = "READY"
    PROCESSING = "PROCESSING"
    ABNORMAL = "ABNORMAL"
    CANCELED = "CANCELED"
    FINISHED = "FINISHED"


def add_to(app: typer.Typer) -> None:
    """Add the group to the root."""
    group = typer.Typer(help="Tickets: what runs, and steering it.", no_args_is_help=True)
    command(group, "list")(list_tickets)
    command(group, "show")(show)
    command(group, "watch")(watch)
    command(group, "pause")(pause)
    command(group, "continue")(go_on)
    command(group, "end")(end)
    command(group, "retry")(retry)
    command(group, "cancel")(cancel)
    command(group, "log")(log)
    app.add_typer(group, name="ticket")


def list_tickets(
    session: Session,
    state: Annotated[
        list[State] | None, typer.Option(case_sensitive=False, help="Only in this state; repeat it.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="At most so many; 0 is all.")] = 50,
) -> None:
    """List tickets, newest first."""
    from common.pb.v1 import ticket_pb2 as pb

    states = [pb.TicketState.Value(f"TICKET_STATE_{s.value}") for s in state or ()]
    size = min(1000, limit + 1) if limit else 1000
    found = list(islice(session.client().list_tickets(states=states, page_size=size), limit + 1 if limit else None))
    shown = found[:limit] if limit else found
    session.printer.many(pb.Ticket.DESCRIPTOR, shown, lambda: [_tickets(shown)])
    session.printer.remark(
        plural(len(shown), "ticket") + (", there are more: --limit 0" if len(shown) < len(found) else "")
    )


def show(
    session: Session,
    ticket: TicketArgument,
    batch: Annotated[
        int,
        typer.Option(
            min=0, max=2**32 - 1, metavar="N", show_default=False, help="Only the runs of this batch; 0 is all."
        ),
    ] = 0,
    state: Annotated[
        list[RunState] | None, typer.Option(case_sensitive=False, help="Only runs in this state; repeat it.")
    ] = None,
) -> None:
    """Show a ticket, its batches and its runs."""
    from common.pb.v1 import ticket_pb2 as pb
    from controller.cli.plain import cells, columns, plain

    client, printer = session.client(), session.printer
    found = client.get_ticket(ticket)
    states = [pb.RunState.Value(f"RUN_STATE_{s.value}") for s in state or ()]
    runs = client.list_runs(ticket, batch=batch, states=states, page_size=1000)
    match printer.format:
        case Format.TABLE:
            printer.lines([*_ticket(found), _runs(list(runs))])
        case Format.CSV:
            printer.csv(columns(pb.Run.DESCRIPTOR), map(cells, runs))
        case _:
            printer.data({"ticket": plain(found), "runs": [plain(run) for run in runs]})


def watch(session: Session, ticket: TicketArgument) -> None:
    """Follow a ticket until it has ended. Exit code 0: FINISHED, 1: ABNORMAL or CANCELED."""
    from controller.cli.progress import follow

    session.client().get_ticket(ticket)  # a wrong id or address shows at once; only then is patience right
    follow(session, ticket)


def pause(session: Session, ticket: TicketArgument, reason: ReasonOption = "") -> None:
    """Send nothing more; what is out finishes."""
    paused = session.client().pause_ticket(ticket, reason)
    _changed(session, paused, f"{plural(paused.counts.processing, 'instance')} still finishing")


def go_on(session: Session, ticket: TicketArgument) -> None:
    """Go on after a pause or a suspension; failures seen so far are forgiven once."""
    _changed(session, session.client().continue_ticket(ticket))


def end(
    session: Session,
    ticket: TicketArgument,
    reason: ReasonOption = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Cancel what has not started and stop waiting for what is out."""
    session.confirm(f"End ticket {ticket}?", agreed=yes, must_ask=False)
    _changed(session, session.client().end_ticket(ticket, reason))


def retry(
    session: Session,
    ticket: TicketArgument,
    batch: BatchOption = 0,
    instance: Annotated[
        list[str] | None, typer.Option("--instance", "-i", help="Only this failed instance, by id or name; repeat it.")
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Every failed instance, also those of the batch that runs.")
    ] = False,
) -> None:
    """Run again what did not succeed: abnormal batches, every failed instance, or some.

    After a suspension the other failures are forgiven once, and the ticket goes on.
    """
    if (batch > 0) + bool(instance) + failed > 1:
        raise Misuse("--batch, --instance, --failed: give one of them")
    client = session.client()
    retried = client.retry_runs(ticket, instance or ()) if instance or failed else client.retry_batch(ticket, batch)
    _changed(session, retried)


def log(
    session: Session,
    ticket: TicketArgument,
    instance: Annotated[str, typer.Argument(help="The instance, by id or name.")],
) -> None:
    """Show when one instance's run reached each step.

    queued: its turn has not come. promised: stored, to be sent. sent: to the agent. accepted, refreshing, collecting, sending: what
    the agent said. stored: its result. ended: it counts. Each retry begins again.
    """
    from common.pb.v1 import ticket_pb2 as pb
    from controller.cli.plain import cells, columns, plain

    found, printer = session.client().run_log(ticket, instance), session.printer
    match printer.format:
        case Format.TABLE:
            printer.lines(_log(found))
        case Format.CSV:
            printer.csv(columns(pb.RunStep.DESCRIPTOR), map(cells, found.steps))
        case _:
            printer.data(plain(found))


def cancel(
    session: Session,
    ticket: TicketArgument,
    batch: BatchOption = 0,
    instance: Annotated[
        str, typer.Option("--instance", "-i", help="Give up this instance's run instead, by id or name.")
    ] = "",
) -> None:
    """Give abnormal batches up, or one instance's run."""
    if instance and batch:
        raise Misuse("--instance: goes without --batch")
    client = session.client()
    _changed(session, client.cancel_run(ticket, instance) if instance else client.cancel_batch(ticket, batch))


def _changed(session: Session, ticket: pb.Ticket, remark: str = "") -> None:
    session.printer.one(ticket, lambda: [headline(ticket)])
    if remark:
        session.printer.remark(remark)


def headline(ticket: pb.Ticket) -> str:
    """Say a ticket in one line."""
    from common.pb.v1 import ticket_pb2 as pb

    counts = ticket.counts
    parts = [
        f"{ticket.id} scan",
        word(pb.TicketState, ticket.state),
        word(pb.AbnormalCause, ticket.abnormal_cause),
        f"{ended(counts)}/{total(counts)}",
        f"ok {counts.succeeded}",
        failures(ticket),
    ]
    return "  ".join(part for part in parts if part)


def waiting(ticket: pb.Ticket) -> str:
    """Say what a ticket waits for and until when; empty when it does not."""
    from common.pb.v1 import ticket_pb2 as pb

    until = f" until {utc(ticket.waiting_until)}" if ticket.HasField("waiting_until") else ""
    match ticket.waiting_for:
        case pb.TICKET_WAIT_CONTINUE:
            return f"waits after its canary; go on with: patchctl ticket continue {ticket.id}"
        case pb.TICKET_WAIT_SOAK:
            return f"waits{until}: the batch before has just ended"
        case pb.TICKET_WAIT_AGENTS:
            return f"waits{until} for the agents of {plural(ticket.waiting_runs, 'instance')}"
        case pb.TICKET_WAIT_OTHER_TICKETS:
            return f"waits for other tickets on {plural(ticket.waiting_runs, 'instance')}"
        case _:
            return ""


def waits_for(run: pb.Run) -> str:
    """Say what a run waits for; empty when it does not."""
    if not run.waits_for:
        return ""
    return "waits for its agent" if run.waits_for == "agent" else f"waits for {run.waits_for} on this instance"


def failures(ticket: pb.Ticket) -> str:
    """Say how many failed and when that stops the ticket, "failed 1 (stops at 3)"."""
    stop = f" (stops at {ticket.stops_at})" if ticket.stops_at else ""
    return f"failed {bad(ticket.counts)}{stop}"


def _tickets(found: Sequence[pb.Ticket]) -> Table:
    from common.pb.v1 import ticket_pb2 as pb

    now = datetime.now(UTC)
    titles = (
        Column("ticket"),
        Column("state"),
        Column("name", rank=3),
        Column("instances", right=True),
        Column("ok", right=True),
        Column("failed", right=True),
        Column("batches", rank=2, right=True),
        Column("made"),
        Column("by", rank=1),
    )
    rows = [
        (
            t.id,
            word(pb.TicketState, t.state),
            t.spec.name,
            str(total(t.counts)),
            str(t.counts.succeeded),
            str(bad(t.counts)),
            str(len(t.batches)),
            ago(t.created_at, now),
            t.created_by,
        )
        for t in found
    ]
    return Table(titles, rows)


def _ticket(t: pb.Ticket) -> Iterator[str | Table]:
    from common.pb.v1 import ticket_pb2 as pb

    policy = t.spec.suspension_policy
    yield headline(t)
    if t.spec.name:
        yield f"  {t.spec.name}"
    yield f"  made {utc(t.created_at)} by {t.created_by}, as {t.executed_by}, timeout {length_of(t.spec.timeout)} each"
    rate = tenths(policy.success_rate_tenths)
    yield f"  stops at the {ordinal(t.stops_at)} failed instance ({rate})" if t.stops_at else "  never stops by itself"
    if (waits := waiting(t)) and t.state != pb.TICKET_STATE_ABNORMAL:
        yield f"  {waits}"
    if t.HasField("expires_at") and t.state in (pb.TICKET_STATE_PROCESSING, pb.TICKET_STATE_PAUSED):
        yield f"  its time is over at {utc(t.expires_at)}"
    if t.note:
        yield f"  note: {t.note}"
    for line in (*execution_accounts(t.spec), *refused_accounts(t.refused_accounts)):
        yield f"  {line}"
    if t.HasField("window_opens_at"):
        yield f"  waits for its window, opens {utc(t.window_opens_at)}"
    if t.spec.maintenance_windows:
        yield f"  sends only in its windows: {'; '.join(window_text(w) for w in t.spec.maintenance_windows)}"
    titles = (
        Column("batch", right=True),
        Column("state"),
        Column("done", right=True),
        Column("ok", right=True),
        Column("failed", right=True),
        Column("canceled", rank=2, right=True),
        Column("region", rank=1),
        Column("zone", rank=4),
        Column("application", rank=3),
    )
    rows = [
        (
            f"{b.number} canary" if b.canary else str(b.number),
            word(pb.BatchState, b.state),
            f"{ended(b.counts)}/{total(b.counts)}",
            str(b.counts.succeeded),
            str(bad(b.counts)),
            str(b.counts.canceled),
            b.region,
            b.zone,
            b.application_group,
        )
        for b in t.batches
    ]
    yield Table(titles, rows, indent=2)


def _log(found: pb.GetRunLogResponse) -> Iterator[str | Table]:
    from common.pb.v1 import ticket_pb2 as pb

    run = found.run
    state = word(pb.RunOutcome, run.outcome) or waits_for(run) or word(pb.RunState, run.state)
    yield f"{run.instance_name or run.instance_id}  batch {run.batch}  {state}"
    if run.error:
        yield f"  {run.error}"
    titles = (Column("try", right=True), Column("step"), Column("at"), Column("after", right=True))
    rows, before = list[tuple[str, ...]](), None
    for step in found.steps:
        at = step.at.ToDatetime(UTC)
        after = "" if before is None else f"{(at - before).total_seconds():.1f} s"
        rows.append((str(step.attempt), step.name, f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}", after))
        before = at
    yield Table(titles, rows, indent=2)


def _runs(found: Sequence[pb.Run]) -> Table:
    from common.pb.v1 import ticket_pb2 as pb

    titles = (
        Column("batch", right=True),
        Column("instance", least=14),
        Column("state"),
        Column("outcome"),
        Column("tries", rank=2, right=True),
        Column("ended", rank=1, least=20),
        Column("error", least=20),
    )
    rows = [
        (
            str(r.batch),
            r.instance_name or r.instance_id,
            word(pb.RunState, r.state),
            word(pb.RunOutcome, r.outcome) or r.step,
            str(r.attempt),
            utc(r.ended_at) if r.HasField("ended_at") else "",
            r.error or waits_for(r),
        )
        for r in found
    ]
    return Table(titles, rows, indent=2)
