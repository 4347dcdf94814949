"""The main job with every layer real: real rpm installations, real processes, real mTLS, one true report (DESIGN §2)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from common.pb.v1 import fleet_pb2, report_pb2, ticket_pb2, types_pb2
from controller.client import scan_of
from realroots import upgrade_root
from tests.conftest import RealHost
from tests.integration.real_fleet import RealFleet

GOOD, BROKEN = "ecs-good", "ecs-broken"
COMPLIANT = types_pb2.INSTANCE_STATUS_COMPLIANT
NON_COMPLIANT = types_pb2.INSTANCE_STATUS_NON_COMPLIANT
UNDETERMINED = types_pb2.INSTANCE_STATUS_UNDETERMINED
OVER = (ticket_pb2.TICKET_STATE_FINISHED, ticket_pb2.TICKET_STATE_ABNORMAL)


@pytest.fixture
def fleet(tmp_path: Path, centos_host: RealHost) -> RealFleet:
    broken = tmp_path / "broken"
    shutil.copytree(centos_host.root, broken, symlinks=True)
    for file in (broken / "etc/yum.repos.d").iterdir():
        file.write_text(file.read_text().replace(str(centos_host.updates), str(tmp_path / "gone")))
    with RealFleet(tmp_path) as fleet:
        fleet.start_controller()
        fleet.wait_for_controller()
        fleet.add_agent(GOOD, centos_host.root)
        fleet.add_agent(BROKEN, broken, group="db")
        fleet.wait_for_agents(2)
        yield fleet


def scan(fleet: RealFleet, selector: fleet_pb2.Selector | None = None) -> str:
    selector = selector or fleet_pb2.Selector(all=True)
    ticket_id = fleet.client.create_ticket(scan_of(selector)).ticket.id
    fleet.wait("the ticket ends", lambda: fleet.client.get_ticket(ticket_id).state in OVER)
    assert fleet.client.get_ticket(ticket_id).state == ticket_pb2.TICKET_STATE_FINISHED
    return ticket_id


def by_name(report: report_pb2.InstanceReport) -> dict[str, report_pb2.ReportItem]:
    return {item.name: item for item in report.items}


def test_a_real_fleet_is_scanned_judged_explained_mended_and_judged_again(fleet: RealFleet) -> None:
    ticket_id = scan(fleet)
    report = fleet.client.get_report(GOOD, all_items=True)
    assert report.status == NON_COMPLIANT
    assert report.ticket_id == ticket_id
    assert report.level == types_pb2.COMPLIANCE_LEVEL_CRITICAL
    items = by_name(report)
    assert {n for n, i in items.items() if i.status == types_pb2.PATCH_STATUS_MISSING} == {"openssl-libs", "sudo"}
    assert {n for n, i in items.items() if i.status == types_pb2.PATCH_STATUS_INSTALLED_OTHER} == {
        *("bash", "centos-release", "kernel", "tzdata"),
    }
    openssl = items["openssl-libs"]
    assert (openssl.installed, openssl.required) == ("1:1.0.2k-19.el7", "1:1.0.2k-26.el7_9")
    assert (list(openssl.advisories), list(openssl.cves)) == (["CESA-2023:1335"], ["CVE-2023-0286"])
    assert (openssl.repository, openssl.date) == ("updates", "2023-03-20")
    assert openssl.HasField("first_non_compliant_at")
    for word in (GOOD, "openssl-libs", "CESA-2023:1335", "CVE-2023-0286", "rule 2 of CentOS-Default", "updates"):
        assert word in openssl.why, word
    assert [i.why for i in fleet.client.why(GOOD, "openssl-libs").items] == [openssl.why]

    upgrade_root(fleet.folder / f"{GOOD}.root", ())
    scan(fleet, fleet_pb2.Selector(instances=[GOOD]))
    mended = fleet.client.get_report(GOOD)
    assert mended.status == COMPLIANT
    assert not mended.items


def test_R11_a_repository_that_is_gone_makes_the_answer_undetermined_and_names_it(fleet: RealFleet) -> None:
    scan(fleet)
    report = fleet.client.get_report(BROKEN)
    assert report.status == UNDETERMINED
    (reason,) = report.reasons  # whether it has advisories cannot be known, so NO_ADVISORIES is not said on top
    assert reason.reason == types_pb2.UNDETERMINED_REASON_REPO_ERROR
    assert "updates" in reason.detail
    assert reason.help
    summary = fleet.client.get_summary()
    assert (summary.counts.compliant, summary.counts.non_compliant, summary.counts.undetermined) == (0, 1, 1)


def test_R1_the_same_inputs_give_the_same_report_byte_for_byte_also_after_a_restart(fleet: RealFleet) -> None:
    scan(fleet)
    before = fleet.client.get_report(GOOD, all_items=True)
    fleet.daemons.kill("controller")
    fleet.start_controller()
    fleet.wait_for_controller()
    fleet.wait("the report is served", lambda: bool(fleet.client.get_report(GOOD).items))
    after = fleet.client.get_report(GOOD, all_items=True)
    before.inputs.ClearField("as_of")  # the only input that moved
    after.inputs.ClearField("as_of")
    assert str(after) == str(before)
    assert after.SerializeToString(deterministic=True) == before.SerializeToString(deterministic=True)


def test_an_agent_speaks_up_by_itself_and_an_unchanged_host_repeats_its_digest(
    tmp_path: Path, centos_host: RealHost
) -> None:
    with RealFleet(tmp_path, report_interval="1s") as fleet:
        fleet.start_controller()
        fleet.wait_for_controller()
        fleet.add_agent(GOOD, centos_host.root)
        fleet.wait_for_agents(1)
        fleet.wait("the first report", lambda: fleet.client.get_instance(GOOD).HasField("reported_at"))
        first = fleet.client.get_report(GOOD)
        fleet.wait(
            "the next report",
            lambda: fleet.client.get_instance(GOOD).reported_at.ToNanoseconds() > first.collected_at.ToNanoseconds(),
        )
        second = fleet.client.get_report(GOOD)
        assert first.ticket_id == second.ticket_id == ""
        assert first.inputs.manifest_digest == second.inputs.manifest_digest
        assert json.loads((tmp_path / GOOD / "identity/validity.json").read_text())
