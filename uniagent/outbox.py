"""Results and reports that the controller has not acknowledged yet, one file each."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from uniagent.durable import Drawer
from uniagent.messages import Kept, Offer, Outcome, RunResult, SelfReport

log: Final = logging.getLogger(__name__)


class Outbox:
    """Keeps a message until the Ack that names its id, through crashes and restarts.

    When the disk takes no more, a message is kept in memory, said all the same, and written as soon as there is room.
    """

    def __init__(self, folder: Path) -> None:
        """Open the folder and read what is left from before."""
        self._drawer = Drawer(folder)
        self._waiting = dict[int, Kept]()  # by the order of sending, which rises when one is sent again
        self._files = dict[str, int]()
        self._unsaved = set[str]()
        self.listener: Callable[[], None] | None = None
        """Called after something new is to be sent."""
        for number, document in self._drawer.read_all():
            try:
                message = _from_document(document)
            except (KeyError, ValueError, TypeError) as error:
                self._drawer.set_aside(number, f"is no message: {error!r}")
            else:
                self._waiting[number] = message
                self._files[message.id] = number
        self._last = max(self._waiting, default=0)

    def put(self, message: Kept) -> None:
        """Keep a message until it is acknowledged."""
        self._files[message.id] = self._drawer.number()
        self._unsaved.add(message.id)
        self._append(message)
        self.save()

    def save(self) -> bool:
        """Write what the disk did not take before; return whether all is written."""
        for message in self.messages():
            if message.id in self._unsaved:
                try:
                    self._drawer.put(self._files[message.id], _to_document(message))
                except OSError as error:
                    log.warning(
                        "cannot write to the outbox, kept in memory", extra={"id": message.id, "cause": str(error)}
                    )
                    return False
                self._unsaved.discard(message.id)
        return True

    def acknowledge(self, message_id: str) -> bool:
        """Forget the message with this id; return whether there was one."""
        number = self._files.pop(message_id, None)
        if number is None:
            return False
        self._unsaved.discard(message_id)
        self._waiting = {n: m for n, m in self._waiting.items() if m.id != message_id}
        try:
            self._drawer.remove(number)
        except OSError as error:  # it will be sent once more after a restart, which is harmless
            log.warning("cannot remove an acknowledged message", extra={"id": message_id, "cause": str(error)})
        return True

    def repeat(self, run_id: str) -> bool:
        """Send the result of a run once more on the stream that is open; return False when it is not here."""
        for order, message in self._waiting.items():
            if isinstance(message, RunResult) and message.run_id == run_id:
                del self._waiting[order]
                self._append(message)
                return True
        return False

    def after(self, order: int) -> tuple[int, Kept] | None:
        """Return the first message that comes after this place in the order, and its place."""
        return next(((n, m) for n, m in self._waiting.items() if n > order), None)

    def messages(self) -> tuple[Kept, ...]:
        """Return all that is kept, in order."""
        return tuple(self._waiting.values())

    def _append(self, message: Kept) -> None:
        self._last += 1
        self._waiting[self._last] = message
        if self.listener is not None:
            self.listener()


def offer_to_document(offer: Offer | None) -> dict[str, str]:
    """Return an offer as a JSON table; empty for none."""
    return {} if offer is None else {"manifest": offer.manifest, "collected_at": offer.collected_at.isoformat()}


def offer_from_document(document: dict[str, Any]) -> Offer | None:
    """Read what `offer_to_document` made; raise KeyError or ValueError for anything else."""
    if not document:
        return None
    bytes.fromhex(document["manifest"])
    return Offer(document["manifest"], datetime.fromisoformat(document["collected_at"]))


def _to_document(message: Kept) -> dict[str, Any]:
    head = {"id": message.id, "report": offer_to_document(message.report)}
    if isinstance(message, RunResult):
        return head | {"run_id": message.run_id, "outcome": message.outcome.value, "error": message.error}
    return head


def _from_document(document: dict[str, Any]) -> Kept:
    offer = offer_from_document(document["report"])
    if "run_id" in document:
        return RunResult(document["id"], document["run_id"], Outcome(document["outcome"]), document["error"], offer)
    if offer is None:
        raise ValueError("a self report without a report")
    return SelfReport(document["id"], offer)
