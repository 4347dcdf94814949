"""The daemon: puts the parts together, keeps talking, and follows signals."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import logging
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from common import VERSION
from common import log as logs
from common.clock import Clock, SystemClock
from common.errors import PatchError, Unavailable
from uniagent import durable, host, identity, settings
from uniagent.backoff import Backoff
from uniagent.blobs import Blobs
from uniagent.identity import Identity, NotEnrolled
from uniagent.journal import Journal
from uniagent.message_ids import Ids
from uniagent.messages import Hello, Welcome
from uniagent.notify import notify, watchdog_seconds
from uniagent.outbox import Outbox
from uniagent.settings import Settings
from uniagent.stream import Conversation
from uniagent.transport import Refused, connect
from uniagent.work import Worker

log: Final = logging.getLogger(__name__)
_STOP_SECONDS: Final = 1.2
_LOOK_SECONDS: Final = 3600.0  # a certificate's end is looked at so often, since clocks jump and machines sleep
_TALK: Final = {"base": 1.0, "cap": 60.0}
_ENROL: Final = {"base": 2.0, "cap": 300.0}
_REFUSED: Final = {"base": 30.0, "cap": 300.0, "least": 30.0}


class InUse(PatchError):
    """Another agent works in the same state folder."""

    reason = "IN_USE"


class Daemon:
    """One agent."""

    def __init__(self, path: Path, current: Settings, clock: Clock, ids: Ids, dice: random.Random) -> None:
        """Open the state folder. Raises OSError when that cannot be used."""
        self._path = path
        self._settings = current
        self._clock = clock
        state = current.state
        self._identity_folder = durable.private_folder(state / "identity")
        outbox, journal = Outbox(state / "outbox"), Journal(state / "journal")
        blobs = Blobs(state / "blobs")
        self._worker = Worker(current, outbox, journal, blobs, clock, ids, dice.random)
        self._lost = Backoff(dice.random, **_TALK)
        self._enrolling = Backoff(dice.random, **_ENROL)
        self._refused = Backoff(dice.random, **_REFUSED)
        self._renewing = Backoff(dice.random, **_REFUSED)
        self._random = dice.random
        self._conversation = Conversation(outbox, blobs, self._worker, self._lost, clock)
        self._conversation.welcomed = self._welcomed
        self._identity: Identity | None = None
        self._removed = False
        self._stop = asyncio.Event()
        self._again = asyncio.Event()  # set to stop waiting before the next try
        self._look = asyncio.Event()  # set when there is a new certificate to look at

    async def run(self) -> None:
        """Live until `stop`. Only what trying again cannot mend gets out: NotEnrolled, at the first enrolment."""
        talk = asyncio.create_task(self._talk(), name="talk")
        work = asyncio.create_task(self._worker.run(), name="work")
        renew = asyncio.create_task(self._keep_certificate(), name="certificate")
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        watch = asyncio.create_task(_watch(self._clock), name="watchdog")
        tasks = (talk, work, renew, stop, watch)
        notify("READY=1\nSTATUS=running")
        try:
            await asyncio.wait((talk, work, renew, stop), return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                work.cancel()  # stops the collector; its run stays in the journal
                renew.cancel()
                await asyncio.wait((talk, work, renew), timeout=_STOP_SECONDS)
            for ended in (talk, work, renew):
                if ended.done() and not ended.cancelled():
                    ended.result()
        finally:
            notify("STOPPING=1")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def stop(self) -> None:
        """End: close the stream, stop a collection, keep the journal."""
        log.info("stopping")
        self._stop.set()
        self._again.set()
        self._conversation.leave(quietly=False)

    def reload(self) -> None:
        """Read the settings again. Wrong ones are refused as a whole, and said so."""
        notify("RELOADING=1")
        try:
            new = settings.load(self._path)
            if new.state != self._settings.state:
                log.warning("a new state folder is used from the next start", extra={"state": str(new.state)})
                new = dataclasses.replace(new, state=self._settings.state)
        except PatchError as error:
            log.warning("the settings are wrong, the old ones stay", extra={"cause": str(error)})
        else:
            old, self._settings, self._worker.settings = self._settings, new, new
            logs.setup(level=new.log_level, as_json=new.log == "json")
            log.info("read the settings again")
            if new.controller != old.controller:
                self._conversation.leave(quietly=False)
            elif host.placement(new) != host.placement(old):
                self._conversation.leave(quietly=True)  # only Hello says where the instance stands
            self._again.set()
        notify("READY=1")

    async def _talk(self) -> None:
        while not self._stop.is_set():
            self._again.clear()
            wait = await self._one_stream()
            if not self._stop.is_set() and wait > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._again.wait()

    async def _one_stream(self) -> float:
        """Hold one stream; return how long to wait before the next."""
        try:
            me = await self._enrolled()
            hello = Hello(
                agent_version=VERSION,
                host=await host.look(self._settings),
                placement=host.placement(self._settings),
                open_run_ids=self._worker.open_run_ids(),
                now=self._clock.now(),
            )
            await self._conversation.hold(connect(self._settings.controller, me.credential), hello)
        except NotEnrolled as error:
            if error.final and identity.load(self._identity_folder) is None:
                raise
            wait = (self._refused if error.final else self._enrolling).next()
            log.warning("not enrolled, trying again", extra={"cause": str(error), "wait_seconds": round(wait, 1)})
        except Refused as error:
            wait = self._refused.next()
            self._removed = True
            log.warning(
                "the controller refuses this agent: was it removed? enrol it with a new token",
                extra={"cause": str(error), "wait_seconds": round(wait, 1)},
            )
        except Unavailable as error:
            asked = self._conversation.retry_after.total_seconds()
            wait = self._random() * asked if asked else self._lost.next()
            log.warning("stream lost", extra={"cause": str(error), "wait_seconds": round(wait, 1)})
        except OSError as error:
            wait = self._lost.next()
            log.warning(
                "the agent cannot go on, trying again", extra={"cause": str(error), "wait_seconds": round(wait, 1)}
            )
        else:
            wait = 0.0  # we left on purpose
        return wait

    async def _enrolled(self) -> Identity:
        """Return who we are; enrol first when that is not known, or when the certificate has ended."""
        me = self._identity or identity.load(self._identity_folder)
        if me is not None and self._clock.now() < me.not_after:
            self._identity = me
            if self._removed and await self._enrolled_again():
                log.info("enrolled again", extra={"instance": self._identity.instance_id})
            return self._identity
        if me is not None:
            log.warning("the agent's certificate has ended, enrolling anew", extra={"not_after": me.not_after})
        me = await self._enrol()
        self._enrolling.reset()
        self._look.set()
        log.info("enrolled", extra={"instance": me.instance_id})
        return me

    async def _enrolled_again(self) -> bool:
        """Enrol a removed agent again, if it was given another token than the one it came with; say whether it was."""
        try:
            await self._enrol(only_new_token=True)
        except NotEnrolled as error:
            if error.why not in (identity.SAME_TOKEN, identity.NO_TOKEN):
                log.warning("cannot enrol again", extra={"cause": str(error)})
            return False
        return True

    async def _enrol(self, *, only_new_token: bool = False) -> Identity:
        try:
            token = self._settings.read_token()
        except PatchError as error:
            raise NotEnrolled(str(error), "SETTINGS") from None
        if not token:
            raise NotEnrolled(
                "there is no enrolment token: make one with patchctl enrolment create, and name it as token or token_file",
                identity.NO_TOKEN,
            )
        await identity.ask(
            {
                "do": "enrol",
                "folder": str(self._identity_folder),
                "controller": self._settings.controller,
                "join": str(self._settings.join),
                "token": token,
                "only_new_token": only_new_token,
                "machine_id": host.machine_id(self._settings.root),
                "placement": dataclasses.asdict(host.placement(self._settings)),
            }
        )
        self._identity = identity.load(self._identity_folder)
        if self._identity is None:
            raise NotEnrolled(f"the identity in {self._identity_folder} was not written", "DISK")
        return self._identity

    def _welcomed(self, welcome: Welcome) -> None:
        self._refused.reset()
        self._removed = False
        log.info(
            "connected",
            extra={"instance": welcome.instance_id, "controller_version": welcome.controller_version},
        )
        self._worker.clock_matter = host.clock_matter(self._clock.now(), welcome.now)
        if self._worker.clock_matter:
            log.warning("the clock of this host is wrong", extra={"matter": self._worker.clock_matter})
        end = welcome.certificate_not_after
        if end is not None and end < self._clock.now():
            log.warning("the clock of this host is wrong: by it the certificate has ended", extra={"not_after": end})

    async def _keep_certificate(self) -> None:
        """Renew the certificate when a third of its life is left, then open the stream with the new one."""
        while True:
            wait = _LOOK_SECONDS
            now = self._clock.now()
            if (me := self._identity) is not None and me.renew_at() <= now < me.not_after:
                wait = await self._renew()
            elif me is not None and now < me.not_after:
                wait = min(wait, (me.renew_at() - now).total_seconds() + 0.1)
            self._look.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(wait, 0.1)):
                    await self._look.wait()

    async def _renew(self) -> float:
        try:
            await identity.ask(
                {"do": "renew", "folder": str(self._identity_folder), "controller": self._settings.controller}
            )
            self._identity = identity.load(self._identity_folder)
        except (NotEnrolled, OSError) as error:
            wait = self._renewing.next()
            log.warning("cannot renew the certificate", extra={"cause": str(error), "wait_seconds": round(wait, 1)})
            return wait
        self._renewing.reset()
        log.info("renewed the certificate", extra={"not_after": self._identity and self._identity.not_after})
        self._conversation.leave(quietly=True)
        return 0.0


async def _watch(clock: Clock) -> None:
    """Tell systemd that the loop turns."""
    if (interval := watchdog_seconds()) is None:
        return
    while True:
        notify("WATCHDOG=1")
        await clock.sleep(interval)


@contextlib.contextmanager
def _alone_in(state: Path) -> Iterator[None]:
    """Hold the state folder: two agents in it would speak over each other."""
    durable.private_folder(state)
    handle = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(f"another uniagent is running with {state}") from None
        yield
    finally:
        os.close(handle)


async def _live(path: Path, current: Settings, ids: Ids) -> None:
    daemon = Daemon(path, current, SystemClock(), ids, random.Random())  # noqa: S311 - jitter, no secret
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.stop)
    loop.add_signal_handler(signal.SIGHUP, daemon.reload)
    await daemon.run()


def run(path: Path, ids: Ids) -> int:
    """Be the agent in the foreground until SIGTERM; return the exit status."""
    logs.setup()
    try:
        current = settings.load(path)
        logs.setup(level=current.log_level, as_json=current.log == "json")
        with _alone_in(current.state):
            asyncio.run(_live(path, current, ids))
    except (PatchError, OSError) as error:
        cause = str(error)
    else:
        return 0
    log.error("cannot go on", extra={"cause": cause})
    return 1
