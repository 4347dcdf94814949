"""What a collection is asked for, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common.manifest import Manifest, PackageLine, Problem, Stream

Blob = Path | bytes
"""Content: in a file of the package manager's cache, or here."""


@dataclass(frozen=True, slots=True)
class CollectRequest:
    """What to ask."""

    root: Path | None = None
    """The installation to ask; None is the running host itself."""
    dbpath: Path | None = None
    """The folder of the rpm database, when it is not where the installation keeps it. Alone (without root): packages only. It is
    never written to: a copy is read."""
    refresh: bool = True
    """Refresh the repositories. If not, what was cached is read, and each repository says that it was not refreshed."""
    timeout_seconds: float = 600.0
    """For all of it."""
    fallback_cache: Path | None = None
    """Where the package manager may cache if it cannot do so where it should. Must outlive the use of the blobs."""
    clock_matter: str = ""
    """What is wrong with this host's clock, as the controller's showed; goes into the report as a problem."""

    @property
    def packages_only(self) -> bool:
        """Whether nothing but the rpm database is asked."""
        return self.root is None and self.dbpath is not None


@dataclass(frozen=True, slots=True)
class InstalledPackage:
    """One installed package and what rpm says of its installation."""

    line: PackageLine
    installed_at: int
    """Seconds since 1970."""
    vendor: str


@dataclass(frozen=True, slots=True)
class CachedRepository:
    """Where the files of one repository lie in the package manager's cache, by their type in repomd.xml."""

    repomd: Path
    files: Mapping[str, Path]
    """Type, e.g. "updateinfo", to file. The name of a file is the one that repomd.xml gives it."""


@dataclass(frozen=True, slots=True)
class Collected:
    """A manifest and every blob that it names, by hexadecimal digest."""

    manifest: Manifest
    blobs: Mapping[str, Blob]
    packages: tuple[InstalledPackage, ...] = ()
    """What the blobs `packages` and `details` say, in no particular order."""
    cached: Mapping[str, CachedRepository] = field(default_factory=dict)
    """By repository id: those whose metadata could be read."""


@dataclass(frozen=True, slots=True)
class AskedRepository:
    """What the package manager says of one enabled repository."""

    id: str
    error: str = ""
    """Why it was not refreshed; empty when it was."""
    cache: str = ""
    """The folder where its metadata is cached; empty when unknown."""
    excludes: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a package manager answered."""

    package_manager: str = ""
    """Name and version, e.g. "dnf 4.14.0"."""
    repositories: tuple[AskedRepository, ...] = ()
    excludes: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()
    disabled_excludes: frozenset[str] = frozenset()
    """"all", "main" or repository ids whose excludes do not count."""
    install_only: tuple[str, ...] = ()
    """Names or provides of packages that may be installed in several versions; empty when it did not say."""
    plugins: bool = True
    """Whether it loads plugins, so that version locks count."""
    streams: tuple[Stream, ...] = ()
    """Module streams that it treats as active, the default ones too; empty when it does not know modules, or did not say."""
    problems: tuple[Problem, ...] = ()
