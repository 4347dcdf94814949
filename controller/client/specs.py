"""A ticket's spec from plain Python values. Nothing is decided here: the controller checks every field."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

from google.protobuf.duration_pb2 import Duration

from common.pb.v1 import fleet_pb2, notification_pb2, ticket_pb2

_LARGEST_TENTHS: Final = 2**32 - 1


def scan_of(
    selector: fleet_pb2.Selector,
    *,
    name: str = "",
    baseline: str = "",
    success_rate: str | int | Decimal = 80,
    timeout: timedelta | None = None,
    batches: Sequence[Sequence[str]] | None = None,
    one_batch: bool = False,
    batch_size: int = 0,
    group_share_percent: int = 0,
    ramp: Sequence[int] = (),
    max_in_flight: int = 0,
    literal: bool = False,
    ignore_unreachable: bool = False,
    unreachable_after: timedelta | None = None,
    canary: str = "",
    canary_waits: bool = False,
    soak: timedelta | None = None,
    ticket_timeout: timedelta | None = None,
    offline_wait: timedelta | None = None,
    offline_until: datetime | None = None,
    notification: notification_pb2.NotificationPolicy | None = None,
) -> ticket_pb2.TicketSpec:
    """Say what to scan. What is left out gets the controller's default.

    Targets are split automatically, unless `batches` lists them by hand or `one_batch` puts all of them in one.
    `canary` is a number of instances ("3"), a percentage ("5%"), or "first": the first of `batches`.
    Raises ValueError for a success rate that is no number with at most one decimal, and for a canary that is none of the three.
    """
    kind = ticket_pb2.BATCH_POLICY_KIND_AUTO_BATCH
    if batches is not None:
        kind = ticket_pb2.BATCH_POLICY_KIND_MANUAL_BATCH
    elif one_batch:
        kind = ticket_pb2.BATCH_POLICY_KIND_NO_BATCH
    mode = ticket_pb2.SUSPENSION_MODE_LITERAL if literal else ticket_pb2.SUSPENSION_MODE_ATTAINABLE
    return ticket_pb2.TicketSpec(
        name=name,
        selector=selector,
        baseline=baseline,
        timeout=None if timeout is None else duration_of(timeout),
        batch_policy=ticket_pb2.BatchPolicy(
            kind=kind,
            batches=[ticket_pb2.ManualBatch(instances=names) for names in batches or ()],
            batch_size=batch_size,
            group_share_percent=group_share_percent,
            ramp=ramp,
            canary=canary_of(canary, canary_waits),
            soak=None if soak is None else duration_of(soak),
        ),
        max_in_flight=max_in_flight,
        suspension_policy=ticket_pb2.SuspensionPolicy(
            success_rate_tenths=tenths_of(success_rate), mode=mode, ignore_unreachable=ignore_unreachable
        ),
        unreachable_after=None if unreachable_after is None else duration_of(unreachable_after),
        ticket_timeout=None if ticket_timeout is None else duration_of(ticket_timeout),
        offline=_offline_of(offline_wait, offline_until),
        notification=notification,
    )


def canary_of(text: str, waits: bool) -> ticket_pb2.Canary | None:
    """Return a canary as the API spells it, None for an empty text; raise ValueError as `scan_of` says."""
    if not text:
        return None
    number, percent, rest = text.partition("%")
    if text == "first":
        return ticket_pb2.Canary(wait=waits)
    if not (number.isascii() and number.isdigit()) or rest or int(number) > _LARGEST_TENTHS:
        raise ValueError(f'{text!r} is not a number of instances such as 3, a percentage such as 5%, or "first"')
    return ticket_pb2.Canary(instances=0 if percent else int(number), percent=int(number) if percent else 0, wait=waits)


def _offline_of(wait: timedelta | None, until: datetime | None) -> ticket_pb2.OfflinePolicy | None:
    if wait is None and until is None:
        return None
    policy = ticket_pb2.OfflinePolicy(wait=None if wait is None else duration_of(wait))
    if until is not None:
        policy.until.FromDatetime(until)
    return policy


def tenths_of(rate: str | int | Decimal) -> int:
    """Return a success rate in tenths of a percent, exactly; whether it is in range is for the controller to say.

    Raises ValueError for what is no number, has more than one decimal, or cannot be sent at all.
    """
    try:
        tenths = Decimal(rate) * 10
    except InvalidOperation:
        raise ValueError(f"{rate!r} is not a number such as 80 or 99.5") from None
    if not tenths.is_finite():
        raise ValueError(f"{rate!r} is not a number such as 80 or 99.5")
    if not 0 <= tenths <= _LARGEST_TENTHS:
        raise ValueError(f"{rate} is out of range, allowed 0.0 to 100.0 with one decimal")
    if tenths != tenths.to_integral_value():
        raise ValueError(f"{rate} has more than one decimal, allowed 0.0 to 100.0 with one decimal")
    return int(tenths)


def duration_of(length: timedelta) -> Duration:
    """Return a length of time as the API spells it."""
    duration = Duration()
    duration.FromTimedelta(length)
    return duration
