"""What `report verify` does: reads an export of any format, looks whether it is as it was written, asks again, and compares."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from common.errors import PatchError, PermissionDenied, Unauthenticated, Unavailable
from controller.cli.command import REFUSED, Misuse
from controller.cli.export import serial_number
from controller.cli.plain import plain
from controller.cli.printer import Format
from controller.cli.words import plural
from controller.report.kept import Answer, Kept, NotAnExport
from controller.report.kept_any import read
from controller.report.text import instant

if TYPE_CHECKING:
    from controller.cli.command import Session
    from controller.client import Client

_Differing = list[tuple[str, tuple[str, ...]]]
"""Names and what differs."""
_SHOWN_REMARKS = 5


def verify_file(session: Session, path: Path) -> None:
    """Print a line for each report that differs. Raises typer.Exit(1) unless every report is verified."""
    if path.is_dir():
        raise Misuse(f"{path} is a folder, not a file that report export wrote")
    try:
        opened = path.open("rb")
    except OSError as error:
        raise Misuse(f"{path} cannot be read: {error.strerror}") from None
    with opened as file:
        if not file.seekable():
            raise Misuse(f"{path} can be read only once: copy it to a file first")
        try:
            _verify(session, path, read(file, serial_number))
        except NotAnExport as error:
            raise Misuse(f"{path} {error}") from None


def _verify(session: Session, path: Path, kept: Kept) -> None:
    damage: _Differing = [(where or str(path), (what,)) for where, what in kept.damage()]
    if damage:
        _print(session, kept, damage, [], None)
        session.printer.remark("This is not the file that was written; the controller was not asked.")
        raise typer.Exit(REFUSED)
    client, reports = session.client(), 0
    differing, besides = _Differing(), _Differing()
    for answer in kept.answers():
        reports += 1
        said, told = _again(client, answer)
        if said:
            differing.append((answer.instance_name, said))
        if told:
            besides.append((answer.instance_name, told))
    if not reports:
        raise NotAnExport("holds no report: there is nothing to verify")
    _print(session, kept, differing, besides, reports)
    for name, told in besides[:_SHOWN_REMARKS]:
        session.printer.remark(f"note: {name}: {'; '.join(told)}")
    if len(besides) > _SHOWN_REMARKS:
        session.printer.remark(f"note: {len(besides) - _SHOWN_REMARKS} more are told otherwise now")
    if besides:
        session.printer.remark("Names, places and tickets are no part of an answer: what they were then is not kept.")
    if kept.is_old:
        session.printer.remark(
            "An earlier version wrote this file: whether a report is missing from it cannot be told."
        )
    if differing:
        session.printer.remark(f"{len(differing)} of {plural(reports, 'report')} cannot be verified.")
        raise typer.Exit(REFUSED)
    session.printer.remark(f"{plural(reports, 'report')} verified: the same inputs give the same answers.")


def _again(client: Client, answer: Answer) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ask for a report again; return what differs, and what is told otherwise beside it."""
    at = instant(answer.as_of) if answer.as_of else None
    try:
        report = plain(client.get_report(answer.instance_id, all_items=answer.all_items, as_of=at))
    except (Unavailable, Unauthenticated, PermissionDenied):
        raise
    except PatchError as error:
        return (f"cannot be computed again: {error}",), ()
    return answer.differences(report), answer.besides(report)


def _print(session: Session, kept: Kept, differing: _Differing, besides: _Differing, reports: int | None) -> None:
    printer = session.printer
    match printer.format:
        case Format.TABLE:
            printer.lines(f"{name}  {'; '.join(said)}" for name, said in differing)
        case Format.CSV:
            rows = ({"instance": name, "differs": "; ".join(said)} for name, said in differing)
            printer.csv(("instance", "differs"), rows)
        case _:
            printer.data(
                {
                    "format": kept.format,
                    "reports": reports,
                    "differing": [{"instance": name, "differs": list(said)} for name, said in differing],
                    "besides": [{"instance": name, "told": list(said)} for name, said in besides],
                }
            )
