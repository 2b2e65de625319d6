"""The pure parts: which protocol a callable speaks, requests, bookmarks on their way, and errors as answers."""

from __future__ import annotations

import json
from functools import partial, wraps
from typing import Any

import pytest

from virke.api.failures import STATUS_OF
from virke.errors import (
    Busy,
    Conflict,
    Corrupt,
    Denied,
    Invalid,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    SqlError,
    TimedOut,
    Unavailable,
    UsageError,
    VirkeError,
    WrongValue,
)
from virke.runtime.answers import NoTenant, answer_to
from virke.runtime.carrier import Carrier
from virke.runtime.fire import listen_address
from virke.runtime.protocols import Protocol, protocol_of
from virke.runtime.request import of_environ, of_scope

# Protocols


async def _asgi(scope: Any, receive: Any, send: Any) -> None: ...


def _wsgi(environ: Any, start_response: Any) -> list[bytes]:
    return []


def _get_response(request: Any) -> None: ...


class _Asgi:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    async def method(self, scope: Any, receive: Any, send: Any) -> None: ...


class _Flask:
    def wsgi_app(self, environ: Any, start_response: Any) -> list[bytes]:
        return []

    def __call__(self, *arguments: Any) -> None: ...


@wraps(_asgi)
def _inner(request: Any) -> None: ...


async def _any_async(*arguments: Any) -> None: ...


def _with_options(prefix: str, environ: Any, start_response: Any, *, deep: bool = False) -> list[bytes]:
    return []


@pytest.mark.parametrize(
    ("app", "protocol"),
    [
        (_asgi, Protocol.ASGI),
        (_Asgi(), Protocol.ASGI),
        (_Asgi().method, Protocol.ASGI),
        (_any_async, Protocol.ASGI),
        (_wsgi, Protocol.WSGI),
        (partial(_with_options, "x"), Protocol.WSGI),
        (_Flask(), Protocol.WSGI),
        (_get_response, Protocol.DJANGO),
        (_inner, Protocol.DJANGO),
    ],
)
def test_the_protocol_of_a_callable_is_recognised_by_its_parameters(app: Any, protocol: Protocol) -> None:
    assert protocol_of(app) is protocol


@pytest.mark.parametrize("app", [lambda *arguments: None, lambda: None, lambda a, b, c, d: None, "app", 7])
def test_what_is_no_app_is_an_error_that_names_the_ways_to_say_which(app: Any) -> None:
    with pytest.raises(UsageError, match="app"):
        protocol_of(app)


# Requests


def test_a_request_reads_the_same_from_a_scope_and_an_environ() -> None:
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/a/b",
        "query_string": b"x=1",
        "headers": [
            (b"host", b"Shop.example.com:8000"),
            (b"x-tenant", b"blue"),
            (b"cookie", b"a=1"),
            (b"cookie", b"b=2"),
        ],
    }
    environ = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "/a",
        "PATH_INFO": "/b",
        "QUERY_STRING": "x=1",
        "HTTP_HOST": "Shop.example.com:8000",
        "HTTP_X_TENANT": "blue",
        "HTTP_COOKIE": "a=1; b=2",
        "CONTENT_TYPE": "",
    }
    one, other = of_scope(scope), of_environ(environ)
    assert (one.raw, other.raw) == (scope, environ)
    for request in (one, other):
        assert (request.method, request.path, request.query, request.host) == (
            "POST",
            "/a/b",
            "x=1",
            "shop.example.com",
        )
        assert (request.headers["X-Tenant"], request.headers["cookie"]) == ("blue", "a=1; b=2")
        assert "x-other" not in request.headers
        assert len(request.headers) == 3


@pytest.mark.parametrize(
    ("header", "host"),
    [("A.test", "a.test"), ("a.test:80", "a.test"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("", "")],
)
def test_the_host_is_without_its_port(header: str, host: str) -> None:
    assert of_environ({"HTTP_HOST": header}).host == host


# Bookmarks on their way


@pytest.mark.parametrize(
    ("cookies", "bookmark"),
    [
        ("virke_bookmark=m.1", "m.1"),
        ("a=1; virke_bookmark=m.1; b=2", "m.1"),
        ('a=1;virke_bookmark="m.1"', "m.1"),
        ("virke_bookmark=", ""),
        ("not_virke_bookmark=m.1", None),
        ("virke_bookmarks=m.1", None),
        ("", None),
    ],
)
def test_a_bookmark_is_found_among_cookies(cookies: str, bookmark: str | None) -> None:
    assert Carrier("cookie").bookmark_in(cookies) == bookmark


def test_a_bookmark_is_given_in_the_way_that_was_chosen() -> None:
    cookie = ("set-cookie", "virke_bookmark=m.1; Max-Age=60; Path=/; HttpOnly; SameSite=Lax")
    assert Carrier("cookie").given("m.1") == [cookie]
    assert Carrier("header").given("m.1") == [("virke-bookmark", "m.1")]
    assert Carrier(False).given("m.1") == []
    assert [Carrier(by).given(None) for by in ("cookie", "header", False)] == [[], [], []]
    assert [Carrier(by).header for by in ("cookie", "header", False)] == ["cookie", "virke-bookmark", None]


@pytest.mark.parametrize("by", ["Cookie", "", None, True, 0])
def test_another_way_is_an_error(by: Any) -> None:
    with pytest.raises(UsageError, match=r'must be "cookie", "header" or False'):
        Carrier(by)


# Errors as answers


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SqlError("UNIQUE constraint failed: t.a", sqlite_code="SQLITE_CONSTRAINT_UNIQUE"), 400),
        (SqlError("datatype mismatch", sqlite_code="SQLITE_MISMATCH"), 400),
        (WrongValue("integer 2 ** 70 does not fit in 64 bits"), 400),
        (Conflict("lost"), 409),
        (Busy("many wait"), 429),
        (Unavailable("s3://secret-bucket does not answer"), 503),
        (TimedOut("slow"), 504),
        (OutcomeUnknown("s3://secret-bucket"), 504),
        (NoTenant("there is no database 'x'"), 404),
    ],
)
def test_what_a_visitor_can_cause_or_repeat_is_answered(error: VirkeError, status: int) -> None:
    answer = answer_to(error)
    assert answer is not None
    assert (answer.status, answer.status) == (status, STATUS_OF[error.kind])
    assert answer.line.startswith(f"{status} ")
    assert json.loads(answer.body) == {"error": answer.said}
    assert answer.said["code"] == error.kind
    assert "secret" not in answer.body.decode()
    assert dict(answer.headers)["content-length"] == str(len(answer.body))
    assert ("retry-after" in dict(answer.headers)) == (status in (429, 503))


@pytest.mark.parametrize(
    "error",
    [
        Invalid("2 parameters were given, 1 is needed"),
        SqlError("no such table: users"),
        Denied("no"),
        NotFound("there is no database 'x'"),
        Corrupt("x"),
        UsageError("x"),
    ],
)
def test_what_only_the_program_or_its_operator_can_mend_is_not_answered(error: VirkeError) -> None:
    assert answer_to(error) is None


def test_a_store_that_says_how_long_to_wait_is_quoted() -> None:
    answer = answer_to(RateLimited("slow down", retry_after_s=7.2))
    assert answer is not None
    assert dict(answer.headers)["retry-after"] == "7"


# Where to listen


def test_fire_listens_on_this_machine_alone_unless_it_is_told() -> None:
    assert listen_address({}) == ("127.0.0.1", 3000)
    assert listen_address({"PORT": "8080", "HOST": "0.0.0.0"}) == ("0.0.0.0", 8080)


@pytest.mark.parametrize("port", ["80a", "-1", "65536", "٣", " 80"])
def test_a_port_that_is_none_is_an_error(port: str) -> None:
    with pytest.raises(UsageError, match="PORT must be a number"):
        listen_address({"PORT": port})
