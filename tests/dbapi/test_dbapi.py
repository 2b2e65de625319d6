"""What programs of PEP 249 and of `sqlite3` rely on, on a store and on a node."""

from __future__ import annotations

import sqlite3
import threading
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import pytest

import virke
from tests.dbapi.conftest import Connect
from virke import dbapi

NAMES = "SELECT name FROM item ORDER BY id"


def names(connection: dbapi.Connection) -> list[str]:
    return [name for (name,) in connection.execute(NAMES)]


def test_a_program_of_pep_249_runs(con: dbapi.Connection) -> None:
    cursor = con.cursor()
    cursor.execute("SELECT id, name FROM item WHERE price > ?", (4,))
    assert cursor.description is not None
    assert [column[0] for column in cursor.description] == ["id", "name"]
    assert cursor.fetchone() == (1, "tea")
    assert cursor.fetchone() is None
    cursor.execute("INSERT INTO item (name) VALUES (:name)", {"name": "salt"})
    assert (cursor.rowcount, cursor.lastrowid) == (1, 3)
    con.commit()
    assert con.execute(NAMES).fetchmany(2) == [("tea",), ("jam",)]


def test_dml_begins_a_transaction_that_others_do_not_see(con: dbapi.Connection, connect: Connect) -> None:
    other = connect()
    con.execute("DELETE FROM item")
    assert (con.in_transaction, names(con), names(other)) == (True, [], ["tea", "jam"])
    con.rollback()
    assert (con.in_transaction, names(con)) == (False, ["tea", "jam"])
    with con:
        con.execute("DELETE FROM item WHERE id = 1")
    assert names(other) == ["jam"]


def test_a_with_block_that_raises_rolls_back(con: dbapi.Connection) -> None:
    def fail() -> None:
        with con:
            con.execute("DELETE FROM item")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert names(con) == ["tea", "jam"]


@pytest.mark.parametrize("level", ["", "DEFERRED", "IMMEDIATE", "EXCLUSIVE"])
def test_every_isolation_level_commits(con: dbapi.Connection, level: str) -> None:
    con.isolation_level = level
    con.execute("UPDATE item SET name = 'salt' WHERE id = 1")
    con.commit()
    assert names(con) == ["salt", "jam"]


def test_without_an_isolation_level_each_statement_is_a_transaction(con: dbapi.Connection, connect: Connect) -> None:
    con.isolation_level = None
    con.execute("DELETE FROM item WHERE id = 1")
    assert (con.in_transaction, names(connect())) == (False, ["jam"])
    con.execute("BEGIN")
    con.execute("DELETE FROM item")
    con.execute("ROLLBACK")
    assert names(con) == ["jam"]


def test_autocommit_false_has_a_transaction_open_always(connect: Connect, con: dbapi.Connection) -> None:
    made = connect(autocommit=False)
    assert made.in_transaction
    made.execute("DELETE FROM item WHERE id = 1")
    made.commit()
    assert (made.in_transaction, names(con)) == (True, ["jam"])
    made.execute("DELETE FROM item")
    made.close()
    assert names(con) == ["jam"]


def test_savepoints_nest(con: dbapi.Connection) -> None:
    con.isolation_level = None
    con.execute("SAVEPOINT outer")
    con.execute("DELETE FROM item WHERE id = 1")
    con.execute("SAVEPOINT inner")
    con.execute("DELETE FROM item")
    con.execute("ROLLBACK TO inner")
    con.execute("RELEASE inner")
    assert (con.in_transaction, names(con)) == (True, ["jam"])
    con.execute("RELEASE outer")
    assert (con.in_transaction, names(con)) == (False, ["jam"])
    with pytest.raises(dbapi.OperationalError, match="no such savepoint: inner"):
        con.execute("RELEASE inner")


def test_a_savepoint_of_a_transaction_that_only_read_holds_for_its_writes(con: dbapi.Connection) -> None:
    con.isolation_level = None
    con.execute("BEGIN")
    assert names(con) == ["tea", "jam"]
    con.execute("SAVEPOINT one")
    con.execute("DELETE FROM item WHERE id = 1")
    con.execute("ROLLBACK TO one")
    con.execute("DELETE FROM item WHERE id = 2")
    con.execute("COMMIT")
    assert names(con) == ["tea"]


def test_a_transaction_that_read_what_another_changed_is_busy_at_its_first_write(
    con: dbapi.Connection, connect: Connect
) -> None:
    con.execute("BEGIN")
    names(con)
    with connect() as other:
        other.execute("DELETE FROM item WHERE id = 1")
    with pytest.raises(dbapi.OperationalError, match="database is locked") as caught:
        con.execute("DELETE FROM item")
    assert (caught.value.sqlite_errorname, caught.value.kind) == ("SQLITE_BUSY_SNAPSHOT", "conflict")
    assert (caught.value.retryable, names(con)) == (True, ["tea", "jam"])
    con.rollback()
    assert names(con) == ["jam"]


def test_an_error_is_one_of_sqlite3_and_carries_virke_s(con: dbapi.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError) as caught:
        con.execute("INSERT INTO item (name) VALUES ('tea')")
    error = caught.value
    assert isinstance(error, dbapi.IntegrityError)
    assert isinstance(error.__cause__, virke.SqlError)
    assert (error.sqlite_errorname, error.sqlite_errorcode) == ("SQLITE_CONSTRAINT_UNIQUE", 2067)
    assert (error.kind, error.retryable, str(error)) == ("sql_error", False, "UNIQUE constraint failed: item.name")


@pytest.mark.parametrize(
    ("sql", "error", "code"),
    [
        ("SELECT * FROM nothing", dbapi.OperationalError, "SQLITE_ERROR"),
        ("SELEC 1", dbapi.OperationalError, "SQLITE_ERROR"),
        ("ATTACH 'x' AS y", dbapi.NotSupportedError, "SQLITE_AUTH"),
        ("SELECT ?", dbapi.ProgrammingError, "SQLITE_MISUSE"),
        ("SELECT 1; SELECT 2", dbapi.ProgrammingError, "SQLITE_ERROR"),
    ],
)
def test_an_error_has_the_class_that_sqlite3_gives_it(
    con: dbapi.Connection, sql: str, error: type[dbapi.Error], code: str
) -> None:
    with pytest.raises(error) as caught:
        con.execute(sql)
    assert (type(caught.value), caught.value.sqlite_errorname) == (error, code)


def test_a_missing_database_and_a_read_only_one_are_operational_errors(where: str, connect: Connect) -> None:
    with pytest.raises(dbapi.OperationalError, match="unable to open database file"):
        dbapi.connect("nothing", where)
    connect().execute("CREATE TABLE t (a)")
    with pytest.raises(dbapi.OperationalError) as caught:
        connect(read_only=True).execute("INSERT INTO t VALUES (1)")
    assert caught.value.sqlite_errorname == "SQLITE_READONLY"


def test_rows_may_be_those_of_sqlite3(con: dbapi.Connection) -> None:
    con.row_factory = sqlite3.Row
    row = con.execute("SELECT id, name FROM item WHERE id = 1").fetchone()
    assert isinstance(row, sqlite3.Row)
    assert (row["NAME"], row[0], row.keys(), dict(row)) == ("tea", 1, ["id", "name"], {"id": 1, "name": "tea"})
    con.row_factory = lambda cursor, row: {
        column[0]: value for column, value in zip(cursor.description, row, strict=True)
    }
    assert con.execute("SELECT id, name FROM item WHERE id = 1").fetchone() == {"id": 1, "name": "tea"}


def test_values_of_python_s_own_types_go_in(con: dbapi.Connection) -> None:
    given = (Decimal("1.50"), UUID(int=1), datetime(2026, 1, 2, 3, 4), b"x", True, None)
    row = con.execute("SELECT ?, ?, ?, ?, ?, ?", given).fetchone()
    assert row == ("1.50", str(UUID(int=1)), "2026-01-02 03:04:00", b"x", 1, None)


def test_declared_types_are_converted(connect: Connect) -> None:
    con = connect(detect_types=dbapi.PARSE_DECLTYPES | dbapi.PARSE_COLNAMES)
    con.execute("CREATE TABLE t (d date, n)")
    con.execute("INSERT INTO t VALUES (?, 1)", (dbapi.Date(2026, 1, 2),))
    assert con.execute('SELECT d, d AS "x [timestamp]" FROM t WHERE 0').fetchall() == []
    assert con.execute("SELECT d, n FROM t").fetchone() == (dbapi.Date(2026, 1, 2), 1)


def test_a_connection_belongs_to_its_thread_unless_it_says_otherwise(connect: Connect) -> None:
    found: list[object] = []

    def use(connection: dbapi.Connection) -> None:
        try:
            found.append(connection.execute("SELECT 1").fetchone())
        except dbapi.ProgrammingError as error:
            found.append(str(error)[:44])

    for connection in (connect(), connect(check_same_thread=False)):
        thread = threading.Thread(target=use, args=(connection,))
        thread.start()
        thread.join()
    assert found == ["SQLite objects created in a thread can only ", (1,)]


def test_a_large_result_comes_in_parts(con: dbapi.Connection) -> None:
    rows = con.execute("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 5000) SELECT n FROM c")
    assert next(rows) == (1,)
    with con:
        con.execute("DELETE FROM item")
    assert (sum(n for (n,) in rows), names(con)) == (5000 * 5001 // 2 - 1, [])


def test_memory_is_a_database_that_nobody_else_sees() -> None:
    one, two = dbapi.connect(":memory:"), dbapi.connect(":memory:")
    one.execute("CREATE TABLE t (a)")
    one.execute("INSERT INTO t VALUES (1)")
    two.execute("CREATE TABLE t (a)")
    two.execute("INSERT INTO t VALUES (2)")
    assert [c.execute("SELECT a FROM t").fetchall() for c in (one, two)] == [[(1,)], [(2,)]]
    one.close()
    two.close()


def test_a_script_is_one_commit_and_one_with_transactions_is_run_as_it_stands(con: dbapi.Connection) -> None:
    before = con.session.database.version
    con.executescript("INSERT INTO item (name) VALUES ('a'); INSERT INTO item (name) VALUES ('b'); SELECT 1")
    assert con.session.database.version == before + 1
    con.executescript("BEGIN; DELETE FROM item WHERE name = 'a'; COMMIT; BEGIN; DELETE FROM item; ROLLBACK;")
    assert names(con) == ["tea", "jam", "b"]
