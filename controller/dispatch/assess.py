"""Keeps every instance's answer true: evaluates when something it depends on changed, and stores what came out. Decides nothing.

What an answer depends on is its key (see `standing`). When something of it may have changed, keys are compared, and only instances whose
key did change are evaluated again. A restart is no such change: an answer that was stored under the mark of the same key is taken up.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from typing import Final
from weakref import WeakSet

from common.clock import Clock
from common.errors import NotFound, PatchError, Unavailable
from controller.compliance.evaluator import Answer, Limits
from controller.compliance.model import Assessment, Baseline, Exceptions, InstanceStatus, Item, Kept
from controller.dispatch import decisions as operators
from controller.dispatch.decisions import Decisions
from controller.dispatch.edition import edition
from controller.dispatch.evaluations import SLICE, Assess, Evaluations, Question
from controller.dispatch.standing import Key, Marks, Standing, can_be_taken_up, held_to_the_end, holds_until, key_of
from controller.fleet.model import Instance, InstanceId
from controller.inventory.model import Report
from controller.inventory.parse_worker import MetadataParser
from controller.store.api import Deciding, Store
from controller.tickets.model import TicketId

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 60.0
"""The clock is looked at so often, at least: it may have been set. Who asks is answered exactly, whether it was looked at or not."""
_AT_A_STRETCH: Final = 1000
"""So many answers are looked at before others get their turn."""
_Due = tuple[Instance, Report | None, Key]


class Stirred:
    """Whose answers may have changed since they were last taken from here. A lost one costs nothing: watchers are held weakly."""

    def __init__(self) -> None:
        """Begin with everybody."""
        self._everybody = True
        self._some = set[InstanceId]()

    def add(self, instance_id: InstanceId) -> None:
        """Take note of one."""
        self._some.add(instance_id)

    def add_everybody(self) -> None:
        """Take note of all."""
        self._everybody = True

    def take(self) -> frozenset[InstanceId] | None:
        """Return them and forget them; None means everybody."""
        everybody, some = self._everybody, frozenset(self._some)
        self._everybody = False
        self._some.clear()
        return None if everybody else some


class Assessor:
    """One for a controller process. Use it from one event loop."""

    def __init__(self, store: Store, parser: MetadataParser, clock: Clock, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        """Begin with nothing known; call `start`."""
        self._store = store
        self._clock = clock
        self._limits = limits
        self.evaluations = Evaluations(store, parser, clock, limits)
        self._reports: dict[InstanceId, Report] = {}
        self._standings: dict[InstanceId, Standing] = {}
        self._kept: dict[InstanceId, Kept] = {}
        self._underway: dict[InstanceId, tuple[Key, asyncio.Future[None]]] = {}
        """Who is being evaluated, for which key, and what ends with it."""
        self._marks = Marks(edition(), limits)
        self._watchers = WeakSet[Stirred]()
        self._decisions = Decisions({}, {}, Exceptions())
        self._ends: list[tuple[datetime, InstanceId]] = []
        self._due: asyncio.Queue[tuple[InstanceId, str] | None] = asyncio.Queue()
        self._loops: list[asyncio.Task[None]] = []
        self._generation = 0
        self.day_ended: Callable[[InstanceId, date, InstanceStatus], None] = lambda *_: None
        """Called with each answer that held to the end of its day, UTC, when the next one is there."""

    async def start(self) -> None:
        """Load the latest reports, what operators decided and the answers of before, and begin to evaluate what changed or will."""
        self._reports = {r.instance_id: r for r in await self._store.inventory.latest_reports()}
        self._decisions = await operators.load(self._store.baselines)
        self._kept = {InstanceId(k.assessment.instance_id): k for k in await self._store.assessments.all_deciding()}
        self._loops = [
            asyncio.create_task(self._evaluate_due(), name="evaluate what came in"),
            asyncio.create_task(self._watch_clock(), name="evaluate what time changed"),
        ]
        self._due.put_nowait(None)

    async def stop(self) -> None:
        """Stop; what was not evaluated is evaluated when somebody asks."""
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self.evaluations.stop()

    @property
    def generation(self) -> int:
        """Rises whenever any answer may have changed."""
        return self._generation

    def stirred(self) -> Stirred:
        """Return what will know whose answers may have changed, as long as the caller holds it."""
        made = Stirred()
        self._watchers.add(made)
        return made

    def expire(self) -> None:
        """Take note of the answers that ended by themselves: who asks, and the loop that watches the clock, call it first."""
        ended = list(self._ended(self._clock.now()))
        if not ended:
            return
        self._generation += 1
        for instance_id in ended:
            self._stir(instance_id)
        for due in [None] if len(ended) > SLICE else [(instance_id, "") for instance_id in ended]:
            self._due.put_nowait(due)

    @property
    def decisions(self) -> Decisions:
        """What operators have decided, as answers heed it."""
        return self._decisions

    def latest_report(self, instance_id: InstanceId) -> Report | None:
        """Return the last that an instance reported."""
        return self._reports.get(instance_id)

    def reported(self, report: Report) -> None:
        """Take note of a report that was stored; its instance is evaluated soon, also with its ticket's own baseline if that names one."""
        self._reports[report.instance_id] = report
        self._generation += 1
        self._stir(report.instance_id)
        self._due.put_nowait((report.instance_id, report.ticket_id))

    async def refresh_all(self) -> None:
        """Take note that baselines, assignments or exceptions changed: from its return on, answers heed it."""
        self._decisions = await operators.load(self._store.baselines)
        self._generation += 1
        for watcher in self._watchers:
            watcher.add_everybody()
        self._due.put_nowait(None)

    async def deciding_baseline(self, instance: Instance) -> tuple[Baseline | None, str]:
        """Return the baseline that decides for an instance and why it is that one; None when none is meant for it."""
        return self._decisions.deciding(instance)

    async def assessment(self, instance: Instance) -> Assessment:
        """Return an instance's answer as of now."""
        (standing,) = await self.standings([instance])
        return standing.assessment

    async def assessments(self, instances: Iterable[Instance]) -> Mapping[InstanceId, Assessment]:
        """Return the answers of these instances as of now."""
        asked = list(instances)
        standings = await self.standings(asked)
        return {i.id: s.assessment for i, s in zip(asked, standings, strict=True)}

    async def standings(self, instances: Sequence[Instance]) -> list[Standing]:
        """Return the answers of these instances as of now, with what is remembered beside them, in their order."""
        now, decisions = self._clock.now(), self._decisions
        found = dict[InstanceId, Standing]()
        due = list[_Due]()
        change = decisions.next_change(now)
        for place, instance in enumerate(instances, 1):
            if place % _AT_A_STRETCH == 0:
                await asyncio.sleep(0)  # let others have their turn
            report, known = self._reports.get(instance.id), self._standings.get(instance.id)
            if known is not None and known.holds(instance, report, decisions, now):
                found[instance.id] = known
                continue
            key = key_of(instance, report, decisions, now, self._limits)
            if known is not None and known.key == key:
                until = holds_until(report, change, now, self._limits)
                same = replace(known, until=until, report=report, decisions=decisions)
            elif (taken_up := self._take_up(instance, report, key, decisions, change, now)) is not None:
                same = taken_up
            else:
                due.append((instance, report, key))
                continue
            found[instance.id] = same
            self._take(instance.id, same)
        for start in range(0, len(due), SLICE):
            if start:
                await asyncio.sleep(0)  # others' turn, also where all of these were found meanwhile
            found |= await self._evaluate_once(due[start : start + SLICE], decisions, change, now)
        return [found[i.id] for i in instances]

    async def report(
        self, instance: Instance, *, all_items: bool = False, baseline: Baseline | None = None
    ) -> tuple[Assessment, tuple[Item, ...]]:
        """Return an instance's full report as of now, by the deciding baseline or by the one given.

        A baseline that is given for once never touches the deciding answer (R16).
        """
        if baseline is None:
            await self.assessment(instance)  # dates what is new
            baseline, source = self._decisions.deciding(instance)
        else:
            await self.keep_with(instance, baseline)
            source = "ticket"
        host = await self.evaluations.host(instance, self._reports.get(instance.id), source)
        since = await self._store.assessments.since(instance.id, baseline.id if baseline is not None else "")
        now, exceptions = self._clock.now(), self._decisions.exceptions
        found = await self.evaluations.ask(
            host,
            lambda e: e.evaluate(host, baseline, now, exceptions=exceptions, since=since, everything=all_items),
        )
        return found.assessment, found.items

    async def keep_with(self, instance: Instance, baseline: Baseline) -> None:
        """Evaluate an instance with a baseline that was named for once, and keep the answer beside the deciding one (R16)."""
        host = await self.evaluations.host(instance, self._reports.get(instance.id), "ticket")
        now = self._clock.now()
        answer = await self.evaluations.ask(host, Assess(host, baseline, now, self._decisions.exceptions))
        try:
            await self._store.assessments.put_assessment(
                answer.assessment, answer.non_compliant_keys, now, deciding=False
            )
        except Unavailable as error:  # the answer is right all the same
            log.warning("answer could not be stored", extra={"instance": instance.id, "error": str(error)})

    async def _evaluate_once(
        self, due: Sequence[_Due], decisions: Decisions, change: datetime | None, now: datetime
    ) -> Mapping[InstanceId, Standing]:
        """Do what `_evaluate` does, but for answers that somebody else has found meanwhile, or is about to find."""
        found, left = dict[InstanceId, Standing](), list(due)
        while left:
            mine, theirs, waited_for = list[_Due](), list[_Due](), set[asyncio.Future[None]]()
            for one in left:
                instance, report, key = one
                known, underway = self._standings.get(instance.id), self._underway.get(instance.id)
                if known is not None and known.key == key:
                    until = holds_until(report, change, now, self._limits)
                    found[instance.id] = replace(known, until=until, report=report, decisions=decisions)
                elif underway is not None and underway[0] == key:
                    theirs.append(one)
                    waited_for.add(underway[1])
                else:
                    mine.append(one)
            if mine:
                with self._is_underway(mine):
                    found |= await self._evaluate(mine, decisions, change, now)
            if waited_for:
                await asyncio.wait(waited_for)
            left = theirs  # found by now; or whoever looked for them failed, then it is our turn
        return found

    @contextmanager
    def _is_underway(self, mine: Sequence[_Due]) -> Iterator[None]:
        """Let others who want the same answers wait for them meanwhile."""
        ended = asyncio.get_running_loop().create_future()
        entries = {instance.id: (key, ended) for instance, _, key in mine}
        self._underway |= entries
        try:
            yield
        finally:
            for instance_id, entry in entries.items():
                if self._underway.get(instance_id) is entry:
                    del self._underway[instance_id]
            ended.set_result(None)

    async def _evaluate(
        self, due: Sequence[_Due], decisions: Decisions, change: datetime | None, now: datetime
    ) -> Mapping[InstanceId, Standing]:
        """Evaluate these instances, keep their answers, and return them."""
        questions = list[Question[Answer]]()
        hosts = await self.evaluations.hosts((instance, report, key.source) for instance, report, key in due)
        for host, (_, _, key) in zip(hosts, due, strict=True):
            baseline = decisions.baselines.get(key.baseline_id)
            questions.append(Question(host, Assess(host, baseline, now, decisions.exceptions)))
        answers = await self.evaluations.ask_all(questions)
        kept = await self._keep(
            [self._to_keep(answer, key, decisions) for answer, (_, _, key) in zip(answers, due, strict=True)]
        )
        found = dict[InstanceId, Standing]()
        for (instance, report, key), answer, earliest in zip(due, answers, kept, strict=True):
            found[instance.id] = Standing(
                answer.assessment,
                answer.non_compliant_keys,
                earliest,
                holds_until(report, change, now, self._limits),
                key,
                report,
                decisions,
            )
            self._take(instance.id, found[instance.id])
        return found

    def _take_up(
        self,
        instance: Instance,
        report: Report | None,
        key: Key,
        decisions: Decisions,
        change: datetime | None,
        now: datetime,
    ) -> Standing | None:
        """Return the answer of before the last restart, if it can be shown that it would be the same now (R1)."""
        kept = self._kept.pop(instance.id, None) if self._kept else None
        if kept is None or not kept.mark or kept.mark != self._marks.of(key, decisions.baselines.get(key.baseline_id)):
            return None
        until = holds_until(report, change, now, self._limits)
        return Standing(kept.assessment, None, kept.earliest, until, key, report, decisions)

    def _take(self, instance_id: InstanceId, standing: Standing) -> None:
        before = self._standings.get(instance_id)
        if before is not None and held_to_the_end(before, standing):
            self.day_ended(instance_id, before.key.day, before.assessment.status)
        self._standings[instance_id] = standing
        self._generation += 1
        heapq.heappush(self._ends, (standing.until, instance_id))

    def _stir(self, instance_id: InstanceId) -> None:
        for watcher in self._watchers:
            watcher.add(instance_id)

    def _ended(self, now: datetime) -> Iterator[InstanceId]:
        while self._ends and self._ends[0][0] <= now:
            until, instance_id = heapq.heappop(self._ends)
            standing = self._standings.get(instance_id)
            if standing is not None and standing.until == until:
                yield instance_id

    def _to_keep(self, answer: Answer, key: Key, decisions: Decisions) -> Deciding:
        assessment = answer.assessment
        mark = self._marks.of(key, decisions.baselines.get(key.baseline_id)) if can_be_taken_up(assessment) else b""
        return Deciding(assessment, answer.non_compliant_keys, assessment.inputs.as_of or self._clock.now(), mark)

    async def _keep(self, answers: Sequence[Deciding]) -> Sequence[datetime | None]:
        """Store answers; return since when the oldest item of each is non-compliant."""
        try:
            return await self._store.assessments.put_deciding(answers)
        except Unavailable as error:  # they are right all the same; they are stored with the next ones
            log.warning("answers could not be stored", extra={"answers": len(answers), "error": str(error)})
            return [answer.at if answer.items else None for answer in answers]

    async def _evaluate_due(self) -> None:
        while True:
            due = await self._due.get()
            if due is None:
                await self._sweep()
            else:
                await self._evaluate_one(*due)

    async def _sweep(self) -> None:
        """Look at everybody: who is due is evaluated."""
        try:
            await self.standings([i for i in await self._store.fleet.instances() if i.id in self._reports])
        except Exception:  # the fault may be one instance's: the others are evaluated one by one
            log.exception("evaluation of the fleet failed")
            for instance_id in tuple(self._reports):
                await self._evaluate_one(instance_id, "")

    async def _evaluate_one(self, instance_id: InstanceId, ticket_id: str) -> None:
        try:
            instance = await self._store.fleet.get_instance(instance_id)
            if instance.deleted_at is not None:
                return
            await self.assessment(instance)
            named = await self._baseline_of(ticket_id) if ticket_id else None
            if named is not None and named != self._decisions.deciding(instance)[0]:
                await self.keep_with(instance, named)
        except PatchError as error:
            log.warning("could not evaluate", extra={"instance": instance_id, "error": str(error)})
        except Exception:  # a fault of ours must not stop the evaluation of everybody else
            log.exception("evaluation failed", extra={"instance": instance_id})

    async def _baseline_of(self, ticket_id: str) -> Baseline | None:
        """Return the baseline that a ticket names; None when it leaves that to the instances."""
        try:
            named = (await self._store.tickets.head(TicketId(ticket_id))).spec.baseline
            return await self._store.baselines.get_baseline(named) if named else None
        except NotFound:
            return None  # the report is as good as any other, whoever ordered it

    async def _watch_clock(self) -> None:
        """Evaluate again whose answer ended by itself."""
        while True:
            self.expire()
            now = self._clock.now()
            wait = (self._ends[0][0] - now).total_seconds() if self._ends else _LOOK_SECONDS
            await self._clock.sleep(min(wait, _LOOK_SECONDS))
