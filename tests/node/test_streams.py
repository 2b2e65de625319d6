"""Streams on a node: batons, transactions that wait for each other on the loop, leases, clients that go away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

import pytest

from virke.api.codec import PlainCodec
from virke.engine.database import Database
from virke.node.app import App
from virke.node.databases import Databases
from virke.node.hrana import Hrana
from virke.node.streams import Streams
from virke.node.threads import Threads
from virke.opening import connect
from virke.stores.memory import memory_store

SLOW = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r"
WRITES = [{"type": "execute", "stmt": {"sql": "INSERT INTO t VALUES (1, 'a')"}}]
Scenario = Callable[[App], Awaitable[None]]


@pytest.fixture
def run() -> Callable[[Scenario], None]:
    """Runs a scenario on an application with the database `d` as its default."""
    databases = Databases(memory_store())
    databases.create("d", if_not_exists=False, page_size=None)
    databases.database("d").execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")

    def call(scenario: Scenario) -> None:
        async def live() -> None:
            app = App(databases, PlainCodec(), default="d")
            try:
                await asyncio.wait_for(scenario(app), 30)
            finally:
                await app._hrana.streams.close()
                await asyncio.get_running_loop().run_in_executor(None, app.close)

        asyncio.run(live())

    return call


def with_times(app: App, *, lease_s: float = 10.0, writing_s: float = 30.0, gate_s: float = 5.0) -> None:
    """Streams with other times than the usual ones."""
    streams = Streams(
        app._threads, app._writer, app.databases.hold, app._watch, lease_s=lease_s, writing_s=writing_s, gate_s=gate_s
    )
    app._hrana = Hrana(streams, app._writer, app._threads, app.codec, watch=app._watch)


async def post(
    app: App,
    path: str,
    body: object,
    *,
    gone: asyncio.Event | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> tuple[int, Any]:
    sent: list[Any] = []
    parts = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> Any:
        if parts:
            return parts.pop()
        await (gone or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    named = [(name.encode(), value.encode()) for name, value in {"host": "localhost", **headers}.items()]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    await app({**scope, "headers": named}, receive, send)
    data = b"".join(message["body"] for message in sent[1:])
    return (sent[0]["status"], json.loads(data)) if sent else (0, None)


class Client:
    """One stream, as a client has it."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.baton: str | None = None

    async def say(self, *sql: str, gone: asyncio.Event | None = None) -> list[Any]:
        """The first value of each statement's first row, None without one, or the code of its error."""
        requests = [{"type": "execute", "stmt": {"sql": one}} for one in sql]
        status, body = await post(self.app, "/v3/pipeline", {"baton": self.baton, "requests": requests}, gone=gone)
        if status != 200:
            return [status, body and body["code"]]
        self.baton = body["baton"]
        return [_short(one) for one in body["results"]]


def _short(result: Any) -> Any:
    if result["type"] == "error":
        return result["error"]["code"]
    rows = result["response"]["result"]["rows"]
    return rows[0][0].get("value") if rows else None


COUNT = "SELECT count(*) FROM t"
INSERT = "INSERT INTO t (b) VALUES ('x')"


def test_a_transaction_goes_on_over_requests_and_is_seen_when_it_is_committed(run: Callable[[Scenario], None]) -> None:
    async def scenario(app: App) -> None:
        one, other = Client(app), Client(app)
        assert await one.say("BEGIN IMMEDIATE", INSERT) == [None, None]
        assert [await one.say(COUNT), await other.say(COUNT)] == [["1"], ["0"]]
        assert await one.say("COMMIT") == [None]
        assert await other.say(COUNT) == ["1"]
        assert one.baton is None

    run(scenario)


def test_a_baton_is_good_for_one_request(run: Callable[[Scenario], None]) -> None:
    async def scenario(app: App) -> None:
        client = Client(app)
        await client.say("BEGIN")
        used, first = client.baton, Client(app)
        await client.say(COUNT)
        first.baton = used
        assert await first.say(COUNT) == [400, "BATON_REUSED"]
        assert used is not None
        first.baton = used[:-1] + ("A" if used[-1] != "A" else "B")
        assert await first.say(COUNT) == [400, "BATON_REUSED"]
        first.baton = "nonsense"
        assert await first.say(COUNT) == [400, "BATON_INVALID"]
        assert await client.say("ROLLBACK") == [None]

    run(scenario)


def test_a_client_that_lost_an_answer_can_close_its_stream_with_the_baton_that_it_has(
    run: Callable[[Scenario], None],
) -> None:
    """Its transaction would keep the gate from all others until its lease ends."""

    async def scenario(app: App) -> None:
        with_times(app, lease_s=100, gate_s=20)
        client, other = Client(app), Client(app)
        await client.say("BEGIN IMMEDIATE")
        used = client.baton
        await client.say("INSERT INTO t VALUES (1, 'a')")
        body = {"baton": used, "requests": [{"type": "close"}]}
        assert (await post(app, "/v2/pipeline", body))[0] == 400
        assert await other.say("BEGIN IMMEDIATE", "INSERT INTO t VALUES (2, 'b')", "COMMIT") == [None, None, None]
        assert await other.say(COUNT) == ["1"]

    run(scenario)


def test_a_stream_whose_answer_could_not_be_sent_is_ended(run: Callable[[Scenario], None]) -> None:
    async def scenario(app: App) -> None:
        with_times(app, lease_s=100, gate_s=20)

        async def lost(message: Any) -> None:
            raise ConnectionResetError("the client is gone")

        body = json.dumps({"requests": [{"type": "execute", "stmt": {"sql": "BEGIN IMMEDIATE"}}, *WRITES]}).encode()
        parts = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if parts:
                return parts.pop()
            await asyncio.Event().wait()
            return None

        headers = [(b"host", b"localhost")]
        scope = {"type": "http", "method": "POST", "path": "/v2/pipeline", "query_string": b"", "headers": headers}
        with pytest.raises(ConnectionResetError):
            await app(scope, receive, lost)
        other = Client(app)
        assert await other.say("BEGIN IMMEDIATE", "INSERT INTO t VALUES (2, 'b')", "COMMIT") == [None, None, None]
        assert await other.say(COUNT) == ["1"]

    run(scenario)


def test_a_baton_of_another_database_is_refused(run: Callable[[Scenario], None]) -> None:
    async def scenario(app: App) -> None:
        client = Client(app)
        await client.say("BEGIN")
        app.databases.create("e", if_not_exists=False, page_size=None)
        status, body = await post(app, "/db/e/v2/pipeline", {"baton": client.baton, "requests": []})
        assert (status, body["code"]) == (404, "STREAM_EXPIRED")

    run(scenario)


def test_writing_transactions_wait_for_each_other_and_none_is_lost(run: Callable[[Scenario], None]) -> None:
    """More of them than there are threads: those that wait take none."""

    async def scenario(app: App) -> None:
        app._threads = Threads(2)
        with_times(app, gate_s=25.0)

        async def transaction() -> list[Any]:
            client = Client(app)
            said = await client.say("BEGIN IMMEDIATE", COUNT)
            return said + await client.say(INSERT, "COMMIT")

        found = await asyncio.gather(*(transaction() for _ in range(8)))
        assert sorted(found) == [[None, str(number), None, None] for number in range(8)]

    run(scenario)


def test_a_wait_for_the_gate_is_over_after_its_time(run: Callable[[Scenario], None]) -> None:
    async def scenario(app: App) -> None:
        with_times(app, gate_s=0.05)
        one, other = Client(app), Client(app)
        await one.say("BEGIN IMMEDIATE")
        assert await other.say("BEGIN IMMEDIATE") == ["SQLITE_BUSY"]
        assert other.baton is None
        assert await one.say("ROLLBACK") == [None]
        assert await other.say("BEGIN IMMEDIATE", "ROLLBACK") == [None, None]

    run(scenario)


def test_a_transaction_that_read_what_another_changed_is_busy_at_its_first_write(
    run: Callable[[Scenario], None],
) -> None:
    async def scenario(app: App) -> None:
        one, other = Client(app), Client(app)
        assert await one.say("BEGIN", COUNT) == [None, "0"]
        await other.say(INSERT)
        assert await one.say(COUNT) == ["0"]
        assert await one.say(INSERT) == ["SQLITE_BUSY"]
        assert await one.say("ROLLBACK", COUNT) == [None, "1"]

    run(scenario)


def test_a_transaction_that_read_goes_on_to_write_after_versions_that_changed_no_page(
    run: Callable[[Scenario], None],
) -> None:
    """Settings, and the turn that a transaction takes for itself after one that lost."""

    async def scenario(app: App) -> None:
        one, other = Client(app), Client(app)
        database = app.databases.database("d")
        await one.say("BEGIN", COUNT)
        await asyncio.to_thread(database.change_settings, {"query_timeout_ms": 200})
        assert await one.say(INSERT, "COMMIT") == [None, None]
        with connect("d", app.databases.store, background=False) as elsewhere:
            await other.say("BEGIN IMMEDIATE", COUNT)
            await asyncio.to_thread(elsewhere.execute, INSERT)
            assert await other.say(INSERT, "COMMIT") == [None, "SQLITE_BUSY"]
        assert await one.say("BEGIN", COUNT) == [None, "2"]
        assert await one.say(INSERT, COUNT, "COMMIT") == [None, "3", None]

    run(scenario)


def test_a_deferred_transaction_that_wrote_first_sees_the_newest_state(run: Callable[[Scenario], None]) -> None:
    async def scenario(app: App) -> None:
        one, other = Client(app), Client(app)
        await one.say("BEGIN")
        await other.say(INSERT)
        assert await one.say(INSERT, COUNT, "COMMIT") == [None, "2", None]

    run(scenario)


def test_a_stream_that_is_not_used_is_ended_and_lets_others_write(run: Callable[[Scenario], None]) -> None:
    async def scenario(app: App) -> None:
        with_times(app, lease_s=0.05, gate_s=20.0)
        one, other = Client(app), Client(app)
        await one.say("BEGIN IMMEDIATE", INSERT)
        assert await other.say("BEGIN IMMEDIATE", COUNT, "COMMIT") == [None, "0", None]
        assert await one.say("COMMIT") == [404, "STREAM_EXPIRED"]

    run(scenario)


def test_a_writing_transaction_has_a_deadline_whatever_it_does(run: Callable[[Scenario], None]) -> None:
    async def scenario(app: App) -> None:
        with_times(app, writing_s=0.3, gate_s=20.0)
        one, other = Client(app), Client(app)
        await one.say("BEGIN IMMEDIATE", INSERT)
        waiting = asyncio.ensure_future(other.say("BEGIN IMMEDIATE", COUNT, "COMMIT"))
        assert await one.say(SLOW) == ["SQLITE_INTERRUPT"]
        assert await waiting == [None, "0", None]
        assert one.baton is None

    run(scenario)


@pytest.mark.parametrize("first", ["SELECT 1", "BEGIN", "BEGIN IMMEDIATE"])
def test_a_client_that_goes_away_ends_what_runs_for_it(run: Callable[[Scenario], None], first: str) -> None:
    """In a transaction and outside; a transaction of it keeps nobody waiting."""

    async def scenario(app: App) -> None:
        gone = asyncio.Event()
        asyncio.get_running_loop().call_later(0.3, gone.set)
        client = Client(app)
        await client.say(first)
        found = await client.say(SLOW, gone=gone)
        assert found[0] == "SQLITE_INTERRUPT"
        assert client.baton is None
        assert await Client(app).say("BEGIN IMMEDIATE", "COMMIT") == [None, None]
        assert not app._hrana.streams._kept

    run(scenario)


def test_foreign_keys_are_a_streams_own(run: Callable[[Scenario], None]) -> None:
    async def scenario(app: App) -> None:
        app.databases.database("d").change_settings({"foreign_keys": "on"})
        one, other = Client(app), Client(app)
        await other.say("CREATE TABLE c (t REFERENCES t)")
        assert await one.say("PRAGMA foreign_keys=off") == [None]
        assert await one.say("PRAGMA foreign_keys") + await other.say("PRAGMA foreign_keys") == ["0", "1"]
        orphan = "INSERT INTO c VALUES (7)"
        assert await other.say(orphan) + await one.say(orphan) == ["SQLITE_CONSTRAINT", None]

    run(scenario)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "d"),
        ({"x-namespace": "e"}, "e"),
        ({"host": "e.localhost:8080"}, "e"),
        ({"host": "nope.localhost"}, "d"),
        ({"host": "127.0.0.1:8080"}, "d"),
        ({"host": "localhost"}, "d"),
        ({"host": "[::1]:8080"}, "d"),
        ({"host": "e.localhost", "x-namespace": "d"}, "d"),
    ],
)
def test_a_database_is_named_by_header_or_host(
    run: Callable[[Scenario], None], headers: dict[str, str], expected: str
) -> None:
    async def scenario(app: App) -> None:
        app.databases.create("e", if_not_exists=False, page_size=None)
        app.databases.database("e").execute("CREATE TABLE e (a)")
        body = {
            "requests": [{"type": "execute", "stmt": {"sql": "SELECT name FROM sqlite_schema WHERE type = 'table'"}}]
        }
        _, found = await post(app, "/v2/pipeline", body, headers=headers)
        assert _short(found["results"][0]) == {"d": "t", "e": "e"}[expected]

    run(scenario)


def test_a_host_that_names_no_database_is_asked_for_once(run: Callable[[Scenario], None]) -> None:
    async def scenario(app: App) -> None:
        asked: list[str] = []
        database = app.databases.database

        def counted(name: str) -> Database:
            asked.append(name)
            return database(name)

        app.databases.database = counted  # type: ignore[method-assign]
        for _ in range(3):
            await post(app, "/v2/pipeline", {"requests": []}, headers={"host": "nope.localhost"})
        assert asked == ["nope"]

    run(scenario)
