"""The node as a process: connections, how it begins, and how it ends."""

from __future__ import annotations

import http.client
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.servers.node import Node, node
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
            answers.append(re.sub(rb"date: [^\r]*", b"", answer))
    assert answers[0] == answers[1]
    assert re.findall(rb"HTTP/1.1 (\d+)", answers[0]) == [b"200", b"200", b"200", b"404"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "token create"),
        (["--tls-cert", "x.pem"], "go together"),
        (["--port", "70000"], "70000"),
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
