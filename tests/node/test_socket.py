"""Hrana over a WebSocket: many streams on one connection, each in order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from virke.api.codec import PlainCodec
from virke.node.app import App
from virke.node.databases import Databases
from virke.stores.memory import memory_store

SLOW = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r"


class Socket:
    """A client's end of a connection."""

    def __init__(
        self, app: App, path: str = "/", subprotocols: tuple[str, ...] = ("hrana2",), host: str = "localhost"
    ) -> None:
        self._to_server: asyncio.Queue[Any] = asyncio.Queue()
        self.from_server: asyncio.Queue[Any] = asyncio.Queue()
        self._to_server.put_nowait({"type": "websocket.connect"})
        scope = {
            "type": "websocket",
            "path": path,
            "raw_path": path.encode(),
            "headers": [(b"host", host.encode())],
            "subprotocols": list(subprotocols),
        }
        self.serving = asyncio.ensure_future(app(scope, self._to_server.get, self.from_server.put))
        self._count = 0

    def say(self, message: object) -> None:
        self._to_server.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    def ask(self, kind: str, **fields: Any) -> int:
        """Send a request; its number."""
        self._count += 1
        self.say({"type": "request", "request_id": self._count, "request": {"type": kind, **fields}})
        return self._count

    async def heard(self) -> Any:
        """The next message, or the event that is none."""
        message = await self.from_server.get()
        return json.loads(message["text"]) if message["type"] == "websocket.send" else message

    async def answers(self, count: int) -> dict[int, Any]:
        """So many answers, by their numbers."""
        found = [await self.heard() for _ in range(count)]
        return {one["request_id"]: one.get("response") or one["error"]["code"] for one in found}

    async def greeted(self) -> Socket:
        """After the handshake."""
        assert (await self.heard())["type"] == "websocket.accept"
        self.say({"type": "hello", "jwt": None})
        assert await self.heard() == {"type": "hello_ok"}
        return self

    async def leave(self) -> None:
        self._to_server.put_nowait({"type": "websocket.disconnect"})
        await self.serving


def run(scenario: Callable[[App], Awaitable[None]]) -> None:
    databases = Databases(memory_store())
    databases.create("d", if_not_exists=False, page_size=None)
    databases.database("d").execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")

    async def live() -> None:
        app = App(databases, PlainCodec(), default="d")
        try:
            await asyncio.wait_for(scenario(app), 30)
        finally:
            await app._hrana.streams.close()
            await asyncio.get_running_loop().run_in_executor(None, app.close)

    asyncio.run(live())


def first(response: Any) -> Any:
    return response["result"]["rows"][0][0]["value"]


@pytest.mark.parametrize(
    ("offered", "spoken"), [(("hrana1", "hrana2"), "hrana2"), (("hrana3-protobuf", "hrana3"), "hrana3"), ((), None)]
)
def test_the_newest_version_that_both_know_is_spoken(offered: tuple[str, ...], spoken: str | None) -> None:
    async def scenario(app: App) -> None:
        socket = Socket(app, subprotocols=offered)
        assert await socket.heard() == {"type": "websocket.accept", "subprotocol": spoken}
        await socket.leave()

    run(scenario)


def test_a_client_that_knows_no_version_is_sent_away() -> None:
    async def scenario(app: App) -> None:
        assert (await Socket(app, subprotocols=("hrana9",)).heard())["type"] == "websocket.close"

    run(scenario)


def test_requests_are_answered_without_waiting_for_answers() -> None:
    """Messages that build on each other may be sent at once: the next one finds what the one before did."""

    async def scenario(app: App) -> None:
        socket = await Socket(app).greeted()
        opened = socket.ask("open_stream", stream_id=1)
        stored = socket.ask("store_sql", sql_id=5, sql="INSERT INTO t (b) VALUES ('x')")
        begun = socket.ask("execute", stream_id=1, stmt={"sql": "BEGIN IMMEDIATE"})
        written = socket.ask("execute", stream_id=1, stmt={"sql_id": 5})
        closed = socket.ask("close_sql", sql_id=5)
        late = socket.ask("execute", stream_id=1, stmt={"sql_id": 5})
        asked = socket.ask("get_autocommit", stream_id=1)
        done = socket.ask("execute", stream_id=1, stmt={"sql": "COMMIT"})
        counted = socket.ask("execute", stream_id=1, stmt={"sql": "SELECT count(*) FROM t"})
        ended = socket.ask("close_stream", stream_id=1)
        found = await socket.answers(10)
        assert [found[one]["type"] for one in (opened, stored, begun, closed, done, ended)] == [
            "open_stream", "store_sql", "execute", "close_sql", "execute", "close_stream",
        ]  # fmt: skip
        assert found[written]["result"]["affected_row_count"] == 1
        assert (found[asked]["is_autocommit"], found[late], first(found[counted])) == (False, "SQL_NOT_FOUND", "1")
        await socket.leave()

    run(scenario)


def test_a_long_statement_of_one_stream_does_not_hold_up_another() -> None:
    async def scenario(app: App) -> None:
        socket = await Socket(app).greeted()
        for number in (1, 2):
            socket.ask("open_stream", stream_id=number)
        await socket.answers(2)
        socket.ask("execute", stream_id=1, stmt={"sql": SLOW})
        quick = socket.ask("execute", stream_id=2, stmt={"sql": "SELECT 7"})
        assert {number: first(one) for number, one in (await socket.answers(1)).items()} == {quick: "7"}
        await socket.leave()

    run(scenario)


def test_a_connection_that_ends_ends_its_transactions_and_statements() -> None:
    async def scenario(app: App) -> None:
        gone = await Socket(app).greeted()
        gone.ask("open_stream", stream_id=1)
        gone.ask("execute", stream_id=1, stmt={"sql": "BEGIN IMMEDIATE"})
        await gone.answers(2)
        gone.ask("execute", stream_id=1, stmt={"sql": SLOW})
        await asyncio.sleep(0.2)
        await gone.leave()
        socket = await Socket(app).greeted()
        socket.ask("open_stream", stream_id=1)
        steps = [{"stmt": {"sql": "BEGIN IMMEDIATE"}}, {"stmt": {"sql": "ROLLBACK"}}]
        asked = socket.ask("batch", stream_id=1, batch={"steps": steps})
        assert (await socket.answers(2))[asked]["result"]["step_errors"] == [None, None]
        await socket.leave()

    run(scenario)


def test_a_cursor_is_fetched_piece_by_piece() -> None:
    async def scenario(app: App) -> None:
        socket = await Socket(app).greeted()
        socket.ask("open_stream", stream_id=1)
        steps = [{"stmt": {"sql": "SELECT 1 UNION SELECT 2 UNION SELECT 3"}}]
        opened = socket.ask("open_cursor", stream_id=1, cursor_id=9, batch={"steps": steps})
        pieces = [socket.ask("fetch_cursor", cursor_id=9, max_count=4) for _ in range(2)]
        socket.ask("close_cursor", cursor_id=9)
        over = socket.ask("fetch_cursor", cursor_id=9, max_count=4)
        found = await socket.answers(6)
        assert (found[opened]["type"], found[over]) == ("open_cursor", "CURSOR_NOT_OPEN")
        kinds = [[entry["type"] for entry in found[one]["entries"]] for one in pieces]
        assert kinds == [["step_begin", "row", "row", "row"], ["step_end"]]
        assert [found[one]["done"] for one in pieces] == [False, True]
        await socket.leave()

    run(scenario)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"type": "request", "request_id": 1, "request": {"type": "open_stream", "stream_id": 1}}, "before hello"),
        ({"type": "nonsense"}, "a message is"),
        ([], "a message is"),
    ],
)
def test_a_message_that_breaks_the_protocol_ends_the_connection(message: object, reason: str) -> None:
    async def scenario(app: App) -> None:
        socket = Socket(app)
        await socket.heard()
        socket.say(message)
        closed = await socket.heard()
        assert (closed["type"], closed["code"]) == ("websocket.close", 1002)
        assert reason in closed["reason"]
        await socket.serving

    run(scenario)


def test_a_database_that_does_not_exist_is_said_at_hello() -> None:
    async def scenario(app: App) -> None:
        socket = Socket(app, path="/db/nope/")
        await socket.heard()
        socket.say({"type": "hello"})
        assert (await socket.heard())["error"]["code"] == "NOT_FOUND"
        assert (await socket.heard())["type"] == "websocket.close"

    run(scenario)


def test_a_page_of_another_site_is_refused_at_hello() -> None:
    async def scenario(app: App) -> None:
        socket = Socket(app, host="evil.example")
        await socket.heard()
        socket.say({"type": "hello"})
        assert (await socket.heard())["error"]["code"] == "BLOCKED"
        assert (await socket.heard())["type"] == "websocket.close"

    run(scenario)
