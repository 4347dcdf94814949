"""patchctl logged in to a scripted controller, and messages for that to answer with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from typer.testing import CliRunner, Result

from common.pb.v1 import fleet_pb2, report_pb2, types_pb2
from common.pb.v1 import ticket_pb2 as pb
from controller.cli.main import app
from tests.scripted_controller import TOKEN, ScriptedController, paged


@pytest.fixture(name="running", scope="module")
def started() -> Iterator[ScriptedController]:
    scripted = ScriptedController()
    scripted.start()
    yield scripted
    scripted.stop()


@pytest.fixture(name="server")
def logged_in(running: ScriptedController, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScriptedController:
    """A scripted controller that patchctl is logged in to."""
    running.answers.clear()
    running.calls.clear()
    monkeypatch.setenv("PATCHCTL_CONFIG", str(tmp_path / "config" / "config.toml"))
    monkeypatch.setenv("PATCHCTL_CONTROLLER", running.address)
    monkeypatch.setenv("PATCHCTL_JOIN", str(running.write_join(tmp_path)))
    monkeypatch.setenv("PATCHCTL_TOKEN", TOKEN)
    monkeypatch.delenv("COLUMNS", raising=False)
    return running


def patchctl(*arguments: str, given: str | None = None) -> Result:
    result = CliRunner().invoke(app, list(arguments), input=given, prog_name="patchctl")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def at(instant: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(instant)
    return stamp


def ago(**length: float) -> Timestamp:
    return at(datetime.now(UTC) - timedelta(**length))


WEB_02 = fleet_pb2.Instance(
    id="i-0123456789abcdef",
    name="ecs-web-02",
    enterprise_project="default",
    region="cn-hongkong",
    zone="a",
    resource_type=types_pb2.RESOURCE_TYPE_ECS,
    application_group="web",
    tags={"env": "prod", "canary": ""},
    operating_system=types_pb2.OperatingSystem(
        id="centos", version="7.9", product="CentOS 7.9", pretty_name="CentOS Linux 7 (Core)", arch="x86_64"
    ),
    agent_state=types_pb2.AGENT_STATE_OFFLINE,
    status=types_pb2.INSTANCE_STATUS_UNDETERMINED,
    reasons=[types_pb2.UNDETERMINED_REASON_REPO_ERROR],
    not_selectable=types_pb2.NOT_SELECTABLE_REASON_AGENT,
    not_selectable_help="UniAgent is OFFLINE: start it with systemctl start uniagent",
)


def instances(*found: fleet_pb2.Instance) -> Any:
    return paged(found, lambda page, token: fleet_pb2.ListInstancesResponse(instances=page, next_page_token=token))


def a_report() -> report_pb2.InstanceReport:
    return report_pb2.InstanceReport(
        instance_id="i-1",
        instance_name="ecs-web-02",
        region="cn-hongkong",
        operating_system=types_pb2.OperatingSystem(product="CentOS 7.9"),
        status=types_pb2.INSTANCE_STATUS_NON_COMPLIANT,
        level=types_pb2.COMPLIANCE_LEVEL_CRITICAL,
        baseline_name="CentOS-Default",
        inputs=report_pb2.ReportInputs(baseline_id="b-1", baseline_version=3),
        counts=report_pb2.StatusCounts(installed=402, installed_other=531, missing=2, excepted=1),
        collected_at=ago(minutes=4),
        ticket_id="T-7Q4M",
        items=[
            report_pb2.ReportItem(
                status=types_pb2.PATCH_STATUS_MISSING,
                level=types_pb2.COMPLIANCE_LEVEL_CRITICAL,
                name="openssl-libs",
                arch="x86_64",
                installed="1:1.0.2k-19.el7",
                required="1:1.0.2k-26.el7_9",
                advisories=["CESA-2023:1335", "CESA-2022:0001"],
                cves=["CVE-2023-0286"],
                first_non_compliant_at=ago(days=41, hours=1),
                why="ecs-web-02 is missing openssl-libs because CESA-2023:1335 was approved by rule 1.",
            ),
            report_pb2.ReportItem(
                status=types_pb2.PATCH_STATUS_MISSING,
                level=types_pb2.COMPLIANCE_LEVEL_HIGH,
                name="nginx",
                installed="1:1.20.1-9.el7",
                required="1:1.20.1-10.el7",
                reason="HELD(versionlock)",
            ),
        ],
    )


def a_summary() -> report_pb2.GetSummaryResponse:
    counts = report_pb2.ComplianceCounts
    return report_pb2.GetSummaryResponse(
        instances=12,
        counts=counts(compliant=7, non_compliant=3, undetermined=2),
        levels=[
            report_pb2.LevelCount(level=types_pb2.COMPLIANCE_LEVEL_CRITICAL, instances=1),
            report_pb2.LevelCount(level=types_pb2.COMPLIANCE_LEVEL_HIGH, instances=2),
        ],
        reasons=[report_pb2.ReasonCount(reason=types_pb2.UNDETERMINED_REASON_STALE, instances=2)],
        groups=[
            report_pb2.GroupSummary(attribute="region", value="r1", counts=counts(compliant=7)),
            report_pb2.GroupSummary(attribute="region", value="r2", counts=counts(non_compliant=3, undetermined=2)),
        ],
        oldest_missing=a_report().items[0],
        oldest_missing_instance="ecs-web-02",
        as_of=at(datetime(2026, 11, 22, 12, 40, tzinfo=UTC)),
    )


def a_ticket(state: pb.TicketState.ValueType = pb.TICKET_STATE_FINISHED, **fields: Any) -> pb.Ticket:
    started = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)
    spec = pb.TicketSpec(suspension_policy=pb.SuspensionPolicy(success_rate_tenths=800))
    spec.timeout.seconds = 600
    values: dict[str, Any] = {
        "id": "T-7Q4M",
        "spec": spec,
        "state": state,
        "batches": [
            pb.Batch(
                number=1,
                state=pb.BATCH_STATE_FINISHED,
                counts=pb.RunCounts(succeeded=2),
                region="cn-hongkong",
                zone="a",
                application_group="web",
                started_at=at(started),
            ),
            pb.Batch(number=2, state=pb.BATCH_STATE_ABNORMAL, counts=pb.RunCounts(succeeded=1, timeout=1)),
        ],
        "counts": pb.RunCounts(succeeded=3, timeout=1),
        "stops_at": 3,
        "executed_by": "root",
        "created_by": "ann",
        "created_at": at(started),
        "changed_at": at(started + timedelta(seconds=67)),
    }
    return pb.Ticket(**(values | fields))


FAILED_RUN = pb.Run(
    id="r-4",
    batch=2,
    instance_name="ecs-web-04",
    state=pb.RUN_STATE_ABNORMAL,
    outcome=pb.RUN_OUTCOME_TIMEOUT,
    error="agent lost at 12:31:07",
    attempt=1,
)
