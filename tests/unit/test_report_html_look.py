"""How the HTML file is for people: contrast by computation in light, dark and print; structure that a screen reader can tell."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib import resources
from typing import Any

import pytest

from controller.cli.plain import plain
from controller.report.html import pages
from controller.report.seal import asked
from controller.report.summary import summarise
from tests.scripted_patchctl import a_report

CSS = (resources.files("controller.report") / "templates" / "report.css").read_text()
ASKED = asked({}, None, all_items=False)
VOID = {"meta", "input", "br"}


def schemes() -> dict[str, dict[str, str]]:
    """The colours of each scheme, by name."""
    found = re.findall(r":root\s*\{([^}]*)\}", CSS)
    light, dark, printed = (dict(re.findall(r"--(\w+):\s*(#\w+)", block)) for block in found)
    return {"light": light, "dark": light | dark, "print": light | printed}


def luminance(colour: str) -> float:
    digits = colour.removeprefix("#")
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    channels = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG 2's ratio, from 1 to 21."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_the_ratio_is_that_of_WCAG() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#fff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
@pytest.mark.parametrize("ground", ["page", "raised"])
@pytest.mark.parametrize("text", ["ink", "quiet", "good", "bad", "unknown"])
def test_every_text_stands_out_from_what_it_stands_on(scheme: str, ground: str, text: str) -> None:
    colours = schemes()[scheme]
    assert contrast(colours[text], colours[ground]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
@pytest.mark.parametrize("part", ["good", "bad", "unknown"])
def test_every_part_of_a_bar_stands_out_from_the_rest_of_it_and_from_the_page(scheme: str, part: str) -> None:
    colours = schemes()[scheme]
    assert contrast(colours[part], colours["track"]) >= 3
    assert contrast(colours[part], colours["page"]) >= 3
    assert "stroke: var(--page)" in CSS  # parts have a gap between them: colour only repeats what the numbers say


def test_no_colour_stands_outside_the_schemes_and_nothing_comes_from_elsewhere() -> None:
    rest = re.sub(r":root\s*\{[^}]*\}", "", CSS)
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b(?![-\w])", re.sub(r"#(show-|instances)\S*", "", rest)) == []
    assert not re.search(r"url\(|@import|https?:", CSS)
    assert not re.search(r"animation|transition|blink", CSS)


class Structure(HTMLParser):
    """What a screen reader makes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.headings: list[int] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.empty_headers = 0
        self.unlabelled = 0
        self._open: list[str] = []
        self._header: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "th":
            self._header = ""
        if tag == "input" and "label" not in self._open:
            self.unlabelled += 1
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()
        if tag == "th":
            self.empty_headers += not (self._header or "").strip()
            self._header = None

    def handle_data(self, data: str) -> None:
        if self._header is not None:
            self._header += data

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def some() -> list[dict[str, Any]]:
    behind = plain(a_report())
    fine = behind | {"instance_id": "i-2", "instance_name": "fine", "status": "COMPLIANT", "items": []}
    reasons = [{"reason": "STALE", "detail": "the report is 3 d old", "help": "Scan it."}]
    unknown = behind | {"instance_id": "i-3", "status": "UNDETERMINED", "items": [], "reasons": reasons}
    return [behind, fine, unknown]


@pytest.fixture(name="found", scope="module")
def structure() -> Structure:
    reports = some()
    return Structure("".join(pages(ASKED, summarise(ASKED, reports), reports)))


def test_headings_begin_with_one_h1_and_leave_no_level_out(found: Structure) -> None:
    assert found.headings[0] == 1
    assert found.headings.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in zip(found.headings, found.headings[1:], strict=False))


def test_every_table_has_a_name_and_headers_that_say_what_they_head(found: Structure) -> None:
    assert len(found.named("table")) >= 7
    assert all(table.get("aria-label") for table in found.named("table"))
    assert all(header.get("scope") in ("col", "row") for header in found.named("th"))
    assert found.empty_headers == 0


def test_what_is_drawn_is_told_or_left_out_and_every_control_has_a_label(found: Structure) -> None:
    assert all(svg.get("aria-label") or svg.get("aria-hidden") == "true" for svg in found.named("svg"))
    assert found.unlabelled == 0
    assert len(found.named("input")) == 4


def test_the_page_says_its_language_and_has_landmarks(found: Structure) -> None:
    assert found.named("html")[0]["lang"] == "en"
    assert [len(found.named(tag)) for tag in ("header", "main", "footer")] == [1, 1, 1]
    assert all(section.get("aria-label") for section in found.named("section"))
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {"name": "color-scheme", "content": "light dark"} in found.named("meta")


def test_print_opens_every_report_and_hides_what_only_a_screen_needs() -> None:
    printed = CSS[CSS.index("@media print") :]
    assert ".instance:not([open]) > .inside { display: block; }" in printed
    assert "details::details-content" in printed
    assert re.search(r"\.filter[^{]*\{ display: none; \}", printed)
    assert "break-inside: avoid" in printed
    assert re.search(r"@page \{ size: A4", CSS)
