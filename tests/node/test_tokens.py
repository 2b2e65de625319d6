"""Tokens on a node: who may do what (P12). The same requests over our own routes and over libSQL's protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.api.conftest import CODEC, Answered, asgi
from virke import tokens
from virke.api.messages import Request
from virke.node.app import App
from virke.node.databases import Databases
from virke.opening import create
from virke.scopes import Scope
from virke.stores.base import Store
from virke.stores.memory import memory_store

Ask = Callable[..., Answered]


@dataclass
class Guarded:
    """A store with a database `app` and one `other`; a node on it, and how to ask a new one that knows no tokens yet."""

    store: Store
    ask: Ask
    new_node: Callable[[], Ask]


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    store = memory_store()
    for name in ("app", "other"):
        with create(name, store) as database:
            database.run_script("CREATE TABLE t (v); INSERT INTO t VALUES (1)")
    with ExitStack() as ending:

        def new_node() -> Ask:
            loop = asyncio.new_event_loop()
            ending.callback(loop.close)
            app = App(Databases(store), CODEC)
            ending.callback(app.close)
            serve = asgi(app, loop)

            def ask(method: str, path: str, body: object = b"", token: str | None = None, **headers: str) -> Answered:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                bearer = {} if token is None else {"authorization": f"Bearer {token}"}
                path, _, query = path.partition("?")
                return serve(Request(method, path, query, {"host": "localhost", **bearer, **headers}, data))

            return ask

        yield Guarded(store, new_node(), new_node)


def made(store: Store, scope: Scope, *databases: str) -> str:
    """A new token's text."""
    text, _ = tokens.create(store, databases or ("app",), scope)
    return text


def pipeline(sql: str) -> dict[str, Any]:
    """One statement in libSQL's protocol."""
    return {"requests": [{"type": "execute", "stmt": {"sql": sql}}, {"type": "close"}]}


SELECT, INSERT, CREATE = "SELECT v FROM t", "INSERT INTO t VALUES (2)", "CREATE TABLE u (v)"
LEAST = {SELECT: Scope.READ, INSERT: Scope.WRITE, CREATE: Scope.SCHEMA}


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("sql", LEAST)
def test_p12_a_statement_does_no_more_than_its_token_allows(guarded: Guarded, scope: Scope, sql: str) -> None:
    token = made(guarded.store, scope)
    is_allowed = scope >= LEAST[sql]
    for route in ("query", "execute"):
        found = guarded.ask("POST", f"/db/app/{route}", {"sql": sql.replace("u (v)", f"{route} (v)")}, token)
        assert (found.status, found.json.get("error", {}).get("code")) == (
            (200, None) if is_allowed else (403, "denied")
        )
    found = guarded.ask("POST", "/db/app/batch", {"statements": [sql.replace("u (v)", "b (v)")]}, token)
    assert found.status == (200 if is_allowed else 403)
    for path in ("/db/app/v2/pipeline", "/db/app/v3/pipeline"):
        found = guarded.ask("POST", path, pipeline(sql.replace("u (v)", f"h{path[9]} (v)")), token)
        assert found.json["results"][0]["type"] == ("ok" if is_allowed else "error")
    transaction = {
        "requests": [{"type": "execute", "stmt": {"sql": one}} for one in ("BEGIN", sql.replace("u (v)", "tx (v)"))]
    }
    found = guarded.ask("POST", "/db/app/v2/pipeline", transaction, token)
    assert found.json["results"][1]["type"] == ("ok" if is_allowed else "error")


@pytest.mark.parametrize("path", ["/db/app/query", "/db/app/v2/pipeline", "/db/app/v3/cursor", "/db/app/v1/execute"])
def test_p12_once_there_is_a_token_each_request_needs_one(guarded: Guarded, path: str) -> None:
    body: object = {"sql": SELECT} if path.endswith("query") else pipeline(SELECT)
    assert guarded.ask("POST", path, body).status in (200, 400)
    made(guarded.store, Scope.READ)
    ask = guarded.new_node()
    for token in (None, "", "vk_wrong", "vk_" + "A" * 43):
        assert ask("POST", path, body, token).status == 401
    assert ask("GET", "/db", b"").status == 401
    assert ask("GET", "/nowhere", b"").status == 401
    assert ask("GET", "/healthz").status == ask("GET", "/readyz").status == 200


def test_p12_a_token_is_for_its_databases(guarded: Guarded) -> None:
    token = made(guarded.store, Scope.ADMIN, "app*")
    assert guarded.ask("POST", "/db/app/query", {"sql": SELECT}, token).status == 200
    assert guarded.ask("POST", "/db/other/query", {"sql": SELECT}, token).status == 403
    assert guarded.ask("POST", "/db/other/v2/pipeline", pipeline(SELECT), token).status == 403
    assert guarded.ask("POST", "/v2/pipeline", pipeline(SELECT), token, **{"x-namespace": "other"}).status == 403
    assert guarded.ask("GET", "/db", b"", token).json == {"databases": [{"name": "app"}]}
    assert guarded.ask("PUT", "/db/another", b"", token).status == 403
    assert guarded.ask("PUT", "/db/app-2", b"", token).status == 201


@pytest.mark.parametrize(
    ("method", "path", "least"),
    [
        ("GET", "/db/app/status", Scope.READ),
        ("GET", "/db/app/schema", Scope.READ),
        ("PATCH", "/db/app/settings", Scope.ADMIN),
        ("POST", "/db/app/flush", Scope.ADMIN),
        ("POST", "/db/app/gc", Scope.ADMIN),
        ("POST", "/db/app/upkeep", Scope.ADMIN),
        ("DELETE", "/db/app", Scope.ADMIN),
    ],
)
def test_p12_care_of_a_database_needs_its_scope(guarded: Guarded, method: str, path: str, least: Scope) -> None:
    body = {"history_days": 5} if method == "PATCH" else b""
    for scope, token in [(scope, made(guarded.store, scope)) for scope in Scope]:
        assert guarded.ask(method, path, body, token).status == (200 if scope >= least else 403)


def test_with_a_token_it_does_not_matter_where_a_request_comes_from(guarded: Guarded) -> None:
    token = made(guarded.store, Scope.READ)
    far = {"host": "db.example.com", "x-forwarded-for": "1.2.3.4", "origin": "https://app.example.com"}
    assert guarded.ask("POST", "/db/app/query", {"sql": SELECT}, token, **far).status == 200
