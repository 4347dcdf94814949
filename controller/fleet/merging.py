"""What goes over to the instance that is kept when two are merged besides the fields of the instance itself: what was decided about the
one that goes. Pure.

Past answers stay as they were: nothing is rewritten, what goes over begins now and ends on the old instance now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from controller.compliance.exceptions import ends_at
from controller.compliance.model import Assignment, AssignmentScope, ExceptionScope, PatchException
from controller.fleet.model import InstanceId


def moved_assignments(
    held: Sequence[Assignment], old: InstanceId, kept: InstanceId, at: datetime, by: str
) -> Iterator[Assignment]:
    """Yield the assignments to write, in order: the old instance's own for the kept one unless that has its own, and their end."""
    own = {(a.scenario, a.operating_system): a for a in held if (a.scope, a.value) == (AssignmentScope.INSTANCE, kept)}
    mine = [a for a in held if (a.scope, a.value) == (AssignmentScope.INSTANCE, old)]
    for assignment in mine:
        if (assignment.scenario, assignment.operating_system) not in own:
            yield replace(assignment, value=kept, since=max(at, assignment.since), assigned_by=by)
    for assignment in mine:
        yield replace(assignment, baseline_id="", since=max(at, assignment.since), assigned_by=by)


def moved_exceptions(
    known: Sequence[PatchException], old: InstanceId, kept: InstanceId, at: datetime, new_id: Callable[[], str]
) -> Iterator[PatchException]:
    """Yield the exceptions to write, in order: those of the old instance that still hold for the kept one, each once, and their end."""
    living = [e for e in known if e.scope is ExceptionScope.INSTANCE and ends_at(e) > at]
    there = {_what(e) for e in living if e.scope_value == kept}
    mine = [e for e in living if e.scope_value == old]
    for exception in mine:
        if _what(exception) not in there:
            yield replace(exception, id=new_id(), scope_value=kept, created_at=max(at, exception.created_at))
    for exception in mine:
        yield replace(exception, revoked_at=max(at, exception.created_at))


def _what(exception: PatchException) -> tuple[object, ...]:
    return exception.match, exception.match_value, exception.reason, exception.approver, exception.expires_at
