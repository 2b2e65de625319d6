"""A database that another node deletes, or deletes and creates again: what this node has open is not asked for ever."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.api.conftest import CODEC, asgi
from virke.api.messages import Request
from virke.node.app import App
from virke.node.databases import Databases
from virke.opening import create, delete
from virke.stores.base import Store
from virke.stores.memory import memory_store

HOST = {"host": "localhost"}


class Here:
    """A node, and how to ask it."""

    def __init__(self, store: Store, ending: ExitStack) -> None:
        loop = asyncio.new_event_loop()
        ending.callback(loop.close)
        app = App(Databases(store), CODEC)
        ending.callback(app.close)
        self._serve = asgi(app, loop)

    def post(self, path: str, body: object) -> tuple[int, Any]:
        answer = self._serve(Request("POST", path, "", HOST, json.dumps(body).encode()))
        return answer.status, json.loads(answer.body)

    def run(self, sql: str) -> tuple[int, Any]:
        return self.post("/db/d/query", {"sql": sql})

    def hrana(self, sql: str) -> Any:
        """The one value of a statement over Hrana, or the code of its error."""
        status, body = self.post(
            "/db/d/v3/pipeline", {"baton": None, "requests": [{"type": "execute", "stmt": {"sql": sql}}]}
        )
        if status != 200:
            return status
        [result] = body["results"]
        return result["response"]["result"]["rows"][0][0]["value"] if result["type"] == "ok" else "error"


@pytest.fixture
def store() -> Store:
    return memory_store()


@pytest.fixture
def here(store: Store) -> Iterator[Here]:
    with ExitStack() as ending:
        made(store, 1)
        here = Here(store, ending)
        assert here.run("SELECT v FROM t")[1]["rows"] == [[1]]
        yield here


def made(store: Store, value: int) -> None:
    """The database as another node makes it."""
    with create("d", store) as database:
        database.run_script(f"CREATE TABLE t (v); INSERT INTO t VALUES ({value})")


@pytest.mark.parametrize("sql", ["SELECT v FROM t", "UPDATE t SET v = v RETURNING v"])
def test_what_was_created_again_is_asked_at_once(store: Store, here: Here, sql: str) -> None:
    for value in (2, 3):
        delete("d", store)
        made(store, value)
        status, body = here.run(sql)
        assert (status, body["rows"]) == (200, [[value]])


def test_what_was_deleted_is_not_found_until_it_is_created_again(store: Store, here: Here) -> None:
    delete("d", store)
    for _ in range(2):
        assert here.run("SELECT v FROM t")[0] == 404
        assert here.run("INSERT INTO t VALUES (1)")[0] == 404
    made(store, 2)
    assert here.run("SELECT v FROM t")[1]["rows"] == [[2]]


def test_a_client_of_hrana_meets_one_error_at_most(store: Store, here: Here) -> None:
    delete("d", store)
    made(store, 2)
    assert [here.hrana("SELECT v FROM t") for _ in range(3)][1:] == ["2", "2"]
    delete("d", store)
    assert [here.hrana("SELECT v FROM t") for _ in range(3)][1:] == [404, 404]
