"""The kernel that runs, the package that owns it, and since when (SEMANTICS R7, R9). Only for the running host."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.manifest import Problem, ProblemCode
from common.nevra import Nevra

Owners = Callable[[str], Sequence[Nevra]]
"""Returns the packages that own a path."""


@dataclass(frozen=True, slots=True)
class Running:
    """What runs. Empty in a container: the kernel there is not the container's own."""

    kernel: str = ""
    package: str = ""
    problems: tuple[Problem, ...] = ()


def in_container(slash: Path = Path("/")) -> bool:
    """Return whether this is a container, by the marks that podman, docker, systemd-nspawn, LXC and Kubernetes leave."""
    if (slash / "run/.containerenv").exists() or (slash / ".dockerenv").exists():
        return True
    if (slash / "run/systemd/container").exists():
        return True
    try:
        environment = (slash / "proc/1/environ").read_bytes()
    except OSError:
        return False  # only root may look there; the files above are for everybody
    return any(entry.startswith(b"container=") for entry in environment.split(b"\0"))


def boot_id(slash: Path = Path("/")) -> str:
    """Return the id of this boot, or "" when the kernel does not tell."""
    try:
        return (slash / "proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def running(
    owners: Owners, installed_names: Collection[str], release: str = "", container: bool | None = None
) -> Running:
    """Find the package of the running kernel by asking who owns its modules, else its image; never by reading its name."""
    if in_container() if container is None else container:
        return Running()
    release = release or platform.release()
    modules = owners(f"/lib/modules/{release}")
    image = owners(f"/lib/modules/{release}/vmlinuz") or owners(f"/boot/vmlinuz-{release}")
    both = [package for package in modules if package in image]
    if chosen := both or image or modules:
        return Running(release, str(chosen[0]))
    if not any(name == "kernel" or name.startswith("kernel-") for name in installed_names):
        return Running(release)  # the kernel comes from elsewhere, as in an image or a microVM
    unknown = f"no installed package owns /lib/modules/{release}, the running kernel"
    return Running(release, "", (Problem(ProblemCode.KERNEL, unknown),))
