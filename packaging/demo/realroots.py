"""Real repositories and real installations, made with rpmbuild, createrepo_c and `dnf --installroot`.

Packages are empty but real: their headers say what a vendor's would. A repository of 60 takes a second or two the first time
and nothing the second, since built packages are kept by content in a cache folder. An installation is a folder with its own
rpm database under var/lib/rpm, its own etc/os-release and its own repositories; nothing outside the folder is read or written.

Installing needs root, or a kernel that lets users make their own namespaces: then it runs as the root of one.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from common import nevra
from common.nevra import Nevra

DBPATH: Final = "/var/lib/rpm"
"""Where every installation keeps its rpm database, whatever the host's own rpm prefers."""
TOOLS: Final = ("rpm", "rpmbuild", "createrepo_c", "modifyrepo_c", "dnf")
_ARCH: Final = "x86_64"
_CACHE_FORMAT: Final = "3"
_COMMAND_SECONDS: Final = 300
_DEFINES: Final = (
    ("debug_package", "%{nil}"),
    ("__os_install_post", "%{nil}"),
    ("_build_id_links", "none"),
    ("_binary_payload", "w1.gzdio"),
    ("use_source_date_epoch_as_buildtime", "1"),
    ("_buildhost", "builder"),
)


class BuildError(Exception):
    """A tool failed, or cannot run here. The sentence names the tool and ends with what it said."""


@dataclass(frozen=True, slots=True)
class PackageSpec:
    """One package to build. Requires and provides are as a spec file spells them, e.g. "openssl-libs >= 1:1.0"."""

    name: str
    version: str
    release: str
    epoch: int = 0
    arch: str = _ARCH
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    """Absolute paths; each holds one line that names the package. One that ends with a slash is a folder."""
    texts: tuple[tuple[str, str], ...] = ()
    """Files with a content of their own: absolute path, one line."""
    obsoletes: tuple[str, ...] = ()
    vendor: str = "Patchwarden examples"
    build_time: int = 1_600_000_000
    """Seconds since 1970."""
    modularity: str = ""
    """name:stream:version:context; empty for a plain package."""
    conflicts: tuple[str, ...] = ()

    @property
    def nevra(self) -> Nevra:
        """The full name."""
        return Nevra(self.name, self.epoch, self.version, self.release, self.arch)


@dataclass(frozen=True, slots=True)
class AdvisorySpec:
    """One <update> of updateinfo.xml. Every text goes out as it stands, so odd vendors can be imitated."""

    id: str
    type: str
    severity: str
    issued: str
    updated: str
    title: str
    cves: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    """NEVRAs."""
    reboot_suggested: bool = False
    module: str | None = None
    """name:stream:version:context:arch of the collection; None for a plain one."""
    others: tuple[tuple[str | None, tuple[str, ...]], ...] = ()
    """More collections: module and packages of each."""


@dataclass(frozen=True, slots=True)
class RepositorySpec:
    """One repository. `timestamp` (seconds since 1970) becomes its revision and the time of its metadata; None means now."""

    id: str
    packages: tuple[PackageSpec, ...]
    advisories: tuple[AdvisorySpec, ...] = ()
    with_updateinfo: bool = True
    timestamp: int | None = None
    modules: str = ""
    """Content of modules.yaml; empty for none."""


def missing_tools() -> tuple[str, ...]:
    """Return the names of the tools that are not on PATH."""
    return tuple(tool for tool in TOOLS if shutil.which(tool) is None)


@functools.cache
def as_root() -> tuple[str, ...]:
    """Return what a command must be prefixed with to be root: nothing, or a namespace of its own. Raises BuildError if neither."""
    if os.geteuid() == 0:
        return ()
    prefix = ("unshare", "--map-root-user")
    if shutil.which(prefix[0]) and subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode == 0:
        return prefix
    raise BuildError("dnf --installroot needs root, or a kernel that lets users make namespaces: run this as root")


def build_repository(spec: RepositorySpec, folder: Path, cache: Path) -> Path:
    """Build a repository in `folder`, which is emptied first, and return it. Packages in `cache` are not built again."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for package, built in build_packages(spec.packages, cache).items():
        _link(built, folder / f"{package.nevra._replace(epoch=0)}-{package.epoch}.rpm")
    stamp = int(time.time()) if spec.timestamp is None else spec.timestamp
    _run(
        ["createrepo_c", "--quiet", "--no-database", f"--revision={stamp}", "--set-timestamp-to-revision", str(folder)],
        environment={"SOURCE_DATE_EPOCH": str(stamp)},
    )
    if spec.with_updateinfo:
        _add_metadata(folder, "updateinfo", updateinfo_xml(spec.id, spec.advisories), stamp)
    if spec.modules:
        _add_metadata(folder, "modules", spec.modules.encode(), stamp)
    return folder


def build_packages(packages: Iterable[PackageSpec], cache: Path) -> dict[PackageSpec, Path]:
    """Return the built file of each package, from `cache` or new. Safe when several processes share the cache."""
    wanted = {package: cache / f"{_fingerprint(package)}.rpm" for package in packages}
    cache.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(
            pool.map(lambda group: _rpmbuild(group, wanted), _rounds(p for p, at in wanted.items() if not at.exists()))
        )
    return wanted


def updateinfo_xml(repository: str, advisories: Iterable[AdvisorySpec]) -> bytes:
    """Return an updateinfo.xml."""
    updates = ET.Element("updates")
    for advisory in advisories:
        update = ET.SubElement(updates, "update", status="final", type=advisory.type, version="1")
        update.set("from", "security@patchwarden.example")
        for tag, text in (("id", advisory.id), ("title", advisory.title), ("severity", advisory.severity)):
            if text:
                ET.SubElement(update, tag).text = text
        for tag, date in (("issued", advisory.issued), ("updated", advisory.updated)):
            if date:
                ET.SubElement(update, tag, date=date)
        ET.SubElement(update, "description").text = advisory.title
        references = ET.SubElement(update, "references")
        for cve in advisory.cves:
            ET.SubElement(references, "reference", href="", id=cve, type="cve", title=cve)
        lists = ET.SubElement(update, "pkglist")
        for module, packages in ((advisory.module, advisory.packages), *advisory.others):
            collection = ET.SubElement(lists, "collection", short=repository)
            ET.SubElement(collection, "name").text = repository
            if module:
                keys = ("name", "stream", "version", "context", "arch")
                ET.SubElement(collection, "module", dict(zip(keys, module.split(":"), strict=True)))
            for each in map(nevra.parse, packages):
                _advised(collection, each, reboot_suggested=advisory.reboot_suggested)
    ET.indent(updates)
    return bytes(ET.tostring(updates, encoding="UTF-8", xml_declaration=True))


def _advised(collection: ET.Element, build: Nevra, *, reboot_suggested: bool) -> None:
    package = ET.SubElement(
        collection,
        "package",
        {"name": build.name, "epoch": str(build.epoch), "version": build.version, "release": build.release}
        | {"arch": build.arch, "src": f"{build.name}-{build.version}-{build.release}.src.rpm"},
    )
    ET.SubElement(package, "filename").text = f"{build.name}-{build.version}-{build.release}.{build.arch}.rpm"
    if reboot_suggested:
        ET.SubElement(package, "reboot_suggested").text = "True"


def install_root(
    root: Path,
    os_release: Mapping[str, str],
    repositories: Mapping[str, Path | str],
    packages: Sequence[str],
    releasever: str,
    streams: Sequence[str] = (),
) -> None:
    """Make an installation in `root`, which is emptied first: these packages (exact NEVRAs) and what they require.

    `repositories` maps ids to folders or addresses; they stay enabled in the installation. `streams` are module streams to enable
    first, e.g. "nodejs:18"; dnf then likes os-release to have a PLATFORM_ID.
    """
    if root.exists():
        shutil.rmtree(root)
    for folder in ("etc/yum.repos.d", "etc/dnf/vars", "etc/yum/vars", DBPATH.lstrip("/"), "var/cache", "var/log"):
        (root / folder).mkdir(parents=True)
    (root / "etc/os-release").write_text("".join(f'{key}="{value}"\n' for key, value in os_release.items()))
    (root / "etc/dnf/dnf.conf").write_text("[main]\ngpgcheck=0\nskip_if_unavailable=False\ninstall_weak_deps=0\n")
    for name, place in repositories.items():
        point_repository(root, name, place)
    if streams:
        _dnf(root, "module", "enable", *streams, releasever=releasever)
    _dnf(root, "install", *packages, releasever=releasever)


def point_repository(root: Path, name: str, place: Path | str) -> None:
    """Write (or rewrite) one repository's settings in an installation; `place` is a folder or an address."""
    baseurl = place.resolve().as_uri() if isinstance(place, Path) else place
    (root / f"etc/yum.repos.d/{name}.repo").write_text(
        f"[{name}]\nname={name}\nbaseurl={baseurl}\nenabled=1\ngpgcheck=0\n"
    )


def upgrade_root(root: Path, names: Sequence[str] = ()) -> None:
    """Upgrade the named packages of an installation (all of them when none is named) to what its repositories offer."""
    _dnf(root, "upgrade", *names)


def remove_packages(root: Path, names: Sequence[str]) -> None:
    """Remove packages from an installation."""
    _dnf(root, "remove", *names)


def installed(root: Path) -> frozenset[Nevra]:
    """Return what the rpm database of an installation holds, asked of rpm itself."""
    query = r"%{NAME}-%{EPOCHNUM}:%{VERSION}-%{RELEASE}.%{ARCH}\n"
    listing = _run(["rpm", "--dbpath", f"{root.resolve()}{DBPATH}", "-qa", "--qf", query])
    return frozenset(nevra.parse(line) for line in listing.splitlines() if not line.startswith("gpg-pubkey-"))


def _dnf(root: Path, *arguments: str, releasever: str = "") -> None:
    """Run dnf on an installation, without plugins and without the host's own settings."""
    where = root.resolve()
    command = [
        *as_root(),
        *("dnf", "--assumeyes", "--quiet", "--refresh", f"--installroot={where}", "--nogpgcheck", "--disableplugin=*"),
        *(f"--config={where}/etc/dnf/dnf.conf", f"--setopt=reposdir={where}/etc/yum.repos.d"),
        *(f"--setopt=varsdir={where}/etc/dnf/vars", "--setopt=tsflags=nodocs", "--setopt=zchunk=0"),
        *([f"--releasever={releasever}"] if releasever else []),
        *([f"--forcearch={_ARCH}"] if platform.machine() != _ARCH else []),
        *arguments,
    ]
    with _rpm_home() as home:
        _run(command, environment={"HOME": home})


def _rpm_home() -> tempfile.TemporaryDirectory[str]:
    """Return a home folder whose settings keep rpm's database where hosts have it: Debian's rpm would use ~/.rpmdb."""
    home = tempfile.TemporaryDirectory(prefix="rpm-home-", ignore_cleanup_errors=True)
    (Path(home.name) / ".rpmmacros").write_text(f"%_dbpath {DBPATH}\n%_db_backend sqlite\n")
    return home


def _rounds(packages: Iterable[PackageSpec]) -> list[list[PackageSpec]]:
    """Group packages so that one spec file can build each group: a name once, and one build time, vendor and target."""
    seen, groups = Counter[tuple[object, ...]](), defaultdict[tuple[object, ...], list[PackageSpec]](list)
    for package in packages:
        kind = (package.build_time, package.vendor, _target(package), package.name)
        groups[package.build_time, package.vendor, _target(package), seen[kind]].append(package)
        seen[kind] += 1
    return list(groups.values())


def _target(package: PackageSpec) -> str:
    return _ARCH if package.arch == "noarch" else package.arch


def _rpmbuild(packages: Sequence[PackageSpec], wanted: Mapping[PackageSpec, Path]) -> None:
    with tempfile.TemporaryDirectory(prefix="rpmbuild-", dir=next(iter(wanted.values())).parent) as name:
        top = Path(name)
        (top / "all.spec").write_text(_spec_file(packages))
        defines = [("_topdir", str(top)), ("_dbpath", str(top / "db")), ("_rpmfilename", "%%{NAME}.%%{ARCH}.rpm")]
        flags = [flag for key, value in (*defines, *_DEFINES) for flag in ("--define", f"{key} {value}")]
        _run(
            ["rpmbuild", "--quiet", "-bb", f"--target={_target(packages[0])}", *flags, str(top / "all.spec")],
            environment={"HOME": name, "SOURCE_DATE_EPOCH": str(packages[0].build_time)},
        )
        for package in packages:
            _keep(top / f"RPMS/{package.name}.{package.arch}.rpm", wanted[package], package.build_time)


def _keep(built: Path, wanted: Path, build_time: int) -> None:
    """Put a package into the cache unless another process was faster: who has linked that one already is to find it again."""
    os.utime(built, (build_time, build_time))  # repositories tell it, and one spec is to give one repository
    try:
        wanted.hardlink_to(built)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        built.rename(wanted)


def _spec_file(packages: Sequence[PackageSpec]) -> str:
    """Write a spec with one subpackage a package; the main package is never packed."""
    head = ["Name: all", "Version: 1", "Release: 1", "Summary: none", "License: none", f"Vendor: {packages[0].vendor}"]
    out = [*head, "AutoReqProv: no", "%description", "none"]
    install = ["%install"]
    for package in packages:
        lines = [f"%package -n {package.name}", f"Version: {package.version}", f"Release: {package.release}"]
        lines += [f"Summary: {package.name}", "License: none", "AutoReqProv: no"]
        lines += [f"Epoch: {package.epoch}"] if package.epoch else []
        lines += [f"BuildArch: {package.arch}"] if package.arch == "noarch" else []
        lines += [f"ModularityLabel: {package.modularity}"] if package.modularity else []
        for tag in ("requires", "provides", "obsoletes", "conflicts"):
            lines += [f"{tag.capitalize()}: {text}" for text in getattr(package, tag)]
        out += [*lines, f"%description -n {package.name}", package.name]
        out += [f"%files -n {package.name}", *(f"%dir {f}" if f.endswith("/") else f for f in package.files)]
        out += [path for path, _ in package.texts]
        install += [f"mkdir -p '%{{buildroot}}{folder}'" for folder in package.files if folder.endswith("/")]
        named = f"{package.name}-{package.version}-{package.release}"
        for path, line in (*((f, named) for f in package.files if not f.endswith("/")), *package.texts):
            text = shlex.quote(line.replace("%", "%%"))
            install += [
                f"mkdir -p '%{{buildroot}}{PurePosixPath(path).parent}'",
                f"echo {text} > '%{{buildroot}}{path}'",
            ]
    return "\n".join([*out, *install, ""])


def _fingerprint(package: PackageSpec) -> str:
    return hashlib.sha256(f"{_CACHE_FORMAT} {package!r}".encode()).hexdigest()[:32]


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _add_metadata(folder: Path, kind: str, content: bytes, stamp: int) -> None:
    suffix = "yaml" if kind == "modules" else "xml"
    with tempfile.TemporaryDirectory(prefix="metadata-") as name:
        file = Path(name) / f"{kind}.{suffix}"
        file.write_bytes(content)
        os.utime(file, (stamp, stamp))
        _run(["modifyrepo_c", f"--mdtype={kind}", str(file), str(folder / "repodata")])
    index = folder / "repodata/repomd.xml"  # it tells when the file was packed, and that is now
    index.write_text(re.sub("<timestamp>[0-9]+</timestamp>", f"<timestamp>{stamp}</timestamp>", index.read_text()))


def _run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Run a tool in a small, fixed environment and return what it said on standard output."""
    inherited = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH") if key in os.environ}
    tool = next(word for word in command if word in TOOLS)
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_COMMAND_SECONDS,
            env=inherited | {"LC_ALL": "C.UTF-8", "TZ": "UTC"} | dict(environment or {}),
        )
    except FileNotFoundError:
        raise BuildError(f"{tool} is not installed: run make setup, which says what to install") from None
    except subprocess.TimeoutExpired:
        raise BuildError(f"{tool} did not end within {_COMMAND_SECONDS} s") from None
    if done.returncode != 0:
        raise BuildError(f"{tool} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout
