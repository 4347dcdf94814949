"""ReportService over a real channel: past days, the trend, advisories, pages and refusals. Time is in the test's hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from common.ids import RandomIds
from common.pb.v1 import fleet_pb2, report_pb2_grpc, types_pb2
from common.pb.v1 import report_pb2 as pb
from controller.api.auth import Operator, acting
from controller.api.faults import fault_interceptor
from controller.api.interception import Interceptor
from controller.api.report_service import ReportService
from controller.fleet.model import Role
from tests.builders import NOW, a_baseline, a_rule, an_advisory
from tests.fleet_in_store import DAY, NEW, OLD, Fleet, a_fleet
from tests.integration.api_harness import refusal

ALL = fleet_pb2.Selector(all=True)
BASH = "CESA-2026:0001"


@dataclass
class Served:
    """A fleet and a stub of the service that answers for it."""

    fleet: Fleet
    reports: Any


@asynccontextmanager
async def as_ann(*_: object) -> AsyncIterator[None]:
    """Every call is a viewer's."""
    with acting(Operator("O-1", "ann", Role.VIEWER, None)):
        yield


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    async with a_fleet() as fleet:
        server = aio.server(interceptors=[fault_interceptor(RandomIds()), Interceptor(as_ann)])
        bound = fleet.bound, fleet.bound_baselines
        service = ReportService(fleet.store, *bound, fleet.assessor, fleet.selecting, fleet.clock)
        report_pb2_grpc.add_ReportServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Served(fleet, report_pb2_grpc.ReportServiceStub(channel))
        await server.stop(None)


def at(instant: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(instant)
    return stamp


async def two_days(fleet: Fleet) -> None:
    """Two instances with the old bash; a day later the first has the new one."""
    repository = await fleet.repository()
    for number in (1, 2):
        await fleet.enrol(number)
        await fleet.report(number, [repository], OLD)
        await fleet.answer(number)
    fleet.clock.jump(DAY)
    await fleet.report(1, [repository], NEW)
    await fleet.report(2, [repository], OLD)


async def test_every_answer_can_be_asked_as_of_a_past_instant() -> None:
    async with served() as s:
        await two_days(s.fleet)
        then = at(NOW)
        now = (await s.reports.GetReport(pb.GetReportRequest(instance="ecs-0001"))).report
        assert (
            now.status == types_pb2.INSTANCE_STATUS_COMPLIANT
        )  # from here on nothing is remembered of what was missing
        report = (await s.reports.GetReport(pb.GetReportRequest(instance="ecs-0001", as_of=then))).report
        assert report.status == types_pb2.INSTANCE_STATUS_NON_COMPLIANT
        assert report.inputs.as_of == then
        assert [item.name for item in report.items] == ["bash"]
        why = await s.reports.Why(pb.WhyRequest(instance="ecs-0001", package="bash", as_of=then))
        assert why.items[0].status == types_pb2.PATCH_STATUS_MISSING
        assert BASH in why.items[0].why
        summaries = [
            (await s.reports.GetSummary(pb.GetSummaryRequest(selector=ALL, as_of=as_of))) for as_of in (then, None)
        ]
        assert [(x.counts.compliant, x.counts.non_compliant) for x in summaries] == [(0, 2), (1, 1)]
        assert summaries[0].as_of == then
        assert summaries[1].oldest_missing_instance == "ecs-0002"
        assert summaries[1].oldest_missing.first_non_compliant_at == then
        exported = [r.report async for r in s.reports.Export(pb.ExportRequest(selector=ALL, as_of=then))]
        assert [len(r.items) for r in exported] == [1, 1]
        assert exported[0] == report


async def test_a_past_page_goes_on_as_of_the_same_instant_or_is_refused() -> None:
    async with served() as s:
        await two_days(s.fleet)
        first = await s.reports.ListReports(pb.ListReportsRequest(selector=ALL, page_size=1, as_of=at(NOW)))
        assert [r.instance_name for r in first.reports] == ["ecs-0001"]
        token = first.next_page_token
        then = await s.reports.ListReports(
            pb.ListReportsRequest(selector=ALL, page_size=1, as_of=at(NOW), page_token=token)
        )
        assert [r.status for r in then.reports] == [types_pb2.INSTANCE_STATUS_NON_COMPLIANT]
        assert not then.next_page_token
        refused = await refusal(
            s.reports.ListReports(pb.ListReportsRequest(selector=ALL, page_size=1, page_token=token))
        )
        assert (refused.code, list(refused.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, ["page_token"])


async def test_the_future_is_refused() -> None:
    async with served() as s:
        await two_days(s.fleet)
        later = at(s.fleet.clock.now() + timedelta(seconds=1))
        calls = (
            s.reports.GetReport(pb.GetReportRequest(instance="ecs-0001", as_of=later)),
            s.reports.ListReports(pb.ListReportsRequest(selector=ALL, as_of=later)),
            s.reports.GetSummary(pb.GetSummaryRequest(selector=ALL, as_of=later)),
            s.reports.Why(pb.WhyRequest(instance="ecs-0001", package="bash", as_of=later)),
            s.reports.Export(pb.ExportRequest(selector=ALL, as_of=later)),
        )
        for call in calls:
            refused = await refusal(call)
            assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
            assert "is in the future" in refused.fields["as_of"]
        broken = Timestamp(seconds=-(10**12))
        refused = await refusal(s.reports.GetSummary(pb.GetSummaryRequest(selector=ALL, as_of=broken)))
        assert list(refused.fields) == ["as_of"]


async def test_R11_before_its_first_report_an_instance_is_undetermined() -> None:
    async with served() as s:
        await two_days(s.fleet)
        early = at(NOW - timedelta(seconds=1))
        report = (await s.reports.GetReport(pb.GetReportRequest(instance="ecs-0001", as_of=early))).report
        assert [r.reason for r in report.reasons] == [types_pb2.UNDETERMINED_REASON_NO_REPORT]


async def test_R16_a_baseline_that_is_named_is_used_for_this_answer_in_its_version_of_then() -> None:
    async with served() as s:
        await s.fleet.baseline(a_baseline("own", a_rule(approve_after_days=365)))
        await two_days(s.fleet)
        await s.fleet.baseline(a_baseline("own", version=2))
        told = list[tuple[int, str, int]]()
        for as_of in (at(NOW), None):
            answer = await s.reports.GetReport(pb.GetReportRequest(instance="ecs-0002", baseline="own", as_of=as_of))
            report = answer.report
            told.append((report.inputs.baseline_version, report.baseline_source, report.counts.missing))
        assert told == [(1, "ticket", 0), (2, "ticket", 1)]
        deciding = (await s.reports.GetReport(pb.GetReportRequest(instance="ecs-0002"))).report
        assert deciding.baseline_name == "CentOS-Default"


async def test_the_summary_is_kept_until_an_answer_or_an_instance_changes() -> None:
    async with served() as s:
        await two_days(s.fleet)
        asked = pb.GetSummaryRequest(selector=ALL)

        async def numbers() -> tuple[int, int, list[str]]:
            answer = await s.reports.GetSummary(asked)
            assert answer.as_of.ToDatetime(tzinfo=UTC) == s.fleet.clock.now()
            groups = [g.value for g in answer.groups if g.attribute == "application_group"]
            return answer.counts.compliant, answer.counts.non_compliant, groups

        assert await numbers() == (1, 1, ["web"])
        s.fleet.clock.jump(timedelta(seconds=5))
        assert await numbers() == (1, 1, ["web"])
        await s.fleet.report(2, [await s.fleet.repository()], NEW)
        assert await numbers() == (2, 0, ["web"])
        await s.fleet.enrol(2, application_group="db")
        assert await numbers() == (2, 0, ["db", "web"])


async def test_the_trend_has_a_point_a_day_the_last_is_now() -> None:
    async with served() as s:
        await two_days(s.fleet)
        points = (await s.reports.GetTrend(pb.GetTrendRequest(selector=ALL, days=3))).points
        assert [(p.date, p.counts.compliant, p.counts.non_compliant, p.counts.undetermined) for p in points] == [
            ("2026-11-21", 0, 0, 0),
            ("2026-11-22", 0, 2, 0),
            ("2026-11-23", 1, 1, 0),
        ]
        assert len((await s.reports.GetTrend(pb.GetTrendRequest(selector=ALL))).points) == 30
        for days in (-1, 367):
            assert list((await refusal(s.reports.GetTrend(pb.GetTrendRequest(selector=ALL, days=days)))).fields) == [
                "days"
            ]


async def test_advisories_are_found_by_kind_by_words_and_by_whether_anybody_lacks_them() -> None:
    async with served() as s:
        old = an_advisory("CESA-2026:0002", "zsh-1-1.x86_64", cves=(), issued=(NOW - 30 * DAY).date())
        bugs = an_advisory("CESA-2026:0003", "bash-9-1.x86_64", raw_type="bugfix", raw_severity="", cves=())
        repository = await s.fleet.repository(an_advisory(), old, bugs)
        await s.fleet.enrol(1)
        await s.fleet.report(1, [repository], OLD)

        async def listed(**asked: Any) -> list[str]:
            return [a.id for a in (await s.reports.ListAdvisories(pb.ListAdvisoriesRequest(**asked))).advisories]

        assert await listed() == [BASH, "CESA-2026:0003", "CESA-2026:0002"]
        assert await listed(categories=[types_pb2.CATEGORY_BUGFIX]) == ["CESA-2026:0003"]
        assert await listed(severities=[types_pb2.SEVERITY_IMPORTANT]) == [BASH, "CESA-2026:0002"]
        assert await listed(text="CVE-2026-0001 BASH") == [BASH]
        assert await listed(affecting_only=True) == [BASH, "CESA-2026:0003"]
        page = await s.reports.ListAdvisories(pb.ListAdvisoriesRequest(page_size=2))
        rest = await s.reports.ListAdvisories(pb.ListAdvisoriesRequest(page_size=2, page_token=page.next_page_token))
        assert [a.id for a in (*page.advisories, *rest.advisories)] == await listed()
        assert not rest.next_page_token
        advisory = (await s.reports.GetAdvisory(pb.GetAdvisoryRequest(id="cesa-2026:0001"))).advisory
        assert (advisory.id, advisory.affected_instances, list(advisory.packages)) == (BASH, 1, [NEW])
        assert (list(advisory.repositories), advisory.first_seen_at.ToDatetime(tzinfo=UTC)) == (["updates"], NOW)
        unknown = await refusal(s.reports.GetAdvisory(pb.GetAdvisoryRequest(id="CESA-1999:0001")))
        assert unknown.code is grpc.StatusCode.NOT_FOUND


async def test_who_has_this_comes_page_by_page_with_the_numbers_of_all_pages() -> None:
    async with served() as s:
        repository = await s.fleet.repository()
        for number, build in ((1, OLD), (2, NEW), (3, OLD)):
            await s.fleet.enrol(number, region="r2" if number == 3 else "r1")
            await s.fleet.report(number, [repository], build)
        await s.fleet.enrol(4)
        asked = pb.ListAffectedRequest(reference="CVE-2026-0001", selector=ALL, include_fixed=True, page_size=2)
        first = await s.reports.ListAffected(asked)
        asked.page_token = first.next_page_token
        second = await s.reports.ListAffected(asked)
        assert [(r.instance_name, r.fixed) for r in (*first.affected, *second.affected)] == [
            ("ecs-0001", False),
            ("ecs-0002", True),
            ("ecs-0003", False),
        ]
        assert [(p.affected_instances, p.unknown_instances) for p in (first, second)] == [(2, 1), (2, 1)]
        only = await s.reports.ListAffected(
            pb.ListAffectedRequest(reference=BASH, selector=fleet_pb2.Selector(all=True, regions=["r2"]))
        )
        assert [r.instance_name for r in only.affected] == ["ecs-0003"]
        unknown = await refusal(s.reports.ListAffected(pb.ListAffectedRequest(reference="CVE-1999-0001", selector=ALL)))
        assert unknown.code is grpc.StatusCode.NOT_FOUND
