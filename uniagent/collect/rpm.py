"""Asks rpm what is installed. Only queries, and never of a folder that holds no database: rpm would make one."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.manifest import MAX_PACKAGES, PackageLine, Problem, ProblemCode
from common.nevra import Nevra
from uniagent.collect.model import InstalledPackage
from uniagent.collect.rooted import Tree
from uniagent.collect.runner import Ran, Runner, stable

RPM_SECONDS: Final = 120.0
DEFAULT_INSTALL_ONLY: Final = (
    *("kernel", "kernel-PAE", "kernel-smp", "kernel-xen", "kernel-debug", "kernel-devel", "kernel-source"),
    *("kernel-unsupported", "kernel-bigmem", "kernel-enterprise", "multiversion(kernel)"),
)
"""When no package manager said: what yum 3 and dnf take for install-only between them."""
_ALWAYS_INSTALL_ONLY: Final = "installonlypkg("
_FOLDERS: Final = ("usr/lib/sysimage/rpm", "var/lib/rpm", "root/.rpmdb")  # the last is where Debian's rpm keeps it
_FILES: Final = ("rpmdb.sqlite", "Packages.db", "Packages", "rpmdb.sqlite-wal", "Index.db")
_DATABASES: Final = frozenset(_FILES[:3])
_LOCK: Final = ".rpm.lock"
_HEAD: Final = r"%{NAME}\t%|EPOCH?{%{EPOCH}}:{0}|\t%{VERSION}\t%{RELEASE}\t%{ARCH}\t%{INSTALLTIME}\t"
_MODULE: Final = r"%|MODULARITYLABEL?{%{MODULARITYLABEL}}:{}|"
_VENDOR: Final = r"\t%|VENDOR?{%{VENDOR}}:{}|\n"
_NEVRA: Final = r"%{NAME}\t%|EPOCH?{%{EPOCH}}:{0}|\t%{VERSION}\t%{RELEASE}\t%{ARCH}\n"
_PROVIDES: Final = r"[%{=NAME}\t%{PROVIDES}\n]"
_ATTEMPTS: Final = 5
_SHOWN: Final = 5

Pause = Callable[[float], None]
"""Waits that many seconds."""
Jitter = Callable[[], float]
"""Returns a random number from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Database:
    """Where an rpm database lies."""

    folder: Path
    """What is asked."""
    origin: str
    """What people know it by."""

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Return the command line of a query."""
        return ("rpm", "--dbpath", str(self.folder), *arguments)


@dataclass(frozen=True, slots=True)
class Listing:
    """What rpm says is installed. Empty packages come with a problem."""

    packages: tuple[InstalledPackage, ...] = ()
    provides: frozenset[tuple[str, str]] = frozenset()
    """(package name, what it provides), only what matters for install-only packages."""
    problems: tuple[Problem, ...] = ()


def _unreadable(sentence: str) -> Problem:
    return Problem(ProblemCode.RPMDB, sentence)


@contextmanager
def opened(runner: Runner, tree: Tree, dbpath: Path | None) -> Iterator[Database | Problem]:
    """Find the database of an installation, or say why there is none. A database that must not be written to is copied first."""
    if dbpath is not None:
        folder, origin = dbpath.absolute(), str(dbpath)
    elif tree.folder is not None:
        inside = max(_FOLDERS, key=lambda f: (_age(tree.path(f)), -_FOLDERS.index(f)))
        folder, origin = tree.path(inside), f"/{inside} of the installation"
    else:
        ran = runner.run(("rpm", "--eval", "%{_dbpath}"), RPM_SECONDS)
        if not ran.ok:
            yield _unreadable(f"{ran.failure()}: what is installed is not known")
            return
        folder, origin = Path("/", ran.stdout.strip()), ran.stdout.strip()
    if not _files(folder, _DATABASES):
        where = "the installation" if dbpath is None and tree.folder is not None else origin
        yield _unreadable(f"there is no rpm database in {where}")
    elif dbpath is None and os.access(folder, os.W_OK):
        yield Database(folder, origin)
    else:
        with tempfile.TemporaryDirectory(prefix="uniagent-rpmdb-") as name:
            try:
                for file in _files(folder, frozenset(_FILES)):
                    shutil.copyfile(file, Path(name) / file.name)
            except OSError as error:
                yield _unreadable(f"the rpm database in {origin} cannot be read: {error.strerror}")
            else:
                yield Database(Path(name), origin)


def list_packages(runner: Runner, database: Database, pause: Pause, jitter: Jitter) -> Listing:
    """List what is installed; again, after a while, when a transaction ran meanwhile (SEMANTICS §3)."""
    listing = Listing()
    for attempt in range(_ATTEMPTS):
        before = _stamp(database.folder)
        listing = _list_once(runner, database)
        if not locked(database.folder) and before == _stamp(database.folder):
            return listing
        if attempt < _ATTEMPTS - 1:
            pause(min(2.0**attempt * (0.5 + jitter()), runner.remaining() / 2))
    busy = Problem(ProblemCode.BUSY, "a transaction of packages went on during the whole collection; scan again later")
    return Listing(listing.packages, listing.provides, (*listing.problems, busy))


def _list_once(runner: Runner, database: Database) -> Listing:
    seconds = min(RPM_SECONDS, runner.total_seconds / 2)  # a hanging rpm leaves time to ask for the rest
    ran = runner.run(database.command("-qa", "--qf", _HEAD + _MODULE + _VENDOR), seconds)
    if not ran.ok and "unknown tag" in ran.stderr:  # rpm before 4.14 has never heard of modules
        ran = runner.run(database.command("-qa", "--qf", _HEAD + _VENDOR), seconds)
    if not ran.ok:
        return Listing(problems=(_unreadable(f"{ran.failure()}: what is installed is not known"),))
    packages, problems = parse_packages(ran.stdout)
    problems += errors_of(ran)
    if not packages and not problems:
        problems = (_unreadable(f"the rpm database in {database.origin} holds no packages"),)
    provided = runner.run(database.command("-qa", "--qf", _PROVIDES), seconds)
    if not provided.ok:
        problems += (_unreadable(f"{provided.failure()}: install-only packages are not known"),)
    return Listing(packages, parse_provides(provided.stdout), problems)


def parse_packages(listing: str) -> tuple[tuple[InstalledPackage, ...], tuple[Problem, ...]]:
    """Read a listing. A line that cannot be read becomes a problem, not a crash or a silence."""
    packages, unread = list[InstalledPackage](), list[str]()
    for line in listing.split("\n"):  # not splitlines: a vendor may hold any other character
        if not line or line.startswith("gpg-pubkey\t"):
            continue
        match line.split("\t"):
            case [name, epoch, version, release, arch, installed, module, *vendor] if (
                epoch.isdigit() and installed.isdigit() and name and version and release and arch not in ("", "(none)")
            ):
                nevra = Nevra(name, int(epoch), version, release, arch)
                packages.append(InstalledPackage(PackageLine(nevra, module), int(installed), " ".join(vendor)))
            case _:
                unread.append(line)
    problems = [_unreadable(f"rpm said {stable(line, 120)!r}, which is no package") for line in unread[:_SHOWN]]
    if len(unread) > _SHOWN:
        problems.append(_unreadable(f"rpm said {len(unread)} lines that are no packages"))
    if len(packages) > MAX_PACKAGES:
        return (), (_unreadable(f"rpm lists {len(packages):,} packages, at most {MAX_PACKAGES:,} can be told"),)
    return tuple(packages), tuple(problems)


def errors_of(ran: Ran) -> tuple[Problem, ...]:
    """Return what rpm complained of although it ended well."""
    lines = dict.fromkeys(stable(line) for line in ran.stderr.splitlines() if line.startswith("error:"))
    return tuple(_unreadable(f"rpm said: {line}") for line in list(lines)[:_SHOWN])


def parse_provides(listing: str) -> frozenset[tuple[str, str]]:
    """Read which package provides what."""
    return frozenset((name, what) for line in listing.split("\n") if line for name, _, what in [line.partition("\t")])


def install_only(provides: Iterable[tuple[str, str]], configured: Iterable[str]) -> tuple[str, ...]:
    """Return the names of packages that provide one of the configured things, or `installonlypkg(*)` (R7)."""
    wanted = frozenset(configured) or frozenset(DEFAULT_INSTALL_ONLY)
    names = {name for name, what in provides if what in wanted or what.startswith(_ALWAYS_INSTALL_ONLY)}
    return tuple(sorted(names))


def owners(runner: Runner, database: Database, path: str) -> tuple[Nevra, ...]:
    """Return the packages that own a path, sorted; none when nobody does."""
    ran = runner.run(database.command("-qf", "--qf", _NEVRA, path), RPM_SECONDS)
    found = list[Nevra]()
    for line in ran.stdout.splitlines() if ran.ok else ():
        match line.split("\t"):
            case [name, epoch, version, release, arch] if epoch.isdigit():
                found.append(Nevra(name, int(epoch), version, release, arch))
    return tuple(sorted(found))


def locked(folder: Path) -> bool:
    """Return whether somebody holds rpm's lock for writing. Takes no lock itself."""
    layout = "hhqqi"  # struct flock of Linux with 64-bit offsets
    try:
        with (folder / _LOCK).open("rb") as file:
            asked = struct.pack(layout, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
            kind: int = struct.unpack(layout, fcntl.fcntl(file, fcntl.F_GETLK, asked))[0]
    except OSError:
        return False  # no lock file: then nobody locks it
    return kind == fcntl.F_WRLCK


def _files(folder: Path, names: frozenset[str]) -> list[Path]:
    return [folder / name for name in _FILES if name in names and (folder / name).is_file()]


def _age(folder: Path) -> float:
    return max((file.stat().st_mtime for file in _files(folder, _DATABASES)), default=-1.0)


def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what changes with every transaction. An empty log is what a mere reader leaves."""
    stats = [(file.name, file.stat()) for file in _files(folder, frozenset(_FILES))]
    return tuple((name, s.st_mtime_ns, s.st_size) for name, s in stats if s.st_size)
