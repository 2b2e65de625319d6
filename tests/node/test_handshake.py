"""TLS before HTTP: a handshake counts as a connection, and ends."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.node.test_http import CLOSING, echo, statuses
from tests.node.test_slow_clients import until_closed
from tests.servers.certificate import certificate
from tests.servers.http_client import Server, each_loop, run

__all__ = ["each_loop"]
pytestmark = pytest.mark.usefixtures("each_loop")
Secure = Callable[[Server], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, Secure]:
    """What a server needs, and how a client that trusts it connects."""
    context, trusted = certificate("127.0.0.1", tmp_path)
    client = ssl.create_default_context(cafile=str(trusted))

    async def connect(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", server.port, ssl=client)

    return context, connect


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_handshake_that_does_not_end_is_dropped(tls: tuple[ssl.SSLContext, Secure], sent: bytes) -> None:
    async def scenario(server: Server) -> None:
        server.listener.tls = tls[0]
        reader, writer = await server.connect()
        writer.write(sent)
        assert statuses(await until_closed(reader)) == []
        writer.close()
        while server.state.connections:
            await asyncio.sleep(0)
        assert (server.listener.traffic.connections, server.listener.traffic.dropped) == (1, 1)

    run(echo, scenario, handshake_s=0.1)


def test_a_handshake_counts_as_a_connection(tls: tuple[ssl.SSLContext, Secure]) -> None:
    async def scenario(server: Server) -> None:
        server.listener.tls = tls[0]
        _, silent = await server.connect()
        while not server.state.connections:
            await asyncio.sleep(0)
        with pytest.raises((ConnectionResetError, ssl.SSLError, BrokenPipeError)):
            await tls[1](server)
        assert server.listener.traffic.refused == 1
        silent.close()
        while server.state.connections:
            await asyncio.sleep(0)
        reader, writer = await tls[1](server)
        writer.write(CLOSING)
        assert statuses(await reader.read()) == [200]
        writer.close()

    run(echo, scenario, connections=1, handshake_s=30.0)


def test_a_server_that_ends_does_not_wait_for_a_handshake(tls: tuple[ssl.SSLContext, Secure]) -> None:
    async def scenario(server: Server) -> None:
        server.listener.tls = tls[0]
        reader, silent = await server.connect()
        while not server.state.connections:
            await asyncio.sleep(0)
        [handshake] = server.state.connections
        handshake.shutdown()
        assert await until_closed(reader) == b""
        silent.close()

    run(echo, scenario, handshake_s=30.0)


def test_what_comes_with_the_end_of_the_handshake_is_answered(
    tls: tuple[ssl.SSLContext, Secure], tmp_path: Path
) -> None:
    """A client that sends its request in one piece with the last bytes of the handshake."""
    client = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))

    def ask(port: int) -> bytes:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        secure = client.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        found = b""
        with socket.create_connection(("127.0.0.1", port), timeout=30) as plain:
            while True:
                try:
                    secure.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    plain.sendall(outgoing.read())
                    incoming.write(plain.recv(65536))
            secure.write(CLOSING)
            plain.sendall(outgoing.read())  # Finished and the request
            while True:
                try:
                    if not (part := secure.read(65536)):
                        return found
                    found += part
                except ssl.SSLWantReadError:
                    if not (came := plain.recv(65536)):
                        return found
                    incoming.write(came)
                except ssl.SSLZeroReturnError:
                    return found

    async def scenario(server: Server) -> None:
        server.listener.tls = tls[0]
        for _ in range(20):
            assert statuses(await asyncio.to_thread(ask, server.port)) == [200]

    run(echo, scenario)
