"""The protocol itself over HTTP, field by field: `python raw_program.py URL`.

Left out are what sqld does not have (`extended_code`), what counts or times (`rows_read`, `rows_written`, `query_duration_ms`, `replication_index`) and what is
random (batons: only whether there is one).
"""

from __future__ import annotations

import base64
import http.client
import json
import sys
from typing import Any
from urllib.parse import urlsplit

from report import check, print_answers

LEFT_OUT = {"extended_code", "rows_read", "rows_written", "query_duration_ms", "replication_index"}
address = urlsplit(sys.argv[1])


def ask(path: str, body: Any = None, method: str = "POST") -> tuple[int, str, bytes]:
    """Status, content type and body of an answer."""
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    connection.request(method, path, data, {"content-type": "application/json"})
    answer = connection.getresponse()
    found = answer.status, answer.headers.get_content_type(), answer.read()
    connection.close()
    return found


def clean(value: Any) -> Any:
    """Without what is left out."""
    if isinstance(value, dict):
        return {
            name: name if name == "baton" and one else clean(one) for name, one in value.items() if name not in LEFT_OUT
        }
    return [clean(one) for one in value] if isinstance(value, list) else value


def answered(path: str, body: Any) -> Any:
    """An answer whole."""
    status, kind, data = ask(path, body)
    lines = data.decode().splitlines()
    try:
        found = [clean(json.loads(line)) for line in lines] if path.endswith("cursor") else clean(json.loads(data))
    except ValueError:
        found = data.decode()
    return {"status": status, "type": kind, "body": found}


def pipeline(*requests: Any, path: str = "/v3/pipeline") -> Any:
    """Requests on one stream, which is closed."""
    return answered(path, {"requests": [*requests, {"type": "close"}]})


def stmt(sql: str, *args: Any, **fields: Any) -> Any:
    """A statement."""
    return {"sql": sql, "args": [value(one) for one in args], **fields}


def value(one: Any) -> Any:
    """A value as the protocol writes it."""
    match one:
        case None:
            return {"type": "null"}
        case int():
            return {"type": "integer", "value": str(one)}
        case float():
            return {"type": "float", "value": one}
        case bytes():
            return {"type": "blob", "base64": base64.b64encode(one).decode()}
        case _:
            return {"type": "text", "value": one}


def execute(sql: str, *args: Any, **fields: Any) -> Any:
    """A request that runs a statement."""
    return {"type": "execute", "stmt": stmt(sql, *args, **fields)}


def batch(*steps: Any) -> Any:
    """A request that runs steps: texts, or (condition, text)."""
    found = [
        {"stmt": {"sql": one}} if isinstance(one, str) else {"condition": one[0], "stmt": {"sql": one[1]}}
        for one in steps
    ]
    return {"type": "batch", "batch": {"steps": found}}


def conversation(*turns: Any) -> Any:
    """Pipelines on one stream, each with the baton of the one before."""
    baton, found = None, []
    for requests in turns:
        _, _, data = ask("/v3/pipeline", {"baton": baton, "requests": list(requests)})
        body = json.loads(data)
        baton = body.get("baton")
        found.append([clean(one) for one in body["results"]])
    return found


OK0, NOT0 = {"type": "ok", "step": 0}, {"type": "not", "cond": {"type": "ok", "step": 0}}
AUTOCOMMIT = {"type": "is_autocommit"}

check("create", lambda: pipeline(execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE, c BLOB, d REAL)")))
check("insert", lambda: pipeline(execute("INSERT INTO t (b, c, d) VALUES (?, ?, ?)", "x", b"\x00\xff", 1.5)))
check("select", lambda: pipeline(execute("SELECT * FROM t")))
check("version 2", lambda: pipeline(execute("SELECT a, b FROM t"), path="/v2/pipeline"))
check("version 1: execute", lambda: answered("/v1/execute", {"stmt": stmt("SELECT a, b FROM t")}))
check("version 1: batch", lambda: answered("/v1/batch", {"batch": batch("SELECT 1", (NOT0, "SELECT 2"))["batch"]}))
check("version 1: error", lambda: answered("/v1/execute", {"stmt": stmt("SELECT * FROM nope")}))
check(
    "values", lambda: pipeline(execute("SELECT ?, ?, ?, ?, ?, ?", None, 2**63 - 1, 0.1, "gr\u00fc\u00df", b"", b"abc"))
)
check(
    "blob with padding",
    lambda: pipeline(
        {"type": "execute", "stmt": {"sql": "SELECT hex(?)", "args": [{"type": "blob", "base64": "YQ=="}]}}
    ),
)
check(
    "named arguments",
    lambda: pipeline(
        {
            "type": "execute",
            "stmt": {
                "sql": "SELECT :a, @b",
                "named_args": [{"name": "a", "value": value(1)}, {"name": "@b", "value": value("two")}],
            },
        }
    ),
)
check(
    "a named argument that the statement does not have",
    lambda: pipeline(
        {"type": "execute", "stmt": {"sql": "SELECT 1", "named_args": [{"name": "a", "value": value(1)}]}}
    ),
)
check("places for named parameters", lambda: pipeline(execute("SELECT :a, @b", 1, 2)))
check("rows that are not wanted", lambda: pipeline(execute("SELECT * FROM t", want_rows=False)))
check(
    "sequence",
    lambda: pipeline(
        {"type": "sequence", "sql": "INSERT INTO t (b) VALUES ('s1'); SELECT 1; INSERT INTO t (b) VALUES ('s2')"}
    ),
)
check(
    "sequence that breaks",
    lambda: pipeline(
        {"type": "sequence", "sql": "INSERT INTO t (b) VALUES ('s3'); INSERT INTO t (b) VALUES ('s3')"},
        execute("SELECT count(*) FROM t"),
    ),
)
check(
    "describe",
    lambda: pipeline({"type": "describe", "sql": "SELECT a, b AS named, d + 1 FROM t WHERE b = :b AND d > ?"}),
)
check("describe a write", lambda: pipeline({"type": "describe", "sql": "INSERT INTO t (b) VALUES ($b) RETURNING a"}))
check("describe an explain", lambda: pipeline({"type": "describe", "sql": "EXPLAIN QUERY PLAN SELECT 1"}))
check(
    "stored SQL",
    lambda: pipeline(
        {"type": "store_sql", "sql_id": 5, "sql": "SELECT ?"},
        {"type": "execute", "stmt": {"sql_id": 5, "args": [value(7)]}},
        {"type": "close_sql", "sql_id": 5},
    ),
)
check("stored SQL that is not there", lambda: pipeline({"type": "execute", "stmt": {"sql_id": 9}}))
check(
    "get_autocommit",
    lambda: conversation(
        [{"type": "get_autocommit"}, execute("BEGIN"), {"type": "get_autocommit"}],
        [{"type": "get_autocommit"}, execute("ROLLBACK"), {"type": "get_autocommit"}],
    ),
)
check(
    "batch",
    lambda: pipeline(
        batch("INSERT INTO t (b) VALUES ('b1')", (OK0, "SELECT b FROM t WHERE b = 'b1'"), (NOT0, "SELECT 2"))
    ),
)
check(
    "batch with an error",
    lambda: pipeline(
        batch(
            "INSERT INTO t (b) VALUES ('b1')",
            (OK0, "SELECT 1"),
            ({"type": "error", "step": 0}, "SELECT 3"),
            ({"type": "or", "conds": [OK0, AUTOCOMMIT]}, "SELECT 4"),
            ({"type": "and", "conds": []}, "SELECT 5"),
        )
    ),
)
check(
    "batch of a client",
    lambda: pipeline(
        batch(
            "BEGIN IMMEDIATE",
            (OK0, "INSERT INTO t (b) VALUES ('b2')"),
            ({"type": "ok", "step": 1}, "INSERT INTO t (b) VALUES ('b1')"),
            ({"type": "ok", "step": 2}, "COMMIT"),
            ({"type": "not", "cond": {"type": "ok", "step": 3}}, "ROLLBACK"),
            (AUTOCOMMIT, "SELECT count(*) FROM t WHERE b = 'b2'"),
        )
    ),
)
check(
    "cursor",
    lambda: answered(
        "/v3/cursor",
        {
            "batch": batch(
                "SELECT a, b FROM t ORDER BY a LIMIT 2",
                (OK0, "INSERT INTO t (b) VALUES ('c1') RETURNING b"),
                (NOT0, "SELECT 1"),
            )["batch"]
        },
    ),
)
check("cursor of one", lambda: answered("/v3/cursor", {"batch": batch("SELECT b FROM t ORDER BY a LIMIT 2")["batch"]}))
check(
    "cursor with an error", lambda: answered("/v3/cursor", {"batch": batch("SELECT * FROM nope", "SELECT 1")["batch"]})
)
check("a stream is left open", lambda: answered("/v3/pipeline", {"requests": [execute("BEGIN")]}))
check(
    "a transaction over requests",
    lambda: conversation(
        [execute("BEGIN IMMEDIATE"), execute("INSERT INTO t (b) VALUES ('tx')")],
        [execute("SELECT count(*) FROM t WHERE b = 'tx'")],
        [execute("ROLLBACK"), execute("SELECT count(*) FROM t WHERE b = 'tx'")],
    ),
)
check(
    "errors of control",
    lambda: conversation(
        [execute("COMMIT"), execute("ROLLBACK"), execute("BEGIN"), execute("BEGIN"), execute("ROLLBACK")]
    ),
)
check(
    "a broken deferred key",
    lambda: [
        pipeline(
            {
                "type": "sequence",
                "sql": "CREATE TABLE p (i INTEGER PRIMARY KEY); CREATE TABLE k (p REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
            }
        ),
        conversation([execute("BEGIN"), execute("INSERT INTO k VALUES (5)"), execute("COMMIT")]),
    ],
)
check("requests after an error", lambda: pipeline(execute("SELECT * FROM nope"), execute("SELECT 1")))
check(
    "a condition that looks ahead",
    lambda: answered("/v3/pipeline", {"requests": [batch(({"type": "ok", "step": 1}, "SELECT 1"), "SELECT 2")]}),
)
check("an invalid baton", lambda: answered("/v3/pipeline", {"baton": "nonsense", "requests": []}))
check("no JSON", lambda: answered("/v3/pipeline", b"{"))
check("a request that is not known", lambda: answered("/v3/pipeline", {"requests": [{"type": "dance"}]}))
check("what is supported", lambda: [ask(path, method="GET")[0] for path in ("/v2", "/v3", "/health")])
print_answers()
