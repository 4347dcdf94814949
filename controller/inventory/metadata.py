"""Repository files as a host cached them: decompressed within bounds (`packed`), parsed by createrepo_c, normalised.

Everything here trusts nothing: the bytes come from hosts. Run it in a worker process (`parse_worker`).
"""

from __future__ import annotations

import mmap
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from xml.parsers import expat

import createrepo_c

from common import evr
from common.nevra import Nevra
from controller.compliance.model import Advisory, AdvisoryPackage, Available
from controller.inventory import advisories
from controller.inventory.packed import MetadataError as MetadataError
from controller.inventory.packed import Packed as Packed
from controller.inventory.packed import Refused as Refused
from controller.inventory.packed import unpacked as unpacked

MAX_UPDATEINFO_BYTES: Final = 256 << 20
MAX_PRIMARY_BYTES: Final = 1 << 30
MAX_ADVISORIES: Final = 50_000
"""In one file; the largest vendors have some thousands."""
MAX_PACKAGES: Final = 1_000_000
"""In one primary file; the largest distributions have a tenth of it."""
MAX_LISTED: Final = 20_000
"""Packages, references or collections of one advisory."""
MAX_LISTED_IN_ALL: Final = 2_000_000
"""As many as fit into a file of the largest size, when each is described as vendors do."""
_SQLITE: Final = b"SQLite format 3\0"
_UTF_16: Final = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"<\0": "utf-16-le", b"\0<": "utf-16-be"}
_PIECE: Final = 1 << 16
_ENCODING: Final = re.compile(r"""\A(<\?xml\b[^>]*?)\s+encoding\s*=\s*["'][^"'>]*["']""")
_LISTED: Final = {b"package": "packages", b"reference": "references", b"collection": "collections"}
_COUNTED: Final = re.compile(rb"<(update|package|reference|collection|module)[\s/>]")
_ZONE: Final = re.compile(rb"date\s*=\s*[\"'][^\"'<]{12,40}[+-]\d\d:?\d\d\s*[\"']")
_DUMPED_DATE: Final = re.compile(r'<(issued|updated) date="([^"]*)"')
_SPACE: Final = re.compile(r"\s")
_DECLARED: Final = "declares XML entities, which no repository file needs"
_FLAGS: Final = {"EQ": "=", "LT": "<", "LE": "<=", "GT": ">", "GE": ">="}


Applies = Callable[[str, str, str], bool]


def parse_updateinfo(
    content: bytes | Packed, max_bytes: int = MAX_UPDATEINFO_BYTES, applies: Applies | None = None
) -> tuple[Advisory, ...]:
    """Read an updateinfo file (plain, gzip, bzip2, xz or zstd) in its own order.

    `applies` is asked of each module's name, stream and context; packages for which it says no are left out.
    Raises MetadataError when it is not one, is cut off, names a build without version, or has more than `max_bytes` unpacked.
    """
    with unpacked(content, max_bytes) as path:
        return read_updateinfo(path, applies)


def read_updateinfo(path: Path, applies: Applies | None = None) -> tuple[Advisory, ...]:
    """Read an updateinfo file that has been unpacked; see `parse_updateinfo`."""
    _write_utf_8(path)
    _check_root(path, "updates")
    modules = _check_lengths(path)
    found = createrepo_c.UpdateInfo()
    passed_over = _run(createrepo_c.xml_parse_updateinfo, str(path), found)
    updates = found.updates
    if passed_over or (modules and modules > _modules(updates)):
        _check_places(path, updates, passed_over[0] if passed_over else "more than one of a collection")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        zoned = _ZONE.search(content) is not None
    return tuple(_advisory(number, record, applies, zoned=zoned) for number, record in enumerate(updates, 1))


def parse_primary(content: bytes | Packed, max_bytes: int = MAX_PRIMARY_BYTES) -> tuple[Available, ...]:
    """Read a primary file: XML, or the SQLite form that yum 3 prefers; compressed as `parse_updateinfo` says.

    Source packages are left out. Raises MetadataError as `parse_updateinfo` does.
    """
    with unpacked(content, max_bytes) as path:
        with path.open("rb") as file:
            is_database = file.read(len(_SQLITE)) == _SQLITE
        if is_database:
            return tuple(_database(path))
        _write_utf_8(path)
        _check_root(path, "metadata")
        found, sources, wrong = list[Available](), 0, list[MetadataError]()

        def take(package: Any) -> bool:
            nonlocal sources
            if package.arch == "src":
                sources += 1
                return True
            try:
                found.append(_available(package))
            except MetadataError as error:
                wrong.append(error)  # what is raised here, createrepo_c calls a fault of the XML
            if len(found) > MAX_PACKAGES:
                wrong.append(MetadataError(f"holds more than {MAX_PACKAGES:,} packages, which is the limit"))
            return not wrong

        try:
            passed_over = _run(createrepo_c.xml_parse_primary, str(path), pkgcb=take, do_files=False)
        except MetadataError as error:
            raise (wrong[0] if wrong else error) from None
        if wrong:
            raise wrong[0]
        if passed_over:
            _check_offers(path, len(found) + sources, passed_over[0])
        return tuple(found)


def _write_utf_8(path: Path) -> None:
    """Write a file of UTF-16 anew: what is checked by its bytes, lengths and time zones, would pass unseen."""
    with path.open("rb") as file:
        encoding = _UTF_16.get(file.read(2))
    if encoding is None:
        return
    anew = path.with_name("metadata.utf-8")
    try:
        with path.open(encoding=encoding, newline="") as source, anew.open("w", encoding="utf-8", newline="") as target:
            target.write(_ENCODING.sub(r"\1", source.read(_PIECE), count=1))
            while piece := source.read(_PIECE):  # never whole in memory: it may be as large as is read at all
                target.write(piece)
    except UnicodeDecodeError:
        raise MetadataError("is not whole UTF-16 text") from None
    anew.replace(path)


def _check_root(path: Path, expected: str) -> None:
    """Raise unless the file's outermost element is the expected one: createrepo_c finds nothing in others, and says nothing.

    Nor may a document type declare entities, here or elsewhere: what stands for more than itself is passed over by createrepo_c.
    """
    names, elsewhere = list[str](), False
    parser = expat.ParserCreate()

    def document_type(_name: str, system: str | None, public: str | None, has_declarations: bool) -> None:
        nonlocal elsewhere
        if has_declarations:
            raise MetadataError(_DECLARED)
        elsewhere = bool(system or public)

    def start(name: str, _attributes: dict[str, str]) -> None:
        if not names:
            names.append(name.rpartition(":")[2])

    parser.StartDoctypeDeclHandler = document_type
    parser.StartElementHandler = start
    try:
        with path.open("rb") as file:
            while not names and (chunk := file.read(4096)):
                parser.Parse(chunk)
    except MetadataError:
        raise
    except (expat.ExpatError, LookupError, ValueError) as error:  # LookupError: an encoding that nobody knows
        if not names:
            raise MetadataError(f"is not XML: {error}") from None
    if names != [expected]:
        raise MetadataError(
            f"its outermost element is <{names[0]}>, not <{expected}>" if names else "is not XML: it has no element"
        )
    if elsewhere:
        raise MetadataError(_DECLARED)


def _check_lengths(path: Path) -> int:
    """Raise when a list is longer than any vendor's: createrepo_c takes the square of a list's length to read it.

    Returns how often a module seems to be named.

    Some kilobytes unpack to a hundred million bytes of nothing but `<update/>`, which is hours of work.
    """
    total, advisories, modules, listed = 0, 0, 0, dict.fromkeys(_LISTED, 0)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for match in _COUNTED.finditer(content):
            name = match[1]
            if name == b"update":
                advisories += 1
                listed = dict.fromkeys(_LISTED, 0)
                if advisories > MAX_ADVISORIES:
                    raise MetadataError(f"holds more than {MAX_ADVISORIES:,} advisories, which is the limit")
                continue
            if name == b"module":
                modules += 1
                continue
            total += 1
            if total > MAX_LISTED_IN_ALL:
                raise MetadataError(
                    f"lists more than {MAX_LISTED_IN_ALL:,} packages and references, which is the limit"
                )
            listed[name] += 1
            if listed[name] > MAX_LISTED:
                raise MetadataError(
                    f"holds an advisory with more than {MAX_LISTED:,} {_LISTED[name]}, which is the limit"
                )
    return modules


def _modules(updates: Sequence[Any]) -> int:
    return sum(1 for update in updates for collection in update.collections if collection.module is not None)


def _check_places(path: Path, updates: Sequence[Any], passed_over: str) -> None:
    """Raise when elements that createrepo_c does not know, and passes over with all that is in them, hold advisories or packages.

    Of several modules of one collection it knows the last: which packages are whose, nobody says.
    """
    told = dict.fromkeys(("update", "package", "module"), 0)
    nameless = False

    def start(name: str, attributes: Mapping[str, str]) -> None:
        nonlocal nameless
        if name in told:
            told[name] += 1
        if name == "package":
            nameless = "name" not in attributes
        elif nameless and name in ("name", "version"):
            raise MetadataError("names packages by elements, not by attributes: nobody would read them")

    def end(name: str) -> None:
        nonlocal nameless
        nameless = nameless and name != "package"

    _walk(path, start, end)
    read = {
        "update": len(updates),
        "package": sum(len(c.packages) for u in updates for c in u.collections),
        "module": _modules(updates),
    }
    if told != read:
        kind = next(kind for kind in read if told[kind] != read[kind])
        kind = {"update": "advisories"}.get(kind, f"{kind}s")
        raise MetadataError(f"has {kind} where none are expected ({passed_over}): nobody would read them")


def _check_offers(path: Path, read: int, passed_over: str) -> None:
    """Raise when elements that createrepo_c passes over hold packages that a repository offers; it has read so many."""
    told = 0

    def start(name: str, _attributes: Mapping[str, str]) -> None:
        nonlocal told
        told += name == "package"

    _walk(path, start, lambda _name: None)
    if told != read:
        raise MetadataError(f"has packages where none are expected ({passed_over}): nobody would read them")


def _walk(path: Path, start: Callable[[str, Mapping[str, str]], None], end: Callable[[str], None]) -> None:
    """Tell of each element of a file where it starts and where it ends, by its name in lower case and without a prefix."""
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, attributes: start(name.rpartition(":")[2].lower(), attributes)
    parser.EndElementHandler = lambda name: end(name.rpartition(":")[2].lower())
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except MetadataError:
        raise
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise MetadataError(f"is not XML: {error}") from None


def _run(parse: Callable[..., object], *arguments: object, **options: object) -> list[str]:
    """Parse, and return what was said of unknown elements."""
    matters, unknown = list[str](), list[str]()

    def warn(kind: int, message: str) -> bool:
        # An unknown element is the vendor's business; a value that cannot be read, or an attribute that is not there, is ours.
        if kind == createrepo_c.XML_WARNING_BADATTRVAL:
            matters.append(message)
        elif kind == createrepo_c.XML_WARNING_UNKNOWNTAG and not unknown:
            unknown.append(message)
        return True

    try:
        parse(*arguments, warningcb=warn, **options)
    except createrepo_c.CreaterepoCError as error:
        text = " ".join(str(error).split())
        raise MetadataError(f"is not whole XML: {text[text.find(' at line') + 1 :]}") from None
    except UnicodeDecodeError:
        raise MetadataError("holds text that is not UTF-8") from None
    if matters:
        raise MetadataError(f"holds a value that cannot be read: {matters[0]}")
    return unknown


def _advisory(number: int, record: Any, applies: Applies | None, *, zoned: bool) -> Advisory:
    identifier = (record.id or "").strip()
    where = f"advisory {identifier}" if identifier else f"advisory number {number}"
    references = [(r.type or "", r.id or "", r.title or "") for r in record.references]
    packages = tuple(_advisory_packages(where, record, applies))
    if packages and not identifier:
        raise MetadataError(f"{where} has no id")
    issued, updated = (
        _dates(record) if zoned else (_date_text(record, "issued_date"), _date_text(record, "updated_date"))
    )
    return Advisory(
        id=identifier,
        category=advisories.category(record.type or ""),
        severity=advisories.severity(record.severity or ""),
        raw_severity=record.severity or "",
        raw_type=record.type or "",
        title=record.title or "",
        issued=advisories.day(issued),
        updated=advisories.day(updated),
        cves=advisories.cves(references),
        packages=packages,
    )


def _dates(record: Any) -> tuple[str, str]:
    """Return when it was issued and updated as the file has it: createrepo_c's own reading leaves the time zone out."""
    found = dict(_DUMPED_DATE.findall(createrepo_c.xml_dump_updaterecord(record)))
    return found.get("issued", ""), found.get("updated", "")


def _date_text(record: Any, name: str) -> str:
    try:
        return str(getattr(record, name) or "")
    except (createrepo_c.CreaterepoCError, ValueError, OverflowError):  # ValueError: the 30th of February
        return ""  # malformed counts as missing (R5): first_seen decides then


def _advisory_packages(where: str, record: Any, applies: Applies | None) -> Iterator[AdvisoryPackage]:
    for collection in record.collections:
        stream = collection.module
        module = f"{stream.name}:{stream.stream}" if stream and stream.name and stream.stream else ""
        if module and applies is not None and not applies(stream.name, stream.stream, stream.context or ""):
            continue
        for package in collection.packages:
            if not package.name:
                if package.version or package.release or package.filename:
                    raise MetadataError(f"{where} names a package without a name")
                continue  # <package/>: nothing is named, so nothing can be missed by leaving it out
            if not (package.version and package.release and package.arch):
                raise MetadataError(f"{where} names {package.name} without version, release or arch")
            build = _nevra(where, package)
            yield AdvisoryPackage(
                build,
                module or (advisories.UNKNOWN_MODULE if advisories.is_modular(build.release) else ""),
                bool(package.reboot_suggested or record.reboot_suggested),
            )


def _available(package: Any) -> Available:
    if not (package.name and package.version and package.release and package.arch):
        raise MetadataError(f"package {package.name or package.pkgId!r} has no version, release or arch")
    return Available(
        _nevra("a package", package),
        max(0, package.time_build or 0),
        any(entry[0].startswith("installonlypkg(") for entry in package.provides),
        tuple(_relation(*entry[:5]) for entry in package.obsoletes),
    )


def _nevra(where: str, package: Any) -> Nevra:
    try:
        epoch = evr.parse_epoch(package.epoch)
    except ValueError as error:
        raise MetadataError(f"{where}: {package.name}: {error}") from None
    if _SPACE.search(f"{package.name}{package.version}{package.release}{package.arch}"):
        raise MetadataError(f"{where}: {package.name.strip()} has a space in its name, version, release or arch")
    if ":" in package.version:  # it would be compared as a part of the version
        raise MetadataError(f"{where}: {package.name} has an epoch in its version: {package.version}")
    return Nevra(package.name, epoch, package.version, package.release, package.arch)


def _relation(name: str, flags: str | None, epoch: str | None, version: str | None, release: str | None) -> str:
    """Spell a dependency as rpm does: "old < 1:2.0-3"."""
    if not (flags and version):
        return name
    head = f"{epoch}:" if epoch not in (None, "", "0") else ""
    return f"{name} {_FLAGS.get(flags, flags)} {head}{version}{f'-{release}' if release else ''}"


def _database(path: Path) -> Iterator[Available]:
    """Read yum 3's primary_db."""
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            _check_tables(connection)
            install_only = {
                key for (key,) in connection.execute("SELECT pkgKey FROM provides WHERE name GLOB 'installonlypkg(*'")
            }
            obsoletes = dict[int, list[str]]()
            for key, *relation in connection.execute(
                "SELECT pkgKey, name, flags, epoch, version, release FROM obsoletes ORDER BY rowid"
            ):
                obsoletes.setdefault(key, []).append(_relation(*relation))
            for key, name, epoch, version, release, arch, built in connection.execute(
                "SELECT pkgKey, name, epoch, version, release, arch, time_build FROM packages"
                " WHERE arch <> 'src' ORDER BY pkgKey"
            ):
                if not all(isinstance(text, str) and text for text in (name, version, release, arch)):
                    raise MetadataError(f"package {name!r} has no version, release or arch")
                yield Available(
                    Nevra(name, evr.parse_epoch(str(epoch or "")), version, release, arch),
                    max(0, built) if isinstance(built, int) else 0,
                    key in install_only,
                    tuple(obsoletes.get(key, ())),
                )
        finally:
            connection.close()
    except MetadataError:
        raise
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise MetadataError(f"is not a whole primary database: {error}") from None


def _check_tables(connection: sqlite3.Connection) -> None:
    found = dict(
        connection.execute("SELECT name, type FROM sqlite_master WHERE name IN ('packages', 'provides', 'obsoletes')")
    )
    if absent := {"packages", "provides", "obsoletes"} - {name for name, kind in found.items() if kind == "table"}:
        raise MetadataError(f"is a SQLite database without the table {min(absent)}")
