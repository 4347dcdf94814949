"""Which ticket has a run out on an instance, and which wait for it: over all tickets an instance has one run out at a time.

A claim is made when a run is planned, before it is stored: between the two other tickets are planned. It never blocks for good: what is out
has a deadline, whatever becomes of its ticket, and who waits holds nothing on that instance.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from controller.fleet.model import InstanceId
from controller.tickets.model import TicketId


class Claims:
    """Memory only: `claim` and `wait` are called again for every live ticket when a process starts."""

    def __init__(self) -> None:
        """Begin with none."""
        self._out: defaultdict[InstanceId, set[TicketId]] = defaultdict(set)
        self._waiting: defaultdict[InstanceId, dict[TicketId, datetime]] = defaultdict(dict)

    def claim(self, instance: InstanceId, ticket: TicketId) -> None:
        """A run of this ticket is out on the instance from now on."""
        self._out[instance].add(ticket)

    def release(self, instance: InstanceId, ticket: TicketId) -> None:
        """It is not any more."""
        if (holders := self._out.get(instance)) is not None:
            holders.discard(ticket)
            if not holders:
                del self._out[instance]

    def wait(self, instance: InstanceId, ticket: TicketId, since: datetime) -> None:
        """A run of this ticket, which was made at `since`, waits for the instance: for its agent, or another ticket's run."""
        self._waiting[instance][ticket] = since

    def stop_waiting(self, instance: InstanceId, ticket: TicketId) -> None:
        """It does not any more."""
        if (waiting := self._waiting.get(instance)) is not None:
            waiting.pop(ticket, None)
            if not waiting:
                del self._waiting[instance]

    def out(self, instance: InstanceId) -> tuple[TicketId, ...]:
        """Return the tickets that have a run out on an instance."""
        return tuple(self._out.get(instance, ()))

    def waiting(self, instance: InstanceId) -> tuple[TicketId, ...]:
        """Return the tickets that wait for an instance, the oldest first."""
        waiting = self._waiting.get(instance, {})
        return tuple(sorted(waiting, key=lambda ticket: (waiting[ticket], ticket)))

    def others(self, ticket: TicketId) -> Others:
        """Return, to be asked like a dict, which other ticket has a run out on an instance."""
        return Others(self, ticket)


class Others:
    """Who has a run out on an instance, other than one ticket."""

    def __init__(self, claims: Claims, ticket: TicketId) -> None:
        self._claims = claims
        self._ticket = ticket

    def get(self, instance: InstanceId, /) -> TicketId | None:
        """Return such a ticket; None when there is none."""
        return min((t for t in self._claims.out(instance) if t != self._ticket), default=None)
