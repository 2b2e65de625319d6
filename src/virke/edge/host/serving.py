"""A host on a socket: an ASGI app, and uvicorn below it.

1. A request is given to the host as it came: target, headers, body. Its answer goes out as it comes, part by part.
2. What the guest does after its answer keeps no client waiting.
3. `serve` listens until it is stopped; `on_ready` is called with the port once it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from virke.asgi_server import Config, Server
from virke.edge.host.exchange import Request, Response
from virke.edge.host.host import Host
from virke.errors import Unavailable

AT_ONCE: Final = 64
_OWN: Final = frozenset({"connection", "keep-alive", "transfer-encoding"})
Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]


class EdgeApp:
    """The ASGI app of a host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="virke-edge-request")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await _run_lifespan(receive, send)
        elif scope["type"] == "http":
            request = _request_of(scope, await _read_body(receive))
            response = await self._run_in_thread(lambda: self._host.call(request))
            await self._send_answer(scope["method"], response, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def _send_answer(self, method: str, response: Response, send: Send) -> None:
        headers = [(name, value) for name, value in response.headers if name.lower() not in _OWN]
        if response.stream.is_closed and response.header("content-length") is None and method != "HEAD":
            headers.append(("content-length", str(len(response.body))))
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": response.status, "headers": raw})
        if response.stream.is_closed:
            body = b"" if method == "HEAD" else response.body
            await send({"type": "http.response.body", "body": body})
            return
        parts = response.stream.chunks()
        while (part := await self._run_in_thread(lambda: next(parts, b""))) and method != "HEAD":
            await send({"type": "http.response.body", "body": part, "more_body": True})
        if not response.stream.is_cut:  # one that was cut short must not look whole: the connection ends instead
            await send({"type": "http.response.body", "body": b""})

    async def _run_in_thread(self, call: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _request_of(scope: Message, body: bytes) -> Request:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    authority = next((value for name, value in headers if name == "host"), "localhost")
    query = scope["query_string"].decode("latin-1")
    path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
    client = scope.get("client")
    return Request(
        scope["method"],
        f"http://{authority}{path}{'?' + query if query else ''}",
        headers,
        body,
        client[0] if client else "127.0.0.1",
    )


async def _read_body(receive: Receive) -> bytes:
    parts = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    return b"".join(parts)


async def _run_lifespan(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    if message["type"] == "lifespan.shutdown":
        await send({"type": "lifespan.shutdown.complete"})


class EdgeServer(Server):
    """uvicorn that says when it listens, and where."""

    def __init__(self, host: Host, *, address: str, port: int, on_ready: Callable[[int], object]) -> None:
        super().__init__(Config(EdgeApp(host), host=address, port=port, log_level="warning", ws="none"))
        self._on_ready = on_ready

    async def startup(self, sockets: Any = None) -> None:
        """Listen. Raises `Unavailable`: the port is taken."""
        try:
            await super().startup(sockets)
        except SystemExit as error:
            raise Unavailable("the port can't be listened on: another program has it") from error
        if self.started:
            self._on_ready(self.servers[0].sockets[0].getsockname()[1])


def serve_host(host: Host, *, address: str = "127.0.0.1", port: int = 7676, on_ready: Callable[[int], object]) -> None:
    """Serve until SIGINT or SIGTERM (in the main thread), then let all sandboxes go. Raises `Unavailable`."""
    try:
        EdgeServer(host, address=address, port=port, on_ready=on_ready).run()
    finally:
        host.close()
