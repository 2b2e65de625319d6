"""A way to a server on which answers get lost, and on which round trips and bytes are counted."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Final

from tests.servers.running import HOST

CHUNK: Final = 1 << 16


class Proxy:
    """Carries bytes between its own port and `target`.

    1. A round trip begins when a client sends something after it was answered, or at first.
    2. While there are answers `to_lose`, a request still reaches the server, and when its answer comes, that is thrown
       away and the connection closed. The first exchange of a connection, a greeting, passes.
    """

    def __init__(self, target: int, tls: ssl.SSLContext | None = None) -> None:
        self.target = target
        self.to_lose: float = 0
        self.round_trips = 0
        self.bytes_down = 0
        self._tls = tls
        self._listener = socket.create_server((HOST, 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._servers: set[socket.socket] = set()
        self._closed = False
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def hang_up(self) -> None:
        """Close all connections that are open now, and wait until they are."""
        with self._changed:
            those = {*self._servers}
            for server in those:
                with suppress(OSError):
                    server.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not those & self._servers)

    def close(self) -> None:
        """Stop, and wait until all is closed."""
        with self._lock:
            self._closed = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while not self._closed:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with closing(client), suppress(OSError), socket.create_connection((HOST, self.target)) as server:
            with self._lock:
                if self._closed:
                    return
                self._servers.add(server)
            try:
                with closing(self._tls.wrap_socket(client, server_side=True) if self._tls else client) as plain:
                    self._carry(plain, server)
            finally:
                with self._changed:
                    self._servers.discard(server)
                    self._changed.notify_all()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        for one in (client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asking, exchanges = False, 0
        while True:
            ready, _, _ = select.select([client, server], [], [])
            for one in ready:
                data = one.recv(CHUNK)  # a TLS record is smaller, so nothing of it is left behind
                if not data:
                    return
                if one is client:
                    exchanges += not asking
                    with self._lock:
                        self.round_trips += not asking
                    asking = True
                    server.sendall(data)
                elif exchanges > 1 and self._loses():
                    return
                else:
                    asking = False
                    with self._lock:
                        self.bytes_down += len(data)
                    client.sendall(data)

    def _loses(self) -> bool:
        with self._lock:
            lost = self.to_lose > 0
            self.to_lose -= lost
        return lost


@contextmanager
def proxy(target: int, tls: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    """A `Proxy` to a port of this machine; clients speak TLS to it if `tls` is given."""
    with closing(Proxy(target, tls)) as one:
        yield one
