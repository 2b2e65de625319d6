"""Writes through a node: reads stay in the sandbox, writes and transactions go to the node, bookmarks connect the two."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from tests.api.conftest import CODEC, asgi
from tests.edge.serving import NAME, Edge, edge, kv_like
from virke.api.messages import Request
from virke.edge.host.backends import Answer
from virke.edge.host.exchange import Request as Sent
from virke.engine.catalog import make_database
from virke.engine.environment import Environment
from virke.node.app import App
from virke.node.databases import Databases
from virke.scopes import Scope
from virke.stores.base import Store
from virke.tokens import create

pytestmark = pytest.mark.once
TABLE: Final = "CREATE TABLE IF NOT EXISTS t (n)"
URL: Final = "https://node.test"


class Node:
    """A node as a backend of the service: it notes what it was asked."""

    def __init__(self, store: Store) -> None:
        self._loop = asyncio.new_event_loop()
        self._app = App(Databases(store), CODEC)
        self._serve = asgi(self._app, self._loop)
        self.asked: list[tuple[str, str]] = []

    def __call__(self, request: Sent) -> Answer:
        parts = urlsplit(request.url)
        body = request.body if isinstance(request.body, bytes) else b"".join(request.body)
        self.asked.append((request.method, parts.path))
        headers = {name.lower(): value for name, value in request.headers}
        found = self._serve(Request(request.method, parts.path, parts.query, headers, body))
        return Answer(found.status, tuple(found.headers.items()), found.body)

    def close(self) -> None:
        self._app.close()
        self._loop.close()


@contextmanager
def with_node(component: Path, **options: Any) -> Iterator[tuple[Edge, Node]]:
    """An edge whose writes go to a node over the same store; both ask for tokens."""
    store = kv_like()
    make_database(store, NAME, Environment(), if_not_exists=False, page_size=4096)
    node = Node(store)
    try:
        config = {"writes": URL, "db": NAME}
        with edge(component, store, config=config, backends={"writes": node}, with_token=True, **options) as app:
            yield app, node
    finally:
        node.close()


def test_writes_go_to_the_node_and_reads_do_not(component: Path) -> None:
    with with_node(component) as (app, node):
        assert app.execute(TABLE).status == 200
        written = app.execute("INSERT INTO t VALUES (?)", 1)
        assert (written.json["rows_affected"], written.response.counts.writes) == (1, 0)
        seen = app.query("SELECT n FROM t", virke_bookmark=written.json["bookmark"])
        assert (seen.rows, seen.response.counts.backend_requests) == ([[1]], 0)
        assert node.asked == [("POST", f"/db/{NAME}/execute")] * 2


def test_a_statement_that_may_write_is_sent_only_if_it_does(component: Path) -> None:
    with with_node(component) as (app, node):
        app.execute(TABLE)
        assert app.query("WITH a AS (SELECT 1) SELECT * FROM a").rows == [[1]]
        assert len(node.asked) == 1
        assert app.query("WITH a AS (SELECT 7) INSERT INTO t SELECT * FROM a RETURNING n").rows == [[7]]
        assert len(node.asked) == 2


def test_a_query_that_is_wrong_is_answered_here(component: Path) -> None:
    with with_node(component) as (app, node):
        assert app.query("SELECT * FROM nope").status == 400
        assert node.asked == []


def test_a_transaction_over_several_requests_is_the_node_s(component: Path) -> None:
    """Its baton comes back, and goes there again."""
    with with_node(component) as (app, node):
        app.execute(TABLE)
        path = f"/db/{NAME}/v2/pipeline"
        begun = [{"type": "execute", "stmt": {"sql": sql}} for sql in ("BEGIN", "INSERT INTO t VALUES (1)")]
        first = app.ask("POST", path, {"baton": None, "requests": begun})
        assert [one["type"] for one in first.json["results"]] == ["ok", "ok"]
        ended = [{"type": "execute", "stmt": {"sql": "COMMIT"}}, {"type": "close"}]
        last = app.ask("POST", path, {"baton": first.json["baton"], "requests": ended})
        assert [one["type"] for one in last.json["results"]] == ["ok", "ok"]
        assert app.query("SELECT n FROM t").rows == [[1]]
        read = {"baton": None, "requests": [{"type": "execute", "stmt": {"sql": "SELECT n FROM t"}}, {"type": "close"}]}
        asked = len(node.asked)
        assert app.ask("POST", "/v2/pipeline", read).json["results"][0]["type"] == "ok"
        assert len(node.asked) == asked


def test_imports_and_exports_go_through(component: Path) -> None:
    with with_node(component) as (app, _node):
        dump = b"CREATE TABLE x (n); INSERT INTO x VALUES (1), (2);"
        headers = (("authorization", f"Bearer {app.token}"),)
        done = app.host.request("POST", f"/db/{NAME}/import?kind=sql", headers=headers, body=dump)
        assert done.status == 200, done.body
        out = app.host.request("GET", f"/db/{NAME}/export", headers=headers)
        assert (out.status, out.is_whole, b"INSERT INTO" in out.body) == (200, True, True)


def test_a_token_can_do_no_more_through_the_edge(component: Path) -> None:
    """Its own token is sent, not the service's."""
    with with_node(component, secrets={"writes_token": "vk_" + "x" * 43}) as (app, node):
        app.execute(TABLE)
        app.token, _ = create(app.store, ["*"], Scope.READ)
        asked = len(node.asked)
        said = app.execute("INSERT INTO t VALUES (1)", fresh=True)
        assert (said.status, len(node.asked)) == (401, asked + 1)  # the node learns of a new token within 5 s
        app.token = None
        assert app.execute("INSERT INTO t VALUES (1)").status == 401
        assert len(node.asked) == asked + 1


def test_a_node_that_is_not_there_is_unavailable_and_reads_go_on(component: Path) -> None:
    store = kv_like()
    make_database(store, NAME, Environment(), if_not_exists=False, page_size=4096)
    nowhere = "http://127.0.0.1:9"
    with edge(component, store, config={"writes": nowhere}, backends={"writes": nowhere}) as app:
        said = app.execute("INSERT INTO t VALUES (1)")
        assert (said.status, said.json["error"]["code"]) == (503, "unavailable")
        assert said.response.header("retry-after")
        assert app.query("SELECT 1").rows == [[1]]
