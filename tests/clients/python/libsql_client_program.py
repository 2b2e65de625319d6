"""The package `libsql-client`: `python libsql_client_program.py URL`, with http: or ws:."""

from __future__ import annotations

import sys
from typing import Any

import libsql_client
from report import caught, check, print_answers

client = libsql_client.create_client_sync(sys.argv[1])


def whole(found: Any) -> Any:
    """A result with its rows by place and by name."""
    rows = [{"places": list(row.astuple()), "names": row.asdict()} for row in found.rows]
    return {
        "columns": list(found.columns),
        "rows": rows,
        "affected": found.rows_affected,
        "id": found.last_insert_rowid,
    }


def run(sql: str, args: Any = None) -> Any:
    """One statement's result."""
    return whole(client.execute(sql, args))


def transaction() -> Any:
    """One that is rolled back, and one that is committed."""
    found = []
    for ending in ("rollback", "commit"):
        tx = client.transaction()
        found.append(whole(tx.execute("INSERT INTO t (b) VALUES (?)", [ending])))
        getattr(tx, ending)()
        found.append(run("SELECT count(*) FROM t"))
    return found


check(
    "batch",
    lambda: [
        whole(one)
        for one in client.batch(
            [
                "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE, c BLOB)",
                "INSERT INTO t (b) VALUES ('x')",
                "SELECT * FROM t",
            ]
        )
    ],
)
check("insert", lambda: run("INSERT INTO t (b, c) VALUES (?, ?)", ["y", b"\x00\xff"]))
check("select", lambda: run("SELECT * FROM t ORDER BY a"))
check("named arguments", lambda: run("SELECT :a AS x, $b AS y", {"a": 1, "b": "two"}))
check("values", lambda: run("SELECT ?, ?, ?, ?, ?", [2**63 - 1, None, "gr\u00fc\u00df", b"", 0.5]))
check("update", lambda: run("UPDATE t SET c = NULL"))
check("returning", lambda: run("INSERT INTO t (b) VALUES ('r') RETURNING a"))
check("refused: unique", lambda: run("INSERT INTO t (b) VALUES ('x')"))
check("refused: no such table", lambda: run("SELECT * FROM nope"))
check(
    "refused: batch that breaks",
    lambda: client.batch(["INSERT INTO t (b) VALUES ('gone')", "INSERT INTO t (b) VALUES ('x')"]),
)
check("nothing of it is there", lambda: run("SELECT count(*) FROM t"))
check("transaction", lambda: [caught(transaction)])
check("after it", lambda: run("SELECT b FROM t ORDER BY a"))
client.close()
print_answers()
