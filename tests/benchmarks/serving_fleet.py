"""A program: fill a database with a fleet, or serve it with a real controller, ask as a client does, and print what that took as JSON.

    python -m tests.benchmarks.serving_fleet FOLDER COUNT fill
    python -m tests.benchmarks.serving_fleet FOLDER COUNT serve

Each a process of its own, so that the memory of the second is the controller's (and its one client's). Serving for the first time evaluates
everybody; serving again, as after a restart, takes up the answers that were stored.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from xml.sax.saxutils import quoteattr

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "packaging/demo"))

from common import digest, manifest
from common.pb.v1 import report_pb2
from controller import heap
from controller.app import DATABASE, Controller
from controller.compliance.model import Available
from controller.settings import Settings
from controller.store.sqlite.store import SqliteStore
from realroots import AdvisorySpec, updateinfo_xml
from tests.benchmarks.synthetic_fleet import Fleet, a_fleet
from tests.builders import a_report, an_instance, instance_id, packages_blob
from tests.integration.api_harness import Harness

INVENTORIES: Final = 2_000
"""At most so many distinct ones: larger fleets share them."""
AT_ONCE: Final = 64
ASKED: Final = 40
"""So many times each question is asked: the pages of as many instances."""
TOKEN: Final = "benchmark-token"
"""Where the first admin's token is kept for the next start."""
LIMIT: Final = 900.0
"""Seconds after which an answer is not waited for any longer."""


def updateinfo(fleet: Fleet) -> bytes:
    """The fleet's advisories, as a vendor's file."""
    return updateinfo_xml(
        "updates",
        [
            AdvisorySpec(
                a.id,
                a.category.value.lower(),
                a.severity.value,
                f"{a.issued} 00:00:00",
                "",
                a.title,
                a.cves,
                tuple(str(p.nevra) for p in a.packages),
            )
            for a in fleet.advisories
        ],
    )


def primary(fleet: Fleet) -> bytes:
    """The builds that the fleet's repository offers, as a vendor's file."""
    rows = "".join(map(_offered, fleet.available))
    head = 'xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm"'
    return f'<?xml version="1.0" encoding="UTF-8"?><metadata {head} packages="{len(fleet.available)}">{rows}</metadata>'.encode()


def _offered(available: Available) -> str:
    build = available.nevra
    return (
        f'<package type="rpm"><name>{build.name}</name><arch>{build.arch}</arch><version epoch="{build.epoch}"'
        f" ver={quoteattr(build.version)} rel={quoteattr(build.release)}/>"
        f'<checksum type="sha256" pkgid="YES">{digest.of(str(build).encode()).hex()}</checksum>'
        f'<time file="{available.build_time}" build="{available.build_time}"/><location href="{build}.rpm"/>'
        "<format/></package>"
    )


async def fill(store: SqliteStore, count: int) -> None:
    """Put a fleet's instances and what they reported into an empty store."""
    fleet = a_fleet(min(count, INVENTORIES))
    files = (updateinfo(fleet), primary(fleet))
    for content in files:
        await store.inventory.put_blob(digest.of(content), content)
    repository = replace(fleet.repository, updateinfo=digest.of(files[0]).hex(), primary=digest.of(files[1]).hex())
    said = list[manifest.Manifest]()
    for host in fleet.hosts:
        lines = fleet.lines(host)
        blob = packages_blob(lines)
        await store.inventory.put_snapshot(digest.of(blob), blob)
        assert host.manifest is not None
        said.append(replace(host.manifest, repositories=(repository,), packages=digest.of(blob).hex()))
    now = datetime.now(UTC).replace(microsecond=0)

    async def one(number: int) -> None:
        mine = replace(said[number % len(said)], boot_id=f"{number:032x}")
        content = manifest.encode(mine)
        await store.fleet.put_instance(an_instance(number, name=f"ecs-{number:06d}", enrolled_at=now))
        await store.inventory.put_blob(digest.of(content), content)
        report = a_report(
            number, at=now, manifest_digest=digest.of(content), inventory_digest=bytes.fromhex(mine.packages)
        )
        await store.inventory.put_report(report)

    async def some(numbers: Iterator[int]) -> None:
        for number in numbers:
            await one(number)

    numbers = iter(range(1, count + 1))
    await asyncio.gather(*(some(numbers) for _ in range(AT_ONCE)))


async def measure(folder: Path, count: int) -> dict[str, float]:
    """Serve the fleet and ask for what people look at."""
    store = SqliteStore.open(folder / DATABASE)
    controller = Controller(Settings(folder, listen="127.0.0.1:0", hosts=("127.0.0.1",)), store=store)
    begun, worked = time.perf_counter(), time.process_time()
    heap.collect_seldom()
    await controller.start()
    heap.keep_what_is_there()
    found = {"start": time.perf_counter() - begun}
    harness = Harness(controller, store, folder)  # type: ignore[arg-type] # it only hands it on
    try:
        reports = harness.stubs(token(folder, controller)).reports

        async def summarise() -> None:
            summary = await reports.GetSummary(report_pb2.GetSummaryRequest())
            assert summary.instances == count

        (found["first summary"],) = await waits(summarise, 1)
        found["processor"] = time.process_time() - worked
        note(found, "summary", await waits(summarise, ASKED) if found["first summary"] < LIMIT else [LIMIT])
        note(
            found, "list", await waits(lambda: reports.ListReports(report_pb2.ListReportsRequest(page_size=50)), ASKED)
        )
        pages = [instance_id(1 + n * (count - 1) // ASKED) for n in range(1, ASKED + 1)]
        worked = time.process_time()
        note(found, "page", await waits(page_of(reports.GetReport, pages), ASKED))
        found["page, processor"] = (time.process_time() - worked) / ASKED
        found["rss"] = psutil.Process().memory_info().rss / (1 << 20)
    finally:
        await harness.close()
        await controller.stop()
        await store.close()
    found["database"] = (folder / DATABASE).stat().st_size / (1 << 20)
    return found


def token(folder: Path, controller: Controller) -> str:
    """Return the token of the first admin, whom the first start made."""
    if controller.first_token is not None:
        (folder / TOKEN).write_text(controller.first_token)
    return (folder / TOKEN).read_text()


def note(found: dict[str, float], name: str, waited: list[float]) -> None:
    """Note how long was waited usually, and at most."""
    found[name], found[f"{name}, worst"] = statistics.median(waited), max(waited)


async def waits(ask: Callable[[], Awaitable[object]], times: int) -> list[float]:
    """Return how long a client waited each time, but wait no longer than the limit, which is then the answer."""
    found = list[float]()
    try:
        async with asyncio.timeout(LIMIT):
            for _ in range(times):
                begun = time.perf_counter()
                await ask()
                found.append(time.perf_counter() - begun)
    except TimeoutError:
        found.append(LIMIT)
    return found


def page_of(
    call: Callable[[report_pb2.GetReportRequest], Awaitable[object]], instances: list[str]
) -> Callable[[], Awaitable[object]]:
    """Ask for another instance's page each time."""
    following = iter(instances)
    return lambda: call(report_pb2.GetReportRequest(instance=next(following)))


async def main(folder: Path, count: int, what: str) -> None:
    """Fill, or serve."""
    if what == "serve":
        print(json.dumps(await measure(folder, count)))
        return
    folder.mkdir(parents=True, exist_ok=True)
    store = SqliteStore.open(folder / DATABASE, synchronous="NORMAL")
    await fill(store, count)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
