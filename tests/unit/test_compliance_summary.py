"""The fleet in numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

from common.evr import Evr
from controller.compliance.aggregate import ComplianceCounts, GroupSummary, oldest_missing, summarise
from controller.compliance.model import DateBasis, InstanceStatus, Item, Level, PatchStatus, Reason, Undetermined
from tests.builders import an_assessment, an_instance

MISSING = Item(
    PatchStatus.MISSING,
    "openssl-libs",
    "x86_64",
    Evr(1, "1.0.2k", "19.el7"),
    level=Level.CRITICAL,
    required=Evr(1, "1.0.2k", "26.el7_9"),
    advisories=("CESA-2023:1335",),
    cves=("CVE-2023-0286",),
    date_basis=DateBasis.ISSUED,
    basis_date=date(2023, 3, 20),
    first_non_compliant_at=datetime(2026, 10, 12, tzinfo=UTC),
    why="because",
)


def test_the_summary_always_has_three_numbers_and_their_reasons() -> None:
    stale = Undetermined(Reason.STALE, "old", "Scan.")
    broken = Undetermined(Reason.REPO_ERROR, "404", "Mend it.")
    found = summarise(
        [
            (an_instance(1), an_assessment(1)),
            (an_instance(2, region="cn-east"), an_assessment(2, InstanceStatus.NON_COMPLIANT, level=Level.HIGH)),
            (an_instance(3), an_assessment(3, InstanceStatus.NON_COMPLIANT, level=Level.CRITICAL)),
            (an_instance(4), an_assessment(4, InstanceStatus.UNDETERMINED, reasons=(stale, broken, broken))),
            (an_instance(5), None),
        ]
    )
    assert (found.instances, found.counts) == (5, ComplianceCounts(1, 2, 2))
    assert found.levels == ((Level.CRITICAL, 1), (Level.HIGH, 1))
    assert dict(found.reasons) == {Reason.STALE: 1, Reason.REPO_ERROR: 1, Reason.NO_REPORT: 1}
    assert GroupSummary("region", "cn-east", ComplianceCounts(0, 1, 0)) in found.groups
    assert GroupSummary("baseline", "", ComplianceCounts(0, 0, 1)) in found.groups
    for attribute in ("region", "application_group", "enterprise_project", "product", "baseline"):
        counts = [g.counts for g in found.groups if g.attribute == attribute]
        assert sum(c.compliant + c.non_compliant + c.undetermined for c in counts) == 5


def test_the_oldest_missing_item_is_sought_at_the_highest_level_first() -> None:
    older_but_low = replace(MISSING, level=Level.LOW, first_non_compliant_at=datetime(2020, 1, 1, tzinfo=UTC))
    older = replace(MISSING, first_non_compliant_at=datetime(2026, 9, 1, tzinfo=UTC))
    pending = replace(older, status=PatchStatus.PENDING_REBOOT, first_non_compliant_at=datetime(2026, 1, 1, tzinfo=UTC))
    one, two = an_instance(1), an_instance(2)
    assert oldest_missing([(one, MISSING), (two, older), (one, older_but_low), (one, pending)]) == (two, older)
    assert oldest_missing([(one, pending)]) is None
