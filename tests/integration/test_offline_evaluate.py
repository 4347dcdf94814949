"""`patchctl evaluate`: an answer without a controller, and an exit code that a pipeline can stop at."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from common import manifest
from common.manifest import Manifest, OsRelease
from controller.cli.main import app
from tests.conftest import RealHost
from uniagent import inventory_command

BASH = "bash-4.2.46-34.el7.x86_64"
OPENSSL = "openssl-libs-1:1.0.2k-19.el7.x86_64"
AUTHOR = '<update from="a" status="final" version="1" type='


def advisory(identifier: str, build: str, kind: str = "security", severity: str = "", extra: str = "") -> str:
    """One <update>; `build` is "name epoch version release arch"."""
    name, epoch, version, release, arch = build.split()
    return (
        f'{AUTHOR}"{kind}"><id>{identifier}</id><severity>{severity}</severity><issued date="2023-03-20 00:00:00"/>'
        f'<references><reference type="cve" id="CVE-2023-0286"/></references><pkglist><collection>{extra}'
        f'<package name="{name}" epoch="{epoch}" version="{version}" release="{release}" arch="{arch}"/>'
        "</collection></pkglist></update>"
    )


def updateinfo(folder: Path, *advisories: str) -> Path:
    file = folder / "updateinfo.xml"
    file.write_text(f"<updates>{''.join(advisories)}</updates>")
    return file


def inventory(folder: Path, *lines: str) -> Path:
    file = folder / "web-01.txt"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def run(*arguments: object, stdin: str | None = None) -> tuple[int, str, str]:
    wide = {"COLUMNS": "200"}  # whatever the terminal is in which the tests run
    result = CliRunner(env=wide).invoke(app, ["evaluate", *map(str, arguments)], input=stdin)
    return result.exit_code, result.stdout, result.stderr


def answer(*arguments: object, stdin: str | None = None) -> dict[str, Any]:
    code, out, err = run("--output", "json", *arguments, stdin=stdin)
    found: dict[str, Any] = json.loads(out)
    assert (code, err) == ({"COMPLIANT": 0, "NON_COMPLIANT": 1, "UNDETERMINED": 4}[found["status"]], "")
    return found


BEHIND = advisory("CESA-2023:1335", "openssl-libs 1 1.0.2k 26.el7_9 x86_64", severity="Important")
DONE = advisory("CEBA-1", "bash 0 4.2.46 34.el7 x86_64", kind="bugfix")


def test_the_json_has_the_shape_that_was_promised(tmp_path: Path) -> None:
    found = answer("--inventory", inventory(tmp_path, BASH, OPENSSL), "--repo", updateinfo(tmp_path, BEHIND, DONE))
    assert set(found) == {"status", "reasons", "counts", "items", "advisories"}
    assert (found["status"], found["reasons"]) == ("NON_COMPLIANT", [])
    assert (found["counts"]["missing"], found["counts"]["installed"]) == (1, 1)
    missing, installed = found["items"]
    assert missing["why"].startswith("web-01 is missing openssl-libs 1:1.0.2k-26.el7_9 because advisory CESA-2023:1335")
    assert missing | {"why": ""} == {
        "name": "openssl-libs",
        "arch": "x86_64",
        "installed": "1:1.0.2k-19.el7",
        "status": "MISSING",
        "reason": "",
        "target": "1:1.0.2k-26.el7_9",
        "level": "UNSPECIFIED",
        "category": "Security",
        "severity": "Important",
        "advisories": ["CESA-2023:1335"],
        "cves": ["CVE-2023-0286"],
        "why": "",
    }
    assert (installed["name"], installed["status"], installed["target"]) == ("bash", "INSTALLED", "4.2.46-34.el7")
    assert found["advisories"] == [
        {
            "id": "CEBA-1",
            "type": "bugfix",
            "severity": "None",
            "package": "bash-4.2.46-34.el7.x86_64",
            "state": "installed",
        },
        {
            "id": "CESA-2023:1335",
            "type": "security",
            "severity": "Important",
            "package": "openssl-libs-1:1.0.2k-26.el7_9.x86_64",
            "state": "available",
        },
    ]


def test_the_exit_code_says_compliant_0_non_compliant_1_undetermined_4(tmp_path: Path) -> None:
    hosts = inventory(tmp_path, BASH, OPENSSL)
    assert answer("--inventory", hosts, "--repo", updateinfo(tmp_path, DONE))["status"] == "COMPLIANT"
    assert answer("--inventory", hosts, "--repo", updateinfo(tmp_path, DONE, BEHIND))["status"] == "NON_COMPLIANT"
    assert answer("--inventory", hosts, "--repo", updateinfo(tmp_path))["status"] == "UNDETERMINED"


def test_R1_the_same_question_has_the_same_bytes(tmp_path: Path) -> None:
    options = ("--inventory", inventory(tmp_path, BASH, OPENSSL), "--repo", updateinfo(tmp_path, BEHIND, DONE))
    assert run(*options, "--output", "json") == run(*options, "--output", "json")


def test_R11_a_repository_that_cannot_be_read_is_never_compliant(tmp_path: Path) -> None:
    hosts = inventory(tmp_path, BASH)
    (tmp_path / "broken").mkdir()
    found = answer("--inventory", hosts, "--repo", updateinfo(tmp_path, DONE), "--repo", tmp_path / "broken")
    (reason,) = found["reasons"]
    assert (found["status"], reason["reason"]) == ("UNDETERMINED", "REPO_ERROR")
    assert reason["detail"] == "repository broken: is no repository: it has no repodata/repomd.xml"
    assert reason["help"]
    assert [row["id"] for row in found["advisories"]] == ["CEBA-1"]


def test_R11_repositories_without_any_advisory_are_undetermined(tmp_path: Path) -> None:
    found = answer("--inventory", inventory(tmp_path, BASH), "--repo", updateinfo(tmp_path))
    assert [reason["reason"] for reason in found["reasons"]] == ["NO_ADVISORIES"]


def test_R11_advisories_that_name_no_package_are_no_advisories(tmp_path: Path) -> None:
    repo = updateinfo(tmp_path, f'{AUTHOR}"security"><id>CESA-1</id><pkglist><collection/></pkglist></update>')
    found = answer("--inventory", inventory(tmp_path, BASH), "--repo", repo)
    assert (found["status"], [r["reason"] for r in found["reasons"]]) == ("UNDETERMINED", ["NO_ADVISORIES"])


def test_R5_a_rule_that_counts_from_first_seen_is_refused_where_nobody_remembers_that_day(tmp_path: Path) -> None:
    """Every evaluation of files is the first time that they are seen: the rule would approve nothing, and all would comply for ever."""
    baseline = tmp_path / "b.yaml"
    options = (
        "--inventory",
        inventory(tmp_path, OPENSSL),
        "--repo",
        updateinfo(tmp_path, BEHIND),
        "--baseline",
        baseline,
    )
    head = "name: mine\noperating_system: CentOS\nrules:\n  - {date_basis: first_seen, "
    for rule in ("approve_after_days: 7}", "approve_until: 2024-01-01}"):
        baseline.write_text(head + rule)
        code, out, err = run(*options)
        assert (code, out) == (2, "")
        assert "rule 1 counts from the day on which an advisory was first seen, and files do not tell it" in err
    for rule in ("approve_after_days: 0}", "approve_until: 2999-01-01}"):
        baseline.write_text(head + rule)
        assert answer(*options)["status"] == "NON_COMPLIANT"


def test_a_package_that_becomes_noarch_or_is_it_no_more_is_missing_as_dnf_updates_it(tmp_path: Path) -> None:
    """`dnf check-update` lists both; `dnf updateinfo list`, which looks at name.arch, lists neither, and so does `advisories`."""
    repo = updateinfo(
        tmp_path,
        advisory("CESA-1", "lib 0 2 1 x86_64"),
        advisory("CESA-2", "tool 0 2 1 noarch"),
        advisory("X", "a 0 2 1 i686"),
    )
    hosts = inventory(tmp_path, "lib-1-1.noarch", "tool-1-1.x86_64", "a-1-1.x86_64")
    found = answer("--inventory", hosts, "--repo", repo)
    assert (found["status"], found["advisories"]) == ("NON_COMPLIANT", [])
    assert [(i["name"], i["arch"], i["reason"], i["target"]) for i in found["items"] if i["status"] == "MISSING"] == [
        ("lib", "noarch", "OBSOLETES(lib.x86_64)", "2-1"),
        ("tool", "x86_64", "OBSOLETES(tool.noarch)", "2-1"),
    ]
    assert found["items"][0]["why"].startswith(
        "web-01 still has lib, which lib.x86_64 2-1 replaces, because advisory CESA-1"
    )
    done = inventory(tmp_path, "lib-2-1.x86_64", "lib-1-1.noarch", "tool-2-1.noarch", "a-1-1.x86_64")
    assert answer("--inventory", done, "--repo", repo)["status"] == "COMPLIANT"


def test_R11_an_inventory_without_packages_is_undetermined(tmp_path: Path) -> None:
    found = answer("--inventory", inventory(tmp_path), "--repo", updateinfo(tmp_path, DONE))
    assert [reason["reason"] for reason in found["reasons"]] == ["RPMDB"]
    assert found["advisories"] == []


def test_R5_an_advisory_counts_from_the_day_it_was_issued(tmp_path: Path) -> None:
    options = ("--inventory", inventory(tmp_path, BASH, OPENSSL), "--repo", updateinfo(tmp_path, DONE, BEHIND))
    assert answer(*options, "--as-of", "2023-03-19")["status"] == "COMPLIANT"
    assert answer(*options, "--as-of", "2023-03-20")["status"] == "NON_COMPLIANT"


@pytest.mark.parametrize("issued", ["", "20/03/2023", "1970-01-01", "0"])
def test_R5_people_hear_of_an_advisory_that_a_rule_leaves_alone_because_it_has_no_date(
    tmp_path: Path, issued: str
) -> None:
    baseline = tmp_path / "baseline.yaml"
    baseline.write_text(
        "name: week\noperating_system: CentOS\nrules:\n  - {approve_after_days: 7, severities: [Important]}\n"
    )
    undated = BEHIND.replace("2023-03-20 00:00:00", issued)
    told = ("--inventory", inventory(tmp_path, OPENSSL), "--repo", updateinfo(tmp_path, undated, DONE))
    code, _, err = run(*told, "--baseline", baseline)
    assert code == 0  # it counts as seen today: never as of 1970
    assert err == (
        "CESA-2023:1335 has no date that can be read, so it counts from today: a rule of week that waits does not require it yet\n"
    )
    assert run(*told)[::2] == (1, "")  # a rule that does not wait requires it
    dated = updateinfo(tmp_path, BEHIND, DONE)
    assert run("--inventory", told[1], "--repo", dated, "--baseline", baseline)[::2] == (1, "")


def test_a_baseline_may_be_json_as_any_program_writes_it(tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    document = {"name": "all", "operating_system": "CentOS", "rules": [{"approve_after_days": 0}]}
    told = ("--inventory", inventory(tmp_path, OPENSSL), "--repo", updateinfo(tmp_path, BEHIND))
    for indent in (None, 2, "\t"):
        baseline.write_text(f"\ufeff{json.dumps(document, indent=indent)}\n")
        assert answer(*told, "--baseline", baseline)["status"] == "NON_COMPLIANT"
    baseline.write_text(
        '{"name": "all", "operating_system": "CentOS",\n"rules": [{"approve_after_days": 0}], "rules": []}'
    )
    code, _, err = run(*told, "--baseline", baseline)
    assert (code, "line 2" in err, "'rules' stands twice" in err) == (2, True, True)


def test_a_baseline_in_a_file_decides(tmp_path: Path) -> None:
    baseline = tmp_path / "b.yaml"
    baseline.write_text(
        "name: critical-only\noperating_system: CentOS\nrules:\n"
        "  - {categories: [Security], severities: [Critical], approve_after_days: 0, compliance_level: HIGH}\n"
    )
    options = ("--inventory", inventory(tmp_path, OPENSSL), "--baseline", baseline)
    assert answer(*options, "--repo", updateinfo(tmp_path, BEHIND))["status"] == "COMPLIANT"
    critical = advisory("CESA-9", "openssl-libs 1 1.0.2k 27.el7_9 x86_64", severity="Critical")
    found = answer(*options, "--repo", updateinfo(tmp_path, critical))
    assert (found["status"], found["items"][0]["level"]) == ("NON_COMPLIANT", "HIGH")


def test_the_lists_of_a_baseline_count(tmp_path: Path) -> None:
    baseline = tmp_path / "b.yaml"
    baseline.write_text(
        "name: lists\noperating_system: CentOS\nrules:\n  - {severities: [Critical], approve_after_days: 0}\n"
        "approved_patches:\n  - {entry: CVE-2023-0286, level: HIGH}\nrejected_patches:\n  - {entry: bash, action: BLOCK}\n"
    )
    options = ("--inventory", inventory(tmp_path, BASH, OPENSSL), "--repo", updateinfo(tmp_path, BEHIND))
    found = answer(*options, "--baseline", baseline)
    assert [(item["name"], item["status"], item["level"]) for item in found["items"]] == [
        ("openssl-libs", "MISSING", "HIGH"),
        ("bash", "REJECT", "UNSPECIFIED"),
    ]


def test_a_custom_baseline_needs_no_advisories(tmp_path: Path) -> None:
    baseline = tmp_path / "b.yaml"
    baseline.write_text(
        "name: custom\noperating_system: CentOS\ncustom_packages:\n  - {name: bash, version: 4.2.46, release: 35.el7}\n"
    )
    options = ("--inventory", inventory(tmp_path, BASH, OPENSSL), "--repo", updateinfo(tmp_path))
    found = answer(*options, "--baseline", baseline)
    assert (found["status"], found["reasons"]) == ("NON_COMPLIANT", [])
    assert [(i["name"], i["target"]) for i in found["items"] if i["status"] == "MISSING"] == [("bash", "4.2.46-35.el7")]


@pytest.mark.parametrize(
    ("products", "options", "expected"),
    [
        ("[All]", (), "NON_COMPLIANT"),
        ("[CentOS 7.9]", (), "NON_COMPLIANT"),
        ("[CentOS 7, CentOS 7.9]", (), "NON_COMPLIANT"),
        ("[CentOS 7.9, CentOS 8.4]", ("--os", "centos 7.9"), "NON_COMPLIANT"),
        ("[CentOS 7.9]", ("--os", "CentOS 8.4"), "UNDETERMINED"),
        ("[All]", ("--os", "Rocky Linux 9.4"), "UNDETERMINED"),
    ],
)
def test_an_inventory_that_names_no_system_is_taken_for_the_one_that_the_baseline_is_for(
    tmp_path: Path, products: str, options: tuple[str, ...], expected: str
) -> None:
    baseline = tmp_path / "b.yaml"
    baseline.write_text(
        f"name: mine\noperating_system: CentOS\nrules:\n  - {{products: {products}, approve_after_days: 0}}\n"
    )
    hosts = inventory(tmp_path, OPENSSL)
    repo = updateinfo(tmp_path, BEHIND)
    found = answer("--inventory", hosts, "--repo", repo, "--baseline", baseline, *options)
    assert found["status"] == expected
    assert {reason["reason"] for reason in found["reasons"]} <= {"NO_BASELINE"}


def test_R7_a_kernel_that_is_installed_and_not_running_is_pending_and_has_a_row_of_each_state(tmp_path: Path) -> None:
    kernels = [f"kernel-3.10.0-{release}.el7.x86_64" for release in ("957", "1160")]
    options = ("--inventory", inventory(tmp_path, *kernels), "--repo")
    repo = updateinfo(tmp_path, advisory("CEBA-2", "kernel 0 3.10.0 1160.el7 x86_64", kind="bugfix"))
    assert answer(*options, repo)["status"] == "COMPLIANT"
    assert answer(*options, repo, "--running-kernel", kernels[1])["status"] == "COMPLIANT"
    found = answer(*options, repo, "--running-kernel", kernels[0])
    assert [item["status"] for item in found["items"]] == ["PENDING_REBOOT"]
    assert [row["state"] for row in found["advisories"]] == ["available", "installed"]


def test_R7_a_running_kernel_of_another_flavour_or_that_is_not_installed_makes_no_rows_as_for_dnf(
    tmp_path: Path,
) -> None:
    """Dnf finds the running kernel among the installed packages, or asks about the newest ones only. The verdict knows better."""
    builds = ("kernel-3.10.0-957.el7.x86_64", "kernel-modules-3.10.0-1.el7.x86_64", "kernel-3.10.0-1160.el7.x86_64")
    hosts = inventory(tmp_path, *builds)
    repo = updateinfo(tmp_path, advisory("CEBA-2", "kernel 0 3.10.0 1160.el7 x86_64", kind="bugfix"))
    options = ("--inventory", hosts, "--repo", repo, "--running-kernel")
    for running, status in (
        ("kernel-rt-3.10.0-957.el7.x86_64", "COMPLIANT"),
        ("kernel-3.10.0-1.el7.x86_64", "NON_COMPLIANT"),
    ):
        found = answer(*options, running)
        assert (found["status"], [row["state"] for row in found["advisories"]]) == (status, ["installed"])


def test_R7_the_running_kernel_may_be_told_as_uname_does(tmp_path: Path) -> None:
    kernels = [f"kernel-3.10.0-{release}.el7.x86_64" for release in ("957", "1160")]
    repo = updateinfo(tmp_path, advisory("CEBA-2", "kernel 0 3.10.0 1160.el7 x86_64", kind="bugfix"))
    options = ("--inventory", inventory(tmp_path, *kernels), "--repo", repo, "--running-kernel")
    assert answer(*options, "3.10.0-1160.el7.x86_64")["status"] == "COMPLIANT"
    found = answer(*options, "3.10.0-957.el7.x86_64")
    assert found == answer(*options, kernels[0])
    assert [item["status"] for item in found["items"]] == ["PENDING_REBOOT"]
    code, out, err = run(*options, "3.10.0-1.el7.x86_64")
    assert (code, out) == (2, "")
    assert f"the inventory has {', '.join(sorted(kernels))}, but not 3.10.0-1.el7.x86_64; write the kernel's" in err


@pytest.mark.parametrize("part", ["kernel", "kernel-core", "kernel-modules", "kernel-modules-core"])
def test_R7_whichever_part_of_the_running_kernel_is_named_the_installed_one_is_pending(
    tmp_path: Path, part: str
) -> None:
    """Rpm names several owners of /lib/modules/$(uname -r), and kernel-modules-core is one of them."""
    parts = ("kernel-core", "kernel-modules", "kernel-modules-core")
    told = inventory(tmp_path, *(f"{p}-5.14.0-{release}.el9.x86_64" for p in parts for release in (427, 503)))
    fixed = updateinfo(tmp_path, advisory("RHSA-1", "kernel-core 0 5.14.0 503.el9 x86_64"))
    running = f"{part}-5.14.0-427.el9.x86_64"
    found = answer("--inventory", told, "--repo", fixed, "--running-kernel", running)
    assert (found["status"], found["counts"]["pending_reboot"]) == ("NON_COMPLIANT", 1)
    assert [row["state"] for row in found["advisories"]] == ["available", "installed"]


@pytest.mark.parametrize(
    ("installed_at", "boot_time", "virtualization", "status"),
    [
        (2_000, 1_000, "kvm", "PENDING_REBOOT"),
        (1_060, 1_000, "kvm", "INSTALLED"),
        (2_000, 0, "", "INSTALLED"),
        (2_000, 1_000, "container", "INSTALLED"),
    ],
    ids=["after the start", "within 60 s of it", "an image", "a container"],
)
def test_R9_what_was_installed_after_the_start_of_the_host_is_pending_as_it_is_for_the_controller(
    tmp_path: Path, installed_at: int, boot_time: int, virtualization: str, status: str
) -> None:
    told = Manifest(
        OsRelease("centos", "7.9"),
        packages="aa" * 32,
        details="bb" * 32,
        package_count=2,
        package_manager="dnf 4.14.0",
        boot_time=boot_time,
        facts={"virtualization": virtualization},
    )
    rows = [
        {"name": name, "epoch": 0, "version": "2", "release": "1", "arch": "x86_64", "install_time": at}
        for name, at in (("zsh", 9_000), ("glibc", installed_at))
    ]
    file = tmp_path / "live.json"
    file.write_text(json.dumps({"manifest": json.loads(manifest.encode(told)), "packages": rows}))
    repo = updateinfo(tmp_path, advisory("A", "glibc 0 2 1 x86_64"), advisory("B", "zsh 0 2 1 x86_64"))
    found = answer("--inventory", file, "--repo", repo)
    assert {item["name"]: item["status"] for item in found["items"]} == {"glibc": status, "zsh": "INSTALLED"}
    assert found["status"] == ("NON_COMPLIANT" if status == "PENDING_REBOOT" else "COMPLIANT")


def test_R8_an_advisory_of_a_module_counts_only_where_its_stream_is_enabled(tmp_path: Path) -> None:
    module = '<module name="nodejs" stream="18" version="9" context="c" arch="x86_64"/>'
    repo = updateinfo(
        tmp_path, DONE, advisory("RLSA-1", "nodejs 1 18.2 1.module+el9+7 x86_64", severity="Moderate", extra=module)
    )
    options = ("--inventory", inventory(tmp_path, "nodejs-1:18.1-1.module+el9+7.x86_64"), "--repo", repo)
    for streams in ("nodejs:20,php:8.1", ""):
        found = answer(*options, "--module-streams", streams)
        assert (found["status"], found["advisories"]) == ("COMPLIANT", [])
    found = answer(*options, "--module-streams", "php:8.1,nodejs:18")
    assert (found["status"], [row["id"] for row in found["advisories"]]) == ("NON_COMPLIANT", ["RLSA-1"])


def test_R8_streams_may_be_told_one_by_one(tmp_path: Path) -> None:
    build = "nodejs 0 18.2 1.module+el9+7 x86_64"
    fixed = updateinfo(tmp_path, advisory("RLSA-1", build, extra='<module name="nodejs" stream="18"/>'))
    told = ("--inventory", inventory(tmp_path, "nodejs-18.1-1.module+el9+7.x86_64"), "--repo", fixed)
    for streams in (("nodejs:18", "php:8.1"), ("php:8.1", "nodejs:18")):
        found = answer(*told, *(word for stream in streams for word in ("--module-streams", stream)))
        assert found["status"] == "NON_COMPLIANT"


def test_R11_streams_that_nobody_told_of_leave_the_answer_open_where_it_depends_on_them(tmp_path: Path) -> None:
    module = '<module name="nodejs" stream="18" version="9" context="c" arch="x86_64"/>'
    repo = updateinfo(tmp_path, DONE, advisory("RLSA-1", "nodejs 1 18.2 1.module+el9+7 x86_64", extra=module))
    found = answer("--inventory", inventory(tmp_path, "nodejs-1:18.1-1.module+el9+7.x86_64"), "--repo", repo)
    (reason,) = found["reasons"]
    assert (found["status"], reason["reason"], found["advisories"]) == ("UNDETERMINED", "UNREADABLE", [])
    assert "whether nodejs:18 is enabled" in reason["detail"]
    for build in ("nodejs-1:18.2-1.module+el9+7.x86_64", "nodejs-1:16.1-1.el9.x86_64"):
        assert answer("--inventory", inventory(tmp_path, build), "--repo", repo)["status"] == "COMPLIANT"


def test_types_and_severities_are_in_one_spelling(tmp_path: Path) -> None:
    build = "bash 0 9 1 x86_64"
    repo = updateinfo(
        tmp_path,
        advisory("A", build, "Security", "SEVERITY_MODERATE"),
        advisory("B", build, "newpackage", "Medium"),
        advisory("C", build, "house_type", "house_severity"),
        advisory("D", build, "security"),
    )
    found = answer("--inventory", inventory(tmp_path, BASH), "--repo", repo)
    assert [(row["id"], row["type"], row["severity"]) for row in found["advisories"]] == [
        ("A", "security", "Moderate"),
        ("B", "newpackage", "Moderate"),
        ("C", "unknown", "None"),
        ("D", "security", "None"),
    ]


def test_people_get_a_short_table(tmp_path: Path) -> None:
    code, out, err = run(
        *("--inventory", inventory(tmp_path, BASH, OPENSSL), "--repo", updateinfo(tmp_path, BEHIND, DONE)),
        *("--as-of", "2026-11-22", "--os", "CentOS 7.9"),
    )
    assert (code, err) == (1, "")
    assert [" ".join(line.split()) for line in out.splitlines()] == [
        "web-01 NON_COMPLIANT CentOS 7.9 · Everything · as of 2026-11-22",
        "status package installed required advisory",
        "MISSING openssl-libs.x86_64 1:1.0.2k-19.el7 1:1.0.2k-26.el7_9 CESA-2023:1335",
        "... 1 INSTALLED, 0 INSTALLED_OTHER",
        "1 advisory available",
    ]


def test_people_are_told_what_to_do_when_it_cannot_be_said(tmp_path: Path) -> None:
    code, out, _ = run("--inventory", inventory(tmp_path, BASH), "--repo", updateinfo(tmp_path))
    assert code == 4
    assert "  NO_ADVISORIES  no enabled repository (updateinfo.xml) has advisories" in out
    assert "Enable a repository that publishes advisories" in out


def test_an_inventory_may_come_through_a_pipe(tmp_path: Path) -> None:
    found = answer("--inventory", "-", "--repo", updateinfo(tmp_path, BEHIND), stdin=f"{OPENSSL}\n")
    assert found["items"][0]["why"].startswith("stdin is missing openssl-libs")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--inventory", "nowhere.txt"), "--inventory: nowhere.txt cannot be read: No such file or directory"),
        (("--inventory", "."), "--inventory: . cannot be read: Is a directory"),
        (("--repo", "nowhere"), "--repo: nowhere does not exist"),
        (("--baseline", "nowhere.yaml"), "--baseline: nowhere.yaml cannot be read: No such file or directory"),
        (("--running-kernel", "kernel"), "--running-kernel: 'kernel' is not name-[epoch:]version-release.arch"),
        (
            ("--running-kernel", "5.14.0-427.el9.x86_64"),
            "--running-kernel: the inventory has no kernel, so not 5.",
        ),
        (("--running-kernel", ""), "--running-kernel: '' is not name-[epoch:]version-release.arch"),
        (("--module-streams", "nodejs"), "--module-streams: 'nodejs' is not name:stream"),
        (("--as-of", "yesterday"), "--as-of: 'yesterday' is not a date; write a day as 2026-11-01"),
        (("--os", "BeOS 5"), "--os: 'BeOS 5' is not an operating system and its version"),
    ],
)
def test_misuse_is_2_and_a_sentence(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    given: tuple[object, ...] = ("--repo", updateinfo(tmp_path, DONE), "--output", "json")
    if "--inventory" not in options:
        given = ("--inventory", inventory(tmp_path, BASH), *given)
    code, out, err = run(*given, *options)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("option", ["--inventory", "--running-kernel", "--as-of", "--os", "--baseline"])
def test_what_can_be_said_once_is_not_taken_twice(tmp_path: Path, option: str) -> None:
    """The last one would count, and the answer be about half of what was asked."""
    told = ("--inventory", inventory(tmp_path, BASH), "--repo", updateinfo(tmp_path, BEHIND, DONE))
    given = () if option == "--inventory" else (f"{option}=7",)
    assert run(*told, *given, option, "7")[::2] == (
        2,
        f"error: {option} is given twice: say it once, or which one counts is a guess\n",
    )


def test_a_line_that_cannot_be_read_and_a_wrong_baseline_are_misuse_not_an_answer(tmp_path: Path) -> None:
    repo = updateinfo(tmp_path, DONE)
    code, out, err = run("--inventory", inventory(tmp_path, BASH, "what?"), "--repo", repo)
    assert (code, out) == (2, "")
    assert "web-01.txt: line 2: 'what?' is not name-" in err
    baseline = tmp_path / "b.yaml"
    baseline.write_text(
        "name: mine\noperating_system: CentOS\nrules:\n  - {categories: [Securty], approve_after_days: 0}\n"
    )
    code, out, err = run("--inventory", inventory(tmp_path, BASH), "--repo", repo, "--baseline", baseline)
    assert (code, out) == (2, "")
    assert "rules[0].categories: 'Securty' is unknown, did you mean Security?" in err
    rules = "".join(f"  - {{products: [CentOS {version}], approve_after_days: 0}}\n" for version in ("7.9", "8.4"))
    baseline.write_text(f"name: mine\noperating_system: CentOS\nrules:\n{rules}")
    code, out, err = run("--inventory", inventory(tmp_path, BASH), "--repo", repo, "--baseline", baseline)
    assert (code, out) == (2, "")
    assert "say which one with --os" in err


@pytest.mark.parametrize("absent", ["--inventory", "--repo"])
def test_what_must_be_given_is_asked_for(tmp_path: Path, absent: str) -> None:
    given = {"--inventory": inventory(tmp_path, BASH), "--repo": updateinfo(tmp_path, DONE)}
    code, _, err = run(*(word for option, value in given.items() if option != absent for word in (option, value)))
    assert code == 2
    assert absent in err


def test_what_the_agent_collects_from_an_image_is_evaluated_as_it_is(
    centos_host: RealHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    inventory_command.add_arguments(parser)
    metadata = tmp_path / "metadata"
    told = parser.parse_args(["--root", str(centos_host.root), "--with-metadata", str(metadata)])
    assert inventory_command.run(told) == 0
    image = tmp_path / "image.json"
    image.write_text(capsys.readouterr().out)
    baseline = tmp_path / "b.yaml"
    baseline.write_text(
        "name: mine\noperating_system: CentOS\nrules:\n  - {products: [CentOS 7.9], approve_after_days: 0}\n"
    )
    found = answer("--inventory", image, "--baseline", baseline, "--repo", metadata)
    each = ("--repo", metadata / "base", "--repo", metadata / "updates")
    assert answer("--inventory", image, "--baseline", baseline, *each) == found
    assert {item["name"] for item in found["items"] if item["status"] == "MISSING"} == {
        "kernel",
        "openssl-libs",
        "sudo",
    }
    assert found["counts"]["updates_without_advisory"] == 1
    assert "Repository updates" in found["items"][0]["why"]
    assert {row["id"] for row in found["advisories"]} == {"CESA-2023:1335", "CESA-2023:0291", "CEBA-2023:4819"}


def test_R11_a_repository_that_the_agent_could_not_read_leaves_the_answer_open_where_the_host_s_own_are_given(
    own_centos_host: RealHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_centos_host.root / "etc/yum.repos.d/extras.repo").write_text(
        "[extras]\nname=extras\nbaseurl=file:///nowhere/at/all\nenabled=1\n"
    )
    parser = argparse.ArgumentParser()
    inventory_command.add_arguments(parser)
    assert inventory_command.run(parser.parse_args(["--root", str(own_centos_host.root)])) == 0
    image = tmp_path / "image.json"
    image.write_text(capsys.readouterr().out)
    options = ("--inventory", image, "--repo", own_centos_host.base, "--repo", own_centos_host.updates)
    found = answer(*options)
    assert [(r["reason"], r["detail"].partition(":")[0]) for r in found["reasons"]] == [
        ("REPO_ERROR", "repository extras")
    ]
    assert found["reasons"][0]["detail"].endswith(" (when the inventory was collected)")
    assert {item["status"] for item in found["items"]} >= {"MISSING"}
    other = updateinfo(tmp_path, BEHIND)
    code, out, err = run(
        "--inventory", image, "--repo", other, "--output", "json"
    )  # a mirror of another name, for an air gap
    assert (code, json.loads(out)["status"]) == (1, "NON_COMPLIANT")
    assert err.startswith("repository extras is enabled on the host and could not be read when the inventory was")


PATCHCTL = (sys.executable, "-c", "from controller.cli.main import main; main()", "evaluate")


@pytest.mark.parametrize("form", ["table", "json", "csv", "yaml"])
def test_an_answer_is_written_as_utf_8_whatever_the_locale(tmp_path: Path, form: str) -> None:
    told = updateinfo(tmp_path, BEHIND.replace("CESA-2023:1335", "CESA-2023:é"))
    words = ("--inventory", inventory(tmp_path, OPENSSL), "--repo", told, "--output", form)
    done = subprocess.run(
        [*PATCHCTL, *map(str, words)],
        env=os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "200"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, b"")
    assert "CESA-2023:é" in done.stdout.decode()


def test_what_becomes_of_the_output_does_not_change_what_the_exit_code_says(tmp_path: Path) -> None:
    """1 means that the inventory does not comply, and nothing else."""
    words = ("--inventory", inventory(tmp_path, BASH), "--repo", updateinfo(tmp_path, DONE), "--output", "json")
    command = [*PATCHCTL, *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as unread:
        assert unread.stdout is not None
        assert unread.stderr is not None
        unread.stdout.close()
        assert unread.stderr.read() == b""
    assert unread.returncode == 0
    with Path("/dev/full").open("wb") as full:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, env=environment)
    assert done.returncode == 2
    assert done.stderr == b"error: the answer cannot be written: No space left on device\n"


def test_it_needs_no_controller_and_no_login_and_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    hosts, repo = inventory(folder, OPENSSL), updateinfo(folder, BEHIND)
    before = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    entry = "from controller.cli.main import main; main()"
    program = [sys.executable, "-c", entry, "evaluate", "--inventory", hosts.name, "--repo", repo.name]
    path = str(Path(__file__).resolve().parents[2])
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "PYTHONPATH": path}
    done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, "")
    repo.write_text("<updates><update></broken></updates>")
    broken = subprocess.run(
        program, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (broken.returncode, broken.stderr) == (4, ""), "parsers must not print beside our sentence"
    assert "REPO_ERROR  repository updateinfo.xml: is not whole XML" in broken.stdout
    repo.write_text(f"<updates>{BEHIND}</updates>")
    assert done.stdout.startswith("web-01  NON_COMPLIANT")
    assert {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()} == before
