"""When a ticket stops itself: exact arithmetic in tenths of a percent, never floats (SEMANTICS §1, suspension policy)."""

from __future__ import annotations

from controller.tickets.model import Counts, Outcome, Run, Ticket
from controller.tickets.policies import SuspensionMode, SuspensionPolicy

_WHOLE = 1000  # tenths of a percent


def stops_at(targets: int, policy: SuspensionPolicy) -> int | None:
    """Return k: a ticket with so many targets stops at its k-th failure. None: never.

    ATTAINABLE: the first failure after which the rate can no longer be met. LITERAL: as many failures as the rate allows, at least 1.
    """
    allowed_tenths = targets * (_WHOLE - policy.success_rate_tenths)
    attainable, literal = allowed_tenths // _WHOLE + 1, max(1, -(-allowed_tenths // _WHOLE))
    k = attainable if policy.mode is SuspensionMode.ATTAINABLE else literal
    return k if k <= targets else None


def failures(counts: Counts, policy: SuspensionPolicy) -> int:
    """Return how many runs in these buckets are failures. CANCELED and SKIPPED count neither way."""
    return counts.failed + counts.timeout + (0 if policy.ignore_unreachable else counts.unreachable)


def is_failure(run: Run, policy: SuspensionPolicy) -> bool:
    """Say whether a run is one of `failures`."""
    match run.outcome:
        case Outcome.FAILED | Outcome.TIMEOUT:
            return True
        case Outcome.UNREACHABLE:
            return not policy.ignore_unreachable
        case _:
            return False


def counted(ticket: Ticket) -> int:
    """Return the failures that count now: those there are, less those that a Continue or Retry forgave.

    A retried run is out of its bucket until it ends again, so its new result replaces the earlier one.
    """
    return failures(ticket.counts, ticket.spec.suspension_policy) - ticket.forgiven


def tripped(ticket: Ticket) -> bool:
    """Say whether so many failed that the ticket must stop."""
    k = stops_at(ticket.counts.total, ticket.spec.suspension_policy)
    return k is not None and counted(ticket) >= k
