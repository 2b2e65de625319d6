"""What the automatic undo must not be taken for, and where an error of a migration lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_migrations import write
from virke.engine.database import Database
from virke.errors import Invalid, SqlError
from virke.migrations import migrate, status, undo
from virke.opening import create
from virke.stores.memory import memory_store

ITEMS = "CREATE TABLE items (id INTEGER PRIMARY KEY, v); INSERT INTO items VALUES (1, 'one'), (2, 'two')"


@pytest.fixture
def database() -> Database:
    """With foreign keys on, as a program may have them."""
    database = create("app", memory_store())
    database.run("PRAGMA foreign_keys = ON")
    return database


def test_an_undo_deletes_no_row_that_refers_to_what_it_drops(database: Database, tmp_path: Path) -> None:
    """The column goes before the table that it refers to: dropping that one would cascade."""
    column = "ALTER TABLE items ADD COLUMN cat INTEGER REFERENCES cat (id) ON DELETE CASCADE"
    folder = write(tmp_path, **{"001_a": ITEMS, "002_b": f"CREATE TABLE cat (id INTEGER PRIMARY KEY); {column}"})
    migrate(database, folder)
    database.run_script("INSERT INTO cat VALUES (7); UPDATE items SET cat = 7")
    undo(database, folder)
    assert database.query("SELECT * FROM items").rows == [(1, "one"), (2, "two")]


def test_a_table_that_older_ones_refer_to_is_not_dropped_without_a_file(database: Database, tmp_path: Path) -> None:
    items = "CREATE TABLE items (id INTEGER PRIMARY KEY, cat REFERENCES cat ON DELETE CASCADE)"
    migrate(database, write(tmp_path, **{"001_a": items, "002_b": "CREATE TABLE cat (id INTEGER PRIMARY KEY)"}))
    database.run_script("INSERT INTO cat VALUES (7); INSERT INTO items VALUES (1, 7)")
    with pytest.raises(Invalid, match=r"write 002_b\.undo\.sql"):
        undo(database, tmp_path)
    assert database.query("SELECT * FROM items").rows == [(1, 7)]


def test_a_trigger_that_came_and_went_may_have_changed_anything(database: Database, tmp_path: Path) -> None:
    sql = (
        "CREATE TABLE n (a); CREATE TRIGGER tr AFTER INSERT ON n BEGIN DELETE FROM items; END; "
        "INSERT INTO n VALUES (1); DROP TRIGGER tr"
    )
    migrate(database, write(tmp_path, **{"001_a": ITEMS, "002_b": sql}))
    assert status(database, tmp_path)[1].undo != "automatic"


def test_an_error_is_in_the_line_of_the_file(database: Database, tmp_path: Path) -> None:
    sql = "-- one\n-- two\n\nCREATE TABLE a (x);\n-- five\n/* six\n*/ CREATE TABLE b (\n  x nope nope (\n);\n"
    with pytest.raises(SqlError, match="line 9"):
        migrate(database, write(tmp_path, **{"001_a": sql}))


def test_a_savepoint_of_a_transaction_outlives_its_call(database: Database) -> None:
    with database.transaction() as transaction:
        transaction.execute("CREATE TABLE t (a)")
        transaction.execute("SAVEPOINT a")
        transaction.execute("INSERT INTO t VALUES (1)")
        transaction.execute("ROLLBACK TO a")
        transaction.execute("INSERT INTO t VALUES (2)")
        transaction.execute("RELEASE a")
        with pytest.raises(SqlError, match="no such savepoint"):
            transaction.execute("RELEASE a")
        transaction.execute("INSERT INTO t VALUES (3)")
    assert database.query("SELECT a FROM t").rows == [(2,), (3,)]


def test_a_statement_costs_the_same_wherever_it_is_in_its_file(database: Database, tmp_path: Path) -> None:
    """Lines before it are counted, not handed to SQLite again with each statement: they would pass the length limit."""
    database.change_settings({"max_result_mb": 1})
    lines = "\n" * 1_200_000
    with pytest.raises(SqlError, match=r"no such column: nope \(line 1200002\)$") as caught:
        migrate(database, write(tmp_path, **{"001_a": f"{lines}SELECT 1;\nSELECT nope;"}))
    assert caught.value.context["line"] == 1_200_002
