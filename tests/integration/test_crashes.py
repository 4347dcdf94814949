"""SIGKILL of the controller and of agents at random moments of a ticket: the accounting holds, whatever happens (R17, invariants 1-3)."""

from __future__ import annotations

import random
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from common.errors import PatchError, Unavailable
from common.pb.v1 import fleet_pb2, ticket_pb2
from controller.client import scan_of
from tests.conftest import RealHost
from tests.integration.real_fleet import RealFleet

AGENTS = 5
OVER = (ticket_pb2.TICKET_STATE_FINISHED, ticket_pb2.TICKET_STATE_ABNORMAL)


@pytest.fixture
def fleet(tmp_path: Path, centos_host: RealHost) -> RealFleet:
    with RealFleet(tmp_path) as fleet:
        fleet.start_controller()
        fleet.wait_for_controller()
        for n in range(AGENTS):
            fleet.add_agent(f"ecs-{n}", centos_host.root, group="web" if n % 2 else "db")
        fleet.wait_for_agents(AGENTS)
        yield fleet


def create(fleet: RealFleet) -> str:
    spec = scan_of(
        fleet_pb2.Selector(all=True),
        success_rate=0,
        max_in_flight=2,
        batch_size=2,
        group_share_percent=100,
    )
    return fleet.client.create_ticket(spec).ticket.id


def check_accounting(fleet: RealFleet, ticket_id: str) -> ticket_pb2.Ticket:
    """Every target is in exactly one bucket: in the ticket's counts, in its batches' counts and run by run."""
    ticket = fleet.client.get_ticket(ticket_id)
    runs = list(fleet.client.list_runs(ticket_id))
    assert len({r.instance_id for r in runs}) == len(runs) == AGENTS
    buckets = {f.name: v for f, v in ticket.counts.ListFields()}
    assert sum(buckets.values()) == AGENTS, buckets
    in_batches = Counter[str]()
    for batch in ticket.batches:
        in_batches.update({f.name: v for f, v in batch.counts.ListFields()})
    assert in_batches == buckets
    found = Counter(
        ticket_pb2.RunOutcome.Name(r.outcome).removeprefix("RUN_OUTCOME_").lower()
        if r.outcome
        else ticket_pb2.RunState.Name(r.state).removeprefix("RUN_STATE_").lower()
        for r in runs
    )
    assert found == buckets
    return ticket


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_R17_a_ticket_ends_right_when_controller_and_agents_are_killed_at_random(fleet: RealFleet, seed: int) -> None:
    chance = random.Random(seed)
    ticket_id = create(fleet)
    kills = 0
    deadline = time.monotonic() + 90
    while True:
        time.sleep(chance.uniform(0.1, 0.7))
        try:
            over = fleet.client.get_ticket(ticket_id).state in OVER
        except PatchError:  # killed just now
            over = False
        if over or time.monotonic() > deadline:
            break
        if kills >= 6:
            continue
        kills += 1
        if chance.random() < 0.5:
            fleet.daemons.kill("controller")
            fleet.start_controller()
            fleet.wait_for_controller()
        else:
            name = f"ecs-{chance.randrange(AGENTS)}"
            fleet.daemons.kill(name)
            fleet.start_agent(name)
    fleet.wait("the ticket ends", lambda: fleet.client.get_ticket(ticket_id).state in OVER, 90)
    ticket = check_accounting(fleet, ticket_id)
    assert kills, "the ticket ended before anything was killed"
    assert ticket.counts.succeeded == AGENTS, "every agent came back in time, so every run succeeds"
    assert {r.attempt for r in fleet.client.list_runs(ticket_id)} == {1}
    reports = {r.instance_name: r for r in fleet.client.list_reports()}
    assert {r.ticket_id for r in reports.values()} == {ticket_id}


def test_R17_a_killed_agent_is_unreachable_and_the_run_it_had_journaled_still_counts_when_it_is_back(
    fleet: RealFleet,
) -> None:
    fleet.daemons.kill("ecs-3")
    fleet.wait_for_agents(AGENTS - 1)
    fleet.start_agent("ecs-3", "uniagent.accepted")
    fleet.wait_for_agents(AGENTS)
    patience = timedelta(seconds=2)
    spec = scan_of(fleet_pb2.Selector(all=True), success_rate=0, one_batch=True, unreachable_after=patience)
    ticket_id = fleet.client.create_ticket(spec).ticket.id
    fleet.wait_for_death("ecs-3")
    fleet.wait("the ticket ends", lambda: fleet.client.get_ticket(ticket_id).state in OVER, 60)
    ticket = check_accounting(fleet, ticket_id)
    assert (ticket.counts.succeeded, ticket.counts.unreachable) == (AGENTS - 1, 1)
    assert ticket.state == ticket_pb2.TICKET_STATE_ABNORMAL
    fleet.start_agent("ecs-3")
    fleet.wait("the late result is taken", lambda: fleet.client.get_ticket(ticket_id).counts.succeeded == AGENTS, 60)
    assert check_accounting(fleet, ticket_id).state == ticket_pb2.TICKET_STATE_FINISHED


def test_watching_a_ticket_goes_on_when_the_controller_is_killed_and_begins_again(fleet: RealFleet) -> None:
    ticket_id = create(fleet)
    seen, lost = list[ticket_pb2.WatchResponse](), list[Unavailable]()
    killed = False
    for message in fleet.client.watch(ticket_id, on_lost=lost.append):
        seen.append(message)
        if not killed and message.ticket.counts.succeeded and message.ticket.counts.ready:
            killed = True
            fleet.daemons.kill("controller")
            fleet.start_controller()
    assert killed, "the ticket was over before anything was killed"
    assert lost, "the caller is told of the interruption"
    assert seen[-1].ticket.state == ticket_pb2.TICKET_STATE_FINISHED
    assert check_accounting(fleet, ticket_id).counts.succeeded == AGENTS
