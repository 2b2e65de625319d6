"""The node on a socket: uvicorn with our own HTTP (`node.http`); it says when it is ready, and ends cleanly.

Knows uvicorn and sockets; knows no request.

1. SIGTERM and SIGINT end it: what was begun is answered, pending writes are pushed, and the process exits with 0. A
   second one ends it at once, as a kill does: what a journal holds is pushed by the next process.
2. What a client's address is says the socket. A header says nothing of it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final

from virke.asgi_server import Config, Server
from virke.lazy_dataclasses import dataclass
from virke.node.http.limits import Limits
from virke.node.http.listener import Listener
from virke.processes import files_max

SHUTDOWN_S: Final = 30
SWITCH_S: Final = 0.0005
"""How long a thread asks for the interpreter before the one that has it must let go: ten times less than Python's own.

An event loop with much to do lets go of it for moments only, which a thread that wakes up misses. So each time that a commit comes
back from its disk it waited 5 ms, as long as the disk took.
"""
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


@dataclass(frozen=True, slots=True)
class Private:
    """What a worker has besides the address: a socket for the others, and a descriptor that ends when its parent does."""

    socket: Path
    alive_fd: int


def listen_on(address: Address) -> socket.socket:
    """A listening socket. Raises `OSError`."""
    listening = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address.host, address.port))
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def url_of(listening: socket.socket, address: Address) -> str:
    """The URL of an address that is listened on."""
    host, port = listening.getsockname()[:2]
    return f"{'https' if address.tls_cert else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def serve_app(
    app: Any,
    listening: socket.socket,
    address: Address,
    ready: Callable[[], None],
    *,
    listener: Listener,
    message_bytes: int,
    private: Private | None = None,
) -> None:
    """Serve an ASGI application on a socket until a signal ends it; `ready` is called when it does.

    A message of a WebSocket is at most `message_bytes` long.
    """
    config = Config(
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
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        with listening:
            _Server(config, listener, ready, private).run([listening])
    finally:
        sys.setswitchinterval(before)


class _Server(Server):
    def __init__(
        self,
        config: Config,
        listener: Listener,
        ready: Callable[[], None],
        private: Private | None,
    ) -> None:
        super().__init__(config)
        self._listener = listener
        self._ready = ready
        self._private = private

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # ours, so that a handshake counts, and ends
        self._listener.tls, self.config.ssl = self.config.ssl, None
        await super().startup(sockets)
        if self.started and self._private is not None:
            await self._start_private(self._private)
        if self.started:
            self._ready()

    async def _start_private(self, private: Private) -> None:
        """Listen on the socket for other workers too, without TLS; end when the parent is gone."""
        private.socket.unlink(missing_ok=True)  # of the worker before this one
        loop = asyncio.get_running_loop()
        accept = partial(
            self._listener.accept_plain,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        self.servers.append(await loop.create_unix_server(accept, str(private.socket), backlog=BACKLOG))
        loop.add_reader(private.alive_fd, self._end_as_orphan, private.alive_fd)

    def _end_as_orphan(self, alive_fd: int) -> None:
        asyncio.get_running_loop().remove_reader(alive_fd)
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self._private is not None:
            self._private.socket.unlink(missing_ok=True)
            folder = self._private.socket.parent
            if not any(folder.glob("*.sock")):  # the last one to end; the parent may be gone
                shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a signal that ended it is not raised again: that was its purpose."""
        before = {number: signal.signal(number, self._end_by_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end_by_signal(self, number: int, frame: FrameType | None) -> None:
        if self.should_exit:
            os._exit(128 + number)
        self.should_exit = True
