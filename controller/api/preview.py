"""What a ticket would be, as a message: TicketService and ScheduleService show the same."""

from __future__ import annotations

from common.pb.v1 import ticket_pb2 as pb
from controller.api import translate_ticket
from controller.api.planning import Plan
from controller.tickets.gate import CANARY


def preview_message(plan: Plan) -> pb.PreviewResponse:
    """Return a plan as a message."""
    return pb.PreviewResponse(
        batches=[
            translate_ticket.planned_batch_message(b, canary=b.number == CANARY and plan.has_canary)
            for b in plan.batches
        ],
        targets=plan.targets,
        baselines=[
            pb.BaselineUse(
                baseline_id=use.baseline.id if use.baseline is not None else "",
                baseline_name=use.baseline.name if use.baseline is not None else "",
                baseline_version=use.baseline.version if use.baseline is not None else 0,
                product=use.product,
                instances=use.instances,
            )
            for use in plan.uses
        ],
        not_selectable=not_selectable_messages(plan),
        stops_at=plan.stops_at,
        spec=translate_ticket.spec_message(plan.spec),
        executed_by=translate_ticket.EXECUTED_BY,
        refused_accounts=map(translate_ticket.refused_account_message, plan.refused_accounts),
    )


def not_selectable_messages(plan: Plan) -> list[pb.NotSelectable]:
    """Return who matches and cannot be selected as messages."""
    return [
        translate_ticket.not_selectable_message(n.instance, n.reason, n.explanation, n.help)
        for n in plan.not_selectable
    ]
