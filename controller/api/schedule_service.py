"""ScheduleService: makes, shows and changes scheduled tasks. The rules are in schedules/, the firing in dispatch/scheduler.py."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from common.clock import Clock
from common.errors import Conflict, InvalidArgument, NotFound
from common.ids import Ids
from common.pb.v1 import schedule_pb2 as pb
from common.pb.v1 import schedule_pb2_grpc
from controller.api import paging, translate_schedule
from controller.api.auth import Operator, operator
from controller.api.bound import BoundTickets
from controller.api.checks import reference
from controller.api.interception import Context
from controller.api.planning import Planner
from controller.api.preview import preview_message
from controller.dispatch.scheduler import Scheduler
from controller.schedules import task as tasks
from controller.schedules.model import ScheduledTask, ScheduleId, ScheduleRun
from controller.schedules.next_fire import next_fires
from controller.schedules.validate import check_comment
from controller.store.api import ScheduleStore
from controller.tickets.model import TicketState
from controller.tickets.validate import check_request_id

log = logging.getLogger(__name__)

_ID_LENGTH: Final = 4
_ID_ATTEMPTS: Final = 8
_HELP: Final = "list them: patchctl schedule list"
_AT_ONCE: Final = 200


class ScheduleService(schedule_pb2_grpc.ScheduleServiceServicer):
    """Serves scheduled tasks."""

    def __init__(
        self,
        store: ScheduleStore,
        tickets: BoundTickets,
        scheduler: Scheduler,
        planner: Planner,
        clock: Clock,
        ids: Ids,
    ) -> None:
        """Join the parts."""
        self._store = store
        self._tickets = tickets
        self._scheduler = scheduler
        self._planner = planner
        self._clock = clock
        self._ids = ids

    async def PreviewSchedule(self, request: pb.PreviewScheduleRequest, context: Context) -> pb.PreviewScheduleResponse:  # noqa: N802
        """Say what CreateSchedule with the same task would store, and when it would run."""
        read = translate_schedule.task(request.task, operator(), self._clock.now())
        self._check_runs(read)
        await self._planner.refuse_unreachable(read.spec)
        plan = await self._planner.plan(read.spec)
        return pb.PreviewScheduleResponse(task=self._message(read), ticket=preview_message(plan))

    async def CreateSchedule(self, request: pb.CreateScheduleRequest, context: Context) -> pb.CreateScheduleResponse:  # noqa: N802
        """Make a task."""
        now = self._clock.now()
        read = translate_schedule.task(request.task, operator(), now)
        self._check_runs(read)
        await self._planner.refuse_unreachable(read.spec)
        await self._planner.plan(read.spec)  # refuses what is named wrongly; who is there now does not matter
        if request.enable:
            read = tasks.enabled(read, now)
        made = await self._create(read)
        self._scheduler.wake()
        self._log(made, "create")
        return pb.CreateScheduleResponse(task=self._message(made))

    async def _create(self, read: ScheduledTask) -> ScheduledTask:
        """Store the task under an id that nobody has. Raises InvalidArgument when its name is taken."""
        for attempt in range(_ID_ATTEMPTS):
            new_id = ScheduleId(self._ids.new("S-", _ID_LENGTH + attempt // 2))
            try:
                return await self._store.create(replace(read, id=new_id))
            except Conflict:
                await self._refuse_taken(read)
        raise Conflict("schedule", "id")

    async def _refuse_taken(self, read: ScheduledTask) -> None:
        try:
            other = await self._store.find(read.account, read.name)
        except NotFound:
            return
        if other.id != read.id:
            raise InvalidArgument.of("name", f"{read.name} is taken by schedule {other.id}; choose another")

    async def GetSchedule(self, request: pb.GetScheduleRequest, context: Context) -> pb.GetScheduleResponse:  # noqa: N802
        """One task."""
        return pb.GetScheduleResponse(task=self._message(await self._find(request.schedule)))

    async def ListSchedules(self, request: pb.ListSchedulesRequest, context: Context) -> pb.ListSchedulesResponse:  # noqa: N802
        """List tasks by name."""
        size = paging.page_size(request.page_size)
        position = paging.read_token(request, request.page_token, (str,))
        found = await self._seen(size + 1, "" if position is None else str(position[0]))
        page = found[:size]
        return pb.ListSchedulesResponse(
            tasks=[self._message(task) for task in page],
            next_page_token=paging.make_token(request, (page[-1].name,)) if len(found) > size else "",
        )

    async def UpdateSchedule(self, request: pb.UpdateScheduleRequest, context: Context) -> pb.UpdateScheduleResponse:  # noqa: N802
        """Replace what a task does, only while it is disabled."""
        now, by = self._clock.now(), operator().name
        before = await self._find(request.schedule, request.task.version)
        if before.enabled:
            tasks.edited(before, before, by, now)  # refuses
        read = translate_schedule.task(request.task, operator(), now)
        self._check_runs(read)
        await self._planner.refuse_unreachable(read.spec)
        await self._planner.plan(read.spec)
        after = tasks.edited(before, read, by, now)
        if after.name != before.name:
            await self._refuse_taken(after)
        return pb.UpdateScheduleResponse(task=await self._save(after, "edit"))

    async def EnableSchedule(self, request: pb.EnableScheduleRequest, context: Context) -> pb.EnableScheduleResponse:  # noqa: N802
        """Let a task run from now on."""
        return pb.EnableScheduleResponse(
            task=await self._change(request.schedule, "enable", lambda task, now: tasks.enabled(task, now))
        )

    async def DisableSchedule(self, request: pb.DisableScheduleRequest, context: Context) -> pb.DisableScheduleResponse:  # noqa: N802
        """Let a task run no more."""
        return pb.DisableScheduleResponse(
            task=await self._change(request.schedule, "disable", lambda task, _: tasks.disabled(task))
        )

    async def DeleteSchedule(self, request: pb.DeleteScheduleRequest, context: Context) -> pb.DeleteScheduleResponse:  # noqa: N802
        """Forget a task and its history."""
        gone = await self._find(request.schedule)
        await self._store.delete(gone.id)
        self._log(gone, "delete")
        return pb.DeleteScheduleResponse()

    async def ApproveSchedule(self, request: pb.ApproveScheduleRequest, context: Context) -> pb.ApproveScheduleResponse:  # noqa: N802
        """Approve a task of HIGH risk."""
        task = await self._decide(request.schedule, request.version, request.comment, approved=True)
        return pb.ApproveScheduleResponse(task=task)

    async def RejectSchedule(self, request: pb.RejectScheduleRequest, context: Context) -> pb.RejectScheduleResponse:  # noqa: N802
        """Refuse a task of HIGH risk."""
        task = await self._decide(request.schedule, request.version, request.comment, approved=False)
        return pb.RejectScheduleResponse(task=task)

    async def RunSchedule(self, request: pb.RunScheduleRequest, context: Context) -> pb.RunScheduleResponse:  # noqa: N802
        """Make a task's ticket now."""
        check_request_id(request.request_id)
        task = await self._find(request.schedule)
        run = await self._scheduler.run_now(task, operator().name, request.request_id)
        self._log(task, "run")
        return pb.RunScheduleResponse(run=translate_schedule.run_message(run, await self._state_of(run)))

    async def ListScheduleRuns(  # noqa: N802
        self, request: pb.ListScheduleRunsRequest, context: Context
    ) -> pb.ListScheduleRunsResponse:
        """List what became of each run of a task, newest first."""
        task = await self._find(request.schedule)
        size = paging.page_size(request.page_size)
        position = paging.read_token(request, request.page_token, (str,))
        before = None if position is None else paging.decode_time(position[0])
        found = await self._store.runs(task.id, size + 1, before)
        page = found[:size]
        return pb.ListScheduleRunsResponse(
            runs=[translate_schedule.run_message(run, await self._state_of(run)) for run in page],
            next_page_token=(
                paging.make_token(request, (paging.encode_time(page[-1].fire_at),)) if len(found) > size else ""
            ),
        )

    async def _state_of(self, run: ScheduleRun) -> TicketState | None:
        if run.ticket_id is None:
            return None
        try:
            return (await self._tickets.head(run.ticket_id)).state
        except NotFound:
            return None

    async def _seen(self, limit: int, after: str) -> list[ScheduledTask]:
        """Return tasks that the caller sees, by name, only those whose name is above `after`."""
        caller, found = operator(), list[ScheduledTask]()
        while len(found) < limit:
            page = await self._store.tasks(caller.account, _AT_ONCE, after)
            found += [task for task in page if _sees(caller, task)]
            if len(page) < _AT_ONCE:
                break
            after = page[-1].name
        return found[:limit]

    async def _find(self, called: str, version: int = 0) -> ScheduledTask:
        """Return the task that the caller means; raise NotFound, and Conflict when it is not in the version that the caller knows."""
        try:
            found = await self._store.find(operator().account, reference("schedule", called))
        except NotFound as error:
            raise NotFound(error.kind, error.name, _HELP) from None
        if not _sees(operator(), found):
            raise NotFound("schedule", called, _HELP)
        if version and version != found.version:
            raise Conflict("schedule", found.name)
        return found

    async def _change(
        self, called: str, what: str, change: Callable[[ScheduledTask, datetime], ScheduledTask]
    ) -> pb.ScheduledTask:
        before = await self._find(called)
        after = change(before, self._clock.now())
        return self._message(before) if after is before else await self._save(after, what)

    async def _decide(self, called: str, version: int, comment: str, *, approved: bool) -> pb.ScheduledTask:
        check_comment(comment)
        before = await self._find(called, version)
        by = operator().name
        after = tasks.decided(before, approved=approved, by=by, now=self._clock.now(), comment=comment)
        return await self._save(after, "approve" if approved else "reject")

    async def _save(self, task: ScheduledTask, what: str) -> pb.ScheduledTask:
        saved = await self._store.save(task)
        self._scheduler.wake()
        self._log(saved, what)
        return self._message(saved)

    def _check_runs(self, task: ScheduledTask) -> None:
        """Refuse what would never run: its time is over already."""
        if not next_fires(task.schedule, self._clock.now(), 1):
            raise InvalidArgument.of("schedule", "would never run: its time is over; choose a later one")

    def _message(self, task: ScheduledTask) -> pb.ScheduledTask:
        return translate_schedule.task_message(task, next_fires(task.schedule, self._clock.now()))

    def _log(self, task: ScheduledTask, what: str) -> None:
        log.info(
            "schedule changed by an operator",
            extra={"schedule": task.id, "called": task.name, "by": operator().name, "what": what},
        )


def _sees(caller: Operator, task: ScheduledTask) -> bool:
    """Say whether a task of the caller's account exists for it: one that is bound to enterprise projects sees what selects nothing else."""
    bound = set(caller.enterprise_projects)
    return not bound or (bool(task.enterprise_projects) and set(task.enterprise_projects) <= bound)
