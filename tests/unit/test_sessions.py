"""Who is ONLINE: by the stream that is open now, and by nothing that has ended or fallen silent."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from controller.fleet.model import AgentState, Presence
from controller.fleet.sessions import MISSED_HEARTBEATS, Sessions
from tests.builders import an_instance, instance_id
from tests.fakes import FakeClock

HEARTBEAT = timedelta(seconds=30)


async def test_an_agent_is_online_while_its_stream_is_open_and_it_speaks() -> None:
    clock = FakeClock()
    sessions, began = Sessions(clock, HEARTBEAT), clock.now()
    session = sessions.open(instance_id(1))
    assert sessions.presence(an_instance(1)) == Presence(AgentState.ONLINE, began)
    await clock.advance(HEARTBEAT.total_seconds() * MISSED_HEARTBEATS + 1)
    assert sessions.presence(an_instance(1)) == Presence(AgentState.OFFLINE, began)
    assert sessions.silent() == (session,)
    sessions.hear(session)
    assert sessions.presence(an_instance(1)).state is AgentState.ONLINE


def test_an_agent_whose_stream_is_to_end_is_not_online_though_the_stream_has_not_noticed_yet() -> None:
    sessions = Sessions(FakeClock(), HEARTBEAT)
    gone = replace(an_instance(1), agent_said=AgentState.UNINSTALLED)
    session = sessions.open(gone.id)
    session.closed.set()
    assert sessions.presence(gone).state is AgentState.UNINSTALLED


def test_a_session_that_was_replaced_does_not_take_the_new_one_with_it() -> None:
    sessions = Sessions(FakeClock(), HEARTBEAT)
    older, newer = sessions.open(instance_id(1)), sessions.open(instance_id(1))
    assert older.closed.is_set()
    assert not sessions.close(older)
    assert sessions.get(instance_id(1)) is newer
    assert sessions.close(newer)
    assert sessions.presence(an_instance(1)).state is AgentState.OFFLINE
