"""How the oldest missing item is found without reading every report."""

from __future__ import annotations

from datetime import datetime, timedelta

from common.evr import Evr
from controller.api.oldest import NEVER, Candidate, find_oldest, in_order, may_miss
from controller.compliance.model import Assessment, InstanceStatus, Item, Level, PatchStatus, StatusCounts
from controller.fleet.model import Instance
from tests.builders import NOW, an_assessment, an_instance

MINUTE = timedelta(minutes=1)


def missing(name: str, level: Level, since: datetime | None) -> Item:
    return Item(PatchStatus.MISSING, name, "x86_64", Evr(0, "1", "1"), level, first_non_compliant_at=since)


async def oldest(fleet: dict[int, list[Item]]) -> tuple[str, str, int]:
    """Find it; also say how many reports were read."""
    read = list[str]()

    async def report(instance: Instance) -> tuple[Assessment, tuple[Item, ...]]:
        read.append(instance.id)
        return an_assessment(), tuple(fleet[int(instance.name[4:])])

    candidates = [
        Candidate(
            an_instance(number),
            an_assessment(number, InstanceStatus.NON_COMPLIANT, level=max(i.level for i in items)),
            min(i.first_non_compliant_at or NEVER for i in items),
        )
        for number, items in fleet.items()
    ]
    found = await find_oldest(in_order(candidates), report)
    assert found is not None
    return found[0].name, found[1].name, len(read)


async def test_the_oldest_missing_item_is_of_the_highest_level_however_old_others_are() -> None:
    fleet = {
        1: [missing("old-but-low", Level.LOW, NOW - 90 * MINUTE)],
        2: [missing("newer", Level.CRITICAL, NOW - 5 * MINUTE), missing("older-low", Level.LOW, NOW - 99 * MINUTE)],
        3: [missing("wanted", Level.CRITICAL, NOW - 10 * MINUTE)],
    }
    assert (await oldest(fleet))[:2] == ("ecs-0003", "wanted")


async def test_reports_that_cannot_have_the_oldest_item_are_not_read() -> None:
    fleet = {n: [missing("bash", Level.CRITICAL, NOW - n * MINUTE)] for n in range(1, 101)}
    fleet |= {n: [missing("bash", Level.LOW, NOW - n * MINUTE)] for n in range(101, 201)}
    name, _, read = await oldest(fleet)
    assert (name, read) == ("ecs-0100", 1)


async def test_of_a_fleet_that_misses_the_same_since_the_same_instant_one_report_is_read() -> None:
    assert await oldest({n: [missing("bash", Level.HIGH, NOW)] for n in range(1, 101)}) == ("ecs-0001", "bash", 1)
    assert await oldest({n: [missing("bash", Level.HIGH, None)] for n in range(1, 101)}) == ("ecs-0001", "bash", 1)


def test_who_misses_nothing_is_no_candidate() -> None:
    status = InstanceStatus.NON_COMPLIANT
    assert may_miss(an_assessment(1, status, counts=StatusCounts(missing=1)))
    assert not may_miss(an_assessment(1, status, counts=StatusCounts(reject=1)))
    assert not may_miss(an_assessment(1, InstanceStatus.UNDETERMINED, counts=StatusCounts(missing=1)))
