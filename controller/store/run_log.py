"""The log of a run as one short text: a run has a row, not a row a step. "1780000000000000 1:promised+0 1:sent+1500 ..."."""

from __future__ import annotations

from controller.store.codec import micros, moment
from controller.tickets.model import Step


def pack(log: tuple[Step, ...]) -> str:
    """Return a log as text: the first time in microseconds since 1970, then attempt, name and microseconds since the step before."""
    if not log:
        return ""
    before = micros(log[0].at)
    words = [str(before)]
    for step in log:
        at = micros(step.at)
        words.append(f"{step.attempt}:{step.name.translate(_TAKEN)}{at - before:+d}")
        before = at
    return " ".join(words)


def unpack(text: str) -> tuple[Step, ...]:
    """Return the log that `pack` wrote."""
    if not text:
        return ()
    first, *words = text.split(" ")
    at, log = int(first), list[Step]()
    for word in words:
        attempt, _, rest = word.partition(":")
        cut = max(rest.rfind("+"), rest.rfind("-"))
        at += int(rest[cut:])
        log.append(Step(int(attempt), rest[:cut], moment(at)))
    return tuple(log)


_TAKEN = str.maketrans({" ": "_", "+": "_", "-": "_"})
"""What separates: an agent's word for a step may have it, and is spelled a little differently then."""
