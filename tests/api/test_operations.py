"""What each operation is answered, whoever serves it, and what it does where nothing more is said: the least."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.api.test_performing import ONE, TWO, Only, do, rows, run
from virke.api.codec import PlainCodec
from virke.api.hrana import requests
from virke.api.hrana.operations import Once
from virke.api.messages import Request
from virke.api.operations import (
    ChangeSettings,
    Collect,
    CreateDatabase,
    CreateToken,
    DeleteDatabase,
    DescribeStatement,
    DoUpkeep,
    Export,
    Flush,
    GetDiff,
    GetHealth,
    GetMigrations,
    GetSchema,
    GetSettings,
    GetStatus,
    GetVersions,
    Import,
    ListDatabases,
    ListTokens,
    Migrate,
    Operation,
    Promote,
    Restore,
    RevokeToken,
    Run,
)
from virke.api.performing import status_of
from virke.api.routes import parse_request
from virke.engine.catalog import make_database
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.engine.results import RejectedWrite
from virke.errors import Invalid
from virke.scopes import Scope
from virke.stores.base import Store
from virke.stores.memory import memory_store


class Place(Only):
    """A place with one database, which nothing may be done with unless it is in use."""

    def __init__(self, database: Database, store: Store) -> None:
        super().__init__(database)
        self.store = store
        self.uses = 0

    def database(self, name: str) -> Database:
        assert self.users > 0, "it could be closed meanwhile"
        return super().database(name)

    @contextmanager
    def in_use(self, name: str) -> Iterator[None]:
        self.uses += 1
        with super().in_use(name):
            yield

    def names(self) -> list[str]:
        return ["d", "e"]

    def create(self, name: str, *, if_not_exists: bool, page_size: int | None) -> bool:
        assert self.users > 0
        return super().create(name, if_not_exists=if_not_exists, page_size=page_size)

    def delete(self, name: str) -> None:
        assert self.users > 0
        super().delete(name)


@pytest.fixture
def store() -> Store:
    """A store with an empty database."""
    made = memory_store()
    make_database(made, "d", Environment(), if_not_exists=False, page_size=4096)
    return made


@pytest.fixture
def db(store: Store) -> Iterator[Database]:
    """The database, with an empty table."""
    with Database(store, "d") as database:
        database.execute("CREATE TABLE t (a UNIQUE)")
        yield database


@pytest.fixture
def ask(db: Database, store: Store) -> Callable[[Operation], Any]:
    """Have an operation done, and what it is answered."""
    return lambda operation: do(db, operation, place=Place(db, store))


Ask = Callable[[Operation], Any]


# In use


@pytest.mark.parametrize(
    "operation",
    [
        Run("d", ((ONE, ()),)),
        Run("d", (("SELECT 1", ()),)),
        DescribeStatement("d", "SELECT 1"),
        GetSchema("d"),
        GetStatus("d"),
        GetSettings("d"),
        ChangeSettings("d", {"history_days": 3}),
        Flush("d"),
        GetVersions("d"),
        Collect("d"),
        DoUpkeep("d"),
        GetMigrations("d"),
        Migrate("d", ()),
        CreateDatabase("d"),
        DeleteDatabase("d"),
        Once("d", requests.Execute(requests.statement_of({"sql": "SELECT 1"}))),
    ],
    ids=lambda operation: type(operation).__name__,
)
def test_a_database_is_in_use_while_anything_is_done_with_it(operation: Operation, db: Database, store: Store) -> None:
    place = Place(db, store)
    do(db, operation, place=place)
    assert (place.uses, place.users) == (1, 0)


def test_what_is_of_no_database_has_none_in_use(db: Database, store: Store) -> None:
    place = Place(db, store)
    assert do(db, ListDatabases(), place=place) == ["d", "e"]
    assert place.uses == 0


# What is said of a database


def test_a_statement_is_described_and_not_run(ask: Ask, db: Database) -> None:
    assert ask(DescribeStatement("d", "SELECT a AS b FROM t WHERE a = ?"))["read_only"] is True
    found = ask(DescribeStatement("d", ONE))
    assert (found["read_only"], found["parameter_count"]) == (False, 0)
    assert rows(db) == []


def test_the_schema_is_all_of_it_or_that_of_one_table(ask: Ask, db: Database) -> None:
    db.execute("CREATE TABLE u (b)")
    entry = {"type": "table", "name": "u", "table": "u", "sql": "CREATE TABLE u (b)"}
    assert [one["name"] for one in ask(GetSchema("d"))] == ["t", "u"]
    assert ask(GetSchema("d", "u")) == [entry]


def test_the_state_of_a_database_is_numbers_and_words(ask: Ask, db: Database) -> None:
    found = ask(GetStatus("d"))
    assert (found["name"], found["version"], found["healthy"]) == ("d", db.version, True)
    assert (found["tier"], found["rejected_writes"], found["upkeep_due"], found["journal_error"]) == (
        "kv",
        [],
        [],
        None,
    )
    assert json.loads(json.dumps(found)) == found


def test_what_history_keeps_is_counted_unless_the_state_is_wanted_in_brief(ask: Ask, db: Database) -> None:
    assert ask(GetStatus("d"))["gc_objects"] is not None
    assert ask(GetStatus("d", is_brief=True))["gc_objects"] is None


def test_a_rejected_write_is_shown_with_all_that_is_known_of_it(db: Database) -> None:
    write = RejectedWrite(7, "DELETE FROM x", "no such table: x", 1)
    shown = {"id": 7, "sql": "DELETE FROM x", "reason": "no such table: x", "at_ms": 1}
    assert status_of(replace(db.status(), rejected_writes=(write,)))["rejected_writes"] == [shown]


def test_a_database_that_is_promoted_is_answered_as_it_is_then(ask: Ask) -> None:
    assert ask(GetStatus("d"))["tier"] == "kv"
    assert ask(Promote("d"))["tier"] == ask(GetStatus("d"))["tier"] == "object"


# History


def test_twenty_versions_are_listed_and_as_many_as_are_asked_for(ask: Ask, db: Database) -> None:
    for number in range(25):
        db.execute("INSERT INTO t VALUES (?)", (number,))
    found = ask(GetVersions("d"))
    assert [one["version"] for one in found] == list(range(db.version, db.version - 20, -1))
    assert {one["made_by"] for one in found} == {"write"}
    assert len(ask(GetVersions("d", 22))) == 22


def test_two_versions_are_compared_in_the_order_that_was_asked_for(ask: Ask, db: Database) -> None:
    before = db.version
    db.execute(ONE)
    for found in (ask(GetDiff("d", str(before))), ask(GetDiff("d", str(before), str(db.version)))):
        assert (found["version_before"], found["version_after"]) == (before, db.version)
        [table] = found["tables"]
        assert (table["name"], table["rows_before"], table["rows_after"]) == ("t", 0, 1)


def test_a_restore_is_done_unless_it_is_to_be_tried_out(ask: Ask, db: Database) -> None:
    before = db.version
    db.execute(ONE)
    found = ask(Restore("d", before))
    assert (found["restored_version"], found["dry_run"], rows(db)) == (before, False, [])


def test_a_collection_deletes_unless_it_is_to_be_tried_out(ask: Ask, db: Database) -> None:
    assert ask(Collect("d", dry_run=True))["dry_run"] is True
    assert ask(Collect("d"))["dry_run"] is False


def test_upkeep_is_one_step_or_all_of_them(ask: Ask, db: Database) -> None:
    db.execute("CREATE TABLE blob (b)")
    for _ in range(20):
        db.execute("INSERT INTO blob VALUES (randomblob(3000000))")
    assert len(ask(GetStatus("d"))["upkeep_due"]) > 1
    found = ask(DoUpkeep("d"))
    assert found["steps"] == 1
    assert found["due"]
    assert ask(DoUpkeep("d", None))["due"] == ()


# Migrations, files, tokens, databases


def test_what_was_applied_is_listed(ask: Ask) -> None:
    ask(Migrate("d", (("001_a.sql", "CREATE TABLE a (x);"), ("002_b.sql", "INSERT INTO a VALUES (1);"))))
    found = ask(GetMigrations("d"))["migrations"]
    assert [(one["number"], one["name"], one["undo"]) for one in found] == [(1, "a", "automatic"), (2, "b", "none")]


FILES = (("001_a.sql", "CREATE TABLE a (x);"), ("002_b.sql", "CREATE TABLE b (x);"))


def has_tables(db: Database) -> tuple[bool, bool]:
    names = {one.name for one in db.schema()}
    return "a" in names, "b" in names


def test_migrations_are_applied_rehearsed_taken_back_or_reported_as_it_was_asked(ask: Ask, db: Database) -> None:
    assert [one["number"] for one in ask(Migrate("d", FILES, dry_run=True))["would_apply"]] == [1, 2]
    assert has_tables(db) == (False, False)
    assert [one["applied_at"] for one in ask(Migrate("d", FILES, report=True))["migrations"]] == [None, None]
    assert has_tables(db) == (False, False)
    done = ask(Migrate("d", FILES))
    assert ([one["number"] for one in done["applied"]], done["version"]) == ([1, 2], db.version)
    assert has_tables(db) == (True, True)
    assert [one["number"] for one in ask(Migrate("d", FILES, undo=1))["undid"]] == [2]
    assert has_tables(db) == (True, False)
    assert [one["applied_at"] is None for one in ask(Migrate("d", FILES, report=True))["migrations"]] == [False, True]


CSV = b"a\n1\n2\n"


def test_a_file_is_imported_into_what_is_there_and_its_first_line_names_the_columns(ask: Ask, db: Database) -> None:
    """Unless that is said to be a row."""
    db.execute("INSERT INTO t VALUES (9)")
    found = ask(Import("d", iter((CSV,)), kind="csv", table="t"))
    assert (found["kind"], found["rows"], found["version"], found["warnings"]) == ("csv", 2, db.version, [])
    assert rows(db) == [1, 2, 9]
    assert ask(Import("d", iter((b"5\n6\n",)), kind="csv", table="t", no_header=True))["rows"] == 2


def test_a_file_takes_the_place_of_what_is_there_only_if_that_is_said(ask: Ask, db: Database) -> None:
    data = exported(ask, Export("d", "sqlite"))
    db.execute(ONE)
    with pytest.raises(Invalid, match="not empty"):
        ask(Import("d", iter((data,))))
    assert rows(db) == [1]
    ask(Import("d", iter((data,)), replace=True))
    assert rows(db) == []


def exported(ask: Ask, operation: Export) -> bytes:
    answer = ask(operation)
    try:
        return b"".join(answer)
    finally:
        answer.close()


def test_an_export_is_schema_and_rows_unless_it_is_to_be_one_of_them(ask: Ask, db: Database) -> None:
    db.execute(ONE)
    whole = exported(ask, Export("d"))
    assert b"CREATE TABLE t" in whole
    assert b"INSERT INTO" in whole
    schema, data = exported(ask, Export("d", schema_only=True)), exported(ask, Export("d", data_only=True))
    assert (b"CREATE TABLE t" in schema, b"INSERT INTO" in schema) == (True, False)
    assert (b"CREATE TABLE t" in data, b"INSERT INTO" in data) == (False, True)


def test_a_token_is_created_listed_and_revoked(ask: Ask) -> None:
    made = ask(CreateToken(("d",), Scope.READ, name="reader"))
    assert made["token"]
    [listed] = ask(ListTokens())["tokens"]
    assert (listed["id"], listed["name"], listed["expired"]) == (made["id"], "reader", False)
    assert "token" not in listed
    assert ask(RevokeToken(made["id"])) == {"revoked": made["id"], "left": 0}
    assert ask(ListTokens()) == {"tokens": []}


def test_a_database_that_is_there_is_an_error_unless_that_is_said_to_be_right(db: Database, store: Store) -> None:
    place = Place(db, store)
    do(db, CreateDatabase("d"), place=place)
    assert place.asked == [("create", "d", False, None)]


@pytest.mark.parametrize(("path", "ready"), [("/healthz", False), ("/readyz", True)])
def test_a_process_is_healthy_whatever_its_store_does_and_ready_only_with_it(path: str, ready: bool) -> None:
    assert parse_request(Request("GET", path, "", {}, b""), PlainCodec()) == GetHealth(ready=ready)
    assert not GetHealth().ready


# Statements, where nothing more is said


def test_a_run_is_a_single_statement_as_of_now_that_may_write(db: Database) -> None:
    with pytest.raises(Invalid, match="more than one statement"):
        run(db, f"{ONE}; {TWO}")
    answer = run(db, f"{ONE} RETURNING a")
    assert (answer.rows, answer.meta, rows(db)) == ([(1,)], None, [1])
    assert run(db, "SELECT a FROM t").rows == [(1,)]
