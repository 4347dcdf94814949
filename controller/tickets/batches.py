"""How targets become batches: all in one, the operator's own lists, or the automatic rule (SEMANTICS §1, batch policy).

The automatic rule: one region, one availability zone and one application group a batch; at most a share of the instances of one
application group in a batch (a group of one is exempt; no group is a group as well); at most `batch_size`; the first
batches no larger than the ramp says. A group is all targets of the ticket with that application group, wherever they stand.

A canary is one batch before all others. It is to tell of the whole fleet, so it takes from every region in turn, in each from every
zone and group in turn; of one group it takes no more than the share. The ramp begins after it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from common.errors import InvalidArgument, Violation
from controller.fleet.model import Instance
from controller.tickets.model import PlannedBatch, Target
from controller.tickets.policies import BatchPolicy, BatchPolicyKind

_MAX_VIOLATIONS: Final = 20  # they travel in a response header, which has room for a few thousand bytes
_NAMED: Final = 5
_DIGITS: Final = re.compile(r"([0-9]+)")


def target_of(instance: Instance) -> Target:
    """Return what batching needs to know of an instance."""
    return Target(instance.id, instance.name, instance.region, instance.zone, instance.application_group)


def batches(targets: Sequence[Target], policy: BatchPolicy) -> tuple[PlannedBatch, ...]:
    """Split targets into batches; the same targets in any order give the same batches, and each stands in exactly one.

    MANUAL_BATCH raises InvalidArgument when the lists are not exactly the targets (see `manual`).
    """
    match policy.kind:
        case BatchPolicyKind.MANUAL_BATCH:
            return manual(targets, policy.manual)
        case BatchPolicyKind.NO_BATCH:
            first, rest = _canary(_ordered(targets), policy, share_percent=100)
            return _numbered(batch for batch in (first, rest) if batch)
        case BatchPolicyKind.AUTO_BATCH:
            first, rest = _canary(_ordered(targets), policy, policy.group_share_percent)
            split = _split(rest, Counter(t.application_group for t in targets), policy)
            return _numbered([first, *split] if first else split)


def manual(targets: Sequence[Target], lists: Sequence[Sequence[str]]) -> tuple[PlannedBatch, ...]:
    """Make batches of the operator's own lists, in their order; entries are ids, or names that only one target has.

    Raise InvalidArgument with everything that is wrong: an empty list, an entry that is no target or stands for several,
    a target that is there twice or not at all.
    """
    by_id = {target.id: target for target in targets}
    by_name = defaultdict[str, list[Target]](list)
    for target in targets:
        by_name[target.name].append(target)
    placed, planned, wrong = dict[str, str](), list[list[Target]](), list[Violation]()
    for number, entries in enumerate(lists):
        field = f"batch_policy.batches[{number}].instances"
        if not entries:
            wrong.append(Violation(field, f"batch {number + 1} is empty; name at least one instance or leave it out"))
        batch = list[Target]()
        for place, entry in enumerate(entries):
            path, here = f"{field}[{place}]", f"batch {number + 1}, entry {place + 1}"
            found = [by_id[entry]] if entry in by_id else by_name.get(entry, [])  # type: ignore[index]  # a name is no id
            if len(found) != 1:
                wrong.append(Violation(path, f"{here}: {_not_one(entry, found)}"))
            elif (before := placed.setdefault(found[0].id, here)) != here:
                wrong.append(Violation(path, f"{here}: {entry[:80]!r} is {before} already; name it once"))
            else:
                batch.append(found[0])
        planned.append(batch)
    if left := [target for target in _ordered(targets) if target.id not in placed]:
        some = ", ".join(target.name for target in left[:_NAMED]) + (", ..." if len(left) > _NAMED else "")
        wrong.append(
            Violation("batch_policy.batches", f"{len(left)} selected instances stand in no batch: {some}; add them")
        )
    if wrong:
        raise InvalidArgument(tuple(wrong[:_MAX_VIOLATIONS]))
    return _numbered(planned)


def _not_one(entry: str, found: Sequence[Target]) -> str:
    if found:
        return f"{entry!r} stands for {len(found)} instances, write an id: {', '.join(t.id for t in found[:_NAMED])}"
    return f"{entry[:80]!r} is not among the selected instances; select it or leave it out"


def _canary(ordered: Sequence[Target], policy: BatchPolicy, share_percent: int) -> tuple[list[Target], list[Target]]:
    """Return the canary and who is left, both in order. No canary is asked for: nobody, and all."""
    if policy.canary is None or not ordered:
        return [], list(ordered)
    size = policy.canary.instances or -(-len(ordered) * policy.canary.percent // 100)
    taken, room = set[str](), _shares(Counter(t.application_group for t in ordered), share_percent)
    for target in _by_turns(ordered):
        if len(taken) == size:
            break
        if room[target.application_group] > 0:
            room[target.application_group] -= 1
            taken.add(target.id)
    return [t for t in ordered if t.id in taken], [t for t in ordered if t.id not in taken]


def _by_turns(ordered: Sequence[Target]) -> list[Target]:
    """Deal targets out: the first of every region, then the second of each; in a region likewise by zone and group."""
    seen_in_place, in_region = Counter[tuple[str, str, str]](), list[tuple[int, int, Target]]()
    for number, target in enumerate(ordered):
        in_region.append((seen_in_place[_place(target)], number, target))
        seen_in_place[_place(target)] += 1
    seen_in_region, dealt = Counter[str](), list[tuple[int, int, Target]]()
    for _, number, target in sorted(in_region, key=lambda r: r[:2]):
        dealt.append((seen_in_region[target.region], number, target))
        seen_in_region[target.region] += 1
    return [target for *_, target in sorted(dealt, key=lambda r: r[:2])]


def _shares(group_sizes: Counter[str], share_percent: int) -> dict[str, int]:
    return {group: max(1, size * share_percent // 100) for group, size in group_sizes.items()}


def _split(ordered: Sequence[Target], group_sizes: Counter[str], policy: BatchPolicy) -> list[list[Target]]:
    shares = _shares(group_sizes, policy.group_share_percent)
    split, largest = list[list[Target]](), 0
    for target in ordered:
        if not split or _place(split[-1][0]) != _place(target) or len(split[-1]) >= largest:
            largest = min(
                shares[target.application_group], policy.batch_size, *policy.ramp[len(split) : len(split) + 1]
            )
            split.append([])
        split[-1].append(target)
    return split


def _place(target: Target) -> tuple[str, str, str]:
    return target.region, target.zone, target.application_group


def _ordered(targets: Sequence[Target]) -> list[Target]:
    regions = Counter(target.region for target in targets)
    return sorted(targets, key=lambda t: (regions[t.region], *_place(t), _natural(t.name), t.id))


def _natural(name: str) -> list[str | int]:
    """Make web-2 come before web-10: numbers compare by their length, then their digits. Text and number take turns."""
    pieces = _DIGITS.split(name)
    key: list[str | int] = pieces[:1]
    for digits, text in zip(pieces[1::2], pieces[2::2], strict=True):
        significant = digits.lstrip("0")
        key += (len(significant), significant, text)
    return key


def _numbered(split: Iterable[Sequence[Target]]) -> tuple[PlannedBatch, ...]:
    return tuple(
        PlannedBatch(
            number,
            tuple(targets),
            _common({t.region for t in targets}),
            _common({t.zone for t in targets}),
            _common({t.application_group for t in targets}),
        )
        for number, targets in enumerate(split, 1)
    )


def _common(values: set[str]) -> str:
    return next(iter(values)) if len(values) == 1 else ""
