"""Which exceptions end soon, so that their owner is told (R10)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from controller.compliance.exceptions import is_live
from controller.compliance.model import Exceptions
from controller.notify.model import ExceptionFacts, Notice, NotificationEvent, Recipients

TOLD_BEFORE: Final = timedelta(days=14)


def expiring(exceptions: Exceptions, now: datetime) -> Iterator[Notice]:
    """Yield a notice for the owner of each exception that holds now and ends within 14 days.

    Its id is made from the exception and its end, so that the same end is told once, however often one looks. An exception that was
    made for less than 14 days is told of as soon as somebody looks.
    """
    for exception in exceptions.all:
        if is_live(exception, now) and exception.revoked_at is None and exception.expires_at <= now + TOLD_BEFORE:
            event = NotificationEvent.EXCEPTION_EXPIRING
            yield Notice(
                id=f"{exception.id}/{event}/{exception.expires_at.astimezone(UTC):%Y%m%dT%H%M%SZ}",
                event=event,
                at=now,
                recipients=Recipients((exception.approver,)),
                account=exception.account,
                exception=ExceptionFacts(
                    id=exception.id,
                    scope=exception.scope.value,
                    scope_value=exception.scope_value,
                    match=exception.match.value,
                    match_value=exception.match_value,
                    reason=exception.reason,
                    expires_at=exception.expires_at,
                ),
            )
