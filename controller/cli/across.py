"""How a ticket that works in other accounts is told of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.pb.v1 import ticket_pb2 as pb


def execution_accounts(spec: pb.TicketSpec) -> Iterator[str]:
    """Say in whose instances a ticket works, if not in its own account's alone."""
    if spec.execution_accounts:
        named = (f"{e.account} by the agency {e.agency}" if e.agency else e.account for e in spec.execution_accounts)
        yield f"Across accounts: {', '.join(named)}"


def refused_accounts(found: Iterable[pb.RefusedAccount]) -> Iterator[str]:
    """Say of which accounts nothing is in a ticket, and what to grant."""
    for refused in found:
        yield f"Nothing of the account {refused.account}: {refused.sentence}"
