"""Where state that SQLite keeps on a connection could make Virke answer what SQLite would not."""

from __future__ import annotations

from typing import Final

import pytest

from tests.engine.world import make, reopen, store_of
from virke.engine import sqlite
from virke.engine.connection import Connection
from virke.engine.database import Database

FILL: Final = (
    "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 2000) INSERT INTO t SELECT {} FROM c"
)
PLAN: Final = "EXPLAIN QUERY PLAN SELECT * FROM t WHERE a = 1 AND b = 1"


@pytest.mark.edge
def test_p4_explain_shows_the_plan_of_now(db: Database) -> None:
    """An EXPLAIN that is prepared once is listed without a look at the schema."""
    db.execute("CREATE TABLE t (a)")
    sql = "EXPLAIN QUERY PLAN SELECT * FROM t WHERE a = 1"
    for _ in range(3):
        assert "SCAN" in str(db.query(sql).rows)
    db.execute("CREATE INDEX i ON t (a)")
    assert "USING" in str(db.query(sql, consistency="strong").rows)
    connection = Connection(db.snapshot(), value_bytes_max=1 << 20)
    for step, word in (("DROP INDEX i", "SCAN"), ("CREATE INDEX i ON t (a)", "USING")):
        db.execute(step)
        connection.pin(db.snapshot())
        assert word in str(connection.fetch(sql, (), 1 << 20)[1])
    connection.close()


@pytest.mark.edge
@pytest.mark.parametrize("analyze", ["ANALYZE", "ANALYZE t", "by hand"])
def test_p4_every_connection_plans_with_the_newest_statistics(db: Database, analyze: str) -> None:
    """SQLite reads them with the schema, whose cookie ANALYZE leaves as it is; also in another process."""
    other = reopen(store_of(db))
    db.run_script("CREATE TABLE t (a, b, c); CREATE INDEX on_a ON t (a); CREATE INDEX on_b ON t (b)")
    db.execute(FILL.format("1, i, 0"))
    db.execute("ANALYZE")
    for each in (db, other):
        assert "on_b" in str(each.query(PLAN, consistency="strong").rows)
    if analyze == "by hand":
        db.execute("UPDATE sqlite_stat1 SET stat = CASE idx WHEN 'on_a' THEN '2000 1' ELSE '2000 2000' END")
        if db.query("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_stat4'").rows:
            db.execute("DELETE FROM sqlite_stat4")
    else:
        db.execute("DELETE FROM t")
        db.execute(FILL.format("i, 1, 0"))
        db.run(analyze)
    for each in (db, other):
        assert "on_a" in str(each.query(PLAN, consistency="strong").rows)


@pytest.mark.edge
@pytest.mark.parametrize(
    "check", ["PRAGMA integrity_check", "PRAGMA quick_check", "SELECT * FROM pragma_integrity_check"]
)
def test_p4_integrity_check_finds_a_whole_fts5_index_whole(db: Database, check: str) -> None:
    """FTS5 keeps the structure of an earlier snapshot on the connection; reading and writing connections alike."""
    db.execute("CREATE VIRTUAL TABLE f USING fts5 (u)")
    for row in range(30):
        text = " ".join(f"w{(row * 7 + word) % 50}" for word in range(30))
        db.execute("INSERT INTO f (rowid, u) VALUES (?, ?)", (row, text))
    db.query("SELECT count(*) FROM f WHERE f MATCH 'w3*'")
    reopen(store_of(db)).execute("INSERT INTO f (f) VALUES ('optimize')")
    for _ in range(2):
        assert db.query(check, consistency="strong").rows == [("ok",)]
        assert db.run(check).rows == [("ok",)]
        db.execute("INSERT INTO f (f) VALUES ('optimize')")


@pytest.mark.edge
def test_p4_vacuum_keeps_the_page_size_that_the_database_has() -> None:
    """Not the one that this connection saw first."""
    first = make(page_size=1024)
    first.execute("CREATE TABLE t (x)")
    other = reopen(store_of(first))
    other.run("PRAGMA page_size = 8192")
    other.run("VACUUM")
    assert first.query("PRAGMA page_size", consistency="strong").rows == [(8192,)]
    first.run("VACUUM")
    assert first.query("PRAGMA page_size", consistency="strong").rows == [(8192,)]


@pytest.mark.edge
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.native] * (name == "wal_autocheckpoint")) for name in sorted(sqlite.QUIET)],
)
def test_p4_a_quiet_pragma_answers_with_a_row_where_sqlite_does(db: Database, name: str) -> None:
    """The row says what holds, whatever was asked for."""
    rows = db.query(f"PRAGMA {name} = 1").rows
    assert len(rows) == (1 if name in sqlite.ANSWERING else 0)
    if name != "wal_checkpoint":
        assert rows in ([], db.query(f"PRAGMA {name}").rows)
    for call in (db.run, db.run_script, lambda sql: db.batch([sql])[0], db.transaction().query):
        assert call(f"PRAGMA main.{name}(1)").rows == rows
    if name == "journal_mode":
        assert db.query("PRAGMA journal_mode = WAL").columns == ["journal_mode"]


@pytest.mark.edge
def test_p4_changes_knows_this_request_only(db: Database) -> None:
    """The same in a read, a write, a script and a transaction; inside a request as in SQLite."""
    db.execute("CREATE TABLE t (x)")
    db.execute("INSERT INTO t VALUES (1), (2), (3)")
    both = "SELECT changes(), total_changes()"
    for call in (db.query, db.run, db.run_script, lambda sql: db.batch([sql])[0], db.transaction().query):
        assert call(both).rows == [(0, 0)]
    db.execute("INSERT INTO t VALUES (changes())")
    assert db.query("SELECT x FROM t ORDER BY rowid DESC LIMIT 1").rows == [(0,)]
    assert db.run_script(f"UPDATE t SET x = 0; DELETE FROM t WHERE rowid < 3; {both}").rows == [(2, 6)]
    assert db.run_script(f"UPDATE t SET x = 0; DELETE FROM t WHERE 0; {both}").rows == [(0, 2)]
