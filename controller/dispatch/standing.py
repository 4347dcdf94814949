"""What an instance's answer depends on, and how long it stands. Pure: the assessor brings the time and the records.

What an answer depends on is its key: the report, the deciding baseline, the exceptions, the UTC day, and whether the report is stale. The
same key, the same answer. A mark stands for a key between two runs of the controller: it also says which program answered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from controller.compliance.host import Limits
from controller.compliance.model import Assessment, Baseline, Reason
from controller.dispatch.decisions import Decisions
from controller.fleet.model import Instance, OperatingSystem, Quarantine, ResourceType
from controller.inventory.model import Report

_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Key:
    """What an answer depends on."""

    manifest_digest: bytes
    collected_at: datetime | None
    ages: tuple[bool, bool]
    traits: tuple[object, ...]
    baseline_id: str
    baseline_version: int
    source: str
    exceptions_version: int
    excusing: tuple[str, ...]
    day: date


@dataclass(frozen=True, slots=True)
class Standing:
    """An instance's deciding answer, as long as it holds."""

    assessment: Assessment
    non_compliant: Sequence[str] | None
    """Keys (name.arch) of what keeps it from complying; None when the answer was taken from the store, which does not say."""
    earliest: datetime | None
    """Since when the one of these that stands longest does."""
    until: datetime
    """When it must be looked at again, if nothing else happens."""
    key: Key
    report: Report | None
    decisions: Decisions

    def holds(self, instance: Instance, report: Report | None, decisions: Decisions, now: datetime) -> bool:
        """Say whether nothing can have changed. When it says no, keys must be compared."""
        return (
            now < self.until
            and self.report is report
            and self.decisions is decisions
            and self.key.traits == traits(instance)
        )


def key_of(instance: Instance, report: Report | None, decisions: Decisions, now: datetime, limits: Limits) -> Key:
    """Return what an instance's answer depends on now."""
    baseline, source = decisions.deciding(instance)
    age = now - report.collected_at if report is not None else timedelta(0)
    return Key(
        manifest_digest=report.manifest_digest if report is not None else b"",
        collected_at=report.collected_at if report is not None else None,
        ages=(age > limits.stale_after, age > limits.metadata_stale_after),
        traits=traits(instance),
        baseline_id=baseline.id if baseline is not None else "",
        baseline_version=baseline.version if baseline is not None else 0,
        source=source,
        exceptions_version=decisions.exceptions.version,
        excusing=decisions.excusing(instance, now),
        day=now.astimezone(UTC).date(),
    )


def holds_until(report: Report | None, change: datetime | None, now: datetime, limits: Limits) -> datetime:
    """Say when a key of now may change by itself: midnight, an exception's beginning or end, a report that gets stale."""
    ends = [end_of(now.astimezone(UTC).date())]
    if change is not None:
        ends.append(change)
    if report is not None:
        ends += [report.collected_at + limit + _TICK for limit in (limits.stale_after, limits.metadata_stale_after)]
    return min(end for end in ends if end > now)


class Marks:
    """Makes the marks under which answers are stored: equal ones only where nothing that an answer depends on differs."""

    def __init__(self, edition: bytes, limits: Limits) -> None:
        """Mark answers of one edition of the program with one setting."""
        self._base = hashlib.sha256(edition + repr(limits).encode())
        self._baselines = dict[int, tuple[Baseline, bytes]]()

    def of(self, key: Key, baseline: Baseline | None) -> bytes:
        """Return the mark of a key; `baseline` is the one it names, whose content counts, whatever its version says."""
        found = self._base.copy()
        found.update(repr(key).encode("utf-8", "surrogatepass"))
        if baseline is not None:
            found.update(self._content(baseline))
        return found.digest()

    def _content(self, baseline: Baseline) -> bytes:
        known = self._baselines.get(id(baseline))
        if known is None or known[0] is not baseline:
            if len(self._baselines) >= _MAX_BASELINES:
                self._baselines.clear()
            text = repr(baseline).encode("utf-8", "surrogatepass")
            known = self._baselines[id(baseline)] = (baseline, hashlib.sha256(text).digest())
        return known[1]


_MAX_BASELINES: Final = 4096


def can_be_taken_up(assessment: Assessment) -> bool:
    """Say whether an answer may be used again after a restart: not where a file was not to be read, it may be now."""
    return not any(r.reason is Reason.REPO_ERROR for r in assessment.reasons)


def held_to_the_end(before: Standing, after: Standing) -> bool:
    """Say whether an answer held to the end of its day, given the one that came next."""
    end = end_of(before.key.day)
    if after.key.day == before.key.day or before.until < end or after.decisions is not before.decisions:
        return False
    return after.report is before.report or (after.report is not None and after.report.collected_at >= end)


def end_of(day: date) -> datetime:
    """Return the midnight with which a day ends."""
    return datetime.combine(day, time(), UTC) + timedelta(days=1)


def traits(instance: Instance) -> tuple[OperatingSystem, ResourceType, str, str, Quarantine | None]:
    """What an answer depends on that is said of an instance itself."""
    return (
        instance.operating_system,
        instance.resource_type,
        instance.application_group,
        instance.enterprise_project,
        instance.quarantine,
    )
