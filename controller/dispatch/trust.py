"""Whether a ticket may still work in another account: its agency is asked for again before anything is sent there.

An agency may end while a ticket is under way. Nothing is sent to that account's instances from then on; what was out finishes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from common.clock import Clock
from common.errors import Unavailable
from controller.accounts.model import Agency, AgencyPermission
from controller.accounts.rules import why_not
from controller.fleet.model import Instance, InstanceId
from controller.hub.api import Hub
from controller.store.api import AccountStore
from controller.tickets.model import Ticket
from controller.tickets.plan import Known

log = logging.getLogger(__name__)

_LOOK_AGAIN_SECONDS: Final = 15.0
_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class _Barred:
    """Why nothing may be sent to an instance for one ticket."""

    trust: Trust
    ticket: Ticket
    everywhere: Known[str]

    def get(self, instance: InstanceId, /) -> str | None:
        why = self.everywhere.get(instance)
        return why if why is not None else self.trust.why_not(self.ticket, instance)


class Trust:
    """One for a controller process: remembers agencies, and whose instances are."""

    def __init__(self, accounts: AccountStore, clock: Clock) -> None:
        """Know nothing yet: `read` before anything is sent."""
        self._accounts = accounts
        self._clock = clock
        self._agencies = dict[tuple[str, str], Agency]()
        self._owners = dict[InstanceId, str]()

    def note(self, instances: Iterable[Instance]) -> None:
        """Remember whose these instances are; nobody changes that."""
        self._owners.update((i.id, i.account) for i in instances)

    async def read(self) -> None:
        """Take the agencies as they are now. Raises Unavailable."""
        found, after = dict[tuple[str, str], Agency](), ""
        while page := await self._accounts.accounts(_AT_ONCE, after):
            for account in page:
                found |= {
                    (a.account, a.name): a for a in await self._accounts.agencies(account.name)
                }  # the latest last
            after = page[-1].name
        self._agencies = found

    async def follow(self, hub: Hub, topic: str) -> None:
        """Until cancelled: read again whenever the topic says that accounts changed."""
        with hub.subscribe(topic) as changes:
            while True:
                await changes.wait(_LOOK_AGAIN_SECONDS)
                try:
                    await self.read()
                except Unavailable as error:
                    log.warning("agencies could not be read", extra={"error": str(error)})

    def barred(self, ticket: Ticket, everywhere: Known[str]) -> Known[str]:
        """Return why nothing may be sent to an instance for a ticket: what holds everywhere, or no agency."""
        return _Barred(self, ticket, everywhere) if ticket.spec.execution_accounts else everywhere

    def why_not(self, ticket: Ticket, instance: InstanceId) -> str | None:
        """Return the sentence that says what to grant when a ticket may not work on an instance; None when it may."""
        owner = self._owners.get(instance)
        if owner is None:
            return "it is not known whose this instance is: it has left the fleet; make a ticket anew"
        if owner == ticket.account:
            return None
        named = next((e.agency for e in ticket.spec.execution_accounts if e.account == owner), "")
        agency = self._agencies.get((owner, named))
        return why_not(agency, owner, ticket.account, named, AgencyPermission.SCAN, self._clock.now()) or None
