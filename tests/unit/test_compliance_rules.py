"""SEMANTICS §1 and R1-R16, as far as they concern evaluation: each test is named after its rule."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from common import nevra
from common.manifest import Hold, HoldKind, PackageLine, Stream
from controller.compliance.evaluator import Evaluation, Host, evaluate
from controller.compliance.model import (
    Advisory,
    AdvisoryPackage,
    Available,
    Baseline,
    Category,
    DateBasis,
    InstanceStatus,
    Item,
    Level,
    PatchStatus,
    Severity,
)
from tests.builders import NOW, a_baseline, a_manifest, a_package, a_repository, a_rule, an_advisory, an_instance

TODAY = NOW.date()
OLD = "bash-4.2.46-34.el7.x86_64"
NEW = "bash-4.2.46-35.el7_9.x86_64"
NEWER = "bash-4.2.46-36.el7_9.x86_64"
ANYTHING = a_rule(categories=(), severities=())


def offers(*builds: str, built: int = 0) -> tuple[Available, ...]:
    return tuple(Available(nevra.parse(build), built) for build in builds)


def answer(
    installed: list[str | PackageLine],
    advisories: list[Advisory],
    baseline: Baseline | None = None,
    *,
    available: tuple[Available, ...] | None = None,
    as_of: datetime = NOW,
    everything: bool = False,
    host: dict[str, Any] | None = None,
    first_seen: dict[str, datetime] | None = None,
    since: dict[str, datetime] | None = None,
    **manifest: Any,
) -> Evaluation:
    """Evaluate one CentOS 7.9 with one repository, which offers every build that its advisories name unless told otherwise."""
    lines = [a_package(line) if isinstance(line, str) else line for line in installed]
    repository = a_repository()
    if available is None:
        available = tuple(Available(p.nevra, 0) for a in advisories for p in a.packages)
    return evaluate(
        Host(an_instance(1), a_manifest(lines, **manifest), "m", collected_at=as_of, **(host or {})),
        lines,
        {repository.updateinfo: advisories},
        {repository.primary: available},
        baseline or a_baseline(),
        as_of,
        first_seen=first_seen,
        since=since,
        everything=everything,
    )


def item(found: Evaluation, name: str = "bash") -> Item:
    (only,) = [i for i in found.items if i.name == name]
    return only


def status(found: Evaluation, name: str = "bash") -> PatchStatus:
    return item(found, name).status


# --- the table of patch statuses ---------------------------------------------------------------------------------------------


def test_an_older_version_than_the_approved_one_is_MISSING_and_the_instance_is_NON_COMPLIANT() -> None:
    found = answer([OLD], [an_advisory("A", NEW)])
    assert status(found) is PatchStatus.MISSING
    assert found.assessment.status is InstanceStatus.NON_COMPLIANT
    assert found.assessment.counts.missing == 1


@pytest.mark.parametrize("installed", [NEW, NEWER])
def test_the_approved_version_or_a_newer_one_is_INSTALLED(installed: str) -> None:
    found = answer([installed], [an_advisory("A", NEW)], everything=True)
    assert status(found) is PatchStatus.INSTALLED
    assert found.assessment.status is InstanceStatus.COMPLIANT
    assert found.non_compliant_keys == ()


def test_what_the_baseline_does_not_cover_is_INSTALLED_OTHER_and_has_no_why() -> None:
    found = answer([OLD, "zsh-5-1.x86_64"], [an_advisory("A", NEW)], everything=True)
    assert status(found, "zsh") is PatchStatus.INSTALLED_OTHER
    assert item(found, "zsh").why == ""
    assert found.assessment.counts.installed_other == 1


def test_an_approved_package_that_is_not_installed_is_only_counted_as_not_applicable() -> None:
    found = answer([OLD], [an_advisory("A", NEW, "zsh-6-1.x86_64")], everything=True)
    assert [i.name for i in found.items] == ["bash"]
    assert found.assessment.counts.not_applicable == 1


def test_an_advisory_for_another_architecture_asks_nothing() -> None:
    found = answer([OLD], [an_advisory("A", "bash-4.2.46-35.el7_9.i686")], everything=True)
    assert status(found) is PatchStatus.INSTALLED_OTHER


def test_a_package_gets_the_highest_level_of_all_rules_that_match_and_an_instance_that_of_its_items() -> None:
    rules = (
        a_rule(level=Level.LOW),
        a_rule(level=Level.HIGH),
        a_rule(severities=(Severity.CRITICAL,), level=Level.CRITICAL),
    )
    found = answer([OLD], [an_advisory("A", NEW)], a_baseline("b", *rules))
    assert item(found).level is Level.HIGH
    assert item(found).rule == 2
    assert found.assessment.level is Level.HIGH


def test_a_critical_version_that_the_target_skips_still_sets_the_level() -> None:
    rules = (a_rule(severities=(Severity.CRITICAL,), level=Level.CRITICAL), a_rule(level=Level.LOW))
    skipped = an_advisory("A", NEW, severity=Severity.CRITICAL)
    advisories = [skipped, an_advisory("B", NEWER)]
    assert item(answer([OLD], advisories, a_baseline("b", *rules))).level is Level.CRITICAL
    assert item(answer([NEW], advisories, a_baseline("b", *rules))).level is Level.LOW


def test_rules_are_joined_by_OR_their_fields_by_AND_and_values_by_OR() -> None:
    rules = (
        a_rule(categories=(Category.SECURITY, Category.BUGFIX), severities=(Severity.LOW,)),
        a_rule(categories=(Category.ENHANCEMENT,), severities=()),
    )
    baseline = a_baseline("b", *rules)
    for category, severity, expected in [
        (Category.SECURITY, Severity.LOW, PatchStatus.MISSING),
        (Category.BUGFIX, Severity.LOW, PatchStatus.MISSING),
        (Category.SECURITY, Severity.CRITICAL, PatchStatus.INSTALLED_OTHER),
        (Category.ENHANCEMENT, Severity.NONE, PatchStatus.MISSING),
        (Category.NEWPACKAGE, Severity.LOW, PatchStatus.INSTALLED_OTHER),
    ]:
        found = answer([OLD], [an_advisory("A", NEW, category=category, severity=severity)], baseline, everything=True)
        assert status(found) is expected, (category, severity)


def test_a_rule_for_another_version_of_the_os_approves_nothing() -> None:
    rules = (a_rule(products=("CentOS 7.8",)), a_rule(products=("CentOS 7.9",), severities=(Severity.LOW,)))
    found = answer([OLD], [an_advisory("A", NEW)], a_baseline("b", *rules), everything=True)
    assert status(found) is PatchStatus.INSTALLED_OTHER


# --- rules -------------------------------------------------------------------------------------------------------------------


def test_R1_the_same_inputs_give_the_same_answer_in_any_order() -> None:
    advisories = [an_advisory("A", NEW, "zsh-6-1.x86_64"), an_advisory("B", NEWER)]
    one = answer([OLD, "zsh-5-1.x86_64"], advisories)
    other = answer(["zsh-5-1.x86_64", OLD], advisories)
    assert one == other
    assert one.assessment.inputs.inventory_digest
    assert one.assessment.inputs.metadata_digest


def test_R1_a_first_seen_date_that_was_asked_for_is_among_the_inputs() -> None:
    undated = [an_advisory("A", NEW, issued=None)]
    one = answer([OLD], undated, first_seen={"A": NOW - timedelta(days=3)})
    other = answer([OLD], undated, first_seen={"A": NOW - timedelta(days=4)})
    assert one.assessment.inputs.metadata_digest != other.assessment.inputs.metadata_digest


def test_R2_an_epoch_is_never_dropped() -> None:
    found = answer(["openssl-9.9-1.x86_64"], [an_advisory("A", "openssl-1:1.0-1.x86_64")])
    assert status(found, "openssl") is PatchStatus.MISSING
    assert "1:1.0-1" in item(found, "openssl").why


@pytest.mark.parametrize(
    ("hold", "reason"),
    [
        (Hold(HoldKind.VERSIONLOCK, "bash-0:4.2.46-34.el7.*"), "HELD(versionlock)"),
        (Hold(HoldKind.VERSIONLOCK, "0:bash-4.2.46-34.el7.*"), "HELD(versionlock)"),
        (Hold(HoldKind.VERSIONLOCK, "!bash-0:4.2.46-35.el7_9.*"), "HELD(versionlock)"),
        (Hold(HoldKind.VERSIONLOCK, "bash-0:4.2.46-35.el7_9.*"), ""),
        (Hold(HoldKind.VERSIONLOCK, "zsh-0:5-1.*"), ""),
        (Hold(HoldKind.EXCLUDE, "bas*"), "HELD(exclude)"),
        (Hold(HoldKind.EXCLUDE, "includepkgs=zsh", repository="updates"), "HELD(exclude)"),
        (Hold(HoldKind.EXCLUDE, "includepkgs=bas*", repository="updates"), ""),
        (Hold(HoldKind.EXCLUDE, "bash-4.2.46-35*"), "HELD(exclude)"),
        (Hold(HoldKind.EXCLUDE, "bash.i686"), ""),
        (Hold(HoldKind.EXCLUDE, "bash", repository="updates"), "HELD(exclude)"),
        (Hold(HoldKind.EXCLUDE, "bash", repository="base"), ""),
    ],
)
def test_R3_a_held_package_is_MISSING_and_says_what_holds_it(hold: Hold, reason: str) -> None:
    found = answer([OLD], [an_advisory("A", NEW)], holds=(hold,))
    assert status(found) is PatchStatus.MISSING
    assert item(found).reason == reason
    assert (hold.kind.value in item(found).why) == bool(reason)


def test_R4_a_version_stays_approved_when_a_newer_one_appears() -> None:
    rule = a_rule(approve_after_days=7)
    advisories = [
        an_advisory("A", NEW, issued=TODAY - timedelta(days=8)),
        an_advisory("B", NEWER, issued=TODAY - timedelta(days=3)),
    ]
    found = answer([OLD], advisories, a_baseline("b", rule))
    assert item(found).required == nevra.parse(NEW).evr


def test_R4_of_several_approved_versions_the_highest_is_the_target_whatever_the_order_of_advisories() -> None:
    advisories = [an_advisory("B", NEWER), an_advisory("A", NEW)]
    assert item(answer([OLD], advisories)).required == nevra.parse(NEWER).evr


def test_R4_a_target_that_no_repository_offers_any_more_is_MISSING_with_VERSION_GONE() -> None:
    found = answer([OLD], [an_advisory("A", NEW)], available=offers(OLD, NEWER))
    assert status(found) is PatchStatus.MISSING
    assert item(found).reason == "VERSION_GONE"
    assert item(found).required == nevra.parse(NEW).evr
    assert "offers that version" in item(found).why


def test_R4_a_newer_approved_build_takes_the_place_of_one_that_is_gone() -> None:
    found = answer([OLD], [an_advisory("A", NEW), an_advisory("B", NEWER)], available=offers(NEWER))
    assert (item(found).required, item(found).reason) == (nevra.parse(NEWER).evr, "")


@pytest.mark.parametrize(("age", "missing"), [(6, False), (7, True), (8, True)])
def test_R5_N_days_are_whole_UTC_days_and_include_the_last_one(age: int, missing: bool) -> None:
    found = answer(
        [OLD],
        [an_advisory("A", NEW, issued=TODAY - timedelta(days=age))],
        a_baseline("b", a_rule(approve_after_days=7)),
    )
    assert (found.assessment.status is InstanceStatus.NON_COMPLIANT) is missing


def test_R5_midnight_UTC_is_when_the_answer_changes() -> None:
    advisories, baseline = (
        [an_advisory("A", NEW, issued=date(2026, 11, 15))],
        a_baseline("b", a_rule(approve_after_days=7)),
    )
    before, after = datetime(2026, 11, 21, 23, 59, 59, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC)
    assert answer([OLD], advisories, baseline, as_of=before).assessment.status is InstanceStatus.COMPLIANT
    assert answer([OLD], advisories, baseline, as_of=after).assessment.status is InstanceStatus.NON_COMPLIANT


@pytest.mark.parametrize(("days", "missing"), [(-1, False), (0, True), (1, True)])
def test_R5_on_or_before_a_date_includes_all_of_it(days: int, missing: bool) -> None:
    until = date(2026, 11, 10) + timedelta(days=days)
    rule = a_rule(approve_after_days=None, approve_until=until)
    found = answer([OLD], [an_advisory("A", NEW, issued=date(2026, 11, 10))], a_baseline("b", rule))
    assert (found.assessment.status is InstanceStatus.NON_COMPLIANT) is missing


def test_R5_updated_means_the_later_of_both_dates_since_Rocky_ships_updated_before_issued() -> None:
    rule = a_rule(approve_after_days=7, date_basis=DateBasis.UPDATED)
    rocky = an_advisory("A", NEW, issued=TODAY - timedelta(days=3), updated=TODAY - timedelta(days=20))
    assert answer([OLD], [rocky], a_baseline("b", rule)).items == ()
    later = an_advisory("A", NEW, issued=TODAY - timedelta(days=30), updated=TODAY - timedelta(days=3))
    assert answer([OLD], [later], a_baseline("b", rule)).items == ()


def test_R5_a_missing_date_is_first_seen_and_never_1970() -> None:
    undated, baseline = [an_advisory("A", NEW, issued=None)], a_baseline("b", a_rule(approve_after_days=7))
    assert answer([OLD], undated, baseline).items == ()  # seen just now
    assert answer([OLD], undated, baseline, first_seen={"A": NOW - timedelta(days=6)}).items == ()
    found = item(answer([OLD], undated, baseline, first_seen={"A": NOW - timedelta(days=7)}))
    assert (found.date_basis, found.basis_date) == (DateBasis.FIRST_SEEN, TODAY - timedelta(days=7))


def test_R6_a_security_advisory_without_severity_is_still_security() -> None:
    found = answer([OLD], [an_advisory("A", NEW, severity=Severity.NONE)], a_baseline("b", a_rule(severities=())))
    assert status(found) is PatchStatus.MISSING


KERNELS = [f"kernel-3.10.0-{build}.el7.x86_64" for build in ("1160", "1160.71.1", "1160.99.1")]


def test_R7_of_several_installed_kernels_the_newest_decides_and_older_ones_are_never_MISSING() -> None:
    found = answer(KERNELS, [an_advisory("A", KERNELS[2])], everything=True, install_only=("kernel",))
    assert status(found, "kernel") is PatchStatus.INSTALLED
    assert found.assessment.status is InstanceStatus.COMPLIANT
    assert found.assessment.counts.installed == 1


def test_R7_all_installed_kernels_older_than_the_target_are_one_MISSING_item() -> None:
    found = answer(KERNELS[:2], [an_advisory("A", KERNELS[2])], install_only=("kernel",))
    assert item(found, "kernel").installed == nevra.parse(KERNELS[1]).evr


def test_R7_a_running_kernel_older_than_the_target_is_PENDING_REBOOT() -> None:
    advisories = [an_advisory("A", KERNELS[2])]
    live = {"install_only": ("kernel",), "running_kernel": "x", "boot_id": "b"}
    found = answer(KERNELS, advisories, running_kernel_package=KERNELS[1], **live)
    assert status(found, "kernel") is PatchStatus.PENDING_REBOOT
    assert found.assessment.counts.pending_reboot == 1
    assert found.assessment.counts.installed == 0
    assert "still runs 3.10.0-1160.71.1.el7" in item(found, "kernel").why
    found = answer(KERNELS, advisories, running_kernel_package=KERNELS[2], **live)
    assert found.assessment.status is InstanceStatus.COMPLIANT


def test_R7_a_split_kernel_is_found_by_its_parts() -> None:
    parts = [f"{name}-5.14-{n}.el9.x86_64" for n in (1, 2) for name in ("kernel", "kernel-core", "kernel-modules")]
    found = answer(
        parts,
        [an_advisory("A", "kernel-5.14-2.el9.x86_64")],
        install_only=("kernel", "kernel-core", "kernel-modules"),
        running_kernel="5.14-1.el9.x86_64",
        running_kernel_package="kernel-core-5.14-1.el9.x86_64",
    )
    assert status(found, "kernel") is PatchStatus.PENDING_REBOOT


def test_R7_an_offline_root_gets_no_running_kernel_verdict() -> None:
    found = answer(KERNELS, [an_advisory("A", KERNELS[2])], install_only=("kernel",))
    assert found.assessment.status is InstanceStatus.COMPLIANT


RUBY = "ruby-2.6.9-1.module+el8.5.0+1+a.x86_64"
RUBY_NEW = "ruby-2.6.10-1.module+el8.6.0+2+b.x86_64"


def modular(build: str, module: str) -> Advisory:
    return replace(an_advisory("A"), packages=(AdvisoryPackage(nevra.parse(build), module),))


@pytest.mark.parametrize(
    ("streams", "module", "expected"),
    [
        ((Stream("ruby", "2.6"),), "ruby:2.6", PatchStatus.MISSING),
        ((Stream("ruby", "2.7"),), "ruby:2.6", PatchStatus.INSTALLED_OTHER),
        ((), "ruby:2.6", PatchStatus.INSTALLED_OTHER),
        ((Stream("ruby", "2.6"),), "", PatchStatus.INSTALLED_OTHER),
    ],
)
def test_R8_a_modular_advisory_applies_where_its_stream_is_enabled_and_a_plain_one_never_to_a_modular_build(
    streams: tuple[Stream, ...], module: str, expected: PatchStatus
) -> None:
    installed: list[str | PackageLine] = [a_package(RUBY, "ruby:2.6:8050020211215145356:b4937e53")]
    found = answer(installed, [modular(RUBY_NEW, module)], everything=True, streams=streams)
    assert status(found, "ruby") is expected


def test_R8_an_old_rpm_without_labels_is_known_by_its_release_tag() -> None:
    plain = an_advisory("A", "ruby-3-1.el8.x86_64")
    assert status(answer([RUBY], [plain], everything=True), "ruby") is PatchStatus.INSTALLED_OTHER


def test_R8_a_plain_build_is_not_asked_to_become_a_build_of_a_disabled_stream() -> None:
    found = answer(["ruby-2.5-1.el8.x86_64"], [modular(RUBY_NEW, "ruby:2.6")], everything=True)
    assert status(found, "ruby") is PatchStatus.INSTALLED_OTHER


def test_R8_a_plain_build_is_asked_to_become_a_build_of_an_enabled_stream() -> None:
    advisories, enabled = [modular(RUBY_NEW, "ruby:2.6")], (Stream("ruby", "2.6"),)
    assert status(answer(["ruby-2.5-1.el8.x86_64"], advisories, streams=enabled), "ruby") is PatchStatus.MISSING


def test_R13_items_carry_since_when_they_are_non_compliant() -> None:
    since = datetime(2026, 10, 12, 8, tzinfo=UTC)
    found = item(answer([OLD], [an_advisory("A", NEW)], since={"bash.x86_64": since}))
    assert found.first_non_compliant_at == since
    assert "Missing since 2026-10-12." in found.why


def test_R14_the_evidence_is_whole_and_one_sentence_tells_it() -> None:
    rule = a_rule(approve_after_days=7, level=Level.CRITICAL)
    advisories = [
        an_advisory("CESA-1", NEW, issued=date(2026, 10, 1), severity=Severity.LOW, cves=("CVE-2026-1",)),
        an_advisory("CESA-2", NEWER, issued=date(2026, 11, 2), cves=("CVE-2026-2", "CVE-2026-1")),
    ]
    found = item(answer([OLD], advisories, a_baseline("CentOS-Default", rule)))
    assert found.advisories == ("CESA-2", "CESA-1")
    assert set(found.cves) == {"CVE-2026-1", "CVE-2026-2"}  # the union over all versions skipped
    assert (found.rule, found.date_basis, found.basis_date) == (1, DateBasis.ISSUED, date(2026, 11, 2))
    assert (found.approved_on, found.repository) == (date(2026, 11, 9), "updates")
    assert found.metadata_at == datetime.fromtimestamp(1_790_000_000, UTC)
    assert found.why == (
        "ecs-0001 is missing bash 4.2.46-36.el7_9 because advisory CESA-2 (Security, Important, issued 2026-11-02, CVE-2026-2,"
        " CVE-2026-1) was approved on 2026-11-09 by rule 1 of CentOS-Default"
        ' ("Security, Critical or Important, 7 days after issue"); installed is 4.2.46-34.el7. It also brings CESA-1.'
        " Repository updates, metadata of 2026-09-21 14:13 UTC. Last attempt: none."
    )


def test_R14_advisories_of_versions_that_are_installed_already_are_no_evidence() -> None:
    found = item(answer([NEW], [an_advisory("A", NEW), an_advisory("B", NEWER)]))
    assert found.advisories == ("B",)


# --- updates without advisory ------------------------------------------------------------------------------------------------


def test_an_update_without_advisory_is_a_separate_counter_unless_a_rule_asks_for_it() -> None:
    found = answer([OLD], [an_advisory("A", "zsh-6-1.x86_64")], available=offers(NEW))
    assert found.assessment.status is InstanceStatus.COMPLIANT
    assert found.assessment.counts.updates_without_advisory == 1


def test_an_update_without_advisory_is_judged_by_its_build_time_when_the_rule_says_so() -> None:
    built = int((NOW - timedelta(days=7)).timestamp())
    for days, missing in ((7, True), (8, False)):
        rule = a_rule(approve_after_days=days, include_without_advisory=True)
        found = answer(
            [OLD], [an_advisory("A", "zsh-6-1.x86_64")], a_baseline("b", rule), available=offers(NEW, built=built)
        )
        assert (found.assessment.counts.missing == 1) is missing
        assert found.assessment.counts.updates_without_advisory == (0 if missing else 1)
    rule = a_rule(approve_after_days=7, include_without_advisory=True)
    told = item(
        answer([OLD], [an_advisory("A", "zsh-6-1.x86_64")], a_baseline("b", rule), available=offers(NEW, built=built))
    )
    assert told.date_basis is DateBasis.BUILD_TIME
    assert "which no advisory mentions" in told.why


def test_a_build_that_an_advisory_mentions_is_judged_by_the_advisory_alone() -> None:
    rule = a_rule(include_without_advisory=True)
    low = an_advisory("A", NEW, severity=Severity.LOW)
    found = answer([OLD], [low], a_baseline("b", rule), available=offers(NEW, built=1_600_000_000))
    assert found.assessment.status is InstanceStatus.COMPLIANT
    assert found.assessment.counts.updates_without_advisory == 0


# --- R3 and modules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stream", "reason"), [("1", "HELD(module)"), ("2", "")])
def test_R3_a_plain_update_is_hidden_by_an_enabled_stream_that_has_the_package(stream: str, reason: str) -> None:
    modular = AdvisoryPackage(nevra.parse("ruby-2-1.module+el8.x86_64"), module="ruby:1")
    plain = an_advisory("A", "ruby-3-1.x86_64")
    found = answer(
        ["ruby-1-1.x86_64"], [plain, an_advisory("B", packages=(modular,))], streams=(Stream("ruby", stream),)
    )
    assert (status(found, "ruby"), item(found, "ruby").reason) == (PatchStatus.MISSING, reason)


def test_R3_an_update_from_the_enabled_stream_itself_is_not_hidden() -> None:
    modular = AdvisoryPackage(nevra.parse("ruby-2-1.module+el8.x86_64"), module="ruby:1")
    found = answer(
        [a_package("ruby-1-1.module+el8.x86_64", "ruby:1:1:a")],
        [an_advisory("B", packages=(modular,))],
        streams=(Stream("ruby", "1"),),
    )
    assert item(found, "ruby").reason == ""
