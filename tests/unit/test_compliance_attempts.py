"""SEMANTICS R12: FAILED is what a transaction tried and that ended badly; what was never tried is another matter."""

from __future__ import annotations

from datetime import datetime, timedelta

from common import nevra
from controller.compliance.evaluator import Evaluation, Host, evaluate
from controller.compliance.model import (
    Attempt,
    Available,
    ErrorClass,
    ExceptionMatch,
    Exceptions,
    InstanceStatus,
    Item,
    Level,
    PatchStatus,
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

EARLIER, LATER = NOW - timedelta(hours=2), NOW - timedelta(hours=1)
BASH, ZSH = "bash-2-1.x86_64", "zsh-2-1.x86_64"
OLD = ("bash-1-1.x86_64", "zsh-1-1.x86_64")


def tried(build: str, at: datetime = EARLIER, error: ErrorClass | None = ErrorClass.GPG) -> Attempt:
    package = nevra.parse(build)
    return Attempt(f"{package.name}.{package.arch}", package, at, error)


def answer(
    *attempts: Attempt,
    installed: tuple[str, ...] = OLD,
    wanted: tuple[str, ...] = (BASH, ZSH),
    obsoletes: tuple[str, ...] = (),
    exceptions: Exceptions = Exceptions(),  # noqa: B008  frozen
) -> Evaluation:
    lines = [a_package(line) for line in installed]
    repository = a_repository()
    return evaluate(
        Host(an_instance(1), a_manifest(lines), "m", collected_at=NOW, attempts=attempts),
        lines,
        {repository.updateinfo: [an_advisory("RHSA-1", *wanted)]},
        {repository.primary: [Available(nevra.parse(build), 0, obsoletes=obsoletes) for build in wanted]},
        a_baseline("b", a_rule(categories=(), severities=(), approve_after_days=0, level=Level.HIGH)),
        NOW,
        exceptions=exceptions,
        everything=True,
    )


def item(found: Evaluation, name: str) -> Item:
    return next(each for each in found.items if each.name == name)


def test_R12_only_what_the_bad_transaction_tried_is_failed_with_its_class_and_the_rest_is_not_attempted() -> None:
    found = answer(tried(BASH))
    bash, zsh = item(found, "bash"), item(found, "zsh")
    assert (bash.status, bash.reason) == (PatchStatus.FAILED, "GPG")
    assert (bash.last_attempt_at, bash.last_error_class) == (EARLIER, "GPG")
    assert (zsh.status, zsh.reason, zsh.last_attempt_at) == (PatchStatus.MISSING, "NOT_ATTEMPTED", None)
    assert (found.assessment.counts.failed, found.assessment.counts.missing) == (1, 1)
    assert found.assessment.status is InstanceStatus.NON_COMPLIANT
    assert found.assessment.level is bash.level is Level.HIGH
    assert found.non_compliant_keys == ("bash.x86_64", "zsh.x86_64")


def test_R14_the_sentence_tells_of_the_last_attempt_and_its_class() -> None:
    found = answer(tried(BASH))
    assert item(found, "bash").why.endswith(f"Last attempt: {EARLIER:%Y-%m-%d %H:%M} UTC (GPG).")
    assert item(found, "zsh").why.endswith("Last attempt: none.")
    assert "is missing bash 2-1" in item(found, "bash").why


def test_R12_where_nothing_was_ever_tried_missing_needs_no_reason() -> None:
    assert {(i.status, i.reason) for i in answer().items} == {(PatchStatus.MISSING, "")}


def test_R12_the_next_inventory_that_shows_the_version_clears_it() -> None:
    found = answer(tried(BASH), installed=(BASH, OLD[1]))
    assert item(found, "bash").status is PatchStatus.INSTALLED
    assert found.assessment.counts.failed == 0


def test_R12_what_came_after_all_is_missing_again_not_failed_when_a_newer_version_is_required() -> None:
    found = answer(tried(BASH), installed=(BASH, OLD[1]), wanted=("bash-3-1.x86_64", ZSH))
    assert (item(found, "bash").status, item(found, "bash").reason) == (PatchStatus.MISSING, "NOT_ATTEMPTED")
    assert item(found, "bash").last_attempt_at is None


def test_R12_the_last_attempt_decides() -> None:
    better = item(answer(tried(BASH), tried(BASH, LATER, None)), "bash")
    assert (better.status, better.reason, better.last_attempt_at) == (PatchStatus.MISSING, "", LATER)
    worse = item(answer(tried(BASH, LATER, ErrorClass.DISK), tried(BASH, EARLIER, None)), "bash")
    assert (worse.status, worse.reason) == (PatchStatus.FAILED, "DISK")


def test_R1_an_attempt_after_the_instant_that_is_asked_for_is_not_known_yet() -> None:
    assert answer(tried(BASH, NOW + timedelta(seconds=1))) == answer()


def test_R12_a_package_that_another_one_replaces_fails_with_that_one() -> None:
    attempt = Attempt("bash.x86_64", nevra.parse(ZSH), EARLIER, ErrorClass.CONFLICT)
    found = item(answer(attempt, installed=OLD[:1], wanted=(ZSH,), obsoletes=("bash",)), "bash")
    assert (found.status, found.reason) == (PatchStatus.FAILED, "CONFLICT")
    assert "which zsh 2-1 replaces" in found.why


def test_R10_what_failed_and_is_excused_counts_as_excepted_and_remembers_the_attempt() -> None:
    excused = Exceptions(1, (an_exception(1, match=ExceptionMatch.PACKAGE, match_value="bash"),))
    found = answer(tried(BASH), exceptions=excused)
    assert (item(found, "bash").status, item(found, "bash").last_error_class) == (PatchStatus.EXCEPTED, "GPG")
    assert (found.assessment.counts.failed, found.assessment.counts.excepted) == (0, 1)
