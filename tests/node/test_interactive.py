"""Virke's own transactions on a stream: nothing is lost on the way, and libSQL's requests mean what they meant."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.conftest import CODEC, asgi
from virke import tokens
from virke.api.messages import Request
from virke.node.app import App
from virke.node.databases import Databases
from virke.scopes import Scope
from virke.stores.memory import memory_store


class Client:
    """Sends pipelines, each with the baton of the one before."""

    def __init__(self, serve: Any, token: str | None) -> None:
        self._serve = serve
        self._headers = {"host": "localhost"} | ({} if token is None else {"authorization": f"Bearer {token}"})
        self.baton: str | None = None

    def send(self, *requests: dict[str, Any]) -> list[Any]:
        """The results of a pipeline."""
        body = json.dumps({"baton": self.baton, "requests": requests}).encode()
        found = self._serve(Request("POST", "/db/d/v3/pipeline", "", self._headers, body)).json
        self.baton = found.get("baton")
        return found.get("results") or [found]

    def one(self, kind: str, **fields: object) -> Any:
        """The response to one request, or its error."""
        [found] = self.send({"type": f"virke_{kind}", **fields})
        return found["response"] if found.get("type") == "ok" else found["error"] if "type" in found else found

    def run(self, *statements: object) -> Any:
        """What statements answer, or their error."""
        found = self.one("run", statements=list(statements))
        return found.get("results") or found


@pytest.fixture
def new_client() -> Iterator[Any]:
    """A client of a node with one database; with a scope it has a token of it."""
    databases = Databases(memory_store())
    databases.create("d", if_not_exists=False, page_size=None)
    databases.database("d").run_script(
        "CREATE TABLE t (a INTEGER PRIMARY KEY, b UNIQUE); INSERT INTO t VALUES (1, 'x')"
    )
    loop, app = asyncio.new_event_loop(), App(databases, CODEC)

    def made(scope: Scope | None = None) -> Client:
        token = None if scope is None else tokens.create(databases.store, ["d"], scope)[0]
        return Client(asgi(app, loop), token)

    try:
        yield made
    finally:
        loop.run_until_complete(app._hrana.streams.close())
        app.close()
        loop.close()


@pytest.mark.parametrize("mode", ["deferred", "immediate"])
def test_a_transaction_is_all_or_nothing_and_says_its_version(new_client: Any, mode: str) -> None:
    client, other = new_client(), new_client()
    begun = client.one("begin", mode=mode)
    assert begun["version"] == 2
    assert client.run("SELECT count(*) FROM t")[0]["rows"] == [[1]]
    [many, script] = client.run(
        {"sql": "INSERT INTO t (b) VALUES (?)", "rows": [[{"base64": "AP8="}], [{"real": "inf"}]]},
        {"sql": "SELECT 1; SELECT max(a) FROM t", "script": True},
    )
    assert (many["rows_affected"], script["rows"]) == (2, [[3]])
    error = client.run("INSERT INTO t (b) VALUES ('new')", "INSERT INTO t (b) VALUES ('x')")
    assert error["virke"] == {
        "code": "sql_error",
        "message": "UNIQUE constraint failed: t.b",
        "hint": "nothing was changed; mend the statement",
        "retryable": False,
        "sqlite_code": "SQLITE_CONSTRAINT_UNIQUE",
        "statement": 2,
    }
    assert client.run("SELECT b FROM t WHERE a > 1")[0]["rows"] == [[{"base64": "AP8="}], [{"real": "Infinity"}]]
    assert client.one("describe", sql="SELECT a FROM t")["description"]["columns"][0]["decltype"] == "INTEGER"
    committed = client.one("commit")
    assert (committed["version"], client.baton) == (3, None)
    assert other.one("begin", mode="read_only", bookmark=committed["bookmark"])["version"] == 3
    assert other.run("SELECT count(*) FROM t")[0]["rows"] == [[3]]


def test_one_that_only_reads_writes_nothing(new_client: Any) -> None:
    client = new_client()
    client.one("begin", mode="read_only")
    assert client.run("DELETE FROM t")["virke"]["code"] == "denied"
    assert client.run("SELECT count(*) FROM t")[0]["rows"] == [[1]]
    assert client.one("commit")["version"] == 2


def test_a_key_is_answered_with_the_version_of_the_first_time(new_client: Any) -> None:
    versions = []
    for _ in range(2):
        client = new_client()
        client.one("begin", key="order-17")
        client.run("INSERT INTO t (b) VALUES (NULL)")
        versions.append(client.one("commit")["version"])
    assert versions == [3, 3]


def test_a_scope_holds_within_a_transaction(new_client: Any) -> None:
    reader, writer = new_client(Scope.READ), new_client(Scope.WRITE)
    assert reader.one("begin", mode="immediate")["virke"]["code"] == "denied"
    reader.one("begin", mode="deferred")
    assert reader.run("DELETE FROM t")["virke"]["code"] == "denied"
    assert writer.one("begin", mode="immediate", foreign_keys=False)["virke"]["code"] == "denied"
    writer.one("begin", mode="immediate")
    assert writer.run("CREATE TABLE u (x)")["virke"]["code"] == "denied"
    assert writer.run("DELETE FROM t")[0]["rows_affected"] == 1


def test_what_does_not_fit_the_state_is_an_error_of_its_request(new_client: Any) -> None:
    client = new_client()
    for kind, fields in (("run", {"statements": ["SELECT 1"]}), ("commit", {}), ("describe", {"sql": "SELECT 1"})):
        assert client.one(kind, **fields)["virke"]["message"] == "the transaction is over"
    client.one("begin")
    assert client.one("begin")["virke"]["code"] == "sql_error"
    assert client.run("COMMIT")["virke"]["code"] in ("denied", "sql_error", "invalid")
    assert client.run("SELECT 1")[0]["rows"] == [[1]]


@pytest.mark.parametrize(
    "request_",
    [
        {"type": "virke_begin", "mode": "sometimes"},
        {"type": "virke_begin", "mode": 1},
        {"type": "virke_begin", "foreign_keys": "off"},
        {"type": "virke_begin", "key": 1},
        {"type": "virke_begin", "mode": "read_only", "key": "k"},
        {"type": "virke_begin", "bookmark": 1},
        {"type": "virke_run"},
        {"type": "virke_run", "statements": []},
        {"type": "virke_run", "statements": [1]},
        {"type": "virke_run", "statements": [{"sql": "SELECT 1", "parms": []}]},
        {"type": "virke_describe"},
        {"type": "virke_other"},
    ],
)
def test_what_is_wrong_with_a_request_is_said_before_anything_is_done(
    new_client: Any, request_: dict[str, Any]
) -> None:
    client = new_client()
    [found] = client.send({"type": "virke_begin"}, request_)
    assert (found["code"], client.baton) == ("HRANA_PROTO_ERROR", None)


def test_a_baton_that_is_not_good_any_more_says_so_in_both_languages(new_client: Any) -> None:
    client = new_client()
    client.one("begin")
    used = client.baton
    client.run("SELECT 1")
    client.baton = used
    [found] = client.send({"type": "virke_commit"})
    assert (found["code"], found["virke"]["code"]) == ("BATON_REUSED", "invalid")
