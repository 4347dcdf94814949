"""Clones, life cycle and goodbyes over the real wire: a real controller, real certificates, scripted hosts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from common import digest, manifest
from common.pb.v1 import agent_pb2, baseline_pb2, fleet_pb2, report_pb2, types_pb2
from controller.fleet.model import InstanceId, Role
from tests.integration.api_harness import TIMEOUT, Agent, Harness, refusal, serving


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with serving(tmp_path / "data") as made:
        yield made


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not await condition():
            await asyncio.sleep(0.02)


class Host:
    """A host that speaks with an agent's identity; several may have one."""

    def __init__(self, agent: Agent, boot_id: str, machine_id: str, address: str) -> None:
        self.agent = Agent(
            agent.stubs, agent.key_pem, agent.instance_id, agent.chain_pem,
            boot_id=boot_id, machine_id=machine_id, ip_address=address,
        )  # fmt: skip
        self.task: asyncio.Task[None] | None = None

    async def speak(self) -> None:
        """Open a stream; return when it is welcomed."""
        await self.leave()
        self.agent.welcomed.clear()
        self.task = asyncio.create_task(self.agent.run())
        async with asyncio.timeout(TIMEOUT):
            await self.agent.welcomed.wait()

    def beat(self) -> None:
        self.agent._say(heartbeat=agent_pb2.Heartbeat())

    def report(self) -> None:
        """Send a report without being asked."""
        offer = agent_pb2.ReportOffer(manifest_digest=digest.of(manifest.encode(self.agent._manifest())))
        offer.collected_at.GetCurrentTime()
        self.agent._say(self_report=agent_pb2.SelfReport(id=f"s-{self.agent.boot_id}", report=offer))

    async def leave(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with suppress(asyncio.CancelledError, aio.AioRpcError):
                await self.task


async def shown(operator: Any, instance: str) -> fleet_pb2.Instance:
    return (await operator.fleet.GetInstance(fleet_pb2.GetInstanceRequest(instance=instance))).instance


def is_in_quarantine(operator: Any, *instances: str) -> Callable[[], Any]:
    async def look() -> bool:
        found = [await shown(operator, i) for i in instances]
        return all(i.lifecycle == fleet_pb2.LIFECYCLE_QUARANTINED for i in found)

    return look


async def test_two_hosts_with_one_machine_id_are_both_quarantined_and_shown_never_merged(harness: Harness) -> None:
    operator = await harness.operator(Role.OPERATOR)
    original = Host(await harness.enrol("web-01"), "boot-a", "m", "10.0.0.1")
    copy = Host(await harness.enrol("web-02"), "boot-b", "m", "10.0.0.2")
    x, y = original.agent.instance_id, copy.agent.instance_id
    await original.speak()
    await copy.speak()
    assert (await shown(operator, x)).lifecycle == fleet_pb2.LIFECYCLE_ACTIVE
    original.beat()  # A, B, A
    original.report()
    await until(is_in_quarantine(operator, x, y))
    one, other = await shown(operator, x), await shown(operator, y)
    assert list(one.quarantine.other_instance_ids) == [y]
    assert list(other.quarantine.other_instance_ids) == [x]
    assert one.quarantine.cause == fleet_pb2.QUARANTINE_CAUSE_MACHINE_ID
    assert list(one.quarantine.addresses) == ["10.0.0.1", "10.0.0.2"]
    assert one.quarantine.help[-1].endswith("patchctl instances release web-01")
    assert one.not_selectable == types_pb2.NOT_SELECTABLE_REASON_QUARANTINED

    # Nothing that they say counts: they are UNDETERMINED whatever they report.
    copy.report()
    await until(lambda: harness.store.inventory.latest_report(InstanceId(y)))
    for instance in (x, y):
        report = (await operator.reports.GetReport(report_pb2.GetReportRequest(instance=instance))).report
        assert report.status == types_pb2.INSTANCE_STATUS_UNDETERMINED
        assert types_pb2.UNDETERMINED_REASON_QUARANTINED in [r.reason for r in report.reasons]
    selector = fleet_pb2.Selector(all=True, lifecycles=[fleet_pb2.LIFECYCLE_QUARANTINED])
    listed = await operator.fleet.ListInstances(fleet_pb2.ListInstancesRequest(selector=selector))
    assert [i.name for i in listed.instances] == ["web-01", "web-02"]
    selectable = await operator.fleet.ListInstances(fleet_pb2.ListInstancesRequest(selectable_only=True))
    assert not selectable.instances

    # Mended and released, they count again. Released before that, they are found again.
    await copy.leave()
    copy = Host(copy.agent, "boot-b", "m-of-its-own", "10.0.0.2")
    await copy.speak()
    for instance in (x, y):
        released = await operator.fleet.ReleaseInstance(fleet_pb2.ReleaseInstanceRequest(instance=instance))
        assert released.instance.lifecycle == fleet_pb2.LIFECYCLE_ACTIVE
        assert not released.instance.HasField("quarantine")
    again = await refusal(operator.fleet.ReleaseInstance(fleet_pb2.ReleaseInstanceRequest(instance=x)))
    assert again.code is grpc.StatusCode.FAILED_PRECONDITION
    assert "not in quarantine" in again.sentence
    for host in (original, copy, original, copy):
        await host.speak()
    assert (await shown(operator, x)).lifecycle == fleet_pb2.LIFECYCLE_ACTIVE
    for host in (original, copy):
        await host.leave()


async def test_a_copied_agents_key_is_found_when_its_boots_alternate_and_a_restart_is_not(harness: Harness) -> None:
    operator = await harness.operator(Role.OPERATOR)
    agent = await harness.enrol("web-01")
    before, after = Host(agent, "boot-a", "m", "10.0.0.1"), Host(agent, "boot-b", "m", "10.0.0.1")
    await before.speak()
    await after.speak()  # it has restarted
    await after.speak()
    assert (await shown(operator, "web-01")).lifecycle == fleet_pb2.LIFECYCLE_ACTIVE
    await before.speak()  # or not
    await until(is_in_quarantine(operator, "web-01"))
    found = await shown(operator, "web-01")
    assert found.quarantine.cause == fleet_pb2.QUARANTINE_CAUSE_AGENT_KEY
    assert found.status == types_pb2.INSTANCE_STATUS_UNDETERMINED
    for host in (before, after):
        await host.leave()


async def test_what_was_seen_outlives_the_controller(tmp_path: Path) -> None:
    async with serving(tmp_path / "data") as first:
        agent = await first.enrol("web-01")
        for boot in ("boot-a", "boot-b"):
            host = Host(agent, boot, "m", "10.0.0.1")
            await host.speak()
            await host.leave()
        seen = await first.store.sightings.sightings()
        assert [s.boot_id for s in seen] == ["boot-a", "boot-b"]


async def test_a_host_that_enrols_again_replaces_its_old_instance_which_can_be_merged(harness: Harness) -> None:
    operator = await harness.operator(Role.OPERATOR)
    old = Host(await harness.enrol("web-01"), "boot-a", "m", "10.0.0.1")
    await old.speak()
    mask = {"paths": ["application_group", "tags"]}
    values = fleet_pb2.Instance(application_group="shop/web", tags={"owner": "ann"})
    await operator.fleet.UpdateInstance(
        fleet_pb2.UpdateInstanceRequest(instance=old.agent.instance_id, values=values, update_mask=mask)
    )
    await old.leave()
    await until(lambda: _is_offline(operator, old.agent.instance_id))
    new = Host(await harness.enrol("web-01"), "boot-b", "m", "10.0.0.1")
    await new.speak()
    x, y = old.agent.instance_id, new.agent.instance_id
    replaced = await shown(operator, x)
    assert (replaced.lifecycle, replaced.replaced_by_instance_id) == (fleet_pb2.LIFECYCLE_REPLACED, y)
    assert (await shown(operator, y)).lifecycle == fleet_pb2.LIFECYCLE_ACTIVE

    admin = await harness.operator(Role.ADMIN)
    baselines = admin.baselines
    public = (await baselines.ListBaselines(baseline_pb2.ListBaselinesRequest(page_size=1000))).baselines
    centos = next(b for b in public if (b.operating_system, b.scenario) == ("CentOS", types_pb2.RESOURCE_TYPE_ECS))
    scope = baseline_pb2.ASSIGNMENT_SCOPE_INSTANCE
    await baselines.AssignBaseline(baseline_pb2.AssignBaselineRequest(baseline=centos.id, scope=scope, value=x))
    excused = baseline_pb2.PatchException(
        scope=baseline_pb2.EXCEPTION_SCOPE_INSTANCE,
        scope_value=x,
        match=baseline_pb2.EXCEPTION_MATCH_PACKAGE,
        match_value="kernel*",
        reason="the driver is not ready",
    )
    excused.expires_at.FromDatetime(datetime.now(UTC) + timedelta(days=9))
    await baselines.CreateException(baseline_pb2.CreateExceptionRequest(exception=excused))

    refused = await refusal(operator.fleet.MergeInstance(fleet_pb2.MergeInstanceRequest(instance=x, into=y)))
    assert (refused.code, "ask an admin" in refused.sentence) == (grpc.StatusCode.PERMISSION_DENIED, True)
    merged = (await admin.fleet.MergeInstance(fleet_pb2.MergeInstanceRequest(instance=x, into=y))).instance
    assert (merged.id, merged.application_group, merged.tags["owner"]) == (y, "shop/web", "ann")
    assert (merged.baseline_name, merged.baseline_source) == (centos.name, "instance")
    assigned = (await baselines.ListAssignments(baseline_pb2.ListAssignmentsRequest())).assignments
    assert [(a.value, a.baseline_id) for a in assigned] == [(y, centos.id)]
    (exception,) = (await baselines.ListExceptions(baseline_pb2.ListExceptionsRequest())).exceptions
    assert (exception.scope_value, exception.match_value, exception.expires_at) == (y, "kernel*", excused.expires_at)
    assert [i.id for i in (await operator.fleet.ListInstances(fleet_pb2.ListInstancesRequest())).instances] == [y]
    retired = await shown(operator, x)
    assert (retired.lifecycle, retired.retired_by) == (fleet_pb2.LIFECYCLE_RETIRED, "admin")
    wrong = await refusal(operator.fleet.MergeInstance(fleet_pb2.MergeInstanceRequest(instance=y, into=y)))
    assert "into itself" in wrong.sentence
    await new.leave()


async def _is_offline(operator: Any, instance: str) -> bool:
    return (await shown(operator, instance)).agent_state == types_pb2.AGENT_STATE_OFFLINE


async def test_a_retired_instance_is_refused_counts_nowhere_and_can_be_restored(harness: Harness) -> None:
    operator = await harness.operator(Role.OPERATOR)
    host = Host(await harness.enrol("web-01"), "boot-a", "m", "10.0.0.1")
    await host.speak()
    host.report()
    await until(lambda: harness.store.inventory.latest_report(InstanceId(host.agent.instance_id)))
    for _ in range(2):
        gone = await operator.fleet.RetireInstance(fleet_pb2.RetireInstanceRequest(instance="web-01"))
        assert gone.instance.lifecycle == fleet_pb2.LIFECYCLE_RETIRED
    assert host.task is not None
    async with asyncio.timeout(TIMEOUT):
        await asyncio.gather(host.task, return_exceptions=True)  # its stream ends
    with pytest.raises(aio.AioRpcError) as refused:
        await host.agent.run()
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert refused.value.details() == "this instance was retired; to take it back: patchctl instances restore"
    assert not (await operator.fleet.ListInstances(fleet_pb2.ListInstancesRequest())).instances
    summary = await operator.reports.GetSummary(report_pb2.GetSummaryRequest())
    assert summary.counts.compliant + summary.counts.non_compliant + summary.counts.undetermined == 0
    selector = fleet_pb2.Selector(all=True, lifecycles=[fleet_pb2.LIFECYCLE_RETIRED])
    listed = await operator.fleet.ListInstances(fleet_pb2.ListInstancesRequest(selector=selector))
    assert [i.name for i in listed.instances] == ["web-01"]
    assert await harness.store.inventory.latest_report(InstanceId(host.agent.instance_id)) is not None

    back = await operator.fleet.RestoreInstance(fleet_pb2.RestoreInstanceRequest(instance="web-01"))
    assert back.instance.lifecycle == fleet_pb2.LIFECYCLE_ACTIVE
    assert back.instance.HasField("reported_at")
    await host.speak()
    wrong = await refusal(operator.fleet.RestoreInstance(fleet_pb2.RestoreInstanceRequest(instance="web-01")))
    assert wrong.code is grpc.StatusCode.FAILED_PRECONDITION
    await host.leave()


async def test_an_agent_that_is_uninstalled_says_so_until_it_connects_again(harness: Harness) -> None:
    operator = await harness.operator(Role.OPERATOR)
    host = Host(await harness.enrol("web-01"), "boot-a", "m", "10.0.0.1")
    await host.speak()
    await host.leave()
    await host.agent.stubs.agents.Leave(agent_pb2.LeaveRequest())
    gone = await shown(operator, "web-01")
    assert gone.agent_state == types_pb2.AGENT_STATE_UNINSTALLED
    assert gone.not_selectable_help.startswith("UniAgent UNINSTALLED")
    selector = fleet_pb2.Selector(all=True, agent_states=[types_pb2.AGENT_STATE_UNINSTALLED])
    listed = await operator.fleet.ListInstances(fleet_pb2.ListInstancesRequest(selector=selector))
    assert [i.name for i in listed.instances] == ["web-01"]
    await host.speak()
    assert (await shown(operator, "web-01")).agent_state == types_pb2.AGENT_STATE_ONLINE
    await host.leave()


async def test_what_was_not_heard_of_for_long_is_stale(tmp_path: Path) -> None:
    async with serving(tmp_path / "data", stale_instance_after=timedelta(hours=1)) as harness:
        operator = await harness.operator(Role.VIEWER)
        for name in ("web-01", "web-02"):
            await harness.enrol(name)
        (old, _) = await harness.store.fleet.instances()
        long_ago = old.enrolled_at - timedelta(hours=2)
        await harness.store.fleet.put_instance(replace(old, enrolled_at=long_ago, last_seen_at=long_ago))
        selector = fleet_pb2.Selector(all=True, lifecycles=[fleet_pb2.LIFECYCLE_STALE])
        listed = await operator.fleet.ListInstances(fleet_pb2.ListInstancesRequest(selector=selector))
        assert [i.name for i in listed.instances] == [old.name]
