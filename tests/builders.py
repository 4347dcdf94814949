"""Records for tests, whole and valid, of which a test names only what matters to it: `an_instance(3, region="cn-east")`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

from immutables import Map

from common import digest, manifest, nevra
from common.manifest import Manifest, OsRelease, PackageLine, Repository
from controller.accounts.model import DEFAULT_ACCOUNT, OperatorToken, User
from controller.compliance.model import (
    Advisory,
    AdvisoryPackage,
    Assessment,
    Assignment,
    AssignmentScope,
    Baseline,
    Category,
    ExceptionMatch,
    ExceptionScope,
    Inputs,
    InstanceStatus,
    PatchException,
    Rule,
    Severity,
)
from controller.fleet.model import (
    EnrolmentToken,
    Instance,
    InstanceId,
    OperatingSystem,
    Placement,
    ResourceType,
    Role,
    Selector,
)
from controller.inventory.model import Report
from controller.notify.model import Address, Channel, Contact, Message, Notice, NotificationEvent, Recipients
from controller.schedules.model import Schedule, ScheduledTask, ScheduleId, ScheduleKind
from controller.tickets.model import Batch, Counts, Run, Target, Ticket, TicketId, TicketSpec, TicketState

NOW: Final = datetime(2026, 11, 22, 12, 40, tzinfo=UTC)
MINUTE: Final = timedelta(minutes=1)
CENTOS: Final = OperatingSystem("centos", "7.9", "CentOS 7.9", "CentOS Linux 7 (Core)", "x86_64")


def instance_id(number: int) -> InstanceId:
    """The id that every builder here gives the instance of this number."""
    return InstanceId(f"i-{number:016x}")


def an_instance(number: int = 1, **changes: Any) -> Instance:
    """ecs-0001 and so on: an ECS in cn-hongkong with CentOS 7.9, enrolled at NOW."""
    instance = Instance(
        id=instance_id(number),
        name=f"ecs-{number:04d}",
        enterprise_project="default",
        region="cn-hongkong",
        zone="a",
        resource_type=ResourceType.ECS,
        application_group="web",
        enrolled_at=NOW,
        tags={"env": "test"},
        operating_system=CENTOS,
        ip_address=f"10.0.{number // 250}.{number % 250 + 1}",
        agent_version="0.1.0",
        machine_id=f"{number:032x}",
    )
    return replace(instance, **changes)


def a_target(number: int = 1, **changes: Any) -> Target:
    """What batching needs to know of `an_instance(number)`."""
    i = an_instance(number)
    return replace(Target(i.id, i.name, i.region, i.zone, i.application_group), **changes)


def a_ticket(instances: int = 3, *, batches: Sequence[int] | None = None, **changes: Any) -> Ticket:
    """A READY ticket T-1 over `an_instance(1..instances)`, in one batch or in batches of these sizes (which then say how many)."""
    sizes = [instances] if batches is None else list(batches)
    made, runs, number = dict[int, Batch](), dict[InstanceId, Run](), 0
    for batch, size in enumerate(sizes, 1):
        members = tuple(instance_id(n) for n in range(number + 1, number + size + 1))
        runs |= {m: Run(m, f"ecs-{n:04d}", batch) for n, m in enumerate(members, number + 1)}
        made[batch] = Batch(batch, members, Counts(ready=size), region="cn-hongkong", zone="a", application_group="web")
        number += size
    ticket = Ticket(
        id=TicketId("T-1"),
        spec=TicketSpec(name="a scan"),
        state=TicketState.READY,
        batches=Map(made),
        runs=Map(runs),
        out=Map(),
        counts=Counts(ready=number),
        created_by="operator",
        created_at=NOW,
        changed_at=NOW,
    )
    return replace(ticket, **changes)


def a_schedule(number: int = 1, **changes: Any) -> ScheduledTask:
    """A disabled task S-1 that scans everything every day at 02:00 UTC."""
    made = ScheduledTask(
        id=ScheduleId(f"S-{number}"),
        name=f"nightly-{number}",
        schedule=Schedule(ScheduleKind.PERIODIC, "UTC", time=time(2, 0)),
        spec=TicketSpec(selector=Selector(all=True)),
        created_by="ann",
        created_at=NOW,
        edited_by="ann",
        edited_at=NOW,
    )
    return replace(made, **changes)


def a_notice(number: int = 1, **changes: Any) -> Notice:
    """A test for lin, asked for so many minutes after NOW."""
    made = Notice(f"TEST/{number}", NotificationEvent.TEST, NOW + number * MINUTE, Recipients(("lin",)), asked_by="ops")
    return replace(made, **changes)


def a_message(notice: Notice, contact: str = "lin", channel: Channel = Channel.EMAIL, **changes: Any) -> Message:
    """A message to contact@example.com that is to be tried at once."""
    made = Message(
        id=f"{notice.id}/{contact}/{channel}",
        notice_id=notice.id,
        event=notice.event,
        at=notice.at,
        account=notice.account,
        contact=contact,
        channel=channel,
        address=f"{contact}@example.com",
        next_attempt_at=notice.at,
    )
    return replace(made, **changes)


def a_contact(name: str = "lin", **changes: Any) -> Contact:
    """Somebody with an e-mail address."""
    return replace(Contact(name, (Address(Channel.EMAIL, f"{name}@example.com"),)), **changes)


def a_rule(**changes: Any) -> Rule:
    """Security, Critical or Important, at once."""
    return replace(
        Rule(categories=(Category.SECURITY,), severities=(Severity.CRITICAL, Severity.IMPORTANT)),
        **changes,
    )


def a_baseline(name: str = "CentOS-Default", *rules: Rule, **changes: Any) -> Baseline:
    """Version 1 of a baseline for CentOS on ECS; its id is "b-" and its name. Without rules it has `a_rule()`."""
    baseline = Baseline(
        id=f"b-{name}",
        name=name,
        scenario=ResourceType.ECS,
        operating_system="CentOS",
        rules=rules or (a_rule(),),
        created_by="operator",
        created_at=NOW,
    )
    return replace(baseline, **changes)


def an_assignment(
    scope: AssignmentScope = AssignmentScope.GROUP,
    value: str = "web",
    baseline_id: str = "b-CentOS-Default",
    **changes: Any,
) -> Assignment:
    """A baseline for the CentOS instances on ECS of this scope, assigned at NOW."""
    assignment = Assignment(scope, value, ResourceType.ECS, "CentOS", baseline_id, since=NOW, assigned_by="operator")
    return replace(assignment, **changes)


def an_exception(number: int = 1, **changes: Any) -> PatchException:
    """X-1 and so on: packages "kernel*" are excused on all instances for 30 days from NOW."""
    exception = PatchException(
        id=f"X-{number}",
        scope=ExceptionScope.ALL,
        scope_value="",
        match=ExceptionMatch.PACKAGE,
        match_value="kernel*",
        reason="the driver is not ready",
        approver="operator",
        created_at=NOW,
        expires_at=NOW + timedelta(days=30),
    )
    return replace(exception, **changes)


def a_package(text: str = "bash-4.2.46-34.el7.x86_64", module: str = "") -> PackageLine:
    """A package line from its NEVRA."""
    return PackageLine(nevra.parse(text), module)


def packages(count: int, *, first: int = 1) -> tuple[PackageLine, ...]:
    """So many distinct packages, package-00001 and so on."""
    return tuple(a_package(f"package-{n:05d}-1.{n}-1.el7.x86_64") for n in range(first, first + count))


def packages_blob(lines: Sequence[PackageLine]) -> bytes:
    """The packages blob of these lines, as an agent sends it."""
    return manifest.encode_packages((line, 0, "") for line in lines)[0]


def packages_digest(lines: Sequence[PackageLine]) -> bytes:
    """The digest of the packages blob of these lines."""
    return digest.of(packages_blob(lines))


def a_repository(repository_id: str = "updates", **changes: Any) -> Repository:
    """A repository that was read without errors; the digests in it are of nothing in particular."""
    repository = Repository(
        repository_id,
        revision="1",
        timestamp=1_790_000_000,
        updateinfo=digest.of(f"{repository_id} updateinfo".encode()).hex(),
        primary=digest.of(f"{repository_id} primary".encode()).hex(),
    )
    return replace(repository, **changes)


def a_manifest(lines: Sequence[PackageLine] | None = None, **changes: Any) -> Manifest:
    """What the agent of a CentOS 7.9 says that has these packages (default: bash) and one repository."""
    lines = (a_package(),) if lines is None else lines
    installed, details = manifest.encode_packages((line, 0, "CentOS") for line in lines)
    made = Manifest(
        os=OsRelease("centos", "7.9", "CentOS Linux 7 (Core)", "x86_64", "cpe:/o:centos:centos:7"),
        packages=digest.of(installed).hex(),
        details=digest.of(details).hex(),
        package_count=len(lines),
        package_manager="dnf 4.14.0",
        repositories=(a_repository(),),
        facts={"cpu_count": "2"},
    )
    return replace(made, **changes)


def a_report(number: int = 1, *, at: datetime = NOW, **changes: Any) -> Report:
    """What `an_instance(number)` said at an instant; its digests are of a manifest and an inventory nobody stored."""
    report = Report(
        instance_id=instance_id(number),
        manifest_digest=digest.of(b"manifest"),
        inventory_digest=digest.of(b"inventory"),
        first_collected_at=at,
        collected_at=at,
        received_at=at,
    )
    return replace(report, **changes)


def an_enrolment_token(number: int = 1, **changes: Any) -> EnrolmentToken:
    """An unused token E-1 and so on, made at NOW, good for a day; its secret is "secret-1" and so on."""
    token = EnrolmentToken(
        id=f"E-{number}",
        secret_hash=digest.of(f"secret-{number}".encode()),
        note="for tests",
        placement=Placement(region="cn-hongkong", tags={"env": "test"}),
        created_by="operator",
        created_at=NOW,
        expires_at=NOW + timedelta(days=1),
    )
    return replace(token, **changes)


def an_operator_token(number: int = 1, role: Role = Role.OPERATOR, **changes: Any) -> OperatorToken:
    """A token O-1 and so on; its secret is "operator-1" and so on."""
    token = OperatorToken(f"O-{number}", digest.of(f"operator-{number}".encode()), f"operator-{number}", role, NOW)
    return replace(token, **changes)


def a_user(number: int = 1, role: Role = Role.OPERATOR, **changes: Any) -> User:
    """The user of `an_operator_token(number)`, in the account "default"."""
    return replace(User(f"operator-{number}", DEFAULT_ACCOUNT, role, NOW), **changes)


def an_assessment(number: int = 1, status: InstanceStatus = InstanceStatus.COMPLIANT, **changes: Any) -> Assessment:
    """An answer for `an_instance(number)` and `a_baseline()`."""
    assessment = Assessment(
        instance_id=instance_id(number),
        status=status,
        inputs=Inputs(
            inventory_digest=digest.of(b"inventory").hex(),
            metadata_digest=digest.of(b"metadata").hex(),
            manifest_digest=digest.of(b"manifest").hex(),
            baseline_id="b-CentOS-Default",
            baseline_version=1,
            as_of=NOW,
        ),
        baseline_name="CentOS-Default",
        baseline_source="default",
        collected_at=NOW,
    )
    return assessment._replace(**changes)


def an_advisory(advisory_id: str = "CESA-2026:0001", *nevras: str, **changes: Any) -> Advisory:
    """A security advisory of severity Important, issued ten days before NOW, for these builds (default: a newer bash)."""
    advisory = Advisory(
        id=advisory_id,
        category=Category.SECURITY,
        severity=Severity.IMPORTANT,
        raw_severity="Important",
        raw_type="security",
        title=f"{advisory_id} security update",
        issued=(NOW - timedelta(days=10)).date(),
        updated=None,
        cves=("CVE-2026-0001",),
        packages=tuple(AdvisoryPackage(nevra.parse(text)) for text in nevras or ("bash-4.2.46-35.el7_9.x86_64",)),
    )
    return replace(advisory, **changes)
