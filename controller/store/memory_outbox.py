"""The outbox, contacts and shifts in memory, held to the same contract as those that remember."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime

from common.errors import Conflict, NotFound
from controller.notify.model import Contact, Message, MessageState, Notice, Shift, ShiftKey


class MemoryOutbox:
    """OutboxStore in memory."""

    def __init__(self) -> None:
        self._notices = dict[str, Notice]()
        self._routed = set[str]()
        self._messages = dict[str, Message]()

    def add_notices(self, notices: Iterable[Notice]) -> int:
        """Write notices whose ids are not there; return how many were not."""
        new = [notice for notice in notices if notice.id not in self._notices]
        self._notices |= {notice.id: notice for notice in new}
        return len(new)

    async def put_notice(self, notice: Notice) -> bool:
        """Write a notice unless one with its id is there; say whether it was written."""
        return self.add_notices((notice,)) == 1

    async def unrouted(self, limit: int) -> tuple[Notice, ...]:
        """Return notices that have no messages yet, oldest first."""
        found = (n for n in self._notices.values() if n.id not in self._routed)
        return tuple(sorted(found, key=lambda n: (n.at, n.id))[:limit])

    async def get_notice(self, notice_id: str) -> Notice:
        """Return a notice; raise NotFound."""
        try:
            return self._notices[notice_id]
        except KeyError:
            raise NotFound("notice", notice_id) from None

    async def route(self, notice_id: str, messages: Collection[Message]) -> None:
        """Write a notice's messages and note that it has them; raise NotFound."""
        await self.get_notice(notice_id)
        self._routed.add(notice_id)
        for there in list(self._messages.values()):
            if there.notice_id == notice_id and there.state is MessageState.GIVEN_UP and not there.address:
                del self._messages[there.id]
        for message in messages:
            self._messages.setdefault(message.id, message)

    async def unroute(self, notice_id: str) -> None:
        """Let a notice be routed again; raise NotFound."""
        await self.get_notice(notice_id)
        self._routed.discard(notice_id)

    async def get_message(self, message_id: str) -> Message:
        """Return a message; raise NotFound."""
        try:
            return self._messages[message_id]
        except KeyError:
            raise NotFound("message", message_id) from None

    async def change_message(self, message_id: str, change: Callable[[Message], Message]) -> Message:
        """Write what a pure function makes of a message, and return it; raise NotFound."""
        changed = self._messages[message_id] = change(await self.get_message(message_id))
        return changed

    async def due(self, at: datetime, limit: int) -> tuple[Message, ...]:
        """Return messages that are to be tried by now, the longest due first."""
        due = sorted((next_at, message.id) for next_at, message in self._waiting() if next_at <= at)
        return tuple(self._messages[message_id] for _, message_id in due[:limit])

    async def next_due(self) -> datetime | None:
        """Return when the next message is to be tried, None when none waits."""
        return min((next_at for next_at, _ in self._waiting()), default=None)

    def _waiting(self) -> Iterable[tuple[datetime, Message]]:
        for message in self._messages.values():
            if message.state is MessageState.WAITING and message.next_attempt_at is not None:
                yield message.next_attempt_at, message

    async def messages(
        self, account: str, states: Collection[MessageState], limit: int, before: tuple[datetime, str] | None
    ) -> tuple[Message, ...]:
        """Return messages of an account ordered by (at, id), newest first, only those below `before`."""
        found = (m for m in self._messages.values() if m.account == account and (not states or m.state in states))
        newest = sorted(found, key=lambda m: (m.at, m.id), reverse=True)
        return tuple(m for m in newest if before is None or (m.at, m.id) < before)[:limit]

    async def forget(self, before: datetime) -> int:
        """Drop what happened before an instant and is settled; return how many notices went."""
        waiting = {m.notice_id for m in self._messages.values() if m.state is MessageState.WAITING}
        gone = {n.id for n in self._notices.values() if n.at < before and n.id in self._routed and n.id not in waiting}
        self._messages = {m.id: m for m in self._messages.values() if m.notice_id not in gone}
        for notice_id in gone:
            del self._notices[notice_id]
            self._routed.discard(notice_id)
        return len(gone)


class MemoryContacts:
    """ContactStore in memory."""

    def __init__(self) -> None:
        self._contacts = dict[tuple[str, str], Contact]()
        self._shifts = dict[tuple[str, str, str], Shift]()

    async def add_contact(self, contact: Contact) -> None:
        """Write a new contact; raise Conflict when its name is taken."""
        if (contact.account, contact.name) in self._contacts:
            raise Conflict("contact", contact.name)
        self._contacts[contact.account, contact.name] = contact

    async def change_contact(self, account: str, name: str, change: Callable[[Contact], Contact]) -> Contact:
        """Write what a pure function makes of a contact, and return it; raise NotFound."""
        changed = self._contacts[account, name] = change(await self.get_contact(account, name))
        return changed

    async def get_contact(self, account: str, name: str) -> Contact:
        """Return a contact; raise NotFound."""
        try:
            return self._contacts[account, name]
        except KeyError:
            raise NotFound("contact", name) from None

    async def contacts(self, account: str) -> tuple[Contact, ...]:
        """Return the contacts of an account, by name."""
        return tuple(sorted((c for c in self._contacts.values() if c.account == account), key=lambda c: c.name))

    async def delete_contact(self, account: str, name: str) -> None:
        """Remove a contact; raise NotFound."""
        await self.get_contact(account, name)
        del self._contacts[account, name]

    async def add_shift(self, shift: Shift) -> None:
        """Write a new shift; raise Conflict when its key is taken."""
        key = (shift.account, shift.key.scenario, shift.key.role)
        if key in self._shifts:
            raise Conflict("shift", str(shift.key))
        self._shifts[key] = shift

    async def change_shift(self, account: str, key: ShiftKey, change: Callable[[Shift], Shift]) -> Shift:
        """Write what a pure function makes of a shift, and return it; raise NotFound."""
        changed = self._shifts[account, key.scenario, key.role] = change(await self.get_shift(account, key))
        return changed

    async def get_shift(self, account: str, key: ShiftKey) -> Shift:
        """Return a shift; raise NotFound."""
        try:
            return self._shifts[account, key.scenario, key.role]
        except KeyError:
            raise NotFound("shift", str(key)) from None

    async def shifts(self, account: str) -> tuple[Shift, ...]:
        """Return the shifts of an account, by scenario, then role."""
        found = (s for s in self._shifts.values() if s.account == account)
        return tuple(sorted(found, key=lambda s: (s.key.scenario, s.key.role)))

    async def delete_shift(self, account: str, key: ShiftKey) -> None:
        """Remove a shift; raise NotFound."""
        await self.get_shift(account, key)
        del self._shifts[account, key.scenario, key.role]
