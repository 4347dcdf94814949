"""From a notice to messages, the words of a message, when it is tried again, and which exceptions end soon."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidArgument
from controller.compliance.model import Exceptions
from controller.notify import retry, validate
from controller.notify.expiring import expiring
from controller.notify.model import (
    TICKET_EVENTS,
    Address,
    Channel,
    Contact,
    Message,
    MessageState,
    Notice,
    NotificationEvent,
    NotificationPolicy,
    Override,
    Recipients,
    Rotation,
    Shift,
    ShiftKey,
    TicketFacts,
)
from controller.notify.retry import RetryPolicy
from controller.notify.routing import route
from controller.notify.template import SCHEMA, Rendered, render
from tests.builders import MINUTE, NOW, a_contact, a_message, a_notice, an_exception

KEY = ShiftKey("patching", "primary")
LIN = Contact("lin", (Address(Channel.SMS, "+86138"), Address(Channel.EMAIL, "lin@example.com")), Channel.SMS)
WU = a_contact("wu")
PEOPLE = {"lin": LIN, "wu": WU}
WEEKLY = Shift(KEY, "UTC", (Rotation(("lin", "wu"), date(2026, 11, 16), (time(9),)),))
FACTS = TicketFacts(
    id="T-7Q4M",
    name="nightly",
    state="ABNORMAL",
    abnormal_cause="SUSPENDED",
    created_by="ops",
    batches=4,
    total=10,
    ready=1,
    processing=0,
    succeeded=6,
    failed=2,
    timeout=1,
    unreachable=0,
    skipped=0,
    canceled=0,
    stops_at=3,
)


def to(*people: str, shift: ShiftKey | None = None, channel: Channel = Channel.DEFAULT) -> Notice:
    return a_notice(recipients=Recipients(people, shift, channel))


def of_ticket(event: NotificationEvent, **changes: object) -> Notice:
    return a_notice(id=f"T-7Q4M/{event}/2", event=event, at=NOW, ticket=replace(FACTS, **changes))  # type: ignore[arg-type]


def say(notice: Notice) -> Rendered:
    return render(notice, a_message(notice))


class TestRouting:
    def test_default_is_each_persons_own_choice(self) -> None:
        lin, wu = route(to("lin", "wu"), PEOPLE, None, NOW)
        assert (lin.channel, lin.address) == (Channel.SMS, "+86138")
        assert (wu.channel, wu.address) == (Channel.EMAIL, "wu@example.com")
        assert {m.state for m in (lin, wu)} == {MessageState.WAITING}
        assert {m.next_attempt_at for m in (lin, wu)} == {NOW}

    def test_a_chosen_channel_is_kept(self) -> None:
        (lin,) = route(to("lin", channel=Channel.EMAIL), PEOPLE, None, NOW)
        assert (lin.id, lin.channel, lin.address) == ("TEST/1/lin/EMAIL", Channel.EMAIL, "lin@example.com")

    def test_the_same_notice_gives_the_same_ids(self) -> None:
        assert [m.id for m in route(to("lin", "wu"), PEOPLE, None, NOW)] == ["TEST/1/lin/SMS", "TEST/1/wu/EMAIL"]
        assert route(to("lin", "lin"), PEOPLE, None, NOW) == route(to("lin"), PEOPLE, None, NOW)

    def test_whoever_was_on_duty_at_the_event_is_told_however_late_the_message(self) -> None:
        for days, person in ((0, "lin"), (3, "wu")):
            notice = replace(to(shift=KEY), at=NOW + timedelta(days=days))
            (message,) = route(notice, PEOPLE, WEEKLY, NOW + timedelta(days=30))
            assert message.contact == person

    def test_an_override_decides_who_is_told(self) -> None:
        shift = replace(WEEKLY, overrides=(Override("o", ("wu",), NOW, NOW + timedelta(hours=1)),))
        assert [m.contact for m in route(to(shift=KEY), PEOPLE, shift, NOW)] == ["wu"]

    def test_a_person_who_is_named_and_on_duty_is_told_once(self) -> None:
        assert [m.contact for m in route(to("lin", "wu", shift=KEY), PEOPLE, WEEKLY, NOW)] == ["lin", "wu"]

    @pytest.mark.parametrize(
        ("notice", "shift", "said"),
        [
            (to("eve"), None, "there is no contact eve; make it with: patchctl contact create eve --email ADDRESS"),
            (
                to("wu", channel=Channel.SMS),
                None,
                "wu has no address for SMS; give one with: patchctl contact edit wu --sms ADDRESS",
            ),
            (
                to(shift=KEY),
                None,
                "there is no shift patching/primary; make it with: patchctl shift create patching/primary",
            ),
            (
                to(shift=KEY),
                Shift(KEY, "UTC", ()),
                (
                    "nobody was on duty in shift patching/primary at 2026-11-22 12:41 UTC; add a rotation or an override: "
                    "patchctl shift override add patching/primary"
                ),
            ),
        ],
    )
    def test_who_cannot_be_reached_is_a_message_that_says_what_to_do(
        self, notice: Notice, shift: Shift | None, said: str
    ) -> None:
        (message,) = route(notice, PEOPLE, shift, NOW)
        assert (message.state, message.address, message.next_attempt_at) == (MessageState.GIVEN_UP, "", None)
        assert message.error == said

    def test_one_who_cannot_be_reached_keeps_nobody_else_from_it(self) -> None:
        states = {m.contact: m.state for m in route(to("eve", "wu"), PEOPLE, None, NOW)}
        assert states == {"eve": MessageState.GIVEN_UP, "wu": MessageState.WAITING}


class TestWords:
    def test_a_suspension(self) -> None:
        said = say(of_ticket(NotificationEvent.EXECUTION_FAILED))
        assert said.subject == "T-7Q4M (nightly) stopped itself: 3 of 10 instances failed"
        assert said.text == (
            "Ticket T-7Q4M (nightly) stopped itself at 2026-11-22 12:40:00 UTC: 3 of 10 instances failed. Nothing more is sent.\n"
            "\n"
            "  succeeded 6   failed 2   timeout 1   not started 1\n"
            "\n"
            "Look closer: patchctl ticket show T-7Q4M\n"
            "Then:        patchctl ticket continue T-7Q4M"
        )

    def test_failures_within_the_rate(self) -> None:
        said = say(of_ticket(NotificationEvent.EXECUTION_FAILED, abnormal_cause="ENDED_WITH_FAILURES", name=""))
        assert said.subject == "T-7Q4M ended with failures: 3 of 10 instances"
        assert "patchctl ticket retry T-7Q4M" in said.text

    def test_a_start_and_a_success(self) -> None:
        start = say(of_ticket(NotificationEvent.START_EXECUTION))
        assert start.subject == "T-7Q4M (nightly) started: 10 instances"
        assert "10 instances in 4 batches. It stops at the 3rd failed instance." in start.text
        never = say(of_ticket(NotificationEvent.START_EXECUTION, stops_at=0, total=1, batches=1))
        assert "1 instance in 1 batch. It never stops by itself." in never.text
        success = say(of_ticket(NotificationEvent.EXECUTION_SUCCEEDED))
        assert success.subject == "T-7Q4M (nightly) finished: 6 of 10 instances succeeded"

    def test_R10_an_exception_that_ends_soon(self) -> None:
        (notice,) = expiring(Exceptions(1, (an_exception(expires_at=NOW + timedelta(days=3)),)), NOW)
        said = say(notice)
        assert "ends on 2026-11-25" in said.subject
        assert "counts as non-compliant again" in said.text

    def test_the_document_says_the_same_to_machines_in_a_form_that_stays(self) -> None:
        notice = of_ticket(NotificationEvent.EXECUTION_FAILED)
        document = json.loads(json.dumps(say(notice).document))
        assert document["schema"] == SCHEMA == "patchwarden.notification/1"
        assert set(document) == {
            "schema",
            "id",
            "event",
            "event_id",
            "at",
            "account",
            "contact",
            "subject",
            "text",
            "commands",
            "ticket",
        }
        assert (document["id"], document["event_id"], document["at"]) == (
            "T-7Q4M/EXECUTION_FAILED/2/lin/EMAIL",
            "T-7Q4M/EXECUTION_FAILED/2",
            "2026-11-22T12:40:00Z",
        )
        assert document["ticket"]["failed"] == 2

    @given(name=st.text(max_size=100), event=st.sampled_from(TICKET_EVENTS))
    def test_names_that_others_chose_cannot_make_a_header_or_move_a_terminal(
        self, name: str, event: NotificationEvent
    ) -> None:
        said = say(of_ticket(event, name=name))
        assert said.subject.isprintable()
        assert len(said.subject) <= 120
        assert all(line.isprintable() for line in said.text.split("\n"))

    def test_every_event_has_words(self) -> None:
        for event in TICKET_EVENTS:
            assert say(of_ticket(event)).text
        assert (
            say(a_notice()).text
            == "ops asked for this test at 2026-11-22 12:41:00 UTC. You are reached; there is nothing to do."
        )


class TestRetry:
    def test_waits_double_up_to_the_longest_and_jitter_takes_its_share(self) -> None:
        policy = RetryPolicy()
        assert [policy.wait(n, 1.0).total_seconds() for n in (1, 2, 3, 7, 8, 1000)] == [10, 20, 40, 640, 900, 900]
        assert policy.wait(3, 0.5).total_seconds() == 20
        assert policy.wait(3, 0.0).total_seconds() == 1

    @given(jitters=st.lists(st.floats(0, 1), min_size=1, max_size=2000))
    def test_a_message_that_never_goes_through_is_given_up_in_time_with_its_last_error(
        self, jitters: list[float]
    ) -> None:
        policy, message, at = RetryPolicy(), a_message(a_notice()), NOW
        for jitter in jitters:
            message = retry.failed(message, at, at, "  it said\n no ", policy, jitter)
            assert message.error == "it said no"
            if message.state is MessageState.GIVEN_UP:
                assert message.next_attempt_at is None
                assert at <= NOW + policy.give_up_after
                return
            assert message.next_attempt_at is not None
            assert at < message.next_attempt_at < NOW + policy.give_up_after
            at = message.next_attempt_at

    def test_what_was_accepted_is_sent_and_forgets_its_errors(self) -> None:
        failed = retry.failed(a_message(a_notice()), NOW, NOW, "no", RetryPolicy(), 1)
        message = retry.sent(failed, NOW + MINUTE)
        assert (message.state, message.attempts, message.sent_at, message.error) == (
            MessageState.SENT,
            2,
            NOW + MINUTE,
            "",
        )

    def test_an_operator_gives_it_a_new_time(self) -> None:
        given_up = retry.impossible(a_message(a_notice()), NOW, "x" * 1000)
        assert (given_up.state, len(given_up.error)) == (MessageState.GIVEN_UP, retry.MAX_ERROR)
        later = NOW + timedelta(days=9)
        message = retry.again(given_up, later)
        assert (message.state, message.next_attempt_at, message.attempts) == (MessageState.WAITING, later, 1)
        assert retry.failed(message, later, later, "no", RetryPolicy(), 1).state is MessageState.WAITING


class TestExpiring:
    def test_R10_the_owner_is_told_from_14_days_before_the_end_under_one_id(self) -> None:
        exception = an_exception(approver="lin", created_at=NOW, expires_at=NOW + timedelta(days=30))
        everything = Exceptions(1, (exception,))
        told_from = NOW + timedelta(days=16)
        assert list(expiring(everything, told_from - timedelta(seconds=1))) == []
        (first,) = expiring(everything, told_from)
        (later,) = expiring(everything, told_from + timedelta(days=9))
        assert first.id == later.id == f"{exception.id}/EXCEPTION_EXPIRING/20261222T124000Z"
        assert first.recipients == Recipients(("lin",))
        assert list(expiring(everything, exception.expires_at)) == []

    def test_R10_what_was_revoked_is_not_told_and_a_new_end_is_told_anew(self) -> None:
        exception = an_exception(created_at=NOW, expires_at=NOW + timedelta(days=10))
        assert list(expiring(Exceptions(1, (replace(exception, revoked_at=NOW + timedelta(days=5)),)), NOW)) == []
        (before,) = expiring(Exceptions(1, (exception,)), NOW)
        (after,) = expiring(Exceptions(2, (replace(exception, expires_at=NOW + timedelta(days=12)),)), NOW)
        assert before.id != after.id


def violations(call: object, *arguments: object) -> dict[str, str]:
    with pytest.raises(InvalidArgument) as caught:
        call(*arguments)  # type: ignore[operator]
    return {v.field: v.description for v in caught.value.violations}


class TestValidation:
    def test_whole_records_pass(self) -> None:
        for contact in (
            LIN,
            WU,
            a_contact("Lin Wei", addresses=WU.addresses),
            Contact("siem", (Address(Channel.WEBHOOK, "siem"),), Channel.WEBHOOK),
        ):
            validate.check_contact(contact)
        validate.check_shift(WEEKLY, PEOPLE)
        validate.check_override(Override("", ("lin",), NOW, NOW + MINUTE), PEOPLE)
        assert not [
            *validate.check_policy(NotificationPolicy()),
            *validate.check_policy(NotificationPolicy(TICKET_EVENTS, Recipients(("lin",), KEY))),
        ]

    @pytest.mark.parametrize(
        ("contact", "field"),
        [
            (a_contact("a/b"), "name"),
            (a_contact(""), "name"),
            (a_contact("x\ny"), "name"),
            (a_contact(addresses=()), "addresses"),
            (a_contact(default_channel=Channel.SMS), "default_channel"),
            (a_contact(addresses=(Address(Channel.EMAIL, "lin@example.com\r\nBcc: x@y"),)), "addresses[0].value"),
            (a_contact(addresses=(Address(Channel.EMAIL, "lin@example.com?cc=x@y.z"),)), "addresses[0].value"),
            (a_contact(addresses=(Address(Channel.SMS, "call me"),)), "addresses[0].value"),
            (a_contact(addresses=(Address(Channel.WEBHOOK, "https://evil.example.com/"),)), "addresses[0].value"),
            (a_contact(addresses=(Address(Channel.DEFAULT, "x"),)), "addresses[0].channel"),
            (a_contact(addresses=(Address(Channel.EMAIL, "a@b"), Address(Channel.EMAIL, "c@d"))), "addresses"),
            (a_contact(note="x" * 201), "note"),
        ],
    )
    def test_a_wrong_contact_names_its_field(self, contact: Contact, field: str) -> None:
        assert field in violations(validate.check_contact, contact)

    def test_a_wrong_shift_names_all_its_fields(self) -> None:
        bad = Rotation(("eve",), date(2026, 11, 2), (time(9), time(8)), 7, date(2026, 11, 1))
        wrong = violations(validate.check_shift, Shift(ShiftKey("a/b", ""), "Mars/Olympus", (bad,)), PEOPLE)
        fields = {
            "scenario",
            "role",
            "time_zone",
            "rotations[0].people[0]",
            "rotations[0].hand_over",
            "rotations[0].last_day",
        }
        assert set(wrong) == fields
        for zone in ("", "../../etc/passwd", "/etc/localtime", "x" * 1000):
            assert "time_zone" in violations(validate.check_shift, replace(WEEKLY, time_zone=zone), PEOPLE)

    def test_an_override_ends_after_it_begins(self) -> None:
        assert "ends_at" in violations(validate.check_override, Override("", ("lin",), NOW, NOW), PEOPLE)
        long = Override("", ("lin",), NOW, NOW + timedelta(days=400))
        assert "ends_at" in violations(validate.check_override, long, PEOPLE)

    def test_a_policy_says_of_what_and_whom(self) -> None:
        def fields(policy: NotificationPolicy) -> list[str]:
            return [v.field for v in validate.check_policy(policy)]

        assert fields(NotificationPolicy(TICKET_EVENTS)) == ["notification.people"]
        assert fields(NotificationPolicy((), Recipients(("lin",)))) == ["notification.events"]
        assert fields(NotificationPolicy((NotificationEvent.TEST,), Recipients(("lin",)))) == ["notification.events"]
        assert fields(NotificationPolicy(TICKET_EVENTS, Recipients(shift=ShiftKey("", "x")))) == [
            "notification.shift.scenario"
        ]

    def test_recipients_are_there_and_can_be_reached(self) -> None:
        policy = NotificationPolicy(TICKET_EVENTS, Recipients(("lin", "eve", "wu"), KEY, Channel.SMS))
        wrong = list(validate.check_recipients(policy, PEOPLE, ()))
        assert [v.field for v in wrong] == ["notification.people[1]", "notification.people[2]", "notification.shift"]
        assert not list(
            validate.check_recipients(NotificationPolicy(TICKET_EVENTS, Recipients(("lin",), KEY)), PEOPLE, (KEY,))
        )


def test_an_id_names_the_event_the_person_and_the_channel() -> None:
    message: Message = route(to("lin"), PEOPLE, None, NOW)[0]
    assert message.id.split("/") == ["TEST", "1", "lin", "SMS"]
