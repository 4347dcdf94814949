"""The wire: one mutual-TLS channel, one Connect stream, and the translation between protobuf and messages.py."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from common.errors import PermissionDenied, Unavailable
from common.pb.v1 import agent_pb2 as pb
from common.pb.v1 import agent_pb2_grpc
from uniagent.messages import (
    Ack,
    Assignment,
    BlobChunk,
    BlobGone,
    CancelRun,
    FromController,
    Heartbeat,
    Hello,
    Offer,
    Operation,
    Pace,
    Placement,
    RunProgress,
    RunResult,
    SelfReport,
    ToController,
    Unknown,
    Want,
    Welcome,
)

log: Final = logging.getLogger(__name__)
OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),  # a quiet stream is still looked after
    ("grpc.use_local_subchannel_pool", 1),  # each new channel resolves the name and connects anew; the waiting is ours
    ("grpc.http2.bdp_probe", 0),  # a fifth of the transport's CPU, for nothing at this rate
    ("grpc.enable_http_proxy", 0),  # the agent speaks to the address in its settings, whatever its environment says
    ("grpc.max_receive_message_length", 1 << 20),
)
_REFUSALS: Final = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})
_MAX_DURATION: Final = timedelta(days=366)


@dataclass(eq=False)
class StreamLost(Unavailable):
    """The stream ended or never came to be. `sentence` says why; trying again helps."""

    reason = "STREAM_LOST"


@dataclass(eq=False)
class Refused(PermissionDenied):
    """The controller does not take this agent. Trying again helps only when somebody changes that."""

    reason = "REFUSED"


@dataclass(frozen=True, slots=True)
class Credential:
    """Whom to trust and who we are, PEM."""

    ca_pem: bytes
    chain_pem: bytes
    key_pem: bytes


class Stream:
    """One Connect stream. Counts the messages both ways."""

    def __init__(self, call: grpc.aio.StreamStreamCall[pb.ConnectRequest, pb.ConnectResponse]) -> None:
        """Speak over `call`; `connect` makes one."""
        self._call = call
        self._sent = 0
        self._received = 0

    async def send(self, message: ToController) -> None:
        """Return when the transport has taken the message: a slow controller slows the caller."""
        self._sent += 1
        request = _request(self._sent, message)
        del message
        try:
            await self._call.write(request)
        except grpc.aio.AioRpcError as error:
            raise _lost(error) from None
        except (grpc.aio.UsageError, grpc.aio.InternalError) as error:
            raise StreamLost(str(error)) from None

    async def receive(self) -> FromController:
        """Return the next message; raise StreamLost or Refused when no more comes, or one is missing."""
        try:
            response = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise _lost(error) from None
        if not isinstance(response, pb.ConnectResponse):
            raise StreamLost("the controller ended the stream")
        self._received += 1
        if response.sequence != self._received:
            raise StreamLost(f"message {self._received} of the stream is missing: got {response.sequence}")
        return _message(response)

    async def finish(self) -> None:
        """Say that nothing more will be sent."""
        with contextlib.suppress(
            grpc.aio.AioRpcError, grpc.aio.UsageError, grpc.aio.InternalError
        ):  # it is over already
            await self._call.done_writing()


@contextlib.asynccontextmanager
async def connect(address: str, credential: Credential) -> AsyncIterator[Stream]:
    """Open the agent's stream on a channel of its own, and close both."""
    secret = grpc.ssl_channel_credentials(credential.ca_pem, credential.key_pem, credential.chain_pem)
    channel = grpc.aio.secure_channel(address, secret, options=OPTIONS)
    try:
        stub: Any = agent_pb2_grpc.AgentServiceStub(channel)
        call = stub.Connect(wait_for_ready=False)
        try:
            yield Stream(call)
        finally:
            call.cancel()
    finally:
        await channel.close()


def _lost(error: grpc.aio.AioRpcError) -> StreamLost | Refused:
    sentence = error.details() or error.code().name
    return Refused(sentence) if error.code() in _REFUSALS else StreamLost(f"{error.code().name}: {sentence}")


def placement_to_wire(placement: Placement) -> pb.Placement:
    """Return the wire's form of a placement."""
    return pb.Placement(
        name=placement.name,
        region=placement.region,
        zone=placement.zone,
        enterprise_project=placement.enterprise_project,
        resource_type=placement.resource_type,
        application_group=placement.application_group,
        cluster=placement.cluster,
        tags=placement.tags,
    )


def _request(sequence: int, message: ToController) -> pb.ConnectRequest:
    request = pb.ConnectRequest(sequence=sequence)
    match message:
        case Heartbeat():
            request.heartbeat.SetInParent()
        case BlobChunk():
            chunk = request.blob_chunk
            chunk.digest = bytes.fromhex(message.digest)
            chunk.offset = message.offset
            chunk.data = message.data
            chunk.last = message.last
            chunk.encoding = pb.BlobEncoding.Value(f"BLOB_ENCODING_{message.encoding.value}")
        case BlobGone():
            request.blob_gone.digest = bytes.fromhex(message.digest)
        case RunProgress():
            request.run_progress.run_id = message.run_id
            request.run_progress.step = message.step
        case RunResult():
            result = request.run_result
            result.id, result.run_id, result.error = message.id, message.run_id, message.error
            result.outcome = pb.ScanOutcome.Value(f"SCAN_OUTCOME_{message.outcome.value}")
            if message.report is not None:
                result.report.CopyFrom(_offer(message.report))
        case SelfReport():
            request.self_report.id = message.id
            request.self_report.report.CopyFrom(_offer(message.report))
        case Hello():
            request.hello.CopyFrom(_hello(message))
    return request


def _hello(hello: Hello) -> pb.Hello:
    host = hello.host
    return pb.Hello(
        agent_version=hello.agent_version,
        boot_id=host.boot_id,
        machine_id=host.machine_id,
        os_id=host.os_id,
        os_version=host.os_version,
        os_pretty_name=host.os_pretty_name,
        arch=host.arch,
        ip_address=host.ip_address,
        open_run_ids=hello.open_run_ids,
        now=_timestamp(hello.now),
        placement=placement_to_wire(hello.placement),
    )


def _offer(offer: Offer) -> pb.ReportOffer:
    return pb.ReportOffer(manifest_digest=bytes.fromhex(offer.manifest), collected_at=_timestamp(offer.collected_at))


def _message(response: pb.ConnectResponse) -> FromController:
    match response.WhichOneof("body"):
        case "welcome":
            welcome = response.welcome
            end = welcome.certificate_not_after.ToDatetime(UTC) if welcome.HasField("certificate_not_after") else None
            now = welcome.now.ToDatetime(UTC) if welcome.HasField("now") else None
            return Welcome(welcome.instance_id, welcome.controller_version, _pace(welcome.pace), end, now)
        case "assignment":
            assignment = response.assignment
            kind = Operation.SCAN if assignment.WhichOneof("operation") == "scan" else Operation.UNKNOWN
            return Assignment(assignment.run_id, assignment.ticket_id, _timedelta(assignment.timeout), kind)
        case "cancel_run":
            return CancelRun(response.cancel_run.run_id)
        case "want":
            return Want(tuple(d.hex() for d in response.want.digests if len(d) == 32))
        case "ack":
            return Ack(response.ack.id)
        case "pace":
            return _pace(response.pace)
        case _:
            return Unknown()


def _pace(pace: pb.Pace) -> Pace:
    return Pace(_timedelta(pace.heartbeat_interval), _timedelta(pace.report_interval), _timedelta(pace.retry_after))


def _timedelta(duration: Duration) -> timedelta:
    seconds = min(max(0.0, duration.seconds + duration.nanos / 1e9), _MAX_DURATION.total_seconds())
    return timedelta(seconds=seconds)


def _timestamp(at: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp
