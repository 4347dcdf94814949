"""Baselines as people write them, and the public ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
import yaml

from common.errors import InvalidArgument
from controller.compliance.baseline import clause, parse, to_document, violations
from controller.compliance.model import Category, DateBasis, Level, Rule, Severity
from controller.compliance.presets import public_baselines
from controller.fleet.model import ResourceType
from controller.fleet.products import FAMILIES

WRITTEN = """
name: CentOS-Strict
description: Everything that mends a hole, at once.
scenario: bms
operating_system: CentOS
rules:
  - categories: [security]
    severities: [critical, Important]
    approve_after_days: 0
    compliance_level: critical
  - products: [CentOS 7.9]
    approve_until: 2026-11-22
    date_basis: updated
    level: LOW
    include_without_advisory: true
"""


def document(**rule: Any) -> dict[str, Any]:
    return {"name": "Strict", "operating_system": "CentOS", "rules": [{"approve_after_days": 7} | rule]}


def refusals(wrong: Any) -> dict[str, str]:
    with pytest.raises(InvalidArgument) as refused:
        parse(wrong)
    return {v.field: v.description for v in refused.value.violations}


def test_a_baseline_is_read_from_yaml_in_any_case() -> None:
    read = parse(yaml.safe_load(WRITTEN))
    assert (read.name, read.scenario, read.operating_system) == ("CentOS-Strict", ResourceType.BMS, "CentOS")
    assert read.rules == (
        Rule(
            categories=(Category.SECURITY,),
            severities=(Severity.CRITICAL, Severity.IMPORTANT),
            approve_after_days=0,
            level=Level.CRITICAL,
        ),
        Rule(
            products=("CentOS 7.9",),
            approve_after_days=None,
            approve_until=date(2026, 11, 22),
            date_basis=DateBasis.UPDATED,
            level=Level.LOW,
            include_without_advisory=True,
        ),
    )


@pytest.mark.parametrize("baseline", public_baselines(), ids=lambda b: b.id)
def test_a_baseline_survives_being_written_and_read(baseline: Any) -> None:
    again = parse(yaml.safe_load(yaml.safe_dump(to_document(baseline))))
    assert again == replace(baseline, id="", version=0, public=False, created_by="")
    assert violations(baseline) == ()


@pytest.mark.parametrize(
    ("rule", "field", "words"),
    [
        ({"approve_after_days": 400}, "rules[0].approve_after_days", "400 is out of range, allowed 0 to 365"),
        ({"approve_after_days": -1}, "rules[0].approve_after_days", "-1 is out of range, allowed 0 to 365"),
        ({"approve_after_days": "7"}, "rules[0].approve_after_days", "'7' is not a whole number"),
        ({"approve_after_days": True}, "rules[0].approve_after_days", "is not a whole number"),
        ({"approve_until": "2026-11-22"}, "rules[0]", "exactly one of approve_after_days and approve_until"),
        ({"approve_after_days": None}, "rules[0]", "exactly one of approve_after_days and approve_until"),
        ({"approve_after_days": None, "approve_until": "soon"}, "rules[0].approve_until", "'soon' is not a date"),
        ({"severty": ["Low"]}, "rules[0].severty", "is unknown, did you mean"),
        ({"severities": ["Importnat"]}, "rules[0].severities", "did you mean Important?"),
        ({"categories": "securty"}, "rules[0].categories", "did you mean Security?"),
        ({"compliance_level": "VERY"}, "rules[0].compliance_level", "is unknown"),
        ({"date_basis": "build_time"}, "rules[0].date_basis", "is unknown"),
        ({"products": ["EulerOS 2.10"]}, "rules[0].products", "is not All or a version of CentOS"),
        ({"include_without_advisory": "yes"}, "rules[0].include_without_advisory", "is not true or false"),
    ],
)
def test_a_wrong_field_of_a_rule_is_named_with_what_is_allowed(rule: dict[str, Any], field: str, words: str) -> None:
    assert words in refusals(document(**rule))[field]


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"name": "ab"}, "name", "3 to 100"),
        ({"name": "a" * 101}, "name", "3 to 100"),
        ({"name": "a b c"}, "name", "letters, digits"),
        ({"name": "abc\n"}, "name", "letters, digits"),
        ({"name": 5}, "name", "is not a text"),
        ({"operating_system": "CentoS"}, "operating_system", "did you mean CentOS?"),
        ({"scenario": "VM"}, "scenario", "is unknown"),
        ({"rules": []}, "rules", "has 0 rules, allowed are 1 to 10"),
        ({"rules": [{"approve_after_days": 1}] * 11}, "rules", "has 11 rules, allowed are 1 to 10"),
        ({"rules": "all"}, "rules", "must be a list"),
        ({"rules": ["x"]}, "rules[0]", "must be a table"),
        ({"description": "x" * 1001}, "description", "has 1001 characters, allowed are 1000"),
        ({"nmae": "x"}, "nmae", "did you mean name?"),
    ],
)
def test_a_wrong_field_of_a_baseline_is_named_with_what_is_allowed(
    changes: dict[str, Any], field: str, words: str
) -> None:
    assert words in refusals(document() | changes)[field]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    assert set(refusals({"name": "x", "rules": [{"approve_after_days": 400}]})) == {
        "name",
        "operating_system",
        "rules[0].approve_after_days",
    }


@pytest.mark.parametrize("wrong", [None, [], "name: x", 5])
def test_what_is_no_table_is_refused(wrong: object) -> None:
    assert list(refusals(wrong)) == ["baseline"]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            Rule(
                categories=(Category.SECURITY,),
                severities=(Severity.CRITICAL, Severity.IMPORTANT),
                approve_after_days=7,
            ),
            "Security, Critical or Important, 7 days after issue",
        ),
        (Rule(approve_after_days=1), "any category, any severity, 1 day after issue"),
        (Rule(products=("CentOS 7.9",)), "CentOS 7.9, any category, any severity, at once when issued"),
        (
            Rule(
                categories=(Category.BUGFIX,),
                severities=(Severity.NONE,),
                approve_after_days=None,
                approve_until=date(2026, 1, 31),
                date_basis=DateBasis.FIRST_SEEN,
                include_without_advisory=True,
            ),
            "Bugfix, no severity, first seen on or before 2026-01-31, and updates without advisory",
        ),
    ],
)
def test_a_rule_can_be_said_in_words(rule: Rule, words: str) -> None:
    assert clause(rule) == words


def test_every_family_has_a_public_baseline_for_ECS_and_BMS_and_CCE_has_none() -> None:
    presets = public_baselines()
    assert {(b.operating_system, b.scenario) for b in presets} == {
        (family, scenario) for family in FAMILIES for scenario in (ResourceType.ECS, ResourceType.BMS)
    }
    assert len({b.id for b in presets}) == len({b.name for b in presets}) == len(presets)
    assert all(b.public for b in presets)
    names = {b.id: b.name for b in presets}
    assert names["public-centos-ecs"] == "CentOS-Default"
    assert names["public-centos-bms"] == "CentOS-BMS-Default"
    assert names["public-hce-ecs"] == "HCE-Default"
