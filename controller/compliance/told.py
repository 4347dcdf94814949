"""What advisories tell of versions, joined with what repositories offer, by name: read once for all baselines and days (SEMANTICS R8)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from immutables import Map

from common.manifest import Stream
from controller.compliance.model import Advisory, AdvisoryPackage, Available, Category
from controller.compliance.offers import Offered, Offers, RepositoryContent, with_changes
from controller.compliance.required import BuildKey, Version
from controller.inventory.advisories import UNKNOWN_MODULE, is_modular

R = TypeVar("R")
_BLOCK: Final = 128
_PLAIN: Final = (False,)
_MODULAR: Final = (True,)
_BOTH: Final = (False, True)


class ToldOfName(NamedTuple):
    """What is told of the packages of one name."""

    versions: Mapping[tuple[str, bool], tuple[Version, ...]]
    """By architecture, and whether for installed builds of modules (R8): those that advisories name, ascending."""
    named_by: tuple[str, ...]
    """The ids of the advisories that name it, whether they apply or not."""
    unmentioned: Mapping[str, Sequence[bytes]]
    """By architecture: the keys of the plain builds that are offered and that no advisory names, in no order."""
    restart: tuple[BuildKey, ...]
    """Builds whose advisories suggest a restart (R9)."""
    in_module: bool
    """An enabled module stream has builds of it, as far as advisories tell (R3)."""


@dataclass(frozen=True, slots=True)
class Told:
    """What some repositories tell of a host that has some module streams enabled."""

    names: Map[str, ToldOfName]
    restart: frozenset[BuildKey]
    """Builds whose advisories suggest a restart (R9)."""
    in_modules: frozenset[str]
    """Names of packages that an enabled module stream has builds of, as far as advisories tell (R3)."""


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
    return Told(
        with_changes(before.names, names, part.names),
        frozenset(r for r in before.restart if r[0] not in names) | part.restart,
        (before.in_modules - names) | part.in_modules,
    )


def ids_of(told: Told, change: Change) -> set[str]:
    """Return the ids of the advisories that a change is about, and of those that name the same packages."""
    return set(change.advisories).union(*(told.names[name].named_by for name in change.names if name in told.names))


_Mention = tuple[str, Advisory, AdvisoryPackage]
"""What names a version: repository, advisory, and the package as the advisory has it."""


def _tell(
    contents: Iterable[tuple[str, Sequence[Advisory]]],
    offers: Offers,
    streams: Iterable[Stream],
    only: AbstractSet[str] | None,
) -> Told:
    """Read all, or what is told of some names."""
    enabled = {f"{stream.name}:{stream.stream}" for stream in streams}
    mentions = defaultdict[str, list[_Mention]](list)
    for repository, advisories in contents:
        for advisory in advisories:
            for package in advisory.packages:
                name = package.nevra.name
                if only is None or name in only:
                    mentions[name].append((repository, advisory, package))
    wanted = offers.names.keys() if only is None else [name for name in only if name in offers.names]
    names = {
        name: _tell_name(name, mentions.get(name, ()), offers.of(name), enabled)
        for name in dict.fromkeys((*mentions, *wanted))
    }
    return Told(
        Map(names),
        frozenset(build for said in names.values() for build in said.restart),
        frozenset(name for name, said in names.items() if said.in_module),
    )


def _tell_name(name: str, mentions: Sequence[_Mention], offered: Offered, enabled: AbstractSet[str]) -> ToldOfName:
    named, mentioned = dict[tuple[str, bool], dict[bytes, list[_Mention]]](), set[tuple[str, bytes]]()
    for mention in mentions:
        package = mention[2]
        build, module = package.nevra, package.module
        arch, key = build.arch, build.key
        mentioned.add((arch, key))
        for modular in _applies_to(module, enabled) if module else _PLAIN:
            named.setdefault((arch, modular), {}).setdefault(key, []).append(mention)
    unmentioned = dict[str, list[bytes]]()
    for build_key, (_, offer) in offered.items():
        # Which stream a modular build belongs to, only its advisory can tell.
        if build_key not in mentioned and not is_modular(offer.nevra.release):
            unmentioned.setdefault(build_key[0], []).append(build_key[1])
    return ToldOfName(
        {
            (arch, modular): tuple([_version(key, known[key], offered.get((arch, key))) for key in sorted(known)])
            for (arch, modular), known in named.items()
        },
        tuple([advisory.id for _, advisory, _ in mentions]),
        unmentioned,
        tuple([(name, p.nevra.arch, p.nevra.key) for _, _, p in mentions if p.reboot_suggested]),
        any(package.module and package.module in enabled for _, _, package in mentions),
    )


def _version(key: bytes, mentions: Sequence[_Mention], offer: tuple[str, Available] | None) -> Version:
    repository, advisory, package = mentions[0]
    if offer is not None:
        repository = offer[0]
    if len(mentions) == 1:  # as most versions are
        return Version(
            key,
            package.nevra.evr,
            repository,
            (advisory.id,),
            advisory.cves,
            ((advisory.id, advisory.cves),),
            package.module != "",
            advisory.category is Category.SECURITY,
            offer is not None,
            (advisory,),
            (package.nevra,),
        )
    told = {advisory.id: advisory.cves}
    for _, other, _ in mentions[1:]:  # one id may be told by several repositories, each with CVEs of its own
        known = told.setdefault(other.id, other.cves)
        if known is not other.cves and known != other.cves:
            told[other.id] = tuple(dict.fromkeys((*known, *other.cves)))
    return Version(
        key,
        package.nevra.evr,
        repository,
        tuple(told),
        tuple(dict.fromkeys([cve for cves in told.values() for cve in cves])),
        tuple(told.items()),
        modular=any(package.module != "" for _, _, package in mentions),
        security=any(advisory.category is Category.SECURITY for _, advisory, _ in mentions),
        offered=offer is not None,
        told=tuple([advisory for _, advisory, _ in mentions]),
        builds=tuple([package.nevra for _, _, package in mentions]),
    )


def _applies_to(module: str, enabled: AbstractSet[str]) -> tuple[bool, ...]:
    """Say to which installed builds an advisory package of a module applies: plain ones (False), modular ones (True) (R8)."""
    if module == UNKNOWN_MODULE:
        return _MODULAR  # the vendor left out of which stream: leaving the build out would call too much compliant
    return _BOTH if module in enabled else ()
