"""Writes the audit log around every call that may change something: before it is carried out, and how it ended.

The attempt is on disk before anything changes, so there is no change without an entry: not even by a controller that dies in the middle.
A call whose attempt cannot be written down is not carried out.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from grpc import aio

from common.clock import Clock
from common.errors import PatchError
from controller.api.auth import ACCESS, Operator, operator
from controller.api.interception import Context, Handler
from controller.audit.model import AuditKind, Deed
from controller.fleet.model import DEFAULT_ACCOUNT, InstanceId, Role
from controller.store.api import AuditStore

log = logging.getLogger(__name__)

READS: Final = frozenset(
    {
        "/patchwarden.v1.AccountService/ListUsers",
        "/patchwarden.v1.AuditService/ListAuditEntries",
        "/patchwarden.v1.AuditService/ListAuditChain",
    }
)
"""Calls that need more than the role VIEWER and change nothing."""
VIEWERS_CHANGES: Final = frozenset(
    {
        "/patchwarden.v1.AccountService/CreateOperatorToken",
        "/patchwarden.v1.AccountService/RevokeOperatorToken",
    }
)
"""Calls that change something though the role VIEWER is enough for them: about what is the caller's own."""
NOTED: Final = frozenset({"/patchwarden.v1.AgentService/Enroll"})
"""Calls of others than operators that are written down once they have succeeded: anybody may try them, as often as he likes."""
MAX_DETAIL: Final = 2000
"""Characters; a request that is longer is told by its fields' sizes."""
_MAX_SUBJECT: Final = 200
_MAX_SENTENCE: Final = 500
_SECRETS: Final = ("secret", "token", "password", "credential", "csr")
"""Fields with one of these in their names are not written down; ids of tokens are."""
_SUBJECTS: Final = (
    *("id", "ticket_id", "instance_id", "schedule_id", "schedule", "instance"),
    *("baseline", "name", "subject", "identifier", "reference", "user"),
)


def is_recorded(method: str) -> bool:
    """Say whether calls of a method are written down."""
    needs_more = ACCESS.get(method) in (Role.OPERATOR, Role.ADMIN)
    return (needs_more and method not in READS) or method in VIEWERS_CHANGES


AccountOf = Callable[[InstanceId], Awaitable[str]]
"""Returns the account of an instance; raises NotFound."""


class Recorder:
    """Writes deeds down."""

    def __init__(self, store: AuditStore, clock: Clock, account_of: AccountOf | None = None) -> None:
        """Write into `store`, dated by `clock`; `account_of` is asked whose instance a host has become."""
        self._account_of = account_of
        self._store = store
        self._clock = clock
        self._ending = set[asyncio.Task[None]]()

    async def note(self, method: str, subject: str = "", detail: str = "", account: str = DEFAULT_ACCOUNT) -> None:
        """Write down something that is no call of an operator. Raises Unavailable."""
        deed = Deed(self._clock.now(), AuditKind.NOTED, method, account, subject=subject, detail=detail)
        await self._store.append(deed)

    async def denied(self, caller: Operator, method: str, context: Context, error: PatchError) -> None:
        """Write down that an operator tried what he may not do; nothing else depends on it, so that failing is logged only."""
        if not is_recorded(method):
            return
        deed = self._deed(caller, method, context, AuditKind.REFUSED, detail=_cut(str(error), _MAX_SENTENCE))
        await self._end(deed)

    async def attempted(self, caller: Operator, method: str, context: Context, request: object) -> int:
        """Write down that a call is about to be carried out; return its number. Raises Unavailable."""
        deed = self._deed(
            caller, method, context, AuditKind.ATTEMPTED, subject=subject_of(request), detail=detail_of(request)
        )
        return (await self._store.append(deed)).number

    async def ended(
        self, attempt: int, caller: Operator, method: str, context: Context, kind: AuditKind, subject: str, detail: str
    ) -> None:
        """Write down how a call ended. The attempt is there already, so that failing is logged only."""
        deed = self._deed(caller, method, context, kind, subject=subject, detail=_cut(detail, _MAX_SENTENCE))
        await self._end(deed, attempt)

    def ended_unheard(self, attempt: int, caller: Operator, method: str, context: Context) -> None:
        """Write down, after the fact, that the caller went away before the end."""
        task = asyncio.create_task(
            self.ended(attempt, caller, method, context, AuditKind.FAILED, "", "the caller went away before the end")
        )
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def noted(self, method: str, context: Context, response: object) -> None:
        """Write down what a host has done."""
        call = method.removeprefix("/patchwarden.v1.")
        instance_id, account = subject_of(response), DEFAULT_ACCOUNT
        if self._account_of is not None:
            try:
                account = await self._account_of(InstanceId(instance_id))
            except PatchError as error:
                log.warning("account of a host not known", extra={"instance": instance_id, "error": str(error)})
        peer = _peer(context)
        await self._end(Deed(self._clock.now(), AuditKind.NOTED, call, account, peer=peer, subject=instance_id))

    async def drain(self) -> None:
        """Wait for what is still being written."""
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _end(self, deed: Deed, attempt: int = 0) -> None:
        try:
            await self._store.append(replace(deed, attempt=attempt))
        except PatchError as error:
            log.exception(
                "the end of a call is not in the audit log",
                extra={"method": deed.method, "attempt": attempt, "operator": deed.operator, "error": str(error)},
            )

    def _deed(
        self, caller: Operator, method: str, context: Context, kind: AuditKind, *, subject: str = "", detail: str = ""
    ) -> Deed:
        return Deed(
            self._clock.now(),
            kind,
            method.removeprefix("/patchwarden.v1."),
            caller.account,
            operator=caller.name,
            token_id=caller.token_id,
            peer=_peer(context),
            subject=subject,
            detail=detail,
        )


class RecordingInterceptor(aio.ServerInterceptor):
    """Puts a Recorder around recorded calls. Inside the gate: it needs to know who calls."""

    def __init__(self, recorder: Recorder) -> None:
        """Write with this recorder."""
        self._recorder = recorder

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the handler of a recorded method."""
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or not (is_recorded(method) or method in NOTED):
            return handler
        inner = handler.unary_unary
        if inner is None:
            raise RuntimeError(f"{method} changes something and streams: the audit log has no form for that")

        async def note(request: Any, context: Context) -> Any:
            response = await inner(request, context)
            await self._recorder.noted(method, context, response)
            return response

        async def record(request: Any, context: Context) -> Any:
            return await self._record(method, inner, request, context)

        return grpc.unary_unary_rpc_method_handler(
            note if method in NOTED else record,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    async def _record(
        self, method: str, inner: Callable[[Any, Context], Awaitable[Any]], request: Any, context: Context
    ) -> Any:
        caller, recorder = operator(), self._recorder
        attempt = await recorder.attempted(caller, method, context, request)
        subject = subject_of(request)
        try:
            response = await inner(request, context)
        except PatchError as error:
            kind = AuditKind.FAILED if error.retry else AuditKind.REFUSED
            await recorder.ended(attempt, caller, method, context, kind, subject, str(error))
            raise
        except asyncio.CancelledError:
            recorder.ended_unheard(attempt, caller, method, context)
            raise
        except Exception:
            fault = "a fault of the controller; its log tells more"
            await recorder.ended(attempt, caller, method, context, AuditKind.FAILED, subject, fault)
            raise
        await recorder.ended(attempt, caller, method, context, AuditKind.DONE, subject_of(response) or subject, "")
        return response


def subject_of(message: object) -> str:
    """Return the id or name that a message is about, its own or that of the first record in it; empty when it names none."""
    if not isinstance(message, Message):
        return ""
    fields = message.DESCRIPTOR.fields_by_name
    for name in _SUBJECTS:
        if name in fields and fields[name].type == FieldDescriptor.TYPE_STRING and not fields[name].is_repeated:
            value = getattr(message, name)
            if value:
                return _cut(str(value), _MAX_SUBJECT)
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE and not field.is_repeated and (found := subject_of(value)):
            return found
    return ""


def detail_of(request: object) -> str:
    """Return a request as JSON without its secrets, cut to size: a long one is told by the sizes of its fields."""
    if not isinstance(request, Message):
        return ""
    plain = json_format.MessageToDict(request, preserving_proto_field_name=True)
    text = _json(_without_secrets(plain))
    if len(text) <= MAX_DETAIL:
        return text
    sizes = {
        name: value if len(_json(value)) <= 100 else f"({len(_json(value))} characters)"
        for name, value in plain.items()
    }
    return _cut(_json(_without_secrets(sizes)), MAX_DETAIL)


def _without_secrets(value: Any, name: str = "") -> Any:
    lowered = name.lower()
    if any(word in lowered for word in _SECRETS) and not lowered.endswith(("_id", "_ids")) and value not in ("", None):
        return "(not written down)"
    if isinstance(value, Mapping):
        return {key: _without_secrets(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_secrets(inner, name) for inner in value]
    return value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _peer(context: Context) -> str:
    return str(context.peer() or "")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
