"""NotificationService of a real controller: contacts, shifts, who is on duty, tests and retries - and tickets that tell."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from common.pb.v1 import agent_pb2, fleet_pb2, schedule_pb2, ticket_pb2
from common.pb.v1 import notification_pb2 as pb
from controller.fleet.model import Role
from controller.notify.expiring import expiring
from tests.builders import an_exception
from tests.integration.api_harness import TIMEOUT, Harness, Stubs, refusal, serving
from tests.receivers import Hook, Mailbox, http_server, smtp_server

PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
KEY = pb.ShiftKey(scenario="patching", role="primary")
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
EVENTS = [
    pb.NOTIFICATION_EVENT_START_EXECUTION,
    pb.NOTIFICATION_EVENT_EXECUTION_FAILED,
    pb.NOTIFICATION_EVENT_EXECUTION_SUCCEEDED,
]


@pytest.fixture
def hook() -> Any:
    with http_server() as served:
        yield served


@pytest.fixture
def box() -> Any:
    with smtp_server() as served:
        yield served


@pytest.fixture
async def harness(tmp_path: Path, hook: Hook, box: Mailbox) -> AsyncIterator[Harness]:
    file = tmp_path / "notify.toml"
    file.write_text(
        f'[EMAIL]\nurl = "mailto://127.0.0.1:{box.port}?from=pw@example.com&to={{address}}"\n'
        f'[WEBHOOK.siem]\nurl = "http://127.0.0.1:{hook.port}/"\nsecret = "{SECRET}"\n'
    )
    file.chmod(0o600)
    async with serving(tmp_path / "data", notify=file) as made:
        yield made


@pytest.fixture
async def admin(harness: Harness) -> Stubs:
    return await harness.admin()


def a_contact(name: str = "lin", **changes: Any) -> pb.Contact:
    given: dict[str, Any] = {
        "addresses": [
            pb.ContactAddress(channel=pb.CHANNEL_WEBHOOK, value="siem"),
            pb.ContactAddress(channel=pb.CHANNEL_EMAIL, value=f"{name}@example.com"),
        ]
    }
    return pb.Contact(name=name, **(given | changes))


async def make_contacts(stubs: Stubs, *names: str) -> None:
    for name in names:
        await stubs.notifications.CreateContact(pb.CreateContactRequest(contact=a_contact(name)))


def a_shift(*people: str, **changes: Any) -> pb.Shift:
    rotation = pb.Rotation(people=people or ("lin", "wu"), first_day="2026-11-16", hand_over=["09:00"])
    return pb.Shift(**({"key": KEY, "time_zone": "Asia/Shanghai", "rotations": [rotation]} | changes))


def stamp(at: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(at)
    return made


async def listed(stubs: Stubs, *states: pb.NotificationState.ValueType) -> dict[str, pb.Notification]:
    answer = await stubs.notifications.ListNotifications(pb.ListNotificationsRequest(states=states))
    return {n.id: n for n in answer.notifications}


async def settled(stubs: Stubs, count: int) -> dict[str, pb.Notification]:
    """Wait until so many messages are there and none waits."""
    async with asyncio.timeout(TIMEOUT * 2):
        while True:
            found = await listed(stubs)
            if len(found) >= count and all(n.state != pb.NOTIFICATION_STATE_WAITING for n in found.values()):
                return found
            await asyncio.sleep(0.05)


# Contacts


async def test_contacts_are_made_changed_listed_in_pages_and_deleted(admin: Stubs) -> None:
    calls = admin.notifications
    await make_contacts(admin, "zoe", "lin", "wu")
    found, token = [], ""
    while True:
        page = await calls.ListContacts(pb.ListContactsRequest(page_size=2, page_token=token))
        found += [c.name for c in page.contacts]
        if not (token := page.next_page_token):
            break
    assert found == ["lin", "wu", "zoe"]
    lin = (await calls.GetContact(pb.GetContactRequest(name="lin"))).contact
    assert lin.default_channel == pb.CHANNEL_WEBHOOK, "the first way that was given"
    lin.default_channel = pb.CHANNEL_EMAIL
    lin.note = "nights"
    assert (await calls.UpdateContact(pb.UpdateContactRequest(contact=lin))).contact == lin
    assert (await calls.GetContact(pb.GetContactRequest(name="lin"))).contact == lin
    await calls.DeleteContact(pb.DeleteContactRequest(name="zoe"))
    refused = await refusal(calls.GetContact(pb.GetContactRequest(name="zoe")))
    assert (refused.code, refused.sentence) == (
        NOT_FOUND,
        "there is no contact 'zoe'; list them: patchctl contact list",
    )


async def test_a_contact_that_is_there_or_is_not_or_is_wrong_is_refused_with_what_to_do(admin: Stubs) -> None:
    calls = admin.notifications
    await make_contacts(admin, "lin")
    refused = await refusal(calls.CreateContact(pb.CreateContactRequest(contact=a_contact("lin"))))
    assert (refused.code, refused.sentence) == (
        PRECONDITION,
        "there is a contact lin already; change it: patchctl contact edit lin",
    )
    refused = await refusal(calls.UpdateContact(pb.UpdateContactRequest(contact=a_contact("wu"))))
    assert refused.code == NOT_FOUND
    wrong = a_contact("a/b", addresses=[pb.ContactAddress(channel=pb.CHANNEL_EMAIL, value="nobody")], note="x" * 300)
    refused = await refusal(calls.CreateContact(pb.CreateContactRequest(contact=wrong)))
    assert refused.code == INVALID
    assert set(refused.fields) == {"contact.name", "contact.addresses[0].value", "contact.note"}


async def test_a_viewer_sees_whom_and_how_but_no_address(harness: Harness, admin: Stubs) -> None:
    await make_contacts(admin, "lin")
    await admin.notifications.TestNotification(pb.TestNotificationRequest(contact="lin", channel=pb.CHANNEL_EMAIL))
    await settled(admin, 1)
    viewer = await harness.operator(Role.VIEWER)
    (contact,) = (await viewer.notifications.ListContacts(pb.ListContactsRequest())).contacts
    assert [(a.channel, a.value) for a in contact.addresses] == [(pb.CHANNEL_EMAIL, ""), (pb.CHANNEL_WEBHOOK, "")]
    (told,) = (await listed(viewer)).values()
    assert (told.contact, told.address, told.state) == ("lin", "", pb.NOTIFICATION_STATE_SENT)
    (told,) = (await listed(admin)).values()
    assert told.address == "lin@example.com"


# Shifts


async def test_a_shift_says_who_is_on_duty_at_any_instant(admin: Stubs) -> None:
    calls = admin.notifications
    await make_contacts(admin, "lin", "wu", "zoe")
    made = (await calls.CreateShift(pb.CreateShiftRequest(shift=a_shift()))).shift
    assert made.rotations[0].days == 7
    assert list((await calls.ListShifts(pb.ListShiftsRequest())).shifts) == [made]

    async def who(at: datetime) -> pb.GetOnDutyResponse:
        answer: pb.GetOnDutyResponse = await calls.GetOnDuty(pb.GetOnDutyRequest(key=KEY, at=stamp(at)))
        return answer

    hand_over = datetime(2026, 11, 23, 1, tzinfo=UTC)  # 09:00 in Shanghai
    before, after = await who(hand_over - timedelta(seconds=1)), await who(hand_over)
    assert ([c.name for c in before.people], [c.name for c in after.people]) == (["lin"], ["wu"])
    assert before.until == stamp(hand_over)
    assert after.local_time == "2026-11-23T09:00:00+08:00"
    override = pb.Override(people=["zoe"], begins_at=stamp(hand_over), ends_at=stamp(hand_over + timedelta(hours=2)))
    added = await calls.AddOverride(pb.AddOverrideRequest(key=KEY, override=override))
    meanwhile = await who(hand_over)
    assert ([c.name for c in meanwhile.people], meanwhile.override.id) == (["zoe"], added.override_id)
    left = await calls.RemoveOverride(pb.RemoveOverrideRequest(key=KEY, override_id=added.override_id))
    assert not left.shift.overrides
    assert [c.name for c in (await who(hand_over)).people] == ["wu"]
    refused = await refusal(calls.RemoveOverride(pb.RemoveOverrideRequest(key=KEY, override_id=added.override_id)))
    assert refused.code == NOT_FOUND
    assert not (await who(datetime(2020, 1, 1, tzinfo=UTC))).people


async def test_a_change_of_turns_keeps_the_overrides(admin: Stubs) -> None:
    calls = admin.notifications
    await make_contacts(admin, "lin", "wu")
    await calls.CreateShift(pb.CreateShiftRequest(shift=a_shift()))
    now = datetime.now(UTC)
    override = pb.Override(people=["wu"], begins_at=stamp(now), ends_at=stamp(now + timedelta(hours=2)), reason="ill")
    added = await calls.AddOverride(pb.AddOverrideRequest(key=KEY, override=override))
    changed = await calls.UpdateShift(pb.UpdateShiftRequest(shift=a_shift("wu", time_zone="")))
    assert (changed.shift.time_zone, list(changed.shift.rotations[0].people)) == ("UTC", ["wu"])
    assert list(changed.shift.overrides) == list(added.shift.overrides)
    await calls.DeleteShift(pb.DeleteShiftRequest(key=KEY))
    assert (await refusal(calls.GetShift(pb.GetShiftRequest(key=KEY)))).code == NOT_FOUND


async def test_everything_wrong_with_a_shift_is_named(admin: Stubs) -> None:
    calls = admin.notifications
    await make_contacts(admin, "lin")
    turns = pb.Rotation(people=["lin", "eve"], first_day="tomorrow", hand_over=["9"], last_day="2026-1-1")
    refused = await refusal(calls.CreateShift(pb.CreateShiftRequest(shift=a_shift(rotations=[turns]))))
    assert set(refused.fields) == {f"shift.rotations[0].{f}" for f in ("first_day", "hand_over[0]", "last_day")}
    refused = await refusal(calls.CreateShift(pb.CreateShiftRequest(shift=a_shift("lin", "eve", time_zone="Mars"))))
    assert set(refused.fields) == {"shift.time_zone", "shift.rotations[0].people[1]"}
    await calls.CreateShift(pb.CreateShiftRequest(shift=a_shift("lin")))
    assert (await refusal(calls.CreateShift(pb.CreateShiftRequest(shift=a_shift("lin"))))).code == PRECONDITION
    wrong = pb.Override(people=["eve"], begins_at=stamp(datetime.now(UTC)))
    refused = await refusal(calls.AddOverride(pb.AddOverrideRequest(key=KEY, override=wrong)))
    assert {"override.ends_at", "override.people[0]"} <= set(refused.fields)
    refused = await refusal(calls.DeleteContact(pb.DeleteContactRequest(name="lin")))
    assert (refused.code, "takes turns in shift patching/primary" in refused.sentence) == (PRECONDITION, True)


# Messages


async def test_a_test_arrives_and_can_be_read_back_as_it_was_sent(admin: Stubs, box: Mailbox, hook: Hook) -> None:
    calls = admin.notifications
    await make_contacts(admin, "lin")
    ids = [
        (await calls.TestNotification(pb.TestNotificationRequest(contact="lin", channel=channel))).notification_id
        for channel in (pb.CHANNEL_EMAIL, pb.CHANNEL_UNSPECIFIED)
    ]
    found = await settled(admin, 2)
    assert {found[i].state for i in ids} == {pb.NOTIFICATION_STATE_SENT}
    whole = (await calls.GetNotification(pb.GetNotificationRequest(id=ids[0]))).notification
    assert whole.text.strip() == box.mails[0].get_content().strip()
    assert hook.posts[0].document["subject"] == whole.subject


async def test_what_cannot_be_tested_is_refused(admin: Stubs) -> None:
    calls = admin.notifications
    await make_contacts(admin, "lin")
    refused = await refusal(calls.TestNotification(pb.TestNotificationRequest(contact="eve")))
    assert refused.code == NOT_FOUND
    refused = await refusal(calls.TestNotification(pb.TestNotificationRequest(contact="lin", channel=pb.CHANNEL_SMS)))
    assert "lin has no address for SMS" in refused.fields["channel"]


async def test_who_could_not_be_reached_is_looked_up_again_on_retry(harness: Harness, admin: Stubs, hook: Hook) -> None:
    calls = admin.notifications
    ends = datetime.now(UTC) + timedelta(days=3)
    await harness.store.baselines.put_exception(
        an_exception(approver="lin", created_at=ends - timedelta(days=9), expires_at=ends)
    )
    await make_contacts(admin, "wu")
    for notice in expiring(await harness.store.baselines.exceptions(), datetime.now(UTC)):
        await harness.store.outbox.put_notice(notice)
    await calls.TestNotification(pb.TestNotificationRequest(contact="wu"))  # a hint
    found = await settled(admin, 2)
    (lost,) = (n for n in found.values() if n.state == pb.NOTIFICATION_STATE_GIVEN_UP)
    assert lost.error == "there is no contact lin; make it with: patchctl contact create lin --email ADDRESS"
    await make_contacts(admin, "lin")
    await calls.RetryNotification(pb.RetryNotificationRequest(id=lost.id))
    async with asyncio.timeout(TIMEOUT):
        while len(hook.posts) < 2:
            await asyncio.sleep(0.05)
    found = await settled(admin, 2)
    assert {n.state for n in found.values()} == {pb.NOTIFICATION_STATE_SENT}
    assert hook.posts[1].document["exception"]["id"] == "X-1"
    (sent,) = (n for n in found.values() if n.contact == "lin")
    refused = await refusal(calls.RetryNotification(pb.RetryNotificationRequest(id=sent.id)))
    assert (refused.code, "was sent" in refused.sentence) == (PRECONDITION, True)
    assert (await refusal(calls.RetryNotification(pb.RetryNotificationRequest(id="none")))).code == NOT_FOUND


async def test_the_channels_are_shown_without_their_urls(admin: Stubs) -> None:
    found = (await admin.notifications.ListChannels(pb.ListChannelsRequest())).channels
    assert [(c.channel, list(c.places), c.takes_addresses) for c in found] == [
        (pb.CHANNEL_EMAIL, [], True),
        (pb.CHANNEL_WEBHOOK, ["siem"], False),
    ]
    assert SECRET not in str(found)


async def test_another_password_needs_no_restart_and_a_slip_is_told_and_harms_nobody(
    harness: Harness, admin: Stubs, hook: Hook, tmp_path: Path
) -> None:
    await make_contacts(admin, "lin")
    file = tmp_path / "notify.toml"
    before = file.read_text()
    with http_server() as moved:
        file.write_text(before.replace(f":{hook.port}/", f":{moved.port}/"))
        await admin.notifications.TestNotification(
            pb.TestNotificationRequest(contact="lin", channel=pb.CHANNEL_WEBHOOK)
        )
        await settled(admin, 1)
        file.write_text("[WEBHOOK")
        answer = await admin.notifications.ListChannels(pb.ListChannelsRequest())
        assert "is not TOML" in answer.problem
        assert [c.channel for c in answer.channels] == [pb.CHANNEL_EMAIL, pb.CHANNEL_WEBHOOK]
        await admin.notifications.TestNotification(
            pb.TestNotificationRequest(contact="lin", channel=pb.CHANNEL_WEBHOOK)
        )
        await settled(admin, 2)
        assert (len(moved.posts), hook.posts) == (2, [])


# Tickets


async def create(stubs: Stubs, notification: pb.NotificationPolicy, rate: int = 0) -> str:
    spec = ticket_pb2.TicketSpec(
        name="nightly",
        selector=fleet_pb2.Selector(all=True),
        suspension_policy=ticket_pb2.SuspensionPolicy(success_rate_tenths=rate),
        notification=notification,
    )
    answer = await stubs.tickets.CreateTicket(ticket_pb2.CreateTicketRequest(spec=spec))
    assert answer.ticket.spec.notification == notification
    return str(answer.ticket.id)


async def test_a_ticket_tells_its_start_and_its_end_to_people_and_to_whoever_is_on_duty(
    harness: Harness, admin: Stubs, box: Mailbox
) -> None:
    await make_contacts(admin, "lin", "wu")
    await admin.notifications.CreateShift(pb.CreateShiftRequest(shift=a_shift("wu")))
    await harness.connect("ecs-1")
    policy = pb.NotificationPolicy(events=EVENTS, people=["lin"], shift=KEY, channel=pb.CHANNEL_EMAIL)
    ticket = await create(admin, policy)
    found = await settled(admin, 4)
    assert set(found) == {
        f"{ticket}/{event}/{who}/EMAIL"
        for event in ("START_EXECUTION/1", "EXECUTION_SUCCEEDED/2")
        for who in ("lin", "wu")
    }
    subjects = sorted((m["to"], m["subject"]) for m in box.mails)
    assert subjects == [
        (f"{who}@example.com", subject)
        for who in ("lin", "wu")
        for subject in (
            f"{ticket} (nightly) finished: 1 of 1 instance succeeded",
            f"{ticket} (nightly) started: 1 instance",
        )
    ]


async def test_a_ticket_that_stops_itself_tells_so(harness: Harness, admin: Stubs, hook: Hook) -> None:
    await make_contacts(admin, "lin")
    await harness.connect("ecs-1", outcome=agent_pb2.SCAN_OUTCOME_FAILED)
    failed = [pb.NOTIFICATION_EVENT_EXECUTION_FAILED]
    ticket = await create(admin, pb.NotificationPolicy(events=failed, people=["lin"], channel=pb.CHANNEL_DEFAULT), 1000)
    found = await settled(admin, 1)
    assert list(found) == [f"{ticket}/EXECUTION_FAILED/2/lin/WEBHOOK"]
    (post,) = hook.posts
    assert post.document["ticket"]["abnormal_cause"] == "SUSPENDED"
    assert f"patchctl ticket show {ticket}" in post.document["commands"]


async def test_a_ticket_that_a_schedule_makes_tells_whom_the_task_names(
    harness: Harness, admin: Stubs, hook: Hook
) -> None:
    await make_contacts(admin, "lin")
    await harness.connect("ecs-1")
    spec = ticket_pb2.TicketSpec(
        name="nightly",
        selector=fleet_pb2.Selector(all=True),
        notification=pb.NotificationPolicy(events=EVENTS, people=["lin"], channel=pb.CHANNEL_WEBHOOK),
    )
    task = schedule_pb2.ScheduledTask(
        name="each-second",
        schedule=schedule_pb2.Schedule(kind=schedule_pb2.SCHEDULE_KIND_CRON, cron="* * * * * ?"),
        spec=spec,
    )
    wrong = schedule_pb2.ScheduledTask()
    wrong.CopyFrom(task)
    wrong.spec.notification.people[:] = ["eve"]
    refused = await refusal(admin.schedules.CreateSchedule(schedule_pb2.CreateScheduleRequest(task=wrong)))
    assert set(refused.fields) == {"notification.people[0]"}
    await admin.schedules.CreateSchedule(schedule_pb2.CreateScheduleRequest(task=task, enable=True))
    async with asyncio.timeout(TIMEOUT):
        while len(hook.posts) < 2:
            await asyncio.sleep(0.05)
    await admin.schedules.DisableSchedule(schedule_pb2.DisableScheduleRequest(schedule="each-second"))
    runs = (await admin.schedules.ListScheduleRuns(schedule_pb2.ListScheduleRunsRequest(schedule="each-second"))).runs
    first = [run.ticket_id for run in runs if run.ticket_id][-1]
    told = sorted(p.document["event"] for p in hook.posts if p.document["ticket"]["id"] == first)
    assert told == ["EXECUTION_SUCCEEDED", "START_EXECUTION"]
    assert hook.posts[0].document["ticket"]["created_by"] == "schedule:each-second"


async def test_whom_a_ticket_cannot_tell_is_named_before_it_is_made(harness: Harness, admin: Stubs) -> None:
    await make_contacts(admin, "lin")
    await harness.connect("ecs-1")
    for policy, fields in (
        (
            pb.NotificationPolicy(events=EVENTS, people=["lin", "eve"], shift=KEY),
            {"notification.people[1]", "notification.shift"},
        ),
        (pb.NotificationPolicy(events=EVENTS, people=["lin"], channel=pb.CHANNEL_SMS), {"notification.people[0]"}),
        (pb.NotificationPolicy(events=EVENTS), {"notification.people"}),
        (pb.NotificationPolicy(people=["lin"]), {"notification.events"}),
        (pb.NotificationPolicy(events=[pb.NOTIFICATION_EVENT_TEST], people=["lin"]), {"notification.events"}),
        (pb.NotificationPolicy(events=[99], people=["lin"]), {"notification.events[0]", "notification.events"}),  # type: ignore[list-item]
    ):
        spec = ticket_pb2.TicketSpec(selector=fleet_pb2.Selector(all=True), notification=policy)
        for call in (
            admin.tickets.CreateTicket(ticket_pb2.CreateTicketRequest(spec=spec)),
            admin.tickets.Preview(ticket_pb2.PreviewRequest(spec=spec)),
        ):
            refused = await refusal(call)
            assert (refused.code, set(refused.fields)) == (INVALID, fields)
    assert not (await admin.tickets.ListTickets(ticket_pb2.ListTicketsRequest())).tickets


async def test_without_a_file_of_channels_a_message_says_what_to_set_up(tmp_path: Path) -> None:
    async with serving(tmp_path) as harness:
        admin = await harness.admin()
        await make_contacts(admin, "lin")
        await admin.notifications.TestNotification(pb.TestNotificationRequest(contact="lin", channel=pb.CHANNEL_EMAIL))
        (lost,) = (await settled(admin, 1)).values()
        assert "add [EMAIL] to the file that notify names in its settings" in lost.error
        assert not (await admin.notifications.ListChannels(pb.ListChannelsRequest())).channels
