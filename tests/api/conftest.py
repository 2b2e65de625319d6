"""One suite for all who serve: `call` sends a request to each of them in turn, on stores of several kinds."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.edge.conftest import component, simulator
from tests.edge.simulator import Simulator, ask
from tests.servers import s3
from virke.api.codec import PlainCodec
from virke.api.messages import Request, Response
from virke.api.performing import perform_operation
from virke.api.routes import has_endless_body, parse_request, response_to
from virke.edge.host.buckets import host_over
from virke.edge.host.exchange import Request as Sent
from virke.edge.host.host import Host
from virke.errors import VirkeError
from virke.node.app import App
from virke.node.databases import Databases
from virke.node.http.exchange import AT_ONCE_BYTES, Answer, Application, Later
from virke.opening import open_store
from virke.scopes import Scope
from virke.stores.base import Store
from virke.stores.memory import memory_store

CODEC = PlainCodec()
PART_BYTES = 1000
NOT_AT_THE_EDGE = "can't be done in a request of the edge"
__all__ = ["component", "simulator"]


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

    @property
    def lines(self) -> list[Any]:
        """The lines of the body."""
        return [json.loads(line) for line in self.body.splitlines()]


Call = Callable[..., Answered]
Serve = Callable[[Request], Answered]


def parts_of(body: bytes) -> list[bytes]:
    """A body as it comes over a network."""
    return [body[at : at + PART_BYTES] for at in range(0, len(body), PART_BYTES)] or [b""]


def blocking(databases: Databases) -> Serve:
    """As a WSGI server does it."""

    def serve(request: Request) -> Answered:
        if has_endless_body(request.method, request.path):
            request = replace(request, body=b"", parts=iter(parts_of(request.body)))
        operation = parse_request(request, CODEC)
        if isinstance(operation, Response):
            return _answered(operation)
        try:
            outcome = perform_operation(operation, databases, Scope.ADMIN)
        except VirkeError as error:
            outcome = error
        return _answered(response_to(operation, outcome, CODEC))

    return serve


def _answered(response: Response) -> Answered:
    body = response.body if isinstance(response.body, bytes) else b"".join(response.body)
    return Answered(response.status, dict(response.headers), body)


def asgi(app: App, loop: asyncio.AbstractEventLoop, *, is_at_once: bool = False) -> Serve:
    """As an ASGI server does it; `is_at_once`: as our own, which has what needs no wait answered without a task."""
    kept: dict[str, dict[str, Any]] = {}

    def serve(request: Request) -> Answered:
        sent: list[Any] = []
        *most, last = parts_of(request.body)
        messages = [{"type": "http.request", "body": part, "more_body": True} for part in most]
        messages.append({"type": "http.request", "body": last, "more_body": False})

        async def receive() -> Any:
            if not messages:
                await asyncio.Event().wait()
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        scope: dict[str, Any] = {
            "type": "http",
            "method": request.method,
            "path": request.path,
            "raw_path": request.path.encode(),
            "query_string": request.query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in request.headers.items()],
        }
        if is_at_once and len(request.body) <= AT_ONCE_BYTES:
            head = repr((request.method, request.path, request.query, scope["headers"]))
            scope["extensions"] = {"virke.kept": kept.setdefault(head, {})}
            messages.clear()
            found = loop.run_until_complete(_at_once(app, scope, request.body))
            if isinstance(found, Answer):
                named = {name.decode(): value.decode() for name, value in found.headers}
                return Answered(found.status, named, found.body)
            loop.run_until_complete(found(scope, receive, send))
        else:
            loop.run_until_complete(app(scope, receive, send))
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answered(sent[0]["status"], headers, b"".join(message["body"] for message in sent[1:]))

    return serve


def edge(host: Host) -> Serve:
    """As the component does it, in a host."""

    def serve(request: Request) -> Answered:
        target = request.path + (f"?{request.query}" if request.query else "")
        found = host.call(
            Sent(request.method, f"http://localhost{target}", tuple(request.headers.items()), request.body)
        )
        answered = Answered(found.status, dict(found.headers), found.body)
        assert found.trap is None, found.trap
        host.settle()  # so that the next one finds the same sandbox
        return _unless_denied(answered)

    return serve


def viceroy(simulator: Simulator) -> Serve:
    """As the component does it in Fastly's own simulator, over a connection."""

    def serve(request: Request) -> Answered:
        target = request.path + (f"?{request.query}" if request.query else "")
        heard = ask(simulator.port, request.method, target, request.headers, request.body)
        return _unless_denied(Answered(heard.status, heard.headers, heard.body))

    return serve


def _unless_denied(answered: Answered) -> Answered:
    if answered.status == 403 and NOT_AT_THE_EDGE in answered.json["error"]["message"]:
        pytest.skip(answered.json["error"]["message"])
    return answered


async def _at_once(app: App, scope: dict[str, Any], body: bytes) -> Answer | Application:
    """What is answered at once or later, or what is to be run."""
    told: asyncio.Future[Answer | Application] = asyncio.get_running_loop().create_future()
    found = app.at_once(scope, body, told.set_result)
    return await told if isinstance(found, Later) else found


SERVERS = [
    "blocking memory",
    "asgi memory",
    "at-once memory",
    pytest.param("edge memory", marks=pytest.mark.once),
    pytest.param("viceroy memory", marks=pytest.mark.slow),
    "blocking local",
    "asgi local",
    pytest.param("asgi s3", marks=pytest.mark.slow),
]

in_memory = pytest.mark.parametrize("databases", SERVERS[:5], indirect=True)
"""For tables of cases that no store has a say in."""

beyond_the_edge = pytest.mark.parametrize("databases", [*SERVERS[:3], *SERVERS[5:]], indirect=True)
"""For what the edge does not do, or ends as `timed_out` on purpose because it takes more than one request may there."""


def _store(kind: str, request: pytest.FixtureRequest) -> Store:
    match kind:
        case "memory":
            return memory_store()
        case "local":
            folder: Path = request.getfixturevalue("tmp_path")
            return open_store(str(folder / "store"), create=True)
        case _:
            monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
            for name, value in s3.CREDENTIALS.items():
                monkeypatch.setenv(name, value)
            return open_store(request.getfixturevalue("moto").url(uuid.uuid4().hex))


@pytest.fixture(params=SERVERS)
def databases(request: pytest.FixtureRequest) -> Databases:
    """What the server of this test has, on the store of this test."""
    return Databases(_store(request.param.split()[1], request))


@pytest.fixture
def call(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Call]:
    """`call(method, path, body, **headers)`: a body that is no bytes is sent as JSON; `_` in a header's name is a `-`."""
    kind = request.node.callspec.params["databases"].split()[0]
    component = request.getfixturevalue("component") if kind == "edge" else None
    simulator = request.getfixturevalue("simulator") if kind == "viceroy" else None
    loop = asyncio.new_event_loop()
    app = App(databases, CODEC)
    host: Host | None = None
    match kind:
        case "blocking":
            serve = blocking(databases)
        case "edge" if component is not None:
            host = host_over(databases.store, component, config={"open": "yes"}, reuse=1000, fuel=True)
            serve = edge(host)
        case "viceroy" if simulator is not None:
            simulator.begin()
            serve = viceroy(simulator)
        case _:
            serve = asgi(app, loop, is_at_once=kind == "at-once")

    def send(method: str, path: str, body: object = b"", **headers: str) -> Answered:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        path, _, query = path.partition("?")
        named = {"host": "localhost"} | {name.replace("_", "-"): value for name, value in headers.items()}
        return serve(Request(method, path, query, named, data))

    try:
        yield send
    finally:
        if host is not None:
            host.close()
        app.close()
        loop.close()
