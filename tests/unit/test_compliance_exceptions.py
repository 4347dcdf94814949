"""R10: what is excused, for whom and until when; and that it never passes for compliant."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from common import nevra
from controller.compliance.evaluator import Evaluation, Host, evaluate
from controller.compliance.exceptions import next_change
from controller.compliance.model import (
    Advisory,
    Available,
    ExceptionMatch,
    Exceptions,
    ExceptionScope,
    InstanceStatus,
    Item,
    Level,
    PatchException,
    PatchStatus,
)
from tests.builders import NOW, a_baseline, a_manifest, a_package, a_repository, a_rule, an_advisory, an_instance

OLD, MIDDLE, NEW = "bash-1-1.x86_64", "bash-2-1.x86_64", "bash-3-1.x86_64"
DAY = timedelta(days=1)
ANYTHING = a_rule(categories=(), severities=(), level=Level.HIGH)


def exception(
    match: ExceptionMatch = ExceptionMatch.PACKAGE, value: str = "bash", identifier: str = "ex-1", **changes: object
) -> PatchException:
    found = PatchException(
        identifier,
        ExceptionScope.ALL,
        "",
        match,
        value,
        "waits for the vendor",
        "alice",
        created_at=NOW - DAY,
        expires_at=NOW + 10 * DAY,
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def answer(
    *exceptions: PatchException,
    installed: tuple[str, ...] = (OLD,),
    advisories: tuple[Advisory, ...] = (an_advisory("A", NEW, cves=("CVE-2026-0001",)),),
    as_of: datetime = NOW,
    group: str = "shop",
    **manifest: object,
) -> Evaluation:
    lines = [a_package(line) for line in installed]
    repository = a_repository()
    return evaluate(
        Host(an_instance(1, id="i-1", application_group=group), a_manifest(lines, **manifest), "m", collected_at=as_of),
        lines,
        {repository.updateinfo: advisories},
        {repository.primary: [Available(p.nevra, 0) for a in advisories for p in a.packages]},
        a_baseline("b", ANYTHING),
        as_of,
        exceptions=Exceptions(7, exceptions),
        everything=True,
    )


def item(found: Evaluation, name: str = "bash") -> Item:
    (only,) = [i for i in found.items if i.name == name]
    return only


def status(found: Evaluation) -> PatchStatus:
    return item(found).status


def test_R10_an_excused_item_is_EXCEPTED_in_its_own_column_and_says_by_what_and_until_when() -> None:
    found = answer(exception())
    told = item(found)
    assert told.status is PatchStatus.EXCEPTED
    assert told.reason == "EXCEPTED(ex-1 until 2026-12-02T12:40:00Z)"
    assert told.required is not None
    assert told.advisories == ("A",)
    assert "alice" in told.why
    assert "is missing bash 3-1" in told.why
    counts = found.assessment.counts
    assert (counts.excepted, counts.missing, counts.installed, counts.installed_other) == (1, 0, 0, 0)


def test_R10_an_instance_whose_only_problems_are_excused_is_COMPLIANT_and_its_counts_say_so() -> None:
    found = answer(exception()).assessment
    assert (found.status, found.level, found.counts.excepted) == (InstanceStatus.COMPLIANT, Level.UNSPECIFIED, 1)


def test_R10_another_missing_package_keeps_the_instance_NON_COMPLIANT_at_its_own_level() -> None:
    found = answer(
        exception(),
        installed=(OLD, "zsh-1-1.x86_64"),
        advisories=(an_advisory("A", NEW), an_advisory("B", "zsh-2-1.x86_64")),
    )
    assert found.assessment.status is InstanceStatus.NON_COMPLIANT
    assert found.assessment.level is Level.HIGH
    assert found.non_compliant_keys == ("zsh.x86_64",)
    assert [i.name for i in found.items] == ["zsh", "bash"]


def test_R1_the_answer_names_the_version_of_the_exceptions() -> None:
    assert answer().assessment.inputs.exceptions_version == 7


@pytest.mark.parametrize(
    ("created", "expires", "revoked", "live"),
    [
        (NOW, NOW + DAY, None, True),
        (NOW + timedelta(seconds=1), NOW + DAY, None, False),
        (NOW - DAY, NOW, None, False),
        (NOW - DAY, NOW + timedelta(seconds=1), None, True),
        (NOW - DAY, NOW + DAY, NOW, False),
        (NOW - DAY, NOW + DAY, NOW + timedelta(seconds=1), True),
    ],
)
def test_R10_an_exception_is_live_from_its_creation_until_its_expiry_or_revocation(
    created: datetime, expires: datetime, revoked: datetime | None, live: bool
) -> None:
    found = answer(exception(created_at=created, expires_at=expires, revoked_at=revoked))
    assert (status(found) is PatchStatus.EXCEPTED) == live


def test_R10_it_comes_back_by_itself_on_expiry() -> None:
    short = exception(expires_at=NOW + DAY)
    assert status(answer(short, as_of=NOW + DAY - timedelta(seconds=1))) is PatchStatus.EXCEPTED
    assert status(answer(short, as_of=NOW + DAY)) is PatchStatus.MISSING


@pytest.mark.parametrize(
    ("scope", "value", "holds"),
    [
        (ExceptionScope.ALL, "", True),
        (ExceptionScope.INSTANCE, "i-1", True),
        (ExceptionScope.INSTANCE, "i-2", False),
        (ExceptionScope.GROUP, "shop", True),
        (ExceptionScope.GROUP, "bank", False),
    ],
)
def test_R10_an_exception_holds_within_its_scope_only(scope: ExceptionScope, value: str, holds: bool) -> None:
    assert (status(answer(exception(scope=scope, scope_value=value))) is PatchStatus.EXCEPTED) == holds


def test_R10_an_instance_without_a_group_is_in_no_group() -> None:
    assert status(answer(exception(scope=ExceptionScope.GROUP, scope_value=""), group="")) is PatchStatus.MISSING


@pytest.mark.parametrize(
    ("match", "value", "holds"),
    [
        (ExceptionMatch.PACKAGE, "BA*", True),
        (ExceptionMatch.PACKAGE, "bash.x86_64", True),
        (ExceptionMatch.PACKAGE, "bas", False),
        (ExceptionMatch.ADVISORY, "a", True),
        (ExceptionMatch.ADVISORY, "B", False),
        (ExceptionMatch.CVE, "cve-2026-0001", True),
        (ExceptionMatch.CVE, "CVE-2026-0002", False),
    ],
)
def test_R10_an_exception_matches_a_package_glob_an_advisory_or_a_CVE_in_any_case(
    match: ExceptionMatch, value: str, holds: bool
) -> None:
    assert (status(answer(exception(match, value))) is PatchStatus.EXCEPTED) == holds


TWO = (
    an_advisory("A1", MIDDLE, cves=("CVE-2026-0001",)),
    an_advisory("A2", NEW, cves=("CVE-2026-0002", "CVE-2026-0003")),
)


@pytest.mark.parametrize(
    ("excused", "holds"),
    [
        ((("ADVISORY", "A2"),), False),
        ((("ADVISORY", "A1"), ("ADVISORY", "A2")), True),
        ((("CVE", "CVE-2026-0002"), ("CVE", "CVE-2026-0003")), False),
        ((("CVE", "CVE-2026-0001"), ("CVE", "CVE-2026-0002"), ("CVE", "CVE-2026-0003")), True),
        ((("CVE", "CVE-2026-0001"), ("ADVISORY", "A2")), True),
        ((("ADVISORY", "A1"), ("CVE", "CVE-2026-0002")), False),
    ],
)
def test_R10_advisories_and_CVEs_excuse_an_item_only_if_they_cover_all_that_it_skips(
    excused: tuple[tuple[str, str], ...], holds: bool
) -> None:
    exceptions = [exception(ExceptionMatch(m), v, f"ex-{n}") for n, (m, v) in enumerate(excused)]
    found = item(answer(*exceptions, advisories=TWO))
    assert (found.status is PatchStatus.EXCEPTED) == holds
    if holds:
        assert all(e.id in found.reason for e in exceptions)


def test_R10_exceptions_that_hold_only_together_end_when_the_first_of_them_ends() -> None:
    first = exception(ExceptionMatch.ADVISORY, "A1", "ex-1", expires_at=NOW + DAY)
    second = exception(ExceptionMatch.ADVISORY, "A2", "ex-2", expires_at=NOW + 9 * DAY)
    assert item(answer(second, first, advisories=TWO)).reason == "EXCEPTED(ex-1, ex-2 until 2026-11-23T12:40:00Z)"


def test_R10_of_several_that_match_the_same_the_one_that_lasts_longest_is_told() -> None:
    short, long = exception(identifier="a", expires_at=NOW + DAY), exception(identifier="b")
    assert item(answer(short, long)).reason.startswith("EXCEPTED(b until")


def test_R10_a_pending_restart_can_be_excused_too() -> None:
    kernel = "kernel-5-2.x86_64"
    found = answer(
        exception(value="kernel*"),
        installed=(kernel,),
        advisories=(an_advisory("K", kernel),),
        running_kernel="4-1.x86_64",
        running_kernel_package="kernel-4-1.x86_64",
        install_only=("kernel",),
    )
    assert item(found, "kernel").status is PatchStatus.EXCEPTED
    assert (found.assessment.counts.excepted, found.assessment.counts.pending_reboot) == (1, 0)
    assert found.assessment.status is InstanceStatus.COMPLIANT


def test_R11_an_exception_does_not_make_the_unknown_compliant() -> None:
    found = answer(exception(), repositories=(a_repository(error="timeout"),))
    assert found.assessment.status is InstanceStatus.UNDETERMINED
    assert found.assessment.counts.excepted == 1


def test_R10_what_is_installed_well_enough_needs_no_excuse() -> None:
    assert status(answer(exception(), installed=(NEW,))) is PatchStatus.INSTALLED


def test_R10_the_next_change_is_the_next_beginning_or_end() -> None:
    every = Exceptions(
        1,
        (
            exception(expires_at=NOW + 3 * DAY),
            exception(created_at=NOW + 2 * DAY, expires_at=NOW + 9 * DAY),
            exception(expires_at=NOW + 9 * DAY, revoked_at=NOW + 5 * DAY),
            exception(created_at=NOW + DAY, expires_at=NOW + 9 * DAY, revoked_at=NOW),
        ),
    )
    seen, at = list[datetime](), NOW
    while (following := next_change(every, at)) is not None:
        seen.append(following)
        at = following
    assert seen == [NOW + n * DAY for n in (2, 3, 5, 9)]
    assert next_change(Exceptions(), NOW) is None


def test_R10_an_exception_for_an_advisory_does_not_excuse_a_build_that_no_advisory_asks_for() -> None:
    lines = [a_package(OLD)]
    repository = a_repository()
    found = evaluate(
        Host(an_instance(1), a_manifest(lines), "m", collected_at=NOW),
        lines,
        {repository.updateinfo: [an_advisory("A", MIDDLE)]},
        {repository.primary: [Available(nevra.parse(b), 1) for b in (MIDDLE, NEW)]},
        a_baseline("b", replace(ANYTHING, include_without_advisory=True)),
        NOW,
        exceptions=Exceptions(1, (exception(ExceptionMatch.ADVISORY, "A"),)),
    )
    assert status(found) is PatchStatus.MISSING


def test_R7_a_pending_restart_makes_the_instance_NON_COMPLIANT_not_undetermined() -> None:
    kernel = "kernel-5-2.x86_64"
    found = answer(
        installed=(kernel,),
        advisories=(an_advisory("K", kernel),),
        running_kernel="4-1.x86_64",
        running_kernel_package="kernel-4-1.x86_64",
        install_only=("kernel",),
    )
    assert found.assessment.status is InstanceStatus.NON_COMPLIANT


@pytest.mark.parametrize(
    ("scope", "value"), [(ExceptionScope.ALL, ""), (ExceptionScope.GROUP, "shop"), (ExceptionScope.INSTANCE, "i-1")]
)
def test_R10_an_exception_of_another_account_excuses_nothing(scope: ExceptionScope, value: str) -> None:
    own = exception(scope=scope, scope_value=value)
    assert answer(own).assessment.status is InstanceStatus.COMPLIANT
    assert answer(replace(own, account="acme")).assessment.status is InstanceStatus.NON_COMPLIANT


def test_R10_an_advisory_that_two_repositories_tell_is_covered_only_when_the_CVEs_of_both_are() -> None:
    twice = (an_advisory("A", NEW, cves=("CVE-2026-0001",)), an_advisory("A", NEW, cves=("CVE-2026-0002",)))
    one, other = (exception(ExceptionMatch.CVE, f"CVE-2026-000{n}", f"ex-{n}") for n in (1, 2))
    assert item(answer(one, advisories=twice)).status is PatchStatus.MISSING
    assert item(answer(one, other, advisories=twice)).status is PatchStatus.EXCEPTED
    assert item(answer(advisories=twice)).cves == ("CVE-2026-0001", "CVE-2026-0002")
