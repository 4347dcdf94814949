"""Watching a ticket: a live picture on a terminal, one line per change elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import typer

from common.errors import Unavailable
from common.pb.v1 import ticket_pb2 as pb
from controller.cli.command import REFUSED
from controller.cli.printer import Format, Printer
from controller.cli.ticket import failures, headline, waiting, waits_for
from controller.cli.words import bad, clean, clock_length, ended, ordinal, plural, since, time_of_day, total, utc, word

if TYPE_CHECKING:
    from rich.console import RenderableType

    from controller.cli.command import Session

_INTERRUPTED: Final = 130
_BAR: Final = 20
_MOST_BATCHES: Final = 12
_MOST_NAMES: Final = 4
_MOST_FAILED: Final = 5


def follow(session: Session, ticket_id: str) -> None:
    """Show a ticket until it has ended; leave with exit code 1 unless it is FINISHED. Ctrl-C leaves the ticket running."""
    printer = session.printer
    changes = session.client().watch(ticket_id, on_lost=lambda lost: printer.remark(f"{lost}; trying again"))
    try:
        live = printer.is_terminal and printer.format is Format.TABLE
        last = _live(changes, printer) if live else _lines(changes, printer)
    except KeyboardInterrupt:
        printer.remark(
            f"\nStopped watching; {ticket_id} goes on. patchctl ticket watch {ticket_id} shows it again, "
            f"patchctl ticket end {ticket_id} ends it."
        )
        raise typer.Exit(_INTERRUPTED) from None
    if last is None:
        raise Unavailable(f"the controller said nothing about {ticket_id}")
    if printer.format is not Format.TABLE:
        printer.one(last, list)
    for sentence in conclusion(last):
        printer.remark(sentence)
    if last.state != pb.TICKET_STATE_FINISHED:
        raise typer.Exit(REFUSED)


def _lines(changes: Iterator[pb.WatchResponse], printer: Printer) -> pb.Ticket | None:
    before: pb.WatchResponse | None = None
    for now in changes:
        for line in differences(before, now):
            if printer.format is Format.TABLE:
                printer.lines([line])
                sys.stdout.flush()
            else:
                printer.remark(line)
        before = now
    return before.ticket if before is not None else None


def _live(changes: Iterator[pb.WatchResponse], printer: Printer) -> pb.Ticket | None:
    from rich.live import Live

    last: pb.WatchResponse | None = None

    def picture() -> RenderableType:
        from rich.text import Text

        lines = [] if last is None else screen(last, datetime.now(UTC))
        drawn = Text("\n").join(map(printer.painted, lines))
        drawn.no_wrap, drawn.overflow = True, "ellipsis"
        return drawn

    with Live(get_renderable=picture, console=printer.console, refresh_per_second=4) as display:
        for last in changes:  # noqa: B007 - the picture, drawn by another thread, reads it
            display.refresh()
    return last.ticket if last is not None else None


def screen(message: pb.WatchResponse, now: datetime) -> list[str]:
    """Return the lines of the live picture."""
    ticket = message.ticket
    done, all_runs = ended(ticket.counts), total(ticket.counts)
    left = remaining_seconds(ticket)
    head = [
        f"{ticket.id} scan",
        word(pb.TicketState, ticket.state),
        f"batch {current_batch(ticket)}/{len(ticket.batches)}",
        f"{bar(done, all_runs)} {done}/{all_runs}",
        f"ok {ticket.counts.succeeded}",
        failures(ticket),
        "" if left is None else f"eta {clock_length(left)}",
    ]
    lines = ["  ".join(part for part in head if part)]
    lines += [f"  {said}"] if (said := waiting(ticket)) else []
    shown = _worth_showing(ticket)
    for batch in shown:
        line = (
            f"  batch {batch.number}  {word(pb.BatchState, batch.state)}  {ended(batch.counts)}/{total(batch.counts)}"
        )
        out = [run for run in message.running if run.batch == batch.number]
        names = [f"{r.instance_name} {r.step or 'sent'} ({since(r.sent_at, now)})" for r in out[:_MOST_NAMES]]
        if len(out) > _MOST_NAMES:
            names.append("…")
        if batch.state == pb.BATCH_STATE_PROCESSING and batch.counts.ready:
            names.append(f"{batch.counts.ready} waiting")
        lines.append(f"{line}  {', '.join(names)}".rstrip())
    if hidden := len(ticket.batches) - len(shown):
        lines.append(f"  {plural(hidden, 'batch')} more")
    lines += [f"  {sentence}" for sentence in waits(ticket)]
    lines += [f"  {_failure(run)}" for run in message.failed[:_MOST_FAILED]]
    return [clean(line) for line in lines]


def waits(ticket: pb.Ticket) -> Iterator[str]:
    """Say for which maintenance window a ticket waits, if it does."""
    if ticket.HasField("window_opens_at"):
        yield f"waits for its window, opens {utc(ticket.window_opens_at)}"


def bar(done: int, all_runs: int) -> str:
    """Draw how much is done."""
    full = _BAR * done // all_runs if all_runs else 0
    return "━" * full + "─" * (_BAR - full)


def current_batch(ticket: pb.Ticket) -> int:
    """Return the number of the batch that runs or comes next; the last one when all have ended."""
    for batch in ticket.batches:
        if batch.state in (pb.BATCH_STATE_READY, pb.BATCH_STATE_PROCESSING):
            return batch.number
    return len(ticket.batches)


def remaining_seconds(ticket: pb.Ticket) -> float | None:
    """Estimate how long the rest takes at the pace so far, by the controller's own times; None when it cannot be said."""
    done, all_runs = ended(ticket.counts), total(ticket.counts)
    starts = [batch.started_at.ToDatetime() for batch in ticket.batches if batch.HasField("started_at")]
    if ticket.state != pb.TICKET_STATE_PROCESSING or not done or not starts:
        return None
    return (ticket.changed_at.ToDatetime() - min(starts)).total_seconds() / done * (all_runs - done)


def differences(before: pb.WatchResponse | None, now: pb.WatchResponse) -> Iterator[str]:
    """Yield a line for each run that ended badly, for each change of a batch, and of the ticket, in the order in which these follow."""
    at = time_of_day(now.ticket.changed_at)
    if before is None:
        yield f"{at}  {headline(now.ticket)}"
    if before is None or before.ticket.window_opens_at != now.ticket.window_opens_at:
        yield from (f"{at}  {sentence}" for sentence in waits(now.ticket))
    known = {batch.number: batch for batch in before.ticket.batches} if before is not None else {}
    told = {(run.id, run.attempt) for run in before.failed} if before is not None else set()
    for run in reversed(now.failed):  # the latest stands first
        if (run.id, run.attempt) not in told:
            yield f"{time_of_day(run.ended_at) if run.HasField('ended_at') else at}  {_failure(run)}"
    if (said := waiting(now.ticket)) and (before is None or said != waiting(before.ticket)):
        yield f"{at}  {said}"
    waited = {(run.id, run.waits_for) for run in before.waiting} if before is not None else set()
    for run in now.waiting:
        if (run.id, run.waits_for) not in waited:
            yield f"{at}  batch {run.batch}  {run.instance_name or run.instance_id} {waits_for(run)}"
    for batch in now.ticket.batches:
        earlier = known.get(batch.number)
        if batch.state == (earlier.state if earlier else pb.BATCH_STATE_READY) and (
            earlier is None or ended(earlier.counts) == ended(batch.counts)
        ):
            continue
        place = " ".join(filter(None, (batch.region, batch.zone, batch.application_group)))
        line = f"{at}  batch {batch.number}/{len(now.ticket.batches)}  {word(pb.BatchState, batch.state)}"
        yield f"{line}  {ended(batch.counts)}/{total(batch.counts)}  {place}".rstrip()
    if before is not None and before.ticket.state != now.ticket.state:
        yield f"{at}  {headline(now.ticket)}"


def conclusion(ticket: pb.Ticket) -> Iterator[str]:
    """Say how a ticket ended and what can be done now."""
    counts, who = ticket.counts, ticket.id
    yield f"{who} {word(pb.TicketState, ticket.state)}: {counts.succeeded} of {plural(total(counts), 'instance')} succeeded"
    if ticket.state == pb.TICKET_STATE_FINISHED:
        yield "See the answer with: patchctl report summary"
    if ticket.state != pb.TICKET_STATE_ABNORMAL:
        return
    if ticket.abnormal_cause == pb.ABNORMAL_CAUSE_SUSPENDED:
        canary = ticket.waiting_for == pb.TICKET_WAIT_CONTINUE
        stopped = f"Stopped at the {ordinal(ticket.stops_at or bad(counts))} failed instance"
        yield f"{'Its canary failed' if canary else stopped}. What is left waits:"
        yield f"  go on         patchctl ticket continue {who}"
    elif ticket.abnormal_cause == pb.ABNORMAL_CAUSE_TIMED_OUT:
        yield f"Its time was over: {ticket.note}."
    else:
        yield f"{plural(bad(counts), 'instance')} failed, within the success rate."
    yield f"  try again     patchctl ticket retry {who}"
    yield f"  give them up  patchctl ticket cancel {who}"
    yield f"  see why       patchctl ticket show {who} --state ABNORMAL"


def _failure(run: pb.Run) -> str:
    where = f"{run.instance_name or run.instance_id} {word(pb.RunOutcome, run.outcome)}"
    return f"batch {run.batch}  {where}: {run.error}" if run.error else f"batch {run.batch}  {where}"


def _worth_showing(ticket: pb.Ticket) -> list[pb.Batch]:
    """Return all batches if they are few, else those around the current one, and the abnormal ones as far as there is room."""
    if len(ticket.batches) <= _MOST_BATCHES:
        return list(ticket.batches)
    current = current_batch(ticket)
    near = {b.number for b in ticket.batches if abs(b.number - current) <= 2}
    abnormal = [b.number for b in ticket.batches if b.state == pb.BATCH_STATE_ABNORMAL and b.number not in near]
    chosen = near | set(abnormal[-(_MOST_BATCHES - len(near)) :])
    return [b for b in ticket.batches if b.number in chosen]
