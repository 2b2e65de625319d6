"""The OpenAPI document says what the table of routes has, and requests made of it meet no fault of the server's own."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Call, in_memory
from tests.servers.node import node
from virke.api import openapi
from virke.api.failures import PLACES, describe_error
from virke.api.operations import GetMetrics
from virke.api.performing import _PERFORMERS
from virke.api.table import ANY, EXPORTS, IMPORTS
from virke.core.settings import KEYS
from virke.errors import SqlError

DOCUMENT: Any = json.loads(openapi.openapi_document())
ROUTES = list(openapi.all_routes())


def test_every_route_and_method_is_described_and_no_other() -> None:
    assert {(path, method) for path, method, _ in ROUTES} == openapi.ABOUT.keys()
    found = {(path, method.upper()) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert found == openapi.ABOUT.keys()


@pytest.mark.parametrize(("path", "method", "route"), ROUTES)
def test_every_field_is_described_and_no_other(path: str, method: str, route: Any) -> None:
    about = openapi.ABOUT[path, method]
    body = tuple(KEYS) if route.body == ANY else route.body or ()
    assert (set(about.body), set(about.query)) == (set(body), set(route.query))
    assert set(about.required) <= set(about.body)


def test_names_that_are_pointed_at_are_there() -> None:
    components = DOCUMENT["components"]["schemas"]
    wanted = {part.split('"')[0] for part in openapi.openapi_document().decode().split("#/components/schemas/")[1:]}
    assert wanted | {"Value"} <= components.keys()
    error = components["Error"]["properties"]["error"]
    places: Any = dict.fromkeys(PLACES, 1)
    assert describe_error(SqlError("x", offset=1, **places)).keys() == error["properties"].keys()
    names = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names))


def test_choices_are_those_of_the_table() -> None:
    def choices(path: str, method: str, name: str) -> set[str]:
        [found] = [one for one in DOCUMENT["paths"][path][method.lower()]["parameters"] if one["name"] == name]
        return {*found["schema"]["enum"]}

    assert choices("/db/{name}/import", "POST", "kind") == IMPORTS - {None}
    assert choices("/db/{name}/export", "GET", "format") == EXPORTS


@in_memory
def test_it_is_served_to_whoever_asks(call: Call) -> None:
    found = call("GET", "/openapi.json")
    assert (found.status, found.headers["content-type"], found.json) == (200, "application/json", DOCUMENT)


def test_every_operation_can_be_performed_by_blocking() -> None:
    """But for those that only a server knows."""
    from virke.api import operations

    kinds = {kind for kind in operations.Operation.__args__ if kind not in (GetMetrics, operations.GetHealth)}
    assert kinds == _PERFORMERS.keys()


CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
NAMES = '[parameters]\n"path.name" = "app"\n"path.table" = "item"\n'


@pytest.mark.slow
@pytest.mark.parametrize("has_names", [True, False])
def test_no_request_meets_a_fault_of_the_servers_own(tmp_path: Path, has_names: bool) -> None:
    """Schemathesis makes requests of the document, right ones and wrong ones, and holds the answers against it.

    Once for a database that is there, with a token; and once for databases of any name, which are deleted, too. A token
    that is created or revoked in the middle would close the door on what follows.
    """
    with node(str(tmp_path / "store"), tmp_path) as running:
        ask(running.url, "PUT", "/db/app")
        ask(running.url, "POST", "/db/app/query", {"sql": "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)"})
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{running.url}/openapi.json", "--checks", CHECKS]
        command += ["--phases", "examples,coverage,fuzzing", "--seed", "1", "--max-examples", "20", "--no-color"]
        kept = ["postTokens"]
        if has_names:
            token = ask(running.url, "POST", "/tokens", {"db": "*", "scope": "admin"})["token"]
            command += ["-H", f"Authorization: Bearer {token}"]
            (tmp_path / "schemathesis.toml").write_text(NAMES)
            kept = ["deleteDbName", "deleteTokensId"]
        command += [word for name in kept for word in ("--exclude-operation-id", name)]
        found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert found.returncode == 0, found.stdout[-8000:] + found.stderr[-2000:]
        assert "401 Unauthorized" not in found.stdout
        assert running.process.poll() is None


def ask(url: str, method: str, path: str, body: object = None) -> Any:
    """What a running node answers."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url + path, data, method=method)) as answered:
        return json.loads(answered.read())
