"""AuditService: what was done, tried and refused. Nothing here writes; recording.py does."""

from __future__ import annotations

from common.errors import PermissionDenied
from common.pb.v1 import audit_pb2 as pb
from common.pb.v1 import audit_pb2_grpc
from controller.api import paging
from controller.api.bound import whole_account
from controller.api.checks import MAX_REFERENCE, Checks
from controller.api.interception import Context
from controller.api.translate import AUDIT_KIND, read_instant, timestamp
from controller.audit.model import AuditEntry, AuditFilter
from controller.fleet.model import DEFAULT_ACCOUNT
from controller.store.api import AuditStore


class AuditService(audit_pb2_grpc.AuditServiceServicer):
    """Serves the audit log."""

    def __init__(self, store: AuditStore) -> None:
        """Read from this store."""
        self._store = store

    async def ListAuditEntries(  # noqa: N802
        self, request: pb.ListAuditEntriesRequest, context: Context
    ) -> pb.ListAuditEntriesResponse:
        """List entries, newest first."""
        checks = Checks()
        wanted = AuditFilter(
            operator=checks.text("operator", request.operator, MAX_REFERENCE),
            method=checks.text("method", request.method, MAX_REFERENCE),
            subject=checks.text("subject", request.subject, MAX_REFERENCE),
            since=read_instant(checks, "since", request.since if request.HasField("since") else None),
            until=read_instant(checks, "until", request.until if request.HasField("until") else None),
            account=whole_account("the audit log").account,
        )
        checks.done()
        size = paging.page_size(request.page_size)
        position = paging.read_token(request, request.page_token, (int,))
        found = await self._store.newest(wanted, size + 1, None if position is None else int(position[0]))
        page = found[:size]
        return pb.ListAuditEntriesResponse(
            entries=map(entry_message, page),
            next_page_token=paging.make_token(request, (page[-1].number,)) if len(found) > size else "",
        )

    async def ListAuditChain(self, request: pb.ListAuditChainRequest, context: Context) -> pb.ListAuditChainResponse:  # noqa: N802
        """Return entries in the order of the chain, as they are stored: those of all accounts, without which it cannot be computed."""
        caller = whole_account("the audit log")
        if caller.account != DEFAULT_ACCOUNT:
            raise PermissionDenied(
                f"the chain has the entries of all accounts: an admin of the account {DEFAULT_ACCOUNT} verifies it;"
                " see your own with patchctl audit list"
            )
        checks = Checks()
        size = checks.number("limit", request.limit, 0, paging.MAX_PAGE) or paging.MAX_PAGE
        after = checks.number("after", request.after, 0, (1 << 63) - 1)
        checks.done()
        return pb.ListAuditChainResponse(entries=map(entry_message, await self._store.entries_after(after, size)))


def entry_message(entry: AuditEntry) -> pb.AuditEntry:
    """Return an entry for the wire."""
    deed = entry.deed
    return pb.AuditEntry(
        number=entry.number,
        at=timestamp(deed.at),
        kind=AUDIT_KIND.to_wire(deed.kind),
        account=deed.account,
        operator=deed.operator,
        token_id=deed.token_id,
        peer=deed.peer,
        method=deed.method,
        subject=deed.subject,
        detail=deed.detail,
        attempt=deed.attempt,
        previous=entry.previous,
        hash=entry.hash,
    )
