"""Which format a kept file has: told by what is in it, never by its name."""

from __future__ import annotations

from typing import BinaryIO, Final

from controller.report.json_stream import members
from controller.report.kept import Kept, NotAnExport
from controller.report.kept_csv import Sheet
from controller.report.kept_html import Page
from controller.report.kept_json import REPORTS, Lines, WholeJson
from controller.report.kept_sbom import Bill, SerialNumber

_LOOKED_AT: Final = 1024
_BOM: Final = b"\xef\xbb\xbf"
_OF_BILL: Final = frozenset({"$schema", "bomFormat", "specVersion", "components", "serialNumber"})
_OF_EXPORT: Final = frozenset({"as_of", "asked", REPORTS, "summary"})
_OF_REPORT: Final = frozenset({"instance_id", "instance_name", "inputs", "items", "application_group"})
_KNOWN: Final = "report export writes json, ndjson, csv, html, pdf and cyclonedx"


def read(file: BinaryIO, serial_number: SerialNumber) -> Kept:
    """Begin to read a file that can be gone through again. Raises NotAnExport."""
    file.seek(0)
    begin = file.read(_LOOKED_AT).removeprefix(_BOM).lstrip()
    if not begin:
        raise NotAnExport(f"is empty; {_KNOWN}")
    if begin.startswith(b"%PDF-"):
        from controller.report.kept_pdf import Pages  # its libraries take a while to come

        return Pages(file)
    if begin[:9].lower() == b"<!doctype":
        return Page(file)
    if begin.startswith((b"instance_id,", b'"instance_id"')):
        return Sheet(file)
    if begin.startswith(b"{"):
        return _json(file, serial_number)
    raise NotAnExport(f"is nothing that report export wrote; {_KNOWN}")


def _json(file: BinaryIO, serial_number: SerialNumber) -> Kept:
    """Tell by the first name that only one kind has."""

    def reopened() -> BinaryIO:
        file.seek(0)
        return file

    for name, _ in members(reopened(), REPORTS):
        if name in _OF_BILL:
            return Bill(file, serial_number)
        if name in _OF_REPORT:
            return Lines(file)
        if name in _OF_EXPORT:
            return WholeJson(reopened)
    raise NotAnExport(f"is JSON, but no export; {_KNOWN}")
