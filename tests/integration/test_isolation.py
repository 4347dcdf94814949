"""Nothing of another account is ever visible or changed without an agency: every RPC of the product is walked, none may be left out.

Each call is made twice by a stranger: about something that is there, in another account, and about something that is nowhere. The two
answers must be the same word for word, but for the reference that was asked for. What lists must not name anything of the other account.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from common.pb.v1 import (
    account_pb2,
    agent_pb2,
    audit_pb2,
    baseline_pb2,
    fleet_pb2,
    report_pb2,
    schedule_pb2,
    ticket_pb2,
    types_pb2,
)
from common.pb.v1 import notification_pb2 as told
from controller.api.auth import ACCESS
from controller.fleet.model import Role
from tests.integration.api_harness import TIMEOUT, Harness, Stubs, refusal, serving

THEIRS = "acme"
STUBS = {
    "FleetService": "fleet",
    "BaselineService": "baselines",
    "TicketService": "tickets",
    "ReportService": "reports",
    "ScheduleService": "schedules",
    "AccountService": "account",
    "NotificationService": "notifications",
    "AuditService": "audit",
}


@dataclass(frozen=True, slots=True)
class Refs:
    """What calls are about."""

    instance: str
    instance_name: str
    project: str
    group: str
    ticket: str
    schedule: str
    schedule_name: str
    baseline: str
    baseline_name: str
    exception: str
    contact: str
    scenario: str
    notification: str
    enrolment: str
    user: str
    token: str
    agency: str
    advisory: str


NOBODYS = Refs(
    instance="0" * 32,
    instance_name="nowhere-host",
    project="nowhere-project",
    group="nowhere-group",
    ticket="T-NOWHERE",
    schedule="S-NOWHERE",
    schedule_name="nowhere-schedule",
    baseline="b-nowhere0",
    baseline_name="NowhereBaseline",
    exception="X-NOWHERE0",
    contact="nowhere-contact",
    scenario="nowhere-scenario",
    notification="N-NOWHERE/TEST/nowhere/WEBHOOK",
    enrolment="E-NOWHERE0",
    user="nowhere-user",
    token="O-NOWHERE0",
    agency="nowhere-agency",
    advisory="NOWHERE-2026:0001",
)


def ahead(length: timedelta) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(datetime.now(UTC).replace(microsecond=0) + length)
    return stamp


def a_baseline(name: str) -> baseline_pb2.Baseline:
    rule = baseline_pb2.BaselineRule(categories=[types_pb2.CATEGORY_SECURITY], approve_after_days=7)
    return baseline_pb2.Baseline(
        name=name, scenario=types_pb2.RESOURCE_TYPE_ECS, operating_system="CentOS", rules=[rule]
    )


def a_task(name: str, spec: ticket_pb2.TicketSpec) -> schedule_pb2.ScheduledTask:
    daily = schedule_pb2.Schedule(kind=schedule_pb2.SCHEDULE_KIND_CRON, cron="0 0 3 * * ?")
    return schedule_pb2.ScheduledTask(name=name, schedule=daily, spec=spec)


def a_shift(scenario: str, *people: str) -> told.Shift:
    rotation = told.Rotation(people=people, first_day="2026-11-16", hand_over=["09:00"])
    key = told.ShiftKey(scenario=scenario, role="primary")
    return told.Shift(key=key, time_zone="Asia/Shanghai", rotations=[rotation])


def an_exception(scope: baseline_pb2.ExceptionScope.ValueType, value: str) -> baseline_pb2.PatchException:
    return baseline_pb2.PatchException(
        scope=scope,
        scope_value=value,
        match=baseline_pb2.EXCEPTION_MATCH_PACKAGE,
        match_value="bash",
        reason="zebra reasons",
        expires_at=ahead(timedelta(days=20)),
    )


def these(*instances: str) -> fleet_pb2.Selector:
    return fleet_pb2.Selector(instances=instances)


def spec(*instances: str, **changes: Any) -> ticket_pb2.TicketSpec:
    return ticket_pb2.TicketSpec(selector=these(*instances), **changes)


def telling(contact: str) -> ticket_pb2.TicketSpec:
    events = [told.NOTIFICATION_EVENT_EXECUTION_FAILED]
    policy = told.NotificationPolicy(events=events, people=[contact])
    return ticket_pb2.TicketSpec(selector=fleet_pb2.Selector(all=True), notification=policy)


def a_file(project: str) -> fleet_pb2.CmdbFile:
    text = f"id,name,enterprise_project\nc-1,from-cmdb,{project}\n"
    return fleet_pb2.CmdbFile(content=text.encode(), format=fleet_pb2.CMDB_FORMAT_CSV, partial=True)


INSTANCE = baseline_pb2.ASSIGNMENT_SCOPE_INSTANCE
Make = Callable[[Refs], Message]

CALLS: Mapping[str, Mapping[str, Make | tuple[Make, ...]]] = {
    "AccountService": {
        "WhoAmI": lambda r: account_pb2.WhoAmIRequest(),
        "CreateAccount": lambda r: account_pb2.CreateAccountRequest(account=account_pb2.Account(name="-"), admin="x"),
        "ListAccounts": lambda r: account_pb2.ListAccountsRequest(),
        "CreateUser": lambda r: account_pb2.CreateUserRequest(user=account_pb2.User(name="-")),
        "UpdateUser": lambda r: account_pb2.UpdateUserRequest(name=r.user, role=account_pb2.ROLE_VIEWER),
        "ListUsers": lambda r: account_pb2.ListUsersRequest(),
        "CreateOperatorToken": lambda r: account_pb2.CreateOperatorTokenRequest(user=r.user),
        "ListOperatorTokens": (
            lambda r: account_pb2.ListOperatorTokensRequest(),
            lambda r: account_pb2.ListOperatorTokensRequest(user=r.user),
        ),
        "RevokeOperatorToken": lambda r: account_pb2.RevokeOperatorTokenRequest(id=r.token),
        "CreateAgency": lambda r: account_pb2.CreateAgencyRequest(agency=account_pb2.Agency(name="-")),
        "ListAgencies": lambda r: account_pb2.ListAgenciesRequest(include_ended=True),
        "RevokeAgency": lambda r: account_pb2.RevokeAgencyRequest(name=r.agency),
    },
    "FleetService": {
        "ListInstances": (
            lambda r: fleet_pb2.ListInstancesRequest(),
            lambda r: fleet_pb2.ListInstancesRequest(selector=these(r.instance)),
            lambda r: fleet_pb2.ListInstancesRequest(selector=these(r.instance_name)),
            lambda r: fleet_pb2.ListInstancesRequest(
                selector=fleet_pb2.Selector(all=True, enterprise_projects=[r.project])
            ),
            lambda r: fleet_pb2.ListInstancesRequest(
                selector=fleet_pb2.Selector(
                    all=True, lifecycles=[fleet_pb2.LIFECYCLE_RETIRED, fleet_pb2.LIFECYCLE_ACTIVE]
                )
            ),
        ),
        "GetInstance": (
            lambda r: fleet_pb2.GetInstanceRequest(instance=r.instance),
            lambda r: fleet_pb2.GetInstanceRequest(instance=r.instance_name),
        ),
        "UpdateInstance": lambda r: fleet_pb2.UpdateInstanceRequest(
            instance=r.instance, values=fleet_pb2.Instance(zone="q"), update_mask=FieldMask(paths=["zone"])
        ),
        "DeleteInstance": lambda r: fleet_pb2.DeleteInstanceRequest(instance=r.instance),
        "RetireInstance": lambda r: fleet_pb2.RetireInstanceRequest(instance=r.instance),
        "RestoreInstance": lambda r: fleet_pb2.RestoreInstanceRequest(instance=r.instance),
        "ReleaseInstance": lambda r: fleet_pb2.ReleaseInstanceRequest(instance=r.instance),
        "MergeInstance": (
            lambda r: fleet_pb2.MergeInstanceRequest(instance=r.instance, into="own-host"),
            lambda r: fleet_pb2.MergeInstanceRequest(instance="own-host", into=r.instance),
        ),
        "PreviewCmdbImport": lambda r: fleet_pb2.PreviewCmdbImportRequest(file=a_file(r.project)),
        "ImportCmdb": lambda r: fleet_pb2.ImportCmdbRequest(file=a_file(r.project), digest="0" * 64),
        "CreateEnrolmentToken": lambda r: fleet_pb2.CreateEnrolmentTokenRequest(note="-" * 300),
        "ListEnrolmentTokens": lambda r: fleet_pb2.ListEnrolmentTokensRequest(),
        "RevokeEnrolmentToken": lambda r: fleet_pb2.RevokeEnrolmentTokenRequest(id=r.enrolment),
    },
    "BaselineService": {
        "ListBaselines": lambda r: baseline_pb2.ListBaselinesRequest(),
        "GetBaseline": (
            lambda r: baseline_pb2.GetBaselineRequest(baseline=r.baseline),
            lambda r: baseline_pb2.GetBaselineRequest(baseline=r.baseline, version=1),
            lambda r: baseline_pb2.GetBaselineRequest(baseline=r.baseline_name),
        ),
        "CreateBaseline": lambda r: baseline_pb2.CreateBaselineRequest(baseline=a_baseline("")),
        "SetDefaultBaseline": lambda r: baseline_pb2.SetDefaultBaselineRequest(baseline=r.baseline),
        "DeleteBaseline": lambda r: baseline_pb2.DeleteBaselineRequest(baseline=r.baseline),
        "TryBaseline": (
            lambda r: baseline_pb2.TryBaselineRequest(baseline=a_baseline(r.baseline_name)),
            lambda r: baseline_pb2.TryBaselineRequest(baseline=a_baseline("Tried"), selector=these(r.instance)),
        ),
        "AssignBaseline": (
            lambda r: baseline_pb2.AssignBaselineRequest(baseline="CentOS-Default", scope=INSTANCE, value=r.instance),
            lambda r: baseline_pb2.AssignBaselineRequest(baseline=r.baseline, scope=INSTANCE, value="own-host"),
        ),
        "UnassignBaseline": (
            lambda r: baseline_pb2.UnassignBaselineRequest(baseline=r.baseline, scope=INSTANCE, value=r.instance),
            lambda r: baseline_pb2.UnassignBaselineRequest(baseline="CentOS-Default", scope=INSTANCE, value=r.instance),
        ),
        "ListAssignments": lambda r: baseline_pb2.ListAssignmentsRequest(),
        "CreateException": lambda r: baseline_pb2.CreateExceptionRequest(
            exception=an_exception(baseline_pb2.EXCEPTION_SCOPE_INSTANCE, r.instance)
        ),
        "ListExceptions": lambda r: baseline_pb2.ListExceptionsRequest(include_ended=True),
        "RevokeException": lambda r: baseline_pb2.RevokeExceptionRequest(id=r.exception),
    },
    "TicketService": {
        "Preview": (
            lambda r: ticket_pb2.PreviewRequest(spec=spec(r.instance)),
            lambda r: ticket_pb2.PreviewRequest(spec=spec("own-host", baseline=r.baseline)),
            lambda r: ticket_pb2.PreviewRequest(spec=telling(r.contact)),
            lambda r: ticket_pb2.PreviewRequest(
                spec=spec(
                    "own-host",
                    execution_accounts=[ticket_pb2.ExecutionAccount(account=THEIRS, agency=r.agency)],
                )
            ),
        ),
        "CreateTicket": lambda r: ticket_pb2.CreateTicketRequest(spec=spec(r.instance)),
        "GetTicket": lambda r: ticket_pb2.GetTicketRequest(ticket_id=r.ticket),
        "ListTickets": lambda r: ticket_pb2.ListTicketsRequest(),
        "ListRuns": lambda r: ticket_pb2.ListRunsRequest(ticket_id=r.ticket),
        "Watch": lambda r: ticket_pb2.WatchRequest(ticket_id=r.ticket),
        "Pause": lambda r: ticket_pb2.PauseRequest(ticket_id=r.ticket),
        "Continue": lambda r: ticket_pb2.ContinueRequest(ticket_id=r.ticket),
        "End": lambda r: ticket_pb2.EndRequest(ticket_id=r.ticket),
        "RetryBatch": lambda r: ticket_pb2.RetryBatchRequest(ticket_id=r.ticket, batch=1),
        "RetryRuns": lambda r: ticket_pb2.RetryRunsRequest(ticket_id=r.ticket),
        "GetRunLog": lambda r: ticket_pb2.GetRunLogRequest(ticket_id=r.ticket, instance=r.instance),
        "CancelBatch": lambda r: ticket_pb2.CancelBatchRequest(ticket_id=r.ticket, batch=1),
        "CancelRun": lambda r: ticket_pb2.CancelRunRequest(ticket_id=r.ticket, instance=r.instance),
    },
    "ScheduleService": {
        "PreviewSchedule": lambda r: schedule_pb2.PreviewScheduleRequest(task=a_task("tried", spec(r.instance))),
        "CreateSchedule": lambda r: schedule_pb2.CreateScheduleRequest(task=a_task("made", spec(r.instance))),
        "GetSchedule": (
            lambda r: schedule_pb2.GetScheduleRequest(schedule=r.schedule),
            lambda r: schedule_pb2.GetScheduleRequest(schedule=r.schedule_name),
        ),
        "ListSchedules": lambda r: schedule_pb2.ListSchedulesRequest(),
        "UpdateSchedule": lambda r: schedule_pb2.UpdateScheduleRequest(
            schedule=r.schedule, task=a_task("made", spec("own-host"))
        ),
        "EnableSchedule": lambda r: schedule_pb2.EnableScheduleRequest(schedule=r.schedule),
        "DisableSchedule": lambda r: schedule_pb2.DisableScheduleRequest(schedule=r.schedule),
        "DeleteSchedule": lambda r: schedule_pb2.DeleteScheduleRequest(schedule=r.schedule),
        "ApproveSchedule": lambda r: schedule_pb2.ApproveScheduleRequest(schedule=r.schedule),
        "RejectSchedule": lambda r: schedule_pb2.RejectScheduleRequest(schedule=r.schedule),
        "RunSchedule": lambda r: schedule_pb2.RunScheduleRequest(schedule=r.schedule),
        "ListScheduleRuns": lambda r: schedule_pb2.ListScheduleRunsRequest(schedule=r.schedule),
    },
    "ReportService": {
        "ListReports": (
            lambda r: report_pb2.ListReportsRequest(),
            lambda r: report_pb2.ListReportsRequest(selector=these(r.instance)),
        ),
        "GetReport": (
            lambda r: report_pb2.GetReportRequest(instance=r.instance),
            lambda r: report_pb2.GetReportRequest(instance="own-host", baseline=r.baseline),
        ),
        "GetSummary": (
            lambda r: report_pb2.GetSummaryRequest(),
            lambda r: report_pb2.GetSummaryRequest(selector=fleet_pb2.Selector(all=True, application_groups=[r.group])),
        ),
        "Why": lambda r: report_pb2.WhyRequest(instance=r.instance, package="bash"),
        "Export": (
            lambda r: report_pb2.ExportRequest(),
            lambda r: report_pb2.ExportRequest(selector=these(r.instance)),
        ),
        "GetTrend": lambda r: report_pb2.GetTrendRequest(selector=these(r.instance), days=2),
        "ListAdvisories": lambda r: report_pb2.ListAdvisoriesRequest(),
        "GetAdvisory": lambda r: report_pb2.GetAdvisoryRequest(id=r.advisory),
        "ListAffected": (
            lambda r: report_pb2.ListAffectedRequest(reference=r.advisory),
            lambda r: report_pb2.ListAffectedRequest(reference=r.advisory, selector=these(r.instance)),
        ),
    },
    "NotificationService": {
        "CreateContact": lambda r: told.CreateContactRequest(contact=told.Contact(name="")),
        "UpdateContact": lambda r: told.UpdateContactRequest(contact=told.Contact(name=r.contact)),
        "DeleteContact": lambda r: told.DeleteContactRequest(name=r.contact),
        "GetContact": lambda r: told.GetContactRequest(name=r.contact),
        "ListContacts": lambda r: told.ListContactsRequest(),
        "CreateShift": lambda r: told.CreateShiftRequest(shift=a_shift("made", r.contact)),
        "UpdateShift": lambda r: told.UpdateShiftRequest(shift=a_shift(r.scenario)),
        "DeleteShift": lambda r: told.DeleteShiftRequest(key=told.ShiftKey(scenario=r.scenario, role="primary")),
        "GetShift": lambda r: told.GetShiftRequest(key=told.ShiftKey(scenario=r.scenario, role="primary")),
        "ListShifts": lambda r: told.ListShiftsRequest(),
        "AddOverride": lambda r: told.AddOverrideRequest(key=told.ShiftKey(scenario=r.scenario, role="primary")),
        "RemoveOverride": lambda r: told.RemoveOverrideRequest(
            key=told.ShiftKey(scenario=r.scenario, role="primary"), override_id="V-1"
        ),
        "GetOnDuty": lambda r: told.GetOnDutyRequest(key=told.ShiftKey(scenario=r.scenario, role="primary")),
        "ListNotifications": lambda r: told.ListNotificationsRequest(),
        "GetNotification": lambda r: told.GetNotificationRequest(id=r.notification),
        "TestNotification": lambda r: told.TestNotificationRequest(contact=r.contact),
        "RetryNotification": lambda r: told.RetryNotificationRequest(id=r.notification),
        "ListChannels": lambda r: told.ListChannelsRequest(),
    },
    "AuditService": {
        "ListAuditEntries": (
            lambda r: audit_pb2.ListAuditEntriesRequest(),
            lambda r: audit_pb2.ListAuditEntriesRequest(subject=r.instance),
        ),
        "ListAuditChain": lambda r: audit_pb2.ListAuditChainRequest(limit=1),
    },
}
WHOLE_ACCOUNT = {"ListAuditChain"}
"""Calls whose answer is about all accounts, for admins of the management account alone."""


def test_every_call_of_an_operator_is_walked() -> None:
    walked = {f"/patchwarden.v1.{service}/{method}" for service, calls in CALLS.items() for method in calls}
    assert walked == {method for method, need in ACCESS.items() if isinstance(need, Role)}


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with serving(tmp_path / "data") as made:
        yield made


async def furnish(harness: Harness, owner: Stubs) -> Refs:
    """Put one thing of each kind into the owner's account."""
    token = await owner.fleet.CreateEnrolmentToken(
        fleet_pb2.CreateEnrolmentTokenRequest(
            note="zebra", placement=agent_pb2.Placement(enterprise_project="zebra-project", application_group="zebra")
        )
    )
    agent = await harness.connect("zebra-host", token=token.secret)
    unused = await owner.fleet.CreateEnrolmentToken(
        fleet_pb2.CreateEnrolmentTokenRequest(
            note="zebra", placement=agent_pb2.Placement(enterprise_project="zebra-project")
        )
    )
    baseline = (
        await owner.baselines.CreateBaseline(baseline_pb2.CreateBaselineRequest(baseline=a_baseline("ZebraBaseline")))
    ).baseline
    await owner.baselines.AssignBaseline(
        baseline_pb2.AssignBaselineRequest(baseline=baseline.id, scope=INSTANCE, value=agent.instance_id)
    )
    exception = (
        await owner.baselines.CreateException(
            baseline_pb2.CreateExceptionRequest(
                exception=an_exception(baseline_pb2.EXCEPTION_SCOPE_INSTANCE, agent.instance_id)
            )
        )
    ).exception
    address = told.ContactAddress(channel=told.CHANNEL_EMAIL, value="zebra@example.org")
    contact = told.Contact(name="zebra-contact", addresses=[address])
    await owner.notifications.CreateContact(told.CreateContactRequest(contact=contact))
    events = [told.NOTIFICATION_EVENT_EXECUTION_SUCCEEDED, told.NOTIFICATION_EVENT_EXECUTION_FAILED]
    policy = told.NotificationPolicy(events=events, people=["zebra-contact"])
    asked = ticket_pb2.CreateTicketRequest(spec=spec("zebra-host", notification=policy))
    made = (await owner.tickets.CreateTicket(asked)).ticket
    async for _ in owner.tickets.Watch(ticket_pb2.WatchRequest(ticket_id=made.id)):
        pass
    task = (
        await owner.schedules.CreateSchedule(
            schedule_pb2.CreateScheduleRequest(task=a_task("zebra-schedule", spec("zebra-host")))
        )
    ).task
    await owner.notifications.CreateShift(told.CreateShiftRequest(shift=a_shift("zebra-scenario", "zebra-contact")))
    sent = await owner.notifications.TestNotification(told.TestNotificationRequest(contact="zebra-contact"))
    user = await owner.account.CreateUser(
        account_pb2.CreateUserRequest(user=account_pb2.User(name="zebra-user", role=account_pb2.ROLE_VIEWER))
    )
    await owner.account.CreateAgency(
        account_pb2.CreateAgencyRequest(
            agency=account_pb2.Agency(
                name="zebra-agency", trusted_account="zebra-partner", permission=account_pb2.AGENCY_PERMISSION_SCAN
            )
        )
    )
    return replace(
        NOBODYS,
        instance=agent.instance_id,
        instance_name="zebra-host",
        project="zebra-project",
        group="zebra",
        ticket=made.id,
        schedule=task.id,
        schedule_name="zebra-schedule",
        baseline=baseline.id,
        baseline_name="ZebraBaseline",
        exception=exception.id,
        contact="zebra-contact",
        scenario="zebra-scenario",
        notification=sent.notification_id,
        enrolment=unused.token.id,
        user="zebra-user",
        token=user.token.id,
        agency="zebra-agency",
    )


async def answer(stubs: Stubs, service: str, method: str, request: Message) -> str:
    """Return what is answered, refusal or message, as text."""
    call = getattr(getattr(stubs, STUBS[service]), method)(request, timeout=TIMEOUT)
    try:
        if hasattr(call, "__aiter__"):
            return "\n".join([text_format.MessageToString(message) async for message in call])
        return text_format.MessageToString(await call)
    except aio.AioRpcError as error:
        refused = await refusal(getattr(getattr(stubs, STUBS[service]), method)(request, timeout=TIMEOUT))
        return f"{error.code().name}: {refused.sentence} {refused.fields}"


def without(text: str, refs: Refs) -> str:
    """Return a text without what was asked for, and without what is another at each call."""
    for name, value in sorted(asdict(refs).items(), key=lambda pair: -len(pair[1])):
        text = re.sub(re.escape(value), f"<{name}>", text, flags=re.IGNORECASE)
    return re.sub(r"(as_of|created_at|at|generated_at) \{[^}]*\}|digest: \"[^\"]*\"", "", text)


def names_theirs(text: str, theirs: Refs, *, but: Message) -> list[str]:
    """Return what of theirs a text names that was not in the request."""
    asked = text_format.MessageToString(but).lower()
    words = {"zebra", *(v.lower() for v in asdict(theirs).values() if v not in asdict(NOBODYS).values())}
    return sorted(word for word in words if word in text.lower() and word not in asked)


@pytest.mark.parametrize("service", CALLS)
async def test_another_account_s_admin_learns_and_changes_nothing(harness: Harness, service: str) -> None:
    owner = await harness.operator(Role.ADMIN, name="zed", account=THEIRS)
    await harness.seed(THEIRS)
    theirs = await furnish(harness, owner)
    stranger = await harness.admin()
    await harness.connect("own-host")
    before = await everything(owner)
    for method, made in CALLS["ReportService"].items():  # what is kept for one caller must not answer another
        for make in made if isinstance(made, tuple) else (made,):
            await answer(owner, "ReportService", method, make(theirs))
    for method, made in CALLS[service].items():
        for make in made if isinstance(made, tuple) else (made,):
            real, nowhere = make(theirs), make(NOBODYS)
            said = await answer(stranger, service, method, real)
            if method in WHOLE_ACCOUNT:
                continue
            assert names_theirs(said, theirs, but=real) == [], f"{method} tells of another account"
            if real != nowhere:
                other = await answer(stranger, service, method, nowhere)
                assert without(said, theirs) == without(other, NOBODYS), f"{method} says whether it is there"
    assert await everything(owner) == before


async def everything(owner: Stubs) -> dict[str, str]:
    """What an admin of the account finds in it."""
    lists = {
        "FleetService": ("ListInstances", "ListEnrolmentTokens"),
        "BaselineService": ("ListBaselines", "ListAssignments", "ListExceptions"),
        "TicketService": ("ListTickets",),
        "ScheduleService": ("ListSchedules",),
        "NotificationService": ("ListContacts", "ListShifts"),
        "AccountService": ("ListUsers", "ListAgencies"),
    }
    found = dict[str, str]()
    for service, methods in lists.items():
        for method in methods:
            make = CALLS[service][method]
            text = await answer(owner, service, method, (make[0] if isinstance(make, tuple) else make)(NOBODYS))
            assert text
            found[method] = re.sub(r"last_seen_at \{[^}]*\}|next_runs \{[^}]*\}", "", text)
    return found


HIDDEN = ("instance", "instance_name", "ticket", "schedule", "schedule_name", "exception", "enrolment", "notification")
"""What lies in an enterprise project; baselines, contacts, shifts and users are the account's."""


@pytest.mark.parametrize("service", CALLS)
async def test_who_is_bound_to_an_enterprise_project_sees_and_changes_nothing_of_another(
    harness: Harness, service: str
) -> None:
    owner = await harness.operator(Role.ADMIN, name="zed", account=THEIRS)
    await harness.seed(THEIRS)
    theirs = await furnish(harness, owner)
    bound = await harness.operator(Role.ADMIN, name="bea", account=THEIRS, enterprise_projects=["own-project"])
    placed = agent_pb2.Placement(enterprise_project="own-project")
    token = await owner.fleet.CreateEnrolmentToken(fleet_pb2.CreateEnrolmentTokenRequest(placement=placed))
    await harness.connect("own-host", token=token.secret)
    before = await everything(owner)
    hidden = {name: getattr(theirs, name) for name in HIDDEN}
    only = replace(NOBODYS, **hidden)
    for method, made in CALLS[service].items():
        for make in made if isinstance(made, tuple) else (made,):
            real, nowhere = make(only), make(NOBODYS)
            said = await answer(bound, service, method, real)
            asked = text_format.MessageToString(real)
            assert [v for v in hidden.values() if v in said and v not in asked] == [], (
                f"{method} tells of another project"
            )
            if real != nowhere:
                other = await answer(bound, service, method, nowhere)
                assert without(said, only) == without(other, NOBODYS), f"{method} says whether it is there"
    assert await everything(owner) == before


async def test_a_host_of_one_account_is_not_let_into_another_with_its_old_key(harness: Harness) -> None:
    owner = await harness.operator(Role.ADMIN, name="zed", account=THEIRS)
    request = fleet_pb2.CreateEnrolmentTokenRequest()
    first, again = [(await owner.fleet.CreateEnrolmentToken(request)).secret for _ in range(2)]
    agent = await harness.enrol("zebra-host", token=first)
    moved = (await (await harness.admin()).fleet.CreateEnrolmentToken(request)).secret
    refused = await refusal(harness.enrol("zebra-host", token=moved, key_pem=agent.key_pem))
    assert "with a new key" in refused.sentence
    assert (await harness.enrol("zebra-host", token=again, key_pem=agent.key_pem)).instance_id == agent.instance_id
    found = await owner.fleet.GetInstance(fleet_pb2.GetInstanceRequest(instance="zebra-host"))
    assert found.instance.account == THEIRS


async def test_the_chain_of_the_audit_log_is_for_the_management_account(harness: Harness) -> None:
    owner = await harness.operator(Role.ADMIN, name="zed", account=THEIRS)
    refused = await refusal(owner.audit.ListAuditChain(audit_pb2.ListAuditChainRequest()))
    assert refused.sentence.startswith("the chain has the entries of all accounts")
    lifetime = Duration(seconds=3600)
    await owner.fleet.CreateEnrolmentToken(fleet_pb2.CreateEnrolmentTokenRequest(lifetime=lifetime))
    mine = (await owner.audit.ListAuditEntries(audit_pb2.ListAuditEntriesRequest())).entries
    assert {entry.account for entry in mine} == {THEIRS}
    chain = await (await harness.admin()).audit.ListAuditChain(audit_pb2.ListAuditChainRequest())
    assert {entry.account for entry in chain.entries} >= {THEIRS, "default"}
