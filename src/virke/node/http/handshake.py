"""TLS before HTTP: a connection counts from the moment when it is accepted, and its handshake has an end.

Knows asyncio's transports; knows no request.

1. One that finds no room is dropped without words: to say why would take the handshake first.
2. What comes with the end of the handshake is given to the connection after it was made; what comes before `start_tls` has
   begun is not lost.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virke.node.http.connection import Connection
    from virke.node.http.listener import Listener


class Handshake(asyncio.Protocol):
    """One connection until it speaks HTTP."""

    def __init__(self, listener: Listener, context: ssl.SSLContext, server_state: Any, connection: Connection) -> None:
        self._listener = listener
        self._context = context
        self._state = server_state
        self._connection = connection
        self._came: list[bytes] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        self._transport = transport
        traffic, limits = self._listener.traffic, self._listener.limits
        if len(self._state.connections) >= limits.connections:
            traffic.connections += 1
            traffic.refused += 1
            transport.abort()
            return
        self._state.connections.add(self)
        loop = asyncio.get_running_loop()
        self._shaking = loop.create_task(self._start_tls(transport, limits.handshake_s))
        loop.call_soon(self._when_begun)

    def data_received(self, data: bytes) -> None:
        """The client was faster: these are the first bytes of the handshake, or what was encrypted and came with its end."""
        self._came.append(data)

    def shutdown(self) -> None:
        """The server ends: nothing was asked yet."""
        self._transport.abort()

    def abort(self) -> None:
        """Drop the connection."""
        self._transport.abort()

    async def _start_tls(self, transport: asyncio.Transport, most_s: float) -> None:
        try:
            secure = await asyncio.get_running_loop().start_tls(
                transport, self, self._context, server_side=True, ssl_handshake_timeout=most_s
            )
        except OSError:  # the client went, spoke something else, or took too long
            secure = None
        finally:
            self._state.connections.discard(self)
        if secure is None or secure.is_closing():
            self._listener.traffic.connections += 1
            self._listener.traffic.dropped += 1
            transport.abort()
            return
        secure.set_protocol(self._connection)
        self._connection.connection_made(secure)
        for data in self._came:
            self._connection.data_received(data)

    def _when_begun(self) -> None:
        """`start_tls` has begun, and pauses reading: what came before that is for it, once it was connected."""
        asyncio.get_running_loop().call_soon(self._give_first)

    def _give_first(self) -> None:
        first, self._came = b"".join(self._came), []
        taker: Any = self._transport.get_protocol()  # asyncio's and uvloop's have no class in common
        while first and not self._transport.is_closing():
            room = taker.get_buffer(len(first))
            count = min(len(room), len(first))
            room[:count] = first[:count]
            taker.buffer_updated(count)
            first = first[count:]
