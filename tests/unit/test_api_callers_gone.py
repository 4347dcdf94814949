"""A caller that goes away while the controller speaks to it is no fault of the controller."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any, cast

import pytest
from grpc import aio
from grpc._cython import cygrpc  # nowhere else can the error that a failed write raises be had

from common.pb.v1 import agent_pb2 as pb
from controller.api import agent_service
from controller.api.faults import fault_interceptor
from controller.fleet.orders import Ack
from controller.fleet.sessions import Session
from tests.builders import NOW, instance_id
from tests.fakes import SequentialIds

GONE = cygrpc.ExecuteBatchError("Failed grpc_call_start_batch")


class GoneCaller:
    """A call whose other side has left: nothing more comes, and what is written fails."""

    def __init__(self, writes_before: int = 0) -> None:
        self.left, self.ended_with = writes_before, list[object]()

    async def read(self) -> object:
        return await asyncio.get_running_loop().create_future()

    async def write(self, message: pb.ConnectResponse) -> None:
        if not self.left:
            raise GONE
        self.left -= 1

    async def abort(self, *status: object) -> None:
        self.ended_with.append(status)

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"


def a_stream(session: Session, caller: GoneCaller) -> agent_service._Stream:
    return agent_service._Stream(cast(Any, None), session, cast(Any, caller))


async def test_a_stream_whose_agent_has_gone_ends_in_peace() -> None:
    session = Session(instance_id(1), NOW)
    session.send(Ack("r-1"))
    session.send(Ack("r-2"))
    async with asyncio.timeout(60):
        await a_stream(session, GoneCaller(writes_before=1)).hold(timedelta(0))


async def test_its_farewell_after_a_long_life_may_fail_too() -> None:
    async with asyncio.timeout(60):
        await a_stream(Session(instance_id(1), NOW), GoneCaller()).hold(timedelta(milliseconds=1))


async def test_no_call_calls_it_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    around, caller = fault_interceptor(SequentialIds())._around, GoneCaller()
    with pytest.raises(aio.InternalError), caplog.at_level(logging.DEBUG):
        async with around("/patchwarden.v1.TicketService/Watch", cast(Any, caller)):
            await caller.write(pb.ConnectResponse())
    assert not caplog.records
    assert not caller.ended_with


async def test_a_fault_still_is_one(caplog: pytest.LogCaptureFixture) -> None:
    around, caller = fault_interceptor(SequentialIds())._around, GoneCaller()
    async with around("/patchwarden.v1.TicketService/Watch", cast(Any, caller)):
        raise ZeroDivisionError
    assert [r.message for r in caplog.records] == ["a fault of the controller"]
    assert caller.ended_with
