"""An ASGI program, called with what came in, on the event loop of the sandbox.

Knows ASGI 3 (http and lifespan); knows no framework and no database.

1. The program starts up once in a sandbox, before its first request; one that does not take part in that is left alone.
2. Parts of a response go out as they are made: making the next one lets the program run until it has sent it.
3. What a program does after its last part is done after the response was sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from functools import partial
from typing import Any, Final
from urllib.parse import unquote

from virke.api.messages import Parts, Response
from virke.edge.guest.http import Arrived
from virke.edge.guest.loop import Loop

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]
VERSIONS: Final = {"version": "3.0", "spec_version": "2.3"}
PORTS: Final = {"https": 443, "http": 80}


class Asgi:
    """An ASGI program as what a sandbox serves."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._loop: Loop | None = None
        self._state: dict[str, Any] = {}

    def __call__(self, arrived: Arrived, later: list[Callable[[], object]]) -> Response:
        """The response to a request. Raises what the program raises before it has begun one."""
        loop = self._started_loop()
        exchange = _Exchange(arrived)
        scope = scope_of(arrived, dict(self._state))
        task = loop.create_task(self._run_program(scope, exchange))
        parts = Parts(_parts_of_body(loop, exchange), exchange.end)
        later.append(partial(_finish_task, loop, task, exchange))
        if exchange.head is None:
            loop.run_until_complete(task)  # raises why
            raise RuntimeError("the program ended without a response")
        status, headers = exchange.head
        announced = next((value for name, value in headers if name.lower() == "content-length"), None)
        if announced == str(len(parts.first)):
            return Response(status, parts.first, headers)
        return Response(status, parts, headers)

    async def _run_program(self, scope: Message, exchange: _Exchange) -> None:
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except BaseException as error:
            exchange.failed = error
            raise
        finally:
            await exchange.parts.put(None)

    def _started_loop(self) -> Loop:
        """The loop, on which the program has started up."""
        if self._loop is None:
            loop = Loop()
            asyncio.set_event_loop(loop)
            loop.run_until_complete(self._start_up(loop))
            self._loop = loop
        return self._loop

    async def _start_up(self, loop: Loop) -> None:
        """Raises `RuntimeError`: the program says that it can't."""
        told: asyncio.Future[Message] = loop.create_future()
        asked = [{"type": "lifespan.startup"}]

        async def receive() -> Message:
            return asked.pop() if asked else await loop.create_future()

        async def send(message: Message) -> None:
            if not told.done():
                told.set_result(message)

        scope: Message = {"type": "lifespan", "asgi": VERSIONS, "state": self._state}
        self._lifespan = loop.create_task(_run_lifespan(self._app, scope, receive, send))
        waited: set[asyncio.Future[Any]] = {self._lifespan, told}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if told.done() and told.result()["type"] == "lifespan.startup.failed":
            raise RuntimeError(f"the program did not start: {told.result().get('message', '')}")


async def _run_lifespan(
    app: App, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    try:
        await app(scope, receive, send)
    except Exception as error:  # ASGI: a program that knows no lifespan raises
        del error


class _Exchange:
    """One request and its response."""

    def __init__(self, arrived: Arrived) -> None:
        self._body = arrived.parts()
        self._is_read = False
        self._over = asyncio.Event()
        self.head: tuple[int, tuple[tuple[str, str], ...]] | None = None
        self.parts: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.failed: BaseException | None = None
        self.is_complete = False

    async def receive(self) -> Message:
        if not self._is_read:
            part = next(self._body, b"")
            self._is_read = not part
            return {"type": "http.request", "body": part, "more_body": bool(part)}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        match message["type"]:
            case "http.response.start":
                headers = [
                    (name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers", ())
                ]
                self.head = (int(message["status"]), tuple(headers))
            case "http.response.body":
                if part := message.get("body", b""):
                    await self.parts.put(part)
                if not message.get("more_body"):
                    self.is_complete = True
                    await self.parts.put(None)
                    self._over.set()
            case kind:
                raise RuntimeError(f"a sandbox sends no {kind!r}")
        await asyncio.sleep(0)  # what was sent is on its way before the next part is made

    def end(self) -> None:
        """No further part is wanted."""
        self._over.set()


def _parts_of_body(loop: Loop, exchange: _Exchange) -> Iterator[bytes]:
    """The response's body as it is made. Raises what the program raises before its end."""
    while (part := loop.run_until_complete(exchange.parts.get())) is not None:
        yield part
    if not exchange.is_complete and exchange.head is not None:
        raise exchange.failed or RuntimeError("the program ended before its response did")


def _finish_task(loop: Loop, task: asyncio.Task[None], exchange: _Exchange) -> None:
    """Let the program do what it does after its response (rule 3). Raises what it raises."""
    exchange.end()
    if not exchange.is_complete:
        task.cancel()
    if not task.done():
        loop.run_until_complete(asyncio.wait({task}))
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


def scope_of(arrived: Arrived, state: dict[str, Any]) -> Message:
    """The request as ASGI has it."""
    host, _, port = arrived.authority.partition(":")
    headers = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name in arrived.headers
        for value in arrived.headers.values_of(name)
    ]
    return {
        "type": "http",
        "asgi": VERSIONS,
        "http_version": "1.1",
        "method": arrived.method,
        "scheme": arrived.scheme,
        "path": unquote(arrived.path),
        "raw_path": arrived.path.encode("latin-1"),
        "query_string": arrived.query.encode("latin-1"),
        "root_path": "",
        "headers": headers,
        "client": (arrived.client, 0) if arrived.client else None,
        "server": (host, int(port) if port.isdigit() else PORTS.get(arrived.scheme, 443)),
        "state": state,
    }
