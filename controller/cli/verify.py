"""What `report verify` does: reads an export, looks at its seals, asks the controller for each report again, and compares."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from common.errors import PatchError, PermissionDenied, Unauthenticated, Unavailable
from controller.cli.command import REFUSED, Misuse
from controller.cli.plain import plain
from controller.cli.printer import Format
from controller.cli.words import plural
from controller.report.compare import differences, is_whole
from controller.report.seal import KEY, FileSeal, is_intact
from controller.report.text import instant

if TYPE_CHECKING:
    from controller.cli.command import Session
    from controller.client import Client

Report = dict[str, Any]
_NEEDED: Final = {
    "instance_id": str,
    "instance_name": str,
    "inputs": dict,
    "items": list,
    "reasons": list,
    "counts": dict,
    "status": object,
    "level": object,
    "baseline_name": str,
    "baseline_source": str,
}


_Differing = list[tuple[str, tuple[str, ...]]]
"""Names and what differs."""


def verify_file(session: Session, path: Path) -> None:
    """Print a line for each report that differs. Raises typer.Exit(1) unless every report is verified."""
    reports, tampered = 0, _Differing()
    for report in _reports(path, tampered):
        reports += 1
        if not is_intact(report):
            what = "was changed after it was written" if KEY in report else "has no seal"
            tampered.append((report["instance_name"], (f"report {reports} {what}",)))
    if tampered:
        _print(session, tampered, reports)
        session.printer.remark("This is not the file that was written; the controller was not asked.")
        raise typer.Exit(REFUSED)
    client = session.client()
    asked = ((report["instance_name"], _again(client, report)) for report in _reports(path, []))
    differing = [(name, said) for name, said in asked if said]
    _print(session, differing, reports)
    if differing:
        session.printer.remark(f"{len(differing)} of {plural(reports, 'report')} cannot be verified.")
        raise typer.Exit(REFUSED)
    session.printer.remark(f"{plural(reports, 'report')} verified: the same inputs give the same answers.")


def _again(client: Client, report: Report) -> tuple[str, ...]:
    """Ask for a report again; return what differs."""
    as_of = report["inputs"].get("as_of")
    try:
        answer = client.get_report(
            report["instance_id"], all_items=is_whole(report), as_of=instant(as_of) if as_of else None
        )
    except (Unavailable, Unauthenticated, PermissionDenied):
        raise
    except PatchError as error:
        return (f"cannot be computed again: {error}",)
    return differences(report, plain(answer))


def _reports(path: Path, tampered: _Differing) -> Iterator[Report]:
    """Yield the reports of a file. What is wrong with a JSON file as a whole is appended to `tampered` at the end."""
    try:
        with path.open(encoding="utf-8") as lines:
            first = next((line for line in lines if line.strip()), "")
            one = _json_or_none(first)
            if isinstance(one, dict) and "instance_id" in one:
                yield _checked(one, path)
                for line in lines:
                    if line.strip():
                        yield _checked(_json_or_none(line), path)
                return
            whole = _json_or_none(first + lines.read())
    except UnicodeDecodeError:
        raise Misuse(f"{path} is no export in json or ndjson") from None
    if not isinstance(whole, dict) or not isinstance(whole.get("reports"), list) or "summary" not in whole:
        raise Misuse(f"{path} is no export in json or ndjson")
    seal = FileSeal(whole.get("as_of"), whole["summary"])
    for report in whole["reports"]:
        yield _checked(report, path)
        seal.add(report)
    if whole.get(KEY) != seal.hexdigest():
        tampered.append(
            (str(path), ("as_of, the summary, or which reports there are was changed after it was written",))
        )


def _checked(report: object, path: Path) -> Report:
    """Return a report whose parts are what the comparison takes them for."""
    if (
        isinstance(report, dict)
        and all(isinstance(report.get(name, ...), kind) and name in report for name, kind in _NEEDED.items())
        and all(isinstance(item, dict) and {"name", "arch", "status"} <= item.keys() for item in report["items"])
        and all(isinstance(reason, dict) and "reason" in reason for reason in report["reasons"])
        and {"baseline_id", "baseline_version"} <= report["inputs"].keys()
        and _is_instant(report["inputs"].get("as_of"))
    ):
        return report
    raise Misuse(f"{path} holds something that is no report")


def _is_instant(value: object) -> bool:
    if value is None:
        return True
    try:
        return isinstance(value, str) and instant(value) is not None
    except ValueError:
        return False


def _json_or_none(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _print(session: Session, differing: _Differing, reports: int) -> None:
    printer = session.printer
    match printer.format:
        case Format.TABLE:
            printer.lines(f"{name}  {'; '.join(said)}" for name, said in differing)
        case Format.CSV:
            rows = ({"instance": name, "differs": "; ".join(said)} for name, said in differing)
            printer.csv(("instance", "differs"), rows)
        case _:
            found = [{"instance": name, "differs": list(said)} for name, said in differing]
            printer.data({"reports": reports, "differing": found})
