"""A controller's ticket side over a memory store, thousands of scripted agents, operators and time: everything in any order, by a seed.

The engine, the machine and the plan are the real ones; played are the agents, the clock and the disk. Each step draws from its
own seed, so that a run can be repeated, and shortened by leaving steps out.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Final
from zoneinfo import ZoneInfo

import controller.dispatch.engine as engine_module
from common.errors import InvalidArgument, PatchError
from controller.dispatch.engine import Engine
from controller.fleet.model import Instance, InstanceId, Quarantine, QuarantineCause
from controller.fleet.orders import Assign, Cancel, Order
from controller.fleet.sessions import Session, Sessions
from controller.hub.local import LocalHub
from controller.notify.model import NotificationPolicy, Recipients
from controller.schedules.local_time import WEEK
from controller.schedules.windows import MaintenanceWindow
from controller.tickets import machine
from controller.tickets.batches import batches
from controller.tickets.model import (
    BatchCanceled,
    BatchRetried,
    Continued,
    Ended,
    Event,
    Outcome,
    Paused,
    RunCanceled,
    RunsRetried,
    RunState,
    Target,
    Ticket,
    TicketId,
    TicketSpec,
    TicketState,
    parse_run_id,
)
from controller.tickets.policies import (
    BatchPolicy,
    BatchPolicyKind,
    Canary,
    OfflinePolicy,
    SuspensionMode,
    SuspensionPolicy,
)
from controller.tickets.waiting import opens_at
from tests.builders import an_instance
from tests.fakes import FakeClock
from tests.simulation.ledger import FAILED, START, SUCCEEDED, Ledger, must, recount

HEARTBEAT = timedelta(seconds=30)
TICKET_EVENTS: Final = (START, FAILED, SUCCEEDED)
_MOST_LIVE = 12
_OUTCOMES = (Outcome.SUCCEEDED,) * 16 + (Outcome.FAILED, Outcome.FAILED, Outcome.SKIPPED)


class Orders(asyncio.Queue[Order]):
    """What one session is to be told; each time also says whose turn it is, so that nobody must look at thousands of empty queues."""

    def __init__(self, session: Session, told: deque[Session]) -> None:
        super().__init__()
        self._session = session
        self._told = told

    def _put(self, item: Order) -> None:
        super()._put(item)
        self._told.append(self._session)


@dataclass
class Agent:
    """One host. It does each run once, keeps its result until that is acknowledged, and says it as often as it is asked."""

    session: Session | None = None
    results: dict[str, Outcome] = field(default_factory=dict)
    """Of every run it ever did; what is not acknowledged is in `unacknowledged`."""
    unacknowledged: set[str] = field(default_factory=set)


class World:
    """All of it. `step` makes something happen; Violation says that it should not have."""

    def __init__(self, seed: int, instances: int) -> None:
        self.seed = seed
        self.clock = FakeClock()
        self.barred: dict[InstanceId, Instance] = {}
        self.ledger = Ledger(self.barred.__contains__)
        self.agents = {InstanceId(f"i-{n}"): Agent() for n in range(instances)}
        self.ids = list(self.agents)
        self.targets = [
            Target(i, f"web-{n}", f"region-{n % 3}", f"zone-{n % 2}", f"group-{n % 5}") for n, i in enumerate(self.ids)
        ]
        self.answers: list[tuple[float, int, InstanceId, str]] = []
        self.said: deque[tuple[InstanceId, str]] = deque(maxlen=2000)
        self.live: list[TicketId] = []
        self.made = 0
        self.happened: Counter[str] = Counter()
        self.trace: deque[str] = deque(maxlen=60)
        self._count = 0
        self._boot()

    def _boot(self) -> None:
        self.sessions = Sessions(self.clock, HEARTBEAT)
        self.told: deque[Session] = deque()
        self.sessions.barred.note(self.barred.values())
        self.engine = Engine(self.ledger, self.sessions, LocalHub(), self.clock)  # type: ignore[arg-type]  # it passes on

    async def step(self, number: int) -> None:
        """Make one thing happen; which one, and all about it, is drawn from the world's seed and this number."""
        rng = Random(f"{self.seed}/{number}")
        (what,) = rng.choices(self._KINDS, self._WEIGHTS)
        await what(self, rng)
        await self._hear()
        self._look()
        if number % 400 == 0:
            for ticket_id in self.live:
                recount(self.ledger.stored[ticket_id])
        if number % 25 == 0:
            for ticket_id in [t for t in self.live if not self._goes_on(self.ledger.stored[t])]:
                recount(self.ledger.stored[ticket_id])
                self.ledger.check_told(self.ledger.stored[ticket_id])
                self.live.remove(ticket_id)

    def _look(self) -> None:
        if self.ledger.broken is not None:
            raise self.ledger.broken

    def _note(self, kind: str, *facts: object, times: int = 1) -> None:
        self.happened[kind] += times
        self.trace.append(f"{self.clock.now():%d %H:%M:%S} {kind} {' '.join(map(str, facts))}".rstrip())

    # Time and agents

    async def _time_passes(self, rng: Random) -> None:
        seconds = rng.choice((0.1, 1.0, 5.0, 20.0, 70.0)) * rng.random()
        if rng.random() < 0.05 and (openings := self._openings()):
            seconds = (min(openings) - self.clock.now()).total_seconds()
            self.happened["a window opens"] += 1
        self._note("time", f"{seconds:.2f}s")
        await self.clock.advance(seconds)
        await self._answer(rng, most=400)

    async def _answer(self, rng: Random, most: int) -> None:
        """Let agents whose work is done say so, those that are connected."""
        now, saying = self.clock.monotonic(), list[tuple[InstanceId, str]]()
        while self.answers and self.answers[0][0] <= now and len(saying) < most:
            _, _, instance, run_id = heapq.heappop(self.answers)
            if self.agents[instance].session is not None and run_id in self.agents[instance].unacknowledged:
                saying.append((instance, run_id))
        if saying:
            await self._say("result", saying)

    async def _say(self, kind: str, saying: list[tuple[InstanceId, str]]) -> None:
        """Say results, some of them together, and check what an acknowledgement promises."""
        self._note(kind, *(run for _, run in saying[:3]), times=len(saying))
        reports = (self.engine.report(i, run, self.agents[i].results[run], "") for i, run in saying)
        for (instance, run_id), kept in zip(
            saying, await asyncio.gather(*reports, return_exceptions=True), strict=True
        ):
            if isinstance(kept, PatchError):
                self._later(instance, run_id, 3.0)  # not acknowledged: it will be said again
                continue
            if isinstance(kept, BaseException):
                raise kept
            must(kept, "a run that was promised is known", run_id)
            ticket, _, attempt = parse_run_id(run_id)
            run = self.ledger.stored[ticket].runs[instance]
            if run.attempt == attempt:
                must(run.state is not RunState.PROCESSING, "invariant 3: what is acknowledged is stored", run_id, run)
            self.agents[instance].unacknowledged.discard(run_id)
            self.said.append((instance, run_id))

    def _later(self, instance: InstanceId, run_id: str, seconds: float) -> None:
        self._count += 1
        heapq.heappush(self.answers, (self.clock.monotonic() + seconds, self._count, instance, run_id))

    async def _hear(self) -> None:
        """Let agents take what was sent to them."""
        for _ in range(3):
            await asyncio.sleep(0)
        while self.told:
            session = self.told.popleft()
            order = session.orders.get_nowait()
            if self.sessions.get(session.instance_id) is not session:
                continue  # it has ended meanwhile, and what it was to be told with it
            if isinstance(order, Assign):
                self._assigned(session.instance_id, order.run_id)
            elif isinstance(order, Cancel):
                self.happened["told that nobody waits"] += 1

    def _assigned(self, instance: InstanceId, run_id: str) -> None:
        ticket, owner, attempt = parse_run_id(run_id)
        must(owner == instance, "an agent is sent its own runs", run_id, instance)
        stored = self.ledger.stored[ticket].runs[instance]
        must(stored.attempt >= attempt, "promise before deed: what is sent is stored", run_id, stored)
        must(instance not in self.barred, "who is barred is sent nothing", run_id)
        agent = self.agents[instance]
        self.happened["assignment"] += 1
        rng = Random(f"{self.seed}/{run_id}")
        if run_id not in agent.results:
            agent.results[run_id] = rng.choice(_OUTCOMES)
            agent.unacknowledged.add(run_id)
        elif run_id not in agent.unacknowledged:
            return  # acknowledged and sent again: it has nothing more to say
        takes = rng.choice((0.5, 2.0, 5.0, 15.0)) * rng.random()
        if rng.random() < 0.06:
            takes = rng.choice((90.0, 400.0))  # a late result, or one that comes after the retry
        if rng.random() < 0.02:
            return  # silent until it is asked again
        for step in ("accepted", "collecting"):
            self.engine.progress(instance, run_id, step)
        self._later(instance, run_id, takes)

    async def _duplicate(self, rng: Random) -> None:
        if self.said:
            some = [self.said[rng.randrange(len(self.said))] for _ in range(rng.randint(1, 5))]
            await self._say("duplicate", [(i, run) for i, run in some if self.agents[i].session is not None])

    async def _agents_come(self, rng: Random) -> None:
        some = rng.sample(self.ids, min(len(self.ids), rng.choice((1, 20, len(self.ids) // 4))))
        self._connect(i for i in some if self.agents[i].session is None)

    def _connect(self, instances: Iterable[InstanceId]) -> None:
        came = 0
        for instance in instances:
            agent = self.agents[instance]
            agent.session = self.sessions.open(instance)
            agent.session.orders = Orders(agent.session, self.told)
            self.engine.connected(instance)
            for run_id in sorted(agent.unacknowledged):
                self._later(instance, run_id, 0.1)
            came += 1
        self._note("agents come", came, times=came)

    async def _agents_go(self, rng: Random) -> None:
        gone = 0
        for instance in rng.sample(self.ids, rng.choice((1, 3, 30))):
            agent = self.agents[instance]
            if agent.session is not None:
                self.sessions.close(agent.session)
                self.engine.lost(instance)
                agent.session, gone = None, gone + 1
        self._note("agents go", gone, times=gone)

    async def _found_twice(self, rng: Random) -> None:
        """Some are found to be two hosts, or leave the fleet; others are let back in."""
        await self._hear()  # what was sent before
        now = self.clock.now()
        for instance in rng.sample(self.ids, rng.choice((1, 1, 5))):
            gone = an_instance(1, id=instance)
            if instance in self.barred:
                self.sessions.barred.note((gone,))
                del self.barred[instance]
                self._note("let back in", instance)
            elif len(self.barred) < len(self.ids) // 20:
                twin = Quarantine(QuarantineCause.AGENT_KEY, now)
                gone = replace(gone, quarantine=twin) if rng.random() < 0.7 else replace(gone, retired_at=now)
                self.barred[instance] = gone
                self.sessions.barred.note((gone,))
                self._note("barred", instance)

    # The controller

    async def _restart(self, rng: Random) -> None:
        """The process dies and another begins: memory is gone, the store is not."""
        self._note("restart")
        await self.engine.stop()
        for agent in self.agents.values():
            agent.session = None
        self._boot()
        await self.engine.start()
        self._connect(i for i in self.ids if rng.random() < 0.9)

    async def _disk(self, rng: Random) -> None:
        """The disk gets bad or well again."""
        self.ledger.fails = None if self.ledger.fails is not None else Random(rng.random())
        self._note("disk", "bad" if self.ledger.fails else "well")

    # Operators

    async def _create(self, rng: Random) -> None:
        if len(self.live) >= _MOST_LIVE:
            return
        self.made += 1
        spec = _a_spec(rng, self)
        size = min(len(self.targets), rng.choice((1, 7, 40, 200, len(self.targets) // 2)))
        targets = rng.sample(self.targets, size)
        if rng.random() < 0.35:
            spec = self._with_own_batches(rng, spec, targets)
        planned = batches(targets, spec.batch_policy)
        if spec.batch_policy.kind is BatchPolicyKind.MANUAL_BATCH:
            lists = [[target.id for target in batch.targets] for batch in planned]
            must(lists == [list(entries) for entries in spec.batch_policy.manual], "an operator's batches are kept")
        self.happened["windows"] += bool(spec.maintenance_windows)
        ticket = machine.create(TicketId(f"T-{self.made}"), spec, planned, "operator", self.clock.now())
        self.live.append(ticket.id)
        self._note("ticket", ticket.id, size, len(planned))
        await self.engine.create(ticket)

    def _with_own_batches(self, rng: Random, spec: TicketSpec, targets: list[Target]) -> TicketSpec:
        """Let the operator edit the batches that a preview of the spec shows; a slip of his is refused, and mended."""
        shown = [[target.id for target in batch.targets] for batch in batches(targets, spec.batch_policy)]
        for _ in range(rng.choice((0, 1, 5, 30))):
            one, other = rng.randrange(len(shown)), rng.randrange(len(shown))
            match rng.choice(("move", "split", "merge", "turn")):
                case "move" if len(shown[one]) > 1:
                    shown[other].append(shown[one].pop(rng.randrange(len(shown[one]))))
                case "split" if len(shown[one]) > 1:
                    cut = rng.randrange(1, len(shown[one]))
                    shown[one : one + 1] = [shown[one][:cut], shown[one][cut:]]
                case "merge" if one != other:
                    shown[one] += shown[other]
                    del shown[other]
                case "turn":
                    shown[one], shown[other] = shown[other], shown[one]
                case _:
                    pass
        before = spec.batch_policy.canary
        canary = Canary(wait=before.wait) if before is not None else None
        policy = BatchPolicy(BatchPolicyKind.MANUAL_BATCH, canary=canary, soak=spec.batch_policy.soak)
        slips = ([*shown, [shown[0][0]]], [[*shown[0], *shown[0]], *shown[1:]], shown[1:], [*shown, []])
        try:
            batches(targets, replace(policy, manual=tuple(map(tuple, rng.choice(slips)))))
        except InvalidArgument:
            self._note("edited batches")
        else:
            must(False, "everybody stands in one batch once, or the batches are refused")
        return replace(spec, batch_policy=replace(policy, manual=tuple(map(tuple, shown))))

    async def _steer(self, rng: Random) -> None:
        if not self.live:
            return
        stored = self.ledger.stored[rng.choice(self.live)]
        make = _a_move(rng, stored)
        name = type(make(self.clock.now())).__name__
        try:
            await self.engine.apply(stored.id, make)
            self._note(name, stored.id)
        except PatchError:
            self._note(f"{name} refused", stored.id)

    def _goes_on(self, ticket: Ticket) -> bool:
        return ticket.state not in (TicketState.FINISHED, TicketState.CANCELED) or bool(ticket.out)

    # The end

    async def end(self) -> None:
        """All is well again: whatever happened, every ticket comes to its end, so nothing was stuck and nobody waits for good."""
        self.ledger.fails = None
        for _ in range(4000):
            self._connect(i for i, agent in self.agents.items() if agent.session is None)
            for ticket in [self.ledger.stored[t] for t in self.live]:
                if ticket.state is TicketState.PAUSED:
                    await self.engine.apply(ticket.id, Continued)
            await self.clock.advance(self._until_a_window_opens() or 31)
            while self.answers and self.answers[0][0] <= self.clock.monotonic():
                await self._answer(Random(0), most=1000)
                await self._hear()
            await self._hear()
            self._look()
            if all(self._at_rest(self.ledger.stored[t]) for t in self.live):
                break
        for ticket in self.ledger.stored.values():
            must(self._at_rest(ticket), "a ticket comes to its end", ticket.id, ticket.state, ticket.counts)
            recount(ticket)
            self.ledger.check_told(ticket)
        must(not self.ledger.holder, "nothing is held when all is over", self.ledger.holder)
        self.happened["notice"] = self.ledger.outbox.count
        await self.engine.stop()

    def _until_a_window_opens(self) -> float:
        """Return how long nothing can happen but that a window opens; 0 when something else may."""
        now = self.clock.now()
        going = [t for t in (self.ledger.stored[t] for t in self.live) if not self._at_rest(t)]
        openings = self._openings()
        if self.answers or any(t.out for t in going) or not going or len(openings) < len(going):
            return 0
        return (min(openings) - now).total_seconds()

    def _openings(self) -> list[datetime]:
        """Return when the windows open for which tickets wait."""
        opening = (opens_at(self.ledger.stored[t], self.clock.now()) for t in self.live)
        return [at for at in opening if at is not None]

    def _at_rest(self, ticket: Ticket) -> bool:
        over = (TicketState.FINISHED, TicketState.CANCELED, TicketState.ABNORMAL)
        return ticket.state in over and not ticket.out

    _KINDS: tuple[Callable[[World, Random], object], ...] = (
        _time_passes, _duplicate, _agents_come, _agents_go, _create, _steer, _restart, _disk, _found_twice,
    )  # fmt: skip
    _WEIGHTS = (60, 6, 10, 6, 6, 10, 0.4, 0.6, 2)


def _a_spec(rng: Random, world: World) -> TicketSpec:
    offline = rng.choice((OfflinePolicy(), OfflinePolicy(), OfflinePolicy(wait=timedelta(minutes=rng.randint(1, 20)))))
    if rng.random() < 0.1:
        offline = OfflinePolicy(until=world.clock.now() + timedelta(minutes=rng.randint(-1, 20)))
    return TicketSpec(
        timeout=timedelta(seconds=rng.choice((10, 60, 300))),
        unreachable_after=timedelta(seconds=rng.choice((5, 60))),
        max_in_flight=rng.choice((1, 5, 50, 500)),
        batch_policy=BatchPolicy(
            kind=rng.choice((BatchPolicyKind.AUTO_BATCH, BatchPolicyKind.NO_BATCH)),
            batch_size=rng.choice((1, 10, 50)),
            group_share_percent=rng.choice((50, 50, 100)),
            ramp=rng.choice(((), (), (1, 5), (2, 2, 4, 8, 16))),
            canary=rng.choice((None, None, Canary(instances=3), Canary(instances=1, wait=True), Canary(percent=10))),
            soak=timedelta(seconds=rng.choice((0, 0, 20))),
        ),
        suspension_policy=SuspensionPolicy(
            rng.choice((0, 500, 800, 900, 1000)), rng.choice(list(SuspensionMode)), rng.random() < 0.5
        ),
        ticket_timeout=timedelta(seconds=rng.choice((0, 0, 0, 600))),
        offline=offline,
        maintenance_windows=_some_windows(rng, world) if rng.random() < 0.25 else (),
        notification=_a_policy(rng),
    )


def _some_windows(rng: Random, world: World) -> tuple[MaintenanceWindow, ...]:
    """The first opens or closes soon, every day; others open later, only on some days."""
    made = list[MaintenanceWindow]()
    for number in range(rng.choice((1, 2, 4, 8))):
        zone = rng.choice(("UTC", "Asia/Kolkata", "America/New_York"))
        at = world.clock.now().astimezone(ZoneInfo(zone)) + timedelta(minutes=rng.randint(-10, 10) + 20 * number)
        opens = at.replace(second=rng.choice((0, 0, 30)), microsecond=0)
        closes = opens + timedelta(minutes=rng.choice((1, 5, 10, 600, 1440)))
        weekdays = tuple(rng.sample(WEEK, rng.randint(1, 6))) if number else ()
        made.append(MaintenanceWindow(weekdays, opens.time(), closes.time(), zone))
    return tuple(made)


def _a_policy(rng: Random) -> NotificationPolicy:
    events = rng.choice(((), tuple(TICKET_EVENTS), tuple(TICKET_EVENTS), tuple(rng.sample(TICKET_EVENTS, 2))))
    return NotificationPolicy(events, Recipients(("lin",)) if events else Recipients())


def _a_move(rng: Random, ticket: Ticket) -> Callable[..., Event]:
    batch = rng.choice((0, rng.randint(1, len(ticket.batches))))
    somebody = rng.choice(ticket.batches[rng.randint(1, len(ticket.batches))].members)
    moves: tuple[tuple[float, Callable[..., Event]], ...] = (
        (3, lambda now: Paused(now, "lunch")),
        (6, Continued),
        (0.4, lambda now: Ended(now, "enough")),
        (3, lambda now: BatchRetried(now, batch)),
        (1, lambda now: BatchCanceled(now, batch)),
        (3, lambda now: RunsRetried(now, rng_some)),
        (2, lambda now: RunCanceled(now, somebody)),
    )
    rng_some = rng.choice(((), (somebody,)))
    ((_, make),) = rng.choices(moves, [weight for weight, _ in moves])
    return make


class CountedEvents:
    """While it is entered, counts the events that the machine takes from the engine."""

    def __enter__(self) -> Counter[str]:
        self._evolve = engine_module.evolve
        counted: Counter[str] = Counter()

        def evolve(ticket: Ticket, event: Event) -> Ticket:
            after = self._evolve(ticket, event)
            counted[type(event).__name__] += 1
            return after

        engine_module.evolve = evolve
        return counted

    def __exit__(self, *_: object) -> None:
        engine_module.evolve = self._evolve
