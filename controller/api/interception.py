"""Puts code around every RPC of the server, whatever its kind: what faults.py and auth.py have in common."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from common.errors import InvalidArgument

Context = aio.ServicerContext[Any, Any]
Around = Callable[[str, Context], AbstractAsyncContextManager[None]]
"""Given the method's full name and the call, returns what is entered before the handler and left after it."""
# grpc's own types cannot say which of the four handler kinds a method has.
Handler = Any


class _Garbled:
    """Stands for a request that is no message of its method: refused inside `around`, like any other wrong request."""


class Interceptor(aio.ServerInterceptor):
    """Enters `around(method, context)` for each call, also for as long as a stream lasts."""

    def __init__(self, around: Around) -> None:
        """Remember what to put around calls."""
        self._around = around

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the handler of the method that was called; a method that does not exist has none."""
        handler = await continuation(handler_call_details)
        return None if handler is None else self._wrap(str(handler_call_details.method), handler)

    def _wrap(self, method: str, handler: Handler) -> Handler:
        kinds = {
            (False, False): (handler.unary_unary, grpc.unary_unary_rpc_method_handler),
            (False, True): (handler.unary_stream, grpc.unary_stream_rpc_method_handler),
            (True, False): (handler.stream_unary, grpc.stream_unary_rpc_method_handler),
            (True, True): (handler.stream_stream, grpc.stream_stream_rpc_method_handler),
        }
        inner, make = kinds[handler.request_streaming, handler.response_streaming]
        around = self._around

        async def generate(request: Any, context: Context) -> Any:
            async with around(method, context):
                _refuse_garbled(request)
                async for response in inner(request, context):
                    yield response

        async def call(request: Any, context: Context) -> Any:
            async with around(method, context):
                _refuse_garbled(request)
                return await inner(request, context)

        outer = generate if inspect.isasyncgenfunction(inner) else call
        return make(
            outer,
            request_deserializer=(
                handler.request_deserializer if handler.request_streaming else _tolerant(handler.request_deserializer)
            ),
            response_serializer=handler.response_serializer,
        )


def _tolerant(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """Without this grpc answers UNKNOWN, with Python's words for what is wrong, and logs a traceback."""
    if deserialize is None:
        return None

    def tolerant(content: bytes) -> Any:
        try:
            return deserialize(content)
        except DecodeError:
            return _Garbled()

    return tolerant


def _refuse_garbled(request: object) -> None:
    if isinstance(request, _Garbled):
        raise InvalidArgument.of("request", "is not a message of this call: client and controller do not speak alike")
