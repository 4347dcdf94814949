"""Inventories as files: `uniagent inventory` as JSON or TSV, or one NEVRA a line. What cannot be read is an error, never left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from common import digest, evr, manifest, nevra
from common.manifest import (
    MAX_EPOCH,
    MAX_PACKAGES,
    Manifest,
    OsRelease,
    PackageLine,
    Problem,
    ProblemCode,
    Repository,
    Stream,
)
from common.nevra import Nevra

MAX_INVENTORY_BYTES: Final = 128 << 20
HEADER: Final = ("name", "epoch", "version", "release", "arch")
_PSEUDO: Final = "gpg-pubkey"
_NAMED_ELSEWHERE: Final = frozenset({ProblemCode.REPO_CONFIG})
_ARCHITECTURE: Final = re.compile(
    r"noarch|src|nosrc|i[3-6]86|athlon|geode|x86_64(_v[2-4])?|amd64|ia32e|ia64|aarch64|armv[5-8]\w*|ppc(64(p7|le)?)?|s390x?"
    r"|pentium[34]|riscv(32|64)|loongarch64|mips(64)?(r6)?(el)?|sw_64|sparc\w*|alpha\w*|sh[34]\w*|m68k\w*"
)
"""As rpm knows them. A line whose last part is none of these has lost its architecture: "bash-4.2.46-34.el7"."""
_FOREIGN: Final = re.compile(r"[\x00-\x1f\x7f,;\"'`|<>()=*?\[\]\\/&!@#$]")
"""What stands in no package's name, version or release: a line that has it is more than one package, or none."""
_NO_NAME: Final = re.compile(r"[\s:]")
_NO_VERSION: Final = re.compile(r"[\s:/-]")
"""Rpm allows none of these: an epoch, or a release, that stands in a version would be compared as a part of it."""
_EPOCH_IN_FRONT: Final = re.compile(r"\A(?:[0-9]+|\(none\)):")
_HALF: Final = re.compile(r"[\ud800-\udfff]")
"""Half a character, which JSON can spell and nobody can print."""
_STREAM: Final = re.compile(
    r"@?(?P<name>[A-Za-z0-9._+-]+):(?P<stream>[A-Za-z0-9._+-]+)(?::[0-9]+(?::[A-Za-z0-9]+(?::\w+)?)?)?(?:/[A-Za-z0-9._+-]*)?"
)
"""name:stream, and as dnf also spells it: with version, context and architecture, and with a profile, which say nothing more here."""


_KERNELS: Final = ("kernel-core", "kernel")
"""Which package holds the kernel itself where several are of one build."""
_KERNEL: Final = re.compile(r"kernel[0-9.]*(-|$)")
_NO_KERNEL: Final = re.compile(
    r"-(modules|devel|headers|tools|libs|doc|abi|firmware|debuginfo|debugsource|matched|macros|srpm|selftests|cross|stablelists|whitelists"
    r"|livepatch)(-|$)"
)
_MODULES: Final = re.compile(r"-modules(-core|-extra|-internal)?$")
"""Parts of a kernel that own /lib/modules too, so that rpm may name them where it is asked for the running kernel."""
_SHOWN_KERNELS: Final = 3
_LIKE: Final = "5.14.0-427.el9.x86_64"


def _is_kernel(name: str) -> bool:
    return _KERNEL.match(name) is not None and not _NO_KERNEL.search(name)


class UnreadableInventory(ValueError):
    """An inventory cannot be read whole. `str()` names the file, and the line or field, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What is installed, and all that is known of the host beside it."""

    manifest: Manifest
    """`packages` is empty if and only if the list could not be read or is empty: a problem RPMDB says so."""
    packages: tuple[PackageLine, ...]
    """Sorted, each once; without gpg-pubkey pseudo packages."""
    knows_streams: bool = False
    """Somebody was asked which module streams are enabled: that there are none is then an answer."""
    details: tuple[tuple[int, str], ...] | None = None
    """(install time, vendor) of each package as `Host.details` has them; None where nobody told, or where a restart means nothing (R9)."""
    failed: tuple[Repository, ...] = ()
    """Enabled repositories that could not be read when it was collected."""
    enabled: frozenset[str] = frozenset()
    """The ids of all enabled repositories, as far as somebody told. Which ones count is said beside the inventory."""

    def running(self, kernel: Nevra) -> Inventory:
        """Return this inventory of a host that runs `kernel`, whatever it said itself."""
        told = tuple(p for p in self.manifest.problems if p.code is not ProblemCode.KERNEL)
        release = f"{kernel.version}-{kernel.release}.{kernel.arch}"
        return replace(
            self,
            manifest=replace(self.manifest, running_kernel=release, running_kernel_package=str(kernel), problems=told),
        )

    def kernel(self, text: str) -> Nevra:
        """Return the package of a kernel, named as rpm does, or as `uname -r` does and then found in this inventory.

        Who owns /lib/modules decides on a host (R7); nobody can be asked here, so only an installed kernel of exactly that version will
        do. Raises ValueError that says what to write instead.
        """
        text = text.strip()
        if not text[:1].isdigit() or _EPOCH_IN_FRONT.match(text):
            return self._named_kernel(text)
        release, _, variant = text.partition("+")
        if not variant and release.endswith(".debug"):  # as kernels of el7 said it
            release, variant = release.removesuffix(".debug"), "debug"
        kernels = [p.nevra for p in self.packages if _is_kernel(p.nevra.name)]
        own = [k for k in kernels if release in (f"{k.version}-{k.release}.{k.arch}", f"{k.version}-{k.release}")]
        fitting = [k for k in own if {*variant.split("-")} <= {*k.name.split("-")}] if variant else own
        if fitting:
            return min(fitting, key=lambda k: (_KERNELS.index(k.name) if k.name in _KERNELS else len(_KERNELS), k.name))
        name = "kernel-core" if any(k.name == "kernel-core" for k in kernels) else "kernel"
        there = f"has {', '.join(map(str, kernels[-_SHOWN_KERNELS:]))}, but not" if kernels else "has no kernel, so not"
        raise ValueError(f"the inventory {there} {text}; write the kernel's package instead, like {name}-{_LIKE}")

    def _named_kernel(self, text: str) -> Nevra:
        """Read the name of a kernel's package; "kernel" means kernel-core where only that is installed."""
        found = _package_of(text)
        if not _is_kernel(_MODULES.sub("", found.name)):
            raise ValueError(f"{text!r} is not the package of a kernel, write it like kernel-core-{_LIKE}")
        there = {package.nevra for package in self.packages}
        core = found._replace(name=f"{found.name}-core")
        return core if found not in there and core in there else found

    def with_streams(self, streams: Iterable[Stream]) -> Inventory:
        """Return this inventory of a host with exactly these module streams enabled, whatever it said itself."""
        told = tuple(p for p in self.manifest.problems if p.code is not ProblemCode.MODULES)
        known = replace(self.manifest, streams=tuple(sorted(set(streams))), problems=told)
        return replace(self, manifest=known, knows_streams=True)


def parse(content: bytes, source: str) -> Inventory:
    """Read an inventory in any of the three forms; raise UnreadableInventory that names `source` and the line or field.

    An inventory without a package is read, with a problem: it says nothing about what is installed.
    """
    if len(content) > MAX_INVENTORY_BYTES:
        raise UnreadableInventory(f"{source}: has {len(content):,} bytes, allowed are {MAX_INVENTORY_BYTES:,}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableInventory(f"{source}: line {line} is not UTF-8 text") from None
    if text.lstrip().startswith(("{", "[")):
        return _from_json(text, source)
    return _plain(_lines(text, source))


def parse_streams(text: str) -> tuple[Stream, ...]:
    """Read "name:stream,name:stream"; raise ValueError that names the part that is none. An empty text is no stream.

    Of what dnf spells after the stream (version, context, architecture, profile) nothing counts: the name and the stream decide (R8).
    """
    found = list[Stream]()
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _STREAM.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is not name:stream, write it like nodejs:18,php:8.1")
        found.append(Stream(match["name"], match["stream"]))
    return tuple(found)


def _plain(packages: Iterable[PackageLine]) -> Inventory:
    """Make the inventory of a bare list: nothing is known of the host."""
    return _with_digests(Manifest(os=OsRelease()), packages)


def _with_digests(told: Manifest, packages: Iterable[PackageLine]) -> Inventory:
    lines = tuple(sorted(set(packages), key=lambda line: (line.nevra, line.module)))
    if not lines:
        empty = Problem(ProblemCode.RPMDB, "the inventory names no package")
        problems = told.problems if any(p.code is ProblemCode.RPMDB for p in told.problems) else (*told.problems, empty)
        return Inventory(replace(told, packages="", details="", package_count=0, problems=problems), ())
    content, details = manifest.encode_packages((line, 0, "") for line in lines)
    return Inventory(
        replace(
            told,
            packages=told.packages or digest.of(content).hex(),
            details=told.details or digest.of(details).hex(),
            package_count=len(lines),
        ),
        lines,
    )


def _lines(text: str, source: str) -> Iterator[PackageLine]:
    """Read the forms of one package a line: with the header they are TSV, else NEVRAs."""
    columns: Sequence[str] | None = None
    first = True
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if number > MAX_PACKAGES:
            raise UnreadableInventory(f"{source}: has more than {MAX_PACKAGES:,} lines")
        if first and tuple(line.split()[: len(HEADER)]) == HEADER:
            columns = line.rstrip().split("\t") if "\t" in line else line.split()
            first = False
            continue
        if first and "\t" in line:
            raise UnreadableInventory(
                f"{source}: line {number}: the header of a tsv is {', '.join(HEADER)}, in this order and with tabs between them"
            )
        first = False
        try:
            package = _row(line, columns) if columns is not None else _nevra(line)
        except ValueError as error:
            raise UnreadableInventory(f"{source}: line {number}: {error}") from None
        if package is not None:
            yield PackageLine(package)


def _row(line: str, columns: Sequence[str]) -> Nevra | None:
    cells = [cell.strip() for cell in (line.split("\t") if "\t" in line else line.split())]
    if not len(HEADER) <= len(cells) <= len(columns):
        raise ValueError(f"has {len(cells)} columns, the header has {len(columns)}: {line[:80]!r}")
    name, epoch, version, release, arch = cells[: len(HEADER)]
    if name == _PSEUDO:
        return None
    for title, cell in zip(HEADER, (name, "0", version, release, arch), strict=True):
        if not cell:
            raise ValueError(f"{title} is empty: {line[:80]!r}")
    if _ARCHITECTURE.fullmatch(arch) is None:
        raise ValueError(f"{arch[:80]!r} is no known architecture, like x86_64 or noarch: {line[:80]!r}")
    for title, cell, wrong in (
        ("name", name, _NO_NAME),
        ("version", version, _NO_VERSION),
        ("release", release, _NO_VERSION),
    ):
        if wrong.search(cell):
            raise ValueError(f"{cell[:80]!r} is no {title}: {line[:80]!r}")
    return Nevra(name, _epoch(epoch), version, release, arch)


def _nevra(line: str) -> Nevra | None:
    text = line.strip()
    if _EPOCH_IN_FRONT.sub("", text).startswith(f"{_PSEUDO}-"):
        return None
    return _package_of(text)


def _package_of(text: str) -> Nevra:
    """Read a NEVRA; raise ValueError for what cannot be one package of one architecture."""
    if len(text) > 4 * manifest.MAX_FIELD:
        raise ValueError(f"is too long for a package: {text[:80]!r}")
    found = nevra.parse(text.replace("-(none):", "-"))
    if _ARCHITECTURE.fullmatch(found.arch) is None:
        raise ValueError(f"{text[:120]!r} has no known architecture at its end, like .x86_64 or .noarch")
    if foreign := _FOREIGN.search(f"{found.name}{found.version}{found.release}"):
        raise ValueError(f"{text[:120]!r} has {foreign[0]!r} in it, which no package has")
    return found._replace(epoch=_epoch(str(found.epoch)))


def _epoch(text: str) -> int:
    epoch = evr.parse_epoch(text)
    if epoch > MAX_EPOCH:
        raise ValueError(f"{text!r} is not an epoch: rpm has none above {MAX_EPOCH}")
    return epoch


def _from_json(text: str, source: str) -> Inventory:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise UnreadableInventory(f"{source}: line {error.lineno} is not JSON: {error.msg}") from None
    except (ValueError, RecursionError):
        raise UnreadableInventory(f"{source}: is not JSON that can be read") from None
    if not isinstance(document, dict) or not {"manifest", "packages"} <= document.keys():
        raise UnreadableInventory(
            f"{source}: is not what `uniagent inventory --output json` writes: it has no manifest and packages"
        )
    try:
        told = manifest.decode(json.dumps(document["manifest"]).encode())
    except ValueError as error:
        raise UnreadableInventory(f"{source}: manifest: {str(error).removeprefix('manifest: ')}") from None
    rows = document["packages"]
    if not isinstance(rows, list) or len(rows) > MAX_PACKAGES:
        raise UnreadableInventory(f"{source}: packages: is not a list of at most {MAX_PACKAGES:,}")
    # Which repositories are meant is said beside the inventory: not to know the host's own does not matter here.
    problems = tuple(p for p in told.problems if p.code not in _NAMED_ELSEWHERE)
    if 0 < len(rows) < told.package_count:
        raise UnreadableInventory(
            f"{source}: packages: has {len(rows):,}, but its manifest counted {told.package_count:,}: some were taken out"
        )
    found_rows = [(line, r) for n, r in enumerate(rows) if (line := _package(r, f"{source}: packages[{n}]"))]
    lines = [line for line, _ in found_rows]
    if lines and not told.packages:
        raise UnreadableInventory(
            f"{source}: packages: has {len(lines)}, but its manifest says that none could be read"
        )
    found = _with_digests(replace(told, problems=problems, repositories=()), lines)
    failed = tuple(repository for repository in told.repositories if repository.error)
    knows_streams = bool(told.package_manager or told.streams)
    return replace(
        found,
        knows_streams=knows_streams,
        details=_details(told, found_rows),
        failed=failed,
        enabled=frozenset(repository.id for repository in told.repositories),
    )


def _details(
    told: Manifest, rows: Iterable[tuple[PackageLine, Mapping[str, Any]]]
) -> tuple[tuple[int, str], ...] | None:
    """Return when each package was installed, in the order of the packages blob; a line that stands twice counts as it came last."""
    if not told.boot_time or told.facts.get("virtualization") == "container":
        return None
    newest = dict[PackageLine, int]()
    for line, row in rows:
        at = row.get("install_time", 0)
        newest[line] = max(newest.get(line, 0), at if isinstance(at, int) and at > 0 else 0)
    _, blob = manifest.encode_packages((line, at, "") for line, at in newest.items())
    return manifest.decode_details(blob)


def _package(row: object, where: str) -> PackageLine | None:
    if not isinstance(row, Mapping):
        raise UnreadableInventory(f"{where}: is not a table with name, epoch, version, release and arch")
    epoch = row.get("epoch", 0)
    if isinstance(epoch, bool) or not isinstance(epoch, int | str | None):
        raise UnreadableInventory(f"{where}.epoch: {str(epoch)[:80]!r} is not an epoch")
    if row.get("name") == _PSEUDO:
        return None
    name, version, release, arch = (_text(row, key, where) for key in ("name", "version", "release", "arch"))
    for key, text, wrong in (
        *(("name", name, _NO_NAME), ("version", version, _NO_VERSION), ("release", release, _NO_VERSION)),
        ("arch", arch, _NO_VERSION),
    ):
        if wrong.search(text):
            raise UnreadableInventory(f"{where}.{key}: {text[:80]!r} is none")
    try:
        number = _epoch("" if epoch is None else str(epoch))
    except ValueError as error:
        raise UnreadableInventory(f"{where}.epoch: {error}") from None
    return PackageLine(Nevra(name, number, version, release, arch), _text(row, "module", where, needed=False))


def _text(row: Mapping[str, Any], key: str, where: str, *, needed: bool = True) -> str:
    value = row.get(key, "" if not needed else None)
    if not isinstance(value, str) or (needed and not value) or len(value) > manifest.MAX_FIELD or _HALF.search(value):
        raise UnreadableInventory(f"{where}.{key}: is not a text")
    return value
