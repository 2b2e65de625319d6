"""Each host function, called by a guest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edge.component import component, why_not
from virke.edge.building.component import ENTRY
from virke.edge.host.backends import Answer
from virke.edge.host.exchange import Request
from virke.edge.host.host import Host
from virke.edge.host.items import MemoryItems

pytestmark = pytest.mark.slow
PROBE = Path(__file__).with_name("probe_guest.py")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    if reason := why_not():
        pytest.skip(reason)

    def there(request: Request) -> Answer:
        headers = dict(request.headers)
        assert isinstance(request.body, bytes)
        return Answer(201, (), f"{request.method} {request.url} {headers['x-sent']} {len(request.body)}".encode())

    made = Host(
        component({f"{ENTRY}.py": PROBE.read_bytes()}),
        kv=MemoryItems(),
        config={"a": "1"},
        secrets={"s": "secret"},
        backends={"there": there, "gone": "http://127.0.0.1:9"},
    )
    yield made
    made.close()


def said(host: Host, path: str, *headers: tuple[str, str], body: bytes = b"") -> object:
    response = host.request("POST", path, headers=headers, body=body)
    assert response.status == 200, response.trap
    return json.loads(response.body)


def test_a_request_arrives_as_it_was_sent(host: Host) -> None:
    body = bytes(range(256)) * 8192
    found = said(host, "/echo?a=%2F", ("X-Twice", "1"), ("x-twice", "2"), body=body)
    assert found == [
        "POST",
        "http://edge.test/echo?a=%2F",
        ["host", "x-twice"],
        None,
        b"1\0002\0".hex(),
        len(body),
        "00010203",
    ]


def test_headers_that_do_not_fit_come_in_pages_and_are_never_cut(host: Host) -> None:
    names = [f"x-number-{n}" for n in range(9)]
    found = said(host, "/pages", *((name, "1") for name in names), ("x-long", "1234"))
    assert found == [sorted([*names, "host", "x-long"]), "Error_BufferLen"]


def test_responses_keep_headers_that_repeat_and_bytes_that_are_not_ascii(host: Host) -> None:
    response = host.request("GET", "/stores")
    assert [value for name, value in response.headers if name == "x-twice"] == ["1", "ä"]


def test_items_are_swapped_exactly(host: Host) -> None:
    refused = "KvError_PreconditionFailed"
    swaps = ["ok", refused, "True", "None", "ok", refused]
    assert said(host, "/items") == [swaps, ["register/a"], [True, None]]


def test_stores_that_are_not_linked_and_items_that_are_too_long_are_errors(host: Host) -> None:
    assert said(host, "/stores") == ["1", None, "secret", "Error_BufferLen", "NOT_FOUND", "NOT_FOUND"]


def test_backends_answer_or_say_why_not(host: Host) -> None:
    found = said(host, "/sent", body=b"12345")
    assert found == [[201, "POST https://some.test/path?q=1 1 5"], "SendErrorDetail_ConnectionRefused"]


def test_what_the_host_does_not_have_ends_the_sandbox_by_its_name(host: Host) -> None:
    response = host.request("GET", "/trap")
    assert response.status == 500
    assert "this host does not have http-downstream.fastly-key-is-valid" in str(response.trap)


def test_a_body_comes_in_parts_and_one_that_broke_off_is_not_whole(host: Host) -> None:
    response = host.request("GET", "/stream?whole")
    assert (len(response.body), response.is_whole) == (5000, True)
    response = host.request("GET", "/stream")
    assert (len(response.body), response.is_whole) == (5000, False)
