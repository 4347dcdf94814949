"""Verifying what was kept after everything changed: past answers of a real store, compared as `report verify` compares them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from controller.api.translate_report import report_message
from controller.cli.plain import plain
from controller.compliance.model import ExceptionScope
from controller.dispatch.history import History
from controller.report.compare import differences
from tests.builders import a_baseline, a_rule, instance_id
from tests.fleet_in_store import DAY, NEW, OLD, Fleet, a_fleet


async def kept(fleet: Fleet) -> dict[str, Any]:
    instance = await fleet.store.fleet.get_instance(instance_id(1))
    return plain(report_message(instance, *await fleet.assessor.report(instance, all_items=True)))


async def again(fleet: Fleet, at: datetime) -> dict[str, Any]:
    instance = await fleet.store.fleet.get_instance(instance_id(1))
    found = await History(fleet.store, fleet.assessor).report(instance, at, all_items=True)
    return plain(report_message(instance, *found))


async def a_host_with_an_old_package(fleet: Fleet) -> dict[str, Any]:
    await fleet.enrol(1)
    await fleet.report(1, [await fleet.repository()], OLD)
    report = await kept(fleet)
    assert [(i["status"], bool(i["first_non_compliant_at"])) for i in report["items"]] == [("MISSING", True)]
    return report


async def test_R1_a_report_verifies_after_its_package_was_updated_and_the_date_forgotten() -> None:
    async with a_fleet() as fleet:
        then, report = fleet.clock.now(), await a_host_with_an_old_package(fleet)
        assert differences(report, await again(fleet, then)) == ()
        fleet.clock.jump(DAY)
        await fleet.report(1, [await fleet.repository()], NEW)
        assert differences(report, await kept(fleet))
        past = await again(fleet, then)
        assert past["items"][0]["first_non_compliant_at"] is None
        assert differences(report, past) == ()


async def test_R1_a_report_verifies_after_its_baseline_and_the_exceptions_changed() -> None:
    async with a_fleet() as fleet:
        then, report = fleet.clock.now(), await a_host_with_an_old_package(fleet)
        fleet.clock.jump(DAY)
        await fleet.baseline(a_baseline("CentOS-Default", a_rule(approve_after_days=365), version=2))
        await fleet.excuse(ExceptionScope.ALL, "", "bash", timedelta(days=3))
        now = await kept(fleet)
        assert {s.split(" was ")[0] for s in differences(report, now) if s.startswith("input")} == {
            "input baseline",
            "input exceptions",
            "input as of",
        }
        assert differences(report, await again(fleet, then)) == ()
