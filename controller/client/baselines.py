"""The calls about patch baselines."""

from __future__ import annotations

from collections.abc import Iterator

from common.pb.v1 import baseline_pb2, baseline_pb2_grpc, types_pb2
from controller.client.line import Line


class BaselineCalls:
    """BaselineService."""

    def __init__(self, line: Line) -> None:
        """Use this connection."""
        self._baseline_line = line
        self._baselines = baseline_pb2_grpc.BaselineServiceStub(line.channel)

    def list_baselines(
        self,
        *,
        operating_system: str = "",
        scenario: types_pb2.ResourceType.ValueType = types_pb2.RESOURCE_TYPE_UNSPECIFIED,
        page_size: int = 0,
    ) -> Iterator[baseline_pb2.Baseline]:
        """Yield the baselines, public ones first."""
        request = baseline_pb2.ListBaselinesRequest(
            operating_system=operating_system, scenario=scenario, page_size=page_size
        )
        return self._baseline_line.rows(self._baselines.ListBaselines, request, lambda page: page.baselines)

    def get_baseline(self, baseline: str, *, version: int = 0) -> baseline_pb2.Baseline:
        """Return one baseline, by id or name, in its newest version or the one asked for."""
        request = baseline_pb2.GetBaselineRequest(baseline=baseline, version=version)
        return self._baseline_line.ask(self._baselines.GetBaseline, request).baseline

    def create_baseline(self, baseline: baseline_pb2.Baseline) -> baseline_pb2.Baseline:
        """Make a baseline, or a new version of the one of the same name. Return it as stored."""
        request = baseline_pb2.CreateBaselineRequest(baseline=baseline)
        return self._baseline_line.ask(self._baselines.CreateBaseline, request).baseline

    def set_default_baseline(self, baseline: str) -> baseline_pb2.Baseline:
        """Make a baseline the default of its scenario and operating system."""
        request = baseline_pb2.SetDefaultBaselineRequest(baseline=baseline)
        return self._baseline_line.ask(self._baselines.SetDefaultBaseline, request).baseline

    def delete_baseline(self, baseline: str) -> None:
        """Delete a baseline that is neither public nor a default."""
        self._baseline_line.ask(self._baselines.DeleteBaseline, baseline_pb2.DeleteBaselineRequest(baseline=baseline))
