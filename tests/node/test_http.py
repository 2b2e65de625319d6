"""HTTP on a connection: what is taken and what is refused, in raw bytes; order, framing, and what a client must not do."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from tests.servers.http_client import Server, each_loop, run
from virke.node.http.exchange import Message

__all__ = ["each_loop"]
pytestmark = pytest.mark.usefixtures("each_loop")
CLOSING = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"


async def echo(scope: Message, receive: Any, send: Any) -> None:
    """Answers with the method, the path and the body."""
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    else:
        return
    answer = f"{scope['method']} {scope['raw_path'].decode()} ".encode() + body
    headers = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def statuses(answer: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3})", answer)]


def answered(data: bytes, *, piece: int = 1 << 20, application: Any = echo, **limits: Any) -> bytes:
    """All that is answered to these bytes, until the connection ends."""
    found = b""

    async def scenario(server: Server) -> None:
        nonlocal found
        found = await server.ask(data, piece=piece)

    run(application, scenario, **limits)
    return found


REFUSED = {
    "both lengths": (400, CHUNKED + b"Content-Length: 3\r\n\r\n0\r\n\r\n"),
    "both lengths, the other way round": (400, POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc"),
    "two lengths": (400, POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
    "the same length twice": (400, POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    "a list of lengths": (400, POST + b"Content-Length: 3, 3\r\n\r\nabc"),
    "a length with a sign": (400, POST + b"Content-Length: +3\r\n\r\nabc"),
    "a negative length": (400, POST + b"Content-Length: -3\r\n\r\nabc"),
    "a hexadecimal length": (400, POST + b"Content-Length: 0x3\r\n\r\nabc"),
    "an empty length": (400, POST + b"Content-Length:\r\n\r\nabc"),
    "a length beyond all numbers": (400, POST + b"Content-Length: 99999999999999999999\r\n\r\nabc"),
    "an unknown coding": (501, POST + b"Transfer-Encoding: gzip\r\n\r\nabc"),
    "a coding before chunked": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "a coding behind chunked": (400, POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    "a coding that looks like chunked": (501, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "identity": (501, POST + b"Transfer-Encoding: identity\r\n\r\nabc"),
    "chunked twice": (400, CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "chunked behind a control character": (400, POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "chunked in HTTP/1.0": (400, CHUNKED.replace(b"1.1", b"1.0") + b"\r\n0\r\n\r\n"),
    "a chunk's size that is no number": (400, CHUNKED + b"\r\nzz\r\nabc\r\n0\r\n\r\n"),
    "a chunk's size with 0x": (400, CHUNKED + b"\r\n0x3\r\nabc\r\n0\r\n\r\n"),
    "a chunk's size beyond all numbers": (400, CHUNKED + b"\r\nffffffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
    "a space behind a chunk's size": (400, CHUNKED + b"\r\n3 \r\nabc\r\n0\r\n\r\n"),
    "a bare line end behind a chunk's size": (400, CHUNKED + b"\r\n3\nabc\r\n0\r\n\r\n"),
    "a chunk longer than its size": (400, CHUNKED + b"\r\n3\r\nabcd\r\n0\r\n\r\n"),
    "a folded line": (400, POST + b"X: a\r\n b\r\n\r\n"),
    "a folded Host": (400, b"GET / HTTP/1.1\r\nHost:\r\n x\r\n\r\n"),
    "a space before the colon": (400, POST + b"Content-Length : 3\r\n\r\nabc"),
    "a space before the first header": (400, b"GET / HTTP/1.1\r\n Host: x\r\n\r\n"),
    "a header without a name": (400, POST + b": a\r\n\r\n"),
    "a bracket in a name": (400, POST + b"X(: a\r\n\r\n"),
    "a control character in a value": (400, POST + b"X: a\x01b\r\n\r\n"),
    "a zero byte in a value": (400, POST + b"X: a\0b\r\n\r\n"),
    "a bare carriage return in a value": (400, POST + b"X: a\rY: b\r\n\r\n"),
    "bare line ends": (400, b"GET / HTTP/1.1\nHost: x\n\n"),
    "a whole URL": (400, b"GET http://x/a HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a whole URL of another host": (400, b"GET http://y/a HTTP/1.1\r\nHost: x\r\n\r\n"),
    "an asterisk": (400, b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a tunnel": (400, b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n"),
    "a path without a slash": (400, b"GET a HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a fragment": (400, b"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a backslash": (400, b"GET /a\\..\\b HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a path that is not ASCII": (400, b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a space in a path": (400, b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n"),
    "no Host": (400, b"GET /a HTTP/1.1\r\n\r\n"),
    "two Hosts": (400, b"GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
    "two tokens": (400, POST + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n"),
    "two origins": (400, POST + b"Origin: http://x\r\nOrigin: http://y\r\n\r\n"),
    "a Host with a path": (400, b"GET /a HTTP/1.1\r\nHost: x/y\r\n\r\n"),
    "a Host with a user": (400, b"GET /a HTTP/1.1\r\nHost: a@x\r\n\r\n"),
    "a Host with a space": (400, b"GET /a HTTP/1.1\r\nHost: x y\r\n\r\n"),
    "an unknown method": (400, b"FOO /a HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a method in small letters": (400, b"get /a HTTP/1.1\r\nHost: x\r\n\r\n"),
    "HTTP/0.9": (505, b"GET /a\r\n\r\n"),
    "HTTP/1.2": (400, b"GET /a HTTP/1.2\r\nHost: x\r\n\r\n"),
    "HTTP/2.0": (505, b"GET /a HTTP/2.0\r\nHost: x\r\n\r\n"),
    "HTTP/2's greeting": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "another expectation": (417, POST + b"Expect: more\r\nContent-Length: 1\r\n\r\na"),
    "a changed protocol with a body": (400, POST + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc"),
    "too many headers": (431, POST + b"".join(b"X%d: a\r\n" % n for n in range(200)) + b"\r\n"),
    "a long header": (431, POST + b"X: " + b"a" * 40_000 + b"\r\n\r\n"),
    "a long path": (431, b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a header without an end": (431, POST + b"X: " + b"a" * 100_000),
    "endless trailers": (431, CHUNKED + b"\r\n0\r\n" + b"X: a\r\n" * 20_000),
    "an endless extension of a chunk": (431, CHUNKED + b"\r\n3;" + b"a" * 100_000),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("piece", [1 << 20, 1])
def test_what_can_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_read(case: str, piece: int) -> None:
    status, data = REFUSED[case]
    if piece == 1 and len(data) > 1000:
        piece = 997
    found = answered(data + CLOSING, piece=piece, linger_s=0.1)
    assert statuses(found) == [status]
    assert b"connection: close" in found
    assert b'{"error":{"code":' in found


@pytest.mark.parametrize(
    "case", ["both lengths", "no Host", "a folded line", "an unknown coding", "a chunk longer than its size"]
)
def test_a_refusal_comes_after_the_answers_to_what_came_before(case: str) -> None:
    status, data = REFUSED[case]
    before = b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n" + POST + b"Content-Length: 3\r\n\r\nabc"
    found = answered(before + data + CLOSING, linger_s=0.1)
    assert statuses(found) == [200, 200, status]
    assert found.index(b"GET /1 ") < found.index(b"POST /a abc") < found.index(b'{"error"')


TAKEN = {
    "a body in chunks, with an extension and a trailer": (CHUNKED + b"\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nAuthorization: x\r\n\r\n", b"POST /a abcde"),
    "an empty body": (POST + b"Content-Length: 0\r\n\r\n", b"POST /a "),
    "no body at all": (POST + b"\r\n", b"POST /a "),
    "line ends before a request": (b"\r\n\r\n" + POST + b"\r\n", b"POST /a "),
    "a host with a port": (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", b"GET / "),
    "an escaped path and a query": (b"GET /a%2Fb?c=d HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /a%2Fb "),
    "letters beyond ASCII in a value": (POST + b"X: \xe4\r\n\r\n", b"POST /a "),
    "chunked in capitals": (CHUNKED.replace(b"chunked", b"CHUNKED") + b"\r\n1\r\na\r\n0\r\n\r\n", b"POST /a a"),
}  # fmt: skip


@pytest.mark.parametrize("case", TAKEN)
@pytest.mark.parametrize("piece", [1 << 20, 1])
def test_what_is_plain_is_taken_however_it_is_cut(case: str, piece: int) -> None:
    data, body = TAKEN[case]
    found = answered(data + CLOSING, piece=piece)
    assert statuses(found) == [200, 200]
    assert body in found


def test_trailers_are_not_headers() -> None:
    seen: list[Any] = []

    async def application(scope: Message, receive: Any, send: Any) -> None:
        await echo(scope, receive, send)
        seen.append([name for name, _ in scope["headers"]])

    answered(CHUNKED + b"\r\n1\r\na\r\n0\r\nAuthorization: x\r\n\r\n" + CLOSING, application=application)
    assert seen[0] == [b"host", b"transfer-encoding"]


def test_many_requests_at_once_are_answered_in_order() -> None:
    """More than are parsed ahead, with and without bodies."""
    requests = b"".join(
        b"POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n%04d" % (n, n) if n % 3 else
        b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n
        for n in range(3000)
    )  # fmt: skip
    found = answered(requests + CLOSING)
    assert [int(n) for n in re.findall(rb"(?:GET|POST) /(\d+) ", found)] == list(range(3000))
    assert statuses(found) == [200] * 3001


def test_nothing_is_answered_behind_the_last_request() -> None:
    found = answered(CLOSING + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
    assert statuses(found) == [200]
    assert b"smuggled" not in found


def test_head_and_body_are_one_write() -> None:
    writes: list[bytes] = []

    async def scenario(server: Server) -> None:
        reader, writer = await server.connect()
        await asyncio.sleep(0)
        while not server.state.connections:
            await asyncio.sleep(0.001)
        [connection] = server.state.connections
        send = connection.write

        def write(data: bytes) -> None:
            writes.append(bytes(data))
            send(data)

        connection.write = write
        writer.write(CLOSING)
        await reader.read()
        writer.close()

    run(echo, scenario)
    assert [statuses(one) for one in writes] == [[200]]
    assert writes[0].endswith(b"\r\n\r\nGET /last ")


def test_a_body_that_is_expected_is_asked_for_when_it_is_wanted() -> None:
    async def scenario(server: Server) -> None:
        reader, writer = await server.connect()
        writer.write(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert (await reader.read()).endswith(b"POST /a abc")
        writer.close()

    run(echo, scenario)


async def refuse(scope: Message, receive: Any, send: Any) -> None:
    """Answers without a look at the body."""
    await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"no"})


def test_a_body_that_nobody_wants_is_not_asked_for() -> None:
    found = answered(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n", application=refuse, linger_s=0.1)
    assert statuses(found) == [401]
    assert b"connection: close" in found


def test_an_early_answer_reaches_a_client_that_still_sends() -> None:
    """Closing at once would reset the connection, and the answer with it."""
    found = answered(POST + b"Content-Length: 8000000\r\n\r\n" + b"a" * 8_000_000, application=refuse)
    assert statuses(found) == [401]
    assert found.endswith(b"\r\n\r\nno")


@pytest.mark.parametrize("method", [b"HEAD", b"GET"])
def test_a_head_has_the_length_and_no_body(method: bytes) -> None:
    found = answered(CLOSING.replace(b"GET", method))
    head, _, body = found.partition(b"\r\n\r\n")
    assert b"content-length: %d" % (len(method) + 7) in head
    assert body == (b"" if method == b"HEAD" else b"GET /last ")


async def stream(scope: Message, receive: Any, send: Any) -> None:
    """Three parts, one of them empty, of no known length."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for part in (b"a" * 70_000, b"", b"bc"):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


def test_an_answer_without_a_length_is_chunked_and_in_http_1_0_ends_with_the_connection() -> None:
    head, _, body = answered(CLOSING, application=stream).partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert body == b"11170\r\n" + b"a" * 70_000 + b"\r\n2\r\nbc\r\n0\r\n\r\n"
    head, _, body = answered(CLOSING.replace(b"1.1", b"1.0"), application=stream).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert body == b"a" * 70_000 + b"bc"


async def fail(scope: Message, receive: Any, send: Any) -> None:
    """Breaks."""
    raise ValueError("a fault")


async def fail_late(scope: Message, receive: Any, send: Any) -> None:
    """Breaks behind its head and a part of its body."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
    await send({"type": "http.response.body", "body": b"abc", "more_body": True})
    raise ValueError("a fault")


def test_an_application_that_fails_is_500_or_an_answer_that_is_visibly_cut_off(caplog: Any) -> None:
    assert statuses(answered(CLOSING, application=fail)) == [500]
    found = answered(CLOSING.replace(b"close", b"keep-alive"), application=fail_late)
    assert b"content-length: 10" in found
    assert found.endswith(b"\r\n\r\nabc")
    assert caplog.text.count("an application failed") == 2


def test_a_header_of_an_answer_can_not_end_its_line(caplog: Any) -> None:
    async def split(scope: Message, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b\r\nc: d")]})

    assert statuses(answered(CLOSING, application=split)) == [500]
    assert "can't have the header" in caplog.text
