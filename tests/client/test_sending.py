"""Bytes on a socket: sent once, answered whole or not at all, never with the token in what is said."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.servers.certificate import certificate
from tests.servers.running import HOST, free_ports
from tests.servers.scripted import Scripted, Then, scripted
from tests.servers.tcp_proxy import Proxy
from virke.client import address_of
from virke.client.exchange import Answer, NoAnswer, NotSent, Request
from virke.client.http import Connections
from virke.engine.terms import Cancel
from virke.errors import TimedOut, UsageError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Kind: a\r\n\r\nhi"
TOKEN = "vk_a-token-that-nobody-may-see"
GET = Request("GET", "/")


def client_of(server: Scripted, **options: str) -> Connections:
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return Connections(address_of(f"{server.url}/base?{query}", TOKEN))


def test_an_answer_has_status_headers_and_body() -> None:
    with scripted([OK]) as server:
        client = client_of(server)
        answer = client.send(Request("PUT", "/a%2Fb?c=d", b"body" * 50_000, {"X-Mine": "1"}))
        client.close()
    assert answer == Answer(200, {"content-length": "2", "x-kind": "a"}, b"hi")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /base/a%2Fb?c=d HTTP/1.1\r\n")
    assert {b"X-Mine: 1", f"Authorization: Bearer {TOKEN}".encode()} <= {*head.split(b"\r\n")}
    assert body == b"body" * 50_000


def test_a_request_leaves_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and body; what comes part by part does not."""
    pieces: list[int] = []
    send = HTTPConnection.send

    def counted(self: HTTPConnection, data: bytes) -> None:
        pieces.append(len(data))
        send(self, data)

    monkeypatch.setattr(HTTPConnection, "send", counted)
    with scripted([OK, OK], Then.KEEP) as server:
        client = client_of(server)
        client.send(Request("POST", "/", b"body"))
        assert len(pieces) == 1
        client.send(Request("POST", "/", b"body" * 100_000))
        assert len(pieces) == 2
        client.close()


def test_a_connection_is_kept_and_one_that_ended_is_not_used() -> None:
    with scripted([OK, OK, OK], Then.KEEP) as server:
        client = client_of(server)
        assert [client.send(GET).status for _ in range(3)] == [200, 200, 200]
        client.close()
    assert server.connections == 1
    last = OK.replace(b"X-Kind: a", b"Connection: close")
    with scripted([last, OK], Then.KEEP) as server:
        client = client_of(server)
        assert [client.send(GET).status for _ in range(2)] == [200, 200]
        client.close()
    assert server.connections == 2
    with scripted([OK, OK], Then.KEEP) as server:
        proxy = Proxy(server.port)
        client = Connections(address_of(f"http://{HOST}:{proxy.port}"))
        assert client.send(GET).status == 200
        proxy.hang_up()
        assert client.send(GET).status == 200
        client.close()
        proxy.close()


def read(client: Connections, *, streams: bool) -> None:
    """Ask, and take all of the answer."""
    found = client.send(Request("GET", "/", streams=streams))
    while found.stream and found.stream.read():
        continue


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhi\r\n0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("streams", [False, True])
def test_an_answer_that_is_not_whole_is_none(answer: bytes, streams: bool) -> None:
    with scripted([answer]) as server, pytest.raises(NoAnswer) as raised:
        read(client_of(server), streams=streams)
    assert TOKEN not in str(raised.value)


def test_a_request_that_never_left_says_so() -> None:
    [port] = free_ports(1)
    for url in (f"http://{HOST}:{port}", "http://no-such-host.invalid"):
        with pytest.raises(NotSent) as raised:
            Connections(address_of(url, TOKEN)).send(GET)
        assert TOKEN not in str(raised.value)


def test_a_node_that_stays_silent_is_late() -> None:
    with scripted([b""], Then.HOLD) as server, pytest.raises(NoAnswer) as raised:
        client_of(server, timeout_s="0.2").send(GET)
    assert raised.value.is_late


def test_a_read_is_ended_from_another_thread() -> None:
    cancel = Cancel()
    with scripted([b""], Then.HOLD) as server:
        threading.Timer(0.1, cancel.cancel).start()
        with pytest.raises(TimedOut, match="cancelled"):
            client_of(server).send(GET, cancel)
        with pytest.raises(TimedOut, match="cancelled"):
            client_of(server).send(GET, cancel)
    assert server.connections == 1


@pytest.fixture
def behind_tls(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The URL of a server with a certificate that nobody has signed, and the file that makes it trusted."""
    context, trusted = certificate(HOST, tmp_path)
    with scripted([OK, OK], Then.KEEP) as server:
        proxy = Proxy(server.port, context)
        try:
            yield f"https://{HOST}:{proxy.port}", trusted
        finally:
            proxy.close()


def test_a_certificate_is_verified(behind_tls: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    url, trusted = behind_tls
    with pytest.raises(NotSent, match="certificate") as raised:
        Connections(address_of(url, TOKEN)).send(GET)
    assert "SSL_CERT_FILE" in str(raised.value.hint)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    client = Connections(address_of(url, TOKEN))
    assert client.send(GET).body == b"hi"
    client.close()


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("https://user:secret@host", None),
        (f"https://{TOKEN}@host", None),
        ("https://", None),
        ("https://host:port", None),
        ("https://host?region=eu", None),
        ("https://host?timeout_s=0", None),
        ("https://host?timeout_s=soon", None),
        ("https://host#part", None),
        ("s3://bucket", None),
        ("https://host", f"{TOKEN}\r\nX-Other: 1"),
        ("https://host", ""),
        ("https://host", "ä"),
    ],
)
def test_what_is_not_a_nodes_url_or_token_is_refused_without_saying_a_secret(url: str, token: str | None) -> None:
    with pytest.raises(UsageError) as raised:
        address_of(url, token)
    assert TOKEN not in raised.value.message
    assert "secret" not in raised.value.message


def test_the_token_is_not_in_what_is_shown() -> None:
    address = address_of("https://host:8443/base/?timeout_s=5", TOKEN)
    assert (address.url, address.timeout_s, address.headers) == (
        "https://host:8443/base",
        5.0,
        {"Authorization": f"Bearer {TOKEN}"},
    )
    assert TOKEN not in repr(address)


def test_a_reset_while_nothing_was_answered_is_no_answer() -> None:
    with scripted([b"HTTP/1.1 "], Then.RESET) as server, pytest.raises(NoAnswer):
        client_of(server).send(GET)
