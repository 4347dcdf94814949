"""What an exception may be when somebody asks for one (SEMANTICS R10): for whom, for what, why, and for how long at most."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from common.errors import Violation
from controller.compliance.model import ExceptionMatch, ExceptionScope, PatchException

LONGEST: Final = timedelta(days=180)
MAX_REASON: Final = 500
MAX_GROUP: Final = 64
_CVE: Final = re.compile(r"CVE-\d{4}-\d{4,19}", re.IGNORECASE)
_GLOB: Final = re.compile(r"[A-Za-z0-9+._~^:*?\[\]!-]{1,256}")
_ADVISORY: Final = re.compile(r"[!-~]{3,100}")


def violations(exception: PatchException) -> tuple[Violation, ...]:
    """Return everything that is wrong with an exception that begins at its `created_at`; empty when it is fine."""
    return tuple(_violations(exception))


def _violations(e: PatchException) -> Iterator[Violation]:
    if e.scope is ExceptionScope.ALL:
        if e.scope_value:
            yield Violation("scope_value", f"{e.scope_value[:80]!r} cannot be said of scope ALL; leave it empty")
    elif not e.scope_value:
        yield Violation("scope_value", f"is missing: which {e.scope.value.lower()}?")
    elif len(e.scope_value) > MAX_GROUP or not e.scope_value.isprintable():
        yield Violation("scope_value", f"{e.scope_value[:80]!r} is not 1 to {MAX_GROUP} printable characters")
    yield from _match(e)
    if not e.reason.strip():
        yield Violation("reason", "is missing: say why, people read it in reports")
    elif len(e.reason) > MAX_REASON:
        yield Violation("reason", f"has {len(e.reason)} characters, allowed are 1 to {MAX_REASON}")
    last = e.created_at + LONGEST
    if e.expires_at <= e.created_at:
        yield Violation("expires_at", f"{e.expires_at:%Y-%m-%d %H:%M} UTC is past; choose a later one")
    elif e.expires_at > last:
        yield Violation(
            "expires_at",
            f"{e.expires_at:%Y-%m-%d %H:%M} UTC is too late, allowed are {LONGEST.days} days, {last:%Y-%m-%d %H:%M} UTC",
        )


def _match(e: PatchException) -> Iterator[Violation]:
    value = e.match_value
    match e.match:
        case ExceptionMatch.PACKAGE:
            if not _GLOB.fullmatch(value):
                yield Violation("match_value", f"{value[:80]!r} is not a package name or a glob over it, like kernel*")
        case ExceptionMatch.ADVISORY:
            if not _ADVISORY.fullmatch(value):
                yield Violation("match_value", f"{value[:80]!r} is not an advisory id, like CESA-2023:1335")
        case ExceptionMatch.CVE:
            if not _CVE.fullmatch(value):
                yield Violation("match_value", f"{value[:80]!r} is not a CVE id, like CVE-2023-0286")
