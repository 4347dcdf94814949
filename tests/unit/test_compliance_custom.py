"""SEMANTICS §1, custom baselines: packages that must be installed at least at a version, whatever repositories offer."""

from __future__ import annotations

from datetime import timedelta

import pytest

from common.manifest import Problem, ProblemCode
from controller.compliance.evaluator import Evaluation, Host, evaluate
from controller.compliance.model import CustomPackage, InstanceStatus, Item, Level, PatchStatus, Reason
from tests.builders import NOW, a_baseline, a_manifest, a_package, a_repository, an_instance

ROW = CustomPackage("bash", "1:4.2", "35.el7", Level.HIGH)


def answer(
    *installed: str, rows: tuple[CustomPackage, ...] = (ROW,), age: timedelta = timedelta(0), **manifest: object
) -> Evaluation:
    """Evaluate a host whose repository nobody has read: a custom baseline must not ask for it."""
    lines = [a_package(line) for line in installed]
    return evaluate(
        Host(an_instance(1), a_manifest(lines, **manifest), "m", collected_at=NOW - age),
        lines,
        {},
        {},
        a_baseline("mine", rules=(), custom=rows),
        NOW,
        everything=True,
    )


def item(found: Evaluation, name: str = "bash") -> Item:
    (only,) = [i for i in found.items if i.name == name]
    return only


@pytest.mark.parametrize(
    ("installed", "status"),
    [
        ("bash-4.2-35.el7.x86_64", PatchStatus.MISSING),
        ("bash-1:4.2-34.el7.x86_64", PatchStatus.MISSING),
        ("bash-1:4.2-35.el7.x86_64", PatchStatus.INSTALLED),
        ("bash-1:4.10-1.el7.x86_64", PatchStatus.INSTALLED),
        ("bash-2:1-1.i686", PatchStatus.INSTALLED),
        ("zsh-1-1.x86_64", None),
    ],
)
def test_a_package_must_be_installed_at_least_at_the_version_of_its_row(
    installed: str, status: PatchStatus | None
) -> None:
    found = answer(installed)
    assert [i.status for i in found.items if i.name == "bash"] == ([status] if status else [])
    missing = status is PatchStatus.MISSING
    assert found.assessment.status is (InstanceStatus.NON_COMPLIANT if missing else InstanceStatus.COMPLIANT)
    assert found.assessment.counts.not_applicable == (0 if status else 1)


def test_the_item_says_what_is_required_and_by_which_row() -> None:
    found = item(answer("bash-4.1-1.x86_64", rows=(CustomPackage("zsh", "5", "1"), ROW)))
    assert (str(found.required), found.level) == ("1:4.2-35.el7", Level.HIGH)
    assert found.clause == "required: bash 1:4.2-35.el7 or newer, row 2"
    assert found.why.startswith(
        'ecs-0001 is missing bash 1:4.2-35.el7 because mine asks for it ("bash 1:4.2-35.el7 or newer, row 2");'
    )
    assert (found.advisories, found.repository, found.reason) == ((), "", "")


def test_names_are_those_of_rpm_where_case_matters() -> None:
    """Foo and foo are two packages for rpm, and may both be installed: a row means the one that it names."""
    found = answer("Bash-1-1.x86_64", "bash-1:5-1.x86_64")
    assert {i.name: i.status for i in found.items} == {
        "Bash": PatchStatus.INSTALLED_OTHER,
        "bash": PatchStatus.INSTALLED,
    }


def test_of_several_installed_the_newest_decides() -> None:
    assert item(answer("bash-1-1.x86_64", "bash-1:5-1.x86_64")).status is PatchStatus.INSTALLED


def test_both_architectures_of_a_name_must_be_new_enough() -> None:
    found = answer("bash-1-1.i686", "bash-1:5-1.x86_64")
    assert {i.arch: i.status for i in found.items} == {
        "i686": PatchStatus.MISSING,
        "x86_64": PatchStatus.INSTALLED,
    }
    assert found.assessment.counts.not_applicable == 0


def test_what_has_no_row_is_INSTALLED_OTHER() -> None:
    assert item(answer("zsh-1-1.x86_64"), "zsh").status is PatchStatus.INSTALLED_OTHER


def test_a_row_holds_for_modular_builds_too() -> None:
    assert item(answer("bash-1-1.module+el8.x86_64")).status is PatchStatus.MISSING


def test_R11_what_repositories_say_or_fail_to_say_does_not_matter() -> None:
    for repositories in ((), (a_repository(error="timeout"),), (a_repository(updateinfo="", primary=""),)):
        found = answer("bash-1:5-1.x86_64", repositories=repositories)
        assert found.assessment.status is InstanceStatus.COMPLIANT
    for code in (ProblemCode.HOLDS, ProblemCode.MODULES, ProblemCode.REPO_CONFIG):
        found = answer("bash-1:5-1.x86_64", problems=(Problem(code, "no"),))
        assert found.assessment.status is InstanceStatus.COMPLIANT
    assert answer("bash-1:5-1.x86_64").assessment.inputs.metadata_digest != ""


@pytest.mark.parametrize(("code", "reason"), [(ProblemCode.RPMDB, Reason.RPMDB), (ProblemCode.BUSY, Reason.BUSY)])
def test_R11_what_is_installed_must_be_known(code: ProblemCode, reason: Reason) -> None:
    found = answer("bash-1:5-1.x86_64", problems=(Problem(code, "no"),)).assessment
    assert (found.status, found.reasons[0].reason) == (InstanceStatus.UNDETERMINED, reason)


def test_R11_an_old_report_is_STALE_whatever_the_baseline() -> None:
    found = answer("bash-1:5-1.x86_64", age=timedelta(hours=27)).assessment
    assert [r.reason for r in found.reasons] == [Reason.STALE]


def test_R7_a_row_for_the_kernel_asks_the_running_one() -> None:
    rows = (CustomPackage("kernel", "5", "2"),)
    found = answer(
        "kernel-5-2.x86_64",
        rows=rows,
        running_kernel="4-1.x86_64",
        running_kernel_package="kernel-4-1.x86_64",
        install_only=("kernel",),
    )
    assert item(found, "kernel").status is PatchStatus.PENDING_REBOOT
