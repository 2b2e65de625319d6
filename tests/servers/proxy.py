"""An HTTP proxy in front of a real server that does to chosen requests what networks and bad stores do.

    with proxy(server.endpoint) as way:
        way.fault = lambda request: DropAnswer() if request.method == "PUT" else None

1. What is forwarded is forwarded as it came, the Host header included, so signatures hold.
2. Each request is counted when it arrives, by method; `fault` is asked once for each, and may hold it back.
"""

from __future__ import annotations

import http.client
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

from tests.servers.running import HOST

_CONDITIONS: Final = frozenset({"if-match", "if-none-match"})
_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived: the `number`-th of its method (1, 2, 3 …)."""

    method: str
    path: str
    number: int
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class DropAnswer:
    """The request is carried out; the connection ends instead of an answer."""


@dataclass(frozen=True, slots=True)
class DropRequest:
    """The connection ends, and the request never arrives."""


@dataclass(frozen=True, slots=True)
class Answer:
    """This status and body instead of the server's; `after`: the request is carried out first."""

    status: int
    body: bytes = b""
    after: bool = False


@dataclass(frozen=True, slots=True)
class IgnoreConditions:
    """The request is carried out without its If-Match and If-None-Match (signed ones are refused by real servers)."""


@dataclass(frozen=True, slots=True)
class CutAnswer:
    """The answer's body ends halfway."""


@dataclass(frozen=True, slots=True)
class Alter:
    """The request is carried out without a header, or answered without one, or with a body that has fewer bytes."""

    request_without: str = ""
    answer_without: str = ""
    fewer_bytes: int = 0


Fault = DropAnswer | DropRequest | Answer | IgnoreConditions | CutAnswer | Alter


class Proxy:
    """A running proxy.

    `fault` decides what befalls a request, `delay_s` is how long every one takes on top; all answers together come at
    most with `mb_s` megabytes a second (0: as fast as they can).
    """

    def __init__(self, target: str) -> None:
        self.target: Final = urlsplit(target)
        self.fault: Callable[[Request], Fault | None] = lambda request: None
        self.delay_s = self.mb_s = 0.0
        self._free_at = 0.0
        self.bytes_down = 0
        self.requests = Counter[str]()
        self.under_way = 0
        self.endpoint = ""
        self._lock = threading.Lock()

    def arrived(self, method: str, path: str, headers: dict[str, str]) -> Request:
        """Count one request."""
        with self._lock:
            self.requests[method] += 1
            self.under_way += 1
            return Request(method, path, self.requests[method], headers)

    def left(self) -> None:
        """A request was dealt with, whatever became of its answer."""
        with self._lock:
            self.under_way -= 1

    def moved(self, size_bytes: int) -> None:
        """Count bytes of an answer, and wait until the line has carried them."""
        with self._lock:
            self.bytes_down += size_bytes
            if not self.mb_s:
                return
            self._free_at = max(self._free_at, time.monotonic()) + size_bytes / self.mb_s / 1e6
            wait_s = self._free_at - time.monotonic()
        time.sleep(max(0.0, wait_s))

    def reset(self) -> None:
        """Count from nothing again, without faults."""
        with self._lock:
            self.requests, self.bytes_down = Counter(), 0
        self.fault = lambda request: None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    way: Proxy
    _server: http.client.HTTPConnection | None = None

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = self.way.arrived(self.command, self.path, headers)
        try:
            self._deal_with(request, headers)
        finally:
            self.way.left()

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def _deal_with(self, request: Request, headers: dict[str, str]) -> None:
        body = self.rfile.read(int(headers.get("content-length", 0)))
        fault = self.way.fault(request)
        if self.way.delay_s:
            time.sleep(self.way.delay_s)
        match fault:
            case DropRequest():
                self.close_connection = True
            case Answer(status, answer, after):
                if after:
                    self._forward(headers, body)
                self._answer(status, {"content-type": "application/xml"}, answer)
            case DropAnswer():
                self._forward(headers, body)
                self.close_connection = True
            case Alter(request_without, answer_without, fewer_bytes):
                headers.pop(request_without, None)
                status, answered, data = self._forward(headers, body)
                answered.pop(answer_without, None)
                self._answer(status, answered, data[: max(0, len(data) - fewer_bytes)])
            case _:
                if isinstance(fault, IgnoreConditions):
                    headers = {name: value for name, value in headers.items() if name not in _CONDITIONS}
                self._answer(*self._forward(headers, body), cut=isinstance(fault, CutAnswer))

    def _forward(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        if self._server is None:
            self._server = http.client.HTTPConnection(self.way.target.netloc, timeout=60)
        kept = {name: value for name, value in headers.items() if name not in _HOP}
        try:
            self._server.request(self.command, self.path, body=body or None, headers=kept)
            answer = self._server.getresponse()
            data = answer.read()
        except OSError:  # the server is down, and so is whoever stands before it
            self._server.close()
            return 502, {}, b""
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, data

    def _answer(self, status: int, headers: dict[str, str], body: bytes, *, cut: bool = False) -> None:
        self.send_response_only(status)
        length = headers.pop("content-length", str(len(body)))
        for name, value in headers.items():
            if name not in _HOP:
                self.send_header(name, value)
        if status != 304:
            self.send_header("content-length", length if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        self.way.moved(len(body))
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True

    def finish(self) -> None:
        super().finish()
        if self._server is not None:
            self._server.close()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients go away; nobody needs to hear of it."""


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """A proxy in front of the server at `target`, on a free port."""
    way = Proxy(target)
    handler = type("Handler", (_Handler,), {"way": way})
    server = _Server((HOST, 0), handler)
    way.endpoint = f"http://{HOST}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield way
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main(target: str, delay_s: str, mb_s: str) -> None:
    """Run until killed; prints the endpoint."""
    with proxy(target) as way:
        way.delay_s, way.mb_s = float(delay_s), float(mb_s)
        print(way.endpoint, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
