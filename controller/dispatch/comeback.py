"""Waits for agents to come back to a new process: a ticket that is made before finds nobody to select."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from common.clock import Clock
from common.errors import Unavailable
from controller.fleet.model import Instance, InstanceId
from controller.fleet.sessions import Sessions
from controller.store.api import FleetStore

log = logging.getLogger(__name__)

LONGEST: Final = timedelta(seconds=45)
"""Agents try again within twice the time that the controller was away, and within a minute. Not longer than this: a run that is more
than a minute late is a missed one (SEMANTICS §1)."""
_TOGETHER: Final = timedelta(minutes=3)
"""Who was seen so shortly before the last of all was connected when the last process ended: those are noted once a minute."""
_LOOK_SECONDS: Final = 0.25


def expected(fleet: tuple[Instance, ...]) -> frozenset[InstanceId]:
    """Return the instances whose agents were connected when anybody was last seen: those that should come back."""
    seen = {i.id: i.last_seen_at for i in fleet if i.enrolled and i.last_seen_at is not None}
    if not seen:
        return frozenset()
    limit = max(seen.values()) - _TOGETHER
    return frozenset(known for known, at in seen.items() if at >= limit)


async def comeback(store: FleetStore, sessions: Sessions, clock: Clock) -> None:
    """Return when all agents that are expected have connected, at the latest after `LONGEST`."""
    until = clock.now() + LONGEST
    try:
        missing = set(expected(await store.instances()))
    except Unavailable as error:
        log.warning("it is not known who should come back", extra={"error": str(error)})
        return
    while missing and clock.now() < until:
        await clock.sleep(_LOOK_SECONDS)
        missing = {away for away in missing if sessions.get(away) is None}
    if missing:
        log.warning("agents have not come back", extra={"agents": len(missing)})
