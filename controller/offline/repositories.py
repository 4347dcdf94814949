"""Repositories as files: a folder with repodata/, or an updateinfo file. What cannot be read becomes the repository's error (R11)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar

import createrepo_c

from common.manifest import Repository, Stream
from controller.compliance.model import Advisory, Available
from controller.inventory.metadata import (
    MAX_PRIMARY_BYTES,
    MAX_UPDATEINFO_BYTES,
    Applies,
    MetadataError,
    Packed,
    Refused,
    parse_primary,
    read_updateinfo,
    unpacked,
)
from controller.inventory.modules import MAX_MODULES_BYTES, Default, Described, parse_modules

Parsed = TypeVar("Parsed")
_MAX_REPOMD_BYTES: Final = 4 << 20
_CHECKSUMS: Final[Mapping[str, str]] = {
    "md5": "md5",
    "sha": "sha1",
    **{name: name for name in ("sha1", "sha224", "sha256", "sha384", "sha512")},
}
_PRIMARY: Final = ("primary", "primary_db")
_READ: Final = (*_PRIMARY, "updateinfo", "modules")
_KIND: Final = re.compile(rb"""<(?:\w+:)?data\s[^>]*?\btype\s*=\s*["']\s*([a-z_]+)\s*["']""", re.IGNORECASE)
_COMMENT: Final = re.compile(rb"<!--.*?-->", re.DOTALL)
_MAX_SAID: Final = 200
_UPDATEINFO: Final = re.compile(r"updateinfo\.xml(\.(gz|bz2|xz|zst))?$")
_NO_REPOSITORY: Final = frozenset({"lost+found"})
_VERBS: Final = ("is ", "has ", "holds ", "lists ", "declares ", "unpacks ")


@dataclass(frozen=True, slots=True)
class ReadRepository:
    """One repository as evaluation wants it. With an error it holds nothing: half a repository would call too much compliant."""

    repository: Repository
    """Its digests are those of the files that were read."""
    advisories: tuple[Advisory, ...] = ()
    listed: tuple[Advisory, ...] = ()
    """Those that dnf lists: it leaves out what is for a context of a module stream that no repository describes, if one describes the
    stream, and what is for a context that needs other streams than those that are enabled. `advisories` keeps them: what a repository
    says must be done does not vanish with its modules file."""
    available: tuple[Available, ...] | None = None
    """None when only advisories are known."""
    defaults: AbstractSet[Default] = frozenset()
    """The default streams that its modules file names, of those that some repository describes: others do not count for dnf."""


def read_all(places: Sequence[Path], streams: Iterable[Stream] = ()) -> tuple[ReadRepository, ...]:
    """Read repositories and name each after its folder or file, by the whole path where two would have one name.

    A folder of repositories, as `uniagent inventory --with-metadata` writes it, stands for all that are in it: every folder but hidden
    ones, and every updateinfo file. One of them that is no repository is one that could not be had (R11). Never raises for what
    a place holds: that is the repository's error. Raises FileNotFoundError for a place that does not exist.
    `streams` are those that count on the host, as far as they are known: see `ReadRepository.listed`.
    """
    enabled = frozenset(streams)
    distinct = list(dict.fromkeys(repository for place in places for repository in _within(place)))
    names = [_name(place) for place in distinct]
    modules = [_described(place) for place in distinct]
    described = frozenset(each for found, _ in modules for each in found if isinstance(each, Described))
    known = {(each.name, each.stream) for each in described}
    return tuple(
        replace(
            read(place, name if names.count(name) == 1 else str(place), described, broken, enabled),
            defaults=frozenset(each for each in found if isinstance(each, Default) and each in known),
        )
        for place, name, (found, broken) in zip(distinct, names, modules, strict=True)
    )


def read(
    place: Path,
    identifier: str,
    described: AbstractSet[Described] = frozenset(),
    refused_modules: str = "",
    enabled: AbstractSet[Stream] = frozenset(),
) -> ReadRepository:
    """Read one repository; see `read_all`. `described` is what all repositories together say of module streams.

    `refused_modules` says why its own modules file was not even looked into.
    """
    known = {(each.name, each.stream) for each in described}
    fitting = {each[:3] for each in described if _fits(each, enabled)}

    def applies(name: str, stream: str, context: str) -> bool:
        return (name, stream) not in known or (name, stream, context) in fitting

    try:
        if not place.exists():
            raise FileNotFoundError(f"{place} does not exist")
        found = _folder(place, identifier, applies) if place.is_dir() else _updateinfo_file(place, identifier, applies)
        return found if not refused_modules else ReadRepository(Repository(identifier, error=refused_modules))
    except MetadataError as error:
        return ReadRepository(Repository(identifier, error=str(error)))
    except FileNotFoundError:
        raise
    except OSError as error:
        return ReadRepository(Repository(identifier, error=f"{error.filename or place}: {error.strerror}"))
    except Exception as error:  # noqa: BLE001 - whatever it is, the repository is what a parser failed on (R11)
        said = " ".join(str(error).split())[:_MAX_SAID]
        return ReadRepository(Repository(identifier, error=f"a parser failed on it ({type(error).__name__}: {said})"))


def _fits(described: Described, enabled: AbstractSet[Stream]) -> bool:
    """Say whether a context needs no stream of a module of which another one is enabled: of such dnf takes another context, or none."""
    for module, streams in described.requires:
        own = {stream.stream for stream in enabled if stream.name == module}
        wanted = {stream for stream in streams if not stream.startswith("-")}
        if own and not (own & wanted if wanted else own - {stream[1:] for stream in streams}):
            return False
    return True


def _described(place: Path) -> tuple[AbstractSet[Described | Default], str]:
    """Return what a folder's modules file describes, and why its size or packing was refused, mostly ""."""
    try:
        repodata = place / "repodata" if (place / "repodata").is_dir() else place
        if not repodata.is_dir() or (record := _records(repodata)[1].get("modules")) is None:
            return frozenset(), ""
    except (MetadataError, OSError):
        return frozenset(), ""  # what keeps the repository itself from being read is said when it is
    try:
        found, _ = _verified(repodata, record, MAX_MODULES_BYTES, parse_modules)
    except Refused as error:
        return frozenset(), str(error)
    except (MetadataError, OSError):
        return frozenset(), ""  # one that is not whole describes nothing: then name and stream decide
    return found, ""


def _within(place: Path) -> Sequence[Path]:
    try:
        if place.name == "repomd.xml" and place.is_file():
            return (place.parent,)
        if not place.is_dir() or (place / "repodata").exists() or (place / "repomd.xml").exists():
            return (place,)
        inside = sorted(each for each in place.iterdir() if _is_meant(each))
        return inside if any(each.is_file() or (each / "repodata").is_dir() for each in inside) else (place,)
    except OSError:
        return (place,)  # reading it says why


def _is_meant(inside: Path) -> bool:
    """Say whether what is in a folder of repositories ought to be one: an empty folder is one whose metadata did not arrive."""
    if inside.name.startswith(".") or inside.name in _NO_REPOSITORY:
        return False
    return inside.is_dir() or inside.is_symlink() or _UPDATEINFO.search(inside.name) is not None


def _name(place: Path) -> str:
    whole = place.resolve()
    return (whole.parent.name if whole.name == "repodata" else whole.name) or str(whole)


def _updateinfo_file(place: Path, identifier: str, applies: Applies) -> ReadRepository:
    with place.open("rb") as file:
        packed = Packed(file, MAX_UPDATEINFO_BYTES)
        found, listed = _updateinfo(packed, applies)
        packed.finish()
    return ReadRepository(Repository(identifier, updateinfo=packed.sha256()), found, listed)


def _updateinfo(packed: Packed, applies: Applies) -> tuple[tuple[Advisory, ...], tuple[Advisory, ...]]:
    """Return the advisories of an updateinfo file, and those that dnf lists."""
    with unpacked(packed, MAX_UPDATEINFO_BYTES) as path:
        found = read_updateinfo(path)
        if not any(package.module for advisory in found for package in advisory.packages):
            return found, found
        return found, read_updateinfo(path, applies)


def _folder(place: Path, identifier: str, applies: Applies) -> ReadRepository:
    repodata = place / "repodata"
    if not repodata.is_dir():
        repodata = place
    revision, records = _records(repodata)
    if not any(kind in records for kind in _PRIMARY):
        raise MetadataError("its repomd.xml names no primary file that can be read")
    found = ReadRepository(
        Repository(
            identifier,
            revision=revision,
            timestamp=max(0, *(int(record.timestamp or 0) for record in records.values())),
        )
    )
    if (record := records.get("updateinfo")) is not None:
        (advisories, listed), sha256 = _verified(
            repodata, record, MAX_UPDATEINFO_BYTES, lambda packed: _updateinfo(packed, applies)
        )
        found = replace(
            found,
            repository=replace(found.repository, updateinfo=sha256),
            advisories=advisories,
            listed=listed,
        )
    elif "updateinfo_zck" in records:
        raise MetadataError("its updateinfo is there only as zchunk, which is not known here")
    record = next(records[kind] for kind in _PRIMARY if kind in records)
    available, sha256 = _verified(repodata, record, MAX_PRIMARY_BYTES, parse_primary)
    return replace(found, repository=replace(found.repository, primary=sha256), available=available)


def _records(repodata: Path) -> tuple[str, dict[str, Any]]:
    """Return the revision that a repomd.xml has, and the files that it names, by type."""
    path = repodata / "repomd.xml"
    if not path.is_file():
        raise MetadataError("is no repository: it has no repodata/repomd.xml")
    content = _bounded(path, _MAX_REPOMD_BYTES)
    if b"<!ENTITY" in content or b"<!DOCTYPE" in content:
        raise MetadataError("its repomd.xml declares XML entities, which no repository needs")
    try:
        repomd = createrepo_c.Repomd(str(path))
    except (createrepo_c.CreaterepoCError, UnicodeDecodeError):
        raise MetadataError("its repomd.xml is not whole XML") from None
    records = {record.type: record for record in repomd.records}
    named = Counter(kind.decode("ascii").lower() for kind in _KIND.findall(_COMMENT.sub(b"", content)))
    for kind in _READ:
        if named[kind] > 1:  # createrepo_c would take the last and leave the others out
            raise MetadataError(f"its repomd.xml names {kind} {'twice' if named[kind] == 2 else 'several times'}")
        if named[kind] and kind not in records:
            raise MetadataError(f"its repomd.xml names {kind} where, or as, nobody reads it")
    return (repomd.revision or "").strip()[:256], records


def _verified(repodata: Path, record: Any, max_bytes: int, parse: Callable[[Packed], Parsed]) -> tuple[Parsed, str]:
    """Parse a file that repomd.xml names; return what came out and the file's SHA-256, if it is what repomd.xml promises.

    It is summed as it is unpacked, and never held whole.
    """
    kind = str(record.type).partition("_")[0]
    name = PurePosixPath(record.location_href or "").name
    if not name:
        raise MetadataError(f"its repomd.xml does not say where {record.type} is")
    algorithm = _CHECKSUMS.get((record.checksum_type or "").lower())
    if algorithm is None:
        raise MetadataError(f"its {record.type} has a checksum of the unknown type {str(record.checksum_type)[:40]!r}")
    path = repodata / name
    if not path.is_file():
        raise MetadataError(f"its {record.type} is missing: {name}")
    if (promised := int(record.size_open or 0)) > max_bytes:
        raise Refused(f"its {kind} has {promised:,} bytes when unpacked by its repomd.xml, {max_bytes:,} is the limit")
    with path.open("rb") as file:
        packed = Packed(file, max_bytes, algorithm)
        try:
            found = parse(packed)
            packed.finish()
        except Refused as error:
            raise Refused(_about(kind, error)) from None
        except MetadataError as error:
            packed.finish()
            if packed.checksum() != (record.checksum or "").strip().lower():
                raise _other(record, algorithm) from None
            raise MetadataError(_about(kind, error)) from None
    if packed.checksum() != (record.checksum or "").strip().lower():
        raise _other(record, algorithm)
    return found, packed.sha256()


def _about(kind: str, error: MetadataError) -> str:
    sentence = str(error)
    return f"its {kind}{' ' if sentence.startswith(_VERBS) else ': '}{sentence}"


def _other(record: Any, algorithm: str) -> MetadataError:
    return MetadataError(f"its {record.type} is not what its repomd.xml says: the {algorithm} checksum differs")


def _bounded(path: Path, max_bytes: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise MetadataError(f"{path.name} has more than {max_bytes:,} bytes, which is the limit")
    return content


def failures(repositories: Iterable[ReadRepository]) -> tuple[Repository, ...]:
    """Return those that could not be read."""
    return tuple(read.repository for read in repositories if read.repository.error)
