"""What would another baseline change (`baseline try`)? Two answers for each instance, compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from controller.compliance.host import Answer
from controller.compliance.model import InstanceStatus, Level


@dataclass(frozen=True, slots=True)
class Change:
    """One instance whose answer would be another: its status, or the packages that keep it from complying."""

    instance_id: str
    before: InstanceStatus
    after: InstanceStatus
    level_before: Level
    level_after: Level
    worse: tuple[str, ...]
    """Keys (name.arch) that would be non-compliant and are not now, in order."""
    better: tuple[str, ...]
    """Keys that are non-compliant now and would not be, in order."""

    @property
    def changes_status(self) -> bool:
        """Whether the instance would have another status; otherwise it is about packages or levels only."""
        return self.before is not self.after


@dataclass(frozen=True, slots=True)
class Changes:
    """All that would change, and how often."""

    instances: int
    """How many were compared."""
    changed: tuple[Change, ...]
    """Those that change status first, then by instance id."""
    moves: tuple[tuple[InstanceStatus, InstanceStatus, int], ...]
    """From, to, and how many instances: only where the two differ."""
    worse: tuple[tuple[str, int], ...]
    """Package keys that would become non-compliant, and on how many instances: most first."""
    better: tuple[tuple[str, int], ...]
    """Package keys that would no longer be, likewise."""


def changes(before: Iterable[Answer], after: Iterable[Answer]) -> Changes:
    """Compare answers: `before` and `after` are of the same instances in the same order. Raises ValueError when they are not."""
    found = list[Change]()
    moves, worse, better = Counter[tuple[InstanceStatus, InstanceStatus]](), Counter[str](), Counter[str]()
    compared = 0
    for one, other in zip(before, after, strict=True):
        compared += 1
        was, will = one.assessment, other.assessment
        if was.instance_id != will.instance_id:
            raise ValueError(f"answer {compared} is of {was.instance_id} before and of {will.instance_id} after")
        if one.non_compliant_keys == other.non_compliant_keys and (was.status, was.level) == (will.status, will.level):
            continue
        old, new = frozenset(one.non_compliant_keys), frozenset(other.non_compliant_keys)
        change = Change(
            was.instance_id,
            was.status,
            will.status,
            was.level,
            will.level,
            tuple(sorted(new - old)),
            tuple(sorted(old - new)),
        )
        found.append(change)
        worse.update(change.worse)
        better.update(change.better)
        if change.changes_status:
            moves[change.before, change.after] += 1
    return Changes(
        compared,
        tuple(sorted(found, key=lambda change: (not change.changes_status, change.instance_id))),
        tuple((was, will, count) for (was, will), count in sorted(moves.items())),
        _most_first(worse),
        _most_first(better),
    )


def _most_first(counts: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda found: (-found[1], found[0])))
