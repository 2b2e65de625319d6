"""Virke's own routes, on everything that serves them."""

from __future__ import annotations

import pytest

from tests.api.conftest import Call, in_memory


@pytest.fixture
def shop(call: Call) -> Call:
    """A server with a database `shop` that has two rows."""
    assert call("PUT", "/db/shop").status == 201
    statements = [
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE)",
        {"sql": "INSERT INTO item (name) VALUES (?), (?)", "params": ["pen", "ink"]},
    ]
    assert call("POST", "/db/shop/batch", {"statements": statements}).status == 200
    return call


def test_query_answers_columns_rows_and_a_bookmark(shop: Call) -> None:
    for _ in range(3):  # cold, and then from memory
        found = shop("POST", "/db/shop/query", {"sql": "SELECT * FROM item WHERE id > ?", "params": [1]})
        assert found.status == 200
        assert (found.json["columns"], found.json["rows"], found.json["rows_affected"]) == (
            ["id", "name"],
            [[2, "ink"]],
            0,
        )
        assert found.headers["virke-bookmark"] == found.json["bookmark"]


@pytest.mark.parametrize("route", ["query", "execute"])
def test_either_route_runs_a_write_and_the_next_read_sees_it(shop: Call, route: str) -> None:
    for name in ("cup", "mug"):
        sql = "INSERT INTO item (name) VALUES (:name) RETURNING id, name"
        found = shop("POST", f"/db/shop/{route}", {"sql": sql, "params": {":name": name}})
        assert (found.status, found.json["rows"][0][1], found.json["rows_affected"]) == (200, name, 1)
        assert found.json["last_insert_rowid"] == found.json["rows"][0][0]
        seen = shop("POST", "/db/shop/query", {"sql": "SELECT name FROM item ORDER BY id DESC LIMIT 1"})
        assert seen.json["rows"] == [[name]]


def test_a_batch_is_all_or_nothing(shop: Call) -> None:
    bad = {"statements": ["INSERT INTO item (name) VALUES ('new')", "INSERT INTO item (name) VALUES ('pen')"]}
    found = shop("POST", "/db/shop/batch", bad)
    assert (found.status, found.json["error"]["code"], found.json["error"]["sqlite_code"]) == (
        400,
        "sql_error",
        "SQLITE_CONSTRAINT_UNIQUE",
    )
    assert shop("POST", "/db/shop/query", {"sql": "SELECT count(*) FROM item"}).json["rows"] == [[2]]


def test_a_write_with_a_key_is_done_once(shop: Call) -> None:
    body = {"sql": "INSERT INTO item (name) VALUES (hex(randomblob(8))) RETURNING name"}
    first = shop("POST", "/db/shop/execute", body, idempotency_key="k")
    again = shop("POST", "/db/shop/execute", body, idempotency_key="k")
    assert (first.status, first.json["rows"]) == (200, again.json["rows"])
    other = shop("POST", "/db/shop/execute", {"sql": "DELETE FROM item"}, idempotency_key="k")
    assert (other.status, other.json["error"]["code"]) == (400, "invalid")


@in_memory
@pytest.mark.parametrize(
    "value",
    [
        None,
        0,
        -1,
        1.5,
        "a\x00ü",
        {"int64": "9223372036854775807"},
        {"base64": "AP8="},
        {"real": "Infinity"},
        {"real": "-Infinity"},
        {"text_base64": "YeLY/w=="},
    ],
)
def test_every_value_comes_back_as_it_was_sent(shop: Call, value: object) -> None:
    for _ in range(2):
        found = shop("POST", "/db/shop/query", {"sql": "SELECT ?", "params": [value]})
        assert (found.status, found.json["rows"]) == (200, [[value]])


@in_memory
@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ({"real": "inf"}, {"real": "Infinity"}),
        ({"real": "-inf"}, {"real": "-Infinity"}),
        ({"real": "NaN"}, None),
        ({"real": "1.5"}, 1.5),
        ({"int64": "7"}, 7),
        ({"int64": "9007199254740993"}, {"int64": "9007199254740993"}),
        ({"text_base64": "w7w="}, "ü"),
        (True, 1),
    ],
)
def test_a_value_has_one_form_in_answers(shop: Call, sent: object, answered: object) -> None:
    assert shop("POST", "/db/shop/query", {"sql": "SELECT ?", "params": [sent]}).json["rows"] == [[answered]]


def test_text_that_is_not_utf_8_is_stored_and_read(shop: Call) -> None:
    raw = {"text_base64": "/w=="}
    inserted = shop("POST", "/db/shop/execute", {"sql": "INSERT INTO item (name) VALUES (?)", "params": [raw]})
    assert (inserted.status, inserted.json["rows_affected"]) == (200, 1)
    for _ in range(3):
        found = shop("POST", "/db/shop/query", {"sql": "SELECT name FROM item ORDER BY id"})
        assert found.json["rows"] == [["pen"], ["ink"], [raw]]
    lines = shop(
        "POST", "/db/shop/query", {"sql": "SELECT name FROM item ORDER BY id"}, accept="application/x-ndjson"
    ).lines
    assert lines[1:-1] == [["pen"], ["ink"], [raw]]
    batch = shop("POST", "/db/shop/batch", {"statements": [{"sql": "SELECT ? = x'ff'", "params": [raw]}]})
    assert batch.json[0]["rows"] == [[0]]


@in_memory
@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"int64": "1_000"},
        {"int64": 5},
        {"int64": "9223372036854775808"},
        {"int64": "1", "real": "1"},
        {"real": "one"},
        {"real": "1_0"},
        {"base64": "a"},
        {"base64": "YQ==YQ"},
        {"text_base64": "\u00fc"},
        {"blob": "YQ=="},
    ],
)
def test_what_is_not_a_value_is_refused(shop: Call, value: object) -> None:
    found = shop("POST", "/db/shop/query", {"sql": "SELECT ?", "params": [value]})
    assert (found.status, found.json["error"]["code"]) == (400, "invalid")


@in_memory
@pytest.mark.parametrize(
    ("status", "code", "method", "path", "body"),
    [
        (404, "not_found", "GET", "/nothing", b""),
        (404, "not_found", "GET", "/db/shop/nothing", b""),
        (404, "not_found", "POST", "/db/none/query", {"sql": "SELECT 1"}),
        (405, "invalid", "POST", "/db/shop%2Fquery", {"sql": "SELECT 1"}),
        (405, "invalid", "GET", "/db/shop/query", b""),
        (409, "exists", "PUT", "/db/shop", b""),
        (400, "invalid", "PUT", "/db/a%20b", b""),
        (400, "invalid", "POST", "/db/shop/query", b"{"),
        (400, "invalid", "POST", "/db/shop/query", b"\xff"),
        (400, "invalid", "POST", "/db/shop/query", []),
        (400, "invalid", "POST", "/db/shop/query", {}),
        (400, "invalid", "POST", "/db/shop/query", {"sql": 1}),
        (400, "invalid", "POST", "/db/shop/query", {"sql": "SELECT 1", "parms": []}),
        (400, "invalid", "POST", "/db/shop/query", {"sql": "SELECT ?", "params": [{"int64": "x"}]}),
        (400, "invalid", "POST", "/db/shop/query", {"sql": "SELECT ?", "params": [1 << 70]}),
        (400, "invalid", "POST", "/db/shop/query", {"sql": "SELECT ?"}),
        (400, "sql_error", "POST", "/db/shop/query", {"sql": "SELEC 1"}),
        (403, "denied", "POST", "/db/shop/query", {"sql": "ATTACH 'x' AS y"}),
        (400, "invalid", "PATCH", "/db/shop/settings", {"nope": 1}),
        (400, "invalid", "PATCH", "/db/shop/settings", {}),
        (400, "invalid", "POST", "/db/shop/upkeep", {"limit": 0}),
        (400, "invalid", "GET", "/db/shop/status?verbose=1", b""),
        (400, "invalid", "PUT", "/db/new?if_not_exist=1", b""),
    ],
)
def test_what_is_wrong_is_said(shop: Call, status: int, code: str, method: str, path: str, body: object) -> None:
    found = shop(method, path, body)
    assert (found.status, found.json["error"]["code"]) == (status, code)
    assert {"code", "message", "hint", "retryable"} <= found.json["error"].keys()
    assert found.headers["content-type"] == "application/json"


@in_memory
@pytest.mark.parametrize("route", ["query", "execute", "batch"])
def test_headers_that_mean_nothing_are_refused(shop: Call, route: str) -> None:
    body = {"statements": ["SELECT 1"]} if route == "batch" else {"sql": "SELECT 1"}
    for headers in ({"virke_consistency": "eventual"}, {"virke_bookmark": "yesterday"}):
        found = shop("POST", f"/db/shop/{route}", body, **headers)
        assert (found.status, found.json["error"]["code"]) == (400, "invalid")
    mark = shop("POST", f"/db/shop/{route}", body).headers["virke-bookmark"]
    for headers in ({"virke_consistency": "strong"}, {"virke_bookmark": mark}):
        assert shop("POST", f"/db/shop/{route}", body, **headers).status == 200


def test_databases_are_listed_created_and_deleted(shop: Call) -> None:
    assert shop("PUT", "/db/shop?if_not_exists=1").status == 200
    assert shop("PUT", "/db/other").json == {"name": "other", "created": True}
    assert shop("GET", "/db").json == {"databases": [{"name": "other"}, {"name": "shop"}]}
    assert shop("DELETE", "/db/other").status == 200
    assert shop("POST", "/db/other/query", {"sql": "SELECT 1"}).status == 404


def test_state_settings_and_care(shop: Call) -> None:
    assert shop("GET", "/db/shop/status").json["name"] == shop("GET", "/db/shop/status?brief=1").json["name"] == "shop"
    assert shop("GET", "/db/shop/status?brief=maybe").status == 400
    assert shop("PATCH", "/db/shop/settings", {"history_days": 3}).json["history_days"] == 3
    assert shop("GET", "/db/shop/settings").json["history_days"] == 3
    assert shop("GET", "/db/shop/schema/item").json[0]["name"] == "item"
    assert shop("GET", "/db/shop/schema/none").status == 404
    for route in ("flush", "gc", "upkeep"):
        assert shop("POST", f"/db/shop/{route}").status == 200


def test_a_script_is_all_or_nothing_and_its_errors_name_their_line(shop: Call) -> None:
    """Rows of the last statement that has any; the rows affected by all."""
    script = "INSERT INTO item (name) VALUES ('a');\nINSERT INTO item (name) VALUES (?);\nSELECT count(*) FROM item"
    for name in ("b", "c"):
        text = script.replace("'a'", f"'a{name}'")
        found = shop("POST", "/db/shop/execute", {"sql": text, "script": True, "params": [name]})
        assert (found.status, found.json["rows_affected"]) == (200, 2)
    assert found.json["rows"] == [[6]]
    wrong = {"sql": "DELETE FROM item;\nINSERT INTO item (name)\nVALUES (missing)", "script": True}
    for more in ({}, {"meta": True}):
        found = shop("POST", "/db/shop/execute", wrong | more)
        assert (found.status, found.json["error"]["message"]) == (400, "no such column: missing (line 3)")
    assert shop("POST", "/db/shop/query", {"sql": "SELECT count(*) FROM item"}).json["rows"] == [[6]]


def test_one_statement_is_run_with_each_of_its_rows(shop: Call) -> None:
    for rows in ([["a"], ["b"]], [{"name": "c"}, {"name": "d"}]):
        sql = f"INSERT INTO item (name) VALUES ({'?' if isinstance(rows[0], list) else ':name'})"
        assert shop("POST", "/db/shop/execute", {"sql": sql, "rows": rows}).json["rows_affected"] == 2
    found = shop("POST", "/db/shop/execute", {"sql": "INSERT INTO item (name) VALUES (?)", "rows": [["e"], ["a"]]})
    assert found.json["error"]["sqlite_code"] == "SQLITE_CONSTRAINT_UNIQUE"
    assert shop("POST", "/db/shop/query", {"sql": "SELECT count(*) FROM item"}).json["rows"] == [[6]]


def test_an_earlier_version_can_be_read(shop: Call) -> None:
    before = shop("POST", "/db/shop/query", {"sql": "SELECT count(*) FROM item"}).json
    shop("POST", "/db/shop/execute", {"sql": "DELETE FROM item"})
    found = shop("POST", "/db/shop/query", {"sql": "SELECT count(*) FROM item", "at": before["version"]})
    assert (found.json["rows"], found.json["version"]) == (before["rows"], before["version"])
    assert shop("POST", "/db/shop/query", {"sql": "DELETE FROM item", "at": before["version"]}).status == 403
    assert shop("POST", "/db/shop/query", {"sql": "SELECT 1", "at": 99}).status == 404


def test_a_request_may_give_up_writing(shop: Call) -> None:
    for body in ({"sql": "DELETE FROM item"}, {"sql": "DELETE FROM item", "script": True}):
        for _ in range(2):
            assert shop("POST", "/db/shop/query", body | {"read_only": True}).status == 403
    statements = {"statements": ["SELECT 1", "DELETE FROM item"], "read_only": True}
    assert shop("POST", "/db/shop/batch", statements).status == 403
    assert shop("POST", "/db/shop/query", {"sql": "SELECT count(*) FROM item", "read_only": True}).json["rows"] == [[2]]


def test_foreign_keys_are_the_requests_own(shop: Call) -> None:
    """Whichever way it is performed, and for no other request."""
    shop("POST", "/db/shop/execute", {"sql": "CREATE TABLE child (p REFERENCES item (id))"})
    ways: list[dict[str, object]] = [{}, {"meta": True}, {"script": True}, {"rows": [[]]}]
    for number, more in enumerate(ways):
        body = {"sql": f"INSERT INTO child VALUES ({10 + number})"} | more
        assert shop("POST", "/db/shop/execute", body | {"foreign_keys": False}).status == 200
        found = shop("POST", "/db/shop/execute", body)
        assert found.json["error"]["sqlite_code"] == "SQLITE_CONSTRAINT_FOREIGNKEY"
    pragma = {"sql": "PRAGMA foreign_keys = OFF; SELECT 1", "script": True, "meta": True}
    assert shop("POST", "/db/shop/execute", pragma).status == 200
    assert shop("POST", "/db/shop/execute", {"sql": "INSERT INTO child VALUES (99)", "meta": True}).status == 400


@in_memory
@pytest.mark.parametrize(
    "body",
    [
        {"sql": "SELECT 1", "rows": 1},
        {"sql": "SELECT 1", "rows": [1]},
        {"sql": "SELECT 1", "rows": [], "params": []},
        {"sql": "SELECT 1", "rows": [[]], "script": True},
        {"sql": "SELECT 1", "script": True, "at": 1},
        {"sql": "SELECT 1", "script": 1},
        {"sql": "SELECT 1", "at": "noon"},
        {"sql": "SELECT 1", "at": 1.5},
        {"sql": "SELECT 1", "read_only": "yes"},
        {"sql": "SELECT 1", "foreign_keys": 0},
    ],
)
def test_what_contradicts_itself_is_refused(shop: Call, body: object) -> None:
    found = shop("POST", "/db/shop/query", body)
    assert (found.status, found.json["error"]["code"]) == (400, "invalid")


def test_a_collection_may_wait_longer_or_not_at_all(shop: Call) -> None:
    assert shop("POST", "/db/shop/gc", {"dry_run": True, "grace_ms": 0}).json["dry_run"] is True
    for wrong in (-1, "0", 0.5):
        assert shop("POST", "/db/shop/gc", {"grace_ms": wrong}).status == 400
