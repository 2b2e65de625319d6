"""The connections of one listening socket: their limits, what they moved, and a look at what is overdue.

Knows connections; knows no request. While none is open, nothing is looked at.

1. One look at all of them in `sweep_s` takes the place of timers that each request would set and cancel.
2. A WebSocket has a protocol of its own, which pings its client; here only one that can't be closed is dropped.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from virke.node.http.connection import Connection
from virke.node.http.handshake import Handshake
from virke.node.http.limits import Limits, Traffic


class Listener:
    """Makes the connections of a server: `accept` is what uvicorn calls `http_protocol_class`."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.traffic = Traffic()
        self.tls: ssl.SSLContext | None = None
        """What connections are encrypted with; None: they are not."""
        self._open: set[Connection] = set()
        self._changed: dict[asyncio.Transport, float | None] = {}
        """WebSockets, each with the time by which it has to be closed, once it is closing."""
        self._is_looking = False
        self._unsent: list[Connection] = []

    def flush_soon(self, connection: Connection) -> None:
        """Have a connection send what it has when all that came at this moment was read.

        Sending wakes a client; one that is woken once for several answers costs less than one that is woken for each.
        """
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(connection)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        for connection in unsent:
            connection.flush()

    def accept(
        self, *, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None
    ) -> Connection | Handshake:
        """A protocol for a new connection."""
        connection = self.accept_plain(config=config, server_state=server_state, app_state=app_state)
        return Handshake(self, self.tls, server_state, connection) if self.tls is not None else connection

    def accept_plain(self, *, config: Any, server_state: Any, app_state: dict[str, Any]) -> Connection:
        """A protocol for a new connection without TLS, whether or not others have it."""
        return Connection(self, config, server_state, app_state)

    @property
    def open_count(self) -> int:
        """How many connections are open, WebSockets too."""
        return len(self._open) + len(self._changed)

    def opened(self, connection: Connection) -> None:
        """A connection is there."""
        self._open.add(connection)
        self._look_soon()

    def closed(self, connection: Connection) -> None:
        """A connection is gone, or speaks another protocol from now on."""
        self._open.discard(connection)

    def changed(self, transport: asyncio.Transport) -> None:
        """This transport speaks WebSocket from now on."""
        self._changed[transport] = None

    def _look_soon(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            asyncio.get_running_loop().call_later(self.limits.sweep_s, self._look_at_connections)

    def _look_at_connections(self) -> None:
        now = asyncio.get_running_loop().time()
        self._is_looking = False
        for connection in list(self._open):
            connection.look(now)
        for transport, closed_by in list(self._changed.items()):
            if not transport.is_closing():
                continue
            if not transport.get_write_buffer_size():
                del self._changed[transport]
            elif closed_by is None:
                self._changed[transport] = now + self.limits.send_s
            elif now >= closed_by:
                self.traffic.dropped += 1
                transport.abort()
        if self._open or self._changed:
            self._look_soon()
