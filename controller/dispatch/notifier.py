"""Empties the outbox: routes what happened, sends what is due, keeps how it went. Who is told what and when is decided in notify/.

A message is marked as sent after a server has accepted it. A controller that is killed between the two sends it again when it is
back, with the same idempotency key (an e-mail's Message-ID, a webhook's webhook-id): that is the one way in which a message can go out
twice. It is as small as it can be: the process that sends dies with the controller, a mark that cannot be stored is tried until it
is, and a controller that is told to stop lets what is out finish first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

from common import failpoints
from common.clock import Clock
from common.errors import NotFound, Unavailable
from controller.channels.places import CannotSend
from controller.channels.transport import NotSent, Transport
from controller.hub.api import Hub
from controller.notify import retry
from controller.notify.expiring import expiring
from controller.notify.model import Contact, Message, MessageState, Notice, Shift
from controller.notify.retry import RetryPolicy
from controller.notify.routing import route
from controller.notify.template import render
from controller.store.api import Store

log = logging.getLogger(__name__)

_POLL: Final = timedelta(seconds=30)
"""How long at most it waits without a hint."""
_LOOK_FOR_EXPIRING: Final = timedelta(hours=1)
_KEEP: Final = timedelta(days=90)
"""How long what was told stays listed."""
_MANY: Final = 200
_MOST_OUT: Final = 1000
_STORE_RETRY_SECONDS: Final = 2.0
_STOP_SECONDS: Final = 5.0


class Notifier:
    """Sends what the outbox holds. Use it from one event loop."""

    def __init__(
        self,
        store: Store,
        transport: Transport,
        hub: Hub,
        clock: Clock,
        jitter: Callable[[], float],
        policy: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
    ) -> None:
        """Join the parts; `jitter` gives numbers from 0 to 1."""
        self._store = store
        self._transport = transport
        self._hub = hub
        self._clock = clock
        self._jitter = jitter
        self._policy = policy
        self._out = dict[str, asyncio.Task[None]]()
        self._looked_at: datetime | None = None

    async def run(self) -> None:
        """Send until cancelled, then let what is out finish for a few seconds."""
        try:
            with self._hub.subscribe("outbox") as hint:
                while True:
                    try:
                        wait = await self.step()
                    except Unavailable as error:
                        log.error("outbox could not be read", extra={"error": str(error)})  # noqa: TRY400
                        wait = timedelta(seconds=_STORE_RETRY_SECONDS)
                    except Exception:  # a fault of ours must not silence all messages
                        log.exception("outbox could not be emptied")
                        wait = _POLL
                    await hint.wait(wait.total_seconds())
        finally:
            await self._finish()

    async def step(self) -> timedelta:
        """Route what happened and begin to send what is due; return how long to wait when nothing happens."""
        now = self._clock.now()
        if self._looked_at is None or now - self._looked_at >= _LOOK_FOR_EXPIRING:
            for notice in expiring(await self._store.baselines.exceptions(), now):
                await self._store.outbox.put_notice(notice)
            await self._store.outbox.forget(now - _KEEP)
            self._looked_at = now
        while notices := await self._store.outbox.unrouted(_MANY):
            for notice in notices:
                await self._route(notice, now)
        for message in await self._store.outbox.due(now, _MOST_OUT):
            if message.id not in self._out and len(self._out) < _MOST_OUT:
                task = asyncio.create_task(self._send(message), name=f"message {message.id}")
                self._out[message.id] = task
                task.add_done_callback(lambda _, sent=message.id: self._over(sent))  # type: ignore[misc]
        next_due = await self._store.outbox.next_due()
        if next_due is None or next_due <= now:  # what is due is out; its end is a hint
            return _POLL
        return min(_POLL, next_due - now)

    async def settled(self) -> None:
        """Return when nothing is being sent."""
        while self._out:
            await asyncio.gather(*self._out.values(), return_exceptions=True)
            await asyncio.sleep(0)

    def _over(self, message_id: str) -> None:
        self._out.pop(message_id, None)
        self._hub.publish("outbox")

    async def _finish(self) -> None:
        if self._out:
            await asyncio.wait(list(self._out.values()), timeout=_STOP_SECONDS)
        left = list(self._out.values())
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _route(self, notice: Notice, now: datetime) -> None:
        contacts = {c.name: c for c in await self._contacts(notice)}
        messages = route(notice, contacts, await self._shift(notice), now)
        await self._store.outbox.route(notice.id, messages)
        failpoints.reached("notifier.routed")
        for message in messages:
            if message.state is MessageState.GIVEN_UP:
                log.warning("nobody to tell", extra={"notification": message.id, "matter": message.error})

    async def _contacts(self, notice: Notice) -> Iterable[Contact]:
        return await self._store.contacts.contacts(notice.account)

    async def _shift(self, notice: Notice) -> Shift | None:
        if notice.recipients.shift is None:
            return None
        try:
            return await self._store.contacts.get_shift(notice.account, notice.recipients.shift)
        except NotFound:
            return None

    async def _send(self, message: Message) -> None:
        began_at = self._clock.now()
        try:
            rendered = render(await self._store.outbox.get_notice(message.notice_id), message)
            failpoints.reached("notifier.before_send")
            await self._transport.send(message, rendered)
            failpoints.reached("notifier.accepted")
        except CannotSend as error:
            matter = str(error)
            await self._mark(message, lambda m: retry.impossible(m, self._clock.now(), matter))
        except NotSent as error:
            matter, jitter = str(error), self._jitter()
            await self._mark(
                message, lambda m: retry.failed(m, began_at, self._clock.now(), matter, self._policy, jitter)
            )
        except Exception as error:
            log.exception("message could not be sent", extra={"notification": message.id})
            matter, jitter = f"a fault of the controller ({type(error).__name__}); its log says more", self._jitter()
            await self._mark(
                message, lambda m: retry.failed(m, began_at, self._clock.now(), matter, self._policy, jitter)
            )
        else:
            await self._mark(message, lambda m: retry.sent(m, self._clock.now()))
            failpoints.reached("notifier.marked")

    async def _mark(self, message: Message, change: Callable[[Message], Message]) -> None:
        """Keep how an attempt went, however long the store takes: only what is not marked can go out again."""
        while True:
            try:
                marked = await self._store.outbox.change_message(message.id, change)
            except Unavailable as error:
                log.error("message could not be marked", extra={"notification": message.id, "error": str(error)})  # noqa: TRY400
                await self._clock.sleep(_STORE_RETRY_SECONDS)
                continue
            facts = {"notification": marked.id, "state": marked.state.value, "attempts": marked.attempts}
            if marked.state is MessageState.SENT:
                log.info("message sent", extra=facts)
            else:
                log.warning("message not sent", extra={**facts, "error": marked.error})
            return
