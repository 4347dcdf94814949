"""Where an instance is in its life, and what operators may do about it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from common.errors import Rejected
from controller.fleet import lifecycle
from controller.fleet.model import (
    AgentState,
    CmdbEntry,
    Lifecycle,
    Presence,
    Quarantine,
    QuarantineCause,
)
from tests.builders import MINUTE, NOW, an_instance, instance_id

ONLINE, OFFLINE = Presence(AgentState.ONLINE, NOW), Presence(AgentState.OFFLINE, NOW)
DAY = timedelta(days=1)
TWINS = Quarantine(QuarantineCause.MACHINE_ID, NOW, (instance_id(2),), ("10.0.0.1", "10.0.0.2"))


@pytest.mark.parametrize(
    ("changes", "presence", "reported_at", "place"),
    [
        ({}, ONLINE, None, Lifecycle.ACTIVE),
        ({}, OFFLINE, None, Lifecycle.ACTIVE),
        ({"enrolled_at": NOW - 15 * DAY}, OFFLINE, None, Lifecycle.STALE),
        ({"enrolled_at": NOW - 15 * DAY, "last_seen_at": NOW - 14 * DAY}, OFFLINE, None, Lifecycle.ACTIVE),
        ({"enrolled_at": NOW - 15 * DAY, "last_seen_at": NOW - 14 * DAY - MINUTE}, OFFLINE, None, Lifecycle.STALE),
        ({"enrolled_at": NOW - 15 * DAY}, OFFLINE, NOW - DAY, Lifecycle.ACTIVE),
        ({"enrolled_at": NOW - 15 * DAY}, ONLINE, None, Lifecycle.ACTIVE),
        ({"replaced_by": instance_id(2)}, OFFLINE, NOW, Lifecycle.REPLACED),
        ({"replaced_by": instance_id(2)}, ONLINE, NOW, Lifecycle.ACTIVE),
        ({"enrolled": False, "enrolled_at": NOW - 99 * DAY}, OFFLINE, None, Lifecycle.NOT_ENROLLED),
        ({"quarantine": TWINS, "replaced_by": instance_id(2)}, ONLINE, NOW, Lifecycle.QUARANTINED),
        ({"quarantine": TWINS, "retired_at": NOW}, OFFLINE, NOW, Lifecycle.RETIRED),
    ],
)
def test_an_instance_is_in_one_place_of_its_life(
    changes: dict[str, Any], presence: Presence, reported_at: Any, place: Lifecycle
) -> None:
    assert lifecycle.of(an_instance(1, **changes), presence, reported_at, NOW) is place


def test_a_retired_instance_can_be_restored_and_only_that() -> None:
    there = an_instance(1)
    gone = lifecycle.retired(there, "ann", NOW, instance_id(2))
    assert (gone.retired_at, gone.retired_by, gone.replaced_by) == (NOW, "ann", instance_id(2))
    assert lifecycle.retired(gone, "ben", NOW + DAY) == gone
    assert lifecycle.restored(gone) == there
    with pytest.raises(Rejected, match=r"ecs-0001 is not retired; .*--lifecycle retired"):
        lifecycle.restored(there)


def test_a_quarantine_holds_from_when_it_was_found_until_an_operator_ends_it() -> None:
    there = an_instance(1, quarantine=TWINS)
    assert there.quarantined
    free = lifecycle.released(there, "ann", NOW + DAY)
    assert not free.quarantined
    assert free.quarantine is not None
    for at, holds in ((NOW - MINUTE, False), (NOW, True), (NOW + DAY - MINUTE, True), (NOW + DAY, False)):
        assert free.quarantine.holds(at) is holds
    for wrong in (an_instance(1), free):
        with pytest.raises(Rejected, match=r"not in quarantine; .*--lifecycle quarantined"):
            lifecycle.released(wrong, "ann", NOW)


def test_every_cause_of_a_quarantine_says_how_to_mend_it_and_how_to_release() -> None:
    for cause in QuarantineCause:
        steps = lifecycle.how_to_mend(Quarantine(cause, NOW), "ecs-0001")
        assert len(steps) >= 2
        assert steps[-1].endswith("patchctl instances release ecs-0001")


def test_the_instance_that_is_kept_takes_over_what_people_said_of_the_old_one() -> None:
    old = an_instance(
        1, region="r-old", application_group="shop/web", tags={"owner": "ann", "tier": "1"}, zone="z-agent"
    )
    old = lifecycle.replace(
        old, edited=frozenset({"region", "tags"}), cmdb=CmdbEntry("c-1", NOW, frozenset({"application_group"}))
    )
    kept = an_instance(2, region="r-new", zone="z", application_group="", tags={"tier": "2"})
    made = lifecycle.merged(kept, old)
    assert (made.region, made.application_group, made.zone) == ("r-old", "shop/web", "z")
    assert made.tags == {"owner": "ann", "tier": "2"}
    assert made.edited == {"region", "tags"}
    assert made.cmdb == old.cmdb
    own = lifecycle.merged(lifecycle.replace(kept, edited=frozenset({"region"})), old)
    assert own.region == "r-new"


def test_what_cannot_be_one_host_is_not_merged() -> None:
    one, two = an_instance(1), an_instance(2)
    with pytest.raises(Rejected, match="into itself"):
        lifecycle.merged(one, one)
    with pytest.raises(Rejected, match="the other way round"):
        lifecycle.merged(lifecycle.replace(one, enrolled=False), two)
    with pytest.raises(Rejected, match="ecs-0002 is in quarantine"):
        lifecycle.merged(one, lifecycle.replace(two, quarantine=TWINS))
