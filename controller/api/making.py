"""Making tickets, for whoever asks: an operator now, or a schedule when its time has come. The same request makes one ticket."""

from __future__ import annotations

import logging
from typing import Final

from common.clock import Clock
from common.errors import Conflict, Rejected
from common.ids import Ids
from controller.api.auth import Operator, acting, operator
from controller.api.planning import Plan, Planner, refuse_empty
from controller.dispatch.engine import Engine
from controller.dispatch.scheduler import Made
from controller.fleet.model import Role
from controller.schedules.model import ScheduledTask
from controller.store.api import TicketStore
from controller.tickets.machine import create
from controller.tickets.model import Ticket, TicketId, TicketSpec

log = logging.getLogger(__name__)

_ID_LENGTH: Final = 4
_ID_ATTEMPTS: Final = 8


class TicketMaker:
    """One for a controller process."""

    def __init__(self, store: TicketStore, engine: Engine, planner: Planner, clock: Clock, ids: Ids) -> None:
        """Join the parts."""
        self._store = store
        self._engine = engine
        self._planner = planner
        self._clock = clock
        self._ids = ids

    async def made_before(self, by: str, request_id: str) -> TicketId | None:
        """Return the ticket that this request made, if it did."""
        return await self._store.find_request(by, request_id) if request_id else None

    async def make(self, plan: Plan, by: str, request_id: str) -> Ticket | None:
        """Store and start a ticket of the caller's account under an id that nobody has; None when this request has made one meanwhile."""
        for attempt in range(_ID_ATTEMPTS):
            new_id = TicketId(self._ids.new("T-", _ID_LENGTH + attempt // 2))
            made = create(
                new_id,
                plan.spec,
                plan.batches,
                by,
                self._clock.now(),
                request_id,
                account=operator().account,
                enterprise_projects=plan.enterprise_projects,
                refused_accounts=plan.refused_accounts,
            )
            try:
                ticket = await self._engine.create(made)
            except Conflict:
                if request_id and await self._store.find_request(by, request_id) is not None:
                    return None
                continue
            log.info(
                "ticket made",
                extra={"ticket": ticket.id, "by": by, "targets": plan.targets, "batches": len(plan.batches)},
            )
            return ticket
        raise Conflict("ticket", "id")

    async def make_scheduled(self, task: ScheduledTask, by: str, request_id: str) -> Made:
        """Make the ticket of a task: whom it selects is decided now, within what its last editor could see.

        Raises what is wrong with the spec by now.
        """
        with acting(Operator("", by, Role.OPERATOR, None, task.account, task.enterprise_projects)):
            return await self._make_scheduled(task.spec, by, request_id)

    async def _make_scheduled(self, spec: TicketSpec, by: str, request_id: str) -> Made:
        plan = await self._planner.plan(spec)
        try:
            refuse_empty(plan)
        except Rejected as nothing:
            return Made(None, str(nothing))
        ticket = await self.make(plan, by, request_id)
        return Made(ticket.id if ticket is not None else await self.made_before(by, request_id))
