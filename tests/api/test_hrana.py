"""Hrana over HTTP, as everyone serves it: requests without a baton."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.conftest import Call, beyond_the_edge

OK_CLOSE = {"type": "ok", "response": {"type": "close"}}


@pytest.fixture
def at(call: Call) -> str:
    """The path of a database with a table."""
    assert call("PUT", "/db/d").status == 201
    assert call("POST", "/db/d/execute", {"sql": "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE)"}).status == 200
    return "/db/d"


def execute(sql: str, *args: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "execute", "stmt": {"sql": sql, "args": list(args), **fields}}


def pipeline(call: Call, at: str, *requests: Any, version: str = "v2") -> list[Any]:
    answered = call("POST", f"{at}/{version}/pipeline", {"baton": None, "requests": requests})
    assert (answered.status, answered.headers["content-type"]) == (200, "application/json")
    return list(answered.json["results"])


def batch(call: Call, at: str, *steps: str | tuple[str, Any]) -> dict[str, Any]:
    body = [
        {"stmt": {"sql": step}} if isinstance(step, str) else {"stmt": {"sql": step[0]}, "condition": step[1]}
        for step in steps
    ]
    [found] = pipeline(call, at, {"type": "batch", "batch": {"steps": body}}, version="v3")
    return dict(found["response"]["result"])


def test_a_read_is_answered_with_every_field(call: Call, at: str) -> None:
    """Twice: the second time its statement is known."""
    for _ in range(2):
        assert pipeline(call, at, execute("SELECT a, 1.5 AS x, ? FROM t WHERE a = 1"), {"type": "close"})[0][
            "type"
        ] == ("error")
        result = {
            "cols": [{"name": "a", "decltype": "INTEGER"}, {"name": "?", "decltype": None}],
            "rows": [],
            "affected_row_count": 0,
            "last_insert_rowid": None,
            "replication_index": None,
            "rows_read": 0,
            "rows_written": 0,
            "query_duration_ms": 0.0,
        }
        found = pipeline(call, at, execute("SELECT a, ? FROM t", {"type": "null"}), {"type": "close"})
        assert found == [{"type": "ok", "response": {"type": "execute", "result": result}}, OK_CLOSE]


def test_a_write_is_answered_with_its_rowid_and_a_read_with_none(call: Call, at: str) -> None:
    found = pipeline(
        call,
        at,
        execute("INSERT INTO t (b) VALUES ('x') RETURNING b"),
        execute("UPDATE t SET b = 'y'"),
        execute("INSERT OR IGNORE INTO t VALUES (1, 'z')"),
        execute("SELECT b FROM t"),
    )
    results = [one["response"]["result"] for one in found]
    assert [(one["affected_row_count"], one["last_insert_rowid"], one["rows"]) for one in results] == [
        (1, "1", [[{"type": "text", "value": "x"}]]),
        (1, None, []),
        (0, "1", []),
        (0, None, [[{"type": "text", "value": "y"}]]),
    ]


def test_rows_that_are_not_wanted_are_not_sent(call: Call, at: str) -> None:
    [found] = pipeline(call, at, execute("SELECT 1 AS one", want_rows=False))
    result = found["response"]["result"]
    assert (result["cols"], result["rows"]) == ([{"name": "one", "decltype": None}], [])


@pytest.mark.parametrize(
    ("sql", "code", "message"),
    [
        ("INSERT INTO t VALUES (1, 'a'), (2, 'a')", "SQLITE_CONSTRAINT", "SQLite error: UNIQUE constraint failed: t.b"),
        ("SELECT * FROM nope", "SQLITE_UNKNOWN", "SQLite error: no such table: nope"),
        ("SELECT nope FROM t", "SQL_INPUT_ERROR", "SQL input error: no such column: nope (at offset 7)"),
        ("SELEC 1", "SQL_PARSE_ERROR", 'SQL string could not be parsed: near "SELEC": syntax error'),
        ("", "SQL_NO_STATEMENT", "SQL string does not contain any statement"),
        ("SELECT 1; SELECT 2", "SQL_MANY_STATEMENTS", "SQL string contains more than one statement"),
        ("COMMIT", "SQLITE_UNKNOWN", "SQLite error: cannot commit - no transaction is active"),
        ("RELEASE x", "SQLITE_UNKNOWN", "SQLite error: no such savepoint: x"),
        ("ATTACH 'x' AS y", "BLOCKED", "Operation was blocked: ATTACH is not allowed: SQL stays inside its database"),
    ],
)
def test_errors_have_the_words_and_codes_of_sqld(call: Call, at: str, sql: str, code: str, message: str) -> None:
    [found] = pipeline(call, at, execute(sql))
    error = found["error"]
    assert (found["type"], error["code"], error["message"]) == ("error", code, message)


def test_a_constraint_says_which_one(call: Call, at: str) -> None:
    [found] = pipeline(call, at, execute("INSERT INTO t VALUES (1, 'a'), (2, 'a')"))
    assert found["error"]["extended_code"] == "SQLITE_CONSTRAINT_UNIQUE"


@pytest.mark.parametrize("args", [[], [{"type": "null"}, {"type": "null"}]])
def test_arguments_that_do_not_fit_are_said_so(call: Call, at: str, args: list[Any]) -> None:
    [found] = pipeline(call, at, execute("SELECT ?", *args))
    assert found["error"]["code"] == "ARGS_INVALID"


def test_an_error_does_not_keep_the_next_request_from_running(call: Call, at: str) -> None:
    kinds = [one["type"] for one in pipeline(call, at, execute("SELEC"), execute("SELECT 1"), {"type": "close"})]
    assert kinds == ["error", "ok", "ok"]


WRITE: list[str | tuple[str, Any]] = [
    "BEGIN IMMEDIATE",
    ("INSERT INTO t (b) VALUES ('x')", {"type": "ok", "step": 0}),
    ("INSERT INTO t (b) VALUES ('y')", {"type": "ok", "step": 1}),
    ("COMMIT", {"type": "ok", "step": 2}),
    ("ROLLBACK", {"type": "not", "cond": {"type": "ok", "step": 3}}),
]


def test_a_clients_batch_is_one_commit(call: Call, at: str) -> None:
    before = call("GET", f"{at}/status").json["version"]
    found = batch(call, at, *WRITE)
    assert [one and one["last_insert_rowid"] for one in found["step_results"]] == [None, "1", "2", None, None]
    assert found["step_errors"] == [None] * 5
    assert call("GET", f"{at}/status").json["version"] == before + 1


def test_a_clients_batch_that_fails_leaves_nothing(call: Call, at: str) -> None:
    steps = [*WRITE]
    steps[2] = ("INSERT INTO t (b) VALUES ('x')", {"type": "ok", "step": 1})
    found = batch(call, at, *steps)
    assert [bool(one) for one in found["step_results"]] == [True, True, False, False, True]
    assert [one and one["extended_code"] for one in found["step_errors"]] == [
        None, None, "SQLITE_CONSTRAINT_UNIQUE", None, None,
    ]  # fmt: skip
    [rows] = pipeline(call, at, execute("SELECT count(*) FROM t"))
    assert rows["response"]["result"]["rows"] == [[{"type": "integer", "value": "0"}]]


def test_a_migration_has_its_foreign_keys_off_and_the_stream_has_them_on_afterwards(call: Call, at: str) -> None:
    call("POST", f"{at}/execute", {"sql": "CREATE TABLE c (t REFERENCES t)"})
    found = batch(
        call,
        at,
        "PRAGMA foreign_keys=off",
        "BEGIN DEFERRED",
        ("INSERT INTO c VALUES (99)", {"type": "ok", "step": 1}),
        ("COMMIT", {"type": "ok", "step": 2}),
        ("ROLLBACK", {"type": "not", "cond": {"type": "ok", "step": 3}}),
        "PRAGMA foreign_keys=on",
        "PRAGMA foreign_keys",
        "INSERT INTO c VALUES (98)",
    )
    assert found["step_results"][6]["rows"] == [[{"type": "integer", "value": "1"}]]
    assert [one and one["code"] for one in found["step_errors"]] == [None] * 7 + ["SQLITE_CONSTRAINT"]


def test_a_reading_transaction_refuses_to_write(call: Call, at: str) -> None:
    found = batch(call, at, "BEGIN TRANSACTION READONLY", "SELECT 1", "INSERT INTO t (b) VALUES ('x')", "COMMIT")
    assert [one and one["code"] for one in found["step_errors"]] == [None, None, "SQLITE_READONLY", None]


def test_a_sequence_ends_at_its_first_error_and_what_came_before_stays(call: Call, at: str) -> None:
    sql = "INSERT INTO t (b) VALUES ('1'); INSERT INTO nope VALUES (1); INSERT INTO t (b) VALUES ('2');"
    found = pipeline(call, at, {"type": "sequence", "sql": sql}, execute("SELECT b FROM t"))
    assert found[0]["error"]["message"] == "SQLite error: no such table: nope"
    assert found[1]["response"]["result"]["rows"] == [[{"type": "text", "value": "1"}]]


def test_stored_sql_is_run_by_its_number(call: Call, at: str) -> None:
    by_number = {"type": "execute", "stmt": {"sql_id": 7}}
    store = {"type": "store_sql", "sql_id": 7, "sql": "SELECT 1"}
    found = pipeline(call, at, store, by_number, {"type": "close_sql", "sql_id": 7}, by_number)
    assert [one["type"] for one in found] == ["ok", "ok", "ok", "error"]
    assert found[3]["error"]["code"] == "SQL_NOT_FOUND"


def test_a_statement_is_described(call: Call, at: str) -> None:
    [found, begin] = pipeline(
        call, at, {"type": "describe", "sql": "SELECT a, :x FROM t"}, {"type": "describe", "sql": "BEGIN"}, version="v3"
    )
    assert found["response"]["result"] == {
        "params": [{"name": ":x"}],
        "cols": [{"name": "a", "decltype": "INTEGER"}, {"name": ":x", "decltype": None}],
        "is_explain": False,
        "is_readonly": True,
    }
    assert begin["response"]["result"]["is_readonly"] is True


def test_autocommit_is_told(call: Call, at: str) -> None:
    found = pipeline(
        call, at, execute("BEGIN"), {"type": "get_autocommit"}, execute("ROLLBACK"), {"type": "get_autocommit"}
    )
    assert [found[number]["response"]["is_autocommit"] for number in (1, 3)] == [False, True]


def test_a_cursor_is_lines(call: Call, at: str) -> None:
    steps = [
        {"stmt": {"sql": "SELECT 1 AS a UNION SELECT 2"}},
        {"stmt": {"sql": "INSERT INTO t (b) VALUES ('x')"}},
        {"stmt": {"sql": "SELECT * FROM nope"}},
        {"stmt": {"sql": "SELECT 3"}, "condition": {"type": "ok", "step": 2}},
    ]
    answered = call("POST", f"{at}/v3/cursor", {"baton": None, "batch": {"steps": steps}})
    lines = [json.loads(line) for line in answered.body.splitlines()]
    assert lines == [
        {"baton": None, "base_url": None},
        {"type": "step_begin", "step": 0, "cols": [{"name": "a", "decltype": None}]},
        {"type": "row", "row": [{"type": "integer", "value": "1"}]},
        {"type": "row", "row": [{"type": "integer", "value": "2"}]},
        {"type": "step_end", "affected_row_count": 0, "last_insert_rowid": None},
        {"type": "step_begin", "step": 1, "cols": []},
        {"type": "step_end", "affected_row_count": 1, "last_insert_rowid": 1},
        {
            "type": "step_error",
            "step": 2,
            "error": {"message": "SQLite error: no such table: nope", "code": "SQLITE_UNKNOWN"},
        },
        {"type": "replication_index", "replication_index": None},
    ]


@beyond_the_edge
@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT 1", 1),
        ("WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 20000) SELECT n FROM r", 20_000),
        ("INSERT INTO t (b) VALUES ('x') RETURNING a", 1),
    ],
)
def test_a_cursor_of_one_statement_has_all_its_rows(call: Call, at: str, sql: str, rows: int) -> None:
    answered = call("POST", f"{at}/v3/cursor", {"batch": {"steps": [{"stmt": {"sql": sql}}]}})
    kinds = [json.loads(line).get("type") for line in answered.body.splitlines()]
    assert kinds == [None, "step_begin", *["row"] * rows, "step_end", "replication_index"]


def test_version_1_has_single_requests(call: Call, at: str) -> None:
    assert call("POST", f"{at}/v1/execute", {"stmt": {"sql": "SELECT 1"}}).json["result"]["rows"] == [
        [{"type": "integer", "value": "1"}]
    ]
    assert call("POST", f"{at}/v1/batch", {"batch": {"steps": []}}).json["result"]["step_results"] == []
    wrong = call("POST", f"{at}/v1/execute", {"stmt": {"sql": "SELECT * FROM nope"}})
    assert (wrong.status, wrong.json) == (
        400,
        {"message": "SQLite error: no such table: nope", "code": "SQLITE_UNKNOWN"},
    )


@pytest.mark.parametrize(
    "body", [b"x", b"[]", b"{}", b'{"requests": [{"type": "nope"}]}', b'{"baton": 1, "requests": []}']
)
def test_a_request_that_breaks_the_protocol_is_400_and_says_why(call: Call, at: str, body: bytes) -> None:
    answered = call("POST", f"{at}/v2/pipeline", body)
    assert (answered.status, answered.headers["content-type"]) == (400, "application/json")
    assert answered.json["error"] == answered.json["message"]
    assert answered.json["code"] == "HRANA_PROTO_ERROR"


def test_a_baton_of_no_stream_is_refused(call: Call, at: str) -> None:
    answered = call("POST", f"{at}/v2/pipeline", {"baton": "0.a.b", "requests": []})
    assert (answered.status, answered.json["code"]) == (404, "STREAM_EXPIRED")


def test_versions_are_offered(call: Call, at: str) -> None:
    assert [call("GET", f"{at}/{version}").status for version in ("v1", "v2", "v3")] == [200, 200, 200]
    assert call("GET", f"{at}/v2/pipeline").status == 405


def test_a_database_that_does_not_exist_is_404(call: Call, at: str) -> None:
    answered = call("POST", "/db/nope/v2/pipeline", {"requests": []})
    assert (answered.status, answered.json["code"]) == (404, "NOT_FOUND")


def test_without_a_name_the_url_needs_a_slash_at_its_end(call: Call, at: str) -> None:
    answered = call("POST", "/v2/pipeline", {"requests": []})
    assert answered.status == 404
    assert "/db/NAME/" in answered.json["message"]


def test_libsqls_own_alteration_is_done_alone_and_in_a_batch(call: Call, at: str) -> None:
    sql = "ALTER TABLE t ALTER COLUMN b TO b TEXT UNIQUE DEFAULT 'x'"
    found = pipeline(call, at, execute(sql), {"type": "sequence", "sql": f"SELECT 1; {sql}; SELECT 2"})
    assert [one["type"] for one in found] == ["ok", "ok"]
    assert found[0]["response"]["result"]["affected_row_count"] == 0
    [described] = pipeline(call, at, {"type": "describe", "sql": sql})
    assert described["response"]["result"]["is_readonly"] is False


@pytest.mark.parametrize(
    "sql", ["DROP TABLE virke_x", 'drop table if exists main."Virke_x"', "ALTER TABLE [virke_x] RENAME TO x"]
)
def test_tables_of_virkes_own_are_not_taken_away(call: Call, at: str, sql: str) -> None:
    assert call("POST", "/db/d/execute", {"sql": "CREATE TABLE virke_x (n)"}).status == 200
    batch = {
        "type": "batch",
        "batch": {"steps": [{"stmt": {"sql": one}} for one in ("INSERT INTO t (b) VALUES ('y')", sql)]},
    }
    alone, sequence, steps = pipeline(call, at, execute(sql), {"type": "sequence", "sql": f"SELECT 1; {sql}"}, batch)
    errors = [alone["error"], sequence["error"], steps["response"]["result"]["step_errors"][1]]
    assert [one["code"] for one in errors] == ["BLOCKED"] * 3
    assert all("tablesFilter" in one["message"] for one in errors)
    assert call("POST", "/db/d/query", {"sql": "SELECT * FROM virke_x"}).status == 200


def test_sqlites_own_alterations_are_done(call: Call, at: str) -> None:
    found = pipeline(
        call, at, execute("ALTER TABLE t RENAME COLUMN b TO c"), execute('ALTER TABLE t RENAME TO "alter"')
    )
    assert [one["type"] for one in found] == ["ok", "ok"]
