"""ReportService: who complies, why not, since when. The answers are dispatch/assess.py's; here they are found, counted and sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime

from common.clock import Clock
from common.errors import NotFound
from common.pb.v1 import fleet_pb2, report_pb2_grpc
from common.pb.v1 import report_pb2 as pb
from controller.api import paging, translate_fleet, translate_report
from controller.api.checks import Checks, reference
from controller.api.interception import Context
from controller.api.lookup import find_baseline, find_instance
from controller.api.planning import DEFAULT_BASELINE
from controller.api.translate import INSTANCE_STATUS, LEVEL, REASON, timestamp
from controller.compliance.aggregate import ComplianceCounts, oldest_missing, summarise
from controller.compliance.model import Assessment, Baseline, InstanceStatus, Item
from controller.dispatch.assess import Assessor
from controller.fleet.model import Instance
from controller.fleet.selection import check_references, matching
from controller.store.api import Store

Row = tuple[Instance, Assessment]


class ReportService(report_pb2_grpc.ReportServiceServicer):
    """Serves reports."""

    def __init__(self, store: Store, assessor: Assessor, clock: Clock) -> None:
        """Join the parts."""
        self._store = store
        self._assessor = assessor
        self._clock = clock

    async def ListReports(self, request: pb.ListReportsRequest, context: Context) -> pb.ListReportsResponse:  # noqa: N802
        """List instances with their answers, without items, ordered by name, then id."""
        checks = Checks()
        statuses = INSTANCE_STATUS.read_all(checks, "statuses", request.statuses)
        checks.done()
        instances = await self._matching(request.selector if request.HasField("selector") else None)
        size = paging.page_size(request.page_size)
        after = paging.read_token(request, request.page_token, (str, str))
        page = list[Row]()
        for instance in instances:
            if after is not None and (instance.name, instance.id) <= after:
                continue
            assessment = await self._assessor.assessment(instance)
            if not statuses or assessment.status in statuses:
                page.append((instance, assessment))
            if len(page) > size:
                break
        more, page = len(page) > size, page[:size]
        return pb.ListReportsResponse(
            reports=[translate_report.report_message(instance, assessment) for instance, assessment in page],
            next_page_token=paging.make_token(request, (page[-1][0].name, page[-1][0].id)) if more else "",
        )

    async def GetReport(self, request: pb.GetReportRequest, context: Context) -> pb.GetReportResponse:  # noqa: N802
        """One instance's report with its items."""
        instance = find_instance(await self._store.fleet.instances(), "instance", request.instance)
        baseline = await self._named(request.baseline)
        assessment, items = await self._assessor.report(instance, all_items=request.all_items, baseline=baseline)
        return pb.GetReportResponse(report=translate_report.report_message(instance, assessment, items))

    async def GetSummary(self, request: pb.GetSummaryRequest, context: Context) -> pb.GetSummaryResponse:  # noqa: N802
        """The fleet in numbers."""
        as_of = self._clock.now()
        rows = [
            (instance, await self._assessor.assessment(instance))
            for instance in await self._matching(request.selector if request.HasField("selector") else None)
        ]
        summary = summarise(rows)
        response = pb.GetSummaryResponse(
            instances=summary.instances,
            counts=_counts(summary.counts),
            levels=[pb.LevelCount(level=LEVEL.to_wire(level), instances=n) for level, n in summary.levels],
            reasons=[pb.ReasonCount(reason=REASON.to_wire(reason), instances=n) for reason, n in summary.reasons],
            groups=[
                pb.GroupSummary(attribute=g.attribute, value=g.value, counts=_counts(g.counts)) for g in summary.groups
            ],
            as_of=timestamp(as_of),
        )
        if (oldest := await self._oldest_missing(rows)) is not None:
            instance, item = oldest
            response.oldest_missing.CopyFrom(translate_report.item_message(item))
            response.oldest_missing_instance = instance.name
        return response

    async def Why(self, request: pb.WhyRequest, context: Context) -> pb.WhyResponse:  # noqa: N802
        """Why one package of one instance has the status it has."""
        instance = find_instance(await self._store.fleet.instances(), "instance", request.instance)
        package = reference("package", request.package)
        baseline = await self._named(request.baseline)
        assessment, items = await self._assessor.report(instance, all_items=True, baseline=baseline)
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
        for instance in await self._matching(request.selector if request.HasField("selector") else None):
            assessment, items = await self._assessor.report(instance, all_items=request.all_items)
            response = pb.ExportResponse(report=translate_report.report_message(instance, assessment, items))
            del assessment, items
            yield response

    async def _matching(self, sent: fleet_pb2.Selector | None) -> Sequence[Instance]:
        checks = Checks()
        wanted = translate_fleet.filter_selector(sent, checks)
        checks.done()
        fleet = await self._store.fleet.instances()
        check_references(fleet, wanted)
        return matching(fleet, wanted)

    async def _named(self, called: str) -> Baseline | None:
        if called in ("", DEFAULT_BASELINE):
            return None
        return await find_baseline(self._store.baselines, "baseline", called)

    async def _oldest_missing(self, rows: Collection[Row]) -> tuple[Instance, Item] | None:
        """Return the longest-standing MISSING item of the highest level, and whose it is.

        Reads as few full reports as it can: an instance has nothing older than its oldest remembered item, and nothing of a higher level
        than its own.
        """
        candidates = list[tuple[datetime, Instance, Assessment]]()
        for instance, assessment in rows:
            if assessment.status is InstanceStatus.NON_COMPLIANT and assessment.counts.missing:
                since = await self._store.assessments.since(instance.id, assessment.inputs.baseline_id)
                candidates.append((min(since.values(), default=self._clock.now()), instance, assessment))
        candidates.sort(key=lambda c: (-c[2].level, c[0], c[1].id))
        best: tuple[Instance, Item] | None = None
        for earliest, instance, assessment in candidates:
            if best is not None and _cannot_beat(best[1], assessment, earliest):
                continue
            _, items = await self._assessor.report(instance)
            own = [(instance, item) for item in items]
            best = oldest_missing([best, *own] if best is not None else own)
        return best


def _cannot_beat(best: Item, assessment: Assessment, earliest: datetime) -> bool:
    if assessment.level != best.level:
        return assessment.level < best.level
    return best.first_non_compliant_at is not None and earliest > best.first_non_compliant_at


def _counts(counts: ComplianceCounts) -> pb.ComplianceCounts:
    return pb.ComplianceCounts(
        compliant=counts.compliant, non_compliant=counts.non_compliant, undetermined=counts.undetermined
    )
