"""How reports say things: shares, ages, instants, and text from hosts that nobody trusts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from common.clock import format_duration
from common.evr import parse as parse_evr

Document = Mapping[str, Any]
"""A report or a summary as plain values: the API's own field names, states without prefixes, UTC instants, null for what is absent."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
NON_COMPLIANT: Final = frozenset({"MISSING", "FAILED", "REJECT", "PENDING_REBOOT"})
"""The statuses of items that make an instance non-compliant (SEMANTICS §1)."""


def visible(text: str) -> str:
    """Show control characters and those that turn the direction of writing as escapes: a host may call itself anything."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def disarmed(cell: str) -> str:
    """Return a cell of a table that no spreadsheet takes for a formula: what begins like one gets a ' in front."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def share(part: int, whole: int) -> str:
    """Say a part of a whole in percent with one decimal, exactly rounded; "-" of nothing."""
    if not whole:
        return "-"
    return "{}.{} %".format(*divmod((part * 2000 + whole) // (2 * whole), 10))


def utc(instant: str | None) -> str:
    """Say an instant to the minute, "2026-11-22 12:40 UTC"; "never" for none."""
    return f"{_read(instant).replace(tzinfo=None).isoformat(' ', 'minutes')} UTC" if instant else "never"


def age(since: str | None, as_of: str | None) -> str:
    """Say how long something has been so, in its largest unit, "41 d"; "" when either is not known."""
    if not since or not as_of:
        return ""
    length = max(_read(as_of) - _read(since), timedelta(0))
    return " ".join(format_duration(length).split(" ")[:2])


def instant(text: str) -> datetime:
    """Read an instant of a document."""
    return _read(text)


def plural(count: int, noun: str) -> str:
    """Say how many, "1 instance", "2 instances"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def heading(summary: Document) -> str:
    """Say how many instances, and as of when: "12 instances as of 2026-11-22 12:40 UTC"."""
    said = plural(summary["instances"], "instance")
    return f"{said} as of {utc(summary['as_of'])}" if summary["as_of"] else said


def system(report: Document) -> str:
    """Say what an instance runs, as baselines spell it if it is supported."""
    found: Document = report.get("operating_system") or {}
    return str(found.get("product") or found.get("pretty_name") or "")


def baseline(report: Document) -> str:
    """Say which baseline decided, "CentOS-Default v3"; "" when none did."""
    if not report["baseline_name"] or not report["inputs"]:
        return str(report["baseline_name"])
    return f"{report['baseline_name']} v{report['inputs']['baseline_version']}"


def epoch_and_rest(evr: str) -> tuple[int, str]:
    """Split "[epoch:]version-release"; what is not of that form has epoch 0."""
    try:
        epoch, version, release = parse_evr(evr)
    except ValueError:
        return 0, evr
    return epoch, f"{version}-{release}"


def inputs(report: Document) -> tuple[tuple[str, str], ...]:
    """Name the five inputs of an answer (SEMANTICS R1): what each is, and its digest or version."""
    found: Document = report["inputs"] or {}
    decided = f"{found['baseline_id']} version {found['baseline_version']}" if found.get("baseline_id") else "none"
    return (
        ("inventory", found.get("inventory_digest") or "none"),
        ("metadata", found.get("metadata_digest") or "none"),
        ("manifest", found.get("manifest_digest") or "none"),
        ("baseline", decided),
        ("exceptions", f"version {found.get('exceptions_version', 0)}"),
        ("as of", found.get("as_of") or "unknown"),
    )


def _read(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
