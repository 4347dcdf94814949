"""When a message that could not be sent is tried again, and when it is given up. The jitter is an input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from controller.notify.model import Message, MessageState

MAX_ERROR: Final = 300
_LEAST: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Waits grow twofold from `first` to `longest`; after `give_up_after` since the first attempt there is no other."""

    first: timedelta = timedelta(seconds=10)
    longest: timedelta = timedelta(minutes=15)
    give_up_after: timedelta = timedelta(hours=24)

    def wait(self, attempts: int, jitter: float) -> timedelta:
        """Return how long to wait after so many attempts; `jitter` from 0 to 1 takes that share of it (full jitter)."""
        most = min(self.longest, self.first * 2 ** min(attempts - 1, 30)) if attempts < 32 else self.longest
        return max(_LEAST, most * jitter)


def sent(message: Message, at: datetime) -> Message:
    """Return the message as it is once a server has accepted it."""
    return replace(
        message,
        state=MessageState.SENT,
        attempts=message.attempts + 1,
        since=message.since or at,
        sent_at=at,
        next_attempt_at=None,
        error="",
    )


def failed(
    message: Message, began_at: datetime, at: datetime, error: str, policy: RetryPolicy, jitter: float
) -> Message:
    """Return the message after an attempt that failed: to be tried again, or given up when its time is over."""
    attempts, since = message.attempts + 1, message.since or began_at
    again = at + policy.wait(attempts, jitter)
    over = again >= since + policy.give_up_after
    return replace(
        message,
        state=MessageState.GIVEN_UP if over else MessageState.WAITING,
        attempts=attempts,
        since=since,
        next_attempt_at=None if over else again,
        error=_short(error),
    )


def impossible(message: Message, at: datetime, error: str) -> Message:
    """Return the message when trying again cannot help: the settings have no way to send it."""
    return replace(
        message,
        state=MessageState.GIVEN_UP,
        attempts=message.attempts + 1,
        since=message.since or at,
        next_attempt_at=None,
        error=_short(error),
    )


def again(message: Message, at: datetime) -> Message:
    """Return a message that was given up as it is when an operator wants it tried again: with a new time to live."""
    return replace(message, state=MessageState.WAITING, since=None, next_attempt_at=at)


def _short(error: str) -> str:
    line = " ".join(error.split()) or "it failed without a word"
    return line if len(line) <= MAX_ERROR else line[: MAX_ERROR - 1] + "…"
