"""Brings the evaluator what it needs, and asks it: packages it has not learnt, repository files it has not read. Decides nothing.

The evaluator works in a thread of its own, one slice of questions at a time; repository files are parsed in a worker process.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Final, Generic, ParamSpec, TypeVar

from common import manifest
from common.clock import Clock
from common.errors import NotFound
from common.manifest import Manifest
from controller.compliance.evaluator import Answer, Evaluator, Host, Limits
from controller.compliance.model import Advisory, Baseline, Exceptions
from controller.fleet.model import Instance, InstanceId
from controller.inventory.metadata import MetadataError
from controller.inventory.model import Package, Report
from controller.inventory.parse_worker import MetadataParser
from controller.store.api import Store

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
K = TypeVar("K")
V = TypeVar("V")

SLICE: Final = 200
"""So many questions are put at once; then others get their turn."""
_MAX_MANIFESTS: Final = 16_384
_MAX_INSTALL_TIMES: Final = 256
"""Each is as long as its list of packages."""


@dataclass(frozen=True, slots=True)
class Question(Generic[R]):
    """What to ask about a host, once everything that is known of it was brought."""

    host: Host
    ask: Callable[[Evaluator], R]


@dataclass(frozen=True, slots=True)
class Assess:
    """The question of a whole fleet: the answer without its items."""

    host: Host
    baseline: Baseline | None
    as_of: datetime
    exceptions: Exceptions

    def __call__(self, evaluator: Evaluator) -> Answer:
        """Ask it."""
        return evaluator.assess(self.host, self.baseline, self.as_of, exceptions=self.exceptions)


class Evaluations:
    """One evaluator with its thread, its store and its parser. Use it from one event loop."""

    def __init__(self, store: Store, parser: MetadataParser, clock: Clock, limits: Limits) -> None:
        """Begin with nothing learnt."""
        self._store = store
        self._parser = parser
        self._clock = clock
        self._evaluator = Evaluator(limits)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="evaluate")
        self._bringing: dict[str, asyncio.Task[None]] = {}
        self._manifests = OrderedDict[bytes, Manifest]()
        self._install_times = OrderedDict[str, tuple[tuple[int, str], ...]]()
        self._parts = dict[object, object]()
        self._had = dict[InstanceId, frozenset[str]]()
        self._advisories = dict[str, tuple[Advisory, ...]]()
        self._unreadable = set[str]()

    async def stop(self) -> None:
        """Let the question that is being answered end; no other is answered."""
        for task in self._bringing.values():
            task.cancel()
        await asyncio.to_thread(self._thread.shutdown, wait=True, cancel_futures=True)

    async def ask(self, host: Host, question: Callable[[Evaluator], R]) -> R:
        """Return the answer to one question."""
        (answer,) = await self.ask_all([Question(host, question)])
        return answer

    async def ask_all(self, questions: Sequence[Question[R]]) -> list[R]:
        """Return the answers, in the order of the questions. Questions of one day and one baseline that stand together cost least."""
        answers = list[R]()
        while len(answers) < len(questions):
            if newer := await self._store.inventory.packages_after(self._evaluator.last_package_id):
                await self.call(self._learn, newer)
            for kind, name in await self.call(self._answer_some, questions, answers):
                await self._bring(kind, name)
        return answers

    async def host(self, instance: Instance, report: Report | None, source: str, at: datetime | None = None) -> Host:
        """Return an instance with what it reported. `at` is the instant for which it is asked, when that is past."""
        (found,) = await self._hosts([(instance, report, source)], at)
        return found

    async def hosts(self, asked: Iterable[tuple[Instance, Report | None, str]]) -> list[Host]:
        """Return what `host` does, of several: the store is asked for a slice of them at once, and writes what is new together."""
        found, waiting = list[Host](), iter(asked)
        while some := tuple(islice(waiting, SLICE)):
            found += await self._hosts(some, None)
        return found

    async def _hosts(self, asked: Sequence[tuple[Instance, Report | None, str]], at: datetime | None) -> Sequence[Host]:
        reports = {instance.id: report for instance, report, _ in asked if report is not None}
        said = await self.manifests(report.manifest_digest for report in reports.values())
        by_instance = {instance_id: said[report.manifest_digest] for instance_id, report in reports.items()}
        digests = {r.inventory_digest for r in reports.values() if r.inventory_digest is not None}
        snapshots = await self._store.inventory.get_snapshots(digests) if digests else {}
        had = await self._had_advisories(by_instance)
        details = await self._details(by_instance.values())
        found = list[Host]()
        for instance, report, source in asked:
            if report is None:
                found.append(Host(instance, baseline_source=source))
                continue
            told, digest = by_instance[instance.id], report.inventory_digest
            found.append(
                Host(
                    instance,
                    manifest=told,
                    manifest_digest=report.manifest_digest.hex(),
                    snapshot=snapshots[digest] if digest is not None else None,
                    collected_at=min(report.collected_at, at) if at is not None else report.collected_at,
                    had_advisories=had[instance.id],
                    baseline_source=source,
                    ticket_id=report.ticket_id,
                    details=details[told.details] if _details_matter(told) else None,
                )
            )
        return found

    async def _had_advisories(self, said: Mapping[InstanceId, Manifest]) -> Mapping[InstanceId, frozenset[str]]:
        """Return where each instance ever had advisories, with what it says now; the store is asked for what is new."""
        offering = {i: self._once(frozenset(r.id for r in m.repositories if r.updateinfo)) for i, m in said.items()}
        new = {i: now for i, now in offering.items() if i not in self._had or not now <= self._had[i]}
        if new:
            for i, had in (await self._store.inventory.remember_advisory_repositories(new)).items():
                self._had[i] = self._once(had)
        return {i: self._had[i] for i in said}

    async def _details(self, said: Iterable[Manifest]) -> Mapping[str, tuple[tuple[int, str], ...]]:
        """Return install times and vendors by digest, where they can matter."""
        wanted = {one.details for one in said if _details_matter(one)}
        return await _recall(self._install_times, wanted, _MAX_INSTALL_TIMES, self._read_details)

    async def _read_details(self, digests: Sequence[str]) -> Iterable[tuple[tuple[int, str], ...]]:
        contents = await self._store.inventory.get_blobs([bytes.fromhex(d) for d in digests])
        return [manifest.decode_details(contents[bytes.fromhex(d)]) for d in digests]

    async def manifest(self, digest: bytes) -> Manifest:
        """Return what an agent said."""
        return (await self.manifests((digest,)))[digest]

    async def manifests(self, digests: Iterable[bytes]) -> Mapping[bytes, Manifest]:
        """Return what agents said, by digest."""
        return await _recall(self._manifests, set(digests), _MAX_MANIFESTS, self._read_manifests)

    async def _read_manifests(self, digests: Sequence[bytes]) -> Iterable[Manifest]:
        contents = await self._store.inventory.get_blobs(digests)
        return [self._shared(manifest.decode(contents[digest])) for digest in digests]

    def _shared(self, said: Manifest) -> Manifest:
        """Return the same manifest; what copies of an image say alike is kept once."""
        return replace(
            said,
            os=self._once(said.os),
            repositories=self._once(said.repositories),
            streams=self._once(said.streams),
            install_only=self._once(said.install_only),
            holds=self._once(said.holds),
            problems=self._once(said.problems),
        )

    async def advisories(self, name: str) -> tuple[Advisory, ...] | None:
        """Return the advisories of an updateinfo file by its digest; None when it cannot be read."""
        if name not in self._advisories and name not in self._unreadable:
            await self._bring("updateinfo", name)
        return self._advisories.get(name)

    def keep_advisories(self, names: frozenset[str]) -> None:
        """Forget the advisories of all other files; the evaluator remembers its own."""
        for name in self._advisories.keys() - names:
            del self._advisories[name]

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function in the evaluator's thread: nothing else happens there meanwhile."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: function(*args, **kwargs))

    def _answer_some(self, questions: Sequence[Question[R]], answers: list[R]) -> tuple[tuple[str, str], ...]:
        """Answer a slice; return what must be brought before the next can be answered."""
        for question in questions[len(answers) : len(answers) + SLICE]:
            said = question.host.manifest
            if said is not None and (needs := self._evaluator.needs(said)):
                return needs
            answers.append(question.ask(self._evaluator))
        return ()

    def _learn(self, packages: tuple[Package, ...]) -> None:
        last = self._evaluator.last_package_id  # somebody else may have learnt some of them meanwhile
        self._evaluator.learn(p for p in packages if p.id > last)

    def _once(self, part: R) -> R:
        if len(self._parts) > _MAX_MANIFESTS:
            self._parts.clear()
        return self._parts.setdefault(part, part)  # type: ignore[return-value]  # equal things have one type here

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
                await self.call(self._evaluator.add_primary, name, await self._parser.primary(name, content))
                return
            advisories = await self._parser.updateinfo(name, content)
        except (MetadataError, NotFound) as error:
            log.warning("repository file cannot be read", extra={"kind": kind, "digest": name, "error": str(error)})
            self._unreadable.add(name)
            await self.call(self._evaluator.add_unreadable, name, str(error))
            return
        ids = [a.id for a in advisories]
        await self._store.inventory.see_advisories(ids, self._clock.now())
        first_seen = await self._store.inventory.first_seen(ids)
        self._unreadable.discard(name)
        self._advisories[name] = advisories
        await self.call(self._evaluator.add_updateinfo, name, advisories, first_seen)


def _details_matter(said: Manifest) -> bool:
    """Say whether install times can matter: on a host that was booted (R9)."""
    return bool(said.boot_time and said.details)


async def _recall(
    known: OrderedDict[K, V], wanted: Collection[K], at_most: int, read: Callable[[Sequence[K]], Awaitable[Iterable[V]]]
) -> Mapping[K, V]:
    """Return what is known, and read the rest together; what was not asked for longest is forgotten."""
    found = {key: known[key] for key in wanted if key in known}
    for key in found:
        known.move_to_end(key)
    new = [key for key in wanted if key not in found]
    if new:
        found.update(zip(new, await read(new), strict=True))
        known.update((key, found[key]) for key in new)
        while len(known) > at_most:
            known.popitem(last=False)
    return found
