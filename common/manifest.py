"""What an agent knows of its host, content-addressed (DESIGN §4).

A *manifest* is a small canonical JSON document: the facts, and the SHA-256 digests of what is large. Nothing in it depends on when it was
made, so an unchanged host makes the same bytes and one digest says all. The large parts are blobs of their own:

* `packages`: one line a package, sorted: name, epoch, version, release, arch, modularity label, joined by tabs, each line
  ended by a newline. A set: fleets made from one image share it. gpg-pubkey is no package.
* `details`: one line a package, in the order of `packages`: install time (seconds since 1970), vendor, tab between.
* a repository's `updateinfo`, `primary` and `modules` files, exactly as the host's package manager cached them (still compressed).
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from common import digest
from common.nevra import Nevra

FORMAT: Final = 1
MAX_MANIFEST_BYTES: Final = 1 << 20
MAX_PACKAGES: Final = 200_000
MAX_PACKAGES_BYTES: Final = 32 << 20
MAX_FIELD: Final = 1024
MAX_EPOCH: Final = (1 << 32) - 1
"""rpm keeps an epoch in 32 bits."""
_SURROGATES: Final = frozenset(map(chr, range(0xD800, 0xE000)))
"""JSON can spell them, UTF-8 and databases cannot."""
HEX: Final = frozenset("0123456789abcdef")


class ProblemCode(StrEnum):
    """What could not be read. Every one of them keeps an instance from being COMPLIANT, but for FACTS and CLOCK."""

    RPMDB = "RPMDB"
    """The rpm database could not be read: there is no inventory."""
    BUSY = "BUSY"
    """A transaction ran during the whole collection: the inventory may show two versions of a package."""
    REPO_CONFIG = "REPO_CONFIG"
    """The package manager could not say which repositories are enabled."""
    HOLDS = "HOLDS"
    """Version locks or excludes could not be read."""
    MODULES = "MODULES"
    """Enabled module streams could not be read."""
    KERNEL = "KERNEL"
    """The package of the running kernel could not be found."""
    OS_RELEASE = "OS_RELEASE"
    """It is not known what the host runs."""
    FACTS = "FACTS"
    """Some hardware fact could not be read. Harmless."""
    CLOCK = "CLOCK"
    """The host's clock looks wrong. Harmless by itself."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that could not be read, and one sentence about it (no times, no temporary names: see the module's text)."""

    code: ProblemCode
    detail: str


@dataclass(frozen=True, slots=True)
class OsRelease:
    """What the host runs."""

    id: str = ""
    version: str = ""
    """As exactly as the host tells: CentOS says 7 in os-release and 7.9 in its release package."""
    pretty_name: str = ""
    arch: str = ""
    cpe: str = ""


@dataclass(frozen=True, slots=True)
class Repository:
    """One enabled repository. `error` is empty if and only if it was refreshed and read just now."""

    id: str
    error: str = ""
    revision: str = ""
    """repomd's revision."""
    timestamp: int = 0
    """The newest time that repomd names, seconds since 1970; 0 when it names none."""
    updateinfo: str = ""
    """Digest of the updateinfo file, hexadecimal; empty when the repository has none."""
    primary: str = ""
    """Digest of the primary file, hexadecimal; empty when it could not be read."""
    modules: str = ""
    """Digest of the modules file, hexadecimal; empty when the repository has none."""


class HoldKind(StrEnum):
    """What holds a package back (SEMANTICS R3)."""

    VERSIONLOCK = "versionlock"
    EXCLUDE = "exclude"


@dataclass(frozen=True, slots=True)
class Hold:
    """One line that holds packages back, as the host's settings spell it."""

    kind: HoldKind
    pattern: str
    repository: str = ""
    """Only in this repository; empty for all."""


@dataclass(frozen=True, slots=True, order=True)
class Stream:
    """An enabled module stream."""

    name: str
    stream: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that an agent says of its host, but for the time it said so."""

    os: OsRelease
    packages: str = ""
    """Digest of the packages blob, hexadecimal; empty when there is no inventory (a problem says why)."""
    details: str = ""
    """Digest of the details blob."""
    package_count: int = 0
    package_manager: str = ""
    """"dnf 4.14.0", "yum 3.4.3" or empty when there is none."""
    boot_id: str = ""
    """Empty in an offline root."""
    boot_time: int = 0
    """Seconds since 1970; 0 in an offline root."""
    running_kernel: str = ""
    """uname -r; empty in an offline root or a container: then there is no running-kernel verdict (R7)."""
    running_kernel_package: str = ""
    """NEVRA of the package that owns the running kernel; empty when unknown."""
    install_only: tuple[str, ...] = ()
    """Names of installed packages of which several versions may stand side by side (R7)."""
    streams: tuple[Stream, ...] = ()
    holds: tuple[Hold, ...] = ()
    repositories: tuple[Repository, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    """Hardware facts, e.g. cpu_count, memory_bytes, virtualization."""
    problems: tuple[Problem, ...] = ()

    def blobs(self) -> tuple[str, ...]:
        """Return the digests of everything this manifest names, each once, hexadecimal."""
        named = [self.packages, self.details]
        for repository in self.repositories:
            named += (repository.updateinfo, repository.primary, repository.modules)
        return tuple(dict.fromkeys(d for d in named if d))


@dataclass(frozen=True, slots=True)
class PackageLine:
    """One line of the packages blob."""

    nevra: Nevra
    module: str = ""
    """Modularity label, name:stream:version:context; empty for a plain package."""


def encode(manifest: Manifest) -> bytes:
    """Return the canonical bytes of a manifest: the same facts give the same bytes."""
    ordered = dataclasses.replace(
        manifest,
        install_only=tuple(sorted(set(manifest.install_only))),
        streams=tuple(sorted(set(manifest.streams))),
        holds=tuple(sorted(set(manifest.holds), key=lambda h: (h.kind, h.pattern, h.repository))),
        repositories=tuple(sorted(manifest.repositories, key=lambda r: r.id)),
        problems=tuple(sorted(set(manifest.problems), key=lambda p: (p.code, p.detail))),
    )
    document = {"format": FORMAT} | dataclasses.asdict(ordered)
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def decode(content: bytes) -> Manifest:
    """Read a manifest that came from the network; raise ValueError that names the wrong field."""
    if len(content) > MAX_MANIFEST_BYTES:
        raise ValueError(f"manifest: has {len(content)} bytes, allowed are {MAX_MANIFEST_BYTES}")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("manifest: is not JSON") from None
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise ValueError(f"format: is not {FORMAT}, the only one known")
    try:
        manifest = Manifest(
            os=_record(OsRelease, "os", document.pop("os", {})),
            streams=_records(Stream, "streams", document.pop("streams", [])),
            holds=_records(Hold, "holds", document.pop("holds", []), kind=HoldKind),
            repositories=_records(Repository, "repositories", document.pop("repositories", [])),
            problems=_records(Problem, "problems", document.pop("problems", []), code=ProblemCode),
            install_only=tuple(
                _text("install_only", n) for n in _list("install_only", document.pop("install_only", []))
            ),
            facts={_text("facts", k): _text("facts", v) for k, v in _table("facts", document.pop("facts", {})).items()},
            **_scalars(Manifest, "manifest", document),
        )
    except RecursionError:
        raise ValueError("manifest: is nested too deeply") from None
    for name in manifest.blobs():
        if len(name) != 2 * digest.SIZE or not HEX.issuperset(name):
            raise ValueError(f"manifest: {name[:80]!r} is not a SHA-256 digest")
    if bool(manifest.packages) != bool(manifest.details):
        raise ValueError("details: packages and details come together")
    if not manifest.packages and not any(p.code is ProblemCode.RPMDB for p in manifest.problems):
        raise ValueError("packages: may be absent only with a problem RPMDB")
    return manifest


_DETAILS: Final = re.compile(rb"(?:[0-9]{1,18}\t[^\n]*+\n)*+")
"""Details blobs as agents write them; `decode_details` says what is wrong with others."""


def encode_packages(lines: Iterable[tuple[PackageLine, int, str]]) -> tuple[bytes, bytes]:
    """Return the packages blob and the details blob of (package, install time, vendor) in any order."""
    rows = sorted((f"{package_text(line)}\n", f"{installed}\t{_clean(vendor)}\n") for line, installed, vendor in lines)
    return "".join(p for p, _ in rows).encode(), "".join(d for _, d in rows).encode()


def split_packages(content: bytes) -> list[bytes]:
    """Return the lines of a packages blob, at whose order only is looked; raise ValueError that says what is wrong with it."""
    lines = content.split(b"\n")
    if lines.pop():
        raise ValueError("packages: the last line is cut off")
    if len(lines) > MAX_PACKAGES:
        raise ValueError(f"packages: more than {MAX_PACKAGES} lines")
    if lines != sorted(lines):
        wrong = next(n for n in range(1, len(lines)) if lines[n] < lines[n - 1])
        raise ValueError(f"packages: line {wrong + 1} is not in its place: {_shown(lines[wrong])}")
    return lines


def read_package(line: bytes) -> PackageLine:
    """Read one line of a packages blob; raise ValueError that shows it. Different lines are different packages."""
    name, epoch, version, release, arch, module = package_fields(line)
    return PackageLine(Nevra(name, epoch, version, release, arch), module)


def package_fields(line: bytes) -> tuple[str, int, str, str, str, str]:
    """Return name, epoch, version, release, arch and module, as `read_package` does, for who keeps them apart."""
    match line.decode("utf-8").split("\t"):
        case [name, epoch, version, release, arch, module] if (
            name and version and release and arch and _is_epoch(epoch)
        ):
            return name, int(epoch), version, release, arch, module
        case _:
            raise ValueError(f"packages: not a package: {_shown(line)}")


def package_text(package: PackageLine) -> str:
    """Return the line that `read_package` reads."""
    n = package.nevra
    return f"{n.name}\t{n.epoch}\t{n.version}\t{n.release}\t{n.arch}\t{package.module}"


def decode_packages(content: bytes) -> tuple[PackageLine, ...]:
    """Read a packages blob; raise ValueError that says what is wrong with it."""
    return tuple(map(read_package, split_packages(content)))


def decode_details(content: bytes) -> tuple[tuple[int, str], ...]:
    """Read a details blob: (install time, vendor) in the order of the packages; raise ValueError that names the line."""
    found = list[tuple[int, str]]()
    for number, line in enumerate(content.decode("utf-8").split("\n")[:-1], 1):
        installed, tab, vendor = line.partition("\t")
        if not (tab and installed.isascii() and installed.isdigit()):
            raise ValueError(f"details: line {number} is not install time and vendor: {line[:80]!r}")
        found.append((int(installed), vendor))
    return tuple(found)


def count_details(content: bytes) -> int:
    """Return how many lines `decode_details` reads, and raise ValueError where it does, in a fraction of its time."""
    *lines, rest = content.split(b"\n")
    distinct = set(lines)  # packages come by dozens in a second, from few vendors
    if rest or _DETAILS.fullmatch(b"".join([line + b"\n" for line in distinct])) is None:
        return len(decode_details(content))
    content.decode("utf-8")
    return len(lines)


def _clean(text: str) -> str:
    return " ".join(text.split())


def _is_epoch(text: str) -> bool:
    """Say whether it is an epoch in its only spelling: 01 would be the same package on another line."""
    if text == "0":
        return True  # most are
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_EPOCH))):
        return False
    return int(text) <= MAX_EPOCH and text[0] != "0"


def _shown(line: bytes) -> str:
    return repr(line[:80].decode("utf-8", "replace"))


def _text(where: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_FIELD or not _SURROGATES.isdisjoint(value):
        raise ValueError(f"{where}: is not a text of at most {MAX_FIELD} characters")
    return value


def _list(where: str, value: object) -> list[Any]:
    if not isinstance(value, list) or len(value) > MAX_PACKAGES:
        raise ValueError(f"{where}: is not a list of at most {MAX_PACKAGES}")
    return value


def _table(where: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: is not a table")
    return value


def _scalars(kind: type[Any], where: str, table: dict[str, Any]) -> dict[str, Any]:
    hints = {f.name: f.type for f in dataclasses.fields(kind)}
    for key, value in table.items():
        if key not in hints:
            raise ValueError(f"{where}.{key[:80]}: is unknown")
        if hints[key] == "int":
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 62:
                raise ValueError(f"{where}.{key}: is not a whole number from 0")
        else:
            _text(f"{where}.{key}", value)
    return table


def _record(kind: type[Any], where: str, value: object, /, **enums: type[StrEnum]) -> Any:
    table = _scalars(kind, where, _table(where, value))
    for key, enum in enums.items():
        try:
            table[key] = enum(table.get(key, ""))
        except ValueError:
            raise ValueError(f"{where}.{key}: is not one of {', '.join(enum)}") from None
    try:
        return kind(**table)
    except TypeError:
        raise ValueError(f"{where}: a field is missing") from None


def _records(kind: type[Any], where: str, value: object, /, **enums: type[StrEnum]) -> tuple[Any, ...]:
    return tuple(_record(kind, f"{where}[{n}]", item, **enums) for n, item in enumerate(_list(where, value)))
