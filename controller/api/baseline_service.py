"""BaselineService: lists, makes and deletes baselines, and says which are the defaults."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace

from common.clock import Clock
from common.errors import InvalidArgument, Rejected, Violation
from common.ids import Ids
from common.pb.v1 import baseline_pb2 as pb
from common.pb.v1 import baseline_pb2_grpc
from controller.api import paging, translate_baseline
from controller.api.auth import operator
from controller.api.checks import MAX_REFERENCE, Checks
from controller.api.interception import Context
from controller.api.lookup import find_baseline
from controller.api.planning import DEFAULT_BASELINE
from controller.api.translate import RESOURCE_TYPE
from controller.compliance.baseline import violations
from controller.compliance.model import Baseline
from controller.store.api import BaselineStore

log = logging.getLogger(__name__)


class BaselineService(baseline_pb2_grpc.BaselineServiceServicer):
    """Serves baselines."""

    def __init__(self, store: BaselineStore, clock: Clock, ids: Ids, changed: Callable[[], Awaitable[None]]) -> None:
        """`changed` is awaited after each change: answers depend on baselines."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._changed = changed

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
            found = await self._store.get_baseline(found.id, request.version)
        return pb.GetBaselineResponse(baseline=_message(found, await self._defaults()))

    async def CreateBaseline(self, request: pb.CreateBaselineRequest, context: Context) -> pb.CreateBaselineResponse:  # noqa: N802
        """Make a baseline, or a new version of one of the same name."""
        checks = Checks()
        wanted = translate_baseline.baseline(request.baseline, checks)
        seen = {v.field for v in checks.violations}
        with checks.part("baseline"):
            if wrong := tuple(v for v in violations(wanted) if f"baseline.{v.field}" not in seen):
                raise InvalidArgument(tuple(Violation(v.field, v.description) for v in wrong))
        there = await self._store.baselines()
        if wanted.name.lower() == DEFAULT_BASELINE or wanted.name in {b.id for b in there}:
            checks.refuse("baseline.name", f"{wanted.name!r} already means something else; choose another")
        checks.done()
        made = replace(wanted, created_by=operator().name, created_at=self._clock.now())
        before = next((b for b in there if b.name == wanted.name), None)
        if before is None:
            made = replace(made, id=self._ids.new("b-", 8), version=1)
        else:
            _not_public(before, "changed")
            moved = (before.scenario, before.operating_system) != (made.scenario, made.operating_system)
            if moved and before.id in await self._defaults():
                raise Rejected(
                    f"{before.name} is the default of {before.scenario} and {before.operating_system}: a new version keeps these; "
                    "set another default first, or choose another name"
                )
            made = replace(made, id=before.id, version=before.version + 1)
        await self._store.put_baseline(made)
        await self._tell(made, "made")
        return pb.CreateBaselineResponse(baseline=_message(made, await self._defaults()))

    async def SetDefaultBaseline(  # noqa: N802
        self, request: pb.SetDefaultBaselineRequest, context: Context
    ) -> pb.SetDefaultBaselineResponse:
        """Make a baseline the default of its scenario and operating system."""
        found = await find_baseline(self._store, "baseline", request.baseline)
        await self._store.set_default(found.id)
        await self._tell(found, "made the default")
        return pb.SetDefaultBaselineResponse(baseline=_message(found, await self._defaults()))

    async def DeleteBaseline(self, request: pb.DeleteBaselineRequest, context: Context) -> pb.DeleteBaselineResponse:  # noqa: N802
        """Delete a baseline that is neither public nor a default."""
        found = await find_baseline(self._store, "baseline", request.baseline)
        _not_public(found, "deleted")
        if found.id in await self._defaults():
            raise Rejected(
                f"{found.name} is the default of {found.scenario} and {found.operating_system}; set another default first: "
                "patchctl baseline set-default"
            )
        await self._store.delete_baseline(found.id)
        await self._tell(found, "deleted")
        return pb.DeleteBaselineResponse()

    async def _tell(self, baseline: Baseline, what: str) -> None:
        log.info(
            "baseline changed by an operator",
            extra={"baseline": baseline.name, "version": baseline.version, "by": operator().name, "what": what},
        )
        await self._changed()

    async def _defaults(self) -> Collection[str]:
        return frozenset((await self._store.defaults()).values())


def _message(baseline: Baseline, defaults: Collection[str]) -> pb.Baseline:
    return translate_baseline.baseline_message(baseline, is_default=baseline.id in defaults)


def _position(baseline: Baseline) -> tuple[int, str]:
    return (0 if baseline.public else 1), baseline.name


def _not_public(baseline: Baseline, what: str) -> None:
    if baseline.public:
        raise Rejected(f"{baseline.name} is a public baseline and cannot be {what}; make your own under another name")
