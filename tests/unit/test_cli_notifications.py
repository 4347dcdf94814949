"""patchctl contact, shift and notifications, and whom a scan is to tell, against a scripted controller."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from common.errors import NotFound
from common.pb.v1 import notification_pb2 as pb
from common.pb.v1 import ticket_pb2
from tests.scripted_controller import ScriptedController, paged
from tests.scripted_patchctl import (  # noqa: F401 - fixtures
    a_ticket,
    ago,
    at,
    logged_in,
    patchctl,
    started,
)

KEY = pb.ShiftKey(scenario="patching", role="primary")
LIN = pb.Contact(
    name="lin",
    addresses=[
        pb.ContactAddress(channel=pb.CHANNEL_SMS, value="+8613800000000"),
        pb.ContactAddress(channel=pb.CHANNEL_EMAIL, value="lin@example.com"),
    ],
    default_channel=pb.CHANNEL_SMS,
)
WEEKLY = pb.Shift(
    key=KEY,
    time_zone="Asia/Shanghai",
    rotations=[pb.Rotation(people=["lin", "wu"], first_day="2026-11-30", hand_over=["09:00"], days=7)],
)
FAILED = pb.Notification(
    id="T-7Q4M/EXECUTION_FAILED/2/lin/EMAIL",
    event_id="T-7Q4M/EXECUTION_FAILED/2",
    event=pb.NOTIFICATION_EVENT_EXECUTION_FAILED,
    at=at(datetime(2026, 11, 22, 12, 40, tzinfo=UTC)),
    contact="lin",
    channel=pb.CHANNEL_EMAIL,
    address="lin@example.com",
    state=pb.NOTIFICATION_STATE_GIVEN_UP,
    attempts=42,
    error="smtp.example.com refused",
    subject="T-7Q4M stopped itself",
    text="Ticket T-7Q4M stopped itself.\n\nLook closer: patchctl ticket show T-7Q4M",
)


def echo(kind: Any, field: str) -> Any:
    return lambda request: kind(**{field: getattr(request, field)})


# scan create --notify


def policy_of(server: ScriptedController, *options: str) -> pb.NotificationPolicy:
    server.answers["CreateTicket"] = lambda _: ticket_pb2.CreateTicketResponse(
        ticket=a_ticket(ticket_pb2.TICKET_STATE_PROCESSING)
    )
    result = patchctl("scan", "create", "--all", *options)
    assert result.exit_code == 0, result.stderr
    sent: pb.NotificationPolicy = server.requests("CreateTicket")[-1].spec.notification
    return sent


def test_a_scan_says_of_what_whom_and_how_to_tell(server: ScriptedController) -> None:
    options = "--notify execution-failed,EXECUTION_SUCCEEDED --notify-to lin,wu --notify-to shift:patching/primary --notify-by sms"
    assert policy_of(server, *options.split()) == pb.NotificationPolicy(
        events=[pb.NOTIFICATION_EVENT_EXECUTION_FAILED, pb.NOTIFICATION_EVENT_EXECUTION_SUCCEEDED],
        people=["lin", "wu"],
        shift=KEY,
        channel=pb.CHANNEL_SMS,
    )
    everything = policy_of(server, "--notify", "all", "--notify-to", "lin")
    assert (len(everything.events), everything.channel) == (3, pb.CHANNEL_DEFAULT)


def test_a_scan_that_says_nothing_tells_nobody(server: ScriptedController) -> None:
    policy_of(server)
    assert not server.requests("CreateTicket")[-1].spec.HasField("notification")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--notify FAILED --notify-to lin", "'FAILED' is no event of a ticket; choose of START_EXECUTION, "),
        ("--notify all", "--notify and --notify-to go together"),
        ("--notify-to lin", "--notify and --notify-to go together"),
        ("--notify-by SMS", "--notify-by: needs --notify and --notify-to"),
        ("--notify all --notify-to shift:patching", "'patching' is not a shift, write it like patching/primary"),
        ("--notify all --notify-to shift:a/b --notify-to shift:a/c", "only one shift can be told"),
    ],
)
def test_what_cannot_be_meant_is_misuse(server: ScriptedController, options: str, said: str) -> None:
    result = patchctl("scan", "create", "--all", *options.split())
    assert result.exit_code == 2
    assert said in result.stderr


# contact


def test_a_contact_is_made_with_its_ways_the_first_of_which_is_its_default(server: ScriptedController) -> None:
    server.answers["CreateContact"] = echo(pb.CreateContactResponse, "contact")
    result = patchctl(
        "contact", "create", "lin", "--email", "lin@example.com", "--sms", "+8613800000000", "--note", "n"
    )
    assert result.exit_code == 0, result.stderr
    assert "Try it with: patchctl notifications test lin" in result.stderr
    contact = server.requests("CreateContact")[0].contact
    assert (contact.default_channel, contact.note) == (pb.CHANNEL_EMAIL, "n")
    assert {a.channel: a.value for a in contact.addresses} == {
        pb.CHANNEL_EMAIL: "lin@example.com",
        pb.CHANNEL_SMS: "+8613800000000",
    }
    assert patchctl("contact", "create", "lin").exit_code == 2


def test_an_edit_keeps_what_is_not_given_and_an_empty_way_goes(server: ScriptedController) -> None:
    server.answers |= {
        "GetContact": lambda _: pb.GetContactResponse(contact=LIN),
        "UpdateContact": echo(pb.UpdateContactResponse, "contact"),
    }
    assert patchctl("contact", "edit", "lin", "--lark", "ops").exit_code == 0
    contact = server.requests("UpdateContact")[0].contact
    assert [a.value for a in contact.addresses] == ["+8613800000000", "lin@example.com", "ops"]
    assert contact.default_channel == pb.CHANNEL_SMS
    assert patchctl("contact", "edit", "lin", "--sms", "", "--prefer", "email").exit_code == 0
    contact = server.requests("UpdateContact")[1].contact
    assert [a.value for a in contact.addresses] == ["lin@example.com"]
    assert contact.default_channel == pb.CHANNEL_EMAIL


def test_contacts_are_listed_shown_and_deleted(server: ScriptedController) -> None:
    server.answers |= {
        "ListContacts": paged([LIN], lambda page, token: pb.ListContactsResponse(contacts=page, next_page_token=token)),
        "GetContact": lambda _: pb.GetContactResponse(contact=LIN),
        "DeleteContact": lambda _: pb.DeleteContactResponse(),
    }
    assert "lin   SMS      SMS +8613800000000, EMAIL lin@example.com" in patchctl("contact", "list").stdout
    assert json.loads(patchctl("contact", "show", "lin", "-o", "json").stdout)["default_channel"] == "SMS"
    assert patchctl("contact", "delete", "lin", "--yes").exit_code == 0
    assert patchctl("contact", "delete", "lin").exit_code == 2, "nobody can be asked"


# shift


def test_a_shift_is_made_of_one_rotation_or_of_a_file(server: ScriptedController, tmp_path: Path) -> None:
    server.answers["CreateShift"] = echo(pb.CreateShiftResponse, "shift")
    options = "--people lin,wu --first-day 2026-11-30 --hand-over 08:00,20:00 --days 1 --time-zone Asia/Shanghai"
    result = patchctl("shift", "create", "patching/primary", *options.split())
    assert result.exit_code == 0, result.stderr
    (rotation,) = server.requests("CreateShift")[0].shift.rotations
    assert rotation == pb.Rotation(people=["lin", "wu"], first_day="2026-11-30", hand_over=["08:00", "20:00"], days=1)
    assert "patching/primary  Asia/Shanghai" in result.stdout
    file = tmp_path / "turns.yaml"
    file.write_text(
        "- people: [lin]\n  first_day: 2026-11-30\n  hand_over: ['09:00']\n- people: [wu]\n  first_day: '2026-12-01'\n"
    )
    assert patchctl("shift", "create", "patching/primary", "--file", str(file)).exit_code == 0
    first, second = server.requests("CreateShift")[1].shift.rotations
    assert (first.first_day, list(second.people)) == ("2026-11-30", ["wu"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("people: [lin]", "must be a list of rotations"),
        ("- {people: lin}", "people: 'lin' is no list"),
        ("- {hand_over: [10:30]}", "put times in quotes"),
        ("- {who: [lin]}", "is not a rotation with people, first_day, hand_over, days, last_day"),
        ("- {days: yes}", "days: True is no int"),
        ("- {days: -1}", "--file: "),
    ],
)
def test_a_file_of_turns_that_cannot_be_meant_is_misuse(
    server: ScriptedController, tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "turns.yaml"
    file.write_text(text)
    result = patchctl("shift", "create", "patching/primary", "--file", str(file))
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_an_edit_of_a_shift_keeps_what_is_not_given(server: ScriptedController) -> None:
    server.answers |= {
        "GetShift": lambda _: pb.GetShiftResponse(shift=WEEKLY),
        "UpdateShift": echo(pb.UpdateShiftResponse, "shift"),
    }
    assert patchctl("shift", "edit", "patching/primary", "--note", "new").exit_code == 0
    changed = server.requests("UpdateShift")[0].shift
    assert (changed.note, changed.rotations, changed.time_zone) == ("new", WEEKLY.rotations, "Asia/Shanghai")
    assert patchctl("shift", "edit", "patching/primary", "--people", "zoe").exit_code == 2, "since when?"


def test_who_is_on_duty_is_said_for_one_shift_or_all_and_so_is_that_nobody_is(server: ScriptedController) -> None:
    until = at(datetime(2026, 12, 7, 1, tzinfo=UTC))
    duty = pb.GetOnDutyResponse(people=[LIN], until=until, override=pb.Override(id="O-1", reason="wu is ill"))
    server.answers |= {
        "GetOnDuty": lambda _: duty,
        "ListShifts": paged([WEEKLY], lambda page, token: pb.ListShiftsResponse(shifts=page, next_page_token=token)),
    }
    result = patchctl("shift", "who", "patching/primary", "--at", "2026-12-01T08:00+08:00")
    assert "patching/primary  lin      2026-12-07 01:00 UTC  override O-1: wu is ill" in result.stdout
    assert server.requests("GetOnDuty")[0].at == at(datetime(2026, 12, 1, tzinfo=UTC))
    assert len(json.loads(patchctl("shift", "who", "-o", "json").stdout)) == 1
    duty = pb.GetOnDutyResponse()
    result = patchctl("shift", "who", "patching/primary")
    assert "nobody" in result.stdout
    assert "Nobody is on duty in patching/primary: patchctl shift override add patching/primary" in result.stderr
    assert patchctl("shift", "who", "patching/primary", "--at", "soon").exit_code == 2


def test_an_override_is_added_and_taken_back(server: ScriptedController) -> None:
    server.answers |= {
        "AddOverride": lambda _: pb.AddOverrideResponse(shift=WEEKLY, override_id="O-1"),
        "RemoveOverride": lambda _: pb.RemoveOverrideResponse(shift=WEEKLY),
    }
    result = patchctl(
        *[
            "shift",
            "override",
            "add",
            "patching/primary",
            "--people",
            "zoe",
            "--from",
            "2026-12-01T08:00",
            "--until",
            "2026-12-01T18:00Z",
            "--reason",
            "ill",
        ]
    )
    assert "Take it back with: patchctl shift override remove patching/primary O-1" in result.stderr
    override = server.requests("AddOverride")[0].override
    assert (list(override.people), override.begins_at, override.reason) == (
        ["zoe"],
        at(datetime(2026, 12, 1, 8, tzinfo=UTC)),
        "ill",
    )
    assert patchctl("shift", "override", "remove", "patching/primary", "O-1").exit_code == 0


# notifications


def test_notifications_are_listed_with_what_is_the_matter(server: ScriptedController) -> None:
    server.answers["ListNotifications"] = paged(
        [FAILED], lambda page, token: pb.ListNotificationsResponse(notifications=page, next_page_token=token)
    )
    result = patchctl("notifications", "list", "--state", "given_up")
    assert "T-7Q4M/EXECUTION_FAILED/2/lin/EMAIL" in result.stdout
    assert "smtp.example.com refused" in result.stdout
    assert "1 notification, 1 given up: patchctl notifications retry ID" in result.stderr
    assert list(server.requests("ListNotifications")[0].states) == [pb.NOTIFICATION_STATE_GIVEN_UP]


def test_one_is_shown_as_it_is_sent(server: ScriptedController) -> None:
    server.answers["GetNotification"] = lambda _: pb.GetNotificationResponse(notification=FAILED)
    said = patchctl("notifications", "show", FAILED.id).stdout
    assert "GIVEN_UP" in said
    assert "to       lin  EMAIL lin@example.com" in said
    assert "matter   smtp.example.com refused" in said
    assert said.endswith("Look closer: patchctl ticket show T-7Q4M\n")


def test_a_test_waits_for_its_first_attempt_and_its_exit_code_says_how_it_went(server: ScriptedController) -> None:
    answers = iter([NotFound("notification", "it"), pb.NOTIFICATION_STATE_WAITING, pb.NOTIFICATION_STATE_SENT])

    def get(_: Any) -> pb.GetNotificationResponse:
        answer = next(answers)
        if isinstance(answer, NotFound):
            raise answer
        waits = answer == pb.NOTIFICATION_STATE_WAITING
        return pb.GetNotificationResponse(
            notification=pb.Notification(id="N-1", state=answer, attempts=0 if waits else 1)
        )

    server.answers |= {
        "TestNotification": lambda _: pb.TestNotificationResponse(notification_id="N-1"),
        "GetNotification": get,
    }
    result = patchctl("notifications", "test", "lin", "--by", "email")
    assert result.exit_code == 0, result.stderr
    assert server.requests("TestNotification")[0].channel == pb.CHANNEL_EMAIL
    assert len(server.requests("GetNotification")) == 3
    server.answers["GetNotification"] = lambda _: pb.GetNotificationResponse(notification=FAILED)
    result = patchctl("notifications", "test", "lin")
    assert (result.exit_code, "error: smtp.example.com refused" in result.stderr) == (1, True)


def test_what_was_given_up_is_retried_by_id_or_all(server: ScriptedController) -> None:
    server.answers |= {
        "RetryNotification": lambda _: pb.RetryNotificationResponse(),
        "ListNotifications": paged(
            [FAILED], lambda page, token: pb.ListNotificationsResponse(notifications=page, next_page_token=token)
        ),
    }
    assert patchctl("notifications", "retry", "a", "b").exit_code == 0
    assert patchctl("notifications", "retry", "--all").exit_code == 0
    assert [r.id for r in server.requests("RetryNotification")] == ["a", "b", FAILED.id]
    assert patchctl("notifications", "retry").exit_code == 2


def test_channels_are_listed_and_that_there_are_none_is_said(server: ScriptedController) -> None:
    setup = [
        pb.ChannelSetup(channel=pb.CHANNEL_EMAIL, takes_addresses=True),
        pb.ChannelSetup(channel=pb.CHANNEL_WECOM, places=["dev", "ops"]),
    ]
    server.answers["ListChannels"] = lambda _: pb.ListChannelsResponse(channels=setup)
    said = patchctl("notifications", "channels").stdout
    assert "EMAIL    their own" in said
    assert "WECOM    one of dev, ops" in said
    server.answers["ListChannels"] = lambda _: pb.ListChannelsResponse()
    assert "no channel is set up" in patchctl("notifications", "channels").stderr
    wrong = "/etc/patchwarden/notify.toml: is not TOML"
    server.answers["ListChannels"] = lambda _: pb.ListChannelsResponse(channels=setup, problem=wrong)
    told = patchctl("notifications", "channels")
    assert "EMAIL    their own" in told.stdout
    assert f"so these are those of before: {wrong}" in told.stderr


def test_a_time_ago_is_said_for_each(server: ScriptedController) -> None:
    recent = pb.Notification(
        id="N-1", at=ago(minutes=4), state=pb.NOTIFICATION_STATE_SENT, subject="Patchwarden: a test"
    )
    server.answers["ListNotifications"] = paged(
        [recent], lambda page, token: pb.ListNotificationsResponse(notifications=page, next_page_token=token)
    )
    assert "4 m ago" in patchctl("notifications", "list").stdout
