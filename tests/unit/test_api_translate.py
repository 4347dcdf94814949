"""Messages to records and back: total over every word, nothing lost on the way, hostile values refused by name."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidArgument
from common.evr import Evr
from common.pb.v1 import account_pb2, baseline_pb2, fleet_pb2, report_pb2, ticket_pb2, types_pb2
from controller.accounts.model import Account, Agency, AgencyPermission
from controller.api import (
    translate,
    translate_account,
    translate_baseline,
    translate_fleet,
    translate_report,
    translate_ticket,
)
from controller.api.checks import Checks
from controller.api.translate import Words
from controller.api.translate_agent import time_of
from controller.compliance.model import (
    ApprovedPatch,
    Assessment,
    Baseline,
    Category,
    CustomPackage,
    DateBasis,
    ExceptionMatch,
    ExceptionScope,
    Inputs,
    InstanceStatus,
    Item,
    Level,
    PatchException,
    PatchStatus,
    Reason,
    RejectAction,
    RejectedPatch,
    Rule,
    Severity,
    StatusCounts,
    Undetermined,
)
from controller.fleet.groups import wrong_with
from controller.fleet.model import (
    AgentState,
    Lifecycle,
    NotSelectableReason,
    Placement,
    Presence,
    ResourceType,
    Selector,
    View,
)
from controller.tickets.model import Outcome, Run, RunState, TicketSpec
from controller.tickets.policies import (
    BatchPolicy,
    BatchPolicyKind,
    Canary,
    OfflinePolicy,
    SuspensionMode,
    SuspensionPolicy,
)
from tests.builders import (
    NOW,
    a_rule,
    a_ticket,
    a_user,
    an_assessment,
    an_assignment,
    an_enrolment_token,
    an_exception,
    an_instance,
    an_operator_token,
    instance_id,
)

WORDS = {name: value for name, value in vars(translate).items() if isinstance(value, Words)}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_every_word_of_ours_has_one_on_the_wire_and_comes_back_as_itself(words: Words) -> None:
    for word in words.kind:
        if word not in words.unsaid:
            assert words.from_wire(words.to_wire(word)) == word


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_every_value_on_the_wire_is_a_word_of_ours_or_the_unspecified_zero(words: Words) -> None:
    for number in words.wire.values():
        word = words.from_wire(number)
        assert words.to_wire(word) == number
        assert word is not None or number == 0


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_an_unknown_value_is_refused_with_what_is_allowed(words: Words) -> None:
    checks = Checks()
    assert words.read_all(checks, "field", [99]) == ()
    assert checks.violations[0].field == "field[0]"
    assert "99 is unknown, allowed are" in checks.violations[0].description


def test_every_enum_of_the_client_protos_is_translated() -> None:
    enums = {
        enum.full_name
        for module in (types_pb2, fleet_pb2, baseline_pb2, ticket_pb2, report_pb2)
        for enum in module.DESCRIPTOR.enum_types_by_name.values()
    }
    assert enums <= {words.wire.DESCRIPTOR.full_name for words in WORDS.values()}


def test_an_empty_spec_has_every_default_filled_in() -> None:
    spec = translate_ticket.spec(ticket_pb2.TicketSpec(selector=fleet_pb2.Selector(all=True)))
    assert spec == TicketSpec(selector=Selector(all=True))
    assert spec.timeout == timedelta(minutes=10)
    assert spec.suspension_policy.success_rate_tenths == 800


texts = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20)
lists = st.lists(texts, max_size=3).map(tuple)
ages = st.integers(1, 10**8).map(lambda s: timedelta(seconds=s))
selectors = st.builds(
    Selector,
    instances=st.lists(texts, max_size=3, unique=True).map(tuple),
    all=st.just(True),
    enterprise_projects=lists,
    regions=lists,
    zones=lists,
    resource_types=st.lists(st.sampled_from(ResourceType), unique=True).map(tuple),
    application_groups=st.lists(texts.filter(lambda t: wrong_with(t) is None), max_size=3).map(tuple),
    names=lists,
    tags=st.lists(texts.filter(lambda t: not t.startswith("=")), max_size=3).map(tuple),
    operating_systems=lists,
    accounts=lists,
    clusters=lists,
    addresses=st.lists(st.ip_addresses().map(str), max_size=3).map(tuple),
    agent_states=st.lists(st.sampled_from(AgentState), unique=True).map(tuple),
    statuses=st.lists(st.sampled_from(InstanceStatus), unique=True).map(tuple),
    report_older_than=st.none() | ages,
    report_newer_than=st.none() | ages,
    lifecycles=st.lists(st.sampled_from(Lifecycle), unique=True).map(tuple),
    view=st.none() | st.sampled_from(View),
)
lengths = st.integers(1, 86400).map(lambda s: timedelta(seconds=s))
policies = st.one_of(
    st.builds(
        BatchPolicy,
        kind=st.sampled_from([BatchPolicyKind.NO_BATCH, BatchPolicyKind.AUTO_BATCH]),
        batch_size=st.integers(1, 1000),
        group_share_percent=st.integers(1, 100),
        ramp=st.lists(st.integers(1, 1000), max_size=4).map(tuple),
        canary=st.none()
        | st.builds(Canary, instances=st.integers(1, 10_000), wait=st.booleans())
        | st.builds(Canary, percent=st.integers(1, 100), wait=st.booleans()),
        soak=st.just(timedelta(0)) | lengths,
    ),
    st.builds(
        BatchPolicy,
        kind=st.just(BatchPolicyKind.MANUAL_BATCH),
        manual=st.lists(st.lists(texts, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple),
    ),
)
specs = st.builds(
    TicketSpec,
    name=texts,
    selector=selectors,
    baseline=texts,
    timeout=lengths,
    batch_policy=policies,
    max_in_flight=st.integers(1, 10_000),
    suspension_policy=st.builds(
        SuspensionPolicy,
        success_rate_tenths=st.integers(0, 1000),
        mode=st.sampled_from(SuspensionMode),
        ignore_unreachable=st.booleans(),
    ),
    unreachable_after=lengths,
    ticket_timeout=st.just(timedelta(0)) | lengths,
    offline=st.builds(OfflinePolicy, wait=st.just(timedelta(0)) | lengths)
    | st.builds(OfflinePolicy, until=st.datetimes(timezones=st.just(UTC))),
)


@given(specs)
def test_a_spec_comes_back_from_the_wire_as_it_was(spec: TicketSpec) -> None:
    assert translate_ticket.spec(translate_ticket.spec_message(spec)) == spec


def test_a_success_rate_of_zero_is_not_the_default() -> None:
    sent = ticket_pb2.TicketSpec(selector=fleet_pb2.Selector(all=True))
    sent.suspension_policy.success_rate_tenths = 0
    assert translate_ticket.spec(sent).suspension_policy.success_rate_tenths == 0


def test_everything_that_is_wrong_with_a_spec_is_named_at_once() -> None:
    sent = ticket_pb2.TicketSpec(
        name="n" * 101,
        timeout=Duration(seconds=0),
        unreachable_after=Duration(seconds=2**40),
        batch_policy=ticket_pb2.BatchPolicy(kind=77, batch_size=100_000),  # type: ignore[arg-type]
        max_in_flight=2**31,
        suspension_policy=ticket_pb2.SuspensionPolicy(success_rate_tenths=1010),
        selector=fleet_pb2.Selector(resource_types=[9]),  # type: ignore[list-item]
    )
    with pytest.raises(InvalidArgument) as refused:
        translate_ticket.spec(sent)
    assert {v.field for v in refused.value.violations} >= {
        "name",
        "selector",
        "selector.resource_types[0]",
        "timeout",
        "unreachable_after",
        "batch_policy.kind",
        "batch_policy.batch_size",
        "max_in_flight",
        "success_rate",
    }


@pytest.mark.parametrize("seconds", [-1, 0, 2**62, -(2**62)])
def test_a_length_of_time_out_of_range_is_refused_not_wrapped(seconds: int) -> None:
    checks = Checks()
    least, most = timedelta(seconds=1), timedelta(hours=24)
    assert translate.read_duration(checks, "timeout", Duration(seconds=seconds), least, least, most) == least
    assert [v.field for v in checks.violations] == ["timeout"]


rules = st.builds(
    Rule,
    products=st.lists(texts, min_size=1, max_size=3, unique=True).map(tuple),
    categories=st.lists(st.sampled_from([c for c in Category if c is not Category.UNSPECIFIED]), unique=True).map(
        tuple
    ),
    severities=st.lists(st.sampled_from(Severity), unique=True).map(tuple),
    approve_after_days=st.integers(0, 365),
    date_basis=st.sampled_from([DateBasis.ISSUED, DateBasis.UPDATED, DateBasis.FIRST_SEEN]),
    level=st.sampled_from(Level),
    include_without_advisory=st.booleans(),
)
rules |= st.builds(lambda r, d: dataclasses.replace(r, approve_after_days=None, approve_until=d), rules, st.dates())


levels = st.sampled_from(Level)


@given(
    st.lists(rules, max_size=3),
    st.lists(st.builds(ApprovedPatch, texts, levels), max_size=3),
    st.lists(st.builds(RejectedPatch, texts, st.sampled_from(RejectAction)), max_size=3),
    st.lists(st.builds(CustomPackage, texts, texts, texts, levels), max_size=3),
)
def test_a_baseline_comes_back_from_the_wire_as_it_was(
    some: list[Rule], approved: list[ApprovedPatch], rejected: list[RejectedPatch], custom: list[CustomPackage]
) -> None:
    baseline = Baseline(
        "",
        "Mine",
        ResourceType.BMS,
        "CentOS",
        tuple(some),
        description="two\nlines",
        approved=tuple(approved),
        rejected=tuple(rejected),
        custom=tuple(custom),
    )
    checks = Checks()
    assert (
        translate_baseline.baseline(translate_baseline.baseline_message(baseline, is_default=False), checks) == baseline
    )
    checks.done()


def test_a_rule_without_approval_and_one_with_a_wrong_date_are_named() -> None:
    sent = baseline_pb2.Baseline(
        name="Mine",
        operating_system="CentOS",
        rules=[baseline_pb2.BaselineRule(), baseline_pb2.BaselineRule(approve_until="2026-02-30")],
    )
    checks = Checks()
    translate_baseline.baseline(sent, checks)
    assert [v.field for v in checks.violations] == [
        "baseline.scenario",
        "baseline.rules[0].approval",
        "baseline.rules[1].approve_until",
    ]


def test_every_field_of_a_baseline_goes_out() -> None:
    baseline = Baseline(
        "b-1",
        "Mine",
        ResourceType.BMS,
        "CentOS",
        (a_rule(),),
        version=3,
        description="why",
        public=True,
        created_by="ann",
        created_at=NOW,
        approved=(ApprovedPatch("bash"),),
        rejected=(RejectedPatch("httpd"),),
        custom=(CustomPackage("bash", "4.2", "1"),),
    )
    message = translate_baseline.baseline_message(baseline, is_default=True)
    assert {f.name for f, _ in message.ListFields()} == {f.name for f in message.DESCRIPTOR.fields}


def test_what_is_wrong_with_lists_and_custom_packages_is_named_by_row() -> None:
    sent = baseline_pb2.Baseline(
        name="Mine",
        scenario=types_pb2.RESOURCE_TYPE_ECS,
        operating_system="CentOS",
        approved_patches=[
            baseline_pb2.ApprovedPatch(entry="bash"),
            baseline_pb2.ApprovedPatch(compliance_level=9),  # type: ignore[arg-type]
        ],
        rejected_patches=[baseline_pb2.RejectedPatch(entry="a\x1b[31m", action=5)],  # type: ignore[arg-type]
        custom_packages=[baseline_pb2.CustomPackage(name="n" * 257)] * 1001,
    )
    checks = Checks()
    read = translate_baseline.baseline(sent, checks)
    assert len(read.custom) == 1000
    wrong = [v.field for v in checks.violations]
    assert wrong[:7] == [
        "baseline.approved_patches[1].entry",
        "baseline.approved_patches[1].compliance_level",
        "baseline.rejected_patches[0].entry",
        "baseline.rejected_patches[0].action",
        "baseline.custom_packages",
        "baseline.custom_packages[0].name",
        "baseline.custom_packages[0].version",
    ]
    assert wrong[-1] == "baseline.custom_packages[999].release"


def test_an_action_that_is_not_said_only_keeps_from_being_required() -> None:
    sent = baseline_pb2.Baseline(rejected_patches=[baseline_pb2.RejectedPatch(entry="httpd")])
    assert translate_baseline.baseline(sent, Checks()).rejected == (RejectedPatch("httpd"),)


@given(
    st.builds(
        an_exception,
        scope=st.sampled_from(ExceptionScope),
        scope_value=texts,
        match=st.sampled_from(ExceptionMatch),
        match_value=texts,
        reason=texts,
        approver=texts,
    )
)
def test_an_exception_comes_back_from_the_wire_as_it_was(exception: PatchException) -> None:
    checks = Checks()
    sent = translate_baseline.exception_message(exception)
    read = translate_baseline.exception(sent, checks, exception.created_at, "somebody else")
    assert dataclasses.replace(read, id=exception.id) == exception
    checks.done()


def test_every_field_of_an_exception_and_of_an_assignment_goes_out() -> None:
    exception = translate_baseline.exception_message(an_exception(scope_value="web", revoked_at=NOW))
    assignment = translate_baseline.assignment_message(an_assignment(), "CentOS-Default")
    for message in (exception, assignment):
        assert {f.name for f, _ in message.ListFields()} == {f.name for f in message.DESCRIPTOR.fields}


def test_an_exception_without_approver_is_the_callers_and_one_without_a_time_to_end_is_refused() -> None:
    checks = Checks()
    read = translate_baseline.exception(baseline_pb2.PatchException(), checks, NOW, "ann")
    assert read.approver == "ann"
    assert [v.field for v in checks.violations] == [
        "exception.scope",
        "exception.match",
        "exception.match_value",
        "exception.reason",
        "exception.expires_at",
    ]
    assert "allowed are INSTANCE, GROUP, ALL" in checks.violations[0].description
    checks = Checks()
    sent = baseline_pb2.PatchException(expires_at=Timestamp(seconds=2**60))
    translate_baseline.exception(sent, checks, NOW, "ann")
    assert "between the years 1 and 9999" in checks.violations[-1].description


def test_R16_an_instance_says_which_baseline_decides_and_why() -> None:
    answer = an_assessment(1, inputs=Inputs(baseline_id="b-1", baseline_version=3), baseline_source="group")
    message = translate_fleet.instance_message(an_instance(), Presence(AgentState.ONLINE), answer, None)
    assert message.baseline_name == answer.baseline_name
    assert (message.baseline_version, message.baseline_source) == (3, "group")


def test_an_instance_says_where_its_agent_is_what_its_answer_is_and_why_it_cannot_be_selected() -> None:
    undetermined = Undetermined(Reason.REPO_ERROR, "updates: timeout", "mend the repository")
    message = translate_fleet.instance_message(
        an_instance(),
        Presence(AgentState.OFFLINE, NOW),
        an_assessment(1, InstanceStatus.UNDETERMINED, reasons=(undetermined,)),
        (NotSelectableReason.AGENT, "UniAgent is OFFLINE; start it"),
    )
    assert message.agent_state == types_pb2.AGENT_STATE_OFFLINE
    assert message.agent_since.ToDatetime(UTC) == NOW
    assert list(message.reasons) == [types_pb2.UNDETERMINED_REASON_REPO_ERROR]
    assert message.not_selectable == types_pb2.NOT_SELECTABLE_REASON_AGENT
    assert message.not_selectable_help == "UniAgent is OFFLINE; start it"
    assert dict(message.tags) == {"env": "test"}


def test_only_the_fields_of_the_mask_change_and_from_then_on_the_agents_words_do_not_count() -> None:
    request = fleet_pb2.UpdateInstanceRequest(
        values=fleet_pb2.Instance(region="cn-east", name="ignored", tags={"a": "b"}, stopped=True)
    )
    request.update_mask.paths.extend(["region", "tags", "stopped"])
    changed = translate_fleet.edit(an_instance(), request)
    assert changed == dataclasses.replace(
        an_instance(), region="cn-east", tags={"a": "b"}, stopped=True, edited=frozenset({"region", "tags"})
    )


@pytest.mark.parametrize(
    ("paths", "values", "field"),
    [
        ([], {}, "update_mask"),
        (["id"], {}, "update_mask"),
        (["status"], {}, "update_mask"),
        (["name"], {"name": ""}, "values.name"),
        (["name"], {"name": "x" * 65}, "values.name"),
        (["region"], {"region": "a\x1b[31m"}, "values.region"),
        (["zone"], {"zone": "a\u202eb"}, "values.zone"),
        (["resource_type"], {}, "values.resource_type"),
        (["resource_type"], {"resource_type": 44}, "values.resource_type"),
        (["tags"], {"tags": {"": "x"}}, "values.tags['']"),
        (["tags"], {"tags": {"a=b": "x"}}, "values.tags['a=b']"),
        (["tags"], {"tags": {str(n): "x" for n in range(51)}}, "values.tags"),
    ],
)
def test_an_edit_that_cannot_be_is_refused_by_field(paths: list[str], values: dict[str, object], field: str) -> None:
    request = fleet_pb2.UpdateInstanceRequest(values=fleet_pb2.Instance(**values))  # type: ignore[arg-type]
    request.update_mask.paths.extend(paths)
    with pytest.raises(InvalidArgument) as refused:
        translate_fleet.edit(an_instance(), request)
    assert refused.value.violations[0].field == field


def test_a_placement_comes_back_from_the_wire_as_it_was() -> None:
    placement = Placement("web-1", "cn-east", "a", "shop", "BMS", "web", {"k": "v"})
    checks = Checks()
    assert translate_fleet.placement(translate_fleet.placement_message(placement), checks) == placement
    checks.done()


def test_nothing_secret_of_a_token_goes_out() -> None:
    token = an_enrolment_token(used_by=instance_id(1), used_at=NOW)
    message = translate_fleet.enrolment_token_message(token)
    assert token.secret_hash not in message.SerializeToString()
    assert message.used_by_instance_id == instance_id(1)
    assert not message.HasField("revoked_at")


def test_a_ticket_and_its_runs_say_everything() -> None:
    message = translate_ticket.ticket_message(a_ticket(batches=[2, 1]), NOW)
    assert [b.number for b in message.batches] == [1, 2]
    assert message.counts.ready == 3
    assert message.stops_at == 1  # 80 % of 3
    assert message.executed_by == "root"
    assert not message.HasField("ended_at")
    run = Run(instance_id(1), "ecs-0001", 1, RunState.ABNORMAL, Outcome.TIMEOUT, "silent", 2, NOW, NOW, NOW)
    sent = translate_ticket.run_message(a_ticket().id, run, "")
    assert sent.id == f"T-1/{instance_id(1)}/2"
    assert (sent.state, sent.outcome, sent.attempt) == (
        ticket_pb2.RUN_STATE_ABNORMAL,
        ticket_pb2.RUN_OUTCOME_TIMEOUT,
        2,
    )


def test_R14_every_piece_of_evidence_goes_out() -> None:
    item = Item(
        status=PatchStatus.MISSING,
        name="openssl-libs",
        arch="x86_64",
        installed=Evr(1, "1.0.2k", "19.el7"),
        level=Level.CRITICAL,
        required=Evr(0, "1.0.2k", "26.el7_9"),
        reason="HELD(versionlock)",
        category=Category.SECURITY,
        severity=Severity.IMPORTANT,
        advisories=("CESA-2023:1335",),
        cves=("CVE-2023-0286",),
        rule=1,
        clause="Security",
        date_basis=DateBasis.BUILD_TIME,
        basis_date=date(2023, 3, 20),
        approved_on=date(2023, 3, 27),
        repository="updates",
        metadata_at=NOW,
        hold="versionlock",
        first_non_compliant_at=NOW,
        last_attempt_at=NOW,
        last_error_class="DEPSOLVE",
        why="because",
        available_security=Evr(1, "1.0.2k", "27.el7_9"),
    )
    message = translate_report.item_message(item)
    assert {f.name for f, _ in message.ListFields()} == {f.name for f in message.DESCRIPTOR.fields}
    assert (message.installed, message.required) == ("1:1.0.2k-19.el7", "1.0.2k-26.el7_9")
    assert (message.date_basis, message.date, message.approved_on) == ("build_time", "2023-03-20", "2023-03-27")


def test_R1_the_five_inputs_go_out_with_every_report() -> None:
    inputs = Inputs("aa", "bb", "cc", "b-1", 3, 4, NOW)
    counts = StatusCounts(*range(1, 10))
    message = translate_report.report_message(
        an_instance(), an_assessment(1, inputs=inputs, counts=counts, level=Level.HIGH, ticket_id="T-1")
    )
    assert {f.name for f, _ in message.inputs.ListFields()} == {f.name for f in message.inputs.DESCRIPTOR.fields}
    assert {f.name for f, _ in message.counts.ListFields()} == {f.name for f in message.counts.DESCRIPTOR.fields}
    assert not message.items


def test_an_answer_without_a_baseline_can_be_said() -> None:
    nothing = Undetermined(Reason.NO_BASELINE, "no baseline", "make one")
    answer = Assessment(instance_id(1), InstanceStatus.UNDETERMINED, Inputs(), (nothing,))
    message = translate_report.report_message(an_instance(), answer)
    assert message.reasons[0].reason == types_pb2.UNDETERMINED_REASON_NO_BASELINE
    assert not message.HasField("collected_at")


def test_instants_keep_their_microseconds_and_their_zone() -> None:
    at = datetime(2026, 11, 22, 1, 2, 3, 456789, UTC)
    made = translate.timestamp(at)
    assert made is not None
    assert made.ToDatetime(UTC) == at


def test_a_rule_of_the_builders_survives() -> None:
    checks = Checks()
    baseline = Baseline("", "Mine", ResourceType.ECS, "CentOS", (a_rule(),))
    assert translate_baseline.baseline(
        translate_baseline.baseline_message(baseline, is_default=True), checks
    ).rules == (a_rule(),)


def test_accounts_users_tokens_and_agencies_are_told_whole_and_a_token_s_hash_is_not() -> None:
    account = Account("acme", NOW, "admin", "the other one")
    user = a_user(enterprise_projects=("bank",), created_by="lin", disabled_at=NOW, disabled_by="lin")
    token = an_operator_token(
        created_by="lin", note="ci", expires_at=NOW, last_used_at=NOW, revoked_at=NOW, revoked_by="lin"
    )
    agency = Agency("acme", "scans", "default", AgencyPermission.SCAN, NOW, "lin", NOW, NOW, "bob")
    messages = (
        translate_account.account_message(account),
        translate_account.user_message(user),
        translate_account.token_message(token),
        translate_account.agency_message(agency, "acme"),
    )
    for message in messages:
        said, there = {f.name for f, _ in message.ListFields()}, {f.name for f in message.DESCRIPTOR.fields}
        assert said | {"management"} == there | {"management"}
    assert translate_account.account_message(Account("default")).management
    assert not messages[0].management
    assert token.secret_hash not in messages[2].SerializeToString()
    seen_by_the_other = translate_account.agency_message(agency, "default")
    assert (seen_by_the_other.created_by, seen_by_the_other.revoked_by) == ("", "")
    assert seen_by_the_other.permission == account_pb2.AGENCY_PERMISSION_SCAN


@given(
    seconds=st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-62_135_596_801, 253_402_300_800),
    nanos=st.integers(-(1 << 31), (1 << 31) - 1) | st.integers(-1, 1_000_000_000),
)
def test_a_time_of_an_agent_is_read_as_protobuf_reads_it(seconds: int, nanos: int) -> None:
    said = Timestamp(seconds=seconds, nanos=nanos)
    try:
        expected = said.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        with pytest.raises(InvalidArgument):
            time_of("now", said)
    else:
        assert time_of("now", said) == expected
