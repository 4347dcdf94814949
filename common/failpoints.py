"""Places where a test may kill the process, to prove that it can die there: one name for each place that stores or sends.

For tests only. Started with PATCHWARDEN_FAILPOINT=NAME, or NAME:N, in its environment, the process ends itself with SIGKILL, as a power cut
would, when it comes to that place the first (N-th) time. Without the variable nothing happens, and a place costs one comparison.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NoReturn

VARIABLE: Final = "PATCHWARDEN_FAILPOINT"

NAMES: Final = (
    # dispatch/engine: a ticket is made, moves on, and is told about
    "engine.before_create",
    "engine.created",
    "engine.before_save",
    "engine.saved",
    "engine.before_order",
    "engine.told",
    "engine.answered",
    # api/agent_service: orders on the wire, and what agents say
    "agents.before_assignment",
    "agents.assignment_sent",
    "agents.before_cancel",
    "agents.cancel_sent",
    "agents.before_want",
    "agents.want_sent",
    "agents.result_heard",
    "agents.result_stored",
    "agents.before_acknowledgement",
    "agents.acknowledgement_sent",
    "agents.before_goodbye",
    "agents.goodbye_sent",
    # dispatch/scheduler: a schedule makes a ticket and writes its history
    "scheduler.before_ticket",
    "scheduler.ticket_made",
    "scheduler.before_history",
    "scheduler.history_stored",
    # dispatch/intake: a report and what it names
    "intake.content_here",
    "intake.snapshot_stored",
    "intake.blob_stored",
    "intake.before_report",
    "intake.report_stored",
    # dispatch/repeats: reports that say nothing new, many together
    "repeats.before_lot",
    "repeats.lot_stored",
    # dispatch/notifier: what happened is told
    "notifier.routed",
    "notifier.before_send",
    "notifier.accepted",
    "notifier.marked",
    # store/sqlite: the writer
    "store.before_commit",
    "store.committed",
    "store.file_written",
    # uniagent: a run is journaled, its result is kept, said, acknowledged
    "uniagent.before_accept",
    "uniagent.accepted",
    "uniagent.before_result",
    "uniagent.result_kept",
    "uniagent.run_finished",
    "uniagent.before_send",
    "uniagent.result_sent",
    "uniagent.piece_sent",
    "uniagent.before_forget",
    "uniagent.forgotten",
)
"""Every place there is, in the order in which a ticket's life comes to most of them: the controller's, then the agent's."""


@dataclass(frozen=True, slots=True)
class _Armed:
    name: str
    at: int
    count: Iterator[int]


def reached(name: str) -> None:
    """Say that the process is at this place; does not return when it is to die here."""
    if _ARMED is not None and _ARMED.name == name and next(_ARMED.count) == _ARMED.at:
        _die()


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL does not return")


def _armed(text: str) -> _Armed | None:
    if not text:
        return None
    name, _, at = text.partition(":")
    if name not in NAMES or not (at or "1").isdecimal():
        raise SystemExit(f"{VARIABLE}: {text!r} is not NAME or NAME:N with one of the names {', '.join(NAMES)}")
    return _Armed(name, int(at or 1), itertools.count(1))


_ARMED: Final = _armed(os.environ.get(VARIABLE, ""))
