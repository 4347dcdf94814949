"""Baselines, for whom they decide, and exceptions in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from common.errors import Conflict, NotFound
from controller.compliance.model import (
    Assignment,
    AssignmentScope,
    Baseline,
    ExceptionMatch,
    Exceptions,
    ExceptionScope,
    PatchException,
)
from controller.fleet.model import DEFAULT_ACCOUNT, ResourceType
from controller.store import rules
from controller.store.codec import END_OF_TIME, from_json, micros, micros_or_none, moment, moment_or_none, to_json
from controller.store.sqlite.database import Database, Row
from controller.store.sqlite.queries import queries

_SQL: Final = queries("baselines")


class SqliteBaselines:
    """BaselineStore over a Database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put_baseline(self, baseline: Baseline) -> None:
        """Write one version of a baseline; raise Conflict as the Protocol says."""
        head = {
            "id": baseline.id,
            "name": baseline.name,
            "version": baseline.version,
            "public": int(baseline.public),
            "account": baseline.account,
        }
        version = {"id": baseline.id, "version": baseline.version, "document": to_json(baseline)}

        def work(db: sqlite3.Connection) -> None:
            if db.execute(_SQL["is_deleted"], {"id": baseline.id}).fetchone() == (1,):
                raise Conflict("baseline", baseline.name)
            try:
                if db.execute(_SQL["is_taken"], head).fetchone() is not None:
                    raise Conflict("baseline", baseline.name)
                db.execute(_SQL["put_head"], head)
                db.execute(_SQL["put_version"], version)
            except sqlite3.IntegrityError as error:
                raise Conflict("baseline", baseline.name) from error

        await self._database.write(work)

    async def get_baseline(self, baseline_id: str, version: int = 0) -> Baseline:
        """Return one version, 0 for the newest (deleted baselines answer too, by id); raise NotFound."""
        query = _SQL["get_version"] if version else _SQL["get_newest"]
        row = await self._database.row(query, {"id": baseline_id, "version": version})
        return _baseline(row, f"{baseline_id} v{version}" if version else baseline_id)

    async def find_baseline(self, reference: str, account: str = DEFAULT_ACCOUNT) -> Baseline:
        """Return the newest version of the baseline with this id or name, public or the account's; raise NotFound."""
        row = await self._database.row(_SQL["find"], {"reference": reference, "account": account})
        return _baseline(row, reference)

    async def baselines(self) -> tuple[Baseline, ...]:
        """Return the newest versions, public ones first, then by name, then by id; deleted ones are absent."""
        return tuple(from_json(Baseline, document) for (document,) in await self._database.rows(_SQL["list"], {}))

    async def delete_baseline(self, baseline_id: str, at: datetime | None = None, by: str = "") -> None:
        """Take a baseline out of lists and take its assignments back; its versions stay readable. Raise NotFound."""

        def work(db: sqlite3.Connection) -> None:
            if not db.execute(_SQL["delete"], {"id": baseline_id}).rowcount:
                raise NotFound("baseline", baseline_id)
            for row in db.execute(_SQL["assignments"], {"at": END_OF_TIME}).fetchall():
                assignment = _assignment(row)
                if assignment.baseline_id == baseline_id:
                    _append(db, rules.taken_back(assignment, at, by))

        await self._database.write(work)

    async def baseline_as_of(self, baseline_id: str, at: datetime) -> Baseline:
        """Return the version that was the newest at an instant; raise NotFound."""
        row = await self._database.row(_SQL["get_as_of"], {"id": baseline_id, "at": micros(at)})
        return _baseline(row, baseline_id)

    async def set_default(
        self, baseline_id: str, at: datetime | None = None, by: str = "", account: str = DEFAULT_ACCOUNT
    ) -> None:
        """Make it an account's default of its (scenario, operating system), instead of the one before; raise NotFound."""

        def work(db: sqlite3.Connection) -> None:
            _refuse_deleted(db, baseline_id)
            baseline = _baseline(db.execute(_SQL["get_newest"], {"id": baseline_id}).fetchone(), baseline_id)
            wanted = rules.default_of(baseline, at, by, account)
            _append(db, rules.not_before(_newest(db, wanted), wanted))

        await self._database.write(work)

    async def put_assignment(self, assignment: Assignment) -> None:
        """Add to the history of assignments; raise Conflict, NotFound as the Protocol says."""

        def work(db: sqlite3.Connection) -> None:
            if assignment.baseline_id:
                _refuse_deleted(db, assignment.baseline_id)
            newest = _newest(db, assignment)
            if newest is not None and assignment.since < newest.since:
                raise Conflict("assignment", assignment.value or assignment.scope)
            _append(db, assignment)

        await self._database.write(work)

    async def assignments(self, at: datetime | None = None) -> tuple[Assignment, ...]:
        """Return the assignments that hold now, or held at an instant; those taken back are absent."""
        until = END_OF_TIME if at is None else micros(at)
        return tuple(_assignment(row) for row in await self._database.rows(_SQL["assignments"], {"at": until}))

    async def put_exception(self, exception: PatchException) -> Exceptions:
        """Write an exception, new or changed, and raise the version of all; return all."""
        row = {
            "id": exception.id,
            "scope": exception.scope.value,
            "scope_value": exception.scope_value,
            "match": exception.match.value,
            "match_value": exception.match_value,
            "reason": exception.reason,
            "approver": exception.approver,
            "created_at": micros(exception.created_at),
            "expires_at": micros(exception.expires_at),
            "revoked_at": micros_or_none(exception.revoked_at),
            "account": exception.account,
        }

        def work(db: sqlite3.Connection) -> Exceptions:
            db.execute(_SQL["put_exception"], row)
            return _exceptions(db.execute(_SQL["exceptions"]).fetchall())

        return await self._database.write(work)

    async def exceptions(self) -> Exceptions:
        """Return all exceptions, ordered by (created_at, id), and their version."""
        return _exceptions(await self._database.rows(_SQL["exceptions"], {}))

    async def defaults(self, account: str = DEFAULT_ACCOUNT) -> Mapping[tuple[ResourceType, str], str]:
        """Return the account's default's baseline id by (scenario, operating system)."""
        return {
            (a.scenario, a.operating_system): a.baseline_id
            for a in await self.assignments()
            if a.scope is AssignmentScope.DEFAULT and a.account == account
        }


def _baseline(row: Row | None, name: str) -> Baseline:
    if row is None:
        raise NotFound("baseline", name)
    return from_json(Baseline, row[0])


def _refuse_deleted(db: sqlite3.Connection, baseline_id: str) -> None:
    if db.execute(_SQL["is_deleted"], {"id": baseline_id}).fetchone() != (0,):
        raise NotFound("baseline", baseline_id)


def _key(assignment: Assignment) -> dict[str, object]:
    return {
        "account": assignment.account,
        "scope": assignment.scope.value,
        "value": assignment.value,
        "scenario": assignment.scenario.value,
        "operating_system": assignment.operating_system,
    }


def _newest(db: sqlite3.Connection, like: Assignment) -> Assignment | None:
    """The last assignment of the same key, also one that took the one before back."""
    row: Row | None = db.execute(_SQL["newest_assignment"], _key(like)).fetchone()
    return None if row is None else _assignment(row[:-1])


def _append(db: sqlite3.Connection, assignment: Assignment) -> None:
    row: Row | None = db.execute(_SQL["newest_assignment"], _key(assignment)).fetchone()
    values = _key(assignment) | {
        "since": micros(assignment.since),
        "arrival": 1 if row is None else row[-1] + 1,
        "baseline_id": assignment.baseline_id or None,
        "assigned_by": assignment.assigned_by,
    }
    db.execute(_SQL["put_assignment"], values)


def _assignment(row: Row) -> Assignment:
    account, scope, value, scenario, operating_system, since, baseline_id, assigned_by = row
    return Assignment(
        scope=AssignmentScope(scope),
        value=value,
        scenario=ResourceType(scenario),
        operating_system=operating_system,
        baseline_id=baseline_id or "",
        since=moment(since),
        assigned_by=assigned_by,
        account=account,
    )


def _exceptions(rows: Sequence[Row]) -> Exceptions:
    return Exceptions(max((row[0] for row in rows), default=0), tuple(_exception(*row[1:]) for row in rows))


def _exception(
    exception_id: str,
    scope: str,
    scope_value: str,
    match: str,
    match_value: str,
    reason: str,
    approver: str,
    created_at: int,
    expires_at: int,
    revoked_at: int | None,
    account: str,
) -> PatchException:
    return PatchException(
        id=exception_id,
        scope=ExceptionScope(scope),
        scope_value=scope_value,
        match=ExceptionMatch(match),
        match_value=match_value,
        reason=reason,
        approver=approver,
        created_at=moment(created_at),
        expires_at=moment(expires_at),
        revoked_at=moment_or_none(revoked_at),
        account=account,
    )
