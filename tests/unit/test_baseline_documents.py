"""Baselines as people write them, and the public ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
import yaml

from common.errors import InvalidArgument
from controller.compliance.baseline import clause, custom_from_csv, parse, to_document, violations
from controller.compliance.model import (
    ApprovedPatch,
    Category,
    CustomPackage,
    DateBasis,
    Level,
    RejectAction,
    RejectedPatch,
    Rule,
    Severity,
)
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


# --- lists and custom baselines -----------------------------------------------------------------------------------------------

LISTS = """
name: CentOS-Lists
operating_system: CentOS
rules: [{approve_after_days: 7}]
approved_patches:
  - CVE-2023-0286
  - {entry: "kernel-*", level: high}
rejected_patches:
  - bash-4.2.46-35.el7_9
  - {entry: telnet, action: block}
"""

CUSTOM = """
name: CentOS-Custom
operating_system: CentOS
custom_packages:
  - {name: openssl-libs, version: "1:1.0.2k", release: 26.el7_9, compliance_level: critical}
  - {name: bash, version: "4.2.46", release: 35.el7_9}
"""


def lists(**changes: Any) -> dict[str, Any]:
    return {"name": "Strict", "operating_system": "CentOS", "rules": [{"approve_after_days": 7}]} | changes


def test_lists_are_read_as_plain_entries_or_as_tables() -> None:
    read = parse(yaml.safe_load(LISTS))
    assert read.approved == (ApprovedPatch("CVE-2023-0286"), ApprovedPatch("kernel-*", Level.HIGH))
    assert read.rejected == (RejectedPatch("bash-4.2.46-35.el7_9"), RejectedPatch("telnet", RejectAction.BLOCK))


def test_a_custom_baseline_has_rows_instead_of_rules() -> None:
    read = parse(yaml.safe_load(CUSTOM))
    assert read.rules == ()
    assert read.custom == (
        CustomPackage("openssl-libs", "1:1.0.2k", "26.el7_9", Level.CRITICAL),
        CustomPackage("bash", "4.2.46", "35.el7_9"),
    )


@pytest.mark.parametrize("text", [LISTS, CUSTOM])
def test_a_baseline_with_lists_or_rows_is_written_as_it_is_read(text: str) -> None:
    read = parse(yaml.safe_load(text))
    assert parse(to_document(read)) == read


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"approved_patches": "bash"}, "approved_patches", "must be a list"),
        ({"approved_patches": [""]}, "approved_patches[0].entry", "is not 1 to 256"),
        ({"approved_patches": ["bash", "two words"]}, "approved_patches[1].entry", "without spaces"),
        ({"approved_patches": ["bash", "BASH"]}, "approved_patches[1].entry", "is in approved_patches[0] already"),
        ({"approved_patches": [{"entri": "bash"}]}, "approved_patches[0].entri", "did you mean entry?"),
        ({"approved_patches": [7]}, "approved_patches[0]", "must be a table with the keys entry"),
        ({"approved_patches": [{"entry": "b", "level": "hi"}]}, "approved_patches[0].compliance_level", "HIGH"),
        ({"approved_patches": ["x" * 257]}, "approved_patches[0].entry", "is not 1 to 256"),
        ({"rejected_patches": [{"entry": "b", "action": "deny"}]}, "rejected_patches[0].action", "BLOCK"),
        ({"rejected_patches": ["CVE-2023-0286"]}, "rejected_patches[0].entry", "only packages can be rejected"),
        ({"rejected_patches": ["RHSA-2023:1335"]}, "rejected_patches[0].entry", "only packages can be rejected"),
        ({"rejected_patches": ["openEuler-SA-2023-1001"]}, "rejected_patches[0].entry", "only packages can be"),
        ({"rejected_patches": [str(n) for n in range(1001)]}, "rejected_patches", "has 1001 entries, allowed are 1000"),
        ({"custom_packages": [{"name": "b", "version": "1", "release": "1"}]}, "rules", "must be empty"),
        (
            {"rules": [], "custom_packages": [{"name": "b", "version": 1.1, "release": "1"}]},
            "custom_packages[0].version",
            "put it in quotes",
        ),
        (
            {"rules": [], "custom_packages": [{"name": "b", "version": "1-1", "release": "1"}]},
            "custom_packages[0].version",
            "is not a version",
        ),
        (
            {"rules": [], "custom_packages": [{"name": "b", "version": "1", "release": "1"}] * 2},
            "custom_packages[1].name",
            "is in custom_packages[0] already",
        ),
    ],
)
def test_each_wrong_field_of_a_list_is_named(changes: dict[str, Any], field: str, words: str) -> None:
    assert words in refusals(lists(**changes))[field]


@pytest.mark.parametrize(
    "entry",
    [
        "bash",
        "kernel-*",
        "bash-4.2.46",
        "bash-4.2.46-35.el7_9.x86_64",
        "1:bash-4-1.x86_64",
        "java-1.8.0-openjdk",
        "sa-2",
    ],
)
def test_packages_in_all_forms_can_be_rejected(entry: str) -> None:
    assert parse(lists(rejected_patches=[entry])).rejected == (RejectedPatch(entry),)


# --- rows from CSV ------------------------------------------------------------------------------------------------------------

BASH, OPENSSL = (
    CustomPackage("bash", "4.2.46", "35.el7_9"),
    CustomPackage("openssl", "1:1.0.2k", "26.el7_9", Level.HIGH),
)


@pytest.mark.parametrize(
    "text",
    [
        "bash,4.2.46,35.el7_9\nopenssl,1:1.0.2k,26.el7_9,HIGH\n",
        "name,version,release,level\nbash,4.2.46,35.el7_9,\nopenssl,1:1.0.2k,26.el7_9,high",
        "\ufeffname,version,release,compliance_level\r\nbash,4.2.46,35.el7_9\r\n\r\nopenssl,1:1.0.2k,26.el7_9,High\r\n",
        '"bash","4.2.46","35.el7_9"\n"openssl" , "1:1.0.2k","26.el7_9","high"\n'.replace('" , "', '","'),
        "\n\n bash , 4.2.46 , 35.el7_9 ,,\nopenssl,1:1.0.2k,26.el7_9,HIGH\n\n",
        "level,release,version,name\n,35.el7_9,4.2.46,bash\nhigh,26.el7_9,1:1.0.2k,openssl\n",
    ],
)
def test_rows_of_a_custom_baseline_are_read_from_csv_as_spreadsheets_write_it(text: str) -> None:
    assert custom_from_csv(text) == ((BASH, OPENSSL), ())


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("bash,4,1\nzsh,5\n", "row 2", "has 2 cells, not 3 or 4"),
        ("bash;4;1\n", "row 1", "has 1 cell, not 3 or 4; commas separate them"),
        ("bash\t4\t1\n", "row 1", "has 1 cell, not 3 or 4; commas separate them"),
        ("name,version,release\n\nbash,4-2,1\n", "row 3", "version: '4-2' is not a version"),
        ("bash,4,\n", "row 1", "release: '' is not a release"),
        ("bash,...,1\n", "row 1", "version: '...' is not a version"),
        ("bash,a:4,1\n", "row 1", "version: 'a:4' is not a version"),
        ("bash,99999999999:4,1\n", "row 1", "is not a version"),
        ("bash,9999999999:4,1\n", "row 1", "is not a version"),
        ("ba sh,4,1\n", "row 1", "name: 'ba sh' is not the name of a package"),
        ("bash,4,1,urgent\n", "row 1", "level: 'urgent' is unknown; known are UNSPECIFIED"),
        ("bash,4,1\nbash,5,1\n", "row 2", "bash is in row 1 already"),
        ("name,version\nbash,4\n", "row 1", "has no column release"),
        ("name,version,release,colour\nbash,4,1,red\n", "row 1", "column 'colour' is unknown"),
        ("name,version,release,Version\nbash,9,1,4\n", "row 1", "has column version twice"),
        ('bash,4,1\n"zsh,5,1\n', "row 2", "cannot be read"),
        ("", "row 1", "the file has no rows"),
        ("name,version,release\n", "row 1", "the file has no rows"),
    ],
)
def test_each_bad_row_of_a_csv_is_reported_by_its_number(text: str, field: str, words: str) -> None:
    _, wrong = custom_from_csv(text)
    assert [v.field for v in wrong] == [field]
    assert words in wrong[0].description


def test_good_rows_are_returned_beside_the_complaints_about_others() -> None:
    rows, wrong = custom_from_csv("bash,4.2.46,35.el7_9\nzsh,,1\n,,1\nopenssl,1:1.0.2k,26.el7_9,HIGH\n")
    assert rows == (BASH, OPENSSL)
    assert [v.field for v in wrong] == ["row 2", "row 3", "row 3"]


@pytest.mark.parametrize(("count", "is_fine"), [(1000, True), (1001, False)])
def test_a_custom_baseline_has_at_most_1000_rows(count: int, is_fine: bool) -> None:
    rows, wrong = custom_from_csv("".join(f"p{n},1,1\n" for n in range(count)))
    assert len(rows) == 1000
    assert [v.field for v in wrong] == ([] if is_fine else ["row 1001"])
