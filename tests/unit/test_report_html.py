"""The HTML file: everything is in it, nothing outside is asked for, and nobody's name becomes markup."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

from controller.cli.plain import plain
from controller.report.html import pages, parts
from controller.report.seal import asked, unsealed
from tests.scripted_patchctl import a_report, a_summary

HOSTILE = "<script>alert(1)</script>\"'>&amp;\u202etxt.exe\x00\u2028"
ASKED = asked({}, None, all_items=False)
VOID = {"meta", "input", "br", "rect"}


class Outline(HTMLParser):
    """Elements, texts and attribute values of a page, and the data in it; insists that tags close in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.data: list[dict[str, Any]] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            assert ("type", "application/json") in attrs  # what no browser runs
        else:
            self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["script"]:
            self.data.append(json.loads(data))
        else:
            self.text += data


SUMMARY = plain(a_summary())
REPORT = plain(a_report())


def page(*reports: dict[str, Any], summary: dict[str, Any] | None = None) -> str:
    return "".join(pages(ASKED, summary or SUMMARY, iter(reports)))


def poisoned(value: Any) -> Any:
    """Replace each text that a host or an operator chooses."""
    match value:
        case dict():
            kept = ("status", "level", "first_non_compliant_at", "as_of", "collected_at", "metadata_at", "attribute")
            return {key: inner if key in kept else poisoned(inner) for key, inner in value.items()}
        case list():
            return [poisoned(inner) for inner in value]
        case str() if value:
            return HOSTILE
    return value


def test_the_page_tells_the_three_numbers_and_every_report_with_its_reasons() -> None:
    report = plain(a_report())
    report["items"][0]["first_non_compliant_at"] = "2026-10-12T10:00:00Z"
    text = Outline(page(report)).text
    for words in ("12 instances as of", "58.3 %", "25.0 %", "16.7 %", "STALE", "By region", "openssl-libs", "41 d"):
        assert words in text
    assert "HELD(versionlock)" in text
    assert "because CESA-2023:1335 was approved by rule 1." in text
    assert "CVE-2023-0286" in text


def test_R1_the_page_names_the_inputs_of_each_report() -> None:
    report = plain(a_report())
    report["inputs"] |= {"inventory_digest": "ab" * 32, "metadata_digest": "cd" * 32, "manifest_digest": "ef" * 32}
    text = Outline(page(report)).text
    for digest in ("ab" * 32, "cd" * 32, "ef" * 32, "b-1 version 3", "version 0"):
        assert digest in text


def test_the_page_asks_for_nothing_outside_and_runs_nothing() -> None:
    text = page(plain(a_report()))
    outline = Outline(text)
    assert not {"script", "link", "img", "iframe", "object", "form-action", "a"} & set(outline.elements)
    assert not [name for name, _ in outline.attributes if name in ("src", "href", "style") or name.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in outline.attributes


def test_hostile_names_stay_text_everywhere() -> None:
    report, summary = poisoned(plain(a_report())), poisoned(plain(a_summary()))
    hostile, plainly = page(report, summary=summary), page(plain(a_report()))
    outline = Outline(hostile)
    assert outline.elements == Outline(plainly).elements
    assert hostile.count("<script") == hostile.count("</script>") == 3
    assert [unsealed(found) for found in outline.data[1:-1]] == [report]
    assert "\u202e" not in hostile
    assert "\x00" not in hostile
    assert "<script>alert(1)</script>\"'>&amp;\\u202etxt.exe\\x00\\u2028" in outline.text
    assert len(outline.attributes) == len(Outline(plainly).attributes)


def test_the_reports_stand_in_the_page_as_data_beside_what_it_shows_of_them() -> None:
    head, kept, seal = Outline(page(REPORT)).data
    assert (head["asked"], head["summary"]) == (ASKED, SUMMARY)
    assert unsealed(kept) == REPORT
    assert len(seal["sha256"]) == 64


def test_the_same_values_give_the_same_page() -> None:
    assert page(REPORT) == page(REPORT)


def test_reports_are_taken_one_at_a_time_as_the_page_is_read() -> None:
    taken = 0

    def reports() -> Iterator[dict[str, Any]]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield plain(a_report())

    found = pages(ASKED, plain(a_summary()), reports())
    next(found)
    assert taken < 100
    assert sum(piece.count('<details class="instance') for piece in found) > 900
    assert taken == 1000


def test_an_empty_fleet_and_an_instance_that_never_reported_have_a_page() -> None:
    nobody = plain(a_summary()) | {"instances": 0, "groups": [], "levels": [], "reasons": [], "oldest_missing": None}
    nobody["counts"] = {"compliant": 0, "non_compliant": 0, "undetermined": 0}
    assert "No instance matches." in page(summary=nobody)
    new = a_report()
    for name in ("items", "inputs", "collected_at", "ticket_id", "operating_system", "counts"):
        new.ClearField(name)  # type: ignore[arg-type]
    document = plain(new) | {"counts": plain(a_report())["counts"]}
    assert "never" in Outline(page(document)).text


def test_a_bar_is_cut_in_proportion_without_a_gap() -> None:
    cut = parts({"compliant": 1, "non_compliant": 0, "undetermined": 2})
    assert [(p["name"], p["x"], p["width"]) for p in cut] == [("compliant", 0, 333), ("undetermined", 333, 667)]
    assert parts({"compliant": 0, "non_compliant": 0, "undetermined": 0}) == []


def test_R4_a_security_build_that_still_waits_for_approval_is_told() -> None:
    report = plain(a_report())
    report["items"][0]["available_security"] = "1:1.0.2k-27.el7_9"
    assert "A newer security build is not approved yet: 1:1.0.2k-27.el7_9." in Outline(page(report)).text
