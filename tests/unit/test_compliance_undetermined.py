"""R11: missing data is never COMPLIANT. Every reason, and what it says to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from pyroaring import FrozenBitMap

from common.manifest import Manifest, Problem, ProblemCode
from controller.compliance import reasons
from controller.compliance.eol import last_day
from controller.compliance.evaluator import Evaluation, Evaluator, Host, Limits, evaluate
from controller.compliance.model import (
    Advisory,
    ApprovedPatch,
    Available,
    Baseline,
    InstanceStatus,
    PatchStatus,
    Reason,
)
from controller.fleet.model import OperatingSystem, Quarantine, QuarantineCause
from controller.inventory.model import Package, Snapshot
from tests.builders import NOW, a_baseline, a_manifest, a_package, a_repository, a_rule, an_advisory, an_instance

KERNEL = "kernel-3.10.0-1160.99.1.el7.x86_64"
UPDATES = a_repository("updates")
BASE = a_repository("base", updateinfo="")


def compliant_host(**changes: Any) -> Host:
    """Everything was read, and nothing is missing: each test takes one thing away."""
    return Host(
        **(
            {
                "instance": an_instance(1),
                "manifest": the_manifest(),
                "manifest_digest": "m",
                "collected_at": NOW - timedelta(hours=1),
            }
            | changes
        )
    )


def the_manifest(**changes: Any) -> Manifest:
    return a_manifest([a_package(), a_package(KERNEL)], **({"repositories": (BASE, UPDATES)} | changes))


def ask(
    host: Host,
    baseline: Baseline | None = None,
    *,
    advisories: Sequence[Advisory] = (an_advisory("A", KERNEL, "bash-4.2.46-30.el7.x86_64"),),
    unreadable: dict[str, str] | None = None,
    limits: Limits | None = None,
    as_of: datetime = NOW,
) -> Evaluation:
    lines = [a_package(), a_package(KERNEL)]
    available = tuple(Available(p.nevra, 0) for a in advisories for p in a.packages)
    return evaluate(
        host,
        lines,
        {UPDATES.updateinfo: advisories},
        {UPDATES.primary: available, BASE.primary: ()},
        baseline or a_baseline(),
        as_of,
        unreadable=unreadable,
        limits=limits,
    )


def the_reasons(found: Evaluation) -> list[Reason]:
    if found.assessment.reasons:
        assert found.assessment.status is InstanceStatus.UNDETERMINED
    assert all(reason.detail and reason.help.endswith(".") for reason in found.assessment.reasons)
    return [reason.reason for reason in found.assessment.reasons]


@pytest.mark.parametrize("cause", QuarantineCause)
def test_R11_an_instance_in_quarantine_is_never_COMPLIANT_and_is_judged_again_once_released(
    cause: QuarantineCause,
) -> None:
    hour = timedelta(hours=1)
    twins = Quarantine(cause, NOW - hour, released_at=NOW + hour)
    host = compliant_host(instance=an_instance(1, quarantine=twins))
    assert the_reasons(ask(host)) == [Reason.QUARANTINED]
    assert the_reasons(ask(host, as_of=NOW + hour)) == []
    assert the_reasons(ask(host, as_of=NOW - hour - timedelta(seconds=1))) == []


def test_with_everything_read_and_nothing_missing_the_instance_is_COMPLIANT() -> None:
    found = ask(compliant_host())
    assert the_reasons(found) == []
    assert found.assessment.status is InstanceStatus.COMPLIANT


def test_every_reason_has_one_sentence_on_what_to_do() -> None:
    assert set(reasons.HELP) == set(Reason)
    assert all(sentence.endswith(".") for sentence in reasons.HELP.values())


def test_R11_NO_REPORT_before_the_first_report() -> None:
    assert the_reasons(ask(compliant_host(manifest=None, collected_at=None))) == [Reason.NO_REPORT]


@pytest.mark.parametrize(("hours", "stale"), [(25, False), (26, False), (26.1, True)])
def test_R11_STALE_when_the_report_is_older_than_26_hours(hours: float, stale: bool) -> None:
    found = ask(compliant_host(collected_at=NOW - timedelta(hours=hours)))
    assert (the_reasons(found) == [Reason.STALE]) is stale


def test_R11_METADATA_STALE_when_repositories_were_not_refreshed_for_48_hours() -> None:
    patient = Limits(stale_after=timedelta(days=30))
    found = ask(compliant_host(collected_at=NOW - timedelta(hours=49)), limits=patient)
    assert the_reasons(found) == [Reason.METADATA_STALE]


def test_R11_metadata_whose_repomd_is_years_old_is_not_stale_if_it_was_refreshed_now() -> None:
    old = the_manifest(repositories=(a_repository("updates", timestamp=1_400_000_000),))
    assert the_reasons(ask(compliant_host(manifest=old))) == []


def test_R11_REPO_ERROR_names_each_repository_and_its_error() -> None:
    broken = the_manifest(repositories=(BASE, UPDATES, a_repository("extras", error="404", updateinfo="", primary="")))
    found = ask(compliant_host(manifest=broken))
    assert the_reasons(found) == [Reason.REPO_ERROR]
    assert found.assessment.reasons[0].detail == "repository extras: 404"


@pytest.mark.parametrize("which", ["updateinfo", "primary"])
def test_R11_a_repository_file_that_cannot_be_parsed_is_REPO_ERROR_and_never_no_advisories(which: str) -> None:
    found = ask(compliant_host(), unreadable={getattr(UPDATES, which): "is not whole XML"})
    assert Reason.REPO_ERROR in the_reasons(found)


def test_R11_a_package_list_nobody_read_is_REPO_ERROR_where_updates_without_advisory_are_asked_for() -> None:
    blind = compliant_host(manifest=the_manifest(repositories=(BASE, a_repository("updates", primary=""))))
    asks = a_baseline("CentOS-Default", a_rule(include_without_advisory=True))
    found = ask(blind, asks)
    assert the_reasons(found) == [Reason.REPO_ERROR]
    assert "repository updates" in found.assessment.reasons[0].detail
    assert ask(blind).assessment.status is InstanceStatus.COMPLIANT  # by advisories alone it can be said


@pytest.mark.parametrize(
    ("entry", "by_name"),
    [("bash", True), ("python3-*", True), ("bash-5.1-2", True), ("CVE-2023-0286", False), ("RHSA-2023:1335", False)],
)
def test_R11_a_package_list_nobody_read_is_REPO_ERROR_where_packages_are_approved_by_name(
    entry: str, by_name: bool
) -> None:
    """What is approved by name is required without any advisory, and stands only in that list."""
    blind = compliant_host(manifest=the_manifest(repositories=(BASE, a_repository("updates", primary=""))))
    found = ask(blind, a_baseline("CentOS-Default", a_rule(), approved=(ApprovedPatch(entry),)))
    assert the_reasons(found) == ([Reason.REPO_ERROR] if by_name else [])
    if by_name:
        assert "CentOS-Default approves packages by name" in found.assessment.reasons[0].detail


def test_R11_NO_REPOS_when_none_is_enabled() -> None:
    assert the_reasons(ask(compliant_host(manifest=the_manifest(repositories=())))) == [Reason.NO_REPOS]


def test_R11_NO_ADVISORIES_when_no_repository_has_any_and_the_baseline_asks_for_them() -> None:
    bare = compliant_host(manifest=the_manifest(repositories=(BASE,)))
    assert the_reasons(ask(bare)) == [Reason.NO_ADVISORIES]
    assert the_reasons(ask(compliant_host(), advisories=())) == [Reason.NO_ADVISORIES]
    everything = a_baseline("b", a_rule(categories=(), severities=(), include_without_advisory=True))
    assert the_reasons(ask(bare, everything)) == []


def test_R11_NO_ADVISORIES_when_a_repository_lost_its_advisories() -> None:
    host = compliant_host(had_advisories=frozenset({"base", "updates"}))
    found = ask(host)
    assert the_reasons(found) == [Reason.NO_ADVISORIES]
    assert found.assessment.reasons[0].detail == "repository base had advisories before and has none now"


def test_R11_NO_BASELINE_when_none_is_meant_for_the_instance() -> None:
    host = compliant_host()
    found = evaluate(host, [a_package(), a_package(KERNEL)], {}, {}, None, NOW)
    assert Reason.NO_BASELINE in the_reasons(found)
    assert found.items == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"operating_system": "EulerOS"}, "is for EulerOS"),
        ({"rules": (a_rule(products=("CentOS 7.8",)),)}, "no rule of"),
    ],
)
def test_R11_NO_BASELINE_when_the_baseline_has_nothing_to_say_about_this_product(
    changes: dict[str, Any], words: str
) -> None:
    found = ask(compliant_host(), a_baseline(**changes))
    assert Reason.NO_BASELINE in the_reasons(found)
    assert words in found.assessment.reasons[0].detail


def test_R11_NO_BASELINE_when_the_operating_system_is_not_supported() -> None:
    ubuntu = an_instance(1, operating_system=OperatingSystem("ubuntu", "22.04", "", "Ubuntu 22.04", "x86_64"))
    found = ask(compliant_host(instance=ubuntu))
    assert the_reasons(found) == [Reason.NO_BASELINE]
    assert "Ubuntu 22.04" in found.assessment.reasons[0].detail


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (ProblemCode.RPMDB, Reason.RPMDB),
        (ProblemCode.BUSY, Reason.BUSY),
        (ProblemCode.REPO_CONFIG, Reason.UNREADABLE),
        (ProblemCode.HOLDS, Reason.UNREADABLE),
        (ProblemCode.MODULES, Reason.UNREADABLE),
        (ProblemCode.OS_RELEASE, Reason.UNREADABLE),
        (ProblemCode.KERNEL, None),
        (ProblemCode.FACTS, None),
        (ProblemCode.CLOCK, None),
    ],
)
def test_R11_a_problem_of_the_agent_keeps_the_instance_from_complying_unless_it_is_harmless(
    code: ProblemCode, reason: Reason | None
) -> None:
    found = ask(compliant_host(manifest=the_manifest(problems=(Problem(code, "something"),))))
    assert the_reasons(found) == ([reason] if reason else [])


def test_R11_without_an_inventory_nothing_is_counted() -> None:
    host = compliant_host(
        manifest=the_manifest(packages="", details="", problems=(Problem(ProblemCode.RPMDB, "is damaged"),))
    )
    found = ask(host)
    assert the_reasons(found) == [Reason.RPMDB]
    assert found.assessment.counts.installed == found.assessment.counts.installed_other == 0


def test_R7_not_knowing_the_running_kernel_matters_only_if_an_approved_kernel_is_installed() -> None:
    blind = the_manifest(running_kernel="3.10.0-1160.71.1.el7.x86_64", install_only=("kernel",))
    assert the_reasons(ask(compliant_host(manifest=blind))) == [Reason.UNREADABLE]
    only_bash = (an_advisory("A", "bash-4.2.46-30.el7.x86_64"),)
    assert the_reasons(ask(compliant_host(manifest=blind), advisories=only_bash)) == []


def test_R11_an_UNDETERMINED_instance_still_lists_what_could_be_found() -> None:
    host = compliant_host(
        manifest=the_manifest(repositories=(UPDATES, a_repository("extras", error="404", updateinfo="", primary="")))
    )
    found = ask(host, advisories=(an_advisory("A", "bash-5-1.x86_64"),))
    assert the_reasons(found) == [Reason.REPO_ERROR]
    assert [i.status for i in found.items] == [PatchStatus.MISSING]


def test_several_reasons_are_all_told() -> None:
    host = compliant_host(
        collected_at=NOW - timedelta(hours=60),
        manifest=the_manifest(
            repositories=(a_repository("updates", error="timeout"),),
            problems=(Problem(ProblemCode.BUSY, "yum is running"),),
        ),
    )
    assert the_reasons(ask(host)) == [Reason.STALE, Reason.BUSY, Reason.REPO_ERROR]


def said(**changes: Any) -> dict[str, Any]:
    return {"manifest": the_manifest(**changes)}


BLIND = {"running_kernel": "3.10.0-1160.71.1.el7.x86_64", "install_only": ("kernel",)}
HERE = an_instance(1)


@pytest.mark.parametrize(
    "unfit",
    [
        {"instance": replace(HERE, quarantine=Quarantine(QuarantineCause.MACHINE_ID, NOW - timedelta(hours=1)))},
        {"instance": replace(HERE, operating_system=OperatingSystem("centos", "6", "CentOS 6.10"))},
        {"instance": replace(HERE, operating_system=OperatingSystem("plan9", "4"))},
        {"manifest": None, "collected_at": None},
        {"collected_at": NOW - timedelta(hours=27)},
        {"had_advisories": frozenset({"base"})},
        {"snapshot": None},
        *(said(problems=(Problem(code, "something"),)) for code in ProblemCode),
        said(repositories=()),
        said(repositories=(BASE,)),
        said(repositories=(BASE, replace(UPDATES, error="404"))),
        said(**BLIND),
        said(**BLIND, problems=(Problem(ProblemCode.KERNEL, "something"),)),
    ],
    ids=str,
)
def test_R11_that_others_could_be_answered_for_makes_no_host_COMPLIANT(unfit: dict[str, Any]) -> None:
    """What is remembered of hosts that say the same must not hide what this one lacks, in whatever order they are asked."""
    snapshot = Snapshot(b"both", FrozenBitMap([1, 2]))
    fit, bad = compliant_host(snapshot=snapshot), compliant_host(**({"snapshot": snapshot} | unfit))
    shared, baseline = an_evaluator(), a_baseline()
    for host in (fit, bad, bad, fit, bad):
        alone = an_evaluator().assess(host, baseline, NOW).assessment
        assert shared.assess(host, baseline, NOW).assessment == alone
    assert shared.assess(fit, baseline, NOW).assessment.status is InstanceStatus.COMPLIANT


def an_evaluator() -> Evaluator:
    evaluator = Evaluator()
    lines = sorted([a_package(), a_package(KERNEL)], key=lambda line: line.nevra)
    evaluator.learn(Package(n, line.nevra, line.module, line.nevra.key) for n, line in enumerate(lines, 1))
    advisories = (an_advisory("A", KERNEL, "bash-4.2.46-30.el7.x86_64"),)
    evaluator.add_updateinfo(UPDATES.updateinfo, advisories, {})
    for repository in (UPDATES, BASE):
        evaluator.add_primary(repository.primary, [Available(p.nevra, 0) for a in advisories for p in a.packages])
    return evaluator


# --- EOL ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("product", "end"),
    [
        ("CentOS 7.9", date(2024, 6, 30)),
        ("CentOS 7", date(2024, 6, 30)),
        ("Amazon Linux 2", date(2026, 6, 30)),
        ("Amazon Linux 2023", date(2029, 6, 30)),
        ("Amazon Linux 2018.03", date(2023, 12, 31)),
        ("RHEL 8.10", date(2029, 5, 31)),
        ("AlmaLinux 10.1", date(2035, 6, 1)),
        ("Oracle Linux 8.9", None),  # no vendor's word was at hand
        ("EulerOS 2.10", None),
        ("", None),
    ],
)
def test_R11_the_last_day_of_a_release_is_that_of_its_major_version(product: str, end: date | None) -> None:
    assert last_day(product) == end


@pytest.mark.parametrize(
    ("eol", "as_of", "reasons"),
    [
        (True, datetime(2024, 6, 30, 23, 59, tzinfo=UTC), []),
        (True, datetime(2024, 7, 1, tzinfo=UTC), [Reason.EOL]),
        (False, datetime(2024, 7, 1, tzinfo=UTC), []),
    ],
)
def test_R11_EOL_is_a_reason_after_the_last_day_if_that_is_wanted(
    eol: bool, as_of: datetime, reasons: list[Reason]
) -> None:
    manifest = a_manifest([a_package()])
    repository = a_repository()
    found = evaluate(
        Host(an_instance(1), manifest, "m", collected_at=as_of),
        [a_package()],
        {repository.updateinfo: [an_advisory("A", "zsh-1-1.x86_64")]},
        {repository.primary: []},
        a_baseline(),
        as_of,
        limits=Limits(eol=eol),
    )
    assert [r.reason for r in found.assessment.reasons] == reasons
