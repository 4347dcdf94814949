"""SIGKILL of a real controller between an event and its message: after its restart each message is there, and sent once where it can."""

from __future__ import annotations

import base64
import contextlib
from collections import Counter
from pathlib import Path

import pytest

from common.errors import Unavailable
from common.pb.v1 import fleet_pb2
from common.pb.v1 import notification_pb2 as pb
from controller.client import scan_of
from tests.conftest import RealHost
from tests.integration.real_fleet import RealFleet
from tests.receivers import Hook, http_server

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
EVENTS = [pb.NOTIFICATION_EVENT_START_EXECUTION, pb.NOTIFICATION_EVENT_EXECUTION_SUCCEEDED]
ONCE = (
    "engine.before_save",
    "engine.saved",
    "engine.told",
    "notifier.routed",
    "notifier.before_send",
    "notifier.marked",
)
"""Where a controller can die and nothing goes out twice."""


PLACES = [pytest.param(name, marks=pytest.mark.slow) for name in ONCE if name != "engine.saved"]


@pytest.mark.parametrize("place", ["engine.saved", "notifier.accepted", *PLACES])
def test_a_controller_killed_between_the_event_and_the_message_still_sends_it(
    tmp_path: Path, centos_host: RealHost, place: str
) -> None:
    with http_server() as hook, RealFleet(tmp_path) as fleet:
        _set_up(fleet, hook, centos_host)
        fleet.daemons.kill("controller")
        fleet.start_controller(place)
        fleet.wait_for_controller()
        fleet.wait_for_agents(1)
        policy = pb.NotificationPolicy(events=EVENTS, people=["siem"])
        spec = scan_of(fleet_pb2.Selector(all=True), one_batch=True, notification=policy)
        with contextlib.suppress(Unavailable):  # killed before it could answer; the same request makes no second ticket
            fleet.client.create_ticket(spec, request_id="once")
        fleet.wait_for_death("controller")
        fleet.start_controller()
        fleet.wait_for_controller()
        ticket = fleet.client.create_ticket(spec, request_id="once").ticket.id
        keys = [f"{ticket}/START_EXECUTION/1", f"{ticket}/EXECUTION_SUCCEEDED/2"]

        def all_sent() -> bool:
            found = {n.event_id: n.state for n in fleet.client.list_notifications()}
            return found == dict.fromkeys(keys, pb.NOTIFICATION_STATE_SENT)

        fleet.wait("both messages are sent", all_sent)
        got = Counter(post.document["event_id"] for post in hook.posts)
        ids = {post.document["event_id"]: post.headers["webhook-id"] for post in hook.posts}
        assert set(got) == set(keys)
        assert len({(p.document["event_id"], p.headers["webhook-id"]) for p in hook.posts}) == len(ids) == 2
        if place == "notifier.accepted":
            assert sum(got.values()) == 3, "the one it had sent and not marked goes out again, under the same key"
        else:
            assert set(got.values()) == {1}


def _set_up(fleet: RealFleet, hook: Hook, host: RealHost) -> None:
    file = fleet.folder / "notify.toml"
    file.write_text(f'[WEBHOOK.siem]\nurl = "http://127.0.0.1:{hook.port}/"\nsecret = "{SECRET}"\n')
    file.chmod(0o600)
    with (fleet.folder / "controller.toml").open("a") as settings:
        settings.write('notify = "notify.toml"\n')
    fleet.start_controller()
    fleet.wait_for_controller()
    fleet.add_agent("ecs-1", host.root)
    fleet.wait_for_agents(1)
    address = pb.ContactAddress(channel=pb.CHANNEL_WEBHOOK, value="siem")
    fleet.client.create_contact(pb.Contact(name="siem", addresses=[address]))
