"""Reports as JSON, NDJSON and CSV: canonical, sealed, written as they come."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from controller.cli.export import csv_columns, csv_rows
from controller.cli.plain import plain
from controller.cli.printer import write_csv
from controller.report.render import ndjson, whole_json
from controller.report.seal import KEY, is_intact, unsealed
from tests.scripted_patchctl import a_report, a_summary

SUMMARY = plain(a_summary())
REPORT = plain(a_report())


def made(*reports: dict[str, Any]) -> bytes:
    return b"".join(whole_json(SUMMARY, iter(reports)))


def test_R1_the_same_values_give_the_same_bytes_whatever_their_order() -> None:
    assert made(REPORT, REPORT) == made(dict(reversed(REPORT.items())), REPORT)
    assert list(ndjson([REPORT])) == list(ndjson([dict(reversed(REPORT.items()))]))


def test_the_file_is_canonical_JSON_with_the_values_as_they_are() -> None:
    for reports in ((), (REPORT,), (REPORT, REPORT)):
        text = made(*reports).decode()
        read = json.loads(text)
        assert text == json.dumps(read, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        assert [unsealed(r) for r in read["reports"]] == list(reports)
        assert all(is_intact(r) for r in read["reports"])
        assert (read["as_of"], read["summary"], len(read[KEY])) == (SUMMARY["as_of"], SUMMARY, 64)


def test_NDJSON_is_a_sealed_report_a_line() -> None:
    lines = b"".join(ndjson([REPORT, REPORT])).splitlines()
    assert [unsealed(json.loads(line)) for line in lines] == [REPORT, REPORT]


def test_a_line_break_in_a_name_breaks_no_line() -> None:
    odd = REPORT | {"instance_name": "a\n    b\u2028"}
    assert json.loads(made(odd))["reports"][0]["instance_name"] == odd["instance_name"]
    (line,) = ndjson([odd])
    assert line.count(b"\n") == 1


def test_reports_are_taken_one_at_a_time() -> None:
    taken = 0

    def reports() -> Iterator[dict[str, Any]]:
        nonlocal taken
        while True:
            taken += 1
            yield REPORT

    pieces = whole_json(SUMMARY, reports())
    for _ in range(4):
        next(pieces)
    assert taken == 3


def test_CSV_has_a_row_for_each_item_and_disarms_formulas() -> None:
    report = a_report()
    report.instance_name = "=cmd|' /C calc'!A0"
    bare = a_report()
    del bare.items[:]
    out = io.StringIO()
    write_csv(out, csv_columns(), [*csv_rows(report), *csv_rows(bare)])
    first, second, third = csv.DictReader(io.StringIO(out.getvalue()))
    assert first["instance_name"] == second["instance_name"] == "'=cmd|' /C calc'!A0"
    assert [row["item.name"] for row in (first, second, third)] == ["openssl-libs", "nginx", ""]
    assert first["item.cves"] == "CVE-2023-0286"
