"""SQL means what it means in SQLite: statements, types, constraints, triggers and modules."""

from __future__ import annotations

import math

import pytest

from tests.engine.world import make, reopen, store_of
from virke.engine.database import Database
from virke.errors import Invalid, SqlError

pytestmark = pytest.mark.edge


def test_a_savepoint_in_a_script_is_released_or_rolled_back(db: Database) -> None:
    db.run_script(
        "CREATE TABLE t (n); SAVEPOINT one; INSERT INTO t VALUES (1); SAVEPOINT two; INSERT INTO t VALUES (2);"
        "ROLLBACK TO two; RELEASE one; INSERT INTO t VALUES (3)"
    )
    assert db.query("SELECT n FROM t").rows == [(1,), (3,)]


def test_a_savepoint_that_a_script_leaves_open_is_committed_with_it(db: Database) -> None:
    """Also where the script starts with a PRAGMA, which SQLite runs outside a transaction."""
    db.execute("CREATE TABLE t (n)")
    db.run_script("SAVEPOINT one; INSERT INTO t VALUES (1)")
    db.run_script("PRAGMA user_version; SAVEPOINT one; INSERT INTO t VALUES (2)")
    db.batch(["SAVEPOINT one", "INSERT INTO t VALUES (3)"])
    assert db.query("SELECT n FROM t").rows == [(1,), (2,), (3,)]


def test_a_script_may_carry_begin_and_commit(db: Database) -> None:
    """Dumps do; a script is one transaction anyway."""
    result = db.run_script("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE t (n);\n/* x */ COMMIT;")
    assert result.columns == []
    db.run_script("BEGIN; INSERT INTO t VALUES (1); COMMIT")
    assert db.run_script("BEGIN IMMEDIATE; SELECT n FROM t; END TRANSACTION;").rows == [(1,)]
    with pytest.raises(SqlError):
        db.run_script("BEGIN; INSERT INTO t VALUES (2); COMMIT; INSERT INTO missing VALUES (3)")
    assert db.query("SELECT n FROM t").rows == [(1,)]


def test_a_failed_statement_in_a_script_that_starts_with_a_pragma_undoes_all(db: Database) -> None:
    db.run_script("PRAGMA user_version = 1; CREATE TABLE t (n UNIQUE); INSERT INTO t VALUES (1)")
    with pytest.raises(SqlError):
        db.run_script("PRAGMA user_version = 2; INSERT INTO t VALUES (2); INSERT INTO t VALUES (1)")
    assert db.query("SELECT n FROM t").rows == [(1,)]
    assert db.query("PRAGMA user_version").rows == [(1,)]


def test_a_failed_statement_leaves_nothing_of_itself(db: Database) -> None:
    """Rows before the one that fails are undone with it; the transaction goes on."""
    db.execute("CREATE TABLE t (n UNIQUE)")
    with db.transaction() as transaction:
        transaction.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(SqlError, match="UNIQUE"):
            transaction.execute("INSERT INTO t VALUES (2), (3), (1), (4)")
        transaction.execute("INSERT INTO t VALUES (5)")
    assert db.query("SELECT n FROM t").rows == [(1,), (5,)]


def test_columns_are_those_of_the_schema_after_a_failed_alter(db: Database) -> None:
    """A statement that was described on a schema that was rolled back is described anew."""
    db.execute("CREATE TABLE t (a)")
    db.execute("INSERT INTO t VALUES (1)")
    with db.transaction() as transaction:
        with pytest.raises(SqlError):
            transaction.run_script("ALTER TABLE t ADD COLUMN b; SELECT * FROM t; SELECT * FROM missing")
        result = transaction.query("SELECT * FROM t")
        assert (result.columns, result.rows) == (["a"], [(1,)])
        script = "SAVEPOINT s; ALTER TABLE t ADD COLUMN c; SELECT * FROM t; ROLLBACK TO s; SELECT * FROM t"
        assert transaction.run_script(script).columns == ["a"]


def test_insert_or_rollback_undoes_its_own_batch_only(db: Database) -> None:
    db.execute("CREATE TABLE t (n UNIQUE)")
    db.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(SqlError, match="UNIQUE"):
        db.batch(["INSERT INTO t VALUES (2)", "INSERT OR ROLLBACK INTO t VALUES (1)"])
    db.execute("INSERT INTO t VALUES (3)")
    assert db.query("SELECT n FROM t").rows == [(1,), (3,)]


def test_a_trigger_that_raises_rollback_ends_an_interactive_transaction(db: Database) -> None:
    db.run_script(
        "CREATE TABLE t (n);"
        "CREATE TRIGGER no BEFORE INSERT ON t WHEN new.n = 0 BEGIN SELECT RAISE(ROLLBACK, 'not zero'); END;"
    )
    transaction = db.transaction()
    transaction.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(SqlError, match="not zero"):
        transaction.execute("INSERT INTO t VALUES (0)")
    with pytest.raises(Invalid, match="over"):
        transaction.execute("INSERT INTO t VALUES (2)")
    with pytest.raises(SqlError, match="not zero"):
        db.executemany("INSERT INTO t VALUES (?)", [(3,), (0,), (4,)])
    assert db.query("SELECT n FROM t").rows == []


def test_p4_foreign_keys_hold_everywhere_and_read_as_set_until_switched_off(db: Database) -> None:
    """The database's setting says it first; `PRAGMA foreign_keys` is remembered for this database object alone."""
    db.run_script("CREATE TABLE p (id PRIMARY KEY); CREATE TABLE c (p REFERENCES p)")
    assert db.query("PRAGMA foreign_keys").rows == db.run("PRAGMA foreign_keys").rows == [(1,)]
    assert reopen(store_of(db)).query("PRAGMA foreign_keys").rows == [(1,)], "it has not written yet"
    for attempt in (db.execute, lambda sql: db.batch([sql]), lambda sql: db.transaction().execute(sql)):
        with pytest.raises(SqlError, match="FOREIGN KEY"):
            attempt("INSERT INTO c VALUES (1)")
    db.query("PRAGMA foreign_keys = OFF")
    assert db.query("PRAGMA foreign_keys").rows == db.run("PRAGMA foreign_keys").rows == [(0,)]
    with db.transaction() as transaction:
        assert transaction.execute("INSERT INTO c VALUES (1)") == 1
    other = reopen(store_of(db))
    with pytest.raises(SqlError, match="FOREIGN KEY"):
        other.execute("INSERT INTO c VALUES (1)")
    other.change_settings({"foreign_keys": "off"})
    assert other.execute("INSERT INTO c VALUES (1)") == 1


def test_a_deferred_constraint_fails_at_the_end(db: Database) -> None:
    """Of a statement, a batch and a transaction; in between it may be broken."""
    db.run_script("CREATE TABLE p (id PRIMARY KEY); CREATE TABLE c (p REFERENCES p DEFERRABLE INITIALLY DEFERRED)")
    db.execute("PRAGMA foreign_keys = ON")
    for attempt in (db.execute, lambda sql: db.batch([sql]), db.run_script):
        with pytest.raises(SqlError, match="FOREIGN KEY"):
            attempt("INSERT INTO c VALUES (1)")
    transaction = db.transaction()
    transaction.execute("INSERT INTO c VALUES (1)")
    with pytest.raises(SqlError, match="FOREIGN KEY"):
        transaction.commit()
    assert db.query("SELECT * FROM c").rows == []
    db.batch(["INSERT INTO c VALUES (2)", "INSERT INTO p VALUES (2)"])
    assert db.query("SELECT * FROM c").rows == [(2,)]


def test_modes_hold_for_one_request(db: Database) -> None:
    """`PRAGMA recursive_triggers` and its like work in a batch, script or transaction, and are off after it."""
    db.run_script(
        "CREATE TABLE t (n); CREATE TRIGGER r AFTER INSERT ON t WHEN new.n > 0 BEGIN"
        " INSERT INTO t VALUES (new.n - 1); END;"
    )
    for on in ("PRAGMA recursive_triggers = ON", "PRAGMA recursive_triggers = 1"):
        db.batch([on, "DELETE FROM t", "INSERT INTO t VALUES (3)"])
        assert db.query("SELECT count(*) FROM t").rows == [(4,)]
        db.batch(["DELETE FROM t", "INSERT INTO t VALUES (3)"])
        assert db.query("SELECT count(*) FROM t").rows == [(2,)]
    with db.transaction() as transaction:
        transaction.query("PRAGMA case_sensitive_like = ON")
        assert transaction.query("SELECT 'a' LIKE 'A'").rows == [(0,)]
    for _ in range(3):
        db.query("PRAGMA case_sensitive_like = ON")
        assert db.query("SELECT 'a' LIKE 'A'").rows == [(1,)]
    assert db.transaction().query("SELECT 'a' LIKE 'A'").rows == [(1,)]


def test_a_check_that_was_ignored_in_one_batch_holds_in_the_next(db: Database) -> None:
    db.execute("CREATE TABLE t (n CHECK (n > 0))")
    db.batch(["PRAGMA ignore_check_constraints = ON", "INSERT INTO t VALUES (-1)"])
    with pytest.raises(SqlError, match="CHECK"):
        db.execute("INSERT INTO t VALUES (-2)")


def test_temporary_tables_live_as_long_as_their_request(db: Database) -> None:
    """A batch, script or transaction may use them; the next request sees none."""
    for _ in range(2):
        db.batch(
            [
                "CREATE TABLE IF NOT EXISTS t (n)",
                "CREATE TEMP TABLE x AS SELECT 1 AS n",
                "INSERT INTO t SELECT * FROM x",
            ]
        )
        with db.transaction() as transaction:
            transaction.execute("CREATE TEMP VIEW v AS SELECT 2 AS n")
            transaction.execute("CREATE TEMP TRIGGER g AFTER DELETE ON t BEGIN INSERT INTO t VALUES (9); END")
            transaction.execute("INSERT INTO t SELECT n FROM v")
        for name in ("x", "v"):
            with pytest.raises(SqlError, match="no such table"):
                db.execute(f"INSERT INTO t SELECT * FROM {name}")
        db.execute("DELETE FROM t WHERE n = 9")
    assert db.query("SELECT n FROM t").rows == [(1,), (2,), (1,), (2,)]
    assert [entry.name for entry in db.schema()] == ["t"]


def test_values_come_back_as_they_went_in(db: Database) -> None:
    """Integers of 64 bits, floats with their sign and infinities, NUL in text and blobs, empty and large values."""
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    values = [
        2**63 - 1, -(2**63), 0, 1.5, -0.0, 5e-324, math.inf, -math.inf,
        "", "a\0b", "\U0001f600 é \ufeff", b"", b"\0\1\0", bytes(3_000_000), "x" * 3_000_000, None,
    ]  # fmt: skip
    db.executemany("INSERT INTO t (v) VALUES (?)", [(value,) for value in values])  # type: ignore[misc]
    found = [row[0] for row in db.query("SELECT v FROM t ORDER BY id").rows]
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]
    assert math.copysign(1, float(str(found[4]))) in (-1, 1)
    assert db.query("SELECT ?", (math.nan,)).rows == [(None,)]
    assert db.query("SELECT typeof(?), typeof(?)", (True, b"x")).rows == [("integer", "blob")]


def test_text_that_is_no_unicode_is_invalid(db: Database) -> None:
    db.execute("CREATE TABLE t (v)")
    for attempt in (lambda: db.execute("INSERT INTO t VALUES (?)", ("\ud800",)), lambda: db.query("SELECT '\ud800'")):
        with pytest.raises(Invalid):
            attempt()
    assert db.query("SELECT ?", ("fine",)).rows == [("fine",)]


def test_random_differs(db: Database) -> None:
    sql = "SELECT random(), randomblob(16)"
    assert len({row for _ in range(20) for row in db.query(sql).rows}) == 20


def test_the_modules_of_sqlite_work(db: Database) -> None:
    """FTS5 and R-Tree keep their own tables; another process reads them."""
    db.run_script(
        "CREATE VIRTUAL TABLE f USING fts5(body); INSERT INTO f VALUES ('the quick fox'), ('lazy dog');"
        "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1); INSERT INTO r VALUES (1, 0, 5), (2, 10, 15);"
    )
    other = reopen(store_of(db))
    assert other.query("SELECT body FROM f WHERE f MATCH 'quick'").rows == [("the quick fox",)]
    assert other.query("SELECT id FROM r WHERE x0 > 4").rows == [(2,)]
    other.execute("INSERT INTO f (f) VALUES ('optimize')")
    with other.transaction() as transaction:
        transaction.execute("DELETE FROM f WHERE f MATCH 'dog'")
        assert transaction.query("SELECT count(*) FROM f").rows == [(1,)]
    assert db.query("SELECT rowid FROM f WHERE f MATCH 'fox OR dog'", consistency="strong").rows == [(1,)]


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT json_extract('{\"a\":[1,2]}', '$.a[1]')", [(2,)]),
        ("SELECT value FROM json_each('[1,\"x\"]')", [(1,), ("x",)]),
        ("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 3) SELECT sum(n) FROM c", [(6,)]),
        (
            "SELECT column1, row_number() OVER (ORDER BY column1 DESC) FROM (VALUES (7), (8)) ORDER BY 1",
            [(7, 2), (8, 1)],
        ),
        ("VALUES (1), (2)", [(1,), (2,)]),
        ("SELECT sqrt(16), 7 -> '$', iif(0, 1, 2), 'a' || 'b'", [(4.0, "7", 2, "ab")]),
    ],
)
def test_sql_that_only_reads(db: Database, sql: str, rows: list[tuple[object, ...]]) -> None:
    """JSON, CTEs, window functions, maths."""
    assert db.query(sql).rows == rows


def test_generated_strict_and_rowidless_tables(db: Database) -> None:
    db.run_script(
        "CREATE TABLE g (a INT, b AS (a * 2) STORED, c AS (a || 'x')); INSERT INTO g VALUES (4);"
        "CREATE TABLE s (n INTEGER, x ANY) STRICT; CREATE TABLE w (k TEXT PRIMARY KEY, v) WITHOUT ROWID;"
        "INSERT INTO w VALUES ('b', 1), ('a', 2);"
    )
    assert db.query("SELECT * FROM g").rows == [(4, 8, "4x")]
    assert db.query("SELECT k FROM w").rows == [("a",), ("b",)]
    with pytest.raises(SqlError, match="cannot store TEXT"):
        db.execute("INSERT INTO s VALUES ('x', 1)")


def test_autoincrement_never_takes_a_number_again(db: Database) -> None:
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, v)")
    db.execute("INSERT INTO t (v) VALUES (1), (2)")
    db.execute("DELETE FROM t")
    assert reopen(store_of(db)).run("INSERT INTO t (v) VALUES (3) RETURNING id").rows == [(3,)]


def test_upsert_and_returning(db: Database) -> None:
    db.execute("CREATE TABLE t (k PRIMARY KEY, n)")
    sql = "INSERT INTO t VALUES (?, 1) ON CONFLICT (k) DO UPDATE SET n = n + 1 RETURNING k, n"
    assert [db.query(sql, (key,)).rows for key in "aab"] == [[("a", 1)], [("a", 2)], [("b", 1)]]
    result = db.run("DELETE FROM t RETURNING n AS gone")
    assert (result.columns, result.rows, result.rows_affected) == (["gone"], [(2,), (1,)], 2)


def test_explain_is_answered_and_changes_nothing(db: Database) -> None:
    db.execute("CREATE TABLE t (n)")
    version = db.version
    assert db.query("EXPLAIN INSERT INTO t VALUES (1)").columns[:2] == ["addr", "opcode"]
    assert "SCAN t" in str(db.query("EXPLAIN QUERY PLAN SELECT * FROM t").rows)
    assert db.version == version


@pytest.mark.parametrize(
    "sql", ["SELECT 1; SELECT 2", "SELECT 'é'; -- x\n SELECT 2", "SELECT 1;;SELECT 2", "/* a */ SELECT 1; /* b */ x"]
)
def test_several_statements_in_one_call_are_refused(db: Database, sql: str) -> None:
    for attempt in (db.query, db.execute):
        with pytest.raises(Invalid, match="more than one statement"):
            attempt(sql)


@pytest.mark.parametrize(
    "sql",
    ["\n\n SELECT 1", "SELECT 1;", "SELECT 1 ; \n; -- end", "-- é\nSELECT 1 /* ; */", "\ufeffSELECT 1", ";;SELECT 1"],
)
def test_comments_white_space_and_semicolons_are_no_statements(db: Database, sql: str) -> None:
    for _ in range(2):
        assert db.query(sql).rows == [(1,)]


@pytest.mark.parametrize("sql", ["", "  \n", "-- nothing", ";", "/* x"])
def test_no_statement_is_invalid(db: Database, sql: str) -> None:
    for attempt in (db.query, db.execute):
        with pytest.raises(Invalid):
            attempt(sql)


def test_columns_follow_an_alter_made_anywhere(db: Database) -> None:
    """Names may repeat; a statement that was asked before is described anew."""
    db.run_script("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
    other = reopen(store_of(db))
    for database in (db, other):
        assert database.query("SELECT * FROM t").columns == ["a"]
    other.execute("ALTER TABLE t ADD COLUMN b DEFAULT 2")
    for database in (db, other):
        result = database.query("SELECT * FROM t", consistency="strong")
        assert (result.columns, result.rows) == (["a", "b"], [(1, 2)])
    db.execute("ALTER TABLE t RENAME COLUMN a TO c")
    assert db.query("SELECT * FROM t").columns == ["c", "b"]
    assert db.batch(["ALTER TABLE t DROP COLUMN c", "SELECT * FROM t"])[1].columns == ["b"]
    assert db.query("SELECT 1 AS x, 2 AS x, 3").columns == ["x", "x", "3"]


def test_two_who_create_different_tables_at_once_get_both() -> None:
    """The loser's SQLite believes in a schema that never was, under the same schema cookie as the winner's."""
    db = make()
    db.execute("CREATE TABLE base (n)")
    other = reopen(store_of(db))
    other.query("SELECT * FROM base")
    db.execute("CREATE TABLE mine (n)")
    db.execute("INSERT INTO mine VALUES ('winner')")
    other.execute("CREATE TABLE yours (n)")
    other.execute("INSERT INTO yours VALUES ('loser')")
    newest = reopen(store_of(db))
    assert newest.query("SELECT * FROM mine").rows == [("winner",)]
    assert newest.query("SELECT * FROM yours").rows == [("loser",)]


def test_a_batch_sees_the_columns_that_another_process_added(db: Database) -> None:
    """Statements of the writing connection and of transactions are described on the schema of their base."""
    db.run_script("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
    assert db.batch(["SELECT * FROM t"])[0].columns == ["a"]
    with db.transaction() as transaction:
        assert transaction.query("SELECT * FROM t").columns == ["a"]
    reopen(store_of(db)).execute("ALTER TABLE t ADD COLUMN b")
    with db.transaction() as transaction:
        assert transaction.query("SELECT * FROM t").columns == ["a", "b"]
    reopen(store_of(db)).execute("ALTER TABLE t ADD COLUMN c")
    assert db.batch(["DELETE FROM t", "SELECT * FROM t"])[1].columns == ["a", "b", "c"]
