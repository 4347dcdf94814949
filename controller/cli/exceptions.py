"""patchctl exception: what is excused, for whom, why, and until when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from controller.cli.command import Misuse, Session, command
from controller.cli.table import Column, Table
from controller.cli.words import ago, plural, utc, word

if TYPE_CHECKING:
    from common.pb.v1 import baseline_pb2

_SOON: Final = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Excused:
    """For whom and what: one of each."""

    instance: Annotated[
        str | None, typer.Option("--instance", "-i", metavar="ID", help="For one instance, by id or name.")
    ] = None
    group: Annotated[str | None, typer.Option(metavar="TEXT", help="For an application group.")] = None
    everybody: Annotated[bool, typer.Option("--all", help="For every instance.")] = False
    package: Annotated[
        str | None, typer.Option(metavar="GLOB", help="Packages whose name matches, e.g. 'kernel*'.")
    ] = None
    advisory: Annotated[
        str | None, typer.Option(metavar="ID", help="What only this advisory asks for, e.g. CESA-2023:1335.")
    ] = None
    cve: Annotated[str | None, typer.Option(metavar="ID", help="What only this CVE asks for, CVE-2023-0286.")] = None

    def scope(self) -> tuple[baseline_pb2.ExceptionScope.ValueType, str]:
        """Return for whom, as the API takes it; raise Misuse unless exactly one was given."""
        from common.pb.v1 import baseline_pb2 as pb

        scopes = (
            (pb.EXCEPTION_SCOPE_INSTANCE, self.instance),
            (pb.EXCEPTION_SCOPE_GROUP, self.group),
            (pb.EXCEPTION_SCOPE_ALL, "" if self.everybody else None),
        )
        given = [(scope, value) for scope, value in scopes if value is not None]
        if len(given) != 1:
            raise Misuse("say for whom: one of --instance, --group and --all")
        return given[0]

    def match(self) -> tuple[baseline_pb2.ExceptionMatch.ValueType, str]:
        """Return what is excused, as the API takes it; raise Misuse unless exactly one was given."""
        from common.pb.v1 import baseline_pb2 as pb

        matches = (
            (pb.EXCEPTION_MATCH_PACKAGE, self.package),
            (pb.EXCEPTION_MATCH_ADVISORY, self.advisory),
            (pb.EXCEPTION_MATCH_CVE, self.cve),
        )
        given = [(match, value) for match, value in matches if value is not None]
        if len(given) != 1:
            raise Misuse("say what is excused: one of --package, --advisory and --cve")
        return given[0]


def add_to(app: typer.Typer) -> None:
    """Add the group to the root."""
    group = typer.Typer(
        help="Exceptions: what would be non-compliant and is excused for a while.", no_args_is_help=True
    )
    command(group, "create")(create)
    command(group, "list")(list_exceptions)
    command(group, "revoke")(revoke)
    app.add_typer(group, name="exception")


def create(
    session: Session,
    excused: Excused,
    reason: Annotated[str, typer.Option(help="Why; people read it in reports.")],
    days: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=36500, help="How many days from now; at most 180.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="Until this day, all of it included, UTC: 2026-12-31.")
    ] = None,
    approver: Annotated[str, typer.Option(help="Who approved; you, if not said.")] = "",
) -> None:
    """Excuse packages, an advisory or a CVE for a while. Items become EXCEPTED, and come back by themselves."""
    scope, scope_value = excused.scope()
    match, match_value = excused.match()
    made = session.client().create_exception(
        match,
        match_value,
        scope=scope,
        scope_value=scope_value,
        reason=reason,
        approver=approver,
        expires_at=_end(days, until),
    )
    session.printer.one(made, lambda: [_table([made])])
    session.printer.remark(f"{made.id} ends by itself on {utc(made.expires_at)}")


def list_exceptions(
    session: Session,
    ended: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
) -> None:
    """List exceptions, those that end first first."""
    from common.pb.v1 import baseline_pb2

    found = list(session.client().list_exceptions(include_ended=ended, page_size=1000))
    session.printer.many(baseline_pb2.PatchException.DESCRIPTOR, found, lambda: [_table(found)])
    now = datetime.now(UTC)
    soon = sum(now < e.expires_at.ToDatetime(tzinfo=UTC) <= now + _SOON and not e.HasField("revoked_at") for e in found)
    verb = "ends" if soon == 1 else "end"
    session.printer.remark(plural(len(found), "exception") + (f", {soon} {verb} within 14 days" if soon else ""))


def revoke(
    session: Session, exception_id: Annotated[str, typer.Argument(metavar="ID", help="The exception's id, as listed.")]
) -> None:
    """End an exception before its time."""
    revoked = session.client().revoke_exception(exception_id)
    session.printer.one(revoked, lambda: [_table([revoked])])
    session.printer.remark(f"{revoked.id} has ended")


def _end(days: int | None, until: str | None) -> datetime:
    if (days is None) == (until is None):
        raise Misuse("say when it ends: --days N or --until DATE")
    if days is not None:
        now = datetime.now(UTC).replace(second=0, microsecond=0)  # the controller's clock may be a little behind
        return now + timedelta(days=days)
    try:
        last = date.fromisoformat(until or "")
        return datetime.combine(last + timedelta(days=1), time.min, UTC)
    except (ValueError, OverflowError):
        raise Misuse(f"--until: {until!r} is not a date, write it like 2026-12-31") from None


def _table(found: Sequence[baseline_pb2.PatchException]) -> Table:
    now = datetime.now(UTC)
    titles = (
        Column("id", least=10),
        Column("for", least=10),
        Column("excuses", least=18),
        Column("state", least=14),
        Column("reason", rank=1, least=12),
        Column("approver", rank=2),
        Column("made", rank=3),
    )
    rows = [
        (e.id, _whom(e), e.match_value, _state(e, now), e.reason, e.approver, ago(e.created_at, now)) for e in found
    ]
    return Table(titles, rows)


def _whom(e: baseline_pb2.PatchException) -> str:
    from common.pb.v1 import baseline_pb2

    return f"{word(baseline_pb2.ExceptionScope, e.scope).lower()} {e.scope_value}".strip()


def _state(e: baseline_pb2.PatchException, now: datetime) -> str:
    if e.HasField("revoked_at"):
        return f"revoked {ago(e.revoked_at, now)}"
    ended = e.expires_at.ToDatetime(tzinfo=UTC) <= now
    return f"{'ended' if ended else 'ends'} {ago(e.expires_at, now)}"
