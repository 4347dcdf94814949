"""Cloned machine ids (SEMANTICS §3): a restart is none, an enrolment again is none, A, B, A is."""

from __future__ import annotations

import itertools
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from controller.fleet.clones import MOST_KEPT, Observation, clones, noted, sightings_of, verdicts
from controller.fleet.model import InstanceId, QuarantineCause
from tests.builders import MINUTE, NOW

X, Y = InstanceId("i-x"), InstanceId("i-y")


def seen(*steps: tuple[InstanceId, str, str]) -> list[Observation]:
    """One observation a minute: instance, machine, boot."""
    return [
        Observation(instance, machine, boot, f"10.0.0.{ord(boot[0]) % 50}", NOW + n * MINUTE)
        for n, (instance, machine, boot) in enumerate(steps)
    ]


def test_a_restart_changes_the_boot_id_once_and_is_no_clone() -> None:
    assert verdicts(seen((X, "m", "A"), (X, "m", "A"), (X, "m", "B"), (X, "m", "B"), (X, "m", "C"))) == ()


def test_one_key_with_alternating_boots_is_two_hosts() -> None:
    (found,) = verdicts(seen((X, "m", "A"), (X, "m", "B"), (X, "m", "A")))
    assert (found.cause, found.instances) == (QuarantineCause.AGENT_KEY, (X,))
    assert len(found.addresses) == 2


def test_one_machine_id_with_alternating_boots_is_two_hosts_and_both_are_named() -> None:
    (found,) = verdicts(seen((X, "m", "A"), (Y, "m", "B"), (X, "m", "A")))
    assert (found.cause, found.instances) == (QuarantineCause.MACHINE_ID, (X, Y))


def test_a_host_that_enrols_again_is_no_clone_with_or_without_a_restart_between() -> None:
    assert verdicts(seen((X, "m", "A"), (Y, "m", "A"), (Y, "m", "A"))) == ()
    assert verdicts(seen((X, "m", "A"), (Y, "m", "B"), (Y, "m", "B"))) == ()


def test_two_agents_on_one_host_share_its_boot_and_are_no_clones() -> None:
    assert verdicts(seen((X, "m", "A"), (Y, "m", "A"), (X, "m", "A"), (Y, "m", "A"))) == ()


def test_hosts_that_say_no_machine_id_or_no_boot_id_are_no_clones() -> None:
    assert verdicts(seen((X, "", "A"), (Y, "", "B"), (X, "", "A"))) == ()
    nothing = [Observation(X, "m", "", "", NOW + n * MINUTE) for n in range(4)]
    assert verdicts(nothing) == ()


def test_of_three_hosts_with_one_machine_id_all_are_named() -> None:
    z = InstanceId("i-z")
    (found,) = verdicts(seen((X, "m", "A"), (Y, "m", "B"), (z, "m", "C"), (X, "m", "A"), (Y, "m", "B"), (z, "m", "C")))
    assert found.instances == (X, Y, z)


def test_what_happened_before_a_pair_was_mended_is_forgotten_with_its_sightings() -> None:
    before = seen((X, "m", "A"), (Y, "m", "B"), (X, "m", "A"))
    after = [Observation(o.instance_id, o.instance_id, o.boot_id, o.address, o.at + timedelta(hours=1)) for o in before]
    assert verdicts(after) == ()


def test_the_newest_boots_are_remembered() -> None:
    kept = sightings_of(seen(*((X, "m", f"{n:02}") for n in range(20))))
    assert [s.boot_id for s in kept] == [f"{n:02}" for n in range(20 - MOST_KEPT, 20)]


hosts = st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=40)


@given(hosts)
def test_hosts_with_ids_of_their_own_are_never_clones_however_they_restart_and_speak(
    steps: list[tuple[int, bool]],
) -> None:
    boots, story = dict.fromkeys(range(5), 0), list[tuple[InstanceId, str, str]]()
    for host, restarts in steps:
        boots[host] += restarts
        story.append((InstanceId(f"i-{host}"), f"m-{host}", f"{host}.{boots[host]}"))
    assert verdicts(seen(*story)) == ()


@given(st.lists(st.sampled_from("AB"), max_size=30), st.booleans())
def test_two_hosts_are_found_exactly_when_one_speaks_again_after_the_other(story: list[str], one_key: bool) -> None:
    told = seen(*((X if one_key or boot == "A" else Y, "m", boot) for boot in story))
    changes = sum(a != b for a, b in itertools.pairwise(story))
    found = verdicts(told)
    assert bool(found) == (changes >= 2)
    assert {c.cause for c in found} <= {QuarantineCause.AGENT_KEY if one_key else QuarantineCause.MACHINE_ID}


@given(st.lists(st.tuples(st.sampled_from([X, Y]), st.sampled_from("mn"), st.sampled_from("ABC")), max_size=25))
def test_what_is_noted_one_by_one_amounts_to_what_is_read_at_once(story: list[tuple[InstanceId, str, str]]) -> None:
    known = dict.fromkeys((X, Y), ())
    for observation in seen(*story):
        known[observation.instance_id] = noted(known[observation.instance_id], observation)  # type: ignore[assignment]
    assert clones(s for each in known.values() for s in each) == verdicts(seen(*story))
