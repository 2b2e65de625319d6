"""Backends: where requests of the guest go to. A URL, or a function of this process.

1. A request goes to the backend that it names, whatever its URI says; the URI gives path, query and, unless a header does, Host.
2. Nothing is sent again, nothing is followed, nothing is cached: what the guest sends is what arrives.
3. What was started runs in the background; a backend that can't be reached is an error when it is awaited.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final
from urllib.parse import urlsplit

from virke.edge.host.counting import Counts, Tick
from virke.edge.host.exchange import Body, Headers, Request
from virke.edge.host.faults import Faults
from virke.edge.host.http import HttpRequest, HttpResponse, request_functions
from virke.edge.host.kv import body_bytes
from virke.edge.host.sandbox import Sandbox
from virke.edge.host.values import Case, Err, HostFunction, Ok, Pollable, Resource, Trap
from virke.lazy_dataclasses import dataclass

TIMEOUT_S: Final = 60.0
IN_FLIGHT: Final = 32
"""As many as the platform allows one request."""
_HOP: Final = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a backend says."""

    status: int
    headers: Headers = ()
    body: bytes = b""


Backend = str | Callable[[Request], Answer]
"""`http://host:port` (or https), or what answers in its place."""


@dataclass
class Opened(Resource):
    """A backend that the guest opened."""

    kind = "backend/backend"
    name: str
    target: Backend


@dataclass
class Sent(Pollable):
    """A request under way."""

    answer: Future[Answer]
    counts: Counts
    tick: Tick

    @property
    def is_ready(self) -> bool:
        """Whether awaiting it answers at once."""
        return self.answer.done()


def send_request(target: Backend, request: Request) -> Answer:
    """One request to one backend. Raises `OSError` or `http.client.HTTPException`."""
    if not isinstance(target, str):
        return target(request)
    there, asked = urlsplit(target), urlsplit(request.url)
    kind = http.client.HTTPSConnection if there.scheme == "https" else http.client.HTTPConnection
    connection = kind(there.netloc, timeout=TIMEOUT_S)
    try:
        path = (asked.path or "/") + (f"?{asked.query}" if asked.query else "")
        connection.putrequest(request.method, path, skip_host=True, skip_accept_encoding=True)
        named = [value for name, value in request.headers if name == "host"]
        connection.putheader("host", named[-1] if named else asked.netloc or there.netloc)
        body = request.body if isinstance(request.body, bytes) else b"".join(request.body)
        for name, value in request.headers:
            if name not in _HOP:
                connection.putheader(name, value)
        if body or request.method in ("POST", "PUT", "PATCH"):
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body or None)
        answer = connection.getresponse()
        kept = [(name.lower(), value) for name, value in answer.getheaders() if name.lower() != "transfer-encoding"]
        return Answer(answer.status, kept, answer.read())
    finally:
        connection.close()


def sending_functions(backends: Mapping[str, Backend], faults: Faults) -> dict[str, HostFunction]:
    """`http-req` with what sends."""
    pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="virke-edge-backend")

    def start(box: Sandbox, request: HttpRequest, body: Body, backend: Opened) -> Sent:
        if backend.name not in backends:
            raise Trap(f"no backend {backend.name!r}")
        box.counts.backend_requests += 1
        asked = Request(request.method, request.uri, request.text, body_bytes(body))
        return Sent(pool.submit(send_request, backend.target, asked), box.counts, box.counts.sent(faults.lookup_s))

    def wait(_box: Sandbox, sent: Sent) -> Ok | Err:
        try:
            answer = sent.answer.result()
        except (OSError, http.client.HTTPException) as error:
            sent.counts.awaited(sent.tick)
            return Err({"detail": Case("some", Case(_kind_of_trouble(error))), "error": Case("generic-error")})
        sent.counts.awaited(sent.tick)
        sent.counts.backend_bytes += len(answer.body)
        return Ok((HttpResponse(answer.status, answer.headers), Body(answer.body)))

    def at_once(box: Sandbox, request: HttpRequest, body: Body, backend: Opened) -> Ok | Err:
        return wait(box, start(box, request, body, backend))

    def later(box: Sandbox, request: HttpRequest, body: Body, backend: Opened) -> Ok:
        return Ok(start(box, request, body, backend))

    return {
        **request_functions(),
        "send": at_once,
        "send-uncached": at_once,
        "send-async": later,
        "send-async-uncached": later,
        "await-response": wait,
    }


def backend_functions(backends: Mapping[str, Backend]) -> dict[str, HostFunction]:
    """`backend`: those that are configured."""

    def open_backend(_box: Sandbox, name: str) -> Ok | Err:
        target = backends.get(name)
        return Err("not-found") if target is None else Ok(Opened(name, target))

    def is_tls(_box: Sandbox, opened: Opened) -> Ok:
        return Ok(isinstance(opened.target, str) and opened.target.startswith("https:"))

    return {
        "[static]backend.open": open_backend,
        "[method]backend.get-name": lambda _box, opened: opened.name,
        "[method]backend.is-healthy": lambda _box, _opened: Ok("unknown"),
        "[method]backend.is-dynamic": lambda _box, _opened: Ok(False),
        "[method]backend.is-tls": is_tls,
    }


def _kind_of_trouble(error: Exception) -> str:
    match error:
        case ConnectionRefusedError():
            return "connection-refused"
        case TimeoutError():
            return "http-response-timeout"
        case http.client.HTTPException():
            return "http-protocol-error"
        case _:
            return "connection-terminated"
