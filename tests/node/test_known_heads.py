"""Requests whose head is known byte for byte: read as the one before, and anything else by the parser."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.node.test_at_once import AT_ONCE, Echo
from tests.node.test_http import statuses
from tests.servers.http_client import Server, each_loop, run
from virke.node.http.exchange import Answer, Application, Later, Message, Reply
from virke.node.http.known import DIGITS_MAX, HEAD_BYTES_MAX, KnownHead, head_of_whole

__all__ = ["each_loop"]
HEAD = b"POST /at-once HTTP/1.1\r\nHost: x\r\nContent-Length: %b\r\nX-Other: y\r\n\r\n"


def whole(body: bytes, length: bytes | None = None) -> bytes:
    """A request with this body."""
    return HEAD % (b"%d" % len(body) if length is None else length) + body


KNOWN = head_of_whole(whole(b"abc"))


def test_a_head_is_known_by_what_is_around_the_length() -> None:
    assert KnownHead(*HEAD.split(b"%b")) == KNOWN


@pytest.mark.parametrize("size", [1, 9, 10, 99, 100, 999, 1000, 9999])
def test_any_length_of_a_few_digits_is_taken(size: int) -> None:
    assert KNOWN is not None
    assert KNOWN.body_in(whole(b"x" * size)) == b"x" * size


NOT_THE_SAME = {
    "a body that is too short": whole(b"abc", b"4"),
    "a body that is too long": whole(b"abc", b"2"),
    "another request behind it": whole(b"abc") + whole(b"abc"),
    "a line end behind it": whole(b"abc") + b"\r\n",
    "a line end before it": b"\r\n" + whole(b"abc"),
    "no body": whole(b"", b"0"),
    "a length with a zero before it": whole(b"abc", b"03"),
    "a length with a sign": whole(b"abc", b"+3"),
    "a length with a space behind it": whole(b"abc", b"3 "),
    "a length with a space before it": whole(b"abc", b" 3"),
    "a length with an underscore": whole(b"x" * 10, b"1_0"),
    "a length in other digits": whole(b"abc", "\N{ARABIC-INDIC DIGIT THREE}".encode()),
    "an empty length": whole(b"abc", b""),
    "a list of lengths": whole(b"abc", b"3, 3"),
    "a length with another header behind it": whole(b"abc", b"3\r\nTransfer-Encoding: chunked"),
    "more digits than are looked at": whole(b"x" * 10**DIGITS_MAX),
    "another target": whole(b"abc").replace(b"/at-once", b"/at-oncf"),
    "another method": whole(b"abc").replace(b"POST", b"PUT "),
    "another version": whole(b"abc").replace(b"1.1", b"1.0"),
    "another case": whole(b"abc").replace(b"Host", b"host"),
    "another header": whole(b"abc").replace(b"X-Other: y", b"X-Other: z"),
    "a header more": whole(b"abc").replace(b"X-Other", b"A: b\r\nX-Other"),
    "a header less": whole(b"abc").replace(b"X-Other: y\r\n", b""),
    "a bare line end": whole(b"abc").replace(b"y\r\n", b"y\n"),
    "the head alone": HEAD % b"3",
    "its beginning": whole(b"abc")[:40],
    "nothing": b"",
}


@pytest.mark.parametrize("case", NOT_THE_SAME)
def test_whatever_differs_is_for_the_parser(case: str) -> None:
    assert KNOWN is not None
    assert KNOWN.body_in(NOT_THE_SAME[case]) is None


@pytest.mark.parametrize("at", range(len(whole(b"abc")) - 3))
def test_no_byte_of_the_head_may_be_another(at: int) -> None:
    assert KNOWN is not None
    data = bytearray(whole(b"abc"))
    data[at] ^= 1
    assert KNOWN.body_in(bytes(data)) is None


NOT_REMEMBERED = {
    "a request without a length": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a request without a body": whole(b""),
    "one that is not alone": whole(b"abc") + b"P",
    "one that is not whole": whole(b"abc")[:-1],
    "a length in the body": b"POST / HTTP/1.1\r\nHost: x\r\n\r\n\r\ncontent-length: 3\r\n\r\nabc",
    "a length with a space behind it": whole(b"abc", b"3 "),
    "a long head": whole(b"abc").replace(b"X-Other: y", b"X-Other: " + b"y" * HEAD_BYTES_MAX),
}


@pytest.mark.parametrize("case", NOT_REMEMBERED)
def test_only_a_whole_request_with_a_plain_length_is_remembered(case: str) -> None:
    assert head_of_whole(NOT_REMEMBERED[case]) is None


class Noting(Echo):
    """Notes the scope of each request."""

    def __init__(self) -> None:
        super().__init__()
        self.scopes: list[Message] = []

    def at_once(self, scope: Message, body: bytes, reply: Reply) -> Answer | Application | Later:
        self.scopes.append(scope)
        return super().at_once(scope, body, reply)


def talked(*sent: bytes, **limits: Any) -> tuple[list[bytes], Noting]:
    """What is answered to each of these, sent one after the other's answer; the last may end the connection."""
    found: list[bytes] = []

    async def scenario(server: Server) -> None:
        reader, writer = await server.connect()
        for data in sent:
            writer.write(data)
            try:
                found.append(await reader.readuntil(b">"))
            except asyncio.IncompleteReadError as end:
                found.append(end.partial)
                break
        writer.close()

    application = Noting()
    run(application, scenario, linger_s=0.1, **limits)
    return found, application


@pytest.mark.usefixtures("each_loop")
def test_the_application_sees_no_difference() -> None:
    """Between a request that was parsed, and one whose head is known: neither in the scope, nor in the answer."""
    found, application = talked(*[AT_ONCE % (3, b"abc")] * 3)
    assert [one[one.index(b"<") :] for one in found] == [b"<at-once abc>"] * 3
    first, *others = [{**scope, "extensions": None} for scope in application.scopes]
    assert others == [first, first]
    assert application.kept == [1, 2, 3]


@pytest.mark.usefixtures("each_loop")
def test_lengths_are_those_of_each_request() -> None:
    _, application = talked(AT_ONCE % (1, b"1"), AT_ONCE % (2, b"22"), AT_ONCE % (10, b"3" * 10))
    assert [dict(scope["headers"])[b"content-length"] for scope in application.scopes] == [b"1", b"2", b"10"]


@pytest.mark.usefixtures("each_loop")
def test_what_follows_a_known_head_is_parsed_from_its_first_byte() -> None:
    """A request more in the same piece, one that comes in pieces, a refusal: as if nothing had been known."""
    one = AT_ONCE % (1, b"1")
    found, application = talked(one, one, one + one[:20], one[20:], one, b"garbage\r\n\r\n")
    assert [statuses(answer) for answer in found] == [[200]] * 5 + [[400]]
    assert len(application.scopes) == 5


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("smuggled", [b"Content-Length: 1\r\nContent-Length: 1", b"Transfer-Encoding: chunked"])
def test_a_head_that_is_refused_is_refused_behind_a_known_one_too(smuggled: bytes) -> None:
    one = AT_ONCE % (1, b"1")
    found, _ = talked(one, one, one.replace(b"Content-Length: 1", b"Content-Length: 1\r\n" + smuggled))
    assert statuses(found[-1]) == [400]


@pytest.mark.usefixtures("each_loop")
def test_a_known_head_does_not_keep_a_connection_from_being_idle_for_too_long() -> None:
    one = AT_ONCE % (1, b"1")
    ended = b"?"

    async def scenario(server: Server) -> None:
        nonlocal ended
        reader, writer = await server.connect()
        for _ in range(3):
            writer.write(one)
            await reader.readuntil(b">")
        ended = await reader.read()
        writer.close()

    run(Echo(), scenario, idle_s=0.1, sweep_s=0.02)
    assert ended == b""
