"""The node as a process: connections, how it begins, and how it ends."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect as websocket

from tests.servers.certificate import certificate
from tests.servers.node import Node, node
from virke.node.http.listener import Listener
from virke.node.server import SWITCH_S, Address, listen_on, serve_app
from virke.opening import connect


def ask(running: Node, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(*running.address, timeout=30)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


def test_a_node_serves_a_store_and_ends_with_0(tmp_path: Path) -> None:
    with node("local:store", tmp_path) as running:
        assert ask(running, "PUT", "/db/shop") == (201, {"name": "shop", "created": True})
        statements = ["CREATE TABLE t (v)", {"sql": "INSERT INTO t VALUES (?)", "params": [42]}]
        assert ask(running, "POST", "/db/shop/batch", {"statements": statements})[0] == 200
        assert ask(running, "POST", "/db/shop/query", {"sql": "SELECT v FROM t"})[1]["rows"] == [[42]]
        assert running.stop() == 0
    with connect("shop", f"local:{tmp_path / 'store'}", background=False) as database:
        assert database.query("SELECT v FROM t").rows == [(42,)]


def test_deferred_writes_are_pushed_before_it_ends(tmp_path: Path) -> None:
    with node("local:store", tmp_path, "--journal", "journals") as running:
        ask(running, "PUT", "/db/shop")
        ask(running, "POST", "/db/shop/execute", {"sql": "CREATE TABLE t (v)"})
        changes = {"durability": "deferred", "flush_interval_ms": 3_600_000}
        assert ask(running, "PATCH", "/db/shop/settings", changes)[0] == 200
        for _ in range(3):
            assert ask(running, "POST", "/db/shop/execute", {"sql": "INSERT INTO t VALUES (1)"})[0] == 200
        assert running.stop() == 0
    with connect("shop", f"local:{tmp_path / 'store'}", state_dir=tmp_path / "none", background=False) as database:
        assert database.query("SELECT count(*) FROM t").rows == [(3,)]


def test_requests_of_one_connection_are_answered_in_order_however_they_come(tmp_path: Path) -> None:
    """Pipelined, HEAD, with and without a body, cut into single bytes."""
    requests = (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        b"HEAD /db HTTP/1.1\r\nHost: localhost\r\n\r\n"
        b"GET /db HTTP/1.1\r\nHost: localhost\r\n\r\n"
        b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    with node("local:store", tmp_path) as running:
        answers = []
        for size in (len(requests), 1):
            with socket.create_connection(running.address, timeout=30) as connection:
                for at in range(0, len(requests), size):
                    connection.sendall(requests[at : at + size])
                answer = b""
                while part := connection.recv(65536):
                    answer += part
            answers.append(re.sub(rb"(?:date|server-timing): [^\r]*", b"", answer))
    assert answers[0] == answers[1]
    assert re.findall(rb"HTTP/1.1 (\d+)", answers[0]) == [b"200", b"200", b"200", b"404"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "token create"),
        (["--tls-cert", "x.pem"], "go together"),
        (["--port", "70000"], "70000"),
        (["--timeout-ms", "0"], "timeout-ms"),
        (["--cors", "app.example.com"], "an origin is"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_served(tmp_path: Path, options: list[str], words: str) -> None:
    with pytest.raises(AssertionError, match=words), node("local:store", tmp_path, *options):
        pass


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with pytest.raises(AssertionError, match="can't listen"), node("local:store", tmp_path, "--port", port):
            pass


LONG = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r"


@pytest.mark.parametrize("is_secure", [False, True])
def test_http_and_websockets_are_on_one_port_with_tls_too(tmp_path: Path, is_secure: bool) -> None:
    _, trusted = certificate("127.0.0.1", tmp_path)
    options = ["--tls-cert", str(trusted), "--tls-key", str(tmp_path / "key.pem")] if is_secure else []
    context = ssl.create_default_context(cafile=str(trusted)) if is_secure else None
    with node("local:store", tmp_path, *options) as running:
        assert running.url.startswith("https://" if is_secure else "http://")
        plain = socket.create_connection(running.address, timeout=30)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") if context else plain as connection:
            connection.sendall(b"PUT /db/d HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")
            connection.sendall(b"GET /db HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            answer = b""
            while part := connection.recv(65536):
                answer += part
        assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"201", b"200"]
        url = running.url.replace("http", "ws", 1) + "/db/d/"
        with websocket(url, subprotocols=["hrana2"], ssl=context) as client:  # type: ignore[list-item]
            assert say(client, {"type": "hello", "jwt": None}) == {"type": "hello_ok"}
            assert request(client, 1, type="open_stream", stream_id=1)["type"] == "response_ok"
            execute = {"type": "execute", "stream_id": 1, "stmt": {"sql": "SELECT 6 * 7"}}
            assert request(client, 2, **execute)["response"]["result"]["rows"] == [[{"type": "integer", "value": "42"}]]
        assert running.stop() == 0


def say(client: Any, message: object) -> Any:
    """One message, and what is said to it."""
    client.send(json.dumps(message))
    return json.loads(client.recv(30))


def request(client: Any, number: int, **fields: Any) -> Any:
    """One request of Hrana's."""
    return say(client, {"type": "request", "request_id": number, "request": fields})


def test_what_comes_behind_the_head_of_a_websocket_is_not_lost(tmp_path: Path) -> None:
    head = (
        b"GET /db/d/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: hrana2\r\n"
    )
    hello = b'{"type":"hello","jwt":null}'
    frame = bytes([0x81, 0x80 | len(hello), 0, 0, 0, 0]) + hello
    with node("local:store", tmp_path) as running:
        assert ask(running, "PUT", "/db/d")[0] == 201
        with socket.create_connection(running.address, timeout=30) as connection:
            connection.sendall(head + b"\r\n" + frame)
            answer = b""
            while b"hello_ok" not in answer:
                answer += connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 101 ")
        for odd in (head.replace(b"localhost", b"localhost\r\nHost: y"), head + b"Content-Length: 3\r\n"):
            with socket.create_connection(running.address, timeout=30) as connection:
                connection.sendall(odd + b"\r\n" + frame)
                assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """The first one waits for what was begun; the second waits for nothing."""
    with node("local:store", tmp_path) as running:
        assert ask(running, "PUT", "/db/d")[0] == 201
        with socket.create_connection(running.address, timeout=30) as connection:
            body = json.dumps({"sql": LONG}).encode()
            head = f"POST /db/d/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            ask(running, "GET", "/healthz")
            running.process.terminate()
            while is_listening(running):
                time.sleep(0.01)
            assert running.process.poll() is None
            running.process.terminate()
            assert running.process.wait(10) == 128 + signal.SIGTERM


def test_what_was_begun_is_answered_before_it_ends(tmp_path: Path) -> None:
    count = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 3000000) SELECT count(*) FROM r"
    with node("local:store", tmp_path) as running:
        assert ask(running, "PUT", "/db/d")[0] == 201
        connection = http.client.HTTPConnection(*running.address, timeout=30)
        connection.request("POST", "/db/d/query", json.dumps({"sql": count}))
        ask(running, "GET", "/healthz")
        running.process.terminate()
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("connection")) == (200, "close")
        assert json.loads(answer.read())["rows"] == [[3_000_000]]
        connection.close()
        assert running.process.wait(30) == 0


def test_deferred_writes_outlive_a_node_that_is_killed_while_it_ends(tmp_path: Path) -> None:
    """It waits for a long statement, its journal not pushed yet, and is ended at once: the next node pushes, once."""
    options = ("--journal", "journals")
    with node("local:store", tmp_path, *options) as running:
        ask(running, "PUT", "/db/d")
        ask(running, "POST", "/db/d/execute", {"sql": "CREATE TABLE t (v)"})
        ask(running, "PATCH", "/db/d/settings", {"durability": "deferred", "flush_interval_ms": 3_600_000})
        for number in range(3):
            insert = {"sql": "INSERT INTO t VALUES (?)", "params": [number]}
            assert ask(running, "POST", "/db/d/execute", insert)[0] == 200
        connection = http.client.HTTPConnection(*running.address, timeout=30)
        connection.request("POST", "/db/d/query", json.dumps({"sql": LONG}))
        ask(running, "GET", "/healthz")
        running.process.terminate()
        while is_listening(running):
            time.sleep(0.01)
        running.process.terminate()
        assert running.process.wait(10) == 128 + signal.SIGTERM
        connection.close()
    with connect("d", f"local:{tmp_path / 'store'}", state_dir=tmp_path / "none", background=False) as database:
        assert database.query("SELECT v FROM t").rows == []
    with node("local:store", tmp_path, *options) as running:
        assert ask(running, "POST", "/db/d/query", {"sql": "SELECT v FROM t ORDER BY v"})[1]["rows"] == [[0], [1], [2]]
        assert running.stop() == 0
    with connect("d", f"local:{tmp_path / 'store'}", state_dir=tmp_path / "none", background=False) as database:
        assert database.query("SELECT v FROM t ORDER BY v").rows == [(0,), (1,), (2,)]


def is_listening(running: Node) -> bool:
    """Whether a new connection gets through."""
    try:
        socket.create_connection(running.address, timeout=1).close()
    except OSError:
        return False
    return True


def test_threads_share_the_interpreter_in_short_turns_while_it_serves() -> None:
    """A commit that comes back from its disk gets on, however much the event loop has to do; afterwards all is as before."""
    before, seen = sys.getswitchinterval(), list[float]()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        seen.append(sys.getswitchinterval())
        await send({"type": "lifespan.startup.failed", "message": "that was all"})

    address = Address("127.0.0.1", 0)
    with pytest.raises(SystemExit):  # a server that could not start
        serve_app(application, listen_on(address), address, lambda: None, listener=Listener(), message_bytes=1)
    assert seen == [pytest.approx(SWITCH_S)]
    assert sys.getswitchinterval() == before
