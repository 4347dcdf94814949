"""Watching a ticket: what to send when, for TicketService.Watch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from heapq import nsmallest
from typing import Final

from common.clock import Clock
from common.errors import Unavailable
from common.pb.v1 import ticket_pb2 as pb
from controller.api import translate_ticket
from controller.dispatch.engine import Engine
from controller.hub.api import Hub
from controller.store.api import TicketStore
from controller.tickets.model import Counts, Run, RunState, Ticket, TicketId, TicketState

STOPPING: Final = "stopping"
"""Topic on which the controller says that it stops: long answers end."""
MAX_RUNS: Final = 20
_POLL_SECONDS: Final = 2.0
"""A hint may be lost: look again after so long without one."""
_PAUSE_SECONDS: Final = 0.2
"""Between two answers, so that a busy ticket sends five a second and no more; longer when its answers are large."""
_PAUSE_PER_BATCH_SECONDS: Final = 0.0002
_AT_REST: Final = frozenset({TicketState.FINISHED, TicketState.CANCELED, TicketState.ABNORMAL})


@dataclass
class _Failed:
    """The latest bad runs of a ticket, looked for again only when some count of bad runs has changed."""

    counts: tuple[tuple[int, int, int, int], ...] = ()
    runs: tuple[Run, ...] = ()

    def of(self, ticket: Ticket) -> tuple[Run, ...]:
        bad = [b for b in ticket.batches.values() if _bad(b.counts)]
        counts = tuple((b.number, b.counts.failed, b.counts.timeout, b.counts.unreachable) for b in bad)
        if counts != self.counts:
            runs = (ticket.runs[i] for b in bad for i in b.members)
            ended = [r for r in runs if r.state is RunState.ABNORMAL and r.ended_at is not None]
            ended.sort(key=lambda r: (r.ended_at, r.instance_id), reverse=True)
            self.counts, self.runs = counts, tuple(ended[:MAX_RUNS])
        return self.runs


class Watcher:
    """Watches tickets for callers."""

    def __init__(self, store: TicketStore, engine: Engine, hub: Hub, clock: Clock) -> None:
        """Begin with nobody watching."""
        self._store = store
        self._engine = engine
        self._hub = hub
        self._clock = clock
        self._stopping = False

    def stop(self) -> None:
        """End all watches, with Unavailable: the caller may ask another controller, or this one later."""
        self._stopping = True
        self._hub.publish(STOPPING)

    async def watch(self, wanted: TicketId) -> AsyncIterator[pb.WatchResponse]:
        """Yield a ticket at once, then whenever it has changed, and end when it can change no more by itself. Raises NotFound."""
        sent: pb.WatchResponse | None = None
        failed = _Failed()
        with self._hub.subscribe(f"ticket/{wanted}", STOPPING) as changes:
            while True:
                if self._stopping:
                    raise Unavailable("the controller is stopping; watch again in a moment")
                ticket = await self._engine.get(wanted)
                response = self._response(ticket, failed)
                if response != sent:
                    yield response
                    sent = response
                if ticket.state in _AT_REST and not ticket.out:
                    return
                await self._clock.sleep(_PAUSE_SECONDS + len(ticket.batches) * _PAUSE_PER_BATCH_SECONDS)
                while not await changes.wait(_POLL_SECONDS) and not ticket.out:  # else steps may have changed
                    if (await self._store.head(wanted)).version != ticket.version:
                        break  # the hint was lost; a ticket at rest is not read whole to learn that nothing changed

    def _response(self, ticket: Ticket, failed: _Failed) -> pb.WatchResponse:
        steps = self._engine.steps(ticket)
        out = sorted((ticket.runs[i] for i in ticket.out), key=lambda r: (r.instance_name, r.instance_id))
        return pb.WatchResponse(
            ticket=translate_ticket.ticket_message(ticket, self._clock.now()),
            running=[translate_ticket.run_message(ticket.id, r, steps.get(r.instance_id, "")) for r in out[:MAX_RUNS]],
            failed=[translate_ticket.run_message(ticket.id, r, "") for r in failed.of(ticket)],
            waiting=[
                translate_ticket.run_message(ticket.id, ticket.runs[i], "") for i in nsmallest(MAX_RUNS, ticket.waiting)
            ],
        )


def _bad(counts: Counts) -> int:
    return counts.failed + counts.timeout + counts.unreachable
