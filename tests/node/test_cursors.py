"""A cursor's rows over HTTP come part by part, and end when the client goes away."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from virke.api.codec import PlainCodec
from virke.node.app import App
from virke.node.databases import Databases
from virke.stores.memory import memory_store

ENDLESS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r"


def test_a_client_that_goes_away_ends_its_cursor_of_endless_rows() -> None:
    """Long before the time limit of a query; afterwards every connection and thread is free again."""
    databases = Databases(memory_store())
    databases.create("d", if_not_exists=False, page_size=None)

    async def ask(app: App) -> int:
        """How many parts came before the client went away, and the answer ended."""
        left, count = asyncio.Event(), 0
        body = json.dumps({"batch": {"steps": [{"stmt": {"sql": ENDLESS}}]}}).encode()
        parts = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if parts:
                return parts.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            nonlocal count
            count += message["type"] == "http.response.body"
            if count == 3:
                left.set()

        scope = {"type": "http", "method": "POST", "path": "/v3/cursor", "raw_path": b"/v3/cursor", "query_string": b""}
        await app({**scope, "headers": [(b"host", b"localhost")]}, receive, send)
        return count

    async def live() -> None:
        app = App(databases, PlainCodec(), default="d")
        try:
            for _ in range(20):  # more than there are threads for readers
                assert await asyncio.wait_for(ask(app), 10) < 100
        finally:
            await app._hrana.streams.close()
            await asyncio.get_running_loop().run_in_executor(None, app.close)

    asyncio.run(live())
