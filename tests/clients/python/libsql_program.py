"""The package `libsql`, shaped like `sqlite3`: `python libsql_program.py URL`."""

from __future__ import annotations

import sys
from typing import Any

import libsql
from report import caught, check, print_answers

connection = libsql.connect(sys.argv[1], auth_token="none", isolation_level=None)


def rows(sql: str, params: Any = ()) -> Any:
    """Its rows, and what its cursor says."""
    cursor = connection.execute(sql, params)
    found = cursor.fetchall() or []
    names = [one[0] for one in cursor.description] if cursor.description else None
    return {"rows": [list(row) for row in found], "names": names, "rowcount": cursor.rowcount, "id": cursor.lastrowid}


def in_transaction() -> Any:
    """BEGIN, a row, ROLLBACK; the same and COMMIT."""
    before = rows("SELECT count(*) FROM t")["rows"]
    connection.execute("BEGIN")
    connection.execute("INSERT INTO t (b) VALUES ('gone')")
    inside = connection.in_transaction
    connection.execute("ROLLBACK")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO t (b) VALUES ('kept')")
    connection.execute("COMMIT")
    return [before, inside, connection.in_transaction, rows("SELECT count(*) FROM t")["rows"]]


def commits_by_method() -> Any:
    """A connection that begins transactions by itself."""
    other = libsql.connect(sys.argv[1], auth_token="none")
    other.execute("INSERT INTO t (b) VALUES ('first')")
    other.rollback()
    other.execute("INSERT INTO t (b) VALUES ('second')")
    other.commit()
    return rows("SELECT b FROM t WHERE b IN ('first', 'second')")


check(
    "executescript",
    lambda: (
        connection.executescript(
            "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE, c BLOB, d REAL); CREATE TABLE u (n);"
        )
        and None
    ),
)
check("insert", lambda: rows("INSERT INTO t (b, c, d) VALUES (?, ?, ?)", ("x", b"\x00\xff", 1.5)))
check("select", lambda: rows("SELECT * FROM t"))
check("select nothing", lambda: rows("SELECT * FROM t WHERE a < 0"))
check("values", lambda: rows("SELECT ?, ?, ?, ?, ?", (2**63 - 1, -(2**63), None, "gr\u00fc\u00df", b"")))
check("real", lambda: rows("SELECT 0.1, 1e100, typeof(?)", (1,)))
check(
    "executemany",
    lambda: connection.executemany("INSERT INTO u VALUES (?)", [(1,), (2,), (3,)]) and rows("SELECT count(*) FROM u"),
)
check("update", lambda: rows("UPDATE u SET n = n + 1"))
check("returning", lambda: rows("INSERT INTO t (b) VALUES ('r') RETURNING a, b"))
check("transaction", in_transaction)
check("commit()", commits_by_method)
check("refused: syntax", lambda: rows("SELEKT"))
check("refused: no such table", lambda: rows("SELECT * FROM nope"))
check("refused: unique", lambda: rows("INSERT INTO t (b) VALUES ('x')"))
check(
    "an error in a transaction",
    lambda: [
        connection.execute("BEGIN") and None,
        caught(lambda: rows("INSERT INTO t (b) VALUES ('x')")),
        connection.execute("ROLLBACK") and None,
    ],
)
check(
    "many rows",
    lambda: len(
        rows("WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 3000) SELECT v FROM n")["rows"]
    ),
)
print_answers()
