"""While the store is down, what libSQL's clients are answered of a state that is too old says how old it is."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from virke.api.codec import PlainCodec
from virke.api.messages import Request
from virke.api.performing import perform_operation
from virke.api.routes import parse_request, response_to
from virke.node.app import App
from virke.node.databases import Databases
from virke.opening import connect
from virke.scopes import Scope
from virke.stores.faulty import At, FaultyStore, Refuse
from virke.stores.memory import memory_store

SELECT = {"sql": "SELECT v FROM t"}
BATCH = {"steps": [{"stmt": SELECT}, {"stmt": SELECT}]}
PIPELINE = {"requests": [{"type": "execute", "stmt": SELECT}, {"type": "close"}]}
ASKED = {
    "/v2/pipeline": PIPELINE,
    "/v3/pipeline": {"requests": [{"type": "batch", "batch": BATCH}, {"type": "close"}]},
    "/v3/cursor": {"batch": {"steps": [{"stmt": SELECT}]}},
    "/v1/execute": {"stmt": SELECT},
    "/v1/batch": {"batch": BATCH},
}
DOWN_FROM = 100


def store_that_goes_down() -> FaultyStore:
    """With a database whose state is too old at once, and may be used for a minute."""
    store = memory_store()
    with connect("d", store, create=True) as maker:
        maker.run_script("CREATE TABLE t (v); INSERT INTO t VALUES (1)")
        maker.change_settings({"stale_if_down_ms": 60_000, "max_staleness_ms": 0})
    return FaultyStore(store, [At(n, Refuse()) for n in range(DOWN_FROM, 10_000)])


def take_down(databases: Databases, faulty: FaultyStore) -> None:
    """Ask until the store has answered for the last time."""
    while len(faulty.log) < DOWN_FROM - 1:
        databases.database("d").query("SELECT v FROM t", consistency="strong")


async def ask(app: App, path: str) -> tuple[int, dict[bytes, bytes]]:
    """Status and headers."""
    parts = [{"type": "http.request", "body": json.dumps(ASKED[path]).encode(), "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if parts:
            return parts.pop()
        await asyncio.Event().wait()
        raise AssertionError("nobody goes away")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    await app({**scope, "headers": [(b"host", b"localhost")]}, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"])


@pytest.mark.parametrize("path", ASKED)
def test_an_answer_of_a_node_says_how_old_its_state_is(path: str) -> None:
    faulty = store_that_goes_down()
    databases = Databases(faulty.store)

    async def live() -> None:
        app = App(databases, PlainCodec(), default="d")
        try:
            status, headers = await ask(app, path)
            assert (status, b"virke-stale" in headers) == (200, False)
            await asyncio.get_running_loop().run_in_executor(None, take_down, databases, faulty)
            status, headers = await ask(app, path)
            assert (status, b"virke-stale" in headers) == (200, True)
        finally:
            await app._hrana.streams.close()
            await asyncio.get_running_loop().run_in_executor(None, app.close)

    asyncio.run(live())


@pytest.mark.parametrize("path", ASKED)
def test_an_answer_that_was_made_by_blocking_says_so_too(path: str) -> None:
    faulty, codec = store_that_goes_down(), PlainCodec()
    databases = Databases(faulty.store)
    operation: Any = parse_request(Request("POST", f"/db/d{path}", body=json.dumps(ASKED[path]).encode()), codec)
    found = []
    for _ in range(2):
        response = response_to(operation, perform_operation(operation, databases, Scope.ADMIN), codec)
        found.append((response.status, "virke-stale" in dict(response.headers)))
        take_down(databases, faulty)
    assert found == [(200, False), (200, True)]
