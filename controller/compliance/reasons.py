"""What to do about each reason why it cannot be said whether an instance complies: one sentence each, the same everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from common.manifest import ProblemCode
from controller.compliance.model import Reason, Undetermined

HELP: Final[Mapping[Reason, str]] = {
    Reason.NO_REPORT: "Start the agent (systemctl start uniagent), then run a scan.",
    Reason.STALE: "Check that the agent is running (systemctl status uniagent) and run a scan.",
    Reason.RPMDB: "Check the rpm database on the host (rpm -qa, then rpm --rebuilddb if it is damaged), and scan again.",
    Reason.BUSY: "Wait until the package transaction on the host has ended, and scan again.",
    Reason.NO_REPOS: "Enable the repositories of the operating system (dnf repolist, or yum repolist, must list them).",
    Reason.REPO_ERROR: "Mend the repository or disable it on the host (uniagent doctor checks each one), and scan again.",
    Reason.METADATA_STALE: "Scan again: every scan refreshes the repositories through the host's package manager.",
    Reason.NO_ADVISORIES: (
        "Enable a repository that publishes advisories (updateinfo), or use a baseline without categories and severities"
        " that includes updates without advisory."
    ),
    Reason.EOL: "Move the instance to a release that its vendor still maintains.",
    Reason.NO_BASELINE: "Create or set a default baseline for this operating system and scenario, or assign one.",
    Reason.QUARANTINED: "Give each of the hosts an identity of its own, then release the instance (patchctl instances show says how).",
    Reason.UNREADABLE: "Run uniagent doctor on the host; it says what to mend.",
}
"""By reason. `help_for` has more exact words for some problems."""

_PROBLEM_HELP: Final[Mapping[ProblemCode, str]] = {
    ProblemCode.REPO_CONFIG: "Check the package manager's settings on the host (dnf repolist, or yum repolist, must end without an error).",
    ProblemCode.HOLDS: "Check the version locks and excludes on the host (versionlock.list, exclude= in dnf.conf or yum.conf).",
    ProblemCode.MODULES: "Check the module settings on the host (dnf module list --enabled must end without an error).",
    ProblemCode.KERNEL: "Start the host with a kernel that came from a package, or reinstall the package of the running one.",
    ProblemCode.OS_RELEASE: "Check /etc/os-release on the host.",
}

PROBLEM_REASONS: Final[Mapping[ProblemCode, Reason]] = {
    ProblemCode.RPMDB: Reason.RPMDB,
    ProblemCode.BUSY: Reason.BUSY,
    ProblemCode.REPO_CONFIG: Reason.UNREADABLE,
    ProblemCode.HOLDS: Reason.UNREADABLE,
    ProblemCode.MODULES: Reason.UNREADABLE,
    ProblemCode.OS_RELEASE: Reason.UNREADABLE,
}
"""What each problem means for the answer. KERNEL depends on whether a kernel matters; FACTS and CLOCK are harmless."""


def undetermined(reason: Reason, detail: str) -> Undetermined:
    """Make a reason with its sentence on what to do."""
    return Undetermined(reason, detail, HELP[reason])


def from_problem(code: ProblemCode, detail: str) -> Undetermined:
    """Make the reason that a problem of the agent stands for."""
    reason = PROBLEM_REASONS.get(code, Reason.UNREADABLE)
    return Undetermined(
        reason,
        f"{code.value}: {detail}" if reason is Reason.UNREADABLE else detail,
        _PROBLEM_HELP.get(code, HELP[reason]),
    )
