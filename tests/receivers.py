"""Real servers on loopback that receive what the controller sends: SMTP, with TLS if wanted, and HTTP. Each does what a test scripts."""

from __future__ import annotations

import email
import json
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller as SmtpController
from aiosmtpd.smtp import AuthResult, Envelope
from aiosmtpd.smtp import Session as SmtpSession

HANG = 0
"""A status that stands for: never answer."""


@dataclass
class Mailbox:
    """What an SMTP server took, and what it says to the next mails: "250 OK" or a refusal; HANG never answers."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    answers: list[str | int] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def auth(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"s3cret-password", handled=False)

    async def handle_DATA(self, server: Any, session: SmtpSession, envelope: Envelope) -> str:
        answer = self.answers.pop(0) if self.answers else "250 OK"
        if answer == HANG:
            import asyncio

            await asyncio.to_thread(self.released.wait, 60)
            return "451 too late"
        if str(answer).startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.mails.append(email.message_from_bytes(envelope.content, policy=policy.default))
            self.recipients.append(list(envelope.rcpt_tos))
            self.encrypted.append(session.ssl is not None)
        return str(answer)


@contextmanager
def smtp_server(answers: Sequence[str | int] = (), context: ssl.SSLContext | None = None) -> Iterator[Mailbox]:
    """Serve SMTP; with a context, mail is taken only after STARTTLS and a login."""
    box = Mailbox(answers=list(answers))
    options: dict[str, Any] = {}
    if context is not None:
        options = {"tls_context": context, "require_starttls": True, "authenticator": box.auth, "auth_required": True}
    controller = _OnAnyPort(box, hostname="127.0.0.1", port=0, **options)
    controller.start()
    box.port = controller.port
    try:
        yield box
    finally:
        box.released.set()
        controller.stop()


class _OnAnyPort(SmtpController):  # type: ignore[misc]  # aiosmtpd has no types
    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@dataclass
class Post:
    """One request that an HTTP server got."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass
class Hook:
    """What an HTTP server got, and the statuses of its next answers; then 200. HANG never answers."""

    port: int = 0
    posts: list[Post] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    location: str = ""
    answer: bytes = b'{"code": 0, "errcode": 0, "StatusCode": 0, "status": "ok"}'


@contextmanager
def http_server(statuses: Sequence[int] = (), context: ssl.SSLContext | None = None) -> Iterator[Hook]:
    """Serve HTTP, or HTTPS with a context."""
    hook = Hook(statuses=list(statuses))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            hook.posts.append(Post(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            status = hook.statuses.pop(0) if hook.statuses else 200
            if status == HANG:
                hook.released.wait(60)
                return
            self.send_response(status)
            if hook.location:
                self.send_header("location", hook.location)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(hook.answer)))
            self.end_headers()
            self.wfile.write(hook.answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    hook.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        hook.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
