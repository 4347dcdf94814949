"""SIGKILL of a real agent in each place where it stores or sends: its run is counted once, and what it has kept it does not do again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.pb.v1 import fleet_pb2, ticket_pb2
from controller.client import scan_of
from tests.conftest import RealHost
from tests.integration.real_fleet import RealFleet

KILLED, OTHER = "ecs-0", "ecs-1"
IN_EVERY_RUN = ("uniagent.accepted", "uniagent.result_kept", "uniagent.before_forget")
"""These are walked whenever the tests run; the others take minutes."""
PLACES = (
    "uniagent.before_accept",
    "uniagent.accepted",
    "uniagent.before_result",
    "uniagent.result_kept",
    "uniagent.run_finished",
    "uniagent.before_send",
    "uniagent.result_sent",
    "uniagent.piece_sent",
    "uniagent.before_forget",
    "uniagent.forgotten",
)
LOST_WITH_IT = ("uniagent.before_result",)
"""Here it dies with a result that it has not kept: nobody heard of it, and the run, which changes nothing on the host, is done anew."""


def once(place: str) -> object:
    return place if place in IN_EVERY_RUN else pytest.param(place, marks=pytest.mark.slow)


@pytest.mark.parametrize("place", [once(place) for place in PLACES])
def test_invariant_3_an_agent_that_is_killed_is_counted_once_and_does_what_it_kept_no_second_time(
    tmp_path: Path, centos_host: RealHost, place: str
) -> None:
    with RealFleet(tmp_path) as fleet:
        killed_in_a_ticket(fleet, centos_host, place)
        fleet.start_agent(KILLED)
        check(fleet, place)


@pytest.mark.parametrize("place", ["uniagent.result_kept", "uniagent.result_sent", "uniagent.before_forget"])
@pytest.mark.slow
def test_invariant_3_so_it_is_when_the_controller_is_killed_with_it(
    tmp_path: Path, centos_host: RealHost, place: str
) -> None:
    with RealFleet(tmp_path) as fleet:
        killed_in_a_ticket(fleet, centos_host, place)
        fleet.daemons.kill("controller")
        fleet.start_agent(KILLED)
        fleet.start_controller()
        fleet.wait_for_controller()
        check(fleet, place)


def killed_in_a_ticket(fleet: RealFleet, host: RealHost, place: str) -> None:
    """Run a ticket on two agents, of which one dies at the place."""
    fleet.start_controller()
    fleet.wait_for_controller()
    fleet.add_agent(KILLED, host.root, failpoint=place)
    fleet.add_agent(OTHER, host.root)
    # What both have is asked of the one that speaks first: the one that is to die sending it needs something of its own.
    release = fleet.folder / f"{KILLED}.root/etc/os-release"
    release.write_text(release.read_text().replace('PRETTY_NAME="', 'PRETTY_NAME="Our '))
    fleet.wait_for_agents(2)
    fleet.client.create_ticket(scan_of(fleet_pb2.Selector(all=True), one_batch=True), request_id="once")
    fleet.wait_for_death(KILLED)


def check(fleet: RealFleet, place: str) -> None:
    (ticket,) = fleet.client.list_tickets()

    def is_over() -> bool:
        return fleet.client.get_ticket(ticket.id).state == ticket_pb2.TICKET_STATE_FINISHED

    fleet.wait("the ticket ends", is_over)
    runs = list(fleet.client.list_runs(ticket.id))
    counts = {f.name: v for f, v in fleet.client.get_ticket(ticket.id).counts.ListFields()}
    assert counts == {"succeeded": 2}
    assert {(r.instance_name, r.attempt) for r in runs} == {(KILLED, 1), (OTHER, 1)}
    fleet.wait("all is forgotten that was acknowledged", lambda: not list((fleet.folder / KILLED / "outbox").iterdir()))
    journal = (fleet.folder / KILLED / "journal/finished.jsonl").read_text().splitlines()
    (finished,) = (json.loads(line) for line in journal)
    assert finished["run_id"] in {r.id for r in runs}
    assert finished["outcome"] == "SUCCEEDED"
    said = fleet.daemons.log(KILLED).read_text()
    assert said.count("a run ended") == (2 if place in LOST_WITH_IT else 1)
    reports = {r.instance_name: r.ticket_id for r in fleet.client.list_reports()}
    assert reports == {KILLED: ticket.id, OTHER: ticket.id}
