"""Who is connected now: one session an agent, and when those who are not went away. Memory only; the loop's own thread only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from common.clock import Clock
from common.manifest import OsRelease
from controller.fleet.barred import Barred
from controller.fleet.model import AgentState, Instance, InstanceId, Presence
from controller.fleet.orders import Order
from controller.fleet.selection import absent
from controller.inventory.model import Report

MISSED_HEARTBEATS: Final = 3
"""An agent that is silent for so many heartbeat intervals is OFFLINE, whatever TCP says."""


class Session:
    """One agent's open stream: what is to be said to it, and when it was last heard."""

    def __init__(self, instance_id: InstanceId, now: datetime) -> None:
        """Begin; nothing is to be said yet."""
        self.instance_id = instance_id
        self.since = now
        self.heard_at = now
        self.orders: asyncio.Queue[Order] = asyncio.Queue()
        self.closed = asyncio.Event()
        """Set when the session is replaced by a newer one, went silent, or its instance was deleted or retired."""
        self.runs: OsRelease | None = None
        """What it reported last that its host runs, once that is noted down."""
        self.latest: Report | None = None
        """The latest report of its instance, as it is stored or is about to be: all that it names is there. None until it reported."""
        self.machine_id = ""
        self.boot_id = ""
        self.doubted = False
        """Another host has introduced itself with its machine id since: if this one speaks again, there are two."""

    def send(self, order: Order) -> None:
        """Say something as soon as the stream takes it; lost without harm if the stream ends first."""
        self.orders.put_nowait(order)


class Sessions:
    """All open sessions of this controller."""

    def __init__(self, clock: Clock, heartbeat_interval: timedelta) -> None:
        """Begin with nobody connected."""
        self._clock = clock
        self._patience = heartbeat_interval * MISSED_HEARTBEATS
        self._open: dict[InstanceId, Session] = {}
        self._lost: dict[InstanceId, datetime] = {}
        self.barred = Barred()
        """To whom nothing may be sent, connected or not."""
        self._started = clock.now()

    def open(self, instance_id: InstanceId) -> Session:
        """Begin an agent's session. An older one of the same agent is closed: an agent has one stream."""
        if (older := self._open.get(instance_id)) is not None:
            older.closed.set()
        session = self._open[instance_id] = Session(instance_id, self._clock.now())
        self._lost.pop(instance_id, None)
        return session

    def close(self, session: Session) -> bool:
        """End a session; return whether its agent is away now (False: a newer session has taken its place)."""
        session.closed.set()
        if self._open.get(session.instance_id) is not session:
            return False
        del self._open[session.instance_id]
        self._lost[session.instance_id] = self._clock.now()
        return True

    def hear(self, session: Session) -> None:
        """Note that the agent spoke."""
        session.heard_at = self._clock.now()

    def get(self, instance_id: InstanceId) -> Session | None:
        """Return an agent's open session, None when it has none."""
        return self._open.get(instance_id)

    def all(self) -> tuple[Session, ...]:
        """Return the open sessions."""
        return tuple(self._open.values())

    def silent(self) -> tuple[Session, ...]:
        """Return the open sessions that have missed too many heartbeats."""
        limit = self._clock.now() - self._patience
        return tuple(s for s in self._open.values() if s.heard_at < limit)

    def absent(self, instances: Iterable[InstanceId]) -> Mapping[InstanceId, datetime]:
        """Return which of these are not connected, and since when.

        An agent that this process has not seen yet counts as absent since the process began, not since it was last seen: after a
        restart of the controller every agent gets its time to come back.
        """
        return {i: self._lost.get(i, self._started) for i in instances if i not in self._open}

    def presence(self, instance: Instance) -> Presence:
        """Say where an instance's agent is."""
        session = self._open.get(instance.id)
        if session is not None and not session.closed.is_set():  # a closed one only has not noticed yet
            if session.heard_at >= self._clock.now() - self._patience:
                return Presence(AgentState.ONLINE, session.since)
            return Presence(AgentState.OFFLINE, session.heard_at)
        return absent(instance, self._lost.get(instance.id) or instance.last_seen_at or instance.enrolled_at)

    def presences(self, instances: Iterable[Instance]) -> Mapping[InstanceId, Presence]:
        """Say where these instances' agents are."""
        return {i.id: self.presence(i) for i in instances}
