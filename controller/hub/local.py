"""The hub of a single controller process."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from types import TracebackType
from typing import Self


class _Subscription:
    def __init__(self, hub: LocalHub, topics: tuple[str, ...]) -> None:
        self._hub = hub
        self._topics = topics
        self.changed = asyncio.Event()

    def __enter__(self) -> Self:
        for topic in self._topics:
            self._hub.listeners[topic].add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for topic in self._topics:
            self._hub.listeners[topic].discard(self)
            if not self._hub.listeners[topic]:
                del self._hub.listeners[topic]

    async def wait(self, timeout_seconds: float) -> bool:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.changed.wait()
        except TimeoutError:
            return False
        self.changed.clear()
        return True

    def poll(self) -> bool:
        changed = self.changed.is_set()
        self.changed.clear()
        return changed


class LocalHub:
    """Hints inside one event loop. Call it from that loop only."""

    def __init__(self) -> None:
        """Begin without listeners."""
        self.listeners: defaultdict[str, set[_Subscription]] = defaultdict(set)

    def publish(self, topic: str) -> None:
        """Wake whoever listens to a topic."""
        for subscription in self.listeners.get(topic, ()):
            subscription.changed.set()

    def subscribe(self, *topics: str) -> _Subscription:
        """Listen to topics."""
        return _Subscription(self, topics)
