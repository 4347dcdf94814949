"""The controller as one object: builds every part, starts them in order, stops them in order. Tests run it inside their own process."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from common import VERSION
from common.clock import Clock, SystemClock
from common.errors import Conflict, NotFound
from common.ids import Ids, RandomIds
from controller.api.account_service import AccountService
from controller.api.agent_service import AgentService, Pacing
from controller.api.audit_service import AuditService
from controller.api.auth import ACCOUNTS, Gate, calling_agent
from controller.api.authority import CertificateDesk, Keyring, open_keyring
from controller.api.baseline_service import BaselineService
from controller.api.bound import BoundBaselines, BoundFleet, BoundOutbox, BoundTickets
from controller.api.faults import fault_interceptor
from controller.api.files import make_folder, write
from controller.api.fleet_service import FleetService
from controller.api.making import TicketMaker
from controller.api.notification_service import NotificationService
from controller.api.open_streams import OpenStreams, StreamInterceptor, end_those_refused
from controller.api.operators import first_token, take_tokens
from controller.api.planning import Planner
from controller.api.reach import Reach
from controller.api.recording import Recorder, RecordingInterceptor
from controller.api.report_service import ReportService
from controller.api.schedule_service import ScheduleService
from controller.api.selecting import Selecting
from controller.api.server import Server, Services, serve
from controller.api.ticket_service import TicketService
from controller.api.watching import Watcher
from controller.channels.file import ChannelsFile
from controller.channels.transport import ChildTransport, mail_domain
from controller.compliance.model import Baseline
from controller.compliance.presets import public_baselines
from controller.dispatch.assess import Assessor
from controller.dispatch.clone_watch import CloneWatch
from controller.dispatch.comeback import comeback
from controller.dispatch.engine import Engine
from controller.dispatch.intake import Intake
from controller.dispatch.notifier import Notifier
from controller.dispatch.scheduler import Scheduler
from controller.dispatch.trust import Trust
from controller.dispatch.watch import watch_silence
from controller.fleet.model import DEFAULT_ACCOUNT, InstanceId
from controller.fleet.orders import Goodbye
from controller.fleet.sessions import Sessions
from controller.hub.local import LocalHub
from controller.inventory.parse_worker import MetadataParser
from controller.settings import Settings
from controller.store.api import AccountStore, BaselineStore, FleetStore, Store
from controller.store.sqlite.store import SqliteStore

log = logging.getLogger(__name__)

DATABASE: Final = "patchwarden.db"
ADDRESS: Final = "address"
_ACCOUNTS_AT_ONCE: Final = 200
_GRACE: Final = timedelta(seconds=3)
_GOODBYE_SECONDS: Final = 0.2
"""Real time that streams get to say goodbye before they end."""
_COMEBACKS_A_SECOND: Final = 500
"""How many agents a new process should see a second when all come back."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is built over the store, before anything listens."""

    hub: LocalHub
    sessions: Sessions
    engine: Engine
    intake: Intake
    assessor: Assessor
    watcher: Watcher
    channels: ChannelsFile
    trust: Trust


class Controller:
    """One controller process. `start` returns when it serves; `stop` when everything is stored and closed."""

    def __init__(
        self, settings: Settings, *, store: Store | None = None, clock: Clock | None = None, ids: Ids | None = None
    ) -> None:
        """Without a store it opens (and on stop closes) the one in the data folder; one that is given is the caller's to close."""
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.ids: Ids = ids or RandomIds()
        self.first_token: str | None = None
        """The first admin's token, if this start made it."""
        self._given_store = store
        self._running = AsyncExitStack()
        self._server: Server | None = None

    @property
    def address(self) -> str:
        """HOST:PORT where it serves. Only between start and stop."""
        assert self._server is not None
        return self._server.address

    async def start(self) -> None:
        """Make what the data folder lacks and begin to serve. Raises Rejected or Unavailable; then nothing is left running."""
        async with AsyncExitStack() as starting:
            await self._start(starting)
            self._running = starting.pop_all()

    async def stop(self) -> None:
        """End cleanly within seconds: no new calls, streams told to come again, everything stored, the store closed."""
        await self._running.aclose()
        log.info("stopped")

    async def _start(self, running: AsyncExitStack) -> None:
        settings, data = self.settings, self.settings.data
        channels = ChannelsFile(settings.notify)
        make_folder(data)
        store = self._given_store
        if store is None:  # first of all: it is also the lock on the folder
            store = await asyncio.to_thread(SqliteStore.open, data / DATABASE)
            running.push_async_callback(store.close)
        keyring = open_keyring(data, settings.hosts, self.clock.now())
        await seed(store.baselines, self.clock.now(), await _all_accounts(store.accounts))
        recorder = Recorder(store.audit, self.clock, partial(_account_of, store.fleet))
        running.push_async_callback(recorder.drain)
        await recorder.note("controller started", VERSION)
        await take_tokens(data, store.accounts, recorder.note)
        self.first_token = await first_token(data, store.accounts, self.ids, self.clock.now(), recorder.note)
        parts = await self._build(store, channels, running)
        self._notify(store, parts, running)
        self._server = await self._serve(store, keyring, parts, recorder, running)
        running.push_async_callback(self._stop_serving, self._server, parts)
        write(data / ADDRESS, f"{self._server.address}\n".encode(), mode=0o644)
        running.callback((data / ADDRESS).unlink, missing_ok=True)
        log.info("serving", extra={"address": self._server.address, "data": str(data)})

    async def _build(self, store: Store, channels: ChannelsFile, running: AsyncExitStack) -> _Parts:
        settings, clock = self.settings, self.clock
        hub, sessions = LocalHub(), Sessions(clock, settings.heartbeat_interval)
        sessions.barred.note((*await store.fleet.instances(), *await store.fleet.retired_instances()))
        parser = await running.enter_async_context(MetadataParser())
        assessor = Assessor(store, parser, clock)
        await assessor.start()
        running.push_async_callback(assessor.stop)
        trust = Trust(store.accounts, clock)
        trust.note((*await store.fleet.instances(), *await store.fleet.retired_instances()))
        await trust.read()
        following = asyncio.create_task(trust.follow(hub, ACCOUNTS), name="follow agencies")
        following.add_done_callback(_log_failure)
        running.push_async_callback(_cancel, following)
        engine = Engine(store.tickets, sessions, hub, clock, trust)
        await engine.start()
        running.push_async_callback(engine.stop)
        intake = Intake(store.inventory, store.repeats, clock, settings.max_blob_bytes)
        running.push_async_callback(intake.drain)
        silence = asyncio.create_task(
            watch_silence(sessions, intake, store.fleet, clock, settings.heartbeat_interval), name="watch silence"
        )
        silence.add_done_callback(_log_failure)
        running.push_async_callback(_cancel, silence)
        watcher = Watcher(store.tickets, engine, hub, clock)
        return _Parts(hub, sessions, engine, intake, assessor, watcher, channels, trust)

    def _notify(self, store: Store, parts: _Parts, running: AsyncExitStack) -> None:
        transport = ChildTransport(parts.channels.now, mail_domain(self.settings.hosts))
        notifier = Notifier(store, transport, parts.hub, self.clock, random.SystemRandom().random)
        sending = asyncio.create_task(notifier.run(), name="notifier")
        sending.add_done_callback(_log_failure)
        running.push_async_callback(_cancel, sending)

    async def _serve(
        self, store: Store, keyring: Keyring, parts: _Parts, recorder: Recorder, running: AsyncExitStack
    ) -> Server:
        settings, clock, ids = self.settings, self.clock, self.ids
        desk = CertificateDesk(keyring.authority, store.fleet, clock, settings.certificate_lifetime)
        clones = CloneWatch(store.sightings, store.fleet, parts.sessions, parts.hub, clock)
        await clones.start()
        agents = AgentService(
            desk=desk,
            engine=parts.engine,
            intake=parts.intake,
            sessions=parts.sessions,
            store=store.fleet,
            hub=parts.hub,
            clock=clock,
            pacing=Pacing(settings.heartbeat_interval, settings.report_interval, settings.stream_life),
            caller=calling_agent,
            reported=parts.assessor.reported,
            clones=clones,
        )
        fleet = BoundFleet(store.fleet, store.accounts, clock)
        tickets = BoundTickets(store.tickets)
        baselines = BoundBaselines(store.baselines, fleet)

        async def account_made(account: str) -> None:
            """Put into a new account what every account begins with."""
            await seed(store.baselines, clock.now(), [account])
            await parts.assessor.refresh_all()

        selecting = Selecting(fleet, parts.sessions, parts.assessor.assessments, clock, settings.stale_instance_after)
        reach = Reach(fleet, store.accounts, parts.trust, clock)
        planner = Planner(baselines, store.contacts, reach, selecting, parts.assessor.deciding_baseline)
        maker = TicketMaker(store.tickets, parts.engine, planner, clock, ids)
        scheduler = Scheduler(
            store.schedules,
            store.tickets,
            maker.make_scheduled,
            clock,
            settled=partial(comeback, store.fleet, parts.sessions, clock),
        )
        services = Services(
            agents=agents,
            fleet=FleetService(
                fleet, baselines, parts.sessions, parts.assessor, selecting, clones, parts.hub, clock, ids
            ),
            baselines=BaselineService(baselines, fleet, parts.assessor, selecting, clock, ids),
            tickets=TicketService(tickets, parts.engine, planner, maker, parts.watcher, clock),
            reports=ReportService(store, fleet, baselines, parts.assessor, selecting, clock),
            schedules=ScheduleService(store.schedules, tickets, scheduler, planner, clock, ids),
            accounts=AccountService(store.accounts, parts.hub, clock, ids, account_made),
            notifications=NotificationService(
                store.contacts,
                store.outbox,
                BoundOutbox(store.outbox, tickets, baselines),
                parts.hub,
                clock,
                ids,
                parts.channels,
            ),
            audit=AuditService(store.audit),
        )

        changes = running.enter_context(parts.hub.subscribe(ACCOUNTS))
        gate = Gate(store.accounts, clock, changes, partial(take_tokens, settings.data, store.accounts, recorder.note))
        running.push_async_callback(gate.drain)
        gate.denied = recorder.denied
        streams = OpenStreams()
        ending = asyncio.create_task(end_those_refused(streams, gate), name="end streams that are refused")
        ending.add_done_callback(_log_failure)
        running.push_async_callback(_cancel, ending)
        interceptors = (
            *(fault_interceptor(ids), gate.interceptor()),
            *(RecordingInterceptor(recorder), StreamInterceptor(streams)),
        )
        server = await serve(settings.listen, keyring, settings.max_message_bytes, interceptors, services)
        scheduler.start()
        running.push_async_callback(scheduler.stop)
        return server

    async def _stop_serving(self, server: Server, parts: _Parts) -> None:
        await server.say_not_serving()
        parts.watcher.stop()
        sessions = parts.sessions.all()
        goodbye = Goodbye(timedelta(seconds=max(1.0, len(sessions) / _COMEBACKS_A_SECOND)))
        for session in sessions:
            session.send(goodbye)
        if sessions:
            await asyncio.sleep(_GOODBYE_SECONDS)
        for session in sessions:
            session.closed.set()
        await server.stop(_GRACE)


async def seed(store: BaselineStore, now: datetime, accounts: Iterable[str] = (DEFAULT_ACCOUNT,)) -> None:
    """Put the public baselines there, as new versions where this release changed them, and make each an account's default that has none."""
    presets = list[Baseline]()
    for preset in public_baselines():
        try:
            there = await store.get_baseline(preset.id)
        except NotFound:
            there = None
        version = there.version if there is not None else 0
        same = there is not None and replace(preset, version=version, created_at=there.created_at) == there
        try:
            if not same:
                await store.put_baseline(replace(preset, version=version + 1, created_at=now))
            presets.append(preset)
        except Conflict:
            log.warning("public baseline left out: its name is taken", extra={"baseline": preset.name})
    for account in accounts:
        defaults = await store.defaults(account)
        for preset in presets:
            if (preset.scenario, preset.operating_system) not in defaults:
                await store.set_default(preset.id, account=account)


async def _all_accounts(store: AccountStore) -> list[str]:
    found, after = list[str](), ""
    while page := await store.accounts(_ACCOUNTS_AT_ONCE, after):
        found += [account.name for account in page]
        after = found[-1]
    return found


async def _account_of(store: FleetStore, instance_id: InstanceId) -> str:
    return (await store.get_instance(instance_id)).account


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a loop of the controller ended", extra={"loop": task.get_name()}, exc_info=error)
