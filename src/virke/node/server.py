"""The node on a socket: uvicorn with our own HTTP (`node.http`); it says when it is ready, and ends cleanly.

Knows uvicorn and sockets; knows no request. The only file that imports uvicorn.

1. SIGTERM and SIGINT end it: what was begun is answered, pending writes are pushed, and the process exits with 0. A
   second one ends it at once, as a kill does: what a journal holds is pushed by the next process.
2. What a client's address is says the socket. A header says nothing of it.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Final

import uvicorn

from virke.node.http.limits import Limits
from virke.node.http.listener import Listener
from virke.processes import files_max

SHUTDOWN_S: Final = 30
BACKLOG: Final = 2048
FILES_KEPT: Final = 128
"""Open files that are not connections: the store's, the journals', the cache's."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 is any that is free. With a certificate and its key it is HTTPS."""

    host: str
    port: int
    tls_cert: Path | None = None
    tls_key: Path | None = None


def limits_here() -> Limits:
    """The usual limits, with no more connections than this process may have files open."""
    usual = Limits()
    return replace(usual, connections=max(FILES_KEPT, min(usual.connections, files_max() - FILES_KEPT)))


def serve(app: Any, address: Address, ready: Callable[[str], None], *, listener: Listener, message_bytes: int) -> None:
    """Serve an ASGI application until a signal ends it; `ready` is called with its URL.

    A message of a WebSocket is at most `message_bytes` long. Raises `OSError`: it can't listen.
    """
    config = uvicorn.Config(
        app,
        host=address.host,
        port=address.port,
        http=listener.accept,  # type: ignore[arg-type]
        ws_max_size=message_bytes,
        ws_per_message_deflate=False,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
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
        if self.should_exit:
            os._exit(128 + number)
        self.should_exit = True
