"""The calls about patch baselines, for whom they decide, and what is excused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from common.pb.v1 import baseline_pb2, baseline_pb2_grpc, fleet_pb2, types_pb2
from controller.client.line import Line

TRY_SECONDS: Final = 300.0
"""How long a whole fleet may take to be evaluated with a baseline that is tried."""


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

    def try_baseline(
        self, baseline: baseline_pb2.Baseline, selector: fleet_pb2.Selector | None = None
    ) -> baseline_pb2.TryBaselineResponse:
        """Say what would be if this baseline decided where the one that it replaces does now. Nothing is stored."""
        request = baseline_pb2.TryBaselineRequest(baseline=baseline, selector=selector)
        return self._baseline_line.ask(self._baselines.TryBaseline, request, TRY_SECONDS)

    def assign_baseline(
        self, baseline: str, scope: baseline_pb2.AssignmentScope.ValueType, value: str
    ) -> baseline_pb2.BaselineAssignment:
        """Let a baseline decide for an instance (id or name), an application group or an enterprise project."""
        request = baseline_pb2.AssignBaselineRequest(baseline=baseline, scope=scope, value=value)
        return self._baseline_line.ask(self._baselines.AssignBaseline, request).assignment

    def unassign_baseline(self, baseline: str, scope: baseline_pb2.AssignmentScope.ValueType, value: str) -> None:
        """Take an assignment back."""
        request = baseline_pb2.UnassignBaselineRequest(baseline=baseline, scope=scope, value=value)
        self._baseline_line.ask(self._baselines.UnassignBaseline, request)

    def list_assignments(self, *, page_size: int = 0) -> Iterator[baseline_pb2.BaselineAssignment]:
        """Yield the assignments, by scope, then by its value."""
        request = baseline_pb2.ListAssignmentsRequest(page_size=page_size)
        return self._baseline_line.rows(self._baselines.ListAssignments, request, lambda page: page.assignments)

    def create_exception(
        self,
        match: baseline_pb2.ExceptionMatch.ValueType,
        match_value: str,
        *,
        reason: str,
        expires_at: datetime,
        scope: baseline_pb2.ExceptionScope.ValueType = baseline_pb2.EXCEPTION_SCOPE_ALL,
        scope_value: str = "",
        approver: str = "",
    ) -> baseline_pb2.PatchException:
        """Excuse what would be non-compliant until an instant; without `approver` the caller is it. Return it as stored."""
        ends = Timestamp()
        ends.FromDatetime(expires_at)
        wanted = baseline_pb2.PatchException(
            scope=scope,
            scope_value=scope_value,
            match=match,
            match_value=match_value,
            reason=reason,
            approver=approver,
            expires_at=ends,
        )
        request = baseline_pb2.CreateExceptionRequest(exception=wanted)
        return self._baseline_line.ask(self._baselines.CreateException, request).exception

    def list_exceptions(
        self, *, include_ended: bool = False, page_size: int = 0
    ) -> Iterator[baseline_pb2.PatchException]:
        """Yield the exceptions, those that end first first."""
        request = baseline_pb2.ListExceptionsRequest(include_ended=include_ended, page_size=page_size)
        return self._baseline_line.rows(self._baselines.ListExceptions, request, lambda page: page.exceptions)

    def revoke_exception(self, exception_id: str) -> baseline_pb2.PatchException:
        """End an exception before its time. Return it as it is now."""
        request = baseline_pb2.RevokeExceptionRequest(id=exception_id)
        return self._baseline_line.ask(self._baselines.RevokeException, request).exception
