"""One vocabulary for all vendors' advisories (SEMANTICS R5, R6, R8), and their serialised form for caches."""

from __future__ import annotations

import json
import re
import sys
import zlib
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

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
_FORMAT: Final = 1


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
        [
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
        ],
    )


def decode_advisories(content: bytes) -> tuple[Advisory, ...]:
    """Read what `encode_advisories` made; raise ValueError for anything else."""
    return tuple(
        Advisory(
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
        for identifier, kind, level, raw_severity, raw_type, title, issued, updated, found, packages in _unpack(
            "advisories", content
        )
    )


def encode_available(available: Sequence[Available]) -> bytes:
    """Return compact bytes; the same builds give the same bytes."""
    return _pack("available", [[*a.nevra, a.build_time, int(a.install_only), a.obsoletes] for a in available])


def decode_available(content: bytes) -> tuple[Available, ...]:
    """Read what `encode_available` made; raise ValueError for anything else."""
    return tuple(
        Available(_nevra(name, epoch, version, release, arch), built, bool(install_only), tuple(obsoletes))
        for name, epoch, version, release, arch, built, install_only, obsoletes in _unpack("available", content)
    )


def _nevra(name: str, epoch: int, version: str, release: str, arch: str) -> Nevra:
    return Nevra(sys.intern(name), epoch, version, release, sys.intern(arch))


def _pack(kind: str, rows: list[Any]) -> bytes:
    text = json.dumps([kind, _FORMAT, rows], separators=(",", ":"), ensure_ascii=False)
    return zlib.compress(text.encode("utf-8", "surrogatepass"), 6)


def _unpack(kind: str, content: bytes) -> Any:
    try:
        found, number, rows = json.loads(zlib.decompress(content).decode("utf-8", "surrogatepass"))
    except zlib.error:
        raise ValueError("is not what was encoded") from None
    if (found, number) != (kind, _FORMAT):
        raise ValueError(f"holds {found} of format {number}, not {kind} of format {_FORMAT}")
    return rows
