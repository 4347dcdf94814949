"""The agent's one stream: what is said on it, in which order, and when it is opened again."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Final, Protocol

from common import failpoints
from common.clock import Clock
from uniagent.backoff import Backoff
from uniagent.blobs import Blobs
from uniagent.messages import (
    Ack,
    Assignment,
    BlobChunk,
    BlobGone,
    CancelRun,
    FromController,
    Heartbeat,
    Hello,
    Pace,
    RunResult,
    ToController,
    Want,
    Welcome,
)
from uniagent.outbox import Outbox
from uniagent.transport import StreamLost
from uniagent.work import Worker

log: Final = logging.getLogger(__name__)
DEFAULT_HEARTBEAT: Final = 30.0
_WELCOME_SECONDS: Final = 60.0
_LEAVE_SECONDS: Final = 1.0
_MAX_WANTED: Final = 4096
_JUMP_SECONDS: Final = 60.0


class Stream(Protocol):
    """What a conversation needs of a stream; transport.Stream is one."""

    async def send(self, message: ToController) -> None:
        """Return when the transport has taken the message."""
        ...

    async def receive(self) -> FromController:
        """Return the next message; raise StreamLost or Refused."""
        ...

    async def finish(self) -> None:
        """Say that nothing more will be sent."""
        ...


class Outgoing:
    """What goes out next on one stream: small control messages, then results and reports, then one piece of a blob.

    So nothing small waits for more than one piece, and a new stream repeats all that is not acknowledged.
    """

    def __init__(self, outbox: Outbox, blobs: Blobs) -> None:
        """Begin a stream."""
        self._outbox = outbox
        self._blobs = blobs
        self._control = deque[ToController]()
        self._wanted = dict[str, None]()
        self._upload: Iterator[BlobChunk] | None = None
        self._uploading = ""
        self._sent = 0
        self._wake = asyncio.Event()
        self.closing = False
        """Whether the stream is to end because we want it to."""
        self._quietly = False
        outbox.listener = self._wake.set

    def say(self, message: ToController) -> None:
        """Send a message that may be lost."""
        self._control.append(message)
        self._wake.set()

    def want(self, digests: tuple[str, ...]) -> None:
        """Send these blobs, each once, in this order."""
        for digest in digests:
            if digest != self._uploading and len(self._wanted) < _MAX_WANTED:
                self._wanted[digest] = None
        self._wake.set()

    def close(self, *, quietly: bool = False) -> None:
        """End after the message that is being sent; quietly: after all that waits to be sent."""
        was_closing, self.closing = self.closing, True
        self._quietly = quietly and (self._quietly or not was_closing)
        self._wake.set()

    async def next(self) -> ToController | None:
        """Wait for the next message and return it; None when the stream is to end."""
        while True:
            if self.closing and not self._quietly:
                return None
            if (message := self._take()) is not None:
                return message
            if self.closing:
                return None
            self._wake.clear()
            await self._wake.wait()

    def _take(self) -> ToController | None:
        if self._control:
            return self._control.popleft()
        if (found := self._outbox.after(self._sent)) is not None:
            self._sent, message = found
            return message
        return self._piece()

    def _piece(self) -> BlobChunk | BlobGone | None:
        while self._upload is not None or self._wanted:
            try:
                if self._upload is None:
                    self._uploading = next(iter(self._wanted))
                    del self._wanted[self._uploading]
                    self._upload = self._blobs.chunks(self._uploading)
                if (chunk := next(self._upload, None)) is not None:
                    return chunk
            except OSError as error:
                gone = BlobGone(self._uploading)
                log.info("content is gone", extra={"blob": gone.digest, "cause": error.strerror})
                self._upload, self._uploading = None, ""
                return gone
            self._upload, self._uploading = None, ""
        return None


class Conversation:
    """One stream after the other, for as long as the agent lives."""

    def __init__(self, outbox: Outbox, blobs: Blobs, worker: Worker, backoff: Backoff, clock: Clock) -> None:
        """Speak for this agent."""
        self._outbox = outbox
        self._blobs = blobs
        self._worker = worker
        self._backoff = backoff
        self._clock = clock
        self._outgoing: Outgoing | None = None
        self._leave_quietly: bool | None = None
        self._heartbeat = DEFAULT_HEARTBEAT
        self.retry_after = timedelta(0)
        """What the controller asked for when the last stream ended; zero means our own backoff."""
        self.welcomed: Callable[[Welcome], None] = lambda _: None
        """Called when a stream has begun."""

    def leave(self, *, quietly: bool) -> None:
        """End the stream that is open. Quietly: first send what waits; the caller opens another at once."""
        self._leave_quietly = bool(quietly and self._leave_quietly is not False)
        if self._outgoing is not None:
            self._outgoing.close(quietly=quietly)

    async def hold(self, connection: AbstractAsyncContextManager[Stream], hello: Hello) -> None:
        """Open a stream and keep it until `leave`, or until it is lost: then StreamLost or Refused is raised."""
        self._leave_quietly = None
        self.retry_after = timedelta(0)
        async with connection as stream:
            await stream.send(hello)
            welcome = await self._welcome(stream)
            self._outgoing = outgoing = Outgoing(self._outbox, self._blobs)
            self._worker.say = outgoing.say
            if self._leave_quietly is not None:
                outgoing.close(quietly=self._leave_quietly)
            try:
                self._take_pace(welcome.pace)
                self.welcomed(welcome)
                await self._both_ways(stream, outgoing)
            finally:
                self._outgoing = self._worker.say = self._outbox.listener = None

    async def _welcome(self, stream: Stream) -> Welcome:
        try:
            async with asyncio.timeout(_WELCOME_SECONDS):
                first = await stream.receive()
        except TimeoutError:
            raise StreamLost(f"the controller did not answer within {_WELCOME_SECONDS:.0f} s") from None
        if isinstance(first, Pace):  # too many of us: come back later
            self.retry_after = first.retry_after
            first = await stream.receive()
        if not isinstance(first, Welcome):
            raise StreamLost(f"the controller began with {type(first).__name__}, not with Welcome")
        return first

    async def _both_ways(self, stream: Stream, outgoing: Outgoing) -> None:
        sending = asyncio.create_task(self._send(stream, outgoing), name="send")
        receiving = asyncio.create_task(self._receive(stream, outgoing), name="receive")
        beating = asyncio.create_task(self._beat(outgoing), name="beat")
        tasks = (sending, receiving, beating)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if outgoing.closing:  # we leave: give the controller a moment to end as well
                await asyncio.wait((receiving, sending), timeout=_LEAVE_SECONDS)
                return
            if not receiving.done():  # the reader knows why: writing only fails
                await asyncio.wait((receiving,), timeout=_LEAVE_SECONDS)
            for task in (receiving, sending, beating):
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, stream: Stream, outgoing: Outgoing) -> None:
        while (message := await outgoing.next()) is not None:
            if isinstance(message, RunResult):
                failpoints.reached("uniagent.before_send")
            await stream.send(message)
            if isinstance(message, RunResult):
                failpoints.reached("uniagent.result_sent")
            elif isinstance(message, BlobChunk):
                failpoints.reached("uniagent.piece_sent")
            del message  # up to a quarter of a MiB, or it would stay until the next
        await stream.finish()

    async def _receive(self, stream: Stream, outgoing: Outgoing) -> None:
        while True:
            message = await stream.receive()
            match message:
                case Assignment():
                    self._worker.assign(message)
                case Ack(id=message_id):
                    self._worker.acknowledge(message_id)
                    self._backoff.reset()  # it took what we said; a mere Welcome may come before the next failure
                case Want(digests=digests):
                    outgoing.want(digests)
                case CancelRun(run_id=run_id):
                    self._worker.cancel(run_id)
                case Pace():
                    self._take_pace(message)
                case _:
                    log.warning("ignored a message", extra={"kind": type(message).__name__})
            del message

    async def _beat(self, outgoing: Outgoing) -> None:
        wall, steady = self._clock.now(), self._clock.monotonic()
        while True:
            await self._clock.sleep(self._heartbeat)
            outgoing.say(Heartbeat())
            self._backoff.reset()  # the stream has lived for a while
            new_wall, new_steady = self._clock.now(), self._clock.monotonic()
            jump = (new_wall - wall).total_seconds() - (new_steady - steady)
            if abs(jump) > _JUMP_SECONDS:
                log.warning("the clock of this host jumped", extra={"seconds": round(jump)})
            wall, steady = new_wall, new_steady

    def _take_pace(self, pace: Pace) -> None:
        self.retry_after = pace.retry_after
        if pace.heartbeat_interval:
            self._heartbeat = pace.heartbeat_interval.total_seconds()
        self._worker.pace(pace.report_interval)
