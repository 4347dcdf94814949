"""What a ScheduleStore promises."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, time, timedelta

import pytest

from common.errors import Conflict, NotFound
from controller.fleet.model import Selector
from controller.schedules.local_time import Weekday
from controller.schedules.model import (
    Approval,
    MissedRunPolicy,
    RiskLevel,
    RunOutcome,
    Schedule,
    ScheduledTask,
    ScheduleId,
    ScheduleKind,
    ScheduleRun,
    SkipReason,
)
from controller.schedules.windows import MaintenanceWindow
from controller.store.api import Store
from controller.store.rules import MAX_SCHEDULE_RUNS
from controller.tickets.model import TicketId, TicketSpec
from tests.builders import MINUTE, NOW, a_schedule


def a_run(number: int, **changes: object) -> ScheduleRun:
    at = NOW + number * MINUTE
    run = ScheduleRun(ScheduleId("S-1"), at, RunOutcome.FIRED, at, TicketId(f"T-{number}"))
    return replace(run, **changes)  # type: ignore[arg-type]


class ScheduleStoreContract:
    """Subclass it, give it a `store` fixture, and the new store is held to the contract."""

    async def test_a_task_comes_back_whole(self, store: Store) -> None:
        task = ScheduledTask(
            id=ScheduleId("S-9"),
            name="all-of-it",
            schedule=Schedule(
                ScheduleKind.CRON,
                "Asia/Hong_Kong",
                date(2026, 12, 1),
                time(3, 4, 5),
                tuple(Weekday),
                "0 0 3 ? * SUN",
                NOW,
            ),
            spec=TicketSpec(
                name="x",
                selector=Selector(all=True, regions=("r",)),
                maintenance_windows=(MaintenanceWindow((Weekday.SUNDAY,), time(22), time(4), "UTC"),),
            ),
            created_by="ann",
            created_at=NOW,
            edited_by="bob",
            edited_at=NOW + MINUTE,
            description="line\nline",
            enterprise_project="p",
            task_version="2.0",
            agency="a",
            risk_level=RiskLevel.HIGH,
            missed_runs=MissedRunPolicy.RUN_ONCE,
            allow_overlap=True,
            enabled=True,
            approval=Approval(True, "cid", NOW, "fine"),
            settled_until=NOW,
        )
        made = await store.schedules.create(task)
        assert made == replace(task, version=1)
        assert await store.schedules.get(task.id) == made
        assert await store.schedules.find("default", "all-of-it") == made
        assert await store.schedules.find("default", "S-9") == made

    async def test_an_id_and_a_name_within_an_account_are_taken_once(self, store: Store) -> None:
        await store.schedules.create(a_schedule(1))
        with pytest.raises(Conflict):
            await store.schedules.create(a_schedule(1, name="other"))
        with pytest.raises(Conflict):
            await store.schedules.create(a_schedule(2, name=a_schedule(1).name))
        elsewhere = await store.schedules.create(a_schedule(3, name=a_schedule(1).name, account="other"))
        assert await store.schedules.find("other", elsewhere.name) == elsewhere

    async def test_two_operators_cannot_both_win(self, store: Store) -> None:
        mine = theirs = await store.schedules.create(a_schedule(1))
        saved = await store.schedules.save(replace(theirs, description="theirs"))
        assert (saved.version, saved.description) == (2, "theirs")
        with pytest.raises(Conflict):
            await store.schedules.save(replace(mine, description="mine"))
        assert await store.schedules.get(mine.id) == saved

    async def test_a_task_cannot_take_the_name_of_another(self, store: Store) -> None:
        first = await store.schedules.create(a_schedule(1))
        second = await store.schedules.create(a_schedule(2))
        with pytest.raises(Conflict):
            await store.schedules.save(replace(second, name=first.name))
        assert await store.schedules.get(second.id) == second

    async def test_what_is_settled_only_grows_until_the_task_is_enabled_anew(self, store: Store) -> None:
        task = await store.schedules.create(a_schedule(1, enabled=True, settled_until=NOW))
        await store.schedules.settle(task.id, NOW + 5 * MINUTE, [])
        await store.schedules.settle(task.id, NOW + MINUTE, [])
        held = await store.schedules.save(replace(task, enabled=False))
        assert held.settled_until == NOW + 5 * MINUTE, "what was read before a run does not undo it"
        begun = await store.schedules.save(replace(held, enabled=True, settled_until=NOW + MINUTE))
        assert begun.settled_until == NOW + MINUTE
        assert await store.schedules.get(task.id) == begun

    async def test_settling_does_not_disturb_an_operator(self, store: Store) -> None:
        task = await store.schedules.create(a_schedule(1, enabled=True, settled_until=NOW))
        await store.schedules.settle(task.id, NOW + MINUTE, [a_run(1)])
        assert (await store.schedules.save(replace(task, enabled=False))).version == 2

    async def test_tasks_are_listed_by_name_in_pages(self, store: Store) -> None:
        for number, name in ((1, "bbb"), (2, "aaa"), (3, "ccc")):
            await store.schedules.create(a_schedule(number, name=name, enabled=number != 2))
        await store.schedules.create(a_schedule(4, name="aab", account="other", enabled=True))
        assert [t.name for t in await store.schedules.tasks("default", 2, "")] == ["aaa", "bbb"]
        assert [t.name for t in await store.schedules.tasks("default", 2, "bbb")] == ["ccc"]
        assert [t.id for t in await store.schedules.enabled()] == ["S-1", "S-3", "S-4"]

    async def test_history_is_newest_first_and_says_each_instant_once(self, store: Store) -> None:
        task = await store.schedules.create(a_schedule(1))
        skipped = a_run(
            2,
            outcome=RunOutcome.SKIPPED,
            ticket_id=None,
            skip_reason=SkipReason.MISSED,
            sentence="2 runs were missed",
            missed=2,
        )
        await store.schedules.settle(task.id, NOW, [a_run(1), skipped])
        await store.schedules.settle(task.id, NOW, [a_run(3), a_run(1, ticket_id=TicketId("T-other"))])
        assert await store.schedules.runs(task.id, 10, None) == (a_run(3), skipped, a_run(1))
        assert await store.schedules.runs(task.id, 1, NOW + 3 * MINUTE) == (skipped,)
        assert await store.schedules.latest_tickets(task.id, 5) == ("T-3", "T-1")
        assert await store.schedules.latest_tickets(task.id, 1) == ("T-3",)
        assert await store.schedules.latest_tickets(ScheduleId("S-9"), 5) == ()

    async def test_a_persons_run_is_in_the_history_and_leaves_to_the_schedule_what_is_its_own(
        self, store: Store
    ) -> None:
        task = await store.schedules.create(a_schedule(1))
        by_hand = a_run(2, fired_by="ann")
        await store.schedules.settle(task.id, None, [by_hand])
        assert await store.schedules.runs(task.id, 10, None) == (by_hand,)
        assert await store.schedules.latest_tickets(task.id, 1) == ("T-2",)
        assert (await store.schedules.get(task.id)).settled_until is None
        await store.schedules.settle(task.id, NOW, [])
        await store.schedules.settle(task.id, None, [a_run(3)])
        assert (await store.schedules.get(task.id)).settled_until == NOW

    async def test_the_latest_thousand_runs_are_kept(self, store: Store) -> None:
        task = await store.schedules.create(a_schedule(1))
        await store.schedules.settle(task.id, NOW, [a_run(n) for n in range(MAX_SCHEDULE_RUNS + 3)])
        kept = await store.schedules.runs(task.id, 2 * MAX_SCHEDULE_RUNS, None)
        assert (len(kept), kept[-1]) == (MAX_SCHEDULE_RUNS, a_run(3))

    async def test_a_deleted_task_is_gone_with_its_history_and_its_name_is_free(self, store: Store) -> None:
        task = await store.schedules.create(a_schedule(1))
        await store.schedules.settle(task.id, NOW, [a_run(1)])
        await store.schedules.delete(task.id)
        again = await store.schedules.create(a_schedule(2, name=task.name))
        assert await store.schedules.runs(again.id, 10, None) == ()
        assert await store.schedules.tasks("default", 10, "") == (again,)

    async def test_what_is_not_there_is_not_found(self, store: Store) -> None:
        nobody, at = ScheduleId("S-404"), datetime.max.replace(tzinfo=NOW.tzinfo) - timedelta(days=1)
        for call in (
            lambda: store.schedules.get(nobody),
            lambda: store.schedules.find("default", "nobody"),
            lambda: store.schedules.save(a_schedule(404, id=nobody)),
            lambda: store.schedules.delete(nobody),
            lambda: store.schedules.settle(nobody, NOW, [a_run(1)]),
            lambda: store.schedules.runs(nobody, 1, at),
        ):
            with pytest.raises(NotFound):
                await call()
