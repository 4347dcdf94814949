"""What a report page asks of the database costs the same in a large fleet as in a small one: no statement reads a table through."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from controller.store import migrate
from controller.store.sqlite.queries import queries

SCHEMA = Path(migrate.__file__).parent / "sqlite" / "schema.sql"
PAGE = {
    "accounts": ("find_token", "agencies_trusting"),
    "assessments": ("since", "since_by_key", "has_instance", "deciding", "get", "put", "put_deciding"),
    "blobs": ("get",),
    "fleet": ("called", "get_instance", "mark_seen"),
    "inventory": (
        "latest",
        "begun_by",
        "neighbours",
        "has_contents",
        "add_report",
        "advisory_repositories",
        "first_seen",
    ),
    "repeats": ("repeat",),
    "snapshots": ("get", "packages", "packages_after"),
}


def plan(statement: str) -> list[str]:
    """How SQLite would run a statement, step by step."""
    database = sqlite3.connect(":memory:")
    database.executescript(SCHEMA.read_text())
    parameters = dict.fromkeys(re.findall(r":([a-z_]+)", statement))
    steps = [detail for *_, detail in database.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    database.close()
    return steps


def reads_through(step: str) -> bool:
    """Say whether a step looks at all rows of a table; a document's parts and a result's own rows are few."""
    return (
        step.startswith("SCAN") and "VIRTUAL TABLE" not in step and not re.match(r"SCAN (CONSTANT ROW|\(|[0-9])", step)
    )


@pytest.mark.parametrize(("topic", "name"), [(topic, name) for topic, names in PAGE.items() for name in names])
def test_a_page_reads_no_table_through(topic: str, name: str) -> None:
    assert [step for step in plan(queries(topic)[name]) if reads_through(step)] == []


def test_a_statement_that_reads_a_table_through_is_noticed() -> None:
    assert any(map(reads_through, plan(queries("fleet")["instances"])))
    assert any(map(reads_through, plan("SELECT 1 FROM instance WHERE zone = :zone")))
