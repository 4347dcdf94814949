"""Sees which hosts speak, on which boots of which machines, and puts into quarantine those of which two speak as one. Decides nothing.

What was seen is stored, so that a restart of the controller does not make a copied host look new. That an agent spoke again is stored
once an hour: losing that delays a finding, and cannot make a wrong one.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from common.clock import Clock
from common.errors import NotFound
from controller.fleet.clones import Clones, Observation, Sighting, alternate, clones, noted
from controller.fleet.model import DEFAULT_ACCOUNT, Instance, InstanceId, Quarantine
from controller.fleet.sessions import Session, Sessions
from controller.hub.api import Hub
from controller.store.api import FleetStore, SightingStore

log = logging.getLogger(__name__)

_STORED_EVERY: Final = timedelta(hours=1)


class CloneWatch:
    """One for a controller process. Use it from one event loop."""

    def __init__(self, store: SightingStore, fleet: FleetStore, sessions: Sessions, hub: Hub, clock: Clock) -> None:
        """Begin with nothing seen; call `start`."""
        self._store = store
        self._fleet = fleet
        self._sessions = sessions
        self._hub = hub
        self._clock = clock
        self._seen: dict[InstanceId, tuple[Sighting, ...]] = {}
        self._stored: dict[InstanceId, tuple[Sighting, ...]] = {}
        self._accounts: dict[InstanceId, str] = {}
        self._by_machine = defaultdict[tuple[str, str], set[InstanceId]](set)
        """By account and machine id: nobody gets another account's host into quarantine by using its machine id."""

    async def start(self) -> None:
        """Load what was seen before."""
        everybody = (*await self._fleet.instances(), *await self._fleet.retired_instances())
        self._accounts = {instance.id: instance.account for instance in everybody}
        for sighting in await self._store.sightings():
            self._seen[sighting.instance_id] = (*self._seen.get(sighting.instance_id, ()), sighting)
            self._by_machine[self._machine(sighting.instance_id, sighting.machine_id)].add(sighting.instance_id)
        self._stored = dict(self._seen)

    async def greeted(self, instance: Instance, boot_id: str, session: Session) -> None:
        """Take note that an agent introduced itself, as its instance says now."""
        if not boot_id:
            return  # an installation that is not booted has nothing to alternate
        session.boot_id, session.machine_id = boot_id, instance.machine_id
        self._accounts[instance.id] = instance.account
        await self._note(Observation(instance.id, instance.machine_id, boot_id, instance.ip_address, self._clock.now()))
        if not instance.machine_id:
            return
        for other_id in sorted(self._by_machine[self._machine(instance.id, instance.machine_id)] - {instance.id}):
            other = self._sessions.get(other_id)
            if other is None:
                await self._replaced(other_id, instance)
            elif other.machine_id == instance.machine_id and other.boot_id != boot_id:
                other.doubted = True  # it may be gone, and its connection not know yet: if it speaks, there are two

    async def heard_again(self, session: Session) -> None:
        """Take note that an agent spoke whose session is in doubt."""
        session.doubted = False
        seen = self._seen.get(session.instance_id, ())
        address = next((s.address for s in seen if s.boot_id == session.boot_id), "")
        await self._note(
            Observation(session.instance_id, session.machine_id, session.boot_id, address, self._clock.now())
        )

    async def forget(self, instance_ids: Iterable[InstanceId]) -> None:
        """Forget what was seen of instances: they were released, retired or deleted."""
        gone = tuple(instance_ids)
        for instance_id in gone:
            self._stored.pop(instance_id, None)
            for sighting in self._seen.pop(instance_id, ()):
                self._by_machine[self._machine(instance_id, sighting.machine_id)].discard(instance_id)
        await self._store.put_sightings(dict.fromkeys(gone, ()))

    def _machine(self, instance_id: InstanceId, machine_id: str) -> tuple[str, str]:
        return self._accounts.get(instance_id, DEFAULT_ACCOUNT), machine_id

    async def _note(self, seen: Observation) -> None:
        known = self._seen[seen.instance_id] = noted(self._seen.get(seen.instance_id, ()), seen)
        machine = self._machine(seen.instance_id, seen.machine_id)
        if seen.machine_id:
            self._by_machine[machine].add(seen.instance_id)
        if _worth_storing(self._stored.get(seen.instance_id, ()), known):
            self._stored[seen.instance_id] = known
            await self._store.put_sightings({seen.instance_id: known})
        concerned = {seen.instance_id} | (self._by_machine[machine] if seen.machine_id else set())
        if len(concerned) == 1 and len(known) == 1:
            return
        found = clones(s for instance_id in concerned for s in self._seen.get(instance_id, ()))
        for each in found:
            await self._quarantine(each)

    async def _quarantine(self, found: Clones) -> None:
        at = self._clock.now()
        for instance_id in found.instances:
            others = tuple(i for i in found.instances if i != instance_id)
            new = Quarantine(found.cause, at, others, found.addresses)
            try:
                before = await self._fleet.get_instance(instance_id)
                if not _is_news(before, new):
                    continue
                held = await self._fleet.change_instance(instance_id, lambda now, new=new: _quarantined(now, new))  # type: ignore[misc]
            except NotFound:
                continue
            self._sessions.barred.note((held,))
            log.warning(
                "two hosts speak as one: quarantined",
                extra={"instance": instance_id, "cause": found.cause, "others": ",".join(others)},
            )
            self._hub.publish("instances")

    async def _replaced(self, old_id: InstanceId, new: Instance) -> None:
        """Mark an instance whose host enrolled again as another one, if it has been silent since."""
        seen = self._seen.get(old_id, ())
        if not seen or max(s.last_at for s in seen) > new.enrolled_at:
            return

        def replaced(old: Instance) -> Instance:
            alive = old.deleted_at is None and old.retired_at is None
            silent = old.last_seen_at is None or old.last_seen_at <= new.enrolled_at
            return replace(old, replaced_by=new.id) if alive and silent and old.enrolled_at < new.enrolled_at else old

        try:
            if replaced(before := await self._fleet.get_instance(old_id)) == before:
                return
            await self._fleet.change_instance(old_id, replaced)
        except NotFound:
            return
        log.info("instance replaced: its host enrolled again", extra={"instance": old_id, "by": new.id})
        self._hub.publish("instances")


def _worth_storing(stored: tuple[Sighting, ...], known: tuple[Sighting, ...]) -> bool:
    boots = {(s.machine_id, s.boot_id): s for s in stored}
    for sighting in known:
        before = boots.get((sighting.machine_id, sighting.boot_id))
        if before is None or sighting.last_at - before.last_at >= _STORED_EVERY:
            return True
        if any(alternate(sighting, other) for other in known):
            return sighting != before
    return False


def _is_news(instance: Instance, new: Quarantine) -> bool:
    if instance.deleted_at is not None or instance.retired_at is not None:
        return False
    held = instance.quarantine
    return held is None or held.released_at is not None or not set(new.others) <= set(held.others)


def _quarantined(instance: Instance, new: Quarantine) -> Instance:
    held = instance.quarantine
    if held is None or held.released_at is not None:
        return replace(instance, quarantine=new)
    return replace(
        instance,
        quarantine=replace(
            held,
            others=tuple(sorted({*held.others, *new.others})),
            addresses=tuple(sorted({*held.addresses, *new.addresses})),
        ),
    )
