"""What agents say and hear, and records: orders to messages; results, offers, placements and operating systems to records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from common import digest
from common.errors import InvalidArgument
from common.pb.v1 import agent_pb2 as pb
from controller.fleet.model import OperatingSystem, Placement
from controller.fleet.orders import Ack, Assign, Cancel, Goodbye, Order, Want
from controller.fleet.products import product_of
from controller.tickets.model import Outcome

_OUTCOMES: Final = {
    pb.SCAN_OUTCOME_SUCCEEDED: Outcome.SUCCEEDED,
    pb.SCAN_OUTCOME_FAILED: Outcome.FAILED,
    pb.SCAN_OUTCOME_TIMEOUT: Outcome.TIMEOUT,
    pb.SCAN_OUTCOME_CANCELED: Outcome.CANCELED,
}


@dataclass(frozen=True, slots=True)
class Offer:
    """A report whose content the agent has, by digest."""

    manifest_digest: bytes
    collected_at: datetime


@dataclass(frozen=True, slots=True)
class Result:
    """How an agent says that a run ended."""

    id: str
    run_id: str
    outcome: Outcome
    error: str
    offer: Offer | None


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


def result_of(message: pb.RunResult) -> Result:
    """Return how a run ended; raise InvalidArgument, as all of these, when that is nothing that can be said."""
    outcome = _OUTCOMES.get(message.outcome)
    if outcome is None:
        raise InvalidArgument.of("run_result.outcome", f"is {message.outcome}, allowed are {sorted(_OUTCOMES)}")
    offer = offer_of(message.report) if message.HasField("report") else None
    return Result(message.id, message.run_id, outcome, message.error[:1000], offer)


def offer_of(message: pb.ReportOffer) -> Offer:
    """Return what is offered."""
    return Offer(
        digest_of("report.manifest_digest", message.manifest_digest),
        time_of("report.collected_at", message.collected_at),
    )


def digest_of(field: str, value: bytes) -> bytes:
    """Return a digest that came in a field."""
    if len(value) != digest.SIZE:
        raise InvalidArgument.of(field, f"has {len(value)} bytes, a SHA-256 digest has {digest.SIZE}")
    return value


def time_of(field: str, value: Timestamp) -> datetime:
    """Return a time that came in a field."""
    try:  # as `ToDatetime` does, in a fifth of the time: it is in every report
        if 0 <= value.nanos < 1_000_000_000:
            return datetime.fromtimestamp(value.seconds, UTC).replace(microsecond=value.nanos // 1000)
    except (ValueError, OverflowError, OSError):
        pass
    raise InvalidArgument.of(field, "is not a time")
