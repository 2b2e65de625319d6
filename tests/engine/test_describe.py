"""What is known of a statement before it runs, and what an application adds to every connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.engine.world import make
from virke.engine.connection import Connection
from virke.engine.sqlite import Column, Extensions
from virke.errors import Denied, Invalid, SqlError

MIB: Final = 1 << 20
WRITES: Final = [
    "INSERT INTO t VALUES (1, 2)",
    "INSERT INTO t VALUES (1, 2) RETURNING id",
    "UPDATE t SET v = 1 WHERE 0",
    "DELETE FROM t",
    "CREATE TABLE IF NOT EXISTS t (id)",
    "CREATE TEMP TABLE x (v)",
    "DROP TABLE IF EXISTS x",
    "ALTER TABLE t ADD COLUMN w",
    "REINDEX t",
    "ANALYZE",
    "VACUUM",
    "PRAGMA user_version = 7",
    "PRAGMA application_id(7)",
    "PRAGMA encoding = 'UTF-16'",
    "PRAGMA page_size = 8192",
    "PRAGMA auto_vacuum = 1",
    "PRAGMA foreign_keys = ON",
    "PRAGMA defer_foreign_keys = ON",
    "PRAGMA incremental_vacuum(3)",
    "PRAGMA optimize",
    "WITH c AS (SELECT 1) DELETE FROM t",
    "INSERT INTO f VALUES ('x')",
]
READS: Final = [
    "SELECT * FROM t",
    "VALUES (1)",
    "WITH c AS (SELECT 1) SELECT * FROM c",
    "EXPLAIN DELETE FROM t",
    "EXPLAIN QUERY PLAN DELETE FROM t",
    "PRAGMA user_version",
    "PRAGMA table_info(t)",
    "PRAGMA journal_mode = WAL",
    "PRAGMA cache_size = 9",
    "PRAGMA case_sensitive_like = 1",
    "PRAGMA integrity_check",
    "SELECT * FROM f WHERE f MATCH 'x'",
]
SCHEMA: Final = """
CREATE TABLE t (id INTEGER PRIMARY KEY, v VARCHAR(10)); CREATE INDEX i ON t (v); CREATE VIRTUAL TABLE f USING fts5 (b)
"""


@pytest.fixture
def connection() -> Iterator[Connection]:
    """A connection to an empty database with `SCHEMA`."""
    db = make()
    db.run_script(SCHEMA)
    connection = Connection(db.snapshot(), value_bytes_max=MIB)
    connection.begin_request(now_ms=0, deadline=float("inf"), result_bytes=MIB)
    yield connection
    connection.close()


@pytest.mark.edge
def test_a_description_names_columns_types_and_parameters(connection: Connection) -> None:
    found = connection.describe("SELECT id, v AS name, v || :x, ? FROM t AS u WHERE id = $y").description
    assert found.columns == (
        Column("id", "INTEGER", "t", "id"),
        Column("name", "VARCHAR(10)", "t", "v"),
        Column("v || :x"),
        Column("?"),
    )
    assert found.parameter_names == ("x", None, "y")
    assert (found.parameter_count, found.read_only, found.is_explain) == (3, True, False)
    assert connection.describe("EXPLAIN DELETE FROM t").description.is_explain
    assert connection.fetch("SELECT count(*) FROM t", (), MIB)[1] == [(0,)]


@pytest.mark.edge
@pytest.mark.parametrize("sql", WRITES)
def test_what_writes_is_denied_to_a_connection_that_only_reads(connection: Connection, sql: str) -> None:
    """Decided by SQLite, and for PRAGMA by what it sets; nothing runs."""
    assert not connection.describe(sql).read_only
    connection.reads_only = True
    with pytest.raises(Denied, match="only reads"):
        connection.fetch(sql, (), MIB)
    assert not connection.file.is_dirty


@pytest.mark.edge
@pytest.mark.parametrize("sql", READS)
def test_what_reads_runs_on_a_connection_that_only_reads(connection: Connection, sql: str) -> None:
    assert connection.describe(sql).read_only
    connection.reads_only = True
    connection.fetch(sql, (), MIB)
    assert not connection.file.is_dirty


class Longest:
    """The longest text of a group."""

    def __init__(self) -> None:
        self.text = ""

    def step(self, *arguments: object) -> None:
        """Take one row."""
        self.text = max(self.text, str(arguments[0]), key=len)

    def finalize(self) -> str:
        """The text."""
        return self.text


def _extend(extensions: Extensions) -> None:
    extensions.add_function("twice", lambda value: value * 2, arguments=1, deterministic=True, innocuous=True)
    extensions.add_function("inverse", lambda value: 1 / value)
    extensions.add_aggregate("longest", Longest, arguments=1)
    extensions.add_collation("backwards", lambda a, b: (a < b) - (a > b))


@pytest.mark.edge
def test_a_hook_adds_functions_aggregates_and_collations() -> None:
    """A deterministic one stands in an index; a failing one is an SQL error that names it, and undoes its statement."""
    db = make()
    connection = Connection(db.snapshot(), value_bytes_max=MIB, on_connect=_extend)
    connection.control("BEGIN IMMEDIATE")
    for sql in ["CREATE TABLE t (v)", "CREATE INDEX i ON t (twice(v))", "INSERT INTO t VALUES ('a'), ('bb')"]:
        connection.fetch(sql, (), MIB)
    assert connection.fetch("SELECT longest(v) FROM t", (), MIB)[1] == [("bb",)]
    assert connection.fetch("SELECT v FROM t ORDER BY v COLLATE backwards", (), MIB)[1] == [("bb",), ("a",)]
    assert connection.fetch("SELECT v FROM t WHERE twice(v) = 'aa'", (), MIB)[1] == [("a",)]
    with pytest.raises(SqlError, match=r"inverse\(\) raised ZeroDivisionError"):
        connection.fetch("INSERT INTO t SELECT inverse(column1) FROM (VALUES (1), (0))", (), MIB)
    assert connection.fetch("SELECT count(*) FROM t", (), MIB)[1] == [(2,)]
    connection.close()


@pytest.mark.edge
def test_a_schema_can_t_call_a_function_that_is_not_for_it() -> None:
    """A view may come from anywhere; and reserved names stay Virke's."""
    db = make()
    db.execute("CREATE VIEW w AS SELECT inverse(2)")
    connection = Connection(db.snapshot(), value_bytes_max=MIB, on_connect=_extend)
    with pytest.raises(SqlError, match="unsafe"):
        connection.fetch("SELECT * FROM w", (), MIB)
    connection.close()
    with pytest.raises(Invalid, match="reserved"):
        Connection(db.snapshot(), value_bytes_max=MIB, on_connect=lambda made: made.add_function("virke_x", lambda: 1))


def test_results_carry_the_declared_types_of_their_columns() -> None:
    """Whichever call brought them: the first read, a warm one, a write, a batch, a keyed answer, rows."""
    with make() as db:
        db.run_script(SCHEMA)
        asked = "SELECT id, v AS name, v || 'x' FROM t"
        expected = ["INTEGER", "VARCHAR(10)", None]
        for _ in range(3):
            assert db.query(asked).decltypes == expected
        assert db.batch([asked, "DELETE FROM t"])[0].decltypes == expected
        assert db.run_script(f"DELETE FROM t; {asked}").decltypes == expected
        assert db.query_rows(asked).decltypes == expected
        assert db.query("DELETE FROM t").decltypes == []
        keyed = [db.run("INSERT INTO t VALUES (1, 'a') RETURNING id, v", idempotency_key="k") for _ in range(2)]
        assert keyed[0].decltypes == keyed[1].decltypes
        assert (keyed[0].columns, keyed[1].rows) == (["id", "v"], [(1, "a")])
        db.execute("ALTER TABLE t RENAME COLUMN v TO w")
        assert db.query("SELECT w FROM t").decltypes == ["VARCHAR(10)"]


def test_query_runs_any_one_statement_and_returns_rows_and_rows_affected() -> None:
    with make() as db:
        db.run_script(SCHEMA)
        made = db.query("INSERT INTO t VALUES (7, 'a'), (8, 'b') RETURNING id")
        assert (made.columns, made.rows, made.rows_affected) == (["id"], [(7,), (8,)], 2)
        assert db.query("UPDATE t SET v = 'c'").rows_affected == 2
        assert db.query("SELECT v FROM t").rows == [("c",), ("c",)]
        with pytest.raises(Invalid, match="more than one"):
            db.query("DELETE FROM t; DELETE FROM t")


def test_a_database_describes_without_running() -> None:
    """On the state that is shown; a mistake is the error that running it would raise."""
    with make() as db:
        db.run_script(SCHEMA)
        version = db.version
        found = db.describe("INSERT INTO t VALUES (:id, ?) RETURNING id")
        assert (found.keyword, found.read_only, found.parameter_names) == ("INSERT", False, ("id", None))
        assert [column.name for column in found.columns] == ["id"]
        assert db.describe("EXPLAIN SELECT 1").is_explain
        for sql, error in [
            ("SELEC", SqlError),
            ("SELECT * FROM nothing", SqlError),
            ("", Invalid),
            ("SELECT 1; SELECT 2", Invalid),
            ("ATTACH 'x' AS y", Denied),
            ("BEGIN", Denied),
        ]:
            with pytest.raises(error):
                db.describe(sql)
        assert (db.version, db.query("SELECT count(*) FROM t").rows) == (version, [(0,)])
