"""The calls about compliance reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from common.pb.v1 import fleet_pb2, report_pb2, report_pb2_grpc, types_pb2
from controller.client.line import Line

_EXPORT_SECONDS: Final = 3600.0
_SUMMARY_SECONDS: Final = 120.0


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
    ) -> Iterator[report_pb2.InstanceReport]:
        """Yield the matching instances' answers without items, by name."""
        request = report_pb2.ListReportsRequest(selector=selector, statuses=statuses, page_size=page_size)
        return self._report_line.rows(self._reports.ListReports, request, lambda page: page.reports)

    def get_report(
        self, instance: str, *, all_items: bool = False, as_of: datetime | None = None
    ) -> report_pb2.InstanceReport:
        """Return one instance's report, by id or name; `all_items` adds the compliant packages; `as_of` asks for a past instant."""
        request = report_pb2.GetReportRequest(instance=instance, all_items=all_items, as_of=_stamp(as_of))
        return self._report_line.ask(self._reports.GetReport, request).report

    def get_summary(
        self, selector: fleet_pb2.Selector | None = None, *, as_of: datetime | None = None
    ) -> report_pb2.GetSummaryResponse:
        """Return the fleet in numbers, now or at a past instant."""
        request = report_pb2.GetSummaryRequest(selector=selector, as_of=_stamp(as_of))
        return self._report_line.ask(self._reports.GetSummary, request, _SUMMARY_SECONDS)

    def why(self, instance: str, package: str) -> report_pb2.WhyResponse:
        """Return why a package of an instance has the status it has."""
        return self._report_line.ask(self._reports.Why, report_pb2.WhyRequest(instance=instance, package=package))

    def export_reports(
        self, selector: fleet_pb2.Selector | None = None, *, all_items: bool = False, as_of: datetime | None = None
    ) -> Iterator[report_pb2.InstanceReport]:
        """Yield every matching instance's report with its items, as the controller makes them, now or for a past instant."""
        request = report_pb2.ExportRequest(selector=selector, all_items=all_items, as_of=_stamp(as_of))
        for answer in self._report_line.stream(self._reports.Export, request, _EXPORT_SECONDS):
            yield answer.report


def _stamp(instant: datetime | None) -> Timestamp | None:
    if instant is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(instant)
    return stamp
