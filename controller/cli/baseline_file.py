"""A baseline as a YAML file: what `baseline show --output yaml` writes, `baseline create -f` reads.

name: web-strict
operating_system: CentOS
rules:
  - products: [CentOS 7.9]
    categories: [SECURITY]
    severities: [CRITICAL, IMPORTANT]
    approve_after_days: 7
    compliance_level: HIGH
approved_patches: ["kernel*", {entry: CVE-2023-0286, compliance_level: HIGH}]
rejected_patches: [httpd, {entry: telnet, action: BLOCK}]

A custom baseline has custom_packages instead: [{name: bash, version: 4.2.46, release: 34.el7}], or rows in a CSV file.
Its names are rpm's, where case matters; entries of the two lists mean packages in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from common.pb.v1 import baseline_pb2, types_pb2
from controller.cli.command import Misuse
from controller.cli.options import read_text, read_yaml
from controller.cli.words import word

_DOCUMENT: Final = (
    "name",
    "description",
    "scenario",
    "operating_system",
    "rules",
    "approved_patches",
    "rejected_patches",
    "custom_packages",
)
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
_APPROVED: Final = ("entry", "compliance_level")
_REJECTED: Final = ("entry", "action")
_CUSTOM: Final = ("name", "version", "release", "compliance_level")
_LARGEST: Final = 2**32 - 1


def read_baseline(file: Path, csv: Path | None = None) -> baseline_pb2.Baseline:
    """Return the baseline in a YAML file, with the rows of a CSV file as its custom packages; raise Misuse for what is wrong."""
    if csv is not None and str(csv) == str(file) == "-":
        raise Misuse("--csv: stdin cannot be both files")
    baseline = baseline_of(read_yaml("--file", file))
    if csv is not None:
        if baseline.custom_packages:
            raise Misuse("--csv: the file has custom_packages already; give the one or the other")
        baseline.custom_packages.extend(custom_rows(str(csv), read_text("--csv", csv)))
    return baseline


def baseline_of(document: object) -> baseline_pb2.Baseline:
    """Return the baseline that a YAML document describes; raise Misuse that names the key that is wrong, as the API would."""
    table = _table("", document, _DOCUMENT)
    baseline = baseline_pb2.Baseline(
        name=_text("name", table.get("name")),
        description=_text("description", table.get("description")),
        scenario=_value("scenario", table.get("scenario"), types_pb2.ResourceType),
        operating_system=_text("operating_system", table.get("operating_system")),
    )
    baseline.rules.extend(_rule(at, entry) for at, entry in _rows(table, "rules"))
    baseline.approved_patches.extend(_approved(at, entry) for at, entry in _rows(table, "approved_patches"))
    baseline.rejected_patches.extend(_rejected(at, entry) for at, entry in _rows(table, "rejected_patches"))
    baseline.custom_packages.extend(_custom(at, entry) for at, entry in _rows(table, "custom_packages"))
    return baseline


def custom_rows(name: str, text: str) -> list[baseline_pb2.CustomPackage]:
    """Return the rows of a CSV file for a custom baseline; raise Misuse that names each row that is wrong by its number."""
    from controller.compliance.custom import custom_from_csv

    rows, wrong = custom_from_csv(text)
    if wrong:
        raise Misuse("\n  ".join([f"{name} cannot be taken:", *(f"{v.field}: {v.description}" for v in wrong)]))
    return [
        baseline_pb2.CustomPackage(
            name=row.name,
            version=row.version,
            release=row.release,
            compliance_level=types_pb2.ComplianceLevel.Value(f"COMPLIANCE_LEVEL_{row.level.name}"),
        )
        for row in rows
    ]


def document_of(baseline: baseline_pb2.Baseline) -> dict[str, Any]:
    """Return what `baseline_of` reads, in the order in which people write it."""
    document: dict[str, Any] = {"name": baseline.name}
    if baseline.description:
        document["description"] = baseline.description
    if scenario := word(types_pb2.ResourceType, baseline.scenario):
        document["scenario"] = scenario
    document["operating_system"] = baseline.operating_system
    if baseline.custom_packages:
        document["custom_packages"] = [
            {"name": row.name, "version": row.version, "release": row.release} | _level_of(row.compliance_level)
            for row in baseline.custom_packages
        ]
    if baseline.rules or not baseline.custom_packages:
        document["rules"] = [_rule_document(rule) for rule in baseline.rules]
    if baseline.approved_patches:
        document["approved_patches"] = [
            {"entry": row.entry} | level if (level := _level_of(row.compliance_level)) else row.entry
            for row in baseline.approved_patches
        ]
    if baseline.rejected_patches:
        document["rejected_patches"] = [
            {"entry": row.entry, "action": "BLOCK"} if row.action == baseline_pb2.REJECT_ACTION_BLOCK else row.entry
            for row in baseline.rejected_patches
        ]
    return document


def _level_of(level: types_pb2.ComplianceLevel.ValueType) -> dict[str, str]:
    said = word(types_pb2.ComplianceLevel, level)
    return {"compliance_level": said} if said else {}


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
    document |= _level_of(rule.compliance_level)
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


def _approved(at: str, entry: object) -> baseline_pb2.ApprovedPatch:
    table = {"entry": entry} if isinstance(entry, str) else _table(f"{at}.", entry, _APPROVED)
    return baseline_pb2.ApprovedPatch(
        entry=_text(f"{at}.entry", table.get("entry")),
        compliance_level=_value(f"{at}.compliance_level", table.get("compliance_level"), types_pb2.ComplianceLevel),
    )


def _rejected(at: str, entry: object) -> baseline_pb2.RejectedPatch:
    table = {"entry": entry} if isinstance(entry, str) else _table(f"{at}.", entry, _REJECTED)
    return baseline_pb2.RejectedPatch(
        entry=_text(f"{at}.entry", table.get("entry")),
        action=_value(f"{at}.action", table.get("action"), baseline_pb2.RejectAction),
    )


def _custom(at: str, entry: object) -> baseline_pb2.CustomPackage:
    table = _table(f"{at}.", entry, _CUSTOM)
    return baseline_pb2.CustomPackage(
        name=_text(f"{at}.name", table.get("name")),
        version=_text(f"{at}.version", table.get("version")),
        release=_text(f"{at}.release", table.get("release")),
        compliance_level=_value(f"{at}.compliance_level", table.get("compliance_level"), types_pb2.ComplianceLevel),
    )


def _rows(table: Mapping[str, Any], key: str) -> list[tuple[str, object]]:
    rows = table.get(key)
    if rows is not None and not isinstance(rows, list):
        raise Misuse(f"{key}: must be a list")
    return [(f"{key}[{number}]", entry) for number, entry in enumerate(rows or ())]


def _table(prefix: str, value: object, known: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        empty = "; it is empty" if value is None else ""
        said = f"must have keys, as in {known[0]}: ...{empty}; known are {', '.join(known)}"
        raise Misuse(f"{prefix.rstrip('.') or 'the file'}: {said}")
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
