"""AuditStore in memory."""

from __future__ import annotations

from controller.audit.chain import link
from controller.audit.model import EMPTY, AuditEntry, AuditFilter, Deed, Head


class MemoryAudit:
    """AuditStore in memory."""

    def __init__(self) -> None:
        self._entries = list[AuditEntry]()

    async def append(self, deed: Deed) -> AuditEntry:
        """Write a deed at the end of the chain; return the entry that it became."""
        self._entries.append(link(deed, await self.head()))
        return self._entries[-1]

    async def head(self) -> Head:
        """Return where the chain ends."""
        return self._entries[-1].head if self._entries else EMPTY

    async def entries_after(self, number: int, limit: int) -> tuple[AuditEntry, ...]:
        """Return the entries with greater numbers, ascending."""
        return tuple(self._entries[number : number + limit])

    async def newest(self, wanted: AuditFilter, limit: int, before: int | None) -> tuple[AuditEntry, ...]:
        """Return wanted entries with numbers below `before`, newest first."""
        found = (e for e in reversed(self._entries) if (before is None or e.number < before) and wanted.wants(e))
        return tuple(entry for entry, _ in zip(found, range(limit), strict=False))
