"""The calls about compliance reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from common.pb.v1 import fleet_pb2, report_pb2, report_pb2_grpc, types_pb2
from controller.client.line import Line

_EXPORT_SECONDS: Final = 3600.0
_SUMMARY_SECONDS: Final = 120.0
_TREND_SECONDS: Final = 1200.0
"""Days of a fleet of thousands that were never asked for before are evaluated now."""


class ReportCalls:
    """ReportService."""

    def __init__(self, line: Line) -> None:
        """Use this connection."""
        self._report_line = line
        self._reports = report_pb2_grpc.ReportServiceStub(line.channel)

    def list_reports(
        self,
        selector: fleet_pb2.Selector | None = None,
        *,
        statuses: Sequence[types_pb2.InstanceStatus.ValueType] = (),
        page_size: int = 0,
        as_of: datetime | None = None,
    ) -> Iterator[report_pb2.InstanceReport]:
        """Yield the matching instances' answers without items, by name; as of a past instant if one is given."""
        request = report_pb2.ListReportsRequest(
            selector=selector, statuses=statuses, page_size=page_size, as_of=_instant(as_of)
        )
        return self._report_line.rows(self._reports.ListReports, request, lambda page: page.reports)

    def get_report(
        self, instance: str, *, all_items: bool = False, baseline: str = "", as_of: datetime | None = None
    ) -> report_pb2.InstanceReport:
        """Return one instance's report, by id or name; `all_items` adds the compliant packages.

        A baseline, by id or name, is used for this answer only; `as_of` is a past instant.
        """
        request = report_pb2.GetReportRequest(
            instance=instance, all_items=all_items, baseline=baseline, as_of=_instant(as_of)
        )
        return self._report_line.ask(self._reports.GetReport, request).report

    def get_summary(
        self, selector: fleet_pb2.Selector | None = None, *, as_of: datetime | None = None
    ) -> report_pb2.GetSummaryResponse:
        """Return the fleet in numbers, as of a past instant if one is given."""
        request = report_pb2.GetSummaryRequest(selector=selector, as_of=_instant(as_of))
        return self._report_line.ask(self._reports.GetSummary, request, _SUMMARY_SECONDS)

    def why(
        self, instance: str, package: str, *, baseline: str = "", as_of: datetime | None = None
    ) -> report_pb2.WhyResponse:
        """Return why a package of an instance has the status it has; `baseline` and `as_of` as in `get_report`."""
        request = report_pb2.WhyRequest(instance=instance, package=package, baseline=baseline, as_of=_instant(as_of))
        return self._report_line.ask(self._reports.Why, request)

    def export_reports(
        self,
        selector: fleet_pb2.Selector | None = None,
        *,
        all_items: bool = False,
        as_of: datetime | None = None,
    ) -> Iterator[report_pb2.InstanceReport]:
        """Yield every matching instance's report with its items, as the controller makes them; as of a past instant if one is given."""
        request = report_pb2.ExportRequest(selector=selector, all_items=all_items, as_of=_instant(as_of))
        for answer in self._report_line.stream(self._reports.Export, request, _EXPORT_SECONDS):
            yield answer.report

    def get_trend(
        self, selector: fleet_pb2.Selector | None = None, *, days: int = 0
    ) -> Sequence[report_pb2.TrendPoint]:
        """Return the three numbers of each of the last days (0: 30), oldest first."""
        request = report_pb2.GetTrendRequest(selector=selector, days=days)
        return self._report_line.ask(self._reports.GetTrend, request, _TREND_SECONDS).points

    def list_advisories(
        self,
        *,
        categories: Sequence[types_pb2.Category.ValueType] = (),
        severities: Sequence[types_pb2.Severity.ValueType] = (),
        text: str = "",
        affecting_only: bool = False,
        page_size: int = 0,
    ) -> Iterator[report_pb2.Advisory]:
        """Yield the advisories of the fleet's repositories without their packages, the newest first."""
        request = report_pb2.ListAdvisoriesRequest(
            categories=categories,
            severities=severities,
            text=text,
            affecting_only=affecting_only,
            page_size=page_size,
        )
        return self._report_line.rows(self._reports.ListAdvisories, request, lambda page: page.advisories)

    def get_advisory(self, identifier: str) -> report_pb2.Advisory:
        """Return one advisory with the builds that it names."""
        request = report_pb2.GetAdvisoryRequest(id=identifier)
        return self._report_line.ask(self._reports.GetAdvisory, request, _SUMMARY_SECONDS).advisory

    def list_affected(
        self,
        reference: str,
        selector: fleet_pb2.Selector | None = None,
        *,
        include_fixed: bool = False,
        page_size: int = 0,
    ) -> report_pb2.ListAffectedResponse:
        """Return whom an advisory or a CVE concerns, all pages in one; `include_fixed` adds those that have it already."""
        request = report_pb2.ListAffectedRequest(
            reference=reference, selector=selector, include_fixed=include_fixed, page_size=page_size
        )
        found: report_pb2.ListAffectedResponse | None = None
        while True:
            page = self._report_line.ask(self._reports.ListAffected, request, _SUMMARY_SECONDS)
            if found is None:
                found = page
            else:
                found.affected.extend(page.affected)
            request.page_token = page.next_page_token
            if not page.next_page_token:
                found.next_page_token = ""
                return found


def _instant(at: datetime | None) -> Timestamp | None:
    if at is None:
        return None
    made = Timestamp()
    made.FromDatetime(at.astimezone(UTC))
    return made
