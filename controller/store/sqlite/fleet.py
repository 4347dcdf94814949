"""Instances and tokens in SQLite."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Final, TypeVar

from common.errors import Conflict, NotFound
from controller.fleet.model import (
    AgentState,
    CmdbEntry,
    EnrolmentToken,
    Instance,
    InstanceId,
    OperatingSystem,
    Placement,
    Quarantine,
    ResourceType,
)
from controller.store import rules
from controller.store.codec import (
    END_OF_TIME,
    canonical,
    from_json,
    micros,
    micros_or_none,
    moment,
    moment_or_none,
    to_json,
)
from controller.store.sqlite.database import Database, Parameters, Row, Work
from controller.store.sqlite.listed import Change, Listed
from controller.store.sqlite.queries import queries

T = TypeVar("T")

_SEEN_AT_ONCE: Final = 500
"""So many instances are marked as seen at a time: others get their turn between."""

_SQL: Final = queries("fleet")


class SqliteFleet:
    """FleetStore over a Database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listed = Listed()
        self._reading = asyncio.Lock()

    async def _write(self, work: Work[T], change: Callable[[T], Change]) -> T:
        """Run a write; `change` says what it made of which instances, given what it returned."""
        writing = self._database.begin(work)

        def ended(written: asyncio.Future[T]) -> None:
            if written.exception() is None:
                self._listed.take(change(written.result()))

        writing.add_done_callback(ended)  # also when whoever asked for it is cancelled
        return await asyncio.shield(writing)

    async def put_instance(self, instance: Instance) -> None:
        """Write an instance, new or changed."""
        parameters = _instance_parameters(instance)
        await self._write(lambda db: db.execute(_SQL["put_instance"], parameters).rowcount, lambda _: _made(instance))

    async def change_instance(self, instance_id: InstanceId, change: Callable[[Instance], Instance]) -> Instance:
        """Write what a pure function makes of an instance, and return it; raise NotFound."""

        def work(db: sqlite3.Connection) -> Instance:
            row = db.execute(_SQL["get_instance"], {"id": instance_id}).fetchone()
            if row is None:
                raise NotFound("instance", instance_id)
            changed = change(_instance(row))
            db.execute(_SQL["put_instance"], _instance_parameters(changed))
            return changed

        return await self._write(work, _made)

    async def get_instance(self, instance_id: InstanceId) -> Instance:
        """Return an instance, deleted ones too; raise NotFound."""
        row = await self._database.row(_SQL["get_instance"], {"id": instance_id})
        if row is None:
            raise NotFound("instance", instance_id)
        return _instance(row)

    async def called(self, reference: str) -> tuple[Instance, ...]:
        """Return those with this id or this name that are neither deleted nor retired, ordered by name, then id."""
        return tuple(map(_instance, await self._database.rows(_SQL["called"], {"reference": reference})))

    async def instances(self) -> tuple[Instance, ...]:
        """Return all that are neither deleted nor retired, ordered by name, then id. This process is the database's only writer."""
        async with self._reading:
            if not self._listed.is_read:
                self._listed.begin()
                self._listed.end(
                    await self._database.read(lambda db: tuple(map(_instance, db.execute(_SQL["instances"]))))
                )
        return self._listed.all()

    async def retired_instances(self) -> tuple[Instance, ...]:
        """Return those that are retired and not deleted, ordered by name, then id."""
        return tuple(map(_instance, await self._database.rows(_SQL["retired_instances"], {})))

    async def rewrite(self, change: Callable[[tuple[Instance, ...]], Iterable[Instance]]) -> tuple[Instance, ...]:
        """Write what a pure function makes of the whole fleet, and return it; see the Protocol."""

        def work(db: sqlite3.Connection) -> tuple[Instance, ...]:
            changed = tuple(change(tuple(map(_instance, db.execute(_SQL["all_instances"])))))
            db.executemany(_SQL["put_instance"], map(_instance_parameters, changed))
            return changed

        return await self._write(work, lambda changed: _made(*changed))

    async def mark_seen(self, seen: Mapping[InstanceId, datetime]) -> None:
        """Set last_seen_at of these instances; unknown ones are passed over."""
        left = iter(seen.items())
        while some := dict(islice(left, _SEEN_AT_ONCE)):
            await self._mark_seen(some)

    async def _mark_seen(self, seen: Mapping[InstanceId, datetime]) -> None:
        rows = [{"id": instance_id, "at": micros(at)} for instance_id, at in seen.items()]

        def change(known: Mapping[InstanceId, Instance]) -> Iterable[Instance]:
            return [replace(known[i], last_seen_at=at) for i, at in seen.items() if i in known]

        await self._write(lambda db: db.executemany(_SQL["mark_seen"], rows).rowcount, lambda _: change)

    async def put_enrolment_token(self, token: EnrolmentToken) -> None:
        """Write an enrolment token, new or changed; raise Conflict when another has its secret."""
        await self._database.write(lambda db: _put_enrolment_token(db, token))

    async def get_enrolment_token(self, token_id: str) -> EnrolmentToken:
        """Return an enrolment token; raise NotFound."""
        row = await self._database.row(_SQL["get_enrolment_token"], {"id": token_id})
        if row is None:
            raise NotFound("enrolment token", token_id)
        return _enrolment_token(row)

    async def enrol(self, secret_hash: bytes, instance: Instance, adopts: InstanceId | None = None) -> EnrolmentToken:
        """Use an enrolment token and write the instance, both or neither; see the Protocol."""

        def work(db: sqlite3.Connection) -> EnrolmentToken:
            row = db.execute(_SQL["find_enrolment_token"], {"secret_hash": secret_hash}).fetchone()
            if row is None:
                raise NotFound("enrolment token", "with this secret")
            token = rules.used(_enrolment_token(row), instance)
            db.execute(_SQL["put_instance"], _instance_parameters(instance))
            if adopts is not None:
                db.execute(_SQL["adopt_instance"], {"id": adopts, "at": micros(instance.enrolled_at)})
            _put_enrolment_token(db, token)
            return token

        def change(known: Mapping[InstanceId, Instance]) -> Iterable[Instance]:
            adopted = known.get(adopts) if adopts is not None else None
            if adopted is not None and not adopted.enrolled:
                return (instance, replace(adopted, deleted_at=instance.enrolled_at))
            return (instance,)

        return await self._write(work, lambda _: change)

    async def find_enrolment_token(self, secret_hash: bytes) -> EnrolmentToken:
        """Return the token with this hash; raise NotFound."""
        row = await self._database.row(_SQL["find_enrolment_token"], {"secret_hash": secret_hash})
        if row is None:
            raise NotFound("enrolment token", "with this secret")
        return _enrolment_token(row)

    async def enrolment_tokens(self, limit: int, before: tuple[datetime, str] | None) -> tuple[EnrolmentToken, ...]:
        """Return tokens ordered by (created_at, id), newest first, only those below `before`."""
        at, token_id = (END_OF_TIME, "") if before is None else (micros(before[0]), before[1])
        rows = await self._database.rows(
            _SQL["enrolment_tokens"], {"before_at": at, "before_id": token_id, "limit": limit}
        )
        return tuple(map(_enrolment_token, rows))


def _made(*instances: Instance) -> Change:
    return lambda _: instances


def _instance_parameters(instance: Instance) -> Parameters:
    return {
        "id": instance.id,
        "name": instance.name,
        "enterprise_project": instance.enterprise_project,
        "region": instance.region,
        "zone": instance.zone,
        "resource_type": instance.resource_type.value,
        "application_group": instance.application_group,
        "enrolled_at": micros(instance.enrolled_at),
        "tags": canonical(dict(instance.tags)),
        "operating_system": to_json(instance.operating_system),
        "ip_address": instance.ip_address,
        "agent_version": instance.agent_version,
        "machine_id": instance.machine_id,
        "last_seen_at": micros_or_none(instance.last_seen_at),
        "stopped": int(instance.stopped),
        "deleted_at": micros_or_none(instance.deleted_at),
        "edited": canonical(sorted(instance.edited)),
        "cluster": instance.cluster,
        "enrolled": int(instance.enrolled),
        "agent_said": instance.agent_said.value,
        "retired_at": micros_or_none(instance.retired_at),
        "retired_by": instance.retired_by,
        "replaced_by": instance.replaced_by,
        "quarantine": None if instance.quarantine is None else to_json(instance.quarantine),
        "cmdb": None if instance.cmdb is None else to_json(instance.cmdb),
        "account": instance.account,
    }


def _instance(row: Row) -> Instance:
    (
        instance_id,
        name,
        enterprise_project,
        region,
        zone,
        resource_type,
        application_group,
        enrolled_at,
        tags,
        operating_system,
        ip_address,
        agent_version,
        machine_id,
        last_seen_at,
        stopped,
        deleted_at,
        edited,
        cluster,
        enrolled,
        agent_said,
        retired_at,
        retired_by,
        replaced_by,
        quarantine,
        cmdb,
        account,
    ) = row
    return Instance(
        id=instance_id,
        name=name,
        enterprise_project=enterprise_project,
        region=region,
        zone=zone,
        resource_type=ResourceType(resource_type),
        application_group=application_group,
        enrolled_at=moment(enrolled_at),
        tags=json.loads(tags),
        operating_system=from_json(OperatingSystem, operating_system),
        ip_address=ip_address,
        agent_version=agent_version,
        machine_id=machine_id,
        last_seen_at=moment_or_none(last_seen_at),
        stopped=bool(stopped),
        deleted_at=moment_or_none(deleted_at),
        edited=frozenset(json.loads(edited)),
        cluster=cluster,
        enrolled=bool(enrolled),
        agent_said=AgentState(agent_said),
        retired_at=moment_or_none(retired_at),
        retired_by=retired_by,
        replaced_by=replaced_by,
        quarantine=None if quarantine is None else from_json(Quarantine, quarantine),
        cmdb=None if cmdb is None else from_json(CmdbEntry, cmdb),
        account=account,
    )


def _put_enrolment_token(db: sqlite3.Connection, token: EnrolmentToken) -> None:
    parameters = {
        "id": token.id,
        "secret_hash": token.secret_hash,
        "note": token.note,
        "placement": to_json(token.placement),
        "created_by": token.created_by,
        "created_at": micros(token.created_at),
        "expires_at": micros(token.expires_at),
        "used_at": micros_or_none(token.used_at),
        "used_by": token.used_by,
        "revoked_at": micros_or_none(token.revoked_at),
        "account": token.account,
    }
    try:
        db.execute(_SQL["put_enrolment_token"], parameters)
    except sqlite3.IntegrityError as error:
        raise Conflict("enrolment token", token.id) from error


def _enrolment_token(row: Row) -> EnrolmentToken:
    (
        token_id,
        secret_hash,
        note,
        placement,
        created_by,
        created_at,
        expires_at,
        used_at,
        used_by,
        revoked_at,
        account,
    ) = row
    return EnrolmentToken(
        id=token_id,
        secret_hash=secret_hash,
        note=note,
        placement=from_json(Placement, placement),
        created_by=created_by,
        created_at=moment(created_at),
        expires_at=moment(expires_at),
        used_at=moment_or_none(used_at),
        used_by=used_by,
        revoked_at=moment_or_none(revoked_at),
        account=account,
    )
