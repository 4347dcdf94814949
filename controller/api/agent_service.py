"""The agents' side: enrolment, and one stream an agent for ever. Turns messages into calls on the parts, and orders into messages.

What an agent says is acknowledged only after it is stored. When the store cannot keep it now, the stream ends with UNAVAILABLE and
the agent says it all again later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from grpc import aio

from common import VERSION, failpoints
from common.clock import Clock
from common.errors import InvalidArgument, NotFound, PatchError, PermissionDenied, TooLarge, Unavailable
from common.pb.v1 import agent_pb2 as pb
from common.pb.v1 import agent_pb2_grpc
from controller.api.interception import Context
from controller.api.translate_agent import (
    Offer,
    Result,
    digest_of,
    offer_of,
    operating_system,
    order_message,
    placement,
    result_of,
    time_of,
)
from controller.dispatch.clone_watch import CloneWatch
from controller.dispatch.intake import Intake
from controller.fleet.model import AgentState, Instance, InstanceId, Placement
from controller.fleet.orders import Ack, Assign, Cancel, Goodbye, Order, Want
from controller.fleet.placement import apply_hello, check
from controller.fleet.sessions import Session, Sessions
from controller.hub.api import Hub
from controller.inventory.model import Report
from controller.store.api import FleetStore
from controller.tickets.model import Outcome, parse_run_id

log = logging.getLogger(__name__)

MAX_CHUNK: Final = 256 * 1024
MAX_OPEN_RESULTS: Final = 64
"""Results and reports of one agent that may wait for their content at the same time."""
_DELETED: Final = "this instance was deleted; enrol the host again with a new token"
_RETIRED: Final = "this instance was retired; to take it back: patchctl instances restore"
_QUARANTINED_COME_BACK: Final = timedelta(minutes=10)
_HELLO_TIMEOUT_SECONDS: Final = 30.0
_CLOCK_SKEW: Final = timedelta(minutes=5)


class Desk(Protocol):
    """Lets hosts in and renews their certificates."""

    async def enroll(
        self, token: str, csr_pem: bytes, placement: Placement, machine_id: str
    ) -> tuple[str, bytes, bytes]:
        """Return instance id, certificate chain and CA."""
        ...

    async def renew(self, instance_id: InstanceId, csr_pem: bytes) -> tuple[bytes, bytes]:
        """Return certificate chain and CA."""
        ...


class Engine(Protocol):
    """What agents have to do with tickets."""

    async def report(self, instance_id: InstanceId, run_id: str, outcome: Outcome, error: str) -> bool:
        """Take a result."""
        ...

    def progress(self, instance_id: InstanceId, run_id: str, step: str) -> None:
        """Note a step."""
        ...

    def connected(self, instance_id: InstanceId) -> None:
        """Say again what was promised."""
        ...

    def lost(self, instance_id: InstanceId) -> None:
        """Note an absence."""
        ...


@dataclass(frozen=True, slots=True)
class Pacing:
    """How fast agents are to talk."""

    heartbeat_interval: timedelta
    report_interval: timedelta
    stream_life: timedelta


FAILPOINTS: Final[Mapping[type[Order], tuple[str, str]]] = {
    Assign: ("agents.before_assignment", "agents.assignment_sent"),
    Cancel: ("agents.before_cancel", "agents.cancel_sent"),
    Want: ("agents.before_want", "agents.want_sent"),
    Ack: ("agents.before_acknowledgement", "agents.acknowledgement_sent"),
    Goodbye: ("agents.before_goodbye", "agents.goodbye_sent"),
}
"""Where a test may kill the controller, before and after it says such a thing."""

Caller = Callable[[Context], tuple[InstanceId, datetime]]
"""Who speaks: the instance of the peer's certificate and when that ends. Raises Unauthenticated for anybody else."""
Reported = Callable[[Report], None]
"""Called with each report that was stored."""


class AgentService(agent_pb2_grpc.AgentServiceServicer):
    """Serves agents."""

    def __init__(
        self,
        *,
        desk: Desk,
        engine: Engine,
        intake: Intake,
        sessions: Sessions,
        store: FleetStore,
        hub: Hub,
        clock: Clock,
        pacing: Pacing,
        caller: Caller,
        reported: Reported,
        clones: CloneWatch,
    ) -> None:
        """Join the parts."""
        self._desk = desk
        self._engine = engine
        self._intake = intake
        self._sessions = sessions
        self._store = store
        self._hub = hub
        self._clock = clock
        self._pacing = pacing
        self._caller = caller
        self._reported = reported
        self._clones = clones

    async def Enroll(self, request: pb.EnrollRequest, context: Context) -> pb.EnrollResponse:  # noqa: N802
        """Let a host in."""
        instance_id, chain, ca = await self._desk.enroll(
            request.token, request.certificate_request_pem, placement(request.placement), request.machine_id[:64]
        )
        self._hub.publish("instances")
        return pb.EnrollResponse(instance_id=instance_id, certificate_chain_pem=chain, ca_pem=ca)

    async def Renew(self, request: pb.RenewRequest, context: Context) -> pb.RenewResponse:  # noqa: N802
        """Renew an agent's certificate."""
        instance_id, _ = self._caller(context)
        chain, ca = await self._desk.renew(instance_id, request.certificate_request_pem)
        return pb.RenewResponse(certificate_chain_pem=chain, ca_pem=ca)

    async def Leave(self, request: pb.LeaveRequest, context: Context) -> pb.LeaveResponse:  # noqa: N802
        """Note that an agent is being uninstalled."""
        instance_id, _ = self._caller(context)
        await self._known(instance_id)
        now = self._clock.now()
        gone = await self._store.change_instance(
            instance_id, lambda i: replace(i, agent_said=AgentState.UNINSTALLED, last_seen_at=now)
        )
        if (session := self._sessions.get(instance_id)) is not None:
            session.closed.set()
        log.info("agent is being uninstalled", extra={"instance": instance_id, "agent": gone.name})
        self._hub.publish("instances")
        return pb.LeaveResponse()

    async def Connect(  # type: ignore[override]  # noqa: N802 - reads and writes as it goes, which the stubs do not know
        self, request_iterator: object, context: Context
    ) -> None:
        """Hold an agent's stream."""
        instance_id, not_after = self._caller(context)
        await self._known(instance_id)
        hello = await self._hello(context)
        instance = await self._known(instance_id)  # as it is now: Hello may have been long in coming
        instance = await self._update(instance, hello)
        session = self._sessions.open(instance_id)
        log.info("agent connected", extra={"instance": instance_id, "agent": instance.name, "peer": context.peer()})
        try:
            self._hub.publish("instances")
            await self._clones.greeted(instance, hello.boot_id[:64], session)
            stream = _Stream(self, session, context)
            with contextlib.suppress(_StreamEnds):  # it has gone already
                await stream.write(pb.ConnectResponse(welcome=self._welcome(instance, not_after)))
                self._engine.connected(instance_id)
                await stream.hold(self._pacing.stream_life * random.uniform(0.8, 1.2))  # noqa: S311 - spreads, hides nothing
        finally:
            self._intake.forget(session)
            if self._sessions.close(session):
                log.info("agent went away", extra={"instance": instance_id, "agent": instance.name})
                self._engine.lost(instance_id)
                self._hub.publish("instances")
                await asyncio.shield(self._store.mark_seen({instance_id: self._clock.now()}))

    async def take_result(self, session: Session, result: Result) -> None:
        """Store how a run ended, with its report, then acknowledge."""
        failpoints.reached("agents.result_heard")
        outcome, error = result.outcome, result.error
        if result.offer is not None:
            try:
                await self._take_report(session, result.offer, _ticket_of(result.run_id))
            except InvalidArgument as wrong:
                outcome, error = Outcome.FAILED, str(wrong)
        elif outcome is Outcome.SUCCEEDED:
            outcome, error = Outcome.FAILED, "the agent called the run a success and sent no report"
        if not await self._engine.report(session.instance_id, result.run_id, outcome, error):
            log.warning("result is of no use", extra={"instance": session.instance_id, "run": result.run_id})
        failpoints.reached("agents.result_stored")
        session.send(Ack(result.id))

    async def take_self_report(self, session: Session, report_id: str, offer: Offer) -> None:
        """Store a report that nobody ordered, then acknowledge."""
        try:
            await self._take_report(session, offer, "")
        except InvalidArgument as wrong:
            log.warning("report refused", extra={"instance": session.instance_id, "error": str(wrong)})
        session.send(Ack(report_id))

    def repeated(self, session: Session, report_id: str, report: Report) -> None:
        """Acknowledge a report that was stored and said nothing new."""
        self._reported(report)
        session.send(Ack(report_id))

    async def _take_report(self, session: Session, offer: Offer, ticket_id: str) -> None:
        report, runs = await self._intake.receive(session, offer.manifest_digest, offer.collected_at, ticket_id)
        if runs.id and session.runs != runs:
            instance = await self._store.get_instance(session.instance_id)
            system = operating_system(runs.id, runs.version, runs.pretty_name, runs.arch)
            if instance.operating_system != system:
                await self._store.change_instance(instance.id, lambda now: replace(now, operating_system=system))
            session.runs = runs
        session.latest = report if report.manifest_digest == offer.manifest_digest else None
        self._reported(report)

    async def heard(self, session: Session) -> None:
        """Note that an agent spoke."""
        self._sessions.hear(session)
        if session.doubted:
            await self._clones.heard_again(session)

    @property
    def intake(self) -> Intake:
        """Where content goes."""
        return self._intake

    @property
    def engine(self) -> Engine:
        """Where progress goes."""
        return self._engine

    async def _known(self, instance_id: InstanceId) -> Instance:
        try:
            instance = await self._store.get_instance(instance_id)
        except NotFound:
            raise PermissionDenied("this agent is not enrolled here; enrol it again with a new token") from None
        if instance.deleted_at is not None:
            raise PermissionDenied(_DELETED)
        if instance.retired_at is not None:
            raise PermissionDenied(_RETIRED)
        return instance

    async def _hello(self, context: Context) -> pb.Hello:
        try:
            async with asyncio.timeout(_HELLO_TIMEOUT_SECONDS):
                message = await context.read()
        except TimeoutError:
            raise InvalidArgument.of("hello", "did not come; the first message of a stream is Hello") from None
        if not isinstance(message, pb.ConnectRequest) or message.WhichOneof("body") != "hello" or message.sequence != 1:
            raise InvalidArgument.of("hello", "the first message of a stream is Hello with sequence 1")
        return message.hello

    async def _update(self, instance: Instance, hello: pb.Hello) -> Instance:
        now = self._clock.now()
        skew = abs(now - time_of("hello.now", hello.now)) if hello.HasField("now") else timedelta(0)
        if skew > _CLOCK_SKEW:
            log.warning(
                "an agent's clock is off", extra={"instance": instance.id, "seconds": round(skew.total_seconds())}
            )
        stands = placement(hello.placement)
        try:
            check(stands)
        except InvalidArgument as wrong:  # a slip in a host's settings is no reason to lose sight of the host
            log.warning("an agent's placement is refused", extra={"instance": instance.id, "error": str(wrong)})
            stands = Placement()
        told = operating_system(hello.os_id, hello.os_version, hello.os_pretty_name, hello.arch)

        def greeted(known: Instance) -> Instance:
            alike = replace(told, version="", product="") == replace(known.operating_system, version="", product="")
            system = (
                known.operating_system if alike else told
            )  # a report knows the version more exactly than a greeting
            changed = apply_hello(known, stands, system, hello.ip_address[:64], hello.agent_version[:32])
            return replace(
                changed,
                machine_id=hello.machine_id[:64],
                last_seen_at=now,
                agent_said=AgentState.NONE,
                replaced_by=None,  # who speaks has not been replaced
            )

        kept = await self._store.change_instance(instance.id, greeted)
        if kept.deleted_at is not None or kept.retired_at is not None:
            raise PermissionDenied(_DELETED if kept.deleted_at is not None else _RETIRED)
        return kept

    def _welcome(self, instance: Instance, not_after: datetime) -> pb.Welcome:
        welcome = pb.Welcome(instance_id=instance.id, controller_version=VERSION)
        if instance.quarantined:  # hosts with one key end each other's streams: they are not to do it all the time
            welcome.pace.retry_after.FromTimedelta(_QUARANTINED_COME_BACK)
        welcome.pace.heartbeat_interval.FromTimedelta(self._pacing.heartbeat_interval)
        welcome.pace.report_interval.FromTimedelta(self._pacing.report_interval)
        welcome.certificate_not_after.FromDatetime(not_after)
        welcome.now.FromDatetime(self._clock.now())
        return welcome


class _StreamEnds(Exception):
    """Not an error: nobody has anything more to say on this stream."""


class _Stream:
    """One open stream: reads, writes, and the results that wait for their content."""

    def __init__(self, service: AgentService, session: Session, context: Context) -> None:
        self._service = service
        self._session = session
        self._context = context
        self._read = 1  # Hello was the first
        self._written = 0
        self._open_results = set[str]()
        self._is_over = False
        """Nothing is read any more, and no task may begin: the last one of this stream may have ended."""

    async def write(self, message: pb.ConnectResponse) -> None:
        """Say something; raise _StreamEnds when the agent has gone meanwhile."""
        self._written += 1
        message.sequence = self._written
        try:
            await self._context.write(message)
        except aio.InternalError:  # how grpc says so when it is not the handler that is cancelled first
            raise _StreamEnds from None

    async def hold(self, life: timedelta) -> None:
        """Return when the stream has ended in peace; raise the PatchError that ends it otherwise."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write_orders(), name="write")
                tasks.create_task(self._end(life), name="end")
                tasks.create_task(self._read_messages(tasks), name="read")
        except* _StreamEnds:
            log.debug("stream ended in peace", extra={"instance": self._session.instance_id})
        except* PatchError as refused:
            raise _first(refused) from None

    async def _end(self, life: timedelta) -> None:
        if not life:
            await self._session.closed.wait()
            raise _StreamEnds
        try:
            async with asyncio.timeout(life.total_seconds()):
                await self._session.closed.wait()
        except TimeoutError:
            await self.write(order_message(Goodbye(retry_after=timedelta(seconds=1))))
        raise _StreamEnds

    async def _write_orders(self) -> None:
        while True:
            order = await self._session.orders.get()
            before, sent = FAILPOINTS[type(order)]
            failpoints.reached(before)
            await self.write(order_message(order))
            failpoints.reached(sent)

    async def _read_messages(self, tasks: asyncio.TaskGroup) -> None:
        try:
            while True:
                message = await self._context.read()
                if not isinstance(message, pb.ConnectRequest):
                    raise _StreamEnds
                self._read += 1
                if message.sequence != self._read:
                    raise InvalidArgument.of(
                        "sequence", f"is {message.sequence}, expected {self._read}: a message was lost"
                    )
                await self._service.heard(self._session)
                await self._take(message, tasks)
                del message  # its arena is large, and the next one may be long in coming
        finally:
            self._is_over = True

    async def _take(self, message: pb.ConnectRequest, tasks: asyncio.TaskGroup) -> None:
        match message.WhichOneof("body"):
            case "heartbeat":
                return
            case "run_progress":
                progress = message.run_progress
                self._service.engine.progress(self._session.instance_id, progress.run_id, progress.step[:32])
            case "run_result":
                result = result_of(message.run_result)
                if self._opens(result.id):
                    self._begin(result.id, self._service.take_result(self._session, result), tasks)
            case "self_report":
                self._take_self_report(message.self_report.id, offer_of(message.self_report.report), tasks)
            case "blob_chunk":
                chunk = message.blob_chunk
                if len(chunk.data) > MAX_CHUNK:
                    raise TooLarge("blob_chunk.data", len(chunk.data), MAX_CHUNK)
                await self._service.intake.take_chunk(
                    self._session,
                    digest_of("blob_chunk.digest", chunk.digest),
                    chunk.offset,
                    chunk.data,
                    last=chunk.last,
                    zstd=chunk.encoding == pb.BLOB_ENCODING_ZSTD,
                )
            case "blob_gone":
                self._service.intake.gone(self._session, digest_of("blob_gone.digest", message.blob_gone.digest))
            case other:
                raise InvalidArgument.of("body", f"{other or 'nothing'} cannot come here")

    def _take_self_report(self, report_id: str, offer: Offer, tasks: asyncio.TaskGroup) -> None:
        """Have it stored with those of others, if it says nothing new, else by itself."""
        if not self._opens(report_id):
            return

        def store_alone() -> None:
            self._begin(report_id, self._service.take_self_report(self._session, report_id, offer), tasks)

        def told(stored: Report | None) -> None:
            if stored is not None:
                self._service.repeated(self._session, report_id, stored)
            if stored is not None or self._is_over:
                self._open_results.discard(report_id)
            else:
                store_alone()

        if not self._service.intake.repeat(self._session, offer.manifest_digest, offer.collected_at, told):
            store_alone()

    def _opens(self, report_id: str) -> bool:
        """Note that a result or report waits from now on; return False when it does already."""
        if report_id in self._open_results:
            return False  # said twice on one stream: the first will be acknowledged
        if not 0 < len(report_id) <= 64:
            raise InvalidArgument.of("id", f"has {len(report_id)} characters, allowed are 1 to 64")
        if len(self._open_results) >= MAX_OPEN_RESULTS:
            raise Unavailable(f"{MAX_OPEN_RESULTS} results of this agent wait already; say the rest later")
        self._open_results.add(report_id)
        return True

    def _begin(self, report_id: str, work: Coroutine[object, object, None], tasks: asyncio.TaskGroup) -> None:
        task = tasks.create_task(work, name=f"result {report_id}")
        task.add_done_callback(lambda _: self._open_results.discard(report_id))


def _first(group: BaseExceptionGroup[PatchError]) -> PatchError:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _ticket_of(run_id: str) -> str:
    try:
        return parse_run_id(run_id)[0]
    except ValueError:
        return ""
