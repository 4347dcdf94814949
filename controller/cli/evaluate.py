"""patchctl evaluate: whether an inventory complies, here and now, without a controller. For images, pipelines and air gaps."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from common.clock import SystemClock
from common.errors import InvalidArgument
from controller.cli.command import Misuse, Session, command
from controller.cli.instants import as_of as as_of_instant
from controller.cli.options import read_yaml
from controller.cli.printer import Format
from controller.cli.table import Column, Table

if TYPE_CHECKING:
    from controller.compliance.model import Baseline
    from controller.offline.evaluate import Outcome
    from controller.offline.inventory import Inventory

EXIT_CODES: Final = {"COMPLIANT": 0, "NON_COMPLIANT": 1, "UNDETERMINED": 4}
_STDERR: Final = 2
_SHOWN_UNDATED: Final = 5
_CSV_COLUMNS: Final = (
    *("name", "arch", "installed", "status", "reason", "target", "level", "category", "severity"),
    *("advisories", "cves", "why"),
)


def add_to(app: typer.Typer) -> None:
    """Add the command to the root."""
    command(app, "evaluate")(evaluate)


def evaluate(
    session: Session,
    inventory: Annotated[
        Path,
        typer.Option(
            help="What is installed: uniagent inventory's output (json or tsv), or one NEVRA a line. - is stdin."
        ),
    ],
    repo: Annotated[
        list[Path],
        typer.Option(
            help="A folder with repodata/, an updateinfo.xml (plain, gz, bz2, xz, zst), or a folder of such. Repeat it."
        ),
    ],
    baseline: Annotated[
        Path | None, typer.Option(help="The baseline in YAML or JSON. Else every advisory is required.")
    ] = None,
    running_kernel: Annotated[
        str | None,
        typer.Option(
            metavar="NEVRA",
            help="The package of the running kernel, or what uname -r says on the host. Else what the inventory says.",
        ),
    ] = None,
    module_streams: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:STREAM,...",
            help="The module streams that count: enabled ones and defaults. Else what the inventory says, else the defaults."
            " Repeat it, or put commas between.",
        ),
    ] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="DATE", help="The day (UTC) of the answer. Else today.")
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(
            "--os", metavar="PRODUCT", help='The operating system, like "CentOS 7.9". Else what the inventory says.'
        ),
    ] = None,
) -> None:
    """Evaluate an inventory against repositories, without a controller. Exits 0 COMPLIANT, 1 NON_COMPLIANT, 4 UNDETERMINED."""
    from controller.offline import evaluate as offline
    from controller.offline.repositories import read_all

    installed = _inventory(inventory, running_kernel, module_streams)
    product = _product(system)
    wanted = _baseline(baseline) if baseline is not None else None
    day = _day(as_of)
    try:
        with _silent_libraries():
            repositories = read_all(repo, installed.manifest.streams if installed.knows_streams else ())
    except FileNotFoundError as error:
        raise Misuse(f"--repo: {error}") from None
    given = {read.repository.id for read in repositories}
    for failed in installed.failed:
        if given.isdisjoint(installed.enabled):
            session.printer.remark(
                f"repository {failed.id} is enabled on the host and could not be read when the inventory was collected"
                f" ({failed.error}); only what --repo gives is looked at"
            )
    name = "stdin" if str(inventory) == "-" else inventory.name.partition(".")[0] or inventory.name
    try:
        outcome = offline.evaluate(offline.Question(name, installed, repositories, wanted, day, product))
    except offline.UnknownProduct as error:
        raise Misuse(str(error)) from None
    except offline.UnknownFirstSeen as error:
        raise Misuse(f"--baseline: {baseline}: {error}") from None
    if outcome.undated:
        many = len(outcome.undated) != 1
        session.printer.remark(
            f"{', '.join(outcome.undated[:_SHOWN_UNDATED])}{' and others' if len(outcome.undated) > _SHOWN_UNDATED else ''}"
            f" {'have' if many else 'has'} no date that can be read, so {'they count' if many else 'it counts'} from today:"
            f" a rule of {outcome.evaluation.assessment.baseline_name} that waits does not require {'them' if many else 'it'} yet"
        )
    try:
        _print(session, outcome)
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads on: the exit code is the answer all the same
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # exit code 1 would say that the inventory does not comply
        raise Misuse(f"the answer cannot be written: {error.strerror}") from None
    raise typer.Exit(EXIT_CODES[outcome.evaluation.assessment.status.value])


@contextmanager
def _silent_libraries() -> Iterator[None]:
    """Keep libxml2 and glib from printing what the error says anyway."""
    kept = os.dup(_STDERR)
    silence = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silence, _STDERR)
        yield
    finally:
        os.dup2(kept, _STDERR)
        os.close(silence)
        os.close(kept)


def _inventory(path: Path, running_kernel: str | None, module_streams: list[str] | None) -> Inventory:
    from controller.offline.inventory import MAX_INVENTORY_BYTES, UnreadableInventory, parse, parse_streams

    is_stdin = str(path) == "-"
    try:
        if is_stdin:
            content = sys.stdin.buffer.read(MAX_INVENTORY_BYTES + 1)
        else:
            with path.open("rb") as file:
                content = file.read(MAX_INVENTORY_BYTES + 1)
    except OSError as error:
        raise Misuse(f"--inventory: {path} cannot be read: {error.strerror}") from None
    try:
        found = parse(content, "stdin" if is_stdin else str(path))
    except UnreadableInventory as error:
        raise Misuse(f"--inventory: {error}") from None
    if running_kernel is not None:
        try:
            found = found.running(found.kernel(running_kernel))
        except ValueError as error:
            raise Misuse(f"--running-kernel: {error}") from None
    if module_streams:
        try:
            found = found.with_streams(parse_streams(",".join(module_streams)))
        except ValueError as error:
            raise Misuse(f"--module-streams: {error}") from None
    return found


def _product(text: str | None) -> str:
    from controller.fleet import products

    if text is None:
        return ""
    words = " ".join(text.split())
    for family in products.FAMILIES:
        if words.lower() == family.lower() or words.lower().startswith(f"{family.lower()} "):
            return family + words[len(family) :]
    raise Misuse(f"--os: {text!r} is not an operating system and its version, like CentOS 7.9; {products.SUPPORTED}")


def _baseline(path: Path) -> Baseline:
    from controller.compliance import baseline

    try:
        return baseline.parse(read_yaml("--baseline", path))
    except InvalidArgument as error:  # not a refusal: exit code 1 would say that the inventory does not comply
        raise Misuse(f"--baseline: {path}: {error}") from None


def _day(text: str | None) -> date:
    now = SystemClock().now()
    return (as_of_instant("--as-of", text, now) or now).astimezone(UTC).date()


def _print(session: Session, outcome: Outcome) -> None:
    from controller.offline.evaluate import document, item_document

    printer = session.printer
    if printer.format is Format.TABLE:
        printer.lines(_lines(outcome))
    elif printer.format is Format.CSV:
        printer.csv(
            _CSV_COLUMNS, ({k: _cell(v) for k, v in item_document(i).items()} for i in outcome.evaluation.items)
        )
    else:
        printer.data(document(outcome))


def _cell(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


def _lines(outcome: Outcome) -> Iterator[str | Table]:
    from controller.compliance.advisory_rows import RowState
    from controller.compliance.model import NON_COMPLIANT_STATUSES, PatchStatus

    found = outcome.evaluation.assessment
    level = found.level.name if found.level else ""
    as_of = found.inputs.as_of.date().isoformat() if found.inputs.as_of is not None else ""
    about = " · ".join(filter(None, (outcome.product, found.baseline_name, f"as of {as_of}")))
    yield "  ".join(filter(None, (outcome.name, found.status.value, level, about)))
    for reason in found.reasons:
        yield f"  {reason.reason.value}  {reason.detail}"
        yield f"      {reason.help}"
    titles = (
        Column("status", least=7),
        Column("level", rank=1),
        Column("package", least=12),
        Column("installed", rank=2),
        Column("required"),
        Column("advisory"),
        Column("", rank=3),
    )
    shown = [
        i for i in outcome.evaluation.items if i.status in NON_COMPLIANT_STATUSES or i.status is PatchStatus.EXCEPTED
    ]
    rows = [
        (
            i.status.value,
            i.level.name if i.level else "",
            f"{i.name}.{i.arch}",
            str(i.installed),
            str(i.required) if i.required is not None else "",
            (i.advisories[0] + (f" +{len(i.advisories) - 1}" if len(i.advisories) > 1 else "")) if i.advisories else "",
            i.reason,
        )
        for i in shown
    ]
    if rows:
        yield Table(titles, rows, indent=2)
    counts = ((found.counts.installed, "INSTALLED"), (found.counts.installed_other, "INSTALLED_OTHER"))
    yield "  ... " + ", ".join(f"{count:,} {word}" for count, word in counts)
    available = len({row.id for row in outcome.rows if row.state is RowState.AVAILABLE})
    yield f"  {available:,} {'advisory' if available == 1 else 'advisories'} available"
