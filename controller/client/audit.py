"""The calls about the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from common.pb.v1 import audit_pb2, audit_pb2_grpc
from controller.audit.model import AuditEntry, AuditKind, Deed
from controller.client.line import Line

_PAGE = 1000


class AuditCalls:
    """AuditService."""

    def __init__(self, line: Line) -> None:
        """Use this connection."""
        self._audit_line = line
        self._audit = audit_pb2_grpc.AuditServiceStub(line.channel)

    def list_audit_entries(
        self,
        *,
        operator: str = "",
        method: str = "",
        subject: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int = 0,
    ) -> Iterator[audit_pb2.AuditEntry]:
        """Yield entries, newest first."""
        request = audit_pb2.ListAuditEntriesRequest(
            operator=operator,
            method=method,
            subject=subject,
            since=_stamp(since),
            until=_stamp(until),
            page_size=page_size,
        )
        return self._audit_line.rows(self._audit.ListAuditEntries, request, lambda page: page.entries)

    def audit_chain(self, after: int = 0) -> Iterator[AuditEntry]:
        """Yield the entries after a number in the order of the chain, for controller.audit.chain to compute again."""
        while True:
            request = audit_pb2.ListAuditChainRequest(after=after, limit=_PAGE)
            page = self._audit_line.ask(self._audit.ListAuditChain, request).entries
            if not page:
                return
            yield from map(_entry, page)
            if page[-1].number <= after:
                return  # a chain that does not rise is broken: whoever verifies has seen it
            after = page[-1].number


def _entry(sent: audit_pb2.AuditEntry) -> AuditEntry:
    deed = Deed(
        at=sent.at.ToDatetime(tzinfo=UTC),
        kind=AuditKind(audit_pb2.AuditKind.Name(sent.kind).removeprefix("AUDIT_KIND_")),
        method=sent.method,
        account=sent.account,
        operator=sent.operator,
        token_id=sent.token_id,
        peer=sent.peer,
        subject=sent.subject,
        detail=sent.detail,
        attempt=sent.attempt,
    )
    return AuditEntry(sent.number, deed, sent.previous, sent.hash)


def _stamp(at: datetime | None) -> Timestamp | None:
    if at is None:
        return None
    made = Timestamp()
    made.FromDatetime(at.astimezone(UTC))
    return made
