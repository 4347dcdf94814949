"""Reports and summaries: records to messages. Nobody sends reports here; they only go out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from functools import lru_cache

from google.protobuf.timestamp_pb2 import Timestamp

from common.evr import Evr
from common.pb.v1 import report_pb2
from controller.api.translate import CATEGORY, INSTANCE_STATUS, LEVEL, PATCH_STATUS, REASON, SEVERITY, timestamp
from controller.api.translate_fleet import operating_system_message
from controller.compliance.aggregate import ComplianceCounts, Summary
from controller.compliance.model import Assessment, Inputs, Item, StatusCounts, Undetermined
from controller.dispatch.catalog import Concern, Entry
from controller.dispatch.history import TrendDay
from controller.fleet.model import Instance


def report_message(instance: Instance, assessment: Assessment, items: Iterable[Item] = ()) -> report_pb2.InstanceReport:
    """Return one instance's answer as a message, with these items."""
    return report_pb2.InstanceReport(
        instance_id=instance.id,
        instance_name=instance.name,
        enterprise_project=instance.enterprise_project,
        region=instance.region,
        application_group=instance.application_group,
        operating_system=operating_system_message(instance.operating_system),
        status=INSTANCE_STATUS.to_wire(assessment.status),
        reasons=[undetermined_message(u) for u in assessment.reasons],
        level=LEVEL.to_wire(assessment.level),
        baseline_name=assessment.baseline_name,
        baseline_source=assessment.baseline_source,
        inputs=_inputs_message(assessment.inputs),
        counts=_counts_message(assessment.counts),
        collected_at=timestamp(assessment.collected_at),
        ticket_id=assessment.ticket_id,
        items=[item_message(i) for i in items],
    )


def undetermined_message(one: Undetermined) -> report_pb2.Undetermined:
    """Return one reason as a message."""
    return report_pb2.Undetermined(reason=REASON.to_wire(one.reason), detail=one.detail, help=one.help)


def item_message(item: Item) -> report_pb2.ReportItem:
    """Return one package with its evidence as a message."""
    return report_pb2.ReportItem(
        status=PATCH_STATUS.to_wire(item.status),
        level=LEVEL.to_wire(item.level),
        name=item.name,
        arch=item.arch,
        installed=_evr(item.installed),
        required=_evr(item.required),
        reason=item.reason,
        category=CATEGORY.to_wire(item.category),
        severity=SEVERITY.to_wire(item.severity),
        advisories=item.advisories,
        cves=item.cves,
        rule=item.rule,
        clause=item.clause,
        date_basis=item.date_basis.value if item.date_basis is not None else "",
        date=_day(item.basis_date),
        approved_on=_day(item.approved_on),
        repository=item.repository,
        metadata_at=_instant(item.metadata_at),
        hold=item.hold,
        first_non_compliant_at=_instant(item.first_non_compliant_at),
        last_attempt_at=_instant(item.last_attempt_at),
        last_error_class=item.last_error_class,
        why=item.why,
        available_security=_evr(item.available_security),
    )


def summary_message(summary: Summary, as_of: datetime) -> report_pb2.GetSummaryResponse:
    """Return the numbers of a fleet as a message."""
    return report_pb2.GetSummaryResponse(
        instances=summary.instances,
        counts=counts_message(summary.counts),
        levels=[report_pb2.LevelCount(level=LEVEL.to_wire(level), instances=n) for level, n in summary.levels],
        reasons=[report_pb2.ReasonCount(reason=REASON.to_wire(reason), instances=n) for reason, n in summary.reasons],
        groups=[
            report_pb2.GroupSummary(attribute=g.attribute, value=g.value, counts=counts_message(g.counts))
            for g in summary.groups
        ],
        as_of=timestamp(as_of),
    )


def counts_message(counts: ComplianceCounts) -> report_pb2.ComplianceCounts:
    """Return the three numbers as a message."""
    return report_pb2.ComplianceCounts(
        compliant=counts.compliant, non_compliant=counts.non_compliant, undetermined=counts.undetermined
    )


def point_message(day: TrendDay) -> report_pb2.TrendPoint:
    """Return the numbers of one day as a message."""
    return report_pb2.TrendPoint(date=day.day.isoformat(), counts=counts_message(day.counts))


def advisory_message(entry: Entry, *, packages: bool = False) -> report_pb2.Advisory:
    """Return an advisory as a message; the builds that it names only when asked for."""
    advisory = entry.advisory
    return report_pb2.Advisory(
        id=advisory.id,
        category=CATEGORY.to_wire(advisory.category),
        severity=SEVERITY.to_wire(advisory.severity),
        title=advisory.title,
        issued=_day(advisory.issued),
        updated=_day(advisory.updated),
        first_seen_at=timestamp(entry.first_seen_at),
        cves=advisory.cves,
        packages=[str(build) for build in entry.packages] if packages else (),
        repositories=entry.repositories,
        affected_instances=entry.affected,
    )


def affected_message(row: Concern) -> report_pb2.Affected:
    """Return one package of one instance that an advisory concerns as a message."""
    return report_pb2.Affected(
        instance_id=row.instance.id,
        instance_name=row.instance.name,
        name=row.name,
        arch=row.arch,
        installed=str(row.installed),
        fixed_in=str(row.fixed_in),
        fixed=row.fixed,
        advisory_id=row.advisory_id,
    )


def _inputs_message(inputs: Inputs) -> report_pb2.ReportInputs:
    return report_pb2.ReportInputs(
        inventory_digest=inputs.inventory_digest,
        metadata_digest=inputs.metadata_digest,
        manifest_digest=inputs.manifest_digest,
        baseline_id=inputs.baseline_id,
        baseline_version=inputs.baseline_version,
        exceptions_version=inputs.exceptions_version,
        as_of=timestamp(inputs.as_of),
    )


def _counts_message(counts: StatusCounts) -> report_pb2.StatusCounts:
    return report_pb2.StatusCounts(
        installed=counts.installed,
        installed_other=counts.installed_other,
        missing=counts.missing,
        reject=counts.reject,
        failed=counts.failed,
        pending_reboot=counts.pending_reboot,
        excepted=counts.excepted,
        not_applicable=counts.not_applicable,
        updates_without_advisory=counts.updates_without_advisory,
    )


@lru_cache(maxsize=1024)
def _instant(at: datetime | None) -> Timestamp | None:
    """Return an instant for a message that copies it: nobody may change it. The hundreds of items of one page have the same few."""
    return timestamp(at)


def _evr(evr: Evr | None) -> str:
    return "" if evr is None else str(evr)


def _day(day: date | None) -> str:
    return "" if day is None else day.isoformat()
