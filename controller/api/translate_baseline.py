"""Baselines: messages to records and back. Whether a baseline makes sense is compliance/baseline.py's question, not asked here."""

from __future__ import annotations

from datetime import date
from typing import Final

from common.pb.v1 import baseline_pb2
from controller.api.checks import MAX_REFERENCE, Checks
from controller.api.translate import CATEGORY, DATE_BASIS, LEVEL, RESOURCE_TYPE, SEVERITY, timestamp
from controller.compliance.model import ALL_PRODUCTS, Baseline, DateBasis, Level, Rule
from controller.fleet.model import ResourceType

MAX_RULES: Final = 100
MAX_PRODUCTS: Final = 100


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
    )


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
