"""The node on a socket: uvicorn, which writes head and body of an answer at once, says when it is ready, and ends cleanly.

Knows uvicorn and sockets; knows no request. The only file that imports uvicorn.

1. What one turn of the loop writes to a connection is sent in one piece: two are a third of the cost of a small answer.
2. SIGTERM and SIGINT end it: what was begun is answered, pending writes are pushed, and the process exits with 0. A
   second one ends it at once.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SHUTDOWN_S: Final = 30
KEEP_ALIVE_S: Final = 75
BACKLOG: Final = 2048


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 is any that is free. With a certificate and its key it is HTTPS."""

    host: str
    port: int
    tls_cert: Path | None = None
    tls_key: Path | None = None


def serve(app: Any, address: Address, ready: Callable[[str], None]) -> None:
    """Serve an ASGI application until a signal ends it; `ready` is called with its URL. Raises `OSError`: it can't listen."""
    config = uvicorn.Config(
        app,
        host=address.host,
        port=address.port,
        http=_OneWriteProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
        ssl_certfile=address.tls_cert,
        ssl_keyfile=address.tls_key,
    )
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address.host, address.port))
        listening.listen(BACKLOG)
        _Server(config, ready).run([listening])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            scheme = "https" if self.config.is_ssl else "http"
            self._ready(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a signal that ended it is not raised again: that was its purpose."""
        before = {number: signal.signal(number, self._end) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


class _OneWriteProtocol(HttpToolsProtocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_Joining(transport, asyncio.get_running_loop()))  # type: ignore[arg-type]


class _Joining:
    """A transport that holds a write back until the next one, or the end of this turn of the loop."""

    __slots__ = ("_call_soon", "_held", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._call_soon = loop.call_soon
        self._held = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send it, in order, with what is held back."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        elif data:
            self._held = data
            self._call_soon(self._flush)

    def close(self) -> None:
        """Send what is held back, and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)
