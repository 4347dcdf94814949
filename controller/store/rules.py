"""Rules that every store shares, as plain functions: where a report belongs, since when an item is non-compliant, who may use a token,
since when an assignment holds.

An instance's history is a sequence of reports whose intervals [first_collected_at, collected_at] do not overlap, ordered by
first_collected_at, then by arrival. The last one is the latest. At an instant, the report that was the latest is the last one
whose interval had begun.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, TypeVar

from common.errors import Conflict
from controller.compliance.model import Assessment, Assignment, AssignmentScope, Baseline, InstanceStatus
from controller.fleet.model import EnrolmentToken, Instance
from controller.inventory.model import Report

K = TypeVar("K")
T = TypeVar("T")

MAX_SCHEDULE_RUNS: Final = 1000
"""So many lines of a scheduled task's history are kept, the latest ones."""
BEGINNING_OF_TIME: Final = datetime.min.replace(tzinfo=UTC)
"""Since when a default holds of which nobody said since when."""


@dataclass(frozen=True, slots=True)
class Placed:
    """What to write for a report that came in: a neighbour as it is from now on, and reports to add, in order."""

    before: Report | None = None
    after: Report | None = None
    added: tuple[Report, ...] = ()


def place(before: Report | None, after: Report | None, report: Report) -> Placed:
    """Find the place of a report between the last one that had begun by its time and the first that began later."""
    at = report.collected_at
    if before is not None and before.manifest_digest == report.manifest_digest:
        return Placed(before=_stretched(before, report))
    if before is not None and at < before.collected_at:
        # Two tales of one time: what was said before and after it stays said, the late report stands between.
        ends = replace(before, first_collected_at=before.collected_at)
        return Placed(before=replace(before, collected_at=before.first_collected_at), added=(_point(report), ends))
    if after is not None and after.manifest_digest == report.manifest_digest:
        return Placed(after=replace(after, first_collected_at=at))
    return Placed(added=(_point(report),))


def continues(latest: Report, report: Report) -> bool:
    """Say whether a report says again what the latest one of its instance says, and only stretches it."""
    return (
        latest.manifest_digest == report.manifest_digest
        and latest.first_collected_at == report.first_collected_at
        and latest.collected_at <= report.collected_at
    )


def _stretched(before: Report, report: Report) -> Report:
    if report.collected_at < before.collected_at:
        return before
    return replace(before, collected_at=report.collected_at, received_at=report.received_at, ticket_id=report.ticket_id)


def _point(report: Report) -> Report:
    is_point = report.first_collected_at == report.collected_at
    return report if is_point else replace(report, first_collected_at=report.collected_at)


def remembered(
    known: Mapping[T, AbstractSet[K]], assessment: Assessment, items: AbstractSet[K], at: T
) -> Mapping[T, AbstractSet[K]]:
    """Return which items are non-compliant since when once this answer is kept (R13), however the store names items and instants.

    Most of an instance's items are found at once, so they go by their instants; each has one.
    """
    if assessment.status is InstanceStatus.UNDETERMINED and not items:
        return known  # nobody looked, so nothing is known to be mended
    found = {begun: stayed for begun, before in known.items() if (stayed := before & items)}
    if new := items - set().union(*known.values()):
        found[at] = found.get(at, frozenset()) | new
    return found


def used(token: EnrolmentToken, instance: Instance) -> EnrolmentToken:
    """Return the token as it is when this instance has enrolled with it; raise Conflict if it may not."""
    if token.revoked_at is not None or token.used_by not in (None, instance.id):
        raise Conflict("enrolment token", token.id)
    return token if token.used_by else replace(token, used_at=instance.enrolled_at, used_by=instance.id)


def default_of(baseline: Baseline, at: datetime | None, by: str, account: str) -> Assignment:
    """Return the assignment that makes a baseline an account's default."""
    since = BEGINNING_OF_TIME if at is None else at
    scope = AssignmentScope.DEFAULT
    return Assignment(scope, "", baseline.scenario, baseline.operating_system, baseline.id, since, by, account)


def taken_back(assignment: Assignment, at: datetime | None, by: str) -> Assignment:
    """Return what ends an assignment at an instant, None for when it began."""
    return not_before(assignment, replace(assignment, baseline_id="", since=at or BEGINNING_OF_TIME, assigned_by=by))


def not_before(newest: Assignment | None, assignment: Assignment) -> Assignment:
    """Return the assignment, since no earlier than the newest of its key."""
    return assignment if newest is None else replace(assignment, since=max(newest.since, assignment.since))
