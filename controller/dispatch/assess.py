"""Keeps every instance's answer true: evaluates when something it depends on changed, and stores what came out. Decides nothing.

What an answer depends on is its key: the report, the deciding baseline, the exceptions, the UTC day, and whether the report is stale. When
one of these may have changed, keys are compared, and only instances whose key did change are evaluated again.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from common.clock import Clock
from common.errors import NotFound, PatchError, Unavailable
from controller.compliance.evaluator import Answer, Evaluator, Host, Limits
from controller.compliance.model import Assessment, AssignmentScope, Baseline, Exceptions, InstanceStatus, Item
from controller.dispatch import decisions as operators
from controller.dispatch.decisions import Decisions
from controller.dispatch.evaluations import SLICE, Evaluations, Question
from controller.fleet.assignment import is_meant_for
from controller.fleet.model import Instance, InstanceId, OperatingSystem, Quarantine, ResourceType
from controller.inventory.model import Report
from controller.inventory.parse_worker import MetadataParser
from controller.store.api import Store
from controller.tickets.model import TicketId

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 60.0
"""The clock is looked at so often, at least: it may have been set. Who asks is answered exactly, whether it was looked at or not."""
_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class TryRow:
    """What a baseline that is tried would change for one instance."""

    instance: Instance
    before: Assessment
    after: Assessment
    newly: tuple[str, ...]
    """Packages (name.arch) that would become non-compliant."""
    gone: tuple[str, ...]
    """Packages (name.arch) that would no longer be non-compliant."""


@dataclass(frozen=True, slots=True)
class TryOutcome:
    """What would be if a baseline decided."""

    replaces: Baseline | None
    """In whose place; None when it would be the first."""
    rows: tuple[TryRow, ...]
    """Every instance for which it would decide, those too for which nothing would change."""


@dataclass(frozen=True, slots=True)
class _Key:
    """What an answer depends on: the same key, the same answer."""

    manifest_digest: bytes
    collected_at: datetime | None
    ages: tuple[bool, bool]
    traits: tuple[object, ...]
    baseline_id: str
    baseline_version: int
    source: str
    exceptions_version: int
    excusing: tuple[str, ...]
    day: date


@dataclass(frozen=True, slots=True)
class Standing:
    """An instance's deciding answer, as long as it holds."""

    assessment: Assessment
    non_compliant: tuple[str, ...]
    """Keys (name.arch) of what keeps it from complying."""
    earliest: datetime | None
    """Since when the one of these that stands longest does."""
    until: datetime
    """When it must be looked at again, if nothing else happens."""
    key: _Key
    report: Report | None
    decisions: Decisions

    def holds(self, instance: Instance, report: Report | None, decisions: Decisions, now: datetime) -> bool:
        """Say whether nothing can have changed. When it says no, keys must be compared."""
        return (
            now < self.until
            and self.report is report
            and self.decisions is decisions
            and self.key.traits == _traits(instance)
        )


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
        self._decisions = Decisions({}, {}, Exceptions())
        self._ends: list[tuple[datetime, InstanceId]] = []
        self._due: asyncio.Queue[tuple[InstanceId, str] | None] = asyncio.Queue()
        self._loops: list[asyncio.Task[None]] = []
        self._generation = 0
        self.day_ended: Callable[[InstanceId, date, InstanceStatus], None] = lambda *_: None
        """Called with each answer that held to the end of its day, UTC, when the next one is there."""

    async def start(self) -> None:
        """Load the latest reports and what operators decided, and begin to evaluate what comes in and what time changes."""
        self._reports = {r.instance_id: r for r in await self._store.inventory.latest_reports()}
        self._decisions = await operators.load(self._store.baselines)
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
        self._due.put_nowait((report.instance_id, report.ticket_id))

    async def refresh_all(self) -> None:
        """Take note that baselines, assignments or exceptions changed: from its return on, answers heed it."""
        self._decisions = await operators.load(self._store.baselines)
        self._generation += 1
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
        due = list[tuple[Instance, _Key]]()
        change = decisions.next_change(now)
        for instance in instances:
            report, known = self._reports.get(instance.id), self._standings.get(instance.id)
            if known is not None and known.holds(instance, report, decisions, now):
                found[instance.id] = known
                continue
            key = self._key(instance, report, decisions, now)
            if known is not None and known.key == key:
                same = replace(known, until=self._until(report, change, now), report=report, decisions=decisions)
                found[instance.id] = same
                self._take(instance.id, same)
            else:
                due.append((instance, key))
        for start in range(0, len(due), SLICE):
            found |= await self._evaluate(due[start : start + SLICE], decisions, change, now)
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
        answer = await self.evaluations.ask(
            host, _Assess(host, baseline, self._clock.now(), self._decisions.exceptions)
        )
        await self._keep(answer.assessment, answer.non_compliant_keys, deciding=False)

    async def try_baseline(self, baseline: Baseline, instances: Sequence[Instance]) -> TryOutcome:
        """Say what would be if this baseline decided wherever the stored one of the same name decides now.

        When there is none of its name, or nobody is assigned to it, then in place of the default of its scenario and operating system.
        Nothing is stored.
        """
        decisions = self._decisions
        replaces = _replaced(baseline, decisions)
        meant = list[Instance]()
        for instance in instances:
            now_decides, _ = decisions.deciding(instance)
            if now_decides is None:
                if replaces is None and is_meant_for(baseline, instance):
                    meant.append(instance)
            elif replaces is not None and now_decides.id == replaces.id:
                meant.append(instance)
        standings = await self.standings(meant)
        now = self._clock.now()
        questions = list[Question[Answer]]()
        for instance, standing in zip(meant, standings, strict=True):
            host = await self.evaluations.host(
                instance, standing.report, standing.assessment.baseline_source or "default"
            )
            questions.append(Question(host, _Assess(host, baseline, now, decisions.exceptions)))
        answers = await self.evaluations.ask_all(questions)
        rows = list[TryRow]()
        for instance, standing, answer in zip(meant, standings, answers, strict=True):
            newly, gone = _difference(standing.non_compliant, answer.non_compliant_keys)
            rows.append(TryRow(instance, standing.assessment, answer.assessment, newly, gone))
        return TryOutcome(replaces, tuple(rows))

    def _key(self, instance: Instance, report: Report | None, decisions: Decisions, now: datetime) -> _Key:
        baseline, source = decisions.deciding(instance)
        age = now - report.collected_at if report is not None else timedelta(0)
        return _Key(
            manifest_digest=report.manifest_digest if report is not None else b"",
            collected_at=report.collected_at if report is not None else None,
            ages=(age > self._limits.stale_after, age > self._limits.metadata_stale_after),
            traits=_traits(instance),
            baseline_id=baseline.id if baseline is not None else "",
            baseline_version=baseline.version if baseline is not None else 0,
            source=source,
            exceptions_version=decisions.exceptions.version,
            excusing=decisions.excusing(instance, now),
            day=now.astimezone(UTC).date(),
        )

    def _until(self, report: Report | None, change: datetime | None, now: datetime) -> datetime:
        """Say when a key of now may change by itself: midnight, an exception's beginning or end, a report that gets stale."""
        ends = [_end_of(now.astimezone(UTC).date())]
        if change is not None:
            ends.append(change)
        if report is not None:
            limits = (self._limits.stale_after, self._limits.metadata_stale_after)
            ends += [report.collected_at + limit + _TICK for limit in limits]
        return min(end for end in ends if end > now)

    async def _evaluate(
        self, due: Sequence[tuple[Instance, _Key]], decisions: Decisions, change: datetime | None, now: datetime
    ) -> Mapping[InstanceId, Standing]:
        """Evaluate these instances, keep their answers, and return them."""
        questions, reports = list[Question[Answer]](), list[Report | None]()
        for instance, key in due:
            report = self._reports.get(instance.id)
            host = await self.evaluations.host(instance, report, key.source)
            baseline = decisions.baselines.get(key.baseline_id)
            questions.append(Question(host, _Assess(host, baseline, now, decisions.exceptions)))
            reports.append(report)
        answers = await self.evaluations.ask_all(questions)
        kept = await asyncio.gather(*(self._keep(a.assessment, a.non_compliant_keys) for a in answers))
        found = dict[InstanceId, Standing]()
        for (instance, key), report, answer, earliest in zip(due, reports, answers, kept, strict=True):
            found[instance.id] = Standing(
                answer.assessment,
                answer.non_compliant_keys,
                earliest,
                self._until(report, change, now),
                key,
                report if report is not None and report.collected_at == key.collected_at else None,
                decisions,
            )
            self._take(instance.id, found[instance.id])
        return found

    def _take(self, instance_id: InstanceId, standing: Standing) -> None:
        before = self._standings.get(instance_id)
        if before is not None and _held_to_the_end(before, standing):
            self.day_ended(instance_id, before.key.day, before.assessment.status)
        self._standings[instance_id] = standing
        self._generation += 1
        heapq.heappush(self._ends, (standing.until, instance_id))

    async def _keep(self, assessment: Assessment, items: Collection[str], *, deciding: bool = True) -> datetime | None:
        """Store an answer; return since when the oldest of its items is non-compliant."""
        at = assessment.inputs.as_of or self._clock.now()
        try:
            since = await self._store.assessments.put_assessment(assessment, items, at, deciding=deciding)
        except Unavailable as error:  # the answer is right all the same; it is stored with the next one
            log.warning("answer could not be stored", extra={"instance": assessment.instance_id, "error": str(error)})
            return at if items else None
        return min(since.values(), default=None)

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
            now, due = self._clock.now(), list[InstanceId]()
            while self._ends and self._ends[0][0] <= now:
                until, instance_id = heapq.heappop(self._ends)
                standing = self._standings.get(instance_id)
                if standing is not None and standing.until == until:
                    due.append(instance_id)
            if due:
                self._generation += 1
            if len(due) > SLICE:
                self._due.put_nowait(None)
            else:
                for instance_id in due:
                    self._due.put_nowait((instance_id, ""))
            wait = (self._ends[0][0] - now).total_seconds() if self._ends else _LOOK_SECONDS
            await self._clock.sleep(min(wait, _LOOK_SECONDS))


@dataclass(frozen=True, slots=True)
class _Assess:
    """The question of a whole fleet: the answer without its items."""

    host: Host
    baseline: Baseline | None
    as_of: datetime
    exceptions: Exceptions

    def __call__(self, evaluator: Evaluator) -> Answer:
        return evaluator.assess(self.host, self.baseline, self.as_of, exceptions=self.exceptions)


def _difference(before: Sequence[str], after: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what came and what went, each in order; keys stand in each once."""
    if before == after:
        return (), ()
    old = frozenset(before)
    came = [key for key in after if key not in old]
    if len(after) - len(came) == len(before):
        return tuple(sorted(came)), ()
    return tuple(sorted(came)), tuple(sorted(old.difference(after)))


def _held_to_the_end(before: Standing, after: Standing) -> bool:
    """Say whether an answer held to the end of its day, given the one that came next."""
    end = _end_of(before.key.day)
    if after.key.day == before.key.day or before.until < end or after.decisions is not before.decisions:
        return False
    return after.report is before.report or (after.report is not None and after.report.collected_at >= end)


def _end_of(day: date) -> datetime:
    """Return the midnight with which a day ends."""
    return datetime.combine(day, time(), UTC) + timedelta(days=1)


def _traits(instance: Instance) -> tuple[OperatingSystem, ResourceType, str, str, Quarantine | None]:
    """What an answer depends on that is said of an instance itself."""
    return (
        instance.operating_system,
        instance.resource_type,
        instance.application_group,
        instance.enterprise_project,
        instance.quarantine,
    )


def _replaced(baseline: Baseline, decisions: Decisions) -> Baseline | None:
    stored = next((b for b in decisions.baselines.values() if b.name == baseline.name), None)
    if stored is not None and any(a.baseline_id == stored.id for a in decisions.assignments.values()):
        return stored
    default = decisions.assignments.get((AssignmentScope.DEFAULT, "", baseline.scenario, baseline.operating_system))
    return decisions.baselines.get(default.baseline_id) if default is not None else None
