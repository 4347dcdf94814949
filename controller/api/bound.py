"""What the caller may see of the stores: what is outside does not exist for it. Servicers that answer operators read through these views.

The caller is `auth.operator()`: an operator within a call, or the one on whose behalf a schedule fires. Loops that serve everybody (the
engine, the assessor, agents' streams) use the stores themselves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from common.clock import Clock
from common.errors import Conflict, NotFound, PermissionDenied
from controller.accounts.model import AgencyPermission
from controller.accounts.rules import live
from controller.api.auth import Operator, operator
from controller.api.checks import reference
from controller.api.lookup import find_instance
from controller.compliance.model import (
    Assignment,
    AssignmentScope,
    Baseline,
    Exceptions,
    ExceptionScope,
    PatchException,
)
from controller.fleet.model import EnrolmentToken, Instance, InstanceId, ResourceType
from controller.fleet.scope import Scope
from controller.notify.model import Message, MessageState
from controller.store.api import AccountStore, BaselineStore, FleetStore, OutboxStore, TicketStore
from controller.tickets.model import Run, RunState, Ticket, TicketId, TicketState

_VIEWS: Final = 16
"""So many callers' views of the fleet are kept, each as long as the fleet is the same."""
_AT_ONCE: Final = 200


class BoundFleet:
    """Instances and enrolment tokens of the caller's account, and of its enterprise projects if it is bound to some.

    Instances of another account are seen by whom that account granted an agency, and only when they are asked for: by the account's name
    in a selector, or one by its own id or name.
    """

    def __init__(self, store: FleetStore, accounts: AccountStore, clock: Clock) -> None:
        """Look into this store; `accounts` knows the agencies."""
        self._store = store
        self._accounts = accounts
        self._clock = clock
        self._views = OrderedDict[tuple[bool, Scope], tuple[tuple[Instance, ...], tuple[Instance, ...]]]()

    async def instances(self, accounts: Collection[str] = ()) -> tuple[Instance, ...]:
        """Return instances as the store does; those of other accounts only when they are named. Raise PermissionDenied."""
        return self._view(await self._store.instances(), await self._reach(accounts), retired=False)

    async def retired_instances(self, accounts: Collection[str] = ()) -> tuple[Instance, ...]:
        """Return retired instances, as `instances` does."""
        return self._view(await self._store.retired_instances(), await self._reach(accounts), retired=True)

    async def find(self, field: str, called: str) -> Instance:
        """Return the instance with this id or name: the caller's own, else one that an agency shows.

        Raises InvalidArgument, NotFound, and Rejected when several have the name.
        """
        known, caller = await self._store.called(reference(field, called)), operator()
        try:
            return find_instance(caller.scope.visible(known), field, called)
        except NotFound:
            granted = await self._granted(caller)
            if not granted:
                raise
            return find_instance(Scope(granted).visible(known), field, called)

    async def of(self, accounts: Collection[str]) -> tuple[Instance, ...]:
        """Return the instances of these accounts, for whoever has found out that they may be seen."""
        caller = operator()
        scope = Scope(frozenset(accounts), frozenset(caller.enterprise_projects))
        return self._view(await self._store.instances(), scope, retired=False)

    async def change_instance(self, instance_id: InstanceId, change: Callable[[Instance], Instance]) -> Instance:
        """Change one as the store does; raise NotFound for one that is outside, and PermissionDenied if it would be then."""
        caller = operator()

        def bound(now: Instance) -> Instance:
            if not caller.scope.covers(now.account, now.enterprise_project):
                raise NotFound("instance", instance_id, "list them: patchctl instances list")
            changed = change(now)
            refuse_outside(caller, changed.enterprise_project)
            return changed

        return await self._store.change_instance(instance_id, bound)

    async def rewrite(self, change: Callable[[tuple[Instance, ...]], Iterable[Instance]]) -> tuple[Instance, ...]:
        """Rewrite what the caller sees of the fleet; what `change` makes anew belongs to the caller's account."""
        caller = operator()

        def bound(fleet: tuple[Instance, ...]) -> Iterable[Instance]:
            seen = caller.scope.visible(fleet)
            outside = {i.id for i in fleet} - {i.id for i in seen}
            for made in change(seen):
                if made.id in outside:
                    raise Conflict("instance", made.name)
                refuse_outside(caller, made.enterprise_project)
                yield replace(made, account=caller.account)

        return await self._store.rewrite(bound)

    async def put_enrolment_token(self, token: EnrolmentToken) -> None:
        """Write a token that lets hosts into what the caller may see."""
        caller = operator()
        refuse_outside(caller, token.placement.enterprise_project or "")
        await self._store.put_enrolment_token(replace(token, account=caller.account))

    async def get_enrolment_token(self, token_id: str) -> EnrolmentToken:
        """Return an enrolment token; raise NotFound."""
        found = await self._store.get_enrolment_token(token_id)
        if not _lets_in(operator(), found):
            raise NotFound("enrolment token", token_id)
        return found

    async def enrolment_tokens(self, limit: int, before: tuple[datetime, str] | None) -> tuple[EnrolmentToken, ...]:
        """Return tokens ordered by (created_at, id), newest first, only those below `before`."""
        caller, found = operator(), list[EnrolmentToken]()
        while len(found) < limit:
            page = await self._store.enrolment_tokens(_AT_ONCE, before)
            found += [token for token in page if _lets_in(caller, token)]
            if len(page) < _AT_ONCE:
                break
            before = (page[-1].created_at, page[-1].id)
        return tuple(found[:limit])

    async def _reach(self, accounts: Collection[str]) -> Scope:
        caller = operator()
        others = frozenset(accounts) - {caller.account}
        if not others:
            return caller.scope
        for other in sorted(others - await self._granted(caller)):
            if caller.enterprise_projects:
                whole_account(f"what the account {other} grants")
            raise PermissionDenied(
                f"{caller.account} sees nothing of the account {other}: an admin of {other} can grant it: patchctl agency create"
                f" NAME --trust {caller.account} --permission {AgencyPermission.VIEW}"
            )
        return Scope(frozenset(accounts))

    async def _granted(self, caller: Operator) -> frozenset[str]:
        """Return the accounts that let the caller see their instances: what is granted is for the whole account."""
        if caller.enterprise_projects:
            return frozenset()
        now = self._clock.now()
        return frozenset(a.account for a in await self._accounts.agencies_trusting(caller.account) if live(a, now))

    def _view(self, fleet: tuple[Instance, ...], scope: Scope, *, retired: bool) -> tuple[Instance, ...]:
        """Return what a scope covers; the very same tuple while the fleet is the same: whoever counts it need not look twice."""
        known = self._views.get((retired, scope))
        if known is not None and known[0] is fleet:
            self._views.move_to_end((retired, scope))
            return known[1]
        visible = scope.visible(fleet)
        self._views[retired, scope] = (fleet, fleet if len(visible) == len(fleet) else visible)
        if len(self._views) > _VIEWS:
            self._views.popitem(last=False)
        return self._views[retired, scope][1]


class BoundTickets:
    """Tickets of the caller's account; of those for others' enterprise projects too one that is bound sees none."""

    def __init__(self, store: TicketStore) -> None:
        """Look into this store."""
        self._store = store

    async def head(self, ticket_id: TicketId) -> Ticket:
        """Return a ticket without its runs; raise NotFound."""
        found = await self._store.head(ticket_id)
        if not sees_ticket(operator(), found):
            raise NotFound("ticket", ticket_id)
        return found

    async def heads(
        self, states: Collection[TicketState], limit: int, before: tuple[datetime, TicketId] | None
    ) -> tuple[Ticket, ...]:
        """Return tickets as the store does."""
        caller, found = operator(), list[Ticket]()
        at_once = _AT_ONCE if caller.enterprise_projects else limit
        while len(found) < limit:
            page = await self._store.heads(states, at_once, before, caller.account)
            found += [ticket for ticket in page if sees_ticket(caller, ticket)]
            if len(page) < at_once:
                break
            before = (page[-1].created_at, page[-1].id)
        return tuple(found[:limit])

    async def runs(
        self, ticket_id: TicketId, batch: int, states: Collection[RunState], limit: int, after: tuple[int, int] | None
    ) -> tuple[tuple[tuple[int, int], Run], ...]:
        """Return runs as the store does; raise NotFound."""
        await self.head(ticket_id)
        return await self._store.runs(ticket_id, batch, states, limit, after)


class BoundBaselines:
    """Public baselines and the account's own; its assignments and exceptions. Who is bound to projects changes nothing that is for all."""

    def __init__(self, store: BaselineStore, fleet: BoundFleet) -> None:
        """Look into this store; `fleet` says which instances the caller sees."""
        self._store = store
        self._fleet = fleet

    async def put_baseline(self, baseline: Baseline) -> None:
        """Write a version of a baseline of the account."""
        await self._store.put_baseline(replace(baseline, account=whole_account("a baseline").account))

    async def get_baseline(self, baseline_id: str, version: int = 0) -> Baseline:
        """Return one version, 0 for the newest; raise NotFound."""
        found = await self._store.get_baseline(baseline_id, version)
        if not found.is_for(operator().account):
            raise NotFound("baseline", baseline_id)
        return found

    async def find_baseline(self, reference: str) -> Baseline:
        """Return the newest version of the baseline with this id, else with this name; raise NotFound."""
        return await self._store.find_baseline(reference, operator().account)

    async def baselines(self) -> tuple[Baseline, ...]:
        """Return the newest versions, public ones first, then by name."""
        account = operator().account
        return tuple(b for b in await self._store.baselines() if b.is_for(account))

    async def baseline_as_of(self, baseline_id: str, at: datetime) -> Baseline:
        """Return the version that was the newest at an instant; raise NotFound."""
        found = await self._store.baseline_as_of(baseline_id, at)
        if not found.is_for(operator().account):
            raise NotFound("baseline", baseline_id)
        return found

    async def delete_baseline(self, baseline_id: str, at: datetime, by: str) -> None:
        """Take a baseline of the account out of lists; raise NotFound."""
        account = whole_account("a baseline").account
        if (await self._store.get_baseline(baseline_id)).account != account:
            raise NotFound("baseline", baseline_id)
        await self._store.delete_baseline(baseline_id, at, by)

    async def set_default(self, baseline_id: str, at: datetime, by: str) -> None:
        """Make it the account's default; raise NotFound."""
        account = whole_account("a default baseline").account
        await self.get_baseline(baseline_id)
        await self._store.set_default(baseline_id, at, by, account)

    async def put_assignment(self, assignment: Assignment) -> None:
        """Add to the history of the account's assignments, for what the caller may see all of."""
        caller = operator()
        if assignment.scope is AssignmentScope.PROJECT:
            refuse_outside(caller, assignment.value)
        elif assignment.scope is not AssignmentScope.INSTANCE:
            whole_account("a baseline for a group")
        await self._store.put_assignment(replace(assignment, account=caller.account))

    async def assignments(self) -> tuple[Assignment, ...]:
        """Return the account's assignments that hold now; not those of instances or projects that the caller does not see."""
        caller = operator()
        held = [a for a in await self._store.assignments() if a.account == caller.account]
        if not caller.enterprise_projects:
            return tuple(held)
        seen = {i.id for i in await self._fleet.instances()}
        return tuple(a for a in held if _assigned_within(a, caller, seen))

    async def put_exception(self, exception: PatchException) -> Exceptions:
        """Write an exception of the account, for what the caller may see all of."""
        if exception.scope is not ExceptionScope.INSTANCE:
            whole_account("an exception for more than one instance")
        return await self._store.put_exception(replace(exception, account=operator().account))

    async def exceptions(self) -> tuple[PatchException, ...]:
        """Return the account's exceptions; not those of instances that the caller does not see."""
        caller = operator()
        known = [e for e in (await self._store.exceptions()).all if e.account == caller.account]
        if not caller.enterprise_projects:
            return tuple(known)
        seen = {i.id for i in await self._fleet.instances()}
        return tuple(e for e in known if e.scope is not ExceptionScope.INSTANCE or e.scope_value in seen)

    async def defaults(self) -> Mapping[tuple[ResourceType, str], str]:
        """Return the account's default's baseline id by (scenario, operating system)."""
        return await self._store.defaults(operator().account)


class BoundOutbox:
    """Messages of the caller's account. Who is bound to projects sees those of tickets and exceptions that it sees, and its own tests."""

    def __init__(self, store: OutboxStore, tickets: BoundTickets, baselines: BoundBaselines) -> None:
        """Look into this store; `tickets` and `baselines` say what the caller sees."""
        self._store = store
        self._tickets = tickets
        self._baselines = baselines

    async def get_message(self, message_id: str) -> Message:
        """Return a message; raise NotFound."""
        found = await self._store.get_message(message_id)
        if found.account != operator().account or not await self._is_seen(found):
            raise NotFound("notification", message_id)
        return found

    async def messages(
        self, states: Collection[MessageState], limit: int, before: tuple[datetime, str] | None
    ) -> tuple[Message, ...]:
        """Return messages ordered by (at, id), newest first, only those below `before`, in these states (none: in all)."""
        caller, found = operator(), list[Message]()
        at_once = _AT_ONCE if caller.enterprise_projects else limit
        while len(found) < limit:
            page = await self._store.messages(caller.account, states, at_once, before)
            found += [message for message in page if await self._is_seen(message)]
            if len(page) < at_once:
                break
            before = (page[-1].at, page[-1].id)
        return tuple(found[:limit])

    async def _is_seen(self, message: Message) -> bool:
        caller = operator()
        if not caller.enterprise_projects:
            return True
        notice = await self._store.get_notice(message.notice_id)
        if notice.exception is not None:
            return notice.exception.id in {e.id for e in await self._baselines.exceptions()}
        if notice.ticket is None:
            return notice.asked_by == caller.name
        try:
            await self._tickets.head(TicketId(notice.ticket.id))
        except NotFound:
            return False
        return True


def sees_ticket(caller: Operator, ticket: Ticket) -> bool:
    """Say whether a ticket exists for a caller: it is its account's, and about nothing but what the caller may see."""
    if ticket.account != caller.account:
        return False
    return not caller.enterprise_projects or set(ticket.enterprise_projects) <= set(caller.enterprise_projects)


def whole_account(what: str) -> Operator:
    """Return the caller; raise PermissionDenied if it is bound to enterprise projects: this concerns others as well."""
    caller = operator()
    if caller.enterprise_projects:
        raise PermissionDenied(
            f"{caller.name} is bound to the enterprise projects {', '.join(caller.enterprise_projects)}: {what} concerns"
            f" the whole account {caller.account}; ask an operator who is not bound"
        )
    return caller


def refuse_outside(caller: Operator, enterprise_project: str) -> None:
    """Raise PermissionDenied if something would lie outside the enterprise projects to which the caller is bound."""
    if caller.scope.covers(caller.account, enterprise_project):
        return
    raise PermissionDenied(
        f"{caller.name} is bound to the enterprise projects {', '.join(caller.enterprise_projects)}, not to"
        f" {enterprise_project or 'none'}; choose one of these"
    )


def _lets_in(caller: Operator, token: EnrolmentToken) -> bool:
    return caller.scope.covers(token.account, token.placement.enterprise_project or "")


def _assigned_within(assignment: Assignment, caller: Operator, seen: Collection[InstanceId]) -> bool:
    match assignment.scope:
        case AssignmentScope.INSTANCE:
            return assignment.value in seen
        case AssignmentScope.PROJECT:
            return assignment.value in caller.enterprise_projects
    return True
