"""The outbox is emptied: each message once, whoever else cannot be reached, with retries in their time, and exceptions' owners are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, time, timedelta

import pytest

from common.errors import Unavailable
from controller.channels.places import CannotSend
from controller.channels.transport import NotSent
from controller.dispatch.notifier import Notifier
from controller.hub.local import LocalHub
from controller.notify.model import (
    Address,
    Channel,
    Contact,
    Message,
    MessageState,
    NotificationEvent,
    Recipients,
    Rotation,
    Shift,
    ShiftKey,
)
from controller.notify.template import Rendered
from controller.store.memory import MemoryStore
from tests.builders import NOW, a_contact, a_notice, an_exception
from tests.fakes import FakeClock

KEY = ShiftKey("patching", "primary")


@dataclass
class Post:
    """A Transport that keeps what it is given, and fails as a test says."""

    got: list[str] = field(default_factory=list)
    words: list[Rendered] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    gate: asyncio.Event | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, message: Message, rendered: Rendered) -> None:
        self.begun.set()
        if self.gate is not None:
            await self.gate.wait()
        self.got.append(message.id)
        self.words.append(rendered)
        if self.failures:
            raise self.failures.pop(0)


@dataclass
class Office:
    store: MemoryStore
    post: Post
    clock: FakeClock
    hub: LocalHub
    notifier: Notifier

    async def turn(self) -> timedelta:
        wait = await self.notifier.step()
        await self.notifier.settled()
        return wait

    async def messages(self) -> dict[str, Message]:
        return {m.id: m for m in await self.store.outbox.messages("default", (), 100, None)}

    async def message(self, message_id: str = "TEST/1/lin/EMAIL") -> Message:
        return await self.store.outbox.get_message(message_id)


@pytest.fixture
async def office() -> Office:
    store, post, clock, hub = MemoryStore(), Post(), FakeClock(), LocalHub()
    await store.contacts.add_contact(a_contact("lin"))
    return Office(store, post, clock, hub, Notifier(store, post, hub, clock, lambda: 1.0))


async def test_a_notice_becomes_a_message_that_is_sent_once(office: Office) -> None:
    await office.store.outbox.put_notice(a_notice())
    for _ in range(3):
        await office.turn()
    assert office.post.got == ["TEST/1/lin/EMAIL"]
    assert office.post.words[0].subject == "Patchwarden: a test"
    message = await office.message()
    assert (message.state, message.attempts, message.sent_at) == (MessageState.SENT, 1, NOW)


async def test_what_fails_waits_longer_each_time_and_says_why(office: Office) -> None:
    office.post.failures = [NotSent("500"), NotSent("451")]
    await office.store.outbox.put_notice(a_notice())
    assert await office.turn() == timedelta(seconds=30), "its end is a hint"
    message = await office.message()
    assert (message.state, message.error, message.next_attempt_at) == (
        MessageState.WAITING,
        "500",
        NOW + timedelta(seconds=10),
    )
    assert await office.turn() == timedelta(seconds=10)
    assert len(office.post.got) == 1
    await office.clock.advance(10)
    await office.turn()
    assert (await office.message()).next_attempt_at == NOW + timedelta(seconds=30)
    await office.clock.advance(20)
    await office.turn()
    message = await office.message()
    assert (message.state, message.attempts, message.error) == (MessageState.SENT, 3, "")


async def test_it_is_given_up_after_a_day_with_its_last_error(office: Office) -> None:
    office.post.failures = [NotSent(f"no {n}") for n in range(1000)]
    await office.store.outbox.put_notice(a_notice())
    while (await office.turn()) and (message := await office.message()).state is MessageState.WAITING:
        assert message.next_attempt_at is not None
        await office.clock.advance((message.next_attempt_at - office.clock.now()).total_seconds())
    assert message.state is MessageState.GIVEN_UP
    assert message.error == f"no {message.attempts - 1}"
    assert timedelta(hours=23) < office.clock.now() - NOW <= timedelta(hours=24)
    await office.clock.advance(3600)
    await office.turn()
    assert len(office.post.got) == message.attempts


async def test_what_the_settings_cannot_send_is_given_up_at_once(office: Office) -> None:
    office.post.failures = [CannotSend("no way to send EMAIL")]
    await office.store.outbox.put_notice(a_notice())
    await office.turn()
    message = await office.message()
    assert (message.state, message.error) == (MessageState.GIVEN_UP, "no way to send EMAIL")


async def test_one_person_who_fails_does_not_repeat_the_others(office: Office) -> None:
    await office.store.contacts.add_contact(a_contact("wu"))
    office.post.failures = [NotSent("no")]
    await office.store.outbox.put_notice(a_notice(recipients=Recipients(("lin", "wu", "eve"))))
    await office.turn()
    await office.clock.advance(60)
    await office.turn()
    assert sorted(office.post.got) == ["TEST/1/lin/EMAIL", "TEST/1/lin/EMAIL", "TEST/1/wu/EMAIL"]
    states = {i: m.state for i, m in (await office.messages()).items()}
    assert states.pop("TEST/1/eve/DEFAULT") is MessageState.GIVEN_UP
    assert set(states.values()) == {MessageState.SENT}


async def test_who_was_on_duty_at_the_event_is_told_even_after_a_hand_over(office: Office) -> None:
    await office.store.contacts.add_contact(Contact("wu", (Address(Channel.SMS, "+861"),), Channel.SMS))
    rotation = Rotation(("lin", "wu"), date(2026, 11, 22), (time(0),), 1)
    await office.store.contacts.add_shift(Shift(KEY, "UTC", (rotation,)))
    await office.store.outbox.put_notice(a_notice(1, recipients=Recipients(shift=KEY)))
    await office.store.outbox.put_notice(a_notice(2, at=NOW + timedelta(days=1), recipients=Recipients(shift=KEY)))
    await office.clock.advance(5 * 86400)
    await office.turn()
    assert sorted(office.post.got) == ["TEST/1/lin/EMAIL", "TEST/2/wu/SMS"]


async def test_a_hang_on_one_message_keeps_no_other_waiting_and_it_is_not_begun_twice(office: Office) -> None:
    office.post.gate = asyncio.Event()
    await office.store.outbox.put_notice(a_notice(1))
    await office.notifier.step()
    await asyncio.sleep(0)
    gate, office.post.gate = office.post.gate, None
    await office.store.outbox.put_notice(a_notice(2))
    await office.notifier.step()
    await asyncio.sleep(0)
    assert office.post.got == ["TEST/2/lin/EMAIL"]
    gate.set()
    await office.notifier.settled()
    assert office.post.got == ["TEST/2/lin/EMAIL", "TEST/1/lin/EMAIL"]


async def test_a_mark_that_cannot_be_stored_is_tried_until_it_is_and_nothing_goes_out_meanwhile(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, refusals = office.store.outbox.change_message, 3

    async def refuse(message_id: str, change_it: Callable[[Message], Message]) -> Message:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise Unavailable("the disk is full")
        return await change(message_id, change_it)

    monkeypatch.setattr(office.store.outbox, "change_message", refuse)
    await office.store.outbox.put_notice(a_notice())
    await office.notifier.step()
    for _ in range(5):
        await office.clock.advance(2)
        await office.notifier.step()
    await office.notifier.settled()
    assert office.post.got == ["TEST/1/lin/EMAIL"]
    assert (await office.message()).state is MessageState.SENT


async def test_a_fault_of_ours_is_an_attempt_that_failed(office: Office) -> None:
    office.post.failures = [ZeroDivisionError("a secret of the settings")]
    await office.store.outbox.put_notice(a_notice())
    await office.turn()
    message = await office.message()
    assert (message.state, message.error) == (
        MessageState.WAITING,
        "a fault of the controller (ZeroDivisionError); its log says more",
    )


async def test_R10_the_owner_of_an_exception_is_told_once_14_days_before_its_end(office: Office) -> None:
    exception = an_exception(approver="lin", expires_at=NOW + timedelta(days=30))
    await office.store.baselines.put_exception(exception)
    told_at = list[timedelta]()
    for _ in range(31 * 24):
        before = len(office.post.got)
        await office.turn()
        told_at += [office.clock.now() - NOW] * (len(office.post.got) - before)
        await office.clock.advance(3600)
    assert told_at == [timedelta(days=16)]
    (message,) = (await office.messages()).values()
    assert (message.event, message.contact) == (NotificationEvent.EXCEPTION_EXPIRING, "lin")


async def test_R10_it_is_told_once_across_restarts_too(office: Office) -> None:
    await office.store.baselines.put_exception(an_exception(approver="lin", expires_at=NOW + timedelta(days=10)))
    await office.turn()
    another = Notifier(office.store, office.post, office.hub, office.clock, lambda: 1.0)
    await another.step()
    await another.settled()
    assert len(office.post.got) == 1


async def test_what_is_old_and_settled_is_forgotten(office: Office) -> None:
    await office.store.outbox.put_notice(a_notice())
    await office.turn()
    await office.clock.advance(91 * 86400)
    await office.turn()
    assert await office.messages() == {}


async def test_it_runs_on_hints_and_lets_what_is_out_finish_when_it_is_stopped(office: Office) -> None:
    running = asyncio.create_task(office.notifier.run())
    for _ in range(50):
        await asyncio.sleep(0)  # it has found nothing, and waits for a hint
    office.post.gate = asyncio.Event()
    await office.store.outbox.put_notice(a_notice())
    office.hub.publish("outbox")
    await office.post.begun.wait()
    running.cancel()
    await asyncio.sleep(0)  # it is told to end, and waits for what is out
    assert not running.done()
    office.post.gate.set()
    await asyncio.gather(running, return_exceptions=True)
    assert (await office.message()).state is MessageState.SENT


async def test_a_store_that_is_away_for_a_while_does_not_end_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    unrouted = office.store.outbox.unrouted
    asked = asyncio.Event()

    async def away(_: int) -> None:
        asked.set()
        raise Unavailable("busy")

    monkeypatch.setattr(office.store.outbox, "unrouted", away)
    running = asyncio.create_task(office.notifier.run())
    await asked.wait()
    monkeypatch.setattr(office.store.outbox, "unrouted", unrouted)
    await office.store.outbox.put_notice(a_notice())
    office.hub.publish("outbox")
    async with asyncio.timeout(60):
        while not office.post.got:
            await asyncio.sleep(0.02)
            office.hub.publish("outbox")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
