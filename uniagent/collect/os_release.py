"""What an installation runs, as exactly as it tells: os-release, made exact by the vendor's own release file."""

from __future__ import annotations

import re
from typing import Final

import distro

from common.manifest import OsRelease, Problem, ProblemCode
from uniagent.collect.rooted import Tree

_OS_RELEASE: Final = ("etc/os-release", "usr/lib/os-release")
_RELEASE_FILES: Final = (
    *("centos-release", "euleros-release", "hce-release", "openEuler-release", "rocky-release", "almalinux-release"),
    *("oracle-release", "fedora-release", "redhat-release", "system-release"),
)
_MAX: Final = 256


def read(tree: Tree, arch: str) -> tuple[OsRelease, tuple[Problem, ...]]:
    """Return what the installation says it is."""
    os_release = next((p for name in _OS_RELEASE if (p := tree.path(name)).is_file()), None)
    release = next((p for name in _RELEASE_FILES if (p := tree.path(f"etc/{name}")).is_file()), None)
    if os_release is None and release is None:
        return OsRelease(arch=arch), (Problem(ProblemCode.OS_RELEASE, "there is no /etc/os-release"),)
    nowhere = str(tree.path("etc") / "no-such-release")
    told = distro.LinuxDistribution(
        include_lsb=False,
        include_uname=False,
        include_oslevel=False,
        os_release_file=str(os_release or nowhere),
        distro_release_file=str(release or nowhere),
    )
    try:
        fields = {key: str(value) for key, value in told.os_release_info().items()}
        by_vendor = {key: str(value) for key, value in told.distro_release_info().items()}
    except (OSError, UnicodeDecodeError, ValueError) as error:
        sentence = f"/etc/os-release cannot be read: {type(error).__name__}"
        return OsRelease(arch=arch), (Problem(ProblemCode.OS_RELEASE, sentence),)
    name = fields.get("id", "") or by_vendor.get("id", "")
    version = exact_version(
        name, fields.get("version_id", ""), fields.get("version", ""), by_vendor.get("version_id", "")
    )
    pretty = fields.get("pretty_name", "") or " ".join(filter(None, (by_vendor.get("name", ""), version)))
    found = OsRelease(name[:_MAX], version[:_MAX], pretty[:_MAX], arch, fields.get("cpe_name", "")[:_MAX])
    missing = [word for word, value in (("ID", name), ("VERSION_ID", version)) if not value]
    return found, tuple(Problem(ProblemCode.OS_RELEASE, f"/etc/os-release says no {word}") for word in missing)


def exact_version(name: str, version_id: str, version: str, by_vendor: str) -> str:
    """Return the version as exactly as the three texts tell it together.

    CentOS says 7 in os-release and 7.9.2009 in centos-release: 7.9. EulerOS says 2.0 and "2.0 (SP10)": 2.10. openEuler says 22.03
    and "22.03 (LTS-SP3)": 22.03-LTS-SP3.
    """
    match name:
        case "centos":
            exact = re.match(r"\d+\.\d+", by_vendor)
            precise = exact and (not version_id or by_vendor.split(".")[0] == version_id.split(".")[0])
            return exact.group() if exact and precise else version_id or by_vendor
        case "euleros":
            pack = re.search(r"\(SP(\d+)", version)
            return f"{version_id.split('.')[0]}.{pack.group(1)}" if pack and version_id else version_id or by_vendor
        case "openEuler" | "openeuler":
            extra = re.search(r"\(([\w-]+)\)", version)
            return f"{version_id}-{extra.group(1)}" if extra and version_id else version_id or by_vendor
    return version_id or by_vendor
