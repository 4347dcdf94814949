"""The auditor's PDF: the same bytes for the same values, pages that are numbered, and names in any writing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import zlib
from collections.abc import Collection, Iterator
from typing import Any

import pytest

from controller.cli.plain import plain
from controller.report import pdf, pdf_text
from controller.report.pdf import document
from controller.report.pdf_sheet import ROOM
from controller.report.render import whole_json
from controller.report.seal import asked, unsealed
from tests.scripted_patchctl import a_report

ASKED = asked({"all": True}, "2026-11-22T12:40:00Z", all_items=False)


def reports(count: int) -> list[dict[str, Any]]:
    return [plain(a_report()) | {"instance_name": f"ecs-web-{n:02d}"} for n in range(count)]


def text_of(pdf: bytes) -> str:
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed")
    done = subprocess.run(["pdftotext", "-layout", "-", "-"], input=pdf, capture_output=True, check=True)
    return done.stdout.decode()


def test_R1_the_same_values_give_the_same_bytes() -> None:
    some = reports(3)
    assert document(ASKED, some) == document(ASKED, some)
    assert document(ASKED | {"as_of": "2026-11-23T12:40:00Z"}, some) != document(ASKED, some)


def test_the_file_s_date_is_the_instant_of_its_reports() -> None:
    assert set(re.findall(rb"/(?:CreationDate|ModDate) \((.*?)\)", document(ASKED, []))) == {b"D:20261122124000Z"}


class Drawn(Collection[dict[str, Any]]):
    """Reports that are made anew each time they are gone through."""

    def __init__(self, count: int) -> None:
        self.count, self.made = count, 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for report in reports(1) * self.count:
            self.made += 1
            yield report

    def __contains__(self, _: object) -> bool:
        raise NotImplementedError


def test_more_instances_than_a_pdf_holds_are_refused_before_one_is_looked_at() -> None:
    many = Drawn(pdf.MAX_INSTANCES + 1)
    with pytest.raises(
        pdf.TooMuchForPdf, match=r"at most 2,000 instances, these are 2,001: --format html and --format ndjson"
    ):
        document(ASKED, many)
    assert many.made == 0


def test_more_pages_than_a_pdf_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "MAX_PAGES", 5)
    with pytest.raises(pdf.TooMuchForPdf, match=r"at most 5 pages, .*--format ndjson"):
        document(ASKED, reports(60))
    assert document(ASKED, reports(1)).startswith(b"%PDF")


def test_the_reports_are_attached_as_the_JSON_that_report_export_gives() -> None:
    some = reports(2)
    (stream,) = re.findall(rb"/Type /EmbeddedFile\n>>\nstream\n(.*?)endstream", document(ASKED, some), re.DOTALL)
    attached = zlib.decompressobj().decompress(stream)
    assert attached == b"".join(whole_json(ASKED, some))
    assert [unsealed(report) for report in json.loads(attached)["reports"]] == some


def test_an_empty_fleet_has_a_file() -> None:
    assert document(ASKED | {"as_of": None}, []).startswith(b"%PDF-")


def test_every_page_says_its_number_and_how_many_there_are() -> None:
    pdf = document(ASKED, reports(60))
    (pages,) = {
        int(n) for n in re.findall(rb"/Count (\d+)[^>]*/Type /Pages|/Type /Pages[^>]*/Count (\d+)", pdf)[0] if n
    }
    assert pages > 5
    text = text_of(pdf)
    for number in range(1, pages + 1):
        assert re.search(rf"Page {number} of +{pages}\b", text)


def test_the_report_tells_the_numbers_the_findings_and_the_inputs() -> None:
    report = reports(1)[0]
    report["inputs"] |= {"inventory_digest": "ab" * 32}
    text = " ".join(text_of(document(ASKED, [report])).split())
    for words in (
        "Patch compliance report",
        "1 instance as of 2026-11-22 12:40 UTC",
        "Non-compliant 1 100.0 % worst: CRITICAL 1",
        "MISSING CRITICAL openssl-libs.x86_64",
        "MISSING HELD(versionlock) HIGH nginx",
        "because CESA-2023:1335 was approved by rule 1.",
        "ab" * 32,
        "b-1 version 3",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("name", "fonts"),
    [
        ("ecs-web-01", [pdf_text.PLAIN]),
        ("Żółw-сервер-Ω", [pdf_text.PLAIN]),
        ("数据库-01", ["STSong-Light", pdf_text.PLAIN]),
        ("서버", ["HYSMyeongJo-Medium"]),
        ("", []),
    ],
)
def test_each_letter_gets_a_font_that_has_it(name: str, fonts: list[str]) -> None:
    pdf_text.register()
    found = list(pdf_text.runs(name, pdf_text.PLAIN))
    assert [font for font, _ in found] == fonts
    assert "".join(part for _, part in found) == name


def test_what_no_font_has_and_what_turns_the_writing_is_written_as_its_escape() -> None:
    pdf_text.register()
    assert list(pdf_text.runs("a\u202eb", pdf_text.PLAIN)) == [(pdf_text.PLAIN, "a\\u202eb")]
    assert list(pdf_text.runs("🙂", pdf_text.PLAIN)) == [(pdf_text.PLAIN, "\\U0001f642")]


def test_names_in_any_writing_and_of_any_length_make_a_file() -> None:
    report = reports(1)[0] | {"instance_name": "数据库🙂\u202e" + "x" * 500}
    assert document(ASKED, [report]).startswith(b"%PDF-")


def test_lines_are_broken_at_spaces_else_anywhere_and_nothing_is_lost() -> None:
    pdf_text.register()
    words = "one two three " * 30 + "x" * 400
    lines = pdf_text.wrap(words, pdf_text.PLAIN, 9, ROOM)
    assert len(lines) > 3
    assert all(pdf_text.width(line, pdf_text.PLAIN, 9) <= ROOM for line in lines)
    assert "".join(lines).replace(" ", "") == words.replace(" ", "")
    assert pdf_text.wrap("", pdf_text.PLAIN, 9, ROOM) == [""]
