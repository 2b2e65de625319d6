"""An automatic undo is there only where it gives everything back: each way in which a file can take something away and leave no trace in the schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.test_migrations import schema_of, write
from virke.errors import Invalid
from virke.migrations import migrate, status, undo
from virke.opening import create
from virke.stores.memory import memory_store

if TYPE_CHECKING:
    from virke.engine.database import Database

FIRST = (
    "CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT, note TEXT); INSERT INTO a VALUES (1, 'one'), (2, 'two');"
    "CREATE TABLE log(what, note);"
    "CREATE VIEW v AS SELECT id, note FROM a;"
)
NO_TRACE = [
    "ALTER TABLE log DROP COLUMN note; ALTER TABLE log ADD COLUMN note;",
    "ALTER TABLE main.log DROP COLUMN note; ALTER TABLE log ADD COLUMN note;",
    "DROP TABLE log; CREATE TABLE log(what, note);",
    "DROP TABLE main.log; CREATE TABLE log(what, note);",
    'DROP TABLE "main"."LOG"; CREATE TABLE log(what, note);',
    "DROP TABLE IF EXISTS log; CREATE TABLE log(what, note);",
    "DROP TABLE IF EXISTS main.log; CREATE TABLE log(what, note);",
    "DELETE FROM main.a WHERE id = 1;",
    "INSERT INTO main.a VALUES (7, 'seven');",
    "INSERT OR IGNORE INTO a VALUES (7, 'seven');",
    "CREATE TABLE n (x); CREATE TRIGGER tr AFTER INSERT ON n BEGIN DELETE FROM a; END;"
    "INSERT INTO n VALUES (1); DROP TABLE n;",
    "CREATE TABLE n (x); CREATE TEMP TRIGGER tr AFTER INSERT ON n BEGIN DELETE FROM a; END;"
    "INSERT INTO n VALUES (1); DROP TABLE n;",
    "CREATE TRIGGER tr INSTEAD OF UPDATE ON v BEGIN DELETE FROM a; END; UPDATE v SET note = 'x';",
]
TRIGGERED = "CREATE TRIGGER through INSTEAD OF UPDATE ON v BEGIN DELETE FROM a; END;"


@pytest.fixture
def database() -> Iterator[Database]:
    with create("app", memory_store()) as database:
        yield database


def applied_second(database: Database, folder: Path, sql: str, *, first: str = FIRST) -> str:
    """Apply a first migration, then `sql` as the second; what is said of its undo."""
    migrate(database, write(folder, **{"001_a": first, "002_b": sql}))
    return status(database, folder)[1].undo


@pytest.mark.parametrize("sql", NO_TRACE)
def test_what_took_rows_away_and_left_the_schema_as_it_was_has_no_automatic_undo(
    database: Database, tmp_path: Path, sql: str
) -> None:
    assert applied_second(database, tmp_path, sql) == "none"
    with pytest.raises(Invalid, match=r"write 002_b\.undo\.sql"):
        undo(database, tmp_path)


def test_what_an_older_trigger_may_have_done_has_no_automatic_undo(database: Database, tmp_path: Path) -> None:
    """A view reports no rows affected, whatever its trigger does."""
    said = applied_second(database, tmp_path, "UPDATE v SET note = 'x';", first=FIRST + TRIGGERED)
    assert database.query("SELECT count(*) FROM a").rows == [(0,)]
    assert said == "none"


def test_an_undo_that_could_not_be_tried_out_is_not_offered(database: Database, tmp_path: Path) -> None:
    """SQLite drops no column while a view is broken."""
    broken = "CREATE VIEW broken AS SELECT * FROM nope;"
    assert applied_second(database, tmp_path, "ALTER TABLE a ADD COLUMN c;", first=FIRST + broken) == "none"


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE a ADD COLUMN c;",
        "ALTER TABLE main.a ADD COLUMN c;",
        "CREATE TABLE n (x CHECK (x REGEXP '^a'));",
        "CREATE TABLE main.n (x); INSERT INTO main.n VALUES (1);",
        "CREATE TABLE n (x); ALTER TABLE n RENAME TO m; DROP TABLE IF EXISTS main.o;",
        "BEGIN; CREATE TRIGGER tr AFTER INSERT ON a BEGIN DELETE FROM log; END; COMMIT;",
    ],
)
def test_what_only_added_beside_a_table_that_counts_is_undone_exactly(
    database: Database, tmp_path: Path, sql: str
) -> None:
    """AUTOINCREMENT leaves a table of SQLite's own, and a file's BEGIN and COMMIT are no statements of it."""
    assert applied_second(database, tmp_path, sql) == "automatic"
    undo(database, tmp_path)
    names = [row[1] for row in schema_of(database)]
    assert names == ["a", "log", "sqlite_sequence", "v"]
    assert database.query("SELECT * FROM a").rows == [(1, "one"), (2, "two")]
