"""Seals and comparison: a change of a kept file is seen, and what changed is named."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from controller.cli.plain import plain
from controller.report.compare import differences, is_whole
from controller.report.seal import FileSeal, is_intact, sealed, unsealed
from tests.scripted_patchctl import a_report

KEPT = plain(a_report())


def changed(*path: Any, to: Any) -> dict[str, Any]:
    """Return the report with one thing changed."""
    found = copy.deepcopy(KEPT)
    *way, last = path
    inner: Any = found
    for step in way:
        inner = inner[step]
    inner[last] = to
    return found


def test_a_seal_survives_writing_and_reading_in_any_layout() -> None:
    report = sealed(KEPT)
    assert is_intact(json.loads(json.dumps(report, indent=3)))
    assert is_intact(json.loads(json.dumps(report, ensure_ascii=True, sort_keys=True)))
    assert unsealed(report) == KEPT
    assert sealed(report) == report


@pytest.mark.parametrize(
    "path", [("status",), ("items", 0, "why"), ("inputs", "baseline_version"), ("counts", "missing"), ("sha256",)]
)
def test_any_change_breaks_the_seal(path: tuple[Any, ...]) -> None:
    report = copy.deepcopy(sealed(KEPT))
    inner: Any = report
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = "something else"
    assert not is_intact(report)


def test_a_report_without_a_seal_is_not_intact() -> None:
    assert not is_intact(KEPT)


def test_the_file_s_seal_covers_its_head_and_which_reports_there_are_in_which_order() -> None:
    def seal(
        as_of: str, summary: dict[str, Any], *reports: dict[str, Any], question: dict[str, Any] | None = None
    ) -> str:
        found = FileSeal(question or {})
        for report in reports:
            found.add(report)
        return found.close(as_of, summary)

    one, two = sealed(KEPT), sealed(changed("instance_id", to="i-2"))
    seals = {
        seal("a", {}, one, two),
        seal("b", {}, one, two),
        seal("a", {"instances": 1}, one, two),
        seal("a", {}, two, one),
        seal("a", {}, one),
        seal("a", {}, one, two, question={"all_items": True}),
    }
    assert len(seals) == 6


def test_the_same_answer_differs_in_nothing() -> None:
    assert differences(KEPT, copy.deepcopy(KEPT)) == ()
    assert differences(KEPT, changed("instance_name", to="renamed")) == ()
    assert differences(sealed(KEPT), KEPT) == ()


@pytest.mark.parametrize(
    ("again", "said"),
    [
        (changed("inputs", "baseline_version", to=4), "input baseline was b-1 version 3, is b-1 version 4"),
        (changed("inputs", "exceptions_version", to=2), "input exceptions was version 0, is version 2"),
        (changed("inputs", "metadata_digest", to="cd" * 32), "input metadata was none, is cdcdcdcdcdcd…"),
        (changed("status", to="COMPLIANT"), "status was NON_COMPLIANT, is COMPLIANT"),
        (changed("counts", "missing", to=0), "counts: missing was 2, is 0"),
        (changed("reasons", to=[{"reason": "STALE"}]), "reasons were none, are STALE"),
        (changed("items", 0, "status", to="INSTALLED"), "openssl-libs.x86_64 was MISSING, is INSTALLED"),
        (changed("items", 0, "why", to="because"), "openssl-libs.x86_64 MISSING has another why"),
        (changed("items", to=KEPT["items"][:1]), "nginx MISSING is not there any more"),
        (changed("items", to=KEPT["items"][::-1]), "the packages stand in another order"),
    ],
)
def test_what_differs_is_named(again: dict[str, Any], said: str) -> None:
    assert differences(KEPT, again) == (said,)


def test_since_when_is_compared_as_long_as_it_is_remembered() -> None:
    assert KEPT["items"][0]["first_non_compliant_at"]
    forgotten = changed("items", 0, "first_non_compliant_at", to=None)
    forgotten["items"][0]["why"] = "the sentence that told it"
    assert differences(KEPT, forgotten) == ()
    (said,) = differences(forgotten, KEPT)
    assert said == "openssl-libs.x86_64 MISSING has another first_non_compliant_at, why"
    (said,) = differences(KEPT, changed("items", 0, "first_non_compliant_at", to="2026-01-01T00:00:00Z"))
    assert said == "openssl-libs.x86_64 MISSING has another first_non_compliant_at"


def test_several_items_of_one_package_are_each_compared_with_their_own() -> None:
    twice = changed("items", to=[KEPT["items"][0], KEPT["items"][0] | {"reason": "OBSOLETES"}])
    assert differences(twice, copy.deepcopy(twice)) == ()
    assert differences(twice, changed("items", to=[KEPT["items"][0]])) == (
        "openssl-libs.x86_64 MISSING is not there any more",
    )


def test_a_new_package_is_named_and_many_are_counted() -> None:
    more = [KEPT["items"][0] | {"name": f"p{n}"} for n in range(5)]
    *shown, rest = differences(KEPT, changed("items", to=KEPT["items"] + more))
    assert shown == [f"p{n}.x86_64 MISSING is new" for n in range(3)]
    assert rest == "and 2 packages more"


def test_a_report_with_compliant_packages_is_compared_with_one_that_has_them() -> None:
    assert not is_whole(KEPT)
    assert is_whole(changed("items", 0, "status", to="INSTALLED_OTHER"))
