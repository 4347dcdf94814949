"""Sends a message in a process of its own, within a time, and says how it went."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from controller.channels.places import CannotSend, Job, job_for
from controller.channels.settings import ChannelSettings
from controller.notify.model import Channel, Message
from controller.notify.template import Rendered

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*(\.[A-Za-z0-9-]+)*")
SECONDS: Final = 60.0
"""How long one attempt may take in all."""
_AT_ONCE: Final = 2
"""Attempts at a time on one channel: a channel that hangs keeps no other from sending."""
_MAX_SAID_BYTES: Final = 16 * 1024


class NotSent(Exception):
    """This attempt failed; another may not."""


class Transport(Protocol):
    """How messages leave."""

    async def send(self, message: Message, rendered: Rendered) -> None:
        """Return once a server has accepted the message. Raise NotSent, or CannotSend when trying again cannot help."""
        ...


class ChildTransport:
    """Transport through the channels of the settings. What it is cancelled in is not sent any more."""

    def __init__(self, settings: Callable[[], ChannelSettings], domain: str, seconds: float = SECONDS) -> None:
        """Send through the channels that there are then; `domain` ends the Message-IDs of e-mails."""
        self._settings = settings
        self._domain = domain
        self._seconds = seconds
        self._slots = defaultdict[Channel, asyncio.Semaphore](lambda: asyncio.Semaphore(_AT_ONCE))

    async def send(self, message: Message, rendered: Rendered) -> None:
        """Return once a server has accepted the message. Raise NotSent, CannotSend."""
        job = job_for(self._settings(), message, rendered, self._domain)
        async with self._slots[message.channel]:
            await self._run(job)

    async def _run(self, job: Job) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PATCHWARDEN_")}
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "controller.channels.child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
        )
        try:
            async with asyncio.timeout(self._seconds):
                said, _ = await child.communicate(job.encoded())
        except TimeoutError:
            raise NotSent(f"it was not accepted within {self._seconds:.0f} s") from None
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        _judge(said[:_MAX_SAID_BYTES], child.returncode)


def mail_domain(hosts: Sequence[str]) -> str:
    """Return what Message-IDs end with: the first of the controller's names that is a name on a network."""
    return next((h for h in hosts if _NAME.fullmatch(h) and h != "localhost"), "patchwarden")


def _judge(said: bytes, code: int | None) -> None:
    try:
        answer = json.loads(said)
    except ValueError:
        raise NotSent(f"the process that sends it ended with code {code} and said nothing") from None
    if answer["sent"]:
        return
    if answer["hopeless"]:
        raise CannotSend(answer["error"])
    raise NotSent(answer["error"])
