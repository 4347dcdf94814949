"""Writing the files of `report export`. Only the pages of a PDF, whose number is bounded, are more than a report or two in memory."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from common.pb.v1 import report_pb2
from controller.cli.command import Misuse
from controller.cli.plain import plain
from controller.cli.words import plural
from controller.report.render import ndjson, whole_json
from controller.report.seal import asked, canonical_line
from controller.report.sheet import sheet

if TYPE_CHECKING:
    from common.pb.v1 import fleet_pb2
    from controller.cli.command import Session
    from controller.cli.report_files import ExportFormat

_NAMESPACE: Final = uuid.UUID("6f2f4c5e-0a54-5d0f-9d3c-2d1b7a0f6e11")
"""Of the serial numbers of bills of materials; never changes."""


def export_to(
    session: Session,
    selector: fleet_pb2.Selector,
    chosen: ExportFormat,
    file: Path | None,
    *,
    all_items: bool,
    as_of: datetime | None = None,
) -> None:
    """Write the reports to the file, or to stdout without one."""
    client, written = session.client(), 0

    def reports() -> Iterator[report_pb2.InstanceReport]:
        nonlocal written
        for report in client.export_reports(selector, all_items=all_items, as_of=as_of):
            written += 1
            yield report

    documents = map(plain, reports())
    question = asked(plain(selector), _instant(as_of), all_items=all_items)
    pieces: Iterable[bytes]
    match chosen.value:
        case "csv":
            pieces = sheet(documents)
        case "ndjson":
            pieces = ndjson(question, documents)
        case "cyclonedx":
            pieces = _bill_of_materials(question, documents)
        case "html":
            pieces = _html(question, documents)
        case "pdf":
            pieces = _pdf(question, documents)
        case _:
            pieces = whole_json(question, documents)
    with opened(file) as out:
        for piece in pieces:
            out.write(piece)
    session.printer.remark(
        f"{plural(written, 'report')} written" + (f" to {file}" if file and str(file) != "-" else "")
    )


def serial_number(report: Mapping[str, Any]) -> str:
    """Return the serial number of an instance's bill of materials: the same for the same inputs."""
    about = canonical_line({"instance_id": report["instance_id"], "inputs": report["inputs"]}).decode()
    return uuid.uuid5(_NAMESPACE, about).urn


@contextlib.contextmanager
def opened(file: Path | None) -> Iterator[BinaryIO]:
    """Open a file that is there whole or not at all; stdout without one, and for `-`."""
    if file is None or str(file) == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        there = _mode(file)
        if there is not None and stat.S_ISDIR(there):
            raise Misuse(f"--file: {file} is a folder: name a file in it")
        if there is not None and not stat.S_ISREG(there):  # a pipe or a device: nothing may take its place
            with file.open("wb") as out:
                yield out
            return
        target = file.resolve()  # what a link leads to is written, and the link stays
        mode = there & 0o777 if there is not None else 0o666 & ~_umask()
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise Misuse(f"--file: {file} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
        Path(name).chmod(mode)
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def _mode(file: Path) -> int | None:
    """Return what a file is and may, None where there is none; a link counts as what it leads to."""
    try:
        return file.stat().st_mode
    except FileNotFoundError:
        return None


def _umask() -> int:
    found = os.umask(0o077)
    os.umask(found)
    return found


class _Kept(Collection[Mapping[str, Any]]):
    """Reports in a temporary file, to be gone through again and again, one in memory at a time."""

    def __init__(
        self, documents: Iterable[Mapping[str, Any]], file: BinaryIO, check: Callable[[int], None] = lambda _: None
    ) -> None:
        self._file, self._count = file, 0
        for document in documents:
            self._count += 1
            check(self._count)
            file.write(canonical_line(document) + b"\n")

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        self._file.seek(0)
        return map(json.loads, self._file)

    def __contains__(self, one: object) -> bool:
        return any(document == one for document in self)


def _html(question: Mapping[str, Any], documents: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    from controller.report.html import pages
    from controller.report.summary import summarise

    with tempfile.TemporaryFile() as file:
        kept = _Kept(documents, file)  # the numbers stand before the reports that they are made of
        for page in pages(question, summarise(question, kept), kept):
            yield page.encode()


def _pdf(question: Mapping[str, Any], documents: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    from controller.report.pdf import TooMuchForPdf, check_instances, document

    try:
        with tempfile.TemporaryFile() as file:
            yield document(question, _Kept(documents, file, check_instances))
    except TooMuchForPdf as error:
        raise Misuse(str(error)) from None


def _bill_of_materials(question: Mapping[str, Any], documents: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    from controller.report.sbom import bill_of_materials

    found = list(documents)
    if len(found) != 1:
        raise Misuse(f"--format cyclonedx describes one instance, these are {len(found)}: name it with --instance")
    yield bill_of_materials(question, found[0], serial_number(found[0]))


def _instant(as_of: datetime | None) -> str | None:
    return as_of.astimezone(UTC).isoformat().replace("+00:00", "Z") if as_of is not None else None
