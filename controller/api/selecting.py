"""Who is meant by a selector, now: brings the pure selection what is known of the fleet. Every service that takes a selector asks here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from common.clock import Clock
from controller.api.bound import BoundFleet
from controller.compliance.model import Assessment
from controller.fleet.lifecycle import STALE_AFTER
from controller.fleet.model import Instance, InstanceId, Lifecycle, Selector
from controller.fleet.selection import Answered, Known, Selection, asks_answers, check_references, matching, select
from controller.fleet.sessions import Sessions

Assessments = Callable[[Sequence[Instance]], Awaitable[Mapping[InstanceId, Assessment]]]
"""Asked for the answers of instances as of now."""


_ALL: Final = Selector(all=True)


class Selecting:
    """One for a controller process."""

    def __init__(
        self,
        store: BoundFleet,
        sessions: Sessions,
        assessments: Assessments,
        clock: Clock,
        stale_after: timedelta = STALE_AFTER,
    ) -> None:
        """Join the parts."""
        self._store = store
        self._sessions = sessions
        self._assessments = assessments
        self._clock = clock
        self.stale_after = stale_after

    async def known(self, instances: Sequence[Instance], selector: Selector) -> Known:
        """Return what a selector has to know of these instances; answers only if it asks for them."""
        answers = dict[InstanceId, Answered]()
        if asks_answers(selector):
            narrowed = matching(instances, _without_what_must_be_known(selector))
            for instance_id, found in (await self._assessments(narrowed)).items():
                answers[instance_id] = Answered(found.status, found.collected_at)
        presences = self._sessions.presences(instances)
        return Known(presences, answers, self._clock.now(), self.stale_after)

    async def matching(self, selector: Selector, *, retired: bool = False) -> Sequence[Instance]:
        """Return who is meant, whether it can be selected or not.

        With `retired` retired ones too if the selector asks for that place in life. Raise InvalidArgument for references to nobody.
        """
        fleet = await self._store.instances(selector.accounts)
        if selector == _ALL:
            return fleet
        if retired and Lifecycle.RETIRED in selector.lifecycles:
            gone = await self._store.retired_instances(selector.accounts)
            fleet = tuple(sorted((*fleet, *gone), key=lambda i: (i.name, i.id)))
        known = await self.known(fleet, selector)
        check_references(fleet, selector, known)
        return matching(fleet, selector, known)

    async def select(self, selector: Selector, fleet: Sequence[Instance], *, offline_too: bool = False) -> Selection:
        """Return who is meant of a fleet, and who of them can be selected for a ticket; `offline_too`: somebody waits for their agents."""
        known = await self.known(fleet, selector)
        return select(fleet, selector, known.presences, known.now, known, offline_too=offline_too)


def _without_what_must_be_known(selector: Selector) -> Selector:
    """Return the selector without the fields that are held against answers and presences: whom it cannot mean need not be asked for."""
    return replace(
        selector, agent_states=(), statuses=(), report_older_than=None, report_newer_than=None, lifecycles=()
    )
