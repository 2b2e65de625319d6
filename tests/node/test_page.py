"""The page's files: who gets them, with which headers, and that they load nothing from elsewhere and hold nothing inline."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.resources import files

import pytest

from tests.api.conftest import CODEC, Answered, asgi
from virke import tokens
from virke.api.messages import Request
from virke.node.app import App
from virke.node.databases import Databases
from virke.node.metrics import route_of
from virke.opening import create
from virke.scopes import Scope
from virke.stores.base import Store
from virke.stores.memory import memory_store

Ask = Callable[..., Answered]
FILES = sorted(
    one.name for one in files("virke.node.page").iterdir() if one.name.endswith((".html", ".css", ".js", ".svg"))
)


@pytest.fixture
def store() -> Store:
    found = memory_store()
    create("d", found).close()
    return found


@pytest.fixture
def ask(store: Store) -> Iterator[Ask]:
    """Ask a node of that store."""
    with ExitStack() as ending:
        loop = asyncio.new_event_loop()
        ending.callback(loop.close)
        app = App(Databases(store), CODEC)
        ending.callback(app.close)
        serve = asgi(app, loop)

        def send(method: str, path: str, **headers: str) -> Answered:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return serve(Request(method, path, "", {"host": "localhost", **named}, b""))

        yield send


def test_each_file_is_served_with_its_type_and_the_headers_that_close_the_page(ask: Ask) -> None:
    assert len(FILES) > 5
    for name in FILES:
        found = ask("GET", f"/_/{name}")
        assert found.status == 200
        assert found.body == files("virke.node.page").joinpath(name).read_bytes()
        assert found.headers["content-type"].split(";")[0] in (
            "text/html",
            "text/css",
            "text/javascript",
            "image/svg+xml",
        )
        policy = found.headers["content-security-policy"]
        for rule in (
            "default-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "require-trusted-types-for 'script'",
        ):
            assert rule in policy
        assert "unsafe" not in policy
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["referrer-policy"] == "no-referrer"
        assert found.headers["cache-control"] == "no-cache"
    assert ask("GET", "/_/").body == ask("GET", "/_/index.html").body


def test_a_file_that_a_browser_has_is_not_sent_again(ask: Ask) -> None:
    etag = ask("GET", "/_/main.js").headers["etag"]
    again = ask("GET", "/_/main.js", if_none_match=f'"other", W/{etag}')
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)
    assert ask("GET", "/_/main.js", if_none_match='"other"').status == 200
    head = ask("HEAD", "/_/main.js")
    assert (head.status, head.body, head.headers["etag"]) == (200, b"", etag)


def test_what_is_not_a_file_of_the_page_is_not_served(ask: Ask) -> None:
    moved = ask("GET", "/_")
    assert (moved.status, moved.headers["location"]) == (308, "/_/")
    for path in (
        "missing.js",
        "__init__.py",
        "../app.py",
        "..%2fapp.py",
        "main.js/x",
        "%6dain.js",
        ".",
        "..",
        "main..js",
        "x" * 300,
    ):
        assert ask("GET", f"/_/{path}").status == 404, path
    assert ask("POST", "/_/main.js").status == 400


def test_files_need_no_token_and_the_data_do(ask: Ask, store: Store) -> None:
    tokens.create(store, ("*",), Scope.ADMIN)
    assert ask("GET", "/_/", host="db.example.com").status == 200
    assert ask("GET", "/db", host="db.example.com").status == 401


def test_without_tokens_the_page_is_for_this_machine_alone(ask: Ask) -> None:
    """A name that was made to lead here, a page of another site, a proxy."""
    for headers in (
        {"host": "evil.example.com"},
        {"origin": "https://evil.example.com"},
        {"x_forwarded_for": "10.1.1.1"},
    ):
        assert ask("GET", "/_/", **headers).status == 403
    assert ask("GET", "/_/").status == 200


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere() -> None:
    text = {name: files("virke.node.page").joinpath(name).read_text() for name in FILES}
    html = text["index.html"]
    assert re.findall(r"<script(?![^>]*\bsrc=)", html) == []
    assert re.findall(r"<style|\bstyle=|\bon[a-z]+=", html) == []
    named = {
        name
        for found in text.values()
        for name in re.findall(r"""(?:src|href|from)[= ]["'](?:\./)?([\w.]+\.\w+)["']""", found)
    }
    assert named == set(FILES) - {"index.html"}
    for name, found in text.items():
        elsewhere = [url for url in re.findall(r"https?://[^\s\"'`)]+", found) if "www.w3.org/2000/svg" not in url]
        assert elsewhere == [], name
        assert re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function", found) == [], (
            name
        )


def test_metrics_have_one_route_for_all_files() -> None:
    assert {route_of(path) for path in ("/_", "/_/", "/_/main.js", "/_/anything")} == {"/_/{file}"}
