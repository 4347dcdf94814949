"""What `dnf updateinfo list` would say: every advisory package that concerns an installed one, and whether it is newer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from common.manifest import Stream
from common.nevra import Nevra
from controller.compliance.evaluate import kernel_parts
from controller.compliance.model import Advisory, Category, Severity
from controller.inventory.advisories import UNKNOWN_MODULE


class RowState(StrEnum):
    """How an advisory's build compares with what is installed."""

    AVAILABLE = "available"
    """Newer than the newest installed build of its name.arch, or than the running kernel's."""
    INSTALLED = "installed"


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

    An advisory counts for the newest installed build of a name.arch and, of a kernel, also for the running one (dnf PR 1485); one for a
    module counts where its stream is enabled. Unlike the verdict (R8), dnf asks a modular build about plain advisories too.
    """
    newest = defaultdict[tuple[str, str], bytes](bytes)
    for build in installed:
        newest[build.name, build.arch] = max(build.key, newest[build.name, build.arch])
    running = dict[tuple[str, str], bytes]()
    if running_kernel is not None:
        running = {(name, running_kernel.arch): running_kernel.key for name in kernel_parts(running_kernel.name)}
    enabled = {f"{stream.name}:{stream.stream}" for stream in streams} | {"", UNKNOWN_MODULE}
    found = set[AdvisoryRow]()
    for advisory in advisories:
        for package in advisory.packages:
            build = package.nevra
            name = (build.name, build.arch)
            if name not in newest or package.module not in enabled:
                continue
            is_newer = build.key > min(newest[name], running.get(name, newest[name]))
            state = RowState.AVAILABLE if is_newer else RowState.INSTALLED
            found.add(AdvisoryRow(advisory.id, advisory.category, advisory.severity, build, state))
    return tuple(sorted(found))
