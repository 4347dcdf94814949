"""A fleet that reported into a store in memory, with an assessor over it that runs on a clock in a test's hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from xml.sax.saxutils import quoteattr

from common import digest, manifest
from common.manifest import Repository
from controller.api.bound import BoundBaselines, BoundFleet
from controller.api.selecting import Selecting
from controller.compliance.model import (
    Advisory,
    Assessment,
    Assignment,
    AssignmentScope,
    Baseline,
    ExceptionMatch,
    ExceptionScope,
    PatchException,
)
from controller.dispatch.assess import Assessor
from controller.fleet.model import Instance, ResourceType
from controller.fleet.sessions import Sessions
from controller.inventory.model import Report
from controller.inventory.parse_worker import MetadataParser
from controller.store.memory import MemoryStore
from tests.builders import (
    NOW,
    a_baseline,
    a_manifest,
    a_package,
    an_advisory,
    an_instance,
    instance_id,
    packages_blob,
    packages_digest,
)
from tests.fakes import FakeClock

OLD = "bash-4.2.46-34.el7.x86_64"
NEW = "bash-4.2.46-35.el7_9.x86_64"
DAY = timedelta(days=1)


def updateinfo(*advisories: Advisory) -> bytes:
    """An updateinfo file of these advisories, as a repository has it."""
    updates = list[str]()
    for a in advisories:
        packages = "".join(
            f'<package name={quoteattr(p.nevra.name)} epoch="{p.nevra.epoch}" version={quoteattr(p.nevra.version)}'
            f" release={quoteattr(p.nevra.release)} arch={quoteattr(p.nevra.arch)}/>"
            for p in a.packages
        )
        module = next((p.module for p in a.packages if p.module), "")
        name, _, stream = module.partition(":")
        of = (
            f'<module name={quoteattr(name)} stream={quoteattr(stream)} version="1" context="c" arch="x86_64"/>'
            if name
            else ""
        )
        references = "".join(f"<reference type='cve' id={quoteattr(cve)} href=''/>" for cve in a.cves)
        updates.append(
            f"<update type={quoteattr(a.raw_type)}><id>{a.id}</id><title>{a.title}</title>"
            f'<severity>{a.raw_severity}</severity><issued date="{a.issued or ""}"/>'
            f"<references>{references}</references><pkglist><collection>{of}{packages}</collection></pkglist></update>"
        )
    return f"<updates>{''.join(updates)}</updates>".encode()


@dataclass
class Fleet:
    """What tests do to a fleet."""

    store: MemoryStore
    clock: FakeClock
    assessor: Assessor

    @property
    def selecting(self) -> Selecting:
        """What finds who is meant by a selector; nobody is connected."""
        sessions = Sessions(self.clock, timedelta(seconds=30))
        return Selecting(self.bound, sessions, self.assessor.assessments, self.clock)

    @cached_property
    def bound(self) -> BoundFleet:
        """The fleet as whoever calls may see it."""
        return BoundFleet(self.store.fleet, self.store.accounts, self.clock)

    @cached_property
    def bound_baselines(self) -> BoundBaselines:
        """Baselines as whoever calls may see them."""
        return BoundBaselines(self.store.baselines, self.bound)

    async def repository(self, *advisories: Advisory, called: str = "updates", **changes: Any) -> Repository:
        """A repository with these advisories (default: one for a newer bash)."""
        content = updateinfo(*(advisories or (an_advisory(),)))
        await self.store.inventory.put_blob(digest.of(content), content)
        return Repository(called, **({"updateinfo": digest.of(content).hex()} | changes))

    async def enrol(self, number: int, **changes: Any) -> Instance:
        """Let `an_instance(number)` in."""
        instance = an_instance(number, **changes)
        await self.store.fleet.put_instance(instance)
        return instance

    async def report(
        self, number: int, repositories: Sequence[Repository], *nevras: str, ticket: str = "", **changes: Any
    ) -> Report:
        """Let an instance say now that it has these packages (default: the old bash) and repositories."""
        lines = [a_package(text) for text in nevras or (OLD,)]
        said = a_manifest(lines, repositories=tuple(repositories), boot_id=f"boot-{number}", **changes)
        content = manifest.encode(said)
        await self.store.inventory.put_blob(digest.of(content), content)
        await self.store.inventory.put_snapshot(packages_digest(lines), packages_blob(lines))
        now = self.clock.now()
        report = Report(
            instance_id(number), digest.of(content), packages_digest(lines), now, now, now, ticket_id=ticket
        )
        kept = await self.store.inventory.put_report(report)
        self.assessor.reported(kept)
        return kept

    async def baseline(self, baseline: Baseline) -> Baseline:
        """Store a version of a baseline, made now."""
        made = a_version(baseline, self.clock.now())
        await self.store.baselines.put_baseline(made)
        await self.assessor.refresh_all()
        return made

    async def assign(self, scope: AssignmentScope, value: str, baseline_id: str) -> None:
        """Let a baseline decide from now on."""
        await self.store.baselines.put_assignment(
            Assignment(scope, value, ResourceType.ECS, "CentOS", baseline_id, self.clock.now(), "operator")
        )
        await self.assessor.refresh_all()

    async def excuse(self, scope: ExceptionScope, value: str, glob: str, length: timedelta, **changes: Any) -> None:
        """Excuse packages from now on."""
        now = self.clock.now()
        known = await self.store.baselines.exceptions()
        await self.store.baselines.put_exception(
            PatchException(
                f"X-{len(known.all) + 1}",
                scope,
                value,
                ExceptionMatch.PACKAGE,
                glob,
                "a reason",
                "ann",
                **({"created_at": now, "expires_at": now + length} | changes),
            )
        )
        await self.assessor.refresh_all()

    async def answer(self, number: int) -> Assessment:
        """The instance's answer as of now."""
        return await self.assessor.assessment(await self.store.fleet.get_instance(instance_id(number)))

    async def stored(self, number: int) -> Assessment | None:
        """The deciding answer that is kept, without asking for it."""
        return await self.store.assessments.deciding(instance_id(number))


def a_version(baseline: Baseline, at: datetime) -> Baseline:
    """The baseline, made at an instant."""
    return replace(baseline, created_at=at)


async def until(true: Callable[[], Awaitable[bool]], timeout_seconds: float = 60) -> None:
    """Return when it is true: what is awaited happens in threads that no clock of ours moves."""
    async with asyncio.timeout(timeout_seconds):
        while not await true():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def a_fleet(default: Baseline | None = None) -> AsyncIterator[Fleet]:
    """A fleet without instances whose default baseline is `a_baseline()`, or the one given."""
    store, clock = MemoryStore(), FakeClock()
    baseline = a_version(default or a_baseline(), NOW - 400 * DAY)
    await store.baselines.put_baseline(baseline)
    await store.baselines.set_default(baseline.id)
    async with MetadataParser() as parser:
        assessor = Assessor(store, parser, clock)
        await assessor.start()
        try:
            yield Fleet(store, clock, assessor)
        finally:
            await assessor.stop()
