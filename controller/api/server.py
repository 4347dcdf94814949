"""The gRPC server: one port, mutual TLS for everybody, limits, keepalive, health checking and reflection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from common.errors import Rejected
from common.pb.v1 import (
    account_pb2,
    account_pb2_grpc,
    agent_pb2,
    agent_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    baseline_pb2,
    baseline_pb2_grpc,
    fleet_pb2,
    fleet_pb2_grpc,
    notification_pb2,
    notification_pb2_grpc,
    report_pb2,
    report_pb2_grpc,
    schedule_pb2,
    schedule_pb2_grpc,
    ticket_pb2,
    ticket_pb2_grpc,
)
from controller.api.authority import Keyring
from controller.settings import parse_listen

SERVICES: Final = tuple(
    descriptor.full_name
    for file in (
        agent_pb2,
        fleet_pb2,
        baseline_pb2,
        ticket_pb2,
        report_pb2,
        schedule_pb2,
        account_pb2,
        notification_pb2,
        audit_pb2,
    )
    for descriptor in file.DESCRIPTOR.services_by_name.values()
)
"""Full names of all our services."""
_MAX_METADATA_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Services:
    """What is served."""

    agents: agent_pb2_grpc.AgentServiceServicer
    fleet: fleet_pb2_grpc.FleetServiceServicer
    baselines: baseline_pb2_grpc.BaselineServiceServicer
    tickets: ticket_pb2_grpc.TicketServiceServicer
    reports: report_pb2_grpc.ReportServiceServicer
    schedules: schedule_pb2_grpc.ScheduleServiceServicer
    accounts: account_pb2_grpc.AccountServiceServicer
    notifications: notification_pb2_grpc.NotificationServiceServicer
    audit: audit_pb2_grpc.AuditServiceServicer

    def register(self, server: aio.Server) -> None:
        """Make a server serve them."""
        agent_pb2_grpc.add_AgentServiceServicer_to_server(self.agents, server)
        fleet_pb2_grpc.add_FleetServiceServicer_to_server(self.fleet, server)
        baseline_pb2_grpc.add_BaselineServiceServicer_to_server(self.baselines, server)
        ticket_pb2_grpc.add_TicketServiceServicer_to_server(self.tickets, server)
        report_pb2_grpc.add_ReportServiceServicer_to_server(self.reports, server)
        schedule_pb2_grpc.add_ScheduleServiceServicer_to_server(self.schedules, server)
        account_pb2_grpc.add_AccountServiceServicer_to_server(self.accounts, server)
        notification_pb2_grpc.add_NotificationServiceServicer_to_server(self.notifications, server)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(self.audit, server)


def options(max_message_bytes: int) -> Sequence[tuple[str, int]]:
    """Return the server's channel arguments."""
    return (
        ("grpc.max_receive_message_length", max_message_bytes),
        (
            "grpc.max_send_message_length",
            max(max_message_bytes, 64 << 20),
        ),  # what we say ourselves is bounded elsewhere
        ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
        ("grpc.so_reuseport", 0),  # a second controller on the same port must fail, not take half of the calls
        # A peer that died silently is noticed; agents may ping every ten seconds, streams open or not.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.server_handshake_timeout_ms", 30_000),
        # All agents come back at once after a restart: none must be told "Too many pending requests" (they would stay deaf).
        ("grpc.server.max_pending_requests", 100_000),
        ("grpc.server.max_pending_requests_hard_limit", 200_000),
        ("grpc.http2.bdp_probe", 0),  # a fifth of the transport's CPU, for streams that are idle
    )


@dataclass(frozen=True, slots=True)
class Server:
    """A server that listens."""

    address: str
    """HOST:PORT as bound."""
    _server: aio.Server
    _health: health.aio.HealthServicer

    async def say_not_serving(self) -> None:
        """Tell whoever checks health that this server is about to stop."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace: timedelta) -> None:
        """Take no more calls, give those that run so long, then cut them."""
        await self._server.stop(grace.total_seconds())


async def serve(
    listen: str,
    keyring: Keyring,
    max_message_bytes: int,
    interceptors: Sequence[aio.ServerInterceptor],
    services: Services,
) -> Server:
    """Begin to serve. Raises Rejected when the address cannot be had."""
    server = aio.server(interceptors=interceptors, options=options(max_message_bytes))
    services.register(server)
    checker = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checker, server)  # type: ignore[no-untyped-call,unused-ignore]
    reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    credentials = grpc.ssl_server_credentials(
        [(keyring.server.key_pem, keyring.server.chain_pem)], keyring.authority.ca_pem, require_client_auth=True
    )
    host, _ = parse_listen(listen)
    try:
        port = server.add_secure_port(listen, credentials)
    except RuntimeError:
        port = 0
    if not port:
        raise Rejected(
            f"cannot listen on {listen}: the port is taken, or the address is not this machine's; choose with --listen"
        )
    await server.start()
    for service in (health.OVERALL_HEALTH, *SERVICES):
        await checker.set(service, health_pb2.HealthCheckResponse.SERVING)
    return Server(f"{host}:{port}", server, checker)
