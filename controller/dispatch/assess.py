"""Keeps every instance's answer true: evaluates when something it depends on changed, and stores what came out. Decides nothing.

The evaluator works in a thread of its own, one call at a time; metadata is parsed in a worker process. An answer is computed again when the
report, the deciding baseline, the instance's OS or the UTC day changed, or the report became stale; else the stored one is given.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from typing import ParamSpec, TypeVar

from common import manifest
from common.clock import Clock
from common.errors import NotFound, PatchError, Unavailable
from controller.compliance.evaluator import Evaluator, Host, Limits
from controller.compliance.model import Assessment, Baseline, Item
from controller.fleet.model import Instance, InstanceId, ResourceType
from controller.fleet.products import family_of
from controller.inventory.metadata import MetadataError
from controller.inventory.model import Package, Report
from controller.inventory.parse_worker import MetadataParser
from controller.store.api import Store

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Key:
    """What an answer depends on: the same key, the same answer."""

    manifest_digest: bytes
    collected_at: datetime | None
    stale: bool
    product: str
    baseline_id: str
    baseline_version: int
    source: str
    day: date


class Assessor:
    """One for a controller process. Use it from one event loop."""

    def __init__(self, store: Store, parser: MetadataParser, clock: Clock, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        """Begin with nothing known; call `start`."""
        self._store = store
        self._parser = parser
        self._clock = clock
        self._limits = limits
        self._evaluator = Evaluator(limits)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="evaluate")
        self._bringing: dict[str, asyncio.Task[None]] = {}
        self._reports: dict[InstanceId, Report] = {}
        self._answers: dict[InstanceId, tuple[_Key, Assessment]] = {}
        self._defaults: Mapping[tuple[ResourceType, str], Baseline] = {}
        self._due: asyncio.Queue[InstanceId] = asyncio.Queue()
        self._work: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the latest reports and the defaults, and begin to evaluate what comes in."""
        self._reports = {r.instance_id: r for r in await self._store.inventory.latest_reports()}
        await self._load_defaults()
        self._work = asyncio.create_task(self._evaluate_due(), name="evaluate what came in")

    async def stop(self) -> None:
        """Stop; what was not evaluated is evaluated when somebody asks."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        for task in self._bringing.values():
            task.cancel()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def reported(self, report: Report) -> None:
        """Take note of a report that was stored; its instance is evaluated soon."""
        self._reports[report.instance_id] = report
        self._due.put_nowait(report.instance_id)

    async def refresh_all(self) -> None:
        """Take note that baselines or defaults changed."""
        await self._load_defaults()
        for instance_id in self._reports:
            self._due.put_nowait(instance_id)

    async def deciding_baseline(self, instance: Instance) -> tuple[Baseline | None, str]:
        """Return the baseline that decides for an instance and why it is that one; None when none is meant for it."""
        family = family_of(instance.operating_system.product)
        baseline = self._defaults.get((instance.resource_type, family))
        return baseline, "default" if baseline is not None else ""

    async def assessment(self, instance: Instance) -> Assessment:
        """Return an instance's answer as of now."""
        baseline, source = await self.deciding_baseline(instance)
        key = self._key(instance, baseline, source)
        known = self._answers.get(instance.id)
        if known is not None and known[0] == key:
            return known[1]
        host = await self._host(instance, source)
        answer = await self._ask(host, lambda as_of: self._evaluator.assess(host, baseline, as_of))
        await self._keep(answer.assessment, answer.non_compliant_keys)
        self._answers[instance.id] = (key, answer.assessment)
        return answer.assessment

    async def assessments(self, instances: Iterable[Instance]) -> Mapping[InstanceId, Assessment]:
        """Return the answers of these instances as of now."""
        return {i.id: await self.assessment(i) for i in instances}

    async def report(
        self, instance: Instance, *, all_items: bool = False, baseline: Baseline | None = None
    ) -> tuple[Assessment, tuple[Item, ...]]:
        """Return an instance's full report as of now, by the deciding baseline or by the one given.

        A baseline that is given for once never touches the deciding answer (R16).
        """
        if baseline is None:
            await self.assessment(instance)  # dates what is new
            baseline, source = await self.deciding_baseline(instance)
            host = await self._host(instance, source)
        else:
            once = baseline
            host = await self._host(instance, "ticket")
            answer = await self._ask(host, lambda as_of: self._evaluator.assess(host, once, as_of))
            await self._keep(answer.assessment, answer.non_compliant_keys, deciding=False)
        since = await self._store.assessments.since(instance.id, baseline.id if baseline is not None else "")
        found = await self._ask(
            host, lambda as_of: self._evaluator.evaluate(host, baseline, as_of, since=since, everything=all_items)
        )
        return found.assessment, found.items

    def _key(self, instance: Instance, baseline: Baseline | None, source: str) -> _Key:
        report, now = self._reports.get(instance.id), self._clock.now()
        return _Key(
            manifest_digest=report.manifest_digest if report is not None else b"",
            collected_at=report.collected_at if report is not None else None,
            stale=report is not None and now - report.collected_at > self._limits.stale_after,
            product=instance.operating_system.product,
            baseline_id=baseline.id if baseline is not None else "",
            baseline_version=baseline.version if baseline is not None else 0,
            source=source,
            day=now.date(),
        )

    async def _evaluate_due(self) -> None:
        while True:
            instance_id = await self._due.get()
            try:
                instance = await self._store.fleet.get_instance(instance_id)
                if instance.deleted_at is None:
                    await self.assessment(instance)
            except PatchError as error:
                log.warning("could not evaluate", extra={"instance": instance_id, "error": str(error)})
            except Exception:  # a fault of ours must not stop the evaluation of everybody else
                log.exception("evaluation failed", extra={"instance": instance_id})

    async def _ask(self, host: Host, question: Callable[[datetime], R]) -> R:
        """Bring what the evaluator needs for a host, and put a question to it as of now."""
        as_of = self._clock.now().replace(microsecond=0)
        while True:
            last = await self._call(lambda: self._evaluator.last_package_id)
            if newer := await self._store.inventory.packages_after(last):
                await self._call(self._learn, newer)
            needs = await self._call(self._evaluator.needs, host.manifest) if host.manifest is not None else ()
            if not needs:
                return await self._call(question, as_of)
            for kind, name in needs:
                await self._bring(kind, name)

    def _learn(self, packages: tuple[Package, ...]) -> None:
        last = self._evaluator.last_package_id  # somebody else may have learnt some of them meanwhile
        self._evaluator.learn(p for p in packages if p.id > last)

    async def _host(self, instance: Instance, source: str) -> Host:
        report = self._reports.get(instance.id)
        if report is None:
            return Host(instance, baseline_source=source)
        said = manifest.decode(await self._store.inventory.get_blob(report.manifest_digest))
        digest = report.inventory_digest
        offering = [r.id for r in said.repositories if r.updateinfo]
        return Host(
            instance,
            manifest=said,
            manifest_digest=report.manifest_digest.hex(),
            snapshot=await self._store.inventory.get_snapshot(digest) if digest is not None else None,
            collected_at=report.collected_at,
            had_advisories=await self._store.inventory.remember_advisory_repositories(instance.id, offering),
            baseline_source=source,
            ticket_id=report.ticket_id,
        )

    async def _bring(self, kind: str, name: str) -> None:
        """Parse a repository file and hand it to the evaluator, once for all who wait for it."""
        if name not in self._bringing:
            self._bringing[name] = asyncio.create_task(self._parse(kind, name))
            self._bringing[name].add_done_callback(lambda _: self._bringing.pop(name))
        await asyncio.shield(self._bringing[name])

    async def _parse(self, kind: str, name: str) -> None:
        try:
            content = await self._store.inventory.get_blob(bytes.fromhex(name))
            if kind == "primary":
                await self._call(self._evaluator.add_primary, name, await self._parser.primary(name, content))
                return
            advisories = await self._parser.updateinfo(name, content)
        except (MetadataError, NotFound) as error:
            log.warning("repository file cannot be read", extra={"kind": kind, "digest": name, "error": str(error)})
            await self._call(self._evaluator.add_unreadable, name, str(error))
            return
        ids = [a.id for a in advisories]
        await self._store.inventory.see_advisories(ids, self._clock.now())
        first_seen = await self._store.inventory.first_seen(ids)
        await self._call(self._evaluator.add_updateinfo, name, advisories, first_seen)

    async def _keep(self, assessment: Assessment, items: Collection[str], *, deciding: bool = True) -> None:
        at = assessment.inputs.as_of or self._clock.now()
        try:
            await self._store.assessments.put_assessment(assessment, items, at, deciding=deciding)
        except Unavailable as error:  # the answer is right all the same; it is stored with the next one
            log.warning("answer could not be stored", extra={"instance": assessment.instance_id, "error": str(error)})

    async def _load_defaults(self) -> None:
        by_id = {b.id: b for b in await self._store.baselines.baselines()}
        defaults = await self._store.baselines.defaults()
        self._defaults = {key: by_id[baseline] for key, baseline in defaults.items() if baseline in by_id}

    async def _call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: function(*args, **kwargs))
