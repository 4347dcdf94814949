"""patchctl report against a scripted controller."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import PermissionDenied
from common.pb.v1 import fleet_pb2, report_pb2, types_pb2
from controller.cli.trend import bar
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


def test_report_show_says_nothing_twice_and_counts_only_what_it_does_not_show(server: ScriptedController) -> None:
    report = a_report()
    report.counts.excepted = 3
    for name, status, reason in (
        ("sudo", types_pb2.PATCH_STATUS_EXCEPTED, "EXCEPTED"),
        ("telnet", types_pb2.PATCH_STATUS_REJECT, "REJECTED"),
    ):
        report.items.add(name=name, status=status, reason=reason, level=types_pb2.COMPLIANCE_LEVEL_HIGH)
    server.answers["GetReport"] = lambda _: report_pb2.GetReportResponse(report=report)
    lines = patchctl("report", "show", "ecs-web-02").stdout.splitlines()
    assert [line.split() for line in lines[4:6]] == [["EXCEPTED", "HIGH", "sudo"], ["REJECT", "HIGH", "telnet"]]
    assert lines[6] == "  ... 2 EXCEPTED, 402 INSTALLED, 531 INSTALLED_OTHER (use --all)"


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
    report = a_report()
    report.inputs.as_of.FromJsonString("2026-11-22T12:40:00Z")
    reports = [report_pb2.ExportResponse(report=report)] * 2
    server.answers["Export"] = lambda _: iter(reports)
    text = patchctl("report", "export", "--all", "--region", "r1").stdout
    document = json.loads(text)
    assert sorted(document) == ["as_of", "asked", "reports", "sha256", "summary"]
    assert document["as_of"] == document["summary"]["as_of"] == "2026-11-22T12:40:00Z"
    assert (document["asked"]["all_items"], document["asked"]["as_of"]) == (True, None)
    assert document["asked"]["selector"]["regions"] == ["r1"]
    assert document["summary"]["counts"] == {"compliant": 0, "non_compliant": 2, "undetermined": 0}
    assert document["reports"][1]["items"][0]["cves"] == ["CVE-2023-0286"]
    assert text == json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert server.requests("Export")[0] == report_pb2.ExportRequest(
        selector=fleet_pb2.Selector(all=True, regions=["r1"]), all_items=True
    )
    file = tmp_path / "report.json"
    result = patchctl("report", "export", "--all", "--region", "r1", "--file", str(file))
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


def test_as_of_a_day_means_its_end_and_today_means_now(server: ScriptedController) -> None:
    server.answers["GetReport"] = lambda _: report_pb2.GetReportResponse(report=a_report())
    server.answers["GetSummary"] = lambda _: a_summary()
    server.answers["ListReports"] = lambda _: report_pb2.ListReportsResponse(reports=[a_report()])
    server.answers["Why"] = lambda _: report_pb2.WhyResponse()
    shown = patchctl("report", "show", "x", "--as-of", "2026-11-01", "--baseline", "strict").stdout.splitlines()[0]
    assert shown.endswith(" · as of 2026-11-01 23:59 UTC")
    patchctl("report", "list", "--as-of", "2026-11-01T08:30:05+02:00")
    patchctl("report", "why", "x", "bash", "--as-of", "2026-11-01 08:30", "--baseline", "strict")
    patchctl("report", "summary", "--as-of", f"{datetime.now(UTC):%Y-%m-%d}")
    (got,), (listed,), (why,), (summary,) = (
        server.requests(name) for name in ("GetReport", "ListReports", "Why", "GetSummary")
    )
    assert got.as_of.ToDatetime(tzinfo=UTC) == datetime(2026, 11, 1, 23, 59, 59, tzinfo=UTC)
    assert listed.as_of.ToDatetime(tzinfo=UTC) == datetime(2026, 11, 1, 6, 30, 5, tzinfo=UTC)
    assert why.as_of.ToDatetime(tzinfo=UTC) == datetime(2026, 11, 1, 8, 30, tzinfo=UTC)
    assert (got.baseline, why.baseline) == ("strict", "strict")
    assert not summary.HasField("as_of")


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "", "2026-11-01T99:00"])
def test_what_is_no_date_is_misuse_that_shows_the_forms(server: ScriptedController, text: str) -> None:
    done = patchctl("report", "show", "x", "--as-of", text)
    assert done.exit_code == 2
    assert f"--as-of: {text!r} is not a date; write a day as 2026-11-01" in done.stderr
    assert not server.calls


def a_trend() -> report_pb2.GetTrendResponse:
    counts = report_pb2.ComplianceCounts
    return report_pb2.GetTrendResponse(
        points=[
            report_pb2.TrendPoint(date="2026-11-20", counts=counts()),
            report_pb2.TrendPoint(date="2026-11-21", counts=counts(compliant=2, undetermined=2)),
            report_pb2.TrendPoint(date="2026-11-22", counts=counts(compliant=5, non_compliant=2, undetermined=1)),
        ]
    )


def test_the_trend_is_drawn_with_characters_in_80_columns(
    server: ScriptedController, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["GetTrend"] = lambda _: a_trend()
    monkeypatch.setenv("COLUMNS", "80")
    assert patchctl("report", "trend", "--days", "3").stdout.splitlines() == [
        "Compliance of 8 instances over 3 days, each at its end (UTC), the last now",
        "█ compliant  ▒ non-compliant  ░ undetermined",
        "No instances before 2026-11-21.",
        "day                             compliant  non-compliant  undetermined   share",
        "2026-11-21  █████░░░░                   2              0             2  50.0 %",
        "2026-11-22  ███████████▒▒▒▒▒░░          5              2             1  62.5 %",
    ]
    assert server.requests("GetTrend")[0].days == 3
    rows = list(csv.DictReader(io.StringIO(patchctl("report", "trend", "-o", "csv").stdout)))
    assert [row["counts.compliant"] for row in rows] == ["0", "2", "5"]
    assert json.loads(patchctl("report", "trend", "-o", "json").stdout)[2]["date"] == "2026-11-22"
    assert patchctl("report", "trend", "--days", "367").exit_code == 2


@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=3), st.integers(0, 10**6), st.integers(3, 60))
def test_every_part_of_a_bar_that_is_there_is_seen_and_none_that_is_not(parts: list[int], more: int, room: int) -> None:
    drawn = bar(parts, sum(parts) + more, room)
    assert len(drawn) <= room
    for part, mark in zip(parts, "█▒░", strict=True):
        assert (mark in drawn) == (part > 0)
    assert drawn == "".join(sorted(drawn, key="█▒░".index))
    if not more and sum(parts):
        assert len(drawn) == room


def an_advisory_message() -> report_pb2.Advisory:
    return report_pb2.Advisory(
        id="CESA-2023:1335",
        category=types_pb2.CATEGORY_SECURITY,
        severity=types_pb2.SEVERITY_IMPORTANT,
        title="openssl security update",
        issued="2023-03-20",
        first_seen_at=at(datetime(2026, 11, 1, 8, 0, tzinfo=UTC)),
        cves=["CVE-2023-0286"],
        packages=["openssl-libs-1:1.0.2k-26.el7_9.x86_64"],
        repositories=["updates"],
        affected_instances=3,
    )


def test_advisories_are_listed_and_shown(server: ScriptedController) -> None:
    server.answers["ListAdvisories"] = lambda _: report_pb2.ListAdvisoriesResponse(advisories=[an_advisory_message()])
    listed = patchctl(
        "advisory", "list", "--category", "security", "--severity", "important", "--affecting", "--text", "ssl"
    )
    assert re.search(r"CESA-2023:1335 +SECURITY +IMPORTANT +2023-03-20 +3 +openssl security update", listed.stdout)
    assert listed.stderr == "1 advisory\n"
    (request,) = server.requests("ListAdvisories")
    assert list(request.categories) == [types_pb2.CATEGORY_SECURITY]
    assert list(request.severities) == [types_pb2.SEVERITY_IMPORTANT]
    assert (request.affecting_only, request.text) == (True, "ssl")
    server.answers["GetAdvisory"] = lambda _: report_pb2.GetAdvisoryResponse(advisory=an_advisory_message())
    assert patchctl("advisory", "show", "cesa-2023:1335").stdout.splitlines() == [
        "CESA-2023:1335  SECURITY  IMPORTANT",
        "  openssl security update",
        "  issued        2023-03-20",
        "  first seen    2026-11-01 08:00 UTC",
        "  repositories  updates",
        "  CVEs          CVE-2023-0286",
        "  lacked by     3 instances: patchctl advisory affected CESA-2023:1335",
        "  1 build",
        "    openssl-libs-1:1.0.2k-26.el7_9.x86_64",
    ]


def test_who_has_this_is_a_table_and_says_of_how_many_it_is_not_known(server: ScriptedController) -> None:
    def row(number: int, *, fixed: bool) -> report_pb2.Affected:
        return report_pb2.Affected(
            instance_name=f"ecs-{number}",
            name="bash",
            arch="x86_64",
            installed="4.2-1",
            fixed_in="4.2-2",
            fixed=fixed,
            advisory_id="CESA-1",
        )

    pages = {
        "": report_pb2.ListAffectedResponse(
            affected=[row(1, fixed=False)], next_page_token="more", affected_instances=1, unknown_instances=2
        ),
        "more": report_pb2.ListAffectedResponse(
            affected=[row(2, fixed=True)], affected_instances=1, unknown_instances=2
        ),
    }
    server.answers["ListAffected"] = lambda request: pages[request.page_token]
    lines = patchctl("advisory", "affected", "CVE-2026-0001", "--all", "--region", "r1").stdout.splitlines()
    assert lines[0] == "1 instance lacks CVE-2026-0001; of 2 others it is not known"
    assert re.search(r"ecs-1 +bash.x86_64 +4.2-1 +4.2-2 +lacking +CESA-1", lines[2])
    assert re.search(r"ecs-2 +bash.x86_64 +4.2-1 +4.2-2 +fixed", lines[3])
    first = server.requests("ListAffected")[0]
    assert (first.include_fixed, list(first.selector.regions)) == (True, ["r1"])
    document = json.loads(patchctl("advisory", "affected", "CVE-2026-0001", "-o", "json").stdout)
    assert [r["instance_name"] for r in document["affected"]] == ["ecs-1", "ecs-2"]
    assert document["unknown_instances"] == 2
