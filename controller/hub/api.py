"""Hints between the parts of a controller, and later between replicas: "this topic changed" (DESIGN §7).

A hint may be lost, doubled or late: whoever waits looks at the store again, and looks now and then without a hint too.
Topics: `ticket/<id>`, `instances`, `outbox`, `accounts`.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self


class Subscription(Protocol):
    """Wakes its holder. Use it as a context manager, so that the hub forgets it."""

    def __enter__(self) -> Self:
        """Begin to listen."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        ...

    async def wait(self, timeout_seconds: float) -> bool:
        """Return True as soon as a topic changed since the last call, False after the timeout."""
        ...

    def poll(self) -> bool:
        """Say whether a topic changed since the last call. What this process publishes is seen at once."""
        ...


class Hub(Protocol):
    """Publishes hints to whoever subscribed."""

    def publish(self, topic: str) -> None:
        """Say that a topic changed. Never blocks, never fails."""
        ...

    def subscribe(self, *topics: str) -> Subscription:
        """Listen to topics."""
        ...
