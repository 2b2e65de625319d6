"""One suite for all who serve: `call` sends a request to each of them in turn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from virke.api.codec import PlainCodec
from virke.api.messages import Request, Response
from virke.api.performing import perform
from virke.api.routes import answer, parse
from virke.errors import VirkeError
from virke.node.app import App
from virke.node.databases import Databases
from virke.scopes import Scope
from virke.stores.memory import memory_store

CODEC = PlainCodec()


@dataclass
class Answered:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


Call = Callable[..., Answered]
Serve = Callable[[Request], Answered]


def blocking(databases: Databases) -> Serve:
    """As a WSGI server does it."""

    def serve(request: Request) -> Answered:
        operation = parse(request, CODEC)
        if isinstance(operation, Response):
            return _answered(operation)
        try:
            outcome = perform(operation, databases, Scope.ADMIN)
        except VirkeError as error:
            outcome = error
        return _answered(answer(operation, outcome, CODEC))

    return serve


def _answered(response: Response) -> Answered:
    body = response.body if isinstance(response.body, bytes) else b"".join(response.body)
    return Answered(response.status, dict(response.headers), body)


def asgi(app: App, loop: asyncio.AbstractEventLoop) -> Serve:
    """As an ASGI server does it."""

    def serve(request: Request) -> Answered:
        sent: list[Any] = []
        parts = [{"type": "http.request", "body": request.body, "more_body": False}]

        async def receive() -> Any:
            if not parts:
                await asyncio.Event().wait()
            return parts.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": request.method,
            "path": request.path,
            "raw_path": request.path.encode(),
            "query_string": request.query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in request.headers.items()],
        }
        loop.run_until_complete(app(scope, receive, send))
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answered(sent[0]["status"], headers, b"".join(message["body"] for message in sent[1:]))

    return serve


@pytest.fixture(params=["blocking", "asgi"])
def call(request: pytest.FixtureRequest) -> Iterator[Call]:
    """`call(method, path, body, **headers)`: a body that is no bytes is sent as JSON; `_` in a header's name is a `-`."""
    databases = Databases(memory_store())
    loop = asyncio.new_event_loop()
    app = App(databases, CODEC)
    serve = blocking(databases) if request.param == "blocking" else asgi(app, loop)

    def send(method: str, path: str, body: object = b"", **headers: str) -> Answered:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        path, _, query = path.partition("?")
        named = {"host": "localhost"} | {name.replace("_", "-"): value for name, value in headers.items()}
        return serve(Request(method, path, query, named, data))

    try:
        yield send
    finally:
        app.close()
        loop.close()
