"""Exports in PDF, read back: the data attached are checked, and the file is written again of them and compared, object by object.

Not as bytes: two builds of zlib may pack the same page otherwise. Everything else must be the same, to the last byte.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, BinaryIO, Final

from controller.report import pdf
from controller.report.edition import edition
from controller.report.kept import Answer, Finding, NotAnExport, excerpt, whole
from controller.report.kept_html import OTHER_EDITION
from controller.report.kept_json import WholeJson
from controller.report.pdf_sheet import CREATOR
from controller.report.text import Document

MAX_BYTES: Final = 256 * 2**20
_MAX_STREAM: Final = 16 * 2**20
_CHUNK: Final = 2**16
_MAX_UNPACKED: Final = 2 * 2**30
_HEADER: Final = re.compile(rb"%PDF-[^\n]{1,20}\n%[^\n]{1,100}\n")
_BEGIN: Final = re.compile(rb"(\d+) 0 obj\n")
_LENGTH: Final = re.compile(rb"/Length (\d+)\b")
_STREAM_END: Final = re.compile(rb"\n?endstream\nendobj\n")
_EMBEDDED: Final = b"/Type /EmbeddedFile"
_XREF: Final = b"xref\n0 "
_ID: Final = re.compile(rb"\[<[0-9a-f]{32}><[0-9a-f]{32}>\]")
_TEXT: Final = re.compile(rb"\(((?:[^\\()]|\\.)*)\) Tj", re.DOTALL)
_MADE_BY: Final = re.compile(rb"/Creator \(" + re.escape(CREATOR.replace("(", "\\(")).encode() + rb"([0-9a-f]*)\\\)\)")


class _Torn(Exception):
    """The file is not built as these files are; the argument is where."""


@dataclass(frozen=True, slots=True)
class _Object:
    """One object of a PDF: its dictionary, without the length of its stream, and the stream as it is in the file."""

    number: int
    at: int
    dictionary: bytes
    stream: bytes | None

    @property
    def is_attachment(self) -> bool:
        return self.stream is not None and _EMBEDDED in self.dictionary

    def content(self) -> bytes:
        """Unpack the stream; of an attachment its sum, for it may be large."""
        if self.stream is None:
            return b""
        if self.is_attachment:
            found, unpack = hashlib.sha256(), _Unpacked(self.stream)
            while piece := unpack.read(_CHUNK):
                found.update(piece)
            return found.digest()
        packed = self.stream
        try:
            if b"/ASCII85Decode" in self.dictionary:
                packed = base64.a85decode(packed.strip().removesuffix(b"~>"))
            if b"/FlateDecode" not in self.dictionary:
                return packed
            unpack_all = zlib.decompressobj()
            found_bytes = unpack_all.decompress(packed, _MAX_STREAM)
        except (ValueError, binascii.Error, zlib.error):
            raise _Torn(self.at) from None
        if unpack_all.unconsumed_tail or not unpack_all.eof:
            raise _Torn(self.at)
        return found_bytes


class _Unpacked:
    """Packed bytes, read as what is packed in them."""

    def __init__(self, packed: bytes) -> None:
        self._unpack, self._rest, self._room = zlib.decompressobj(), packed, _MAX_UNPACKED

    def read(self, size: int, /) -> bytes:
        try:
            found = self._unpack.decompress(self._rest, size)
        except zlib.error:
            raise NotAnExport("has an attachment that cannot be unpacked: it is cut off, or was changed") from None
        self._rest = self._unpack.unconsumed_tail
        self._room -= len(found)
        if self._room < 0:
            raise NotAnExport(f"has an attachment of more than {_MAX_UNPACKED // 2**30} GiB: no export is so large")
        return found


class _Kept(Collection[Document]):
    """The reports of the attached file, read again each time they are gone through."""

    def __init__(self, data: WholeJson) -> None:
        self._data = data
        self._count = sum(1 for _ in data.reports())

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Document]:
        return self._data.reports()

    def __contains__(self, one: object) -> bool:
        return any(report == one for report in self)


class Pages:
    """A PDF of bounded size."""

    format: str = "pdf"
    is_old: bool = False

    def __init__(self, file: BinaryIO) -> None:
        """Find the attachment. Raises NotAnExport."""
        self._content = whole(file, MAX_BYTES, "a PDF")
        self._torn: int | None = None
        attached = None
        try:
            attached = next((one for one in _objects(self._content) if one.is_attachment), None)
        except _Torn as torn:
            self._torn = int(str(torn))
        if attached is None:
            if self._torn is not None:
                raise NotAnExport(f"is no PDF of an export, or is damaged at byte {self._torn}")
            raise NotAnExport("carries no seal: an earlier version wrote it, or it is no export; export it again")
        packed = attached.stream or b""
        self._data = WholeJson(lambda: _Unpacked(packed))

    def damage(self) -> Iterator[Finding]:
        """Yield what shows that this is not the file that was written."""
        if self._data.is_old:
            raise NotAnExport("does not say what was asked")
        found = list(self._data.damage())
        yield from found
        if not found:
            yield from self._drawn_again()

    def answers(self) -> Iterator[Answer]:
        """Yield the answers."""
        return self._data.answers()

    def _drawn_again(self) -> Iterator[Finding]:
        said = _MADE_BY.search(self._content)
        made_by = said[1].decode() if said else ""
        try:
            meant = pdf.document(self._data.question, _Kept(self._data), made_by)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NotAnExport(f"holds something that is no report: {error}") from None
        if meant == self._content:
            return
        first = _first_difference(self._content, meant)
        if first is None:
            return
        yield first
        if made_by != edition():
            yield "", OTHER_EDITION.format(made_by or "none is named", edition())


def _first_difference(kept: bytes, meant: bytes) -> Finding | None:
    """Say where two files differ in anything but in how streams are packed; None when they do not."""
    pages = _pages(meant)
    try:
        for one, other in zip_longest(_objects(kept), _objects(meant)):
            if one is None or other is None:
                return "", f"byte {len(kept) if one is None else one.at}: an object is missing or too many"
            if one.number != other.number or one.dictionary != other.dictionary:
                return "", f"{_where(other.number, pages)}byte {one.at}: {_said(one.dictionary, other.dictionary)}"
            if one.stream != other.stream and (found := one.content()) != (right := other.content()):
                if one.is_attachment:
                    return "", f"byte {one.at}: the attached data are laid out otherwise than they were written"
                return (
                    "",
                    f"{_where(one.number, pages)}{_text(found, right) or f'byte {one.at} is not what its data make'}",
                )
        if _tail(kept) != _tail(meant):
            return "", "the end of the file is not what was written: something was added, or is missing"
    except _Torn as torn:
        return "", f"byte {torn}: the file is cut off there, or was changed"
    return None


def _objects(content: bytes) -> Iterator[_Object]:
    """Yield the objects in their order, each directly after the one before. Raises _Torn."""
    header = _HEADER.match(content)
    if header is None:
        raise _Torn(0)
    at = header.end()
    while not content.startswith(_XREF, at):
        begin = _BEGIN.match(content, at)
        end = content.find(b"\nendobj\n", at)
        if begin is None or end < 0:
            raise _Torn(at)
        stream = content.find(b"\nstream\n", begin.end(), end)
        if stream < 0:
            yield _Object(int(begin[1]), at, content[begin.end() : end], None)
            at = end + len(b"\nendobj\n")
            continue
        dictionary = content[begin.end() : stream]
        length, start = _LENGTH.search(dictionary), stream + len(b"\nstream\n")
        last = _STREAM_END.match(content, start + int(length[1])) if length else None
        if length is None or last is None:
            raise _Torn(at)
        packed = content[start : start + int(length[1])]
        yield _Object(int(begin[1]), at, _LENGTH.sub(b"/Length", dictionary), packed)
        at = last.end()


def _tail(content: bytes) -> tuple[bytes, bytes, bool]:
    """Return what stands before the objects and after them, and whether the table in between names each object's place."""
    places = {one.number: one.at for one in _objects(content)}
    at = content.rindex(_XREF)
    rows = b"".join(b"%010d 00000 n \n" % places.get(number, 0) for number in range(1, len(places) + 1))
    table = b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1) + rows
    start = b"startxref\n%d\n" % at
    rest = _ID.sub(b"[]", content[at + len(table) :], count=1)
    return (
        content[: min(places.values(), default=0)],
        rest.replace(start, b""),
        content.startswith(table, at) and start in rest,
    )


def _pages(content: bytes) -> dict[int, int]:
    """Return the page on which each object stands, by the objects' numbers."""
    found, contents, kids = dict[int, int](), dict[int, int](), list[int]()
    for one in _objects(content):
        if b"/Type /Pages" in one.dictionary and (listed := re.search(rb"/Kids \[([^\]]*)\]", one.dictionary)):
            kids = [int(number) for number in re.findall(rb"(\d+) 0 R", listed[1])]
        elif said := re.search(rb"/Contents (\d+) 0 R", one.dictionary):
            contents[one.number] = int(said[1])
    for page, kid in enumerate(kids, start=1):
        found[kid] = found[contents.get(kid, kid)] = page
    return found


def _where(number: int, pages: dict[int, int]) -> str:
    return f"page {pages[number]}: " if number in pages else ""


def _text(found: bytes, right: bytes) -> str:
    """Say which text of a page is another one."""
    for one, other in zip_longest(_TEXT.findall(found), _TEXT.findall(right), fillvalue=b""):
        if one != other:
            return _said(one, other)
    return ""


def _said(found: Any, meant: Any) -> str:
    shown, right = excerpt(found, meant)
    return f"shows {shown}, its data make {right}"
