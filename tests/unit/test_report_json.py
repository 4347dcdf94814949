"""Reports as JSON, NDJSON and CSV: canonical, sealed, written as they come."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from common.pb.v1 import report_pb2
from controller.cli.plain import columns, plain
from controller.report.render import ndjson, whole_json
from controller.report.seal import KEY, PLACE, asked, is_intact, unsealed
from controller.report.sheet import SEALED_COLUMNS, sheet
from controller.report.summary import summarise
from tests.scripted_patchctl import a_report

REPORT = plain(a_report())
ASKED = asked({"all": True}, "2026-11-22T12:40:00Z", all_items=False)


def made(*reports: dict[str, Any]) -> bytes:
    return b"".join(whole_json(ASKED, iter(reports)))


def test_R1_the_same_values_give_the_same_bytes_whatever_their_order() -> None:
    assert made(REPORT, REPORT) == made(dict(reversed(REPORT.items())), REPORT)
    assert list(ndjson(ASKED, [REPORT])) == list(ndjson(ASKED, [dict(reversed(REPORT.items()))]))


def test_the_file_is_canonical_JSON_with_the_values_as_they_are() -> None:
    for reports in ((), (REPORT,), (REPORT, REPORT)):
        text = made(*reports).decode()
        read = json.loads(text)
        assert text == json.dumps(read, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        assert [unsealed(r) for r in read["reports"]] == list(reports)
        assert all(is_intact(r) for r in read["reports"])
        assert (read["as_of"], read["asked"], len(read[KEY])) == (ASKED["as_of"], ASKED, 64)
        assert read["summary"] == summarise(ASKED, reports)


def test_NDJSON_is_a_sealed_report_a_line_that_knows_its_place() -> None:
    lines = [json.loads(line) for line in b"".join(ndjson(ASKED, [REPORT, REPORT])).splitlines()]
    assert [{n: v for n, v in unsealed(line).items() if n != PLACE} for line in lines] == [REPORT, REPORT]
    assert [(line[PLACE]["number"], line[PLACE]["last"]) for line in lines] == [(1, False), (2, True)]
    assert [line[PLACE]["after"] for line in lines] == ["", lines[0][KEY]]
    assert [line[PLACE]["asked"] for line in lines] == [ASKED, None]


def test_a_line_break_in_a_name_breaks_no_line() -> None:
    odd = REPORT | {"instance_name": "a\n    b\u2028"}
    assert json.loads(made(odd))["reports"][0]["instance_name"] == odd["instance_name"]
    (line,) = ndjson(ASKED, [odd])
    assert line.count(b"\n") == 1


def test_reports_are_taken_one_at_a_time() -> None:
    taken = 0

    def reports() -> Iterator[dict[str, Any]]:
        nonlocal taken
        while True:
            taken += 1
            yield REPORT

    pieces = whole_json(ASKED, reports())
    for _ in range(5):
        next(pieces)
    assert taken == 3


def test_CSV_has_a_row_for_each_item_and_disarms_formulas() -> None:
    report = a_report()
    report.instance_name = "=cmd|' /C calc'!A0"
    bare = a_report()
    del bare.items[:]
    text = b"".join(sheet([plain(report), plain(bare)])).decode()
    first, second, third = csv.DictReader(io.StringIO(text))
    assert first["instance_name"] == second["instance_name"] == "'=cmd|' /C calc'!A0"
    assert [row["item.name"] for row in (first, second, third)] == ["openssl-libs", "nginx", ""]
    assert first["item.cves"] == "CVE-2023-0286"
    assert [row["report.number"] for row in (first, second, third)] == ["1", "1", "2"]
    assert [row["report.last"] for row in (first, second, third)] == ["false", "false", "true"]
    assert all(len(row) == len(SEALED_COLUMNS) for row in (first, second, third))


def test_the_columns_of_CSV_are_the_fields_of_the_API() -> None:
    item = [name.removeprefix("item.") for name in SEALED_COLUMNS if name.startswith("item.")]
    assert item == list(columns(report_pb2.ReportItem.DESCRIPTOR))
    inputs = {name for name in SEALED_COLUMNS if name.startswith("inputs.")}
    assert inputs == {f"inputs.{name}" for name in columns(report_pb2.ReportInputs.DESCRIPTOR)}
    assert {name for name in SEALED_COLUMNS if "." not in name} <= set(REPORT)
