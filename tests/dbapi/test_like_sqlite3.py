"""Whatever a program does with a connection, it finds what it finds with one of `sqlite3`: Hypothesis writes the programs."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from virke import dbapi

Step = tuple[str, Any]
Found = tuple[object, ...]

STATEMENTS: Final = (
    "INSERT INTO t (b) VALUES ('x')",
    "INSERT INTO t (b) VALUES ('y'), ('z')",
    "INSERT INTO t (a, b) VALUES (1, 'again')",
    "INSERT OR ROLLBACK INTO t (a, b) VALUES (1, 'again')",
    "INSERT OR IGNORE INTO t (a, b) VALUES (1, 'again')",
    "INSERT OR REPLACE INTO t (a, b) VALUES (1, 'again')",
    "INSERT INTO t (b) VALUES ('r') RETURNING a, b",
    "REPLACE INTO t (a, b) VALUES (2, 'replaced')",
    "UPDATE t SET b = b || '!' WHERE a < 3",
    "UPDATE t SET b = 'none' WHERE a < 0",
    "DELETE FROM t WHERE a = 2",
    "DELETE FROM t",
    "WITH n(v) AS (SELECT 7) INSERT INTO t (b) SELECT v FROM n",
    "WITH n(v) AS (SELECT 7) SELECT v FROM n",
    "SELECT a, b FROM t ORDER BY a",
    "SELECT count(*) AS n FROM t",
    "VALUES (1, 2), (3, 4)",
    "SELECT * FROM missing",
    "CREATE TABLE u (c)",
    "DROP TABLE u",
    "ALTER TABLE t ADD COLUMN d DEFAULT 5",
    "INSERT INTO u VALUES (1)",
    "SELECT * FROM u",
    "PRAGMA user_version = 3",
    "PRAGMA user_version",
    "BEGIN",
    "BEGIN IMMEDIATE",
    "COMMIT",
    "END TRANSACTION",
    "ROLLBACK",
    "SAVEPOINT one",
    "SAVEPOINT Two",
    "RELEASE one",
    "RELEASE SAVEPOINT two",
    "ROLLBACK TO one",
    "ROLLBACK TRANSACTION TO SAVEPOINT two",
    "",
    "-- nothing",
    " /* first */ INSERT INTO t (b) VALUES ('c'); -- last",
    "SELECT 1; SELECT 2",
    "INSERT INTO t (b) VALUES (",
)
SCRIPTS: Final = (
    "INSERT INTO t (b) VALUES ('s'); DELETE FROM t WHERE a = 1;",
    "CREATE TABLE IF NOT EXISTS u (c); INSERT INTO u VALUES (2); SELECT 1",
    "BEGIN; INSERT INTO t (b) VALUES ('s'); COMMIT;",
    "BEGIN; INSERT INTO t (b) VALUES ('s'); ROLLBACK; DELETE FROM t WHERE a > 3;",
    "BEGIN; INSERT INTO t (b) VALUES ('open');",
    "SAVEPOINT one; DELETE FROM t; ROLLBACK TO one; RELEASE one",
    "",
)
STEPS: Final = st.one_of(
    st.tuples(st.just("execute"), st.sampled_from(STATEMENTS)),
    st.tuples(st.just("script"), st.sampled_from(SCRIPTS)),
    st.tuples(st.just("many"), st.integers(0, 3)),
    st.tuples(st.just("level"), st.sampled_from(["", "DEFERRED", "IMMEDIATE", "EXCLUSIVE", None])),
    st.tuples(st.sampled_from(["commit", "rollback", "block", "failing block"]), st.none()),
)


class Failing(Exception):
    """Ends a `with` block."""


def run(connection: Any, step: Step) -> Any:
    """Do one step; the cursor that it left, if any."""
    match step:
        case "execute", sql:
            return connection.execute(sql)
        case "script", sql:
            return connection.executescript(sql)
        case "many", count:
            return connection.executemany("INSERT INTO t (b) VALUES (?)", [(str(n),) for n in range(count)])
        case "level", level:
            connection.isolation_level = level
        case "block", _:
            with connection:
                connection.execute("INSERT INTO t (b) VALUES ('block')")
        case "failing block", _:
            with connection:
                connection.execute("INSERT INTO t (b) VALUES ('block')")
                raise Failing
        case name, _:
            getattr(connection, name)()
    return None


def found(connection: Any, step: Step) -> Found:
    """What a program finds after a step."""
    try:
        cursor = run(connection, step)
        rows = cursor and cursor.fetchall()
        seen: Found = cursor and (rows, cursor.rowcount, cursor.description)
        if step[0] == "execute" and cursor.rowcount > 0 and "INSERT" in str(step[1]):
            seen = (*seen, cursor.lastrowid)
    except Failing:
        seen = ("Failing",)
    except sqlite3.Error as error:
        base = next(one for one in type(error).__mro__ if one.__module__ == "sqlite3")
        seen = (base.__name__,)
    state = connection.in_transaction, connection.isolation_level
    return seen, state, connection.execute("SELECT a, b FROM t ORDER BY a").fetchall()


@settings(max_examples=60)
@given(st.lists(STEPS, max_size=14))
def test_every_program_finds_what_it_finds_with_sqlite3(steps: list[Step]) -> None:
    ours, theirs = dbapi.connect(":memory:"), sqlite3.connect(":memory:")
    try:
        for connection in (ours, theirs):
            connection.executescript("CREATE TABLE t (a INTEGER PRIMARY KEY, b); INSERT INTO t (b) VALUES ('first')")
        for number, step in enumerate(steps):
            assert found(ours, step) == found(theirs, step), steps[: number + 1]
    finally:
        ours.close()
        theirs.close()
