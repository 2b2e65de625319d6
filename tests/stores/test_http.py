"""The HTTP client sends once, tells "never left" from "never answered", and gives whole answers or none."""

from __future__ import annotations

import pytest

from tests.servers.running import HOST, free_ports
from tests.servers.scripted import Scripted, Then, scripted
from tests.stores.conformance import at_once
from virke.stores.fastly_kv.http import Answer, HttpClient, NoAnswer, NotSent

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Kind: a\r\n\r\nhi"
SECRET = "token-in-a-header"


def client_of(server: Scripted, *, timeout_s: float = 10.0, **limits: float) -> HttpClient:
    return HttpClient(server.url, timeout_s=timeout_s, **limits)  # type: ignore[arg-type]


def test_an_answer_has_status_headers_and_body() -> None:
    """Header names are in lower case, and the request is sent as it was given."""
    with scripted([OK]) as server:
        client = HttpClient(server.url + "/base/", timeout_s=10)
        answer = client.request("PUT", "/a%2Fb?c=d", {"X-Mine": "1"}, b"body" * 50_000)
    assert answer == Answer(200, {"content-length": "2", "x-kind": "a"}, b"hi")
    [request] = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /base/a%2Fb?c=d HTTP/1.1\r\n")
    assert b"X-Mine: 1" in head.split(b"\r\n")
    assert body == b"body" * 50_000


def test_a_connection_is_kept() -> None:
    """Requests one after the other use one connection, those without a body among them."""
    empty = b"HTTP/1.1 204 No Content\r\n\r\n"
    with scripted([OK, empty, b"HTTP/1.1 412 No\r\nContent-Length: 0\r\n\r\n", OK], Then.KEEP) as server:
        client = client_of(server)
        assert [client.request("GET", "/").status for _ in range(4)] == [200, 204, 412, 200]
    assert server.connections == 1


def test_a_connection_that_was_closed_meanwhile_is_not_used() -> None:
    """The next request opens another one instead of failing."""
    with scripted([OK, b"", OK], Then.KEEP) as server:
        client = client_of(server)
        client.request("GET", "/")
        with pytest.raises(NoAnswer):
            client.request("GET", "/")
        assert client.request("GET", "/").body == b"hi"
    assert server.connections == 2


def test_a_refused_connection_is_not_sent() -> None:
    """Nobody listens, so nothing was carried out."""
    [port] = free_ports(1)
    with pytest.raises(NotSent, match="refused"):
        HttpClient(f"http://{HOST}:{port}", timeout_s=10).request("PUT", "/", {}, b"1")


def test_an_unknown_host_is_not_sent() -> None:
    """A name that does not resolve never got a request (`.invalid` is reserved for that)."""
    with pytest.raises(NotSent):
        HttpClient("http://nobody.invalid", timeout_s=10).request("PUT", "/", {}, b"1")


def test_a_failed_handshake_is_not_sent() -> None:
    """A server that speaks no TLS has seen no request, also if it closes the connection or says nothing."""
    for answers in ([OK], [b""]):
        with scripted(answers, Then.HOLD) as server:
            client = HttpClient(server.url.replace("http:", "https:"), timeout_s=0.2)
            with pytest.raises(NotSent):
                client.request("PUT", "/", {}, b"1")
        assert server.requests == []


def test_a_full_pool_is_not_sent() -> None:
    """A request that gets no connection in time has not left."""
    with scripted([OK]) as server:
        client = client_of(server, timeout_s=0.1, connections_max=1)
        held = client._pool._get_conn()
        with pytest.raises(NotSent, match="EmptyPoolError"):
            client.request("GET", "/")
        client._pool._put_conn(held)
        assert client.request("GET", "/").body == b"hi"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 20",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: ",
        b"HTTP/1.1 200 OK\r\nX-Kind: a\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhi",
        b"SSH-2.0-nonsense\r\n",
    ],
    ids=[
        "nothing",
        "cut status",
        "cut header",
        "cut length",
        "no length",
        "cut body",
        "cut chunk",
        "bad chunk",
        "no HTTP",
    ],
)
def test_an_answer_that_is_not_whole_is_no_answer(answer: bytes) -> None:
    """The server may have carried the request out; nothing is sent a second time."""
    with scripted([answer, OK]) as server:
        with pytest.raises(NoAnswer):
            client_of(server).request("PUT", "/", {}, b"1")
        assert len(server.requests) == 1


def test_an_answer_that_does_not_come_in_time_is_no_answer() -> None:
    """Neither one that never begins, nor one that stops, nor one that goes on for ever."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    for begun in (head[:20], head, head + b"12"):
        with scripted([begun], Then.HOLD) as server, pytest.raises(NoAnswer):
            client_of(server, timeout_s=0.1).request("GET", "/")
    with scripted([head + b"12"], Then.HOLD) as server, pytest.raises(NoAnswer, match="not there after"):
        client_of(server, answer_s=-1.0).request("GET", "/")


def test_an_answer_is_bounded() -> None:
    """More bytes than allowed are no answer, and the rest of them is not taken for the next one."""
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + bytes(1000)
    with scripted([long]) as server:
        assert len(client_of(server, answer_bytes_max=1000).request("GET", "/").body) == 1000
    with scripted([long, OK], Then.KEEP) as server:
        client = client_of(server, answer_bytes_max=999)
        with pytest.raises(NoAnswer, match="more than 999 bytes"):
            client.request("GET", "/")
        assert client.request("GET", "/").body == b"hi"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 429, 500, 503])
def test_nothing_is_redirected_or_repeated(status: int) -> None:
    """The answer is handed over as it came, also where it names another place or a time to come back."""
    answer = b"HTTP/1.1 %d No\r\nLocation: /other\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n" % status
    with scripted([answer, OK]) as server:
        assert client_of(server).request("GET", "/").status == status
        assert len(server.requests) == 1


def test_an_encoded_body_is_handed_over_as_it_is() -> None:
    """Nothing is inflated: a small answer can't become a large one."""
    with scripted([b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"]) as server:
        assert client_of(server).request("GET", "/").body == b"abc"


def test_no_error_shows_a_header() -> None:
    """What is in a request's headers is in no message, for each of the two errors."""
    [port] = free_ports(1)
    with scripted([b""]) as server:
        for url in (server.url, f"http://{HOST}:{port}"):
            client = HttpClient(url, timeout_s=10)
            with pytest.raises((NoAnswer, NotSent)) as failed:
                client.request("PUT", "/", {"Secret": SECRET}, b"1")
            assert SECRET not in f"{failed.value}{failed.value!r}{failed.value.__cause__!r}{client!r}"


def test_threads_share_a_client() -> None:
    """Sixteen threads over four connections get sixteen answers."""
    with scripted([OK] * 16, Then.KEEP) as server:
        client = client_of(server, connections_max=1)
        assert at_once(lambda _: client.request("GET", "/").body) == [b"hi"] * 16
    assert server.connections == 1


@pytest.mark.parametrize("url", ["ftp://host", "host", "http://", "http:///path"])
def test_a_base_that_is_no_http_is_refused(url: str) -> None:
    """There is no guessing of schemes or hosts."""
    with pytest.raises(ValueError, match="base of an HTTP client"):
        HttpClient(url, timeout_s=10)
