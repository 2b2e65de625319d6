"""A server that sends what it was told to, byte by byte, whatever it was asked: for answers that no good server gives."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum

from tests.servers.running import HOST


class Then(Enum):
    """What becomes of a connection after an answer: it is closed, is kept for the next, falls silent, or is reset."""

    CLOSE = "close"
    KEEP = "keep"
    HOLD = "hold"
    RESET = "reset"


@dataclass(slots=True)
class Scripted:
    """A running server; `requests` are the heads and bodies that it got, `connections` how many were opened."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


@contextmanager
def scripted(answers: Sequence[bytes], then: Then = Then.CLOSE) -> Iterator[Scripted]:
    """One of `answers` for each request, in order; an empty one closes its connection unless that is to be held."""
    listener = socket.create_server((HOST, 0))
    server = Scripted(listener.getsockname()[1])
    opened: list[socket.socket] = []
    thread = threading.Thread(target=_serve, args=(listener, server, list(answers), then, opened))
    thread.start()
    try:
        yield server
    finally:
        for one in (listener, *opened):  # wakes whoever waits for it
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def _serve(
    listener: socket.socket, server: Scripted, answers: list[bytes], then: Then, opened: list[socket.socket]
) -> None:
    while answers:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        server.connections += 1
        opened.append(connection)
        with connection, suppress(ConnectionError):
            while answers and (request := _request(connection)):
                server.requests.append(request)
                answer = answers.pop(0)
                connection.sendall(answer)
                while then is Then.HOLD and connection.recv(1 << 16):
                    continue
                if then is Then.RESET:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if then is not Then.KEEP or not answer:
                    break


def _request(connection: socket.socket) -> bytes:
    """One request, its body included; empty if the client closed the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(1 << 16)):
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    size = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < size and (more := connection.recv(1 << 16)):
        body += more
    return head + b"\r\n\r\n" + body
