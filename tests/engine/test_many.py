"""One statement with many rows: what it says it changed, which error comes first, and rows that SQLite does not take at once."""

from __future__ import annotations

import pytest

from virke.engine import sqlite
from virke.engine.database import Database
from virke.engine.sqlite.many import ROWS_BETWEEN_LOOKS, TOTALLED_FROM_ROWS
from virke.errors import Invalid, SqlError

pytestmark = pytest.mark.edge
COUNT = TOTALLED_FROM_ROWS + ROWS_BETWEEN_LOOKS + 1


@pytest.mark.parametrize(
    ("schema", "sql", "affected"),
    [
        ("CREATE TABLE t (v)", "INSERT INTO t VALUES (?)", COUNT),
        ("CREATE TABLE t (v)", "INSERT INTO t SELECT ?1 UNION ALL SELECT ?1", 2 * COUNT),
        ("CREATE TABLE t (v UNIQUE); INSERT INTO t VALUES (3), (4)", "INSERT OR IGNORE INTO t VALUES (?)", COUNT - 2),
        (
            "CREATE TABLE t (v); CREATE TABLE log (v); "
            "CREATE TRIGGER l AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.v); END",
            "INSERT INTO t VALUES (?)",
            COUNT,
        ),
        ("CREATE VIRTUAL TABLE t USING fts5 (v)", "INSERT INTO t VALUES (?)", COUNT),
        (
            "CREATE TABLE t (v INTEGER PRIMARY KEY); CREATE TABLE child (v REFERENCES t ON DELETE CASCADE);"
            "INSERT INTO t VALUES (1); INSERT INTO child VALUES (1), (1)",
            "REPLACE INTO t VALUES (?)",
            COUNT,
        ),
        (
            "CREATE TABLE t (v INTEGER PRIMARY KEY, n DEFAULT 0 UNIQUE ON CONFLICT REPLACE); "
            "CREATE TABLE child (v REFERENCES t ON DELETE CASCADE);"
            "INSERT INTO t VALUES (-1, 0); INSERT INTO child VALUES (-1), (-1)",
            "INSERT INTO t (v) VALUES (?)",
            COUNT,
        ),
        ("CREATE TABLE t (v); INSERT INTO t VALUES (1), (2), (2)", "UPDATE t SET v = v WHERE v = ?", 3),
    ],
)
def test_many_rows_affect_what_one_by_one_they_do(db: Database, schema: str, sql: str, affected: int) -> None:
    """Whether triggers, foreign keys or a virtual table change other rows along, or nothing does."""
    db.change_settings({"foreign_keys": "on"})
    db.run_script(schema)
    assert db.executemany(sql, [(n,) for n in range(COUNT)]) == affected


@pytest.mark.parametrize("wrong", [(), (1, 2), (1 << 70,)])
def test_a_row_that_does_not_fit_is_the_error_and_nothing_was_changed(db: Database, wrong: tuple[int, ...]) -> None:
    """Also where SQLite refuses another row before it comes to that one."""
    db.run_script("CREATE TABLE t (v UNIQUE); INSERT INTO t VALUES (3)")
    rows: list[tuple[int, ...]] = [(n,) for n in range(COUNT)]
    with pytest.raises(SqlError):
        db.executemany("INSERT INTO t VALUES (?)", rows)
    rows[-1] = wrong
    with pytest.raises(Invalid):
        db.executemany("INSERT INTO t VALUES (?)", rows)
    assert db.query("SELECT count(*) FROM t").rows == [(1,)]


@pytest.mark.parametrize("at", [0, ROWS_BETWEEN_LOOKS - 1, ROWS_BETWEEN_LOOKS, COUNT - 1])
@pytest.mark.parametrize("odd", ["\udcff", "x" * (sqlite.HOT_VALUE_BYTES + 1)])
@pytest.mark.parametrize("trigger", ["", "CREATE TRIGGER r AFTER INSERT ON t BEGIN UPDATE n SET n = n + 1; END"])
def test_a_row_that_needs_care_comes_in_once_wherever_it_stands(db: Database, at: int, odd: str, trigger: str) -> None:
    """Text that is not valid Unicode, and a long one: rows before and after it as well, each of them once."""
    db.run_script(f"CREATE TABLE t (v); CREATE TABLE n (n); INSERT INTO n VALUES (0); {trigger}")
    rows: list[tuple[str | int]] = [(n,) for n in range(COUNT)]
    rows[at] = (odd,)
    assert db.executemany("INSERT INTO t VALUES (?)", rows) == COUNT
    assert db.query("SELECT v FROM t ORDER BY rowid").rows == rows


def test_rows_may_be_named(db: Database) -> None:
    """Mappings are looked at before SQLite has the first one."""
    db.execute("CREATE TABLE t (a, b)")
    assert db.executemany("INSERT INTO t VALUES (:a, :b)", [{"a": n, "b": -n} for n in range(COUNT)]) == COUNT
    with pytest.raises(Invalid, match="missing parameter"):
        db.executemany("INSERT INTO t VALUES (:a, :b)", [{"a": 1, "b": 2}, {"a": 1}])
    assert db.query("SELECT count(*), sum(a + b) FROM t").rows == [(COUNT, 0)]
