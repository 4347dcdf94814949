"""Baselines as people write them: YAML or JSON documents, checked whole, with every wrong field named (SEMANTICS §1)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from enum import Enum
from typing import Any, Final, TypeVar

from common.errors import InvalidArgument, Violation
from controller.compliance.custom import custom_from_csv, custom_violations, level_of
from controller.compliance.entries import is_for_packages
from controller.compliance.model import (
    ALL_PRODUCTS,
    ApprovedPatch,
    Baseline,
    Category,
    CustomPackage,
    DateBasis,
    Level,
    RejectAction,
    RejectedPatch,
    Rule,
    Severity,
)
from controller.fleet import products
from controller.fleet.model import ResourceType

__all__ = ["clause", "custom_from_csv", "parse", "to_document", "violations"]

MAX_RULES: Final = 10
MAX_DAYS: Final = 365
MAX_PRODUCTS: Final = 100
MAX_DESCRIPTION: Final = 1000
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{3,100}")
MAX_LIST: Final = 1000
MAX_ENTRY: Final = 256
_ENTRY: Final = re.compile(r"[^\s\x00-\x1f\x7f,;'\"]+")
_FIELDS: Final = (
    "name",
    "description",
    "scenario",
    "operating_system",
    "rules",
    "approved_patches",
    "rejected_patches",
    "custom_packages",
)
_RULE_FIELDS: Final = (
    "products",
    "categories",
    "severities",
    "approve_after_days",
    "approve_until",
    "date_basis",
    "compliance_level",
    "include_without_advisory",
)
_RULE_BASES: Final = (DateBasis.ISSUED, DateBasis.UPDATED, DateBasis.FIRST_SEEN)
_ALIASES: Final = {"level": "compliance_level"}
_ON: Final = {
    DateBasis.ISSUED: "issue",
    DateBasis.UPDATED: "its last update",
    DateBasis.FIRST_SEEN: "it was first seen",
    DateBasis.BUILD_TIME: "its build",
}
_WHEN: Final = {
    DateBasis.ISSUED: "issued",
    DateBasis.UPDATED: "last updated",
    DateBasis.FIRST_SEEN: "first seen",
    DateBasis.BUILD_TIME: "built",
}
E_ = TypeVar("E_", bound=Enum)


def parse(document: object) -> Baseline:
    """Read a baseline from a parsed YAML or JSON document. It has no id yet, version 0, and nobody made it.

    Names of categories, severities, levels and scenarios may be in any case; absent lists mean any. Raises InvalidArgument with all
    that is wrong, each field named as in "rules[0].approve_after_days".
    """
    if not isinstance(document, Mapping):
        raise InvalidArgument.of("baseline", "must be a table with the keys " + ", ".join(_FIELDS))
    wrong = list[Violation]()
    wrong += _unknown("", document, _FIELDS)
    scenario = _one(ResourceType, "scenario", document.get("scenario", ResourceType.ECS.value), wrong)
    baseline = Baseline(
        id="",
        name=_text("name", document.get("name", ""), wrong),
        description=_text("description", document.get("description", ""), wrong),
        scenario=scenario or ResourceType.ECS,
        operating_system=_text("operating_system", document.get("operating_system", ""), wrong),
        rules=tuple(_rule(where, row, wrong) for where, row in _rows(document, "rules", wrong)),
        version=0,
        approved=tuple(_approved(where, row, wrong) for where, row in _rows(document, "approved_patches", wrong)),
        rejected=tuple(_rejected(where, row, wrong) for where, row in _rows(document, "rejected_patches", wrong)),
        custom=tuple(_custom(where, row, wrong) for where, row in _rows(document, "custom_packages", wrong)),
    )
    seen = {v.field for v in wrong}
    wrong += [v for v in violations(baseline) if v.field not in seen]
    if wrong:
        raise InvalidArgument(tuple(wrong))
    return baseline


def violations(baseline: Baseline) -> tuple[Violation, ...]:
    """Return everything that is wrong with a baseline that an operator would like to have; empty when it is fine."""
    wrong = list[Violation]()
    if not _NAME.fullmatch(baseline.name):
        wrong.append(Violation("name", f"{baseline.name[:120]!r} is not 3 to 100 of letters, digits, '_', '-' and '.'"))
    if len(baseline.description) > MAX_DESCRIPTION:
        wrong.append(
            Violation("description", f"has {len(baseline.description)} characters, allowed are {MAX_DESCRIPTION}")
        )
    if baseline.operating_system not in products.FAMILIES:
        wrong.append(
            Violation(
                "operating_system",
                f"{baseline.operating_system[:80]!r} is unknown{_near(baseline.operating_system, products.FAMILIES)}",
            )
        )
    wrong += _list_violations(baseline)
    if baseline.custom:
        wrong += custom_violations(baseline.custom)
        others = (
            ("rules", baseline.rules),
            ("approved_patches", baseline.approved),
            ("rejected_patches", baseline.rejected),
        )
        wrong += [
            Violation(name, "must be empty: a baseline with custom_packages has neither rules nor lists")
            for name, rows in others
            if rows
        ]
    elif not 1 <= len(baseline.rules) <= MAX_RULES:
        wrong.append(Violation("rules", f"has {len(baseline.rules)} rules, allowed are 1 to {MAX_RULES}"))
    for number, rule in enumerate(baseline.rules):
        wrong += _rule_violations(f"rules[{number}]", rule, baseline.operating_system)
    return tuple(wrong)


def to_document(baseline: Baseline) -> dict[str, Any]:
    """Return the document that `parse` reads back into the same baseline (but for id, version and maker)."""
    document: dict[str, Any] = {
        "name": baseline.name,
        "description": baseline.description,
        "scenario": baseline.scenario.value,
        "operating_system": baseline.operating_system,
    }
    if baseline.custom:
        document["custom_packages"] = [
            {"name": row.name, "version": row.version, "release": row.release, "compliance_level": row.level.name}
            for row in baseline.custom
        ]
        return document
    document |= {
        "rules": [
            {
                "products": list(rule.products),
                "categories": [category.value for category in rule.categories],
                "severities": [severity.value for severity in rule.severities],
            }
            | (
                {"approve_until": rule.approve_until.isoformat()}
                if rule.approve_until is not None
                else {"approve_after_days": rule.approve_after_days}
            )
            | {
                "date_basis": rule.date_basis.value,
                "compliance_level": rule.level.name,
                "include_without_advisory": rule.include_without_advisory,
            }
            for rule in baseline.rules
        ],
    }
    if baseline.approved:
        document["approved_patches"] = [
            {"entry": patch.entry, "compliance_level": patch.level.name} for patch in baseline.approved
        ]
    if baseline.rejected:
        document["rejected_patches"] = [
            {"entry": patch.entry, "action": patch.action.value} for patch in baseline.rejected
        ]
    return document


def clause(rule: Rule) -> str:
    """Say a rule in words: "Security, Critical or Important, 7 days after issue"."""
    parts = [] if ALL_PRODUCTS in rule.products else [_or(rule.products)]
    parts.append(_or(category.value for category in rule.categories) or "any category")
    parts.append(_or("no severity" if s is Severity.NONE else s.value for s in rule.severities) or "any severity")
    if rule.approve_until is not None:
        parts.append(f"{_WHEN[rule.date_basis]} on or before {rule.approve_until.isoformat()}")
    elif rule.approve_after_days == 0:
        parts.append(f"at once when {_WHEN[rule.date_basis]}")
    else:
        days = rule.approve_after_days
        parts.append(f"{days} day{'' if days == 1 else 's'} after {_ON[rule.date_basis]}")
    return ", ".join(parts) + (", and updates without advisory" if rule.include_without_advisory else "")


def _or(words: Iterable[str]) -> str:
    *head, last = list(words) or [""]
    return f"{', '.join(head)} or {last}" if head else last


def _rule(where: str, row: object, wrong: list[Violation]) -> Rule:
    if not isinstance(row, Mapping):
        wrong.append(Violation(where, "must be a table with the keys " + ", ".join(_RULE_FIELDS)))
        return Rule()
    row = {_ALIASES.get(str(key), str(key)): value for key, value in row.items()}
    wrong += _unknown(f"{where}.", row, _RULE_FIELDS)
    days = row.get("approve_after_days")
    if days is not None and (isinstance(days, bool) or not isinstance(days, int)):
        wrong.append(
            Violation(f"{where}.approve_after_days", f"{days!r} is not a whole number, allowed 0 to {MAX_DAYS}")
        )
        days = 0
    until = row.get("approve_until")
    if until is not None:
        until = _date(f"{where}.approve_until", until, wrong)
    include = row.get("include_without_advisory", False)
    if not isinstance(include, bool):
        wrong.append(Violation(f"{where}.include_without_advisory", f"{include!r} is not true or false"))
    basis = _one(DateBasis, f"{where}.date_basis", row.get("date_basis", DateBasis.ISSUED.value), wrong, _RULE_BASES)
    return Rule(
        products=_texts(f"{where}.products", row.get("products"), wrong) or (ALL_PRODUCTS,),
        categories=_several(Category, f"{where}.categories", row.get("categories"), wrong),
        severities=_several(Severity, f"{where}.severities", row.get("severities"), wrong),
        approve_after_days=days,
        approve_until=until,
        date_basis=basis or DateBasis.ISSUED,
        level=_level(where, row, wrong),
        include_without_advisory=include is True,
    )


def _rows(document: Mapping[Any, object], name: str, wrong: list[Violation]) -> list[tuple[str, object]]:
    rows = document.get(name)
    if not isinstance(rows, list | tuple | None):
        wrong.append(Violation(name, "must be a list"))
        return []
    return [(f"{name}[{number}]", row) for number, row in enumerate(rows or ())]


def _table(where: str, row: object, known: Iterable[str], wrong: list[Violation]) -> Mapping[str, object]:
    """Read a row of a list: a table, or where its first key is all that is needed, just a text."""
    names = tuple(known)
    if isinstance(row, str) and names[0] == "entry":
        return {"entry": row}
    if not isinstance(row, Mapping):
        wrong.append(Violation(where, "must be a table with the keys " + ", ".join(names)))
        return {}
    row = {_ALIASES.get(str(key), str(key)): value for key, value in row.items()}
    wrong += _unknown(f"{where}.", row, names)
    return row


def _level(where: str, row: Mapping[str, object], wrong: list[Violation]) -> Level:
    level = row.get("compliance_level", Level.UNSPECIFIED.name)
    found = level_of(str(level))
    if found is None:
        names = [member.name for member in Level]
        wrong.append(Violation(f"{where}.compliance_level", f"{level!r} is unknown{_near(str(level), names)}"))
    return found or Level.UNSPECIFIED


def _approved(where: str, row: object, wrong: list[Violation]) -> ApprovedPatch:
    table = _table(where, row, ("entry", "compliance_level"), wrong)
    return ApprovedPatch(_text(f"{where}.entry", table.get("entry"), wrong), _level(where, table, wrong))


def _rejected(where: str, row: object, wrong: list[Violation]) -> RejectedPatch:
    table = _table(where, row, ("entry", "action"), wrong)
    default = RejectAction.ALLOW_AS_DEPENDENCY
    action = _one(RejectAction, f"{where}.action", table.get("action", default.value), wrong)
    return RejectedPatch(_text(f"{where}.entry", table.get("entry"), wrong), action or default)


def _custom(where: str, row: object, wrong: list[Violation]) -> CustomPackage:
    table = _table(where, row, ("name", "version", "release", "compliance_level"), wrong)
    name, version, release = (_text(f"{where}.{key}", table.get(key), wrong) for key in ("name", "version", "release"))
    return CustomPackage(name, version, release, _level(where, table, wrong))


def _list_violations(baseline: Baseline) -> Iterable[Violation]:
    lists: tuple[tuple[str, Sequence[ApprovedPatch | RejectedPatch]], ...] = (
        ("approved_patches", baseline.approved),
        ("rejected_patches", baseline.rejected),
    )
    for name, patches in lists:
        if len(patches) > MAX_LIST:
            yield Violation(name, f"has {len(patches)} entries, allowed are {MAX_LIST}")
        first = dict[str, int]()
        for number, patch in enumerate(patches[:MAX_LIST]):
            where, entry = f"{name}[{number}].entry", patch.entry
            before = first.setdefault(entry.lower(), number)
            if not _ENTRY.fullmatch(entry) or len(entry) > MAX_ENTRY:
                yield Violation(
                    where,
                    f"{entry[:80]!r} is not 1 to {MAX_ENTRY} characters without spaces, quotes, commas and semicolons",
                )
            elif before != number:
                yield Violation(where, f"{entry[:80]!r} is in {name}[{before}] already")
            elif isinstance(patch, RejectedPatch) and not is_for_packages(entry):
                yield Violation(where, f"{entry[:80]!r} is no package; only packages can be rejected")


def _rule_violations(where: str, rule: Rule, family: str) -> Iterable[Violation]:
    days, until = rule.approve_after_days, rule.approve_until
    if (days is None) == (until is None):
        yield Violation(where, "needs exactly one of approve_after_days and approve_until")
    if days is not None and not 0 <= days <= MAX_DAYS:
        yield Violation(f"{where}.approve_after_days", f"{days} is out of range, allowed 0 to {MAX_DAYS}")
    if rule.date_basis not in _RULE_BASES:
        allowed = ", ".join(basis.value for basis in _RULE_BASES)
        yield Violation(
            f"{where}.date_basis", f"{rule.date_basis.value!r} cannot be used in a rule, allowed: {allowed}"
        )
    if len(rule.products) > MAX_PRODUCTS:
        yield Violation(f"{where}.products", f"has {len(rule.products)} entries, allowed are {MAX_PRODUCTS}")
    if not rule.products:
        yield Violation(f"{where}.products", f"is empty; {ALL_PRODUCTS} means every version")
    for product in rule.products:
        if product != ALL_PRODUCTS and family in products.FAMILIES and products.family_of(product) != family:
            yield Violation(
                f"{where}.products",
                f"{product[:80]!r} is not {ALL_PRODUCTS} or a version of {family}, like {family} 7.9",
            )


def _unknown(prefix: str, table: Mapping[Any, object], known: Iterable[str]) -> list[Violation]:
    names = tuple(known)
    return [
        Violation(f"{prefix}{str(key)[:80]}", f"is unknown{_near(str(key), names)}")
        for key in table
        if key not in names
    ]


def _near(word: str, known: Iterable[str]) -> str:
    names = list(known)
    by_lower = {name.lower(): name for name in names}
    match = difflib.get_close_matches(word.lower()[:100], by_lower, n=1)
    return f", did you mean {by_lower[match[0]]}?" if match else f"; known are {', '.join(names)}"


def _text(where: str, value: object, wrong: list[Violation]) -> str:
    if isinstance(value, str):
        return value
    wrong.append(Violation(where, f"{value!r} is not a text; put it in quotes" if value is not None else "is empty"))
    return ""


def _texts(where: str, value: object, wrong: list[Violation]) -> tuple[str, ...]:
    if value is None:
        return ()
    rows = [value] if isinstance(value, str) else value
    if not isinstance(rows, list | tuple):
        wrong.append(Violation(where, "must be a list"))
        return ()
    return tuple(dict.fromkeys(_text(where, row, wrong) for row in rows))


def _one(
    kind: type[E_], where: str, value: object, wrong: list[Violation], allowed: Iterable[E_] | None = None
) -> E_ | None:
    names = {str(member.value): member for member in allowed or kind}
    found = {name.lower(): member for name, member in names.items()}.get(str(value).lower())
    if found is None:
        wrong.append(Violation(where, f"{str(value)[:80]!r} is unknown{_near(str(value), names)}"))
    return found


def _several(kind: type[E_], where: str, value: object, wrong: list[Violation]) -> tuple[E_, ...]:
    found = dict[E_, None]()
    for text in _texts(where, value, wrong):
        if text.lower() in ("all", "any"):
            return ()
        if (member := _one(kind, where, text, wrong)) is not None:
            found[member] = None
    return tuple(found)


def _date(where: str, value: object, wrong: list[Violation]) -> date:
    """YAML reads 2023-03-20 as a date by itself; JSON has a text."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        wrong.append(Violation(where, f"{str(value)[:80]!r} is not a date, write it like 2026-11-22"))
        return date.min
