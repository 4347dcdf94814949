"""What `dnf updateinfo list` would say: every advisory package that concerns an installed one, and whether it is newer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from common.manifest import Stream
from common.nevra import Nevra
from controller.compliance.model import Advisory, Category, Severity
from controller.inventory.advisories import UNKNOWN_MODULE


class RowState(StrEnum):
    """How an advisory's build compares with what is installed."""

    AVAILABLE = "available"
    """Newer than the newest installed build of its name.arch, or than the running kernel's."""
    INSTALLED = "installed"
    """Not newer than the newest installed build of its name.arch."""


@dataclass(frozen=True, slots=True, order=True)
class AdvisoryRow:
    """One build of one advisory."""

    id: str
    category: Category
    severity: Severity
    package: Nevra
    state: RowState


def advisory_rows(
    installed: Iterable[Nevra],
    advisories: Iterable[Advisory],
    running_kernel: Nevra | None = None,
    streams: Iterable[Stream] = (),
) -> tuple[AdvisoryRow, ...]:
    """Return the rows in order, each once, by dnf's rules.

    The available ones are what `dnf updateinfo list --available` prints, the installed ones what `--installed` prints. So a kernel that is
    installed and not yet running has a row of each state: dnf asks about the newest installed build of a name.arch and also about the
    builds of the running kernel (dnf PR 1485). A package of a module counts where its stream is enabled. Unlike the verdict (R8),
    dnf asks a modular build about plain advisories too.
    """
    builds = tuple(installed)
    newest = defaultdict[tuple[str, str], bytes](bytes)
    for build in builds:
        newest[build.name, build.arch] = max(build.key, newest[build.name, build.arch])
    running = _running(builds, running_kernel)
    enabled = {f"{stream.name}:{stream.stream}" for stream in streams} | {"", UNKNOWN_MODULE}
    found = set[AdvisoryRow]()
    for advisory in advisories:
        for package in advisory.packages:
            build = package.nevra
            name = (build.name, build.arch)
            if name in newest and package.module in enabled:
                found |= {
                    AdvisoryRow(advisory.id, advisory.category, advisory.severity, build, state)
                    for state in _states(build.key, newest[name], running.get(name))
                }
    return tuple(sorted(found))


def _running(builds: Sequence[Nevra], kernel: Nevra | None) -> Mapping[tuple[str, str], bytes]:
    """Return the keys of the installed builds that were made together with the running kernel.

    Dnf finds them by their source package, which an inventory does not name: they share its version and release.
    """
    if kernel is None or kernel not in builds:
        return {}  # one that runs and is not installed any more: dnf does not find it, and asks about the newest builds only
    made = (kernel.version, kernel.release)
    return {
        (build.name, build.arch): build.key
        for build in builds
        if (build.version, build.release) == made and build.name.startswith("kernel")
    }


def _states(key: bytes, newest: bytes, running: bytes | None) -> Iterator[RowState]:
    if key > newest or (running is not None and key > running):
        yield RowState.AVAILABLE
    if key <= newest:
        yield RowState.INSTALLED
