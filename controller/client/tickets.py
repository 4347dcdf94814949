"""The calls about tickets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from common.errors import Unavailable
from common.pb.v1 import ticket_pb2 as pb
from common.pb.v1 import ticket_pb2_grpc
from controller.client.line import Line
from controller.client.watching import Patience, follow

_WATCH_SECONDS: Final = 6 * 3600.0  # then the same watch goes on in a new call


class TicketCalls:
    """TicketService."""

    def __init__(self, line: Line) -> None:
        """Use this connection."""
        self._ticket_line = line
        self._tickets = ticket_pb2_grpc.TicketServiceStub(line.channel)

    def preview(self, spec: pb.TicketSpec) -> pb.PreviewResponse:
        """Return what `create_ticket` with the same spec would do now. Nothing is stored."""
        return self._ticket_line.ask(self._tickets.Preview, pb.PreviewRequest(spec=spec))

    def create_ticket(self, spec: pb.TicketSpec, *, request_id: str = "") -> pb.CreateTicketResponse:
        """Make a ticket and start it. With the same `request_id` a second call answers with the first call's ticket."""
        return self._ticket_line.ask(
            self._tickets.CreateTicket, pb.CreateTicketRequest(spec=spec, request_id=request_id)
        )

    def get_ticket(self, ticket_id: str) -> pb.Ticket:
        """Return one ticket."""
        return self._ticket_line.ask(self._tickets.GetTicket, pb.GetTicketRequest(ticket_id=ticket_id)).ticket

    def list_tickets(
        self, *, states: Sequence[pb.TicketState.ValueType] = (), page_size: int = 0
    ) -> Iterator[pb.Ticket]:
        """Yield the tickets, newest first."""
        request = pb.ListTicketsRequest(states=states, page_size=page_size)
        return self._ticket_line.rows(self._tickets.ListTickets, request, lambda page: page.tickets)

    def list_runs(
        self, ticket_id: str, *, batch: int = 0, states: Sequence[pb.RunState.ValueType] = (), page_size: int = 0
    ) -> Iterator[pb.Run]:
        """Yield the runs of a ticket, by batch, then by instance name."""
        request = pb.ListRunsRequest(ticket_id=ticket_id, batch=batch, states=states, page_size=page_size)
        return self._ticket_line.rows(self._tickets.ListRuns, request, lambda page: page.runs)

    def watch(
        self,
        ticket_id: str,
        *,
        patience: Patience | None = None,
        on_lost: Callable[[Unavailable], None] | None = None,
    ) -> Iterator[pb.WatchResponse]:
        """Yield the ticket now and after each change, until it can change no more by itself.

        Goes on through restarts of the controller: it connects again with jitter, tells `on_lost` once for each
        interruption, and raises Unavailable when nothing was heard for as long as `patience` says (10 minutes).
        """

        def attempt() -> Iterator[pb.WatchResponse]:
            return self._ticket_line.stream(self._tickets.Watch, pb.WatchRequest(ticket_id=ticket_id), _WATCH_SECONDS)

        return follow(attempt, patience or Patience(), on_lost)

    def pause_ticket(self, ticket_id: str, reason: str = "") -> pb.Ticket:
        """Send nothing more; what is out finishes."""
        return self._ticket_line.ask(self._tickets.Pause, pb.PauseRequest(ticket_id=ticket_id, reason=reason)).ticket

    def continue_ticket(self, ticket_id: str) -> pb.Ticket:
        """Go on after a pause or a suspension; failures seen so far are forgiven once."""
        return self._ticket_line.ask(self._tickets.Continue, pb.ContinueRequest(ticket_id=ticket_id)).ticket

    def end_ticket(self, ticket_id: str, reason: str = "") -> pb.Ticket:
        """Cancel what has not started and stop waiting for what is out."""
        return self._ticket_line.ask(self._tickets.End, pb.EndRequest(ticket_id=ticket_id, reason=reason)).ticket

    def retry_batch(self, ticket_id: str, batch: int = 0) -> pb.Ticket:
        """Run again what did not succeed in an abnormal batch; without a number in each of them."""
        request = pb.RetryBatchRequest(ticket_id=ticket_id, batch=batch)
        return self._ticket_line.ask(self._tickets.RetryBatch, request).ticket

    def retry_runs(self, ticket_id: str, instances: Sequence[str] = ()) -> pb.Ticket:
        """Run these failed instances again, by id or name; without any all that failed."""
        request = pb.RetryRunsRequest(ticket_id=ticket_id, instances=instances)
        return self._ticket_line.ask(self._tickets.RetryRuns, request).ticket

    def run_log(self, ticket_id: str, instance: str) -> pb.GetRunLogResponse:
        """Return one instance's run and when it reached each step."""
        return self._ticket_line.ask(
            self._tickets.GetRunLog, pb.GetRunLogRequest(ticket_id=ticket_id, instance=instance)
        )

    def cancel_batch(self, ticket_id: str, batch: int = 0) -> pb.Ticket:
        """Give an abnormal batch up; without a number each of them."""
        request = pb.CancelBatchRequest(ticket_id=ticket_id, batch=batch)
        return self._ticket_line.ask(self._tickets.CancelBatch, request).ticket

    def cancel_run(self, ticket_id: str, instance: str) -> pb.Ticket:
        """Give one instance's run up."""
        request = pb.CancelRunRequest(ticket_id=ticket_id, instance=instance)
        return self._ticket_line.ask(self._tickets.CancelRun, request).ticket
