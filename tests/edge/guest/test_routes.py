"""Requests at the edge: what can't be there is refused and says who can, odd ones are understood, none ends the sandbox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.edge.serving import NAME, Edge, edge
from virke.edge.host.exchange import Request

pytestmark = pytest.mark.once
TABLE: Final = "CREATE TABLE IF NOT EXISTS t (n)"
NOT_HERE: Final = (
    ("GET", f"/db/{NAME}/export"),
    ("POST", f"/db/{NAME}/import"),
    ("DELETE", f"/db/{NAME}"),
    ("POST", f"/db/{NAME}/gc"),
    ("POST", f"/db/{NAME}/promote"),
    ("GET", "/metrics"),
)


@pytest.mark.parametrize(("method", "path"), NOT_HERE)
def test_what_can_not_be_here_is_denied_and_says_who_can(component: Path, method: str, path: str) -> None:
    with edge(component) as app:
        said = app.ask(method, path, None if method == "GET" else {})
        assert (said.status, said.json["error"]["code"]) == (403, "denied")
        assert "virke serve" in said.json["error"]["hint"]
        assert said.response.counts.writes == 0


def pipeline(app: Edge, *sql: str) -> list[Any]:
    """Results of statements on one stream, without closing it."""
    asked = {"baton": None, "requests": [{"type": "execute", "stmt": {"sql": one}} for one in sql]}
    said = app.ask("POST", f"/db/{NAME}/v2/pipeline", asked)
    assert said.json["baton"] is None
    results: list[Any] = said.json["results"]
    return results


def test_a_pipeline_that_ends_in_autocommit_is_a_transaction_and_another_is_refused(component: Path) -> None:
    with edge(component) as app:
        app.execute(TABLE)
        whole = pipeline(app, "BEGIN", "INSERT INTO t VALUES (1)", "COMMIT")
        assert [one["type"] for one in whole] == ["ok"] * 3
        left = pipeline(app, "BEGIN", "INSERT INTO t VALUES (2)")
        assert left[-1]["error"]["code"] == "BLOCKED"
        assert "one request" in left[-1]["error"]["message"]
        said = app.ask("POST", f"/db/{NAME}/v2/pipeline", {"baton": "of another request", "requests": []})
        assert said.status == 404
        assert app.query("SELECT n FROM t", fresh=True).rows == [[1]]


def test_a_deferred_write_is_in_the_store_and_says_so(component: Path) -> None:
    with edge(component) as app:
        app.execute(TABLE)
        assert app.execute("INSERT INTO t VALUES (1)").response.header("virke-durability") is None
        assert app.ask("PATCH", f"/db/{NAME}/settings", {"durability": "deferred"}).status == 200
        said = app.execute("INSERT INTO t VALUES (2)")
        assert (said.status, said.response.header("virke-durability"), said.response.counts.writes) == (200, "sync", 1)
        with app.natively() as database:
            assert database.query("SELECT n FROM t").rows == [(1,), (2,)]


def test_a_long_address_and_a_large_head_are_read_whole(component: Path) -> None:
    with edge(component) as app:
        said = app.ask("GET", f"/db/{NAME}/schema/{'x' * 60_000}")
        assert (said.status, said.json["error"]["code"]) == (404, "not_found")
        headers: dict[str, Any] = {f"x-{n}": "y" * 1000 for n in range(60)}
        assert app.query("SELECT 1", **headers).rows == [[1]]


def test_a_name_in_the_path_is_decoded_once(component: Path) -> None:
    with edge(component) as app:
        assert app.ask("POST", "/db/%61pp/query", {"sql": "SELECT 1"}).rows == [[1]]
        assert app.ask("POST", "/db/app%2Fquery", {"sql": "SELECT 1"}).status in (400, 404, 405)
        assert app.ask("POST", "/db/%2561pp/query", {"sql": "SELECT 1"}).status == 400


def test_a_body_that_is_too_large_is_refused_before_it_is_held(component: Path) -> None:
    with edge(component, reuse=100) as app:
        said = app.query("SELECT ?", "x" * (9 << 20))
        assert (said.status, said.json["error"]["code"]) == (413, "too_large")
        parts = [b" " * (1 << 20)] * 9  # its length is not announced
        request = Request("POST", f"http://edge.test/db/{NAME}/query", (("host", "edge.test"),), parts)
        assert app.host.call(request).status == 413
        assert app.query("SELECT 1").rows == [[1]]


BROKEN: Final = (
    b"",
    b"{",
    b"\xff\xfe",
    b"[]",
    b'{"sql": 1}',
    b'{"sql": "SELEC"}',
    b'{"sql": "SELECT ?", "params": [{}]}',
    b"null" * 50,
)


def test_no_body_ends_the_sandbox(component: Path) -> None:
    with edge(component, reuse=1000) as app:
        app.query("SELECT 1")
        app.host.settle()
        for body in BROKEN:
            response = app.host.request("POST", f"/db/{NAME}/query", body=body)
            assert response.status == 400, body
            assert json.loads(response.body)["error"]["message"]
            app.host.settle()
        assert not app.query("SELECT 1").response.is_fresh
        assert app.host.traps == []


def test_rows_come_line_by_line_and_a_head_alone_has_none(component: Path) -> None:
    with edge(component) as app:
        rows = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 500) SELECT n FROM r"
        sent = json.dumps({"sql": rows}).encode()
        headers = (("accept", "application/x-ndjson"),)
        response = app.host.request("POST", f"/db/{NAME}/query", headers=headers, body=sent)
        assert response.is_whole
        lines = response.body.splitlines()
        assert [json.loads(line) for line in (lines[1], lines[500])] == [[1], [500]]
        head = app.host.request("HEAD", f"/db/{NAME}/schema")
        assert (head.status, head.body) == (200, b"")
