"""Hardware facts of the running host: only such as stay the same while the host does."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psutil

from common.manifest import Problem, ProblemCode
from uniagent.collect.kernel import in_container

_DMI: Final = (
    ("Amazon EC2", "aws"),
    ("Google", "google"),
    ("Huawei", "huawei"),
    ("Microsoft", "hyper-v"),
    ("OpenStack", "openstack"),
    ("QEMU", "qemu"),
    ("VirtualBox", "virtualbox"),
    ("VMware", "vmware"),
    ("Xen", "xen"),
)


def read(slash: Path = Path("/")) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """Return cpu_count, memory_bytes and virtualization; what cannot be read is left out and named."""
    facts, problems = dict[str, str](), list[Problem]()
    try:
        if count := psutil.cpu_count(logical=True):
            facts["cpu_count"] = str(count)
        facts["memory_bytes"] = str(psutil.virtual_memory().total)
    except (OSError, ValueError, psutil.Error) as error:
        problems.append(Problem(ProblemCode.FACTS, f"psutil could not read /proc: {type(error).__name__}"))
    facts["virtualization"] = virtualization(slash)
    return facts, tuple(problems)


def boot_time() -> tuple[int, tuple[Problem, ...]]:
    """Return when the host was started, seconds since 1970; 0 and a problem when that cannot be read."""
    try:
        return int(psutil.boot_time()), ()
    except (OSError, RuntimeError, ValueError, psutil.Error) as error:
        return 0, (Problem(ProblemCode.FACTS, f"the time of the last start is not known: {type(error).__name__}"),)


def virtualization(slash: Path = Path("/")) -> str:
    """Return what the host runs on: "container", a hypervisor's name, "vm" for an unknown one, or "none"."""
    if in_container(slash):
        return "container"
    vendor = " ".join(
        _word(slash / "sys/class/dmi/id" / name) for name in ("sys_vendor", "product_name", "bios_vendor")
    )
    flags = _word(slash / "proc/cpuinfo")
    named = next((hypervisor for word, hypervisor in _DMI if word.lower() in vendor.lower()), "vm")
    return named if " hypervisor" in flags else "none"


def _word(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""  # not every machine tells: then it is a machine without that word
