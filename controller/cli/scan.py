"""patchctl scan: what would be done, and doing it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from controller.cli.across import execution_accounts, refused_accounts
from controller.cli.command import Misuse, Session, command
from controller.cli.instants import as_of
from controller.cli.options import batches, length, whole_numbers
from controller.cli.printer import Format
from controller.cli.selection import Filters
from controller.cli.table import Column, Table
from controller.cli.telling import Telling
from controller.cli.when import window_of, window_text
from controller.cli.words import length_of, ordinal, plural, tenths, utc

if TYPE_CHECKING:
    from common.pb.v1 import ticket_pb2 as pb

_HOW: Final = "How carefully"
_WHERE: Final = "In which accounts"
_LARGEST: Final = 2**32 - 1


class Batch(StrEnum):
    """How the targets are split."""

    AUTO = "auto"
    NONE = "none"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a scan is done; what is not given is left to the controller."""

    all: Annotated[
        bool, typer.Option("--all", help="Every instance that matches the filters.", rich_help_panel="Which instances")
    ] = False
    baseline: Annotated[
        str,
        typer.Option(
            help="Baseline by id or name; default is the one that decides for each instance.", rich_help_panel=_HOW
        ),
    ] = ""
    timeout: Annotated[str, typer.Option(help="How long one run may take.", rich_help_panel=_HOW)] = "10m"
    batch: Annotated[
        Batch | None,
        typer.Option(
            case_sensitive=False,
            help="Split automatically (if not said), not at all, or by hand.",
            rich_help_panel=_HOW,
        ),
    ] = None
    batches: Annotated[
        Path | None,
        typer.Option(
            help="Batches by hand: a file with one a line, or a YAML list of lists; - is stdin.", rich_help_panel=_HOW
        ),
    ] = None
    batch_size: Annotated[
        int,
        typer.Option(
            min=0,
            max=_LARGEST,
            metavar="N",
            show_default=False,
            help="Most instances in an automatic batch; 0 is 10.",
            rich_help_panel=_HOW,
        ),
    ] = 0
    group_share: Annotated[
        int,
        typer.Option(
            min=0,
            max=_LARGEST,
            help="Largest share of one group in an automatic batch, percent; 0 is 50.",
            rich_help_panel=_HOW,
        ),
    ] = 0
    ramp: Annotated[
        str, typer.Option(metavar="1,2,5", help="Sizes of the first automatic batches.", rich_help_panel=_HOW)
    ] = ""
    max_in_flight: Annotated[
        int,
        typer.Option(
            min=0,
            max=_LARGEST,
            metavar="N",
            show_default=False,
            help="Most runs out at once; 0 is 100.",
            rich_help_panel=_HOW,
        ),
    ] = 0
    success_rate: Annotated[
        str,
        typer.Option(help="Stop when this rate, percent with one decimal, can no longer be met.", rich_help_panel=_HOW),
    ] = "80"
    literal: Annotated[
        bool,
        typer.Option("--literal", help="Stop already when as many failed as the rate allows.", rich_help_panel=_HOW),
    ] = False
    ignore_unreachable: Annotated[
        bool, typer.Option("--ignore-unreachable", help="Unreachable instances are no failures.", rich_help_panel=_HOW)
    ] = False
    unreachable_after: Annotated[
        str,
        typer.Option(help="How long an agent may be away while its run is out; 1m if not said.", rich_help_panel=_HOW),
    ] = ""
    canary: Annotated[
        str,
        typer.Option(
            metavar="N|P%|first",
            help="A first batch of N instances or P percent, spread over regions and groups; the rest only if none of it fails. "
            "first: the first of --batches.",
            rich_help_panel=_HOW,
        ),
    ] = ""
    canary_wait: Annotated[
        bool,
        typer.Option(
            "--canary-wait", help="After the canary wait for: patchctl ticket continue.", rich_help_panel=_HOW
        ),
    ] = False
    soak: Annotated[
        str, typer.Option(help="How long nothing is sent after a batch has ended, e.g. 10m.", rich_help_panel=_HOW)
    ] = ""
    ticket_timeout: Annotated[
        str,
        typer.Option(
            help="How long the whole ticket may take; what is out then is TIMEOUT, the rest CANCELED.",
            rich_help_panel=_HOW,
        ),
    ] = ""
    offline_wait: Annotated[
        str,
        typer.Option(
            help="Select offline instances too, and wait so long for them, e.g. 8h; if not said they fail.",
            rich_help_panel=_HOW,
        ),
    ] = ""
    offline_until: Annotated[
        str,
        typer.Option(metavar="TIME", help="The same until an instant such as 2026-11-01T08:30Z.", rich_help_panel=_HOW),
    ] = ""
    title: Annotated[str, typer.Option(help="The ticket's name, for people.", rich_help_panel=_HOW)] = ""
    window: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WINDOW",
            help="Send runs only in this maintenance window, 'Sat,Sun 22:00-04:00 Europe/Berlin'; repeat it.",
            rich_help_panel=_HOW,
        ),
    ] = None

    execution_account: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ACCOUNT=AGENCY",
            help="Work in this account's instances, by an agency that it granted; repeat it. Your own, if it shall be among them, "
            "without an agency. If not said: yours alone.",
            rich_help_panel=_WHERE,
        ),
    ] = None
    go_on_without_agency: Annotated[
        bool,
        typer.Option(
            "--go-on-without-agency",
            help="Leave an account out whose agency is missing or too little, and say so; else nothing is made.",
            rich_help_panel=_WHERE,
        ),
    ] = False

    def spec(self, filters: Filters, telling: Telling) -> pb.TicketSpec:
        """Return what the API takes; raise Misuse for what cannot be sent."""
        from controller.client import scan_of, tenths_of
        from controller.client.specs import canary_of

        by_hand = batches("--batches", self.batches) if self.batches is not None else None
        if by_hand is not None and self.batch not in (None, Batch.MANUAL):
            raise Misuse(f"--batches: goes with --batch manual, not {self.batch}")
        if by_hand is None and self.batch is Batch.MANUAL:
            raise Misuse("--batch: manual needs --batches FILE")
        if self.canary_wait and not self.canary:
            raise Misuse("--canary-wait: goes with --canary")
        selector = filters.selector(all_matching=self.all)
        if by_hand is not None and not self.all and not selector.instances:
            selector.instances.extend(name for names in by_hand for name in names)
        try:
            rate = tenths_of(self.success_rate)
        except ValueError as error:
            raise Misuse(f"success_rate: {error}") from None
        until = as_of("--offline-until", self.offline_until, datetime.now(UTC)) if self.offline_until else None
        try:
            canary_of(self.canary, self.canary_wait)
        except ValueError as error:
            raise Misuse(f"--canary: {error}") from None
        spec = scan_of(
            selector,
            name=self.title,
            baseline=self.baseline,
            timeout=length("--timeout", self.timeout),
            batches=by_hand,
            one_batch=self.batch is Batch.NONE,
            batch_size=self.batch_size,
            group_share_percent=self.group_share,
            ramp=whole_numbers("--ramp", self.ramp),
            max_in_flight=self.max_in_flight,
            literal=self.literal,
            ignore_unreachable=self.ignore_unreachable,
            unreachable_after=_length("--unreachable-after", self.unreachable_after),
            canary=self.canary,
            canary_waits=self.canary_wait,
            offline_until=until,
            soak=_length("--soak", self.soak),
            ticket_timeout=_length("--ticket-timeout", self.ticket_timeout),
            offline_wait=_length("--offline-wait", self.offline_wait),
            notification=telling.policy(),
        )
        spec.suspension_policy.success_rate_tenths = rate
        spec.maintenance_windows.extend(window_of("--window", text) for text in self.window or ())
        for text in self.execution_account or ():
            account, _, agency = text.partition("=")
            if not account:
                raise Misuse(f"--execution-account: {text!r} names no account; write ACCOUNT=AGENCY")
            spec.execution_accounts.add(account=account, agency=agency)
        spec.go_on_without_agency = self.go_on_without_agency
        return spec


def _length(option: str, text: str) -> timedelta | None:
    return length(option, text) if text else None


def add_to(app: typer.Typer) -> None:
    """Add the group to the root."""
    group = typer.Typer(help="Scan instances: ask them what they have and miss.", no_args_is_help=True)
    command(group, "create")(create)
    command(group, "preview")(preview)
    app.add_typer(group, name="scan")


def preview(
    session: Session,
    filters: Filters,
    plan: Plan,
    telling: Telling,
    save_batches: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the batches to a YAML file; edit it, then: patchctl scan create --batches FILE.",
        ),
    ] = None,
) -> None:
    """Show what scan create with the same options would do now. Nothing is stored."""
    answer = session.client().preview(plan.spec(filters, telling))
    if save_batches is not None:
        from controller.cli.batch_file import save

        save("--save-batches", save_batches, answer)
    session.printer.one(answer, lambda: preview_lines(answer))
    if save_batches is not None:
        session.printer.remark(
            f"Edit {save_batches}, then: patchctl scan create (same options) --batches {save_batches}"
        )
    elif answer.targets:
        session.printer.remark("Run it with: patchctl scan create (same options)")


def create(
    session: Session,
    filters: Filters,
    plan: Plan,
    telling: Telling,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not show and ask first.")] = False,
    watch: Annotated[
        bool | None,
        typer.Option("--watch/--no-watch", help="Stay until it has ended; if not said, on a terminal only."),
    ] = None,
    request_id: Annotated[
        str,
        typer.Option(help="The same id again within a day answers with the same ticket instead of making a second."),
    ] = "",
) -> None:
    """Make a scan ticket and start it. Prints its id."""
    from common.errors import Unavailable
    from controller.cli.progress import follow

    spec, client, printer = plan.spec(filters, telling), session.client(), session.printer
    if session.asks and not yes:
        would = client.preview(spec)
        printer.remark_lines(preview_lines(would))
        session.confirm(f"Scan {plural(would.targets, 'instance')} now?", agreed=False, must_ask=False)
    request = request_id or secrets.token_hex(8)
    try:
        made = client.create_ticket(spec, request_id=request)
    except Unavailable as error:
        raise Unavailable(
            f"{error}\nWhether the ticket was made is not known; with --request-id {request} the same command is safe to repeat"
        ) from None
    staying = printer.is_terminal if watch is None else watch
    if printer.format is Format.TABLE:
        printer.lines([made.ticket.id])
    printer.remark_lines(_made(made))
    if staying:
        follow(session, made.ticket.id)
    elif printer.format is not Format.TABLE:
        printer.one(made, list)
    else:
        printer.remark(f"Watch it with: patchctl ticket watch {made.ticket.id}")


def _made(made: pb.CreateTicketResponse) -> Iterator[str | Table]:
    ticket = made.ticket
    count = sum(b.counts.ready + b.counts.processing for b in ticket.batches)
    yield f"Scan of {plural(count, 'instance')} in {plural(len(ticket.batches), 'batch')}. {_stops(ticket.stops_at, ticket.spec)}"
    yield from refused_accounts(ticket.refused_accounts)
    yield from _left_out(made.not_selectable)


def preview_lines(answer: pb.PreviewResponse) -> Iterator[str | Table]:
    """Say what a ticket would be."""
    spec = answer.spec
    yield (
        f"Scan of {plural(answer.targets, 'instance')} in {plural(len(answer.batches), 'batch')}, as "
        f"{answer.executed_by}, timeout {length_of(spec.timeout)} each"
    )
    titles = (
        Column("batch", right=True),
        Column("region", rank=1),
        Column("zone", rank=3),
        Column("application", rank=2),
        Column("instances", least=24),
        Column("", least=5),
    )
    rows = [
        (
            f"{b.number} canary" if b.canary else str(b.number),
            b.region,
            b.zone,
            b.application_group,
            names_in_short(b.instance_names),
            f"({len(b.instance_names)})",
        )
        for b in answer.batches
    ]
    if rows:
        yield Table(titles, rows, indent=2)
    if answer.baselines:
        yield "Baselines  " + "   ".join(
            f"{use.product}: {use.baseline_name or 'none'} ({use.instances})" for use in answer.baselines
        )
    yield _stops(answer.stops_at, spec, answer.targets)
    if spec.maintenance_windows:
        yield "Sends only in its windows: " + "; ".join(map(window_text, spec.maintenance_windows))
    yield from careful(spec)
    yield from execution_accounts(spec)
    yield from refused_accounts(answer.refused_accounts)
    yield from _left_out(answer.not_selectable)


def careful(spec: pb.TicketSpec) -> Iterator[str]:
    """Say for what a ticket of this spec will wait, and how long."""
    if spec.batch_policy.HasField("canary"):
        then = "waits for continue" if spec.batch_policy.canary.wait else "goes on if none of it fails"
        yield f"Begins with a canary, then {then}."
    if spec.batch_policy.HasField("soak"):
        yield f"Waits {length_of(spec.batch_policy.soak)} after each batch."
    if spec.HasField("ticket_timeout"):
        yield f"Ends {length_of(spec.ticket_timeout)} after it began, at the latest."
    if spec.offline.HasField("wait"):
        yield f"Waits {length_of(spec.offline.wait)} for agents that are away."
    elif spec.offline.HasField("until"):
        yield f"Waits until {utc(spec.offline.until)} for agents that are away."


def names_in_short(names: object) -> str:
    """Say up to three names whole, of more the first and the last: "ecs-web-01 … ecs-web-04"."""
    listed = list(names)  # type: ignore[call-overload]  # a protobuf list
    return ", ".join(listed) if len(listed) <= 3 else f"{listed[0]} … {listed[-1]}"


def _stops(stops_at: int, spec: pb.TicketSpec, targets: int = 0) -> str:
    if not stops_at:
        return "Never stops by itself."
    rate = tenths(spec.suspension_policy.success_rate_tenths)
    of = f" of {targets}" if targets else ""
    return f"Stops at the {ordinal(stops_at)} failed instance ({rate}{of})."


def _left_out(found: object) -> Iterator[str | Table]:
    left_out = list(found)  # type: ignore[call-overload]  # a protobuf list
    if left_out:
        yield f"Not selectable: {len(left_out)}"
        titles = (Column("instance", least=12), Column("matter", least=20), Column("help", least=24))
        yield Table(titles, [(n.instance_name, n.explanation, n.help) for n in left_out], indent=2)
