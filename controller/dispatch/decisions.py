"""What operators had decided at an instant: baselines, assignments and exceptions. With them the deciding baseline is a look-up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from common.errors import NotFound
from controller.compliance.exceptions import is_live, next_change
from controller.compliance.model import Assignment, Baseline, Exceptions, ExceptionScope, PatchException
from controller.fleet.assignment import Key, by_key, deciding
from controller.fleet.groups import lineage
from controller.fleet.model import Instance
from controller.store.api import BaselineStore


@dataclass(frozen=True, slots=True)
class Decisions:
    """What operators had decided at one instant. One object for a whole fleet: it is compared by identity."""

    baselines: Mapping[str, Baseline]
    """By id, in the version that was the newest."""
    assignments: Mapping[Key, Assignment]
    exceptions: Exceptions
    _by_scope: Mapping[tuple[str, ExceptionScope, str], list[PatchException]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        found = defaultdict[tuple[str, ExceptionScope, str], list[PatchException]](list)
        for exception in self.exceptions.all:
            found[exception.account, exception.scope, exception.scope_value].append(exception)
        object.__setattr__(self, "_by_scope", dict(found))

    def deciding(self, instance: Instance) -> tuple[Baseline | None, str]:
        """Return the baseline that decides for an instance and why it is that one (R16); None when none is meant for it."""
        return deciding(instance, self.assignments, self.baselines)

    def excusing(self, instance: Instance, at: datetime) -> tuple[str, ...]:
        """Return the ids of the exceptions that are live at an instant and concern an instance."""
        scopes = (
            (ExceptionScope.INSTANCE, instance.id),
            *((ExceptionScope.GROUP, group) for group in lineage(instance.application_group)),
            (ExceptionScope.ALL, ""),
        )
        return tuple(
            e.id for scope in scopes for e in self._by_scope.get((instance.account, *scope), ()) if is_live(e, at)
        )

    def next_change(self, after: datetime) -> datetime | None:
        """Return when the next exception begins or ends."""
        return next_change(self.exceptions, after)


async def load(store: BaselineStore) -> Decisions:
    """Return what holds now."""
    return Decisions(
        {b.id: b for b in await store.baselines()}, by_key(await store.assignments()), await store.exceptions()
    )


async def load_as_of(
    store: BaselineStore, at: datetime, versions: MutableMapping[tuple[str, int], Baseline]
) -> Decisions:
    """Return what held at an instant. `versions` keeps each version of a baseline once, however often it is loaded."""
    assignments = await store.assignments(at)
    baselines = dict[str, Baseline]()
    for identifier in sorted({a.baseline_id for a in assignments}):
        try:
            found = await store.baseline_as_of(identifier, at)
            baselines[identifier] = versions.setdefault((found.id, found.version), found)
        except NotFound:
            continue  # it was made later: it decided for nobody yet
    return Decisions(baselines, by_key(assignments), known_by(await store.exceptions(), at))


def known_by(exceptions: Exceptions, at: datetime) -> Exceptions:
    """Return the exceptions as they were known at an instant: without those made later, and without later revocations.

    Each making and each revocation raised the version by 1, so the version of then can be counted.
    """
    known = tuple(
        replace(e, revoked_at=None) if e.revoked_at is not None and e.revoked_at > at else e
        for e in exceptions.all
        if e.created_at <= at
    )
    return Exceptions(len(known) + sum(e.revoked_at is not None for e in known), known)
