"""In whose instances a ticket may work: those of its own account, and those of others that granted it an agency (DESIGN §9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from common.clock import Clock
from common.errors import InvalidArgument, NotFound, PermissionDenied
from controller.accounts.model import Agency, AgencyPermission
from controller.accounts.rules import why_not
from controller.api.auth import operator
from controller.api.bound import BoundFleet, whole_account
from controller.dispatch.trust import Trust
from controller.fleet.model import Instance
from controller.store.api import AccountStore
from controller.tickets.model import ExecutionAccount, RefusedAccount, TicketSpec

_TOLD: Final = 3


class Reach:
    """One for a controller process."""

    def __init__(self, fleet: BoundFleet, accounts: AccountStore, trust: Trust, clock: Clock) -> None:
        """Join the parts; `trust` is told whose the instances of others are, to ask again before something is sent to them."""
        self._fleet = fleet
        self._accounts = accounts
        self._trust = trust
        self._clock = clock

    async def for_ticket(self, spec: TicketSpec) -> tuple[Sequence[Instance], tuple[RefusedAccount, ...]]:
        """Return the fleet of which the caller's ticket selects, and the accounts that are left out as no agency lets it.

        Raises PermissionDenied that says what to grant when an account would be left out and the spec does not go on without.
        """
        caller = operator()
        named_accounts = {e.account for e in spec.execution_accounts} or {caller.account}
        if outside := sorted(set(spec.selector.accounts) - named_accounts):
            works_in = ", ".join(sorted(named_accounts))
            said = f"names {outside[0]}, in which this does not work; it works in {works_in}: see execution_accounts"
            raise InvalidArgument.of("selector.accounts", said)
        if not spec.execution_accounts:
            return await self._fleet.instances(), ()
        allowed, refused = {caller.account} & named_accounts, list[RefusedAccount]()
        for number, named in enumerate(spec.execution_accounts):
            if named.account == caller.account:
                continue
            whole_account(f"work in the account {named.account}")
            if not named.agency:
                said = (
                    f"is missing: name the agency that {named.account} granted {caller.account}; patchctl agency list"
                )
                raise InvalidArgument.of(f"execution_accounts[{number}].agency", said)
            if sentence := await self._why_not(named, caller.account):
                refused.append(RefusedAccount(named.account, named.agency, sentence))
            else:
                allowed.add(named.account)
        if refused and not spec.go_on_without_agency:
            raise PermissionDenied("; ".join(r.sentence for r in refused[:_TOLD]))
        fleet = await self._fleet.of(allowed)
        self._trust.note(fleet)
        return fleet, tuple(refused)

    async def _why_not(self, named: ExecutionAccount, own: str) -> str:
        agency: Agency | None
        try:
            agency = await self._accounts.get_agency(named.account, named.agency)
        except NotFound:
            agency = None
        return why_not(agency, named.account, own, named.agency, AgencyPermission.SCAN, self._clock.now())
