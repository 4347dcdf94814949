"""What a ticket will be: who is selected, in which batches, by which baselines. Preview shows it, CreateTicket makes it; both ask here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from common.errors import Rejected
from controller.api import telling
from controller.api.auth import operator
from controller.api.bound import BoundBaselines
from controller.api.lookup import find_baseline
from controller.api.reach import Reach
from controller.api.selecting import Selecting
from controller.compliance.model import Baseline
from controller.fleet.model import Instance
from controller.fleet.selection import NotSelectable
from controller.store.api import ContactStore
from controller.tickets.batches import batches, target_of
from controller.tickets.model import PlannedBatch, RefusedAccount, TicketSpec
from controller.tickets.suspension import stops_at

DEFAULT_BASELINE = "default"
"""What an operator writes for "the one that decides for each instance"; so may an empty text."""
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Use:
    """A baseline and how many targets of one product it decides for; no baseline at all counts too."""

    baseline: Baseline | None
    product: str
    instances: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A ticket before it exists."""

    spec: TicketSpec
    """As asked, the baseline as its id."""
    batches: tuple[PlannedBatch, ...]
    targets: int
    uses: tuple[Use, ...]
    not_selectable: tuple[NotSelectable, ...]
    stops_at: int
    enterprise_projects: frozenset[str] = frozenset()
    """Those of the targets."""
    refused_accounts: tuple[RefusedAccount, ...] = ()
    """Accounts of which nothing is in it."""

    @property
    def has_canary(self) -> bool:
        """Whether the first batch is a canary: there is one, and something depends on it."""
        return self.spec.batch_policy.canary is not None and len(self.batches) > 1


class Planner:
    """Plans tickets over the fleet as it is now."""

    def __init__(
        self,
        baselines: BoundBaselines,
        contacts: ContactStore,
        reach: Reach,
        selecting: Selecting,
        deciding: Callable[[Instance], Awaitable[tuple[Baseline | None, str]]],
    ) -> None:
        """`reach` says in whose instances a ticket may work, `deciding` which baseline decides for an instance."""
        self._baselines = baselines
        self._contacts = contacts
        self._reach = reach
        self._selecting = selecting
        self._deciding = deciding

    async def plan(self, asked: TicketSpec) -> Plan:
        """Return what the caller's ticket of this spec would be.

        Raises InvalidArgument and NotFound for what it names wrongly, and PermissionDenied when an agency is missing.
        """
        baseline: Baseline | None = None
        if asked.baseline not in ("", DEFAULT_BASELINE):
            baseline = await find_baseline(self._baselines, "baseline", asked.baseline)
        spec = replace(asked, baseline=baseline.id if baseline is not None else "")
        fleet, refused_accounts = await self._reach.for_ticket(spec)
        chosen = await self._selecting.select(spec.selector, fleet, offline_too=spec.offline.waits)
        planned = batches([target_of(i) for i in chosen.selected], spec.batch_policy) if chosen.selected else ()
        targets = len(chosen.selected)
        return Plan(
            spec=spec,
            batches=planned,
            targets=targets,
            uses=await self._uses(chosen.selected, baseline),
            not_selectable=chosen.not_selectable,
            stops_at=(stops_at(targets, spec.suspension_policy) or 0) if targets else 0,
            enterprise_projects=frozenset(i.enterprise_project for i in chosen.selected),
            refused_accounts=refused_accounts,
        )

    async def refuse_unreachable(self, spec: TicketSpec) -> None:
        """Raise InvalidArgument that names whom the spec wants told and who is not there, or has no address.

        For whoever makes a ticket or a task; not when a task fires: that somebody has left must not keep a fleet from being scanned.
        """
        await telling.refuse_unreachable(self._contacts, spec.notification, operator().account)

    async def _uses(self, selected: tuple[Instance, ...], named: Baseline | None) -> tuple[Use, ...]:
        counts, baselines = Counter[tuple[str, str]](), dict[str, Baseline | None]()
        for instance in selected:
            baseline = named if named is not None else (await self._deciding(instance))[0]
            key = baseline.id if baseline is not None else ""
            baselines[key] = baseline
            counts[key, instance.operating_system.product] += 1
        rows = [Use(baselines[key], product, number) for (key, product), number in counts.items()]
        return tuple(sorted(rows, key=lambda u: (-u.instances, u.baseline.name if u.baseline else "", u.product)))


def refuse_empty(plan: Plan) -> None:
    """Raise Rejected that explains when a plan has no target."""
    if plan.targets:
        return
    if plan.refused_accounts and not plan.not_selectable:
        raise Rejected("; ".join(r.sentence for r in plan.refused_accounts[:_NAMED]))
    if not plan.not_selectable:
        raise Rejected("no instance matches; list them: patchctl instances list")
    some = "; ".join(f"{n.instance.name}: {n.explanation}, {n.help}" for n in plan.not_selectable[:_NAMED])
    left = len(plan.not_selectable) - _NAMED
    more = f"; and {left} more" if left > 0 else ""
    raise Rejected(f"none of the {len(plan.not_selectable)} instances that match can be selected: {some}{more}")
