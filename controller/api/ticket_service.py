"""TicketService: plans, makes, shows and changes tickets. The rules are in tickets/, the driving in dispatch/engine.py."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Final

from common.clock import Clock
from common.errors import InvalidArgument, NotFound, Violation
from common.pb.v1 import ticket_pb2 as pb
from common.pb.v1 import ticket_pb2_grpc
from controller.api import paging, translate_ticket
from controller.api.auth import operator
from controller.api.bound import BoundTickets, sees_ticket
from controller.api.checks import Checks
from controller.api.interception import Context
from controller.api.lookup import find_run, ticket_id
from controller.api.making import TicketMaker
from controller.api.planning import Planner, refuse_empty
from controller.api.preview import not_selectable_messages, preview_message
from controller.api.translate import RUN_STATE, TICKET_STATE
from controller.api.watching import Watcher
from controller.dispatch.engine import Engine
from controller.fleet.model import InstanceId
from controller.tickets.model import (
    BatchCanceled,
    BatchRetried,
    Continued,
    Ended,
    Event,
    Paused,
    RunCanceled,
    RunsRetried,
    RunState,
    Step,
    Ticket,
    TicketId,
    TicketSpec,
)
from controller.tickets.validate import check_reason, check_request_id

log = logging.getLogger(__name__)

_MAX_RETRIED: Final = 1000


class TicketService(ticket_pb2_grpc.TicketServiceServicer):
    """Serves tickets."""

    def __init__(
        self, store: BoundTickets, engine: Engine, planner: Planner, maker: TicketMaker, watcher: Watcher, clock: Clock
    ) -> None:
        """Join the parts."""
        self._store = store
        self._engine = engine
        self._planner = planner
        self._watcher = watcher
        self._clock = clock
        self._maker = maker

    async def Preview(self, request: pb.PreviewRequest, context: Context) -> pb.PreviewResponse:  # noqa: N802
        """Say what CreateTicket with the same spec would do now."""
        spec = translate_ticket.spec(request.spec)
        self._check_to_come(spec)
        await self._planner.refuse_unreachable(spec)
        return preview_message(await self._planner.plan(spec))

    async def CreateTicket(self, request: pb.CreateTicketRequest, context: Context) -> pb.CreateTicketResponse:  # noqa: N802
        """Make a ticket and start it; the same request again answers with the ticket it made."""
        check_request_id(request.request_id)
        spec = translate_ticket.spec(request.spec)
        by = operator().name
        if (before := await self._made_before(by, request.request_id)) is not None:
            return pb.CreateTicketResponse(ticket=before)
        self._check_to_come(spec)
        await self._planner.refuse_unreachable(spec)
        plan = await self._planner.plan(spec)
        refuse_empty(plan)
        ticket = await self._maker.make(plan, by, request.request_id)
        if ticket is None:  # another call with the same key was faster
            return pb.CreateTicketResponse(ticket=await self._made_before(by, request.request_id))
        return pb.CreateTicketResponse(
            ticket=translate_ticket.ticket_message(ticket, self._clock.now()),
            not_selectable=not_selectable_messages(plan),
        )

    def _check_to_come(self, spec: TicketSpec) -> None:
        """Raise InvalidArgument when a time that is to come is past; asked of a new ticket only, not of one made before."""
        if spec.offline.until is not None and spec.offline.until <= self._clock.now():
            past = f"{spec.offline.until:%Y-%m-%d %H:%M:%S} UTC is past; say a later time, or how long to wait"
            raise InvalidArgument((Violation("offline.until", past),))

    async def _made_before(self, by: str, request_id: str) -> pb.Ticket | None:
        if (found := await self._maker.made_before(by, request_id)) is None:
            return None
        return translate_ticket.ticket_message(await self._store.head(found), self._clock.now())

    async def GetTicket(self, request: pb.GetTicketRequest, context: Context) -> pb.GetTicketResponse:  # noqa: N802
        """One ticket."""
        wanted = ticket_id(request.ticket_id)
        ticket = self._engine.driven(wanted)
        if ticket is None or not sees_ticket(operator(), ticket):
            ticket = await self._store.head(wanted)
        return pb.GetTicketResponse(ticket=translate_ticket.ticket_message(ticket, self._clock.now()))

    async def ListTickets(self, request: pb.ListTicketsRequest, context: Context) -> pb.ListTicketsResponse:  # noqa: N802
        """List tickets, newest first."""
        checks = Checks()
        states = TICKET_STATE.read_all(checks, "states", request.states)
        checks.done()
        size = paging.page_size(request.page_size)
        position = paging.read_token(request, request.page_token, (str, str))
        before = None if position is None else (paging.decode_time(position[0]), TicketId(str(position[1])))
        found = await self._store.heads(states, size + 1, before)
        page = found[:size]
        more = len(found) > size
        return pb.ListTicketsResponse(
            tickets=[translate_ticket.ticket_message(t, self._clock.now()) for t in page],
            next_page_token=(
                paging.make_token(request, (paging.encode_time(page[-1].created_at), page[-1].id)) if more else ""
            ),
        )

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:  # noqa: N802
        """List the runs of a ticket, in the order in which they are sent."""
        wanted = ticket_id(request.ticket_id)
        checks = Checks()
        states = RUN_STATE.read_all(checks, "states", request.states)
        checks.done()
        size = paging.page_size(request.page_size)
        position = paging.read_token(request, request.page_token, (int, int))
        after = None if position is None else (int(position[0]), int(position[1]))
        head = await self._store.head(wanted)
        if request.batch and request.batch not in head.batches:
            raise NotFound("batch", str(request.batch), f"ticket {wanted} has batches 1 to {len(head.batches)}")
        found = await self._store.runs(wanted, request.batch, states, size + 1, after)
        page = found[:size]
        steps: Mapping[InstanceId, str] = {}
        if any(run.state is RunState.PROCESSING for _, run in page):
            steps = self._engine.steps(await self._engine.get(wanted))
        return pb.ListRunsResponse(
            runs=[translate_ticket.run_message(wanted, r, steps.get(r.instance_id, "")) for _, r in page],
            next_page_token=paging.make_token(request, page[-1][0]) if len(found) > size else "",
        )

    async def Watch(self, request: pb.WatchRequest, context: Context) -> AsyncIterator[pb.WatchResponse]:  # noqa: N802
        """Send the ticket now and after each change, until it can change no more by itself."""
        wanted = (await self._store.head(ticket_id(request.ticket_id))).id
        async for response in self._watcher.watch(wanted):
            yield response

    async def Pause(self, request: pb.PauseRequest, context: Context) -> pb.PauseResponse:  # noqa: N802
        """Send nothing more; what is out finishes."""
        check_reason(request.reason)
        return pb.PauseResponse(
            ticket=await self._apply(request.ticket_id, "pause", lambda now: Paused(now, request.reason))
        )

    async def Continue(self, request: pb.ContinueRequest, context: Context) -> pb.ContinueResponse:  # noqa: N802
        """Go on after a pause or a suspension."""
        return pb.ContinueResponse(ticket=await self._apply(request.ticket_id, "continue", Continued))

    async def End(self, request: pb.EndRequest, context: Context) -> pb.EndResponse:  # noqa: N802
        """Cancel what has not started and stop waiting for what is out."""
        check_reason(request.reason)
        return pb.EndResponse(
            ticket=await self._apply(request.ticket_id, "end", lambda now: Ended(now, request.reason))
        )

    async def RetryBatch(self, request: pb.RetryBatchRequest, context: Context) -> pb.RetryBatchResponse:  # noqa: N802
        """Run again the runs of an abnormal batch that did not succeed."""
        return pb.RetryBatchResponse(
            ticket=await self._apply(request.ticket_id, "retry", lambda now: BatchRetried(now, request.batch))
        )

    async def RetryRuns(self, request: pb.RetryRunsRequest, context: Context) -> pb.RetryRunsResponse:  # noqa: N802
        """Run failed instances again."""
        checks = Checks()
        if len(request.instances) > _MAX_RETRIED:
            checks.refuse(
                "instances", f"has {len(request.instances)} values, allowed are {_MAX_RETRIED}; leave it empty for all"
            )
        checks.done()
        ticket = await self._get(request.ticket_id)
        runs = ticket.runs.values()
        chosen = tuple(find_run(runs, f"instances[{n}]", i).instance_id for n, i in enumerate(request.instances))
        return pb.RetryRunsResponse(
            ticket=await self._apply(request.ticket_id, "retry runs", lambda now: RunsRetried(now, chosen))
        )

    async def GetRunLog(self, request: pb.GetRunLogRequest, context: Context) -> pb.GetRunLogResponse:  # noqa: N802
        """Return one instance's run and when it reached each step."""
        ticket = await self._get(request.ticket_id)
        run = find_run(ticket.runs.values(), "instance", request.instance)
        said = self._engine.steps_of(run.id(ticket.id)) if run.state is RunState.PROCESSING else {}
        steps = [*run.log, *(Step(run.attempt, name, at) for name, at in said.items())]
        if run.attempt <= 1 or any(step.attempt == 1 for step in steps):
            steps.insert(0, Step(1, "queued", ticket.created_at))
        doing = list(said)[-1] if said else "sent" if run.state is RunState.PROCESSING else ""
        return pb.GetRunLogResponse(
            run=translate_ticket.run_message(ticket.id, run, doing), steps=map(translate_ticket.step_message, steps)
        )

    async def CancelBatch(self, request: pb.CancelBatchRequest, context: Context) -> pb.CancelBatchResponse:  # noqa: N802
        """Give an abnormal batch up."""
        return pb.CancelBatchResponse(
            ticket=await self._apply(request.ticket_id, "cancel batch", lambda now: BatchCanceled(now, request.batch))
        )

    async def CancelRun(self, request: pb.CancelRunRequest, context: Context) -> pb.CancelRunResponse:  # noqa: N802
        """Give one instance's run up."""
        ticket = await self._get(request.ticket_id)
        run = find_run(ticket.runs.values(), "instance", request.instance)
        return pb.CancelRunResponse(
            ticket=await self._apply(request.ticket_id, "cancel run", lambda now: RunCanceled(now, run.instance_id))
        )

    async def _get(self, called: str) -> Ticket:
        """Return a ticket with all its runs; raise NotFound, also when the caller does not see it."""
        wanted = ticket_id(called)
        driven = self._engine.driven(wanted)
        if driven is None or not sees_ticket(operator(), driven):
            await self._store.head(wanted)
        return await self._engine.get(wanted)

    async def _apply(self, called: str, what: str, make: Callable[[datetime], Event]) -> pb.Ticket:
        ticket = await self._engine.apply((await self._get(called)).id, make)
        log.info("ticket changed by an operator", extra={"ticket": called, "by": operator().name, "what": what})
        return translate_ticket.ticket_message(ticket, self._clock.now())
