"""Answers for past instants: the same pure function with the inventory, metadata, baselines and exceptions of then (SEMANTICS R1).

What a host said holds from when it was first said until it said something else. Its place in the fleet (group, project, kind) is taken as
it is now: the fleet keeps no history of that; what it ran is taken from what it said then. In which repositories an instance ever had
advisories is taken as it is known now: that can make a past answer UNDETERMINED, never COMPLIANT.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from pyroaring import BitMap

from controller.compliance.aggregate import ComplianceCounts
from controller.compliance.evaluator import Evaluator, Host
from controller.compliance.model import Assessment, Baseline, Exceptions, InstanceStatus, Item
from controller.dispatch.assess import Assessor
from controller.dispatch.decisions import Decisions, load_as_of
from controller.dispatch.evaluations import SLICE, Question
from controller.fleet.model import Instance, InstanceId, OperatingSystem
from controller.fleet.products import product_of
from controller.inventory.model import Report
from controller.store.api import Store

_MAX_DECISIONS: Final = 400
_MAX_DAYS: Final = 400
_CHUNK: Final = 2000
"""So many instances are evaluated for all days before the next ones: approvals are compiled once a day and chunk."""


@dataclass(frozen=True, slots=True)
class TrendDay:
    """The three numbers of one day."""

    day: date
    counts: ComplianceCounts


def end_of(day: date) -> datetime:
    """Return the instant that stands for a day that has passed: its last second, UTC."""
    return datetime.combine(day, time(23, 59, 59), UTC)


class History:
    """One for a controller process. Use it from one event loop."""

    def __init__(self, store: Store, assessor: Assessor) -> None:
        """Ask the assessor's evaluator about what the store remembers."""
        self._store = store
        self._assessor = assessor
        self._evaluations = assessor.evaluations
        self._decisions = OrderedDict[tuple[datetime, int], Decisions]()
        self._versions = dict[tuple[str, int], Baseline]()
        self._days = OrderedDict[date, _Day]()
        self._numbers = dict[InstanceId, int]()
        assessor.day_ended = self._keep

    async def assessments(self, instances: Sequence[Instance], at: datetime) -> list[Assessment]:
        """Return the answers of these instances as of a past instant, in their order."""
        decisions = await self._decided(at)
        questions = list[Question[Assessment]]()
        for instance in instances:
            report = await self._report(instance, at, self._assessor.latest_report(instance.id))
            host, baseline = await self._host(instance, report, decisions, at)
            questions.append(Question(host, _Assess(host, baseline, at, decisions.exceptions)))
        return await self._evaluations.ask_all(questions)

    async def report(
        self, instance: Instance, at: datetime, *, all_items: bool = False, baseline: Baseline | None = None
    ) -> tuple[Assessment, tuple[Item, ...]]:
        """Return an instance's full report as of a past instant, by the baseline that decided then or by the one given.

        Items carry first_non_compliant_at where it is remembered and had come by then; nothing is stored.
        """
        decisions = await self._decided(at)
        report = await self._report(instance, at, self._assessor.latest_report(instance.id))
        host, deciding = await self._host(instance, report, decisions, at)
        if baseline is not None:
            host = replace(host, baseline_source="ticket")
        used = baseline or deciding
        known = await self._store.assessments.since(instance.id, used.id if used is not None else "")
        since = {key: begun for key, begun in known.items() if begun <= at}
        found = await self._evaluations.ask(
            host,
            lambda e: e.evaluate(host, used, at, exceptions=decisions.exceptions, since=since, everything=all_items),
        )
        return found.assessment, found.items

    async def trend(self, instances: Sequence[Instance], days: int, now: datetime) -> tuple[TrendDay, ...]:
        """Return the numbers of the last so many days, today included, oldest first. An instance counts from its enrolment on.

        Of a day that ended while this process ran the last answer counts. Other days are evaluated once for each instance and remembered as
        long as this process lives.
        """
        today = now.astimezone(UTC).date()
        past = [today - timedelta(days=back) for back in range(1, days)]
        for start in range(0, len(instances), _CHUNK):
            await self._evaluate_past(instances[start : start + _CHUNK], past)
        trend = list[TrendDay]()
        for day in reversed(past):
            counted = BitMap(self._number(i.id) for i in instances if i.enrolled_at <= end_of(day))
            trend.append(TrendDay(day, self._days[day].counts(counted) if counted else ComplianceCounts()))
        answers = await self._assessor.assessments(i for i in instances if i.enrolled_at <= now)
        found = defaultdict[InstanceStatus, int](int)
        for answer in answers.values():
            found[answer.status] += 1
        trend.append(TrendDay(today, _counts(found)))
        return tuple(trend)

    async def _evaluate_past(self, instances: Sequence[Instance], days: Sequence[date]) -> None:
        """Remember the answers of these instances at the ends of these days, the newest day first."""
        reports = {i.id: self._assessor.latest_report(i.id) for i in instances}
        for day in days:
            at, known = end_of(day), self._day(day)
            due = [i for i in instances if i.enrolled_at <= at and self._number(i.id) not in known.known]
            if not due:
                continue
            decisions = await self._decided(at)
            asked = dict[_Alike, Question[Assessment]]()
            alike = list[_Alike]()
            for place, instance in enumerate(due):
                if place % SLICE == 0:
                    await asyncio.sleep(0)  # let others have their turn
                report = reports[instance.id] = await self._report(instance, at, reports[instance.id])
                host, baseline = await self._host(instance, report, decisions, at)
                same = _Alike.of(host, baseline, decisions, at)
                alike.append(same)
                asked.setdefault(same, Question(host, _Assess(host, baseline, at, decisions.exceptions)))
            answers = dict(zip(asked, await self._evaluations.ask_all(list(asked.values())), strict=True))
            for instance, same in zip(due, alike, strict=True):
                known.add(self._number(instance.id), answers[same].status)

    async def _report(self, instance: Instance, at: datetime, later: Report | None) -> Report | None:
        """Return the report that was the latest at an instant, when `later` was the latest at a later one."""
        if later is None or later.first_collected_at <= at:
            return later
        return await self._store.inventory.report_as_of(instance.id, at)

    async def _host(
        self, instance: Instance, report: Report | None, decisions: Decisions, at: datetime
    ) -> tuple[Host, Baseline | None]:
        """Return an instance as it was, and the baseline that decided for it then."""
        if report is not None:
            said = (await self._evaluations.manifest(report.manifest_digest)).os
            if said.id:
                system = OperatingSystem(
                    said.id, said.version, product_of(said.id, said.version), said.pretty_name, said.arch
                )
                instance = replace(instance, operating_system=system)
        baseline, source = decisions.deciding(instance)
        return await self._evaluations.host(instance, report, source, at), baseline

    async def _decided(self, at: datetime) -> Decisions:
        """Return what operators had decided by then; the past changes only by what is decided from now on."""
        key = (at, self._assessor.decisions.exceptions.version)
        known = self._decisions.get(key)
        if known is None:
            known = self._decisions[key] = await load_as_of(self._store.baselines, at, self._versions)
            if len(self._decisions) > _MAX_DECISIONS:
                self._decisions.popitem(last=False)
        return known

    def _day(self, day: date) -> _Day:
        if day not in self._days:
            self._days[day] = _Day()
            if len(self._days) > _MAX_DAYS:
                del self._days[min(self._days)]
        return self._days[day]

    def _keep(self, instance_id: InstanceId, day: date, status: InstanceStatus) -> None:
        known, number = self._day(day), self._number(instance_id)
        if number not in known.known:
            known.add(number, status)

    def _number(self, instance_id: InstanceId) -> int:
        return self._numbers.setdefault(instance_id, len(self._numbers))


@dataclass(slots=True)
class _Day:
    """The answers at the end of one day, by the instances' numbers."""

    known: BitMap = field(default_factory=BitMap)
    by_status: dict[InstanceStatus, BitMap] = field(default_factory=lambda: {s: BitMap() for s in InstanceStatus})

    def add(self, number: int, status: InstanceStatus) -> None:
        self.known.add(number)
        self.by_status[status].add(number)

    def counts(self, instances: BitMap) -> ComplianceCounts:
        return _counts({s: found.intersection_cardinality(instances) for s, found in self.by_status.items()})


@dataclass(frozen=True, slots=True)
class _Alike:
    """What the status of an instance depends on, at one instant: of those that are alike one is evaluated."""

    manifest_digest: str
    collected_at: datetime | None
    product: str
    baseline: tuple[str, int]
    excusing: tuple[str, ...]
    had_advisories: frozenset[str]
    quarantined: bool

    @staticmethod
    def of(host: Host, baseline: Baseline | None, decisions: Decisions, at: datetime) -> _Alike:
        return _Alike(
            host.manifest_digest,
            host.collected_at,
            host.instance.operating_system.product,
            (baseline.id, baseline.version) if baseline is not None else ("", 0),
            decisions.excusing(host.instance, at),
            host.had_advisories,
            host.instance.quarantine is not None and host.instance.quarantine.holds(at),
        )


@dataclass(frozen=True, slots=True)
class _Assess:
    host: Host
    baseline: Baseline | None
    as_of: datetime
    exceptions: Exceptions

    def __call__(self, evaluator: Evaluator) -> Assessment:
        return evaluator.assess(self.host, self.baseline, self.as_of, exceptions=self.exceptions).assessment


def _counts(found: dict[InstanceStatus, int]) -> ComplianceCounts:
    return ComplianceCounts(
        compliant=found.get(InstanceStatus.COMPLIANT, 0),
        non_compliant=found.get(InstanceStatus.NON_COMPLIANT, 0),
        undetermined=found.get(InstanceStatus.UNDETERMINED, 0),
    )
