"""Connecting: who calls whom, with which credentials."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from controller.client.accounts import AccountCalls
from controller.client.audit import AuditCalls
from controller.client.baselines import BaselineCalls
from controller.client.fleet import FleetCalls
from controller.client.line import DEFAULT_TIMEOUT_SECONDS, Line, checked_address, checked_join, checked_token
from controller.client.notifications import NotificationCalls
from controller.client.reports import ReportCalls
from controller.client.schedules import ScheduleCalls
from controller.client.tickets import TicketCalls


class Client(
    FleetCalls, BaselineCalls, TicketCalls, ScheduleCalls, ReportCalls, NotificationCalls, AuditCalls, AccountCalls
):
    """Every call of the controller's API. A context manager: leaving it ends the connection. Threads may share it."""

    def __init__(self, line: Line) -> None:
        """Use this connection; `connect` makes one."""
        FleetCalls.__init__(self, line)
        BaselineCalls.__init__(self, line)
        TicketCalls.__init__(self, line)
        ScheduleCalls.__init__(self, line)
        ReportCalls.__init__(self, line)
        NotificationCalls.__init__(self, line)
        AuditCalls.__init__(self, line)
        AccountCalls.__init__(self, line)
        self.address = line.address
        self._line = line

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the connection."""
        self.close()

    def close(self) -> None:
        """End the connection. A call that is out raises Unavailable."""
        self._line.close()


def connect(
    address: str, join: bytes | Path, token: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
) -> Client:
    """Prepare a connection to the controller at "HOST:PORT"; the first call makes it.

    `join` is the controller's `join.pem` (its content, or where it lies): the CA to trust and the credential that lets the
    bearer speak. `token` says who speaks. Raises InvalidArgument that names the argument that cannot be right.
    """
    return Client(Line(checked_address(address), checked_join(join), checked_token(token), timeout_seconds))
