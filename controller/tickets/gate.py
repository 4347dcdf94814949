"""Whether the batches after the canary may begin."""

from __future__ import annotations

from enum import StrEnum

from controller.tickets.changes import is_forgiven, over
from controller.tickets.model import Gate, Ticket
from controller.tickets.suspension import is_failure

CANARY = 1
"""The number of the canary, in tickets that have one."""


class Verdict(StrEnum):
    """What the canary says of the batches after it."""

    GO = "GO"
    NOT_YET = "NOT_YET"
    FAILED = "FAILED"
    HOLD = "HOLD"


def verdict(ticket: Ticket) -> Verdict:
    """Return whether the current batch may begin, as far as the canary goes. The canary itself always may."""
    if ticket.gate is Gate.OPEN or ticket.current == CANARY:
        return Verdict.GO
    if not over(ticket.batches[CANARY]):
        return Verdict.NOT_YET
    if ticket.gate is Gate.WAITING:
        return Verdict.HOLD
    if _failed(ticket):
        return Verdict.FAILED
    canary = ticket.spec.batch_policy.canary
    return Verdict.HOLD if canary is not None and canary.wait else Verdict.GO


def _failed(ticket: Ticket) -> bool:
    batch, policy = ticket.batches[CANARY], ticket.spec.suspension_policy
    if not batch.counts.ended_badly:
        return False
    runs = (ticket.runs[member] for member in batch.members)
    return any(is_failure(run, policy) and not is_forgiven(ticket, run) for run in runs)
