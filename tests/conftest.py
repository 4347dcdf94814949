"""Fixtures that every folder of tests may ask for: real packages, real repositories, a real installation."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.testing
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "packaging/demo"))

from realroots import (  # noqa: E402 - found through the line above
    AdvisorySpec,
    PackageSpec,
    RepositorySpec,
    build_repository,
    install_root,
    missing_tools,
)

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(
    "busy"
)  # how long an example takes says nothing of the code on a machine that does other things too

# CliRunner makes the whole tree of commands for each call, which takes longer than most of them: patchctl makes it once a process.
typer.testing._get_command = functools.cache(typer.testing._get_command)

CENTOS_OS_RELEASE = {
    "NAME": "CentOS Linux",
    "VERSION": "7 (Core)",
    "ID": "centos",
    "ID_LIKE": "rhel fedora",
    "VERSION_ID": "7",
    "PRETTY_NAME": "CentOS Linux 7 (Core)",
    "CPE_NAME": "cpe:/o:centos:centos:7",
}
CENTOS_BASE = (
    PackageSpec(
        *("centos-release", "7", "9.2009.1.el7.centos"),
        provides=("system-release = 7.9", "system-release(releasever) = 7"),
        texts=(("/etc/centos-release", "CentOS Linux release 7.9.2009 (Core)"),),
    ),
    PackageSpec("bash", "4.2.46", "34.el7"),
    PackageSpec("openssl-libs", "1.0.2k", "19.el7", epoch=1),
    PackageSpec("sudo", "1.8.23", "10.el7", requires=("openssl-libs >= 1:1.0.2k",)),
    PackageSpec("tzdata", "2020d", "2.el7", arch="noarch"),
    PackageSpec("kernel", "3.10.0", "1160.el7", files=("/lib/modules/3.10.0-1160.el7.x86_64/",)),
)
CENTOS_UPDATES = (
    PackageSpec("openssl-libs", "1.0.2k", "26.el7_9", epoch=1, build_time=1_679_300_000),
    PackageSpec("sudo", "1.8.23", "10.el7_9.3", build_time=1_674_500_000),
    PackageSpec("tzdata", "2024a", "1.el7", arch="noarch", build_time=1_706_700_000),
    PackageSpec("kernel", "3.10.0", "1160.99.1.el7", files=("/lib/modules/3.10.0-1160.99.1.el7.x86_64/",)),
)
CENTOS_ADVISORIES = (
    AdvisorySpec(
        "CESA-2023:1335",
        "security",
        "Important",
        "2023-03-20 00:00:00",
        "2023-03-20 00:00:00",
        "Important: openssl security update",
        ("CVE-2023-0286",),
        ("openssl-libs-1:1.0.2k-26.el7_9.x86_64",),
    ),
    AdvisorySpec(
        "CESA-2023:0291",
        "security",
        "Critical",
        "2023-01-24 00:00:00",
        "2023-01-25 00:00:00",
        "Critical: sudo security update",
        ("CVE-2023-22809",),
        ("sudo-1.8.23-10.el7_9.3.x86_64",),
    ),
    AdvisorySpec(
        "CEBA-2023:4819",
        "bugfix",
        "",
        "2023-08-29 00:00:00",
        "2023-08-29 00:00:00",
        "kernel bug fix update",
        (),
        ("kernel-3.10.0-1160.99.1.el7.x86_64",),
        reboot_suggested=True,
    ),
)


@dataclass(frozen=True, slots=True)
class RealHost:
    """An installation under `root` and the repositories it has enabled: base and updates."""

    root: Path
    base: Path
    updates: Path


@pytest.fixture(scope="session")
def package_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of built packages, shared by all workers of a run. Skips when the tools to build them are absent."""
    if absent := missing_tools():
        pytest.skip(f"{', '.join(absent)} not installed: make setup says what to install")
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "packages"


@pytest.fixture(scope="session")
def centos_host(tmp_path_factory: pytest.TempPathFactory, package_cache: Path) -> RealHost:
    """A CentOS 7.9 with four updates waiting, one of them without advisory. For reading only: `own_centos_host` may be changed."""
    folder = tmp_path_factory.mktemp("centos")
    base = build_repository(RepositorySpec("base", CENTOS_BASE, with_updateinfo=False), folder / "base", package_cache)
    updates = build_repository(
        RepositorySpec("updates", CENTOS_UPDATES, CENTOS_ADVISORIES), folder / "updates", package_cache
    )
    install_root(
        folder / "root",
        CENTOS_OS_RELEASE,
        {"base": base, "updates": updates},
        [str(package.nevra) for package in CENTOS_BASE],
        "7",
    )
    return RealHost(folder / "root", base, updates)


@pytest.fixture
def own_centos_host(centos_host: RealHost, tmp_path: Path) -> RealHost:
    """A copy of `centos_host` that a test may change; its repositories are the same ones."""
    shutil.copytree(centos_host.root, tmp_path / "root", symlinks=True)
    return RealHost(tmp_path / "root", centos_host.base, centos_host.updates)
