"""Finds what a caller calls by id or name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from common.errors import NotFound, Rejected
from controller.api.checks import reference
from controller.compliance.model import Baseline
from controller.fleet.model import Instance
from controller.tickets.model import Run, TicketId

_NAMED = 5


def find_instance(instances: Iterable[Instance], field: str, called: str) -> Instance:
    """Return the instance with this id or name. Raises InvalidArgument, NotFound, and Rejected when several have the name."""
    reference(field, called)
    named = list[Instance]()
    for instance in instances:
        if instance.id == called:
            return instance
        if instance.name == called:
            named.append(instance)
    if not named:
        raise NotFound("instance", called, "list them: patchctl instances list")
    if len(named) > 1:
        raise _ambiguous(called, [i.id for i in named])
    return named[0]


def find_run(runs: Iterable[Run], field: str, called: str) -> Run:
    """Return the run of the instance with this id or name, as `find_instance` does."""
    reference(field, called)
    named = list[Run]()
    for run in runs:
        if run.instance_id == called:
            return run
        if run.instance_name == called:
            named.append(run)
    if not named:
        raise NotFound("run", called, "this instance is no target of the ticket")
    if len(named) > 1:
        raise _ambiguous(called, [r.instance_id for r in named])
    return named[0]


class _Baselines(Protocol):
    async def find_baseline(self, reference: str) -> Baseline: ...


async def find_baseline(store: _Baselines, field: str, called: str) -> Baseline:
    """Return the newest version of the baseline with this id or name. Raises InvalidArgument, NotFound."""
    reference(field, called)
    try:
        return await store.find_baseline(called)
    except NotFound:
        raise NotFound("baseline", called, "list them: patchctl baseline list") from None


def ticket_id(called: str) -> TicketId:
    """Check a ticket's id; raise InvalidArgument."""
    return TicketId(reference("ticket_id", called))


def _ambiguous(called: str, ids: list[str]) -> Rejected:
    some = ", ".join(ids[:_NAMED]) + (", ..." if len(ids) > _NAMED else "")
    return Rejected(f"{len(ids)} instances are called {called!r}; use an id: {some}")
