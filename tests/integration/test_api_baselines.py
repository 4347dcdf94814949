"""Baselines with lists and custom packages, assignments, exceptions and what-if, over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from common.ids import RandomIds
from common.pb.v1 import baseline_pb2 as pb
from common.pb.v1 import fleet_pb2, report_pb2, types_pb2
from controller.api.auth import Operator, acting
from controller.api.baseline_service import BaselineService
from controller.fleet.model import OperatingSystem, Role
from tests.builders import an_instance, instance_id
from tests.fleet_in_store import NEW, OLD, a_fleet
from tests.integration.api_harness import Harness, Stubs, refusal, serving

PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
GROUP, INSTANCE, PROJECT = pb.ASSIGNMENT_SCOPE_GROUP, pb.ASSIGNMENT_SCOPE_INSTANCE, pb.ASSIGNMENT_SCOPE_PROJECT


LISTS: dict[str, Any] = {
    "approved_patches": [
        pb.ApprovedPatch(entry="CVE-2023-0286", compliance_level=types_pb2.COMPLIANCE_LEVEL_HIGH),
        pb.ApprovedPatch(entry="kernel*"),
    ],
    "rejected_patches": [
        pb.RejectedPatch(entry="httpd", action=pb.REJECT_ACTION_BLOCK),
        pb.RejectedPatch(entry="telnet", action=pb.REJECT_ACTION_ALLOW_AS_DEPENDENCY),
    ],
}


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with serving(tmp_path) as made:
        yield made


@pytest.fixture
async def admin(harness: Harness) -> Stubs:
    return await harness.admin()


def wanted(name: str = "Strict", **changes: Any) -> pb.Baseline:
    rule = pb.BaselineRule(categories=[types_pb2.CATEGORY_SECURITY], approve_after_days=7)
    given: dict[str, Any] = {
        "name": name,
        "scenario": types_pb2.RESOURCE_TYPE_ECS,
        "operating_system": "CentOS",
        "rules": [rule],
    }
    return pb.Baseline(**(given | changes))


async def make(stubs: Stubs, name: str = "Strict", **changes: Any) -> pb.Baseline:
    answer = await stubs.baselines.CreateBaseline(pb.CreateBaselineRequest(baseline=wanted(name, **changes)))
    made: pb.Baseline = answer.baseline
    return made


def assigning(baseline: str, scope: pb.AssignmentScope.ValueType, value: str) -> pb.AssignBaselineRequest:
    return pb.AssignBaselineRequest(baseline=baseline, scope=scope, value=value)


async def decides(stubs: Stubs, instance: str) -> tuple[str, int, str]:
    found = (await stubs.fleet.GetInstance(fleet_pb2.GetInstanceRequest(instance=instance))).instance
    return found.baseline_name, found.baseline_version, found.baseline_source


def ahead(**length: float) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(datetime.now(UTC) + timedelta(**length))
    return made


def excusing(**changes: Any) -> pb.CreateExceptionRequest:
    given: dict[str, Any] = {
        "scope": pb.EXCEPTION_SCOPE_ALL,
        "match": pb.EXCEPTION_MATCH_PACKAGE,
        "match_value": "kernel*",
        "reason": "the driver is not ready",
        "expires_at": ahead(days=30),
    }
    return pb.CreateExceptionRequest(exception=pb.PatchException(**(given | changes)))


# Lists and custom packages


async def test_lists_and_custom_packages_are_stored_and_come_back(admin: Stubs) -> None:
    lists = await make(admin, "Lists", **LISTS)
    custom = await make(
        admin, "Custom", rules=[], custom_packages=[pb.CustomPackage(name="bash", version="1:4.2", release="1.el7")]
    )
    assert list(lists.approved_patches) == LISTS["approved_patches"]
    assert list(lists.rejected_patches) == LISTS["rejected_patches"]
    for made in (lists, custom):
        found = await admin.baselines.GetBaseline(pb.GetBaselineRequest(baseline=made.name))
        assert found.baseline == made


async def test_everything_wrong_with_lists_and_rows_is_named_and_nothing_made(admin: Stubs) -> None:
    request = pb.CreateBaselineRequest(
        baseline=wanted(
            approved_patches=[pb.ApprovedPatch(entry="")],
            rejected_patches=[pb.RejectedPatch(entry="httpd"), pb.RejectedPatch(entry="CVE-2023-0286")],
        )
    )
    refused = await refusal(admin.baselines.CreateBaseline(request))
    assert refused.code is INVALID
    assert list(refused.fields) == ["baseline.approved_patches[0].entry", "baseline.rejected_patches[1].entry"]
    rows = [pb.CustomPackage(name="bash", version="4.2", release="1.el7"), pb.CustomPackage(name="tar", version="1")]
    request = pb.CreateBaselineRequest(baseline=wanted(rules=[], custom_packages=rows))
    refused = await refusal(admin.baselines.CreateBaseline(request))
    assert list(refused.fields) == ["baseline.custom_packages[1].release"]
    assert (await refusal(admin.baselines.GetBaseline(pb.GetBaselineRequest(baseline="Strict")))).code is NOT_FOUND


# Assignments


async def test_R16_the_most_specific_assignment_decides_and_the_instance_says_which_and_why(
    harness: Harness, admin: Stubs
) -> None:
    await harness.store.fleet.put_instance(an_instance(1, application_group="web", enterprise_project="shop"))
    assert await decides(admin, "ecs-0001") == ("CentOS-Default", 1, "default")
    for name, scope, value, source in (
        ("ForProject", PROJECT, "shop", "project"),
        ("ForGroup", GROUP, "web", "group"),
        ("ForOne", INSTANCE, "ecs-0001", "instance"),
    ):
        await make(admin, name)
        made = (await admin.baselines.AssignBaseline(assigning(name, scope, value))).assignment
        assert (made.baseline_name, made.scope, made.operating_system, made.assigned_by) == (
            name,
            scope,
            "CentOS",
            "admin",
        )
        assert await decides(admin, "ecs-0001") == (name, 1, source)
    request = report_pb2.GetReportRequest(instance="ecs-0001")
    report = (await admin.reports.GetReport(request)).report
    assert (report.baseline_name, report.baseline_source) == ("ForOne", "instance")
    back = pb.UnassignBaselineRequest(baseline="ForOne", scope=INSTANCE, value="ecs-0001")
    await admin.baselines.UnassignBaseline(back)
    assert await decides(admin, "ecs-0001") == ("ForGroup", 1, "group")
    refused = await refusal(admin.baselines.UnassignBaseline(back))
    assert refused.code is NOT_FOUND
    assert refused.sentence == (
        "there is no assignment of ForOne to instance 'ecs-0001'; list them: patchctl baseline assignments"
    )
    await make(admin, "ForGroup", description="stricter")
    assert await decides(admin, "ecs-0001") == ("ForGroup", 2, "group")
    await admin.baselines.DeleteBaseline(pb.DeleteBaselineRequest(baseline="ForGroup"))
    assert await decides(admin, "ecs-0001") == ("ForProject", 1, "project")


async def test_R16_a_baseline_that_does_not_fit_the_instance_is_refused_with_what_to_do(
    harness: Harness, admin: Stubs
) -> None:
    euler = OperatingSystem("euleros", "2.10", "EulerOS 2.10", "EulerOS 2.0 (SP10)", "x86_64")
    await harness.store.fleet.put_instance(an_instance(1, operating_system=euler))
    await make(admin)
    refused = await refusal(admin.baselines.AssignBaseline(assigning("Strict", INSTANCE, "ecs-0001")))
    assert refused.code is PRECONDITION
    assert refused.sentence == (
        "Strict is for CentOS on ECS, but ecs-0001 runs EulerOS 2.10 on ECS; choose one that fits: patchctl baseline list"
    )
    await admin.baselines.AssignBaseline(assigning("Strict", GROUP, "web"))
    assert await decides(admin, "ecs-0001") == ("EulerOS-Default", 1, "default")


async def test_an_assigned_baseline_keeps_its_operating_system(admin: Stubs) -> None:
    await make(admin)
    await admin.baselines.AssignBaseline(assigning("Strict", GROUP, "web"))
    request = pb.CreateBaselineRequest(baseline=wanted(operating_system="EulerOS"))
    refused = await refusal(admin.baselines.CreateBaseline(request))
    assert (refused.code, "is assigned as a baseline of ECS and CentOS" in refused.sentence) == (PRECONDITION, True)


async def test_assignments_come_in_pages_by_scope_and_value_without_defaults(harness: Harness, admin: Stubs) -> None:
    await harness.store.fleet.put_instance(an_instance(1))
    await make(admin)
    for scope, value in ((PROJECT, "shop"), (GROUP, "web"), (INSTANCE, "ecs-0001"), (GROUP, "db")):
        await admin.baselines.AssignBaseline(assigning("Strict", scope, value))
    found, token = list[tuple[int, str]](), ""
    while not found or token:
        page = await admin.baselines.ListAssignments(pb.ListAssignmentsRequest(page_size=3, page_token=token))
        found += [(a.scope, a.value) for a in page.assignments]
        token = page.next_page_token
    assert found == [(GROUP, "db"), (GROUP, "web"), (INSTANCE, instance_id(1)), (PROJECT, "shop")]


async def test_the_assignment_of_a_forgotten_instance_can_be_taken_back_by_its_id(
    harness: Harness, admin: Stubs
) -> None:
    await harness.store.fleet.put_instance(an_instance(1))
    await make(admin)
    await admin.baselines.AssignBaseline(assigning("Strict", INSTANCE, "ecs-0001"))
    await admin.fleet.DeleteInstance(fleet_pb2.DeleteInstanceRequest(instance="ecs-0001"))
    back = pb.UnassignBaselineRequest(baseline="Strict", scope=INSTANCE, value=instance_id(1))
    await admin.baselines.UnassignBaseline(back)
    assert not (await admin.baselines.ListAssignments(pb.ListAssignmentsRequest())).assignments


async def test_everything_wrong_with_an_assignment_is_named(admin: Stubs) -> None:
    await make(admin)
    request = pb.AssignBaselineRequest(baseline="Strict")
    assert list((await refusal(admin.baselines.AssignBaseline(request))).fields) == ["scope", "value"]
    assert list((await refusal(admin.baselines.AssignBaseline(assigning("Strict", GROUP, "w" * 65)))).fields) == [
        "value"
    ]
    for request in (assigning("Lax", GROUP, "web"), assigning("Strict", INSTANCE, "ecs-0009")):
        assert (await refusal(admin.baselines.AssignBaseline(request))).code is NOT_FOUND


# Exceptions


async def test_R10_an_exception_is_made_listed_by_its_end_and_revoked(harness: Harness, admin: Stubs) -> None:
    await harness.store.fleet.put_instance(an_instance(1))
    last = (await admin.baselines.CreateException(excusing())).exception
    first = (
        await admin.baselines.CreateException(
            excusing(
                scope=pb.EXCEPTION_SCOPE_INSTANCE,
                scope_value="ecs-0001",
                match=pb.EXCEPTION_MATCH_CVE,
                match_value="cve-2023-0286",
                approver="ciso",
                expires_at=ahead(days=2),
            )
        )
    ).exception
    assert (last.approver, first.approver, first.scope_value) == ("admin", "ciso", instance_id(1))
    assert last.id.startswith("X-")
    listed = await admin.baselines.ListExceptions(pb.ListExceptionsRequest())
    assert list(listed.exceptions) == [first, last]
    revoked = (await admin.baselines.RevokeException(pb.RevokeExceptionRequest(id=last.id))).exception
    assert revoked.HasField("revoked_at")
    again = (await admin.baselines.RevokeException(pb.RevokeExceptionRequest(id=last.id))).exception
    assert again == revoked
    listed = await admin.baselines.ListExceptions(pb.ListExceptionsRequest())
    assert list(listed.exceptions) == [first]
    found, token = list[pb.PatchException](), ""
    while not found or token:
        request = pb.ListExceptionsRequest(include_ended=True, page_size=1, page_token=token)
        page = await admin.baselines.ListExceptions(request)
        found += page.exceptions
        token = page.next_page_token
    assert found == [revoked, first]
    missing = await refusal(admin.baselines.RevokeException(pb.RevokeExceptionRequest(id="X-nothing")))
    assert (missing.code, "patchctl exception list" in missing.sentence) == (NOT_FOUND, True)


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"expires_at": None}, "expires_at", "is missing: an exception ends by itself"),
        ({"expires_at": ahead(days=181)}, "expires_at", "is too late, allowed are 180 days"),
        ({"expires_at": ahead(seconds=-1)}, "expires_at", "is past"),
        ({"reason": "  "}, "reason", "is missing"),
        ({"reason": "r" * 501}, "reason", "has 501 characters, allowed are 1 to 500"),
        ({"scope": 0}, "scope", "allowed are INSTANCE, GROUP, ALL"),
        ({"scope_value": "web"}, "scope_value", "cannot be said of scope ALL"),
        ({"scope": pb.EXCEPTION_SCOPE_GROUP}, "scope_value", "is missing: which group?"),
        ({"match": 0}, "match", "allowed are PACKAGE, ADVISORY, CVE"),
        ({"match_value": ""}, "match_value", "is missing"),
        ({"match_value": "a b"}, "match_value", "is not a package name or a glob"),
        ({"match": pb.EXCEPTION_MATCH_CVE, "match_value": "CVE-1"}, "match_value", "is not a CVE id"),
        ({"match": pb.EXCEPTION_MATCH_ADVISORY, "match_value": "CESA 1"}, "match_value", "is not an advisory id"),
    ],
)
async def test_R10_a_wrong_exception_is_refused_by_field(
    admin: Stubs, changes: dict[str, Any], field: str, says: str
) -> None:
    refused = await refusal(admin.baselines.CreateException(excusing(**changes)))
    assert refused.code is INVALID
    assert list(refused.fields) == [f"exception.{field}"]
    assert says in refused.fields[f"exception.{field}"]
    assert not (await admin.baselines.ListExceptions(pb.ListExceptionsRequest(include_ended=True))).exceptions


async def test_R10_an_exception_for_nobody_there_is_refused(admin: Stubs) -> None:
    request = excusing(scope=pb.EXCEPTION_SCOPE_INSTANCE, scope_value="ecs-0009")
    assert (await refusal(admin.baselines.CreateException(request))).code is NOT_FOUND


# What-if


async def test_a_tried_baseline_says_what_would_change_and_changes_nothing(harness: Harness) -> None:
    admin, viewer = await harness.admin(), await harness.operator(Role.VIEWER)
    await harness.store.fleet.put_instance(an_instance(1, application_group="web"))
    await harness.store.fleet.put_instance(an_instance(2, application_group="db"))
    before = await admin.baselines.ListBaselines(pb.ListBaselinesRequest(page_size=1000))
    tried = await viewer.baselines.TryBaseline(pb.TryBaselineRequest(baseline=wanted("stricter")))
    assert (tried.replaces, tried.instances) == ("CentOS-Default", 2)
    assert (tried.before.undetermined, tried.after.undetermined, list(tried.changes)) == (2, 2, [])
    web = fleet_pb2.Selector(application_groups=["web"])
    tried = await viewer.baselines.TryBaseline(pb.TryBaselineRequest(baseline=wanted("stricter"), selector=web))
    assert tried.instances == 1
    assert await admin.baselines.ListBaselines(pb.ListBaselinesRequest(page_size=1000)) == before
    await make(admin, "ForWeb")
    await admin.baselines.AssignBaseline(assigning("ForWeb", GROUP, "web"))
    tried = await viewer.baselines.TryBaseline(pb.TryBaselineRequest(baseline=wanted("ForWeb")))
    assert (tried.replaces, tried.instances) == ("ForWeb", 1)


async def test_a_tried_baseline_names_who_changes_and_the_packages() -> None:
    with acting(Operator("O-1", "ann", Role.VIEWER, None)):
        await try_it_over_two_instances()


async def try_it_over_two_instances() -> None:
    async with a_fleet() as fleet:
        repository = await fleet.repository()
        for number, build in ((1, OLD), (2, NEW)):
            await fleet.enrol(number)
            await fleet.report(number, [repository], build)
        service = BaselineService(
            fleet.bound_baselines, fleet.bound, fleet.assessor, fleet.selecting, fleet.clock, RandomIds()
        )
        lenient = wanted("CentOS-Default", rules=[pb.BaselineRule(approve_after_days=365)])
        nobody: Any = None
        tried = await service.TryBaseline(pb.TryBaselineRequest(baseline=lenient), nobody)
        assert (tried.replaces, tried.instances) == ("CentOS-Default", 2)
        assert (tried.before, tried.after) == (
            pb.StatusTotals(compliant=1, non_compliant=1),
            pb.StatusTotals(compliant=2),
        )
        assert list(tried.changes) == [
            pb.BaselineChange(
                instance_id=instance_id(1),
                instance_name="ecs-0001",
                before=types_pb2.INSTANCE_STATUS_NON_COMPLIANT,
                after=types_pb2.INSTANCE_STATUS_COMPLIANT,
                no_longer_non_compliant=["bash.x86_64"],
            )
        ]
        custom = [pb.CustomPackage(name="bash", version="4.2.46", release="36.el7")]
        request = pb.TryBaselineRequest(baseline=wanted("Needs-Bash", rules=[], custom_packages=custom))
        tried = await service.TryBaseline(request, nobody)
        assert (tried.replaces, tried.after.non_compliant) == ("CentOS-Default", 2)
        assert [(c.instance_name, list(c.newly_non_compliant)) for c in tried.changes] == [
            ("ecs-0002", ["bash.x86_64"])
        ]


async def test_a_wrong_baseline_cannot_be_tried_and_a_wrong_selector_is_named(admin: Stubs) -> None:
    request = pb.TryBaselineRequest(baseline=wanted("a b"))
    assert list((await refusal(admin.baselines.TryBaseline(request))).fields) == ["baseline.name"]
    request = pb.TryBaselineRequest(baseline=wanted(), selector=fleet_pb2.Selector(instances=["ecs-0009"]))
    assert list((await refusal(admin.baselines.TryBaseline(request))).fields) == ["selector.instances[0]"]


@pytest.mark.parametrize("method", ["ListAssignments", "ListExceptions"])
async def test_page_sizes_and_tokens_of_these_lists_are_checked(admin: Stubs, method: str) -> None:
    request = getattr(pb, f"{method}Request")
    for wrong, field in (({"page_size": 1001}, "page_size"), ({"page_token": "x"}, "page_token")):
        assert list((await refusal(getattr(admin.baselines, method)(request(**wrong)))).fields) == [field]


async def test_many_changes_at_once_lose_none(harness: Harness, admin: Stubs) -> None:
    made = await asyncio.gather(*(admin.baselines.CreateException(excusing()) for _ in range(8)))
    listed = await admin.baselines.ListExceptions(pb.ListExceptionsRequest())
    assert {e.id for e in listed.exceptions} == {m.exception.id for m in made}
    assert (await harness.store.baselines.exceptions()).version == 8
