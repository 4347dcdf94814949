"""Reads a repository's repomd.xml and finds, in the package manager's cache, the files it names."""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

MAX_REPOMD_BYTES: Final = 4 << 20
_NAMESPACE: Final = "{http://linux.duke.edu/metadata/repo}"
_READ: Final = ("updateinfo", "primary", "primary_db", "modules")
_CHECKSUMS: Final = {"md5": "md5", "sha": "sha1", "sha1": "sha1", "sha224": "sha224", "sha256": "sha256"} | {
    "sha384": "sha384",
    "sha512": "sha512",
}


@dataclass(frozen=True, slots=True)
class File:
    """One file that repomd.xml names."""

    name: str
    """Without folders."""
    checksum_type: str
    checksum: str


@dataclass(frozen=True, slots=True)
class Repomd:
    """What a repomd.xml says."""

    revision: str
    timestamp: int
    """The newest of all; 0 when it names none."""
    files: Mapping[str, File]


def parse(content: bytes) -> Repomd:
    """Read a repomd.xml; raise ValueError that says in one sentence what is wrong with it."""
    if len(content) > MAX_REPOMD_BYTES:
        raise ValueError(f"its repomd.xml is larger than {MAX_REPOMD_BYTES >> 20} MiB")
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("its repomd.xml defines entities of its own, as no repository does")
    try:
        root = ET.fromstring(content)  # noqa: S314 - without entities there is nothing to blow up
    except ET.ParseError:
        raise ValueError("its repomd.xml is not XML") from None
    if root.tag.removeprefix(_NAMESPACE) != "repomd":
        raise ValueError("its repomd.xml is no repomd")
    files, newest = dict[str, File](), 0
    for data in root.iter(f"{_NAMESPACE}data"):
        kind = data.get("type", "")
        location, checksum = data.find(f"{_NAMESPACE}location"), data.find(f"{_NAMESPACE}checksum")
        name = PurePosixPath(location.get("href", "")).name if location is not None else ""
        if not name or checksum is None:
            raise ValueError(f"its repomd.xml does not say where {kind[:40]!r} is")
        if kind in files and kind in _READ:  # to take one of them would be to leave the other out
            raise ValueError(f"its repomd.xml names {kind} twice")
        files[kind] = File(name, checksum.get("type", "").lower(), (checksum.text or "").strip().lower())
        stamp = (data.findtext(f"{_NAMESPACE}timestamp") or "").strip().partition(".")[0]
        if stamp.isascii() and stamp.isdigit() and len(stamp) < 15:
            newest = max(newest, int(stamp))
    return Repomd((root.findtext(f"{_NAMESPACE}revision") or "").strip()[:256], newest, files)


def locate(cache: Path) -> Path:
    """Return the repomd.xml of a repository's cache folder: dnf keeps it in repodata/, yum 3 beside the rest."""
    inner = cache / "repodata/repomd.xml"
    return inner if inner.is_file() else cache / "repomd.xml"


def verified(file: File, folder: Path, kind: str) -> tuple[Path, str]:
    """Return a cached file and its SHA-256, hexadecimal, if it is what repomd.xml promises; else raise ValueError that says why."""
    algorithm = _CHECKSUMS.get(file.checksum_type)
    if algorithm is None:
        raise ValueError(f"its {kind} has a checksum of the unknown type {file.checksum_type[:40]!r}")
    path = folder / file.name
    promised, ours = hashlib.new(algorithm, usedforsecurity=False), hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while piece := stream.read(1 << 20):
                promised.update(piece)
                ours.update(piece)
    except FileNotFoundError:
        raise ValueError(f"its {kind} is not in the package manager's cache") from None
    except OSError as error:
        raise ValueError(f"its {kind} cannot be read: {error.strerror}") from None
    if promised.hexdigest() != file.checksum:
        raise ValueError(f"its {kind} in the package manager's cache is not what its repomd.xml says")
    return path, ours.hexdigest()
