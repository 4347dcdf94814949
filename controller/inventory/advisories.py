"""One vocabulary for all vendors' advisories (SEMANTICS R5, R6, R8), and the form in which parsed files go between processes."""

from __future__ import annotations

import json
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from hashlib import blake2b
from typing import Any, Final, TypeVar

from common.nevra import Nevra
from controller.compliance.model import Advisory, AdvisoryPackage, Available, Category, Severity

UNKNOWN_MODULE: Final = "?"
"""`AdvisoryPackage.module` of a build whose release tag says that it is modular while the vendor left out of which module (R8)."""

_PREFIX: Final = re.compile(r"^(?:update_|advisory_)?(?:severity|type|sev)[_:\s-]+")
_SEVERITIES: Final = {
    "critical": Severity.CRITICAL,
    "urgent": Severity.CRITICAL,  # Bodhi's word
    "important": Severity.IMPORTANT,
    "high": Severity.IMPORTANT,  # openEuler's word
    "moderate": Severity.MODERATE,
    "medium": Severity.MODERATE,
    "low": Severity.LOW,
}
_CATEGORIES: Final = {
    "security": Category.SECURITY,
    "bugfix": Category.BUGFIX,
    "bug": Category.BUGFIX,
    "enhancement": Category.ENHANCEMENT,
    "feature": Category.ENHANCEMENT,
    "recommended": Category.RECOMMENDED,
    "newpackage": Category.NEWPACKAGE,
}
_DATE: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ]\d.*)?", re.DOTALL)
_ZONED: Final = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(?::\d\d(?:\.\d*)?)?\s*([+-]\d\d):?(\d\d)")
_EPOCH_SECONDS: Final = re.compile(r"\d{1,12}")
_OLDEST: Final = date(1990, 1, 1)
_CVE: Final = re.compile(r"\bCVE-\d{4}-\d{4,}\b", re.IGNORECASE)
_MODULAR_RELEASE: Final = re.compile(r"\.module[+_]")
_FORMAT: Final = 2
T = TypeVar("T")


def severity(raw: str) -> Severity:
    """Read a vendor's severity in any case, with or without prefix; what is not known is NONE (the raw text is kept apart)."""
    return _SEVERITIES.get(_PREFIX.sub("", raw.strip().lower()), Severity.NONE)


def category(raw: str) -> Category:
    """Read an advisory's type in any case, with or without prefix; what is not known is UNSPECIFIED, unless it begins with security."""
    word = re.sub(r"[\s_-]", "", _PREFIX.sub("", raw.strip().lower()))
    return _CATEGORIES.get(word) or (Category.SECURITY if word.startswith("security") else Category.UNSPECIFIED)


def day(raw: str) -> date | None:
    """Read "2023-03-20", the same with a time of day, or seconds since 1970; None for everything else. A time zone counts: days are UTC's.

    Nothing before 1990 is believed: a vendor that writes 0 does not know the date (R5).
    """
    text = raw.strip()
    try:
        if match := _ZONED.fullmatch(text):
            found = datetime.fromisoformat(f"{match[1]}T{match[2]}{match[3]}:{match[4]}").astimezone(UTC).date()
        elif match := _DATE.fullmatch(text):
            found = date(*(int(part) for part in match.groups()))
        elif _EPOCH_SECONDS.fullmatch(text):
            found = datetime.fromtimestamp(int(text), UTC).date()
        else:
            return None
    except (ValueError, OverflowError, OSError):
        return None
    return found if found >= _OLDEST else None


def cves(references: Iterable[tuple[str, str, str]]) -> tuple[str, ...]:
    """Return the CVEs of (type, id, title) references, each once, in their order.

    A reference of type cve is one whatever its id looks like; a CVE number in the id or title of any other counts too.
    """
    found = dict[str, None]()
    for kind, identifier, title in references:
        if kind.strip().lower() == "cve" and (named := identifier.strip()):
            found[named.upper() if _CVE.fullmatch(named) else named] = None
        found |= dict.fromkeys(match.upper() for match in _CVE.findall(f"{identifier} {title}"))
    return tuple(found)


def is_modular(release: str) -> bool:
    """Say whether a release tag is one that only builds of modules have."""
    return ".module" in release and _MODULAR_RELEASE.search(release) is not None


def encode_advisories(advisories: Sequence[Advisory]) -> bytes:
    """Return compact bytes; the same advisories give the same bytes."""
    return _pack(
        "advisories",
        (
            [
                a.id,
                a.category.value,
                a.severity.value,
                a.raw_severity,
                a.raw_type,
                a.title,
                a.issued.isoformat() if a.issued else "",
                a.updated.isoformat() if a.updated else "",
                a.cves,
                [[*p.nevra, p.module, int(p.reboot_suggested)] for p in a.packages],
            ]
            for a in advisories
        ),
    )


def encode_available(available: Sequence[Available]) -> bytes:
    """Return compact bytes; the same builds give the same bytes."""
    return _pack("available", ([*a.nevra, a.build_time, int(a.install_only), a.obsoletes] for a in available))


class Decoder:
    """Reads what was encoded, and gives a record that stood in an earlier file, too, as the same object.

    A new edition of a file repeats nearly all of the one before: that takes neither time nor memory then, and what differs between
    editions is found by identity (`compliance.told.difference`). Memory is bounded: what no file has repeated for long is forgotten.
    """

    def __init__(self, max_records: int = 1 << 18) -> None:
        """Remember at most about so many records."""
        self._generation = max_records // 2
        self._now = dict[bytes, Any]()
        self._before = dict[bytes, Any]()

    def advisories(self, content: bytes) -> tuple[Advisory, ...]:
        """Read what `encode_advisories` made; raise ValueError for anything else."""
        return self._read("advisories", content, _advisory)

    def available(self, content: bytes) -> tuple[Available, ...]:
        """Read what `encode_available` made; raise ValueError for anything else."""
        return self._read("available", content, _available)

    def _read(self, kind: str, content: bytes, make: Callable[..., T]) -> tuple[T, ...]:
        records = list[T]()
        for row in _unpack(kind, content):
            key = blake2b(row, digest_size=16, person=kind.encode()).digest()
            record = self._now.get(key)
            if record is None:
                record = self._before.get(key)
                if record is None:
                    record = make(*json.loads(row.decode("utf-8", "surrogatepass")))
                if len(self._now) >= self._generation:
                    self._before, self._now = self._now, {}
                self._now[key] = record
            records.append(record)
        return tuple(records)


def _advisory(
    identifier: str,
    kind: str,
    level: str,
    raw_severity: str,
    raw_type: str,
    title: str,
    issued: str,
    updated: str,
    found: list[str],
    packages: list[tuple[str, int, str, str, str, str, int]],
) -> Advisory:
    return Advisory(
        identifier,
        Category(kind),
        Severity(level),
        raw_severity,
        raw_type,
        title,
        date.fromisoformat(issued) if issued else None,
        date.fromisoformat(updated) if updated else None,
        tuple(found),
        tuple(
            AdvisoryPackage(_nevra(name, epoch, version, release, arch), sys.intern(module), bool(reboot))
            for name, epoch, version, release, arch, module, reboot in packages
        ),
    )


def _available(
    name: str,
    epoch: int,
    version: str,
    release: str,
    arch: str,
    built: int,
    install_only: int,
    obsoletes: list[str],
) -> Available:
    return Available(_nevra(name, epoch, version, release, arch), built, bool(install_only), tuple(obsoletes))


def _nevra(name: str, epoch: int, version: str, release: str, arch: str) -> Nevra:
    return Nevra(sys.intern(name), epoch, version, release, sys.intern(arch))


def _pack(kind: str, rows: Iterable[list[Any]]) -> bytes:
    """Write one record a line: JSON has no line break of its own."""
    encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
    lines = [encode([kind, _FORMAT]), *map(encode, rows)]
    return zlib.compress("\n".join(lines).encode("utf-8", "surrogatepass"), 1)


def _unpack(kind: str, content: bytes) -> list[bytes]:
    """Return the lines that hold records."""
    try:
        head, *rows = zlib.decompress(content).split(b"\n")
        found, number = json.loads(head)
    except (zlib.error, ValueError, TypeError):
        raise ValueError("is not what was encoded") from None
    if (found, number) != (kind, _FORMAT):
        raise ValueError(f"holds {found} of format {number}, not {kind} of format {_FORMAT}")
    return rows
