"""How carefully a ticket goes about it: in which batches, until how many failures, and what becomes of absent agents (SEMANTICS §1)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class BatchPolicyKind(StrEnum):
    """How targets are split into batches."""

    NO_BATCH = "NO_BATCH"
    MANUAL_BATCH = "MANUAL_BATCH"
    AUTO_BATCH = "AUTO_BATCH"


class SuspensionMode(StrEnum):
    """How a success rate becomes a number of failures."""

    ATTAINABLE = "ATTAINABLE"
    LITERAL = "LITERAL"


@dataclass(frozen=True, slots=True)
class Canary:
    """A first batch of few, on which the rest depends. At most one of the two sizes is not 0.

    Neither: the first of the operator's own batches is it (MANUAL_BATCH).
    """

    instances: int = 0
    percent: int = 0
    wait: bool = False
    """Also when it ended without failure the rest waits for a Continue."""


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """How targets are split into batches. `manual` holds ids or names as the operator gave them."""

    kind: BatchPolicyKind = BatchPolicyKind.AUTO_BATCH
    manual: tuple[tuple[str, ...], ...] = ()
    batch_size: int = 10
    group_share_percent: int = 50
    ramp: tuple[int, ...] = ()
    canary: Canary | None = None
    soak: timedelta = timedelta(0)
    """How long nothing is sent after a batch has ended."""


@dataclass(frozen=True, slots=True)
class OfflinePolicy:
    """What becomes of runs whose agents are away when it is their turn.

    Neither field: they are sent all the same, and become UNREACHABLE when the agent does not come. Else they wait for their
    agents, and are UNREACHABLE at that time: `until`, or `wait` after the ticket was made.
    """

    wait: timedelta = timedelta(0)
    until: datetime | None = None

    @property
    def waits(self) -> bool:
        """Whether runs wait for their agents at all."""
        return self.until is not None or self.wait > timedelta(0)


@dataclass(frozen=True, slots=True)
class SuspensionPolicy:
    """When a ticket stops itself. The rate is in tenths of a percent, 0..1000: never a float."""

    success_rate_tenths: int = 800
    mode: SuspensionMode = SuspensionMode.ATTAINABLE
    ignore_unreachable: bool = False
