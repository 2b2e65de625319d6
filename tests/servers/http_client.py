"""Our HTTP with an application of a test's own, on a free port of this process; clients that speak raw bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop

from virke.node.http.exchange import Application
from virke.node.http.limits import Limits
from virke.node.http.listener import Listener

DATE = (b"date", b"today")


class Server:
    """A listener that serves `application`."""

    def __init__(self, application: Application, limits: Limits) -> None:
        self.listener = Listener(limits)
        self.state = SimpleNamespace(connections=set(), tasks=set(), total_requests=0, default_headers=[DATE])
        self._config = SimpleNamespace(loaded_app=application, ws_protocol_class=None)
        self.port = 0

    def accept(self) -> asyncio.Protocol:
        """As uvicorn calls it."""
        return self.listener.accept(config=self._config, server_state=self.state, app_state={})

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client's connection."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, data: bytes, *, piece: int = 1 << 20) -> bytes:
        """All that is answered to these bytes, until the server ends the connection."""
        reader, writer = await self.connect()
        for at in range(0, len(data), piece):
            writer.write(data[at : at + piece])
            await writer.drain()
        try:
            return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def serving(application: Application, limits: Limits) -> AsyncIterator[Server]:
    """A server that runs meanwhile, and leaves nothing behind."""
    server = Server(application, limits)
    listening = await asyncio.get_running_loop().create_server(server.accept, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for connection in list(server.state.connections):
            connection.abort()
        await asyncio.gather(*server.state.tasks, return_exceptions=True)


def run(application: Application, scenario: Callable[[Server], Awaitable[None]], **limits: Any) -> None:
    """Play a scenario on a server of its own."""

    async def play() -> None:
        async with serving(application, Limits(**{"sweep_s": 0.02, **limits})) as server:
            await scenario(server)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(asyncio.wait_for(play(), 60))


loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
"""Which kind of event loop runs it; None: Python's own."""


@pytest.fixture(params=["asyncio", "uvloop"])
def each_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that runs on each kind of loop: their transports differ."""
    monkeypatch.setattr(f"{__name__}.loop_factory", uvloop.new_event_loop if request.param == "uvloop" else None)
