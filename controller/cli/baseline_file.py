"""A baseline as a YAML file: what `baseline show --output yaml` writes, `baseline create -f` reads.

name: web-strict
operating_system: CentOS
rules:
  - products: [CentOS 7.9]
    categories: [SECURITY]
    severities: [CRITICAL, IMPORTANT]
    approve_after_days: 7
    compliance_level: HIGH
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, Final

from common.pb.v1 import baseline_pb2, types_pb2
from controller.cli.command import Misuse
from controller.cli.words import word

_DOCUMENT: Final = ("name", "description", "scenario", "operating_system", "rules")
_RULE: Final = (
    "products",
    "categories",
    "severities",
    "approve_after_days",
    "approve_until",
    "date_basis",
    "compliance_level",
    "include_without_advisory",
)
_LARGEST: Final = 2**32 - 1


def baseline_of(document: object) -> baseline_pb2.Baseline:
    """Return the baseline that a YAML document describes; raise Misuse that names the key that is wrong, as the API would."""
    table = _table("", document, _DOCUMENT)
    baseline = baseline_pb2.Baseline(
        name=_text("name", table.get("name")),
        description=_text("description", table.get("description")),
        scenario=_value("scenario", table.get("scenario"), types_pb2.ResourceType),
        operating_system=_text("operating_system", table.get("operating_system")),
    )
    rules = table.get("rules")
    if rules is not None and not isinstance(rules, list):
        raise Misuse("rules: must be a list")
    baseline.rules.extend(_rule(f"rules[{i}]", entry) for i, entry in enumerate(rules or ()))
    return baseline


def document_of(baseline: baseline_pb2.Baseline) -> dict[str, Any]:
    """Return what `baseline_of` reads, in the order in which people write it."""
    document: dict[str, Any] = {"name": baseline.name}
    if baseline.description:
        document["description"] = baseline.description
    if scenario := word(types_pb2.ResourceType, baseline.scenario):
        document["scenario"] = scenario
    document["operating_system"] = baseline.operating_system
    document["rules"] = [_rule_document(rule) for rule in baseline.rules]
    return document


def _rule_document(rule: baseline_pb2.BaselineRule) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if rule.products:
        document["products"] = list(rule.products)
    if rule.categories:
        document["categories"] = [word(types_pb2.Category, value) for value in rule.categories]
    if rule.severities:
        document["severities"] = [word(types_pb2.Severity, value) for value in rule.severities]
    match rule.WhichOneof("approval"):
        case "approve_after_days":
            document["approve_after_days"] = rule.approve_after_days
        case "approve_until":
            document["approve_until"] = rule.approve_until
    if basis := word(baseline_pb2.DateBasis, rule.date_basis):
        document["date_basis"] = basis
    if level := word(types_pb2.ComplianceLevel, rule.compliance_level):
        document["compliance_level"] = level
    if rule.include_without_advisory:
        document["include_without_advisory"] = True
    return document


def _rule(at: str, entry: object) -> baseline_pb2.BaselineRule:
    table = _table(f"{at}.", entry, _RULE)
    if table.get("approve_after_days") is not None and table.get("approve_until") is not None:
        raise Misuse(f"{at}: give approve_after_days or approve_until, not both")
    rule = baseline_pb2.BaselineRule(
        products=_list(f"{at}.products", table.get("products"), _text),
        categories=_list(f"{at}.categories", table.get("categories"), _of(types_pb2.Category)),
        severities=_list(f"{at}.severities", table.get("severities"), _of(types_pb2.Severity)),
        date_basis=_value(f"{at}.date_basis", table.get("date_basis"), baseline_pb2.DateBasis),
        compliance_level=_value(f"{at}.compliance_level", table.get("compliance_level"), types_pb2.ComplianceLevel),
        include_without_advisory=_flag(f"{at}.include_without_advisory", table.get("include_without_advisory")),
    )
    if (days := table.get("approve_after_days")) is not None:
        rule.approve_after_days = _days(f"{at}.approve_after_days", days)
    if (until := table.get("approve_until")) is not None:
        rule.approve_until = _date(f"{at}.approve_until", until)
    return rule


def _table(prefix: str, value: object, known: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Misuse(f"{prefix.rstrip('.') or 'the file'}: must have keys, as in name: ...")
    if unknown := [str(key) for key in value if key not in known]:
        raise Misuse(f"{', '.join(prefix + key for key in unknown)}: unknown; known are {', '.join(known)}")
    return value


def _text(at: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Misuse(f"{at}: must be a text, put {value!r} in quotes")
    return value


def _list(at: str, value: object, read: Callable[[str, object], Any]) -> list[Any]:
    if value is None:
        return []
    entries = value if isinstance(value, list) else [value]
    return [read(f"{at}[{i}]", entry) for i, entry in enumerate(entries)]


def _of(kind: object) -> Callable[[str, object], Any]:
    return lambda at, value: _value(at, value, kind)


def _value(at: str, value: object, kind: Any) -> Any:
    if value is None:
        return 0
    known = {word(kind, number): number for number in kind.values()}
    if isinstance(value, str) and value.strip().upper() in known and value.strip():
        return known[value.strip().upper()]
    raise Misuse(f"{at}: {value!r} is unknown; known are {', '.join(filter(None, known))}")


def _flag(at: str, value: object) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise Misuse(f"{at}: must be true or false")


def _days(at: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
        raise Misuse(f"{at}: {value!r} is not a number of days, allowed 0 to 365")
    return value


def _date(at: str, value: object) -> str:
    if isinstance(value, date) and not isinstance(value, datetime):  # YAML reads 2026-11-22 as a date
        return value.isoformat()
    return _text(at, value)
