"""Writes into a store for as long as it lives and says on stdout what was acknowledged; test_sqlite_durability.py kills it."""

from __future__ import annotations

import asyncio
import itertools
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from common import digest
from controller.store.api import Store
from controller.store.sqlite import SqliteStore
from controller.tickets.model import Outcome, RunState, TicketId
from tests.builders import NOW, a_report, a_ticket, an_instance, packages, packages_blob, packages_digest

LARGE = 300_000
"""Bytes of content that does not go into the database."""


def content_of(name: str, size: int) -> bytes:
    return name.encode().ljust(size, b".")


def acknowledged(*words: object) -> None:
    print(*words, flush=True)


async def report(store: Store, number: int, start: int) -> None:
    await store.fleet.put_instance(an_instance(number))
    for step in itertools.count(start):
        lines = packages(5, first=number * 10 + step)
        manifest = content_of(f"{number} {step}", 100)
        await store.inventory.put_blob(digest.of(manifest), manifest)
        await store.inventory.put_snapshot(packages_digest(lines), packages_blob(lines))
        latest = await store.inventory.put_report(
            a_report(
                number,
                at=NOW + timedelta(seconds=step),
                manifest_digest=digest.of(manifest),
                inventory_digest=packages_digest(lines),
            )
        )
        acknowledged("report", number, step)
        for part in range(1, 4):
            end = NOW + timedelta(seconds=step, milliseconds=part)
            await store.repeats.repeat([replace(latest, collected_at=end, received_at=end)])
            acknowledged("repeat", number, step, part)


async def drive(store: Store, start: int) -> None:
    for number in itertools.count(start):
        ticket = await store.tickets.create(a_ticket(5, id=TicketId(f"T-{number}")))
        acknowledged("ticket", ticket.id, ticket.version)
        for member in ticket.batches[1].members:
            run = replace(ticket.runs[member], state=RunState.FINISHED, outcome=Outcome.SUCCEEDED, attempt=1)
            counts = ticket.counts.moved("ready", "succeeded")
            runs = ticket.runs.set(member, run)
            changed = replace(ticket, runs=runs, counts=counts, unsaved_runs=frozenset({member}))
            ticket = await store.tickets.save(changed)
            acknowledged("ticket", ticket.id, ticket.version)


async def keep_large(store: Store, start: int) -> None:
    for number in itertools.count(start):
        content = content_of(f"large {number}", LARGE)
        await store.inventory.put_blob(digest.of(content), content)
        acknowledged("large", number)


async def main(path: Path, start: int) -> None:
    store = SqliteStore.open(path)
    async with asyncio.TaskGroup() as tasks:
        for number in range(1, 6):
            tasks.create_task(report(store, number, start))
        tasks.create_task(drive(store, start))
        tasks.create_task(keep_large(store, start))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
