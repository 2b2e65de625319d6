"""What a node lets requests take: time, and room for their bodies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.node.test_streams import SLOW, post
from virke.api.codec import PlainCodec
from virke.errors import Busy
from virke.node.app import App
from virke.node.databases import Databases
from virke.node.limits import Rooms
from virke.stores.memory import memory_store

SLOW_WRITE = f"INSERT INTO t (a) {SLOW}"


def on_node(scenario: Callable[[App], Awaitable[None]], *, timeout_ms: int | None = None, **options: Any) -> None:
    """Play a scenario on a node with the database `d`."""
    databases = Databases(memory_store(), timeout_ms=timeout_ms)
    databases.create("d", if_not_exists=False, page_size=None)
    databases.database("d").execute("CREATE TABLE t (a, b)")

    async def live() -> None:
        app = App(databases, PlainCodec(), default="d", **options)
        try:
            await asyncio.wait_for(scenario(app), 30)
        finally:
            await app._hrana.streams.close()
            await asyncio.get_running_loop().run_in_executor(None, app.close)

    asyncio.run(live())


def pipeline(*statements: str) -> dict[str, Any]:
    return {"requests": [{"type": "execute", "stmt": {"sql": sql}} for sql in statements]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/db/d/query", {"sql": SLOW}),
        ("/db/d/execute", {"sql": SLOW_WRITE}),
        ("/db/d/batch", {"statements": [SLOW_WRITE]}),
        ("/db/d/batch", {"statements": [SLOW_WRITE], "meta": True}),
        ("/v2/pipeline", pipeline(SLOW)),
        ("/v2/pipeline", pipeline(SLOW_WRITE)),
        ("/v2/pipeline", pipeline("BEGIN", SLOW)),
        ("/v2/pipeline", pipeline("BEGIN IMMEDIATE", SLOW_WRITE)),
        ("/v3/cursor", {"batch": {"steps": [{"stmt": {"sql": SLOW}}]}}),
    ],
)
def test_no_statement_takes_longer_than_the_node_allows(path: str, body: object) -> None:
    """The database alone would allow 30 s."""

    async def scenario(app: App) -> None:
        status, found = await raw(app, path, body)
        assert status in (200, 504)
        assert "query_timeout_ms" in found

    on_node(scenario, timeout_ms=50)


async def raw(app: App, path: str, body: object) -> tuple[int, str]:
    """Status and text of an answer."""
    sent: list[Any] = []
    waiting = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> Any:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    await app({**scope, "headers": [(b"host", b"localhost")]}, receive, send)
    return sent[0]["status"], b"".join(message["body"] for message in sent[1:]).decode()


@pytest.mark.parametrize("path", ["query", "execute", "batch"])
@pytest.mark.parametrize(("wanted_ms", "status"), [(40, 504), (51, 400), (0, 400), (-1, 400), (60_000, 400)])
def test_a_request_can_only_ask_for_less_time(path: str, wanted_ms: int, status: int) -> None:
    body = {"statements": [SLOW_WRITE]} if path == "batch" else {"sql": SLOW if path == "query" else SLOW_WRITE}

    async def scenario(app: App) -> None:
        found, answer = await post(app, f"/db/d/{path}", {**body, "timeout_ms": wanted_ms})
        assert found == status
        assert answer["error"]["code"] == ("timed_out" if status == 504 else "invalid")

    on_node(scenario, timeout_ms=50)


def test_a_database_that_allows_less_than_the_node_keeps_to_it() -> None:
    async def scenario(app: App) -> None:
        app.databases.database("d").change_settings({"query_timeout_ms": 30})
        status, answer = await post(app, "/db/d/query", {"sql": "SELECT 1", "timeout_ms": 31})
        assert (status, "from 1 to 30" in answer["error"]["message"]) == (400, True)
        assert (await post(app, "/db/d/query", {"sql": SLOW}))[0] == 504

    on_node(scenario, timeout_ms=60_000)


def test_the_bodies_of_all_requests_have_one_bound() -> None:
    async def scenario(app: App) -> None:
        app._rooms = Rooms(100_000, 1 << 20)
        going, arrived = asyncio.Event(), asyncio.Event()
        first = asyncio.ensure_future(slow_body(app, 80_000, arrived, going))
        await arrived.wait()
        assert app._rooms.bodies.used == 80_000
        status, answer = await post(app, "/db/d/query", {"sql": "SELECT ?", "params": ["x" * 30_000]})
        assert (status, answer["error"]["code"]) == (429, "busy")
        going.set()
        assert await first == 200
        assert app._rooms.bodies.used == 0
        assert (await post(app, "/db/d/query", {"sql": "SELECT ?", "params": ["x" * 30_000]}))[0] == 200
        assert app._rooms.bodies.used == 0

    on_node(scenario)


async def slow_body(app: App, size: int, arrived: asyncio.Event, going: asyncio.Event) -> int:
    """A request whose last byte comes when `going` is set; its status."""
    sent: list[Any] = []
    body = json.dumps({"sql": "SELECT 1", "params": []}).encode().ljust(size)
    parts = [(body, True), (b" ", False)]

    async def receive() -> Any:
        if len(parts) == 1:
            arrived.set()
            await going.wait()
        if not parts:
            await asyncio.Event().wait()
        part, more = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": more}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/db/d/query", "query_string": b""}
    await app({**scope, "headers": [(b"host", b"localhost")]}, receive, send)
    return int(sent[0]["status"])


def test_room_is_given_back_whatever_happens() -> None:
    rooms = Rooms(10, 10)
    with rooms.request() as first, rooms.request() as second:
        first.take_body(6)
        with pytest.raises(Busy, match="bodies of requests hold"):
            second.take_body(6)
        second.take_body(4)
        assert rooms.bodies.used == 10
    assert rooms.bodies.used == 0


def test_a_request_that_is_alone_finds_room() -> None:
    """Its own limits hold; the second one is what the room is for."""
    rooms = Rooms(10, 10)
    with rooms.request() as taken:
        taken.take_body(100)
        taken.growing()(100)
        with rooms.request() as other, pytest.raises(Busy, match="answers hold"):
            other.growing()(1)


def test_a_statement_that_is_run_again_is_counted_once() -> None:
    rooms = Rooms(10, 100)
    with rooms.request() as taken:
        for grew, sizes in ((taken.growing(), (10, 30, 20, 30)), (taken.growing(), (5,))):
            for size in sizes:
                grew(size)
        assert rooms.answers.used == 35
