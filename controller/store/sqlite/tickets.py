"""Tickets in SQLite: a head row, a row a batch, a row a run; a save writes only what changed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from immutables import Map

from common.errors import Conflict, NotFound
from controller.fleet.model import DEFAULT_ACCOUNT, InstanceId
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
from controller.store.run_log import pack, unpack
from controller.store.sqlite.database import Database, Parameters, Row
from controller.store.sqlite.outbox import add_notices
from controller.store.sqlite.queries import queries
from controller.tickets.model import (
    AbnormalCause,
    Batch,
    BatchState,
    Counts,
    Gate,
    Outcome,
    RefusedAccount,
    Run,
    RunId,
    RunState,
    Ticket,
    TicketId,
    TicketSpec,
    TicketState,
)

_SQL: Final = queries("tickets")


class SqliteTickets:
    """TicketStore over a Database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, ticket: Ticket) -> Ticket:
        """Write a new ticket; return it as saved. Raise Conflict as the Protocol says."""

        def work(db: sqlite3.Connection) -> None:
            try:
                number = db.execute(_SQL["add"], _ticket_parameters(ticket)).lastrowid
            except sqlite3.IntegrityError as error:
                raise Conflict("ticket", ticket.id) from error
            assert number is not None
            db.execute(_SQL["add_spec"], {"ticket": number, "document": to_json(ticket.spec)})
            for batch in ticket.batches.values():
                db.execute(_SQL["add_batch"], _batch_parameters(number, batch))
                db.executemany(_SQL["add_run"], _new_runs(number, batch, ticket.runs))
            add_notices(db, ticket.unsaved_notices)

        await self._database.write(work)
        return replace(ticket, version=0).saved()

    async def save(self, ticket: Ticket) -> Ticket:
        """Write what changed if nobody else has written meanwhile; return the ticket as saved. Raise Conflict, NotFound."""

        def work(db: sqlite3.Connection) -> None:
            row = db.execute(_SQL["change"], _ticket_parameters(ticket)).fetchone()
            if row is None:
                _number(db, ticket.id)
                raise Conflict("ticket", ticket.id)
            number = row[0]
            for batch in ticket.unsaved_batches:
                db.execute(_SQL["change_batch"], _batch_parameters(number, ticket.batches[batch]))
            db.executemany(_SQL["change_run"], (_run_parameters(number, ticket.runs[i]) for i in ticket.unsaved_runs))
            add_notices(db, ticket.unsaved_notices)

        await self._database.write(work)
        return ticket.saved()

    async def load(self, ticket_id: TicketId) -> Ticket:
        """Return a ticket with all batches and runs; raise NotFound."""
        return await self._database.read(lambda db: _load(db, ticket_id))

    async def head(self, ticket_id: TicketId) -> Ticket:
        """Return a ticket with its batches (without members) but without runs; raise NotFound."""
        return await self._database.read(lambda db: _head(db, _row(db, ticket_id)))

    async def find_request(self, created_by: str, request_id: str) -> TicketId | None:
        """Return the ticket that this request made, if any."""
        row = await self._database.row(_SQL["find_request"], {"created_by": created_by, "request_id": request_id})
        return None if row is None else TicketId(row[0])

    async def heads(
        self,
        states: Collection[TicketState],
        limit: int,
        before: tuple[datetime, TicketId] | None,
        account: str = DEFAULT_ACCOUNT,
    ) -> tuple[Ticket, ...]:
        """Return an account's tickets as `head` does, ordered by (created_at, id), newest first, only those below `before`."""
        at, ticket_id = (END_OF_TIME, "") if before is None else (micros(before[0]), before[1])
        page = {
            "account": account,
            "states": canonical(list(states)),
            "limit": limit,
            "before_at": at,
            "before_id": ticket_id,
        }
        return await self._database.read(
            lambda db: tuple(_head(db, row) for row in db.execute(_SQL["heads"], page).fetchall())
        )

    async def runs(
        self, ticket_id: TicketId, batch: int, states: Collection[RunState], limit: int, after: tuple[int, int] | None
    ) -> tuple[tuple[tuple[int, int], Run], ...]:
        """Return (position, run) of a ticket in dispatch order, only those above `after`; raise NotFound."""
        after_batch, after_place = after or (0, 0)
        page: Parameters = {
            "batch": batch,
            "states": canonical(list(states)),
            "limit": limit,
            "after_batch": after_batch,
            "after_place": after_place,
        }

        def work(db: sqlite3.Connection) -> tuple[tuple[tuple[int, int], Run], ...]:
            rows = db.execute(_SQL["run_page"], {**page, "ticket": _number(db, ticket_id)})
            return tuple(((row[2], row[-1]), _run(row[:-1])) for row in rows)

        return await self._database.read(work)

    async def unfinished(self) -> tuple[TicketId, ...]:
        """Return the tickets that are READY, PROCESSING or PAUSED, or have a run out, oldest first."""
        return tuple(TicketId(ticket_id) for (ticket_id,) in await self._database.rows(_SQL["unfinished"], {}))


def _number(db: sqlite3.Connection, ticket_id: TicketId) -> int:
    row = db.execute(_SQL["number"], {"id": ticket_id}).fetchone()
    if row is None:
        raise NotFound("ticket", ticket_id)
    return int(row[0])


def _row(db: sqlite3.Connection, ticket_id: TicketId) -> Row:
    row: Row | None = db.execute(_SQL["get"], {"id": ticket_id}).fetchone()
    if row is None:
        raise NotFound("ticket", ticket_id)
    return row


def _load(db: sqlite3.Connection, ticket_id: TicketId) -> Ticket:
    row = _row(db, ticket_id)
    head = _head(db, row)
    members = dict[int, list[InstanceId]]()
    runs = dict[InstanceId, Run]()
    for run in map(_run, db.execute(_SQL["runs"], {"ticket": row[8]})):
        runs[run.instance_id] = run
        members.setdefault(run.batch, []).append(run.instance_id)
    batches = {number: replace(b, members=tuple(members.get(number, ()))) for number, b in head.batches.items()}
    out = {i: run.id(ticket_id) for i, run in runs.items() if run.state is RunState.PROCESSING}
    waiting = {i: run.waits_for for i, run in runs.items() if run.waits_for}
    return replace(head, batches=Map(batches), runs=Map(runs), out=Map(out), waiting=Map(waiting))


def _head(db: sqlite3.Connection, row: Row) -> Ticket:
    number, ticket_id, version, state, abnormal_cause, current, forgiven, created_by, request_id = row[8:17]
    created_at, changed_at, ended_at, note, notices, pardons, gate, soak_until, expires_at, timed_out_at = row[17:27]
    account, enterprise_projects, refused_accounts, spec = row[27:]
    batches = [_batch(batch) for batch in db.execute(_SQL["batches"], {"ticket": number})]
    return Ticket(
        id=ticket_id,
        spec=from_json(TicketSpec, spec),
        state=TicketState(state),
        batches=Map({batch.number: batch for batch in batches}),
        runs=Map[InstanceId, Run](),
        out=Map[InstanceId, RunId](),
        counts=Counts(*row[:8]),
        created_by=created_by,
        created_at=moment(created_at),
        changed_at=moment(changed_at),
        current=current,
        abnormal_cause=None if abnormal_cause is None else AbnormalCause(abnormal_cause),
        forgiven=forgiven,
        ended_at=moment_or_none(ended_at),
        note=note,
        request_id=request_id,
        version=version,
        notices=notices,
        pardons=pardons,
        gate=Gate(gate),
        soak_until=moment_or_none(soak_until),
        expires_at=moment_or_none(expires_at),
        timed_out_at=moment_or_none(timed_out_at),
        account=account,
        enterprise_projects=tuple(json.loads(enterprise_projects)),
        refused_accounts=tuple(RefusedAccount(*refused) for refused in json.loads(refused_accounts)),
    )


def _batch(row: Row) -> Batch:
    _, number, state, region, zone, application_group, cursor, started_at, ended_at = row[8:]
    return Batch(
        number=number,
        members=(),
        counts=Counts(*row[:8]),
        state=BatchState(state),
        region=region,
        zone=zone,
        application_group=application_group,
        cursor=cursor,
        started_at=moment_or_none(started_at),
        ended_at=moment_or_none(ended_at),
    )


_RUN_STATES: Final = {state.value: state for state in RunState}
_OUTCOMES: Final[Mapping[str | None, Outcome | None]] = {None: None} | {o.value: o for o in Outcome}


def _run(row: Row) -> Run:
    instance_id, name, batch, state, outcome, error, attempt, sent_at, deadline, ended_at, waits_for, pardons, log = row
    return Run(
        instance_id,
        name,
        batch,
        _RUN_STATES[state],
        _OUTCOMES[outcome],
        error,
        attempt,
        moment_or_none(sent_at),
        moment_or_none(deadline),
        moment_or_none(ended_at),
        waits_for,
        pardons,
        unpack(log),
    )


def _counts_parameters(counts: Counts) -> Mapping[str, int]:
    return {
        "ready": counts.ready,
        "processing": counts.processing,
        "succeeded": counts.succeeded,
        "failed": counts.failed,
        "timeout": counts.timeout,
        "unreachable": counts.unreachable,
        "skipped": counts.skipped,
        "canceled": counts.canceled,
    }


def _ticket_parameters(ticket: Ticket) -> Parameters:
    return {
        **_counts_parameters(ticket.counts),
        "id": ticket.id,
        "version": ticket.version,
        "state": ticket.state.value,
        "abnormal_cause": ticket.abnormal_cause,
        "current": ticket.current,
        "forgiven": ticket.forgiven,
        "created_by": ticket.created_by,
        "request_id": ticket.request_id,
        "created_at": micros(ticket.created_at),
        "changed_at": micros(ticket.changed_at),
        "ended_at": micros_or_none(ticket.ended_at),
        "note": ticket.note,
        "notices": ticket.notices,
        "pardons": ticket.pardons,
        "gate": ticket.gate.value,
        "soak_until": micros_or_none(ticket.soak_until),
        "expires_at": micros_or_none(ticket.expires_at),
        "timed_out_at": micros_or_none(ticket.timed_out_at),
        "account": ticket.account,
        "enterprise_projects": canonical(list(ticket.enterprise_projects)),
        "refused_accounts": canonical([[r.account, r.agency, r.sentence] for r in ticket.refused_accounts]),
    }


def _batch_parameters(ticket: int, batch: Batch) -> Parameters:
    return {
        **_counts_parameters(batch.counts),
        "ticket": ticket,
        "number": batch.number,
        "state": batch.state.value,
        "region": batch.region,
        "zone": batch.zone,
        "application_group": batch.application_group,
        "cursor": batch.cursor,
        "started_at": micros_or_none(batch.started_at),
        "ended_at": micros_or_none(batch.ended_at),
    }


def _new_runs(ticket: int, batch: Batch, runs: Mapping[InstanceId, Run]) -> Iterable[Parameters]:
    return ({**_run_parameters(ticket, runs[m]), "place": place} for place, m in enumerate(batch.members))


def _run_parameters(ticket: int, run: Run) -> Parameters:
    return {
        "ticket": ticket,
        "instance_id": run.instance_id,
        "instance_name": run.instance_name,
        "batch": run.batch,
        "state": run.state.value,
        "outcome": run.outcome,
        "error": run.error,
        "attempt": run.attempt,
        "sent_at": micros_or_none(run.sent_at),
        "deadline": micros_or_none(run.deadline),
        "ended_at": micros_or_none(run.ended_at),
        "waits_for": run.waits_for,
        "pardons": run.pardons,
        "log": pack(run.log),
    }
