"""BaselineService: baselines, for whom they decide, what they would do, and what is excused from them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Final

from common.clock import Clock
from common.errors import InvalidArgument, NotFound, Rejected, Violation
from common.ids import Ids
from common.pb.v1 import baseline_pb2 as pb
from common.pb.v1 import baseline_pb2_grpc
from controller.api import paging, translate_baseline, translate_fleet
from controller.api.auth import operator
from controller.api.bound import BoundBaselines, BoundFleet
from controller.api.checks import MAX_REFERENCE, Checks, reference
from controller.api.interception import Context
from controller.api.lookup import find_baseline, find_instance
from controller.api.planning import DEFAULT_BASELINE
from controller.api.selecting import Selecting
from controller.api.translate import INSTANCE_STATUS, RESOURCE_TYPE
from controller.compliance import excusing
from controller.compliance.baseline import violations
from controller.compliance.exceptions import ends_at
from controller.compliance.model import (
    Assessment,
    Assignment,
    AssignmentScope,
    Baseline,
    ExceptionScope,
    InstanceStatus,
    PatchException,
)
from controller.dispatch.assess import Assessor
from controller.dispatch.trying import try_baseline
from controller.fleet.assignment import by_key, is_meant_for
from controller.fleet.model import Instance
from controller.fleet.placement import MAX_TEXT

log = logging.getLogger(__name__)

_MOST_CHANGES: Final = 500
_MOST_PACKAGES: Final = 100
"""So that what a whole fleet would change fits one message."""


class BaselineService(baseline_pb2_grpc.BaselineServiceServicer):
    """Serves baselines, assignments and exceptions. After each change every answer is looked at again."""

    def __init__(
        self,
        store: BoundBaselines,
        fleet: BoundFleet,
        assessor: Assessor,
        selecting: Selecting,
        clock: Clock,
        ids: Ids,
    ) -> None:
        """Join the parts."""
        self._selecting = selecting
        self._store = store
        self._fleet = fleet
        self._assessor = assessor
        self._clock = clock
        self._ids = ids

    async def ListBaselines(self, request: pb.ListBaselinesRequest, context: Context) -> pb.ListBaselinesResponse:  # noqa: N802
        """List baselines: public ones first, then by name."""
        checks = Checks()
        family = checks.text("operating_system", request.operating_system, MAX_REFERENCE)
        scenario = RESOURCE_TYPE.read_optional(checks, "scenario", request.scenario)
        checks.done()
        size = paging.page_size(request.page_size)
        after = paging.read_token(request, request.page_token, (int, str))
        found = [
            b
            for b in await self._store.baselines()
            if (not family or b.operating_system == family)
            and scenario in (None, b.scenario)
            and (after is None or _position(b) > after)
        ]
        page, defaults = found[:size], await self._defaults()
        return pb.ListBaselinesResponse(
            baselines=[_message(b, defaults) for b in page],
            next_page_token=paging.make_token(request, _position(page[-1])) if len(found) > size else "",
        )

    async def GetBaseline(self, request: pb.GetBaselineRequest, context: Context) -> pb.GetBaselineResponse:  # noqa: N802
        """One baseline, in its newest version or the one asked for."""
        found = await find_baseline(self._store, "baseline", request.baseline)
        if request.version:
            try:
                found = await self._store.get_baseline(found.id, request.version)
            except NotFound:
                called = f"{found.name} v{request.version}"
                raise NotFound("baseline", called, f"its newest version is {found.version}") from None
        return pb.GetBaselineResponse(baseline=_message(found, await self._defaults()))

    async def CreateBaseline(self, request: pb.CreateBaselineRequest, context: Context) -> pb.CreateBaselineResponse:  # noqa: N802
        """Make a baseline, or a new version of one of the same name."""
        there = await self._store.baselines()
        wanted = _wanted(request.baseline, there)
        before = next((b for b in there if b.name == wanted.name), None)
        made = replace(
            wanted,
            id=before.id if before is not None else self._ids.new("b-", 8),
            version=before.version + 1 if before is not None else 1,
            created_by=operator().name,
            created_at=self._clock.now(),
        )
        if before is not None:
            _not_public(before, "changed")
            await self._stays_where_it_decides(before, made)
        await self._store.put_baseline(made)
        await self._tell(made, "made")
        return pb.CreateBaselineResponse(baseline=_message(made, await self._defaults()))

    async def SetDefaultBaseline(  # noqa: N802
        self, request: pb.SetDefaultBaselineRequest, context: Context
    ) -> pb.SetDefaultBaselineResponse:
        """Make a baseline the default of its scenario and operating system."""
        found = await find_baseline(self._store, "baseline", request.baseline)
        await self._store.set_default(found.id, self._clock.now(), operator().name)
        await self._tell(found, "made the default")
        return pb.SetDefaultBaselineResponse(baseline=_message(found, await self._defaults()))

    async def DeleteBaseline(self, request: pb.DeleteBaselineRequest, context: Context) -> pb.DeleteBaselineResponse:  # noqa: N802
        """Delete a baseline that is neither public nor a default; its assignments are taken back."""
        found = await find_baseline(self._store, "baseline", request.baseline)
        _not_public(found, "deleted")
        if found.id in await self._defaults():
            raise Rejected(
                f"{found.name} is the default of {found.scenario} and {found.operating_system}; set another default first: "
                "patchctl baseline set-default"
            )
        await self._store.delete_baseline(found.id, self._clock.now(), operator().name)
        await self._tell(found, "deleted")
        return pb.DeleteBaselineResponse()

    async def TryBaseline(self, request: pb.TryBaselineRequest, context: Context) -> pb.TryBaselineResponse:  # noqa: N802
        """What the fleet's answers would be if this baseline decided where the one that it replaces does now. Nothing is stored."""
        there = await self._store.baselines()
        wanted = _wanted(request.baseline, there)
        same = next((b for b in there if b.name == wanted.name), None)
        if same is not None:
            wanted = replace(wanted, id=same.id, version=same.version + 1)
        checks = Checks()
        selector = translate_fleet.filter_selector(request.selector if request.HasField("selector") else None, checks)
        checks.done()
        tried = await try_baseline(self._assessor, wanted, await self._selecting.matching(selector), self._clock)
        changed = [
            row
            for row in sorted(tried.rows, key=lambda row: (row.instance.name, row.instance.id))
            if row.before.status is not row.after.status or row.newly or row.gone
        ]
        changes = [
            pb.BaselineChange(
                instance_id=row.instance.id,
                instance_name=row.instance.name,
                before=INSTANCE_STATUS.to_wire(row.before.status),
                after=INSTANCE_STATUS.to_wire(row.after.status),
                newly_non_compliant=row.newly[:_MOST_PACKAGES],
                no_longer_non_compliant=row.gone[:_MOST_PACKAGES],
            )
            for row in changed[:_MOST_CHANGES]
        ]
        return pb.TryBaselineResponse(
            replaces=tried.replaces.name if tried.replaces is not None else "",
            instances=len(tried.rows),
            before=_totals(row.before for row in tried.rows),
            after=_totals(row.after for row in tried.rows),
            changes=changes,
            changed_instances=len(changed),
        )

    async def AssignBaseline(self, request: pb.AssignBaselineRequest, context: Context) -> pb.AssignBaselineResponse:  # noqa: N802
        """Let a baseline decide for an instance, an application group or an enterprise project."""
        baseline = await find_baseline(self._store, "baseline", request.baseline)
        scope, value = _scope_and_value(request)
        if scope is AssignmentScope.INSTANCE:
            instance = find_instance(await self._fleet.instances(), "value", value)
            _must_fit(baseline, instance)
            value = instance.id
        before = by_key(await self._store.assignments()).get(
            (operator().account, scope, value, baseline.scenario, baseline.operating_system)
        )
        now = self._clock.now()
        made = Assignment(
            scope=scope,
            value=value,
            scenario=baseline.scenario,
            operating_system=baseline.operating_system,
            baseline_id=baseline.id,
            since=max(now, before.since) if before is not None else now,  # a clock may have been set back
            assigned_by=operator().name,
        )
        await self._store.put_assignment(made)
        await self._tell(baseline, f"assigned to {scope.lower()} {value}")
        return pb.AssignBaselineResponse(assignment=translate_baseline.assignment_message(made, baseline.name))

    async def UnassignBaseline(  # noqa: N802
        self, request: pb.UnassignBaselineRequest, context: Context
    ) -> pb.UnassignBaselineResponse:
        """Take an assignment back. The instance of one may be forgotten by now: its id is enough."""
        baseline = await find_baseline(self._store, "baseline", request.baseline)
        scope, value = _scope_and_value(request)
        held = [a for a in await self._store.assignments() if a.scope is scope and a.baseline_id == baseline.id]
        if scope is AssignmentScope.INSTANCE and value not in {a.value for a in held}:
            value = find_instance(await self._fleet.instances(), "value", value).id
        found = next((a for a in held if a.value == value), None)
        if found is None:
            kind = f"assignment of {baseline.name} to {scope.lower()}"
            raise NotFound(kind, request.value, "list them: patchctl baseline assignments")
        since = max(found.since, self._clock.now())
        await self._store.put_assignment(replace(found, baseline_id="", since=since, assigned_by=operator().name))
        await self._tell(baseline, f"no longer assigned to {scope.lower()} {value}")
        return pb.UnassignBaselineResponse()

    async def ListAssignments(self, request: pb.ListAssignmentsRequest, context: Context) -> pb.ListAssignmentsResponse:  # noqa: N802
        """List assignments, by scope, then by its value. Defaults are not among them: the baselines say that they are."""
        size = paging.page_size(request.page_size)
        after = paging.read_token(request, request.page_token, (str, str, str, str))
        held = [a for a in await self._store.assignments() if a.scope is not AssignmentScope.DEFAULT]
        found = [a for a in held if after is None or _place(a) > after]
        page, names = found[:size], {b.id: b.name for b in await self._store.baselines()}
        return pb.ListAssignmentsResponse(
            assignments=[translate_baseline.assignment_message(a, names.get(a.baseline_id, "")) for a in page],
            next_page_token=paging.make_token(request, _place(page[-1])) if len(found) > size else "",
        )

    async def CreateException(self, request: pb.CreateExceptionRequest, context: Context) -> pb.CreateExceptionResponse:  # noqa: N802
        """Excuse what would be non-compliant, for a while."""
        checks = Checks()
        wanted = translate_baseline.exception(request.exception, checks, self._clock.now(), operator().name)
        seen = {v.field for v in checks.violations}
        for wrong in excusing.violations(wanted):
            if f"exception.{wrong.field}" not in seen:
                checks.refuse(f"exception.{wrong.field}", wrong.description)
        checks.done()
        if wanted.scope is ExceptionScope.INSTANCE:
            found = find_instance(await self._fleet.instances(), "exception.scope_value", wanted.scope_value)
            wanted = replace(wanted, scope_value=found.id)
        made = replace(wanted, id=self._ids.new("X-", 8))
        await self._store.put_exception(made)
        await self._tell_exception(made, "made")
        return pb.CreateExceptionResponse(exception=translate_baseline.exception_message(made))

    async def ListExceptions(self, request: pb.ListExceptionsRequest, context: Context) -> pb.ListExceptionsResponse:  # noqa: N802
        """List exceptions, those that end first first; without `include_ended` only those that still hold."""
        size = paging.page_size(request.page_size)
        after = paging.read_token(request, request.page_token, (str, str))
        now = self._clock.now()
        known = await self._store.exceptions()
        listed = sorted(
            (e for e in known if request.include_ended or ends_at(e) > now), key=lambda e: (ends_at(e), e.id)
        )
        begin = (paging.decode_time(after[0]), str(after[1])) if after is not None else None
        found = [e for e in listed if begin is None or (ends_at(e), e.id) > begin]
        page = found[:size]
        return pb.ListExceptionsResponse(
            exceptions=[translate_baseline.exception_message(e) for e in page],
            next_page_token=(
                paging.make_token(request, (paging.encode_time(ends_at(page[-1])), page[-1].id))
                if len(found) > size
                else ""
            ),
        )

    async def RevokeException(self, request: pb.RevokeExceptionRequest, context: Context) -> pb.RevokeExceptionResponse:  # noqa: N802
        """End an exception before its time; one that has ended already stays as it is."""
        called, now = reference("id", request.id), self._clock.now()
        found = next((e for e in await self._store.exceptions() if e.id == called), None)
        if found is None:
            raise NotFound("exception", called, "list them: patchctl exception list --all")
        if ends_at(found) > now:
            found = replace(found, revoked_at=max(now, found.created_at))
            await self._store.put_exception(found)
            await self._tell_exception(found, "revoked")
        return pb.RevokeExceptionResponse(exception=translate_baseline.exception_message(found))

    async def _tell(self, baseline: Baseline, what: str) -> None:
        log.info(
            "baseline changed by an operator",
            extra={"baseline": baseline.name, "version": baseline.version, "by": operator().name, "what": what},
        )
        await self._assessor.refresh_all()

    async def _tell_exception(self, exception: PatchException, what: str) -> None:
        log.info("exception changed by an operator", extra={"id": exception.id, "by": operator().name, "what": what})
        await self._assessor.refresh_all()

    async def _defaults(self) -> Collection[str]:
        return frozenset((await self._store.defaults()).values())

    async def _stays_where_it_decides(self, before: Baseline, made: Baseline) -> None:
        if (before.scenario, before.operating_system) == (made.scenario, made.operating_system):
            return
        held = [a for a in await self._store.assignments() if a.baseline_id == before.id]
        if any(a.scope is AssignmentScope.DEFAULT for a in held):
            raise Rejected(
                f"{before.name} is the default of {before.scenario} and {before.operating_system}: a new version keeps these; "
                "set another default first, or choose another name"
            )
        if held:
            raise Rejected(
                f"{before.name} is assigned as a baseline of {before.scenario} and {before.operating_system}: a new version keeps "
                "these; take it back first (patchctl baseline assignments), or choose another name"
            )


def _wanted(sent: pb.Baseline, there: Sequence[Baseline]) -> Baseline:
    """Read a baseline that somebody wants; raise InvalidArgument with everything that is wrong with it."""
    checks = Checks()
    wanted = replace(translate_baseline.baseline(sent, checks), account=operator().account)
    seen = {v.field for v in checks.violations}
    with checks.part("baseline"):
        if wrong := tuple(v for v in violations(wanted) if f"baseline.{v.field}" not in seen):
            raise InvalidArgument(tuple(Violation(v.field, v.description) for v in wrong))
    if wanted.name.lower() == DEFAULT_BASELINE or wanted.name in {b.id for b in there}:
        checks.refuse("baseline.name", f"{wanted.name!r} already means something else; choose another")
    checks.done()
    return wanted


def _scope_and_value(request: pb.AssignBaselineRequest | pb.UnassignBaselineRequest) -> tuple[AssignmentScope, str]:
    """Read for whom; raise InvalidArgument."""
    checks = Checks()
    scope = translate_baseline.assignment_scope(request.scope, checks)
    most = MAX_REFERENCE if scope is AssignmentScope.INSTANCE else MAX_TEXT
    value = checks.text("value", request.value, most, least=1)
    checks.done()
    return scope or AssignmentScope.INSTANCE, value


def _must_fit(baseline: Baseline, instance: Instance) -> None:
    if is_meant_for(baseline, instance):
        return
    runs = instance.operating_system.product or instance.operating_system.pretty_name or "nothing known yet"
    raise Rejected(
        f"{baseline.name} is for {baseline.operating_system} on {baseline.scenario}, but {instance.name} runs {runs} on "
        f"{instance.resource_type}; choose one that fits: patchctl baseline list"
    )


def _totals(assessments: Iterable[Assessment]) -> pb.StatusTotals:
    counted = Counter(a.status for a in assessments)
    return pb.StatusTotals(
        compliant=counted[InstanceStatus.COMPLIANT],
        non_compliant=counted[InstanceStatus.NON_COMPLIANT],
        undetermined=counted[InstanceStatus.UNDETERMINED],
    )


def _place(a: Assignment) -> tuple[str, str, str, str]:
    return a.scope.value, a.value, a.scenario.value, a.operating_system


def _message(baseline: Baseline, defaults: Collection[str]) -> pb.Baseline:
    return translate_baseline.baseline_message(baseline, is_default=baseline.id in defaults)


def _position(baseline: Baseline) -> tuple[int, str]:
    return (0 if baseline.public else 1), baseline.name


def _not_public(baseline: Baseline, what: str) -> None:
    if baseline.public:
        raise Rejected(f"{baseline.name} is a public baseline and cannot be {what}; make your own under another name")
