"""Answers that stream for as long as they like, to operators whose rights may end meanwhile: then the stream ends too.

A stream is ended between two messages: while it waits for the next one at once, while it waits for a slow reader before it sends another.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Final, TypeVar

import grpc
from grpc import aio

from common.errors import PatchError, Unauthenticated, Unavailable
from controller.api.auth import ACCESS, Gate, Operator, operator
from controller.api.interception import Context, Handler
from controller.fleet.model import Role

log = logging.getLogger(__name__)

T = TypeVar("T")

_LOOK_SECONDS: Final = 1.0
"""So often it is looked whether the tokens of open streams still hold, also when nobody said that something has changed."""


class OpenStream:
    """One stream, in the task that carries it out."""

    def __init__(self, caller: Operator) -> None:
        """Begin, inside that task."""
        self.caller = caller
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._is_waiting = False
        self._error: PatchError | None = None

    def end(self, error: PatchError) -> None:
        """Let the caller be told this instead of the next message."""
        if self._error is None:
            self._error = error
            if self._is_waiting:
                self._task.cancel()

    async def messages(self, answers: AsyncGenerator[T, None]) -> AsyncIterator[T]:
        """Pass messages on until they end or the stream is ended; then raise why."""
        async with aclosing(answers):
            while True:
                try:
                    yield await self._next(answers)
                except StopAsyncIteration:
                    return

    async def _next(self, answers: AsyncGenerator[T, None]) -> T:
        if self._error is not None:
            raise self._error
        self._is_waiting = True
        try:
            return await anext(answers)
        except asyncio.CancelledError:
            if self._error is None or self._task.uncancel() > 0:
                raise  # by somebody else: the caller went away, or the controller stops
            raise self._error from None
        finally:
            self._is_waiting = False


class OpenStreams:
    """All that are open in this process."""

    def __init__(self) -> None:
        """Begin with none."""
        self._open = set[OpenStream]()

    def __iter__(self) -> Iterator[OpenStream]:
        """Go through those that are open now."""
        return iter(tuple(self._open))

    @contextmanager
    def running(self, caller: Operator) -> Iterator[OpenStream]:
        """Know a stream of this operator, which the current task carries out, until it is left."""
        stream = OpenStream(caller)
        self._open.add(stream)
        try:
            yield stream
        finally:
            self._open.discard(stream)


async def end_those_refused(streams: OpenStreams, gate: Gate) -> None:
    """Until cancelled, end streams whose callers would be refused now, or be seen as somebody else."""
    while True:
        await gate.changed(_LOOK_SECONDS)
        for stream in streams:
            try:
                caller = await gate.identify(stream.caller.secret_hash)
            except Unauthenticated as refused:
                stream.end(refused)
            except PatchError as error:
                log.warning("whether a stream may go on is not known", extra={"error": str(error)})
            else:
                if caller != stream.caller:
                    stream.end(Unavailable("what you may see or do has changed: ask again"))


class StreamInterceptor(aio.ServerInterceptor):
    """Knows each stream that runs for an operator. Inside the gate: it needs to know who calls."""

    def __init__(self, streams: OpenStreams) -> None:
        """Put them there."""
        self._streams = streams

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the handler of a method that answers operators with a stream."""
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or not handler.response_streaming or not isinstance(ACCESS.get(method), Role):
            return handler
        inner = handler.unary_stream
        if not inspect.isasyncgenfunction(inner):
            raise RuntimeError(f"{method} is no generator over one request: nobody could end it")
        streams = self._streams

        async def generate(request: Any, context: Context) -> AsyncIterator[Any]:
            with streams.running(operator()) as stream:
                async for message in stream.messages(inner(request, context)):
                    yield message

        return grpc.unary_stream_rpc_method_handler(
            generate,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
