"""Parsed repository files by their digests, and what was read from several of them together. Remembers; decides nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, TypeVar

from common.manifest import Repository, Stream
from controller.compliance.compiled import Repositories
from controller.compliance.model import Advisory, Available
from controller.compliance.offers import Offers, RepositoryContent, offers_again, offers_of
from controller.compliance.told import Change, Told, change_of_advisories, change_of_available, tell, tell_again

R = TypeVar("R")
Named = tuple[tuple[str, str], ...]
"""Ids of repositories, and the digest of one file of each."""

_MAX_OFFERS: Final = 8
_MAX_CHANGES: Final = 64
_UNREADABLE: Final = "!"


class RepositoryFiles:
    """Memory is bounded: what was not used for long is dropped by `trim`, and `missing` names it again."""

    def __init__(self, max_records: int) -> None:
        """Keep about so many parsed records (advisory packages and builds)."""
        self._max_records = max_records
        self._updateinfo = OrderedDict[str, Sequence[Advisory]]()
        self._telling = dict[str, int]()
        self._primary = OrderedDict[str, Sequence[Available]]()
        self._records = dict[str, int]()
        self.unreadable = dict[str, str]()
        """By digest: what is wrong with a file that cannot be parsed or had."""
        self._offers = OrderedDict[Named, Offers]()
        self._told = OrderedDict[tuple[Repositories, tuple[Stream, ...]], Told]()
        self._changes = OrderedDict[tuple[str, str], Change]()

    def missing(self, repositories: Iterable[Repository]) -> tuple[tuple[str, str], ...]:
        """Return (kind, digest) of the files of some repositories that are neither here nor known to be unreadable."""
        wanted = dict[tuple[str, str], None]()
        for repository in sorted(repositories, key=lambda r: r.id):
            for kind, name, known in (
                ("updateinfo", repository.updateinfo, self._updateinfo),
                ("primary", repository.primary, self._primary),
            ):
                if name and name not in known and name not in self.unreadable:
                    wanted[kind, name] = None
        return tuple(wanted)

    def add_updateinfo(self, digest: str, advisories: Sequence[Advisory]) -> None:
        """Take a parsed updateinfo file."""
        self.unreadable.pop(digest, None)
        self._updateinfo[digest] = advisories
        self._telling[digest] = sum(1 for advisory in advisories if advisory.packages)
        self._records[digest] = sum(len(advisory.packages) + 1 for advisory in advisories)

    def add_primary(self, digest: str, available: Sequence[Available]) -> None:
        """Take a parsed primary file."""
        self.unreadable.pop(digest, None)
        self._primary[digest] = available
        self._records[digest] = len(available)

    def add_unreadable(self, digest: str, matter: str) -> None:
        """Take note that a file cannot be parsed or had."""
        self.unreadable[digest] = matter

    def named(self, repositories: Iterable[Repository]) -> Repositories:
        """Return what repositories are remembered by; a file that cannot be read is marked so."""
        marked = {name: f"{_UNREADABLE}{name}" for name in self.unreadable}
        return tuple(
            sorted(
                (r.id, marked.get(r.updateinfo, r.updateinfo), marked.get(r.primary, r.primary)) for r in repositories
            )
        )

    def advisory_counts(self, repositories: Repositories) -> dict[str, int]:
        """Return by digest how many advisories of the updateinfo files name a package: the others tell nothing of any host."""
        return {name: self._telling[name] for _, name, _ in repositories if _is_read(name)}

    def contents(self, repositories: Repositories) -> list[RepositoryContent]:
        """Return what repositories hold; raise ValueError for a file that was not brought, or was dropped."""
        return [self._content(*names) for names in repositories]

    def _content(self, repository: str, updateinfo: str, primary: str) -> RepositoryContent:
        try:
            advisories = self._updateinfo[updateinfo] if _is_read(updateinfo) else ()
            available = self._primary[primary] if _is_read(primary) else None
        except KeyError as missing:
            raise ValueError(f"file {missing} of repository {repository} was not brought") from None
        for name, files in ((updateinfo, self._updateinfo), (primary, self._primary)):
            if _is_read(name):
                files.move_to_end(name)
        return RepositoryContent(repository, advisories, available)

    def offers(self, repositories: Repositories, contents: Sequence[RepositoryContent]) -> Offers:
        """Return what repositories offer; of other editions than before, the builds of the names that differ are read."""
        key = _named(repositories, 2)
        if (found := self._offers.get(key)) is None:
            for known in reversed(self._offers):
                if (change := self._change_of_primaries(known, key)) is not None:
                    found = offers_again(self._offers[known], change.names, contents)
                    break
            else:
                found = offers_of(contents)
            self._offers[key] = found
            if len(self._offers) > _MAX_OFFERS:
                self._offers.popitem(last=False)
        else:
            self._offers.move_to_end(key)
        return found

    def told(
        self,
        repositories: Repositories,
        streams: tuple[Stream, ...],
        contents: Sequence[RepositoryContent],
        offers: Offers,
    ) -> Told:
        """Return what repositories tell of a host with these module streams; of another edition than before, what differs is read."""
        key = (repositories, streams)
        if (found := self._told.get(key)) is None:
            for known, enabled in reversed(self._told):
                if enabled == streams and (change := self.change(known, repositories)) is not None:
                    found = tell_again(self._told[known, streams], change, contents, offers, streams)
                    break
            else:
                found = tell(contents, offers, streams)
            self._told[key] = found
            if len(self._told) > _MAX_OFFERS:
                self._told.popitem(last=False)
        else:
            self._told.move_to_end(key)
        return found

    def change(self, before: Repositories, after: Repositories) -> Change | None:
        """Say what changed between editions of the same repositories' files; None when more than that did, or they were dropped."""
        advisories = self._changes_of(_named(before, 1), _named(after, 1), self._updateinfo, change_of_advisories)
        available = self._change_of_primaries(_named(before, 2), _named(after, 2))
        if advisories is None or available is None:
            return None
        return Change(advisories.advisories, advisories.names | available.names)

    def _change_of_primaries(self, before: Named, after: Named) -> Change | None:
        return self._changes_of(before, after, self._primary, change_of_available)

    def _changes_of(
        self,
        before: Named,
        after: Named,
        files: Mapping[str, Sequence[R]],
        compare: Callable[[Sequence[R], Sequence[R]], Change],
    ) -> Change | None:
        if [identifier for identifier, _ in before] != [identifier for identifier, _ in after]:
            return None
        found = list[Change]()
        for (_, old), (_, new) in zip(before, after, strict=True):
            if old == new:
                continue
            if (change := self._changes.get((old, new))) is None:
                if old not in files or new not in files:
                    return None
                change = self._changes[old, new] = compare(files[old], files[new])
                if len(self._changes) > _MAX_CHANGES:
                    self._changes.popitem(last=False)
            found.append(change)
        return Change(
            frozenset[str]().union(*(change.advisories for change in found)),
            frozenset[str]().union(*(change.names for change in found)),
        )

    def trim(self, in_use: AbstractSet[str]) -> None:
        """Drop what was not used for long, but nothing that is in use."""
        total = sum(self._records.values())
        for files in (self._primary, self._updateinfo):
            for name in [name for name in files if name not in in_use]:
                if total <= self._max_records:
                    return
                del files[name]
                self._telling.pop(name, None)
                total -= self._records.pop(name)


def _is_read(name: str) -> bool:
    return bool(name) and not name.startswith(_UNREADABLE)


def _named(repositories: Repositories, place: int) -> Named:
    """Return the ids of repositories, with their updateinfo (1) or their primary (2)."""
    return tuple((names[0], names[place]) for names in repositories)
