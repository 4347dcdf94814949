"""Tickets, batches and runs: messages to records and back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from common.pb.v1 import ticket_pb2
from controller.api import translate_fleet, translate_notification, translate_windows
from controller.api.checks import Checks
from controller.api.translate import (
    ABNORMAL_CAUSE,
    BATCH_POLICY_KIND,
    BATCH_STATE,
    NOT_SELECTABLE,
    OUTCOME,
    RUN_STATE,
    SUSPENSION_MODE,
    TICKET_STATE,
    TICKET_WAIT,
    duration,
    read_duration,
    read_instant,
    read_length,
    timestamp,
)
from controller.fleet.model import Instance, NotSelectableReason
from controller.tickets.gate import CANARY
from controller.tickets.model import (
    Batch,
    Counts,
    ExecutionAccount,
    PlannedBatch,
    RefusedAccount,
    Run,
    Step,
    Ticket,
    TicketId,
    TicketSpec,
)
from controller.tickets.policies import BatchPolicy, Canary, OfflinePolicy, SuspensionMode, SuspensionPolicy
from controller.tickets.suspension import counted, stops_at
from controller.tickets.validate import LONGEST, SHORTEST, check_spec
from controller.tickets.waiting import opens_at
from controller.tickets.waits import waits_for

EXECUTED_BY: Final = "root"
"""The user that runs a ticket on the hosts: never another one."""
_DEFAULTS: Final = TicketSpec()


def spec(sent: ticket_pb2.TicketSpec) -> TicketSpec:
    """Read what is asked, every default filled in; `baseline` is still as the operator wrote it.

    Raises InvalidArgument with everything that is wrong, each field named by its path below the spec.
    """
    checks, default = Checks(), _DEFAULTS
    policy = sent.batch_policy
    suspension = sent.suspension_policy
    read = TicketSpec(
        name=sent.name,
        selector=translate_fleet.selector(sent.selector, checks),
        baseline=sent.baseline,
        timeout=_duration(sent, "timeout", default.timeout, checks),
        batch_policy=BatchPolicy(
            kind=BATCH_POLICY_KIND.read(checks, "batch_policy.kind", policy.kind, default.batch_policy.kind),
            manual=tuple(tuple(batch.instances) for batch in policy.batches),
            batch_size=policy.batch_size or default.batch_policy.batch_size,
            group_share_percent=policy.group_share_percent or default.batch_policy.group_share_percent,
            ramp=tuple(policy.ramp),
            canary=(
                Canary(policy.canary.instances, policy.canary.percent, policy.canary.wait)
                if policy.HasField("canary")
                else None
            ),
            soak=_length(checks, "batch_policy.soak", policy, "soak"),
        ),
        max_in_flight=sent.max_in_flight or default.max_in_flight,
        suspension_policy=SuspensionPolicy(
            success_rate_tenths=(
                suspension.success_rate_tenths
                if suspension.HasField("success_rate_tenths")
                else default.suspension_policy.success_rate_tenths
            ),
            mode=SUSPENSION_MODE.read(checks, "suspension_policy.mode", suspension.mode, SuspensionMode.ATTAINABLE),
            ignore_unreachable=suspension.ignore_unreachable,
        ),
        unreachable_after=_duration(sent, "unreachable_after", default.unreachable_after, checks),
        maintenance_windows=translate_windows.windows(sent.maintenance_windows, checks),
        ticket_timeout=_length(checks, "ticket_timeout", sent, "ticket_timeout"),
        offline=OfflinePolicy(
            wait=_length(checks, "offline.wait", sent.offline, "wait"),
            until=read_instant(checks, "offline.until", sent.offline.until if sent.offline.HasField("until") else None),
        ),
        notification=translate_notification.policy(sent.notification, checks),
        execution_accounts=tuple(ExecutionAccount(e.account, e.agency) for e in sent.execution_accounts),
        go_on_without_agency=sent.go_on_without_agency,
    )
    with checks.part(""):
        check_spec(read)
    checks.done()
    return read


def _duration(sent: ticket_pb2.TicketSpec, field: str, default: timedelta, checks: Checks) -> timedelta:
    given = getattr(sent, field) if sent.HasField(field) else None  # type: ignore[arg-type]  # one of the two durations
    return read_duration(checks, field, given, default, SHORTEST, LONGEST)


def _length(checks: Checks, called: str, sent: Message, field: str) -> timedelta:
    """Read a length of time of which 0 means none; how long it may be is for `check_spec` to say."""
    given = getattr(sent, field) if sent.HasField(field) else None
    return read_length(checks, called, given) or timedelta(0)


def spec_message(read: TicketSpec) -> ticket_pb2.TicketSpec:
    """Return a spec as a message; reading it again gives the same spec."""
    policy, suspension = read.batch_policy, read.suspension_policy
    return ticket_pb2.TicketSpec(
        name=read.name,
        selector=translate_fleet.selector_message(read.selector),
        baseline=read.baseline,
        timeout=duration(read.timeout),
        batch_policy=ticket_pb2.BatchPolicy(
            kind=BATCH_POLICY_KIND.to_wire(policy.kind),
            batches=[ticket_pb2.ManualBatch(instances=b) for b in policy.manual],
            batch_size=policy.batch_size,
            group_share_percent=policy.group_share_percent,
            ramp=policy.ramp,
            canary=(
                None
                if policy.canary is None
                else ticket_pb2.Canary(
                    instances=policy.canary.instances, percent=policy.canary.percent, wait=policy.canary.wait
                )
            ),
            soak=_length_or_none(policy.soak),
        ),
        max_in_flight=read.max_in_flight,
        suspension_policy=ticket_pb2.SuspensionPolicy(
            success_rate_tenths=suspension.success_rate_tenths,
            mode=SUSPENSION_MODE.to_wire(suspension.mode),
            ignore_unreachable=suspension.ignore_unreachable,
        ),
        unreachable_after=duration(read.unreachable_after),
        maintenance_windows=translate_windows.window_messages(read.maintenance_windows),
        ticket_timeout=_length_or_none(read.ticket_timeout),
        offline=(
            ticket_pb2.OfflinePolicy(wait=_length_or_none(read.offline.wait), until=timestamp(read.offline.until))
            if read.offline.waits
            else None
        ),
        notification=translate_notification.policy_message(read.notification),
        execution_accounts=[
            ticket_pb2.ExecutionAccount(account=e.account, agency=e.agency) for e in read.execution_accounts
        ],
        go_on_without_agency=read.go_on_without_agency,
    )


def _length_or_none(length: timedelta) -> Duration | None:
    return duration(length) if length else None


def refused_account_message(refused: RefusedAccount) -> ticket_pb2.RefusedAccount:
    """Return an account that is left out as a message."""
    return ticket_pb2.RefusedAccount(account=refused.account, agency=refused.agency, sentence=refused.sentence)


def planned_batch_message(batch: PlannedBatch, *, canary: bool = False) -> ticket_pb2.PlannedBatch:
    """Return a batch that does not exist yet as a message."""
    return ticket_pb2.PlannedBatch(
        number=batch.number,
        region=batch.region,
        zone=batch.zone,
        application_group=batch.application_group,
        instance_names=[t.name for t in batch.targets],
        instance_ids=[t.id for t in batch.targets],
        canary=canary,
    )


def not_selectable_message(
    instance: Instance, reason: NotSelectableReason, explanation: str, help_: str
) -> ticket_pb2.NotSelectable:
    """Return who cannot be selected and why as a message."""
    return ticket_pb2.NotSelectable(
        instance_id=instance.id,
        instance_name=instance.name,
        reason=NOT_SELECTABLE.to_wire(reason),
        explanation=explanation,
        help=help_,
    )


def ticket_message(ticket: Ticket, now: datetime) -> ticket_pb2.Ticket:
    """Return a ticket as a message, with what it waits for now; its runs are not part of it."""
    waiting = waits_for(ticket)
    canary = ticket.spec.batch_policy.canary is not None and len(ticket.batches) > 1
    return ticket_pb2.Ticket(
        id=ticket.id,
        spec=spec_message(ticket.spec),
        state=TICKET_STATE.to_wire(ticket.state),
        abnormal_cause=ABNORMAL_CAUSE.to_wire(ticket.abnormal_cause),
        batches=[_batch_message(ticket.batches[n], canary=canary and n == CANARY) for n in sorted(ticket.batches)],
        counts=_counts_message(ticket.counts),
        stops_at=stops_at(ticket.counts.total, ticket.spec.suspension_policy) or 0,
        counted_failures=counted(ticket),
        executed_by=EXECUTED_BY,
        created_by=ticket.created_by,
        created_at=timestamp(ticket.created_at),
        changed_at=timestamp(ticket.changed_at),
        ended_at=timestamp(ticket.ended_at),
        note=ticket.note,
        window_opens_at=timestamp(opens_at(ticket, now)),
        waiting_for=TICKET_WAIT.to_wire(waiting[0] if waiting is not None else None),
        waiting_until=timestamp(waiting[1]) if waiting is not None else None,
        account=ticket.account,
        enterprise_projects=ticket.enterprise_projects,
        refused_accounts=map(refused_account_message, ticket.refused_accounts),
        timed_out_at=timestamp(ticket.timed_out_at),
        expires_at=timestamp(ticket.expires_at),
        waiting_runs=len(ticket.waiting),
    )


def run_message(ticket_id: TicketId, run: Run, step: str) -> ticket_pb2.Run:
    """Return a run as a message; `step` is what its agent says it is doing."""
    return ticket_pb2.Run(
        id=run.id(ticket_id),
        ticket_id=ticket_id,
        batch=run.batch,
        instance_id=run.instance_id,
        instance_name=run.instance_name,
        state=RUN_STATE.to_wire(run.state),
        outcome=OUTCOME.to_wire(run.outcome),
        error=run.error,
        step=step,
        attempt=run.attempt,
        sent_at=timestamp(run.sent_at),
        deadline=timestamp(run.deadline),
        ended_at=timestamp(run.ended_at),
        waits_for=run.waits_for,
    )


def step_message(step: Step) -> ticket_pb2.RunStep:
    """Return a step of a run as a message."""
    return ticket_pb2.RunStep(attempt=step.attempt, name=step.name, at=timestamp(step.at))


def _batch_message(batch: Batch, *, canary: bool) -> ticket_pb2.Batch:
    return ticket_pb2.Batch(
        number=batch.number,
        state=BATCH_STATE.to_wire(batch.state),
        counts=_counts_message(batch.counts),
        region=batch.region,
        zone=batch.zone,
        application_group=batch.application_group,
        started_at=timestamp(batch.started_at),
        ended_at=timestamp(batch.ended_at),
        canary=canary,
    )


def _counts_message(counts: Counts) -> ticket_pb2.RunCounts:
    return ticket_pb2.RunCounts(
        ready=counts.ready,
        processing=counts.processing,
        succeeded=counts.succeeded,
        failed=counts.failed,
        timeout=counts.timeout,
        unreachable=counts.unreachable,
        skipped=counts.skipped,
        canceled=counts.canceled,
    )
