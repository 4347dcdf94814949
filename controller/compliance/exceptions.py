"""What is excused, for whom and until when (SEMANTICS R10)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import translate
from typing import Final

from controller.compliance.model import ExceptionMatch, Exceptions, ExceptionScope, PatchException
from controller.fleet.groups import lineage

NO_EXCEPTIONS: Final = Exceptions()
"""Nothing was ever excused."""

AdvisoryCves = tuple[str, tuple[str, ...]]
"""An advisory's id and its CVEs."""


@dataclass(frozen=True, slots=True)
class Excuse:
    """The exceptions that excuse one item, together, and when the first of them ends."""

    ids: tuple[str, ...]
    until: datetime
    because: str
    """What the approver wrote; of several exceptions, each once."""
    approver: str

    @property
    def reason(self) -> str:
        """What `Item.reason` says: "EXCEPTED(ex-1 until 2026-12-01T00:00:00Z)"."""
        return f"EXCEPTED({', '.join(self.ids)} until {self.until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ})"


def ends_at(exception: PatchException) -> datetime:
    """Return the instant from which an exception holds no more: its expiry, or its revocation if that came first."""
    revoked = exception.revoked_at
    return exception.expires_at if revoked is None else min(exception.expires_at, revoked)


def is_live(exception: PatchException, as_of: datetime) -> bool:
    """Say whether an exception holds at an instant: from its creation, and no more at its end."""
    return exception.created_at <= as_of < ends_at(exception)


def next_change(exceptions: Exceptions, after: datetime) -> datetime | None:
    """Return the first instant after `after` at which an exception begins or ends; None if none will."""
    edges = (
        edge
        for exception in exceptions.all
        if exception.created_at < ends_at(exception)  # one that was revoked before it began never holds
        for edge in (exception.created_at, ends_at(exception))
        if edge > after
    )
    return min(edges, default=None)


class Excuses:
    """Live exceptions that concern one instance. Asked item by item."""

    def __init__(self, live: Iterable[PatchException]) -> None:
        """Sort them by what they match; of several that match the same the one that lasts longest is told."""
        self._globs = list[tuple[re.Pattern[str], PatchException]]()
        self._advisories = dict[str, PatchException]()
        self._cves = dict[str, PatchException]()
        for exception in sorted(live, key=lambda e: (-ends_at(e).timestamp(), e.id)):
            value = exception.match_value.strip().lower()
            match exception.match:
                case ExceptionMatch.PACKAGE:
                    self._globs.append((re.compile(translate(value)), exception))
                case ExceptionMatch.ADVISORY:
                    self._advisories.setdefault(value, exception)
                case ExceptionMatch.CVE:
                    self._cves.setdefault(value, exception)

    def __bool__(self) -> bool:
        return bool(self._globs or self._advisories or self._cves)

    def of_package(self, name: str, arch: str) -> Excuse | None:
        """Return what excuses a package as such: a glob that matches its name or its name.arch, in any case."""
        spelled = (name.lower(), f"{name}.{arch}".lower())
        for pattern, exception in self._globs:
            if any(pattern.match(text) for text in spelled):
                return _excuse([exception])
        return None

    def of_advisories(self, advisories: Sequence[AdvisoryCves]) -> Excuse | None:
        """Return what excuses an item with these advisories: exceptions that cover all of them, or all their CVEs, together.

        An advisory is covered by its id or by all of its CVEs. One that is left uncovered is a reason to update, so it keeps the item
        from being excused - but when every CVE of the item is excused, advisories without CVEs do not count.
        """
        if not advisories or not (self._advisories or self._cves):
            return None
        by_cve = self._of_cves(cve for _, cves in advisories for cve in cves)
        if by_cve:
            return _excuse(by_cve)
        found = list[PatchException]()
        for identifier, cves in advisories:
            exception = self._advisories.get(identifier.lower())
            covering = [exception] if exception is not None else self._of_cves(cves)
            if not covering:
                return None
            found += covering
        return _excuse(found)

    def _of_cves(self, cves: Iterable[str]) -> list[PatchException]:
        """Return the exceptions for all these CVEs; nothing if one of them has none."""
        found = list[PatchException]()
        for cve in cves:
            exception = self._cves.get(cve.lower())
            if exception is None:
                return []
            found.append(exception)
        return found


class LiveExceptions:
    """The exceptions that are live at one instant, by whom they are for."""

    def __init__(self, exceptions: Exceptions, as_of: datetime) -> None:
        """Choose those that are live."""
        self._all = defaultdict[str, list[PatchException]](list)
        self._by_instance = defaultdict[str, list[PatchException]](list)
        self._by_group = defaultdict[tuple[str, str], list[PatchException]](list)
        for exception in exceptions.all:
            if not is_live(exception, as_of):
                continue
            match exception.scope:
                case ExceptionScope.ALL:
                    self._all[exception.account].append(exception)
                case ExceptionScope.GROUP:
                    self._by_group[exception.account, exception.scope_value].append(exception)
                case ExceptionScope.INSTANCE:
                    self._by_instance[exception.scope_value].append(exception)
        self._shared = dict[tuple[str, str], Excuses]()

    def of(self, account: str, instance_id: str, group: str) -> Excuses:
        """Return those of its account that concern an instance of an application group (empty: it is in none), or of a group above it."""
        own = [e for e in self._by_instance.get(instance_id, ()) if e.account == account]
        if not own and (known := self._shared.get((account, group))) is not None:
            return known
        groups = (e for above in lineage(group) for e in self._by_group.get((account, above), ()))
        shared = [*self._all.get(account, ()), *groups]
        if own:
            return Excuses([*shared, *own])
        known = self._shared[account, group] = Excuses(shared)
        return known


def _excuse(found: Iterable[PatchException]) -> Excuse:
    used = sorted(dict.fromkeys(found), key=lambda exception: exception.id)
    return Excuse(
        tuple(exception.id for exception in used),
        min(ends_at(exception) for exception in used),
        "; ".join(dict.fromkeys(exception.reason for exception in used if exception.reason)),
        ", ".join(dict.fromkeys(exception.approver for exception in used if exception.approver)),
    )
