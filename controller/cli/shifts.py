"""patchctl shift: who is on duty when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from controller.cli.command import Misuse, Session, command
from controller.cli.options import read_yaml
from controller.cli.table import Column, Table
from controller.cli.telling import shift_key
from controller.cli.words import plural, utc

if TYPE_CHECKING:
    from common.pb.v1 import notification_pb2 as pb

ShiftArgument = Annotated[str, typer.Argument(metavar="SCENARIO/ROLE", help="The shift, e.g. patching/primary.")]
_FIELDS: Final = {"people": list, "first_day": str, "hand_over": list, "days": int, "last_day": str}


@dataclass(frozen=True, slots=True)
class Turns:
    """Who takes turns and when."""

    people: Annotated[str, typer.Option(metavar="NAME,...", help="Contacts in the order of their turns.")] = ""
    first_day: Annotated[
        str, typer.Option(metavar="DATE", help="Local day on which the first turn begins, 2026-11-30.")
    ] = ""
    hand_over: Annotated[
        str, typer.Option(metavar="TIME,...", help="Local time at which turns begin; several for day and night turns.")
    ] = "09:00"
    days: Annotated[int, typer.Option(min=1, max=366, help="How many days a turn lasts.")] = 7
    last_day: Annotated[str, typer.Option(metavar="DATE", help="Local day after which no turn begins.")] = ""
    file: Annotated[
        Path | None,
        typer.Option(
            help="Several rotations: YAML, a list of people, first_day, hand_over, days, last_day; - is stdin."
        ),
    ] = None
    time_zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="IANA time zone of all these times; UTC if not said.")
    ] = None
    note: Annotated[str | None, typer.Option(help="For people.")] = None

    def rotations(self) -> list[pb.Rotation]:
        """Return what the API takes; none when no turns were given."""
        from common.pb.v1 import notification_pb2 as pb

        if self.file is not None:
            if self.people:
                raise Misuse("--file: goes without --people")
            return [_read(entry) for entry in _entries(self.file)]
        if not self.people:
            return []
        if not self.first_day:
            raise Misuse("--first-day: say when the first turn begins, 2026-11-30")
        return [
            pb.Rotation(
                people=_split(self.people),
                first_day=self.first_day,
                hand_over=_split(self.hand_over),
                days=self.days,
                last_day=self.last_day,
            )
        ]


def add_to(app: typer.Typer) -> None:
    """Add the group to the root."""
    group = typer.Typer(help="Shifts: who is on duty, for one scenario in one role.", no_args_is_help=True)
    command(group, "create")(create)
    command(group, "edit")(edit)
    command(group, "list")(list_shifts)
    command(group, "show")(show)
    command(group, "delete")(delete)
    command(group, "who")(who)
    overrides = typer.Typer(help="Overrides: somebody else is on duty for a while.", no_args_is_help=True)
    command(overrides, "add")(add_override)
    command(overrides, "remove")(remove_override)
    group.add_typer(overrides, name="override")
    app.add_typer(group, name="shift")


def create(session: Session, shift: ShiftArgument, turns: Turns) -> None:
    """Make a shift.

    patchctl shift create patching/primary --people lin,wu,zoe --first-day 2026-11-30 --time-zone Asia/Shanghai
    """
    from common.pb.v1 import notification_pb2 as pb

    key = shift_key("SCENARIO/ROLE", shift)
    made = pb.Shift(key=key, rotations=turns.rotations(), time_zone=turns.time_zone or "", note=turns.note or "")
    stored = session.client().create_shift(made)
    session.printer.one(stored, lambda: _whole(stored))
    session.printer.remark(f"Ask who is on duty with: patchctl shift who {shift}")


def edit(session: Session, shift: ShiftArgument, turns: Turns) -> None:
    """Change a shift. Turns that are given replace all there were; what is not given stays, overrides too."""
    client, key = session.client(), shift_key("SCENARIO/ROLE", shift)
    there = client.get_shift(key.scenario, key.role)
    if rotations := turns.rotations():
        del there.rotations[:]
        there.rotations.extend(rotations)
    if turns.time_zone is not None:
        there.time_zone = turns.time_zone
    if turns.note is not None:
        there.note = turns.note
    stored = client.update_shift(there)
    session.printer.one(stored, lambda: _whole(stored))


def list_shifts(session: Session) -> None:
    """List shifts, by scenario, then role."""
    from common.pb.v1 import notification_pb2 as pb

    found = list(session.client().list_shifts(page_size=1000))
    titles = (Column("shift", least=12), Column("time zone"), Column("people", least=16), Column("note", rank=1))
    rows = [(_name(s.key), s.time_zone, ", ".join(_people(s)), s.note) for s in found]
    session.printer.many(pb.Shift.DESCRIPTOR, found, lambda: [Table(titles, rows)])
    session.printer.remark(plural(len(found), "shift"))


def show(session: Session, shift: ShiftArgument) -> None:
    """Show a shift, its rotations and its overrides."""
    key = shift_key("SCENARIO/ROLE", shift)
    found = session.client().get_shift(key.scenario, key.role)
    session.printer.one(found, lambda: _whole(found))


def delete(
    session: Session,
    shift: ShiftArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a shift. Tickets that tell it tell nobody from then on, and say so."""
    key = shift_key("SCENARIO/ROLE", shift)
    session.confirm(f"Delete the shift {shift}?", agreed=yes)
    session.client().delete_shift(key.scenario, key.role)
    session.printer.remark(f"{shift} is deleted")


def who(
    session: Session,
    shift: Annotated[
        str | None, typer.Argument(metavar="[SCENARIO/ROLE]", help="The shift; every one, if not said.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="When, 2026-11-30T08:00Z (UTC without a zone); now, if not said.")
    ] = None,
) -> None:
    """Say who is on duty, now or at an instant."""
    from common.pb.v1 import notification_pb2 as pb

    client, instant = session.client(), None if at is None else _instant("--at", at)
    keys = [shift_key("SCENARIO/ROLE", shift)] if shift is not None else [s.key for s in client.list_shifts()]
    found = [(key, client.get_on_duty(key.scenario, key.role, instant)) for key in keys]
    titles = (Column("shift", least=12), Column("on duty", least=12), Column("until"), Column("because", rank=1))
    rows = [
        (_name(key), _on_duty(duty), utc(duty.until) if duty.HasField("until") else "", _because(duty))
        for key, duty in found
    ]
    if shift is not None:
        session.printer.one(found[0][1], lambda: [Table(titles, rows)])
    else:
        session.printer.many(
            pb.GetOnDutyResponse.DESCRIPTOR, [duty for _, duty in found], lambda: [Table(titles, rows)]
        )
    if not found:
        session.printer.remark("there is no shift; make one with: patchctl shift create SCENARIO/ROLE")
    for key, duty in found:
        if not duty.people:
            session.printer.remark(f"Nobody is on duty in {_name(key)}: patchctl shift override add {_name(key)}")


def add_override(
    session: Session,
    shift: ShiftArgument,
    people: Annotated[str, typer.Option(metavar="NAME,...", help="Who is on duty instead.")],
    until: Annotated[str, typer.Option(metavar="TIME", help="Until when, 2026-11-30T18:00Z (UTC without a zone).")],
    since: Annotated[str | None, typer.Option("--from", metavar="TIME", help="From when on; now, if not said.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for people.")] = "",
) -> None:
    """Put somebody else on duty for a while. Of several at one time the last wins."""
    key = shift_key("SCENARIO/ROLE", shift)
    begins = datetime.now(UTC) if since is None else _instant("--from", since)
    answer = session.client().add_override(
        key.scenario,
        key.role,
        _split(people),
        begins_at=begins,
        ends_at=_instant("--until", until),
        reason=reason,
    )
    session.printer.one(answer.shift, lambda: _whole(answer.shift))
    session.printer.remark(f"Take it back with: patchctl shift override remove {shift} {answer.override_id}")


def remove_override(
    session: Session,
    shift: ShiftArgument,
    override: Annotated[str, typer.Argument(metavar="ID", help="The override, as patchctl shift show lists it.")],
) -> None:
    """Take an override back."""
    key = shift_key("SCENARIO/ROLE", shift)
    stored = session.client().remove_override(key.scenario, key.role, override)
    session.printer.one(stored, lambda: _whole(stored))


def _whole(shift: pb.Shift) -> Iterator[str | Table]:
    yield f"{_name(shift.key)}  {shift.time_zone}" + (f"  {shift.note}" if shift.note else "")
    titles = (
        Column("people", least=16),
        Column("from"),
        Column("hand-over"),
        Column("days", right=True),
        Column("last"),
    )
    rows = [
        (", ".join(r.people), r.first_day, ", ".join(r.hand_over), str(r.days), r.last_day) for r in shift.rotations
    ]
    yield Table(titles, rows, indent=2)
    titles = (
        Column("override", least=10),
        Column("people", least=12),
        Column("from"),
        Column("until"),
        Column("reason", rank=1),
    )
    rows = [(o.id, ", ".join(o.people), utc(o.begins_at), utc(o.ends_at), o.reason) for o in shift.overrides]
    yield Table(titles, rows, indent=2)


def _name(key: pb.ShiftKey) -> str:
    return f"{key.scenario}/{key.role}"


def _people(shift: pb.Shift) -> list[str]:
    return list(dict.fromkeys(name for rotation in shift.rotations for name in rotation.people))


def _on_duty(duty: pb.GetOnDutyResponse) -> str:
    names = [*(contact.name for contact in duty.people), *(f"{name} (no contact)" for name in duty.unknown)]
    return ", ".join(names) or "nobody"


def _because(duty: pb.GetOnDutyResponse) -> str:
    if not duty.HasField("override"):
        return ""
    reason = f": {duty.override.reason}" if duty.override.reason else ""
    return f"override {duty.override.id}{reason}"


def _instant(option: str, text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text.strip())
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Misuse(f"{option}: {text!r} is not an instant, write it like 2026-11-30T08:00Z") from None


def _split(text: str) -> Sequence[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _entries(path: Path) -> list[Any]:
    value = read_yaml("--file", path)
    if not isinstance(value, list) or not value:
        raise Misuse("--file: must be a list of rotations")
    return value


def _read(entry: object) -> pb.Rotation:
    from common.pb.v1 import notification_pb2 as pb

    if not isinstance(entry, dict) or not set(entry) <= set(_FIELDS):
        raise Misuse(f"--file: {entry!r} is not a rotation with {', '.join(_FIELDS)}")
    values = {name: value if isinstance(value, list | int | str) else str(value) for name, value in entry.items()}
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, _FIELDS[name]):
            raise Misuse(f"--file: {name}: {value!r} is no {_FIELDS[name].__name__}; times and days stand in quotes")
    texts = [text for value in values.values() if isinstance(value, list) for text in value]
    if not all(isinstance(text, str) for text in texts):
        raise Misuse("--file: people and hand_over are lists of texts: put times in quotes")
    try:
        return pb.Rotation(**values)  # type: ignore[arg-type]  # checked above
    except (TypeError, ValueError) as error:
        raise Misuse(f"--file: {error}") from None
