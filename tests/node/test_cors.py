"""Pages of other sites: allowed by name, only with a token, and able to see what they are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.api.conftest import CODEC, Answered, asgi
from virke import tokens
from virke.api.messages import Request
from virke.errors import UsageError
from virke.node.app import App
from virke.node.cors import Cors
from virke.node.databases import Databases
from virke.opening import create
from virke.scopes import Scope
from virke.stores.base import Store
from virke.stores.memory import memory_store

HERE, ELSEWHERE = "https://app.example.com", "https://evil.example.com"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization, content-type"}
Ask = Callable[..., Answered]


@pytest.fixture
def store() -> Store:
    found = memory_store()
    with create("d", found) as database:
        database.run_script("CREATE TABLE t (v); INSERT INTO t VALUES (1)")
    return found


@pytest.fixture
def node(store: Store) -> Iterator[Callable[..., Ask]]:
    """Makes a node that allows these origins, and how to ask it."""
    with ExitStack() as ending:

        def make(*origins: str) -> Ask:
            loop = asyncio.new_event_loop()
            ending.callback(loop.close)
            app = App(Databases(store), CODEC, cors=Cors(origins))
            ending.callback(app.close)
            serve = asgi(app, loop)

            def ask(method: str, path: str, body: bytes = b"", **headers: str) -> Answered:
                named = {name.replace("_", "-"): value for name, value in headers.items()}
                return serve(Request(method, path, "", {"host": "localhost", **named}, body))

            return ask

        yield make


def token_of(store: Store) -> dict[str, str]:
    text, _ = tokens.create(store, ("d",), Scope.READ)
    return {"authorization": f"Bearer {text}"}


def said(answer: Answered) -> dict[str, str]:
    """What an answer says to a browser."""
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [((HERE,), HERE, HERE), (("*",), ELSEWHERE, "*"), ((HERE, ELSEWHERE), ELSEWHERE, ELSEWHERE)],
)
def test_a_page_that_is_allowed_may_ask_and_see(
    node: Callable[..., Ask], store: Store, origins: tuple[str, ...], origin: str, allowed: str
) -> None:
    token, ask = token_of(store), node(*origins)
    first = ask("OPTIONS", "/db/d/query", origin=origin, **{k.replace("-", "_"): v for k, v in PREFLIGHT.items()})
    assert (first.status, first.body) == (200, b"")
    assert said(first) == {
        "access-control-allow-origin": allowed,
        "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
        "access-control-allow-headers": "authorization, content-type",
        "access-control-max-age": "600",
        "access-control-expose-headers": "virke-bookmark, virke-stale, server-timing, retry-after, www-authenticate",
    }
    found = ask("POST", "/db/d/query", b'{"sql": "SELECT v FROM t"}', origin=origin, **token)
    assert (found.status, found.json["rows"]) == (200, [[1]])
    assert said(found)["access-control-allow-origin"] == allowed
    assert "virke-bookmark" in said(found)["access-control-expose-headers"]
    assert found.headers.get("vary") == (None if allowed == "*" else "origin")


def test_a_page_sees_errors_too(node: Callable[..., Ask], store: Store) -> None:
    token_of(store)
    found = node(HERE)("POST", "/db/d/query", b'{"sql": "SELECT 1"}', origin=HERE)
    assert found.status == 401
    assert said(found)["access-control-allow-origin"] == HERE


@pytest.mark.parametrize("origins", [(), (HERE,), ("https://app.example.com.evil.com",)])
def test_another_page_is_told_nothing(node: Callable[..., Ask], store: Store, origins: tuple[str, ...]) -> None:
    token, ask = token_of(store), node(*origins)
    first = ask("OPTIONS", "/db/d/query", origin=ELSEWHERE, **{k.replace("-", "_"): v for k, v in PREFLIGHT.items()})
    assert first.status == 401
    found = ask("POST", "/db/d/query", b'{"sql": "SELECT 1"}', origin=ELSEWHERE, **token)
    assert found.status == 200
    assert said(first) == said(found) == {}


def test_without_tokens_in_the_store_no_page_may_ask(node: Callable[..., Ask]) -> None:
    ask = node("*")
    first = ask("OPTIONS", "/db/d/query", origin=HERE, **{k.replace("-", "_"): v for k, v in PREFLIGHT.items()})
    found = ask("POST", "/db/d/query", b'{"sql": "SELECT 1"}', origin=HERE)
    assert first.status == found.status == 403
    assert said(first) == said(found) == {}


def test_names_of_headers_that_are_none_are_not_repeated(node: Callable[..., Ask], store: Store) -> None:
    token_of(store)
    asked = {"access_control_request_method": "POST", "access_control_request_headers": "a\r\nb: c"}
    assert "access-control-allow-headers" not in said(node("*")("OPTIONS", "/db/d/query", origin=HERE, **asked))


@pytest.mark.parametrize(
    "origin", ["", "null", "app.example.com", "https://x/", "https://X.com", "ftp://x", "https://*.x"]
)
def test_what_is_not_an_origin_is_refused(origin: str) -> None:
    with pytest.raises(UsageError, match="origin"):
        Cors((origin,))
