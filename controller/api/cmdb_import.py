"""Imports of CMDB files: reads what was sent, asks what it would change, and changes exactly what a preview has shown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

import zstandard

from common.clock import Clock
from common.errors import InvalidArgument, Rejected, TooLarge
from common.pb.v1 import agent_pb2
from common.pb.v1 import fleet_pb2 as pb
from controller.api.auth import operator
from controller.api.bound import BoundFleet
from controller.api.checks import Checks
from controller.api.translate import CMDB_CHANGE_KIND, CMDB_FORMAT
from controller.fleet import cmdb, cmdb_file
from controller.fleet.cmdb import ChangeKind, Import, Options
from controller.fleet.cmdb_file import CmdbFile, CmdbFormat
from controller.fleet.model import Instance

T = TypeVar("T")

_IN_ONE_MESSAGE: Final = 200
_TOLD: Final = 3


class CmdbImports:
    """One for a controller process."""

    def __init__(self, store: BoundFleet, clock: Clock) -> None:
        """Import into this fleet."""
        self._store = store
        self._clock = clock

    async def preview(self, sent: pb.CmdbFile) -> Iterator[pb.PreviewCmdbImportResponse]:
        """Return what an import would change, in messages that are small enough. Raises InvalidArgument, TooLarge."""
        file, options = await _read(sent)
        fleet = sorted(
            (*await self._store.instances(), *await self._store.retired_instances()), key=lambda i: (i.name, i.id)
        )
        planned = await asyncio.to_thread(cmdb.plan, file, fleet, options, self._clock.now())
        return _messages(file, planned)

    async def apply(self, sent: pb.CmdbFile, digest: str) -> tuple[pb.CmdbImportSummary, bool]:
        """Import, all or nothing; return the numbers, and whether anything was written.

        Raises Rejected when the file has problems, or would change something else than the import of this digest.
        """
        file, options = await _read(sent)
        if file.problems:
            some = "; ".join(f"row {p.row}: {p.column} {p.sentence}" for p in file.problems[:_TOLD])
            raise Rejected(f"nothing is imported while the file has problems, {len(file.problems)} in all: {some}")
        now, made = self._clock.now(), list[Import]()

        def change(fleet: tuple[Instance, ...]) -> Iterable[Instance]:
            planned = cmdb.plan(file, fleet, options, now)
            if planned.digest != digest:
                raise Rejected(
                    "this would not change what the preview has shown: the fleet or the file is another now;"
                    " look again: patchctl cmdb import FILE --dry-run"
                )
            made.append(planned)
            return planned.writes

        written = await self._store.rewrite(change)
        return _summary(file, made[-1]), bool(written)


async def _read(sent: pb.CmdbFile) -> tuple[CmdbFile, Options]:
    checks = Checks()
    form = CMDB_FORMAT.read_optional(checks, "file.format", sent.format)
    if form is None and not checks.violations:
        checks.refuse("file.format", f"is missing, allowed are {', '.join(CmdbFormat)}")
    checks.done()
    assert form is not None
    content = await asyncio.to_thread(_unpacked, sent)
    file = await asyncio.to_thread(cmdb_file.read, content, form)
    return file, Options(sent.partial, sent.overwrite, sent.delete_gone, operator().account)


def _unpacked(sent: pb.CmdbFile) -> bytes:
    if sent.encoding in (agent_pb2.BLOB_ENCODING_UNSPECIFIED, agent_pb2.BLOB_ENCODING_IDENTITY):
        content = sent.content
    elif sent.encoding == agent_pb2.BLOB_ENCODING_ZSTD:
        try:
            content = zstandard.ZstdDecompressor().stream_reader(sent.content).read(cmdb_file.MAX_BYTES + 1)
        except zstandard.ZstdError as error:
            raise InvalidArgument.of("file.content", f"is not zstd: {error}") from None
    else:
        raise InvalidArgument.of("file.encoding", f"{sent.encoding} is unknown, allowed are IDENTITY and ZSTD")
    if len(content) > cmdb_file.MAX_BYTES:
        raise TooLarge("file.content", len(content), cmdb_file.MAX_BYTES)
    return content


def _messages(file: CmdbFile, planned: Import) -> Iterator[pb.PreviewCmdbImportResponse]:
    yield pb.PreviewCmdbImportResponse(summary=_summary(file, planned))
    for problems in _parts(file.problems):
        yield pb.PreviewCmdbImportResponse(
            problems=[pb.CmdbProblem(row=p.row, column=p.column, sentence=p.sentence) for p in problems]
        )
    for changes in _parts(planned.changes):
        yield pb.PreviewCmdbImportResponse(changes=[_change(c) for c in changes])


def _parts(all_of_them: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(all_of_them), _IN_ONE_MESSAGE):
        yield all_of_them[start : start + _IN_ONE_MESSAGE]


def _change(change: cmdb.Change) -> pb.CmdbChange:
    return pb.CmdbChange(
        kind=CMDB_CHANGE_KIND.to_wire(change.kind),
        row=change.row,
        instance_id=change.instance_id,
        name=change.name,
        fields=[pb.CmdbFieldChange(field=f.field, before=f.before, after=f.after, kept=f.kept) for f in change.fields],
        sentence=change.sentence,
    )


def _summary(file: CmdbFile, planned: Import) -> pb.CmdbImportSummary:
    return pb.CmdbImportSummary(
        digest="" if file.problems else planned.digest,
        rows=len(file.rows),
        created=planned.count(ChangeKind.NEW),
        changed=planned.count(ChangeKind.CHANGED),
        kept=planned.count(ChangeKind.KEPT),
        ambiguous=planned.count(ChangeKind.AMBIGUOUS),
        gone=planned.count(ChangeKind.GONE),
        deleted=planned.count(ChangeKind.DELETED),
        unchanged=planned.unchanged,
        problems=len(file.problems),
    )
