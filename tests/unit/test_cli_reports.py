"""patchctl report against a scripted controller."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import PermissionDenied
from common.pb.v1 import fleet_pb2, report_pb2, types_pb2
from tests.scripted_controller import ScriptedController
from tests.scripted_patchctl import (  # noqa: F401 - fixtures
    FAILED_RUN,
    WEB_02,
    a_report,
    a_summary,
    a_ticket,
    ago,
    at,
    instances,
    logged_in,
    patchctl,
    started,
)


def test_report_summary_shows_three_numbers(server: ScriptedController) -> None:
    server.answers["GetSummary"] = lambda _: a_summary()
    assert patchctl("report", "summary").stdout.splitlines() == [
        "Compliance of 12 instances as of 2026-11-22 12:40 UTC",
        "  compliant           7   58.3 %",
        "  non-compliant       3   25.0 %   worst: CRITICAL 1, HIGH 2",
        "  undetermined        2   16.7 %   STALE 2",
        "Oldest missing critical patch: openssl-libs on ecs-web-02, 41 d",
        "  by          compliant  non-compliant  undetermined",
        "  region  r1          7              0             0",
        "          r2          0              3             2",
    ]


def test_report_show_says_what_is_wrong_and_since_when(server: ScriptedController) -> None:
    server.answers["GetReport"] = lambda _: report_pb2.GetReportResponse(report=a_report())
    lines = patchctl("report", "show", "ecs-web-02").stdout.splitlines()
    assert (
        lines[0] == "ecs-web-02  NON_COMPLIANT  CRITICAL   CentOS 7.9 · CentOS-Default v3 · scanned 4 m ago by T-7Q4M"
    )
    assert re.search(
        r"MISSING +CRITICAL +openssl-libs +1:1.0.2k-19.el7 +1:1.0.2k-26.el7_9 +CESA-2023:1335 \+1 +41 d", lines[2]
    )
    assert re.search(r"MISSING HELD +HIGH +nginx", lines[3])
    assert lines[4] == "  ... 1 EXCEPTED, 402 INSTALLED, 531 INSTALLED_OTHER (use --all)"
    rows = list(csv.DictReader(io.StringIO(patchctl("report", "show", "x", "-o", "csv").stdout)))
    assert [row["item.name"] for row in rows] == ["openssl-libs", "nginx"]
    assert rows[0]["instance_name"] == "ecs-web-02"


def test_report_list_filters_by_answer(server: ScriptedController) -> None:
    server.answers["ListReports"] = lambda _: report_pb2.ListReportsResponse(reports=[a_report()])
    assert (
        "ecs-web-02  NON_COMPLIANT  CRITICAL        2" in patchctl("report", "list", "--status", "non_compliant").stdout
    )
    (request,) = server.requests("ListReports")
    assert list(request.statuses) == [types_pb2.INSTANCE_STATUS_NON_COMPLIANT]
    assert request.selector.all


def test_report_why_is_a_sentence(server: ScriptedController) -> None:
    reason = report_pb2.Undetermined(
        reason=types_pb2.UNDETERMINED_REASON_STALE, detail="the report is 3 d old", help="Scan it."
    )
    server.answers["Why"] = lambda _: report_pb2.WhyResponse(
        items=[a_report().items[0]], reasons=[reason], instance_name="ecs-web-02"
    )
    assert patchctl("report", "why", "ecs-web-02", "openssl-libs").stdout.splitlines() == [
        "ecs-web-02 is missing openssl-libs because CESA-2023:1335 was approved by rule 1.",
        "ecs-web-02 is UNDETERMINED, STALE: the report is 3 d old. Scan it.",
    ]
    assert json.loads(patchctl("report", "why", "a", "b", "-o", "json").stdout)["items"][0]["name"] == "openssl-libs"


def test_an_export_is_one_canonical_json_object(server: ScriptedController, tmp_path: Path) -> None:
    summary = a_summary()
    server.answers["GetSummary"] = lambda _: summary
    reports = [report_pb2.ExportResponse(report=a_report())] * 2
    server.answers["Export"] = lambda _: iter(reports)
    text = patchctl("report", "export", "--all", "--region", "r1").stdout
    document = json.loads(text)
    assert sorted(document) == ["as_of", "reports", "summary"]
    assert document["as_of"] == "2026-11-22T12:40:00Z"
    assert document["reports"][1]["items"][0]["cves"] == ["CVE-2023-0286"]
    assert text == json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert server.requests("Export")[0] == report_pb2.ExportRequest(
        selector=fleet_pb2.Selector(all=True, regions=["r1"]), all_items=True
    )
    file = tmp_path / "report.json"
    result = patchctl("report", "export", "--file", str(file))
    assert (result.stdout, result.stderr) == ("", f"2 reports written to {file}\n")
    assert json.loads(file.read_text()) == document
    reports.clear()
    assert json.loads(patchctl("report", "export").stdout)["reports"] == []


def test_an_export_comes_as_lines_or_as_csv(server: ScriptedController) -> None:
    bare = report_pb2.InstanceReport(instance_name="new", status=types_pb2.INSTANCE_STATUS_UNDETERMINED)
    bare.reasons.add(reason=types_pb2.UNDETERMINED_REASON_NO_REPORT)
    server.answers["Export"] = lambda _: iter([report_pb2.ExportResponse(report=r) for r in (a_report(), bare)])
    lines = patchctl("report", "export", "--output", "ndjson").stdout.splitlines()
    assert [json.loads(line)["instance_name"] for line in lines] == ["ecs-web-02", "new"]
    for words in (("report", "export", "-o", "csv"), ("-o", "csv", "report", "export")):
        rows = list(csv.DictReader(io.StringIO(patchctl(*words).stdout)))
        assert [(r["instance_name"], r["item.name"], r["reasons"]) for r in rows] == [
            ("ecs-web-02", "openssl-libs", ""),
            ("ecs-web-02", "nginx", ""),
            ("new", "", "NO_REPORT"),
        ]
    assert patchctl("-o", "yaml", "report", "export").exit_code == 2


def test_an_export_that_breaks_leaves_the_old_file(server: ScriptedController, tmp_path: Path) -> None:
    def broken(_: Any) -> Iterator[Any]:
        yield report_pb2.ExportResponse(report=a_report())
        raise PermissionDenied("not any more")

    server.answers["GetSummary"] = lambda _: a_summary()
    server.answers["Export"] = broken
    file = tmp_path / "report.json"
    file.write_text("old")
    assert patchctl("report", "export", "--file", str(file)).exit_code == 1
    assert file.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["controller-join.pem", "report.json"]
