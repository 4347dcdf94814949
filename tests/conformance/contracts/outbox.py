"""What an OutboxStore and a ContactStore promise."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import pytest

from common.errors import Conflict, NotFound
from controller.notify.model import (
    TICKET_EVENTS,
    Address,
    Channel,
    Contact,
    ExceptionFacts,
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
)
from controller.store.api import Store
from controller.tickets.machine import evolve
from controller.tickets.model import Started, TicketSpec
from tests.builders import MINUTE, NOW, a_contact, a_message, a_notice, a_ticket

ALL_EVENTS = NotificationPolicy(TICKET_EVENTS, Recipients(("lin",), ShiftKey("patching", "primary"), Channel.SMS))


class OutboxStoreContract:
    """Subclass it, give it a `store` fixture, and the new store is held to the contract."""

    async def test_a_ticket_and_what_it_has_to_tell_are_written_together(self, store: Store) -> None:
        ticket = await store.tickets.create(a_ticket(2, spec=TicketSpec(notification=ALL_EVENTS)))
        started = evolve(ticket, Started(NOW))
        saved = await store.tickets.save(started)
        (notice,) = started.unsaved_notices
        assert await store.outbox.unrouted(10) == (notice,)
        assert saved.unsaved_notices == ()
        loaded = await store.tickets.load(ticket.id)
        assert loaded == saved
        assert (loaded.notices, loaded.spec.notification) == (1, ALL_EVENTS)
        assert (await store.tickets.head(ticket.id)).notices == 1

    async def test_a_ticket_that_is_not_saved_tells_nothing(self, store: Store) -> None:
        ticket = await store.tickets.create(a_ticket(2, spec=TicketSpec(notification=ALL_EVENTS)))
        await store.tickets.save(ticket)
        with pytest.raises(Conflict):
            await store.tickets.save(evolve(ticket, Started(NOW)))
        assert await store.outbox.unrouted(10) == ()

    async def test_a_new_ticket_may_have_something_to_tell(self, store: Store) -> None:
        await store.tickets.create(a_ticket(1, unsaved_notices=(a_notice(1),)))
        with pytest.raises(Conflict):
            await store.tickets.create(a_ticket(1, unsaved_notices=(a_notice(2),)))
        assert await store.outbox.unrouted(10) == (a_notice(1),)

    async def test_one_event_is_noted_once(self, store: Store) -> None:
        assert await store.outbox.put_notice(a_notice(1))
        assert not await store.outbox.put_notice(a_notice(1, asked_by="another"))
        assert await store.outbox.get_notice("TEST/1") == a_notice(1)
        with pytest.raises(NotFound):
            await store.outbox.get_notice("TEST/2")

    async def test_a_notice_comes_back_whole(self, store: Store) -> None:
        facts = ExceptionFacts("ex-1", "GROUP", "web", "CVE", "CVE-2026-1", "vendor waits", NOW + timedelta(days=14))
        event = NotificationEvent.EXCEPTION_EXPIRING
        notice = Notice("ex-1/x", event, NOW, Recipients(("lin", "wu"), channel=Channel.LARK), "other", exception=facts)
        await store.outbox.put_notice(notice)
        assert await store.outbox.unrouted(1) == (notice,)

    async def test_notices_are_routed_oldest_first_and_once(self, store: Store) -> None:
        for number in (3, 1, 2):
            await store.outbox.put_notice(a_notice(number))
        assert await store.outbox.unrouted(2) == (a_notice(1), a_notice(2))
        await store.outbox.route("TEST/1", (a_message(a_notice(1)),))
        assert await store.outbox.unrouted(2) == (a_notice(2), a_notice(3))
        with pytest.raises(NotFound):
            await store.outbox.route("TEST/9", ())

    async def test_what_was_sent_is_not_sent_again_when_a_notice_is_routed_again(self, store: Store) -> None:
        notice = a_notice(1)
        lin, nobody = (
            a_message(notice),
            a_message(notice, "wu", state=MessageState.GIVEN_UP, address="", error="no way"),
        )
        await store.outbox.put_notice(notice)
        await store.outbox.route(notice.id, (lin, nobody))
        sent = await store.outbox.change_message(lin.id, lambda m: replace(m, state=MessageState.SENT, sent_at=NOW))
        await store.outbox.unroute(notice.id)
        assert await store.outbox.unrouted(10) == (notice,)
        wu = a_message(notice, "wu")
        await store.outbox.route(notice.id, (lin, wu))
        assert await store.outbox.unrouted(10) == ()
        assert await store.outbox.messages("default", (), 10, None) == (wu, sent)
        with pytest.raises(NotFound):
            await store.outbox.unroute("TEST/9")

    async def test_a_message_comes_back_whole(self, store: Store) -> None:
        notice = a_notice(1, account="other")
        await store.outbox.put_notice(notice)
        message = a_message(notice, "wu", Channel.SMS, attempts=3, since=NOW, sent_at=NOW + MINUTE, error="it said no")
        await store.outbox.route(notice.id, (message,))
        assert await store.outbox.get_message(message.id) == message
        with pytest.raises(NotFound):
            await store.outbox.get_message("nobody")

    async def test_a_message_is_due_from_its_next_attempt_on_until_it_is_settled(self, store: Store) -> None:
        notice = a_notice(1)
        await store.outbox.put_notice(notice)
        assert await store.outbox.next_due() is None
        early, late = (
            a_message(notice, name, next_attempt_at=NOW + n * MINUTE) for n, name in ((1, "zoe"), (2, "amy"))
        )
        await store.outbox.route(notice.id, (late, early))
        assert await store.outbox.next_due() == NOW + MINUTE
        assert await store.outbox.due(NOW, 10) == ()
        assert await store.outbox.due(NOW + MINUTE, 10) == (early,)
        assert await store.outbox.due(NOW + 5 * MINUTE, 10) == (early, late)
        assert await store.outbox.due(NOW + 5 * MINUTE, 1) == (early,)
        for message, state in ((early, MessageState.SENT), (late, MessageState.GIVEN_UP)):
            await store.outbox.change_message(message.id, lambda m, s=state: replace(m, state=s, next_attempt_at=None))  # type: ignore[misc]
        assert await store.outbox.due(NOW + 5 * MINUTE, 10) == ()
        assert await store.outbox.next_due() is None

    async def test_a_change_that_raises_changes_nothing(self, store: Store) -> None:
        notice, message = a_notice(1), a_message(a_notice(1))
        await store.outbox.put_notice(notice)
        await store.outbox.route(notice.id, (message,))

        def refuse(_: Message) -> Message:
            raise Conflict("message", "it")

        with pytest.raises(Conflict):
            await store.outbox.change_message(message.id, refuse)
        assert await store.outbox.get_message(message.id) == message
        with pytest.raises(NotFound):
            await store.outbox.change_message("nobody", lambda m: m)

    async def test_messages_are_listed_newest_first_by_account_and_state_in_pages(self, store: Store) -> None:
        everything = list[Message]()
        rng = random.Random(7)
        for number in range(12):
            notice = a_notice(number, account=rng.choice(("default", "other")), at=NOW + (number // 3) * MINUTE)
            await store.outbox.put_notice(notice)
            message = a_message(notice, state=rng.choice(list(MessageState)))
            await store.outbox.route(notice.id, (message,))
            everything.append(message)
        for account in ("default", "other"):
            for states in ((), (MessageState.SENT,), (MessageState.WAITING, MessageState.GIVEN_UP)):
                mine = [m for m in everything if m.account == account and (not states or m.state in states)]
                wanted = tuple(sorted(mine, key=lambda m: (m.at, m.id), reverse=True))
                assert await store.outbox.messages(account, states, 100, None) == wanted
                paged, before = list[Message](), None
                while page := await store.outbox.messages(account, states, 2, before):
                    paged += page
                    before = page[-1].at, page[-1].id
                assert tuple(paged) == wanted

    async def test_only_what_is_settled_is_forgotten(self, store: Store) -> None:
        settled, waiting, unrouted, young = (a_notice(n) for n in (1, 2, 3, 60))
        for notice in (settled, waiting, unrouted, young):
            await store.outbox.put_notice(notice)
        await store.outbox.route(settled.id, (a_message(settled, state=MessageState.SENT),))
        await store.outbox.route(waiting.id, (a_message(waiting), a_message(waiting, "wu", state=MessageState.SENT)))
        await store.outbox.route(young.id, ())
        assert await store.outbox.forget(NOW + 30 * MINUTE) == 1
        with pytest.raises(NotFound):
            await store.outbox.get_notice(settled.id)
        assert await store.outbox.unrouted(10) == (unrouted,)
        left = await store.outbox.messages("default", (), 10, None)
        assert {m.notice_id for m in left} == {waiting.id}
        assert len(left) == 2
        assert await store.outbox.get_notice(young.id) == young


class ContactStoreContract:
    """Subclass it, give it a `store` fixture, and the new store is held to the contract."""

    async def test_contacts_are_kept_by_name_in_their_account(self, store: Store) -> None:
        wu = Contact("wu", (Address(Channel.SMS, "+8612345"), Address(Channel.EMAIL, "w@x")), Channel.SMS, "night")
        lin, other = a_contact("lin"), a_contact("lin", account="other", note="another")
        for contact in (wu, lin, other):
            await store.contacts.add_contact(contact)
        assert await store.contacts.contacts("default") == (lin, wu)
        assert await store.contacts.contacts("other") == (other,)
        assert await store.contacts.get_contact("default", "wu") == wu
        with pytest.raises(Conflict):
            await store.contacts.add_contact(replace(lin, note="x"))
        changed = await store.contacts.change_contact("default", "lin", lambda c: replace(c, note="on leave"))
        assert changed == replace(lin, note="on leave") == await store.contacts.get_contact("default", "lin")
        await store.contacts.delete_contact("default", "lin")
        for absent in (store.contacts.get_contact("default", "lin"), store.contacts.delete_contact("default", "lin")):
            with pytest.raises(NotFound):
                await absent
        with pytest.raises(NotFound):
            await store.contacts.change_contact("default", "lin", lambda c: c)
        assert await store.contacts.get_contact("other", "lin") == other

    async def test_shifts_are_kept_by_scenario_and_role(self, store: Store) -> None:
        key = ShiftKey("patching", "primary")
        rotation = Rotation(("lin", "wu"), date(2026, 11, 2), (time(8), time(20, 30)), 1, date(2026, 12, 31))
        override = Override("o-1", ("zoe",), NOW, datetime(2027, 1, 1, tzinfo=UTC), "holiday")
        whole = Shift(key, "Asia/Shanghai", (rotation,), (override,), "note")
        backup = Shift(ShiftKey("patching", "backup"), "UTC", (), account="default")
        for shift in (whole, backup, replace(whole, account="other")):
            await store.contacts.add_shift(shift)
        assert await store.contacts.shifts("default") == (backup, whole)
        assert await store.contacts.get_shift("default", key) == whole
        with pytest.raises(Conflict):
            await store.contacts.add_shift(whole)
        changed = await store.contacts.change_shift("default", key, lambda s: replace(s, overrides=()))
        assert changed == replace(whole, overrides=()) == await store.contacts.get_shift("default", key)
        await store.contacts.delete_shift("default", key)
        for absent in (store.contacts.get_shift("default", key), store.contacts.delete_shift("default", key)):
            with pytest.raises(NotFound):
                await absent
        with pytest.raises(NotFound):
            await store.contacts.change_shift("default", key, lambda s: s)
        assert len(await store.contacts.shifts("other")) == 1
