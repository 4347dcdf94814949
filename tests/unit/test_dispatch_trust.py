"""An agency is asked for again before anything is sent to another account's instances."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from controller.accounts.model import Account, Agency, AgencyPermission
from controller.dispatch.trust import Trust
from controller.hub.local import LocalHub
from controller.store.memory import MemoryStore
from controller.tickets.model import ExecutionAccount, Ticket
from tests.builders import NOW, a_ticket, an_instance
from tests.fakes import FakeClock

OURS, THEIRS = an_instance(1), an_instance(2, account="acme")
GRANTED = Agency("acme", "scans", "default", AgencyPermission.SCAN, NOW, "zed")
DAY = timedelta(days=1)


def a_cross_account_ticket() -> Ticket:
    ticket = a_ticket(2)
    named = (ExecutionAccount("default"), ExecutionAccount("acme", "scans"))
    return replace(ticket, spec=replace(ticket.spec, execution_accounts=named))


async def a_trust(*agencies: Agency) -> tuple[Trust, MemoryStore, FakeClock]:
    store, clock = MemoryStore(), FakeClock(NOW)
    await store.accounts.add_account(Account("acme", NOW, "admin"))
    for agency in agencies:
        await store.accounts.add_agency(agency)
    trust = Trust(store.accounts, clock)
    trust.note((OURS, THEIRS))
    await trust.read()
    return trust, store, clock


async def test_one_s_own_instances_need_no_agency() -> None:
    trust, _, _ = await a_trust()
    assert trust.why_not(a_cross_account_ticket(), OURS.id) is None


async def test_nothing_is_sent_to_whom_nobody_knows_to_belong_anywhere() -> None:
    trust, _, _ = await a_trust(GRANTED)
    assert "not known whose" in (trust.why_not(a_cross_account_ticket(), an_instance(9).id) or "")


async def test_what_holds_everywhere_comes_first_and_tickets_of_one_account_ask_for_nothing_else() -> None:
    trust, _, _ = await a_trust()
    everywhere = {THEIRS.id: "it was retired"}
    assert trust.barred(a_cross_account_ticket(), everywhere).get(THEIRS.id) == "it was retired"
    assert trust.barred(a_ticket(2), everywhere) is everywhere


@pytest.mark.parametrize(
    ("agency", "why"),
    [
        (GRANTED, None),
        (replace(GRANTED, name="other"), "the account acme grants default no agency scans"),
        (replace(GRANTED, trusted_account="partner"), "the account acme grants default no agency scans"),
        (replace(GRANTED, permission=AgencyPermission.VIEW), "the agency scans of the account acme allows VIEW only"),
        (replace(GRANTED, revoked_at=NOW), "the agency scans of the account acme was revoked"),
    ],
)
async def test_another_account_s_instance_needs_the_agency_that_the_ticket_names(
    agency: Agency, why: str | None
) -> None:
    trust, _, _ = await a_trust(agency)
    said = trust.barred(a_cross_account_ticket(), {}).get(THEIRS.id)
    assert said is None if why is None else (said or "").startswith(why)


async def test_an_agency_ends_at_its_instant_without_anybody_saying_so() -> None:
    trust, _, clock = await a_trust(replace(GRANTED, expires_at=NOW + DAY))
    ticket = a_cross_account_ticket()
    assert trust.why_not(ticket, THEIRS.id) is None
    clock.jump(DAY)
    assert (trust.why_not(ticket, THEIRS.id) or "").startswith("the agency scans of the account acme ended at")


async def test_of_a_name_that_is_granted_again_the_latest_counts() -> None:
    first = replace(GRANTED, revoked_at=NOW, expires_at=NOW + DAY)
    trust, _, clock = await a_trust(first, replace(GRANTED, created_at=NOW + DAY))
    clock.jump(DAY)
    assert trust.why_not(a_cross_account_ticket(), THEIRS.id) is None


async def test_a_change_is_heard_of() -> None:
    trust, store, _ = await a_trust(GRANTED)
    hub, ticket = LocalHub(), a_cross_account_ticket()
    following = asyncio.create_task(trust.follow(hub, "accounts"))
    await asyncio.sleep(0)
    await store.accounts.change_agency("acme", "scans", lambda now: replace(now, revoked_at=NOW))
    hub.publish("accounts")
    async with asyncio.timeout(20):
        while trust.why_not(ticket, THEIRS.id) is None:
            await asyncio.sleep(0.01)
    following.cancel()
