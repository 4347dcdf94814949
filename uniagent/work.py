"""The agent's work: assigned runs in their order, and between them the reports that nobody ordered. One collection at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from common import failpoints
from common.clock import Clock
from uniagent import collection, durable, host
from uniagent.blobs import Blobs
from uniagent.collection import CollectionFailed, CollectionTimedOut
from uniagent.journal import Finished, Journal, Run
from uniagent.message_ids import Ids
from uniagent.messages import Assignment, Offer, Operation, Outcome, RunProgress, RunResult, SelfReport, ToController
from uniagent.outbox import Outbox
from uniagent.settings import Settings

log: Final = logging.getLogger(__name__)
DEFAULT_TIMEOUT: Final = timedelta(minutes=10)
MAX_TIMEOUT: Final = timedelta(days=1)
SELF_REPORT_TIMEOUT: Final = timedelta(minutes=5)
MAX_RUN_ID: Final = 256
_FIRST_REPORT_WITHIN: Final = 10.0
_FAILED_REPORT_WITHIN: Final = timedelta(minutes=10)
_SAVE_SECONDS: Final = 30.0
_FUTURE: Final = timedelta(minutes=1)


def next_report(last: datetime | None, interval: timedelta, now: datetime, jitter: float) -> datetime:
    """Return when the next unordered report is due: soon when there was none, else about `interval` after the last."""
    if last is None:
        return now + min(interval, timedelta(seconds=_FIRST_REPORT_WITHIN)) * jitter
    return min(last, now) + interval * (0.9 + 0.2 * jitter)


class Worker:
    """Takes assignments, does them one after the other, and puts what came of them into the outbox."""

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        journal: Journal,
        blobs: Blobs,
        clock: Clock,
        ids: Ids,
        random: Callable[[], float],
    ) -> None:
        """Take up what is left in the journal: `run` does it."""
        self.settings = settings
        self.say: Callable[[ToController], None] | None = None
        self.clock_matter = ""
        """What is wrong with this host's clock, as the last Welcome showed."""
        """Sends a message that may be lost; None while there is no stream."""
        self._outbox = outbox
        self._journal = journal
        self._blobs = blobs
        self._clock = clock
        self._ids = ids
        self._random = random
        self._wake = asyncio.Event()
        self._doing = ""
        self._steps = dict[str, str]()
        self._interval = timedelta(0)
        self._last = self._read_last()
        self._due: datetime | None = None
        for message in outbox.messages():  # its result was kept, then the agent was killed
            if isinstance(message, RunResult) and journal.is_open(message.run_id):
                journal.finish(Finished(message.run_id, message.outcome, message.error, message.report))
        self.drop_blobs()

    @property
    def state(self) -> Path:
        """The agent's folder."""
        return self.settings.state

    def open_run_ids(self) -> tuple[str, ...]:
        """Return the runs that are journaled and not finished."""
        return tuple(run.run_id for run in self._journal.open_runs())

    def assign(self, assignment: Assignment) -> None:
        """Take an assignment: journal it before it is accepted. The same run again is not done again."""
        run_id = assignment.run_id
        if not 0 < len(run_id) <= MAX_RUN_ID:
            log.error("refused a run whose id is empty or too long", extra={"length": len(run_id)})
        elif (before := self._journal.finished(run_id)) is not None:
            log.info("assigned again after it ended", extra={"run": run_id})
            if not self._outbox.repeat(run_id):
                self._put_result(before)
        elif self._journal.is_open(run_id):
            self._progress(run_id, self._steps.get(run_id, "accepted"))
        elif assignment.operation is not Operation.SCAN:
            sentence = "this agent does not know what the controller asks for: upgrade the agent"
            self._finish(Finished(run_id, Outcome.FAILED, sentence))
        else:
            self._accept(assignment)

    def _accept(self, assignment: Assignment) -> None:
        allowed = min(assignment.timeout or DEFAULT_TIMEOUT, MAX_TIMEOUT)
        run = Run(assignment.run_id, assignment.ticket_id, self._clock.now(), allowed)
        failpoints.reached("uniagent.before_accept")
        try:
            self._journal.accept(run)
        except OSError as error:
            log.warning("cannot journal a run", extra={"run": run.run_id, "cause": str(error)})
            sentence = f"the agent cannot write to {self.state}: {error.strerror}; make room or mend the disk"
            self._put_result(Finished(run.run_id, Outcome.FAILED, sentence))
            return
        failpoints.reached("uniagent.accepted")
        log.info("accepted a run", extra={"run": run.run_id, "ticket": run.ticket_id})
        self._progress(run.run_id, "accepted")
        self._wake.set()

    def cancel(self, run_id: str) -> None:
        """Drop a run that has not begun; one that has finishes as usual."""
        if self._journal.is_open(run_id) and run_id != self._doing:
            self._finish(Finished(run_id, Outcome.CANCELED, "cancelled before it began"))

    def acknowledge(self, message_id: str) -> None:
        """Forget a message that the controller has stored, and the content only it needed."""
        failpoints.reached("uniagent.before_forget")
        if self._outbox.acknowledge(message_id):
            self.drop_blobs()
        failpoints.reached("uniagent.forgotten")

    def pace(self, report_interval: timedelta) -> None:
        """Report unordered at this interval; zero means never."""
        if report_interval != self._interval:
            self._interval = report_interval
            self._due = None
        self._wake.set()

    def drop_blobs(self) -> None:
        """Drop the content that no message in the outbox needs."""
        self._blobs.keep_only({m.report.manifest for m in self._outbox.messages() if m.report is not None})

    async def run(self) -> None:
        """Work until cancelled. A collection that runs then is stopped; its run stays in the journal."""
        while True:
            self._wake.clear()
            if runs := self._journal.open_runs():
                await self._do(runs[0])
            elif (wait := self._seconds_to_report()) is not None and wait <= 0:
                await self._report()
            else:
                saved = self._outbox.save() and self._journal.save()
                await self._sleep(min(wait or 3600.0, 3600.0 if saved else _SAVE_SECONDS))

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _do(self, run: Run) -> None:
        left = run.left(self._clock.now())
        if left <= timedelta(0):
            sentence = "its time was over before it could begin"
            self._finish(Finished(run.run_id, Outcome.TIMEOUT, sentence))
            return
        self._doing = run.run_id
        try:
            offer = await self._collect(left, lambda step: self._progress(run.run_id, step))
        except CollectionTimedOut as error:
            self._finish(Finished(run.run_id, Outcome.TIMEOUT, str(error)))
        except CollectionFailed as error:
            self._finish(Finished(run.run_id, Outcome.FAILED, str(error)))
        else:
            self._progress(run.run_id, "sending")
            self._finish(Finished(run.run_id, Outcome.SUCCEEDED, report=offer))
        finally:
            self._doing = ""

    async def _report(self) -> None:
        try:
            offer = await self._collect(SELF_REPORT_TIMEOUT, lambda _: None)
        except CollectionFailed as error:
            log.warning("no report could be made", extra={"cause": str(error)})
            self._due = self._clock.now() + min(self._interval, _FAILED_REPORT_WITHIN) * (0.5 + self._random() / 2)
        else:
            self._outbox.put(SelfReport(self._ids.new("m-", 26), offer))

    async def _collect(self, allowed: timedelta, progress: Callable[[str], None]) -> Offer:
        """Collect and take over the content. From here to the outbox nothing waits, so that no clean-up comes between."""
        try:
            spool = await collection.fresh_spool(self.state)
            words = collection.command(self.settings, spool, allowed, self.clock_matter)
            offer = await collection.collect(words, spool, allowed, self.settings.nice, progress)
            self._blobs.adopt(spool)
            host.remember_os(self.state, self._blobs.read(offer.manifest))
        except OSError as error:
            raise CollectionFailed(
                f"the agent cannot write to {self.state}: {error.strerror}; make room or mend the disk"
            ) from None
        self._reported(offer.collected_at)
        return offer

    def _finish(self, finished: Finished) -> None:
        log.info("a run ended", extra={"run": finished.run_id, "outcome": finished.outcome, "error": finished.error})
        self._steps.pop(finished.run_id, None)
        failpoints.reached("uniagent.before_result")
        self._put_result(finished)
        failpoints.reached("uniagent.result_kept")
        self._journal.finish(finished)
        failpoints.reached("uniagent.run_finished")

    def _put_result(self, f: Finished) -> None:
        self._outbox.put(RunResult(self._ids.new("m-", 26), f.run_id, f.outcome, f.error, f.report))

    def _progress(self, run_id: str, step: str) -> None:
        self._steps[run_id] = step
        if self.say is not None:
            self.say(RunProgress(run_id, step))

    def _seconds_to_report(self) -> float | None:
        """Return how long until an unordered report is due; None when none is, e.g. while nobody listens."""
        if not self._interval or self.say is None:
            return None
        now = self._clock.now()
        if self._due is None:
            if self._last is not None and self._last > now + _FUTURE:
                log.warning("the last report lies in the future: the clock went back", extra={"last": self._last})
            self._due = next_report(self._last, self._interval, now, self._random())
        return (self._due - now).total_seconds()

    def _reported(self, at: datetime) -> None:
        self._last, self._due = at, None
        try:
            durable.write(self.state / "last_report", at.isoformat().encode())
        except OSError as error:  # then the next one comes early after a restart
            log.warning("cannot remember when the last report was made", extra={"cause": str(error)})

    def _read_last(self) -> datetime | None:
        try:
            at = datetime.fromisoformat((self.state / "last_report").read_text().strip())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("cannot tell when the last report was made", extra={"cause": str(error)})
            return None
        return at if at.tzinfo is not None else None
