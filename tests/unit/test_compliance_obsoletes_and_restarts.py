"""Packages that a required one replaces (OBSOLETES), and what takes effect only after a restart (R9)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from common import nevra
from common.manifest import Hold, HoldKind
from controller.compliance.evaluator import Evaluation, Host, evaluate
from controller.compliance.model import (
    Advisory,
    AdvisoryPackage,
    Available,
    Baseline,
    Category,
    ExceptionMatch,
    Exceptions,
    InstanceStatus,
    Item,
    Level,
    PatchException,
    PatchStatus,
    RejectAction,
    RejectedPatch,
)
from tests.builders import (
    NOW,
    a_baseline,
    a_manifest,
    a_package,
    a_repository,
    a_rule,
    an_advisory,
    an_exception,
    an_instance,
)

ANYTHING = a_rule(categories=(), severities=(), level=Level.HIGH)
OLD, NEW = "telnet-1.5-2.x86_64", "kitten-3-1.x86_64"
REPLACES = an_advisory("A", NEW, cves=("CVE-2026-0001",))


def answer(
    installed: tuple[str, ...],
    advisories: tuple[Advisory, ...],
    offers: tuple[Available, ...],
    *exceptions: PatchException,
    baseline: Baseline | None = None,
    installed_at: int | None = None,
    **manifest: Any,
) -> Evaluation:
    lines = [a_package(line) for line in installed]
    repository = a_repository()
    details = tuple((installed_at, "vendor") for _ in lines) if installed_at is not None else None
    return evaluate(
        Host(an_instance(1), a_manifest(lines, **manifest), "m", collected_at=NOW, details=details),
        lines,
        {repository.updateinfo: advisories},
        {repository.primary: offers},
        baseline or a_baseline("b", ANYTHING),
        NOW,
        exceptions=Exceptions(1, exceptions),
        everything=True,
    )


def item(found: Evaluation, name: str = "telnet") -> Item:
    (only,) = [i for i in found.items if i.name == name]
    return only


def offer(*obsoletes: str, build: str = NEW) -> tuple[Available, ...]:
    return (Available(nevra.parse(build), 0, obsoletes=obsoletes),)


def test_OBSOLETES_an_installed_package_that_an_approved_one_replaces_is_MISSING_it() -> None:
    found = answer((OLD,), (REPLACES,), offer("telnet"))
    told = item(found)
    assert (told.status, told.reason, str(told.required)) == (PatchStatus.MISSING, "OBSOLETES(kitten)", "3-1")
    assert (told.advisories, told.cves, told.level) == (("A",), ("CVE-2026-0001",), Level.HIGH)
    assert "still has telnet, which kitten 3-1 replaces, because advisory A" in told.why
    assert found.assessment.status is InstanceStatus.NON_COMPLIANT
    assert found.assessment.level is Level.HIGH
    assert found.non_compliant_keys == ("telnet.x86_64",)
    assert (found.assessment.counts.missing, found.assessment.counts.installed_other) == (1, 0)


@pytest.mark.parametrize(
    ("obsoletes", "replaced"),
    [
        ("telnet", True),
        ("telnet < 1.5-3", True),
        ("telnet < 1.5-2", False),
        ("telnet <= 1.5-2", True),
        ("telnet = 1.5-2", True),
        ("telnet = 1.5", True),
        ("telnet < 1.5", False),
        ("telnet <= 1.5", True),
        ("telnet < 1:0-1", True),
        ("telnet > 1.5-1", True),
        ("telnet >= 1.6", False),
        ("telnet-server", False),
        ("kitten < 3", False),
    ],
)
def test_OBSOLETES_versions_are_compared_as_rpm_does(obsoletes: str, replaced: bool) -> None:
    found = item(answer((OLD,), (REPLACES,), offer(obsoletes)))
    assert found.status is (PatchStatus.MISSING if replaced else PatchStatus.INSTALLED_OTHER)


def test_OBSOLETES_counts_only_when_the_baseline_approves_the_build_that_replaces() -> None:
    nothing = a_baseline("b", a_rule(categories=(Category.BUGFIX,)))
    assert item(answer((OLD,), (REPLACES,), offer("telnet"), baseline=nothing)).status is PatchStatus.INSTALLED_OTHER
    rejected = a_baseline("b", ANYTHING, rejected=(RejectedPatch("kitten"),))
    assert item(answer((OLD,), (REPLACES,), offer("telnet"), baseline=rejected)).status is PatchStatus.INSTALLED_OTHER


def test_OBSOLETES_a_build_without_advisory_replaces_when_a_rule_takes_those() -> None:
    takes = a_baseline("b", a_rule(categories=(), severities=(), include_without_advisory=True))
    found = answer((OLD,), (an_advisory("other", "zsh-1-1.x86_64"),), offer("telnet"), baseline=takes)
    assert item(found).reason == "OBSOLETES(kitten)"


def test_OBSOLETES_only_the_required_version_of_the_replacing_package_decides() -> None:
    newer = "kitten-4-1.x86_64"
    both = (*offer("telnet"), *offer(build=newer))
    found = answer((OLD,), (REPLACES, an_advisory("B", newer)), both)
    assert item(found).status is PatchStatus.INSTALLED_OTHER


def test_OBSOLETES_what_stands_beside_its_replacement_already_stays() -> None:
    found = answer((OLD, NEW), (REPLACES,), offer("telnet"))
    assert item(found).status is PatchStatus.INSTALLED_OTHER
    assert found.assessment.status is InstanceStatus.COMPLIANT


def test_OBSOLETES_of_several_that_replace_a_package_one_that_is_there_does_not_hide_another() -> None:
    other = "puma-1-1.x86_64"
    both = (*offer("telnet"), *offer("telnet", build=other))
    told = (REPLACES, an_advisory("B", other))
    assert item(answer((OLD, NEW), told, both)).reason == "OBSOLETES(puma)"
    assert item(answer((OLD, other), told, both)).reason == "OBSOLETES(kitten)"
    assert answer((OLD, NEW, other), told, both).assessment.status is InstanceStatus.COMPLIANT


def test_a_build_of_one_architecture_that_is_there_does_not_hide_the_update_through_another() -> None:
    """As dnf has it: telnet-3.i686 updates telnet-2.noarch, beside which telnet-4.x86_64 is installed."""
    builds = ("telnet-3-1.i686", "telnet-4-1.x86_64")
    offered = tuple(each for build in builds for each in offer(build=build))
    told = tuple(an_advisory(f"A-{build}", build) for build in builds)
    found = answer(("telnet-2-1.noarch", "telnet-4-1.x86_64"), told, offered)
    (missing,) = (i for i in found.items if i.status is PatchStatus.MISSING)
    assert (missing.arch, missing.reason, str(missing.required)) == ("noarch", "OBSOLETES(telnet.i686)", "3-1")
    assert answer((*builds, "telnet-3-1.noarch"), told, offered).assessment.status is InstanceStatus.COMPLIANT


@pytest.mark.parametrize(("arch", "replaced"), [("i686", False), ("noarch", True)])
def test_OBSOLETES_another_architecture_is_not_replaced(arch: str, replaced: bool) -> None:
    found = item(answer((f"telnet-1.5-2.{arch}",), (REPLACES,), offer("telnet")))
    assert (found.status is PatchStatus.MISSING) == replaced


def test_OBSOLETES_wins_over_an_update_of_the_old_package_and_over_BLOCK() -> None:
    update = "telnet-1.6-1.x86_64"
    found = answer((OLD,), (REPLACES, an_advisory("B", update)), (*offer("telnet"), *offer(build=update)))
    assert item(found).reason == "OBSOLETES(kitten)"
    blocked = a_baseline("b", ANYTHING, rejected=(RejectedPatch("telnet", RejectAction.BLOCK),))
    assert item(answer((OLD,), (REPLACES,), offer("telnet"), baseline=blocked)).status is PatchStatus.MISSING


def test_R3_a_held_replacement_says_by_what() -> None:
    held = (Hold(HoldKind.EXCLUDE, "kitten"),)
    found = item(answer((OLD,), (REPLACES,), offer("telnet"), holds=held))
    assert (found.reason, found.hold) == ("OBSOLETES(kitten)", "exclude")


@pytest.mark.parametrize("value", ["telnet", "A", "CVE-2026-0001"])
def test_R10_a_replaced_package_can_be_excused(value: str) -> None:
    match = {"A": ExceptionMatch.ADVISORY, "telnet": ExceptionMatch.PACKAGE}.get(value, ExceptionMatch.CVE)
    found = answer((OLD,), (REPLACES,), offer("telnet"), an_exception(match=match, match_value=value))
    assert (item(found).status, found.assessment.level) == (PatchStatus.EXCEPTED, Level.UNSPECIFIED)
    assert found.assessment.status is InstanceStatus.COMPLIANT


# --- R9 -----------------------------------------------------------------------------------------------------------------------

GLIBC = "glibc-2-1.x86_64"
STARTED = int((NOW - timedelta(days=3)).timestamp())


def restarted(
    build: str = GLIBC,
    *,
    seconds: int | None = 61,
    suggested: bool = False,
    boot_time: int = STARTED,
    **manifest: Any,
) -> Evaluation:
    """Evaluate a host on which an approved build was installed some seconds after the start."""
    advisory = an_advisory("A", packages=(AdvisoryPackage(nevra.parse(build), reboot_suggested=suggested),))
    at = STARTED + seconds if seconds is not None else None
    found = Available(nevra.parse(build), 0)
    return answer((build, "zsh-1-1.x86_64"), (advisory,), (found,), installed_at=at, boot_time=boot_time, **manifest)


def test_R9_what_was_installed_after_the_start_is_PENDING_REBOOT_with_low_confidence() -> None:
    found = restarted()
    told = item(found, "glibc")
    assert (told.status, told.reason, told.level) == (PatchStatus.PENDING_REBOOT, "REBOOT(low confidence)", Level.HIGH)
    assert "by the clock" in told.why
    assert found.assessment.status is InstanceStatus.NON_COMPLIANT
    assert found.assessment.level is Level.HIGH
    assert found.non_compliant_keys == ("glibc.x86_64",)
    counts = found.assessment.counts
    assert (counts.pending_reboot, counts.installed, counts.installed_other) == (1, 0, 1)


@pytest.mark.parametrize("seconds", [60, 0, -86400])
def test_R9_a_minute_is_tolerated(seconds: int) -> None:
    assert item(restarted(seconds=seconds), "glibc").status is PatchStatus.INSTALLED


def test_R9_without_install_times_or_in_an_offline_root_nothing_is_said() -> None:
    assert item(restarted(seconds=None), "glibc").status is PatchStatus.INSTALLED
    assert item(restarted(boot_time=0), "glibc").status is PatchStatus.INSTALLED


@pytest.mark.parametrize("name", ["systemd", "dbus", "linux-firmware", "microcode_ctl", "openssl-libs"])
def test_R9_the_packages_that_matter_are_the_listed_ones(name: str) -> None:
    assert item(restarted(f"{name}-2-1.x86_64"), name).status is PatchStatus.PENDING_REBOOT


@pytest.mark.parametrize("suggested", [True, False])
def test_R9_and_those_whose_advisory_suggests_a_restart(suggested: bool) -> None:
    expected = PatchStatus.PENDING_REBOOT if suggested else PatchStatus.INSTALLED
    assert item(restarted("bash-2-1.x86_64", suggested=suggested), "bash").status is expected


def test_R9_of_kernels_the_running_one_decides_not_the_clock() -> None:
    kernel = "kernel-5-1.x86_64"
    running: dict[str, Any] = {
        "running_kernel": "5-1.x86_64",
        "running_kernel_package": kernel,
        "install_only": ("kernel",),
    }
    assert item(restarted(kernel, suggested=True, **running), "kernel").status is PatchStatus.INSTALLED


def test_R9_what_the_baseline_does_not_ask_for_waits_for_no_restart() -> None:
    other = an_advisory("other", "bash-2-1.x86_64")
    found = answer((GLIBC,), (other,), (), installed_at=STARTED + 999, boot_time=STARTED)
    assert item(found, "glibc").status is PatchStatus.INSTALLED_OTHER


def test_R9_details_of_other_packages_are_not_believed() -> None:
    lines, repository = [a_package(GLIBC)], a_repository()
    found = evaluate(
        Host(
            an_instance(1),
            a_manifest(lines, boot_time=STARTED),
            collected_at=NOW,
            details=((STARTED + 999, ""), (STARTED + 999, "")),
        ),
        lines,
        {repository.updateinfo: [an_advisory("A", GLIBC)]},
        {repository.primary: [Available(nevra.parse(GLIBC), 0)]},
        a_baseline("b", ANYTHING),
        NOW,
        everything=True,
    )
    assert item(found, "glibc").status is PatchStatus.INSTALLED


def test_R9_each_package_has_its_own_install_time_in_the_order_of_the_blob() -> None:
    builds = ("glibc-2-1.x86_64", "a-1-1.x86_64", "systemd-2-1.x86_64", "glibc-2-1.i686")
    lines, repository = [a_package(build) for build in builds], a_repository()
    times = ((STARTED + 999, ""), (0, ""), (STARTED + 999, ""), (0, ""))  # a, glibc.i686, glibc.x86_64, systemd
    found = evaluate(
        Host(an_instance(1), a_manifest(lines, boot_time=STARTED), collected_at=NOW, details=times),
        lines,
        {repository.updateinfo: [an_advisory("A", *builds)]},
        {repository.primary: [Available(nevra.parse(build), 0) for build in builds]},
        a_baseline("b", ANYTHING),
        NOW,
    )
    assert [i.key for i in found.items] == ["glibc.x86_64"]


def test_R10_a_restart_that_waits_can_be_excused() -> None:
    lines, repository = [a_package(GLIBC)], a_repository()
    found = evaluate(
        Host(an_instance(1), a_manifest(lines, boot_time=STARTED), collected_at=NOW, details=((STARTED + 999, ""),)),
        lines,
        {repository.updateinfo: [an_advisory("A", GLIBC)]},
        {repository.primary: [Available(nevra.parse(GLIBC), 0)]},
        a_baseline("b", ANYTHING),
        NOW,
        exceptions=Exceptions(1, (an_exception(match_value="glibc"),)),
    )
    assert [i.status for i in found.items] == [PatchStatus.EXCEPTED]
    assert (found.assessment.counts.pending_reboot, found.assessment.counts.excepted) == (0, 1)
    assert found.assessment.status is InstanceStatus.COMPLIANT
