"""`Server-Timing` says what a request took, and what it asked of the store."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator

import pytest

from tests.api.conftest import CODEC, Answered, asgi
from virke.api.messages import Request
from virke.node.app import App
from virke.node.databases import Databases
from virke.stores.memory import memory_store

FORM = re.compile(r'total;dur=([0-9]+\.[0-9]+), store;dur=([0-9.]+);desc="([0-9]+) requests"').fullmatch


Ask = Callable[..., Answered]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """`ask(method, path, sql)`: what a node answers."""
    app, loop = App(Databases(memory_store()), CODEC), asyncio.new_event_loop()
    serve = asgi(app, loop)

    def send(method: str, path: str, sql: str | None = None) -> Answered:
        body = b"" if sql is None else CODEC.dumps({"sql": sql})
        return serve(Request(method, path, headers={"host": "localhost"}, body=body))

    yield send
    app.close()
    loop.close()


def requests_of(answered: Answered) -> int:
    """How many requests to the store the header says."""
    found = FORM(answered.headers["server-timing"])
    assert found, answered.headers
    return int(found[3])


def test_requests_to_the_store_are_those_of_the_request(ask: Ask) -> None:
    assert requests_of(ask("PUT", "/db/shop")) >= 1
    assert requests_of(ask("POST", "/db/shop/query", "CREATE TABLE t (a)")) >= 1
    assert requests_of(ask("POST", "/db/shop/query", "INSERT INTO t VALUES (1)")) == 1  # a small commit is one write
    ask("POST", "/db/shop/query", "SELECT * FROM t")
    assert requests_of(ask("POST", "/db/shop/query", "SELECT * FROM t")) == 0
    assert requests_of(ask("POST", "/db/shop/query", "SELEC")) == 0
    assert requests_of(ask("GET", "/db/shop/export")) >= 1


def test_what_is_not_known_is_not_said(ask: Ask) -> None:
    for method, path in (("GET", "/healthz"), ("GET", "/nothing"), ("POST", "/db/none/v3/pipeline")):
        assert re.fullmatch(r"total;dur=[0-9]+\.[0-9]+", ask(method, path).headers["server-timing"])
