"""What waits on a node: never more than a bound, never for a client that is gone, and never on a database that was closed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.engine.test_group_commit import GatedRegister
from tests.node.test_socket import Socket
from tests.node.test_streams import SLOW, Client, post
from tests.servers.http_client import Server, run
from virke.api.codec import PlainCodec
from virke.errors import Busy
from virke.node import writing
from virke.node.app import App
from virke.node.databases import Databases
from virke.node.limits import Rooms
from virke.node.threads import Threads
from virke.opening import create
from virke.stores.memory import memory_store

COUNT = {"sql": "SELECT count(*) FROM t"}


class World:
    """A node whose store can be held: `register.gate` is what swaps wait for."""

    def __init__(self, open_max: int = 1000) -> None:
        inner = memory_store()
        self.register = GatedRegister(inner.register)
        store = replace(inner, register=self.register, watch=None)
        for name in ("d", "e"):
            with create(name, store) as database:
                database.run_script("CREATE TABLE t (v)")
        self.app = App(Databases(store, open_max=open_max), PlainCodec(), default="d")

    async def hold(self) -> asyncio.Future[Any]:
        """Begin a write, and return when its commit waits for the store."""
        self.register.gate.clear()
        self.register.waiting.clear()
        first = asyncio.ensure_future(post(self.app, "/db/d/execute", {"sql": "INSERT INTO t VALUES ('first')"}))
        while not self.register.waiting.is_set():
            await asyncio.sleep(0.001)
        return first

    async def values(self) -> list[Any]:
        found = await post(self.app, "/db/d/query", {"sql": "SELECT v FROM t ORDER BY v"})
        return [value for (value,) in found[1]["rows"]]


def play(scenario: Callable[[World], Awaitable[None]], **options: Any) -> None:
    """On a node of its own."""

    async def live() -> None:
        world = World(**options)
        try:
            await asyncio.wait_for(scenario(world), 30)
        finally:
            world.register.gate.set()
            await world.app._hrana.streams.close()
            await asyncio.get_running_loop().run_in_executor(None, world.app.close)

    asyncio.run(live())


def pipeline(sql: str) -> dict[str, Any]:
    return {"requests": [{"type": "execute", "stmt": {"sql": sql}}, {"type": "close"}]}


def batch(sql: str) -> dict[str, Any]:
    return {"requests": [{"type": "batch", "batch": {"steps": [{"stmt": {"sql": sql}}]}}, {"type": "close"}]}


INSERT = "INSERT INTO t VALUES ('gone')"
WRITES = {
    "/db/d/execute": {"sql": INSERT},
    "/db/d/batch": {"statements": [INSERT]},
    "/v2/pipeline": pipeline(INSERT),
    "/v3/pipeline": batch(INSERT),
}


@pytest.mark.parametrize("path", WRITES)
def test_a_write_in_line_goes_with_its_client(path: str) -> None:
    async def scenario(world: World) -> None:
        await world.values()
        first = await world.hold()
        gone = asyncio.Event()
        second = asyncio.ensure_future(post(world.app, path, WRITES[path], gone=gone))
        writer = world.app._writer()
        while writer.in_line["d"] < 2:
            await asyncio.sleep(0.001)
        gone.set()
        assert await second == (0, None)
        assert writer.in_line["d"] == 1
        world.register.gate.set()
        assert (await first)[0] == 200
        assert await world.values() == ["first"]

    play(scenario)


def test_a_write_that_was_begun_is_finished_though_its_client_is_gone() -> None:
    async def scenario(world: World) -> None:
        await world.values()
        world.register.gate.clear()
        world.register.waiting.clear()
        gone = asyncio.Event()
        writing = asyncio.ensure_future(post(world.app, "/db/d/execute", {"sql": INSERT}, gone=gone))
        while not world.register.waiting.is_set():
            await asyncio.sleep(0.001)
        gone.set()
        world.register.gate.set()
        assert (await writing)[0] == 200
        assert await world.values() == ["gone"]

    play(scenario)


def test_a_write_over_a_websocket_goes_with_its_connection() -> None:
    async def scenario(world: World) -> None:
        await world.values()
        client = await Socket(world.app, "/db/d/").greeted()
        client.ask("open_stream", stream_id=1)
        await client.heard()
        first = await world.hold()
        client.ask("execute", stream_id=1, stmt={"sql": INSERT})
        while world.app._writer().in_line["d"] < 2:
            await asyncio.sleep(0.001)
        await client.leave()
        world.register.gate.set()
        await first
        assert await world.values() == ["first"]

    play(scenario)


def test_too_many_writes_in_line_are_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "LINE_MAX", 3)

    async def scenario(world: World) -> None:
        await world.values()
        first = await world.hold()
        waiting = [asyncio.ensure_future(post(world.app, path, WRITES[path])) for path in list(WRITES)[:2]]
        while world.app._writer().in_line["d"] < 3:
            await asyncio.sleep(0.001)
        status, found = await post(world.app, "/db/d/execute", {"sql": INSERT})
        assert (status, found["error"]["code"], found["error"]["retryable"]) == (429, "busy", True)
        status, found = await post(world.app, "/v2/pipeline", pipeline(INSERT))
        assert found["results"][0]["error"]["code"] == "SQLITE_BUSY"
        world.register.gate.set()
        assert [(await one)[0] for one in (first, *waiting)] == [200, 200, 200]
        assert await world.values() == ["first", "gone", "gone"]
        assert not world.app._writer().in_line

    play(scenario)


def test_too_many_reads_that_wait_for_a_thread_are_busy() -> None:
    async def scenario(world: World) -> None:
        world.app._threads = Threads(readers=1, waiting_max=1)
        gone = asyncio.Event()
        slow = [asyncio.ensure_future(post(world.app, "/db/d/query", {"sql": SLOW}, gone=gone)) for _ in range(2)]
        while not world.app._threads.waiting:
            await asyncio.sleep(0.001)
        status, found = await post(world.app, "/db/d/query", {"sql": SLOW})
        assert (status, found["error"]["code"]) == (429, "busy")
        gone.set()
        assert await asyncio.gather(*slow) == [(0, None), (0, None)]
        assert (await post(world.app, "/db/d/query", COUNT))[0] == 200

    play(scenario)


def test_what_was_begun_is_never_refused_and_what_ends_waits_for_no_reader() -> None:
    threads = Threads(readers=1, waiting_max=0)
    going = threading.Event()
    try:
        first = threads.go_on(going.wait, 30)
        with pytest.raises(Busy, match="wait here for a reader"):
            threads.submit(int)
        second = threads.going_on.submit(int)
        assert threads.ending.submit(int).result(30) == 0
        going.set()
        assert (first.result(30), second.result(30)) == (True, 0)
        assert threads.waiting == 0
    finally:
        going.set()
        threads.shutdown()


def test_a_transaction_commits_while_every_reader_is_busy() -> None:
    async def scenario(world: World) -> None:
        client = Client(world.app)
        assert await client.say("BEGIN IMMEDIATE", "INSERT INTO t VALUES ('committed')") == [None, None]
        gone = asyncio.Event()
        slow = [asyncio.ensure_future(post(world.app, "/db/d/query", {"sql": SLOW}, gone=gone)) for _ in range(30)]
        while world.app._threads.waiting < 14:
            await asyncio.sleep(0.001)
        assert await client.say("COMMIT") == [None]
        assert world.app._threads.waiting == 14
        gone.set()
        await asyncio.gather(*slow)
        assert await world.values() == ["committed"]

    play(scenario)


def test_the_answers_of_all_requests_have_one_bound() -> None:
    """One that is being sent holds its bytes; another one that would be too much is stopped, and changes nothing."""
    large = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 60000) "
    select = {"sql": large + "SELECT n, 'some text that makes it long' FROM r"}
    returning = {"sql": large + "INSERT INTO t SELECT 'some text' || n FROM r RETURNING v, v, v"}

    async def scenario(world: World) -> None:
        world.app._rooms = rooms = Rooms(1 << 20, 16 << 20)
        reading, begun = asyncio.Event(), asyncio.Event()
        first = asyncio.ensure_future(slowly(world.app, select, reading, begun))
        await begun.wait()
        held = rooms.answers.used
        assert held > 5 << 20
        for body in (select, returning):
            status, found = await post(world.app, "/db/d/query", body)
            assert (status, found["error"]["code"]) == (429, "busy")
        status, found = await post(world.app, "/v2/pipeline", pipeline(returning["sql"]))
        assert found["results"][0]["error"]["code"] == "SQLITE_BUSY"
        assert rooms.answers.used == held
        assert (await post(world.app, "/db/d/query", COUNT))[1]["rows"] == [[0]]
        reading.set()
        assert len((await first)["rows"]) == 60_000
        assert rooms.answers.used == 0
        assert (await post(world.app, "/db/d/query", returning))[0] == 200
        assert rooms.answers.used == 0

    play(scenario)


async def slowly(app: App, body: object, reading: asyncio.Event, begun: asyncio.Event) -> Any:
    """What a client is answered that reads from the moment when `reading` is set; `begun`: there is something to read."""
    sent: list[bytes] = []
    parts = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> Any:
        if not parts:
            await asyncio.Event().wait()
        return parts.pop()

    async def send(message: Any) -> None:
        begun.set()
        await reading.wait()
        sent.append(message.get("body", b""))

    scope = {"type": "http", "method": "POST", "path": "/db/d/query", "query_string": b""}
    await app({**scope, "headers": [(b"host", b"localhost")]}, receive, send)
    return json.loads(b"".join(sent))


def test_while_there_is_no_room_small_answers_and_those_of_writes_go_on() -> None:
    """Clients that hold large answers, and do not read them, take nothing from the others."""
    medium = {"sql": "SELECT ?", "params": ["x" * 100_000]}
    write = {"sql": "INSERT INTO t VALUES (?) RETURNING v", "params": ["x" * 100_000]}

    async def scenario(world: World) -> None:
        world.app._rooms = rooms = Rooms(1 << 20, 1 << 20)
        await world.values()
        rooms.answers.add(1 << 20)
        assert (await post(world.app, "/db/d/query", medium))[0] == 429
        assert (await post(world.app, "/db/d/query", COUNT))[0] == 200
        assert (await post(world.app, "/db/d/query", write))[0] == 200
        client = await Socket(world.app, "/db/d/").greeted()
        client.ask("open_stream", stream_id=1)
        assert (await client.heard())["type"] == "response_ok"
        client.ask("execute", stream_id=1, stmt={"sql": "SELECT v FROM t"})
        assert (await client.heard())["error"]["code"] == "SQLITE_BUSY"
        rooms.answers.add(-(1 << 20))
        assert (await post(world.app, "/db/d/query", medium))[0] == 200
        await client.leave()
        assert rooms.answers.used == 0

    play(scenario)


@pytest.mark.parametrize("holds", ["baton", "websocket"])
def test_a_database_with_an_open_stream_is_not_closed_for_want_of_room(holds: str) -> None:
    async def scenario(world: World) -> None:
        databases = world.app.databases
        if holds == "baton":
            client = Client(world.app)
            assert await client.say("BEGIN", "SELECT 1") == [None, "1"]
        else:
            socket = await Socket(world.app, "/db/d/").greeted()
        used = databases.known("d")
        assert used is not None
        for _ in range(2):
            assert (await post(world.app, "/db/e/query", COUNT))[0] == 200
        assert databases.known("d") is used
        if holds == "baton":
            assert await client.say("INSERT INTO t VALUES (1)", "COMMIT") == [None, None]
        else:
            await socket.leave()
        assert (await post(world.app, "/db/e/query", COUNT))[0] == 200
        assert not databases._in_use

    play(scenario, open_max=0)


def test_our_own_http_says_when_a_client_goes() -> None:
    """The same as `test_a_write_in_line_goes_with_its_client`, over a socket."""
    world: World

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await world.app(scope, receive, send)

    async def scenario(server: Server) -> None:
        nonlocal world
        world = World()
        try:
            await world.values()
            first = await world.hold()
            _, client = await server.connect()
            body = json.dumps({"sql": INSERT}).encode()
            client.write(
                b"POST /db/d/execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            while world.app._writer().in_line["d"] < 2:
                await asyncio.sleep(0.001)
            client.close()
            while world.app._writer().in_line["d"] > 1:
                await asyncio.sleep(0.001)
            world.register.gate.set()
            await first
            assert await world.values() == ["first"]
        finally:
            world.register.gate.set()
            await asyncio.get_running_loop().run_in_executor(None, world.app.close)

    run(application, scenario)


def test_a_cursor_of_a_websocket_holds_room_until_it_was_fetched_or_closed() -> None:
    rows = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 40000) SELECT n, 'a text' FROM r"

    async def scenario(world: World) -> None:
        rooms = world.app._rooms
        for ends in ("fetch", "close", "leave"):
            client = await Socket(world.app, "/db/d/", ("hrana3",)).greeted()
            client.ask("open_stream", stream_id=1)
            await client.heard()
            client.ask("open_cursor", stream_id=1, cursor_id=1, batch={"steps": [{"stmt": {"sql": rows}}]})
            assert (await client.heard())["type"] == "response_ok"
            assert rooms.answers.used > 4 << 20
            client.ask("fetch_cursor", cursor_id=1, max_count=10)
            found = (await client.heard())["response"]
            assert (len(found["entries"]), found["done"]) == (10, False)
            assert rooms.answers.used > 4 << 20
            if ends == "fetch":
                client.ask("fetch_cursor", cursor_id=1, max_count=100_000)
                found = (await client.heard())["response"]
                assert (len(found["entries"]), found["done"]) == (40_002 - 10, True)
                client.ask("fetch_cursor", cursor_id=1, max_count=1)
                assert (await client.heard())["response"]["entries"] == []
            elif ends == "close":
                client.ask("close_cursor", cursor_id=1)
                await client.heard()
            await client.leave()
            assert rooms.answers.used == 0

    play(scenario)
