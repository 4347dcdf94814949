"""Watching a ticket for as long as it runs, through restarts of the controller."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from common.errors import Unavailable
from common.pb.v1 import ticket_pb2 as pb

ENDED: Final = frozenset({pb.TICKET_STATE_FINISHED, pb.TICKET_STATE_ABNORMAL, pb.TICKET_STATE_CANCELED})
"""States in which a ticket can change no more by itself."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a controller that is away, and how to spread the attempts (full jitter)."""

    give_up_after_seconds: float = 600.0
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 15.0
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random


def follow(
    attempt: Callable[[], Iterator[pb.WatchResponse]],
    patience: Patience,
    on_lost: Callable[[Unavailable], None] | None,
) -> Iterator[pb.WatchResponse]:
    """Yield what `attempt` yields, making it again whenever the controller went away before the ticket ended.

    The first message after an interruption tells the whole ticket, so none of its changes is missed; a message equal to the
    one before is not yielded twice. Raises the last Unavailable when the controller stays away for longer than the patience.
    """
    last: pb.WatchResponse | None = None
    heard, failures = patience.monotonic(), 0
    while True:
        lost = Unavailable("the controller ended the stream before the ticket ended")
        try:
            for message in attempt():
                heard = patience.monotonic()
                if message != last:
                    last, failures = message, 0
                    yield message
                    heard = patience.monotonic()  # the caller's own work is no silence of the controller
        except Unavailable as error:
            lost = error
        if last is not None and last.ticket.state in ENDED:
            return
        if patience.monotonic() - heard >= patience.give_up_after_seconds:
            raise lost
        if on_lost is not None and failures == 0:
            on_lost(lost)
        longest = min(patience.longest_pause_seconds, patience.first_pause_seconds * 2.0**failures)
        failures += 1
        patience.sleep(longest * patience.jitter())
