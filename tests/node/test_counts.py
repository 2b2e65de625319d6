"""How many calls of Python's a point read takes on a connection: what a read costs is mostly those."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, Final

from bench.load import READ, execute
from tests.node.test_at_once import pipeline
from virke.node.app import App
from virke.node.codec import FastCodec
from virke.node.databases import Databases
from virke.node.http.listener import Listener
from virke.opening import create
from virke.stores.counted import CountingStore
from virke.stores.local.store import local_store

CALLS_MOST: Final = 80
"""It took 160 before heads were known and answers were made in one go."""


class Sink(asyncio.Transport):
    """Takes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return False


def test_a_point_read_takes_few_calls_and_no_thread_and_no_request(tmp_path: Path) -> None:
    counts = CountingStore(local_store(tmp_path))
    with create("d", counts.store) as database:
        database.run_script(
            "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, email TEXT);"
            "INSERT INTO users VALUES (7, 'someone', 'someone@example.com')"
        )
        database.change_settings({"max_staleness_ms": 600_000})
    app = App(Databases(counts.store), FastCodec(), default="d")
    app._access._table.refresh()
    app.databases.database("d").query(READ, (7,))

    async def ask() -> tuple[Counter[str], bytes]:
        state: Any = SimpleNamespace(connections=set(), tasks=set(), total_requests=0, default_headers=[])
        config: Any = SimpleNamespace(loaded_app=app, ws_protocol_class=None)
        listener, sink = Listener(), Sink()
        connection = listener.accept_plain(config=config, server_state=state, app_state={})
        connection.connection_made(sink)
        body = FastCodec().dumps(pipeline(execute(READ, 7), {"type": "close"}))
        data = b"POST /v2/pipeline HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        for _ in range(3):  # the connection, the statement and its columns are known by then
            connection.data_received(data)
            listener._flush()
        counts.reset()
        sink.sent = b""
        called = Counter[str]()

        def note(frame: FrameType, event: str, argument: object) -> None:
            called[event] += 1

        sys.setprofile(note)
        try:
            connection.data_received(data)
            listener._flush()
        finally:
            sys.setprofile(None)
        assert not state.tasks
        return called, sink.sent

    called, sent = asyncio.run(ask())
    app.close()
    assert sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"value":"someone@example.com"' in sent
    assert called["call"] <= CALLS_MOST
    fresh = CountingStore(local_store(tmp_path / "other"))
    assert counts.total == fresh.total
