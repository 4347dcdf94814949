"""What agents say and hear, and records: orders to messages, placements and operating systems to records."""

from __future__ import annotations

from common.pb.v1 import agent_pb2 as pb
from controller.fleet.model import OperatingSystem, Placement
from controller.fleet.orders import Ack, Assign, Cancel, Goodbye, Order, Want
from controller.fleet.products import product_of


def order_message(order: Order) -> pb.ConnectResponse:
    """Return what is said to an agent as a message."""
    match order:
        case Assign(run_id, ticket_id, timeout):
            message = pb.ConnectResponse(assignment=pb.Assignment(run_id=run_id, ticket_id=ticket_id))
            message.assignment.timeout.FromTimedelta(timeout)
            message.assignment.scan.SetInParent()
            return message
        case Cancel(run_id):
            return pb.ConnectResponse(cancel_run=pb.CancelRun(run_id=run_id))
        case Want(digests):
            return pb.ConnectResponse(want=pb.Want(digests=digests))
        case Ack(report_id):
            return pb.ConnectResponse(ack=pb.Ack(id=report_id))
        case Goodbye(retry_after):
            message = pb.ConnectResponse(pace=pb.Pace())
            message.pace.retry_after.FromTimedelta(retry_after)
            return message


def operating_system(os_id: str, version: str, pretty_name: str, arch: str) -> OperatingSystem:
    """Return what a host runs, as it says, with the product that baselines know it by."""
    return OperatingSystem(os_id[:64], version[:64], product_of(os_id, version), pretty_name[:200], arch[:32])


def placement(said: pb.Placement) -> Placement:
    """Return where an agent says that it stands, unchecked."""
    return Placement(
        name=said.name,
        region=said.region,
        zone=said.zone,
        enterprise_project=said.enterprise_project,
        resource_type=said.resource_type,
        application_group=said.application_group,
        cluster=said.cluster,
        tags=dict(said.tags),
    )
