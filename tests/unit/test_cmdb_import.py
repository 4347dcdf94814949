"""What an import of a CMDB file changes: recognised, shown first, the same twice, and never an enrolled instance deleted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from controller.fleet import lifecycle
from controller.fleet.cmdb import ChangeKind, Import, Options, adopted, plan
from controller.fleet.cmdb_file import CmdbFile, Row
from controller.fleet.model import AgentState, CmdbEntry, Instance, Lifecycle, Placement, Presence, ResourceType
from controller.fleet.placement import apply_hello
from tests.builders import NOW, an_instance

LATER = NOW + timedelta(days=1)


def a_row(number: int = 2, **said: Any) -> Row:
    placement = {k: said.pop(k) for k in list(said) if k in Placement.__dataclass_fields__}
    return Row(number, placement=Placement(**placement), **said)


def imported(rows: list[Row], fleet: list[Instance], **options: bool) -> Import:
    return plan(CmdbFile(tuple(rows), ()), fleet, Options(**options), LATER)


def after(rows: list[Row], fleet: list[Instance], **options: bool) -> list[Instance]:
    """The fleet as it is afterwards."""
    written = {i.id: i for i in imported(rows, fleet, **options).writes}
    made = {i.id: i for i in fleet} | written
    return sorted((i for i in made.values() if i.deleted_at is None), key=lambda i: (i.name, i.id))


def kinds(found: Import) -> list[tuple[ChangeKind, int, str]]:
    return [(c.kind, c.row, c.name) for c in found.changes]


def test_a_machine_that_nobody_knows_becomes_an_instance_without_agent() -> None:
    row = a_row(
        id="c-1", machine_id="m", ip="10.0.0.1", name="web-01", region="r", resource_type="CCE", cluster="k",
        tags={"a": "b"}, stopped=True, agent=AgentState.INSTALLING, os="CentOS 7.9",
    )  # fmt: skip
    found = imported([row], [])
    assert kinds(found) == [(ChangeKind.NEW, 2, "web-01")]
    (new,) = found.writes
    assert new.id.startswith("c-")
    assert (new.resource_type, new.cluster, new.tags, new.stopped) == (ResourceType.CCE, "k", {"a": "b"}, True)
    assert (new.operating_system.product, new.machine_id, new.ip_address) == ("CentOS 7.9", "m", "10.0.0.1")
    assert new.cmdb == CmdbEntry("c-1", LATER, frozenset({"name", "region", "resource_type", "cluster", "tags"}))
    presence = Presence(new.agent_said)
    assert lifecycle.of(new, presence, None, LATER) is Lifecycle.NOT_ENROLLED
    assert presence.state is AgentState.INSTALLING


@pytest.mark.parametrize(
    "row",
    [
        a_row(id="i-0000000000000001", name="another"),
        a_row(id="their-id"),
        a_row(machine_id=f"{1:032x}", name="another"),
        a_row(name="ecs-0001"),
        a_row(ip="10.0.0.2"),
        a_row(id="their-id", machine_id="another", name="ecs-0002", ip="10.0.0.3"),
    ],
)
def test_a_machine_is_recognised_by_the_strongest_sign(row: Row) -> None:
    fleet = [an_instance(1, cmdb=CmdbEntry("their-id", NOW)), an_instance(2)]
    (change,) = imported([replace(row, placement=replace(row.placement, zone="new"))], fleet, partial=True).changes
    assert change.instance_id == fleet[0].id


def test_what_contradicts_a_stronger_sign_is_another_machine() -> None:
    fleet = [an_instance(1, cmdb=CmdbEntry("their-id", NOW))]
    for row in (a_row(id="other", name="ecs-0001", ip="10.0.0.2"), a_row(machine_id="other", name="ecs-0001")):
        assert kinds(imported([row], fleet, partial=True)) == [(ChangeKind.NEW, 2, "ecs-0001")]


def test_what_may_be_several_instances_is_ambiguous_and_left_alone() -> None:
    fleet = [an_instance(n, name="web", cmdb=CmdbEntry("", NOW)) for n in (1, 2)]
    found = imported([a_row(name="web", region="new")], fleet)
    assert kinds(found) == [(ChangeKind.AMBIGUOUS, 2, "web")]
    assert "2 instances" in found.changes[0].sentence
    assert found.writes == ()  # nor are they gone


def test_a_weaker_sign_decides_between_several() -> None:
    fleet = [an_instance(n, name="web") for n in (1, 2)]
    (change,) = imported([a_row(name="web", ip="10.0.0.3", region="new")], fleet).changes
    assert change.instance_id == fleet[1].id


def test_rows_that_mean_one_instance_are_ambiguous_unless_one_has_a_stronger_sign() -> None:
    fleet = [an_instance(1)]
    by_name = [a_row(2, name="ecs-0001", region="x"), a_row(3, name="ecs-0001", region="y")]
    assert kinds(imported(by_name, fleet)) == [
        (ChangeKind.AMBIGUOUS, 2, "ecs-0001"),
        (ChangeKind.AMBIGUOUS, 3, "ecs-0001"),
    ]
    by_address = [a_row(2, name="ecs-0001", region="x"), a_row(3, ip="10.0.0.2", region="y")]
    assert [k for k, *_ in kinds(imported(by_address, fleet))] == [ChangeKind.CHANGED, ChangeKind.AMBIGUOUS]
    with_id = [a_row(2, name="ecs-0001", region="x"), a_row(3, id=fleet[0].id, region="y")]
    assert [k for k, *_ in kinds(imported(with_id, fleet))] == [ChangeKind.NEW, ChangeKind.CHANGED]
    twins = [a_row(2, name="new"), a_row(3, name="new")]
    assert kinds(imported(twins, [])) == [(ChangeKind.NEW, 2, "new"), (ChangeKind.AMBIGUOUS, 3, "new")]


def test_changed_fields_are_shown_one_by_one_and_from_then_on_the_agents_words_do_not_change_them() -> None:
    fleet = [an_instance(1, region="old", stopped=False)]
    row = a_row(name="ecs-0001", region="new", cluster="k", stopped=True)
    (change,) = imported([row], fleet).changes
    assert [(f.field, f.before, f.after) for f in change.fields] == [
        ("cluster", "", "k"), ("region", "old", "new"), ("power", "RUNNING", "STOPPED"), ("cmdb", "not listed", "listed"),
    ]  # fmt: skip
    (made,) = after([row], fleet)
    said = Placement("ecs-0001", "agent-region", "agent-zone", cluster="agent-cluster")
    greeted = apply_hello(made, said, made.operating_system, "10.0.0.9", "1")
    assert (greeted.region, greeted.cluster, greeted.zone) == ("new", "k", "agent-zone")


def test_what_an_operator_set_stands_unless_it_is_overwritten() -> None:
    fleet = [an_instance(1, region="ours", edited=frozenset({"region"}), cmdb=CmdbEntry("c-1", NOW))]
    row = a_row(id="c-1", region="theirs")
    found = imported([row], fleet)
    assert kinds(found) == [(ChangeKind.KEPT, 2, "ecs-0001")]
    assert [(f.field, f.before, f.after, f.kept) for f in found.changes[0].fields] == [
        ("region", "ours", "theirs", True)
    ]
    assert found.writes == ()
    (forced,) = after([row], fleet, overwrite=True)
    assert (forced.region, forced.edited) == ("theirs", frozenset())
    assert forced.cmdb is not None
    assert forced.cmdb.fields == {"region"}


def test_what_is_not_listed_any_more_is_marked_and_only_what_never_enrolled_can_be_deleted() -> None:
    enrolled = an_instance(1, cmdb=CmdbEntry("c-1", NOW))
    waiting = an_instance(2, enrolled=False, cmdb=CmdbEntry("c-2", NOW))
    unknown = an_instance(3)
    rows = [a_row(name="new")]
    fleet = [enrolled, waiting, unknown]
    marked = {i.name: i for i in after(rows, fleet)}
    assert len(marked) == 4
    for name in ("ecs-0001", "ecs-0002"):
        entry = marked[name].cmdb
        assert entry is not None
        assert entry.missing_since == LATER
    assert marked["ecs-0003"] == unknown
    assert [k for k, *_ in kinds(imported(rows, fleet, delete_gone=True))] == [
        ChangeKind.NEW,
        ChangeKind.GONE,
        ChangeKind.DELETED,
    ]
    assert [i.name for i in after(rows, list(marked.values()), delete_gone=True)] == ["ecs-0001", "ecs-0003", "new"]
    assert [k for k, *_ in kinds(imported(rows, fleet, partial=True))] == [ChangeKind.NEW]
    (back,) = [i for i in after([*rows, a_row(3, id="c-1")], list(marked.values())) if i.name == "ecs-0001"]
    assert back == enrolled


def test_a_retired_instance_is_left_alone_and_nothing_takes_its_place() -> None:
    fleet = [an_instance(1, retired_at=NOW, retired_by="ann")]
    found = imported([a_row(name="ecs-0001", region="new")], fleet)
    assert kinds(found) == [(ChangeKind.KEPT, 2, "ecs-0001")]
    assert "retired by ann; take it back" in found.changes[0].sentence
    assert found.writes == ()


def test_what_enrolled_since_takes_the_place_of_what_only_the_cmdb_knew() -> None:
    (waiting,) = after([a_row(id="c-1", name="planned", ip="10.0.0.2", region="r")], [])
    enrolled = an_instance(1, name="host")
    row = a_row(id="c-1", ip="10.0.0.2", name="planned", region="r")
    found = imported([row], [waiting, enrolled])
    assert kinds(found) == [(ChangeKind.CHANGED, 2, "host")]
    assert "has enrolled as i-" in found.changes[0].sentence
    (left,) = after([row], [waiting, enrolled])
    assert (left.id, left.name, left.region) == (enrolled.id, "planned", "r")


def test_who_has_enrolled_is_looked_for_among_those_whom_no_other_row_means() -> None:
    (waiting,) = after([a_row(id="c-1", name="web")], [])
    enrolled, other = an_instance(1, name="web"), an_instance(2, name="web", machine_id="m")
    rows = [a_row(2, id="c-1", name="web"), a_row(3, machine_id="m", name="db")]
    left = after(rows, [waiting, enrolled, other])
    assert {i.id: i.name for i in left} == {enrolled.id: "web", other.id: "db"}
    assert imported(rows, left).writes == ()


def test_a_host_that_enrols_is_recognised_by_its_machine_id_or_its_name() -> None:
    waiting = after(
        [
            a_row(2, machine_id="m", name="a"),
            a_row(3, name="b"),
            a_row(4, id="x", name="c"),
            a_row(5, id="y", name="c"),
        ],
        [],
    )
    assert [i.name for i in waiting] == ["a", "b", "c", "c"]
    by_name = {i.name: i for i in waiting}
    assert adopted(an_instance(1, machine_id="m", name="zzz"), waiting) == by_name["a"]
    assert adopted(an_instance(1, machine_id="n", name="b"), waiting) == by_name["b"]
    assert adopted(an_instance(1, machine_id="n", name="a"), waiting) is None
    assert adopted(an_instance(1, name="c"), waiting) is None
    assert adopted(an_instance(1, name="b"), [an_instance(2, name="b")]) is None


names, groups_ = st.sampled_from(["a", "b", "c", "d"]), st.sampled_from(["", "shop", "shop/web"])


def told_apart(rows: list[Row]) -> list[Row]:
    """Without rows that have the id or the machine id of an earlier one: a file with those has problems."""
    seen, kept = set[tuple[str, str]](), list[Row]()
    for row in rows:
        signs = {(kind, value) for kind, value in (("id", row.id), ("machine", row.machine_id)) if value}
        if not signs & seen:
            seen |= signs
            kept.append(row)
    return kept


rows_ = (
    st.lists(
        st.fixed_dictionaries(
            {
                "id": st.sampled_from(["", "id-1", "id-2"]),
                "machine_id": st.sampled_from(["", "m-1"]),
                "name": names,
                "application_group": groups_,
                "stopped": st.sampled_from([None, True, False]),
            }
        ),
        max_size=5,
    )
    .map(lambda made: [a_row(n, **said) for n, said in enumerate(made, 2)])
    .map(told_apart)
)
fleets = st.lists(
    st.tuples(names, groups_, st.booleans(), st.sampled_from(["", "m-1"]), st.none() | st.sampled_from(["", "id-1"]), st.booleans()),
    max_size=4,
).map(lambda made: [
    an_instance(
        n, name=name, application_group=g, edited=frozenset({"application_group"} if e else ()), machine_id=m,
        cmdb=None if c is None else CmdbEntry(c, NOW), enrolled=enrolled or c is None,
    )
    for n, (name, g, e, m, c, enrolled) in enumerate(made, 1)
])  # fmt: skip


@given(rows_, fleets, st.booleans(), st.booleans(), st.booleans())
def test_the_same_file_again_writes_nothing(
    rows: list[Row], fleet: list[Instance], partial: bool, overwrite: bool, delete_gone: bool
) -> None:
    options = {"partial": partial, "overwrite": overwrite, "delete_gone": delete_gone}
    by_name = {
        row.placement.name: row for row in rows
    }  # rows that share a name may be told apart only by what an import adds
    rows = list(by_name.values())
    assume(not imported(rows, fleet, **options).count(ChangeKind.AMBIGUOUS))
    once = after(rows, fleet, **options)
    again = plan(CmdbFile(tuple(rows), ()), once, Options(**options), LATER + timedelta(days=1))
    assert again.writes == ()


@given(rows_, fleets, st.booleans(), st.booleans(), st.booleans())
def test_no_import_deletes_what_enrolled_nor_changes_what_an_operator_set_unasked(
    rows: list[Row], fleet: list[Instance], partial: bool, overwrite: bool, delete_gone: bool
) -> None:
    options = {"partial": partial, "overwrite": overwrite, "delete_gone": delete_gone}
    found = imported(rows, fleet, **options)
    there = {i.id: i for i in after(rows, fleet, **options)}
    for before in fleet:
        if before.enrolled:
            assert before.id in there
        if before.id in there and not overwrite and "application_group" in before.edited:
            assert there[before.id].application_group == before.application_group
    assert len({i.id for i in found.writes}) == len(found.writes)
    assert len([c for c in found.changes if c.row]) + found.unchanged == len(rows)
    assert imported(rows, fleet, **options).digest == found.digest
