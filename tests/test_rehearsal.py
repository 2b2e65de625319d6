"""A dry run obeys the rules of the real one, and leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.engine.world import Clock
from tests.test_migration_keys import DRIZZLE, ORPHANING, OWNERS, PRISMA
from tests.test_migrations import schema_of, write
from virke.engine.sqlite import Extensions
from virke.errors import Invalid, SqlError, TimedOut, TooLarge, VirkeError
from virke.migrations import migrate, undo
from virke.migrations.target import Rehearsal, Step, open_rehearsal
from virke.opening import connect, create
from virke.stores.base import Call
from virke.stores.counted import CountingStore
from virke.stores.memory import memory_store

FOLDERS = {
    "a second file needs the first": {"001_a": OWNERS, "002_b": "INSERT INTO pet VALUES (12, 1);"},
    "drizzle": {"001_a": OWNERS, "002_b": DRIZZLE, "003_c": "DELETE FROM owner WHERE id = 2;"},
    "prisma": {"001_a": OWNERS, "002_b": PRISMA, "003_c": "CREATE INDEX i ON pet (owner_id);"},
    "a broken key": {"001_a": OWNERS, "002_b": ORPHANING, "003_c": "SELECT 1;"},
    "a key broken at the commit": {
        "001_a": OWNERS + "CREATE TABLE x (y REFERENCES owner (id) DEFERRABLE INITIALLY DEFERRED);",
        "002_b": "INSERT INTO x VALUES (99);",
    },
    "a key checked at once": {"001_a": OWNERS, "002_b": "\n\nINSERT INTO pet VALUES (1, 99);"},
    "no such table": {"001_a": OWNERS, "002_b": "CREATE TABLE ok (x);\nINSERT INTO missing VALUES (1);"},
    "a syntax error in the middle of a statement": {"001_a": "SELECT 1;\n\nCREATE TABLE a (\n  x nope nope (\n);"},
    "ROLLBACK": {"001_a": "CREATE TABLE a (x);\nROLLBACK;"},
    "OR ROLLBACK": {
        "001_a": "CREATE TABLE a (x UNIQUE);\nINSERT INTO a VALUES (1);\nINSERT OR ROLLBACK INTO a VALUES (1);"
    },
    "a savepoint": {"001_a": "CREATE TABLE a (x);\nSAVEPOINT s;\nINSERT INTO a VALUES (1);\nRELEASE s;"},
    "a reserved savepoint": {"001_a": "SAVEPOINT virke_statement;"},
    "VACUUM": {"001_a": OWNERS, "002_b": "VACUUM;"},
    "ATTACH": {"001_a": OWNERS, "002_b": "SELECT 1;\nATTACH 'x' AS y;"},
    "a temporary table of the file before": {
        "001_a": "CREATE TEMP TABLE t (x); CREATE TABLE a AS SELECT * FROM t;",
        "002_b": "\nINSERT INTO t VALUES (1);",
    },
    "a mode of the file before": {
        "001_a": "PRAGMA ignore_check_constraints = ON; CREATE TABLE a (x CHECK (x < 9)); INSERT INTO a VALUES (10);",
        "002_b": "INSERT INTO a VALUES (11);",
    },
    "a file that touches the records": {
        "001_a": "SELECT 1;",
        "002_b": "DROP TABLE virke_migrations;",
        "003_c": "SELECT 1",
    },
    "own BEGIN and COMMIT": {"001_a": "BEGIN;\nCREATE TABLE a (x);\nCOMMIT;", "002_b": "DROP TABLE a;"},
    "the clock": {"001_a": "CREATE TABLE a (x CHECK (x > '2020'));\nINSERT INTO a VALUES (datetime('now'));"},
    "last_insert_rowid": {
        "001_a": "CREATE TABLE a (x CHECK (x = 0)); INSERT INTO a VALUES (last_insert_rowid());",
        "002_b": "INSERT INTO a VALUES (last_insert_rowid());",
    },
}


def outcome(folder: Path, files: dict[str, str], *, dry_run: bool, keys: str) -> tuple[object, ...]:
    """What became of the files in a new database: each one that was done, and the error."""
    with create("app", memory_store()) as database:
        database.execute(f"PRAGMA foreign_keys = {keys}")
        done: list[str] = []
        try:
            migrate(database, write(folder, **files), dry_run, report=lambda file: done.append(file.file_name))
        except VirkeError as error:
            context = {key: error.context.get(key) for key in ("file", "line", "hint")}
            names = error.context["would_apply" if dry_run else "applied"]
            return done, names == done, type(error), error.message, context
        return (done,)


@pytest.mark.parametrize("keys", ["ON", "OFF"])
@pytest.mark.parametrize("name", FOLDERS)
def test_a_dry_run_ends_as_the_real_run_does(tmp_path: Path, name: str, keys: str) -> None:
    files = FOLDERS[name]
    real = outcome(tmp_path, files, dry_run=False, keys=keys)
    assert outcome(tmp_path, files, dry_run=True, keys=keys) == real


def test_a_dry_run_writes_nothing_to_the_store_and_keeps_nothing(tmp_path: Path) -> None:
    counting = CountingStore(memory_store())
    folder = write(tmp_path, **{"001_a": OWNERS})
    with create("app", counting.store) as database:
        migrate(database, folder)
        before, version = schema_of(database), database.version
        counting.reset()
        write(folder, **{"002_b": DRIZZLE, "003_c": "DROP TABLE pet;"})
        assert [file.number for file in migrate(database, folder, dry_run=True)] == [2, 3]
        assert counting.of(Call.SWAP, Call.PUT, Call.DELETE, Call.REMOVE).requests == 0
        assert (database.version, schema_of(database)) == (version, before)
    with connect("app", counting.store) as database:
        assert schema_of(database) == before


def test_a_dry_run_reads_only_the_pages_that_its_files_touch(tmp_path: Path) -> None:
    """No download of the database: a table of 8 MB costs next to nothing where no file touches it."""
    store = memory_store()
    with create("app", store) as database:
        database.run_script("CREATE TABLE large (x); CREATE TABLE small (y)")
        for _ in range(8):
            database.execute("INSERT INTO large VALUES (randomblob(1000000))")
    counting = CountingStore(store)
    with connect("app", counting.store, background=False) as database:
        migrate(database, write(tmp_path, **{"001_a": "ALTER TABLE small ADD COLUMN z;"}), dry_run=True)
    assert counting.total.bytes_down < 2_000_000


def test_a_dry_run_sees_what_was_undone(tmp_path: Path) -> None:
    with create("app", memory_store()) as database:
        folder = write(tmp_path, **{"001_a": "CREATE TABLE a (x);", "002_b": "CREATE TABLE b (x);"})
        migrate(database, folder)
        undo(database, folder)
        assert [file.number for file in migrate(database, folder, dry_run=True)] == [2]


# What its transactions keep, and what limits them


@pytest.fixture
def rehearsal() -> Iterator[Rehearsal]:
    """One of a database with an empty table."""
    with create("app", memory_store()) as database:
        database.execute("CREATE TABLE t (x UNIQUE)")
        with open_rehearsal(database) as made:
            yield made


def count(source: Rehearsal | Step) -> object:
    """How many rows there are."""
    return source.query("SELECT count(*) FROM t").rows[0][0]


def test_a_statement_that_fails_leaves_nothing_of_it_and_all_that_was_before(rehearsal: Rehearsal) -> None:
    """As in a transaction of a database: whoever catches the error goes on in the same transaction."""
    with rehearsal.transaction() as step:
        assert step.execute("INSERT INTO t VALUES (1)") == 1
        with pytest.raises(SqlError, match="UNIQUE"):
            step.run_script("SAVEPOINT own; INSERT INTO t VALUES (2); INSERT INTO t VALUES (1)")
        assert count(step) == 1
        with pytest.raises(SqlError, match="own"):
            step.execute("RELEASE own")
    assert count(rehearsal) == 1


def test_a_transaction_that_an_exception_ends_leaves_nothing_for_the_next_one(rehearsal: Rehearsal) -> None:
    with suppress(KeyError), rehearsal.transaction() as step:
        step.execute("INSERT INTO t VALUES (1)")
        raise KeyError
    assert count(rehearsal) == 0
    with rehearsal.transaction() as step:
        assert count(step) == 0
        step.execute("INSERT INTO t VALUES (2)")
    assert count(rehearsal) == 1


def test_a_script_is_many_statements_and_what_is_not_one_is_a_single_one(rehearsal: Rehearsal) -> None:
    two = "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)"
    with rehearsal.transaction() as step:
        for one in (step.query, step.execute):
            with pytest.raises(Invalid, match="more than one statement"):
                one(two)
        assert count(step) == 0
        assert step.run_script(two).rows_affected == 2


def test_a_rehearsal_that_is_over_holds_no_connection() -> None:
    with create("app", memory_store()) as database:
        with open_rehearsal(database) as made:
            assert made._connection.is_open
        assert not made._connection.is_open


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(("took_s", "is_in_time"), [(1.999, True), (2.001, False)])
def test_a_statement_has_the_time_of_the_setting(took_s: float, is_in_time: bool, dry_run: bool) -> None:
    """And a dry run says so of a file that would not end in time."""
    clock, store = Clock(), memory_store()
    create("app", store).close()
    numbers = "WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n LIMIT 2000)"
    files = [("001_a.sql", f"{numbers} SELECT i, CASE i WHEN 1 THEN wait() END FROM n;")]

    def extend(made: Extensions) -> None:
        made.add_function("wait", lambda: clock.pass_s(took_s))

    with connect("app", store, background=False, environment=clock.environment, on_connect=extend) as database:
        database.change_settings({"query_timeout_ms": 2000})
        if is_in_time:
            assert [file.number for file in migrate(database, files, dry_run)] == [1]
        else:
            with pytest.raises(TimedOut):
                migrate(database, files, dry_run)


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(("size", "fits"), [(500_000, True), (600_000, False)])
def test_a_statement_answers_no_more_than_the_setting_allows(size: int, fits: bool, dry_run: bool) -> None:
    files = [("001_a.sql", f"SELECT zeroblob({size}) UNION ALL SELECT zeroblob({size});")]
    with create("app", memory_store()) as database:
        database.change_settings({"max_result_mb": 1})
        if fits:
            assert [file.number for file in migrate(database, files, dry_run)] == [1]
        else:
            with pytest.raises(TooLarge):
                migrate(database, files, dry_run)
