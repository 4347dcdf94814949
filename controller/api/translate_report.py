"""Reports and summaries: records to messages. Nobody sends reports here; they only go out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from common.evr import Evr
from common.pb.v1 import report_pb2
from controller.api.translate import CATEGORY, INSTANCE_STATUS, LEVEL, PATCH_STATUS, REASON, SEVERITY, timestamp
from controller.api.translate_fleet import operating_system_message
from controller.compliance.model import Assessment, Inputs, Item, StatusCounts, Undetermined
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
        metadata_at=timestamp(item.metadata_at),
        hold=item.hold,
        first_non_compliant_at=timestamp(item.first_non_compliant_at),
        last_attempt_at=timestamp(item.last_attempt_at),
        last_error_class=item.last_error_class,
        why=item.why,
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


def _evr(evr: Evr | None) -> str:
    return "" if evr is None else str(evr)


def _day(day: date | None) -> str:
    return "" if day is None else day.isoformat()
