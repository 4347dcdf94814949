"""Takes in what agents report: asks for content the store has never seen, once per fleet, checks it, keeps it.

A blob is kept only if it hashes to the digest that was asked for, so an agent can lie about nothing but its own host. Of all agents
that offer the same unknown content one is asked; the others wait for it, and the next is asked when it goes away or is silent.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import zstandard

from common import digest, failpoints, manifest
from common.clock import Clock
from common.errors import InvalidArgument, NotFound, TooLarge
from common.manifest import OsRelease
from controller.dispatch.repeats import Repeats, Told
from controller.fleet.orders import Want
from controller.fleet.sessions import Session
from controller.inventory.model import Report, Snapshot
from controller.store.api import InventoryStore, RepeatStore

log = logging.getLogger(__name__)

MAX_WANT: Final = 256
"""Digests in one Want."""
_MAX_COMPLETE: Final = 1 << 17
"""Manifests of which all that they name was found here, and right: nothing of it is looked at again."""
_MAX_COUNTS: Final = 65_536
_AT_ONCE_BYTES: Final = 256 * 1024
"""Content up to this size is unpacked and hashed at once: to have a thread do it would take longer."""
_UNPACKER: Final = zstandard.ZstdDecompressor()
"""Used on the event loop only: it is not for two threads. Making one for each content costs more than small ones are worth."""
_SILENCE: Final = timedelta(seconds=60)
"""An agent that was asked and sends no piece for so long is given up as the source."""


class ContentGone(InvalidArgument):
    """The agent no longer has content that its own report names."""


@dataclass(eq=False)
class _Wanted:
    digest: bytes
    packages: bool
    """It is a packages blob: kept as a snapshot, not as bytes."""
    done: asyncio.Event = field(default_factory=asyncio.Event)
    offers: dict[Session, None] = field(default_factory=dict)
    """Sessions that have it, in the order in which they said so."""
    asked: Session | None = None
    asked_at: float = 0.0
    fault: str = ""
    """What is wrong with the content, once it came."""
    content: bytes = b""
    """The content, once it is kept, if it is small."""


@dataclass(frozen=True, slots=True)
class _Complete:
    """What must be known of a manifest when it is offered again."""

    packages: bytes
    os: OsRelease


@dataclass(eq=False)
class _Partial:
    zstd: bool
    data: bytearray = field(default_factory=bytearray)


class Intake:
    """One for a controller process."""

    def __init__(self, store: InventoryStore, repeats: RepeatStore, clock: Clock, max_blob_bytes: int) -> None:
        """Begin with nothing asked for."""
        self._store = store
        self._repeats = Repeats(repeats)
        self._clock = clock
        self._max_blob_bytes = max_blob_bytes
        self._wanted: dict[tuple[bytes, bool], _Wanted] = {}
        self._partial: dict[tuple[Session, bytes], _Partial] = {}
        self._complete = OrderedDict[bytes, _Complete]()
        self._systems = dict[OsRelease, OsRelease]()
        self._counts = OrderedDict[bytes, int]()
        """How many packages a snapshot has, of those that are surely there."""

    def repeat(self, session: Session, manifest_digest: bytes, collected_at: datetime, told: Told) -> bool:
        """Have a report stored that nobody ordered, if it says again what is the latest of its session; return whether it does.

        Then it is told later. If it turns out that it was not stored, let `receive` do it, or find out why that cannot be.
        """
        latest = session.latest
        if latest is None or latest.manifest_digest != manifest_digest:
            return False
        now = self._clock.now()
        at = min(collected_at, now)
        if at < latest.collected_at:
            return False
        begun, installed = latest.first_collected_at, latest.inventory_digest
        session.latest = Report(session.instance_id, manifest_digest, installed, begun, at, now)
        self._repeats.add(session.latest, told)
        return True

    async def receive(
        self, session: Session, manifest_digest: bytes, collected_at: datetime, ticket_id: str
    ) -> tuple[Report, OsRelease]:
        """Return an offered report once everything that it names is stored, and what the host runs.

        Raises InvalidArgument when its content is wrong (sending it again cannot help), ContentGone when the agent lost a part, and
        Unavailable when the store cannot keep it now.
        """
        said = self._complete.get(manifest_digest)
        if said is None:
            said = await self._complete_manifest(session, manifest_digest)
        else:
            self._complete.move_to_end(manifest_digest)
        now = self._clock.now()
        at = min(collected_at, now)  # a clock that runs ahead must not make a report look fresh for longer
        failpoints.reached("intake.before_report")
        latest = await self._store.put_report(
            Report(session.instance_id, manifest_digest, said.packages or None, at, at, now, ticket_id)
        )
        failpoints.reached("intake.report_stored")
        return latest, said.os

    async def _complete_manifest(self, session: Session, name: bytes) -> _Complete:
        """Return what a manifest says once it and all that it names is stored and looked at."""
        content = (await self._fetch(session, [name])).get(name)
        try:
            said = manifest.decode(content or await self._store.get_blob(name))
        except ValueError as error:
            raise InvalidArgument.of("report.manifest", str(error)) from None
        packages = bytes.fromhex(said.packages)
        fetched = await self._fetch(session, [bytes.fromhex(d) for d in said.blobs()], packages)
        if packages:
            await self._check_details(said, await self._count(packages), fetched)
        complete = self._complete[name] = _Complete(packages, self._systems.setdefault(said.os, said.os))
        if len(self._complete) > _MAX_COMPLETE:
            self._complete.popitem(last=False)
        return complete

    async def drain(self) -> None:
        """Return when all reports are written that `repeat` took in."""
        await self._repeats.drain()

    async def take_chunk(
        self, session: Session, of: bytes, offset: int, data: bytes, *, last: bool, zstd: bool
    ) -> None:
        """Take a piece of content. Raises InvalidArgument or TooLarge when the stream should not go on."""
        wanted = self._asked_of(session, of)
        if wanted is None:
            self._partial.pop((session, of), None)
            return  # somebody else was asked meanwhile
        wanted.asked_at = self._clock.monotonic()
        partial = self._partial.setdefault((session, of), _Partial(zstd))
        if offset != len(partial.data):
            raise InvalidArgument.of("blob_chunk.offset", f"is {offset}, expected {len(partial.data)}")
        if offset + len(data) > self._max_blob_bytes:
            raise TooLarge(f"content {of.hex()[:12]}", offset + len(data), self._max_blob_bytes)
        partial.data += data
        if not last:
            return
        del self._partial[session, of]
        content = _checked_at_once(of, partial, min(_AT_ONCE_BYTES, self._max_blob_bytes))
        if content is None:
            content = await asyncio.to_thread(_checked, of, partial, self._max_blob_bytes)
        await self._keep(wanted, content)

    def gone(self, session: Session, of: bytes) -> None:
        """Note that an agent no longer has content that it offered."""
        for packages in (False, True):
            if (wanted := self._wanted.get((of, packages))) is not None:
                self._withdraw(wanted, session)

    def forget(self, session: Session) -> None:
        """Note that a session ended: others are asked for what it owed."""
        for key in [k for k in self._partial if k[0] is session]:
            del self._partial[key]
        for wanted in list(self._wanted.values()):
            self._withdraw(wanted, session)

    def check_silence(self) -> None:
        """Give up on agents that were asked and send nothing. Call it now and then."""
        limit = self._clock.monotonic() - _SILENCE.total_seconds()
        for wanted in list(self._wanted.values()):
            if wanted.asked is not None and wanted.asked_at < limit:
                if len(wanted.offers) > 1:
                    log.warning("asking another agent for content", extra={"silent": wanted.asked.instance_id})
                    self._withdraw(wanted, wanted.asked)
                else:
                    self._ask(wanted)

    def _asked_of(self, session: Session, of: bytes) -> _Wanted | None:
        for packages in (False, True):
            wanted = self._wanted.get((of, packages))
            if wanted is not None and wanted.asked is session:
                return wanted
        return None

    async def _check_details(self, said: manifest.Manifest, installed: int, fetched: Mapping[bytes, bytes]) -> None:
        """Refuse install times that cannot be read or are not one for each package: restarts are judged by them (R9)."""
        if not said.details:
            return
        name = bytes.fromhex(said.details)
        try:
            count = manifest.count_details(fetched.get(name) or await self._store.get_blob(name))
        except ValueError as error:
            raise InvalidArgument.of("report.details", str(error)) from None
        if count != installed:
            raise InvalidArgument.of("report.details", f"has {count} lines, there are {installed} packages")

    async def _count(self, packages: bytes) -> int:
        """Return how many packages a snapshot has; make it if it came in before as other content."""
        if (known := self._counts.get(packages)) is None:
            try:
                known = self._counted(await self._store.get_snapshot(packages))
            except NotFound:
                wanted = _Wanted(packages, packages=True)
                await self._keep(wanted, await self._store.get_blob(packages))
                if wanted.fault:
                    raise InvalidArgument.of("report", wanted.fault) from None
                known = self._counts[packages]
        return known

    def _counted(self, snapshot: Snapshot) -> int:
        count = self._counts[snapshot.digest] = len(snapshot.packages)
        if len(self._counts) > _MAX_COUNTS:
            self._counts.popitem(last=False)
        return count

    async def _fetch(
        self, session: Session, digests: Collection[bytes], packages: bytes = b""
    ) -> Mapping[bytes, bytes]:
        """Have what is missing stored; return the small content that came."""
        waiting = list[_Wanted]()
        for missing in sorted(await self._store.missing(digests)):
            key = (missing, missing == packages)
            wanted = self._wanted.setdefault(key, _Wanted(missing, packages=missing == packages))
            wanted.offers[session] = None
            waiting.append(wanted)
        fresh = [w for w in waiting if w.asked is None]
        self._mark(fresh, session)
        for batch in _batches([w.digest for w in fresh]):
            session.send(Want(batch))
        for wanted in waiting:
            await wanted.done.wait()
            if wanted.fault:
                raise InvalidArgument.of("report", wanted.fault)
            if session not in wanted.offers:
                raise ContentGone.of(
                    "report", f"the agent no longer has content {wanted.digest.hex()[:12]}; scan again"
                )
        return {wanted.digest: wanted.content for wanted in waiting if wanted.content}

    def _mark(self, wanted: Iterable[_Wanted], session: Session) -> None:
        for one in wanted:
            one.asked, one.asked_at = session, self._clock.monotonic()

    def _ask(self, wanted: _Wanted) -> None:
        session = next(iter(wanted.offers))
        self._mark((wanted,), session)
        self._partial.pop((session, wanted.digest), None)
        session.send(Want((wanted.digest,)))

    def _withdraw(self, wanted: _Wanted, session: Session) -> None:
        if session not in wanted.offers:
            return
        if len(wanted.offers) == 1:  # nobody else has it: whoever waits hears that it is gone
            del self._wanted[wanted.digest, wanted.packages]
            wanted.offers.clear()
            wanted.done.set()
            return
        del wanted.offers[session]
        if wanted.asked is session:
            self._ask(wanted)

    async def _keep(self, wanted: _Wanted, content: bytes) -> None:
        failpoints.reached("intake.content_here")
        if wanted.packages:
            try:
                self._counted(await self._store.put_snapshot(wanted.digest, content))
            except ValueError as error:
                wanted.fault = str(error)  # the report is refused; the stream is not to blame
            failpoints.reached("intake.snapshot_stored")
        else:
            await self._store.put_blob(wanted.digest, content)
            failpoints.reached("intake.blob_stored")
        if len(content) <= _AT_ONCE_BYTES:
            wanted.content = content
        self._wanted.pop((wanted.digest, wanted.packages), None)
        wanted.done.set()


def _batches(digests: list[bytes]) -> Iterable[tuple[bytes, ...]]:
    for start in range(0, len(digests), MAX_WANT):
        yield tuple(digests[start : start + MAX_WANT])


def _checked_at_once(of: bytes, partial: _Partial, limit: int) -> bytes | None:
    """Return content that is small; None when it is not. On the event loop only."""
    if len(partial.data) > limit:
        return None
    try:
        return _checked(of, partial, limit, _UNPACKER)
    except TooLarge:
        return None


def _checked(of: bytes, partial: _Partial, limit: int, unpacker: zstandard.ZstdDecompressor | None = None) -> bytes:
    content = bytes(partial.data)
    if partial.zstd:
        try:
            content = _unpacked(unpacker or zstandard.ZstdDecompressor(), content, limit)
        except zstandard.ZstdError as error:
            raise InvalidArgument.of("blob_chunk.data", f"is not zstd: {error}") from None
        if len(content) > limit:
            raise TooLarge(f"content {of.hex()[:12]}", len(content), limit)
    if digest.of(content) != of:
        raise InvalidArgument.of("blob_chunk.digest", f"the content sent for {of.hex()[:12]} does not hash to it")
    return content


def _unpacked(unpacker: zstandard.ZstdDecompressor, packed: bytes, limit: int) -> bytes:
    """Return what is packed, but not much more than the limit, whatever is said of its size."""
    if 0 < zstandard.frame_content_size(packed) <= limit:  # then no buffer of the limit's size is needed
        return unpacker.decompress(packed)
    return unpacker.stream_reader(packed).read(limit + 1)
