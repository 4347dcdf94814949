"""What an import of a CMDB file would change, and what it then writes. Pure; the same file twice changes nothing the second time.

A machine is recognised by the CMDB's id or our own, else its machine id, else its name, else its address; what contradicts a stronger
sign is no match. What may mean several instances is ambiguous and left alone. What an operator (or an enrolment token) set stands unless
the import is told to overwrite it; what the agent said of itself does not. An instance that enrolled is never deleted from here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from common import digest
from controller.fleet.cmdb_file import KEYS, CmdbFile, Row
from controller.fleet.model import (
    DEFAULT_ACCOUNT,
    AgentState,
    CmdbEntry,
    Instance,
    InstanceId,
    OperatingSystem,
    ResourceType,
)
from controller.fleet.placement import DEFAULT_PROJECT, said
from controller.fleet.products import family_of

LISTED, NOT_LISTED = "listed", "not listed"


class ChangeKind(StrEnum):
    """What becomes of one machine."""

    NEW = "NEW"
    """Nobody knew it: an instance without agent."""
    CHANGED = "CHANGED"
    KEPT = "KEPT"
    """The CMDB says something else than an operator: the operator's word stands."""
    AMBIGUOUS = "AMBIGUOUS"
    """It may be several instances, or none may be told from another row: left alone."""
    GONE = "GONE"
    """The CMDB listed it before and does not now: marked, never deleted."""
    DELETED = "DELETED"
    """Gone, never enrolled, and it was asked for."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field."""

    field: str
    before: str
    after: str
    kept: bool = False
    """An operator set it: `before` stands."""


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one machine."""

    kind: ChangeKind
    row: int
    """Its row; 0 when the file does not have it."""
    instance_id: str
    name: str
    fields: tuple[FieldChange, ...] = ()
    sentence: str = ""
    """Why, where that is not plain from the fields."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to import."""

    partial: bool = False
    """The file lists only a part of what the CMDB has: what it does not list is not gone."""
    overwrite: bool = False
    """The CMDB's word counts more than an operator's."""
    delete_gone: bool = False
    """Delete what is gone and never enrolled."""
    account: str = DEFAULT_ACCOUNT
    """Whose CMDB it is."""


@dataclass(frozen=True, slots=True)
class Import:
    """What an import changes."""

    changes: tuple[Change, ...]
    """In the order of the file, then what the file does not have, by name."""
    unchanged: int
    writes: tuple[Instance, ...]
    digest: str
    """Of everything that it changes: two imports with one digest change the same. Times are left out."""

    def count(self, kind: ChangeKind) -> int:
        """Return how many machines become this."""
        return sum(change.kind is kind for change in self.changes)


def plan(file: CmdbFile, fleet: Sequence[Instance], options: Options, now: datetime) -> Import:
    """Return what importing a file over a fleet (all that are not deleted, retired ones too) changes."""
    found = _Matching(fleet).all_of(file.rows)
    claims = defaultdict[InstanceId, list[Row]](list)
    for row in file.rows:
        match = found[row.number]
        for claimed in match.taken:
            claims[claimed.id].append(row)
    changes, writes, unchanged = list[Change](), list[Instance](), 0
    spared, made = set[InstanceId](), dict[InstanceId, int]()
    for row in file.rows:
        match = found[row.number]
        claimed_too = [r for i in match.taken for r in claims[i.id] if r is not row]
        rivals = [r for r in claimed_too if found[r.number].certain or not match.certain]
        spared |= {i.id for i in (match.candidates if match.ambiguous or rivals else match.taken)}
        if match.ambiguous or rivals:
            changes.append(_ambiguous(row, match, rivals))
        elif match.target is None:
            new = _new(row, now, options.account)
            if (before := made.setdefault(new.id, row.number)) != row.number:
                changes.append(_undistinguished(row, before))
                continue
            changes.append(Change(ChangeKind.NEW, row.number, new.id, new.name, tuple(_told(new, row))))
            writes.append(new)
        else:
            change, after = _matched(row, match, options, now)
            if change is None:
                unchanged += 1
            else:
                changes.append(change)
                writes += after
    for change, after_all in _left(fleet, spared, options, now):
        changes.append(change)
        writes.append(after_all)
    return Import(tuple(changes), unchanged, tuple(writes), _digest(changes, options))


def adopted(new: Instance, fleet: Iterable[Instance]) -> Instance | None:
    """Return the instance that only the CMDB knew and that has enrolled as `new`; None when none is it for certain.

    It is recognised by its machine id, else by its name.
    """
    waiting = [i for i in fleet if not i.enrolled and i.retired_at is None]
    by_machine = [i for i in waiting if new.machine_id and i.machine_id == new.machine_id]
    by_name = [i for i in waiting if i.name == new.name and not (i.machine_id and new.machine_id)]
    for found in (by_machine, by_name):
        if found:
            return found[0] if len(found) == 1 else None
    return None


def new_id(row: Row, account: str = DEFAULT_ACCOUNT) -> InstanceId:
    """Return the id of an instance that only an account's CMDB knows: the same machine always gets the same."""
    key = next((f"{name}:{value}" for name, value in _signs(row) if value))
    if account != DEFAULT_ACCOUNT:
        key = f"{account}/{key}"
    return InstanceId(f"c-{digest.of(key.encode()).hex()[:16]}")


def _signs(row: Row) -> tuple[tuple[str, str], ...]:
    return (("id", row.id), ("machine_id", row.machine_id), ("name", row.placement.name), ("ip", row.ip))


@dataclass(frozen=True, slots=True)
class _Match:
    target: Instance | None
    candidates: tuple[Instance, ...]
    """All that may be meant: while it is not clear which, none of them is gone."""
    certain: bool = False
    """Found by its id."""
    by: str = ""
    adopts: Instance | None = None
    """The instance that only the CMDB knew before and that has enrolled since, as `target`."""

    @property
    def taken(self) -> tuple[Instance, ...]:
        """The instances that no other row can mean."""
        return tuple(i for i in (self.target, self.adopts) if i is not None)

    @property
    def ambiguous(self) -> bool:
        return self.target is None and bool(self.candidates)


class _Matching:
    """The fleet by everything that a machine is recognised by."""

    def __init__(self, fleet: Iterable[Instance]) -> None:
        self._by = {sign: defaultdict[str, list[Instance]](list) for sign in KEYS}
        for instance in fleet:
            self._by["id"][instance.id].append(instance)
            if instance.cmdb is not None and instance.cmdb.id and instance.cmdb.id != instance.id:
                self._by["id"][instance.cmdb.id].append(instance)
            for name, value in (
                ("machine_id", instance.machine_id),
                ("name", instance.name),
                ("ip", instance.ip_address),
            ):
                if value:
                    self._by[name][value].append(instance)

    def all_of(self, rows: Sequence[Row]) -> Mapping[int, _Match]:
        """Return whom each row means, by its number: strong signs first, and whom one row means by them no other means by weaker ones.

        Who has enrolled as what only the CMDB knew is looked for among those whom no other row means. Which these are must be known for
        the strongest sign already, so all are matched twice.
        """
        return self._matched(
            rows, {i.id: number for number, match in self._matched(rows, {}).items() for i in match.taken}
        )

    def _matched(self, rows: Sequence[Row], taken: Mapping[InstanceId, int]) -> Mapping[int, _Match]:
        found, claimed = dict[int, _Match](), set[InstanceId]()
        for sign in KEYS:
            matched = {row.number: self._of(row, sign, claimed, taken) for row in rows if row.number not in found}
            found |= {number: match for number, match in matched.items() if match.candidates}
            claimed |= {i.id for match in matched.values() for i in match.taken}
        return {row.number: found.get(row.number, _Match(None, ())) for row in rows}

    def _of(self, row: Row, sign: str, claimed: set[InstanceId], taken: Mapping[InstanceId, int]) -> _Match:
        value = dict(_signs(row))[sign]
        meant = [
            i for i in (self._by[sign].get(value, ()) if value else ()) if sign == "id" or not _contradicts(row, i)
        ]
        found = [i for i in meant if i.id not in claimed]
        if meant and not found and sign == "ip":  # names may be shared, addresses are not
            return _Match(None, tuple(meant), by=sign)
        target = _the_one(row, found)
        if target is None:
            return _Match(None, tuple(found), by=sign)
        enrolled = None if target.enrolled or not row.id else self._enrolled_since(row, target, claimed, taken)
        if enrolled is not None:  # the id is kept from now on: it will be recognised by that
            return _Match(enrolled, (enrolled, *found), certain=sign == "id", by=sign, adopts=target)
        waiting = [i for i in found if not i.enrolled and i.cmdb is not None and i.cmdb.id in ("", row.id)]
        adopts = waiting[0] if target.enrolled and target.cmdb is None and len(waiting) == 1 else None
        return _Match(target, tuple(found), certain=sign == "id", by=sign, adopts=adopts)

    def _enrolled_since(
        self, row: Row, known: Instance, claimed: set[InstanceId], taken: Mapping[InstanceId, int]
    ) -> Instance | None:
        for name, value in _signs(row)[1:]:
            found = [
                i
                for i in (self._by[name].get(value, ()) if value else ())
                if i.enrolled
                and i.cmdb is None
                and i.retired_at is None
                and i.id not in claimed
                and taken.get(i.id, row.number) == row.number
                and not _contradicts(row, i)
            ]
            if found:
                return found[0] if len(found) == 1 and found[0].id != known.id else None
        return None


def _contradicts(row: Row, instance: Instance) -> bool:
    """Say whether a stronger sign says that an instance is another machine."""
    its_id = instance.cmdb.id if instance.cmdb is not None else ""
    if row.id and its_id and row.id != its_id:
        return True
    return bool(row.machine_id and instance.machine_id and row.machine_id != instance.machine_id)


def _the_one(row: Row, found: Sequence[Instance]) -> Instance | None:
    """Return whom of several a row means, by its weaker signs; None when that leaves several."""
    left = list(found)
    narrowing: tuple[Any, ...] = (
        lambda i: i.retired_at is None,
        lambda i: i.replaced_by is None,
        lambda i: i.enrolled,
        lambda i: bool(row.placement.name) and i.name == row.placement.name,
        lambda i: bool(row.ip) and i.ip_address == row.ip,
    )
    for test in narrowing:
        if len(left) > 1:
            left = [i for i in left if test(i)] or left
    return left[0] if len(left) == 1 else None


def _ambiguous(row: Row, match: _Match, rivals: Sequence[Row]) -> Change:
    if rivals:
        target = match.target.name if match.target is not None else ""
        sentence = f"rows {', '.join(str(r.number) for r in rivals[:3])} mean {target} as well, by {match.by}; give each its id"
    else:
        some = ", ".join(i.id for i in match.candidates[:3])
        several = len(match.candidates) > 1
        whose = f"{len(match.candidates)} instances ({some})" if several else f"{some}, which another row means"
        sentence = f"its {match.by} is that of {whose}; give it an id or a machine_id"
    return Change(ChangeKind.AMBIGUOUS, row.number, "", row.called, (), sentence)


def _undistinguished(row: Row, before: int) -> Change:
    return Change(
        ChangeKind.AMBIGUOUS, row.number, "", row.called, (), f"cannot be told from row {before}; give each its id"
    )


def _new(row: Row, now: datetime, account: str) -> Instance:
    placement = row.placement
    return Instance(
        id=new_id(row, account),
        name=(placement.name or row.called)[:64],
        enterprise_project=placement.enterprise_project or DEFAULT_PROJECT,
        region=placement.region,
        zone=placement.zone,
        resource_type=ResourceType(placement.resource_type or "ECS"),
        application_group=placement.application_group,
        enrolled_at=now,
        tags=dict(placement.tags),
        operating_system=_system(row.os),
        ip_address=row.ip,
        machine_id=row.machine_id,
        stopped=bool(row.stopped),
        cluster=placement.cluster,
        enrolled=False,
        agent_said=row.agent or AgentState.NONE,
        cmdb=CmdbEntry(row.id, now, said(placement)),
    )


def _system(text: str) -> OperatingSystem:
    return OperatingSystem(product=text if family_of(text) else "", pretty_name=text) if text else OperatingSystem()


def _told(new: Instance, row: Row) -> Iterable[FieldChange]:
    for field in sorted(said(row.placement) - {"name"}):
        yield FieldChange(field, "", _text(getattr(new, field)))
    if new.stopped:
        yield FieldChange("power", "", _text(True))


def _matched(row: Row, match: _Match, options: Options, now: datetime) -> tuple[Change | None, list[Instance]]:
    """Return what becomes of an instance that a row means, and what is to be written."""
    target = match.target
    assert target is not None
    if target.retired_at is not None:
        sentence = f"retired by {target.retired_by}; take it back: patchctl instances restore {target.name}"
        return Change(ChangeKind.KEPT, row.number, target.id, target.name, (), sentence), []
    changes, values = list[FieldChange](), dict[str, Any]()
    for field in sorted(said(row.placement)):
        before, after = getattr(target, field), _value(row, field)
        if before != after:
            kept = field in target.edited and not options.overwrite
            changes.append(FieldChange(field, _text(before), _text(after), kept))
            if not kept:
                values[field] = after
    if row.stopped is not None and row.stopped != target.stopped:
        changes.append(FieldChange("power", _power(target.stopped), _power(row.stopped)))
        values["stopped"] = row.stopped
    if not target.enrolled:
        values |= _of_the_unenrolled(row, target, changes)
    edited = target.edited - said(row.placement) if options.overwrite else target.edited
    entry = _entry(row, target, edited, now)
    if target.cmdb is None or entry.id != target.cmdb.id or target.cmdb.missing_since is not None:
        before_entry = NOT_LISTED if target.cmdb is None or target.cmdb.missing_since is not None else target.cmdb.id
        changes.append(FieldChange("cmdb", before_entry, entry.id or LISTED))
    after_all = replace(target, **values, edited=edited, cmdb=entry)
    writes = [after_all] if after_all != target else []
    sentence = "" if changes or not writes else f"the CMDB now says its {', '.join(sorted(entry.fields))}"
    if match.adopts is not None:
        sentence = f"{match.adopts.id}, which only the CMDB knew, has enrolled as {target.id}"
        writes.append(replace(match.adopts, deleted_at=now))
    if not changes and not writes:
        return None, []
    kind = ChangeKind.CHANGED if writes else ChangeKind.KEPT
    return Change(kind, row.number, target.id, target.name, tuple(changes), sentence), writes


def _of_the_unenrolled(row: Row, target: Instance, changes: list[FieldChange]) -> dict[str, Any]:
    """Of an instance without agent the CMDB also says what an agent would say."""
    values = dict[str, Any]()
    for name, field, after in (
        ("machine_id", "machine_id", row.machine_id or target.machine_id),
        ("ip", "ip_address", row.ip or target.ip_address),
        ("agent", "agent_said", row.agent or target.agent_said),
        ("os", "operating_system", _system(row.os) if row.os else target.operating_system),
    ):
        before = getattr(target, field)
        if before != after:
            changes.append(FieldChange(name, _text(before), _text(after)))
            values[field] = after
    return values


def _entry(row: Row, target: Instance, edited: frozenset[str], now: datetime) -> CmdbEntry:
    known = target.cmdb or CmdbEntry("", now)
    return replace(
        known, id=row.id or known.id, fields=known.fields | (said(row.placement) - edited), missing_since=None
    )


def _left(
    fleet: Iterable[Instance], spared: set[InstanceId], options: Options, now: datetime
) -> Iterable[tuple[Change, Instance]]:
    """Yield what becomes of the instances that the CMDB listed before and does not list now."""
    if options.partial:
        return
    for instance in fleet:
        if instance.cmdb is None or instance.id in spared or instance.retired_at is not None:
            continue
        marked = replace(instance, cmdb=replace(instance.cmdb, missing_since=instance.cmdb.missing_since or now))
        if options.delete_gone and not instance.enrolled:
            yield Change(ChangeKind.DELETED, 0, instance.id, instance.name), replace(marked, deleted_at=now)
        elif marked != instance:
            fields = (FieldChange("cmdb", instance.cmdb.id or LISTED, NOT_LISTED),)
            yield Change(ChangeKind.GONE, 0, instance.id, instance.name, fields), marked


def _value(row: Row, field: str) -> Any:
    value = getattr(row.placement, field)
    if field == "resource_type":
        return ResourceType(value)
    return dict(value) if field == "tags" else value


def _power(stopped: bool) -> str:
    return "STOPPED" if stopped else "RUNNING"


def _text(value: object) -> str:
    match value:
        case bool():
            return _power(value)
        case AgentState.NONE:
            return ""
        case OperatingSystem():
            return value.pretty_name
        case Mapping():
            return ";".join(f"{key}={inner}" for key, inner in sorted(value.items()))
        case _:
            return str(value)


_OPTIONS: Final = ("partial", "overwrite", "delete_gone")


def _digest(changes: Iterable[Change], options: Options) -> str:
    lines = [" ".join(f"{name}={getattr(options, name)}" for name in _OPTIONS)]
    lines += [repr(change) for change in changes]
    return digest.of("\n".join(lines).encode()).hex()
