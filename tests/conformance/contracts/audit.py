"""What an AuditStore promises."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from controller.audit.chain import link, verify
from controller.audit.model import EMPTY, AuditFilter, AuditKind, Deed
from controller.store.api import Store
from tests.builders import NOW

ALL = AuditFilter()


def a_deed(number: int = 1, **changes: object) -> Deed:
    deed = Deed(
        NOW + timedelta(minutes=number),
        AuditKind.ATTEMPTED,
        "TicketService/Pause",
        operator="lin",
        token_id="O-1",
        peer="ipv4:127.0.0.1:4",
        subject=f"T-{number}",
        detail='{"reason":"lunch \\u2603"}',
    )
    return replace(deed, **changes)  # type: ignore[arg-type]


class AuditStoreContract:
    """Subclass it, give it a `store` fixture, and the new store is held to the contract."""

    async def test_an_empty_log_has_an_empty_head(self, store: Store) -> None:
        assert await store.audit.head() == EMPTY
        assert await store.audit.entries_after(0, 10) == ()
        assert await store.audit.newest(ALL, 10, None) == ()

    async def test_entries_come_back_as_they_were_linked(self, store: Store) -> None:
        first = await store.audit.append(a_deed(1))
        second = await store.audit.append(a_deed(2, kind=AuditKind.DONE, attempt=1, operator="☃"))
        assert first == link(a_deed(1), EMPTY)
        assert second == link(a_deed(2, kind=AuditKind.DONE, attempt=1, operator="☃"), first.head)
        assert await store.audit.entries_after(0, 10) == (first, second)
        assert await store.audit.entries_after(1, 10) == (second,)
        assert await store.audit.entries_after(0, 1) == (first,)
        assert await store.audit.head() == second.head

    async def test_calls_at_once_take_places_one_after_the_other(self, store: Store) -> None:
        await asyncio.gather(*(store.audit.append(a_deed(n)) for n in range(40)))
        entries = await store.audit.entries_after(0, 100)
        assert [entry.number for entry in entries] == list(range(1, 41))
        assert verify(entries) == await store.audit.head()
        assert {entry.deed.subject for entry in entries} == {f"T-{n}" for n in range(40)}

    async def test_the_newest_come_first_and_go_on_below_a_number(self, store: Store) -> None:
        for n in range(1, 6):
            await store.audit.append(a_deed(n))
        assert [e.number for e in await store.audit.newest(ALL, 2, None)] == [5, 4]
        assert [e.number for e in await store.audit.newest(ALL, 2, 4)] == [3, 2]

    async def test_a_filter_wants_what_it_names(self, store: Store) -> None:
        await store.audit.append(a_deed(1))
        await store.audit.append(a_deed(2, operator="wu", method="BaselineService/CreateBaseline"))
        await store.audit.append(a_deed(3, account="other"))
        for wanted, numbers in (
            (AuditFilter(operator="wu"), [2]),
            (AuditFilter(method="ticket"), [3, 1]),
            (AuditFilter(method="%"), []),
            (AuditFilter(subject="T-3"), [3]),
            (AuditFilter(account="default"), [2, 1]),
            (AuditFilter(since=NOW + timedelta(minutes=2)), [3, 2]),
            (AuditFilter(until=NOW + timedelta(minutes=2)), [1]),
        ):
            assert [e.number for e in await store.audit.newest(wanted, 10, None)] == numbers, wanted
            every = await store.audit.entries_after(0, 10)
            assert [e.number for e in reversed(every) if wanted.wants(e)] == numbers, wanted
