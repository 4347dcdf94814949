"""Both roads lead to the same schema, and a migration is done or not begun."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import pytest
from sqlite_utils import Database

from common.errors import Rejected
from controller.compliance.model import AssignmentScope
from controller.fleet.model import ResourceType, Role
from controller.store import migrate, rules
from controller.store.codec import moment, to_json
from controller.store.migrate import Migration
from controller.store.sqlite import SqliteStore
from tests.builders import NOW, a_baseline, an_assignment, an_instance, instance_id

PACKAGE = "controller.store.sqlite.migrations"
SCHEMA = Path(migrate.__file__).parent / "sqlite" / "schema.sql"


def schema_of(connection: sqlite3.Connection) -> dict[str, str]:
    """What the database is made of, without comments and layout, by name."""
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name <> '_sqlite_migrations'"
    )
    plain = {name: " ".join(re.sub(r"--.*", "", sql).replace('"', "").split()) for name, sql in rows}
    return {name: re.sub(r" ?([(),]) ?", r"\1", sql) for name, sql in plain.items()}  # an added column stands close


def a_database() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)


def test_migrations_lead_to_what_schema_sql_says() -> None:
    migrated, written = a_database(), a_database()
    migrate.apply(migrated, migrate.numbered(PACKAGE), "it")
    written.executescript(SCHEMA.read_text())
    assert schema_of(migrated) == schema_of(written)
    assert len(schema_of(written)) > 15


def test_every_table_is_strict() -> None:
    connection = a_database()
    connection.executescript(SCHEMA.read_text())
    lax = [n for n, sql in schema_of(connection).items() if sql.startswith("CREATE TABLE") and ")STRICT" not in sql]
    assert lax == []


async def test_an_old_database_keeps_its_baselines_and_its_defaults(tmp_path: Path) -> None:
    path, baseline = tmp_path / "old.db", a_baseline(created_at=None)
    document = json.loads(to_json(baseline))
    for since_then in ("approved", "rejected", "custom"):
        del document[since_then]
    connection = sqlite3.connect(path, isolation_level=None)
    migrate.apply(connection, migrate.numbered(PACKAGE)[:1], "it")
    connection.execute("INSERT INTO baseline VALUES (?, ?, 1, 0, 0)", (baseline.id, baseline.name))
    connection.execute("INSERT INTO baseline_version VALUES (?, 1, ?)", (baseline.id, json.dumps(document)))
    connection.execute("INSERT INTO baseline_default VALUES ('ECS', 'CentOS', ?)", (baseline.id,))
    connection.close()
    store = SqliteStore.open(path)
    assert await store.baselines.baselines() == (baseline,)
    assert await store.baselines.defaults() == {(ResourceType.ECS, "CentOS"): baseline.id}
    assert await store.baselines.baseline_as_of(baseline.id, NOW) == baseline
    always = rules.BEGINNING_OF_TIME
    (kept,) = await store.baselines.assignments(always)
    assert kept == an_assignment(AssignmentScope.DEFAULT, "", baseline.id, since=always, assigned_by="")
    await store.close()


async def test_what_is_older_than_accounts_belongs_to_the_default_account(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    connection = sqlite3.connect(path, isolation_level=None)
    migrate.apply(connection, migrate.numbered(PACKAGE)[:8], "it")
    connection.execute(
        "INSERT INTO instance (id, name, enterprise_project, region, zone, resource_type, application_group, enrolled_at, tags,"
        " operating_system, ip_address, agent_version, machine_id, stopped, edited)"
        " VALUES ('i-1', 'old', 'default', '', '', 'ECS', '', 0, '{}', '{}', '', '', '', 0, '[]')"
    )
    for number, name, role in (
        (1, "admin", "ADMIN"),
        (2, "ann", "VIEWER"),
        (3, "ann", "OPERATOR"),
        (4, "b c", "VIEWER"),
    ):
        connection.execute(
            "INSERT INTO operator_token VALUES (?, ?, ?, ?, ?, NULL)",
            (f"O-{number}", bytes([number]), name, role, number),
        )
    connection.execute("INSERT INTO enrolment_token VALUES ('E-1', x'02', '', '{}', 'admin', 0, 1, NULL, NULL, NULL)")
    connection.close()
    store = SqliteStore.open(path)
    (instance,) = await store.fleet.instances()
    enrolment = await store.fleet.get_enrolment_token("E-1")
    assert (instance.account, enrolment.account) == ("default", "default")
    assert [a.name for a in await store.accounts.accounts(9, "")] == ["default"]
    users = await store.accounts.users("default", 9, "")
    assert [(u.name, u.role, u.enterprise_projects) for u in users] == [
        ("admin", Role.ADMIN, ()),
        ("ann", Role.OPERATOR, ()),  # as strong as the strongest of the tokens; each token stays what it was
        ("b c", Role.VIEWER, ()),
    ]
    token, ann = await store.accounts.find_token(b"\x02")
    assert (token.id, token.role, ann.name) == ("O-2", Role.VIEWER, "ann")
    assert (ann.created_at, token.created_at) == (token.created_at, moment(2))
    await store.close()


async def test_R13_an_old_database_still_says_since_when_items_are_non_compliant(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    connection = sqlite3.connect(path, isolation_level=None)
    migrate.apply(connection, migrate.numbered(PACKAGE)[:11], "it")
    since = {
        1: {"2": ["bash.x86_64", "curl.x86_64"], "1": ["sudo.x86_64"]},
        2: {"curl.x86_64": 3, "zlib.x86_64": 4},  # as it was written at first
        3: {},
    }
    for number, times in since.items():
        connection.execute(
            "INSERT INTO instance (id, name, enterprise_project, region, zone, resource_type, application_group, enrolled_at, tags,"
            " operating_system, ip_address, agent_version, machine_id, stopped, edited)"
            " VALUES (?, 'old', 'default', '', '', 'ECS', '', 0, '{}', '{}', '', '', '', 0, '[]')",
            (instance_id(number),),
        )
        connection.execute("INSERT INTO assessment VALUES (?, 'b', '{}', ?)", (instance_id(number), json.dumps(times)))
    connection.close()
    store = SqliteStore.open(path)
    assert await store.assessments.since(instance_id(1), "b") == {
        "bash.x86_64": moment(2),
        "curl.x86_64": moment(2),
        "sudo.x86_64": moment(1),
    }
    assert await store.assessments.since(instance_id(2), "b") == {"curl.x86_64": moment(3), "zlib.x86_64": moment(4)}
    assert await store.assessments.since(instance_id(3), "b") == {}
    await store.close()


async def test_migrations_run_once(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "it.db")
    await store.fleet.put_instance(an_instance(1))
    await store.close()
    connection = sqlite3.connect(tmp_path / "it.db", isolation_level=None)
    assert migrate.apply(connection, migrate.numbered(PACKAGE), "it") == ()
    connection.close()
    store = SqliteStore.open(tmp_path / "it.db")
    assert await store.fleet.instances() == (an_instance(1),)
    await store.close()


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "it.db"

    def future(database: Database) -> None:
        database.execute("CREATE TABLE future (x)")

    newer = (*migrate.numbered(PACKAGE), Migration("9999_future", future))
    connection = sqlite3.connect(path, isolation_level=None)
    migrate.apply(connection, newer, "it")
    before = schema_of(connection)
    with pytest.raises(Rejected, match=r"it\.db was written by a newer version \(migration 9999_future\)"):
        SqliteStore.open(path)
    assert schema_of(connection) == before
    connection.close()


def test_a_migration_that_fails_leaves_nothing_and_is_tried_again() -> None:
    fails = True

    def second(database: Database) -> None:
        database.execute("CREATE TABLE half (x)")
        if fails:
            raise ZeroDivisionError

    def first(database: Database) -> None:
        database.execute("CREATE TABLE whole (x)")

    connection = a_database()
    migrations = (Migration("0001_first", first), Migration("0002_second", second))
    with pytest.raises(ZeroDivisionError):
        migrate.apply(connection, migrations, "it")
    assert set(schema_of(connection)) == {"whole"}
    fails = False
    assert migrate.apply(connection, migrations, "it") == ("0002_second",)
    assert set(schema_of(connection)) == {"whole", "half"}


def test_numbers_have_no_gaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gappy_migrations"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "0001_first.sql").write_text("CREATE TABLE one (x);")
    (folder / "0002_second.py").write_text("def migrate(database):\n    database.execute('CREATE TABLE two (x)')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    connection = a_database()
    migrations = migrate.numbered("gappy_migrations")
    assert migrate.apply(connection, migrations, "it") == ("0001_first", "0002_second")
    assert set(schema_of(connection)) == {"one", "two"}
    (folder / "0004_fourth.sql").write_text("")
    with pytest.raises(ValueError, match=r"0004_fourth\.sql should have the number 0003"):
        migrate.numbered("gappy_migrations")


def test_a_script_is_split_into_statements_where_they_end() -> None:
    script = """
-- what; it is
CREATE TABLE one (x); -- done; really
CREATE TRIGGER t AFTER INSERT ON one BEGIN
  DELETE FROM one WHERE x = ';';
END;
-- the end
"""
    found = list(migrate.statements(script))
    assert len(found) == 2
    connection = a_database()
    for statement in found:
        connection.execute(statement)
    assert set(schema_of(connection)) == {"one", "t"}
    with pytest.raises(ValueError, match=r"no semicolon ends the statement .*CREATE TABLE two"):
        list(migrate.statements(script + "CREATE TABLE two (x)"))
