"""SEMANTICS §1, order of decision: rules, then what is approved by hand, then what is rejected - and that always wins."""

from __future__ import annotations

import pytest

from common import nevra
from controller.compliance.entries import Entries
from controller.compliance.evaluator import Evaluation, Host, evaluate
from controller.compliance.model import (
    Advisory,
    ApprovedPatch,
    Available,
    Category,
    ExceptionMatch,
    Exceptions,
    InstanceStatus,
    Item,
    Level,
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

OLD, MIDDLE, NEW = "bash-1-1.x86_64", "bash-2-1.x86_64", "bash-3-1.x86_64"
BLOCK = RejectAction.BLOCK
SECURITY_ONLY = a_rule(categories=(Category.SECURITY,), severities=(), approve_after_days=0, level=Level.MEDIUM)
BUGFIX = an_advisory("RHBA-2026:0001", NEW, category=Category.BUGFIX, cves=("CVE-2026-0001",))


def answer(
    *advisories: Advisory,
    installed: tuple[str, ...] = (OLD,),
    approved: tuple[ApprovedPatch | str, ...] = (),
    rejected: tuple[RejectedPatch | str, ...] = (),
    offers: tuple[str, ...] = (),
    exceptions: Exceptions = Exceptions(),  # noqa: B008  frozen
) -> Evaluation:
    lines = [a_package(line) for line in installed]
    repository = a_repository()
    builds = [p.nevra for a in advisories for p in a.packages] + [nevra.parse(text) for text in offers]
    return evaluate(
        Host(an_instance(1), a_manifest(lines), "m", collected_at=NOW),
        lines,
        {repository.updateinfo: advisories or [an_advisory("other", "zsh-1-1.x86_64")]},
        {repository.primary: [Available(build, 0) for build in builds]},
        a_baseline(
            "b",
            SECURITY_ONLY,
            approved=tuple(ApprovedPatch(p) if isinstance(p, str) else p for p in approved),
            rejected=tuple(RejectedPatch(p) if isinstance(p, str) else p for p in rejected),
        ),
        NOW,
        exceptions=exceptions,
        everything=True,
    )


def item(found: Evaluation, name: str = "bash") -> Item:
    (only,) = [i for i in found.items if i.name == name]
    return only


FORMS = [
    ("bash", True),
    ("BASH", True),
    ("ba*", True),
    ("b[a-c]sh", True),
    ("bas?", True),
    ("bash-3", True),
    ("bash-3-1", True),
    ("bash-3-1.x86_64", True),
    ("0:bash-3-1.x86_64", True),
    ("bash-0:3-1.x86_64", True),
    ("bash-*-1.X86_64", True),
    ("bas", False),
    ("bash-4", False),
    ("bash-3-2", False),
    ("bash-3-1.i686", False),
    ("1:bash-3-1.x86_64", False),
    ("bash-1:3-1.x86_64", False),
    ("bash-*", False),  # bash-completion and its like, not every version of bash
]


@pytest.mark.parametrize(("entry", "means"), [*FORMS, ("RHBA-2026:0001", True), ("rhba-2026:0001", True)])
def test_approved_list_takes_packages_in_all_forms_and_advisories_in_any_case(entry: str, means: bool) -> None:
    found = item(answer(BUGFIX, approved=(entry,)))
    assert (found.status is PatchStatus.MISSING) == means


@pytest.mark.parametrize(
    ("entry", "means"), [("CVE-2026-0001", True), ("cve-2026-0001", True), ("CVE-2026-0002", False)]
)
def test_approved_list_takes_CVEs(entry: str, means: bool) -> None:
    assert (item(answer(BUGFIX, approved=(entry,))).status is PatchStatus.MISSING) == means


@pytest.mark.parametrize(("entry", "means"), FORMS)
def test_rejected_list_takes_packages_in_all_forms(entry: str, means: bool) -> None:
    found = item(answer(an_advisory("A", NEW), rejected=(entry,)))
    assert (found.status is PatchStatus.INSTALLED_OTHER) == means


def test_an_item_approved_by_hand_says_so_and_has_the_level_of_its_entry() -> None:
    found = item(answer(BUGFIX, approved=(ApprovedPatch("bash", Level.HIGH),)))
    assert (found.rule, found.clause, found.level) == (0, "approved by hand: bash", Level.HIGH)
    assert (found.advisories, found.category) == (("RHBA-2026:0001",), Category.BUGFIX)
    assert (found.date_basis, found.approved_on) == (None, None)
    assert 'advisory RHBA-2026:0001 (Bugfix, Important, CVE-2026-0001) was approved by hand in b ("bash")' in found.why


def test_a_package_gets_the_highest_level_of_all_that_match_it() -> None:
    security = an_advisory("A", NEW)
    low, high = ApprovedPatch("bash", Level.LOW), ApprovedPatch("b*", Level.CRITICAL)
    assert item(answer(security)).level is Level.MEDIUM
    assert item(answer(security, approved=(low,))).level is Level.MEDIUM
    assert item(answer(security, approved=(low,))).rule == 1
    found = item(answer(security, approved=(low, high)))
    assert (found.level, found.clause) == (Level.CRITICAL, "approved by hand: b*")


def test_a_build_that_no_advisory_mentions_can_be_approved_by_hand() -> None:
    found = item(answer(an_advisory("A", MIDDLE), approved=("bash-3",), offers=(NEW,)))
    assert str(found.required) == "3-1"
    assert "this build, which no advisory mentions, was approved by hand" in found.why
    assert "It also brings A" in found.why


def test_of_several_approved_versions_the_highest_is_the_target() -> None:
    assert str(item(answer(an_advisory("A", NEW), an_advisory("B", MIDDLE), approved=("bash-2",))).required) == "3-1"


def test_the_rejected_list_wins_over_rules_and_over_the_approved_list() -> None:
    found = answer(an_advisory("A", NEW), approved=("bash", "A"), rejected=("bash",))
    assert item(found).status is PatchStatus.INSTALLED_OTHER
    assert found.assessment.status is InstanceStatus.COMPLIANT


def test_rejecting_one_version_leaves_the_highest_of_the_others_the_target() -> None:
    found = answer(an_advisory("A", NEW), an_advisory("B", MIDDLE), rejected=("bash-3",))
    assert str(item(found).required) == "2-1"


def test_rejected_with_BLOCK_and_installed_is_REJECT_and_NON_COMPLIANT() -> None:
    found = answer(an_advisory("A", NEW), rejected=(RejectedPatch("bash", BLOCK),))
    told = item(found)
    assert (told.status, told.reason) == (PatchStatus.REJECT, "REJECTED(bash)")
    assert "must not be installed" in told.why
    assert found.assessment.status is InstanceStatus.NON_COMPLIANT
    assert found.non_compliant_keys == ("bash.x86_64",)
    counts = found.assessment.counts
    assert (counts.reject, counts.missing, counts.installed, counts.installed_other) == (1, 0, 0, 0)


def test_rejected_with_BLOCK_and_not_installed_is_nothing() -> None:
    found = answer(an_advisory("A", NEW), installed=("zsh-1-1.x86_64",), rejected=(RejectedPatch("bash", BLOCK),))
    assert [i.name for i in found.items] == ["zsh"]


def test_BLOCK_of_one_build_concerns_only_hosts_that_have_that_build() -> None:
    bad = (RejectedPatch("bash-2-1", BLOCK),)
    assert item(answer(installed=(OLD,), rejected=bad)).status is PatchStatus.INSTALLED_OTHER
    assert item(answer(installed=(MIDDLE,), rejected=bad)).status is PatchStatus.REJECT


def test_a_blocked_build_with_a_newer_approved_one_is_MISSING_that_one() -> None:
    found = item(answer(an_advisory("A", NEW), installed=(MIDDLE,), rejected=(RejectedPatch("bash-2-1", BLOCK),)))
    assert (found.status, str(found.required)) == (PatchStatus.MISSING, "3-1")


def test_a_blocked_build_is_REJECT_even_where_an_older_version_is_approved() -> None:
    found = item(answer(an_advisory("A", MIDDLE), installed=(NEW,), rejected=(RejectedPatch("bash-3", BLOCK),)))
    assert found.status is PatchStatus.REJECT


def test_R10_a_rejected_package_can_be_excused_by_its_name() -> None:
    excused = Exceptions(1, (an_exception(match=ExceptionMatch.PACKAGE, match_value="bash"),))
    found = answer(rejected=(RejectedPatch("bash", BLOCK),), exceptions=excused)
    assert item(found).status is PatchStatus.EXCEPTED
    assert (found.assessment.counts.excepted, found.assessment.counts.reject) == (1, 0)


# --- R4: what is not approved yet ---------------------------------------------------------------------------------------------


def test_R4_a_newer_security_build_that_is_not_approved_yet_is_extra_and_does_not_block() -> None:
    young = an_advisory("young", NEW, issued=None)
    patient = a_rule(categories=(Category.SECURITY,), severities=(), approve_after_days=7)
    lines = [a_package(MIDDLE)]
    repository = a_repository()
    found = evaluate(
        Host(an_instance(1), a_manifest(lines), "m", collected_at=NOW),
        lines,
        {repository.updateinfo: [an_advisory("old", MIDDLE), young]},
        {repository.primary: [Available(nevra.parse(b), 0) for b in (MIDDLE, NEW)]},
        a_baseline("b", patient),
        NOW,
        everything=True,
    )
    assert found.assessment.status is InstanceStatus.COMPLIANT
    assert (item(found).status, str(item(found).available_security)) == (PatchStatus.INSTALLED, "3-1")


def test_R4_available_security_is_shown_where_nothing_is_approved_at_all() -> None:
    unwanted = an_advisory("A", NEW, issued=NOW.date(), updated=NOW.date())
    lines, repository = [a_package(OLD)], a_repository()
    found = evaluate(
        Host(an_instance(1), a_manifest(lines), "m", collected_at=NOW),
        lines,
        {repository.updateinfo: [unwanted]},
        {repository.primary: [Available(nevra.parse(NEW), 0)]},
        a_baseline("b", a_rule(approve_after_days=7)),
        NOW,
        everything=True,
    )
    assert (item(found).status, str(item(found).available_security)) == (PatchStatus.INSTALLED_OTHER, "3-1")


def test_R4_neither_a_bugfix_nor_a_rejected_build_is_available_security() -> None:
    assert item(answer(BUGFIX)).available_security is None
    assert item(answer(an_advisory("A", NEW), rejected=("bash",))).available_security is None


def test_R4_what_is_installed_already_is_not_available_security() -> None:
    assert item(answer(an_advisory("A", NEW), installed=(NEW,))).available_security is None


@pytest.mark.parametrize(("word", "found"), [("a-b-1-1", (0,)), ("a-b", (0,)), ("a", ()), ("a-b-1-1.noarch", (0,))])
def test_names_may_have_dashes(word: str, found: tuple[int, ...]) -> None:
    assert Entries([word]).of_build(nevra.parse("a-b-1-1.noarch")) == found


@pytest.mark.parametrize(
    ("word", "found"),
    [("*.noarch", (0,)), ("A-*.NOARCH", (0,)), ("*.x86_64", ()), ("b*.noarch", ()), ("*6*", ()), ("*.el9", ())],
)
def test_a_glob_that_ends_with_an_architecture_means_name_and_architecture(word: str, found: tuple[int, ...]) -> None:
    assert Entries([word]).of_build(nevra.parse("a-b-1-1.noarch")) == found
    assert Entries(["*64*"]).of_build(nevra.parse("bash-1-1.x86_64")) == ()
