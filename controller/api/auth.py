"""Who calls, and whether they may. One table says what each RPC needs; a test compares it with the protos.

Every peer shows a certificate of our CA (server.py): an agent's own, or the anonymous join credential. Agents are believed by their
certificate alone. Operators say who they are with a token, as metadata `authorization: Bearer pwa_...`, whichever certificate carries it.
What they may do is what both the token and its user may (controller/accounts).
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final

from common import digest, tls
from common.clock import Clock
from common.errors import NotFound, PatchError, PermissionDenied, Unauthenticated
from controller.accounts.model import OperatorToken, User
from controller.accounts.rules import RANK, role_of, why_refused
from controller.api.interception import Context, Interceptor
from controller.fleet.model import DEFAULT_ACCOUNT, InstanceId, Role
from controller.fleet.scope import Scope
from controller.hub.api import Subscription
from controller.store.api import AccountStore

log = logging.getLogger(__name__)

OPERATOR_PREFIX: Final = "pwa_"
"""Operators' tokens begin with it, so that one is recognised when it leaks."""
ENROLMENT_PREFIX: Final = "pwe_"
"""Enrolment tokens begin with it."""
_MAX_SECRET: Final = 200
_CACHE_SIZE: Final = 1024
_CACHE_LIFE: Final = timedelta(seconds=15)
_LOOK_EVERY: Final = timedelta(milliseconds=200)
"""Guessing tokens must not cost a look into a folder each."""
_NOTE_USE_EVERY: Final = timedelta(minutes=1)
_LOGIN_HELP: Final = "log in: patchctl login"
ACCOUNTS: Final = "accounts"
"""Topic of the hub on which it is said that accounts, users or tokens have changed."""


class Peer(Enum):
    """What an RPC needs that is not for operators."""

    ANY = "any certificate of this controller's CA"
    AGENT = "an agent's certificate"


Need = Peer | Role

ACCESS: Final[Mapping[str, Need]] = {
    "/patchwarden.v1.AgentService/Enroll": Peer.ANY,
    "/patchwarden.v1.AgentService/Renew": Peer.AGENT,
    "/patchwarden.v1.AgentService/Connect": Peer.AGENT,
    "/patchwarden.v1.AgentService/Leave": Peer.AGENT,
    "/patchwarden.v1.AccountService/WhoAmI": Role.VIEWER,
    "/patchwarden.v1.AccountService/CreateAccount": Role.ADMIN,
    "/patchwarden.v1.AccountService/ListAccounts": Role.VIEWER,
    "/patchwarden.v1.AccountService/CreateUser": Role.ADMIN,
    "/patchwarden.v1.AccountService/UpdateUser": Role.ADMIN,
    "/patchwarden.v1.AccountService/ListUsers": Role.ADMIN,
    "/patchwarden.v1.AccountService/CreateOperatorToken": Role.VIEWER,
    "/patchwarden.v1.AccountService/ListOperatorTokens": Role.VIEWER,
    "/patchwarden.v1.AccountService/RevokeOperatorToken": Role.VIEWER,
    "/patchwarden.v1.AccountService/CreateAgency": Role.ADMIN,
    "/patchwarden.v1.AccountService/ListAgencies": Role.VIEWER,
    "/patchwarden.v1.AccountService/RevokeAgency": Role.ADMIN,
    "/patchwarden.v1.FleetService/ListInstances": Role.VIEWER,
    "/patchwarden.v1.FleetService/GetInstance": Role.VIEWER,
    "/patchwarden.v1.FleetService/UpdateInstance": Role.OPERATOR,
    "/patchwarden.v1.FleetService/DeleteInstance": Role.ADMIN,
    "/patchwarden.v1.FleetService/RetireInstance": Role.OPERATOR,
    "/patchwarden.v1.FleetService/RestoreInstance": Role.OPERATOR,
    "/patchwarden.v1.FleetService/ReleaseInstance": Role.OPERATOR,
    "/patchwarden.v1.FleetService/MergeInstance": Role.OPERATOR,
    "/patchwarden.v1.FleetService/PreviewCmdbImport": Role.VIEWER,
    "/patchwarden.v1.FleetService/ImportCmdb": Role.ADMIN,
    "/patchwarden.v1.FleetService/CreateEnrolmentToken": Role.ADMIN,
    "/patchwarden.v1.FleetService/ListEnrolmentTokens": Role.VIEWER,
    "/patchwarden.v1.FleetService/RevokeEnrolmentToken": Role.ADMIN,
    "/patchwarden.v1.BaselineService/ListBaselines": Role.VIEWER,
    "/patchwarden.v1.BaselineService/GetBaseline": Role.VIEWER,
    "/patchwarden.v1.BaselineService/CreateBaseline": Role.ADMIN,
    "/patchwarden.v1.BaselineService/SetDefaultBaseline": Role.ADMIN,
    "/patchwarden.v1.BaselineService/DeleteBaseline": Role.ADMIN,
    "/patchwarden.v1.BaselineService/TryBaseline": Role.VIEWER,
    "/patchwarden.v1.BaselineService/AssignBaseline": Role.ADMIN,
    "/patchwarden.v1.BaselineService/UnassignBaseline": Role.ADMIN,
    "/patchwarden.v1.BaselineService/ListAssignments": Role.VIEWER,
    "/patchwarden.v1.BaselineService/CreateException": Role.ADMIN,
    "/patchwarden.v1.BaselineService/ListExceptions": Role.VIEWER,
    "/patchwarden.v1.BaselineService/RevokeException": Role.ADMIN,
    "/patchwarden.v1.TicketService/Preview": Role.VIEWER,
    "/patchwarden.v1.TicketService/CreateTicket": Role.OPERATOR,
    "/patchwarden.v1.TicketService/GetTicket": Role.VIEWER,
    "/patchwarden.v1.TicketService/ListTickets": Role.VIEWER,
    "/patchwarden.v1.TicketService/ListRuns": Role.VIEWER,
    "/patchwarden.v1.TicketService/Watch": Role.VIEWER,
    "/patchwarden.v1.TicketService/Pause": Role.OPERATOR,
    "/patchwarden.v1.TicketService/Continue": Role.OPERATOR,
    "/patchwarden.v1.TicketService/End": Role.OPERATOR,
    "/patchwarden.v1.TicketService/RetryBatch": Role.OPERATOR,
    "/patchwarden.v1.TicketService/RetryRuns": Role.OPERATOR,
    "/patchwarden.v1.TicketService/GetRunLog": Role.VIEWER,
    "/patchwarden.v1.TicketService/CancelBatch": Role.OPERATOR,
    "/patchwarden.v1.TicketService/CancelRun": Role.OPERATOR,
    "/patchwarden.v1.ScheduleService/PreviewSchedule": Role.VIEWER,
    "/patchwarden.v1.ScheduleService/CreateSchedule": Role.OPERATOR,
    "/patchwarden.v1.ScheduleService/GetSchedule": Role.VIEWER,
    "/patchwarden.v1.ScheduleService/ListSchedules": Role.VIEWER,
    "/patchwarden.v1.ScheduleService/UpdateSchedule": Role.OPERATOR,
    "/patchwarden.v1.ScheduleService/EnableSchedule": Role.OPERATOR,
    "/patchwarden.v1.ScheduleService/DisableSchedule": Role.OPERATOR,
    "/patchwarden.v1.ScheduleService/DeleteSchedule": Role.OPERATOR,
    "/patchwarden.v1.ScheduleService/ApproveSchedule": Role.OPERATOR,
    "/patchwarden.v1.ScheduleService/RejectSchedule": Role.OPERATOR,
    "/patchwarden.v1.ScheduleService/RunSchedule": Role.OPERATOR,
    "/patchwarden.v1.ScheduleService/ListScheduleRuns": Role.VIEWER,
    "/patchwarden.v1.ReportService/ListReports": Role.VIEWER,
    "/patchwarden.v1.ReportService/GetReport": Role.VIEWER,
    "/patchwarden.v1.ReportService/GetSummary": Role.VIEWER,
    "/patchwarden.v1.ReportService/Why": Role.VIEWER,
    "/patchwarden.v1.ReportService/Export": Role.VIEWER,
    "/patchwarden.v1.ReportService/GetTrend": Role.VIEWER,
    "/patchwarden.v1.ReportService/ListAdvisories": Role.VIEWER,
    "/patchwarden.v1.ReportService/GetAdvisory": Role.VIEWER,
    "/patchwarden.v1.ReportService/ListAffected": Role.VIEWER,
    "/patchwarden.v1.NotificationService/CreateContact": Role.ADMIN,
    "/patchwarden.v1.NotificationService/UpdateContact": Role.ADMIN,
    "/patchwarden.v1.NotificationService/DeleteContact": Role.ADMIN,
    "/patchwarden.v1.NotificationService/GetContact": Role.VIEWER,
    "/patchwarden.v1.NotificationService/ListContacts": Role.VIEWER,
    "/patchwarden.v1.NotificationService/CreateShift": Role.ADMIN,
    "/patchwarden.v1.NotificationService/UpdateShift": Role.ADMIN,
    "/patchwarden.v1.NotificationService/DeleteShift": Role.ADMIN,
    "/patchwarden.v1.NotificationService/GetShift": Role.VIEWER,
    "/patchwarden.v1.NotificationService/ListShifts": Role.VIEWER,
    "/patchwarden.v1.NotificationService/AddOverride": Role.OPERATOR,
    "/patchwarden.v1.NotificationService/RemoveOverride": Role.OPERATOR,
    "/patchwarden.v1.NotificationService/GetOnDuty": Role.VIEWER,
    "/patchwarden.v1.NotificationService/ListNotifications": Role.VIEWER,
    "/patchwarden.v1.NotificationService/GetNotification": Role.VIEWER,
    "/patchwarden.v1.NotificationService/TestNotification": Role.OPERATOR,
    "/patchwarden.v1.NotificationService/RetryNotification": Role.OPERATOR,
    "/patchwarden.v1.NotificationService/ListChannels": Role.VIEWER,
    "/patchwarden.v1.AuditService/ListAuditEntries": Role.ADMIN,
    "/patchwarden.v1.AuditService/ListAuditChain": Role.ADMIN,
    "/grpc.health.v1.Health/Check": Peer.ANY,
    "/grpc.health.v1.Health/List": Peer.ANY,
    "/grpc.health.v1.Health/Watch": Peer.ANY,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Peer.ANY,
}
"""What each RPC needs. A role may also do what those before it may."""


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent, by its own certificate."""

    instance_id: InstanceId
    not_after: datetime
    """When the certificate ends."""


@dataclass(frozen=True, slots=True)
class Operator:
    """A person or a program with a token."""

    token_id: str
    name: str
    """The user's."""
    role: Role
    """What both the user and the token may."""
    expires_at: datetime | None
    account: str = DEFAULT_ACCOUNT
    enterprise_projects: tuple[str, ...] = ()
    """Those to which the operator is bound; empty means all of the account."""
    user_role: Role = Role.VIEWER
    """What the user may with a token that was not made to do less."""
    secret_hash: bytes = field(default=b"", repr=False)
    """Of the token: how to ask again whether it still holds."""

    @property
    def scope(self) -> Scope:
        """What of the fleet the operator may see."""
        return Scope(frozenset({self.account}), frozenset(self.enterprise_projects))


_OPERATOR: ContextVar[Operator] = ContextVar("operator")


def operator() -> Operator:
    """Return the operator on whose behalf this runs. Only within an RPC that needs a role, or within `acting`."""
    return _OPERATOR.get()


@contextmanager
def acting(caller: Operator) -> Iterator[None]:
    """Act on somebody's behalf outside of a call: a schedule that fires."""
    token = _OPERATOR.set(caller)
    try:
        yield
    finally:
        _OPERATOR.reset(token)


def agent_of(context: Context) -> Agent | None:
    """Return the agent whose certificate the peer showed; None for the join credential. Raises Unauthenticated for any other."""
    shown: Mapping[str, Any] = context.auth_context()
    pem = b"".join(shown.get("x509_pem_cert", ()))
    uri = tls.uri_of(pem)
    if (instance_id := tls.agent_of(uri)) is not None:
        return Agent(InstanceId(instance_id), tls.not_after(pem))
    if uri == tls.JOIN_URI:
        return None
    raise Unauthenticated("the certificate is neither an agent's nor the join credential")


def calling_agent(context: Context) -> tuple[InstanceId, datetime]:
    """Return the agent that calls and when its certificate ends; raise Unauthenticated for anybody else."""
    agent = agent_of(context)
    if agent is None:
        raise Unauthenticated("this needs an agent's own certificate: enrol first, then use the one you were given")
    return agent.instance_id, agent.not_after


Look = Callable[[bytes], Awaitable[str]]
"""Given the hash of a token that nobody knows, looks for new ones, and says why this one was not taken, if that is so."""


class Gate:
    """Lets calls through or refuses them."""

    def __init__(
        self, accounts: AccountStore, clock: Clock, changes: Subscription, look_for_new: Look | None = None
    ) -> None:
        """Ask `accounts` for tokens, and again once `changes` (of the topic ACCOUNTS) says so.

        `look_for_new` is awaited when a token is not known; then it is looked for once more.
        """
        self._look_for_new = look_for_new
        self._looked_at = -_LOOK_EVERY.total_seconds()
        self._accounts = accounts
        self._clock = clock
        self._changes = changes
        self._known: OrderedDict[bytes, tuple[float, OperatorToken, User]] = OrderedDict()
        self._age = 0
        """How often what was known has been forgotten."""
        self._noted: OrderedDict[str, datetime] = OrderedDict()
        self._noting = set[asyncio.Task[None]]()
        self.denied: Callable[[Operator, str, Context, PatchError], Awaitable[None]] = _tell_nobody
        """Awaited with each call that an operator may not make, before he is told."""

    def interceptor(self) -> Interceptor:
        """Return the interceptor that asks this gate before each call."""

        @asynccontextmanager
        async def around(method: str, context: Context) -> AsyncIterator[None]:
            caller: Operator | None = None
            try:
                caller = await self._admit(method, context)
            except PatchError as error:
                self._log(method, context, error)
                raise
            if caller is not None:
                _OPERATOR.set(caller)  # every RPC is a task of its own: nobody else sees it
            yield

        return Interceptor(around)

    async def _admit(self, method: str, context: Context) -> Operator | None:
        need = ACCESS.get(method)
        agent = agent_of(context)
        if need is Peer.ANY:
            return None
        if need is Peer.AGENT:
            calling_agent(context)
            return None
        if not isinstance(need, Role):
            raise PermissionDenied(f"{method} is not open to anybody")
        found = await self._operator(context)
        if found is None:
            who = f"the agent of {agent.instance_id}" if agent is not None else "the join credential"
            raise Unauthenticated(
                f"{who} says nothing about who you are: this needs an operator's token; {_LOGIN_HELP}"
            )
        if RANK[found.role] < RANK[need]:
            call, is_token = method.rpartition("/")[2], RANK[found.user_role] >= RANK[need]
            error = PermissionDenied(
                f"{found.name} is {found.role}: {call} needs the role {need}; "
                + (
                    f"the token {found.token_id} was made to do less than its user may: use another, patchctl login"
                    if is_token
                    else f"ask an admin of the account {found.account} for it"
                )
            )
            await self.denied(found, method, context, error)
            raise error
        return found

    async def _operator(self, context: Context) -> Operator | None:
        given = [v for k, v in context.invocation_metadata() or () if k == "authorization"]
        if not given:
            return None
        scheme, _, secret = str(given[0]).partition(" ")
        if len(given) > 1 or scheme.lower() != "bearer" or not 0 < len(secret) <= _MAX_SECRET:
            raise Unauthenticated(f"the authorization metadata must be once 'Bearer' and a token; {_LOGIN_HELP}")
        return await self.identify(digest.of(secret.strip().encode()))

    async def identify(self, secret_hash: bytes) -> Operator:
        """Return who speaks with the token of this hash, as he stands now; raise Unauthenticated."""
        token, user = await self._find(secret_hash)
        now = self._clock.now()
        if refusal := why_refused(token, user, now):
            raise Unauthenticated(f"{refusal}; {_LOGIN_HELP}")
        self._note_use(token, now)
        return Operator(
            token_id=token.id,
            name=user.name,
            role=role_of(token, user),
            expires_at=token.expires_at,
            account=user.account,
            enterprise_projects=user.enterprise_projects,
            user_role=user.role,
            secret_hash=secret_hash,
        )

    async def changed(self, timeout_seconds: float) -> None:
        """Wait until something has changed, or so long."""
        if await self._changes.wait(timeout_seconds):
            self._forget()

    async def drain(self) -> None:
        """Wait for what is still being noted."""
        await asyncio.gather(*self._noting, return_exceptions=True)

    async def _find(self, secret_hash: bytes) -> tuple[OperatorToken, User]:
        age, now = self._heard(), self._clock.monotonic()
        if (known := self._known.get(secret_hash)) is not None and now - known[0] < _CACHE_LIFE.total_seconds():
            self._known.move_to_end(secret_hash)
            return known[1:]
        self._known.pop(secret_hash, None)
        try:
            found = await self._accounts.find_token(secret_hash)
        except NotFound:
            if self._look_for_new is None or now - self._looked_at < _LOOK_EVERY.total_seconds():
                raise Unauthenticated(f"nobody has this token; {_LOGIN_HELP}") from None
            self._looked_at = now
            if refusal := await self._look_for_new(secret_hash):
                raise Unauthenticated(refusal) from None
            return await self._find(secret_hash)
        if self._heard() == age:  # else it may have been read before the change
            self._known[secret_hash] = (now, *found)
            while len(self._known) > _CACHE_SIZE:
                self._known.popitem(last=False)
        return found

    def _heard(self) -> int:
        """Forget everything if something has changed; return how often that was."""
        if self._changes.poll():
            self._forget()
        return self._age

    def _forget(self) -> None:
        self._known.clear()
        self._age += 1

    def _note_use(self, token: OperatorToken, now: datetime) -> None:
        """Note that a token was used, once a minute; nobody waits for it, and nobody is refused when it fails."""
        last = self._noted.get(token.id, token.last_used_at)
        if last is not None and now - last < _NOTE_USE_EVERY:
            return
        self._noted[token.id] = now
        self._noted.move_to_end(token.id)
        while len(self._noted) > _CACHE_SIZE:
            self._noted.popitem(last=False)

        async def note() -> None:
            try:
                await self._accounts.mark_used(token.id, now)
            except PatchError as error:
                log.warning("use of a token not noted", extra={"token": token.id, "error": str(error)})

        task = asyncio.create_task(note(), name="note use of a token")
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    def _log(self, method: str, context: Context, error: PatchError) -> None:
        shown: Mapping[str, Any] = context.auth_context()
        log.warning(
            "call refused",
            extra={
                "method": method,
                "peer": context.peer(),
                "certificate": tls.uri_of(b"".join(shown.get("x509_pem_cert", ()))) or "none of ours",
                "sentence": str(error),
            },
        )


async def _tell_nobody(caller: Operator, method: str, context: Context, error: PatchError) -> None:
    """Stand in for whoever wants to know what was denied."""
