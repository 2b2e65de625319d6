"""What a result says was changed: rows affected and the last row id, as SQLite counts them."""

from __future__ import annotations

import pytest

from virke.engine.database import Database
from virke.errors import Invalid

pytestmark = pytest.mark.edge


@pytest.fixture
def filled(db: Database) -> Database:
    db.run_script(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v UNIQUE); INSERT INTO t (v) VALUES (1), (2), (3);"
        "CREATE TABLE log (n); CREATE TABLE w (k PRIMARY KEY) WITHOUT ROWID;"
        "CREATE TRIGGER l AFTER UPDATE ON t BEGIN INSERT INTO log VALUES (1), (2); END;"
    )
    return db


@pytest.mark.parametrize(
    ("sql", "affected"),
    [
        ("INSERT INTO t (v) VALUES (8), (9)", 2),
        ("UPDATE t SET v = v + 100", 3),
        ("UPDATE t SET v = 7 WHERE id > 99", 0),
        ("DELETE FROM t", 3),
        ("REPLACE INTO t (v) VALUES (1)", 1),
        ("INSERT OR IGNORE INTO t (v) VALUES (1)", 0),
        ("INSERT INTO t (v) VALUES (1) ON CONFLICT DO NOTHING", 0),
        ("CREATE TABLE x (n)", 0),
        ("DROP TABLE t", 0),
        ("CREATE INDEX i ON t (id, v)", 0),
        ("SELECT * FROM t", 0),
        ("PRAGMA user_version = 4", 0),
        ("VACUUM", 0),
        ("INSERT INTO w VALUES ('a'), ('b')", 2),
        ("WITH c AS (SELECT 77 AS n) INSERT INTO t (v) SELECT n FROM c RETURNING id", 1),
    ],
)
def test_rows_affected_are_those_of_the_statement(filled: Database, sql: str, affected: int) -> None:
    """Trigger rows and rows that REPLACE removed are not counted, nor what an earlier statement did."""
    filled.execute("UPDATE t SET id = id")
    assert filled.run(sql).rows_affected == affected


def test_each_statement_of_a_batch_has_its_own_count(filled: Database) -> None:
    """A SELECT after an UPDATE, or DDL after an INSERT, has changed nothing."""
    results = filled.batch(
        ["UPDATE t SET v = v + 10", "SELECT * FROM t", "INSERT INTO t (v) VALUES (5)", "CREATE TABLE x (n)"]
    )
    assert [result.rows_affected for result in results] == [3, 0, 1, 0]
    assert [result.last_insert_rowid is None for result in results] == [False, True, False, True]
    assert results[2].last_insert_rowid == 4


def test_scripts_and_executemany_sum_up(filled: Database) -> None:
    assert (
        filled.run_script("UPDATE t SET v = v + 10; CREATE TABLE x (n); DELETE FROM t WHERE id = 1").rows_affected == 4
    )
    sql = "INSERT OR IGNORE INTO t (v) VALUES (?)"
    assert filled.executemany(sql, [(50,), (50,), (51,)]) == 2
    assert filled.executemany("CREATE TABLE IF NOT EXISTS y (n)", [(), ()]) == 0
    assert filled.executemany(sql, []) == 0
    with pytest.raises(Invalid):
        filled.executemany("SELECT ?", [(1,)])


def test_last_insert_rowid_is_of_this_request(filled: Database) -> None:
    """In results and in SQL; nobody else's number shows."""
    assert filled.run("INSERT INTO t (id, v) VALUES (40, 'x')").last_insert_rowid == 40
    assert filled.run("SELECT last_insert_rowid()").rows == [(0,)]
    results = filled.batch(["INSERT INTO t (v) VALUES ('y')", "INSERT INTO log SELECT last_insert_rowid()"])
    assert results[0].last_insert_rowid == 41
    assert filled.query("SELECT max(n) FROM log").rows == [(41,)]
    with filled.transaction() as transaction:
        assert transaction.query("SELECT last_insert_rowid()").rows == [(0,)]
        transaction.execute("INSERT INTO t (v) VALUES ('z')")
        assert transaction.query("SELECT last_insert_rowid()").rows == [(42,)]


def test_a_result_names_the_version_that_it_made(filled: Database) -> None:
    before = filled.version
    results = filled.batch(["INSERT INTO t (v) VALUES (5)", "SELECT 1"])
    assert {result.version for result in results} == {before + 1} == {filled.version}
    assert {result.bookmark for result in results} == {filled.bookmark}
    assert filled.query("SELECT 1").bookmark == filled.bookmark
