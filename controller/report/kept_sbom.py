"""Exports in CycloneDX, read back: the report packed in the bill is checked, the bill is made again of it and compared value by value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

from controller.report import sbom, text
from controller.report.edition import edition
from controller.report.kept import Answer, Finding, NotAnExport, answer, broken, checked, is_question, read_json, whole
from controller.report.kept_html import OTHER_EDITION
from controller.report.text import Document

MAX_BYTES: Final = 128 * 2**20
_SHOWN: Final = 3
_LONG: Final = 60

SerialNumber = Callable[[Document], str]
"""Gives the serial number of a report's bill."""


class Bill:
    """The bill of one instance, of bounded size. It may be laid out anew."""

    format: str = "cyclonedx"
    is_old: bool = False

    def __init__(self, file: BinaryIO, serial_number: SerialNumber) -> None:
        """Read it. Raises NotAnExport."""
        content = whole(file, MAX_BYTES, "a bill of materials")
        self._serial_number = serial_number
        try:
            self._bill = read_json(content.decode("utf-8-sig"))
        except ValueError as error:
            raise NotAnExport(f"is no JSON: {error}; it is cut off, or was changed") from None
        packed, self._made_by = _property(self._bill, sbom.PACKED), _property(self._bill, sbom.EDITION) or ""
        if packed is None:
            raise NotAnExport("carries no seal: an earlier version wrote it, or another program; export it again")
        try:
            found = read_json(sbom.unpack(packed).decode())
        except ValueError as error:
            raise NotAnExport(f"has a property {sbom.PACKED} that cannot be unpacked: {error}") from None
        if not isinstance(found, dict) or not is_question(found.get("asked")):
            raise NotAnExport(f"has a property {sbom.PACKED} that does not say what was asked")
        self._question, self._report = found["asked"], checked(found.get("report"))

    def damage(self) -> Iterator[Finding]:
        """Yield what shows that this is not the file that was written."""
        found = list(broken(self._report, 1))
        yield from found
        if found:
            return
        try:
            number = self._serial_number(self._report)
            meant = json.loads(sbom.bill_of_materials(self._question, self._report, number, self._made_by))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NotAnExport(f"holds something that is no report: {error}") from None
        if (again := _packed(self._bill)) is not None:  # two builds of zlib may pack the same otherwise
            again["value"] = (_packed(meant) or {}).get("value")
        differing = list(_differences(self._bill, meant, ""))
        for said in differing[:_SHOWN]:
            yield self._report["instance_name"], said
        if len(differing) > _SHOWN:
            yield self._report["instance_name"], f"and {len(differing) - _SHOWN} values more"
        if differing and self._made_by != edition():
            yield "", OTHER_EDITION.format(self._made_by or "none is named", edition())

    def answers(self) -> Iterator[Answer]:
        """Yield the one answer."""
        yield answer(self._report, all_items=self._question["all_items"])


def _properties(bill: Any) -> list[Any]:
    metadata = bill.get("metadata") if isinstance(bill, dict) else None
    found = metadata.get("properties") if isinstance(metadata, dict) else None
    return found if isinstance(found, list) else []


def _property(bill: Any, name: str) -> str | None:
    for one in _properties(bill):
        if isinstance(one, dict) and one.get("name") == name and isinstance(one.get("value"), str):
            return str(one["value"])
    return None


def _packed(bill: Any) -> dict[str, Any] | None:
    return next((one for one in _properties(bill) if isinstance(one, dict) and one.get("name") == sbom.PACKED), None)


def _differences(found: Any, meant: Any, path: str) -> Iterator[str]:
    if isinstance(found, dict) and isinstance(meant, dict):
        for name in sorted({*found, *meant}):
            yield from _differences(found.get(name, _NOTHING), meant.get(name, _NOTHING), f"{path}.{name}".lstrip("."))
    elif isinstance(found, list) and isinstance(meant, list):
        for number in range(max(len(found), len(meant))):
            one = found[number] if number < len(found) else _NOTHING
            other = meant[number] if number < len(meant) else _NOTHING
            yield from _differences(one, other, f"{path}[{number}]")
    elif type(found) is not type(meant) or found != meant:
        yield f"{path} is {_said(found)}, its report makes {_said(meant)}"


class _Nothing:
    pass


_NOTHING: Final = _Nothing()


def _said(value: Any) -> str:
    if value is _NOTHING:
        return "not there"
    said = json.dumps(value, ensure_ascii=False)
    return text.visible(said if len(said) <= _LONG else f"{said[:_LONG]}…")
