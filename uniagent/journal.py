"""Runs that were assigned: written down before the work begins, remembered after it ended."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from uniagent import durable
from uniagent.messages import Offer, Outcome
from uniagent.outbox import offer_from_document, offer_to_document

log: Final = logging.getLogger(__name__)
REMEMBERED: Final = 1000
"""So many finished runs are remembered, so that none of them is done twice."""


@dataclass(frozen=True, slots=True)
class Run:
    """One assigned run."""

    run_id: str
    ticket_id: str
    accepted_at: datetime
    timeout: timedelta

    def left(self, now: datetime) -> timedelta:
        """Return how much of its timeout is left; never more than all, even when the clock went back."""
        return min(self.timeout, self.accepted_at + self.timeout - now)


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run ended."""

    run_id: str
    outcome: Outcome
    error: str = ""
    report: Offer | None = None


class Journal:
    """Which runs are open, in the order they came, and how the last ones ended. Survives any crash."""

    def __init__(self, folder: Path) -> None:
        """Open the journal, made if absent."""
        self._drawer = durable.Drawer(folder)
        self._path = folder / "finished.jsonl"
        self._open = dict[str, tuple[int, Run]]()
        self._finished = dict[str, Finished]()
        self._unsaved = list[Finished]()
        self._lines = 0
        self._read_finished()
        for number, document in self._drawer.read_all():
            try:
                run = _run_from(document)
            except (KeyError, ValueError, TypeError) as error:
                self._drawer.set_aside(number, f"is no run: {error!r}")
                continue
            if run.run_id in self._finished or run.run_id in self._open:
                self._drawer.remove(number)  # it ended just before the crash
            else:
                self._open[run.run_id] = (number, run)

    def open_runs(self) -> tuple[Run, ...]:
        """Return the runs that have not ended, in the order they were accepted."""
        return tuple(run for _, run in self._open.values() if run.run_id not in self._finished)

    def is_open(self, run_id: str) -> bool:
        """Say whether this run was accepted and has not ended."""
        return run_id in self._open and run_id not in self._finished

    def finished(self, run_id: str) -> Finished | None:
        """Return how a run ended; None when it is not remembered."""
        return self._finished.get(run_id)

    def accept(self, run: Run) -> None:
        """Write a run down. When it returns, the promise is on disk; it raises OSError when it cannot be kept."""
        number = self._drawer.number()
        self._drawer.put(
            number,
            {
                "run_id": run.run_id,
                "ticket_id": run.ticket_id,
                "accepted_at": run.accepted_at.isoformat(),
                "timeout_seconds": run.timeout.total_seconds(),
            },
        )
        self._open[run.run_id] = (number, run)

    def finish(self, finished: Finished) -> None:
        """Remember how a run ended. Call it after its result is in the outbox."""
        self._finished[finished.run_id] = finished
        while len(self._finished) > REMEMBERED:
            del self._finished[next(iter(self._finished))]
        self._unsaved.append(finished)
        self.save()

    def save(self) -> bool:
        """Write what the disk did not take before; return whether all is written."""
        while self._unsaved:
            finished = self._unsaved[0]
            try:
                if self._lines >= 2 * REMEMBERED:
                    self._compact()
                else:
                    self._append(finished)
                if finished.run_id in self._open:
                    self._drawer.remove(self._open[finished.run_id][0])
            except OSError as error:  # after a crash now, the run would be done again, which is harmless
                log.warning("cannot write to the journal", extra={"run": finished.run_id, "cause": str(error)})
                return False
            self._open.pop(finished.run_id, None)
            del self._unsaved[0]
        return True

    def _append(self, finished: Finished) -> None:
        new = not self._path.exists()
        with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as file:
            file.write(_line(finished))
            file.flush()
            os.fsync(file.fileno())
        if new:
            durable.sync_folder(self._path.parent)
        self._lines += 1

    def _compact(self) -> None:
        durable.write(self._path, b"".join(map(_line, self._finished.values())))
        self._lines = len(self._finished)

    def _read_finished(self) -> None:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return
        lines = content.splitlines()
        for line in lines:
            try:
                finished = _finished_from(json.loads(line))
            except (KeyError, ValueError, TypeError) as error:  # the power failed in the middle of a line
                log.warning("the journal has a line that cannot be read", extra={"cause": repr(error)})
            else:
                self._finished.pop(finished.run_id, None)
                self._finished[finished.run_id] = finished
        torn = bool(content) and not content.endswith(b"\n")  # then nothing may be appended: the file is written anew
        self._lines = 2 * REMEMBERED if torn else len(lines)
        for run_id in list(self._finished)[:-REMEMBERED]:
            del self._finished[run_id]


def _line(finished: Finished) -> bytes:
    document = {
        "run_id": finished.run_id,
        "outcome": finished.outcome.value,
        "error": finished.error,
        "report": offer_to_document(finished.report),
    }
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"


def _finished_from(document: dict[str, Any]) -> Finished:
    return Finished(
        document["run_id"], Outcome(document["outcome"]), document["error"], offer_from_document(document["report"])
    )


def _run_from(document: dict[str, Any]) -> Run:
    return Run(
        document["run_id"],
        document["ticket_id"],
        datetime.fromisoformat(document["accepted_at"]),
        timedelta(seconds=document["timeout_seconds"]),
    )
