"""What the controller says to an agent, as values; api/agent_service.py makes messages of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Assign:
    """Do this run. The same run id again is not done again."""

    run_id: str
    ticket_id: str
    timeout: timedelta


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody waits for this run any more."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Want:
    """Send the content with these digests."""

    digests: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Ack:
    """The result or report with this id is stored."""

    id: str


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The stream ends now; come back after a random part of this."""

    retry_after: timedelta


Order = Assign | Cancel | Want | Ack | Goodbye
