"""Rows line by line: a result of any size in bounded memory."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

import pytest

from tests.api.conftest import CODEC, Call, beyond_the_edge
from virke.api.codec import PlainCodec
from virke.api.native import BYTES_OF_A_PART, Streamed
from virke.api.operations import Run
from virke.api.performing import perform_operation
from virke.node.app import App
from virke.node.databases import Databases
from virke.scopes import Scope
from virke.stores.memory import memory_store

NUMBERS = "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT i, i || 'x' AS t FROM n"
LINES = {"accept": "application/x-ndjson"}


@pytest.fixture
def shop(call: Call) -> Call:
    """A server with a database `shop` and a table in it."""
    assert call("PUT", "/db/shop").status == 201
    assert call("POST", "/db/shop/query", {"sql": "CREATE TABLE item (name TEXT UNIQUE)"}).status == 200
    return call


@pytest.mark.parametrize("count", [0, 1, 2, 700])
def test_a_read_has_a_head_its_rows_and_an_end(shop: Call, count: int) -> None:
    sql = NUMBERS + (" WHERE i > 1" if not count else "")
    for _ in range(2):  # cold, and then from memory
        found = shop("POST", "/db/shop/query", {"sql": sql, "params": [max(1, count)]}, **LINES)
        head, *rows, end = found.lines
        assert (found.status, found.headers["content-type"]) == (200, "application/x-ndjson")
        assert (head["columns"], rows) == (["i", "t"], [[n, f"{n}x"] for n in range(1, count + 1)])
        assert (end["rows"], end["bookmark"]) == (count, found.headers["virke-bookmark"])
        assert (head["version"], head["bookmark"]) == (end["version"], end["bookmark"])


def test_a_write_is_answered_the_same_way_and_done_once(shop: Call) -> None:
    body = {"sql": "INSERT INTO item VALUES ('pen'), ('ink') RETURNING name"}
    head, *rows, end = shop("POST", "/db/shop/execute", body, **LINES).lines
    assert (head["columns"], rows) == (["name"], [["pen"], ["ink"]])
    assert (end["rows"], end["rows_affected"], end["last_insert_rowid"]) == (2, 2, 2)
    keyed = {"sql": "DELETE FROM item"}
    first = shop("POST", "/db/shop/execute", keyed, idempotency_key="k", **LINES)
    assert first.body == shop("POST", "/db/shop/execute", keyed, idempotency_key="k", **LINES).body
    assert first.lines[-1]["rows_affected"] == 2
    assert shop("POST", "/db/shop/batch", {"statements": ["SELECT 1"]}, **LINES).json[0]["rows"] == [[1]]


@beyond_the_edge
def test_what_fails_until_the_first_row_has_a_status_and_later_is_the_last_line(shop: Call) -> None:
    for sql in ("SELEC 1", "SELECT abs(-9223372036854775808)", "INSERT INTO item VALUES (abs(-9223372036854775808))"):
        found = shop("POST", "/db/shop/query", {"sql": sql}, **LINES)
        assert (found.status, found.json["error"]["code"]) == (400, "sql_error")
    late = NUMBERS + " WHERE i < 5000 OR abs(-9223372036854775808)"
    found = shop("POST", "/db/shop/query", {"sql": late, "params": [6000]}, **LINES)
    head, *rows, end = found.lines
    assert (found.status, head["columns"], len(rows), end["error"]["code"]) == (200, ["i", "t"], 4999, "sql_error")
    assert shop("POST", "/db/shop/query", {"sql": "SELECT 1", "meta": True}, **LINES).status == 400


def test_what_a_token_may_only_read_is_not_written() -> None:
    databases = Databases(memory_store())
    databases.create("shop", if_not_exists=False, page_size=None)
    run = Run("shop", (("CREATE TABLE t (a)", ()),), streams=True)
    with pytest.raises(Exception, match="only reads are allowed"):
        perform_operation(run, databases, Scope.READ)
    databases.close()


def test_memory_is_that_of_a_part_whatever_the_size_of_the_result() -> None:
    """200 MB of rows, more than a result may have otherwise, in parts that are small."""
    databases = Databases(memory_store())
    databases.create("shop", if_not_exists=False, page_size=None)
    sql = NUMBERS.replace("i || 'x'", "printf('%.20000c', 'x')")
    streamed: Any = perform_operation(Run("shop", ((sql, (10_000,)),), streams=True), databases, Scope.READ)
    assert isinstance(streamed, Streamed)
    tracemalloc.start()
    size = longest = 0
    for part in streamed.lines(PlainCodec()):
        size, longest = size + len(part), max(longest, len(part))
    assert (size > 200_000_000, longest < BYTES_OF_A_PART + 21_000) == (True, True)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    streamed.close()
    databases.close()


def test_a_client_that_goes_away_ends_its_statement() -> None:
    """The reader is free again, and the statement, which would never end, has ended."""
    databases = Databases(memory_store())
    databases.create("shop", if_not_exists=False, page_size=None)
    app, loop = App(databases, CODEC), asyncio.new_event_loop()
    is_gone = asyncio.Event()
    sent: list[Any] = []
    body = CODEC.dumps({"sql": NUMBERS.replace("WHERE i < ?", "") + " WHERE i < 1000 OR i < 0"})
    messages: list[Any] = [{"type": "http.request", "body": body}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await is_gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) == 3:
            loop.call_later(0.05, is_gone.set)

    headers = [(b"host", b"localhost"), (b"accept", b"application/x-ndjson")]
    scope = {"type": "http", "method": "POST", "path": "/db/shop/query", "query_string": b"", "headers": headers}
    loop.run_until_complete(asyncio.wait_for(app(scope, receive, send), 20))
    assert sent[0]["status"] == 200
    assert sent[-1].get("more_body") is True
    app.close()
    loop.close()
