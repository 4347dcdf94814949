"""The calls about scheduled tasks."""

from __future__ import annotations

from collections.abc import Iterator

from common.pb.v1 import schedule_pb2 as pb
from common.pb.v1 import schedule_pb2_grpc
from controller.client.line import Line


class ScheduleCalls:
    """ScheduleService. A task is called by its id or its name."""

    def __init__(self, line: Line) -> None:
        """Use this connection."""
        self._schedule_line = line
        self._schedules = schedule_pb2_grpc.ScheduleServiceStub(line.channel)

    def preview_schedule(self, task: pb.ScheduledTask) -> pb.PreviewScheduleResponse:
        """Return what `create_schedule` with the same task would store, when it would run, and what a ticket of it would be now."""
        return self._schedule_line.ask(self._schedules.PreviewSchedule, pb.PreviewScheduleRequest(task=task))

    def create_schedule(self, task: pb.ScheduledTask, *, enable: bool = False) -> pb.ScheduledTask:
        """Make a task; with `enable` it runs from now on."""
        request = pb.CreateScheduleRequest(task=task, enable=enable)
        return self._schedule_line.ask(self._schedules.CreateSchedule, request).task

    def get_schedule(self, schedule: str) -> pb.ScheduledTask:
        """Return one task."""
        return self._schedule_line.ask(self._schedules.GetSchedule, pb.GetScheduleRequest(schedule=schedule)).task

    def list_schedules(self, *, page_size: int = 0) -> Iterator[pb.ScheduledTask]:
        """Yield the tasks by name."""
        request = pb.ListSchedulesRequest(page_size=page_size)
        return self._schedule_line.rows(self._schedules.ListSchedules, request, lambda page: page.tasks)

    def update_schedule(self, schedule: str, task: pb.ScheduledTask) -> pb.ScheduledTask:
        """Replace what a task does, all of it; only while it is disabled. `task.version` says which version was edited."""
        request = pb.UpdateScheduleRequest(schedule=schedule, task=task)
        return self._schedule_line.ask(self._schedules.UpdateSchedule, request).task

    def enable_schedule(self, schedule: str) -> pb.ScheduledTask:
        """Let a task run from now on."""
        request = pb.EnableScheduleRequest(schedule=schedule)
        return self._schedule_line.ask(self._schedules.EnableSchedule, request).task

    def disable_schedule(self, schedule: str) -> pb.ScheduledTask:
        """Let a task run no more; its tickets go on."""
        request = pb.DisableScheduleRequest(schedule=schedule)
        return self._schedule_line.ask(self._schedules.DisableSchedule, request).task

    def delete_schedule(self, schedule: str) -> None:
        """Forget a task and its history; its tickets stay."""
        self._schedule_line.ask(self._schedules.DeleteSchedule, pb.DeleteScheduleRequest(schedule=schedule))

    def approve_schedule(self, schedule: str, comment: str = "", *, version: int = 0) -> pb.ScheduledTask:
        """Approve a task of HIGH risk; `version` is the one that was looked at."""
        request = pb.ApproveScheduleRequest(schedule=schedule, comment=comment, version=version)
        return self._schedule_line.ask(self._schedules.ApproveSchedule, request).task

    def reject_schedule(self, schedule: str, comment: str = "", *, version: int = 0) -> pb.ScheduledTask:
        """Refuse a task of HIGH risk; `version` is the one that was looked at."""
        request = pb.RejectScheduleRequest(schedule=schedule, comment=comment, version=version)
        return self._schedule_line.ask(self._schedules.RejectSchedule, request).task

    def run_schedule(self, schedule: str, *, request_id: str = "") -> pb.ScheduleRun:
        """Make a task's ticket now. With the same `request_id` a second call answers with the first call's run."""
        request = pb.RunScheduleRequest(schedule=schedule, request_id=request_id)
        return self._schedule_line.ask(self._schedules.RunSchedule, request).run

    def list_schedule_runs(self, schedule: str, *, page_size: int = 0) -> Iterator[pb.ScheduleRun]:
        """Yield what became of each run of a task, newest first."""
        request = pb.ListScheduleRunsRequest(schedule=schedule, page_size=page_size)
        return self._schedule_line.rows(self._schedules.ListScheduleRuns, request, lambda page: page.runs)
