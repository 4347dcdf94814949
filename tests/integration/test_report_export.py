"""patchctl report export and verify: every format from a scripted controller, and a real one asked again about the past."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from common.errors import NotFound, PermissionDenied, Rejected
from common.pb.v1 import baseline_pb2, fleet_pb2, report_pb2, types_pb2
from common.pb.v1 import ticket_pb2 as pb
from tests.builders import a_package, an_instance
from tests.integration.api_harness import TIMEOUT, Harness, serving
from tests.scripted_controller import ScriptedController
from tests.scripted_patchctl import (  # noqa: F401 - fixtures
    a_report,
    at,
    logged_in,
    patchctl,
    started,
)

AS_OF = datetime(2026, 11, 22, 12, 40, tzinfo=UTC)


def a_dated_report(name: str = "ecs-web-02") -> report_pb2.InstanceReport:
    report = a_report()
    report.instance_id, report.instance_name = f"i-{name}", name
    report.inputs.as_of.CopyFrom(at(AS_OF))
    return report


@pytest.fixture(name="fleet")
def two_instances(server: ScriptedController) -> dict[str, report_pb2.InstanceReport]:
    """A controller with two reports: what `export` says, `GetReport` says again."""
    found = {r.instance_id: r for r in (a_dated_report(), a_dated_report("ecs-db-01"))}
    server.answers |= {
        "Export": lambda _: iter([report_pb2.ExportResponse(report=r) for r in found.values()]),
        "GetReport": lambda request: report_pb2.GetReportResponse(report=found[request.instance]),
    }
    return found


Fleet = dict[str, report_pb2.InstanceReport]


@pytest.mark.parametrize(
    ("kind", "begins", "holds"),
    [
        ("json", b'{\n  "as_of"', b'"openssl-libs"'),
        ("ndjson", b'{"application_group"', b'"openssl-libs"'),
        ("csv", b"instance_id,instance_name", b"openssl-libs"),
        ("html", b"<!DOCTYPE html>", b"openssl-libs"),
        ("pdf", b"%PDF-", b"/Title (Patch compliance as of 2026-11-22 12:40 UTC)"),
    ],
)
def test_each_format_goes_to_a_file_and_twice_it_is_the_same(
    fleet: Fleet, tmp_path: Path, kind: str, begins: bytes, holds: bytes
) -> None:
    files = [tmp_path / "one", tmp_path / "two"]
    for file in files:
        result = patchctl("report", "export", "--format", kind, "--file", str(file))
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr == f"2 reports written to {file}\n"
    content = files[0].read_bytes()
    assert content.startswith(begins)
    assert holds in content
    assert content == files[1].read_bytes()
    assert patchctl("report", "export", "--format", kind).stdout_bytes == content


def test_cyclonedx_describes_one_instance_with_all_its_packages(server: ScriptedController, fleet: Fleet) -> None:
    server.answers["Export"] = lambda request: iter(
        [report_pb2.ExportResponse(report=r) for r in fleet.values() if r.instance_name in request.selector.instances]
    )
    bill = json.loads(patchctl("report", "export", "--format", "cyclonedx", "--instance", "ecs-db-01").stdout)
    assert (bill["specVersion"], bill["metadata"]["component"]["name"]) == ("1.6", "ecs-db-01")
    assert {v["id"]: v["analysis"]["state"] for v in bill["vulnerabilities"]} == {"CVE-2023-0286": "exploitable"}
    assert server.requests("Export")[0].all_items
    refused = patchctl("report", "export", "--format", "cyclonedx")
    assert (refused.exit_code, refused.stderr.count("name it with --instance")) == (2, 1)


def test_the_two_options_for_the_format_may_not_disagree(fleet: Fleet) -> None:
    assert patchctl("report", "export", "--format", "csv", "-o", "csv").exit_code == 0
    assert patchctl("report", "export", "--format", "pdf", "-o", "csv").exit_code == 2
    assert patchctl("report", "export", "-o", "pdf").exit_code == 2


def test_an_export_of_a_past_day_asks_for_it(server: ScriptedController, fleet: Fleet) -> None:
    assert patchctl("report", "export", "--as-of", "2026-11-01").exit_code == 0
    wanted = at(datetime(2026, 11, 1, 23, 59, 59, tzinfo=UTC))
    assert [r.as_of for r in server.requests("Export")] == [wanted]
    assert patchctl("report", "export", "--as-of", "yesterday").exit_code == 2


@pytest.mark.parametrize("kind", ["html", "pdf", "json"])
def test_an_export_that_breaks_leaves_the_old_file_alone(
    server: ScriptedController, fleet: Fleet, tmp_path: Path, kind: str
) -> None:
    def broken(_: Any) -> Iterator[Any]:
        yield report_pb2.ExportResponse(report=a_dated_report())
        raise PermissionDenied("not any more")

    server.answers["Export"] = broken
    file = tmp_path / "report"
    file.write_text("old")
    assert patchctl("report", "export", "--format", kind, "--file", str(file)).exit_code == 1
    assert file.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["controller-join.pem", "report"]


def test_a_pipe_is_written_to_and_a_link_and_a_files_mode_stay(fleet: Fleet, tmp_path: Path) -> None:
    """Whoever names a device or a pipe wants it written, not replaced; root could replace any."""
    pipe, link, private = tmp_path / "pipe", tmp_path / "latest.json", tmp_path / "private.json"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        assert patchctl("report", "export", "--file", str(pipe)).exit_code == 0
        read, _ = reader.communicate(timeout=TIMEOUT)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    private.write_text("old")
    private.chmod(0o600)
    link.symlink_to(private)
    assert patchctl("report", "export", "--file", str(link)).exit_code == 0
    assert link.is_symlink()
    assert private.read_bytes() == read != b""
    assert private.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("name", "why"), [("loop", "Too many levels of symbolic links"), ("n" * 300, "File name too long")]
)
def test_a_name_under_which_nothing_can_be_written_is_misuse_and_says_why(
    fleet: Fleet, tmp_path: Path, name: str, why: str
) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    result = patchctl("report", "export", "--file", str(tmp_path / name))
    assert result.exit_code == 2
    assert result.stderr == f"error: --file: {tmp_path / name} cannot be written: {why}\n"
    assert loop.is_symlink()


def test_a_report_is_exported_to_stdout_as_it_is_told_by_a_dash_and_no_file_is_called_so(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert patchctl("report", "export", "--file", "-").stdout == patchctl("report", "export").stdout != ""
    assert not (tmp_path / "-").exists()


def test_a_fleet_of_any_size_is_exported_without_holding_it(server: ScriptedController, tmp_path: Path) -> None:
    report = a_dated_report()
    report.items[0].why = "x" * 100_000
    count = 1
    server.answers["Export"] = lambda _: (report_pb2.ExportResponse(report=report) for _ in range(count))
    for kind in ("json", "ndjson", "csv", "html"):
        file = tmp_path / kind
        count = 1  # what is imported for it counts once, and is no part of what is held
        assert patchctl("report", "export", "--format", kind, "--file", str(file)).exit_code == 0
        count = 100
        tracemalloc.start()
        assert patchctl("report", "export", "--format", kind, "--file", str(file)).exit_code == 0
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert file.stat().st_size > 10_000_000
        assert peak < 6_000_000, kind
        file.unlink()


def exported(tmp_path: Path, kind: str = "json", *more: str) -> Path:
    file = tmp_path / f"report.{kind}"
    result = patchctl("report", "export", "--format", kind, "--file", str(file), *more)
    assert result.exit_code == 0, result.stderr
    return file


def verify(file: Path, *more: str) -> Result:
    return patchctl("report", "verify", str(file), *more)


@pytest.mark.parametrize("kind", ["json", "ndjson"])
def test_R1_the_same_inputs_verify_a_file(server: ScriptedController, fleet: Fleet, tmp_path: Path, kind: str) -> None:
    result = verify(exported(tmp_path, kind))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "2 reports verified: the same inputs give the same answers.\n"
    assert server.requests("GetReport") == [
        report_pb2.GetReportRequest(instance=instance, as_of=at(AS_OF)) for instance in fleet
    ]


def test_a_file_laid_out_anew_is_verified_too(fleet: Fleet, tmp_path: Path) -> None:
    file = exported(tmp_path)
    file.write_text(json.dumps(json.loads(file.read_text())))
    assert verify(file).exit_code == 0


@pytest.mark.parametrize("kind", ["json", "ndjson"])
def test_a_report_that_differs_gets_a_line_that_says_what_changed(fleet: Fleet, tmp_path: Path, kind: str) -> None:
    file = exported(tmp_path, kind)
    now = fleet["i-ecs-db-01"]
    now.inputs.baseline_version = 4
    now.items[0].status = types_pb2.PATCH_STATUS_INSTALLED
    result = verify(file)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "ecs-db-01  input baseline was b-1 version 3, is b-1 version 4; openssl-libs.x86_64 was MISSING, is INSTALLED"
    ]
    assert result.stderr == "1 of 2 reports cannot be verified.\n"
    said = json.loads(verify(file, "-o", "json").stdout)
    assert (said["reports"], [d["instance"] for d in said["differing"]]) == (2, ["ecs-db-01"])


def test_a_file_with_compliant_packages_is_compared_with_all_of_them(
    server: ScriptedController, fleet: Fleet, tmp_path: Path
) -> None:
    fleet["i-ecs-db-01"].items.add(status=types_pb2.PATCH_STATUS_INSTALLED_OTHER, name="tzdata", installed="1-1")
    assert verify(exported(tmp_path, "json", "--all")).exit_code == 0
    assert [r.all_items for r in server.requests("GetReport")] == [True, True]


@pytest.mark.parametrize(
    ("kind", "what", "line"),
    [
        ("json", ('"MISSING"', '"INSTALLED"'), "ecs-web-02  report 1 was changed after it was written"),
        ("ndjson", ('"ecs-db-01"', '"ecs-db-02"'), "ecs-db-02  report 2 was changed after it was written"),
        ("json", ('"non_compliant": 2,', '"non_compliant": 12,'), "was changed after it was written"),
        ("json", ('"as_of": "2026-11-22T12:40:00Z",\n  "ask', '"as_of": "2026-11-21T12:40:00Z",\n  "ask'), "as_of"),
        ("ndjson", ('"sha256"', '"sha255"'), "ecs-web-02  report 1 has no seal"),
    ],
)
def test_a_file_that_was_changed_is_seen_without_asking_anybody(
    server: ScriptedController, fleet: Fleet, tmp_path: Path, kind: str, what: tuple[str, str], line: str
) -> None:
    file = exported(tmp_path, kind)
    text = file.read_text()
    assert what[0] in text
    file.write_text(text.replace(*what))
    result = verify(file)
    assert result.exit_code == 1
    assert line in result.stdout
    assert not server.requests("GetReport")


def test_a_report_taken_out_of_a_file_is_missed(fleet: Fleet, tmp_path: Path) -> None:
    file = exported(tmp_path)
    whole = json.loads(file.read_text())
    whole["reports"].pop()
    file.write_text(json.dumps(whole))
    assert verify(file).exit_code == 1


@pytest.mark.parametrize("error", [NotFound("instance", "i-1", ""), Rejected("past days are not kept that long")])
def test_what_cannot_be_computed_again_is_said_and_is_not_verified(
    server: ScriptedController, fleet: Fleet, tmp_path: Path, error: Exception
) -> None:
    def refused(_: Any) -> Any:
        raise error

    file = exported(tmp_path)
    server.answers["GetReport"] = refused
    result = verify(file)
    assert result.exit_code == 1
    assert result.stdout.startswith("ecs-web-02  cannot be computed again: ")
    assert verify(file, "--controller", "127.0.0.1:1").exit_code == 3


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"reports": 1, "summary": {}}', b"\xff\xfe", b"[" * 100_000, b'{"instance_id": 1}']
)
def test_what_is_no_export_is_refused(fleet: Fleet, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    result = verify(file)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {file} ")
    assert verify(tmp_path / "nothing").exit_code == 2


def test_help_stays_quick_for_the_libraries_come_with_the_command() -> None:
    code = (
        "import sys, controller.cli.main; "
        "print([m for m in ('jinja2', 'reportlab', 'cyclonedx', 'pymupdf_fonts', 'grpc') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


async def scanned(harness: Harness) -> None:
    admin = await harness.admin()
    spec = pb.TicketSpec(selector=fleet_pb2.Selector(instances=["web-1"]))
    ticket = (await admin.tickets.CreateTicket(pb.CreateTicketRequest(spec=spec))).ticket
    async with asyncio.timeout(TIMEOUT):
        async for _ in admin.tickets.Watch(pb.WatchRequest(ticket_id=ticket.id)):
            pass


async def test_R1_a_real_controller_verifies_what_it_said_before_host_and_baseline_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as harness:
        agent = await harness.connect("web-1")
        await harness.store.fleet.put_instance(an_instance(1))
        await scanned(harness)
        monkeypatch.setenv("PATCHCTL_CONFIG", str(tmp_path / "config.toml"))
        monkeypatch.setenv("PATCHCTL_CONTROLLER", harness.controller.address)
        monkeypatch.setenv("PATCHCTL_JOIN", str(tmp_path / "join.pem"))
        assert harness.controller.first_token is not None
        monkeypatch.setenv("PATCHCTL_TOKEN", harness.controller.first_token)
        file = await asyncio.to_thread(exported, tmp_path, "json", "--all")
        reports = {r["instance_name"]: r for r in json.loads(file.read_text())["reports"]}
        assert [i["name"] for i in reports["web-1"]["items"]] == ["bash"]
        assert reports["ecs-0001"]["reasons"][0]["reason"] == "NO_REPORT"
        result = await asyncio.to_thread(verify, file)
        assert (result.exit_code, result.stdout) == (0, "")
        kept = [file]
        for kind in ("ndjson", "csv", "html", "pdf", "cyclonedx"):
            one = ("--instance", "web-1") if kind == "cyclonedx" else ()
            kept.append(await asyncio.to_thread(exported, tmp_path, kind, "--all", *one))
        told = json.loads((await asyncio.to_thread(patchctl, "report", "summary", "-o", "json")).stdout)
        made = json.loads(file.read_text())["summary"]
        assert {name: made[name] for name in made if name != "as_of"} == {n: told[n] for n in told if n != "as_of"}

        lines = [a_package(), a_package("tzdata-2026a-1.el7.noarch")]
        monkeypatch.setattr(agent, "_lines", lambda: lines)
        await scanned(harness)
        later = json.loads((await asyncio.to_thread(patchctl, "report", "export", "--all")).stdout)
        now = {r["instance_name"]: r for r in later["reports"]}["web-1"]
        assert [i["name"] for i in now["items"]] == ["bash", "tzdata"]
        rule = baseline_pb2.BaselineRule(approve_after_days=0)
        strict = baseline_pb2.Baseline(
            name="Strict", scenario=types_pb2.RESOURCE_TYPE_ECS, operating_system="CentOS", rules=[rule]
        )
        admin = await harness.admin()
        made = await admin.baselines.CreateBaseline(baseline_pb2.CreateBaselineRequest(baseline=strict))
        await admin.baselines.SetDefaultBaseline(baseline_pb2.SetDefaultBaselineRequest(baseline=made.baseline.id))
        changed = json.loads((await asyncio.to_thread(patchctl, "report", "export")).stdout)
        assert {r["baseline_name"] for r in changed["reports"]} == {"Strict"}
        for file in kept:  # as of then it was as it was
            result = await asyncio.to_thread(verify, file)
            assert (result.exit_code, result.stdout) == (0, ""), file
