"""A model of Fastly's KV Store API on loopback, for tests of `fastly_kv` and of the vendor's own client.

Knows HTTP, paths and tokens; what an item does is in `fastly_items`.

1. It speaks HTTP/1.1 and keeps connections, as the vendor does.
2. Each store has its own items and troubles, so that tests share a server and nothing else.
3. On `LOSSY` as well as on the root each request is carried out, but there every connection is closed instead of
   being answered.
4. When the server has ended, none of its threads or connections is left.
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from tests.servers.fastly_items import VALUE_BYTES_MAX, KvItems, Reply, Request, failure
from tests.servers.running import HOST

TOKEN: Final = "token-of-tests-0123456789"
READER_TOKEN: Final = "token-that-may-only-read"
LOSSY: Final = "/lossy"
_STORES: Final = "/resources/stores/kv/"


class KvServer:
    """A running server; `endpoint` is what a client is to call the API."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.stores: dict[str, KvItems] = {}

    def create(self) -> tuple[str, KvItems]:
        """A new, empty store: its id, and its items."""
        store_id, items = secrets.token_hex(11), KvItems()
        self.stores[store_id] = items
        return store_id, items

    def url(self, store_id: str, prefix: str = "", *, lossy: bool = False, **options: str) -> str:
        """The URL of a place in a store; `lossy`: none of its requests is ever answered."""
        api = self.endpoint + (LOSSY if lossy else "")
        return f"fastly-kv://{store_id}/{prefix}?{urlencode({'api': api, **options})}"

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Reply:
        """The reply to one HTTP request."""
        url = urlsplit(target)
        path = url.path.removeprefix(LOSSY)
        token = headers.get("fastly-key")
        if token not in (TOKEN, READER_TOKEN):
            return failure(401, "Provided credentials are missing or invalid")
        store_id, _, rest = path.removeprefix(_STORES).partition("/")
        items = self.stores.get(store_id)
        if items is None or not path.startswith(_STORES):
            return failure(404, "no such store")
        if token == READER_TOKEN and method != "GET":
            return failure(403, "the token may only read")
        kind, _, key = rest.partition("/")
        wanted = unquote(key) if kind == "keys" and key else "" if kind == "batch" and method == "PUT" else None
        if wanted is None and (kind, key, method) != ("keys", "", "GET"):
            return failure(404, "no such path")
        reply = items.answer(Request(method, wanted, dict(parse_qsl(url.query)), headers, body))
        return Reply(None) if url.path.startswith(LOSSY) else reply


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # invariant 4: closing waits for them
    request_queue_size = 128
    kv: KvServer

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Handler)
        self._connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        for connection in list(self._connections):
            with suppress(OSError):  # its client ended it at this moment
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: tests read what they need from `KvItems`."""

    def _serve(self) -> None:
        size = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(size)
        if len(body) < size:
            self.close_connection = True
            return None
        if size > VALUE_BYTES_MAX:
            return self._send(failure(413, "value is too large"))
        headers = {name.lower(): value for name, value in self.headers.items()}
        return self._send(self.server.kv.answer(self.command, self.path, headers, body))

    def _send(self, reply: Reply) -> None:
        if reply.status is None:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body[: len(reply.body) // 2] if reply.cut else reply.body)
        self.close_connection = self.close_connection or reply.cut


@contextmanager
def fastly_kv() -> Iterator[KvServer]:
    """The server, on a free port."""
    server = _Server()
    server.kv = KvServer(f"http://{HOST}:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, name="fastly-kv", kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.kv
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def item_path(store_id: str, key: str) -> str:
    """The path of an item, for requests by hand."""
    return f"{_STORES}{store_id}/keys/{quote(key, safe='')}"
