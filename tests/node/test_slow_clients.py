"""Clients that are slow, idle, deaf, too many, or gone: each costs a bounded time and a bounded memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.node.test_http import CLOSING, POST, echo, statuses
from tests.servers.http_client import Server, each_loop, run
from virke.node.http.exchange import Message

__all__ = ["each_loop"]
pytestmark = pytest.mark.usefixtures("each_loop")
BIG = 64 << 20


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    """What still comes; nothing if the connection was reset."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", []),
        (b"GET / HTTP/1.1\r\nHos", [408]),
        (POST + b"Content-Length: 9\r\n\r\nabc", [408]),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nab", [408]),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", [200]),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT", [200, 408]),
    ],
)
def test_a_client_that_sends_no_more_is_dropped(sent: bytes, answer: list[int]) -> None:
    async def scenario(server: Server) -> None:
        reader, writer = await server.connect()
        writer.write(sent)
        assert statuses(await until_closed(reader)) == answer
        writer.close()
        assert server.listener.traffic.dropped == 1

    run(echo, scenario, head_s=0.1, body_s=0.1, idle_s=0.1, linger_s=0.05)


def test_a_client_that_sends_a_byte_now_and_then_does_not_stay_for_that() -> None:
    """A head byte by byte, and a body below the least rate: what comes late does not move the deadline."""

    async def scenario(server: Server) -> None:
        for start in (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", POST + b"Content-Length: 100000\r\n\r\n"):
            reader, writer = await server.connect()
            writer.write(start)
            reading = asyncio.ensure_future(until_closed(reader))
            sent = 0
            while not reading.done() and sent < 10_000:
                writer.write(b"a")
                sent += 1
                await asyncio.wait((reading,), timeout=0.005)
            assert reading.done(), "it may stay for ever"
            assert statuses(reading.result()) == [408]
            writer.close()

    run(echo, scenario, head_s=0.1, body_s=0.1, body_bytes_per_s=100_000, linger_s=0.05)


def test_a_body_that_keeps_its_rate_may_take_long() -> None:
    async def scenario(server: Server) -> None:
        reader, writer = await server.connect()
        writer.write(POST + b"Connection: close\r\nContent-Length: 60\r\n\r\n")
        for _ in range(60):
            writer.write(b"a")
            await asyncio.sleep(0.01)  # a rate is a thing of time
        assert statuses(await reader.read()) == [200]
        writer.close()

    run(echo, scenario, body_s=0.3, body_bytes_per_s=10)


def test_a_client_that_does_not_read_costs_no_more_than_a_piece_and_is_dropped() -> None:
    ended: list[str] = []
    buffered: list[int] = []

    async def application(scope: Message, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            for _ in range(1000):
                await send({"type": "http.response.body", "body": b"a" * (1 << 20), "more_body": True})
                buffered.extend(one._transport.get_write_buffer_size() for one in server_of[0].state.connections)
        except OSError:
            ended.append("gone")
            raise

    server_of: list[Server] = []

    async def scenario(server: Server) -> None:
        server_of.append(server)
        _, writer = await server.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(CLOSING)
        while server.listener.traffic.dropped == 0:
            await asyncio.sleep(0.01)
        await asyncio.gather(*server.state.tasks)
        assert ended == ["gone"]
        writer.close()

    run(application, scenario, send_s=0.2)
    assert max(buffered, default=0) <= 192 << 10


def test_one_large_body_goes_out_in_pieces() -> None:
    async def application(scope: Message, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % BIG)]})
        await send({"type": "http.response.body", "body": bytes(BIG)})

    async def scenario(server: Server) -> None:
        reader, writer = await server.connect()
        writer.write(CLOSING)
        await reader.readuntil(b"\r\n\r\n")
        size, most = 0, 0
        while part := await reader.read(1 << 20):
            size += len(part)
            most = max(most, *(one._transport.get_write_buffer_size() for one in server.state.connections), 0)
        assert size == BIG
        assert most <= 192 << 10
        writer.close()

    run(application, scenario)


def test_what_a_client_sends_ahead_is_not_all_read() -> None:
    """While an application works, pipelined requests and bodies that nobody asked for stay with the client."""
    goes_on = asyncio.Event()

    async def application(scope: Message, receive: Any, send: Any) -> None:
        await goes_on.wait()
        await echo(scope, receive, send)

    async def scenario(server: Server) -> None:
        for ahead in (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000_000,
            POST + b"Content-Length: 30000000\r\n\r\n" + bytes(30_000_000),
        ):
            before = server.listener.traffic.bytes_in
            _, writer = await server.connect()
            writer.write(ahead)
            stood = -1
            while stood != server.listener.traffic.bytes_in:
                stood = server.listener.traffic.bytes_in
                await asyncio.sleep(0.05)
            assert 0 < stood - before < 1 << 20
            writer.transport.abort()
        goes_on.set()

    run(application, scenario)


def test_beyond_the_bound_a_connection_is_refused_and_one_that_ends_makes_room() -> None:
    async def scenario(server: Server) -> None:
        held = [await server.connect() for _ in range(3)]
        reader, writer = await server.connect()
        answer = await until_closed(reader)
        assert statuses(answer) == [503]
        assert b"retry-after: 1" in answer
        writer.close()
        held.pop()[1].close()
        while len(server.state.connections) > 2:
            await asyncio.sleep(0)
        assert statuses(await server.ask(CLOSING)) == [200]
        assert server.listener.traffic.refused == 1
        for _, one in held:
            one.close()

    run(echo, scenario, connections=3)


def test_an_application_learns_that_its_client_is_gone() -> None:
    heard: list[str] = []

    async def application(scope: Message, receive: Any, send: Any) -> None:
        await receive()
        heard.append((await receive())["type"])
        with pytest.raises(OSError, match="gone"):
            await send({"type": "http.response.start", "status": 200, "headers": []})
        heard.append("refused")

    async def scenario(server: Server) -> None:
        _, writer = await server.connect()
        writer.write(CLOSING)
        while not server.state.tasks:
            await asyncio.sleep(0)
        writer.close()
        await asyncio.gather(*server.state.tasks)
        assert heard == ["http.disconnect", "refused"]

    run(application, scenario)


def test_when_it_ends_what_was_begun_is_answered_and_idle_connections_end() -> None:
    goes_on = asyncio.Event()

    async def application(scope: Message, receive: Any, send: Any) -> None:
        await goes_on.wait()
        await echo(scope, receive, send)

    async def scenario(server: Server) -> None:
        idle, idle_writer = await server.connect()
        reader, writer = await server.connect()
        writer.write(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
        while not server.state.tasks or len(server.state.connections) < 2:
            await asyncio.sleep(0)
        for connection in list(server.state.connections):
            connection.shutdown()
        assert await idle.read() == b""
        goes_on.set()
        answer = await until_closed(reader)
        assert statuses(answer) == [200]
        assert b"connection: close" in answer
        for one in (writer, idle_writer):
            one.close()

    run(application, scenario)
