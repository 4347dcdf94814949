"""`uniagent inventory`: an installation or an rpm database, on the spot."""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import createrepo_c
import pytest

from tests.conftest import CENTOS_BASE, RealHost
from uniagent import inventory_command

DATA = Path(__file__).resolve().parents[2].parent / "shared/data/rpmdb"


def inventory(*arguments: object) -> int:
    parser = argparse.ArgumentParser(prog="uniagent inventory", exit_on_error=False)
    inventory_command.add_arguments(parser)
    return inventory_command.run(parser.parse_args([str(a) for a in arguments]))


def test_json_is_the_manifest_and_the_packages(centos_host: RealHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert inventory("--root", centos_host.root) == 0
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert (set(said), err) == ({"manifest", "packages"}, "")
    assert said["manifest"]["os"]["version"] == "7.9"
    assert said["manifest"]["package_count"] == len(said["packages"]) == len(CENTOS_BASE)
    (openssl,) = (p for p in said["packages"] if p["name"] == "openssl-libs")
    installed = openssl.pop("install_time")
    assert installed > 1_600_000_000
    assert openssl == {
        "name": "openssl-libs",
        "epoch": 1,
        "version": "1.0.2k",
        "release": "19.el7",
        "arch": "x86_64",
        "module": "",
        "vendor": "Patchwarden examples",
    }


def test_tsv_is_a_header_and_a_line_a_package(centos_host: RealHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert inventory("--root", centos_host.root, "--output", "tsv", "--no-refresh") == 0
    out, _ = capsys.readouterr()
    header, *rows = out.splitlines()
    assert header == "name\tepoch\tversion\trelease\tarch"
    assert rows == sorted("\t".join(map(str, p.nevra)) for p in CENTOS_BASE)


def test_metadata_is_written_as_repositories_that_other_tools_read(
    centos_host: RealHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inventory("--root", centos_host.root, "--with-metadata", tmp_path / "metadata") == 0
    capsys.readouterr()
    repomd = createrepo_c.Repomd(str(tmp_path / "metadata/updates/repodata/repomd.xml"))
    updateinfo = next(record for record in repomd.records if record.type == "updateinfo")
    file = tmp_path / "metadata/updates" / updateinfo.location_href
    assert hashlib.sha256(file.read_bytes()).hexdigest() == updateinfo.checksum
    advisories = createrepo_c.UpdateInfo(str(file)).updates
    assert {advisory.id for advisory in advisories} == {"CESA-2023:1335", "CESA-2023:0291", "CEBA-2023:4819"}
    assert (tmp_path / "metadata/base/repodata/repomd.xml").is_file()


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data is not here")
def test_a_database_alone_gives_exactly_what_rpm_says_of_it_and_stays_untouched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copyfile(DATA / "amazonlinux2023.rpmdb.sqlite", tmp_path / "rpmdb.sqlite")
    before = hashlib.sha256((tmp_path / "rpmdb.sqlite").read_bytes()).hexdigest()
    assert inventory("--dbpath", tmp_path, "--output", "tsv") == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    with (DATA / "amazonlinux2023.tsv").open() as file:
        rpm_says = list(csv.DictReader(file, delimiter="\t"))
    expected = sorted(
        f"{r['name']}\t{r['epoch'] or 0}\t{r['version']}\t{r['release']}\t{r['arch']}"
        for r in rpm_says
        if r["name"] != "gpg-pubkey"
    )
    assert sorted(rows) == expected
    assert len(rows) > 100
    assert [p.name for p in tmp_path.iterdir()] == ["rpmdb.sqlite"]
    assert hashlib.sha256((tmp_path / "rpmdb.sqlite").read_bytes()).hexdigest() == before


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data is not here")
def test_a_database_alone_asks_no_repositories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copyfile(DATA / "amazonlinux2023.rpmdb.sqlite", tmp_path / "rpmdb.sqlite")
    assert inventory("--dbpath", tmp_path) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)["manifest"]
    assert (told["repositories"], told["problems"], told["package_manager"], err) == ([], [], "", "")
    assert "kernel" not in told["install_only"]


def test_an_inventory_that_cannot_be_read_exits_1_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inventory("--dbpath", tmp_path, "--output", "tsv") == 1
    out, err = capsys.readouterr()
    assert out == "name\tepoch\tversion\trelease\tarch\n"
    problem, advice = err.splitlines()
    assert problem == f"RPMDB: there is no rpm database in {tmp_path}"
    assert advice.startswith("error: the inventory could not be read: is rpm installed")


def test_a_broken_repository_is_a_remark_and_the_inventory_is_done(
    own_centos_host: RealHost, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_centos_host.root / "etc/yum.repos.d/base.repo").write_text("[base]\nname=b\nbaseurl=http://127.0.0.1:1/\n")
    assert inventory("--root", own_centos_host.root, "--output", "tsv") == 0
    assert capsys.readouterr().err.startswith("repository base: Curl error (7)")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--root", "/no/such"), "error: --root: /no/such is no folder"),
        (("--dbpath", "/no/such"), "error: --dbpath: /no/such is no folder"),
        (("--timeout", "soon"), "error: --timeout: 'soon' is not a duration"),
        (
            ("--dbpath", "/", "--with-metadata", "/x"),
            "error: --with-metadata: an rpm database alone has no repositories",
        ),
    ],
)
def test_wrong_options_exit_2_and_name_the_option(arguments, sentence, capsys: pytest.CaptureFixture[str]) -> None:
    assert inventory(*arguments) == 2
    assert capsys.readouterr().err.startswith(sentence)


def test_the_daemon_need_not_load_what_collects() -> None:
    script = (
        "import sys, uniagent.inventory_command, uniagent.collect\n"
        "print([m for m in sys.modules if m.startswith(('uniagent.collect.', 'psutil', 'distro'))])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
