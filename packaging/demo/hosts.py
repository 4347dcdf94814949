"""The demo's fleet: three operating systems, their repositories, and twelve instances. Data, and the little that reads it.

Names and versions look like the vendors' own; advisories, their numbers and their CVEs are made up. Advisories are dated in days
before `today`, so the story is the same on any day it is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from common import nevra
from common.nevra import Nevra
from realroots import AdvisorySpec, PackageSpec, RepositorySpec

_BASE_BUILT: Final = 1_600_000_000
_INSTALL_ONLY: Final = "kernel"


@dataclass(frozen=True, slots=True)
class Update:
    """What one advisory of the vendor brings; one with an empty `number` brings packages that no advisory mentions."""

    number: str
    type: str
    severity: str
    days_ago: int
    title: str
    packages: tuple[str, ...]
    cves: tuple[int, ...] = ()
    reboot: bool = False


@dataclass(frozen=True, slots=True)
class System:
    """An operating system: what its image holds and what came out since."""

    key: str
    product: str
    """Its exact name, as reports must have it."""
    vendor: str
    releasever: str
    os_release: Mapping[str, str]
    advisory_ids: Mapping[str, str]
    """Per type, a format of an advisory's id; "{year}" and "{number}" are filled in."""
    base: tuple[str, ...]
    release_provides: tuple[str, ...]
    release_file: tuple[str, str]
    """The file in which the release package says exactly what it is, and its line."""
    optional: tuple[str, ...]
    """Names in `base` that only some instances have."""
    updates: tuple[Update, ...]

    def advisory_id(self, update: Update, today: date) -> str:
        """Return the id as the vendor would write it."""
        year = (today - timedelta(days=update.days_ago)).year
        return self.advisory_ids[update.type].format(year=year, number=update.number)


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of the fleet."""

    name: str
    system: str
    region: str
    zone: str
    application_group: str
    expected: str
    """The status that it must come out with."""
    has: tuple[str, ...] = ()
    """Optional packages that it has."""
    lacks: tuple[str, ...] = ()
    """Numbers of the updates that it has not got."""
    resource_type: str = "ECS"
    enterprise_project: str = "default"


def _lines(text: str) -> tuple[str, ...]:
    return tuple(text.split())


HCE: Final = System(
    key="hce",
    product="Huawei Cloud EulerOS 2.0",
    vendor="Huawei Cloud EulerOS",
    releasever="2.0",
    os_release={
        "NAME": "Huawei Cloud EulerOS",
        "VERSION": "2.0 (x86_64)",
        "ID": "hce",
        "VERSION_ID": "2.0",
        "PRETTY_NAME": "Huawei Cloud EulerOS 2.0 (x86_64)",
        "ANSI_COLOR": "0;31",
    },
    advisory_ids={
        "security": "HCE2-SA-{year}-{number}",
        "bugfix": "HCE2-BA-{year}-{number}",
        "enhancement": "HCE2-EA-{year}-{number}",
    },
    base=_lines("""
        hce-release-2.0-2.hce2.x86_64 bash-5.1.8-6.hce2.x86_64 bind-libs-32:9.16.23-16.r1.hce2.x86_64
        ca-certificates-2021.2.52-2.hce2.noarch coreutils-9.0-8.hce2.x86_64 curl-7.79.1-14.r4.hce2.x86_64
        dbus-1:1.14.0-4.hce2.x86_64 dnf-4.10.0-7.hce2.noarch expat-2.4.8-5.hce2.x86_64 glibc-2.34-70.r2.hce2.x86_64
        gnutls-3.7.2-8.hce2.x86_64 gzip-1.11-3.hce2.x86_64 kernel-5.10.0-60.18.0.50.r865_35.hce2.x86_64
        krb5-libs-1.19.2-6.hce2.x86_64 libarchive-3.5.2-5.hce2.x86_64 libcurl-7.79.1-14.r4.hce2.x86_64
        libxml2-2.9.12-10.hce2.x86_64 openssh-8.8p1-16.hce2.x86_64 openssh-server-8.8p1-16.hce2.x86_64
        openssl-1:1.1.1m-15.r3.hce2.x86_64 openssl-libs-1:1.1.1m-15.r3.hce2.x86_64 pam-1.5.2-5.hce2.x86_64
        python3-3.9.9-19.hce2.x86_64 rpm-4.17.0-17.hce2.x86_64 sudo-1.9.8p2-8.hce2.x86_64 systemd-249-38.hce2.x86_64
        tzdata-2022a-6.hce2.noarch vim-minimal-2:8.2-42.hce2.x86_64 xz-libs-5.2.5-3.hce2.x86_64
        zlib-1.2.11-22.hce2.x86_64 nginx-1:1.21.5-4.hce2.x86_64 mariadb-server-4:10.5.16-1.hce2.x86_64
    """),
    release_provides=("system-release = 2.0", "system-release(releasever) = 2.0"),
    release_file=("/etc/hce-release", "Huawei Cloud EulerOS release 2.0 (West Lake)"),
    optional=("nginx", "mariadb-server"),
    updates=(
        Update("0061", "security", "Critical", 68, "openssl security update",
               ("openssl-1:1.1.1m-15.r11.hce2.x86_64", "openssl-libs-1:1.1.1m-15.r11.hce2.x86_64"), (10286, 10464)),
        Update("0072", "security", "Important", 54, "kernel security update",
               ("kernel-5.10.0-136.12.0.86.r1526_92.hce2.x86_64",), (11281, 12163, 13269), reboot=True),
        Update("0080", "security", "Important", 33, "sudo security update", ("sudo-1.9.8p2-10.hce2.x86_64",), (12809,)),
        Update("0085", "security", "Moderate", 30, "curl security update",
               ("curl-7.79.1-20.r6.hce2.x86_64", "libcurl-7.79.1-20.r6.hce2.x86_64"), (17533, 17538)),
        Update("0091", "bugfix", "", 21, "systemd bug fix update", ("systemd-249-50.hce2.x86_64",), reboot=True),
        Update("0093", "enhancement", "", 20, "nginx enhancement update", ("nginx-1:1.23.3-1.hce2.x86_64",)),
        Update("0098", "security", "Critical", 2, "glibc security update", ("glibc-2.34-98.r9.hce2.x86_64",), (14911,)),
        Update("", "", "", 25, "", ("tzdata-2024a-1.hce2.noarch",)),
    ),
)  # fmt: skip

CENTOS: Final = System(
    key="centos",
    product="CentOS 7.9",
    vendor="CentOS",
    releasever="7",
    os_release={
        "NAME": "CentOS Linux",
        "VERSION": "7 (Core)",
        "ID": "centos",
        "ID_LIKE": "rhel fedora",
        "VERSION_ID": "7",
        "PRETTY_NAME": "CentOS Linux 7 (Core)",
        "CPE_NAME": "cpe:/o:centos:centos:7",
    },
    advisory_ids={
        "security": "CESA-{year}:{number}",
        "bugfix": "CEBA-{year}:{number}",
        "enhancement": "CEEA-{year}:{number}",
    },
    base=_lines("""
        centos-release-7-9.2009.1.el7.centos.x86_64 bash-4.2.46-34.el7.x86_64 bind-libs-32:9.11.4-26.P2.el7.x86_64
        ca-certificates-2020.2.41-70.0.el7_8.noarch coreutils-8.22-24.el7.x86_64 curl-7.29.0-59.el7.x86_64
        dbus-1:1.10.24-15.el7.x86_64 expat-2.1.0-12.el7.x86_64 glibc-2.17-317.el7.x86_64 gnupg2-2.0.22-5.el7_5.x86_64
        gzip-1.5-10.el7.x86_64 kernel-3.10.0-1160.71.1.el7.x86_64 krb5-libs-1.15.1-50.el7.x86_64
        libcurl-7.29.0-59.el7.x86_64 libxml2-2.9.1-6.el7.5.x86_64 nss-3.44.0-7.el7_7.x86_64 openssh-7.4p1-21.el7.x86_64
        openssh-server-7.4p1-21.el7.x86_64 openssl-1:1.0.2k-19.el7.x86_64 openssl-libs-1:1.0.2k-19.el7.x86_64
        pam-1.1.8-23.el7.x86_64 polkit-0.112-26.el7.x86_64 python-2.7.5-89.el7.x86_64 rpm-4.11.3-45.el7.x86_64
        rsyslog-8.24.0-57.el7_9.x86_64 sudo-1.8.23-10.el7.x86_64 systemd-219-78.el7.x86_64 tzdata-2020d-2.el7.noarch
        vim-minimal-2:7.4.629-8.el7_9.x86_64 yum-3.4.3-168.el7.centos.noarch zlib-1.2.7-18.el7.x86_64
        nginx-1:1.20.1-9.el7.x86_64 java-1.8.0-openjdk-headless-1:1.8.0.262.b10-1.el7.x86_64
        tomcat-7.0.76-16.el7_9.noarch postgresql-server-9.2.24-4.el7_8.x86_64
    """),
    release_provides=("system-release = 7.9", "system-release(releasever) = 7"),
    release_file=("/etc/centos-release", "CentOS Linux release 7.9.2009 (Core)"),
    optional=("nginx", "java-1.8.0-openjdk-headless", "tomcat", "postgresql-server"),
    updates=(
        Update("1335", "security", "Important", 48, "Important: openssl security update",
               ("openssl-1:1.0.2k-26.el7_9.x86_64", "openssl-libs-1:1.0.2k-26.el7_9.x86_64"), (10286,)),
        Update("0291", "security", "Critical", 40, "Critical: sudo security update",
               ("sudo-1.8.23-10.el7_9.3.x86_64",), (12809,)),
        Update("4819", "security", "Important", 36, "Important: kernel security update",
               ("kernel-3.10.0-1160.99.1.el7.x86_64",), (15788, 10593), reboot=True),
        Update("5712", "security", "Moderate", 24, "Moderate: nginx security update",
               ("nginx-1:1.20.1-10.el7.x86_64",), (14487,)),
        Update("4152", "security", "Important", 19, "Important: bind security update",
               ("bind-libs-32:9.11.4-26.P2.el7_9.14.x86_64",), (12828,)),
        Update("0430", "bugfix", "", 16, "ca-certificates bug fix update", ("ca-certificates-2023.2.60-72.el7_9.noarch",)),
        Update("5730", "enhancement", "", 15, "tomcat enhancement update", ("tomcat-7.0.76-17.el7_9.noarch",)),
        Update("6001", "security", "Critical", 1, "Critical: libxml2 security update",
               ("libxml2-2.9.1-6.el7_9.6.x86_64",), (18881,)),
        Update("", "", "", 29, "", ("tzdata-2024a-1.el7.noarch",)),
    ),
)  # fmt: skip

EULEROS: Final = System(
    key="euleros",
    product="EulerOS 2.10",
    vendor="EulerOS",
    releasever="2.10",
    os_release={
        "NAME": "EulerOS",
        "VERSION": "2.0 (SP10x86_64)",
        "ID": "euleros",
        "VERSION_ID": "2.0",
        "PRETTY_NAME": "EulerOS 2.0 (SP10x86_64)",
        "ANSI_COLOR": "0;31",
    },
    advisory_ids={"security": "EulerOS-SA-{year}-{number}", "bugfix": "EulerOS-BA-{year}-{number}"},
    base=_lines("""
        euleros-release-2.0SP10-2.eulerosv2r10.x86_64 bash-5.0-14.h5.eulerosv2r10.x86_64
        bind-libs-32:9.11.21-4.h3.eulerosv2r10.x86_64 ca-certificates-2020.2.40-1.eulerosv2r10.noarch
        coreutils-8.32-2.eulerosv2r10.x86_64 curl-7.71.1-2.h2.eulerosv2r10.x86_64 dbus-1:1.12.20-1.h1.eulerosv2r10.x86_64
        expat-2.2.9-3.h1.eulerosv2r10.x86_64 glibc-2.28-49.h12.eulerosv2r10.x86_64 gzip-1.10-2.eulerosv2r10.x86_64
        kernel-4.18.0-147.5.2.1.h421.eulerosv2r10.x86_64 krb5-libs-1.18.2-1.h1.eulerosv2r10.x86_64
        libcurl-7.71.1-2.h2.eulerosv2r10.x86_64 libxml2-2.9.10-8.h3.eulerosv2r10.x86_64
        openssh-8.2p1-9.h3.eulerosv2r10.x86_64 openssh-server-8.2p1-9.h3.eulerosv2r10.x86_64
        openssl-1:1.1.1f-7.h3.eulerosv2r10.x86_64 openssl-libs-1:1.1.1f-7.h3.eulerosv2r10.x86_64
        pam-1.4.0-3.h1.eulerosv2r10.x86_64 polkit-0.116-6.eulerosv2r10.x86_64 python3-3.7.9-4.h2.eulerosv2r10.x86_64
        rpm-4.15.1-21.h2.eulerosv2r10.x86_64 sudo-1.9.2-1.h2.eulerosv2r10.x86_64 systemd-243-23.h7.eulerosv2r10.x86_64
        tzdata-2020a-6.eulerosv2r10.noarch vim-minimal-2:8.2-1.h3.eulerosv2r10.x86_64 zlib-1.2.11-17.eulerosv2r10.x86_64
        nginx-1:1.18.0-3.h2.eulerosv2r10.x86_64 mariadb-server-3:10.3.9-12.h1.eulerosv2r10.x86_64
    """),
    release_provides=("system-release = 2.10", "system-release(releasever) = 2.10"),
    release_file=("/etc/euleros-release", "EulerOS release 2.0 (SP10)"),
    optional=("nginx", "mariadb-server"),
    updates=(
        Update("1190", "security", "Critical", 61, "An update for openssl is now available for EulerOS V2.0SP10",
               ("openssl-1:1.1.1f-7.h21.eulerosv2r10.x86_64", "openssl-libs-1:1.1.1f-7.h21.eulerosv2r10.x86_64"), (10286,)),
        Update("1201", "security", "High", 45, "An update for kernel is now available for EulerOS V2.0SP10",
               ("kernel-4.18.0-147.5.2.13.h963.eulerosv2r10.x86_64",), (11281, 12588), reboot=True),
        Update("1207", "security", "Important", 27, "An update for expat is now available for EulerOS V2.0SP10",
               ("expat-2.2.9-3.h12.eulerosv2r10.x86_64",), (15852, 12235)),
        Update("1212", "security", "Low", 26, "An update for vim is now available for EulerOS V2.0SP10",
               ("vim-minimal-2:8.2-1.h27.eulerosv2r10.x86_64",), (11725,)),
        Update("1215", "bugfix", "", 18, "mariadb bug fix update", ("mariadb-server-3:10.3.39-1.h1.eulerosv2r10.x86_64",)),
        Update("", "", "", 23, "", ("tzdata-2023c-1.eulerosv2r10.noarch",)),
    ),
)  # fmt: skip

SYSTEMS: Final = {system.key: system for system in (HCE, CENTOS, EULEROS)}

_NEW_HCE: Final = ("0098", "")
_NEW_CENTOS: Final = ("6001", "")
INSTANCES: Final = (
    Instance("ecs-bill-01", "centos", "cn-hongkong", "cn-hongkong-1a", "billing", "COMPLIANT",
             ("java-1.8.0-openjdk-headless", "tomcat"), _NEW_CENTOS, enterprise_project="finance"),
    Instance("ecs-bill-02", "centos", "cn-hongkong", "cn-hongkong-1a", "billing", "NON_COMPLIANT",
             ("java-1.8.0-openjdk-headless", "tomcat"), ("0291", "4152", "5730", *_NEW_CENTOS), enterprise_project="finance"),
    Instance("ecs-web-01", "hce", "cn-hongkong", "cn-hongkong-1a", "web", "COMPLIANT", ("nginx",), _NEW_HCE),
    Instance("ecs-web-02", "centos", "cn-hongkong", "cn-hongkong-1a", "web", "NON_COMPLIANT",
             ("nginx",), ("1335", "0291", "4819", "5712", *_NEW_CENTOS)),
    Instance("ecs-web-03", "hce", "cn-hongkong", "cn-hongkong-1b", "web", "UNDETERMINED", ("nginx",), _NEW_HCE),
    Instance("ecs-web-04", "hce", "cn-north-4", "cn-north-4a", "web", "COMPLIANT", ("nginx",), ("0093", *_NEW_HCE)),
    Instance("ecs-web-05", "euleros", "cn-north-4", "cn-north-4a", "web", "COMPLIANT", ("nginx",), ("",)),
    Instance("ecs-bill-03", "euleros", "cn-north-4", "cn-north-4a", "billing", "COMPLIANT", (), ("",), enterprise_project="finance"),
    Instance("ecs-db-01", "euleros", "cn-north-4", "cn-north-4a", "db", "NON_COMPLIANT",
             ("mariadb-server",), ("1190", "1201", "1215", "")),
    Instance("ecs-db-02", "hce", "cn-north-4", "cn-north-4a", "db", "UNDETERMINED", ("mariadb-server",), _NEW_HCE),
    Instance("ecs-db-03", "centos", "cn-north-4", "cn-north-4b", "db", "COMPLIANT", ("postgresql-server",), _NEW_CENTOS),
    Instance("bms-db-04", "hce", "cn-north-4", "cn-north-4b", "db", "NON_COMPLIANT",
             ("mariadb-server",), ("0072", *_NEW_HCE), "BMS"),
)  # fmt: skip

BROKEN: Final = "ecs-db-02"
"""Its repository is gone."""
KILLED: Final = "ecs-web-03"
"""Its agent is killed while its run is out."""
SHOWN: Final = "ecs-web-02"
"""Its report is shown and explained, then it is upgraded."""
ASKED: Final = "openssl-libs"
"""The package that is asked about."""


def repositories(system: System, today: date) -> tuple[RepositorySpec, RepositorySpec]:
    """Return the system's base and updates repositories as they are on this day."""
    base = tuple(
        PackageSpec(
            *(n.name, n.version, n.release, n.epoch, n.arch),
            provides=system.release_provides if n.name.endswith("-release") else (),
            files=_files(n),
            texts=(system.release_file,) if n.name.endswith("-release") else (),
            requires=("openssl-libs",) if n.name in ("openssh-server", "nginx", *system.optional) else (),
            vendor=system.vendor,
            build_time=_BASE_BUILT,
        )
        for n in map(nevra.parse, system.base)
    )
    updates = tuple(
        PackageSpec(
            *(n.name, n.version, n.release, n.epoch, n.arch),
            files=_files(n),
            vendor=system.vendor,
            build_time=int(datetime.combine(today - timedelta(days=update.days_ago + 1), time(9), UTC).timestamp()),
        )
        for update in system.updates
        for n in map(nevra.parse, update.packages)
    )
    return (
        RepositorySpec("base", base, with_updateinfo=False),
        RepositorySpec("updates", updates, tuple(_advisory(system, u, today) for u in system.updates if u.number)),
    )


def packages_of(instance: Instance) -> tuple[str, ...]:
    """Return the NEVRAs that an instance has when the story begins. An updated kernel stands beside the one of the image."""
    system = SYSTEMS[instance.system]
    absent = set(system.optional) - set(instance.has)
    updated = {
        nevra.parse(package).name: package
        for update in system.updates
        if update.number not in instance.lacks
        for package in update.packages
    }
    found = list[str]()
    for package in system.base:
        name = nevra.parse(package).name
        if name not in absent:
            found += (
                [package, updated[name]] if name == _INSTALL_ONLY and name in updated else [updated.get(name, package)]
            )
    return tuple(found)


def described(instances: Sequence[Instance] = INSTANCES) -> list[tuple[str, str]]:
    """Return lines of who is where: (region and application group, names)."""
    places = dict[tuple[str, str], list[str]]()
    for instance in instances:
        places.setdefault((instance.region, instance.application_group), []).append(instance.name)
    return [(f"{region:<12} {group}", ", ".join(names)) for (region, group), names in places.items()]


def _files(package: Nevra) -> tuple[str, ...]:
    if package.name == _INSTALL_ONLY:
        return (f"/lib/modules/{package.version}-{package.release}.{package.arch}/",)
    return ()


def _advisory(system: System, update: Update, today: date) -> AdvisorySpec:
    issued = today - timedelta(days=update.days_ago)
    return AdvisorySpec(
        id=system.advisory_id(update, today),
        type=update.type,
        severity=update.severity,
        issued=f"{issued} 00:00:00",
        updated=f"{issued} 00:00:00",
        title=update.title,
        cves=tuple(f"CVE-{issued.year}-{number}" for number in update.cves),
        packages=update.packages,
        reboot_suggested=update.reboot,
    )
