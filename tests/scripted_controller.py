"""A controller that says what a test tells it to say: real gRPC over real mutual TLS, prepared answers, every request kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from grpc_status import rpc_status

from common.errors import PatchError
from common.pb.v1 import (
    account_pb2,
    audit_pb2,
    baseline_pb2,
    fleet_pb2,
    notification_pb2,
    report_pb2,
    schedule_pb2,
    ticket_pb2,
)
from common.tls import Authority, Join
from controller.api.faults import status_of
from tests.ports import free_port

TOKEN = "pwo_correct-horse"
Answer = Callable[[Any], Any]
_FILES = (account_pb2, audit_pb2, baseline_pb2, fleet_pb2, notification_pb2, report_pb2, schedule_pb2, ticket_pb2)


class ScriptedController:
    """Answers each method with `answers[name](request)`; an exception of common.errors becomes its status."""

    def __init__(self) -> None:
        now = datetime.now(UTC)
        ca = Authority(Authority.create("test", now, timedelta(days=1)))
        self.join: Join = ca.issue_join(now, timedelta(days=1))
        self._server_credential = ca.issue_server(("127.0.0.1", "localhost"), now, timedelta(days=1))
        self.answers: dict[str, Answer] = {}
        self.calls: list[tuple[str, Any]] = []
        self.deadlines: list[float | None] = []
        self.port = free_port()
        self._server: grpc.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen; after a `stop` on the same port again."""
        server = grpc.server(ThreadPoolExecutor(8), options=(("grpc.so_reuseport", 0),))
        for file in _FILES:
            for service in file.DESCRIPTOR.services_by_name.values():
                handlers = {method.name: self._handler(method) for method in service.methods}
                server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
        credentials = grpc.ssl_server_credentials(
            [(self._server_credential.key_pem, self._server_credential.chain_pem)],
            root_certificates=self.join.ca_pem,
            require_client_auth=True,
        )
        self.port = server.add_secure_port(f"127.0.0.1:{self.port}", credentials)
        server.start()
        self._server = server

    def stop(self) -> None:
        """End every call and stop listening."""
        if self._server is not None:
            self._server.stop(None).wait()
            self._server = None

    def requests(self, method: str) -> list[Any]:
        return [request for name, request in self.calls if name == method]

    def write_join(self, folder: Path) -> Path:
        path = folder / "controller-join.pem"
        path.write_bytes(self.join.pem)
        return path

    def _handler(self, method: Any) -> Any:
        request_type = method.input_type._concrete_class
        response_type = method.output_type._concrete_class

        def answer(request: Any, context: Any) -> Any:
            self.calls.append((method.name, request))
            self.deadlines.append(context.time_remaining())
            if ("authorization", f"Bearer {TOKEN}") not in context.invocation_metadata():
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is not known")
            if method.name not in self.answers:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, "not scripted")
            try:
                return self.answers[method.name](request)
            except PatchError as error:
                context.abort_with_status(rpc_status.to_status(status_of(error)))

        def stream(request: Any, context: Any) -> Iterator[Any]:
            try:
                yield from answer(request, context)
            except PatchError as error:
                context.abort_with_status(rpc_status.to_status(status_of(error)))

        coders = {
            "request_deserializer": request_type.FromString,
            "response_serializer": response_type.SerializeToString,
        }
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(stream, **coders)
        return grpc.unary_unary_rpc_method_handler(answer, **coders)


def paged(rows: Sequence[Any], wrap: Callable[[Sequence[Any], str], Any], size: int = 2) -> Answer:
    """Return an answer that hands out `rows` in pages of `size`."""

    def answer(request: Any) -> Any:
        start = int(request.page_token or 0)
        following = str(start + size) if start + size < len(rows) else ""
        return wrap(rows[start : start + size], following)

    return answer
