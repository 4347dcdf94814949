"""The numbers that follow the fleet are those that counting everybody anew gives, whatever happened meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.api.counting import Counting
from controller.api.oldest import NEVER, Candidate, in_order, may_miss
from controller.compliance.aggregate import summarise
from controller.compliance.model import AssignmentScope, ExceptionScope
from controller.dispatch.assess import Assessor
from controller.fleet.model import OperatingSystem
from tests.builders import NOW, a_baseline, a_rule, an_advisory, instance_id
from tests.examples import examples
from tests.fleet_in_store import NEW, OLD, Fleet, a_fleet

numbers = st.integers(1, 4)
happenings = st.one_of(
    st.tuples(st.just("enrol"), numbers, st.sampled_from(["web", "db"])),
    st.tuples(st.just("report"), numbers, st.sampled_from([OLD, NEW])),
    st.tuples(st.just("advisory"), numbers, st.integers(2, 4)),
    st.tuples(st.just("baseline"), st.sampled_from([0, 9, 365]), st.just("")),
    st.tuples(st.just("assign"), st.sampled_from(["web", "db"]), st.booleans()),
    st.tuples(st.just("excuse"), numbers, st.sampled_from([1, 20])),
    st.tuples(st.just("time"), st.sampled_from([1, 11, 27]), st.just("")),
    st.tuples(st.just("delete"), numbers, st.just("")),
    st.tuples(st.just("system"), numbers, st.booleans()),
    st.tuples(st.just("count"), numbers, st.just("")),
)


@settings(max_examples=examples(12), deadline=None)
@given(st.lists(happenings, min_size=4, max_size=14), st.booleans())
def test_R1_numbers_that_follow_are_those_of_counting_anew(
    happened: list[tuple[str, object, object]], often: bool
) -> None:
    asyncio.run(follow(happened, often))


async def follow(happened: list[tuple[str, object, object]], often: bool) -> None:
    async with a_fleet() as fleet:
        counting = Counting(fleet.assessor)
        for what, one, other in happened:
            await happen(fleet, what, one, other)
            if often or what == "count":
                await counting.refresh(await fleet.store.fleet.instances())
        instances = await fleet.store.fleet.instances()
        await counting.refresh(instances)
        found, candidates = counting.summary(), list(counting.candidates())
        assert list(counting.candidates()) == candidates
        standings = await fleet.assessor.standings(instances)
        assert candidates == in_order(
            Candidate(i, s.assessment, s.earliest or NEVER)
            for i, s in zip(instances, standings, strict=True)
            if may_miss(s.assessment)
        )
        # From scratch: nothing is remembered, nothing taken up. Only the parser's process, which remembers nothing, is the same.
        anew = Assessor(fleet.store, fleet.assessor.evaluations._parser, fleet.clock)
        anew._reports = {r.instance_id: r for r in await fleet.store.inventory.latest_reports()}
        anew._decisions = fleet.assessor.decisions
        answers = await anew.assessments(instances)
        assert found == summarise((i, answers[i.id]) for i in instances)
        await anew.stop()


async def happen(fleet: Fleet, what: str, one: object, other: object) -> None:
    listed = {i.id for i in await fleet.store.fleet.instances()}
    is_there = isinstance(one, int) and instance_id(one) in listed
    match what, one, other:
        case "enrol", int(number), str(group):
            await fleet.enrol(number, application_group=group)
        case "report", int(number), str(build) if is_there:
            await fleet.report(number, [await fleet.repository()], build)
        case "advisory", int(number), int(release) if is_there:
            more = an_advisory(f"A-{release}", f"bash-4.2.46-3{release}.el7.x86_64")
            await fleet.report(number, [await fleet.repository(an_advisory(), more)])
        case "baseline", int(days), _:
            (known, *_) = [b for b in await fleet.store.baselines.baselines() if b.name == "CentOS-Default"]
            await fleet.baseline(replace(known, version=known.version + 1, rules=(a_rule(approve_after_days=days),)))
        case "assign", str(group), bool(given_back):
            name = f"for-{group}"
            known_ids = [b.id for b in await fleet.store.baselines.baselines() if b.name == name]
            if not known_ids:
                known_ids = [(await fleet.baseline(a_baseline(name, a_rule(approve_after_days=365)))).id]
            await fleet.assign(AssignmentScope.GROUP, group, "" if given_back else known_ids[0])
        case "excuse", int(number), int(hours):
            await fleet.excuse(ExceptionScope.INSTANCE, instance_id(number), "ba*", timedelta(hours=hours))
        case "time", int(hours), _:
            fleet.clock.jump(timedelta(hours=hours))
        case "delete", int(number), _ if is_there:
            gone = await fleet.store.fleet.get_instance(instance_id(number))
            await fleet.store.fleet.put_instance(replace(gone, deleted_at=NOW))
        case "system", int(number), bool(supported) if is_there:
            instance = await fleet.store.fleet.get_instance(instance_id(number))
            system = OperatingSystem("centos", "7.9", "CentOS 7.9" if supported else "")
            await fleet.store.fleet.put_instance(replace(instance, operating_system=system))
        case _:
            pass
