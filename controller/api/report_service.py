"""ReportService: who complies, why not, since when. The answers are dispatch's; here they are found, counted and sent."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from common.clock import Clock
from common.errors import NotFound
from common.pb.v1 import fleet_pb2, report_pb2_grpc
from common.pb.v1 import report_pb2 as pb
from controller.api import advisory_answers, paging, translate_fleet, translate_report
from controller.api.auth import operator
from controller.api.bound import BoundBaselines, BoundFleet
from controller.api.checks import Checks, reference
from controller.api.counting import Counting
from controller.api.interception import Context
from controller.api.lookup import find_baseline
from controller.api.oldest import NEVER, Candidate, Reading, find_oldest, in_order, may_miss
from controller.api.planning import DEFAULT_BASELINE
from controller.api.selecting import Selecting
from controller.api.translate import INSTANCE_STATUS
from controller.compliance.aggregate import summarise
from controller.compliance.model import Assessment, Baseline
from controller.dispatch.assess import Assessor
from controller.dispatch.catalog import Catalog
from controller.dispatch.history import History
from controller.fleet.model import Instance
from controller.fleet.scope import Scope
from controller.store.api import Store

DEFAULT_DAYS: Final = 30
MAX_DAYS: Final = 366
_MAX_SUMMARIES: Final = 16
_AT_ONCE: Final = 200
"""So many instances are asked for at a time while a page fills."""


@dataclass(slots=True)
class _Kept:
    """The numbers that somebody asked for, and the answer made of them, which holds as long as the numbers do."""

    counting: Counting
    version: int = -1
    message: pb.GetSummaryResponse = field(default_factory=pb.GetSummaryResponse)


class ReportService(report_pb2_grpc.ReportServiceServicer):
    """Serves reports."""

    def __init__(
        self,
        store: Store,
        fleet: BoundFleet,
        baselines: BoundBaselines,
        assessor: Assessor,
        selecting: Selecting,
        clock: Clock,
    ) -> None:
        """Join the parts: who is asked for is looked up in `fleet` and `baselines`, the rest is read from `store`."""
        self._fleet = fleet
        self._baselines = baselines
        self._selecting = selecting
        self._assessments = store.assessments
        self._assessor = assessor
        self._clock = clock
        self._history = History(store, assessor)
        self._catalog = Catalog(store, assessor)
        self._summaries = OrderedDict[tuple[Scope, bytes], _Kept]()

    async def ListReports(self, request: pb.ListReportsRequest, context: Context) -> pb.ListReportsResponse:  # noqa: N802
        """List instances with their answers, without items, ordered by name, then id."""
        checks = Checks()
        statuses = INSTANCE_STATUS.read_all(checks, "statuses", request.statuses)
        at = self._past(checks, request.as_of if request.HasField("as_of") else None)
        checks.done()
        instances = await self._matching(request.selector if request.HasField("selector") else None)
        size = paging.page_size(request.page_size)
        after = paging.read_token(request, request.page_token, (str, str))
        left = [i for i in instances if after is None or (i.name, i.id) > after]
        page = list[tuple[Instance, Assessment]]()
        for start in range(0, len(left), _AT_ONCE):
            some = left[start : start + _AT_ONCE]
            answers = zip(some, await self._answers(some, at), strict=True)
            page += [(instance, answer) for instance, answer in answers if not statuses or answer.status in statuses]
            if len(page) > size:
                break
        more, page = len(page) > size, page[:size]
        return pb.ListReportsResponse(
            reports=[translate_report.report_message(instance, assessment) for instance, assessment in page],
            next_page_token=paging.make_token(request, (page[-1][0].name, page[-1][0].id)) if more else "",
        )

    async def GetReport(self, request: pb.GetReportRequest, context: Context) -> pb.GetReportResponse:  # noqa: N802
        """One instance's report with its items."""
        checks = Checks()
        at = self._past(checks, request.as_of if request.HasField("as_of") else None)
        checks.done()
        instance = await self._fleet.find("instance", request.instance)
        read = self._reading(at, all_items=request.all_items, baseline=await self._named(request.baseline, at))
        assessment, items = await read(instance)
        return pb.GetReportResponse(report=translate_report.report_message(instance, assessment, items))

    async def GetSummary(self, request: pb.GetSummaryRequest, context: Context) -> pb.GetSummaryResponse:  # noqa: N802
        """The fleet in numbers."""
        checks = Checks()
        at = self._past(checks, request.as_of if request.HasField("as_of") else None)
        checks.done()
        instances = await self._matching(request.selector if request.HasField("selector") else None)
        if at is not None:
            answers = await self._history.assessments(instances, at)
            rows = list(zip(instances, answers, strict=True))
            message = translate_report.summary_message(summarise(rows), at)
            await self._tell_oldest(message, in_order(await self._past_candidates(rows, at)), self._reading(at))
            return message
        return await self._summarise(request.SerializeToString(deterministic=True), instances)

    async def Why(self, request: pb.WhyRequest, context: Context) -> pb.WhyResponse:  # noqa: N802
        """Why one package of one instance has the status it has."""
        checks = Checks()
        at = self._past(checks, request.as_of if request.HasField("as_of") else None)
        checks.done()
        instance = await self._fleet.find("instance", request.instance)
        package = reference("package", request.package)
        read = self._reading(at, all_items=True, baseline=await self._named(request.baseline, at))
        assessment, items = await read(instance)
        found = [i for i in items if package in (i.name, i.key)]
        if not found and assessment.counts.installed + assessment.counts.installed_other + len(items):
            raise NotFound("package", package, f"it is not installed on {instance.name}")
        return pb.WhyResponse(
            items=[translate_report.item_message(i) for i in found],
            reasons=[translate_report.undetermined_message(u) for u in assessment.reasons],
            instance_name=instance.name,
        )

    async def Export(self, request: pb.ExportRequest, context: Context) -> AsyncIterator[pb.ExportResponse]:  # noqa: N802
        """Every matching instance's report, one at a time: the next is made when the one before was taken."""
        checks = Checks()
        at = self._past(checks, request.as_of if request.HasField("as_of") else None)
        checks.done()
        read = self._reading(at, all_items=request.all_items)
        for instance in await self._matching(request.selector if request.HasField("selector") else None):
            assessment, items = await read(instance)
            response = pb.ExportResponse(report=translate_report.report_message(instance, assessment, items))
            del assessment, items
            yield response

    async def GetTrend(self, request: pb.GetTrendRequest, context: Context) -> pb.GetTrendResponse:  # noqa: N802
        """The three numbers, day by day, oldest first."""
        checks = Checks()
        days = checks.number("days", request.days, 0, MAX_DAYS) or DEFAULT_DAYS
        checks.done()
        instances = await self._matching(request.selector if request.HasField("selector") else None)
        trend = await self._history.trend(instances, days, self._clock.now())
        return pb.GetTrendResponse(points=[translate_report.point_message(day) for day in trend])

    async def ListAdvisories(self, request: pb.ListAdvisoriesRequest, context: Context) -> pb.ListAdvisoriesResponse:  # noqa: N802
        """List the advisories of all repositories that the fleet, as the caller sees it, has enabled, the newest first."""
        return await advisory_answers.listed(self._catalog, request, await self._fleet.instances())

    async def GetAdvisory(self, request: pb.GetAdvisoryRequest, context: Context) -> pb.GetAdvisoryResponse:  # noqa: N802
        """One advisory."""
        entry = await self._catalog.entry(reference("id", request.id), await self._fleet.instances())
        return pb.GetAdvisoryResponse(advisory=translate_report.advisory_message(entry, packages=True))

    async def ListAffected(self, request: pb.ListAffectedRequest, context: Context) -> pb.ListAffectedResponse:  # noqa: N802
        """Which instances an advisory or a CVE concerns, and which of them still lack it."""
        instances = await self._matching(request.selector if request.HasField("selector") else None)
        fleet = await self._fleet.instances()
        return await advisory_answers.affected(self._catalog, request, fleet, instances)

    def _past(self, checks: Checks, sent: Timestamp | None) -> datetime | None:
        """Read the instant for which to answer; None means now."""
        if sent is None:
            return None
        try:
            at = sent.ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError):
            checks.refuse("as_of", "is no instant of the calendar")
            return None
        now = self._clock.now()
        if at > now:
            checks.refuse("as_of", f"{at:%Y-%m-%dT%H:%M:%SZ} is in the future; it is {now:%Y-%m-%dT%H:%M:%SZ}")
        return at

    async def _answers(self, instances: Sequence[Instance], at: datetime | None) -> list[Assessment]:
        if at is not None:
            return await self._history.assessments(instances, at)
        return [standing.assessment for standing in await self._assessor.standings(instances)]

    def _reading(self, at: datetime | None, *, all_items: bool = False, baseline: Baseline | None = None) -> Reading:
        """Return what reads a full report as of now, or of a past instant."""
        if at is None:
            return lambda instance: self._assessor.report(instance, all_items=all_items, baseline=baseline)
        past = at
        return lambda instance: self._history.report(instance, past, all_items=all_items, baseline=baseline)

    async def _matching(self, sent: fleet_pb2.Selector | None) -> Sequence[Instance]:
        checks = Checks()
        wanted = translate_fleet.filter_selector(sent, checks)
        checks.done()
        return await self._selecting.matching(wanted)

    async def _named(self, called: str, at: datetime | None) -> Baseline | None:
        """Return the baseline that is asked for, as of then in its version of then; None for the one that decides."""
        if called in ("", DEFAULT_BASELINE):
            return None
        found = await find_baseline(self._baselines, "baseline", called)
        return found if at is None else await self._baselines.baseline_as_of(found.id, at)

    async def _summarise(self, question: bytes, instances: Sequence[Instance]) -> pb.GetSummaryResponse:
        key = (operator().scope, question)
        known = self._summaries.setdefault(key, _Kept(Counting(self._assessor)))
        self._summaries.move_to_end(key)
        if len(self._summaries) > _MAX_SUMMARIES:
            self._summaries.popitem(last=False)
        counting = known.counting
        async with counting.one_at_a_time:
            await counting.refresh(instances)
            if known.version != counting.version:
                message = translate_report.summary_message(counting.summary(), self._clock.now())
                with closing(counting.candidates()) as candidates:
                    await self._tell_oldest(message, candidates, self._reading(None))
                known.message, known.version = message, counting.version
            known.message.as_of.FromDatetime(self._clock.now())
            return known.message

    async def _past_candidates(self, rows: Iterable[tuple[Instance, Assessment]], at: datetime) -> list[Candidate]:
        found = list[Candidate]()
        for instance, assessment in rows:
            if may_miss(assessment):
                since = await self._assessments.since(instance.id, assessment.inputs.baseline_id)
                earliest = min((begun for begun in since.values() if begun <= at), default=NEVER)
                found.append(Candidate(instance, assessment, earliest))
        return found

    async def _tell_oldest(
        self, message: pb.GetSummaryResponse, candidates: Iterable[Candidate], read: Reading
    ) -> None:
        """Say which MISSING item of the highest level stands longest, and whose it is."""
        best = await find_oldest(candidates, read)
        if best is not None:
            message.oldest_missing.CopyFrom(translate_report.item_message(best[1]))
            message.oldest_missing_instance = best[0].name
