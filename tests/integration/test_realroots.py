"""The builder of real repositories and installations keeps its word, as rpm and dnf themselves see it."""

from __future__ import annotations

import gzip
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import realroots
from realroots import (
    DBPATH,
    AdvisorySpec,
    BuildError,
    PackageSpec,
    RepositorySpec,
    build_packages,
    build_repository,
    install_root,
    installed,
    point_repository,
    remove_packages,
    updateinfo_xml,
    upgrade_root,
)

OS_RELEASE = {"ID": "centos", "VERSION_ID": "7", "PRETTY_NAME": "CentOS Linux 7 (Core)"}


def header(rpm: Path, query: str) -> str:
    return subprocess.run(["rpm", "-qp", "--qf", query, str(rpm)], check=True, capture_output=True, text=True).stdout


def names(root: Path) -> set[str]:
    return {str(package) for package in installed(root)}


def test_a_package_says_in_its_header_what_its_spec_says(package_cache: Path) -> None:
    spec = PackageSpec(
        "nginx", "1.20.1", "9.el7", 1, requires=("openssl-libs >= 1:1.0",), provides=("webserver",), obsoletes=("httpd",),
        files=("/usr/sbin/nginx", "/etc/nginx/"), vendor="CentOS", build_time=1_630_000_000, modularity="nginx:1.20:1:c",
    )  # fmt: skip
    rpm = build_packages([spec], package_cache)[spec]
    assert header(rpm, "%{NAME} %{EPOCH} %{VERSION} %{RELEASE} %{ARCH} %{VENDOR} %{BUILDTIME} %{MODULARITYLABEL}") == (
        "nginx 1 1.20.1 9.el7 x86_64 CentOS 1630000000 nginx:1.20:1:c"
    )
    assert "openssl-libs >= 1:1.0" in header(rpm, "[%{REQUIRENEVRS}\n]").splitlines()
    assert {"webserver", "nginx = 1:1.20.1-9.el7"} <= set(header(rpm, "[%{PROVIDENEVRS}\n]").splitlines())
    assert header(rpm, "[%{OBSOLETES}]") == "httpd"
    assert header(rpm, "[%{FILENAMES}\n]").split() == ["/etc/nginx", "/usr/sbin/nginx"]


def test_a_package_without_epoch_has_none_and_noarch_stays_noarch(package_cache: Path) -> None:
    spec = PackageSpec("tzdata", "2024a", "1.el7", arch="noarch")
    assert header(build_packages([spec], package_cache)[spec], "%{EPOCH} %{ARCH}") == "(none) noarch"


def test_sixty_packages_are_built_by_few_commands_and_none_the_second_time(
    package_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, build = list[int](), realroots._rpmbuild

    def counting(packages: Sequence[PackageSpec], wanted: Mapping[PackageSpec, Path]) -> None:
        built.append(len(packages))
        build(packages, wanted)

    monkeypatch.setattr(realroots, "_rpmbuild", counting)
    spec = RepositorySpec("many", tuple(PackageSpec(f"many{n}", f"1.{n}", "1") for n in range(60)))
    build_repository(spec, tmp_path / "many", package_cache)
    assert built == [60]
    build_repository(spec, tmp_path / "again", package_cache)
    assert built == [60]
    assert len(list((tmp_path / "again").glob("*.rpm"))) == 60


def test_several_versions_of_one_name_stand_in_one_repository(package_cache: Path, tmp_path: Path) -> None:
    versions = tuple(PackageSpec("kernel", "3.10.0", f"{n}.el7", epoch=n % 2) for n in range(3))
    folder = build_repository(RepositorySpec("updates", versions), tmp_path / "updates", package_cache)
    install_root(tmp_path / "root", OS_RELEASE, {"updates": folder}, [str(v.nevra) for v in versions[::2]], "7")
    assert names(tmp_path / "root") == {"kernel-3.10.0-0.el7.x86_64", "kernel-3.10.0-2.el7.x86_64"}


def test_a_repository_made_twice_from_one_spec_has_the_same_metadata(package_cache: Path, tmp_path: Path) -> None:
    advisory = AdvisorySpec("A-1", "security", "Low", "2026-01-02", "", "one", ("CVE-2026-1",), ("a-1-1.x86_64",))
    spec = RepositorySpec("r", (PackageSpec("a", "1", "1"),), (advisory,), timestamp=1_700_000_000)
    first, second = (build_repository(spec, tmp_path / name, package_cache) for name in ("one", "two"))
    assert (first / "repodata/repomd.xml").read_bytes() == (second / "repodata/repomd.xml").read_bytes()


def test_without_updateinfo_the_metadata_has_none(package_cache: Path, tmp_path: Path) -> None:
    spec = RepositorySpec("r", (PackageSpec("a", "1", "1"),), with_updateinfo=False)
    repodata = build_repository(spec, tmp_path / "r", package_cache) / "repodata"
    assert "updateinfo" not in (repodata / "repomd.xml").read_text()


def test_advisories_reach_the_metadata_with_epochs_references_and_reboot(package_cache: Path, tmp_path: Path) -> None:
    advisory = AdvisorySpec(
        "CESA-2026:1", "security", "Critical", "2026-01-02 00:00:00", "2026-01-03 00:00:00", "a & b <c>",
        ("CVE-2026-1", "CVE-2026-2"), ("openssl-libs-1:1.0.2k-26.el7_9.x86_64",), True, "m:1:2:3:x86_64",
    )  # fmt: skip
    spec = RepositorySpec("r", (PackageSpec("a", "1", "1"),), (advisory,))
    repodata = build_repository(spec, tmp_path / "r", package_cache) / "repodata"
    (file,) = repodata.glob("*updateinfo*")
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    assert content == updateinfo_xml("r", [advisory])
    update = ET.fromstring(content).find("update")
    assert update is not None
    assert update.findtext("title") == "a & b <c>"
    assert [r.get("id") for r in update.iter("reference")] == ["CVE-2026-1", "CVE-2026-2"]
    assert [(p.get("name"), p.get("epoch"), p.get("release")) for p in update.iter("package")] == [
        ("openssl-libs", "1", "26.el7_9")
    ]
    assert update.findtext(".//reboot_suggested") == "True"


def test_an_installation_holds_exactly_what_was_asked_for_in_its_own_database(centos_host) -> None:
    assert names(centos_host.root) == {
        "centos-release-7-9.2009.1.el7.centos.x86_64",
        "bash-4.2.46-34.el7.x86_64",
        "openssl-libs-1:1.0.2k-19.el7.x86_64",
        "sudo-1.8.23-10.el7.x86_64",
        "tzdata-2020d-2.el7.noarch",
        "kernel-3.10.0-1160.el7.x86_64",
    }
    assert (centos_host.root / DBPATH.lstrip("/") / "rpmdb.sqlite").exists()
    release = (centos_host.root / "etc/centos-release").read_text()
    assert release == "CentOS Linux release 7.9.2009 (Core)\n"
    assert 'ID="centos"' in (centos_host.root / "etc/os-release").read_text()


def test_dnf_upgrades_what_is_named_and_then_the_rest(own_centos_host) -> None:
    upgrade_root(own_centos_host.root, ["openssl-libs"])
    assert "openssl-libs-1:1.0.2k-26.el7_9.x86_64" in names(own_centos_host.root)
    assert "sudo-1.8.23-10.el7.x86_64" in names(own_centos_host.root)
    upgrade_root(own_centos_host.root)
    assert {"sudo-1.8.23-10.el7_9.3.x86_64", "tzdata-2024a-1.el7.noarch"} <= names(own_centos_host.root)
    assert {"kernel-3.10.0-1160.el7.x86_64", "kernel-3.10.0-1160.99.1.el7.x86_64"} <= names(own_centos_host.root)


def test_packages_can_be_removed(own_centos_host) -> None:
    remove_packages(own_centos_host.root, ["sudo"])
    assert not any(name.startswith("sudo-") for name in names(own_centos_host.root))


def test_a_repository_that_is_gone_makes_dnf_fail_with_a_sentence(own_centos_host, tmp_path: Path) -> None:
    point_repository(own_centos_host.root, "updates", tmp_path / "gone")
    with pytest.raises(BuildError, match=r"dnf ended with 1: .*updates"):
        upgrade_root(own_centos_host.root)


def test_an_unknown_package_is_refused_with_its_name(own_centos_host, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="nonesuch-1-1"):
        install_root(tmp_path / "new", OS_RELEASE, {"base": own_centos_host.base}, ["nonesuch-1-1.x86_64"], "7")


def test_a_module_stream_is_enabled_before_its_packages_are_installed(package_cache: Path, tmp_path: Path) -> None:
    modules = """---
document: modulemd
version: 2
data:
  name: nodejs
  stream: "18"
  version: 820
  context: abc
  arch: x86_64
  summary: Node.js
  description: Node.js
  license: {module: [MIT]}
  artifacts: {rpms: ["nodejs-0:18.0-1.module_el8.x86_64"]}
...
"""
    node = PackageSpec("nodejs", "18.0", "1.module_el8", modularity="nodejs:18:820:abc")
    folder = build_repository(RepositorySpec("app", (node,), modules=modules), tmp_path / "app", package_cache)
    os_release = OS_RELEASE | {"VERSION_ID": "8", "PLATFORM_ID": "platform:el8"}
    install_root(tmp_path / "root", os_release, {"app": folder}, [str(node.nevra)], "8", streams=["nodejs:18"])
    assert names(tmp_path / "root") == {"nodejs-18.0-1.module_el8.x86_64"}
    assert "state=enabled" in (tmp_path / "root/etc/dnf/modules.d/nodejs.module").read_text()


def test_the_users_own_rpm_database_is_left_alone(
    package_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    package = PackageSpec("a", "1", "1")
    folder = build_repository(RepositorySpec("r", (package,)), tmp_path / "r", package_cache)
    install_root(tmp_path / "root", OS_RELEASE, {"r": folder}, [str(package.nevra)], "7")
    assert list((tmp_path / "home").iterdir()) == []
