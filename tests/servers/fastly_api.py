"""A model of Fastly's API on loopback: the account of `fastly_account`, the items of its KV stores, and troubles on demand.

1. Requests are carried out one after the other, and each is recorded.
2. `kill_at(n, pid, applied=…)`: at the n-th request from then on the process is killed by SIGKILL, before or after the request was carried
   out, and gets no answer.
3. A planned trouble befalls requests of its method and path, each once.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from tests.servers.fastly_account import Account
from tests.servers.fastly_items import Reply, Request, failure
from tests.servers.running import HOST

TOKEN: Final = "token-of-tests-0123456789"
READER_TOKEN: Final = "token-that-may-only-read"
_ITEMS: Final = re.compile(r"/resources/stores/kv/([^/]+)/keys(?:/(.*))?")


@dataclass
class Planned:
    """What befalls a request whose method and path fit: another status with headers, or no answer (None)."""

    method: str
    path: str
    status: int | None
    headers: dict[str, str] = field(default_factory=dict)
    is_applied: bool = False
    times: int = 1


class FastlyApi:
    """A running model."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.account = Account()
        self.troubles: list[Planned] = []
        self.sizes: list[int] = []
        self._lock = threading.Lock()
        self._kill: tuple[int, int, bool] | None = None

    def kill_at(self, request: int, pid: int, *, applied: bool) -> None:
        """Plan a death (rule 2)."""
        with self._lock:
            self._kill = (len(self.account.calls) + request, pid, applied)

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Reply:
        """The reply to one request."""
        with self._lock:
            path = urlsplit(target).path
            self.account.calls.append((method, path))
            if self._kill is not None and len(self.account.calls) >= self._kill[0]:
                _, pid, applied = self._kill
                self._kill = None
                if applied:
                    self._carried_out(method, target, headers, body)
                os.kill(pid, signal.SIGKILL)
                return Reply(None)
            for trouble in self.troubles:
                if trouble.times and trouble.method == method and re.fullmatch(trouble.path, path):
                    trouble.times -= 1
                    if trouble.is_applied:
                        self._carried_out(method, target, headers, body)
                    return (
                        Reply(None) if trouble.status is None else failure(trouble.status, "planned", trouble.headers)
                    )
            return self._carried_out(method, target, headers, body)

    def _carried_out(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Reply:
        token = headers.get("fastly-key")
        if token not in (TOKEN, READER_TOKEN):
            return failure(401, "Provided credentials are missing or invalid")
        if token == READER_TOKEN and method != "GET":
            return failure(403, "You are not authorized to perform this action")
        url = urlsplit(target)
        found = _ITEMS.fullmatch(url.path)
        if found is None:
            return self.account.answer(method, target, headers, body)
        if found[1] not in self.account.kv:
            return failure(404, "no such store")
        key = None if found[2] is None else unquote(found[2])
        request = Request(method, key, dict(parse_qsl(url.query)), headers, body)
        reply: Reply = self.account.kv[found[1]].content.answer(request)
        return reply


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    api: FastlyApi


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    do_PUT = do_POST = do_DELETE = do_PATCH = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: tests read what they need from `Account.calls`."""

    def _serve(self) -> None:
        size = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(size)
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.api.answer(self.command, self.path, headers, body)
        if reply.status is None:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)


@contextmanager
def account_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[FastlyApi]:
    """An empty account, and the variables that lead to it; at the end, that no request was out of order."""
    with fastly_api() as running:
        for name, value in {
            "FASTLY_API_TOKEN": TOKEN,
            "FASTLY_API_ENDPOINT": running.url,
            "VIRKE_CACHE": "off",
        }.items():
            monkeypatch.setenv(name, value)
        yield running
    assert running.account.problems == []


@contextmanager
def fastly_api() -> Iterator[FastlyApi]:
    """A model with an empty account, that runs as long as the block."""
    with _Server((HOST, 0), _Handler) as server:
        server.api = FastlyApi(f"http://{HOST}:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.api
        finally:
            server.shutdown()
            thread.join()
