"""The page about the HTTP API is true: a node as a process of its own answers its examples so, and it names every route."""

from __future__ import annotations

import http.client
import json
import re
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.servers.node import node
from virke.api import openapi

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text()
EXAMPLES = re.findall(r"^```http\n(.*?)^```\n```answer\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
HEADER = re.compile(r"[A-Z][A-Za-z-]+: ")


def parsed(text: str) -> tuple[str, dict[str, str], str]:
    """The first line, the headers and the body of an example."""
    first, *lines = text.splitlines()
    headers = {}
    while lines and HEADER.match(lines[0]):
        name, _, value = lines.pop(0).partition(": ")
        headers[name] = value
    return first, headers, "\n".join(lines).strip("\n")


def fits(expected: Any, found: Any) -> bool:
    """Whether an answer is the one of the page, where `…` is anything."""
    if expected == "…":
        return True
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(fits(expected[name], found[name]) for name in expected)
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(fits, expected, found))
    return bool(expected == found) and type(expected) is type(found)


def values(body: str, headers: dict[str, str]) -> Any:
    """A body as what it means."""
    if "csv" in headers.get("content-type", ""):
        return body.splitlines()
    if "ndjson" in headers.get("content-type", ""):
        return [json.loads(line) for line in body.splitlines()]
    return json.loads(body)


def test_examples_are_answered_as_the_page_says(tmp_path: Path) -> None:
    """A token in a header is the one that was created last."""
    token = ""
    with ExitStack() as stack:
        running = stack.enter_context(node(str(tmp_path / "store"), tmp_path))
        connection = stack.enter_context(closing(http.client.HTTPConnection(*running.address)))
        for asked, answer in EXAMPLES:
            line, headers, body = parsed(asked)
            method, _, path = line.partition(" ")
            sent = {name: value.replace("vk_…", token) for name, value in headers.items()}
            connection.request(method, path, body.encode() if body else None, sent)
            response = connection.getresponse()
            found_headers = {name.lower(): value for name, value in response.getheaders()}
            found = values(response.read().decode(), found_headers)
            status, expected_headers, expected = parsed(answer)
            assert (line, response.status) == (line, int(status)), found
            assert fits(values(expected, found_headers), found), (line, found)
            for name, value in expected_headers.items():
                assert value in ("…", found_headers[name.lower()]), (line, found_headers)
            if isinstance(found, dict) and "token" in found:
                token = found["token"]
    assert len(EXAMPLES) > 20


@pytest.mark.parametrize(("path", "method"), openapi.ABOUT)
def test_every_route_is_on_the_page(path: str, method: str) -> None:
    shown = path.replace("{name}", "NAME").replace("{table}", "TABLE").replace("{id}", "ID")
    assert re.search(rf"`{method} {re.escape(shown)}`", PAGE) or re.search(
        rf"^{method} {re.escape(shown.replace('NAME', 'shop').replace('TABLE', 'item'))}[?\n]", PAGE, re.MULTILINE
    )


def test_every_field_of_a_statement_is_on_the_page() -> None:
    about = openapi.ABOUT["/db/{name}/query", "POST"]
    assert {name for name in about.body if f"| `{name}` |" in PAGE} == about.body.keys()
