"""A node as a process of its own: bodies of any size pass through it, and nothing is left of those that end too early."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.servers.node import Node, node

ROW = "INSERT INTO item (text) VALUES ('{}');\n"
LINE = ROW.format("x" * (1024 - len(ROW) + 2))
HOME = "CREATE TABLE item (id INTEGER PRIMARY KEY, text TEXT);\n"


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """A node with a database `shop`, whose temporary files are in `tmp_path / "tmp"`."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    with node(str(tmp_path / "store"), tmp_path) as found:
        assert ask(found, "PUT", "/db/shop")["created"]
        yield found


def ask(running: Node, method: str, path: str, body: Any = None) -> Any:
    """The JSON that the node answers; an iterator of bytes is sent in chunks."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    with closing(http.client.HTTPConnection(*running.address, timeout=120)) as connection:
        connection.request(method, path, data, encode_chunked=True, headers=_chunked(data))
        return json.loads(connection.getresponse().read())


def exported(running: Node, path: str) -> Iterator[bytes]:
    """The parts of an export."""
    with closing(http.client.HTTPConnection(*running.address, timeout=120)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200
        while part := response.read(1 << 16):
            yield part


def _chunked(data: Any) -> dict[str, str]:
    return {} if data is None or isinstance(data, bytes) else {"transfer-encoding": "chunked"}


def dump(megabytes: int) -> Iterator[bytes]:
    """An SQL dump of about this size."""
    yield HOME.encode()
    for _ in range(megabytes):
        yield LINE.encode() * 1024


def left(tmp_path: Path) -> list[str]:
    """What is left of temporary files, once what is being removed is removed."""
    until = time.monotonic() + 10
    while (names := [path.name for path in (tmp_path / "tmp").iterdir()]) and time.monotonic() < until:
        time.sleep(0.02)
    return names


def test_a_file_that_is_larger_than_a_body_may_be_comes_in_and_goes_out(running: Node, tmp_path: Path) -> None:
    done = ask(running, "POST", "/db/shop/import", dump(20))
    assert (done.get("kind"), done.get("rows")) == ("sql", 20 * 1024), done
    size = lines = 0
    for part in exported(running, "/db/shop/export"):
        size, lines = size + len(part), lines + part.count(b"\n")
    assert lines == 20 * 1024 + 4
    assert size > 19 << 20
    assert left(tmp_path) == []


def test_half_a_file_is_no_file(running: Node, tmp_path: Path) -> None:
    """A client that goes away in the middle leaves no table, no temporary file and no thread that waits for it."""
    for _ in range(6):  # more than run at a time
        with socket.create_connection(running.address) as connection:
            connection.sendall(b"POST /db/shop/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
            connection.sendall((HOME + LINE * 100).encode())
    until = time.monotonic() + 10
    while "error" in (done := ask(running, "POST", "/db/shop/import", b"SELECT 1")) and time.monotonic() < until:
        assert done["error"]["code"] == "busy"
        time.sleep(0.02)
    assert done["statements"] == 1
    assert ask(running, "GET", "/db/shop/schema") == []
    assert left(tmp_path) == []


def test_a_client_that_stops_reading_an_export_holds_up_nobody(running: Node, tmp_path: Path) -> None:
    ask(running, "POST", "/db/shop/import", dump(4))
    with socket.create_connection(running.address) as connection:
        connection.sendall(b"GET /db/shop/export HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        for _ in range(3):
            found = ask(running, "POST", "/db/shop/query", {"sql": "SELECT count(*) FROM item"})
            assert found["rows"] == [[4096]]
    assert left(tmp_path) == []


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="how much a process takes is asked of Linux")
def test_memory_is_bounded_whatever_the_size_of_the_file(running: Node) -> None:
    """Docs say below 200 MiB for a transfer; a node has its own budget besides."""
    assert ask(running, "POST", "/db/shop/import", dump(300))["rows"] == 300 * 1024
    for path in ("/db/shop/export", "/db/shop/export?format=sqlite", "/db/shop/export?table=item"):
        assert sum(map(len, exported(running, path))) > 290 << 20
    peak = Path(f"/proc/{running.process.pid}/status").read_text().split("VmHWM:")[1].split()[0]
    assert int(peak) < 500 << 10, peak
