"""The loop that notices silence: agents that stopped speaking, and content that was asked for and does not come."""

from __future__ import annotations

import logging
from datetime import timedelta

from common.clock import Clock
from common.errors import Unavailable
from controller.dispatch.intake import Intake
from controller.fleet.sessions import Sessions
from controller.store.api import FleetStore

log = logging.getLogger(__name__)


async def watch_silence(
    sessions: Sessions, intake: Intake, store: FleetStore, clock: Clock, heartbeat_interval: timedelta
) -> None:
    """Until cancelled: close silent sessions, ask others for content, and note who was seen, once a minute."""
    noted = clock.now()
    while True:
        await clock.sleep(heartbeat_interval.total_seconds() / 2)
        for session in sessions.silent():
            log.warning("agent is silent", extra={"instance": session.instance_id, "since": session.heard_at})
            session.closed.set()
        intake.check_silence()
        if (now := clock.now()) - noted < timedelta(minutes=1):
            continue
        noted = now
        try:
            await store.mark_seen({s.instance_id: s.heard_at for s in sessions.all()})
        except Unavailable as error:
            log.warning("could not note who was seen", extra={"error": str(error)})
