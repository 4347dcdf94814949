"""What advisories tell of versions, joined with what repositories offer: read once for all baselines and all days (SEMANTICS R8)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, TypeVar

from immutables import Map

from common.manifest import Stream
from common.nevra import Nevra
from controller.compliance.model import Advisory, Available, Category
from controller.compliance.offers import BuildKey, Offer, Offers, RepositoryContent, with_changes
from controller.compliance.required import LineKey, Version
from controller.inventory.advisories import UNKNOWN_MODULE, is_modular

R = TypeVar("R")
_BLOCK: Final = 128
_PLAIN: Final = (False,)
_MODULAR: Final = (True,)
_BOTH: Final = (False, True)


@dataclass(frozen=True, slots=True)
class Told:
    """What some repositories tell of a host that has some module streams enabled."""

    versions: Map[LineKey, tuple[Version, ...]]
    """Those that advisories name, ascending."""
    named_by: Map[str, Sequence[str]]
    """By name of a package: the ids of the advisories that name it, whether they apply or not."""
    unmentioned: Map[tuple[str, str], tuple[BuildKey, ...]]
    """By (name, arch): the plain builds that are offered and that no advisory names, ascending."""
    newest_unmentioned: Map[tuple[str, str], bytes]
    """The key of the last of them."""
    restart: frozenset[BuildKey]
    """Builds whose advisories suggest a restart (R9)."""
    in_modules: frozenset[str]
    """Names of packages that an enabled module stream has builds of, as far as advisories tell (R3)."""
    archs: frozenset[str]
    """At least the architectures of `versions` and `unmentioned`."""


@dataclass(frozen=True, slots=True)
class Change:
    """What of some repository files differs from before."""

    advisories: AbstractSet[str] = frozenset()
    """Ids."""
    names: AbstractSet[str] = frozenset()
    """Of the packages that these advisories name, and of the builds that came or went: as they were or as they are."""


def change_of_advisories(before: Sequence[Advisory], after: Sequence[Advisory]) -> Change:
    """Say what two editions of an updateinfo file differ in, by what they say."""
    differs = difference(before, after)
    return Change(frozenset(a.id for a in differs), frozenset(p.nevra.name for a in differs for p in a.packages))


def change_of_available(before: Sequence[Available], after: Sequence[Available]) -> Change:
    """Say what two editions of a list of packages differ in."""
    return Change(names=frozenset(build.nevra.name for build in difference(before, after)))


def difference(before: Sequence[R], after: Sequence[R]) -> list[R]:
    """Return the records that stand in one edition only, and all whose order changed: it counts in answers.

    Fast where records that stand in both are the same objects, as `inventory.advisories.Decoder` gives them; others count as different,
    unless they are equal and stand at the same place from the start or from the end.
    """
    start = _alike(before, after)
    end = _alike(before[: start - 1 if start else None : -1], after[: start - 1 if start else None : -1])
    old = before[start : len(before) - end]
    new = after[start : len(after) - end]
    common = set(map(id, old)).intersection(map(id, new))
    if [r for r in old if id(r) in common] == [r for r in new if id(r) in common]:
        return [r for r in (*old, *new) if id(r) not in common]
    return [*old, *new]


def _alike(before: Sequence[R], after: Sequence[R]) -> int:
    """Return how many records the two have in common at the start."""
    place, least = 0, min(len(before), len(after))
    while place + _BLOCK <= least and before[place : place + _BLOCK] == after[place : place + _BLOCK]:
        place += _BLOCK  # sequences take what is identical for equal: no record is looked into
    while place < least and before[place] == after[place]:
        place += 1
    return place


def tell(contents: Sequence[RepositoryContent], offers: Offers, streams: Iterable[Stream]) -> Told:
    """Read what repositories, which must stand in order of their ids, tell; `offers` is what `offers_of` says of them."""
    return _tell([(content.id, content.advisories) for content in contents], offers, streams, None)


def tell_again(
    before: Told, change: Change, contents: Sequence[RepositoryContent], offers: Offers, streams: Iterable[Stream]
) -> Told:
    """Return what `tell` does, given what it said before the files changed, and how they did; the cost depends on the change."""
    names = change.names
    ids = ids_of(before, change)
    some = [(content.id, [a for a in content.advisories if a.id in ids]) for content in contents]
    part = _tell(some, offers, streams, names)
    pairs, line_keys = keys_of(names, before.archs)
    return Told(
        with_changes(before.versions, line_keys, part.versions),
        with_changes(before.named_by, names, part.named_by),
        with_changes(before.unmentioned, pairs, part.unmentioned),
        with_changes(before.newest_unmentioned, pairs, part.newest_unmentioned),
        frozenset(r for r in before.restart if r[0] not in names) | part.restart,
        (before.in_modules - names) | part.in_modules,
        before.archs | part.archs,
    )


def ids_of(told: Told, change: Change) -> set[str]:
    """Return the ids of the advisories that a change is about, and of those that name the same packages."""
    return set(change.advisories).union(*(told.named_by.get(name, ()) for name in change.names))


def keys_of(names: Iterable[str], archs: AbstractSet[str]) -> tuple[list[tuple[str, str]], list[LineKey]]:
    """Return the (name, arch) that there can be of some names, and the keys of their lines."""
    pairs = [(name, arch) for name in names for arch in archs]
    return pairs, [(*pair, modular) for pair in pairs for modular in _BOTH]


_Mention = tuple[str, Advisory, Nevra, bool]
"""What names a version: repository, advisory, the build as it spells it, and whether it is for a module."""


def _tell(
    contents: Iterable[tuple[str, Sequence[Advisory]]],
    offers: Offers,
    streams: Iterable[Stream],
    only: AbstractSet[str] | None,
) -> Told:
    """Read all, or what is told of some names."""
    enabled = {f"{stream.name}:{stream.stream}" for stream in streams}
    found = defaultdict[LineKey, dict[bytes, list[_Mention]]](dict)
    named_by = defaultdict[str, list[str]](list)
    mentioned, restart, in_modules = set[BuildKey](), set[BuildKey](), set[str]()
    for repository, advisories in contents:
        for advisory in advisories:
            for package in advisory.packages:
                build, module = package.nevra, package.module
                name = build.name
                if only is not None and name not in only:
                    continue
                arch, key = build.arch, build.key
                build_key = (name, arch, key)
                mentioned.add(build_key)
                named_by[name].append(advisory.id)
                if package.reboot_suggested:
                    restart.add(build_key)
                if module and module in enabled:
                    in_modules.add(name)
                mention = (repository, advisory, build, bool(module))
                for modular in _applies_to(module, enabled) if module else _PLAIN:
                    known = found[name, arch, modular]
                    if (mentions := known.get(key)) is None:
                        known[key] = [mention]
                    else:
                        mentions.append(mention)
    unmentioned = _unmentioned(offers, mentioned, only)
    return Told(
        Map(
            (line_key, tuple([_version(line_key, key, known[key], offers) for key in sorted(known)]))
            for line_key, known in found.items()
        ),
        Map(named_by),
        Map(unmentioned),
        Map((name, builds[-1][2]) for name, builds in unmentioned.items()),
        frozenset(restart),
        frozenset(in_modules),
        frozenset(arch for _, arch, _ in found).union(arch for _, arch in unmentioned),
    )


def _unmentioned(
    offers: Offers, mentioned: AbstractSet[BuildKey], only: AbstractSet[str] | None
) -> dict[tuple[str, str], tuple[BuildKey, ...]]:
    """Find the plain builds that no advisory names: which stream a modular build belongs to, only its advisory can tell."""
    offered: Iterable[tuple[BuildKey, Offer]] = offers.builds.items()
    if only is not None:
        offered = ((key, offers.builds[key]) for name in only for key in offers.names.get(name, ()))
    found = defaultdict[tuple[str, str], list[BuildKey]](list)
    for build_key, (_, build, _) in offered:
        if build_key not in mentioned and not is_modular(build.release):
            found[build.name, build.arch].append(build_key)
    return {name: tuple(sorted(keys)) for name, keys in found.items()}


def _version(line_key: LineKey, key: bytes, mentions: Sequence[_Mention], offers: Offers) -> Version:
    offer = offers.builds.get((line_key[0], line_key[1], key))
    repository, _, build, _ = mentions[0]
    told = dict[str, tuple[str, ...]]()
    for _, advisory, _, _ in mentions:  # one id may be told by several repositories, each with CVEs of its own
        known = told.setdefault(advisory.id, advisory.cves)
        if known is not advisory.cves and known != advisory.cves:
            told[advisory.id] = tuple(dict.fromkeys((*known, *advisory.cves)))
    return Version(
        key,
        build.evr,
        offer[0] if offer is not None else repository,
        tuple(told),
        tuple(dict.fromkeys([cve for cves in told.values() for cve in cves])),
        tuple(told.items()),
        modular=any(modular for _, _, _, modular in mentions),
        security=any(advisory.category is Category.SECURITY for _, advisory, _, _ in mentions),
        offered=offer is not None,
        told=tuple([advisory for _, advisory, _, _ in mentions]),
        builds=tuple([build for _, _, build, _ in mentions]),
    )


def _applies_to(module: str, enabled: AbstractSet[str]) -> tuple[bool, ...]:
    """Say to which installed builds an advisory package of a module applies: plain ones (False), modular ones (True) (R8)."""
    if module == UNKNOWN_MODULE:
        return _MODULAR  # the vendor left out of which stream: leaving the build out would call too much compliant
    return _BOTH if module in enabled else ()
