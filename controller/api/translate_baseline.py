"""Baselines, their assignments and exceptions: messages to records and back.

Whether a baseline or an exception makes sense is the question of compliance/, not asked here.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime
from enum import Enum
from typing import Final, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from common.pb.v1 import baseline_pb2, types_pb2
from controller.api.checks import MAX_REFERENCE, Checks
from controller.api.translate import (
    ASSIGNMENT_SCOPE,
    CATEGORY,
    DATE_BASIS,
    EXCEPTION_MATCH,
    EXCEPTION_SCOPE,
    LEVEL,
    REJECT_ACTION,
    RESOURCE_TYPE,
    SEVERITY,
    Words,
    timestamp,
)
from controller.compliance.model import (
    ALL_PRODUCTS,
    ApprovedPatch,
    Assignment,
    AssignmentScope,
    Baseline,
    CustomPackage,
    DateBasis,
    ExceptionMatch,
    ExceptionScope,
    Level,
    PatchException,
    RejectAction,
    RejectedPatch,
    Rule,
)
from controller.fleet.model import ResourceType

E = TypeVar("E", bound=Enum)
V = TypeVar("V", bound=int)
R = TypeVar("R")

MAX_RULES: Final = 100
MAX_PRODUCTS: Final = 100
MAX_ROWS: Final = 1000
"""Entries of a list, rows of a custom baseline."""
MAX_ENTRY: Final = 256
"""Characters of an entry, and of a package's name, version or release."""


def baseline(sent: baseline_pb2.Baseline, checks: Checks) -> Baseline:
    """Read a baseline that somebody wants; id, version and whose it is are set by the caller. What is wrong is noted."""
    scenario = RESOURCE_TYPE.read_optional(checks, "baseline.scenario", sent.scenario)
    if scenario is None and not sent.scenario:
        checks.refuse("baseline.scenario", f"is missing, allowed are {', '.join(ResourceType)}")
    if len(sent.rules) > MAX_RULES:
        checks.refuse("baseline.rules", f"has {len(sent.rules)} rules, allowed are {MAX_RULES}")
    return Baseline(
        id="",
        name=checks.text("baseline.name", sent.name, 100, least=3),
        scenario=scenario or ResourceType.ECS,
        operating_system=checks.text("baseline.operating_system", sent.operating_system, MAX_REFERENCE, least=1),
        rules=tuple(_rule(r, checks, f"baseline.rules[{i}]") for i, r in enumerate(sent.rules[:MAX_RULES])),
        description=checks.text("baseline.description", sent.description, 1000, lines=True),
        approved=tuple(
            ApprovedPatch(_entry(checks, field, row.entry), _level(checks, field, row.compliance_level))
            for field, row in _rows(checks, "baseline.approved_patches", sent.approved_patches)
        ),
        rejected=tuple(
            RejectedPatch(
                _entry(checks, field, row.entry),
                REJECT_ACTION.read(checks, f"{field}.action", row.action, RejectAction.ALLOW_AS_DEPENDENCY),
            )
            for field, row in _rows(checks, "baseline.rejected_patches", sent.rejected_patches)
        ),
        custom=tuple(
            CustomPackage(
                checks.text(f"{field}.name", row.name, MAX_ENTRY, least=1),
                checks.text(f"{field}.version", row.version, MAX_ENTRY, least=1),
                checks.text(f"{field}.release", row.release, MAX_ENTRY, least=1),
                _level(checks, field, row.compliance_level),
            )
            for field, row in _rows(checks, "baseline.custom_packages", sent.custom_packages)
        ),
    )


def baseline_message(read: Baseline, *, is_default: bool) -> baseline_pb2.Baseline:
    """Return a baseline as a message."""
    return baseline_pb2.Baseline(
        id=read.id,
        name=read.name,
        description=read.description,
        scenario=RESOURCE_TYPE.to_wire(read.scenario),
        operating_system=read.operating_system,
        version=read.version,
        public=read.public,
        is_default=is_default,
        rules=[_rule_message(r) for r in read.rules],
        created_at=timestamp(read.created_at),
        created_by=read.created_by,
        approved_patches=[
            baseline_pb2.ApprovedPatch(entry=p.entry, compliance_level=LEVEL.to_wire(p.level)) for p in read.approved
        ],
        rejected_patches=[
            baseline_pb2.RejectedPatch(entry=p.entry, action=REJECT_ACTION.to_wire(p.action)) for p in read.rejected
        ],
        custom_packages=[
            baseline_pb2.CustomPackage(
                name=p.name, version=p.version, release=p.release, compliance_level=LEVEL.to_wire(p.level)
            )
            for p in read.custom
        ],
    )


def assignment_scope(sent: int, checks: Checks) -> AssignmentScope | None:
    """Read for whom a baseline is assigned; a missing one is noted."""
    return _needed(ASSIGNMENT_SCOPE, sent, checks, "scope")


def assignment_message(read: Assignment, baseline_name: str) -> baseline_pb2.BaselineAssignment:
    """Return an assignment as a message; those of scope DEFAULT have none."""
    return baseline_pb2.BaselineAssignment(
        scope=ASSIGNMENT_SCOPE.to_wire(read.scope),
        value=read.value,
        baseline_id=read.baseline_id,
        baseline_name=baseline_name,
        scenario=RESOURCE_TYPE.to_wire(read.scenario),
        operating_system=read.operating_system,
        assigned_at=timestamp(read.since),
        assigned_by=read.assigned_by,
    )


def exception(sent: baseline_pb2.PatchException, checks: Checks, now: datetime, caller: str) -> PatchException:
    """Read an exception that somebody wants from now on; its id is set by the caller. What is wrong is noted.

    `scope_value` is as it was sent.
    """
    field = "exception"
    return PatchException(
        id="",
        scope=_needed(EXCEPTION_SCOPE, sent.scope, checks, f"{field}.scope") or ExceptionScope.ALL,
        scope_value=sent.scope_value,
        match=_needed(EXCEPTION_MATCH, sent.match, checks, f"{field}.match") or ExceptionMatch.PACKAGE,
        match_value=checks.text(f"{field}.match_value", sent.match_value, MAX_ENTRY, least=1),
        reason=checks.text(f"{field}.reason", sent.reason.strip(), 500, least=1, lines=True),
        approver=checks.text(f"{field}.approver", sent.approver, MAX_REFERENCE) or caller,
        created_at=now,
        expires_at=_instant(sent.expires_at if sent.HasField("expires_at") else None, checks, f"{field}.expires_at"),
    )


def exception_message(read: PatchException) -> baseline_pb2.PatchException:
    """Return an exception as a message."""
    return baseline_pb2.PatchException(
        id=read.id,
        scope=EXCEPTION_SCOPE.to_wire(read.scope),
        scope_value=read.scope_value,
        match=EXCEPTION_MATCH.to_wire(read.match),
        match_value=read.match_value,
        reason=read.reason,
        approver=read.approver,
        created_at=timestamp(read.created_at),
        expires_at=timestamp(read.expires_at),
        revoked_at=timestamp(read.revoked_at),
    )


def _instant(sent: Timestamp | None, checks: Checks, field: str) -> datetime:
    if sent is None:
        checks.refuse(field, "is missing: an exception ends by itself, say when")
    else:
        try:
            return sent.ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError):
            checks.refuse(field, "is not an instant between the years 1 and 9999")
    return datetime.max.replace(tzinfo=UTC)


def _rows(checks: Checks, field: str, rows: Collection[R]) -> list[tuple[str, R]]:
    """Number the rows of a list; of one that is too long only so many are read."""
    if len(rows) > MAX_ROWS:
        checks.refuse(field, f"has {len(rows)} rows, allowed are {MAX_ROWS}")
    return [(f"{field}[{number}]", row) for number, row in zip(range(MAX_ROWS), rows, strict=False)]


def _entry(checks: Checks, field: str, entry: str) -> str:
    return checks.text(f"{field}.entry", entry, MAX_ENTRY, least=1)


def _level(checks: Checks, field: str, level: types_pb2.ComplianceLevel.ValueType) -> Level:
    return LEVEL.read(checks, f"{field}.compliance_level", level, Level.UNSPECIFIED)


def _needed(words: Words[E, V], sent: int, checks: Checks, field: str) -> E | None:
    found = words.read_optional(checks, field, sent)
    if found is None and not sent:
        allowed = (e.name for e in words.kind if e not in words.unsaid)
        checks.refuse(field, f"is missing, allowed are {', '.join(allowed)}")
    return found


def _rule(sent: baseline_pb2.BaselineRule, checks: Checks, field: str) -> Rule:
    days: int | None = None
    until: date | None = None
    match sent.WhichOneof("approval"):
        case "approve_after_days":
            days = checks.number(f"{field}.approve_after_days", sent.approve_after_days, 0, 365)
        case "approve_until":
            until = _date(sent.approve_until, checks, f"{field}.approve_until")
        case _:
            checks.refuse(
                f"{field}.approval", "is missing: set approve_after_days (0 to 365) or approve_until (YYYY-MM-DD)"
            )
    return Rule(
        products=checks.texts(f"{field}.products", sent.products, MAX_PRODUCTS, MAX_REFERENCE) or (ALL_PRODUCTS,),
        categories=CATEGORY.read_all(checks, f"{field}.categories", sent.categories),
        severities=SEVERITY.read_all(checks, f"{field}.severities", sent.severities),
        approve_after_days=days,
        approve_until=until,
        date_basis=DATE_BASIS.read(checks, f"{field}.date_basis", sent.date_basis, DateBasis.ISSUED),
        level=LEVEL.read(checks, f"{field}.compliance_level", sent.compliance_level, Level.UNSPECIFIED),
        include_without_advisory=sent.include_without_advisory,
    )


def _date(text: str, checks: Checks, field: str) -> date | None:
    try:
        if len(text) != len("YYYY-MM-DD"):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        checks.refuse(field, f"{text[:40]!r} is not a date, write it like 2026-11-22")
        return None


def _rule_message(rule: Rule) -> baseline_pb2.BaselineRule:
    made = baseline_pb2.BaselineRule(
        products=rule.products,
        categories=[CATEGORY.to_wire(c) for c in rule.categories],
        severities=[SEVERITY.to_wire(s) for s in rule.severities],
        date_basis=DATE_BASIS.to_wire(rule.date_basis),
        compliance_level=LEVEL.to_wire(rule.level),
        include_without_advisory=rule.include_without_advisory,
    )
    if rule.approve_until is not None:
        made.approve_until = rule.approve_until.isoformat()
    else:
        made.approve_after_days = rule.approve_after_days or 0
    return made
