"""Text that is not UTF-8, where there is a form for it and where there is none."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Call, beyond_the_edge

ODD = "SELECT 'x' AS t UNION ALL SELECT CAST(x'ff' AS TEXT)"


@pytest.fixture
def shop(call: Call) -> Call:
    """A server with an empty database `shop`."""
    assert call("PUT", "/db/shop").status == 201
    return call


def test_hrana_has_no_form_for_it_and_says_so(shop: Call) -> None:
    """The stream goes on: what fails is the answer, not the statement."""
    asked: Any = [{"type": "execute", "stmt": {"sql": ODD}}, {"type": "execute", "stmt": {"sql": "SELECT 1"}}]
    for _ in range(2):
        found = shop("POST", "/db/shop/v3/pipeline", {"requests": [*asked, {"type": "close"}]})
        kinds = [one["type"] for one in found.json["results"]]
        assert (kinds, found.json["results"][0]["error"]["code"]) == (["error", "ok", "ok"], "TEXT_NOT_UTF8")
    lines = shop("POST", "/db/shop/v3/cursor", {"batch": {"steps": [{"stmt": {"sql": ODD}}]}}).lines
    assert [one["type"] for one in lines[1:] if "error" in one] == ["step_error"]


@beyond_the_edge
def test_in_a_batch_and_behind_rows_that_were_sent_it_has_its_form(shop: Call) -> None:
    raw = {"text_base64": "/w=="}
    batch = shop("POST", "/db/shop/batch", {"statements": ["CREATE TABLE t (a)", ODD]})
    assert batch.json[1]["rows"] == [["x"], [raw]]
    sql = "WITH n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT iif(i < 999, 'x', CAST(x'ff' AS TEXT)) FROM n"
    lines = shop("POST", "/db/shop/query", {"sql": sql}, accept="application/x-ndjson").lines
    assert (lines[1:999], lines[999:1001], lines[-1]["rows"]) == ([["x"]] * 998, [[raw]] * 2, 1000)


def test_what_writes_and_answers_it_is_refused_and_not_done(shop: Call) -> None:
    shop("POST", "/db/shop/query", {"sql": "CREATE TABLE t (a)"})
    for accept in ("application/json", "application/x-ndjson"):
        sql = "INSERT INTO t VALUES (CAST(x'ff' AS TEXT)) RETURNING a"
        found = shop("POST", "/db/shop/execute", {"sql": sql}, accept=accept)
        assert (found.status, found.json["error"]["code"]) == (400, "invalid")
    assert shop("POST", "/db/shop/query", {"sql": "SELECT count(*) FROM t"}).json["rows"] == [[0]]


def test_a_schema_that_has_it_is_shown(shop: Call, tmp_path: Path) -> None:
    """Only a file from elsewhere can bring it."""
    path = tmp_path / "odd.sqlite"
    odd = sqlite3.connect(path)
    odd.executescript("CREATE TABLE qqqq (a)")
    odd.close()
    data = path.read_bytes().replace(b"qqqq", b"q\xffqq")
    assert shop("POST", "/db/shop/import?kind=sqlite", data).status == 200
    assert shop("GET", "/db/shop/schema").json[0]["name"] == "q?qq"
    names = shop("POST", "/db/shop/query", {"sql": "SELECT name FROM sqlite_schema"})
    assert names.json["rows"] == [[{"text_base64": "cf9xcQ=="}]]
    assert shop("GET", "/db/shop/export").json["error"]["code"] == "invalid"
    assert b"q\xffqq" in shop("GET", "/db/shop/export?format=sqlite").body
