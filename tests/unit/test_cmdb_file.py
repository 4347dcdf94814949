"""A CMDB file, CSV or JSON: what is read, and what each bad row hears, by its number."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.fleet import cmdb_file
from controller.fleet.cmdb_file import COLUMNS, CmdbFormat, Problem, Row, read
from controller.fleet.model import AgentState, Placement

HEADER = (
    "id,machine_id,name,ip,region,zone,enterprise_project,resource_type,application_group,cluster,tags,power,os,agent\n"
)
FULL = "c-1,m-1,web-01,10.0.0.1,cn-hk,a,shop,ecs,shop/web,,owner=ann;tier=1,stopped,CentOS 7.9,failed\n"
ROW = Row(
    2, "c-1", "m-1", "10.0.0.1",
    Placement("web-01", "cn-hk", "a", "shop", "ECS", "shop/web", {"owner": "ann", "tier": "1"}),
    True, AgentState.FAILED, "CentOS 7.9",
)  # fmt: skip


def csv(text: str) -> cmdb_file.CmdbFile:
    return read(text.encode(), CmdbFormat.CSV)


def test_a_csv_row_is_read_whole_with_or_without_a_byte_order_mark() -> None:
    for before in ("", "\ufeff"):
        assert csv(before + HEADER + FULL) == cmdb_file.CmdbFile((ROW,), ())


def test_json_says_the_same() -> None:
    entry = dict(zip(HEADER.strip().split(","), FULL.strip().split(","), strict=True)) | {
        "tags": {"owner": "ann", "tier": "1"},
        "zone": "a",
        "cluster": None,
    }
    for document in ([entry], {"instances": [entry]}):
        (row,) = read(json.dumps(document).encode(), CmdbFormat.JSON).rows
        assert (row.number, row.placement, row.stopped, row.agent) == (1, ROW.placement, True, AgentState.FAILED)


def test_an_empty_cell_is_not_said() -> None:
    (row,) = csv("name,power,agent,tags\nweb-01,,,\n").rows
    assert row == Row(2, placement=Placement("web-01"))


def test_columns_may_stand_in_any_order_and_rows_after_quoted_line_breaks_keep_their_line() -> None:
    found = csv('os,name\n"two\nlines",a\nCentOS 7.9,b\n')
    assert [r.number for r in found.rows] == [4]
    assert [(p.row, p.column) for p in found.problems] == [(3, "os")]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["1: the first line names the columns, and there is none"]),
        ("name,colour\na,b\n", ["1: 'colour' is no column, allowed are id, machine_id"]),
        ("name,name\na,b\n", ["1: the column name stands there twice"]),
        ("region\nr\n", ["1: needs at least one of the columns id, machine_id, name, ip"]),
        ("name\n", ["0: has no rows; an empty file would make every machine look gone"]),
        ("name,ip\na\n", ["2: has 1 cells, the header has 2"]),
        ("name,ip\n,\nb,10.0.0.1\n", []),
        ("name,region\n,r\n", ["2: names no machine: it needs one of id, machine_id, name, ip"]),
        ("name,ip\na,10.0.0.300\n", ["2 ip: '10.0.0.300' is no IP address, write 10.0.3.7 or fd00::7"]),
        ("name,power\na,off\n", ["2 power: 'off' is not one of RUNNING, STOPPED"]),
        ("name,agent\na,online\n", ["2 agent: 'online' is not one of NONE, INSTALLING, FAILED, UNINSTALLED"]),
        ("name,resource_type\na,VM\n", ["2 resource_type: 'VM' is not one of ECS, BMS, CCE"]),
        ("name,application_group\na,shop//web\n", ["2 application_group: 'shop//web' has an empty part"]),
        ("name,tags\na,=x\n", ["2 tags['']: its key is empty"]),
        ("name,tags\na,k=1;k=2\n", ["2 tags: the key 'k' stands there twice"]),
        ("id,name\nx,a\ny,b\nx,c\n", ["4 id: is the same as in row 2"]),
        ("machine_id,name\nm,a\nm,b\n", ["3 machine_id: is the same as in row 2"]),
        ('name\n"a\n', ["2: is not CSV: unexpected end of data"]),
        ("name,ip\na,x\nb,10.0.0.1\nc,y\n", ["2 ip: 'x' is no", "4 ip: 'y' is no"]),
    ],
)
def test_each_bad_row_is_reported_by_its_number_and_column(text: str, problems: list[str]) -> None:
    said = [f"{p.row} {p.column}".strip() + f": {p.sentence}" for p in csv(text).problems]
    assert len(said) == len(problems), said
    for sentence, begins in zip(said, problems, strict=True):
        assert sentence.startswith(begins)


@pytest.mark.parametrize(
    ("text", "row", "sentence"),
    [
        ("{", 0, "is not JSON: "),
        ("[" * 100_000, 0, "is not JSON: "),
        ('{"hosts": []}', 0, "must be a list of objects"),
        ('[{"name": "a"}, 3]', 2, "is no object"),
        ('[{"name": "a", "colour": "red"}]', 1, "is no field, allowed are id"),
        ('[{"name": 3}]', 1, "must be text, is 3"),
        ('[{"name": "a", "tags": {"k": 1}}]', 1, "must be an object of texts"),
        ('[{"name": "a", "tags": [1]}]', 1, "must be an object of texts"),
        ("[]", 0, "has no rows"),
    ],
)
def test_each_bad_entry_of_json_is_reported_by_its_place(text: str, row: int, sentence: str) -> None:
    problem = read(text.encode(), CmdbFormat.JSON).problems[0]
    assert problem.row == row
    assert problem.sentence.startswith(sentence)


def test_a_file_has_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cmdb_file, "MAX_ROWS", 3)
    monkeypatch.setattr(cmdb_file, "MAX_BYTES", 100)
    assert csv("name\na\nb\nc\nd\n").problems == (Problem(5, "", "is one too many: a file has at most 3 rows"),)
    assert csv("name\n" + "a" * 100).problems == (Problem(0, "", "has 105 bytes, allowed are 100"),)
    assert read(b"name\n\xff\n", CmdbFormat.CSV).problems[0].sentence == "is not UTF-8 text: byte 5 cannot be read"


@given(st.binary(max_size=300), st.sampled_from(CmdbFormat))
def test_whatever_comes_is_read_or_becomes_a_problem(content: bytes, form: CmdbFormat) -> None:
    found = read(content, form)
    assert found.rows or found.problems


@given(
    st.lists(st.dictionaries(st.sampled_from(COLUMNS), st.text(max_size=12) | st.integers(), max_size=5), max_size=5)
)
def test_every_entry_is_a_row_or_has_a_problem_of_its_own(entries: list[dict[str, str | int]]) -> None:
    found = read(json.dumps(entries).encode(), CmdbFormat.JSON)
    told = {r.number for r in found.rows} | {p.row for p in found.problems}
    assert told == (set(range(1, len(entries) + 1)) or {0})
    assert not {r.number for r in found.rows} & {p.row for p in found.problems}
